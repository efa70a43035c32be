"""P&L of one portfolio of options along a product grid, compiled by numba.

What a scenario changes falls apart into factors: ln(F/K) of a leg and ln(1 + move) add up, v and 1/v are those of a
leg, a vol and a time. The innermost loop, which has no logarithm, root or division by v in it, runs over the legs, so
that it is equally long for any grid. Legs are added up in the same order, whatever thread works on them.

N(d1) and N(d2) are looked up (`leg_sums`), at the middle of price moves that are near by `delta_series` and else at
each of them, and what is lost of an option is less than the last digits of its forward and its strike. Legs are sorted
for the series, so that neighbours need equally long ones.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pricing.arrays import FloatArray
from pricing.price import default_threads
from pricing.xp import numba as XP
from scenarios.backends import delta_series as series
from scenarios.backends import leg_sums, normal_nodes, normal_tail, registers
from scenarios.legs import (
    DISCOUNT,
    FORWARD,
    LARGEST_DISCOUNT,
    LARGEST_PRICE,
    LARGEST_QUANTITY,
    LARGEST_VOL,
    LATER,
    LONGEST,
    QUANTITY,
    SIGN,
    SMALLEST_PRICE,
    STRIKE,
    TAU,
    VOL,
    Grid,
)

# Legs of a group, whose numbers stay in the first cache, and of a block, which are a register of 512 bits.
GROUP_LEGS, BLOCK_LEGS = 512, 8
# What a thread computes in some five times what it takes to wake it.
PRICES_OF_A_THREAD = 200_000
# Below it v and 1/v count as 0: what is lost is beyond the digits of any price.
SMALLEST_DEVIATION = 1e-20
# Then and where vol moves to 0, 1/v is this much: an option is worth what it pays now.
MOST_DEVIATIONS = 1e30
# Bounds as bits: numbers above 0 are in the order of their bits, and what is not finite is beyond all of them.
BOUNDS = SMALLEST_PRICE, LARGEST_PRICE, LONGEST, LARGEST_VOL, LARGEST_DISCOUNT, LARGEST_QUANTITY
LEAST, MOST, YEARS, HIGHEST_VOL, MOST_DISCOUNT, MOST_HELD = np.array(BOUNDS).view(np.int64).tolist()


def _fit_leg(xp: Any, terms: Any, sign: Any, quantity: Any, discount: Any) -> Any:
    """Whether a leg is fit, seen from the bits: kernels assume finite numbers. Terms are F, K, tau and vol."""
    f, k, t, v, d = (xp.float_bits(number) for number in (*terms, discount))
    prices = (f > LEAST) & (f < MOST) & (k > LEAST) & (k < MOST) & (d > 0) & (d <= MOST_DISCOUNT)
    lasting = ((t >= 0) & (t <= YEARS)) | (t == xp.MINUS_ZERO)
    moving = ((v >= 0) & (v <= HIGHEST_VOL)) | (v == xp.MINUS_ZERO)
    held = (xp.float_bits(quantity) & xp.MAGNITUDE) <= MOST_HELD
    return prices & lasting & moving & held & ((xp.float_bits(sign) & xp.MAGNITUDE) == xp.ONE)


def _template(tag: str) -> Any:
    def grid_pnl(first, last, legs, moves, price_moves, vol_moves, out, weights):
        """Set `out` to the P&L of a group of legs, and return how many are not fit; moves are columns of `Grid`."""
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, tau, vol = legs[FORWARD], legs[STRIKE], legs[TAU], legs[VOL]
        sign, quantity = legs[SIGN], legs[QUANTITY]
        vol_factor = 2 * price_moves
        elapsed = vol_factor + vol_moves
        times, discounted = len(moves) - elapsed, len(legs) > DISCOUNT
        # The columns that `leg_sums` takes, by where they begin.
        room, log_moneyness, per_deviation = XP.scratch(COLUMNS), 0, ROOM  # noqa: F821
        half, grown, pays = 2 * ROOM, 3 * ROOM, 4 * ROOM  # noqa: F821
        root, per_root, widest = XP.scratch(ROOM), XP.scratch(ROOM), XP.scratch(ROOM)  # noqa: F821
        vols, lasting, side = XP.scratch(ROOM), XP.scratch(ROOM), XP.scratch(ROOM)  # noqa: F821
        limits, starts, seeds, sums = XP.scratch(LEVELS), XP.scratch(STARTS), XP.scratch(SEEDS), XP.scratch(SUMS)  # noqa: F821
        rows, count, unfit, base = XP.scratch(ROWS), last - first, 0, 0.0  # noqa: F821
        for row in range(first, last):
            terms = forward[row], strike[row], tau[row], vol[row]
            due = legs[DISCOUNT, row] if discounted else 1.0
            unfit += 0 if FIT(XP, terms, sign[row], quantity[row], due) else 1  # noqa: F821
        if unfit:
            return unfit
        if WEIGH_MOVES(moves, price_moves, weights, limits, starts):  # noqa: F821
            SORT_LEGS(first, count, vol, tau, rows, ROOM)  # noqa: F821
        else:
            for n in range(count):
                rows[n] = first + n
        rooms, plan = (room, seeds, sums, widest), (limits, starts, weights)
        pairs = (count + PAIR - 1) // PAIR  # noqa: F821
        for n in range(count, pairs * PAIR):  # noqa: F821
            # Legs of nothing fill the last pair of blocks.
            room[log_moneyness + n] = room[per_deviation + n] = room[half + n] = room[grown + n] = room[pays + n] = 0.0
            root[n] = per_root[n] = 0.0
        for n in range(count):
            row = int(rows[n])
            vols[n], lasting[n], side[n] = vol[row], tau[row], sign[row]
            f, k, held = forward[row], strike[row], quantity[row] * sign[row]
            room[log_moneyness + n], room[grown + n], room[pays + n] = XP.log_ratio(f, k), held * f, held * k
        for step in range(times + 1):
            # As things stand now comes first, without a move: what all others are compared with.
            t = times - step
            passed = moves[elapsed + t] if step else 0.0
            for n in range(count):
                v = vols[n] * XP.sqrt(XP.maximum(lasting[n] - passed, 0.0))
                root[n] = v * (0.5 * PER_INTERVAL) * side[n]  # noqa: F821
                per_root[n] = XP.where(v > SMALLEST, PER_INTERVAL / v, MOST_DEVIATIONS) * side[n]  # noqa: F821
            for n in range(count if discounted else 0):
                row = int(rows[n])
                worth = quantity[row] * legs[LATER + t if step else DISCOUNT, row] * sign[row]
                room[grown + n], room[pays + n] = worth * forward[row], worth * strike[row]
            for pair in range(pairs):
                widest[pair] = LARGEST(per_root, pair * PAIR)  # noqa: F821
            for i in range(vol_moves if step else 1):
                factor = moves[vol_factor + i] if step else 1.0
                per_factor = 1.0 / factor if factor > SMALLEST else MOST_DEVIATIONS  # noqa: F821
                for n in range(count):
                    room[half + n], room[per_deviation + n] = root[n] * factor, per_root[n] * per_factor
                if not step:
                    forwards, strikes = LEG_SUMS(room, ROOM, 0, 2 * pairs, 0.0)  # noqa: F821
                    base = forwards - strikes
                    continue
                cell = (i * times + t) * price_moves
                VALUES(rooms, pairs, per_factor, plan, (moves, price_moves), (out, cell))  # noqa: F821
                for s in range(price_moves):
                    out[cell + s] -= base
        return unfit

    return grid_pnl


@functools.cache
def _kernel() -> Any:
    bound = {
        "SMALLEST": SMALLEST_DEVIATION, "MOST_DEVIATIONS": MOST_DEVIATIONS, "ROOM": GROUP_LEGS,
        "COLUMNS": 5 * GROUP_LEGS, "SEEDS": 3 * GROUP_LEGS, "SUMS": series.ORDER * BLOCK_LEGS, "PAIR": series.PAIR,
        "PER_INTERVAL": 1.0 / leg_sums.INTERVAL, "VALUES": series.values_of(GROUP_LEGS),
        "SORT_LEGS": series.sort_legs, "WEIGH_MOVES": series.weigh_moves, "LARGEST": series.largest_of_pair,
        "LEG_SUMS": leg_sums.leg_sums, "FIT": XP.compile_formula(_fit_leg), "LEVELS": series.LEVELS,
        "STARTS": series.STARTS, "ROWS": series.room_of_rows(GROUP_LEGS),
    }  # fmt: skip
    made_of = XP.source_hash(leg_sums, normal_nodes, normal_tail, registers, series)
    tag = f"{LEAST} {MOST} {YEARS} {HIGHEST_VOL} {MOST_DISCOUNT} {made_of}"
    return XP.compile_kernel(_template(""), tag, None, bound)


def grid_pnl(legs: FloatArray, grid: Grid, threads: int | None = 1) -> tuple[FloatArray, int]:
    """(V*T*M,) P&L of the portfolio, price moves last, and how many legs are not fit; see `scenarios.legs`."""
    kernel, count, price_moves, vol_moves = _kernel(), legs.shape[1], len(grid.growth), len(grid.vol_factor)
    # Few arrays: to hand one to a kernel takes as long as some ten legs.
    moves, cells = np.concatenate(grid), vol_moves * len(grid.step) * price_moves
    groups = np.empty((-(-count // GROUP_LEGS), cells))

    def run(part: slice) -> int:
        # Room of its own for every thread.
        weights, unfit = np.empty(series.room_of_weights(price_moves)), 0
        for group in range(part.start, part.stop):
            first = group * GROUP_LEGS
            last = min(first + GROUP_LEGS, count)
            unfit += kernel(first, last, legs, moves, price_moves, vol_moves, groups[group], weights)
        return unfit

    if len(groups) == 1:
        return groups[0], run(slice(0, 1))
    most = default_threads(count * cells) if threads is None else threads
    workers = min(most, max(1, count * cells // PRICES_OF_A_THREAD))
    unfit = sum(XP.run_in_threads(run, len(groups), workers, block=1))
    return np.asarray(groups.sum(axis=0)), unfit
