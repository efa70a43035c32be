"""Pictures of fitted slices: smile with bid and ask, fan of total variances, Durrleman's g, residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from pricing.arrays import FloatArray, IntArray
from pricing.fit import Expiries, Quotes, QuoteUse, Surface
from pricing.surfaces import svi

if TYPE_CHECKING:
    import pandas as pd

CURVE_POINTS = 301
FAN_DEVIATIONS = 4.0
BUTTERFLY_DEVIATIONS = 8.0
MARGIN_SHARE = 0.1


def smile(quotes: Quotes, expiries: Expiries, surface: Surface, expiry: int, title: str = "") -> Picture:
    """Vols of one expiry row over ln(K/F): bid to ask as bars, what was fitted as dots, the slice as a line.

    The frame holds every quote of the expiry: strike, sign, k, bid_vol, ask_vol, mark_vol, target_vol (NaN unless
    used), fitted_vol, use.
    """
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
    used = np.isin(done.quote_use[row], (QuoteUse.MID, QuoteUse.MARK))
    figure, axes = new_axes(title or f"smile of expiry {expiry}", "ln(K/F)", "vol [%]")
    k, low, high, target = (columns[name][used] for name in ("k", "bid_vol", "ask_vol", "target_vol"))
    both = (low > 0) & (high > 0)
    axes.vlines(k[both], 100 * low[both], 100 * high[both], color="tab:blue", alpha=0.5, label="bid to ask")
    for use, colour in ((QuoteUse.MID, "tab:blue"), (QuoteUse.MARK, "tab:orange")):
        here = done.quote_use[row][used] == use
        axes.plot(k[here], 100 * target[here], ".", color=colour, label=use.name.lower())
    if len(k) and np.isfinite(surface.svi[expiry]).all():
        curve = np.linspace(k.min(), k.max(), CURVE_POINTS)
        w = svi.total_variance(np, curve, *surface.svi[expiry])
        fitted = 100 * np.sqrt(w / expiries.tau[expiry])
        axes.plot(curve, fitted, color="black", linewidth=1.2, label="slice")
        shown = np.concatenate([fitted, 100 * target])
        room = MARGIN_SHARE * np.ptp(shown)
        axes.set_ylim(max(shown.min() - room, 0.0), shown.max() + room)
    axes.legend()
    return Picture(figure, frame(columns))


def fan(expiries: Expiries, surface: Surface, underlying: int = 0, title: str = "") -> Picture:
    """Total variance of every expiry of an underlying over 4 deviations of the last: lines that cross are arbitrage.

    The frame: expiry_idx, tau, k, total_variance.
    """
    rows = _rows(expiries, surface, underlying)
    figure, axes = new_axes(title or "total variance", "ln(K/F)", "total variance")
    reach = FAN_DEVIATIONS * np.sqrt(svi.total_variance(np, 0.0, *surface.svi[rows[-1]])) if len(rows) else 1.0
    curve = np.linspace(-reach, reach, CURVE_POINTS)
    values = svi.total_variance(np, curve, *surface.svi[rows].T[:, :, None])
    for row, w in zip(rows, values, strict=True):
        axes.plot(curve, w, linewidth=1.0, label=f"{365 * expiries.tau[row]:.1f} d")
    axes.set_yscale("log")
    axes.legend(fontsize="small", ncols=2)
    return Picture(figure, _long(expiries, rows, np.broadcast_to(curve, values.shape), "total_variance", values))


def butterfly(expiries: Expiries, surface: Surface, underlying: int = 0, title: str = "") -> Picture:
    """Durrleman's g of every expiry over 8 of its own deviations: below 0 is arbitrage.

    The frame: expiry_idx, tau, k, g.
    """
    rows = _rows(expiries, surface, underlying)
    figure, axes = new_axes(title or "butterfly", "ln(K/F) / deviation at the money", "g")
    z = np.linspace(-BUTTERFLY_DEVIATIONS, BUTTERFLY_DEVIATIONS, CURVE_POINTS)
    k = z * np.sqrt(svi.total_variance(np, 0.0, *surface.svi[rows].T))[:, None]
    values = svi.butterfly_g(np, k, *surface.svi[rows].T[:, :, None])
    for row, g in zip(rows, values, strict=True):
        axes.plot(z, g, linewidth=1.0, label=f"{365 * expiries.tau[row]:.1f} d")
    axes.axhline(0.0, color="tab:red", linewidth=0.8)
    axes.legend(fontsize="small", ncols=2)
    return Picture(figure, _long(expiries, rows, k, "g", values))


def residuals(quotes: Quotes, expiries: Expiries, surface: Surface, underlying: int = 0, title: str = "") -> Picture:
    """Fitted less quoted vol of every used quote, over ln(K/F) in deviations; colours by expiry.

    The frame: expiry_idx, tau, k, deviations, error in vol points, half_width in vol points (NaN unless two-sided).
    """
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
    axes.set_yscale("symlog", linthresh=1.0)
    axes.axhline(0.0, color="black", linewidth=0.8)
    return Picture(figure, frame(columns))


def _rows(expiries: Expiries, surface: Surface, underlying: int) -> IntArray:
    """Expiry rows of an underlying that have a slice, in the order of time."""
    rows = np.flatnonzero((expiries.underlying_idx == underlying) & np.isfinite(surface.svi).all(axis=1))
    return rows[np.argsort(expiries.tau[rows], kind="stable")]


def _long(expiries: Expiries, rows: IntArray, k: FloatArray, name: str, values: FloatArray) -> pd.DataFrame:
    row = np.repeat(rows, values.shape[1])
    return frame({"expiry_idx": row, "tau": expiries.tau[row], "k": k.ravel(), name: values.ravel()})
