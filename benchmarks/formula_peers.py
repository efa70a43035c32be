"""The textbook formulas as one would write them in numpy, torch, jax and plain numba.

Columns are (forward, strike, tau, vol, discount, sign). Greeks share their terms and come in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from scipy.special import ndtr

from benchmarks.contestants import GREEK_FIELDS, Columns, Peer, installed

INVERSE_SQRT_TWO_PI = 0.3989422804014327
INVERSE_SQRT_TWO = 0.7071067811865476


def textbook_price(xp: Any, cdf: Any, columns: Any) -> Any:
    """Discounted Black-76 over any array library."""
    forward, strike, tau, vol, discount, sign = columns
    deviation = vol * xp.sqrt(tau)
    d1 = xp.log(forward / strike) / deviation + 0.5 * deviation
    return discount * sign * (forward * cdf(sign * d1) - strike * cdf(sign * (d1 - deviation)))


def two_formulas_price(columns: Any) -> Any:
    """Discounted Black-76 as it stands in most numpy code: the call's formula and the put's, and one of them chosen."""
    forward, strike, tau, vol, discount, sign = columns
    deviation = vol * np.sqrt(tau)
    d1 = (np.log(forward / strike) + 0.5 * vol * vol * tau) / deviation
    d2 = d1 - deviation
    call = discount * (forward * ndtr(d1) - strike * ndtr(d2))
    return np.where(sign > 0.0, call, discount * (strike * ndtr(-d2) - forward * ndtr(-d1)))


def textbook_greeks(xp: Any, cdf: Any, columns: Any) -> tuple[Any, ...]:
    """Price and seven Greeks over any array library, shared terms computed once; rho moves the forward."""
    forward, strike, tau, vol, discount, sign = columns
    root = xp.sqrt(tau)
    deviation = vol * root
    d1 = xp.log(forward / strike) / deviation + 0.5 * deviation
    d2 = d1 - deviation
    first, second = cdf(sign * d1), cdf(sign * d2)
    density = discount * INVERSE_SQRT_TWO_PI * xp.exp(-0.5 * d1 * d1)
    rate = -xp.log(discount) / tau
    price = discount * sign * (forward * first - strike * second)
    vega = density * forward * root
    theta = rate * price - 0.5 * density * forward * vol / root
    rho = sign * tau * strike * discount * second
    gamma = density / (forward * deviation)
    return price, discount * sign * first, gamma, vega, theta, rho, -density * d2 / vol, vega * d1 * d2 / vol


def two_formulas_greeks(columns: Any) -> tuple[Any, ...]:
    """`textbook_greeks` as it stands in most numpy code: shared terms once, calls and puts each, one of them chosen."""
    forward, strike, tau, vol, discount, sign = columns
    root = np.sqrt(tau)
    deviation = vol * root
    d1 = (np.log(forward / strike) + 0.5 * vol * vol * tau) / deviation
    d2 = d1 - deviation
    first, second, first_put, second_put = ndtr(d1), ndtr(d2), ndtr(-d1), ndtr(-d2)
    density = discount * INVERSE_SQRT_TWO_PI * np.exp(-0.5 * d1 * d1)
    is_call, rate = sign > 0.0, -np.log(discount) / tau
    call = discount * (forward * first - strike * second)
    price = np.where(is_call, call, discount * (strike * second_put - forward * first_put))
    delta = np.where(is_call, discount * first, -discount * first_put)
    rho = np.where(is_call, tau * strike * discount * second, -tau * strike * discount * second_put)
    vega = density * forward * root
    theta = rate * price - 0.5 * density * forward * vol / root
    return (price, delta, density / (forward * deviation), vega, theta, rho, -density * d2 / vol, vega * d1 * d2 / vol)


def _numpy_peer(formula: Callable[..., Any]) -> Peer:
    return Peer(lambda columns, threads: formula(np, ndtr, columns), None, "numpy")


def _torch_peer(torch: Any, formula: Callable[..., Any]) -> Peer:
    """Eager torch, tensors over the same memory."""

    def run(tensors: Any, threads: int) -> Any:
        torch.set_num_threads(threads)
        return formula(torch, torch.special.ndtr, tensors)

    def prepare(columns: Columns) -> Any:
        return tuple(torch.from_numpy(np.ascontiguousarray(column)) for column in columns)

    return Peer(run, None, "torch", prepare)


def _jax_peer(jax: Any, formula: Callable[..., Any]) -> Peer:
    """One jitted function, arrays already on the device, waited for."""
    jax.config.update("jax_enable_x64", True)
    compiled = jax.jit(lambda columns: formula(jax.numpy, jax.scipy.special.ndtr, columns))

    def prepare(columns: Columns) -> Any:
        return tuple(jax.numpy.asarray(column) for column in columns)

    return Peer(lambda columns, threads: jax.block_until_ready(compiled(columns)), None, "jax", prepare)


# A loop over rows as everybody writes it: erfc, exp and log of the mathematics library, prange, fastmath.
@numba.njit(fastmath=True)
def _cdf(x):
    return 0.5 * math.erfc(-x * INVERSE_SQRT_TWO)


@numba.njit(parallel=True, fastmath=True)
def _loop_price(columns, out):
    forward, strike, tau, vol, discount, sign = columns
    for i in numba.prange(len(out)):
        deviation = vol[i] * math.sqrt(tau[i])
        d1 = math.log(forward[i] / strike[i]) / deviation + 0.5 * deviation
        s = sign[i]
        out[i] = discount[i] * s * (forward[i] * _cdf(s * d1) - strike[i] * _cdf(s * (d1 - deviation)))


@numba.njit(parallel=True, fastmath=True)
def _loop_greeks(columns, out):
    forward, strike, tau, vol, discount, sign = columns
    for i in numba.prange(len(forward)):
        root = math.sqrt(tau[i])
        deviation = vol[i] * root
        d1 = math.log(forward[i] / strike[i]) / deviation + 0.5 * deviation
        d2 = d1 - deviation
        s = sign[i]
        n1, n2 = _cdf(s * d1), _cdf(s * d2)
        density = discount[i] * INVERSE_SQRT_TWO_PI * math.exp(-0.5 * d1 * d1)
        value = discount[i] * s * (forward[i] * n1 - strike[i] * n2)
        out[0][i] = value
        out[1][i] = discount[i] * s * n1
        out[2][i] = density / (forward[i] * deviation)
        out[3][i] = density * forward[i] * root
        out[4][i] = -math.log(discount[i]) / tau[i] * value - 0.5 * density * forward[i] * vol[i] / root
        out[5][i] = s * tau[i] * strike[i] * discount[i] * n2
        out[6][i] = -density * d2 / vol[i]
        out[7][i] = density * forward[i] * root * d1 * d2 / vol[i]


def _numba_price(columns: Columns, threads: int) -> Any:
    numba.set_num_threads(threads)
    out = np.empty(len(columns[0]))
    _loop_price(columns, out)
    return out


def _numba_greeks(columns: Columns, threads: int) -> Any:
    numba.set_num_threads(threads)
    out = tuple(np.empty(len(columns[0])) for _ in GREEK_FIELDS)
    _loop_greeks(columns, out)
    return out


def formula_peers(*, greeks: bool) -> dict[str, Peer]:
    """Prices, or prices and seven Greeks, in every array library that is installed."""
    formula = textbook_greeks if greeks else textbook_price
    two_formulas = two_formulas_greeks if greeks else two_formulas_price
    peers = {
        "numpy + scipy, both formulas and np.where": Peer(lambda columns, _: two_formulas(columns), None, "numpy"),
        "numpy + scipy, one formula by sign": _numpy_peer(formula),
    }
    peers |= {"plain numba loop": Peer(_numba_greeks if greeks else _numba_price, None, "numba")}
    if torch := installed("torch"):
        peers["torch eager"] = _torch_peer(torch, formula)
    if jax := installed("jax"):
        import jax.scipy.special

        peers["jax jit"] = _jax_peer(jax, formula)
    return peers
