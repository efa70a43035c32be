"""Pictures of a back-test: exceedances with the margin band, tails, coverage by book."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.backtest.run import BackTest, Tested
from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.backtest.coverage import rolling_count, traffic_light
from scenarios.backtest.verdict import WINDOW

ZONES = {"green": "#3a9d5d", "yellow": "#e8b83a", "red": "#c8372d"}
# Points of a picture: of longer series the largest of each stretch is drawn.
MOST_POINTS = 2_000
# Losses beyond the highest threshold of a mean excess.
LEAST_EXCESSES = 10


def exceedances(found: BackTest, name: str, book: str, title: str = "") -> Picture:
    """Realised P&L of a book under the margin of a set, breaches marked, and below the traffic light of 250 losses.

    name   of the set
    book   one of those whose margins are kept, `Tested.kept`
    title  in place of the usual one

    The frame has one row a loss that does not overlap another: time, pnl, margin (shares of the price), breach, count.
    """
    tested, rows, lost = _chosen(found, name, book)
    margin = tested.kept[book]
    apart = np.arange(0, len(rows), found.plan.horizon)
    time, pnl, held = _dates(found, rows[apart]), -lost[apart], margin[apart]
    breach = -pnl > held
    count = rolling_count(breach, WINDOW)
    figure, first = new_axes(title or f"{book} under {name}", "", "")
    figure.set_size_inches(9.0, 6.0)
    first.remove()
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    stretch = _stretches(len(time))
    above.fill_between(
        time[stretch], -100.0 * _extreme(held, stretch, np.maximum), 0.0, color="tab:blue", alpha=0.18, linewidth=0,
        label="margin", step="post",
    )  # fmt: skip
    quiet, count_of = ~breach, int(breach.sum())
    said = f"{count_of} {'breach' if count_of == 1 else 'breaches'} of {len(breach):,} losses that do not overlap"
    above.vlines(time[quiet], 0.0, 100.0 * pnl[quiet], color="0.55", linewidth=0.5)
    above.plot(time[breach], 100.0 * pnl[breach], "o", color=ZONES["red"], markersize=4, label=said)
    above.plot(time, -100.0 * held, color="tab:blue", linewidth=0.8)
    lowest = -100.0 * float(np.maximum(held, -pnl).max())
    above.set(ylabel="P&L of the horizon [% of price]", title=title or f"{book} under {name}",
              ylim=(1.05 * lowest, min(100.0 * float(pnl.max()) * 1.05, -lowest) or 1.0))  # fmt: skip
    figure.legend(loc="outside lower center", fontsize="small", ncols=2)
    most = _light(below, time, count, found.plan.confidence)
    below.set(ylabel=f"breaches\nof last {WINDOW}", ylim=(0, most))
    for axes in (above, below):
        axes.grid(visible=True, alpha=0.3)
    columns = {"time": time, "pnl": pnl, "margin": held, "breach": breach, "count": count}
    return Picture(figure, frame(columns, {"set": name, "book": book}))


def quantile_plot(found: BackTest, book: str, title: str = "") -> Picture:
    """QQ plot: losses over margins against what a normal law with that margin as its quantile gives, every set.

    book  one of those whose margins are kept under every set

    The frame: set, normal (quantile of the normal law over that at the confidence), loss (over the margin).
    """
    from scipy.special import ndtri

    figure, axes = new_axes(title or f"{book}: losses over margin", "normal quantile [1 = margin]", "loss over margin")
    names, across, up = [], [], []
    for n, tested in enumerate(found.sets):
        _, rows, lost = _chosen(found, tested.name, book)
        apart = np.arange(0, len(rows), found.plan.horizon)
        margin = tested.kept[book][apart]
        ratio = np.sort(lost[apart][margin > 0.0] / margin[margin > 0.0])
        normal = ndtri((np.arange(len(ratio)) + 0.5) / len(ratio)) / ndtri(found.plan.confidence)
        # Smaller ones on larger ones, so that sets that say the same are seen both.
        axes.plot(normal, ratio, ".", markersize=9.0 - 6.0 * (n + 1) / len(found.sets), label=tested.name)
        names += [tested.name] * len(ratio)
        across.append(normal)
        up.append(ratio)
    ends = [float(np.min([x.min() for x in across])), float(np.max([x.max() for x in across]))]
    axes.plot(ends, ends, color="black", linewidth=0.8, label="normal")
    axes.axhline(1.0, color=ZONES["red"], linewidth=0.8, linestyle="--", label="margin used up")
    axes.legend(fontsize="small", loc="upper left")
    columns = {"set": np.array(names), "normal": np.concatenate(across), "loss": np.concatenate(up)}
    return Picture(figure, frame(columns, {"book": book}))


def mean_excess_plot(found: BackTest, book: str, title: str = "") -> Picture:
    """Mean excess of the losses of a book over rising thresholds, with two standard errors; rising lines are fat tails.

    book  one of the library

    The frame: threshold, mean_excess, error (shares of the price), count.
    """
    lost = found.lost[:: found.plan.horizon, found.plan.books.name.tolist().index(book)]
    losses = np.sort(lost[lost > 0.0])
    if len(losses) < 20:
        raise ConfigError(f"{book}: {len(losses)} losses: a mean excess needs 20 at least")
    left = np.geomspace(len(losses), LEAST_EXCESSES, 60).round().astype(np.int64)
    thresholds = np.unique(np.append(0.0, losses[::-1][left[left < len(losses)]]))
    over = [losses[losses > u] - u for u in thresholds]
    mean = np.array([part.mean() for part in over])
    error = np.array([part.std(ddof=1) / np.sqrt(len(part)) for part in over])
    figure, axes = new_axes(title or f"mean excess of {book}", "threshold [% of price]", "mean excess [% of price]")
    axes.fill_between(100 * thresholds, 100 * (mean - 2 * error), 100 * (mean + 2 * error), alpha=0.2, linewidth=0)
    axes.plot(100.0 * thresholds, 100.0 * mean, marker=".", label="mean excess, two standard errors")
    axes.axvline(
        100.0 * float(np.quantile(lost, found.plan.confidence)), color="black", linestyle="--", linewidth=0.8,
        label=f"{100 * found.plan.confidence:g} % of all losses",
    )  # fmt: skip
    axes.set(ylim=(0.0, None))
    axes.legend(fontsize="small", loc="upper left")
    columns = {"threshold": thresholds, "mean_excess": mean, "error": error,
               "count": np.array([len(part) for part in over])}  # fmt: skip
    return Picture(figure, frame(columns, {"book": book}))


def coverage_map(found: BackTest, title: str = "") -> Picture:
    """Coverage of every book by its kind, every set a colour, with the line that was claimed.

    The frame: set, family, book, coverage.
    """
    books = found.plan.books
    families = list(dict.fromkeys(books.family.tolist()))
    figure, axes = new_axes(title or "coverage by kind of book", "breaches [% of losses]", "")
    figure.set_size_inches(9.0, 5.5)
    height = 0.8 / max(len(found.sets), 1)
    columns: dict[str, list[Any]] = {"set": [], "family": [], "book": [], "coverage": []}
    for n, tested in enumerate(found.sets):
        coverage = np.array([one.coverage for one in tested.verdicts])
        place = np.array([families.index(family) for family in books.family]) - 0.4 + height * (n + 0.5)
        axes.plot(np.maximum(100.0 * (1.0 - coverage), 0.01), place, "o", markersize=3.5, alpha=0.6, label=tested.name)
        columns["set"] += [tested.name] * len(books)
        columns["family"] += books.family.tolist()
        columns["book"] += books.name.tolist()
        columns["coverage"] += coverage.tolist()
    claimed = 100.0 * (1.0 - found.plan.confidence)
    axes.axvline(claimed, color=ZONES["red"], linestyle="--", linewidth=1.0, label=f"claimed, {claimed:g} %")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("breaches [% of all losses, overlapping], 0.01 stands for none and fewer")
    axes.set_yticks(range(len(families)), families)
    axes.invert_yaxis()
    figure.legend(fontsize="small", loc="outside lower center", ncols=6)
    return Picture(figure, frame({name: np.array(values) for name, values in columns.items()}, {}))


def _chosen(found: BackTest, name: str, book: str) -> tuple[Tested, Any, FloatArray]:
    tested = next((one for one in found.sets if one.name == name), None)
    if tested is None or book not in tested.kept:
        raise ConfigError(f"set {name!r}, book {book!r}: no margins of it were kept day by day")
    return tested, found.rows, found.lost[:, found.plan.books.name.tolist().index(book)]


def _dates(found: BackTest, rows: ArrayLike) -> Any:
    return found.plan.given.stamps(rows)


def _stretches(count: int) -> Any:
    """Where each stretch of a long series begins."""
    return np.arange(0, count, max(1, -(-count // MOST_POINTS)))


def _extreme(values: FloatArray, starts: Any, of: Any) -> FloatArray:
    return np.asarray(of.reduceat(values, starts))


def _light(axes: Any, time: Any, count: Any, confidence: float) -> float:
    """The rolling count over the zones of the traffic light; the top of the picture."""
    zones = [traffic_light(n, WINDOW, confidence).zone for n in range(WINDOW + 1)]
    yellow, red = zones.index("yellow"), zones.index("red")
    most = max(float(count.max()) + 1.0, red + 1.0)
    for zone, low, high in (("green", 0, yellow), ("yellow", yellow, red), ("red", red, most)):
        axes.axhspan(low - 0.5 if low else 0.0, high - 0.5 if zone != "red" else most, color=ZONES[zone], alpha=0.35)
    axes.step(time, count, where="post", color="black", linewidth=1.0)
    return most
