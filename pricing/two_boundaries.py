"""Two exercise boundaries: a put with payout < rate < 0, by the same collocation (Andersen and Lake 2021).

Such a put is exercised between a lower boundary A(u) and an upper one B(u), u being the time to go. At expiry they are
r/q and 1; with more time to go they are nearer to each other, and where they meet, at u*, the region ends: with still
more time nothing is exercised.

From above the price meets B before it can meet A, and from below A before B, so that each boundary solves an equation
of its own. That of B is the one of `pricing.models.american`. For A the option may be taken to be exercised everywhere
above it, which is worth 1 - s less the premium integral along A; for s >= A that integral is 0, and so is its slope:

    int exp(-r t) n(d-) (r - q A(u)) / (vol sqrt t) dt = -q A int exp(-q t) N(-d+) dt,

solved in logarithms by Newton's method, with A = r/q exp(y) and y^2 interpolated like that of B. The premium is the
integral along B less the one along A. u* depends on rate, payout and vol alone.

The functions are those of a solver in `pricing.backends`, on numpy whatever the backend. Their y (G, 1 + 2n) holds the
time that the boundaries are solved for, y of B and y of A at the nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray
from pricing.collocation import Scheme, basis_at
from pricing.collocation import scheme as make_scheme
from pricing.models import american
from pricing.xp import numpy as xp

if TYPE_CHECKING:
    from pricing.exercise import Groups, Terms

GROUPS_AT_ONCE = 64
PREMIUM_POINTS = 160
NEWTON_STEPS = 16
SEARCHES = 80
# The search starts where the boundaries have come nearer by about half, and then goes on by at most this factor.
FIRST_SHARE, LONGEST_STRIDE, SHORTEST_STRIDE = 0.2, 1.5, 1.001
# The distance of the boundaries at which they count as met, and a rounding of the time at which they do.
MET, COARSE_MET, SAME = 1e-9, 1e-5, 1e-9
# The scheme that u* is sought by first, in the form of `pricing.models.american.SCHEMES`.
COARSE = (10, 12, 24, 0.5, 1, 20, 1e-5)
# y of the lower boundary in vol sqrt(u) for short times (Evans, Kuske and Keller 2002).
SHORT_TIME = 0.6388
# Relative steps: of the root of time, for the slope at the end; of terms, for derivatives of the equation of A.
BACK, STEP = 1e-3, 1e-5


def solve(
    scheme: Scheme, terms: Terms, with_changes: bool, threads: int = 1
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """(G,1+2n) time and both y, their (3,G,1+2n) derivatives by relative vol, rate and payout or (0,...), (G,) found.

    The time is the one to expiry, or u* if that is shorter. Where the boundaries meet, a move of u* changes nothing.
    """
    y = np.empty((len(terms[0]), 1 + 2 * len(scheme.node)))
    converged = np.zeros(len(y), bool)
    changes = np.zeros((3 if with_changes else 0, *y.shape))
    for start in range(0, len(y), GROUPS_AT_ONCE):
        block = slice(start, start + GROUPS_AT_ONCE)
        rate, payout, vol, tau = (term[block] for term in terms)
        with np.errstate(all="ignore"):
            y[block], converged[block] = _refined(scheme, (rate, payout, vol, tau))
            if with_changes:
                changes[:, block, 1:] = _changes(scheme, (rate, payout, vol, y[block, 0]), y[block])
    return y, changes, converged


def edges(terms: Terms, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(G,) log of the upper and of the lower boundary with the whole time to go; NaN where they have met before."""
    rate, payout, _, tau = terms
    n = (y.shape[1] - 1) // 2
    still = tau <= y[:, 0] * (1.0 + SAME)
    return np.where(still, -y[:, 1], np.nan), np.where(still, np.log(rate / payout) + y[:, 1 + n], np.nan)


def premium(scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, threads: int = 1) -> FloatArray:
    """(R,) premium of sorted rows."""
    with np.errstate(all="ignore"):
        points, row = _shared_points(scheme, groups.terms, y), _row_group(groups)
        arguments = _arguments(groups.terms, log_spot, points, row)
        upper, lower = (american.premium_point(xp, *arguments(d)) for d in _depths(groups.terms, y, points.basis))
        return np.asarray((points.weight[row] * (upper - lower)).sum(-1))


def premium_greeks(
    scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, changes: FloatArray, threads: int = 1
) -> FloatArray:
    """(8,R) premium and derivatives of sorted rows, in the order of the model's `premium_greeks`."""
    with np.errstate(all="ignore"):
        points, row = _shared_points(scheme, groups.terms, y), _row_group(groups)
        return greeks_of_points(groups.terms, log_spot, points, y, changes, row)


class Points(NamedTuple):
    """Points (G,p) of the integrals: time from now, weight, and the basis (G,p,n) of the boundaries there."""

    time: FloatArray
    weight: FloatArray
    basis: FloatArray


def greeks_of_points(
    terms: Terms, log_spot: FloatArray, points: Points, y: FloatArray, changes: FloatArray, row: Any = slice(None)
) -> FloatArray:
    """(8,R) premium and derivatives by sums over points; row (R,) tells the group of each, each its own if left out."""
    spot, vol = np.exp(log_spot), terms[2][row]
    total = np.zeros((8, len(log_spot)))
    arguments, weight = _arguments(terms, log_spot, points, row), points.weight[row]
    moves = _depth_moves(terms, y, changes, points.basis)
    for side, depth, move in zip((1.0, -1.0), _depths(terms, y, points.basis), moves, strict=True):
        parts = american.premium_point_greeks(xp, *arguments(depth))
        sums = np.array([(weight * part).sum(-1) for part in parts[:8]])
        kick, steep = weight * parts[8], weight * parts[9]
        for k, c in ((4, 0), (6, 1), (7, 2)):
            sums[k] -= (kick * move[c][row]).sum(-1)
        sums[5] -= (steep * move[0][row]).sum(-1)
        total += side * sums
    scale = (1.0, -1.0 / spot, spot**-2.0, spot**-3.0, 1.0 / vol, -1.0 / (spot * vol), 1.0, 1.0)
    return np.array([values * by for values, by in zip(total, scale, strict=True)])


def _refined(scheme: Scheme, terms: Terms) -> tuple[FloatArray, BoolArray]:
    """y as `solve` gives it, and where it was found: u* is sought on few nodes first."""
    cautious = FIRST_SHARE * -np.log(terms[0] / terms[1]) / terms[2]
    rough, found = _search(make_scheme(COARSE), terms, (cautious, cautious), COARSE_MET)
    return _search(scheme, terms, (np.where(found, np.sqrt(rough[:, 0]), cautious), cautious), MET)


def _first(scheme: Scheme, terms: Terms) -> tuple[FloatArray, FloatArray]:
    """(G,n) of both y to start Newton's method from, good for short times."""
    _, payout, vol, until = (term[:, None] for term in terms)
    time = until * scheme.node**2
    upper = american.first_distance(xp, 0.0, -payout, vol, time, np.inf)
    return np.asarray(upper), SHORT_TIME * vol * np.sqrt(time)


def _search(
    scheme: Scheme, terms: Terms, start: tuple[FloatArray, FloatArray], met: float
) -> tuple[FloatArray, BoolArray]:
    """y as `solve` gives it, and where it was found, from a root of the time, or a safer one if that fails.

    The boundaries are solved up to a time, which Newton's method for their distance moves towards u*. low and high are
    the roots of the longest time at which they are known to be apart, and of the shortest at which they have met. A
    time at which the equations are not solved says nothing about u*: it is approached by a shorter stride.
    """
    rate, payout, vol, tau = terms
    last, apart = np.sqrt(tau), -np.log(rate / payout)
    known = np.full((len(tau), 1 + 2 * len(scheme.node)), np.nan)
    low, high, found = np.zeros(len(tau)), np.full(len(tau), np.inf), np.zeros(len(tau), bool)
    root, safer = np.minimum(last, start[0]), start[1]
    stride = np.full(len(tau), LONGEST_STRIDE)
    for _ in range(SEARCHES):
        row = np.flatnonzero(~found & (stride > SHORTEST_STRIDE))
        if not len(row):
            break
        at = root[row]
        y, solved = _solve_until(scheme, (rate[row], payout[row], vol[row], tau[row]), at, known[row])
        gap, slope = _gap(scheme, y, apart[row], at)
        # A solution far out that no nearer one leads to may be another one than ours.
        good, beyond = solved & (gap >= -met), solved & (gap < -met) & (low[row] > 0.0)
        known[row[good]], low[row[good]] = y[good], at[good]
        high[row[beyond]] = at[beyond]
        found[row] = good & ((gap <= met) | (at >= last[row]))
        stride[row] = np.where(solved, np.minimum(stride[row] ** 2, LONGEST_STRIDE), np.sqrt(stride[row]))
        floor, ceiling = low[row], high[row]
        step = np.where(solved & (slope < 0.0), at - gap / slope, np.where(solved, ceiling, at))
        within = (step > floor) & (step < ceiling)
        step = np.where(within, step, np.where(np.isfinite(ceiling), 0.5 * (floor + ceiling), last[row]))
        further = np.minimum(np.minimum(step, floor * stride[row]), last[row])
        root[row] = np.where(floor > 0.0, further, np.minimum(0.5 * at, safer[row]))
    return known, found


def _solve_until(scheme: Scheme, terms: Terms, root: FloatArray, known: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Both boundaries up to the time root^2 as (G,1+2n), started from the known ones; whether Newton's method ended."""
    rate, payout, vol, _ = terms
    n, until = len(scheme.node), root * root
    here = (rate, payout, vol, until)
    first = _first(scheme, here)
    warm = np.isfinite(known[:, :1])
    share = np.where(warm, until[:, None] * scheme.node**2 / np.where(warm, known[:, :1], 1.0), 1.0)
    basis, before = basis_at(scheme, np.minimum(share, 1.0)), basis_at(scheme, np.full((1, 1), (1.0 - BACK) ** 2))
    solved = np.ones(len(root), bool)
    parts = [until[:, None]]
    for k, system in enumerate((_upper_system, _lower_system)):
        old = known[:, 1 + k * n : 1 + (k + 1) * n]
        # Beyond the known time it goes on as a power of the time.
        power = 0.5 * (1.0 - _at(old, before) / old[:, :1]) / BACK
        guess = _at(old, basis) * np.maximum(share, 1.0) ** power
        y, ended = _newton(system, here, np.where(warm, guess, first[k]), scheme)
        parts.append(y)
        # Both y rise with the time to go; a solution in which they do not is another one than ours.
        solved &= ended & (np.diff(y, axis=1) <= 0.0).all(-1)
    return np.concatenate(parts, axis=1), solved


def _newton(
    system: Callable[..., tuple[FloatArray, FloatArray]], terms: Terms, start: FloatArray, scheme: Scheme
) -> tuple[FloatArray, BoolArray]:
    y, done = start, np.zeros(len(start), bool)
    enough = (scheme.tolerance * terms[2] * np.sqrt(terms[3]))[:, None]
    for _ in range(NEWTON_STEPS):
        row = np.flatnonzero(~done)
        if not len(row):
            break
        rate, payout, vol, until = (term[row] for term in terms)
        residual, jacobian = system((rate, payout, vol, until), y[row], scheme)
        now = y[row]
        moved = now - _step(jacobian, residual)
        # The comparisons are false for NaN, so that a failed step becomes a short one.
        moved = np.where(moved > 0.3 * now, np.where(moved < 3.0 * now, moved, 3.0 * now), 0.3 * now)
        y[row] = moved
        done[row] = (np.abs(moved - now) * scheme.node <= enough[row]).all(-1)
    return y, done


def _step(jacobian: FloatArray, residual: FloatArray) -> FloatArray:
    """(G,n) Newton steps; NaN where the matrix is singular, as it can be far from the solution."""
    try:
        return np.asarray(np.linalg.solve(jacobian, residual[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        if len(residual) == 1:
            return np.full_like(residual, np.nan)
        return np.concatenate([_step(jacobian[k : k + 1], residual[k : k + 1]) for k in range(len(residual))])


def _upper_system(terms: Terms, y: FloatArray, scheme: Scheme) -> tuple[FloatArray, FloatArray]:
    residual, jacobian = american.newton_system(xp, terms, y, scheme)
    return residual, jacobian


def _lower_system(terms: Terms, y: FloatArray, scheme: Scheme) -> tuple[FloatArray, FloatArray]:
    """Residual (G,n) and Jacobian (G,n,n) of the equation of A, with what cancels at the solution left out."""
    rate, payout = (term[:, None, None] for term in terms[:2])
    gain, slope, paid, cross, weight, y_u = _lower_points(terms, y, scheme)
    total, steep = (weight * gain).sum(-1), (weight * slope).sum(-1)
    side = (rate / payout)[:, :, 0] * np.exp(y) * (weight * paid).sum(-1)
    own = -steep / total - 1.0 - (weight * cross).sum(-1) / side
    n = len(scheme.node)
    points = scheme.basis.reshape(n, n, -1).transpose(1, 2, 0)
    coupled = ((weight * slope / y_u / total[:, :, None])[:, :, None, :] @ points)[:, :, 0, :] * y[:, None, :]
    return np.log(total / side), coupled + own[:, :, None] * np.eye(n)


def _lower_points(terms: Terms, y: FloatArray, scheme: Scheme) -> tuple[FloatArray, ...]:
    """gain, gain d-/deviation, -q exp(-q t) N(-d+), q A(u) exp(-r t) n(d-)/deviation, weight and y at the points."""
    rate, payout, vol, tau = (term[:, None, None] for term in terms)
    node = y[:, :, None]
    node_tau = tau * (scheme.node**2)[:, None]
    time, deviation = node_tau * scheme.root**2, vol * np.sqrt(node_tau) * scheme.root
    y_u = np.sqrt(np.maximum(((y * y) @ scheme.basis).reshape(time.shape), american.LEAST_DISTANCE))
    below = (node - y_u + (rate - payout) * time) / deviation - 0.5 * deviation
    above = below + deviation
    density = american.INVERSE_SQRT_TWO_PI * np.exp(-rate * time - 0.5 * below * below)
    gain = -rate * np.expm1(y_u) * density / deviation
    tail = density * np.exp(y_u - node) * xp.mills_ratio(np.abs(above))
    paid = -payout * np.where(above > 0.0, tail, np.exp(-payout * time) - tail)
    cross = rate * np.exp(y_u) * density / deviation
    return gain, gain * below / deviation, paid, cross, node_tau * scheme.weight, y_u


def _gap(scheme: Scheme, y: FloatArray, apart: FloatArray, root: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(G,) log of B/A at the end of the time solved for, and its slope by the root of that time."""
    n = len(scheme.node)
    before = basis_at(scheme, np.full((1, 1), (1.0 - BACK) ** 2))
    earlier = sum(_at(y[:, 1 + k * n : 1 + (k + 1) * n], before)[:, 0] for k in (0, 1))
    now = y[:, 1] + y[:, 1 + n]
    return apart - now, (earlier - now) / (BACK * root)


def _changes(scheme: Scheme, terms: Terms, y: FloatArray) -> Any:
    """(3,G,2n) derivatives of both y by relative vol, rate and payout."""
    n = len(scheme.node)
    upper = american.boundary_changes(xp, np.linalg.solve, terms, y[:, 1 : 1 + n], scheme)
    lower = y[:, 1 + n :]
    _, jacobian = _lower_system(terms, lower, scheme)
    moved = []
    for place, size in ((2, STEP * terms[2]), (0, STEP * terms[0]), (1, STEP * terms[1])):
        up, down = (
            _lower_system(_replaced(terms, place, terms[place] + step), lower, scheme)[0] for step in (size, -size)
        )
        unit = 2.0 * STEP if place == 2 else 2.0 * size[:, None]
        moved.append(-np.linalg.solve(jacobian, ((up - down) / unit)[:, :, None])[:, :, 0])
    return np.concatenate([np.array(upper), np.array(moved)], axis=2)


def _replaced(terms: Terms, place: int, term: FloatArray) -> Terms:
    rate, payout, vol, tau = (term if k == place else old for k, old in enumerate(terms))
    return rate, payout, vol, tau


def _shared_points(scheme: Scheme, terms: Terms, y: FloatArray) -> Points:
    """Those of every spot of a group.

    With t = v^2 and v = sqrt(tau) - (sqrt(tau) - sqrt(tau - u*)) z^2, both sqrt(u) and what depends on sqrt(t) are
    smooth in z, on which the points are Gauss-Legendre.
    """
    tau = terms[3][:, None]
    node, weight = np.polynomial.legendre.leggauss(PREMIUM_POINTS)
    z, weight = 0.5 * (node + 1.0), 0.5 * weight
    until = np.minimum(y[:, :1], tau)
    reach = np.sqrt(tau) - np.sqrt(tau - until)
    v = np.sqrt(tau) - reach * z * z
    basis = basis_at(scheme, np.minimum(reach * z * z * (np.sqrt(tau) + v) / y[:, :1], 1.0))
    return Points(v * v, 4.0 * weight * v * reach * z, basis)


def _depths(terms: Terms, y: FloatArray, basis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """-ln B and -ln A at the points (G,p)."""
    n = (y.shape[1] - 1) // 2
    return _at(y[:, 1 : 1 + n], basis), -np.log(terms[0] / terms[1])[:, None] - _at(y[:, 1 + n :], basis)


def _arguments(terms: Terms, log_spot: FloatArray, points: Points, row: Any) -> Callable[[FloatArray], tuple[Any, ...]]:
    """Arguments of `premium_point` by depth."""
    rate, payout, vol, _ = (term[:, None] for term in terms)
    start, deviation = log_spot[:, None], vol * np.sqrt(points.time)

    def arguments(depth: FloatArray) -> tuple[Any, ...]:
        state = (start, points.time[row], deviation[row], depth[row], np.exp(start), 1.0)
        return rate[row], payout[row], *state

    return arguments


def _depth_moves(terms: Terms, y: FloatArray, changes: FloatArray, basis: FloatArray) -> tuple[Any, Any]:
    """Derivatives (3,G,p) of -ln B and of -ln A at the points by relative vol, rate and payout."""
    n = (y.shape[1] - 1) // 2
    rate, payout, _, _ = terms
    limit = (np.zeros_like(rate), 1.0 / rate, -1.0 / payout)
    upper: list[FloatArray] = []
    lower: list[FloatArray] = []
    for change, by_limit in zip(changes, limit, strict=True):
        for side, columns in ((upper, slice(1, 1 + n)), (lower, slice(1 + n, 1 + 2 * n))):
            at = y[:, columns]
            side.append(_summed(at * change[:, columns], basis) / _at(at, basis))
        lower[-1] = -lower[-1] - by_limit[:, None]
    return upper, lower


def _at(y: FloatArray, basis: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.maximum(_summed(y * y, basis), american.LEAST_DISTANCE)))


def _summed(values: FloatArray, basis: FloatArray) -> FloatArray:
    return np.asarray((basis @ values[:, :, None])[:, :, 0])


def _row_group(groups: Groups) -> Any:
    return np.repeat(np.arange(len(groups.ptr) - 1), np.diff(groups.ptr))
