"""The scenario part of Derive's portfolio margin in one pass over the positions of every account.

What `derive_portfolio` does with arrays of all expiries, step by step and in the same order, so that the numbers are
the same to the last bit; see there for the rule. What an expiry gains is summed in registers and added there to what
its account gains (`derive_lanes`), so nothing is written but results. Of large books most scenarios are left out first
where that pays (`derive_screen`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.backends import derive_lanes, derive_parts, derive_screen, lanes, steps
from portfolio_margin.backends import numba as accounts
from portfolio_margin.backends.derive_parts import (
    AGAIN,
    EXPIRY_COLUMNS,
    EXPIRY_SPOT,
    LONG,
    PLAIN,
    SHORT,
    UNDERLYING,
    WEIGHT,
    Held,
    Scan,
    Sums,
)
from portfolio_margin.backends.derive_screen import Screen, Screened
from portfolio_margin.kernel_inputs import Positions, Table
from pricing.arrays import FloatArray, IntArray, read_only
from pricing.xp import numba as XP

# Accounts whose positions are counted in steps together: their numbers stay in the first cache.
ACCOUNTS_AT_ONCE = 16


def _steps_template(tag: str) -> Any:
    def count_steps(first, last, picked, per_unit, option_units, held, short):
        """Steps held by positions first to last - 1, 0 where that needs another look, and units that options are short.

        Returns how many need another look: assets, and quantities that are no clear multiple of their step.
        """
        tag  # noqa: B018
        XP.vector_loop()
        instrument_idx, quantity = picked
        odd = 0
        for p in range(first, last):
            n, q = instrument_idx[p], quantity[p]
            quotient = q * per_unit[n]
            whole = lanes.nearest(quotient)
            clear = steps.is_clear(quotient, whole)
            held[p - first] = whole if clear else 0.0
            units = q * option_units[n]
            short[p - first] = -units if units < 0.0 else 0.0
            odd += 0 if clear else 1
        return odd

    return count_steps


def _group_template(tag: str) -> Any:
    def group(first, last, low, picked, rows, terms, steps, counted):
        """Sum of the rows of positions first to last - 1, and `counted` with them: perpetuals in money, steps.

        Returns besides the units that options are short, and whether that is of more than two or of two of one strike.
        """
        tag  # noqa: B018
        instrument_idx, quantity = picked
        values, (_, strike, units, spot), (held, short) = rows, terms, steps
        futures, steps_held = counted
        total, shorts, options, before, same = ZEROS(), 0.0, 0, -1, False  # noqa: F821
        for p in range(first, last):
            n, steps_here = instrument_idx[p], held[p - low]
            total = ADD_ROW(total, values, n, steps_here)  # noqa: F821
            steps_held += abs(steps_here)
            here = strike[n]
            if here >= 0:
                shorts += short[p - low]
                options += 1
                same |= here == before
                before = here
            else:
                futures += abs(quantity[p] * units[n]) * spot[n]
        return total, (futures, steps_held), shorts, same or options > 2

    return group


def _odd_template(tag: str) -> Any:
    def odd_ones(first, last, picked, rows, assets, total, counted):
        """Sum of rows with the balances of assets among the positions, and `counted` with them.

        That is the two haircuts, a bound of the sums, and how many other positions need another look.
        """
        tag  # noqa: B018
        instrument_idx, quantity = picked
        per_unit, price, mm_haircut, im_haircut, magnitude = assets
        mm, im, bound, doubtful = counted
        for p in range(first, last):
            n, q = instrument_idx[p], quantity[p]
            quotient = q * per_unit[n]
            if steps.is_clear(quotient, lanes.nearest(quotient)):
                continue
            if per_unit[n] == per_unit[n]:
                doubtful += 1
                continue
            bound += abs(q) * magnitude[n]
            total = ADD_ROUNDED(total, rows, n, q)  # noqa: F821
            mm += abs(q) * price[n] * mm_haircut[n]
            im += abs(q) * price[n] * im_haircut[n]
        return total, (mm, im, bound, doubtful)

    return odd_ones


def _expiry_template(tag: str) -> Any:
    def expiry(gains, total, charge, x, expiries, factors):
        """Gains with those of an expiry, and what it adds to the account's other sums.

        charge (restated, basis, up, down): revaluation, and basis contingency, all of it and by direction.
        """
        tag  # noqa: B018
        table, special, tick = factors
        restated, basis, up, down = charge
        risen, fallen, marked, valued = ENDS(total)  # noqa: F821
        marked, again, long, short = marked * tick, expiries[x + AGAIN], expiries[x + LONG], expiries[x + SHORT]
        if expiries[x + PLAIN] != 0.0:
            gains = FOLDED_PLAIN(gains, total, table, special, tick)  # noqa: F821
        elif again == 1.0:
            gains = FOLDED_AT_ONE(gains, total, table, special, tick, marked, long, short)  # noqa: F821
        else:
            gains = FOLDED(gains, total, table, special, tick, marked, long, short, again)  # noqa: F821
        value, weight = marked * again, expiries[x + WEIGHT]
        rise = ((risen * tick + marked) * again - value) * weight
        fall = ((fallen * tick + marked) * again - value) * weight
        falls = fall < rise
        least = fall if falls else rise
        worse = least if least < 0.0 else 0.0
        up, down = up + (0.0 if falls else worse), down + (worse if falls else 0.0)
        return gains, (restated + (value - valued * tick), basis + worse, up, down)

    return expiry


def _scan_template(tag: str) -> Any:
    def scan_accounts(first, last, positions, rows, terms, tables, assets, scratch, out):
        """Fill `out` with accounts first to last - 1; how many positions need another look, and the largest bound."""
        tag  # noqa: B018
        XP.vector_loop()
        account_ptr, group_ptr, group_key, picked = positions
        expiries, cash, factors, scenarios, largest = tables
        held, short, nets = scratch
        loss, worst, revalued, on_perpetual, on_naked, on_mm, on_im = out
        doubtful, size, low, odd = 0, 0.0, 0, 0
        for a in range(first, last):
            g, end = account_ptr[a], account_ptr[a + 1]
            AHEAD(positions[1:], group_ptr[g], group_ptr[end], g, end)  # noqa: F821
            if (a - first) % ACCOUNTS_AT_ONCE == 0:
                low, high = group_ptr[g], group_ptr[account_ptr[min(a + ACCOUNTS_AT_ONCE, last)]]
                odd = STEPS(low, high, picked, terms[0], terms[2], held, short)  # noqa: F821
            lost, most, place, changed, shorts = 0.0, 0.0, -1, 0.0, 0.0
            sums, others, p = (0.0, 0.0), (0.0, 0.0, 0.0, doubtful), group_ptr[g]
            while g < end:
                x = (group_key[g] if group_key[g] >= 0 else cash) * EXPIRY_COLUMNS
                underlying, open_set = expiries[x + UNDERLYING], True
                gains, charge = OPENED(factors[0]), (0.0, 0.0, 0.0, 0.0)  # noqa: F821
                while open_set:
                    until = group_ptr[g + 1]
                    total, sums, naked, netted = GROUP(  # noqa: F821
                        p, until, low, picked, rows, terms, (held, short), sums
                    )
                    if odd > 0:
                        total, others = ODD(p, until, picked, rows, assets, total, others)  # noqa: F821
                    if netted:
                        naked = NAKED(p, until, picked, terms[1], terms[2], nets)  # noqa: F821
                    shorts += naked * expiries[x + EXPIRY_SPOT]
                    gains, charge = EXPIRY(gains, total, charge, x, expiries, factors)  # noqa: F821
                    p, g = until, g + 1
                    if g < end:
                        x = (group_key[g] if group_key[g] >= 0 else cash) * EXPIRY_COLUMNS
                    open_set = g < end and expiries[x + UNDERLYING] == underlying
                lowest, column = LOWEST(gains)  # noqa: F821
                restated, basis, up, down = charge
                # The venue starts from the basis contingency and takes a scenario only where it is lower.
                if basis <= lowest:
                    lowest, column = basis, scenarios + (down < up)
                lost += -lowest
                if -lowest > most:
                    most, place = -lowest, column
                changed += restated
            mm, im, bound, doubtful = others
            i = a - first
            loss[i], worst[i], revalued[i], on_perpetual[i], on_naked[i] = lost, place, changed, sums[0], shorts
            on_mm[i], on_im[i] = mm, im
            here = bound + sums[1] * largest
            # What is no number is larger than any.
            size = max(size, here if here == here else np.inf)
        return doubtful, size

    return scan_accounts


def _entry_template(tag: str) -> Any:
    def scan_block(first, last, positions, values, terms, tables, assets, scratch, out):
        """The same with arrays instead of addresses."""
        tag  # noqa: B018
        account_ptr, group_ptr, group_key, instrument_idx, quantity = positions
        per_unit, strike, units, spot = terms
        expiries, factors, special, scenarios, tick, largest = tables
        price, mm_haircut, im_haircut, magnitude = assets
        held, short, net, strikes, amounts = scratch
        loss, worst, revalued, perpetual, naked, mm, im = out
        picked = AT(instrument_idx, 0), AT(quantity, 0)  # noqa: F821
        given = AT(account_ptr, 0), AT(group_ptr, 0), AT(group_key, 0), picked  # noqa: F821
        by_contract = AT(per_unit, 0), AT(strike, 0), AT(units, 0), AT(spot, 0)  # noqa: F821
        by = AT(expiries, 0), expiries.shape[0] - 1, (AT(factors, 0), special, tick), scenarios, largest  # noqa: F821
        of_assets = (
            by_contract[0], AT(price, 0), AT(mm_haircut, 0), AT(im_haircut, 0), AT(magnitude, 0)  # noqa: F821
        )  # fmt: skip
        room = AT(held, 0), AT(short, 0), (AT(net, 0), AT(strikes, 0), AT(amounts, 0))  # noqa: F821
        into = (
            AT(loss, 0), AT(worst, 0), AT(revalued, 0), AT(perpetual, 0), AT(naked, 0), AT(mm, 0), AT(im, 0)  # noqa: F821
        )  # fmt: skip
        return SCAN(first, last, given, AT(values, 0), by_contract, by, of_assets, room, into)  # noqa: F821

    return scan_block


@functools.cache
def _kernel(width: int, folded: int) -> Any:
    """The kernel for sums of a width and gains of another."""
    vector, fold = lanes.operations(width), derive_lanes.operations(width, folded)
    tag = f"{width} {folded} {XP.source_hash(lanes, derive_lanes, derive_parts, steps)}"

    def part(template: Any, names: dict[str, Any], **options: Any) -> Any:
        return XP.compile_kernel(template(""), tag, None, names, fastmath=False, **options)

    sums = {"ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "ADD_ROUNDED": vector.add_rounded}
    folds = {
        "ENDS": fold.ends, "FOLDED": fold.folded, "FOLDED_AT_ONE": fold.folded_at_one,
        "FOLDED_PLAIN": fold.folded_plain,
    }  # fmt: skip
    parts = {
        "GROUP": part(_group_template, sums, forceinline=True),
        "ODD": part(_odd_template, sums),
        "EXPIRY": part(_expiry_template, folds, forceinline=True),
        "STEPS": part(_steps_template, {}),
        "AHEAD": part(derive_parts.ahead_template, {}, forceinline=True),
        "NAKED": part(derive_parts.naked_template, {}),
        "OPENED": fold.opened,
        "LOWEST": fold.lowest,
    }
    return part(_entry_template, {"SCAN": part(_scan_template, parts), "AT": lanes.address})


class Prepared(NamedTuple):
    """What the kernel takes beside positions: a table that has as many columns as it wants, and its arguments.

    table     as account kernels take it; width and folded of its sums and gains
    strike    (N,) place of the strike of an option, and units (N,), spot (N,)
    scenarios, factors, special, by_expiry, tick_size   how scenarios are counted
    assets    (N,) price, mm_haircut, im_haircut and magnitude of each
    strikes   the most of one expiry
    told      what it was made of, and kept: what else is made of that
    """

    table: Table
    width: int
    folded: int
    strike: IntArray
    units: FloatArray
    spot: FloatArray
    scenarios: int
    factors: FloatArray
    special: int
    by_expiry: FloatArray
    tick_size: float
    assets: tuple[FloatArray, ...]
    strikes: int
    told: tuple[Table, Scan, Held]
    kept: dict[str, Screen | None]

    def screen(self) -> Screen | None:
        """What is made of it once, where a book is large enough for that."""
        if "screen" not in self.kept:
            self.kept["screen"] = derive_screen.prepared(*self.told)
        return self.kept["screen"]


def prepared(table: Table, scan: Scan, held: Held) -> Prepared:
    """A table without haircuts, whose columns are the scenarios, the two basis moves, the value as the venue marks it
    and the value in the arrays, and what is asked of it, as the kernel takes them."""
    scenarios = len(scan.dampening)
    factors, special = derive_lanes.factors_of(scan.dampening, scan.skew)
    assets = np.where(held.asset, held.price, 0.0), held.mm_haircut, held.im_haircut, table.magnitude
    return Prepared(
        table._replace(rows=derive_lanes.columns_of(table.rows, scenarios), kept={}),
        derive_lanes.width_of(scenarios),
        derive_lanes.folded_width(scenarios),
        read_only(held.strike),
        read_only(np.where(held.perpetual | (held.strike >= 0), held.units, 0.0)),
        read_only(held.spot),
        scenarios,
        read_only(factors),
        special,
        read_only(scan.by_expiry()),
        scan.tick_size,
        tuple(read_only(column) for column in assets),
        int(held.strike.max(initial=0)) + 1,
        (table, scan, held),
        {},
    )


def scan_accounts(
    positions: Positions,
    group_key: IntArray,
    given: Prepared,
    then: Callable[[int, int, Sums], None],
    threads: int = 1,
) -> tuple[IntArray, FloatArray] | None:
    """(A,) column of the underlying that loses most, and (A,) revaluation, of every account.

    None where a position or an account is no usual one, so that the reference must look. Arrays without ticks are left
    to the reference as well.
    group_key  (G,) -> X of every group, -1 for cash
    `then` is handed first and last account of every block with its sums, while they are near: what is written once
    and read once is written nowhere else, for memory that is asked for anew takes as long as a charge.
    """
    count = len(positions.account_ptr) - 1
    if given.width > lanes.WIDEST or not given.table.rounded:
        return None
    job = accounts.Job(positions, given.table, given.width)
    kernel = _kernel(given.width, given.folded)
    places = positions.account_ptr, positions.group_ptr, group_key, positions.instrument_idx, positions.quantity
    terms = job.rows.per_unit, given.strike, given.units, given.spot
    tables = given.by_expiry, given.factors, given.special, given.scenarios, given.tick_size, job.rows.largest
    worst, revalued = np.empty(count, np.int64), np.empty(count)
    strikes, usual, screened = given.strikes, [], None
    screen = given.screen() if derive_screen.pays(positions, given.table) else None
    if screen is not None:
        of_contracts = (*terms, *given.assets[:3])
        screened = Screened(screen, positions, group_key, of_contracts, given.tick_size, strikes)

    def exact(first: int, last: int, rows: accounts.Rows, sums: Sums) -> tuple[int, float]:
        most, _ = derive_parts.most_at_once(first, last, ACCOUNTS_AT_ONCE, *places[:2])
        scratch = np.empty(most), np.empty(most), np.zeros(strikes), np.empty(strikes, np.int64), np.empty(strikes)
        # A plain tuple: numba takes much longer to tell the type of another.
        found = kernel(first, last, places, rows.values, terms, tables, given.assets, scratch, tuple(sums))
        return int(found[0]), float(found[1])

    def run(first: int, last: int, rows: accounts.Rows) -> accounts.Found:
        here, more = slice(first, last), np.empty((5, last - first))
        sums = Sums(more[0], worst[here], revalued[here], *more[1:])
        if screened is not None and screened.pays:
            doubtful, size = screened.fill(first, last, sums)
        else:
            doubtful, size = exact(first, last, rows, sums)
        then(first, last, sums)
        usual.append(doubtful == 0 and (size * accounts.MARGIN_OF_BOUND <= rows.limit))
        return accounts.Found(0, 0, 0)

    job.run(run, threads)
    return (worst, revalued) if all(usual) else None
