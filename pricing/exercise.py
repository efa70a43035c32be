"""American exercise around a solver: from market terms to puts of strike 1, in groups, and back.

A solver is a module of `pricing.backends` that finds the exercise boundary and integrates the premium. What stands
here is the same for all of them: which options are ever exercised early, which of them share a boundary (all strikes
and spots of one rate, yield, vol and time do), and the limits that have a closed form.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.collocation import Scheme, scheme, scheme_of
from pricing.errors import ConfigError, NumericalError
from pricing.models import american
from pricing.xp import numpy as xp

# A rate that earns less than this over the whole life of the option is 0 to a double.
NO_RATE = 1e-14
# Below this deviation to expiry the price moves along its forward only, to 1e-10 of the spot.
NO_DEVIATION = 1e-10
NO_GAIN = 2e-10
# Relative to vol, for the difference of vegas: what it leaves out and what it magnifies of rounding are about equal.
VOL_STEP = 2e-4
# Terms harder than these take a scheme one and two steps finer than the one asked for.
HARD, HARDER = 1.0, 10.0
Terms = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


class Puts(NamedTuple):
    """Options as multiples of puts of strike 1, (R,) each.

    rate, payout, vol, tau   of the put: for a call rate and yield are exchanged
    log_spot, unit           log of its spot; how many puts the option is
    now                      what exercise pays now
    early, still             exercised early in some state; without vol or time, where the value has a closed form
    """

    rate: FloatArray
    payout: FloatArray
    vol: FloatArray
    tau: FloatArray
    log_spot: FloatArray
    unit: FloatArray
    now: FloatArray
    early: BoolArray
    still: BoolArray


class Groups(NamedTuple):
    """Rows that share a boundary: terms (G,) of each group; order (R,) puts their rows together, ptr (G+1,)."""

    terms: Terms
    order: IntArray
    ptr: IntArray


class Solver(Protocol):
    """The functions of a backend: `american_numpy` and its twins."""

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


def value(
    solver: Solver,
    columns: tuple[FloatArray, ...],
    european: FloatArray,
    *,
    accuracy: str = "default",
    threads: int = 1,
) -> FloatArray:
    """(R,) American values. NumericalError where there are two boundaries, or none was found."""
    puts = puts_of(columns)
    result = european.copy()
    for chosen, row in schemes_of(puts, accuracy):
        groups = group(_terms(puts, row))
        y, _, converged = solver.solve(chosen, groups.terms, False, threads)
        check_converged(converged, groups.terms)
        row = row[groups.order]
        premium = solver.premium(chosen, groups, puts.log_spot[row], y, threads)
        exercised = puts.log_spot[row] <= edge(groups, y)
        kept = np.maximum(european[row] + puts.unit[row] * premium, puts.now[row])
        result[row] = np.where(exercised, puts.now[row], kept)
    still = np.flatnonzero(puts.still)
    if len(still):
        result[still] = _still_greeks(with_carry(columns), still)[0]
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
    vegas, right to about 1e-7 of itself, and an average where 0.02 % of vol decides about exercise.
    Inside the exercise region they are those of the payoff.
    """
    puts = puts_of(columns)
    result = np.array(european)
    for chosen, row in schemes_of(puts, accuracy):
        result[:, row] = _early_greeks(solver, chosen, columns, puts, (row, result[:, row], threads))
    still = np.flatnonzero(puts.still)
    if len(still):
        result[:, still] = _still_greeks(with_carry(columns), still)
    return tuple(result)


def check_order(third_order: bool) -> None:
    """ConfigError where Greeks of third order are wanted, which the solved equation does not give."""
    if third_order:
        raise ConfigError("order = 3: American options have Greeks to second order")


def boundary(solver: Solver, columns: tuple[FloatArray, ...], *, accuracy: str, threads: int = 1) -> FloatArray:
    """(R,) spot at which exercise becomes optimal: puts at or below it, calls at or above it; NaN where none is."""
    _, strike, _, _, _, sign, _ = with_carry(columns)
    puts = puts_of(columns)
    share = np.full(len(strike), np.nan)
    for chosen, row in schemes_of(puts, accuracy):
        groups = group(_terms(puts, row))
        y, _, converged = solver.solve(chosen, groups.terms, False, threads)
        check_converged(converged, groups.terms)
        share[row[groups.order]] = np.exp(edge(groups, y))
    return np.asarray(np.where(sign > 0, strike / share, strike * share))


def puts_of(columns: tuple[FloatArray, ...]) -> Puts:
    """Options as puts of strike 1. NumericalError for those with two exercise boundaries."""
    forward, strike, tau, vol, discount, sign, carry = with_carry(columns)
    # Besides: what little vol adds to the best exercise along the forward is at most vol^2 / (2 |carry|) of the spot.
    alive = (vol * np.sqrt(tau) > NO_DEVIATION) & (vol * vol > NO_GAIN * np.abs(carry))
    life = np.where(alive, tau, 1.0)
    rate, payout, log_spot, unit = american.put_terms(
        xp, forward, strike, life, np.where(alive, discount, 1.0), sign, np.where(alive, carry, 0.0)
    )
    rate = np.where(np.abs(rate) * life < NO_RATE, 0.0, rate)
    double = alive & (rate < 0.0) & (payout < rate)
    if double.any():
        first = int(np.flatnonzero(double)[0])
        raise NumericalError(
            f"{int(double.sum())} American options have two exercise boundaries, which is not solved: "
            f"yield below rate below 0 for a put, rate below yield below 0 for a call; row {first}: "
            f"strike {strike[first]:g}, sign {sign[first]:+g}, rate {-np.log(discount[first]) / tau[first]:g}, "
            f"carry {carry[first]:g}"
        )
    spot = forward * np.exp(-carry * tau)
    return Puts(
        rate=rate,
        payout=payout,
        vol=vol,
        tau=tau,
        log_spot=log_spot,
        unit=unit,
        now=np.maximum(sign * (spot - strike), 0.0),
        early=alive & ((rate > 0.0) | ((rate == 0.0) & (payout * life < -NO_RATE))),
        still=~alive,
    )


def schemes_of(puts: Puts, accuracy: str) -> list[tuple[Scheme, IntArray]]:
    """The rows that are exercised early, by the scheme that reaches the accuracy for their terms.

    NumericalError where none does: where the forward moves by more than `LARGEST_DRIFT` deviations to expiry.
    """
    scheme_of(american.SCHEMES, accuracy)
    row = np.flatnonzero(puts.early)
    terms = _terms(puts, row)
    steep = american.drift(xp, *terms) > american.LARGEST_DRIFT
    if steep.any():
        raise NumericalError(
            f"{int(steep.sum())} American options have too little vol for their drift; the first, as a put: "
            f"{_words(terms, int(np.flatnonzero(steep)[0]))}"
        )
    names = list(american.SCHEMES)
    hardness = american.hardness(xp, *terms)
    finer = (hardness > HARD).astype(int) + (hardness > HARDER)
    level = np.minimum(names.index(accuracy) + finer, len(names) - 1)
    chosen = ((american.SCHEMES[name], row[level == k]) for k, name in enumerate(names))
    return [(scheme(parameters), rows) for parameters, rows in chosen if len(rows)]


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


def edge(groups: Groups, y: FloatArray) -> FloatArray:
    """(R,) log of the boundary of each sorted row with the whole time to go."""
    limit = american.limit_at_expiry(xp, groups.terms[0], groups.terms[1])
    return np.asarray(np.repeat(np.log(limit) - y[:, 0], np.diff(groups.ptr)))


def check_converged(converged: BoolArray, terms: Terms) -> None:
    """NumericalError that names the first terms for which no boundary was found."""
    if converged.all():
        return
    raise NumericalError(
        f"no exercise boundary found for {int((~converged).sum())} sets of terms; the first, as a put: "
        f"{_words(terms, int(np.flatnonzero(~converged)[0]))}"
    )


def _words(terms: Terms, row: int) -> str:
    rate, payout, vol, tau = (float(term[row]) for term in terms)
    return f"rate {rate:g}, yield {payout:g}, vol {vol:g}, tau {tau:g}"


def _terms(puts: Puts, row: IntArray) -> Terms:
    return puts.rate[row], puts.payout[row], puts.vol[row], puts.tau[row]


def _early_greeks(
    solver: Solver,
    scheme: Scheme,
    columns: tuple[FloatArray, ...],
    puts: Puts,
    job: tuple[IntArray, FloatArray, int],
) -> FloatArray:
    """(9,R') Greeks of the rows of the job that may be exercised early, from their European Greeks."""
    row, european, threads = job
    forward, strike, tau, vol, discount, sign, carry = (column[row] for column in with_carry(columns))
    rate, payout, _, _ = _terms(puts, row)
    log_spot, unit = puts.log_spot[row], puts.unit[row]

    def at(scale: float) -> tuple[FloatArray, BoolArray]:
        groups = group((rate, payout, vol * scale, tau))
        y, changes, converged = solver.solve(scheme, groups.terms, True, threads)
        check_converged(converged, groups.terms)
        spots, back = log_spot[groups.order], np.argsort(groups.order)
        ours = solver.premium_greeks(scheme, groups, spots, y, changes, threads)
        return ours[:, back], (spots <= edge(groups, y))[back]

    (premium, first, second, third, by_vol, by_vol_spot, by_rate, by_payout), exercised = at(1.0)
    higher, lower = (np.where(out, 0.0, rows[4]) for rows, out in map(at, (1.0 + VOL_STEP, 1.0 - VOL_STEP)))
    volga = (higher - lower) / (2.0 * VOL_STEP * vol)
    call = sign > 0
    # From the put of strike 1 to the option, by its own spot S: a call is S puts on K/S, a put K puts on S/K.
    s = np.exp(log_spot)
    grow = np.exp(-carry * tau)
    spot = forward * grow
    delta = np.where(call, premium - s * first, first) * grow
    gamma = np.where(call, s * s * second / spot, second / strike) * grow**2
    speed = np.where(call, -s * s * (3.0 * second + s * third) / spot**2, third / strike**2) * grow**3
    vanna = np.where(call, by_vol - s * by_vol_spot, by_vol_spot) * grow
    own_rate = -np.log(discount) / tau
    # The premium obeys the equation of Black and Scholes, which gives what passing time does, at a constant forward.
    pull = vol * vol * forward
    theta = own_rate * unit * premium - 0.5 * pull * forward * gamma
    charm = own_rate * delta - pull * (gamma + 0.5 * forward * speed)
    rho = unit * np.where(call, by_payout, by_rate)
    extra = np.array([unit * premium, delta, gamma, unit * by_vol, theta, rho, vanna, unit * volga, charm])
    now = puts.now[row]
    kept = european + extra
    kept[0] = np.maximum(kept[0], now)
    zero = np.zeros_like(now)
    slope, slide = sign * grow, sign * carry * spot
    held = np.array([now, slope, zero, zero, slide, zero, zero, zero, sign * carry * grow])
    return np.where(exercised, held, kept)


def _still_greeks(columns: tuple[FloatArray, ...], row: IntArray) -> Any:
    """(9,R') value and Greeks without vol or time: exercise at the best time, known in advance.

    The holder receives s (S exp(-q t) - K exp(-r t)) at the t in [0, tau] of his choice: now, at expiry, or in
    between at the stationary point.
    """
    forward, strike, tau, _, discount, sign, carry = (column[row] for column in columns)
    log_discount = np.log(discount)
    with np.errstate(all="ignore"):
        rate = np.where(tau > 0, -log_discount / np.where(tau > 0, tau, 1.0), 0.0)
        payout = rate - carry
        spot = forward * np.exp(-carry * tau)
        turn = np.log(rate * strike / (payout * spot)) / carry
        inner = np.where(np.isfinite(turn), np.clip(turn, 0.0, tau), 0.0)
    times = np.array([np.zeros_like(tau), tau, inner])
    paid = sign * (spot * np.exp(-payout * times) - strike * np.exp(-rate * times))
    best = paid.argmax(axis=0)
    column = np.arange(len(row))
    time, top = times[best, column], np.maximum(paid[best, column], 0.0)
    alive = top > 0
    waits, between = alive & (time > 0), alive & (time > 0) & (time < tau)
    grow = np.exp(-carry * tau)
    delta = np.where(alive, sign * np.exp(-payout * time), 0.0) * grow
    with np.errstate(all="ignore"):
        curved = np.where(between, sign * payout * np.exp(-payout * time) / (carry * spot), 0.0) * grow**2
    zero = np.zeros_like(top)
    theta = np.where(waits, rate * top, np.where(alive, sign * carry * spot, 0.0))
    charm = np.where(waits, rate * delta, np.where(alive, carry * delta, 0.0))
    rho = np.where(alive, sign * time * strike * np.exp(-rate * time), 0.0)
    return np.array([top, delta, curved, zero, theta, rho, zero, zero, charm])
