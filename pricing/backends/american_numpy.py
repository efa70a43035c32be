"""Exercise boundaries and premiums on numpy arrays: the reference."""

from __future__ import annotations

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.collocation import Scheme
from pricing.exercise import Groups, Terms
from pricing.models import american
from pricing.xp import numpy as xp

GROUPS_AT_ONCE = 64


def solve(
    scheme: Scheme, terms: Terms, with_changes: bool, threads: int = 1
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """(G,n) y at the nodes, its (3,G,n) derivatives or (0,G,n), (G,) whether Newton's method ended by itself."""
    y = np.empty((len(terms[0]), len(scheme.node)))
    changes = np.empty((3 if with_changes else 0, *y.shape))
    converged = np.zeros(len(y), bool)
    for start in range(0, len(y), GROUPS_AT_ONCE):
        block = slice(start, start + GROUPS_AT_ONCE)
        here = tuple(term[block] for term in terms)
        # A step may overflow before it is shortened.
        with np.errstate(all="ignore"):
            now, done = american.boundary_start(xp, here, scheme), converged[block]
            for _ in range(scheme.steps):
                following, ended = american.newton_step(xp, np.linalg.solve, here, now, scheme)
                # A group that ended stays as it is, so that its result does not depend on its neighbours.
                now = np.where(done[:, None], now, following)
                done |= ended
                if done.all():
                    break
            y[block] = now
            if with_changes:
                changes[:, block] = american.boundary_changes(xp, np.linalg.solve, here, now, scheme)
    return y, changes, converged


def premium(scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, threads: int = 1) -> FloatArray:
    """(R,) premium of sorted rows, from y (G,n) of their groups."""
    row_group = np.repeat(np.arange(len(y)), np.diff(groups.ptr))
    terms = tuple(term[row_group] for term in groups.terms)
    with np.errstate(all="ignore"):
        return np.asarray(american.premium(xp, terms, log_spot, y[row_group], scheme))


def premium_greeks(
    scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, changes: FloatArray, threads: int = 1
) -> FloatArray:
    """(8,R) premium and derivatives of sorted rows, as the model's `premium_greeks`, from y and its derivatives."""
    row_group = np.repeat(np.arange(len(y)), np.diff(groups.ptr))
    terms = tuple(term[row_group] for term in groups.terms)
    with np.errstate(all="ignore"):
        return np.array(american.premium_greeks(xp, terms, log_spot, y[row_group], changes[:, row_group], scheme))
