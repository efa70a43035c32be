"""The scenario part of Derive's portfolio margin in one pass over the positions of every account.

What `derive_portfolio` does with arrays of all expiries, step by step and in the same order, so that the numbers are
the same to the last bit; see there for the rule. What an expiry gains is summed in registers and added there to what its
account gains (`derive_lanes`), so nothing is written but results.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.backends import derive_lanes, lanes
from portfolio_margin.backends import numba as accounts
from portfolio_margin.kernel_inputs import Positions, Table
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.xp import numba as XP


# Columns of a contract: its steps per unit of quantity, NaN for an asset; units of the underlying, 0 for what is neither
# option nor perpetual; place of an option's strike, NO_STRIKE for what is none; spot.
PER_UNIT, UNITS, STRIKE, SPOT = range(4)
CONTRACT_COLUMNS = 4
NO_STRIKE = -1.0
# Columns of an expiry: see `Scan`.
LONG, SHORT, AGAIN, WEIGHT, PLAIN, UNDERLYING, EXPIRY_SPOT = range(7)
EXPIRY_COLUMNS = 8


class Scan(NamedTuple):
    """What the rule is counted with.

    group_key (G,) -> X, -1 for cash; owner (X+1,) underlying of an expiry row, -1 for none, and its spot (X+1,)
    dampening (n,) of the scenarios, skew (n,) True for tilts of vol
    discount_long, discount_short, restate, basis_weight (X+1,)
    tick_size  margin currency per tick
    """

    group_key: IntArray
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

    def by_contract(self, per_unit: FloatArray) -> FloatArray:
        """(N, CONTRACT_COLUMNS)."""
        units = np.where(self.perpetual | (self.strike >= 0), self.units, 0.0)
        return lanes.aligned(np.column_stack([per_unit, units, self.strike.astype(np.float64), self.spot]))

    def by_asset(self) -> FloatArray:
        """(N,3) price and haircuts of an asset, 0 for what is none."""
        columns = np.column_stack([self.price, self.mm_haircut, self.im_haircut])
        return np.ascontiguousarray(np.where(self.asset[:, None], columns, 0.0))


class Sums(NamedTuple):
    """(A,) each: worst loss and the column of the underlying that loses most, and what charges are shares of."""

    loss: FloatArray
    worst: IntArray
    revalued: FloatArray
    perpetual: FloatArray
    naked: FloatArray
    mm_haircut: FloatArray
    im_haircut: FloatArray


def _naked_template(tag: str) -> Any:
    def naked(first, last, picked, contracts, scratch):
        """Units short of a group after netting by strike, strikes ascending; net by strike is 0 and is left so."""
        tag  # noqa: B018
        instrument_idx, quantity = picked
        net, strikes, amounts = scratch
        for p in range(first, last):
            at = instrument_idx[p] * CONTRACT_COLUMNS
            if contracts[at + STRIKE] >= 0.0:
                net[int(contracts[at + STRIKE])] += quantity[p] * contracts[at + UNITS]
        count = 0
        for p in range(first, last):
            strike = contracts[instrument_idx[p] * CONTRACT_COLUMNS + STRIKE]
            if strike < 0.0 or not net[int(strike)] < 0.0:
                continue
            place = count
            while place > 0 and strikes[place - 1] > strike:
                strikes[place], amounts[place] = strikes[place - 1], amounts[place - 1]
                place -= 1
            strikes[place], amounts[place] = strike, -net[int(strike)]
            net[int(strike)] = 0.0
            count += 1
        for p in range(first, last):
            strike = contracts[instrument_idx[p] * CONTRACT_COLUMNS + STRIKE]
            if strike >= 0.0:
                net[int(strike)] = 0.0
        short = 0.0
        for place in range(count):
            short += amounts[place]
        return short

    return naked


def _group_template(tag: str) -> Any:
    def group(first, last, picked, rows, contracts, counted):
        """Sum of the rows of a group, and `counted` with its positions.

        Returns besides how many options it has, and strike and units of the last two. `counted` is perpetuals, the two
        haircuts, steps, what assets add to the bound of the sums, and how many positions need another look.
        """
        tag  # noqa: B018
        instrument_idx, quantity = picked
        values, terms, assets, magnitude = rows
        futures, mm, im, steps_held, bound, doubtful = counted
        total, options = ZEROS(), 0  # noqa: F821
        strike, units, other_strike, other_units = NO_STRIKE, 0.0, NO_STRIKE, 0.0
        for p in range(first, last):
            n, q = instrument_idx[p], quantity[p]
            at = n * CONTRACT_COLUMNS
            steps = q * terms[at + PER_UNIT]
            held = lanes.nearest(steps)
            if abs(steps - held) + abs(steps) * accounts.QUOTIENT_ROUNDING <= accounts.CLEARLY_WHOLE:
                total = ADD_ROW(total, values, n, held)  # noqa: F821
                steps_held += abs(held)
                if terms[at + STRIKE] >= 0.0:
                    options += 1
                    other_strike, other_units = strike, units
                    strike, units = terms[at + STRIKE], q * terms[at + UNITS]
                else:
                    futures += abs(q * terms[at + UNITS]) * terms[at + SPOT]
            elif terms[at + PER_UNIT] == terms[at + PER_UNIT]:
                doubtful += 1
            else:
                bound += abs(q) * magnitude[n]
                total = ADD_ROUNDED(total, values, n, q)  # noqa: F821
                mm += abs(q) * assets[3 * n] * assets[3 * n + 1]
                im += abs(q) * assets[3 * n] * assets[3 * n + 2]
        pair = options, strike, units, other_strike, other_units
        return total, (futures, mm, im, steps_held, bound, doubtful), pair

    return group


def _basis_template(tag: str) -> Any:
    def basis(up, down, value, weight):
        """Basis contingency of an expiry and whether it is worse when the forward falls; see `derive_portfolio`."""
        tag  # noqa: B018
        rise, fall = (up - value) * weight, (down - value) * weight
        least = fall if fall < rise else rise
        return (least if least < 0.0 else 0.0), fall < rise

    return basis


def _scan_template(tag: str) -> Any:
    def scan_accounts(first, last, positions, rows, tables, scratch, out):
        """Fill `out` for accounts first to last - 1; returns positions that need another look and the largest bound."""
        tag  # noqa: B018
        XP.vector_loop()
        account_ptr, group_ptr, group_key, picked = positions
        expiries, contracts, factors, scenarios, tick, largest, cash = tables
        loss, worst, revalued, on_perpetual, on_naked, on_mm, on_im = out
        doubtful, size = 0, 0.0
        for a in range(first, last):
            lost, most, place, changed, shorts = 0.0, 0.0, -1, 0.0, 0.0
            counted = (0.0, 0.0, 0.0, 0.0, 0.0, doubtful)
            g, end, p = account_ptr[a], account_ptr[a + 1], group_ptr[account_ptr[a]]
            while g < end:
                gains, restated, basis, up, down = OPENED(factors), 0.0, 0.0, 0.0, 0.0  # noqa: F821
                x = (group_key[g] if group_key[g] >= 0 else cash) * EXPIRY_COLUMNS
                underlying = expiries[x + UNDERLYING]
                while expiries[x + UNDERLYING] == underlying:
                    until = group_ptr[g + 1]
                    total, counted, (options, strike, units, other_strike, other_units) = GROUP(  # noqa: F821
                        p, until, picked, rows, contracts, counted
                    )
                    risen, fallen, marked, valued = ENDS(total)  # noqa: F821
                    marked, again = marked * tick, expiries[x + AGAIN]
                    if expiries[x + PLAIN] != 0.0:
                        gains = FOLDED_PLAIN(gains, total, factors, tick)  # noqa: F821
                    else:
                        gains = FOLDED(  # noqa: F821
                            gains, total, factors, tick, marked, again, expiries[x + LONG], expiries[x + SHORT]
                        )
                    value, rise = marked * again, (risen * tick + marked) * again
                    worse, falls = BASIS(rise, (fallen * tick + marked) * again, value, expiries[x + WEIGHT])  # noqa: F821
                    restated += value - valued * tick
                    basis += worse
                    up, down = up + (0.0 if falls else worse), down + (worse if falls else 0.0)
                    if options > 2:
                        naked = NAKED(p, until, picked, contracts, scratch)  # noqa: F821
                    else:
                        # One option or none, or two, whose order matters to no sum.
                        both = other_units + units
                        apart = (-other_units if other_units < 0.0 else 0.0) + (-units if units < 0.0 else 0.0)
                        netted = -both if both < 0.0 else 0.0
                        naked = netted if strike == other_strike else apart
                    shorts += naked * expiries[x + EXPIRY_SPOT]
                    p, g = until, g + 1
                    if g == end:
                        break
                    x = (group_key[g] if group_key[g] >= 0 else cash) * EXPIRY_COLUMNS
                lowest, column = LOWEST(gains)  # noqa: F821
                # The venue starts from the basis contingency and takes a scenario only where it is lower.
                if basis <= lowest:
                    lowest, column = basis, scenarios + (down < up)
                lost += -lowest
                if -lowest > most:
                    most, place = -lowest, column
                changed += restated
            futures, mm, im, steps_held, bound, doubtful = counted
            loss[a], worst[a], revalued[a], on_perpetual[a], on_naked[a] = lost, place, changed, futures, shorts
            on_mm[a], on_im[a] = mm, im
            size = max(size, bound + steps_held * largest)
        return doubtful, size

    return scan_accounts


def _entry_template(tag: str) -> Any:
    def scan_block(first, last, positions, rows, tables, scratch, out):
        """The same with arrays instead of addresses."""
        tag  # noqa: B018
        account_ptr, group_ptr, group_key, instrument_idx, quantity = positions
        values, assets, magnitude = rows
        expiries, contracts, factors, scenarios, tick, largest = tables
        net, strikes, amounts = scratch
        loss, worst, revalued, perpetual, naked, mm, im = out
        picked = lanes.address(instrument_idx, 0), lanes.address(quantity, 0)
        given = lanes.address(account_ptr, 0), lanes.address(group_ptr, 0), lanes.address(group_key, 0), picked
        terms = lanes.address(contracts, 0)
        looked_up = lanes.address(values, 0), terms, lanes.address(assets, 0), lanes.address(magnitude, 0)
        cash = expiries.shape[0] - 1
        by = lanes.address(expiries, 0), terms, lanes.address(factors, 0), scenarios, tick, largest, cash
        room = lanes.address(net, 0), lanes.address(strikes, 0), lanes.address(amounts, 0)
        into = (
            lanes.address(loss, 0), lanes.address(worst, 0), lanes.address(revalued, 0), lanes.address(perpetual, 0),
            lanes.address(naked, 0), lanes.address(mm, 0), lanes.address(im, 0),
        )  # fmt: skip
        return SCAN(first, last, given, looked_up, by, room, into)  # noqa: F821

    return scan_block


@functools.cache
def _kernel(width: int) -> Any:
    vector, folds = lanes.operations(width), derive_lanes.operations(width)
    tag = f"{width} {XP.source_hash(lanes, derive_lanes)}"
    sums = {"ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "ADD_ROUNDED": vector.add_rounded}
    names = {
        "GROUP": XP.compile_kernel(_group_template(""), tag, None, sums, fastmath=False, forceinline=True),
        "BASIS": XP.compile_kernel(_basis_template(""), tag, None, fastmath=False, forceinline=True),
        "NAKED": XP.compile_kernel(_naked_template(""), tag, None, fastmath=False),
        "OPENED": folds.opened, "ENDS": folds.ends, "FOLDED": folds.folded, "FOLDED_PLAIN": folds.folded_plain,
        "LOWEST": vector.lowest,
    }  # fmt: skip
    scan = XP.compile_kernel(_scan_template(""), tag, None, names, fastmath=False)
    return XP.compile_kernel(_entry_template(""), tag, None, {"SCAN": scan}, fastmath=False)


def scan_accounts(positions: Positions, table: Table, scan: Scan, held: Held, threads: int = 1) -> Sums | None:
    """Sums of every account; None where a position or an account is no usual one, so that the reference must look.

    The table has no haircuts, and its columns are the scenarios, the two basis moves, the value as the venue marks it
    and the value in the arrays. Arrays without ticks are left to the reference as well.
    """
    scenarios, count = len(scan.dampening), len(positions.account_ptr) - 1
    width = derive_lanes.width_of(scenarios)
    if width > lanes.WIDEST or not table.rounded:
        return None
    job = accounts.Job(positions, table._replace(rows=derive_lanes.columns_of(table.rows, scenarios)), width)
    kernel, factors = _kernel(width), derive_lanes.factors_of(scan.dampening, scan.skew)
    expiries, contracts = scan.by_expiry(), held.by_contract(job.rows.per_unit)
    given = positions.account_ptr, positions.group_ptr, scan.group_key, positions.instrument_idx, positions.quantity
    tables = expiries, contracts, factors, scenarios, scan.tick_size, job.rows.largest
    assets = held.by_asset()
    sums = Sums(np.empty(count), np.empty(count, np.int64), *(np.empty(count) for _ in range(5)))
    strikes = int(held.strike.max(initial=0)) + 1
    usual: list[bool] = []

    def run(first: int, last: int, rows: accounts.Rows) -> accounts.Found:
        scratch = np.zeros(strikes), np.empty(strikes), np.empty(strikes)
        doubtful, size = kernel(first, last, given, (rows.values, assets, table.magnitude), tables, scratch, sums)
        usual.append(doubtful == 0 and bool(size * accounts.MARGIN_OF_BOUND <= rows.limit))
        return accounts.Found(0, 0, 0)

    job.run(run, threads)
    return sums if all(usual) else None
