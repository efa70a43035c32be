"""How often a band of 90 % holds the truth: of histories of known processes, by process, filter and length.

Without a filter the truth is the range of two days at 99 % of paths without an end; behind a filter that of the two
days after the history, from the variance that the process has by then. What it finds is docs/calibration.md, "Bands".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.parts import command_line
from pricing.arrays import FloatArray
from scenarios.calibrate.bootstrap import block_band
from scenarios.calibrate.levels import FILTERS, Side, method_figure, tail_level
from scenarios.calibrate.made_histories import MadeHistories, make_histories
from scenarios.calibrate.moves import horizon_moves, quantile
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.volatility import Filter, simulate
from tests.scenarios.calibrate.histories import ALPHA, BETA, LONG_RUN, OMEGA, pareto_innovations

LENGTHS = (365, 1_000, 3_650)
FORGOTTEN = 300
# Days of a block in the column beside, which is blocks alone.
BLOCK = 20


class Process(NamedTuple):
    """A GARCH with its innovations of mean square 1, (random, shape) -> draws."""

    garch: Filter
    draw: Callable[[np.random.Generator, tuple[int, ...]], FloatArray]

    def paths(self, random: np.random.Generator, count: int, days: int) -> FloatArray:
        """(count,days) log returns, begun anywhere in its long run."""
        return simulate(self.garch, self.draw(random, (count, days + FORGOTTEN)))[:, FORGOTTEN:]

    def long_run(self, settings: Settings) -> float:
        """Range of the horizon without an end."""
        moves = horizon_moves(self.paths(np.random.default_rng(8), 500, 6_000).T, settings.horizon_days)
        return float(quantile(np.abs(moves).ravel(), settings.confidence))

    def after(self, path: FloatArray, settings: Settings) -> float:
        """Range of the days after a history."""
        begin = self.garch._replace(start=float(self.garch.variance(path)[-1]))
        moves = simulate(begin, self.draw(np.random.default_rng(9), (200_000, settings.horizon_days))).sum(axis=1)
        return float(quantile(np.abs(moves), settings.confidence))


def student(random: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Student's t of four degrees of freedom, of mean square 1."""
    return np.asarray(random.standard_t(4, shape) / np.sqrt(2.0))


PROCESSES = {
    "memory 50 days, Pareto 0.2": Process(Filter(OMEGA, ALPHA, BETA, LONG_RUN, float("nan")), pareto_innovations),
    "memory 50 days, t4": Process(Filter(OMEGA, ALPHA, BETA, LONG_RUN, float("nan")), student),
    "memory 100 days, t4": Process(Filter(1.2e-5, 0.10, 0.89, 1.2e-3, float("nan")), student),
}


def run(histories: int, draws: int) -> None:
    """Print how often bands hold the truth, blocks alone and those of the settings, and how many are doubtful."""
    print(f"bands of 90 %, {histories} histories of each kind, {draws} draws; truth below and above bands that miss it")
    print(
        f"{'process':<28}{'filter':<8}{'days':>7}{'blocks':>9}{'held':>7}{'+-':>5}{'below':>7}{'above':>7}{'doubtful':>10}"
    )
    for name, process in PROCESSES.items():
        ranged = process.long_run(Settings(draws=draws))
        for days in LENGTHS:
            counts = {used: np.zeros(4) for used in FILTERS}
            for path in process.paths(np.random.default_rng(days), histories, days):
                made = make_histories(path, Settings(draws=draws))
                for used, found in counts.items():
                    settings = Settings(draws=draws, filter=used)
                    found += _held(path, settings, made, ranged if used == "none" else process.after(path, settings))
            for used, found in counts.items():
                blocks, below, above, doubtful = found / histories
                held = 1.0 - below - above
                error = np.sqrt(held * (1.0 - held) / histories)
                alone = f"{blocks:>9.0%}" if used == "none" else " " * 9
                print(
                    f"{name:<28}{used:<8}{days:>7,}{alone}{held:>7.0%}{error:>5.0%}{below:>7.0%}{above:>7.0%}"
                    f"{doubtful:>10.0%}",
                    flush=True,
                )


def _held(path: FloatArray, settings: Settings, made: MadeHistories, truth: float) -> list[bool]:
    """Whether blocks alone hold the truth, whether it is below and above the band, and whether that is doubtful."""
    figure = method_figure(path, settings, Side.BOTH, made)
    sizes = np.abs(horizon_moves(path, settings.horizon_days))
    drawn, band = int(settings.draws), settings.band
    alone = block_band(lambda x: tail_level(x, settings), sizes, BLOCK, drawn, band, int(settings.seed))
    return [alone.low <= truth <= alone.high, truth < figure.low, truth > figure.high, figure.doubtful]


if __name__ == "__main__":
    command_line(run, __doc__.splitlines()[0] if __doc__ else None, histories=60, draws=100)
