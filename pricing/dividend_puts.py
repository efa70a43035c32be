"""American puts on a share with known dividends in cash, escrowed: the exercise boundary between dividends.

With the dividends to come taken out of the spot, what is left, S, moves lognormally and does not jump. Exercise at t
pays K - A(t) - S, A being the value at t of the dividends still to come. Between dividends A grows at the rate, so that
waiting costs the interest on K and nothing else, and the premium over the European put is (Kim 1990, eq. 5)

    int r K exp(-r t) N(-d-(S, B(t), t)) dt

over the times at which there is a boundary B. There is one where exp(-r t) (K - A(t)), what exercise brings for S near
0, is more than just after any later dividend. After the last dividend that is always so, and the boundary is that of
the put without dividends. Between two dividends it is so up to a moment, at which the boundary falls to 0, and which
comes before the dividend by a gap. With z the time until that moment ln(K/B)^2 grows like ln(1/z) where z is below the
gap: ln(K/B) is interpolated by polynomials in ln z, with as many nodes as there are powers of e between the shortest z
and the longest, and found node by node, away from that moment, where the value of waiting meets that of exercise (as
Kallast and Kivinukk 2003 do without dividends).

For S near 0 the premium is exactly what exercise brings over the European put. Taken from the equation of the boundary
it leaves call(S) = int r K exp(-r t) N(d-) dt over the same times, of which both sides vanish with S.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.collocation import basis_at, scheme
from pricing.exercise import Solver
from pricing.models import american
from pricing.xp import numpy as xp

LAST = "accurate"
# Nodes of ln(K/B), evenly in the log of the time z until there is no boundary, at most STRIDE apart. They reach down
# from z or from the gap, whichever is shorter, by exp(-REACH), but not to where the interest on the strike is less than
# LEAST_INTEREST of it. Below that the boundary is held for the value, and there is none for the nodes above. One more
# than a multiple of MORE_NODES of them, so that many puts have as many.
STRIDE, REACH, MORE_NODES, LEAST_INTEREST = 0.25, 13.0, 12, 4e-10
# Degree of the polynomials in ln z, whose values are ln ln(K/B). The first nodes are where waiting is worth as much as
# exercise, all others where the two have the same slope: the former alone has a root without a later node, the latter
# alone stays stable with polynomials of a high degree.
MATCHED, MATCHED_DEGREE, DEGREE = 24, 2, 5
# Points between two nodes, and next to the node that an integral is for, where they crowd like squares.
POINTS, FIRST_POINTS = 4, 8
# Panels, and points of each, where the integral for an earlier time meets a stretch: they shrink towards it, in the
# root of time, down to the root of the gap before it, which for the value now is NO_GAP of the stretch.
PANELS, PANEL_POINTS = 12, 16
NO_GAP, WIDEST_GAP = 1e-8, 1e-3
STEPS, TOLERANCE = 60, 1e-11
# Above any ln(K/B).
FAR = 50.0
# From one node to the next ln(K/B) changes by no more than this factor; farther away rounding makes other roots.
TURN = 1.25


class Puts(NamedTuple):
    """Puts of strike 1 with the same number of dividends before expiry.

    spot       (R,) less the dividends to come, in strikes
    tau, vol, rate   (R,), rate above 0
    dates      (m,) years to the dividends, ascending
    worth      (m,R) their values now, in strikes, above 0
    """

    spot: FloatArray
    tau: FloatArray
    vol: FloatArray
    rate: FloatArray
    dates: FloatArray
    worth: FloatArray


class Stretch(NamedTuple):
    """Times at which there is a boundary, as points of the integral over them.

    start             years from now to where the stretch begins
    time, weight, y   (R,p) years from there, weight, ln(K/B)
    """

    start: float
    time: FloatArray
    weight: FloatArray
    y: FloatArray


class Spans(NamedTuple):
    """The times before each dividend at which there is a boundary.

    length, gap, least   (m,R) years: in all, 0 where there is none; from their end to the dividend; of the lowest node
    behind               (m + 1,R) years from the step's start back to the boundary before it or to now; the last one
                         is that after the last dividend
    nodes                (m,R) how many
    """

    length: FloatArray
    gap: FloatArray
    least: FloatArray
    behind: FloatArray
    nodes: IntArray


def greeks(puts: Puts, solver: Solver) -> tuple[FloatArray, BoolArray]:
    """(3,R) what early exercise adds to price, delta and gamma of the European put, and (R,) converged.

    solver   finds the boundary after the last dividend
    Where exercise now is optimal, NaN.
    """
    total, converged = np.empty((3, len(puts.spot))), np.empty(len(puts.spot), bool)
    spans = spans_of(puts)
    for alike in np.unique(spans.nodes, axis=1).T:
        row = np.flatnonzero((spans.nodes == alike[:, None]).all(0))
        terms = (puts.spot[row], puts.tau[row], puts.vol[row], puts.rate[row])
        part = Puts(*terms, puts.dates, puts.worth[:, row])
        spaces = (spans.length[:, row], spans.gap[:, row], spans.least[:, row], spans.behind[:, row])
        own = Spans(*spaces, spans.nodes[:, row])
        stretches, y_now, converged[row] = solve(part, own, solver)
        total[:, row] = _premium(part, stretches)
        total[:, row[np.log(part.spot) <= -y_now]] = np.nan
    return total, converged


def spans_of(puts: Puts) -> Spans:
    """Where there are boundaries between dividends."""
    count = len(puts.dates)
    start, rate = np.append(0.0, puts.dates), puts.rate
    length, gap = np.zeros((count, len(rate))), np.zeros((count, len(rate)))
    for k in range(count):
        # What exercise for nothing just after this or a later dividend brings above exercise just before this one.
        passed, more = puts.worth[k:].cumsum(0), np.exp(rate * puts.dates[k])
        above = passed * more + np.expm1(-rate * (puts.dates[k:, None] - puts.dates[k]))
        gap[k] = np.log1p(above.max(0)) / rate
        length[k] = puts.dates[k] - start[k] - gap[k]
    length[rate * length < 2.0 * LEAST_INTEREST] = 0.0
    behind = np.zeros((count + 1, len(rate)))
    for k in range(count):
        behind[k + 1] = np.where(length[k] > 0.0, gap[k], behind[k] + puts.dates[k] - start[k])
    least = np.maximum(np.minimum(length, gap) * np.exp(-REACH), LEAST_INTEREST / rate)
    wide = np.log(np.maximum(length / least, 1.0))
    nodes = MORE_NODES * np.ceil(wide / (STRIDE * MORE_NODES)).astype(int) + 1
    return Spans(length, gap, least, behind, np.where(length > 0.0, nodes, 0))


def solve(puts: Puts, spans: Spans, solver: Solver) -> tuple[list[Stretch], FloatArray, BoolArray]:
    """The stretches with a boundary, last first; (R,) ln(K/B) now, inf where there is none; (R,) converged.

    The puts have equally many nodes in every step.
    """
    start = np.append(0.0, puts.dates)
    found, y_now, converged = _last(puts, start[-1], spans.behind[-1], solver)
    stretches = [found]
    if len(puts.dates):
        y_now = np.full_like(puts.tau, np.inf)
    for k in range(len(puts.dates) - 1, -1, -1):
        if spans.nodes[k, 0]:
            stretch, own_now, good = _between(puts, k, float(start[k]), spans, stretches)
            stretches.append(stretch)
            converged &= good
            y_now = own_now if k == 0 else y_now
    return stretches, y_now, converged


def _premium(puts: Puts, stretches: list[Stretch]) -> FloatArray:
    """(3,R) what early exercise adds to price, delta and gamma."""
    spot, vol, rate = (column[:, None] for column in (puts.spot, puts.vol, puts.rate))
    total = np.zeros((3, len(puts.spot)))
    for start, after, weight, y in stretches:
        time = start + after
        deviation = vol * np.sqrt(time)
        below = (np.log(spot) + y + rate * time) / deviation - 0.5 * deviation
        paid = rate * weight * np.exp(-rate * time)
        density = np.exp(-0.5 * below * below) * american.INVERSE_SQRT_TWO_PI / deviation
        total[0] += (paid * xp.normal_cdf(-below)).sum(1)
        total[1] -= (paid * density).sum(1) / puts.spot
        total[2] += (paid * density * (1.0 + below / deviation)).sum(1) / puts.spot**2
    return total


def _last(puts: Puts, start: float, behind: FloatArray, solver: Solver) -> tuple[Stretch, FloatArray, BoolArray]:
    """After the last dividend: the boundary of the put without dividends, on points evenly in the angle of which the
    time to expiry has the power of the scheme's sine."""
    chosen, life = scheme(american.SCHEMES[LAST]), puts.tau - start
    terms = (puts.rate, np.zeros_like(life), puts.vol, life)
    y, _, converged = solver.solve(chosen, terms, False)
    share, weight = _graded(behind / life)
    angle, power = 0.5 * np.pi * share, 2 * chosen.grade
    cosine, sine = np.cos(angle), np.sin(angle)
    left = cosine**power
    gone = sine**2 * np.sum([cosine ** (2 * k) for k in range(chosen.grade)], axis=0)
    weight = life[:, None] * weight * (0.5 * np.pi * power) * cosine ** (power - 1) * sine
    squares = np.einsum("rpi,ri->rp", basis_at(chosen, left), y * y)
    distance = np.sqrt(np.maximum(squares, american.LEAST_DISTANCE))
    return Stretch(start, life[:, None] * gone, weight, distance), np.array(y[:, 0]), np.array(converged)


def _between(
    puts: Puts, k: int, start: float, spans: Spans, stretches: list[Stretch]
) -> tuple[Stretch, FloatArray, BoolArray]:
    """The boundary before a dividend: points, ln(K/B) at the start of the step, converged."""
    length, gap, nodes, date = spans.length[k], spans.gap[k], int(spans.nodes[k, 0]), float(puts.dates[k])
    least = spans.least[k]
    stride = np.log(length / least) / (nodes - 1)
    back, share = _points(nodes)
    log_share = -stride[:, None] * back
    weight = stride[:, None] * share * np.exp(log_share)
    y, converged = np.empty((len(length), nodes)), np.ones(len(length), bool)
    for i in range(nodes):
        z = length * np.exp(-stride * (nodes - 1 - i))
        used = back < i
        matrix = _interpolation(i, back[used], DEGREE if i >= MATCHED else MATCHED_DEGREE)
        time, counts = -z[:, None] * np.expm1(log_share[:, used]), z[:, None] * weight[:, used]
        ahead = (gap + z)[:, None]
        known = [stretch._replace(time=stretch.time + (stretch.start - date + ahead)) for stretch in stretches]
        node = _Node(puts.vol, puts.rate, puts.tau - date + gap + z, z, least, Stretch(0.0, time, counts, time), known)
        low, high = (np.zeros_like(z), np.full_like(z, FAR)) if i == 0 else (y[:, i - 1] / TURN, y[:, i - 1] * TURN)
        first = _start(node, z, gap) if i == 0 else np.clip(2.0 * y[:, i - 1] - y[:, max(i - 2, 0)], low, high)
        y[:, i], good = _root(
            node, _each(np.log(y[:, :i]), matrix[:, :i].T), matrix[:, i], (first, low, high), i >= MATCHED
        )
        converged &= good
    every = _held(spans.behind[k], length, stride, y)
    far, moved = back >= 1.0, np.exp(_each(np.log(y), _interpolation(nodes - 1, back[back >= 1.0], DEGREE).T))
    # Below the shortest z, and between two nodes or more from the start.
    times = [length[:, None] - 0.5 * least[:, None], -length[:, None] * np.expm1(log_share[:, far])]
    weights = [least[:, None], length[:, None] * weight[:, far]]
    columns = zip(every, (times, weights, [y[:, :1], moved]), strict=True)
    return Stretch(start, *(np.hstack([near, *rest]) for near, rest in columns)), y[:, -1], converged


def _held(behind: FloatArray, length: FloatArray, stride: FloatArray, y: FloatArray) -> tuple[FloatArray, ...]:
    """Time from the start, weight and ln(K/B) of the points between the start of a step and the node next to it."""
    share, weight = _graded(behind / length)
    reach = -np.expm1(-stride)[:, None]
    gone = reach * share**2
    back = -np.log1p(-gone) / stride[:, None]
    last = y[:, : -DEGREE - 2 : -1]
    values = np.einsum("rpi,ri->rp", _lagrange(back, last.shape[1]), np.log(last))
    return length[:, None] * gone, length[:, None] * reach * 2.0 * share * weight, np.exp(values)


class _Node(NamedTuple):
    """One moment, (R,): vol, rate, years to expiry and to the end of the boundary, and of the latter those without a
    node; points of the integrals, their times from the moment: those to the end of the boundary, and those after it."""

    vol: FloatArray
    rate: FloatArray
    left: FloatArray
    z: FloatArray
    least: FloatArray
    own: Stretch
    known: list[Stretch]


def _root(
    node: _Node, fixed: FloatArray, own: FloatArray, sought: tuple[FloatArray, ...], smooth: bool
) -> tuple[FloatArray, BoolArray]:
    """(R,) ln(K/B) at which waiting is worth as much as exercise, and whether found.

    fixed, own   (R,p) and (p,): ln of ln(K/B) at the points of the node is `fixed + own ln y`
    sought       (R,) each: a first y, and where it lies between
    smooth       whether it is where the two have the same slope
    """
    y, low, high = sought
    equation, done = _bend if smooth else _gap, np.zeros(len(y), bool)
    for _ in range(STEPS):
        gap, slope = equation(node, fixed, own, y)
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


def _gap(node: _Node, fixed: FloatArray, own: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log of what waiting may still gain over what it loses until the end of the boundary, and its derivative by the
    node's own y; -inf where rounding leaves no gain."""
    vol, rate, left = node.vol, node.rate, node.left
    reach = vol * np.sqrt(left)
    below = (rate * left - y) / reach - 0.5 * reach
    hold = np.exp(-y) * xp.normal_cdf(below + reach)
    gain, slope = hold - np.exp(-rate * left) * xp.normal_cdf(below), -hold
    for stretch in node.known:
        paid, density = _interest(node, stretch.time, stretch.weight, stretch.y - y[:, None])
        gain -= paid.sum(-1)
        slope += density.sum(-1)
    y_u = np.exp(fixed + own * np.log(y)[:, None])
    paid, density = _interest(node, node.own.time, node.own.weight, y_u - y[:, None])
    cost = paid.sum(-1) - np.exp(-rate * (node.z - node.least)) * np.expm1(-rate * node.least)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.log(np.maximum(gain, 0.0) / cost), slope / gain - (density * (own * y_u / y[:, None] - 1.0)).sum(
            -1
        ) / cost


def _bend(node: _Node, fixed: FloatArray, own: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same of the derivatives by the spot: log of their quotient, and its derivative by the node's own y."""
    vol, rate, left = node.vol, node.rate, node.left
    reach = vol * np.sqrt(left)
    above = (rate * left - y) / reach + 0.5 * reach
    hold = np.exp(-y) * xp.normal_cdf(above)
    slope = -hold - np.exp(-y - 0.5 * above * above) * american.INVERSE_SQRT_TWO_PI / reach
    for stretch in node.known:
        density, falls = _slope(node, stretch.time, stretch.weight, stretch.y - y[:, None])
        hold -= density.sum(-1)
        slope -= falls.sum(-1)
    y_u = np.exp(fixed + own * np.log(y)[:, None])
    density, falls = _slope(node, node.own.time, node.own.weight, y_u - y[:, None])
    paid = density.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.log(np.maximum(hold, 0.0) / paid), slope / hold - (falls * (1.0 - own * y_u / y[:, None])).sum(
            -1
        ) / paid


def _slope(node: _Node, time: FloatArray, weight: FloatArray, ahead: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(R,p) derivative of the interest by what is `ahead`, and minus the derivative of that."""
    rate, deviation = node.rate[:, None], node.vol[:, None] * np.sqrt(time)
    under = (ahead + rate * time) / deviation - 0.5 * deviation
    density = rate * weight * np.exp(-rate * time - 0.5 * under * under) * american.INVERSE_SQRT_TWO_PI / deviation
    return density, density * under / deviation


def _interest(node: _Node, time: FloatArray, weight: FloatArray, ahead: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(R,p) interest on the strike where the spot ends above a boundary, and its derivative by what is `ahead`."""
    rate, deviation = node.rate[:, None], node.vol[:, None] * np.sqrt(time)
    under = (ahead + rate * time) / deviation - 0.5 * deviation
    paid = rate * weight * np.exp(-rate * time)
    return paid * xp.normal_cdf(under), paid * np.exp(-0.5 * under * under) * american.INVERSE_SQRT_TWO_PI / deviation


def _start(node: _Node, z: FloatArray, gap: FloatArray) -> FloatArray:
    """A first ln(K/B): that of the put without dividends, and the growth towards the end."""
    nothing = np.zeros_like(node.rate)
    perpetual = american.perpetual_distance(xp, node.rate, nothing, node.vol, np.ones_like(nothing))
    plain = american.first_distance(xp, node.rate, nothing, node.vol, node.left, perpetual)
    return np.asarray(np.sqrt(plain * plain + 2.0 * node.vol**2 * node.left * np.log1p(gap / z)))


def _each(rows: FloatArray, matrix: FloatArray) -> FloatArray:
    """The product of each row with a matrix, whose last bits do not depend on the other rows."""
    return np.asarray(np.einsum("ri,ip->rp", rows, matrix))


def _points(nodes: int) -> tuple[FloatArray, FloatArray]:
    """(p,) how many nodes back from the last one every point is, and its weight there."""
    at, weight = np.polynomial.legendre.leggauss(FIRST_POINTS)
    at, weight = 0.5 * (at + 1.0), 0.5 * weight
    between, share = np.polynomial.legendre.leggauss(POINTS)
    further = np.arange(1, nodes - 1)[:, None] + 0.5 * (between + 1.0)
    return np.append(at**2, further.ravel()), np.append(2.0 * at * weight, np.tile(0.5 * share, nodes - 2))


def _graded(gap: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(R,p) points and weights on [0, 1], in panels that shrink towards 0 down to the root of the gap."""
    ratio = np.sqrt(np.clip(gap, NO_GAP, WIDEST_GAP))[:, None] ** (1.0 / (PANELS - 1))
    edge = np.hstack([ratio ** np.arange(PANELS), np.zeros_like(ratio)])
    at, weight = np.polynomial.legendre.leggauss(PANEL_POINTS)
    width = (edge[:, :-1] - edge[:, 1:])[:, :, None]
    share = edge[:, 1:, None] + width * (0.5 * (at + 1.0))
    return share.reshape(len(gap), -1), (width * (0.5 * weight)).reshape(len(gap), -1)


def _lagrange(at: FloatArray, count: int) -> FloatArray:
    """(..., count) weights of the values at 0, 1, ..., count - 1 in the polynomial through them."""
    matrix = np.ones((*at.shape, count))
    for j in range(count):
        for k in range(count):
            if k != j:
                matrix[..., j] *= (at - k) / (j - k)
    return matrix


def _interpolation(last: int, back: FloatArray, degree: int) -> FloatArray:
    """(p, last + 1) matrix from values at nodes 0 to `last` to `back` steps before the last, by polynomials."""
    at, count = last - back, min(last, degree) + 1
    first = np.clip(np.floor(at).astype(int) - (count - 1) // 2, 0, last + 1 - count)
    matrix = np.zeros((len(at), last + 1))
    matrix[np.arange(len(at))[:, None], first[:, None] + np.arange(count)] = _lagrange(at - first, count)
    return matrix
