"""Positions as the screen of Derive's portfolio margin reads them, by groups: made once for a book, read at every tick.

A tick changes what contracts are worth, not who holds how many. What follows from the book and from what does not move
of contracts, their steps, sizes and strikes, is kept beside the positions for as long as those live.

A group, what an account holds of an expiry, is mostly one contract or two, in whole steps that have exact singles: it
is a pair, whose second half may be empty. All positions of every other group stand apart.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.backends import derive_parts, lanes, steps
from portfolio_margin.kernel_inputs import Positions
from pricing.arrays import FloatArray, IntArray
from pricing.xp import numba as XP

# The name of what is kept of positions.
KEPT = "derive pairs"
# Whole numbers up to here have exact singles; rows up to here are numbers of 16 bits.
MOST_STEPS = 2.0**24
MOST_ROWS = 2**16
# Empty groups behind the last one, and positions behind the last that stands apart, whose rows are asked for ahead.
GROUPS_BEHIND, POSITIONS_BEHIND = 16, 3


class Pairs(NamedTuple):
    """Of a block of accounts with G groups, in spans of so many accounts, S of them.

    row         (G + GROUPS_BEHIND, 2) -> N, 16 bits, 0 where nothing is held; of a group apart its first ones
    steps       (G + GROUPS_BEHIND, 2) steps, singles; NaN and how many positions it has, of a group apart
    naked       (G,) units of options short after netting by strike
    apart_row, apart_held   (M + POSITIONS_BEHIND,) positions that stand apart, in their order: row, and steps or
                balance; 0 steps of what has no clear number of them
    apart_from  (S + 1,) the first of each span
    others      (S,) how many positions of a span are no options
    doubtful    how many have no clear number of steps
    """

    row: Any
    steps: Any
    naked: FloatArray
    apart_row: Any
    apart_held: FloatArray
    apart_from: IntArray
    others: IntArray
    doubtful: int


class Kept(NamedTuple):
    """What is kept of positions.

    made_with   1 / unit, strike and units of contracts (N,), which all of it depends on
    blocks      by first and last account and accounts of a span; one that is missing has not been read
    """

    made_with: tuple[Any, ...]
    blocks: dict[tuple[int, int, int], Pairs]


def _read_template(tag: str) -> Any:
    def read(first, last, at_once, positions, terms, nets, pairs, apart, by_span):
        """Fill the columns of accounts first to last - 1; how many positions stand apart, and how many are doubtful."""
        tag  # noqa: B018 - enters the key of the disk cache
        account_ptr, group_ptr, instrument_idx, quantity = positions
        per_unit, strike, units = terms
        row, steps, naked = pairs
        apart_row, apart_held = apart
        apart_from, others = by_span
        picked = AT(instrument_idx, 0), AT(quantity, 0)  # noqa: F821
        of_strikes, scratch = (AT(strike, 0), AT(units, 0)), (AT(nets[0], 0), AT(nets[1], 0), AT(nets[2], 0))  # noqa: F821
        low, count, doubtful = account_ptr[first], 0, 0
        for a in range(first, last):
            span = (a - first) // at_once
            if (a - first) % at_once == 0:
                apart_from[span], others[span] = count, 0
            for g in range(account_ptr[a], account_ptr[a + 1]):
                begins, end, i, options, before, shorts = group_ptr[g], group_ptr[g + 1], g - low, 0, -1, 0.0
                paired, same = end - begins <= 2, False
                for p in range(begins, end):
                    n, q = instrument_idx[p], quantity[p]
                    quotient = q * per_unit[n]
                    whole = lanes.nearest(quotient)
                    clear = IS_CLEAR(quotient, whole)  # noqa: F821
                    asset = per_unit[n] != per_unit[n]
                    here = whole if clear else (q if asset else 0.0)
                    doubtful += 0 if clear or asset else 1
                    # Those of a pair are overwritten by what comes next.
                    apart_row[count + p - begins], apart_held[count + p - begins] = n, here
                    paired &= abs(here) <= MOST_STEPS and not asset
                    if strike[n] >= 0:
                        amount = q * units[n]
                        shorts += -amount if amount < 0.0 else 0.0
                        same |= strike[n] == before
                        before, options = strike[n], options + 1
                others[span] += end - begins - options
                naked[i] = NAKED(begins, end, picked, *of_strikes, scratch) if same or options > 2 else shorts  # noqa: F821
                for place in range(2):
                    here = place < end - begins
                    row[i, place] = apart_row[count + place] if here else 0
                    steps[i, place] = apart_held[count + place] if here and paired else 0.0
                if not paired:
                    steps[i, 0], steps[i, 1] = np.nan, end - begins
                    count += end - begins
        apart_from[len(others)] = count
        apart_row[count : count + POSITIONS_BEHIND] = 0
        return count, doubtful

    return read


@functools.cache
def _reader() -> Any:
    """The kernel that reads a block."""
    tag = XP.source_hash(lanes, derive_parts, steps)
    net = XP.compile_kernel(derive_parts.naked_template(""), tag, None, fastmath=False)
    names = {"AT": lanes.address, "NAKED": net, "IS_CLEAR": steps.is_clear}
    return XP.compile_kernel(_read_template(""), tag, None, names, fastmath=False)


def kept(positions: Positions, made_with: tuple[Any, ...]) -> Kept:
    """What is kept of the positions for 1 / unit, strike and units of contracts; of others, nothing yet."""
    found: Kept | None = None if positions.kept is None else positions.kept.get(KEPT)
    if found is not None and all(
        np.array_equal(one, other, equal_nan=True) for one, other in zip(found.made_with, made_with, strict=True)
    ):
        return found
    made = Kept(made_with, {})
    if positions.kept is not None:
        positions.kept[KEPT] = made
    return made


def read(of: Kept, positions: Positions, first: int, last: int, at_once: int, strikes: int) -> Pairs:
    """Accounts first to last - 1, in spans of so many; strikes is the most of one expiry.

    Several threads may read the same ones: each into columns of its own, that nobody sees before they are filled.
    """
    found = of.blocks.get((first, last, at_once))
    if found is None:
        account_ptr, group_ptr = positions.account_ptr, positions.group_ptr
        low, high = account_ptr[first], account_ptr[last]
        groups, held, spans = int(high - low), int(group_ptr[high] - group_ptr[low]), -(-(last - first) // at_once)
        shape, room = (groups + GROUPS_BEHIND, 2), held + POSITIONS_BEHIND
        naked = np.empty(groups)
        pairs = np.zeros(shape, np.uint16), np.zeros(shape, np.float32), naked
        row, balance = np.empty(room, np.uint16), np.empty(room)
        by_span = np.empty(spans + 1, np.int64), np.empty(spans, np.int64)
        columns = account_ptr, group_ptr, positions.instrument_idx, positions.quantity
        nets = np.zeros(strikes), np.empty(strikes, np.int64), np.empty(strikes)
        count, doubtful = _reader()(
            first, last, at_once, columns, of.made_with, nets, pairs, (row, balance), by_span
        )  # fmt: skip
        end = count + POSITIONS_BEHIND
        found = Pairs(pairs[0], pairs[1], naked, row[:end].copy(), balance[:end].copy(), *by_span, int(doubtful))
        of.blocks[first, last, at_once] = found
    return found
