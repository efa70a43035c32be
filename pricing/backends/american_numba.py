"""Exercise boundaries and premiums compiled by numba: production.

The elementwise formulas are the model's; what stands here are the loops. All points of all nodes lie in one flat
array, so that the loop over the formula is long enough for vectors. A group of rows with one boundary is one unit of
work: its result depends on nothing else, neither on threads nor on other rows.
"""

from __future__ import annotations

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from pricing.arrays import BoolArray, FloatArray, read_only
from pricing.collocation import Scheme
from pricing.exercise import Groups, Terms
from pricing.models import american
from pricing.models.american import LEAST_DISTANCE
from pricing.xp import numba as XP

# A failed Newton step shows as NaN, so the two flags that assume there is none are left out.
FLAGS = XP.FAST_FLAGS - {"nnan", "ninf"}

SETTINGS = {"fastmath": set(FLAGS), "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
compiled = numba.njit(**SETTINGS)
inlined = numba.njit(inline="always", **SETTINGS)

# Rows of the work space, a number for every point of every node.
TIME, DEVIATION, WEIGHT, Y_U, Y_NODE, GAIN, SLOPE, PAY, CROSS, PULL = range(10)
ROWS = 10


LIMIT_CHANGES = XP.compile_formula(american.limit_changes)
PERPETUAL = XP.compile_formula(american.perpetual_distance)
START = XP.compile_formula(american.first_distance)
POINT = XP.compile_formula(american.point)
POINT_CHANGES = XP.compile_formula(american.point_changes)
ENDS = XP.compile_formula(american.ends)
BALANCE = XP.compile_formula(american.balance)
PREMIUM_POINT = XP.compile_formula(american.premium_point)
PREMIUM_POINT_GREEKS = XP.compile_formula(american.premium_point_greeks)


@inlined
def _eliminate(matrix, sides, m):
    """Gauss with partial pivoting: replaces the first m columns of sides (n,3) by the solution of matrix @ x = sides."""
    n = sides.shape[0]
    for c in range(n):
        pivot = c
        for r in range(c + 1, n):
            if abs(matrix[r, c]) > abs(matrix[pivot, c]):
                pivot = r
        if pivot != c:
            for k in range(c, n):
                matrix[c, k], matrix[pivot, k] = matrix[pivot, k], matrix[c, k]
            for k in range(m):
                sides[c, k], sides[pivot, k] = sides[pivot, k], sides[c, k]
        scale = 1.0 / matrix[c, c]
        for r in range(c + 1, n):
            factor = matrix[r, c] * scale
            for k in range(c + 1, n):
                matrix[r, k] -= factor * matrix[c, k]
            for k in range(m):
                sides[r, k] -= factor * sides[c, k]
    for c in range(n - 1, -1, -1):
        for k in range(m):
            total = sides[c, k]
            for r in range(c + 1, n):
                total -= matrix[c, r] * sides[r, k]
            sides[c, k] = total / matrix[c, c]


@inlined
def _places(terms, node, root, weights, work):
    """Time, deviation and weight of every point of every node into the work space."""
    _, _, vol, tau = terms
    time, deviation, weight = work[TIME], work[DEVIATION], work[WEIGHT]
    points = root.shape[0]
    for i in range(node.shape[0]):
        node_tau = tau * node[i] * node[i]
        node_deviation = vol * node_tau**0.5
        for j in range(points):
            e = i * points + j
            time[e] = node_tau * root[j] * root[j]
            deviation[e] = node_deviation * root[j]
            weight[e] = node_tau * weights[j]


@inlined
def _distances(y, basis, out):
    """y at the points from y at the nodes: the square is interpolated."""
    for e in range(out.shape[0]):
        out[e] = 0.0
    for k in range(y.shape[0]):
        square = y[k] * y[k]
        for e in range(out.shape[0]):
            out[e] += square * basis[k, e]
    for e in range(out.shape[0]):
        out[e] = XP.sqrt(XP.maximum(out[e], LEAST_DISTANCE))


@inlined
def _distance_moves(y, changes, g, basis, y_u, out):
    """Derivatives (3,p) of y at the points from those at the nodes of group g."""
    for c in range(3):
        for e in range(y_u.shape[0]):
            out[c, e] = 0.0
        for k in range(y.shape[0]):
            for e in range(y_u.shape[0]):
                out[c, e] += basis[k, e] * y[k] * changes[c, g, k]
        for e in range(y_u.shape[0]):
            out[c, e] /= y_u[e]


@inlined
def _spread(y, points, out):
    """The y of its node at every point."""
    for i in range(y.shape[0]):
        for j in range(points):
            out[i * points + j] = y[i]


@inlined
def _system(terms, limit, y, node, basis, basis_rows, points, work, nodes, matrix, sides):
    """Jacobian and residual of the equation; each row times one side of it, which is left in `nodes`
    with what the derivatives of the residual need."""
    rate, payout, vol, tau = terms
    time, deviation, weight, y_u, y_node = work[TIME], work[DEVIATION], work[WEIGHT], work[Y_U], work[Y_NODE]
    gain, slope, pay, cross, pull = work[GAIN], work[SLOPE], work[PAY], work[CROSS], work[PULL]
    n = y.shape[0]
    _distances(y, basis, y_u)
    _spread(y, points, y_node)
    for e in range(y_u.shape[0]):
        a, b, c, d = POINT(XP, rate, payout, time[e], deviation[e], y_u[e], y_node[e])
        gain[e], slope[e], pay[e], cross[e] = weight[e] * a, weight[e] * b, weight[e] * c, weight[e] * d
        pull[e] = -weight[e] * b / y_u[e]
    for i in range(n):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for e in range(i * points, (i + 1) * points):
            a += gain[e]
            b += slope[e]
            c += pay[e]
            d += cross[e]
        nodes[0, i], nodes[1, i], nodes[2, i], nodes[3, i] = a, b, c, d
    for i in range(n):
        node_tau = tau * node[i] * node[i]
        deviation_i = vol * node_tau**0.5
        cumulative, density, below = ENDS(XP, rate, payout, limit, node_tau, deviation_i, y[i])
        sums = (nodes[0, i], nodes[1, i], nodes[2, i], nodes[3, i])
        boundary = limit * XP.exp(-y[i])
        total, paid, own = BALANCE(XP, payout, boundary, cumulative, density / deviation_i, sums)
        # Every row is multiplied by its total, which saves a division by it.
        nodes[0, i], nodes[1, i] = total, total * own
        nodes[4, i], nodes[5, i], nodes[6, i], nodes[7, i] = boundary, cumulative, density, below
        sides[i, 0] = total * XP.log_ratio(total, paid)
    for i in range(n):
        for k in range(n):
            matrix[i, k] = 0.0
        for e in range(i * points, (i + 1) * points):
            for k in range(n):
                matrix[i, k] += pull[e] * basis_rows[e, k]
        for k in range(n):
            matrix[i, k] *= y[k]
        matrix[i, i] += nodes[1, i]


@inlined
def _start(terms, limit, node, y):
    """The y that Newton's method starts from."""
    rate, payout, vol, tau = terms
    perpetual = PERPETUAL(XP, rate, payout, vol, limit)
    for i in range(y.shape[0]):
        y[i] = START(XP, rate, payout, vol, tau * node[i] * node[i], perpetual)


@inlined
def _moved(y, sides, node, enough):
    """Take Newton's step; whether it was small enough to be the last."""
    ended = True
    for i in range(y.shape[0]):
        moved = y[i] - sides[i, 0]
        # These comparisons are false for NaN, so that a failed step becomes a short one.
        moved = moved if moved > 0.3 * y[i] else 0.3 * y[i]
        moved = moved if moved < 3.0 * y[i] else 3.0 * y[i]
        ended = ended and XP.abs(moved - y[i]) * node[i] <= enough
        y[i] = moved
    return ended


@inlined
def _residual_changes(terms, y, node, points, work, nodes, sides):
    """Minus the derivatives of the residual by relative vol, rate and payout into sides (n,3), after `_system`."""
    rate, payout, vol, tau = terms
    time, deviation, weight, y_u, y_node = work[TIME], work[DEVIATION], work[WEIGHT], work[Y_U], work[Y_NODE]
    limit_rate, limit_payout = LIMIT_CHANGES(XP, rate, payout)
    for i in range(y.shape[0]):
        node_tau = tau * node[i] * node[i]
        node_deviation = vol * node_tau**0.5
        boundary, cumulative, density, below = nodes[4, i], nodes[5, i], nodes[6, i], nodes[7, i]
        g0, g1, g2 = 0.0, 0.0, 0.0
        p0 = -density * below
        p1 = density * (node_tau + limit_rate) / node_deviation
        p2 = density * (limit_payout - node_tau) / node_deviation - node_tau * cumulative
        for e in range(i * points, (i + 1) * points):
            a, b, c, d, f, g = POINT_CHANGES(XP, rate, payout, time[e], deviation[e], y_u[e], y_node[e])
            g0 += weight[e] * a
            g1 += weight[e] * b
            g2 += weight[e] * c
            p0 += weight[e] * d
            p1 += weight[e] * f
            p2 += weight[e] * g
        sides[i, 0] = boundary * p0 - g0
        sides[i, 1] = boundary * p1 - g1 + limit_rate * nodes[0, i]
        sides[i, 2] = boundary * p2 - g2 + limit_payout * nodes[0, i]


@compiled
def _premium_row(terms, limit, log_spot, y_u, roots, weights, held):
    """Premium of one spot from y at the points of the premium."""
    rate, payout, vol, tau = terms
    spot, start, whole = XP.exp(log_spot), log_spot - XP.log(limit), vol * tau**0.5
    for e in range(y_u.shape[0]):
        root = roots[e]
        held[e] = weights[e] * PREMIUM_POINT(
            XP, rate, payout, start, tau * root * root, whole * root, y_u[e], spot, limit
        )
    total = 0.0
    for e in range(y_u.shape[0]):
        total += held[e]
    return tau * total


@compiled
def _greeks_row(terms, limit, log_spot, y_u, y_moves, roots, weights, out):
    """Premium and seven derivatives of one spot into out (8,); y_moves (3,p) belongs to y_u (p,)."""
    rate, payout, vol, tau = terms
    spot, start, whole = XP.exp(log_spot), log_spot - XP.log(limit), vol * tau**0.5
    for k in range(8):
        out[k] = 0.0
    for e in range(y_u.shape[0]):
        root = roots[e]
        row = PREMIUM_POINT_GREEKS(XP, rate, payout, start, tau * root * root, whole * root, y_u[e], spot, limit)
        weight = tau * weights[e]
        out[0] += weight * row[0]
        out[1] -= weight * row[1]
        out[2] += weight * row[2]
        out[3] += weight * row[3]
        out[4] += weight * (row[4] - row[8] * y_moves[0, e])
        out[5] -= weight * (row[5] - row[9] * y_moves[0, e])
        out[6] += weight * (row[6] - row[8] * y_moves[1, e])
        out[7] += weight * (row[7] - row[8] * y_moves[2, e])
    out[1] /= spot
    out[2] /= spot * spot
    out[3] /= spot * spot * spot
    out[4] /= vol
    out[5] /= spot * vol


def _solve_template(tag: str) -> Any:
    def solve(first, last, terms, arrays, most_steps, tolerance, all_y, converged, changes):
        tag  # noqa: B018 - enters the key of the disk cache
        node, basis, basis_rows, root, weights = arrays
        n, points, wanted = node.shape[0], root.shape[0], changes.shape[0] > 0
        work, nodes = np.empty((ROWS, n * points)), np.empty((8, n))
        matrix, sides = np.empty((n, n)), np.empty((n, 3))
        for g in range(first, last):
            here, y = (terms[0, g], terms[1, g], terms[2, g], terms[3, g]), all_y[g]
            limit = FORMULA(XP, here[0], here[1])  # noqa: F821
            enough = tolerance * here[2] * here[3] ** 0.5
            _places(here, node, root, weights, work)
            _start(here, limit, node, y)
            steps, ended = 0, False
            # Once more after the last step where derivatives are wanted: they solve the same system.
            while wanted or not (ended or steps == most_steps):
                changing = ended or steps == most_steps
                _system(here, limit, y, node, basis, basis_rows, points, work, nodes, matrix, sides)
                if changing:
                    _residual_changes(here, y, node, points, work, nodes, sides)
                _eliminate(matrix, sides, 3 if changing else 1)
                if changing:
                    break
                ended = _moved(y, sides, node, enough)
                steps += 1
            converged[g] = ended
            if wanted:
                for i in range(n):
                    for k in range(3):
                        changes[k, g, i] = sides[i, k]

    return solve


def _premium_template(tag: str) -> Any:
    def premium(first, last, terms, ptr, log_spot, arrays, y, out):
        tag  # noqa: B018 - enters the key of the disk cache
        basis, roots, weights = arrays
        points = roots.shape[0]
        work = np.empty((2, points))
        y_u, held = work[0], work[1]
        for g in range(first, last):
            here = (terms[0, g], terms[1, g], terms[2, g], terms[3, g])
            limit = FORMULA(XP, here[0], here[1])  # noqa: F821
            _distances(y[g], basis, y_u)
            for n in range(ptr[g], ptr[g + 1]):
                out[n] = _premium_row(here, limit, log_spot[n], y_u, roots, weights, held)

    return premium


def _greeks_template(tag: str) -> Any:
    def premium_greeks(first, last, terms, ptr, log_spot, arrays, y, changes, out):
        tag  # noqa: B018 - enters the key of the disk cache
        basis, roots, weights = arrays
        points = roots.shape[0]
        work = np.empty((4, points))
        y_u, y_moves = work[3], work[:3]
        for g in range(first, last):
            here = (terms[0, g], terms[1, g], terms[2, g], terms[3, g])
            limit = FORMULA(XP, here[0], here[1])  # noqa: F821
            _distances(y[g], basis, y_u)
            _distance_moves(y[g], changes, g, basis, y_u, y_moves)
            for n in range(ptr[g], ptr[g + 1]):
                _greeks_row(here, limit, log_spot[n], y_u, y_moves, roots, weights, out[n])

    return premium_greeks


@functools.cache
def _kernel(template: Any) -> Any:
    # The formula of the limit is bound by the compiler of kernels; the others are globals of this file.
    tag = XP.source_hash(american)
    return XP.compile_kernel(template(""), tag, american.limit_at_expiry, fastmath=set(FLAGS))


def solve(
    scheme: Scheme, terms: Terms, with_changes: bool, threads: int = 1
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """(G,n) y at the nodes, its (3,G,n) derivatives or (0,G,n), (G,) whether converged; see the numpy solver."""
    y = np.empty((len(terms[0]), len(scheme.node)))
    changes = np.empty((3 if with_changes else 0, *y.shape))
    converged = np.empty(len(y), bool)
    arrays = (scheme.node, scheme.basis, scheme.points, scheme.root, scheme.weight)
    _run(
        _solve_template,
        threads,
        len(y),
        read_only(np.array(terms)),
        arrays,
        scheme.steps,
        scheme.tolerance,
        y,
        converged,
        changes,
    )
    return y, changes, converged


def premium(scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, threads: int = 1) -> FloatArray:
    """(R,) premium of sorted rows; see the numpy solver."""
    out = np.empty(len(log_spot))
    spots = read_only(log_spot)
    _run(
        _premium_template,
        threads,
        len(y),
        read_only(np.array(groups.terms)),
        groups.ptr,
        spots,
        _premium_arrays(scheme),
        y,
        out,
    )
    return out


def premium_greeks(
    scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, changes: FloatArray, threads: int = 1
) -> FloatArray:
    """(8,R) premium and derivatives of sorted rows; see the numpy solver."""
    out = np.empty((len(log_spot), 8))
    spots = read_only(log_spot)
    _run(
        _greeks_template,
        threads,
        len(y),
        read_only(np.array(groups.terms)),
        groups.ptr,
        spots,
        _premium_arrays(scheme),
        y,
        changes,
        out,
    )
    return np.ascontiguousarray(out.T)


def _run(template: Any, threads: int, count: int, *arguments: Any) -> None:
    """Groups in shares, one a thread; numba's own parallel loop would double the time of compiling."""
    kernel = _kernel(template)
    if threads <= 1 or count < 2:
        kernel(0, count, *arguments)
        return
    edges = [count * share // threads for share in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(kernel, *share, *arguments) for share in itertools.pairwise(edges)]:
            job.result()


def _premium_arrays(scheme: Scheme) -> tuple[FloatArray, ...]:
    return scheme.premium_basis, scheme.premium_root, scheme.premium_weight
