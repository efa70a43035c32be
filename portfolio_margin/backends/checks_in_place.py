"""A screen of worst losses for orders in batch that reads positions where they lie; see `screen_numba` for its bound.

An order is one position more, beside those of its account: sums of rows do not ask whether a contract is held already.
So nothing is put down of accounts all of whose positions fit into words, where all nets with all and no scenario moves
a balance; others are put down first, by `checks_screened`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from portfolio_margin.backends import lanes, packed_rows, screen_numba
from portfolio_margin.backends.check_parts import SUMMED
from portfolio_margin.backends.checks_known import ROW, ROW_BITS
from portfolio_margin.backends.packed_rows import SHARES
from portfolio_margin.backends.screen_numba import HALF, MOST_LEFT
from pricing.xp import numba as XP

# The upper half of a word, in its place.
UPPER = np.int32(-(2**ROW_BITS))
# Numbers of an account and its order: the place of the order in its block, first position and how many, row and steps
# of the order, steps of all of them, their magnitudes added up.
NUMBERS_OF_ACCOUNT = 6
PLACE, STARTS, HOLDS, OF_ROW, STEPS, HELD_AFTER = range(NUMBERS_OF_ACCOUNT)


def _look_template(tag: str) -> Any:
    def look(count, words, accounts, packed, largest, valid, bits):
        """Which scenarios can be the worst of accounts after an order each, into `bits`.

        accounts  address of NUMBERS_OF_ACCOUNT of each of `count` accounts
        packed    address of the packed rows; `largest` and `valid` as `screen_numba` has them
        """
        tag  # noqa: B018 - as kernels do
        XP.vector_loop()
        share = largest / SHARES
        for i in range(count):
            given = lanes.offset(accounts, i * NUMBERS_OF_ACCOUNT)
            first, p, held = given[STARTS], given[STARTS], float(given[HELD_AFTER])
            last, whole = first + given[HOLDS], NOTHING()  # noqa: F821
            while p + 1 < last:
                one, other = words[p], words[p + 1]
                both = np.int32((one >> ROW_BITS) & ROW | other & UPPER)
                whole = ADD_PAIR(whole, packed, np.int32(one & ROW), np.int32(other & ROW), both)  # noqa: F821
                p += 2
            # The order stands beside the last position, if that is alone.
            row, steps = np.int32(given[OF_ROW]), np.int32(given[STEPS] << ROW_BITS)
            beside = words[p] if p < last else np.int32(row)
            alone = (beside >> ROW_BITS) & ROW if p < last else np.int32(0)
            whole = ADD_PAIR(whole, packed, np.int32(beside & ROW), row, np.int32(alone | steps))  # noqa: F821
            off = BOUND(0, held * largest) + HALF * held * share  # noqa: F821
            left, _ = LEFT(SCALED(whole, np.float32(share)), off)  # noqa: F821
            bits[i] = left & valid

    return look


def _sum_template(tag: str) -> Any:
    def summed(first, last, words, column):
        tag  # noqa: B018
        total = 0.0
        for p in range(first, last):
            both = words[p]
            total += np.float64(both >> ROW_BITS) * column[both & ROW]
        return total

    return summed


def _settle_template(tag: str) -> Any:
    def settle(count, words, accounts, columns, contracts, bits, known, size):
        """Worst losses of accounts by the scenarios that are left, into `known`; what stays in `bits` was too many.

        columns  address of rows scenario by scenario, `contracts` each
        known    as of `check_parts.put_known` for blocks of `size`
        Returns how many have some left, and of how many it was not one scenario at once.
        """
        tag  # noqa: B018
        again, unclear = 0, 0
        for i in range(count):
            given, left, best, tried = lanes.offset(accounts, i * NUMBERS_OF_ACCOUNT), bits[i], 0.0, 0
            first, row, steps = given[STARTS], given[OF_ROW], float(given[STEPS])
            last = first + given[HOLDS]
            unclear += left & (left - 1) != 0
            while left != 0 and tried < MOST_LEFT:
                column = lanes.offset(columns, lanes.first_place(left) * contracts)
                left &= left - 1
                tried += 1
                best = min(best, SUM(first, last, words, column) + steps * column[row])  # noqa: F821
            bits[i] = left
            again += left != 0
            known[SUMMED * size + given[PLACE]] = 0.0 - best
        return again, unclear

    return settle


SOURCES = (packed_rows, screen_numba)


def in_place(width: int, tag: str) -> tuple[Any, Any]:
    """The functions that look at accounts where they lie, and that settle them, for chunks of `width` columns."""

    def part(template: Any, names: dict[str, Any], **options: Any) -> Any:
        found = {"nogil": True, "error_model": "numpy", **options}
        return numba.njit(**found)(XP.bound(template(""), names, tag))

    summed = part(_sum_template, {}, forceinline=True, fastmath={"reassoc", "contract", "nsz"})
    names = {
        "NOTHING": packed_rows.nothing(width), "ADD_PAIR": packed_rows.add_pair(width),
        "SCALED": packed_rows.scaled(width), "LEFT": screen_numba.left(width), "BOUND": screen_numba.bound(),
    }  # fmt: skip
    return part(_look_template, names), part(_settle_template, {"SUM": summed})
