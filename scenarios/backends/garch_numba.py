"""GARCH(1,1): its recursion, its Gaussian likelihood and derivatives of it, compiled by numba; one pass each."""

from __future__ import annotations

import numba
import numpy as np

from pricing.arrays import FloatArray, read_only


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
