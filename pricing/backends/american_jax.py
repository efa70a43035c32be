"""Exercise boundaries and premiums on jax: the model's array functions, compiled for each number of rows."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.collocation import Scheme
from pricing.exercise import Groups, Terms
from pricing.models import american
from pricing.xp import jax as xp
from pricing.xp.devices import filled_up, power_of_two

# A shape takes seconds to compile. Few rows are filled up to so many, or to so many points of the scheme.
LEAST_ROWS, LEAST_POINTS = 64, 2**19


@jax.jit
def _solve(terms: Terms, scheme: Scheme) -> tuple[Any, Any]:
    def step(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        y, done, count = state
        following, ended = american.newton_step(xp, jnp.linalg.solve, terms, y, scheme)
        return jnp.where(done[:, None], y, following), done | ended, count + 1

    def unfinished(state: tuple[Any, Any, Any]) -> Any:
        return (state[2] < scheme.steps) & ~jnp.all(state[1])

    start = american.boundary_start(xp, terms, scheme)
    y, done, _ = jax.lax.while_loop(unfinished, step, (start, jnp.zeros(len(terms[0]), bool), 0))
    return y, done


_changes = jax.jit(functools.partial(american.boundary_changes, xp, jnp.linalg.solve))
_premium = jax.jit(functools.partial(american.premium, xp))
_premium_greeks = jax.jit(functools.partial(american.premium_greeks, xp))


def solve(
    scheme: Scheme, terms: Terms, with_changes: bool, threads: int = 1
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """(G,n) y at the nodes, its (3,G,n) derivatives or (0,G,n), (G,) whether converged; see the numpy solver."""
    with xp.double_precision():
        groups = len(terms[0])
        terms = filled_up(terms, _room(groups, scheme.basis))
        y, converged = _solve(terms, scheme)
        changes = np.array(_changes(terms, y, scheme)) if with_changes else np.empty((0, *y.shape))
        return np.asarray(y)[:groups], changes[:, :groups], np.asarray(converged)[:groups]


def premium(scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, threads: int = 1) -> FloatArray:
    """(R,) premium of sorted rows; see the numpy solver."""
    terms, spots, at_nodes, _ = _by_row(scheme, groups, log_spot, y)
    with xp.double_precision():
        return np.asarray(_premium(terms, spots, at_nodes, scheme))[: len(log_spot)]


def premium_greeks(
    scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, changes: FloatArray, threads: int = 1
) -> FloatArray:
    """(8,R) premium and derivatives of sorted rows; see the numpy solver."""
    terms, spots, at_nodes, moves = _by_row(scheme, groups, log_spot, y, tuple(changes))
    with xp.double_precision():
        return np.array(_premium_greeks(terms, spots, at_nodes, moves, scheme))[:, : len(log_spot)]


def _by_row(
    scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, changes: tuple[FloatArray, ...] = ()
) -> tuple[Any, FloatArray, FloatArray, Any]:
    """Terms, log of the spot, y and changes of each row, with rows behind them that are to be cut off."""
    row_group = np.repeat(np.arange(len(groups.terms[0])), np.diff(groups.ptr))
    columns = (*(term[row_group] for term in groups.terms), log_spot, *(of[row_group] for of in (y, *changes)))
    filled = filled_up(columns, _room(len(log_spot), scheme.premium_basis))
    return filled[:4], filled[4], filled[5], filled[6:]


def _room(rows: int, basis: FloatArray) -> int:
    """Rows with those they are filled up with: a power of two, not below the least for so many points a row."""
    least = power_of_two(max(LEAST_POINTS // basis.size, 1))
    return power_of_two(max(rows, min(least, LEAST_ROWS)))
