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
    dampening (K,), skew (K,), discount_long, discount_short, restate, basis_weight (X+1,)   see `Rule`
    tick_size  margin currency per tick
    """

    group_key: IntArray
    owner: IntArray
    dampening: FloatArray
    skew: BoolArray
    discount_long: FloatArray
    discount_short: FloatArray
    restate: FloatArray
    basis_weight: FloatArray
    tick_size: float


class Held(NamedTuple):
    """(N,) each: what a contract counts in the charges.

    option, perpetual, asset   what it is
    units     of the underlying per contract
    spot      of the underlying
    strike    place of the strike of an option among those of its expiry
    price     of an asset as the venue has it, and its mm_haircut and im_haircut
    """

    option: BoolArray
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
    def expiry(ticks, x, scan, amounts, pnl):
        """Of the sums of one expiry: P&L counted, added to pnl (K,); value, value without a move less value, basis."""
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        _, _, dampening, skew, discount_long, discount_short, restate, basis_weight, tick_size = scan
        columns = len(pnl)
        for k in range(columns + 2):
            amounts[k] = ticks[k] * tick_size
        long, short, again, marked = discount_long[x], discount_short[x], restate[x], amounts[columns]
        plain = long == 1.0 and short == 1.0 and again == 1.0
        value = marked * again
        for k in range(columns):
            gain = amounts[k]
            shocked = (gain + marked) * again
            counted = gain if plain else (long if shocked > 0.0 else short) * shocked - value
            pnl[k] += (-abs(counted) if skew[k] else counted) * dampening[k]
        still = 0.0 if plain else value * (long if value > 0.0 else short) - value
        up = ((amounts[columns - 2] + marked) * again - value) * basis_weight[x]
        down = ((amounts[columns - 1] + marked) * again - value) * basis_weight[x]
        return value, still, min(up, 0.0) if up <= down else 0.0, 0.0 if up <= down else min(down, 0.0)

    return expiry


def _naked_template(tag: str) -> Any:
    def naked(first, last, instrument_idx, quantity, held, net, touched):
        """Units short of one group after netting by strike, strikes ascending; net (T,) is 0 and is left so."""
        tag  # noqa: B018
        option, _, _, units, _, strike, _, _, _ = held
        count = 0
        for p in range(first, last):
            n = instrument_idx[p]
            if not option[n]:
                continue
            place = count
            while place > 0 and touched[place - 1] >= strike[n]:
                place -= 1
            if place == count or touched[place] != strike[n]:
                for later in range(count, place, -1):
                    touched[later] = touched[later - 1]
                touched[place] = strike[n]
                count += 1
            net[strike[n]] += quantity[p] * units[n]
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
        _, contract, long_weight, magnitude, rounded = terms
        values, per_unit, largest, _ = rows
        group_key, owner = scan[0], scan[1]
        _, perpetual, asset, units, spot, _, price, mm_haircut, im_haircut = held
        ticks, amounts, pnl, net, touched = scratch
        loss, worst, revalued, on_perpetual, on_naked, on_mm, on_im = out
        columns, doubtful, size = len(pnl), 0, 0.0
        for a in range(first, last):
            lost, most, place, again, futures, shorts, mm, im = 0.0, 0.0, -1, 0.0, 0.0, 0.0, 0.0, 0.0
            bound, g = 0.0, account_ptr[a]
            while g < account_ptr[a + 1]:
                u, money, restated, basis, up, down = owner[group_key[g]], 0.0, 0.0, 0.0, 0.0, 0.0
                for k in range(columns):
                    pnl[k] = 0.0
                while g < account_ptr[a + 1] and owner[group_key[g]] == u:
                    total = ZEROS()  # noqa: F821
                    p0, p1 = group_ptr[g], group_ptr[g + 1]
                    for p in range(p0, p1):
                        n, q = instrument_idx[p], quantity[p]
                        steps = q * per_unit[n]
                        held_units = lanes.nearest(steps)
                        if abs(steps - held_units) + abs(steps) * accounts.QUOTIENT_ROUNDING <= accounts.CLEARLY_WHOLE:
                            total = ADD_ROW(total, values, n, held_units)  # noqa: F821
                            bound += abs(held_units) * largest
                            futures += abs(q * units[n]) * spot[n] if perpetual[n] else 0.0
                            continue
                        if contract[n]:
                            doubtful += 1
                            continue
                        balance = q * long_weight[n] if q > 0.0 else q
                        bound += abs(balance) * magnitude[n]
                        if rounded:
                            total = ADD_ROUNDED(total, values, n, balance)  # noqa: F821
                        else:
                            total = ADD_ROW(total, values, n, balance)  # noqa: F821
                        if asset[n]:
                            mm += abs(q) * price[n] * mm_haircut[n]
                            im += abs(q) * price[n] * im_haircut[n]
                    STORE(total, ticks)  # noqa: F821
                    value, _, worse_up, worse_down = EXPIRY(ticks, group_key[g], scan, amounts, pnl)  # noqa: F821
                    restated += value - amounts[columns + 1]
                    basis += worse_up + worse_down
                    up += worse_up
                    down += worse_down
                    spot_here = 0.0
                    for p in range(p0, p1):
                        spot_here = spot[instrument_idx[p]]
                    shorts += NAKED(p0, p1, instrument_idx, quantity, held, net, touched) * spot_here  # noqa: F821
                    money += value
                    g += 1
                lowest, column = pnl[0], 0
                for k in range(1, columns - 2):
                    if pnl[k] < lowest:
                        lowest, column = pnl[k], k
                if basis <= lowest:
                    lowest, column = basis, columns - 2 + (1 if down < up else 0)
                if lowest < 0.0:
                    if -lowest > most:
                        most, place = -lowest, column
                    lost += -lowest
                again += restated
            loss[a], worst[a], revalued[a], on_perpetual[a], on_naked[a] = lost, place, again, futures, shorts
            on_mm[a], on_im[a] = mm, im
            size = max(size, bound)
        return doubtful, size

    return scan_accounts


@functools.cache
def _kernel(width: int) -> Any:
    vector, tag = lanes.operations(width), f"{width} {XP.source_hash(lanes)}"
    parts = {
        "EXPIRY": XP.compile_kernel(_expiry_template(""), tag, None, fastmath=False),
        "NAKED": XP.compile_kernel(_naked_template(""), tag, None, fastmath=False),
    }
    names = {"ZEROS": vector.zeros, "ADD_ROW": vector.add_row, "ADD_ROUNDED": vector.add_rounded, "STORE": vector.store}
    return XP.compile_kernel(_scan_template(""), tag, None, {**names, **parts}, fastmath=False)


def scan_accounts(positions: Positions, table: Table, scan: Scan, held: Held, threads: int = 1) -> Sums | None:
    """Sums of every account; None where a position or an account is no usual one, so that the reference must look."""
    job, count = accounts.Job(positions, table), len(positions.account_ptr) - 1
    if job.chunks > 1:
        return None
    kernel, columns = _kernel(job.width), len(scan.dampening)
    sums = Sums(np.empty(count), np.empty(count, np.int64), *(np.empty(count) for _ in range(5)))
    strikes = int(held.strike.max(initial=0)) + 1
    usual: list[bool] = []

    def run(first: int, last: int, rows: accounts.Rows) -> accounts.Found:
        scratch = (
            np.empty(job.width), np.empty(columns + 2), np.empty(columns), np.zeros(strikes), np.empty(strikes, np.int64)
        )  # fmt: skip
        doubtful, size = kernel(first, last, positions, table[1:], rows, scan, held, scratch, sums)
        usual.append(doubtful == 0 and bool(size * accounts.MARGIN_OF_BOUND <= rows.limit))
        return accounts.Found(0, 0, 0)

    job.run(run, threads)
    return sums if all(usual) else None
