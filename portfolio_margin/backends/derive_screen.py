"""Derive's portfolio margin by a screen: single precision tells which scenarios can be the worst, only those are exact.

As `screen_numba` for plain worst losses: a row of singles is half the bytes, and sums and gains of all scenarios stay
in registers of 256 bits, which for doubles are too few. What counts besides scenarios, the two basis moves and what
positions are worth, is exact from the start: it stands in doubles at the end of a row. The scenarios that are left,
mostly one, are counted from a table by scenario in the order and with the operations of `derive_numba`, so that the
bits are the same. Where it cannot be told which they are, all are left.

What it reads of a book does not move with a tick, and is kept (`derive_pairs`).

**The bound.** Of a set, an underlying of an account: n positions of X expiries, of a pair always two, G = sum |held|
w, with w at least every number of a row and value + gain. Let c be at least 1 and every discount, restating included,
D at least 1 and every dampening, S = tick c D, u = 2^-24. Value + gain of an expiry of n' positions is a sum in single
precision of numbers rounded once, with fused products: off by ((1 + u)^(n' + 3) - 1) of their G (see `screen_numba`).
The gain of an expiry, shocked * discount - value, is linear in that on both sides of 0, where it is continuous, so off
by at most c times as much; discounts are rounded, and so is the sum over expiries, X times: in all (n + X + 5) u c G.
The values add up with X + 4 roundings; to take them off and to dampen are three, of numbers up to 2 c G. A tilt takes
values off one by one, 2 (X + 1) roundings of numbers up to c G, and -|x| is no further off than x. Either way it is
less than 1.016 (n + 2 X + 15) u S G. With

    E = S (1.0625 (n + 2 X + 20) u G + (n + 2 X) 2^-50)

there are 5 u S G to spare for the roundings of doubles, here and in the exact gains, and of the limit below to a
single. Of a balance gain and value are rounded to whole ticks in the exact sums, by a tick together: 1 / (1.0625 u 20)
in G for each. Numbers below 2^-126 may be lost, times |held|: at most 2^73, because w is at least 2^-20, and G at most
2^53, beyond which nothing here is used. n + 2 X is at most 2^18; of more all scenarios are left.

With gains t_s in single precision and the lowest exact gain in scenario s*, t_s* <= t_s + 2 E for every s. The venue
takes a scenario only where it is below the basis contingency b, so t_s* < b + E: only scenarios up to
min(lowest t_s + 2 E, b + E) can be the worst. Of several that are equal all are among them, so the first is found.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
import numpy as np

from portfolio_margin.backends import derive_pairs, derive_parts, derive_passes, derive_single, lanes
from portfolio_margin.backends.derive_parts import EXPIRY_COLUMNS, MOVES, PLAIN, Held, Scan, Sums
from portfolio_margin.backends.derive_passes import SINGLES_OF_LINE
from portfolio_margin.backends.derive_single import ENDS, MARKED, SINGLES
from portfolio_margin.kernel_inputs import POSITIONS_PER_ROW, Positions, Table
from pricing.arrays import FloatArray, IntArray, read_only
from pricing.xp import numba as XP

ROUNDING = 1.0625 * 2.0**-24
SPARE_ROUNDINGS = 20
UNDERFLOW = 2.0**-50
# What the bound holds for: magnitudes of rows, S, and roundings.
LEAST_MAGNITUDE, LARGEST_MAGNITUDE = 2.0**-20, 2.0**64
LEAST_SCALE, LARGEST_SCALE = 2.0**-40, 2.0**40
MOST_ROUNDINGS = 2.0**18
# Accounts of a pass, whose numbers stay in the first caches.
ACCOUNTS_AT_ONCE = 32
# Scenarios an account that are counted one by one; of more, all at once are quicker.
MOST_LEFT = 4
# Registers of 512 bits hold all scenarios in doubles, and how a screen does there is not known.
ROOM_FOR_DOUBLES = max(lanes.WIDTHS) == lanes.WIDEST


class Screen(NamedTuple):
    """A table as the screen reads it; scenarios by place, W of them, tilts last in the last register.

    rows       (N, W + 8) singles: value + gain, of what is not discounted gain alone; four doubles as singles
    factors    (X+1, EXPIRY_COLUMNS) singles: discounts times tick on sums above 0, on others, restating times tick
    of_places  (2,W) singles: dampening, 0 where there is no scenario; sign bits that tilts set
    scale      S of the bound; valid: bits of the places that are scenarios
    magnitude  (N,) of a row, for G of the bound; expiries (X+1, EXPIRY_COLUMNS), as `factors` with that of cash first
    columns    (n,N) ticks by scenario; order (W+1,) scenario of a place, 0 where there is none
    dampening, tilt  (n,) of scenarios
    """

    rows: Any
    factors: Any
    of_places: Any
    scale: float
    valid: int
    magnitude: FloatArray
    expiries: FloatArray
    columns: FloatArray
    order: IntArray
    dampening: FloatArray
    tilt: FloatArray

    @property
    def width(self) -> int:
        """W."""
        return len(self.order) - 1


def pays(positions: Positions, table: Table) -> bool:
    """Whether a screen is worth its making for so many positions, on this processor."""
    return not ROOM_FOR_DOUBLES and len(positions.quantity) >= POSITIONS_PER_ROW * len(table.rows)


def prepared(table: Table, scan: Scan, held: Held) -> Screen | None:
    """The screen of a table with columns as `derive_numba.prepared` takes it; None where the bound does not hold."""
    expiries, scenarios = scan.by_expiry(), len(scan.dampening)
    restate = scan.restate
    plain = expiries[:, PLAIN] != 0.0
    factors = np.column_stack([scan.discount_long * restate, scan.discount_short * restate, restate])
    scale = scan.tick_size * max(1.0, factors.max()) * max(1.0, scan.dampening.max())
    bounded = table.magnitude.max(initial=0.0) <= LARGEST_MAGNITUDE and LEAST_SCALE <= scale <= LARGEST_SCALE
    if not bounded or np.sum(scan.skew) > SINGLES or len(table.rows) > derive_pairs.MOST_ROWS:
        return None
    order = _order(scan)
    width, place = len(order) - 1, np.flatnonzero(order[:-1] >= 0)
    counts = np.where(plain, 0.0, 1.0)
    marked = table.rows[:, scenarios + MARKED] * counts[held.expiry]
    counted = table.rows[:, :scenarios] + marked[:, None]
    moved = np.maximum(np.abs(counted).max(axis=1), np.abs(marked))
    magnitude = np.maximum(np.maximum(moved, table.magnitude), LEAST_MAGNITUDE)
    np.maximum.at(expiries[:, MOVES], held.expiry, np.where(moved > 0.0, 1.0, 0.0))
    rows, of_places = _zeros(len(counted), width + 2 * ENDS), _zeros(2, width)
    rows[:, place], rows[:, width:] = counted[:, order[place]], _as_singles(table.rows[:, scenarios:])
    of_places[0, place] = scan.dampening[order[place]]
    of_places[1, place] = np.where(scan.skew[order[place]], -0.0, 0.0)
    by_expiry = _zeros(len(factors), EXPIRY_COLUMNS)
    by_expiry[:, :3] = _cash_first(factors * np.column_stack([np.ones((len(plain), 2)), counts]) * scan.tick_size)
    return Screen(
        rows, by_expiry, of_places, scale, sum(1 << int(here) for here in place), lanes.aligned(magnitude),
        lanes.aligned(_cash_first(expiries)), lanes.aligned(table.rows[:, :scenarios].T),
        read_only(np.maximum(order, 0)), read_only(scan.dampening), read_only(np.where(scan.skew, 1.0, 0.0)),
    )  # fmt: skip


def _order(scan: Scan) -> IntArray:
    """(W+1,) scenario of a place, -1 for none: tilts last, the last place of the last register before the end."""
    tilts, others = np.flatnonzero(scan.skew), np.flatnonzero(~scan.skew)
    width = -(-len(scan.skew) // SINGLES) * SINGLES
    order = np.full(width + 1, -1)
    order[: len(others)], order[width - len(tilts) : width] = others, tilts
    return order


def _cash_first(by_expiry: FloatArray) -> FloatArray:
    """Its row is the last one, and the number of its expiry -1: that is the row before the first one."""
    return np.roll(by_expiry, 1, axis=0)


def _as_singles(ends: FloatArray) -> Any:
    return np.ascontiguousarray(ends).view(np.float32)


def _zeros(count: int, width: int) -> Any:
    singles = lanes.aligned(np.zeros(0, np.float32), (count, width))
    singles[:] = 0.0
    return singles


def _limit(low: float, basis: float, roundings: float, gross: float, scale: float) -> float:
    """Up to where a gain in single precision can be that of the worst scenario: see the bound above."""
    bound = scale * (ROUNDING * (roundings + SPARE_ROUNDINGS) * gross + UNDERFLOW * roundings)
    return min(low + 2.0 * bound, basis + bound) if roundings <= MOST_ROUNDINGS else np.inf


def _scan_template(tag: str) -> Any:
    def scan_accounts(first, last, book, read, single, terms, tables, exactly, scratch, out):
        """Fill `out` with accounts first to last - 1; the largest G, and how many scenarios were counted one by one."""
        tag  # noqa: B018
        account_ptr = book[0]
        pairs, (apart_row, apart_held), (apart_from, others) = read
        rows, factors, dampening, signs, scale, valid = single
        (expiries, tick, scenarios), (found, sets) = tables, scratch
        loss, worst, revalued, on_perpetual, on_naked, on_mm, on_im = out
        largest, summed, at = 0.0, 0, lanes.offset
        for a in range(first, last, ACCOUNTS_AT_ONCE):
            b, i = min(a + ACCOUNTS_AT_ONCE, last), a - first
            span, place = (a, b), i // ACCOUNTS_AT_ONCE
            AHEAD(book, pairs, account_ptr[a], account_ptr[b])  # noqa: F821
            held = pairs, (apart_row, apart_held, apart_from[place])
            given, within = (rows, factors, dampening, signs), (expiries, terms[0], terms[1])
            largest = max(largest, LOOK(span, book, given, within, held, found))  # noqa: F821
            weighed, into = (expiries, tick, scenarios, scale, valid), (at(revalued, i), at(on_naked, i))
            WEIGH(span, book, weighed, pairs[2], found, sets, into)  # noqa: F821
            into = at(loss, i), at(worst, i)
            summed += SETTLE(span, book, held, tables, exactly, found, sets, into)  # noqa: F821
            if others[place] > 0:
                OTHERS(a, b, book, terms[1:], (at(on_perpetual, i), at(on_mm, i), at(on_im, i)))  # noqa: F821
            else:
                for j in range(i, b - first):
                    on_perpetual[j], on_mm[j], on_im[j] = 0.0, 0.0, 0.0
        return largest, summed

    return scan_accounts


def _entry_template(tag: str) -> Any:
    def scan_block(first, last, positions, pairs, single, terms, tables, exactly, room, out):
        """The same with arrays instead of addresses. The last of `room` is for how many sets there is room."""
        tag  # noqa: B018
        account_ptr, group_ptr, group_key, instrument_idx, quantity = positions
        row, steps, naked, apart_row, apart_held, apart_from, others = pairs
        rows, factors, of_places, scale, valid = single
        magnitude, per_unit, strike, units, spot, price, mm, im = terms
        (expiries, tick, scenarios), (columns, order, dampening, tilt) = tables, exactly
        (doubles, singles, whole, m), at = room, lanes.offset
        loss, worst, revalued, on_perpetual, on_naked, on_mm, on_im = out
        book = (
            AT(account_ptr, 0), AT(group_ptr, 0), AT(group_key, 0), (AT(instrument_idx, 0), AT(quantity, 0)),  # noqa: F821
        )  # fmt: skip
        # By groups of the whole book, of which these are the first.
        low = account_ptr[first]
        read = (
            (at(AT(row, 0), -2 * low), at(AT(steps, 0), -2 * low), at(AT(naked, 0), -low)),  # noqa: F821
            (AT(apart_row, 0), AT(apart_held, 0)), (AT(apart_from, 0), AT(others, 0)),  # noqa: F821
        )  # fmt: skip
        of_rows = (
            AT(rows, 0), AT(factors, EXPIRY_COLUMNS), AT(of_places, 0), AT(of_places, 2 * WIDTH - SINGLES),  # noqa: F821
            scale, valid,
        )  # fmt: skip
        of_contracts = (
            AT(magnitude, 0), AT(per_unit, 0), AT(strike, 0), AT(units, 0), AT(spot, 0), AT(price, 0), AT(mm, 0),  # noqa: F821
            AT(im, 0),  # noqa: F821
        )  # fmt: skip
        by_scenario = AT(columns, 0), columns.shape[1], AT(order, 0), AT(dampening, 0), AT(tilt, 0)  # noqa: F821
        by_account = 4 * m
        scratch = (
            (AT(whole, by_account), AT(whole, 0), AT(whole, m), AT(doubles, 0), AT(singles, 0), AT(doubles, 3 * m)),  # noqa: F821
            (AT(whole, 2 * m), AT(doubles, m), AT(whole, 3 * m), AT(doubles, 2 * m)),  # noqa: F821
        )  # fmt: skip
        charged = AT(on_perpetual, 0), AT(on_naked, 0), AT(on_mm, 0), AT(on_im, 0)  # noqa: F821
        into = (AT(loss, 0), AT(worst, 0), AT(revalued, 0), *charged)  # noqa: F821
        by_expiry = AT(expiries, EXPIRY_COLUMNS), tick, scenarios  # noqa: F821
        return SCAN(first, last, book, read, of_rows, of_contracts, by_expiry, by_scenario, scratch, into)  # noqa: F821

    return scan_block


@functools.cache
def _kernel(width: int) -> Any:
    """The kernel for so many places of scenarios."""
    fold, row = derive_single.operations(width), width + 2 * ENDS
    tag = f"{width} {XP.source_hash(lanes, derive_single, derive_parts, derive_passes)}"

    def part(template: Any, names: dict[str, Any], **options: Any) -> Any:
        return XP.compile_kernel(template(""), tag, None, names, fastmath=False, **options)

    look = {
        "OPENED": fold.opened, "NOTHING": fold.nothing, "ADD": fold.add, "ADD_STEPS": fold.add_steps,
        "PUT_ENDS": fold.put_ends, "FOLDED": fold.folded, "PUT": fold.put, "WIDTH": width, "ROW": row,
        "LINES": -(-row // SINGLES_OF_LINE), "OF_ROUNDED": 1.0 / (ROUNDING * SPARE_ROUNDINGS),
    }  # fmt: skip
    weigh = {
        "NO_LOSSES": fold.no_losses, "WITH_BASIS": fold.with_basis, "LOSSES": fold.losses, "LOWEST": fold.lowest,
        "BELOW": fold.below, "WIDTH": width, "LIMIT": numba.njit(nogil=True, error_model="numpy")(_limit),
    }  # fmt: skip
    settle = {
        "EXACT": part(derive_passes.exact_template, {}, forceinline=True),
        "TICKS": part(derive_passes.ticks_template, {}), "WIDTH": width,
    }  # fmt: skip
    parts = {
        "AHEAD": part(derive_passes.ahead_template, {}, forceinline=True),
        "LOOK": part(derive_passes.look_template, look),
        "WEIGH": part(derive_passes.weigh_template, weigh),
        "SETTLE": part(derive_passes.settle_template, settle),
        "OTHERS": part(derive_passes.others_template, {}),
    }
    return part(_entry_template, {"SCAN": part(_scan_template, parts), "AT": lanes.address, "WIDTH": width})


class Screened:
    """The blocks of one call. `pays` says whether the blocks so far were worth it.

    terms    (N,) each: 1 / unit, strike, units, spot, price, mm_haircut, im_haircut
    tick_size; strikes: the most of one expiry
    """

    def __init__(
        self, screen: Screen, positions: Positions, group_key: IntArray, terms: tuple[Any, ...], tick_size: float,
        strikes: int,
    ) -> None:  # fmt: skip
        self.kernel, self.strikes, self.pays = _kernel(screen.width), strikes, True
        self.positions, self.kept = positions, derive_pairs.kept(positions, terms[:3])
        self.book = positions.account_ptr, positions.group_ptr, group_key, positions.instrument_idx, positions.quantity
        # Plain tuples: numba takes much longer to tell the type of another.
        self.single, self.width = tuple(screen[:5]), screen.width
        self.terms = screen.magnitude, *terms
        self.tables = screen.expiries, tick_size, len(screen.dampening)
        self.exactly = tuple(screen[7:])

    def fill(self, first: int, last: int, sums: Sums) -> tuple[int, float]:
        """Fill sums of accounts first to last - 1; how many positions need another look, and the largest magnitude."""
        pairs = derive_pairs.read(self.kept, self.positions, first, last, ACCOUNTS_AT_ONCE, self.strikes)
        _, groups = derive_parts.most_at_once(first, last, ACCOUNTS_AT_ONCE, *self.book[:2])
        # No more sets than groups, and a place behind the last one.
        m = groups + 1
        room = (
            np.empty((3 + ENDS) * m), np.empty(m * self.width, np.float32),
            np.empty(4 * m + ACCOUNTS_AT_ONCE + 1, np.int64), m,
        )  # fmt: skip
        given = self.single, self.terms, self.tables, self.exactly
        size, summed = self.kernel(first, last, self.book, tuple(pairs[:-1]), *given, room, tuple(sums))
        # Of several threads each may find that out; the numbers are the same either way.
        if summed > MOST_LEFT * (last - first):
            self.pays = False
        return pairs.doubtful, size
