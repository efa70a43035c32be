"""American puts on a share with known dividends in cash, escrowed: the exercise boundary between dividends.

With the dividends to come taken out of the spot, what is left, S, moves lognormally and does not jump. Exercise at t
pays K - A(t) - S, A being the value at t of the dividends still to come. Between dividends A grows at the rate, so that
waiting costs the interest on K and nothing else, and the premium over the European put is (Kim 1990, eq. 5)

    int r K exp(-r t) N(-d-(S, B(t), t)) dt

over the times at which there is a boundary B. There is one where exp(-r t) (K - A(t)), what exercise brings for S near
0, is more than just after any later dividend. After the last dividend that is always so, and the boundary is that of
the put without dividends. Between two dividends it is so up to a moment, at which the boundary falls to 0. With z the
time until that moment ln(K/B)^2 grows like ln(1/z): ln(K/B) is interpolated by parabolas in ln z, and found node by
node, away from that moment, where the value of waiting meets that of exercise (as Kallast and Kivinukk 2003 do without
dividends).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.collocation import scheme
from pricing.exercise import Solver
from pricing.models import american
from pricing.xp import numpy as xp

LAST = "default"
# Nodes of ln(K/B), evenly in the log of the time z until there is no boundary. They reach down from z or from the
# time between that moment and the dividend, whichever is shorter, by exp(-REACH). Below it the boundary is held for
# the value, and there is none for the nodes above.
NODES, REACH = 48, 11.0
# Points between two nodes, and next to the node that an integral is for, where they crowd like squares.
POINTS, FIRST_POINTS = 6, 16
STEPS, TOLERANCE = 60, 1e-11
# Above any ln(K/B).
FAR = 50.0


class Puts(NamedTuple):
    """Puts of strike 1 with the same number of dividends before expiry.

    spot       (R,) less the dividends to come, in strikes
    tau, vol, rate   (R,), rate above 0
    dates      (m,) years to the dividends, ascending
    worth      (m,R) their values now, in strikes
    """

    spot: FloatArray
    tau: FloatArray
    vol: FloatArray
    rate: FloatArray
    dates: FloatArray
    worth: FloatArray


class Stretch(NamedTuple):
    """Times at which there is a boundary, as points of the integral over them.

    time, weight, y   (R,p) years from now, weight, ln(K/B); a weight of 0 where a row has none
    """

    time: FloatArray
    weight: FloatArray
    y: FloatArray


def solve(puts: Puts, solver: Solver) -> tuple[list[Stretch], FloatArray, BoolArray]:
    """The stretches with a boundary, last first; (R,) ln(K/B) now, inf where there is none; (R,) converged.

    solver   finds the boundary after the last dividend
    """
    count = len(puts.dates)
    start = np.append(0.0, puts.dates)
    found, y_now, converged = _last(puts, start[-1], solver)
    stretches = [found]
    if count:
        y_now = np.full_like(puts.tau, np.inf)
    later = puts.worth[::-1].cumsum(0)[::-1]
    for k in range(count - 1, -1, -1):
        # What exercise for nothing brings just after the later dividends, and up to when now is better, at `end`.
        after = np.exp(-puts.rate * puts.dates[k:, None]) - np.concatenate([later[k + 1 :], np.zeros_like(later[:1])])
        end = -np.log(after.max(0) + later[k]) / puts.rate
        row = np.flatnonzero(end > start[k])
        if not len(row):
            continue
        stretch, own_now, good = _between(puts, row, (start[k], puts.dates[k]), end[row], stretches)
        stretches.append(stretch)
        converged[row] &= good
        if k == 0:
            y_now[row] = own_now
    return stretches, y_now, converged


def greeks(puts: Puts, solver: Solver) -> tuple[FloatArray, BoolArray]:
    """(3,R) what early exercise adds to price, delta and gamma of the European put, and (R,) converged.

    Where exercise now is optimal, NaN.
    """
    stretches, y_now, converged = solve(puts, solver)
    spot, vol, rate = (column[:, None] for column in (puts.spot, puts.vol, puts.rate))
    total = np.zeros((3, len(puts.spot)))
    for time, weight, y in stretches:
        deviation = vol * np.sqrt(time)
        below = (np.log(spot) + y + rate * time) / deviation - 0.5 * deviation
        paid = rate * weight * np.exp(-rate * time)
        density = np.exp(-0.5 * below * below) * american.INVERSE_SQRT_TWO_PI / deviation
        total[0] += (paid * xp.normal_cdf(-below)).sum(1)
        total[1] -= (paid * density).sum(1) / puts.spot
        total[2] += (paid * density * (1.0 + below / deviation)).sum(1) / puts.spot**2
    total[:, np.log(puts.spot) <= -y_now] = np.nan
    return total, converged


def _last(puts: Puts, start: float, solver: Solver) -> tuple[Stretch, FloatArray, BoolArray]:
    """After the last dividend: the boundary of the put without dividends."""
    chosen, life = scheme(american.SCHEMES[LAST]), puts.tau - start
    terms = (puts.rate, np.zeros_like(life), puts.vol, life)
    y, _, converged = solver.solve(chosen, terms, False)
    distance = np.sqrt(np.maximum(_each(y * y, chosen.premium_basis), american.LEAST_DISTANCE))
    time = start + life[:, None] * chosen.premium_root**2
    return Stretch(time, life[:, None] * chosen.premium_weight, distance), y[:, 0], converged


def _between(
    puts: Puts, row: IntArray, step: tuple[float, float], end: FloatArray, stretches: list[Stretch]
) -> tuple[Stretch, FloatArray, BoolArray]:
    """The boundary from the start of a step to `end`, for some rows: points, ln(K/B) at the start, converged."""
    vol, rate, tau = (column[row] for column in (puts.vol, puts.rate, puts.tau))
    length, gap = end - step[0], step[1] - end
    stride = (REACH + np.log(np.maximum(length / gap, 1.0))) / (NODES - 1)
    back, share = _points()
    log_share = -stride[:, None] * back
    weight = stride[:, None] * share * np.exp(log_share)
    later = puts.worth[np.searchsorted(puts.dates, step[1]) :, row].sum(0)
    y, converged = np.empty((len(row), NODES)), np.ones(len(row), bool)
    for i in range(NODES):
        z = length * np.exp(-stride * (NODES - 1 - i))
        used = back < i
        matrix = _interpolation(i, back[used])
        time, counts = -z[:, None] * np.expm1(log_share[:, used]), z[:, None] * weight[:, used]
        known = [_ahead(stretch, row, end - z, vol) for stretch in stretches]
        node = _Node(vol, rate, tau - end + z, 1.0 - later * np.exp(rate * (end - z)), time, counts, known)
        first = _start(node, z, gap) if i < 2 else np.maximum(2.0 * y[:, i - 1] - y[:, i - 2], 0.5 * y[:, i - 1])
        y[:, i], good = _root(node, _each(y[:, :i], matrix[:, :i].T), matrix[:, i], first)
        converged &= good
    every = Stretch(*(np.full((len(puts.tau), len(back) + 1), value) for value in (1.0, 0.0, 1.0)))
    least = (length * np.exp(-stride * (NODES - 1)))[:, None]
    every.time[row] = end[:, None] - np.hstack([length[:, None] * np.exp(log_share), 0.5 * least])
    every.weight[row] = np.hstack([length[:, None] * weight, least])
    every.y[row] = np.hstack([_each(y, _interpolation(NODES - 1, back).T), y[:, :1]])
    return every, y[:, -1], converged


class _Node(NamedTuple):
    """One moment, (R,): vol, rate, years to expiry, what exercise brings besides the spot, and points of the integrals:
    time and weight of those up to the end of the boundary, (R,p), and those after it."""

    vol: FloatArray
    rate: FloatArray
    left: FloatArray
    paid: FloatArray
    time: FloatArray
    weight: FloatArray
    known: list[Stretch]


def _ahead(stretch: Stretch, row: IntArray, now: FloatArray, vol: FloatArray) -> Stretch:
    """A stretch of some rows, its times counted from now."""
    time, weight, y = (values[row] for values in stretch)
    return Stretch(np.where(weight > 0.0, time - now[:, None], 1.0), weight, y)


def _root(node: _Node, fixed: FloatArray, own: FloatArray, y: FloatArray) -> tuple[FloatArray, BoolArray]:
    """(R,) ln(K/B) at which waiting is worth as much as exercise, and whether found; `fixed + own y` at the points."""
    done, low, high = np.zeros(len(y), bool), np.zeros_like(y), np.full_like(y, FAR)
    for _ in range(STEPS):
        gap, slope = _gap(node, fixed + own * y[:, None], own, y)
        low, high = np.where(gap > 0.0, y, low), np.where(gap > 0.0, high, y)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = y - gap / slope
        moved = np.where((moved > low) & (moved < high), moved, np.minimum(0.5 * (low + high), 2.0 * y))
        ended = np.abs(moved - y) <= TOLERANCE * (1.0 + y)
        y = np.where(done, y, moved)
        done |= ended
        if done.all():
            break
    return y, done


def _gap(node: _Node, y_u: FloatArray, own: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Value of waiting less that of exercise at the boundary, and its derivative by the node's own y."""
    vol, rate, left = node.vol, node.rate, node.left
    spot, reach = np.exp(-y), vol * np.sqrt(left)
    below = (rate * left - y) / reach - 0.5 * reach
    gone = np.exp(-rate * left) * xp.normal_cdf(-below)
    hold = xp.normal_cdf(below + reach)
    total = gone + spot * hold - node.paid
    slope = -spot * hold
    for place, (time, weight, other) in enumerate([Stretch(node.time, node.weight, y_u), *node.known]):
        deviation = vol[:, None] * np.sqrt(time)
        under = (other - y[:, None] + rate[:, None] * time) / deviation - 0.5 * deviation
        counts = rate[:, None] * weight * np.exp(-rate[:, None] * time)
        density = counts * np.exp(-0.5 * under * under) * american.INVERSE_SQRT_TWO_PI / deviation
        total += (counts * xp.normal_cdf(-under)).sum(-1)
        slope += (density * (1.0 - own if place == 0 else 1.0)).sum(-1)
    return total, slope


def _start(node: _Node, z: FloatArray, gap: FloatArray) -> FloatArray:
    """A first ln(K/B): that of the put without dividends, and the growth towards the end."""
    nothing = np.zeros_like(node.rate)
    perpetual = american.perpetual_distance(xp, node.rate, nothing, node.vol, np.ones_like(nothing))
    plain = american.first_distance(xp, node.rate, nothing, node.vol, node.left, perpetual)
    return np.asarray(np.sqrt(plain * plain + 2.0 * node.vol**2 * node.left * np.log1p(gap / z)))


def _each(rows: FloatArray, matrix: FloatArray) -> FloatArray:
    """The product of each row with a matrix, whose last bits do not depend on the other rows."""
    return np.asarray(np.einsum("ri,ip->rp", rows, matrix))


def _points() -> tuple[FloatArray, FloatArray]:
    """(p,) how many nodes back from the last one every point is, and its weight there."""
    at, weight = np.polynomial.legendre.leggauss(FIRST_POINTS)
    at, weight = 0.5 * (at + 1.0), 0.5 * weight
    between, share = np.polynomial.legendre.leggauss(POINTS)
    further = np.arange(1, NODES - 1)[:, None] + 0.5 * (between + 1.0)
    return np.append(at**2, further.ravel()), np.append(2.0 * at * weight, np.tile(0.5 * share, NODES - 2))


def _interpolation(last: int, back: FloatArray) -> FloatArray:
    """(p, last + 1) matrix from values at nodes 0 to `last` to `back` steps before the last, by parabolas."""
    at = last - back
    count = min(last, 2) + 1
    first = np.clip(np.floor(at).astype(int) - 1, 0, last + 1 - count)
    matrix = np.zeros((len(at), last + 1))
    for j in range(count):
        factor = np.ones_like(at)
        for k in range(count):
            if k != j:
                factor *= (at - first - k) / (j - k)
        matrix[np.arange(len(at)), first + j] += factor
    return matrix
