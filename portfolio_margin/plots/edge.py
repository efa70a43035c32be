"""Pictures of the edge of an account: its contour over price and vol, and its payoff with liquidation marks."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.edge.contour import Contour
from portfolio_margin.edge.payoff import Payoff
from portfolio_margin.edge.prices import TOUCHES, LiquidationPrices
from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, grouped, new_axes
from pricing.arrays import FloatArray

# Colours: below maintenance margin, and the curves by the time that has passed.
BELOW, HERE = "tab:red", "black"
# The picture goes this much beyond the outermost edge, and no further in from today's price than this.
BEYOND, LEAST_MOVE = 1.25, 0.15


def edge_contour(around: Contour, prices: LiquidationPrices, title: str = "") -> Picture:
    """Excess over maintenance margin in the plane of price and vol, the boundary of liquidation drawn on it.

    Colours are the excess in the margin currency, symmetric about 0, cut at what the account has today or twice that;
    hatched is where it is liquidated, blank where the model has no rule for what is then held; the cross is today.

    The frame, one row a point of the boundary: vol_multiple, price, move, along ("price" or "vols"), side ("into",
    "out of" or "touches", seen outwards along its row from today's price, or along its column from today's vols).
    Points that touch without crossing are drawn as dots.
    """
    low, high = _shown(np.append(around.edge_price, prices.price / prices.spot), around.span.low, around.span.high)
    heading = title or f"{prices.account}: edge over the price of {prices.underlying} and its vols"
    figure, axes = new_axes(heading, f"price of {prices.underlying}", "vols, of today's [%]")
    x, y = around.price * prices.spot, 100.0 * around.vol
    # A point beyond either side, so that the picture is filled to its edges.
    first, last = np.searchsorted(around.price, low, side="right"), np.searchsorted(around.price, high)
    inside = slice(max(int(first) - 1, 0), int(last) + 1)
    sheet = np.ma.masked_invalid(around.excess[:, inside])
    most = _most(sheet, float(prices.now.excess[0]))
    image = axes.pcolormesh(x[inside], y, sheet, cmap=_two_sided(), vmin=-most, vmax=most, shading="gouraud")
    figure.colorbar(
        image, label=f"margin balance less maintenance margin [{prices.currency}]", extend="both", format=grouped
    )
    if np.any(sheet < 0):
        axes.contourf(x[inside], y, sheet, levels=[-np.inf, 0.0], colors="none", hatches=["////"])
        axes.contour(x[inside], y, sheet, levels=[0.0], colors=BELOW, linewidths=1.2)
    columns = _points(around)
    crossing = columns["side"] != TOUCHES
    place = columns["price_multiple"] * prices.spot, 100.0 * columns["vol_multiple"]
    axes.plot(place[0][crossing], place[1][crossing], "o", color=BELOW, markersize=3, label="edge, solved")
    if np.any(~crossing):
        axes.plot(place[0][~crossing], place[1][~crossing], ".", color="tab:gray", label="touches")
    axes.plot(prices.spot, 100.0, "P", color=HERE, markersize=9, markeredgecolor="white", label="today")
    axes.set(xlim=(low * prices.spot, high * prices.spot), ylim=(y[0], y[-1]), yscale="log")
    _plain_ticks(axes, y)
    axes.legend(loc="upper right", fontsize="small")
    moves = {"price": place[0], "move": columns.pop("price_multiple") - 1.0}
    vols, rest = {"vol_multiple": columns.pop("vol_multiple")}, columns
    return Picture(figure, frame({**vols, **moves, **rest}))


def _points(around: Contour) -> dict[str, Any]:
    """All points of the boundary: those along the price, then those along the vols within the picture."""
    more = around.columns
    shown = (more.vol >= around.vol[0]) & (more.vol <= around.vol[-1])
    return {
        "price_multiple": np.append(around.edge_price, more.price[more.line][shown]),
        "vol_multiple": np.append(around.vol[around.line], more.vol[shown]),
        "along": np.repeat(["price", "vols"], [len(around.edge_price), int(shown.sum())]),
        "side": np.append(around.side, more.side[shown]),
    }


def payoff_with_marks(curves: Payoff, prices: LiquidationPrices, title: str = "") -> Picture:
    """Gains of an account along the price now, later and at its first expiry, with its liquidation prices marked.

    Shaded is where it is liquidated now; a triangle points the way into liquidation, a hollow one the way out.

    The frame, one row a point of a curve: curve, days, price, gain, excess, liquidated.
    """
    heading = title or f"{prices.account}: gain along the price of {prices.underlying}"
    figure, axes = new_axes(heading, f"price of {prices.underlying}", f"gain since now [{prices.currency}]")
    styles = ("-", "--", "-.")
    for k, label in enumerate(curves.label):
        name = f"{label}, {curves.days[k]:.1f} days" if label == "at first expiry" else str(label)
        axes.plot(curves.price, curves.gain[k], styles[k], color=f"C{k}", linewidth=1.4, label=name)
    for number, (first, last) in enumerate(shaded(curves, prices)):
        # A name that begins with an underscore is left out of the legend.
        axes.axvspan(first, last, color=BELOW, alpha=0.10, label="_" * (number > 0) + "liquidated", linewidth=0)
    axes.axhline(0.0, color=HERE, linewidth=0.6)
    axes.axvline(prices.spot, color=HERE, linewidth=0.8, linestyle=":", label=f"today, {prices.spot:,.6g}")
    mark_prices(axes, prices, curves.price, curves.gain[0])
    axes.set_xlim(curves.price[0], curves.price[-1])
    axes.legend(fontsize="small")
    axes.yaxis.set_major_formatter(grouped)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    count, points = curves.gain.shape
    columns = {
        "curve": np.repeat(curves.label, points),
        "days": np.repeat(curves.days, points),
        "price": np.tile(curves.price, count),
        "gain": curves.gain.ravel(),
        "excess": curves.excess.ravel(),
        "liquidated": (curves.excess < 0).ravel(),
    }
    return Picture(figure, frame(columns))


def shaded(curves: Payoff, prices: LiquidationPrices) -> list[tuple[float, float]]:
    """Intervals of the price where an account is liquidated now, each up to the liquidation price that bounds it; to
    the last point below maintenance margin where there is none in between."""
    price, below = curves.price, curves.excess[0] < 0
    turns = np.diff(np.concatenate([[False], below, [False]]).astype(np.int64))
    edges = np.sort(prices.price)
    found: list[tuple[float, float]] = []
    runs = zip(np.flatnonzero(turns > 0).tolist(), (np.flatnonzero(turns < 0) - 1).tolist(), strict=True)
    for first, last in runs:
        before = edges[(edges <= price[first]) & (edges >= price[max(first - 1, 0)])]
        after = edges[(edges >= price[last]) & (edges <= price[min(last + 1, len(price) - 1)])]
        begins = before[-1] if len(before) else price[first]
        found.append((float(begins), float(after[0] if len(after) else price[last])))
    return [(first, last) for first, last in found if first < last]


def payoff_prices(prices: LiquidationPrices, points: int = 241) -> FloatArray:
    """(P,) multiples of today's price that show an account: beyond its edges, today and the edges among them."""
    edges = prices.price / prices.spot
    low, high = _shown(edges, prices.span.low, prices.span.high)
    return np.unique(np.concatenate([np.linspace(low, high, points), edges[(edges > low) & (edges < high)], [1.0]]))


def mark_prices(axes: Any, prices: LiquidationPrices, price_of: FloatArray, gain_of: FloatArray) -> None:
    """A mark on a curve, (P,) prices rising and gains, at every liquidation price, with its price."""
    inside = (prices.price >= price_of[0]) & (prices.price <= price_of[-1])
    marks = zip(prices.price[inside], prices.side[inside], prices.move[inside], strict=True)
    for number, (price, side, move) in enumerate(marks):
        gain = float(np.interp(price, price_of, gain_of))
        marker = "s" if side == TOUCHES else (">" if move >= 0 else "<")
        face = BELOW if side == "into" else "white"
        axes.plot(price, gain, marker, color=BELOW, markerfacecolor=face, markersize=9, zorder=5)
        # Beside the mark, on the side of today's price, where there is always room; neighbours one above the other.
        towards, height = -12 if move >= 0 else 12, 6 if number % 2 else -16
        align = "right" if move >= 0 else "left"
        axes.annotate(
            f"{price:,.6g} ({move:+.1%})".replace("%", " %"), (price, gain), (towards, height),
            textcoords="offset points", ha=align, fontsize="small", color=BELOW, zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
        )  # fmt: skip


def _shown(edges: FloatArray, low: float, high: float) -> tuple[float, float]:
    """Multiples of today's price that a picture spans: past the nearest edges, and by 15 % at least."""
    below, above = edges[edges < 1.0].min(initial=1.0), edges[edges >= 1.0].max(initial=1.0)
    first, last = min(below**BEYOND, 1.0 - LEAST_MOVE), max(above**BEYOND, 1.0 + LEAST_MOVE)
    return max(first, low), min(last, high)


def _two_sided() -> Any:
    """Red below 0 and blue above, with a step at 0: just above the edge is told from just below it."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    usual = colormaps["RdBu"]
    return ListedColormap(np.vstack([usual(np.linspace(0.0, 0.42, 128)), usual(np.linspace(0.58, 1.0, 128))]))


def _most(sheet: Any, now: float) -> float:
    """Where colours end: twice the excess today, or less where nothing reaches that."""
    largest = float(np.abs(sheet).max()) if sheet.count() else 1.0
    return max(min(2.0 * abs(now), largest), 1e-9)


def _plain_ticks(axes: Any, values: FloatArray) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    ticks = [tick for tick in (10, 25, 50, 70, 100, 140, 200, 400, 1000) if values[0] <= tick <= values[-1]]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
