"""P&L of one portfolio of options along a product grid, compiled by numba.

What a scenario changes falls apart into factors: ln(F/K) of a leg and ln(1 + move) add up, v and 1/v are those of a
leg, a vol and a time. The innermost loop, which has no logarithm, root or division by v in it, runs over the legs, so
that it is equally long for any grid. Legs are added up in the same order, whatever thread works on them.

There are two kernels. Where the processor can pick numbers from a table in its registers, N(d1) and N(d2) come from
`normal_tail`, at the middle of price moves that are near by `delta_series` and else at each of them, and what is lost
of an option is less than the last digits of its forward and its strike; elsewhere from the formula, which keeps those
of the smaller of the two. Legs are sorted for the series, so that neighbours need equally long ones.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pricing.arrays import FloatArray, read_only
from pricing.models import black76
from pricing.price import default_threads
from pricing.xp import numba as XP
from scenarios.backends import delta_series as series
from scenarios.backends import normal_tail, registers
from scenarios.legs import LARGEST_DISCOUNT, LARGEST_PRICE, LARGEST_VOL, LONGEST, SMALLEST_PRICE, Grid, Legs

# Legs of a group, whose numbers stay in the first cache, and of a block, which are a register of 512 bits.
GROUP_LEGS, BLOCK_LEGS = 512, 8
# What a thread computes in some five times what it takes to wake it.
PRICES_OF_A_THREAD = 200_000
# Below it v and 1/v count as 0: what is lost is beyond the digits of any price.
SMALLEST_DEVIATION = 1e-20
# Then and where vol moves to 0, 1/v is this much: an option is worth what it pays now.
MOST_DEVIATIONS = 1e30
# Bounds as bits: numbers above 0 are in the order of their bits, and what is not finite is beyond all of them.
LEAST, MOST, YEARS, VOL, DISCOUNT = (
    int(bits)
    for bits in np.array([SMALLEST_PRICE, LARGEST_PRICE, LONGEST, LARGEST_VOL, LARGEST_DISCOUNT]).view(np.int64)
)


def _fit_leg(xp: Any, forward: Any, strike: Any, tau: Any, vol: Any, sign: Any, quantity: Any, discount: Any) -> Any:
    """Whether a leg is fit, seen from the bits: kernels assume finite numbers."""
    f, k, t, v, d = (xp.float_bits(number) for number in (forward, strike, tau, vol, discount))
    prices = (f > LEAST) & (f < MOST) & (k > LEAST) & (k < MOST) & (d > 0) & (d <= DISCOUNT)
    lasting = ((t >= 0) & (t <= YEARS)) | (t == xp.MINUS_ZERO)
    moving = ((v >= 0) & (v <= VOL)) | (v == xp.MINUS_ZERO)
    held = (xp.float_bits(quantity) & xp.MAGNITUDE) < xp.INFINITY
    return prices & lasting & moving & held & ((xp.float_bits(sign) & xp.MAGNITUDE) == xp.ONE)


def _formula_template(tag: str) -> Any:
    def grid_pnl(first, last, legs, grid, out):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, tau, vol, sign, quantity, discount, later = legs
        growth, log_growth, vol_factor, elapsed = grid
        discounted = len(later) > 0
        price, pays, side, log_moneyness = XP.scratch(ROOM), XP.scratch(ROOM), XP.scratch(ROOM), XP.scratch(ROOM)  # noqa: F821
        base, worth, half, per_deviation = XP.scratch(ROOM), XP.scratch(ROOM), XP.scratch(ROOM), XP.scratch(ROOM)  # noqa: F821
        sums = XP.scratch(BLOCK)  # noqa: F821
        count, times, unfit = last - first, len(elapsed), 0
        blocks = (count + BLOCK - 1) // BLOCK  # noqa: F821
        for n in range(count, blocks * BLOCK):  # noqa: F821
            # Legs of nothing fill the last block.
            price[n] = pays[n] = side[n] = 1.0
            log_moneyness[n] = base[n] = worth[n] = half[n] = per_deviation[n] = 0.0
        for n in range(count):
            row = first + n
            f, k, now, due_now = forward[row], strike[row], tau[row], discount[row]
            fit = FIT(XP, f, k, now, vol[row], sign[row], quantity[row], due_now)  # noqa: F821
            unfit += 0 if fit else 1
            price[n], pays[n], side[n] = f, k, sign[row]
            x, v = XP.log_ratio(f, k), vol[row] * XP.sqrt(now)
            lives = v > SMALLEST  # noqa: F821
            terms = XP.where(lives, 0.5 * v, 0.0), XP.where(lives, 1.0 / v, 0.0), XP.abs(x)
            log_moneyness[n] = x
            base[n] = quantity[row] * (due_now * FORMULA(XP, terms, f, k, sign[row]))  # noqa: F821
        for t in range(times):
            for i in range(len(vol_factor)):
                for n in range(count):
                    row = first + n
                    v = vol[row] * vol_factor[i] * XP.sqrt(XP.maximum(tau[row] - elapsed[t], 0.0))
                    lives = v > SMALLEST  # noqa: F821
                    half[n], per_deviation[n] = XP.where(lives, 0.5 * v, 0.0), XP.where(lives, 1.0 / v, 0.0)
                    worth[n] = quantity[row] * (later[t, row] if discounted else 1.0)
                cell = (i * times + t) * len(growth)
                for m in range(len(growth)):
                    grown, log_grown = growth[m], log_growth[m]
                    for lane in range(BLOCK):  # noqa: F821
                        sums[lane] = 0.0
                    for block in range(blocks):
                        for lane in range(BLOCK):  # noqa: F821
                            n = block * BLOCK + lane  # noqa: F821
                            terms = half[n], per_deviation[n], XP.abs(log_moneyness[n] + log_grown)
                            value = FORMULA(XP, terms, price[n] * grown, pays[n], side[n])  # noqa: F821
                            sums[lane] += worth[n] * value - base[n]
                    total = 0.0
                    for lane in range(BLOCK):  # noqa: F821
                        total += sums[lane]
                    out[cell + m] = total
        return unfit

    return grid_pnl


def _look_up_template(tag: str) -> Any:
    def grid_pnl(first, last, legs, grid, out, space):
        """What the other kernel computes, with look-ups in the place of the formula, and series where they pay."""
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, tau, vol, sign, quantity, discount, later = legs
        growth, log_growth, vol_factor, elapsed = grid
        discounted = len(later) > 0
        # The columns that `leg_sums` takes, by where they begin.
        room, log_moneyness, per_deviation = XP.scratch(COLUMNS), 0, ROOM  # noqa: F821
        half, grown, pays = 2 * ROOM, 3 * ROOM, 4 * ROOM  # noqa: F821
        root, per_root, widest = XP.scratch(ROOM), XP.scratch(ROOM), XP.scratch(ROOM)  # noqa: F821
        vols, lasting, side = XP.scratch(ROOM), XP.scratch(ROOM), XP.scratch(ROOM)  # noqa: F821
        limits, starts, seeds, sums = XP.scratch(LEVELS), XP.scratch(STARTS), XP.scratch(SEEDS), XP.scratch(SUMS)  # noqa: F821
        count, times, unfit, base, longest = last - first, len(elapsed), 0, 0.0, 0.0
        for row in range(first, last):
            fit = FIT(XP, forward[row], strike[row], tau[row], vol[row], sign[row], quantity[row], discount[row])  # noqa: F821
            unfit += 0 if fit else 1
        if unfit:
            return unfit
        rows, values = space.rows, space.values
        if WEIGH_MOVES(growth, log_growth, space.weights, limits, starts):  # noqa: F821
            SORT_LEGS(first, count, vol, tau, longest, rows, ROOM)  # noqa: F821
        else:
            for n in range(count):
                rows[n] = first + n
        rooms = room, seeds, sums, widest
        pairs = (count + PAIR - 1) // PAIR  # noqa: F821
        for n in range(count, pairs * PAIR):  # noqa: F821
            # Legs of nothing fill the last pair of blocks.
            room[log_moneyness + n] = room[per_deviation + n] = room[half + n] = room[grown + n] = room[pays + n] = 0.0
            root[n] = per_root[n] = 0.0
        for n in range(count):
            row = rows[n]
            vols[n], lasting[n], side[n] = vol[row], tau[row], sign[row]
            f, k, held = forward[row], strike[row], quantity[row] * sign[row]
            room[log_moneyness + n], room[grown + n], room[pays + n] = XP.log_ratio(f, k), held * f, held * k
        for step in range(times + 1):
            # As things stand now comes first, without a move: what all others are compared with.
            t = times - step
            passed = elapsed[t] if step else 0.0
            for n in range(count):
                v = vols[n] * XP.sqrt(XP.maximum(lasting[n] - passed, 0.0))
                root[n] = v * (0.5 * PER_INTERVAL) * side[n]  # noqa: F821
                per_root[n] = XP.where(v > SMALLEST, PER_INTERVAL / v, MOST_DEVIATIONS) * side[n]  # noqa: F821
            for n in range(count if discounted else 0):
                row = rows[n]
                worth = quantity[row] * (later[t, row] if step else discount[row]) * sign[row]
                room[grown + n], room[pays + n] = worth * forward[row], worth * strike[row]
            for pair in range(pairs):
                widest[pair] = LARGEST(per_root, pair * PAIR)  # noqa: F821
            for i in range(len(vol_factor) if step else 1):
                factor = vol_factor[i] if step else 1.0
                per_factor = 1.0 / factor if factor > SMALLEST else MOST_DEVIATIONS  # noqa: F821
                for n in range(count):
                    room[half + n], room[per_deviation + n] = root[n] * factor, per_root[n] * per_factor
                if not step:
                    forwards, strikes = LEG_SUMS(room, ROOM, 0, 2 * pairs, 0.0)  # noqa: F821
                    base = forwards - strikes
                    continue
                VALUES(rooms, pairs, per_factor, (limits, starts), grid, space)  # noqa: F821
                cell = (i * times + t) * len(growth)
                for s in range(len(growth)):
                    out[cell + s] = values[s] - base
        return unfit

    return grid_pnl


@functools.cache
def _look_up_kernel() -> Any:
    bound = {
        "SMALLEST": SMALLEST_DEVIATION, "MOST_DEVIATIONS": MOST_DEVIATIONS, "ROOM": GROUP_LEGS,
        "COLUMNS": 5 * GROUP_LEGS, "SEEDS": 3 * GROUP_LEGS, "SUMS": series.ORDER * BLOCK_LEGS, "PAIR": series.PAIR,
        "PER_INTERVAL": 1.0 / normal_tail.INTERVAL, "VALUES": series.values_of(GROUP_LEGS),
        "SORT_LEGS": series.sort_legs, "WEIGH_MOVES": series.weigh_moves, "LARGEST": series.largest_of_pair,
        "LEG_SUMS": normal_tail.leg_sums, "FIT": XP.compile_formula(_fit_leg), "LEVELS": series.LEVELS,
        "STARTS": series.STARTS,
    }  # fmt: skip
    tag = f"{LEAST} {MOST} {YEARS} {VOL} {DISCOUNT} {XP.source_hash(normal_tail, registers, series)}"
    return XP.compile_kernel(_look_up_template(""), tag, None, bound)


@functools.cache
def _formula_kernel() -> Any:
    bound = {
        "SMALLEST": SMALLEST_DEVIATION, "BLOCK": BLOCK_LEGS, "ROOM": GROUP_LEGS, "FIT": XP.compile_formula(_fit_leg)
    }  # fmt: skip
    tag = f"{LEAST} {MOST} {YEARS} {VOL} {DISCOUNT} {XP.source_hash(black76)}"
    return XP.compile_kernel(_formula_template(""), tag, black76.bounded_value, bound)


def _kernel() -> Any:
    """The kernel that is faster here."""
    return _look_up_kernel() if normal_tail.HAS_LOOK_UP else _formula_kernel()


def grid_pnl(legs: Legs, grid: Grid, threads: int | None = 1) -> tuple[FloatArray, int]:
    """(V*T*M,) P&L of the portfolio, price moves last, and how many legs are not fit; see `scenarios.portfolio`."""
    kernel, count = _kernel(), len(legs.forward)
    given, moves = tuple(read_only(column) for column in legs), tuple(read_only(column) for column in grid)
    cells = len(grid.vol_factor) * len(grid.step) * len(grid.growth)
    groups = np.empty((-(-count // GROUP_LEGS), cells))

    def run(part: slice) -> int:
        # Room of its own for every thread.
        room = (series.room_of(GROUP_LEGS, len(grid.growth)),) if normal_tail.HAS_LOOK_UP else ()
        unfit = 0
        for group in range(part.start, part.stop):
            first = group * GROUP_LEGS
            unfit += kernel(first, min(first + GROUP_LEGS, count), given, moves, groups[group], *room)
        return unfit

    if len(groups) == 1:
        return groups[0], run(slice(0, 1))
    most = default_threads(count * cells) if threads is None else threads
    workers = min(most, max(1, count * cells // PRICES_OF_A_THREAD))
    unfit = sum(XP.run_in_threads(run, len(groups), workers, block=1))
    return np.asarray(groups.sum(axis=0)), unfit
