"""Basis: forwards of one underlying do not move alike, so different expiries do not hedge each other fully.

Scenarios move every forward of an underlying by the same share. What the forward curve does beside that is a turn of
all annualised bases ln(F/S) / T alike, and a move of each forward by itself:

  d ln F(T) = d ln S + T c + e(T)

  charge = rate_move x |sum over expiries of T x net delta| + move x sum over expiries of |net delta|

the worst loss of the net deltas over |c| <= rate_move and every |e| <= move, each e by itself, to first order.
Perpetuals stand at T = 0. It is convex in the quantities and in proportion to the position. Only contracts count: a
coin held has no basis to itself, so a coin against a future pays for the future. `basis_rule.py` makes the two moves of
forward curves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray


def basis_charge(turn: ArrayLike, sizes: ArrayLike, rate_move: ArrayLike, move: ArrayLike) -> FloatArray:
    """(...) charge of positions in one underlying each, in the money of the first two.

    turn       (...) sum over expiries of years to expiry times net delta
    sizes      (...) sum over expiries of the size of the net delta
    rate_move  (...) change of the annualised basis
    move       (...) relative move of one forward by itself
    """
    return np.asarray(np.asarray(rate_move) * np.abs(turn) + np.asarray(move) * np.asarray(sizes))
