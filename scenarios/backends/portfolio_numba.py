"""P&L of one portfolio of options along a product grid, compiled by numba.

What a scenario changes falls apart into factors: ln(F/K) of a leg and ln(1 + move) add up, the root of the time and
1/v are those of a leg, a vol and a time. The loop over price moves, the innermost, has no logarithm, root or division
by the vol in it, and its moves are contiguous. The short way to a value serves all options that live: what it loses of
those far from the money is less than the last digits of the forward. A group of legs always is added up in the same
order, whatever thread works on it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pricing.arrays import FloatArray
from pricing.models import black76
from pricing.xp import numba as XP
from scenarios.legs import Grid, Legs

GROUP_LEGS = 256


def _template(tag: str) -> Any:
    def grid_pnl(first, last, legs, grid, values, out):
        tag  # noqa: B018 - enters the key of the disk cache
        XP.vector_loop()
        forward, strike, vol, sign, quantity, tau, discount = legs
        growth, log_growth, vol_factor = grid
        base_tau, moves = len(tau[0]) - 1, len(growth)
        for n in range(first, last):
            f0, k, held, side = forward[n], strike[n], quantity[n], sign[n]
            log_moneyness = XP.log_ratio(f0, k)
            base = FORMULA(XP, f0, k, tau[n, base_tau], vol[n], discount[n, base_tau], side)  # noqa: F821
            cell = 0
            for v in range(len(vol_factor)):
                sigma = XP.maximum(vol[n] * vol_factor[v], 0.0)
                for t in range(base_tau):
                    left = tau[n, t]
                    variance = sigma * sigma * left
                    due = discount[n, t]
                    if variance > SMALLEST:  # noqa: F821
                        root = XP.sqrt(variance)
                        per_root = 1.0 / root
                        for m in range(moves):
                            f, x = f0 * growth[m], log_moneyness + log_growth[m]
                            _, values[m] = SHORT(XP, (root, per_root, XP.abs(x)), f, k, due, side)  # noqa: F821
                    else:
                        for m in range(moves):
                            values[m] = FORMULA(XP, f0 * growth[m], k, left, sigma, due, side)  # noqa: F821
                    for m in range(moves):
                        out[cell + m] += held * (values[m] - base)
                    cell += moves

    return grid_pnl


@functools.cache
def _kernel() -> Any:
    # Below a v of a millionth an option is worth what it pays now, as far as the short way could tell.
    bound = {"SHORT": XP.compile_formula(black76.usual_value), "SMALLEST": 1e-12}
    return XP.compile_kernel(_template(""), XP.source_hash(black76), black76.value, bound)


def grid_pnl(legs: Legs, grid: Grid, threads: int = 1) -> FloatArray:
    """(V*T*M,) P&L of the portfolio, price moves last; see `scenarios.portfolio`."""
    kernel, moves, count = _kernel(), len(grid.growth), len(legs.forward)
    cells = len(grid.vol_factor) * (legs.tau.shape[1] - 1) * moves
    groups = np.zeros((-(-count // GROUP_LEGS), cells))

    def run(part: slice) -> None:
        values = np.empty(moves)
        for group in range(part.start, part.stop):
            first = group * GROUP_LEGS
            kernel(first, min(first + GROUP_LEGS, count), legs, grid, values, groups[group])

    XP.run_in_threads(run, len(groups), threads, block=1)
    return np.asarray(groups.sum(axis=0)) if len(groups) != 1 else groups[0]
