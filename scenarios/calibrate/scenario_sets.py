"""Sets of scenarios from history: which periods were stressed, and which few of many scenarios are ever the worst."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.calibrate.moves import horizon_moves
from scenarios.calibrate.settings import Settings

HEDGED_LEGS = 4


class Period(NamedTuple):
    """Steps of a history, and how wild they were.

    first, last  rows of the returns, both inside
    stress       root mean square of the moves over the horizon in it, over that of the whole history
    """

    first: int
    last: int
    stress: float


def stress_periods(returns: ArrayLike, settings: Settings) -> list[Period]:
    """The most stressed periods of a history, no two overlapping, in the order of time.

    returns  (T,U) log returns a day, oldest first; every underlying counts alike, by its own deviation

    The stress of `stress_days` is the mean square of the moves over the horizon within them, in units of that of the
    history. The first period is that of the largest stress, the next that of the largest among the rest.
    """
    rows = np.asarray(returns, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    days, steps = int(settings.stress_days), int(settings.horizon_days)
    if len(rows) < days or days < steps:
        raise ConfigError(f"stress_days = {days}: needs {steps} (horizon_days) to {len(rows)}, the days there are")
    moves = horizon_moves(rows, steps)
    mean = np.mean(moves * moves, axis=0)
    if not np.all(mean > 0.0):
        raise ConfigError("returns: a column that does not move has no stressed period")
    square = np.append(0.0, np.cumsum(np.mean(moves * moves / mean, axis=1)))
    width = days - steps + 1
    stress = (square[width:] - square[:-width]) / width
    free, chosen = np.ones(len(stress), dtype=np.bool_), []
    for _ in range(int(settings.stress_periods)):
        if not np.any(free):
            break
        first = int(np.argmax(np.where(free, stress, -np.inf)))
        chosen.append(Period(first, first + days - 1, float(np.sqrt(stress[first]))))
        free[max(first - days + 1, 0) : first + days] = False
    return sorted(chosen)


class Compression(NamedTuple):
    """The few scenarios that are ever the worst.

    kept     (K,) rows of the set, rising
    tried    books that chose them
    missed   share of the books held out whose worst scenario is not kept
    largest  largest shortfall of the margin (a worst loss, or mean of tails) among the books held out, a share of it
    mean     mean shortfall
    """

    kept: IntArray
    tried: int
    missed: float
    largest: float
    mean: float


def compress(pnl: ArrayLike, settings: Settings, books: int = 2000, tolerance: float = 1e-3) -> Compression:
    """Scenarios that are the worst for some book, and what leaving out all others costs books that chose none of them.

    pnl        (N,S) P&L of one long contract in every scenario
    books      of each of two halves: those that choose, and those that are held out to measure the error
    tolerance  mean shortfall at which books stop being added, a share of the worst loss; at most eight times as many

    Books are single contracts long and short, and random ones of few and of all contracts, with quantities of either
    sign in units of a contract's own largest move, so that cheap wings count as much as futures. The shortfall is
    1 - worst loss among those kept / worst loss; it is never below 0. ConfigError where no scenario loses.
    """
    table = _scaled(pnl)
    random = np.random.default_rng(int(settings.seed))
    held_out = _books(random, len(table), books) @ table
    worst = held_out.min(axis=1)
    kept = np.unique(np.concatenate([table.argmin(axis=1), table.argmax(axis=1)]))
    tried = 2 * len(table)
    while True:
        kept = np.union1d(kept, np.unique((_books(random, len(table), books) @ table).argmin(axis=1)))
        tried += books
        shortfall = np.where(worst < 0.0, 1.0 - held_out[:, kept].min(axis=1) / np.minimum(worst, -1e-300), 0.0)
        if shortfall.mean() <= tolerance or tried >= 8 * books:
            break
    missed = float(np.mean(~np.isin(held_out.argmin(axis=1), kept)))
    return Compression(kept.astype(np.int64), tried, missed, float(shortfall.max()), float(shortfall.mean()))


def compress_tails(
    pnl: ArrayLike, settings: Settings, count: int, tail: ArrayLike, turns: int = 1, books: int = 2000
) -> Compression:
    """The scenarios that are most often in the tail of a book, for a margin that is a mean of the largest losses.

    pnl    (N,S) P&L of one long contract in every scenario
    count  scenarios to keep, `turns` times at least as many as the tail has ranks, fewer than S
    tail   (k,) weights of the k largest losses in the margin, the largest last
    turns  sub-samples, in which scenarios stand in turn; the margin is the mean over them, and as many of each are kept
    books  of each of two halves, as in `compress`: those that choose, and those held out

    `kept` stands in turn as well, each sub-sample in its own order. `missed` is the share of the books held out with a
    scenario in their tail that is not kept; the shortfalls are of the margin. ConfigError for a count out of bounds.
    """
    table, weights, turns = _scaled(pnl), np.asarray(tail, dtype=np.float64), int(turns)
    each, least = int(count) // turns, turns * len(weights)
    if not least <= count < table.shape[1] or each * turns != count:
        text = (
            f"must be a multiple of {turns} from {least}, the ranks of a tail, to below the {table.shape[1]} there are"
        )
        raise ConfigError(f"count = {count!r}: {text}")
    random = np.random.default_rng(int(settings.seed))
    held_out = -(_books(random, len(table), books) @ table)
    choosing = -np.vstack([table, -table, _books(random, len(table), books) @ table])
    chosen, margins, inside = [], np.zeros((2, books)), np.ones(books, dtype=np.bool_)
    for first in range(turns):
        own = np.arange(first, table.shape[1], turns)
        often = np.bincount(_largest(choosing[:, own], len(weights)).ravel(), minlength=len(own))
        best = np.sort(np.argsort(-often, kind="stable")[:each])
        chosen.append(own[best])
        inside &= np.isin(_largest(held_out[:, own], len(weights)), best).all(axis=1)
        for row, columns in enumerate((own, own[best])):
            largest = np.sort(held_out[:, columns], axis=1)[:, -len(weights) :]
            margins[row] += np.maximum(largest @ weights, 0.0)
    shortfall = np.where(margins[0] > 0.0, 1.0 - margins[1] / np.maximum(margins[0], 1e-300), 0.0)
    kept = np.stack(chosen, axis=1).ravel().astype(np.int64)
    return Compression(kept, len(choosing), float(np.mean(~inside)), float(shortfall.max()), float(shortfall.mean()))


def _scaled(pnl: ArrayLike) -> FloatArray:
    """P&L in units of a contract's own largest move, of those that move. ConfigError where none does."""
    table = np.asarray(pnl, dtype=np.float64)
    scale = np.abs(table).max(axis=1)
    if not np.any(scale > 0.0):
        raise ConfigError("pnl: no contract moves in any scenario")
    return np.asarray(table[scale > 0.0] / scale[scale > 0.0, None])


def _largest(losses: FloatArray, count: int) -> IntArray:
    """(B,count) columns of the largest losses of each row."""
    return np.asarray(np.argpartition(losses, losses.shape[1] - count, axis=1)[:, losses.shape[1] - count :])


def _books(random: np.random.Generator, contracts: int, count: int) -> FloatArray:
    """(count,N) quantities: a half of books with up to four contracts, a half with all of them."""
    quantity = random.normal(size=(count, contracts))
    few = count // 2
    legs = random.integers(0, contracts, size=(few, HEDGED_LEGS))
    held = np.zeros((few, contracts), dtype=np.bool_)
    held[np.arange(few)[:, None], legs] = True
    quantity[:few] *= held
    return quantity
