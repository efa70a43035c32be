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
SMALL_SPLITS = ((5, 4), (4, 3), (3, 2))
LARGE_SPLITS = (*((n, 1) for n in range(2, 13)), (5, 2), (7, 2), (9, 2), (7, 3), (8, 3))
# Markets do jump by a quarter or a half, among rows that are wild as well: the Monday of 1987 was 8 times the mean move
# of the rows around it, 49 times the median of all; Student t with 5 degrees of freedom passes 14 in 1 of 23,000 rows.
SMALL, AROUND, JUMP_AROUND = np.log(1.9), 10, 14.0
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


def find_jumps(given: Prices, accept: Collection[str], splits: bool = True) -> Jumps:
    """Jumps of a dozen median moves that are reversed within six rows, or whose ratio is within 4 % of one of a split.

    accept   days whose jump is known to be real
    splits   whether ratios below 2 count: within a day a market may move by a quarter, and nothing is split

    Jumps by a factor below 1.9 must be far from the moves of the rows around them too; what is near a split and is not,
    is told, and so are larger jumps whose ratio is near none.
    """
    level = np.log(given.price)
    move = np.diff(level)
    size = np.abs(move)
    usual = float(np.median(size[size > 0.0])) if np.any(size > 0.0) else 0.0
    # Over a gap a market moves by more, as the root of time; a weekend is none.
    size = np.where((size <= SMALL) & (given.steps > WEEKEND), size / np.sqrt(given.steps), size)
    found, large = Jumps([], [], []), list[str]()
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
        ratio = _split(float(np.exp(abs(move[n]))), splits)
        if not ratio:
            if size[n] > SMALL and given.day[n + 1] not in accept:
                large.append(f"{given.price[n]:g} to {given.price[n + 1]:g} on {given.time[n + 1]}")
            continue
        lone = size[n] > SMALL or _stands_out(size, n, n)
        if lone:
            found.places.append(n + 1)
        if given.day[n + 1] in accept:
            continue
        if lone:
            found.problems.append(_changed(given, n, ratio, move[n] < 0.0))
        else:
            found.told.append(f"{given.price[n]:g} to {given.price[n + 1]:g} on {given.time[n + 1]} is near {ratio}")
    wild = _one_sentence(given.file, found.told, "taken as moves, among others as wild, and not as splits")
    return found._replace(told=wild + _one_sentence(given.file, large, "taken as moves; the ratio is near no split"))


def _one_sentence(file: str, moves: list[str], taken: str) -> list[str]:
    if not moves:
        return []
    more = f" and {len(moves) - SHOWN} more" if len(moves) > SHOWN else ""
    return [f"{file}: {'; '.join(moves[:SHOWN])}{more}: {taken}"]


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


def _split(ratio: float, splits: bool) -> str:
    """The ratio of a split, as it is told; "" where it is near none."""
    known = (*SMALL_SPLITS, *LARGE_SPLITS) if splits else LARGE_SPLITS
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
