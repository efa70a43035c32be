"""How much worse books fare between the nodes of a grid than on them, and how that changes with each node, on jax."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pricing.arrays import FloatArray
from pricing.models import black76
from pricing.xp import jax as xp


def _pnl(options: Any, quantity: Any, moves: Any, vol_factors: Any) -> Any:
    """(B,M,V) P&L of books in every price move with every vol; options are strike, tau, vol, sign of (N,) each."""
    strike, tau, vol, sign = (column[:, None, None] for column in options[:4])
    factor = 1.0 + options[4][:, None, None] * vol_factors[None, None, :]
    before = black76.value(xp, 1.0, strike, tau, vol, 1.0, sign)
    after = black76.value(xp, 1.0 + moves[None, :, None], strike, tau, vol * factor, 1.0, sign)
    return jnp.einsum("bn,nmv->bmv", quantity, after - before)


@functools.cache
def _compiled_error() -> Any:
    def error(moves: Any, kept: Any, options: Any, quantity: Any, vol_factors: Any, worst: Any, smooth: Any) -> Any:
        pnl = _pnl(options, quantity, moves, vol_factors)
        penalty = jnp.where(kept, 0.0, 1e6)[None, :, None]
        # Smooth from below in both: a sum of exponentials is at least its largest term.
        seen = smooth * jax.nn.logsumexp(-(pnl + penalty) / smooth, axis=(1, 2))
        missed = worst - seen
        return smooth * jax.nn.logsumexp(missed / smooth)

    return jax.jit(jax.value_and_grad(error))


def largest_error(
    moves: FloatArray,
    kept: FloatArray,
    options: tuple[FloatArray, ...],
    quantity: FloatArray,
    vol_factors: FloatArray,
    worst: FloatArray,
    smooth: float,
) -> tuple[float, FloatArray]:
    """A smooth largest error of (B,) books on a grid, and its derivative by every (M,) move.

    moves        (M,) relative price moves; kept, (M,) whether a move is part of the grid or fills up the array
    options      strike, tau, vol, sign and share of the vol factor, (N,) each; the forward is 1
    quantity     (B,N)
    vol_factors  (V,) relative vol moves
    worst        (B,) worst loss on a fine grid
    smooth       unit in which maxima are rounded off, in that of the losses
    """
    with xp.double_precision():
        value, gradient = _compiled_error()(moves, kept, options, quantity, vol_factors, worst, smooth)
        return float(value), np.asarray(gradient)


@functools.cache
def _compiled_worst() -> Any:
    return jax.jit(lambda *given: jnp.maximum(-_pnl(*given).min(axis=(1, 2)), 0.0))


def worst_on_grid(
    options: tuple[FloatArray, ...], quantity: FloatArray, moves: FloatArray, vol_factors: FloatArray
) -> FloatArray:
    """(B,) worst loss of every book on a grid, 0 or more; arguments as `largest_error`."""
    with xp.double_precision():
        return np.asarray(_compiled_worst()(options, quantity, moves, vol_factors))
