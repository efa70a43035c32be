"""Contracts with early exercise on shares whose dividends in cash are known: what they are worth in a market.

The forward of the expiry says what all dividends before it are worth: spot less forward times discount factor. The
schedule of the market says when they are paid and in which proportion. So spot and forward both keep what the market
says, exercise pays by the spot, and the European value is Black-76 on the forward. The model is the escrowed one: vol
is that of the spot less the dividends to come, which moves as the forward does (Roll 1977, Geske 1979, Whaley 1981).

A scenario that moves the forward moves the spot and the dividends in the same proportion; with time dividends come
nearer, and are gone once it has passed their dates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pricing.arrays import MILLISECONDS_PER_YEAR, BoolArray, FloatArray, IntArray, row_problems
from pricing.dividends import american_with_dividends
from pricing.errors import DataError, UnsolvedError
from pricing.instruments import Exercise, Instruments
from pricing.market import Market
from pricing.resolve import PricingInputs

# What spot, forward and discount make of the dividends before an expiry, by what the schedule does: within these. A
# chain at one rate has 0.4 to 1.3; amounts of a year for those of a quarter make four.
LEAST_SHARE, LARGEST_SHARE = 1.0 / 3.0, 3.0
# A rate this little below 0 is a rounding of the discount factor.
NO_RATE = 1e-12
# Deviations to expiry that add less than 1e-12 of the spot to the best exercise known in advance.
NO_DEVIATION = 1e-12
BUMP = 1e-4

Schedule = tuple[FloatArray, FloatArray]


class Contracts(NamedTuple):
    """Options exercised early into shares of one underlying, (R,) each, as `PricingInputs` has them.

    unit    dividends that count, per unit of forward and of the schedule's amounts: from `dividend_unit`
    """

    forward: FloatArray
    strike: FloatArray
    tau: FloatArray
    vol: FloatArray
    discount: FloatArray
    sign: FloatArray
    unit: FloatArray


def schedule_of(market: Market, underlying: int, time_step_years: float = 0.0) -> Schedule:
    """(M,) years until the share trades without each dividend once a time has passed, ascending, and the amounts."""
    own = market.dividend_underlying == underlying
    left = (market.dividend_time[own] - market.valuation_time) / MILLISECONDS_PER_YEAR - time_step_years
    order = np.argsort(left)[np.sum(left <= 0.0) :]
    return left[order], market.dividend[own][order]


def with_dividends(instruments: Instruments, market: Market) -> BoolArray:
    """(N,) True for options exercised early into a share that pays a known dividend before they expire."""
    result = np.zeros(len(instruments), dtype=np.bool_)
    if not len(market.dividend):
        return result
    first = np.full(len(market.underlying_id), np.iinfo(np.int64).max)
    np.minimum.at(first, market.dividend_underlying, market.dividend_time)
    row = np.flatnonzero(instruments.is_option & (instruments.exercise == Exercise.AMERICAN))
    result[row] = first[instruments.underlying_idx[row]] < market.expiry_time[instruments.expiry_idx[row]]
    return result


def dividend_unit(instruments: Instruments, market: Market, inputs: PricingInputs, row: IntArray) -> FloatArray:
    """(R,) `Contracts.unit` of the rows of `with_dividends`.

    DataError naming contracts at a rate below 0, at which exercise may pay at other times than a dividend's, and
    those whose forward says that the dividends are worth less than a third or more than three times the schedule's.
    """
    names = instruments.instrument_id[row]
    rate = -np.log(inputs.discount[row]) / np.maximum(inputs.tau[row], 1e-300)
    remedy = "a rate below 0: with known dividends in cash contracts with early exercise need a rate of 0 or more"
    problems = row_problems("instruments", "rate", rate < -NO_RATE, rate, remedy, names)
    owner = instruments.underlying_idx[row]
    listed = np.zeros(len(row))
    for u in np.unique(owner):
        dates, amounts = schedule_of(market, int(u))
        mine = owner == u
        before = dates < inputs.tau[row][mine][:, None]
        listed[mine] = (before * amounts * np.exp(-rate[mine][:, None] * dates)).sum(1)
    implied = market.spot[owner] - inputs.forward[row] * inputs.discount[row]
    share = implied / listed
    apart = ~((share >= LEAST_SHARE) & (share <= LARGEST_SHARE))
    remedy = (
        "what spot, forward and discount factor say the dividends before expiry are worth, by what the schedule says: "
        f"must be {LEAST_SHARE:.2g} to {LARGEST_SHARE:g}; correct the forward, the discount factor or the dividends"
    )
    problems += row_problems("instruments", "dividends", apart, share, remedy, names)
    if problems:
        raise DataError(problems)
    return np.asarray(share / inputs.forward[row])


def value(contracts: Contracts, schedule: Schedule, backend: str = "numba") -> FloatArray:
    """(R,) values of one unit, quote currency; at tau = 0 intrinsic, without vol the best exercise known in advance.

    schedule   of the underlying, years from when tau counts
    UnsolvedError as from `pricing.dividends.american_with_dividends`.
    """
    forward, strike, tau, vol, discount, sign, unit = contracts
    scale = unit * forward
    result = np.maximum(sign * (forward - strike), 0.0)
    live = tau > 0.0
    rate = np.maximum(-np.log(discount) / np.where(live, tau, 1.0), 0.0)
    dates, amounts = schedule
    to_come = (dates < tau[:, None]) * scale[:, None] * amounts * np.exp(-rate[:, None] * dates)
    clean = forward * discount
    still = live & ~(vol * np.sqrt(tau) > NO_DEVIATION)
    if still.any():
        terms = (clean[still], strike[still], tau[still], sign[still], rate[still])
        result[still] = best_exercise(*terms, to_come[still], dates)
    row = np.flatnonzero(live & ~still)
    if len(row):
        some = Contracts(*(column[row] for column in contracts))
        try:
            result[row] = _solved(some, clean[row], schedule, to_come[row], backend)
        except UnsolvedError as error:
            found = [replace(problem, row=int(row[int(problem.row or 0)])) for problem in error.problems]
            raise UnsolvedError(found) from None
    return result


def base_greeks(contracts: Contracts, schedule: Schedule, backend: str = "numba") -> tuple[FloatArray, FloatArray]:
    """(R,) value, and the derivative by a forward with which spot and dividends move in proportion, by differences."""
    up, down = (
        value(contracts._replace(forward=contracts.forward * (1.0 + move)), schedule, backend) for move in (BUMP, -BUMP)
    )
    return value(contracts, schedule, backend), (up - down) / (2.0 * BUMP * contracts.forward)


def _solved(
    contracts: Contracts, clean: FloatArray, schedule: Schedule, to_come: FloatArray, backend: str
) -> FloatArray:
    """Values with vol and time, by the schedule's own amounts as unit."""
    scale = contracts.unit * contracts.forward
    _, strike, tau, vol, discount, sign, _ = contracts
    spot, rate = (clean + to_come.sum(1)) / scale, np.maximum(-np.log(discount) / tau, 0.0)
    found = american_with_dividends(spot, strike / scale, tau, vol, sign, rate, *schedule, backend=backend)
    return found["price"] * scale


def best_exercise(
    clean: FloatArray,
    strike: FloatArray,
    tau: FloatArray,
    sign: FloatArray,
    rate: FloatArray,
    to_come: FloatArray,
    dates: FloatArray,
) -> FloatArray:
    """(R,) without vol: of exercise now, at expiry, just before each dividend (calls), just after it (puts) the best.

    clean     spot less the dividends before expiry, which grows at the rate
    strike, tau, sign, rate   terms of the options, tau above 0 and rate 0 or more
    to_come   (R,M) what these are worth now, 0 for those that do not count; dates (M,) when they are paid
    """
    later = np.cumsum(to_come[:, ::-1], axis=1)[:, ::-1]
    after = np.concatenate([later[:, 1:], np.zeros_like(later[:, :1])], axis=1)
    still_there = np.where(sign[:, None] > 0.0, later, after)
    moments = np.where(dates < tau[:, None], dates, tau[:, None])
    times = np.concatenate([np.zeros_like(tau)[:, None], moments, tau[:, None]], axis=1)
    held = np.concatenate([to_come.sum(1)[:, None], still_there, np.zeros_like(tau)[:, None]], axis=1)
    paid = sign[:, None] * (clean[:, None] + held - strike[:, None] * np.exp(-rate[:, None] * times))
    return np.asarray(np.maximum(paid.max(1), 0.0))
