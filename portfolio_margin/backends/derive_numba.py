"""The scenario part of Derive's portfolio margin in one pass over the positions of every account.

What `derive_portfolio` does with arrays of all expiries, step by step and in the same order, so that the numbers are
the same to the last bit; see there for the rule. Nothing of an expiry outlives it, so nothing is written but results.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.backends import lanes
from portfolio_margin.backends import numba as accounts
from portfolio_margin.kernel_inputs import Positions, Table
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.xp import numba as XP


class Scan(NamedTuple):
    """What the rule is counted with; K = n + 2 columns, the last two the basis moves.

    group_key (G,) -> X, -1 for cash; owner (X+1,) underlying of an expiry row, -1 for none
    dampening (K,), skew (K,) 1 for tilts of vol, else 0; discount_long, discount_short, restate, basis_weight (X+1,)
    tick_size  margin currency per tick
    """

    group_key: IntArray
    owner: IntArray
    dampening: FloatArray
    skew: FloatArray
    discount_long: FloatArray
    discount_short: FloatArray
    restate: FloatArray
    basis_weight: FloatArray
    tick_size: float


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
    """(A,) each: worst loss and the column of the underlying that loses most, and what charges are shares of."""

    loss: FloatArray
    worst: IntArray
    revalued: FloatArray
    perpetual: FloatArray
    naked: FloatArray
    mm_haircut: FloatArray
    im_haircut: FloatArray


def _expiry_template(tag: str) -> Any:
    def expiry(ticks, pnl, dampening, skew, tick_size, plain, long, short, again, marked):
        """Add to pnl (K,) what one expiry gains that is worth `marked`; one loop, as branches count references."""
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        value = marked * again
        for k in range(len(pnl)):
            gain = ticks[k] * tick_size
            shocked = (gain + marked) * again
            counted = gain if plain else (long if shocked > 0.0 else short) * shocked - value
            pnl[k] += (-abs(counted) if skew[k] > 0.0 else counted) * dampening[k]

    return expiry


def _basis_template(tag: str) -> Any:
    def basis(up, down, value, weight):
        """Basis contingency of an expiry by the direction it is worse in; see `derive_portfolio`."""
        tag  # noqa: B018
        rise, fall = (up - value) * weight, (down - value) * weight
        return (min(rise, 0.0), 0.0) if rise <= fall else (0.0, min(fall, 0.0))

    return basis


def _worst_template(tag: str) -> Any:
    def worst(pnl, basis, falls):
        """The lower of scenarios and basis contingency, which is 0 at most, and its column; the basis where equal."""
        tag  # noqa: B018
        lowest, column, scenarios = pnl[0], 0, len(pnl) - 2
        for k in range(1, scenarios):
            if pnl[k] < lowest:
                lowest, column = pnl[k], k
        return (basis, scenarios + falls) if basis <= lowest else (lowest, column)

    return worst


def _naked_template(tag: str) -> Any:
    def naked(first, last, columns):
        """Units short of one group after netting by strike, strikes ascending; net (T,) is 0 and is left so."""
        tag  # noqa: B018
        instrument_idx, quantity, units, strike, net, touched = columns
        count = 0
        for p in range(first, last):
            n = instrument_idx[p]
            here = strike[n]
            if here < 0:
                continue
            place = count
            while place > 0 and touched[place - 1] >= here:
                place -= 1
            if place == count or touched[place] != here:
                for later in range(count, place, -1):
                    touched[later] = touched[later - 1]
                touched[place] = here
                count += 1
            net[here] += quantity[p] * units[n]
        short = 0.0
        for place in range(count):
            short += max(-net[touched[place]], 0.0)
            net[touched[place]] = 0.0
        return short

    return naked


def _scan_template(tag: str) -> Any:
    def scan_accounts(first, last, positions, terms, rows, scan, held, scratch, out):
        """Fill `out` for accounts first to last - 1; returns positions that need another look and the largest bound."""
        tag  # noqa: B018
        XP.vector_loop()
        account_ptr, group_ptr, _, instrument_idx, quantity, _ = positions
        _, contract, _, magnitude, _ = terms
        values, per_unit, largest, _ = rows
        group_key, owner, dampening, skew, discount_long, discount_short, restate, basis_weight, tick_size = scan
        perpetual, asset, units, spot, strike, price, mm_haircut, im_haircut = held
        ticks, pnl, nets, touched = scratch
        loss, worst, revalued, on_perpetual, on_naked, on_mm, on_im = out
        options = (instrument_idx, quantity, units, strike, nets, touched)
        columns, doubtful, size = len(pnl), 0, 0.0
        for a in range(first, last):
            lost, most, place, changed, futures, shorts, mm, im = 0.0, 0.0, -1, 0.0, 0.0, 0.0, 0.0, 0.0
            bound, g = 0.0, account_ptr[a]
            while g < account_ptr[a + 1]:
                u, restated, basis, up, down = owner[group_key[g]], 0.0, 0.0, 0.0, 0.0
                for k in range(columns):
                    pnl[k] = 0.0
                while g < account_ptr[a + 1] and owner[group_key[g]] == u:
                    total = ZEROS()  # noqa: F821
                    x, p0, p1, listed, net = group_key[g], group_ptr[g], group_ptr[g + 1], 0, 0.0
                    for p in range(p0, p1):
                        n, q = instrument_idx[p], quantity[p]
                        steps = q * per_unit[n]
                        held_units = lanes.nearest(steps)
                        if abs(steps - held_units) + abs(steps) * accounts.QUOTIENT_ROUNDING <= accounts.CLEARLY_WHOLE:
                            total = ADD_ROW(total, values, n, held_units)  # noqa: F821
                            bound += abs(held_units) * largest
                            if strike[n] >= 0:
                                listed, net = listed + 1, q * units[n]
                            elif perpetual[n]:
                                futures += abs(q * units[n]) * spot[n]
                            continue
                        if contract[n]:
                            doubtful += 1
                            continue
                        bound += abs(q) * magnitude[n]
                        total = ADD_ROUNDED(total, values, n, q)  # noqa: F821
                        if asset[n]:
                            mm += abs(q) * price[n] * mm_haircut[n]
                            im += abs(q) * price[n] * im_haircut[n]
                    STORE(total, ticks)  # noqa: F821
                    marked, again = ticks[columns] * tick_size, restate[x]
                    long, short, value = discount_long[x], discount_short[x], marked * again
                    plain = long == 1.0 and short == 1.0 and again == 1.0
                    EXPIRY(ticks, pnl, dampening, skew, tick_size, plain, long, short, again, marked)  # noqa: F821
                    rise = (ticks[columns - 2] * tick_size + marked) * again
                    fall = (ticks[columns - 1] * tick_size + marked) * again
                    worse_up, worse_down = BASIS(rise, fall, value, basis_weight[x])  # noqa: F821
                    restated += value - ticks[columns + 1] * tick_size
                    basis += worse_up + worse_down
                    up, down = up + worse_up, down + worse_down
                    # One option or none is the usual case, and nothing to net.
                    naked = NAKED(p0, p1, options) if listed > 1 else max(-net, 0.0)  # noqa: F821
                    shorts += naked * spot[instrument_idx[p0]]
                    g += 1
                lowest, column = WORST(pnl, basis, down < up)  # noqa: F821
                lost += -lowest
                if -lowest > most:
                    most, place = -lowest, column
                changed += restated
            loss[a], worst[a], revalued[a], on_perpetual[a], on_naked[a] = lost, place, changed, futures, shorts
            on_mm[a], on_im[a] = mm, im
            size = max(size, bound)
        return doubtful, size

    return scan_accounts


@functools.cache
def _kernel(width: int) -> Any:
    vector, tag = lanes.operations(width), f"{width} {XP.source_hash(lanes)}"
    templates = {
        "EXPIRY": _expiry_template,
        "BASIS": _basis_template,
        "WORST": _worst_template,
        "NAKED": _naked_template,
    }
    parts = {name: XP.compile_kernel(template(""), tag, None, fastmath=False) for name, template in templates.items()}
    names = {"ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "ADD_ROUNDED": vector.add_rounded, "STORE": vector.store}
    return XP.compile_kernel(_scan_template(""), tag, None, {**names, **parts}, fastmath=False)


def scan_accounts(positions: Positions, table: Table, scan: Scan, held: Held, threads: int = 1) -> Sums | None:
    """Sums of every account; None where a position or an account is no usual one, so that the reference must look.

    The table has no haircuts. Arrays without ticks are left to the reference as well.
    """
    job, count = accounts.Job(positions, table), len(positions.account_ptr) - 1
    if job.chunks > 1 or not table.rounded:
        return None
    kernel, columns = _kernel(job.width), len(scan.dampening)
    sums = Sums(np.empty(count), np.empty(count, np.int64), *(np.empty(count) for _ in range(5)))
    strikes = int(held.strike.max(initial=0)) + 1
    usual: list[bool] = []

    def run(first: int, last: int, rows: accounts.Rows) -> accounts.Found:
        scratch = (np.empty(job.width), np.empty(columns), np.zeros(strikes), np.empty(strikes, np.int64))
        doubtful, size = kernel(first, last, positions, table[1:], rows, scan, held, scratch, sums)
        usual.append(doubtful == 0 and bool(size * accounts.MARGIN_OF_BOUND <= rows.limit))
        return accounts.Found(0, 0, 0)

    job.run(run, threads)
    return sums if all(usual) else None
