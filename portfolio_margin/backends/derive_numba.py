"""The scenario part of Derive's portfolio margin in one pass over the positions of every account.

What `derive_portfolio` does with arrays of all expiries, step by step and in the same order, so that the numbers are
the same to the last bit; see there for the rule. What an expiry gains is summed in registers and added there to what
its account gains (`derive_lanes`), so nothing is written but results.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.backends import derive_lanes, lanes
from portfolio_margin.backends import numba as accounts
from portfolio_margin.kernel_inputs import Positions, Table
from pricing.arrays import BoolArray, FloatArray, IntArray, read_only
from pricing.xp import numba as XP

# Accounts whose positions are counted in steps together: their numbers stay in the first cache.
ACCOUNTS_AT_ONCE = 16
# How far ahead of what is counted the book is asked for from memory: some twenty accounts, and their groups. Steps are
# counted faster than a processor foresees it, of many accounts in a row, and after that it has no need of memory.
POSITIONS_AHEAD, GROUPS_AHEAD = 640, 320
# Columns of an expiry: see `Scan`.
LONG, SHORT, AGAIN, WEIGHT, PLAIN, UNDERLYING, EXPIRY_SPOT = range(7)
EXPIRY_COLUMNS = 8


class Scan(NamedTuple):
    """What the rule is counted with.

    owner (X+1,) underlying of an expiry row, -1 for none, and its spot (X+1,)
    dampening (n,) of the scenarios, skew (n,) True for tilts of vol
    discount_long, discount_short, restate, basis_weight (X+1,)
    tick_size  margin currency per tick
    """

    owner: IntArray
    spot: FloatArray
    dampening: FloatArray
    skew: BoolArray
    discount_long: FloatArray
    discount_short: FloatArray
    restate: FloatArray
    basis_weight: FloatArray
    tick_size: float

    def by_expiry(self) -> FloatArray:
        """(X+1, EXPIRY_COLUMNS)."""
        plain = (self.discount_long == 1.0) & (self.discount_short == 1.0) & (self.restate == 1.0)
        columns = self.discount_long, self.discount_short, self.restate, self.basis_weight, plain, self.owner, self.spot
        return lanes.aligned(np.column_stack([*columns, np.zeros(len(plain))]))


class Held(NamedTuple):
    """(N,) each: what a contract counts in the charges.

    perpetual, asset   what it is
    units     of the underlying per contract
    spot      of the underlying
    strike    place of the strike of an option among those of its expiry; -1 for what is no option
    price     of an asset as the venue has it, and its mm_haircut and im_haircut
    """

    perpetual: BoolArray
    asset: BoolArray
    units: FloatArray
    spot: FloatArray
    strike: IntArray
    price: FloatArray
    mm_haircut: FloatArray
    im_haircut: FloatArray


class Sums(NamedTuple):
    """(B,) each, of a block of accounts: worst loss and the column of the underlying that loses most, revaluation, and
    what charges are shares of."""

    loss: FloatArray
    worst: IntArray
    revalued: FloatArray
    perpetual: FloatArray
    naked: FloatArray
    mm_haircut: FloatArray
    im_haircut: FloatArray


def _ahead_template(tag: str) -> Any:
    def ask_ahead(groups, first, last, low, high):
        """Ask for what lies ahead of positions first to last - 1 and of groups low to high - 1, line by line."""
        tag  # noqa: B018
        group_ptr, group_key, (instrument_idx, quantity) = groups
        for p in range(first + POSITIONS_AHEAD, last + POSITIONS_AHEAD, XP.LINE):
            XP.prefetch(instrument_idx, p)
            XP.prefetch(quantity, p)
        for g in range(low + GROUPS_AHEAD, high + GROUPS_AHEAD, XP.LINE):
            XP.prefetch(group_ptr, g)
            XP.prefetch(group_key, g)

    return ask_ahead


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
            steps = q * per_unit[n]
            whole = lanes.nearest(steps)
            clear = abs(steps - whole) + abs(steps) * accounts.QUOTIENT_ROUNDING <= accounts.CLEARLY_WHOLE
            held[p - first] = whole if clear else 0.0
            units = q * option_units[n]
            short[p - first] = -units if units < 0.0 else 0.0
            odd += 0 if clear else 1
        return odd

    return count_steps


def _naked_template(tag: str) -> Any:
    def naked(first, last, picked, strike, option_units, scratch):
        """Units short of a group after netting by strike, strikes ascending; net by strike is 0 and is left so."""
        tag  # noqa: B018
        instrument_idx, quantity = picked
        net, strikes, amounts = scratch
        for p in range(first, last):
            n = instrument_idx[p]
            if strike[n] >= 0:
                net[strike[n]] += quantity[p] * option_units[n]
        count = 0
        for p in range(first, last):
            here = strike[instrument_idx[p]]
            if here < 0:
                continue
            amount = -net[here]
            net[here] = 0.0
            if not amount > 0.0:
                continue
            place = count
            while place > 0 and strikes[place - 1] > here:
                strikes[place], amounts[place] = strikes[place - 1], amounts[place - 1]
                place -= 1
            strikes[place], amounts[place] = here, amount
            count += 1
        short = 0.0
        for place in range(count):
            short += amounts[place]
        return short

    return naked


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
            steps = q * per_unit[n]
            if abs(steps - lanes.nearest(steps)) + abs(steps) * accounts.QUOTIENT_ROUNDING <= accounts.CLEARLY_WHOLE:
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
            size = max(size, bound + sums[1] * largest)
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
    tag = f"{width} {folded} {XP.source_hash(lanes, derive_lanes)}"

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
        "AHEAD": part(_ahead_template, {}, forceinline=True),
        "NAKED": part(_naked_template, {}),
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
    strikes = given.strikes
    usual: list[bool] = []

    def run(first: int, last: int, rows: accounts.Rows) -> accounts.Found:
        most = _most_at_once(positions, first, last)
        scratch = np.empty(most), np.empty(most), np.zeros(strikes), np.empty(strikes, np.int64), np.empty(strikes)
        here, more = slice(first, last), (np.empty(last - first) for _ in range(5))
        sums = Sums(next(more), worst[here], revalued[here], *more)
        doubtful, size = kernel(first, last, places, rows.values, terms, tables, given.assets, scratch, sums)
        then(first, last, sums)
        usual.append(doubtful == 0 and bool(size * accounts.MARGIN_OF_BOUND <= rows.limit))
        return accounts.Found(0, 0, 0)

    job.run(run, threads)
    return (worst, revalued) if all(usual) else None


def _most_at_once(positions: Positions, first: int, last: int) -> int:
    """The most positions of so many accounts that are counted in steps together, of accounts first to last - 1."""
    account_ptr, group_ptr = positions.account_ptr, positions.group_ptr
    begins = group_ptr[account_ptr[first:last:ACCOUNTS_AT_ONCE]]
    return int(np.diff(begins, append=group_ptr[account_ptr[last]]).max(initial=0))
