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
inlined = numba.njit(inline="always", **SETTINGS)

ROWS = 10  # of the work space, a number for every point of every node


def _place(xp, terms, node, root, weight):
    """Time, deviation and weight of a point of a node."""
    node_tau = terms[3] * node * node
    return node_tau * root * root, terms[2] * xp.sqrt(node_tau) * root, node_tau * weight


def _point(xp, terms, place, y_u, y_node):
    """Weighted integrands of the equation at a point, and what the Jacobian takes from y_u^2 there, twice."""
    gain, slope, pay, cross = american.point(xp, terms[0], terms[1], place[0], place[1], y_u, y_node)
    weight = place[2]
    return weight * gain, weight * slope, weight * pay, weight * cross, -weight * slope / y_u


def _node(xp, terms, limit, node, y, sums):
    """One side of the equation, the derivative by the node's own y and the residual, both times that side.

    Then what the derivatives of the residual need: the boundary and `ends`.
    """
    rate, payout, vol, tau = terms
    node_tau = tau * node * node
    deviation = vol * xp.sqrt(node_tau)
    cumulative, density, below = american.ends(xp, rate, payout, limit, node_tau, deviation, y)
    boundary = limit * xp.exp(-y)
    total, paid, own = american.balance(xp, payout, boundary, cumulative, density / deviation, sums)
    return total, total * own, total * xp.log_ratio(total, paid), boundary, cumulative, density, below


def _start(xp, terms, limit, node):
    rate, payout, vol, tau = terms
    perpetual = american.perpetual_distance(xp, rate, payout, vol, limit)
    return american.first_distance(xp, rate, payout, vol, tau * node * node, perpetual)


def _moved(xp, y, step):
    """The next y. The comparisons are false for NaN, so that a failed step becomes a short one."""
    moved = y - step
    moved = xp.where(moved > 0.3 * y, moved, 0.3 * y)
    return xp.where(moved < 3.0 * y, moved, 3.0 * y)


def _end_changes(xp, terms, node, cumulative, density, below):
    """What the ends give to the changes of both sides of the equation: three of gain, none, and three of pay."""
    rate, payout, vol, tau = terms
    limit_rate, limit_payout = american.limit_changes(xp, rate, payout)
    node_tau = tau * node * node
    deviation = vol * xp.sqrt(node_tau)
    by_rate = density * (node_tau + limit_rate) / deviation
    by_payout = density * (limit_payout - node_tau) / deviation - node_tau * cumulative
    return 0.0 * density, 0.0 * density, 0.0 * density, -density * below, by_rate, by_payout


def _add_changes(xp, sums, terms, place, y_u, y_node):
    changes = american.point_changes(xp, terms[0], terms[1], place[0], place[1], y_u, y_node)
    return tuple(total + place[2] * change for total, change in zip(sums, changes, strict=True))


def _residual_changes(xp, terms, sums, total, boundary):
    """Minus the derivatives of the residual by relative vol, rate and payout, times one side of the equation."""
    limit_rate, limit_payout = american.limit_changes(xp, terms[0], terms[1])
    by_vol, by_rate, by_payout = (boundary * sums[3 + k] - sums[k] for k in range(3))
    return by_vol, by_rate + limit_rate * total, by_payout + limit_payout * total


def _premium_here(xp, terms, limit, log_spot, root, y_u):
    """What the formulas of the premium take at a point."""
    rate, payout, vol, tau = terms
    spot, start, whole = xp.exp(log_spot), log_spot - xp.log(limit), vol * xp.sqrt(tau)
    return rate, payout, start, tau * root * root, whole * root, y_u, spot, limit


def _premium_point(xp, terms, limit, log_spot, root, weight, y_u):
    return weight * american.premium_point(xp, *_premium_here(xp, terms, limit, log_spot, root, y_u))


def _add_greeks(xp, sums, terms, limit, log_spot, point, moves):
    """Sums of the premium and its derivatives, and what one point gives to them; moves are those of its y."""
    root, weight, y_u = point
    row = american.premium_point_greeks(xp, *_premium_here(xp, terms, limit, log_spot, root, y_u))
    weight = terms[3] * weight
    return (
        sums[0] + weight * row[0],
        sums[1] - weight * row[1],
        sums[2] + weight * row[2],
        sums[3] + weight * row[3],
        sums[4] + weight * (row[4] - row[8] * moves[0]),
        sums[5] - weight * (row[5] - row[9] * moves[0]),
        sums[6] + weight * (row[6] - row[8] * moves[1]),
        sums[7] + weight * (row[7] - row[8] * moves[2]),
    )


def _greeks(xp, terms, log_spot, sums):
    """The derivatives by spot and vol from those by their logarithms."""
    spot, vol = xp.exp(log_spot), terms[2]
    return (
        sums[0],
        sums[1] / spot,
        sums[2] / (spot * spot),
        sums[3] / (spot * spot * spot),
        sums[4] / vol,
        sums[5] / (spot * vol),
        sums[6],
        sums[7],
    )


PLACE, POINT, NODE, START, MOVED = (XP.compile_formula(one) for one in (_place, _point, _node, _start, _moved))
END_CHANGES, ADD_CHANGES, CHANGES = (XP.compile_formula(one) for one in (_end_changes, _add_changes, _residual_changes))
PREMIUM_POINT, ADD_GREEKS, GREEKS = (XP.compile_formula(one) for one in (_premium_point, _add_greeks, _greeks))


@inlined
def _eliminate(matrix, sides, m):
    """Gauss with partial pivoting: the first m columns of sides (n,3) become the solution of matrix @ x = sides."""
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
def _system(terms, limit, y, node, basis, basis_rows, work, nodes, matrix, sides):
    """Jacobian and residual of the equation; each row times one side of it."""
    time, deviation, weight, y_u, y_node = work[0], work[1], work[2], work[3], work[4]
    gain, slope, pay, cross, pull = work[5], work[6], work[7], work[8], work[9]
    n = y.shape[0]
    points = y_u.shape[0] // n
    _distances(y, basis, y_u)
    for i in range(n):
        for j in range(points):
            y_node[i * points + j] = y[i]
    for e in range(y_u.shape[0]):
        place = (time[e], deviation[e], weight[e])
        gain[e], slope[e], pay[e], cross[e], pull[e] = POINT(XP, terms, place, y_u[e], y_node[e])
    for i in range(n):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for e in range(i * points, (i + 1) * points):
            a += gain[e]
            b += slope[e]
            c += pay[e]
            d += cross[e]
        nodes[0, i], nodes[1, i], nodes[2, i], nodes[3, i] = a, b, c, d
    for i in range(n):
        sums = (nodes[0, i], nodes[1, i], nodes[2, i], nodes[3, i])
        row = NODE(XP, terms, limit, node[i], y[i], sums)
        # Every row is multiplied by one side of the equation, which saves a division by it.
        nodes[0, i], nodes[1, i], sides[i, 0], nodes[4, i], nodes[5, i], nodes[6, i], nodes[7, i] = row
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
def _change_sides(terms, node, points, work, nodes, sides):
    """The right sides for the derivatives of y by relative vol, rate and payout, after `_system`."""
    time, deviation, weight, y_u, y_node = work[0], work[1], work[2], work[3], work[4]
    for i in range(node.shape[0]):
        sums = END_CHANGES(XP, terms, node[i], nodes[5, i], nodes[6, i], nodes[7, i])
        for e in range(i * points, (i + 1) * points):
            sums = ADD_CHANGES(XP, sums, terms, (time[e], deviation[e], weight[e]), y_u[e], y_node[e])
        sides[i, 0], sides[i, 1], sides[i, 2] = CHANGES(XP, terms, sums, nodes[0, i], nodes[4, i])


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
            for i in range(n):
                y[i] = START(XP, here, limit, node[i])
                for j in range(points):
                    e = i * points + j
                    work[0, e], work[1, e], work[2, e] = PLACE(XP, here, node[i], root[j], weights[j])
            steps, ended = 0, False
            # Once more after the last step where derivatives are wanted: they solve the same system.
            while wanted or not (ended or steps == most_steps):
                changing = ended or steps == most_steps
                _system(here, limit, y, node, basis, basis_rows, work, nodes, matrix, sides)
                if changing:
                    _change_sides(here, node, points, work, nodes, sides)
                _eliminate(matrix, sides, 3 if changing else 1)
                if changing:
                    break
                steps, ended = steps + 1, True
                for i in range(n):
                    moved = MOVED(XP, y[i], sides[i, 0])
                    ended = ended and XP.abs(moved - y[i]) * node[i] <= enough
                    y[i] = moved
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
                for e in range(points):
                    held[e] = PREMIUM_POINT(XP, here, limit, log_spot[n], roots[e], weights[e], y_u[e])
                total = 0.0
                for e in range(points):
                    total += held[e]
                out[n] = here[3] * total

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
                sums = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
                for e in range(points):
                    point, moves = (roots[e], weights[e], y_u[e]), (y_moves[0, e], y_moves[1, e], y_moves[2, e])
                    sums = ADD_GREEKS(XP, sums, here, limit, log_spot[n], point, moves)
                row = GREEKS(XP, here, log_spot[n], sums)
                out[n, 0], out[n, 1], out[n, 2], out[n, 3] = row[:4]
                out[n, 4], out[n, 5], out[n, 6], out[n, 7] = row[4:]

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
