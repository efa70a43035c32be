"""Pictures of fitted slices: smile with bid and ask, fan of total variances, Durrleman's g, residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes, shades
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem
from pricing.fit import Expiries, Quotes, QuoteUse, Surface, slices_of
from pricing.surfaces import svi

if TYPE_CHECKING:
    import pandas as pd

CURVE_POINTS = 601
FAN_DEVIATIONS = 4.0
BUTTERFLY_DEVIATIONS = 8.0
FARTHEST_DRAWN = 100.0
BEYOND = 1.05
MARGIN_SHARE = 0.1
SMALLEST_ROOM = 0.05
UNUSED_MARKERS = {
    QuoteUse.CROSSED: "x",
    QuoteUse.ONE_SIDED: "o",
    QuoteUse.STALE: "s",
    QuoteUse.OUTLIER: "D",
    QuoteUse.TOO_SHORT: "p",
}


def smile(quotes: Quotes, expiries: Expiries, surface: Surface, expiry: int, title: str = "") -> Picture:
    """Vols of one expiry row over ln(K/F): bid to ask as bars, what was fitted as dots, the slice as a line.

    Quotes that were not used are hollow and grey, by what became of them; in-the-money twins are not drawn. An arrow at
    the edge says that a bar or a quote goes on beyond it. DataError for a row that is none.

    The frame holds every quote of the expiry: strike, sign, k, bid_vol, ask_vol, mark_vol, target_vol (NaN unless
    used), fitted_vol, use.
    """
    if not 0 <= expiry < len(expiries):
        remedy = f"there are {len(expiries)} expiry rows, from 0"
        raise DataError([Problem("smile", None, "expiry", expiry, remedy)])
    row = np.flatnonzero(quotes.expiry_idx == expiry)
    done = surface.diagnostics
    columns: dict[str, Any] = {
        "strike": quotes.strike[row],
        "sign": quotes.sign[row],
        "k": quotes.log_moneyness[row],
        "bid_vol": quotes.bid_vol[row],
        "ask_vol": quotes.ask_vol[row],
        "mark_vol": quotes.mark_vol[row],
        "target_vol": done.target_vol[row],
        "fitted_vol": done.fitted_vol[row],
        "use": [QuoteUse(code).name for code in done.quote_use[row]],
    }
    use = done.quote_use[row]
    used = np.isin(use, (QuoteUse.MID, QuoteUse.MARK))
    figure, axes = new_axes(title or f"smile, {_days(expiries, expiry)} to expiry", "ln(K/F)", "vol [%]")
    k, low, high, target = (columns[name][used] for name in ("k", "bid_vol", "ask_vol", "target_vol"))
    both = (low > 0) & (high > 0)
    if both.any():
        axes.vlines(k[both], 100 * low[both], 100 * high[both], color="tab:blue", alpha=0.5, label="bid to ask")
    for kind, colour in ((QuoteUse.MID, "tab:blue"), (QuoteUse.MARK, "tab:orange")):
        here = use[used] == kind
        if here.any():
            axes.plot(k[here], 100 * target[here], ".", color=colour, label=kind.name.lower())
    at, vol = _unused(axes, columns, use)
    shown = 100 * target
    if len(k) and np.isfinite(surface.svi[expiry]).all():
        curve = np.linspace(k.min(), k.max(), CURVE_POINTS)
        w = svi.total_variance(np, curve, *surface.svi[expiry])
        fitted = 100 * np.sqrt(w / expiries.tau[expiry])
        axes.plot(curve, fitted, color="black", linewidth=1.2, label="slice")
        shown = np.concatenate([fitted, shown])
    if len(shown):
        room = max(MARGIN_SHARE * np.ptp(shown), SMALLEST_ROOM)
        bottom, top = max(shown.min() - room, 0.0), shown.max() + room
        axes.set_ylim(bottom, top)
        ends = np.concatenate([k[both], k[both], at]), np.concatenate([100 * low[both], 100 * high[both], vol])
        _arrows(axes, *ends, bottom, top)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")
    return Picture(figure, frame(columns))


def fan(expiries: Expiries, surface: Surface, underlying: int = 0, title: str = "") -> Picture:
    """Total variance of every expiry of an underlying: lines that cross are arbitrage.

    Over 4 deviations of the last at least, further to the farthest quote used and to where a slice is furthest below
    the one before it; the axis says how far. DataError for an underlying without slices.

    The frame: expiry_idx, tau, k, total_variance.
    """
    rows = slices_of(surface, expiries, underlying).expiry_idx
    done = surface.diagnostics
    crossed = np.where(done.calendar_gap[rows] < 0, done.calendar_gap_k[rows], np.nan)
    reach = _reach(
        FAN_DEVIATIONS * np.sqrt(svi.total_variance(np, 0.0, *surface.svi[rows[-1]])),
        [done.k_low[rows], done.k_high[rows], crossed],
    )
    figure, axes = new_axes(title or "total variance", f"ln(K/F), drawn to {reach:.2g} either way", "total variance")
    curve = np.linspace(-reach, reach, CURVE_POINTS)
    values = svi.total_variance(np, curve, *surface.svi[rows].T[:, :, None])
    for row, colour, w in zip(rows, shades(len(rows)), values, strict=True):
        axes.plot(curve, w, linewidth=1.0, color=colour, label=_days(expiries, row))
    axes.set_yscale("log")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Picture(figure, _long(expiries, rows, np.broadcast_to(curve, values.shape), "total_variance", values))


def butterfly(expiries: Expiries, surface: Surface, underlying: int = 0, title: str = "") -> Picture:
    """Durrleman's g of every expiry: below 0 is arbitrage.

    Over 8 of its own deviations at least, further to the farthest quote used and to where g is least, within 100; the
    axis says how far, and how many least values lie further out still. DataError for an underlying without slices.

    The frame: expiry_idx, tau, k, g.
    """
    rows = slices_of(surface, expiries, underlying).expiry_idx
    done, deviation = surface.diagnostics, np.sqrt(svi.total_variance(np, 0.0, *surface.svi[rows].T))
    least = done.minimum_g_k[rows] / deviation
    further = int(np.sum(np.abs(least) > FARTHEST_DRAWN))
    quoted = [done.k_low[rows] / deviation, done.k_high[rows] / deviation]
    reach = _reach(BUTTERFLY_DEVIATIONS, [*quoted, np.where(np.abs(least) > FARTHEST_DRAWN, np.nan, least)])
    reach = min(reach, FARTHEST_DRAWN)
    window = f"drawn to {reach:.3g} either way" + (f"; {further} least g further out" if further else "")
    figure, axes = new_axes(title or "butterfly", f"ln(K/F) / deviation at the money, {window}", "g")
    z = np.linspace(-reach, reach, CURVE_POINTS)
    k = z * deviation[:, None]
    values = svi.butterfly_g(np, k, *surface.svi[rows].T[:, :, None])
    for row, colour, g in zip(rows, shades(len(rows)), values, strict=True):
        axes.plot(z, g, linewidth=1.0, color=colour, label=_days(expiries, row))
    axes.axhline(0.0, color="tab:red", linewidth=0.8)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Picture(figure, _long(expiries, rows, k, "g", values))


def residuals(quotes: Quotes, expiries: Expiries, surface: Surface, underlying: int = 0, title: str = "") -> Picture:
    """Fitted less quoted vol of every used quote, over ln(K/F) in deviations; colours by expiry.

    The frame: expiry_idx, tau, k, deviations, error in vol points, half_width in vol points (NaN unless two-sided).
    DataError for an underlying without slices.
    """
    slices_of(surface, expiries, underlying)
    done = surface.diagnostics
    own = expiries.underlying_idx[quotes.expiry_idx] == underlying
    used = np.flatnonzero(own & np.isfinite(done.target_vol))
    row, k = quotes.expiry_idx[used], quotes.log_moneyness[used]
    deviation = np.sqrt(svi.total_variance(np, 0.0, *surface.svi[row].T))
    columns = {
        "expiry_idx": row,
        "tau": expiries.tau[row],
        "k": k,
        "deviations": k / deviation,
        "error": 100 * (done.fitted_vol - done.target_vol)[used],
        "half_width": 50 * (quotes.ask_vol - quotes.bid_vol)[used],
    }
    figure, axes = new_axes(title or "residuals", "ln(K/F) / deviation at the money", "fitted less quoted [vol points]")
    points = axes.scatter(columns["deviations"], columns["error"], c=365 * columns["tau"], s=8, cmap="viridis")
    figure.colorbar(points, label="days to expiry")
    _vol_point_axis(axes, columns["error"])
    axes.axhline(0.0, color="black", linewidth=0.8)
    return Picture(figure, frame(columns))


def _reach(least: float, places: Sequence[FloatArray]) -> float:
    """How far to either side is drawn: at least so far, and a little beyond every place that is a number."""
    farthest = np.abs(np.concatenate(places))
    return float(max(least, BEYOND * np.max(farthest, initial=0.0, where=np.isfinite(farthest))))


def _days(expiries: Expiries, row: int) -> str:
    return f"{365 * expiries.tau[row]:.1f} days"


def _unused(axes: Any, columns: dict[str, Any], use: IntArray) -> tuple[FloatArray, FloatArray]:
    """Draw the quotes that were not used, and where they stand: k and vol in percent of each."""
    bid, ask, mark = (np.where(columns[name] > 0, columns[name], np.nan) for name in ("bid_vol", "ask_vol", "mark_vol"))
    one_side = np.where(np.isfinite(bid), bid, ask)
    place = np.where(np.isfinite(bid) & np.isfinite(ask), 0.5 * (bid + ask), one_side)
    place = 100 * np.where(np.isfinite(place), place, mark)
    drawn = np.zeros(len(use), dtype=np.bool_)
    for kind, marker in UNUSED_MARKERS.items():
        here = (use == kind) & np.isfinite(place)
        if here.any():
            label = f"not used: {kind.name.lower().replace('_', ' ')}"
            hollow = {} if marker == "x" else {"markerfacecolor": "none"}
            axes.plot(columns["k"][here], place[here], marker, color="tab:gray", markersize=5, label=label, **hollow)
            drawn |= here
    return columns["k"][drawn], place[drawn]


def _arrows(axes: Any, k: FloatArray, vol: FloatArray, bottom: float, top: float) -> None:
    """An arrow at the edge for every end of a bar, and every quote, that lies beyond it."""
    for beyond, edge, marker in ((vol > top, top, "^"), (vol < bottom, bottom, "v")):
        if beyond.any():
            label = "goes on above" if marker == "^" else "goes on below"
            line = {"color": "tab:blue", "alpha": 0.6, "markersize": 5, "clip_on": False}
            axes.plot(k[beyond], np.full(beyond.sum(), edge), marker, label=label, **line)


def _vol_point_axis(axes: Any, errors: FloatArray) -> None:
    """Linear within a vol point; beyond, logarithmic from one vol point on, with plain numbers."""
    from matplotlib.ticker import FixedLocator, NullLocator

    largest = float(np.max(np.abs(errors), initial=0.0))
    if largest <= 1.0:
        return
    axes.set_yscale("symlog", linthresh=1.0)
    reach = int(np.ceil(np.log10(largest)))
    steps = (1, 2, 5) if reach <= 1 else (1, 3)
    ticks = [step * 10.0**power for power in range(reach + 1) for step in steps]
    axes.yaxis.set_major_locator(FixedLocator([*(-tick for tick in reversed(ticks)), -0.5, 0.0, 0.5, *ticks]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(-1.3 * max(1.0, -float(errors.min())), 1.3 * max(1.0, float(errors.max())))


def _long(expiries: Expiries, rows: IntArray, k: FloatArray, name: str, values: FloatArray) -> pd.DataFrame:
    row = np.repeat(rows, values.shape[1])
    return frame({"expiry_idx": row, "tau": expiries.tau[row], "k": k.ravel(), name: values.ravel()})
