"""Pictures of a calibration: tails of moves, thresholds, error curve of the grid, shocks over tenors, correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.io.frames import frame
from portfolio_margin.plots.picture import Picture, new_axes
from scenarios.calibrate.grid_nodes import GridFit
from scenarios.calibrate.joint_moves import Shrunk
from scenarios.calibrate.tails import MeanExcess, Stability, Tail

ALLOWED = "#c8372d"
LINES, POINTS = ("-", (0, (4, 4)), ":", "-."), ("o", "s", "^", "D")  # of the first underlying and others
ERROR_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 25.0)


def grid_error_curve(fit: GridFit, allowed: float, title: str = "") -> Picture:
    """Largest error of a grid for any book of options and futures, over its nodes on a side; what is chosen is marked.

    allowed  largest error that the settings allow, share of the price range

    The frame: side, equal, fitted (shares of the range, one option contract in all).
    """
    text = title or "largest error of a grid for any book"
    figure, axes = new_axes(text, "nodes on each side of 0", "error [% of the range, a contract]")
    axes.plot(fit.side, 100.0 * fit.equal, marker="o", markersize=4, label="equal buckets")
    if np.any(fit.fitted < fit.equal):  # elsewhere the one line would hide the other
        axes.plot(fit.side, 100.0 * fit.fitted, marker="x", markersize=5, linestyle="--", label="fitted nodes")
    side = len(fit.nodes) // 2
    axes.plot(
        [side],
        [100.0 * fit.error],
        "s",
        markersize=9,
        fillstyle="none",
        color="black",
        label="chosen, at the vols of the grid",
    )
    axes.plot([side], [100.0 * fit.vol_error], "^", markersize=7, fillstyle="none", color="black",
              label="chosen, with vols between those of the grid (may be above what is allowed)")  # fmt: skip
    said = f"allowed at the vols of the grid, {100 * allowed:g} %"
    axes.axhline(100.0 * allowed, color=ALLOWED, linestyle="--", linewidth=0.8, label=said)
    axes.set_yscale("log")
    low, high = 100.0 * min(fit.fitted.min(), allowed), 100.0 * fit.equal.max()
    shown = [tick for tick in ERROR_TICKS if 0.7 * low <= tick <= 1.3 * high]
    axes.set_yticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_yticks([], minor=True)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize="small")
    return Picture(
        figure, frame({"side": fit.side, "equal": fit.equal, "fitted": fit.fitted}, {"unit": "of the range"})
    )


def tail_quantile_plot(sizes: ArrayLike, tail: Tail, title: str = "") -> Picture:
    """QQ plot of the moves beyond the threshold of a Pareto tail against its quantiles; on the line they are alike.

    sizes  (M,) of all moves over the horizon, in logarithm

    The frame: pareto, move (in logarithm), a row a move beyond the threshold.
    """
    moves = np.sort(np.asarray(sizes, dtype=np.float64))[::-1][: tail.exceedances]
    levels = 1.0 - (np.arange(len(moves)) + 0.5) / tail.observations
    fitted = np.array([tail.quantile(float(level)) for level in levels])
    figure, axes = new_axes(title or "moves against a Pareto tail", "quantile of the tail [% in logarithm]",
                            "move [% in logarithm]")  # fmt: skip
    axes.plot(100.0 * fitted, 100.0 * moves, ".", markersize=5, label=f"{len(moves):,} moves beyond the threshold")
    ends = 100.0 * np.array([tail.threshold, max(fitted.max(initial=tail.threshold), moves.max(initial=0.0))])
    axes.plot(ends, ends, color="black", linewidth=0.8, label=f"Pareto, shape {tail.shape:.3f}")
    axes.legend(fontsize="small", loc="upper left")
    return Picture(figure, frame({"pareto": fitted, "move": moves}, {"unit": "logarithm"}))


def threshold_mean_excess(found: MeanExcess, title: str = "", chosen: float | None = None) -> Picture:
    """Mean excess of moves over thresholds with two standard errors; a line that rises is a tail of Pareto kind.

    chosen  threshold to mark, in logarithm; None for none

    The frame: threshold, mean_excess, error (in logarithm), count.
    """
    figure, axes = new_axes(title or "mean excess over thresholds", "threshold [% in logarithm]",
                            "mean excess [% in logarithm]")  # fmt: skip
    axes.errorbar(100.0 * found.threshold, 100.0 * found.mean, yerr=200.0 * found.error, marker="o", markersize=4,
                  capsize=3, label="mean excess, two standard errors")  # fmt: skip
    axes.set(ylim=(0.0, None))
    _mark(axes, chosen)
    axes.legend(fontsize="small", loc="upper left")
    columns = {"threshold": found.threshold, "mean_excess": found.mean, "error": found.error, "count": found.above}
    return Picture(figure, frame(columns, {"unit": "logarithm"}))


def threshold_stability(found: Stability, title: str = "", chosen: float | None = None) -> Picture:
    """Shape of the Pareto tail, with two standard errors, and the quantile it says, over thresholds; the less both move
    around the chosen one, the less the choice matters.

    chosen  threshold to mark, in logarithm; None for none

    The frame: threshold, shape, error, quantile (in logarithm), count.
    """
    figure, first = new_axes("", "", "")
    first.remove()
    figure.suptitle(title or "Pareto tails over thresholds")
    above, below = figure.subplots(2, 1, sharex=True)
    above.errorbar(
        100.0 * found.threshold, found.shape, yerr=2.0 * found.shape_error, marker="o", markersize=4, capsize=3
    )
    above.axhline(0.0, color="black", linewidth=0.6)
    above.set(ylabel="shape, two errors")
    below.plot(100.0 * found.threshold, 100.0 * found.quantile, marker="o", markersize=4)
    low, high = 100.0 * found.quantile.min(), 100.0 * found.quantile.max()
    below.set(
        xlabel="threshold [% in logarithm]",
        ylabel="quantile [% in logarithm]",
        ylim=(low - 0.1 * abs(low), high + 0.1 * abs(high)),
    )
    for axes in (above, below):
        axes.grid(visible=True, alpha=0.3)
        _mark(axes, chosen)
    if chosen is not None:
        above.legend(fontsize="small")
    columns = {"threshold": found.threshold, "shape": found.shape, "error": found.shape_error,
               "quantile": found.quantile, "count": found.exceedances}  # fmt: skip
    return Picture(figure, frame(columns, {"unit": "logarithm"}))


def _mark(axes: Any, chosen: float | None) -> None:
    """A line at the threshold that the settings take."""
    if chosen is not None:
        label = f"chosen, {100 * chosen:.2f} %"
        axes.axvline(100.0 * chosen, color=ALLOWED, linestyle="--", linewidth=0.8, label=label)


def tenor_shocks(
    days: ArrayLike, charged: Mapping[str, ArrayLike], fitted: Mapping[str, ArrayLike], title: str = ""
) -> Picture:
    """Vol shocks over days to expiry, charged as lines and fitted to chains as points.

    days     (K,) to expiry
    charged  name of a side, or of an underlying and a side -> (K,) relative vol moves; the first underlying has whole
             lines, others dashes, through which lines below are seen
    fitted   the same fitted to chains, {} where there were none
    title    in place of the usual one

    The frame: side, kind (charged or fitted), days, shock.
    """
    figure, axes = new_axes(title or "vol shocks by tenor", "days to expiry", "vol shock [% of vol]")
    tenors = np.asarray(days, dtype=np.float64)
    names, kinds, values = [], [], []
    of = list(dict.fromkeys(name.rpartition(" ")[0] for name in (*charged, *fitted)))
    for kind, shocks in (("charged", charged), ("fitted", fitted)):
        for n, (name, shock) in enumerate(shocks.items()):
            own = of.index(name.rpartition(" ")[0]) % len(LINES)
            line = {"linestyle": LINES[own], "linewidth": 2.4 if own == 0 else 1.5, "marker": ""}
            point = {"linestyle": "", "marker": POINTS[own], "fillstyle": "none"}
            style = line if kind == "charged" else point
            axes.plot(tenors, 100.0 * np.asarray(shock), color=f"C{n}", label=f"{name}, {kind}", **style)
            names.append(name)
            kinds.append(kind)
            values.append(np.asarray(shock, dtype=np.float64))
    axes.set_xscale("log")
    axes.set_xticks(tenors, [f"{day:g}" for day in tenors], minor=False)
    axes.set_xticks([], minor=True)
    axes.set(ylim=(0.0, None))
    axes.legend(fontsize="small")
    count = len(tenors)
    columns = {"side": np.repeat(names, count), "kind": np.repeat(kinds, count),
               "days": np.tile(tenors, len(values)), "shock": np.concatenate(values)}  # fmt: skip
    return Picture(figure, frame(columns, {"unit": "share of vol"}))


def correlation_matrix(names: Sequence[str], found: Shrunk, title: str = "") -> Picture:
    """Correlations of the daily returns of underlyings, shrunk, with those of the sample in brackets.

    names  (U,) of the underlyings

    The frame: underlying, other, shrunk, sample.
    """
    text = title or f"correlation of daily returns, shrunk by {100 * found.intensity:.2g} %"
    figure, axes = new_axes(text, "", "")
    count = len(names)
    figure.set_size_inches(4.2 + 0.8 * count, 2.4 + 0.6 * count)
    image = axes.imshow(found.correlation, cmap="RdBu_r", vmin=-1.0, vmax=1.0)
    figure.colorbar(image, label="correlation", fraction=0.04, pad=0.02)
    axes.grid(visible=False)
    axes.set_xticks(range(count), names)
    axes.set_yticks(range(count), names)
    for (row, column), value in np.ndenumerate(found.correlation):
        said = f"{value:.3f}\n({found.sample[row, column]:.3f})"
        axes.text(
            column, row, said, ha="center", va="center", fontsize=8, color="white" if abs(value) > 0.6 else "black"
        )
    columns = {"underlying": np.repeat(names, count), "other": np.tile(names, count),
               "shrunk": found.correlation.ravel(), "sample": found.sample.ravel()}  # fmt: skip
    return Picture(figure, frame(columns, {}))
