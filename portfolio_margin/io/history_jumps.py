"""Jumps of a history that are no move of a market: splits, changes of unit, bad ticks."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from pricing.arrays import FloatArray, IntArray, StrArray
from pricing.errors import Problem

# A move so many times the median move is a jump; crashes of indices and coins were up to about 80 times.
JUMP = 12.0
# How near the ratio of two rows must be to one of a split.
NEARNESS = 0.04
# Splits of more for less. Beyond the largest every ratio is within the nearness of a whole one.
SMALL_SPLITS = ((5, 4), (4, 3), (3, 2), (8, 5), (5, 3), (7, 4))
LARGE_SPLITS = (*((n, 1) for n in range(2, 13)), (5, 2), (7, 2), (9, 2), (7, 3), (8, 3))
# Markets do jump by a quarter or a half, among rows that are wild as well: the Monday of 1987 was 8 times the mean move
# of the rows around it, 49 times the median of all; Student t with 5 degrees of freedom passes 14 in 1 of 23,000 rows.
SMALL, AROUND, JUMP_AROUND = np.log(1.9), 10, 14.0
# A shift of the level by any ratio is this many times the mean of the moves around it but the largest, which another
# shift may have made. Of days of real files the Thursday of March 2020 comes nearest, 14.1 times in BTC; of bars within
# a day an hour of ETH, 34 times. A market of Student t with 4 degrees of freedom passes 20 in 1 of 10,000 rows.
SHIFT_OF_DAYS, SHIFT_OF_BARS = 20.0, 60.0
# Bad ticks: so many rows at most, back within this share of the jump.
TICK_ROWS, TICK_BACK = 6, 0.25
SHOWN, WEEKEND = 3, 3.0
# So many closes in a row that are the same are a market that was closed, or were filled in.
STANDING_STILL = 5


class Prices(NamedTuple):
    """Rows of a history: file, column, (R,) time as told, (R,) day YYYY-MM-DD, (R,) price, (R,) row of the file;
    (R-1,) steps from each row to the next, in units of the usual one."""

    file: str
    column: str
    time: StrArray
    day: StrArray
    price: FloatArray
    row: IntArray
    steps: FloatArray


class Jumps(NamedTuple):
    """What is wrong, one problem each; what is told, a sentence or none; (J,) places of the jumps, accepted or not."""

    problems: list[Problem]
    told: list[str]
    places: list[int]


def find_jumps(given: Prices, accept: Collection[str], daily: bool = True) -> Jumps:
    """Jumps of a dozen median moves that are reversed within six rows, whose ratio is within 4 % of one of a split, or
    that are farther from the moves of the rows around them than those of markets are.

    accept  days whose jump is known to be real
    daily   whether rows are days. Within a day a market may move by a quarter among hours of half a percent, and
            nothing is split: ratios below 2 are no splits, and shifts by any ratio are farther

    Jumps by a factor below 1.9 that are near a split must be far from the moves of the rows around them too. All others
    of days are told, those of bars within a day where their factor is 1.9 or more or they are 14 times what is around
    them.
    """
    level = np.log(given.price)
    move = np.diff(level)
    size = np.abs(move)
    usual = float(np.median(size[size > 0.0])) if np.any(size > 0.0) else 0.0
    # Over a gap a market moves by more, as the root of time; a weekend is none.
    size = np.where((size <= SMALL) & (given.steps > WEEKEND), size / np.sqrt(given.steps), size)
    found, wild, moves = Jumps([], [], []), list[tuple[float, str]](), list[tuple[float, str]]()
    back = -1
    for n in np.flatnonzero(size > JUMP * usual).tolist():
        if n <= back:
            continue
        end = _back(level, move, n, JUMP * usual)
        if end:
            found.places.extend((n + 1, end + 1))
            back = end
            if given.day[n + 1] not in accept:
                found.problems.append(_bad_tick(given, n + 1, end))
            continue
        factor = float(np.exp(abs(move[n])))
        ratio, times = _split(factor, daily), times_around(size, n)
        near = bool(ratio) and (size[n] > SMALL or _stands_out(size, n, n))
        shifted = times > (SHIFT_OF_DAYS if daily else SHIFT_OF_BARS)
        if near or shifted:
            found.places.append(n + 1)
        if given.day[n + 1] in accept:
            continue
        said = f"{given.price[n]:g} to {given.price[n + 1]:g} on {given.time[n + 1]}"
        if near or shifted:
            found.problems.append(_changed(given, n, ratio or f"{factor:.3g}", move[n] < 0.0))
        elif ratio:
            wild.append((times, f"{said} is near {ratio}"))
        elif daily or times > JUMP_AROUND or size[n] > SMALL:
            moves.append((times, f"{said}, by {np.exp(move[n]):.4g}, {times:.3g} times those around it"))
    told = _one_sentence(given.file, wild, "taken as moves, among others as wild, and not as splits")
    return found._replace(told=told + _one_sentence(given.file, moves, "taken as moves, near no split"))


def _one_sentence(file: str, moves: list[tuple[float, str]], taken: str) -> list[str]:
    """Moves by how many times those around them they are, farthest first, and how each is told."""
    if not moves:
        return []
    far = [said for _, said in sorted(moves, key=lambda one: -one[0])]
    more = f" and {len(far) - SHOWN} more" if len(far) > SHOWN else ""
    return [f"{file}: {'; '.join(far[:SHOWN])}{more}: {taken}"]


def _back(level: FloatArray, move: FloatArray, n: int, jump: float) -> int:
    """The move that takes a jump back, 0 where none does."""
    for end in range(n + 1, min(n + TICK_ROWS, len(move) - 1) + 1):
        least = min(abs(move[n]), abs(move[end]))
        opposite = move[n] * move[end] < 0.0 and least > jump
        if opposite and abs(level[end + 1] - level[n]) <= TICK_BACK * least:
            return end if least > SMALL or _stands_out(np.abs(move), n, end, least) else 0
    return 0


def _stands_out(size: FloatArray, first: int, last: int, jump: float | None = None) -> bool:
    """Whether a jump is far from the moves of the rows before its first and after its last."""
    around = np.concatenate([size[max(0, first - AROUND) : first], size[last + 1 : last + 1 + AROUND]])
    of = size[first] if jump is None else jump
    return not len(around) or bool(of > JUMP_AROUND * around.mean())


def times_around(size: FloatArray, n: int) -> float:
    """One of (R,) sizes of moves in units of the mean of the ten on either side but the largest of them; 0 where there
    are fewer than ten in all, which is too few to tell."""
    around = np.concatenate([size[max(0, n - AROUND) : n], size[n + 1 : n + 1 + AROUND]])
    if len(around) < AROUND:
        return 0.0
    mean = (around.sum() - around.max()) / (len(around) - 1)
    return float(size[n] / mean) if mean > 0.0 else float("inf")


def _split(ratio: float, daily: bool) -> str:
    """The ratio of a split, as it is told; "" where it is near none."""
    known = (*SMALL_SPLITS, *LARGE_SPLITS) if daily else LARGE_SPLITS
    near = [(abs(ratio * q / p - 1.0), p, q) for p, q in known]
    off, p, q = min(near)
    if off <= NEARNESS:
        return f"{p}" if q == 1 else f"{p}:{q}"
    power = 10.0 ** round(np.log10(ratio))
    if ratio > 12.0:
        return f"{power:.0f}" if abs(ratio / power - 1.0) <= NEARNESS else f"{ratio:.3g}"
    return ""


def _bad_tick(given: Prices, first: int, last: int) -> Problem:
    """first, last: rows of the tick."""
    rows = "" if first == last else f" after row {given.row[last]}"
    remedy = (
        f"a jump from {given.price[first - 1]:g} and back to {given.price[last + 1]:g}{rows}: looks like a bad tick; "
        f"correct or blank it, or accept the day {given.day[first]}"
    )
    return Problem(given.file, int(given.row[first]), given.column, float(given.price[first]), remedy)


def _changed(given: Prices, n: int, ratio: str, down: bool) -> Problem:
    way = "divided" if down else "multiplied"
    still = _standing(given.price, n)
    stood, cause = "", ""
    if still >= STANDING_STILL:
        stood = f", the same on {still} rows from {given.time[n + 1 - still]}"
        cause = ", or like prices that were filled in: blank the rows that stand still"
    remedy = (
        f"{way} by {ratio} since {given.time[n]} ({given.price[n]:g}{stood}): looks like a split or another unit"
        f"{cause}; adjust the rows before it, or accept the day {given.day[n + 1]}"
    )
    return Problem(given.file, int(given.row[n + 1]), given.column, float(given.price[n + 1]), remedy)


def _standing(price: FloatArray, last: int) -> int:
    """Rows in a row with the price of a row, which is the last of them."""
    other = np.flatnonzero(price[: last + 1] != price[last])
    return last - int(other[-1]) if len(other) else last + 1
