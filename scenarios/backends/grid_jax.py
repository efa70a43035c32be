"""How far the P&L of options lies from straight lines between the nodes of a grid, rounded off, and how that changes
with each node, on jax for the derivatives; the distances themselves are `calibrate.grid_nodes.distances`."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.models import black76
from pricing.xp import jax as xp

# Gaps for which a function is compiled once: fewer are filled up with gaps of no width, which have no distance.
GAPS = 16


def _values(options: Any, moves: Any, vol_moves: Any, days: Any) -> Any:
    """(N,M,V,D) values of calls after every price move, vol move and number of days; the forward is 1 before."""
    strike, expiry, vol, share = (column[:, None, None, None] for column in options)
    left = jnp.maximum(expiry - days[None, None, None, :], 0.0) / DAYS_PER_YEAR
    shocked = vol * jnp.maximum(1.0 + share * vol_moves[None, None, :, None], 0.0)
    return black76.value(xp, 1.0 + moves[None, :, None, None], strike, left, shocked, 1.0, 1.0)


@functools.cache
def _compiled_smooth() -> Any:
    def smooth(moves: Any, options: Any, vol_moves: Any, days: Any, places: Any, unit: Any) -> Any:
        between = moves[:-1, None] + places[None, :] * (moves[1:] - moves[:-1])[:, None]
        known = _values(options, jnp.concatenate([moves, between.ravel()]), vol_moves, days)
        nodes, inside = known[:, : len(moves)], known[:, len(moves) :]
        low, high = nodes[:, :-1, None], nodes[:, 1:, None]
        line = low + places[:, None, None] * (high - low)
        missed = jnp.abs(line - inside.reshape(line.shape))
        return unit * jax.nn.logsumexp(missed / unit)

    return jax.jit(jax.value_and_grad(smooth))


def smooth_largest(
    moves: FloatArray,
    options: tuple[FloatArray, ...],
    vol_moves: FloatArray,
    days: FloatArray,
    places: FloatArray,
    unit: float,
) -> tuple[float, FloatArray]:
    """The largest distance from the lines between (M,) nodes, rounded off, and its derivative by every node.

    moves      relative price moves of the nodes, rising
    options    strike over the forward, days to expiry, vol, and share of a vol move that its tenor takes, (N,) each
    vol_moves  (V,) relative vol moves at 30 days
    days       (D,) that pass
    places     where in a gap the distance is taken, shares of it
    unit       in which the maximum is rounded off, a share of the forward
    """
    gaps = -(-(len(moves) - 1) // GAPS) * GAPS
    filled = np.concatenate([moves, np.full(gaps + 1 - len(moves), moves[-1])])
    with xp.double_precision():
        value, gradient = _compiled_smooth()(filled, options, vol_moves, days, places, unit)
        return float(value), np.asarray(gradient)[: len(moves)]
