"""Pictures of what a back-test's sets said through time, and of how often books have their worst losses together."""

from __future__ import annotations

from typing import Any

import numpy as np

from portfolio_margin.backtest.run import BackTest, Tested
from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from pricing.arrays import FloatArray
from scenarios.backtest.history import price_moves
from scenarios.backtest.worst_together import by_group, worst_together

PANELS_A_ROW = 2


def parameter_paths(found: BackTest, title: str = "") -> Picture:
    """Price range of every set through time over the moves it is for, a panel a set, so that none hides another.

    Where a set has tools against procyclicality, what it says without them is a dashed line over it.

    The frame: set, tools (on or off), time, price_range.
    """
    given, days = found.plan.given, found.days
    shown = days[(days >= int(found.rows[0])) & (days + found.plan.horizon < len(given))]
    time, kept = given.stamps(shown), np.isin(days, shown)
    moves = np.abs(price_moves(given, shown, found.plan.horizon))
    drawn = [tested for tested in found.sets if tested.daily is not None]
    figure, first = new_axes("", "", "")
    first.remove()
    across = min(PANELS_A_ROW, max(len(drawn), 1))
    down = -(-max(len(drawn), 1) // across)
    figure.set_size_inches(5.0 * across + 1.0, 2.6 * down + 0.9)
    figure.suptitle(title or "price range through time [% of price]")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    parts = []
    for axes, tested in zip(panels, drawn, strict=False):
        axes.vlines(time, 0.0, 100.0 * moves, color="0.75", linewidth=0.6, label="move of the horizon, either way")
        parts += _panel(axes, tested, time, kept)
        axes.set(title=tested.name)
        axes.grid(visible=True, alpha=0.3)
        axes.tick_params(axis="x", labelrotation=30.0)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    panels[0].set(ylim=(0.0, None))
    handles: dict[str, Any] = {}
    for axes in panels[: len(drawn)]:
        handles |= {text: line for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if handles:
        figure.legend(handles.values(), handles, fontsize="small", loc="outside lower center", ncols=1 + across)
    names, words = [name for name, _, _ in parts], [word for _, word, _ in parts]
    values = [ranges for *_, ranges in parts]
    count = len(time)
    columns = {"set": np.repeat(names, count), "tools": np.repeat(words, count), "time": np.tile(time, len(parts)),
               "price_range": np.concatenate(values or [moves[:0]])}  # fmt: skip
    return Picture(figure, frame(columns, {"unit": "share of the price"}))


def _panel(axes: Any, tested: Tested, time: Any, kept: Any) -> list[tuple[str, str, FloatArray]]:
    """The lines of one set, and their name, word and values."""
    assert tested.daily is not None
    on = tested.daily.price_range[kept]
    axes.plot(time, 100.0 * on, color="tab:blue", linewidth=2.2, alpha=0.65, label="range in force")
    if tested.bare is None:
        return [(tested.name, "on", on)]
    off = tested.bare.price_range[kept]
    axes.plot(
        time,
        100.0 * off,
        color="black",
        linewidth=0.9,
        linestyle=(0, (4, 2)),
        label="without buffer, floor and such",
    )
    return [(tested.name, "on", on), (tested.name, "off", off)]


def worst_losses_together(found: BackTest, title: str = "") -> Picture:
    """Correlation of worst scenarios: how often two books have a worst loss at the same moment; long, then short.

    A book's worst moments are those of its largest losses, as many as are claimed to be uncovered (1 % of all at 99 %).
    A cell is the mean over pairs of different books, each of a side and a kind, of the share of one's worst moments
    that are also the other's.

    The frame: books, other, together (share; NaN for a single book with itself).
    """
    share, books = 1.0 - found.plan.confidence, found.plan.books
    side = np.array([name.partition(" ")[0] for name in books.name.tolist()])
    order = np.argsort(side, kind="stable")
    group = np.char.add(np.char.add(side, " "), books.family)[order]
    families, cells = by_group(worst_together(found.lost[:, order], share), group)
    figure, axes = new_axes(title or "worst losses at the same moment", "", "")
    count = len(families)
    figure.set_size_inches(3.6 + 0.3 * count, 2.4 + 0.25 * count)
    image = axes.imshow(np.ma.masked_invalid(100.0 * cells), cmap="magma_r", vmin=0.0, vmax=100.0, aspect="auto")
    figure.colorbar(image, label=f"of the {100 * share:g} % worst moments in common [%]", fraction=0.04, pad=0.02)
    axes.grid(visible=False)
    axes.set_xticks(range(count), families, rotation=90, fontsize=8)
    axes.set_yticks(range(count), families, fontsize=8)
    for (row, column), value in np.ndenumerate(cells):
        text = "" if np.isnan(value) else f"{100 * value:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if value > 0.55 else "black")
    columns = {"books": np.repeat(families, count), "other": np.tile(families, count), "together": cells.ravel()}
    return Picture(figure, frame(columns, {"worst": f"{share:g} of the moments"}))
