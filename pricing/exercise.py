"""American exercise around a solver: from market terms to puts of strike 1, in groups, and back.

A solver is a module of `pricing.backends` that finds the exercise boundary and integrates the premium. What stands
here is the same for all of them: which options are ever exercised early, which of them share a boundary (all strikes
and spots of one rate, yield, vol and time do), which have two, and the limits that have a closed form.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from pricing import certain_exercise, near_boundary, near_two_boundaries, two_boundaries
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.collocation import Scheme, scheme, scheme_of
from pricing.errors import ConfigError, Problem, UnsolvedError
from pricing.models import american
from pricing.xp import numpy as xp

NAME = "american"
# A rate that earns less than this over the whole life of the option is 0 to a double.
NO_RATE = 1e-14
# Below this deviation to expiry the price moves along its forward only, to 1e-10 of the spot.
NO_DEVIATION = 1e-10
NO_GAIN = 2e-10
# Relative to vol, for the difference of vegas: what it leaves out and what it magnifies of rounding are about equal.
VOL_STEP = 2e-4
RATE_DIGITS = 12
# Terms harder than these take a scheme one and two steps finer than the one asked for.
HARD, HARDER = 1.0, 10.0
Terms = tuple[FloatArray, FloatArray, FloatArray, FloatArray]
Solution = tuple["Part", "Groups", FloatArray, FloatArray]


class Puts(NamedTuple):
    """Options as multiples of puts of strike 1, (R,) each.

    rate, payout, vol, tau   of the put: for a call rate and yield are exchanged
    log_spot, unit           log of its spot; how many puts the option is
    now, put                 what exercise pays now; whether the option is a put itself
    early, double            exercised early in some state: below a boundary, or between two
    still                    without vol or time, where the value has a closed form
    """

    rate: FloatArray
    payout: FloatArray
    vol: FloatArray
    tau: FloatArray
    log_spot: FloatArray
    unit: FloatArray
    now: FloatArray
    put: BoolArray
    early: BoolArray
    double: BoolArray
    still: BoolArray


class Groups(NamedTuple):
    """Rows that share a boundary: terms (G,) of each group; order (R,) puts their rows together, ptr (G+1,)."""

    terms: Terms
    order: IntArray
    ptr: IntArray


class Part(NamedTuple):
    """Rows that one solver solves by one scheme."""

    solver: Solver
    scheme: Scheme
    row: IntArray


class Plan(NamedTuple):
    """What is solved, and the rows that are not."""

    parts: list[Part]
    refused: list[Problem]


class Solver(Protocol):
    """The functions of a backend: `american_numpy` and its twins, and `two_boundaries`."""

    def solve(
        self, scheme: Scheme, terms: Terms, with_changes: bool, threads: int = 1
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """(G,n) y, (3,G,n) derivatives by relative vol, rate and payout or (0,G,n), (G,) converged."""

    def premium(
        self, scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, threads: int = 1
    ) -> FloatArray:
        """(R,) premium of sorted rows."""

    def premium_greeks(
        self, scheme: Scheme, groups: Groups, log_spot: FloatArray, y: FloatArray, changes: FloatArray, threads: int = 1
    ) -> FloatArray:
        """(8,R) premium and derivatives of sorted rows."""


def with_carry(columns: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
    """forward, strike, tau, vol, discount, sign, carry; without the last the option is on the future itself: 0."""
    return columns if len(columns) == 7 else (*columns, np.zeros_like(columns[0]))


def on_future(columns: tuple[FloatArray, ...]) -> bool:
    """Whether the columns are those of options on the future itself."""
    return len(columns) == 6


def value(
    solver: Solver,
    columns: tuple[FloatArray, ...],
    european: FloatArray,
    *,
    accuracy: str = "default",
    threads: int = 1,
) -> FloatArray:
    """(R,) American values. UnsolvedError naming every row for which no boundary was found."""
    puts = puts_of(columns)
    result = european.copy()
    for part, groups, y, _ in _solved(puts, plan_of(solver, puts, accuracy), threads):
        row = part.row[groups.order]
        premium = part.solver.premium(part.scheme, groups, puts.log_spot[row], y, threads)
        kept = np.maximum(european[row] + puts.unit[row] * premium, puts.now[row])
        result[row] = np.where(_exercised(part, groups, y, puts.log_spot[row]), puts.now[row], kept)
    still = np.flatnonzero(puts.still)
    if len(still):
        result[still] = certain_exercise.greeks(with_carry(columns), still)[0]
    return result


def greeks(
    solver: Solver,
    columns: tuple[FloatArray, ...],
    european: tuple[FloatArray, ...],
    *,
    accuracy: str = "default",
    threads: int = 1,
) -> tuple[FloatArray, ...]:
    """value, delta, gamma, vega, theta, rho, vanna, volga, charm as the contract of a model defines them.

    All but volga are derivatives of the solved equation, exact to its own error; volga is a difference of two
    vegas, right to about 1e-7 of itself, and to 1e-3 where 0.02 % of vol decides about exercise.
    Inside the exercise region they are those of the payoff. rho holds spot and yield; of an option on the future it
    moves the future with the rate, dV/dr with F = S exp(r tau), as that of `black76`. UnsolvedError as in `value`.
    """
    puts = puts_of(columns)
    result = np.array(european)
    plan = plan_of(solver, puts, accuracy)
    at_vols = [_solved(puts, plan, threads, scale) for scale in (1.0, 1.0 + VOL_STEP, 1.0 - VOL_STEP)]
    for solutions in zip(*at_vols, strict=True):
        row = solutions[0][0].row
        near = _near(puts, solutions[0])
        own = [_premium_greeks(puts, solution, near, threads) for solution in solutions]
        result[:, row] = _early_greeks(columns, puts, row, own, result[:, row])
    still = np.flatnonzero(puts.still)
    if len(still):
        result[:, still] = certain_exercise.greeks(with_carry(columns), still, on_future=on_future(columns))
    return tuple(result)


def check_order(third_order: bool) -> None:
    """ConfigError where Greeks of third order are wanted, which the solved equation does not give."""
    if third_order:
        raise ConfigError("order = 3: American options have Greeks to second order")


def boundary(
    solver: Solver, columns: tuple[FloatArray, ...], *, accuracy: str, threads: int = 1, far: bool = False
) -> FloatArray:
    """(R,) spot at which exercise becomes optimal: puts at or below it, calls at or above it; NaN where none is.

    far: where exercise ends again, of options with two boundaries; NaN for all others.
    """
    _, strike, _, _, _, sign, _ = with_carry(columns)
    puts = puts_of(columns)
    share = np.full(len(strike), np.nan)
    for part, groups, y, _ in _solved(puts, plan_of(solver, puts, accuracy), threads):
        near, end = _edges(part, groups, y)
        share[part.row[groups.order]] = np.exp(end if far else near)
    share[share == 0.0] = np.nan
    return np.asarray(np.where(sign > 0, strike / share, strike * share))


def puts_of(columns: tuple[FloatArray, ...]) -> Puts:
    """Options as puts of strike 1."""
    forward, strike, tau, vol, discount, sign, carry = with_carry(columns)
    # Besides: what little vol adds to the best exercise along the forward is at most vol^2 / (2 |carry|) of the spot.
    alive = (vol * np.sqrt(tau) > NO_DEVIATION) & (vol * vol > NO_GAIN * np.abs(carry))
    life = np.where(alive, tau, 1.0)
    rate, payout, log_spot, unit = american.put_terms(
        xp, forward, strike, life, np.where(alive, discount, 1.0), sign, np.where(alive, carry, 0.0)
    )
    rate = np.where(np.abs(rate) * life < NO_RATE, 0.0, rate)
    double = alive & (payout < rate) & (rate < 0.0)
    if double.any():
        # Two boundaries meet before (ln(r/q) / vol)^2 and gain less than r - q a year until then.
        row = np.flatnonzero(double)
        apart = np.log(rate[row] / payout[row]) / vol[row]
        double[row] = (rate[row] - payout[row]) * np.minimum(life[row], apart * apart) > NO_RATE
    spot = forward * np.exp(-carry * tau)
    return Puts(
        rate=rate,
        payout=payout,
        vol=vol,
        tau=tau,
        log_spot=log_spot,
        unit=unit,
        now=np.maximum(sign * (spot - strike), 0.0),
        put=sign < 0,
        early=alive & ((rate > 0.0) | ((rate == 0.0) & (payout * life < -NO_RATE))),
        double=double,
        still=~alive,
    )


def plan_of(solver: Solver, puts: Puts, accuracy: str) -> Plan:
    """The rows that are exercised early, by what solves them: the scheme that reaches the accuracy for their terms.

    Two boundaries are solved by the default scheme at least, rates close to yields by `LAYER_SCHEMES`. Refused where no
    scheme reaches: where the forward moves by more than `LARGEST_DRIFT` deviations to expiry.
    """
    scheme_of(american.SCHEMES, accuracy)
    row = np.flatnonzero(puts.early | puts.double)
    drift = american.drift(xp, *_terms(puts, row))
    steep = drift > american.LARGEST_DRIFT
    remedy = "the forward drifts by {:.3g} deviations to expiry, and at most {:g} are solved"
    problems = [
        _problem(puts, int(n), remedy.format(deviations, american.LARGEST_DRIFT))
        for n, deviations in zip(row[steep], drift[steep], strict=True)
    ]
    row = row[~steep]
    names, terms, double = list(american.SCHEMES), _terms(puts, row), puts.double[row]
    hardness = american.hardness(xp, *terms)
    level = names.index(accuracy) + (hardness > HARD).astype(int) + (hardness > HARDER)
    level[double] = np.maximum(level[double], names.index("default"))
    level = np.minimum(level, len(names) - 1)
    layered = np.array([name in american.LAYER_SCHEMES for name in names])
    close = layered[level] & ~double & (american.layer(xp, *terms) < 1.0)
    kinds = (
        (close, solver, american.LAYER_SCHEMES),
        (~close & ~double, solver, american.SCHEMES),
        (double, two_boundaries, american.SCHEMES),
    )
    parts = [
        Part(kind, scheme(schemes[names[k]]), row[(level == k) & rows])
        for rows, kind, schemes in kinds
        for k in np.unique(level[rows])
    ]
    return Plan(parts, problems)


def group(terms: Terms) -> Groups:
    """Sort rows so that equal terms stand together; the hash only orders, equality decides."""
    mixed = np.zeros(len(terms[0]), np.uint64)
    for term in terms:
        mixed = (mixed ^ term.view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    order = np.argsort(mixed, kind="stable")
    arranged = tuple(term[order] for term in terms)
    changes = np.zeros(max(len(order) - 1, 0), bool)
    for term in arranged:
        changes |= term[1:] != term[:-1]
    first = np.concatenate([[0], np.flatnonzero(changes) + 1])
    rate, payout, vol, tau = (term[first] for term in arranged)
    return Groups((rate, payout, vol, tau), order, np.append(first, len(order)))


def _solved(puts: Puts, plan: Plan, threads: int, scale: float | None = None) -> list[Solution]:
    """The boundaries of every part, with their derivatives where a scale of vol is given.

    UnsolvedError naming all rows without one, and those that are refused.
    """
    solutions, problems = [], list(plan.refused)
    for part in plan.parts:
        rate, payout, vol, tau = _terms(puts, part.row)
        groups = group((rate, payout, vol if scale is None else vol * scale, tau))
        y, changes, converged = part.solver.solve(part.scheme, groups.terms, scale is not None, threads)
        failed = part.row[groups.order[np.repeat(~converged, np.diff(groups.ptr))]]
        problems += [_problem(puts, int(row), "no exercise boundary found") for row in failed]
        solutions.append((part, groups, y, changes))
    if problems:
        raise UnsolvedError(sorted(problems, key=lambda problem: int(problem.row or 0)))
    return solutions


def _problem(puts: Puts, row: int, remedy: str) -> Problem:
    """The row by its vol, with the rest of its terms as those of the option itself."""
    own = (puts.rate, puts.payout) if puts.put[row] else (puts.payout, puts.rate)
    # Rates come from a forward and a discount, with a rounding that nobody gave.
    rate, payout = (round(float(column[row]), RATE_DIGITS) + 0.0 for column in own)
    terms = f"{'put' if puts.put[row] else 'call'}, rate {rate:g}, yield {payout:g}, {float(puts.tau[row]):g} years"
    return Problem(NAME, row, "vol", float(puts.vol[row]), f"{remedy} ({terms})")


def _edges(part: Part, groups: Groups, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(R,) log of the boundary of each sorted row with the whole time to go, and of a second one, -inf without."""
    if part.solver is two_boundaries:
        near, end = two_boundaries.edges(groups.terms, y)
    else:
        near = np.log(american.limit_at_expiry(xp, groups.terms[0], groups.terms[1])) - y[:, 0]
        end = np.full_like(near, -np.inf)
    count = np.diff(groups.ptr)
    return np.repeat(near, count), np.repeat(end, count)


def _exercised(part: Part, groups: Groups, y: FloatArray, log_spot: FloatArray) -> BoolArray:
    """(R,) whether exercise now is optimal."""
    near, end = _edges(part, groups, y)
    return np.asarray((log_spot <= near) & (log_spot >= end))


def _terms(puts: Puts, row: IntArray) -> Terms:
    return puts.rate[row], puts.payout[row], puts.vol[row], puts.tau[row]


def _near(puts: Puts, solution: Solution) -> BoolArray:
    """(R',) rows of a part, in its own order, so near their boundary that derivatives want points of their own."""
    part, groups, y, _ = solution
    owner, row = np.repeat(np.arange(len(y)), np.diff(groups.ptr)), part.row[groups.order]
    terms, back = tuple(term[owner] for term in groups.terms), np.argsort(groups.order)
    if part.solver is two_boundaries:
        return near_two_boundaries.is_near(near_two_boundaries.distance(terms, puts.log_spot[row], y[owner])[0])[back]
    return near_boundary.is_near(part.scheme, near_boundary.distance(terms, puts.log_spot[row], y[owner]))[back]


def _premium_greeks(puts: Puts, solution: Solution, near: BoolArray, threads: int) -> tuple[FloatArray, BoolArray]:
    """(8,R') premium and derivatives of the rows of a part, in its own order, and whether they are exercised."""
    part, groups, y, changes = solution
    spots, back = puts.log_spot[part.row][groups.order], np.argsort(groups.order)
    ours = part.solver.premium_greeks(part.scheme, groups, spots, y, changes, threads)
    few = np.flatnonzero(near[groups.order])
    if len(few):
        owner = np.repeat(np.arange(len(y)), np.diff(groups.ptr))[few]
        terms = tuple(term[owner] for term in groups.terms)
        own = near_two_boundaries if part.solver is two_boundaries else near_boundary
        # The premium itself has no spike and stays that of `value`.
        ours[1:, few] = own.premium_greeks(part.scheme, terms, spots[few], y[owner], changes[:, owner])[1:]
    return ours[:, back], _exercised(part, groups, y, spots)[back]


def _early_greeks(
    columns: tuple[FloatArray, ...],
    puts: Puts,
    row: IntArray,
    own: list[tuple[FloatArray, BoolArray]],
    european: FloatArray,
) -> FloatArray:
    """(9,R') Greeks of rows that may be exercised early, from their European Greeks and those of the premium.

    own holds the latter at the vol, and a step above and below it.
    """
    forward, strike, tau, vol, discount, sign, carry = (column[row] for column in with_carry(columns))
    log_spot, unit = puts.log_spot[row], puts.unit[row]
    (premium, first, second, third, by_vol, by_vol_spot, by_rate, by_payout), exercised = own[0]
    # On the side of vol where the option would be exercised there is no step.
    higher, lower = (np.where(out, by_vol, rows[4]) for rows, out in own[1:])
    steps = np.maximum(2.0 - own[1][1] - own[2][1], 1.0)
    volga = (higher - lower) / (steps * VOL_STEP * vol)
    call = sign > 0
    # From the put of strike 1 to the option, by its own spot S: a call is S puts on K/S, a put K puts on S/K.
    s = np.exp(log_spot)
    grow = np.exp(-carry * tau)
    spot = forward * grow
    delta = np.where(call, premium - s * first, first) * grow
    gamma = np.where(call, s * (s * second) / spot, second / strike) * grow**2
    # In this order, so that what vanishes far from the money does so before it meets what overflows there.
    speed = np.where(call, -s * (s * (3.0 * second + s * third)) / spot / spot, third / strike / strike) * grow**3
    vanna = np.where(call, by_vol - s * by_vol_spot, by_vol_spot) * grow
    own_rate = -np.log(discount) / tau
    # The premium obeys the equation of Black and Scholes, which gives what passing time does, at a constant forward.
    pull = vol * vol * forward
    theta = own_rate * unit * premium - 0.5 * pull * (forward * gamma)
    charm = own_rate * delta - pull * (gamma + 0.5 * forward * speed)
    rho = unit * np.where(call, by_payout, by_rate)
    held_rho = np.zeros_like(forward)
    if on_future(columns):
        # The put has the rate as its yield too, and the forward slides under it.
        rho = unit * (by_rate + by_payout) + tau * forward * delta
        held_rho = sign * tau * forward
    extra = np.array([unit * premium, delta, gamma, unit * by_vol, theta, rho, vanna, unit * volga, charm])
    now = puts.now[row]
    kept = european + extra
    kept[0] = np.maximum(kept[0], now)
    zero = np.zeros_like(now)
    slope, slide = sign * grow, sign * carry * spot
    held = np.array([now, slope, zero, zero, slide, held_rho, zero, zero, sign * carry * grow])
    return np.where(exercised, held, kept)
