"""GARCH(1,1): its recursion, its Gaussian likelihood and derivatives of it, and the search for its maximum; by numba.

The search is BFGS with steps that satisfy the strong conditions of Wolfe (Nocedal and Wright 2006, algorithms 3.5 and
6.1). It stands here as one of scipy takes ten times as long for three numbers as the likelihood of a thousand returns.
"""

from __future__ import annotations

import numba
import numpy as np

from pricing.arrays import FloatArray, read_only

# alpha + beta stays below 1 by this much: beyond it the long-run variance means nothing.
LEAST_REVERSION = 1e-5
# The search ends where the likelihood of a return changes by less than this per unit of its scale; scales end at FAR.
GRADIENT, FAR = 1e-7, 25.0
STEPS, TRIALS = 600, 50
# Wolfe's conditions: of the fall that the slope promises so much at least is had, and of the slope so much is left.
DECREASE, CURVATURE = 1e-4, 0.9


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _likelihood(squares, omega, alpha, beta, start, out):
    variance, by_omega, by_alpha, by_beta = start, 0.0, 0.0, 0.0
    total, d_omega, d_alpha, d_beta = 0.0, 0.0, 0.0, 0.0
    for step in range(len(squares)):
        square = squares[step]
        total += np.log(variance) + square / variance
        slope = (1.0 - square / variance) / variance
        d_omega += slope * by_omega
        d_alpha += slope * by_alpha
        d_beta += slope * by_beta
        by_omega = 1.0 + beta * by_omega
        by_alpha = square + beta * by_alpha
        by_beta = variance + beta * by_beta
        variance = omega + alpha * square + beta * variance
    out[0] = -0.5 * (total + len(squares) * np.log(2.0 * np.pi))
    out[1], out[2], out[3] = -0.5 * d_omega, -0.5 * d_alpha, -0.5 * d_beta


def garch_likelihood(squares: FloatArray, omega: float, alpha: float, beta: float, start: float) -> FloatArray:
    """(4,) log-likelihood and its derivatives by omega, alpha and beta.

    squares  (T,) squared returns, oldest first
    start    variance before the first of them, above 0; it does not depend on the parameters

    v[t+1] = omega + alpha r[t]^2 + beta v[t] (Bollerslev 1986); a derivative of v follows the same recursion.
    """
    out = np.empty(4)
    _likelihood(read_only(squares), float(omega), float(alpha), float(beta), float(start), out)
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _variance(squares, omega, alpha, beta, out):
    for step in range(len(squares)):
        out[step + 1] = omega + alpha * squares[step] + beta * out[step]


def known_variance(squares: FloatArray, omega: float, alpha: float, beta: float, start: float) -> FloatArray:
    """(T+1,) variance before each of (T,) squares, then the forecast: `filters.garch_variance` of one column."""
    out = np.empty(len(squares) + 1)
    out[0] = start
    _variance(read_only(squares), float(omega), float(alpha), float(beta), out)
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def parameters(level, kept, share):
    """omega, alpha, beta where the long-run variance, the persistence and alpha's share in it are on these scales."""
    persistence = (1.0 - LEAST_REVERSION) / (1.0 + np.exp(-min(max(kept, -FAR), FAR)))
    part = 1.0 / (1.0 + np.exp(-min(max(share, -FAR), FAR)))
    variance = np.exp(min(max(level, -FAR), FAR))
    return variance * (1.0 - persistence), persistence * part, persistence * (1.0 - part)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _loss(squares, point, out):
    omega, alpha, beta = parameters(point[0], point[1], point[2])
    _likelihood(squares, omega, alpha, beta, 1.0, out)
    persistence = alpha + beta
    part = alpha / persistence
    left = 1.0 - persistence / (1.0 - LEAST_REVERSION)
    by_omega, by_alpha, by_beta = out[1], out[2], out[3]
    out[1] = by_omega * omega
    out[2] = persistence * left * (part * by_alpha + (1.0 - part) * by_beta - omega / (1.0 - persistence) * by_omega)
    out[3] = persistence * part * (1.0 - part) * (by_alpha - by_beta)
    for n in range(4):
        out[n] /= -len(squares)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step(squares, point, along, fall, first, start, there, found):
    low, low_loss, low_slope = 0.0, start, fall
    high, high_loss, high_slope = np.inf, 0.0, 0.0
    step = first
    for _ in range(TRIALS):
        for n in range(3):
            there[n] = point[n] + step * along[n]
        _loss(squares, there, found)
        slope = found[1] * along[0] + found[2] * along[1] + found[3] * along[2]
        falls = found[0] <= start + DECREASE * step * fall
        if falls and abs(slope) <= -CURVATURE * fall:
            return step
        if falls and slope < 0.0:
            width = step - low
            low, low_loss, low_slope = step, found[0], slope
        else:
            high, high_loss, high_slope = step, found[0], slope
        if high == np.inf:
            step += 4.0 * width
            continue
        # The least value of the cubic through both ends, or the middle where that is too near to one of them.
        width = high - low
        turn = low_slope + high_slope - 3.0 * (high_loss - low_loss) / width
        root = np.sqrt(turn * turn - low_slope * high_slope)
        share = 1.0 - (high_slope + root - turn) / (high_slope - low_slope + 2.0 * root)
        step = low + width * (share if 0.05 < share < 0.95 else 0.5)
    return 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _search(squares, point):
    found, fresh, there = np.empty(4), np.empty(4), np.empty(3)
    along, move, turn, image = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    inverse = np.eye(3)
    _loss(squares, point, found)
    before = found[0] + 0.5 * np.sqrt(found[1] * found[1] + found[2] * found[2] + found[3] * found[3])
    for _ in range(STEPS):
        if not max(abs(found[1]), abs(found[2]), abs(found[3])) > GRADIENT:
            break
        fall = 0.0
        for n in range(3):
            along[n] = -(inverse[n, 0] * found[1] + inverse[n, 1] * found[2] + inverse[n, 2] * found[3])
            fall += along[n] * found[n + 1]
        if not fall < 0.0:
            break
        # As large a fall as the last one, but no step beyond that of Newton.
        first = 2.02 * (found[0] - before) / fall
        first = first if 0.0 < first < 1.0 else 1.0
        step = _step(squares, point, along, fall, first, found[0], there, fresh)
        if step == 0.0:
            break
        curvature = 0.0
        for n in range(3):
            move[n], turn[n] = step * along[n], fresh[n + 1] - found[n + 1]
            curvature += move[n] * turn[n]
            point[n] += move[n]
        before = found[0]
        found[:] = fresh
        twice = 0.0
        for n in range(3):
            image[n] = inverse[n, 0] * turn[0] + inverse[n, 1] * turn[1] + inverse[n, 2] * turn[2]
            twice += turn[n] * image[n]
        for n in range(3):
            for m in range(3):
                inverse[n, m] += (1.0 + twice / curvature) * move[n] * move[m] / curvature
                inverse[n, m] -= (image[n] * move[m] + move[n] * image[m]) / curvature
    return found[0]


def garch_search(squares: FloatArray, begin: FloatArray) -> tuple[FloatArray, float]:
    """The (3,) point of the scales of `parameters` to which the search comes from another one, and minus the
    log-likelihood of a return there, NaN where it is none.

    squares  (T,) squared returns in units of their mean, from which the recursion starts
    """
    point = np.array(begin, dtype=np.float64)
    return point, float(_search(read_only(squares), point))
