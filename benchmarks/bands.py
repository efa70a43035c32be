"""How often a band of 90 % holds the truth: of histories of a known process, by their length.

The process is a GARCH(1,1) with the memory of a coin, 50 days, and residuals with a Pareto tail; the truth is its range
of two days at 99 %, over very long paths. What it finds is docs/calibration.md, "Bands".
"""

from __future__ import annotations

import numpy as np

from benchmarks.parts import command_line
from pricing.arrays import FloatArray
from scenarios.calibrate.bootstrap import block_band, block_length
from scenarios.calibrate.levels import Side, method_figure, tail_level
from scenarios.calibrate.made_histories import make_histories
from scenarios.calibrate.moves import horizon_moves, quantile
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.volatility import Filter, simulate
from tests.scenarios.calibrate.histories import ALPHA, BETA, LONG_RUN, OMEGA, pareto_innovations

TRUTH = Filter(OMEGA, ALPHA, BETA, LONG_RUN, float("nan"))
LENGTHS = (365, 1_000, 1_500, 3_650)
FORGOTTEN = 300
FIXED_BLOCK = 20


def paths_of(random: np.random.Generator, count: int, days: int) -> FloatArray:
    """(count,days) log returns of the process, begun anywhere in its long run."""
    return simulate(TRUTH, pareto_innovations(random, (count, days + FORGOTTEN)))[:, FORGOTTEN:]


def long_run_range(settings: Settings) -> float:
    """The quantile of the moves over the horizon of the process without an end."""
    moves = horizon_moves(paths_of(np.random.default_rng(8), 500, 6_000).T, settings.horizon_days)
    return float(quantile(np.abs(moves).ravel(), settings.confidence))


def run(histories: int, draws: int) -> None:
    """Print, by length of history, how often bands of three kinds hold the truth, and how many are told as doubtful."""
    settings = Settings(draws=draws)
    truth = long_run_range(settings)
    print(f"bands of 90 %, {histories} histories of each length, {draws} draws; the truth is {truth:.4f} (logarithm)")
    print(f"{'days':>8}{'blocks of 20':>15}{'blocks by rule':>16}{'default':>10}{'+-':>6}{'doubtful':>10}")
    for days in LENGTHS:
        held, doubtful = np.zeros(3), 0
        for path in paths_of(np.random.default_rng(days), histories, days):
            figure = method_figure(path, settings, Side.BOTH, make_histories(path, settings, refit=False))
            sizes = np.abs(horizon_moves(path, settings.horizon_days))
            lengths = FIXED_BLOCK, block_length(sizes, settings, apart=1)
            blocks = [
                block_band(lambda x: tail_level(x, settings), sizes, length, draws, settings.band, settings.seed)
                for length in lengths
            ]
            held += [band.low <= truth <= band.high for band in (*blocks, figure)]
            doubtful += figure.doubtful
        share = held / histories
        error = np.sqrt(share[2] * (1.0 - share[2]) / histories)
        kinds = f"{share[0]:>15.0%}{share[1]:>16.0%}{share[2]:>10.0%}{error:>6.0%}"
        print(f"{days:>8,}{kinds}{doubtful / histories:>10.0%}", flush=True)


if __name__ == "__main__":
    command_line(run, __doc__.splitlines()[0] if __doc__ else None, histories=80, draws=100)
