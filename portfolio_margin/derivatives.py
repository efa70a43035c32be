"""How the requirement of an account changes with quantities, prices, vol surfaces and time.

By quantity the derivative is that of the active scenario, one-sided: a kink, where another scenario takes over, shows
as two different numbers. By market,

    dR/dx = -sum_i q_i d(unit P&L_i, s*)/dx      s* the active scenario

is what the loss of the active scenario changes by, with the derivative of the unit P&L by jax (`scenario_derivatives`);
`market_derivatives` is the change of the whole requirement, of any model, by central differences of it computed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.collateral import equity
from portfolio_margin.requirement import MarginModel, covered
from portfolio_margin.sensitivities import is_finite
from portfolio_margin.trial_margins import prepare_trials, steps_of, trial_margins
from pricing.arrays import MILLISECONDS_PER_YEAR, FloatArray, IntArray, StrArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Instruments, Kind
from pricing.market import Market
from pricing.resolve import slice_vol, years_to_expiry
from scenarios.revalue import revalue
from scenarios.risk_arrays import RiskArrays
from scenarios.shocks import ScenarioSet
from scenarios.tangents import unit_pnl_tangent

SVI_PARAMETERS = ("a", "b", "rho", "m", "sigma")
# Relative; of the parameter; a minute in years.
PRICE_STEP, SVI_STEP, TIME_STEP = 1e-5, 1e-6, 60_000.0 / MILLISECONDS_PER_YEAR


class QuantityDerivatives(NamedTuple):
    """(n,2) each, initial and maintenance margin, margin currency per contract; trades at the mark, premiums paid.

    bought   as the first little of a contract is bought
    sold     of the same sign, as the first little is sold: equal to `bought` but at a kink
    """

    bought: FloatArray
    sold: FloatArray


def quantity_derivatives(
    book: Book, arrays: RiskArrays, model: MarginModel, account: str, rows: IntArray, *, backend: str = "numba"
) -> QuantityDerivatives:
    """Derivatives of the requirement of one account by the quantity of contracts, held or not.

    rows  (n,) -> N contracts, each once

    DataError where a row is none of the arrays, an asset, or given twice.
    """
    given = np.asarray(rows)
    if given.shape == (0,):
        return QuantityDerivatives(np.zeros((0, 2)), np.zeros((0, 2)))
    if given.ndim != 1:
        raise DataError([Problem("quantity_derivatives", None, "rows", rows, "must be one row of numbers")])
    whole = given.dtype.kind in "iu"
    unknown = ~np.isin(given, np.flatnonzero(~arrays.is_collateral)) if whole else np.ones(len(given), np.bool_)
    if not np.any(unknown):
        unknown = ~np.isin(np.arange(len(given)), np.unique(given, return_index=True)[1])
    if np.any(unknown):
        place = int(np.argmax(unknown))
        remedy = (
            f"must be rows of the risk arrays, 0 to {len(arrays) - 1}, of contracts and each once; index_of() has them"
        )
        raise DataError([Problem("quantity_derivatives", place + 1, "rows", given.tolist()[place], remedy)])
    trials = prepare_trials(book.select(account), arrays, model, given)
    step = steps_of(trials)
    still = np.zeros((1, len(given)))
    found = trial_margins(trials, np.vstack([still, np.diag(step), -np.diag(step)]), backend=backend)
    both = np.column_stack([found.initial, found.maintenance])
    contracts = (step * trials.step)[:, None]
    count = len(given)
    return QuantityDerivatives((both[1 : count + 1] - both[0]) / contracts, (both[0] - both[count + 1 :]) / contracts)


@dataclass(frozen=True)
class MarketDerivatives:
    """How amounts of one account move with the market, K of them.

    price   (U,K) for a relative move of 1.00 of spot, forwards and coin of an underlying
    svi     (X,5,K) by raw SVI parameter of each expiry, mark vols moving as the slice moves; NaN where the account
            holds no option of it, or it has no slice
    time    (K,) per year that passes, forwards and vols as they are
    underlying, expiry   names behind the rows
    """

    price: FloatArray
    svi: FloatArray
    time: FloatArray
    underlying: StrArray
    expiry: StrArray


Mover = Callable[[float], Market]


def market_derivatives(
    book: Book, instruments: Instruments, market: Market, model: MarginModel, scenario_set: ScenarioSet, account: str
) -> MarketDerivatives:
    """Initial margin, maintenance margin and equity of one account (K = 3), by central differences computed anew.

    scenario_set  of the arrays; a model with scenarios of its own takes those of each market
    """
    own, table, kept = _held(book.select(account), instruments)

    def levels(moved: Market) -> FloatArray:
        moves = model.scenario_set(moved)
        arrays = revalue(table, moved, scenario_set if moves is None else moves, tick=None, backend="numpy")
        seen, _ = covered(model, own, arrays)
        required = model.requirement(seen, arrays, backend="numpy", threads=1)
        counted = model.traits.options_counted
        held = equity(own, arrays, model.haircut(arrays), options_counted=counted, backend="numpy", threads=1)
        return np.array([required.initial[0], required.maintenance[0], held.equity[0]])

    def slope(move: Mover, step: float) -> FloatArray:
        return np.asarray((levels(move(step)) - levels(move(-step))) / (2.0 * step))

    return _by_market(replace(market, mark_vol=market.mark_vol[kept]), table, slope, 3)


def scenario_derivatives(
    book: Book, instruments: Instruments, market: Market, scenario_set: ScenarioSet, account: str
) -> MarketDerivatives:
    """P&L of one account in every scenario (K = S), by jax; minus the column of the active one is that of its loss."""
    own, table, kept = _held(book.select(account), instruments)
    small = replace(market, mark_vol=market.mark_vol[kept])

    def slope(move: Mover, step: float) -> FloatArray:
        by_contract = unit_pnl_tangent(table, (move(-step), small, move(step)), step, scenario_set)
        return np.asarray(own.quantity @ by_contract[own.instrument_idx])

    return _by_market(small, table, slope, len(scenario_set))


def _by_market(
    market: Market, table: Instruments, slope: Callable[[Mover, float], FloatArray], count: int
) -> MarketDerivatives:
    """Every derivative, by a function that takes a mover of the market and a step."""
    price = [slope(partial(with_price, market, u), PRICE_STEP) for u in range(len(market.spot))]
    svi = np.full((len(market.forward), len(SVI_PARAMETERS), count), np.nan)
    for x in np.unique(table.expiry_idx[table.is_option]):
        if np.all(np.isfinite(market.svi[x])):
            for k in range(len(SVI_PARAMETERS)):
                svi[x, k] = slope(partial(with_slice, market, table, (int(x), k)), SVI_STEP)
    time = slope(partial(with_time, market), TIME_STEP)
    names = np.array(market.expiry_name, dtype=np.str_)
    return MarketDerivatives(np.array(price), svi, time, market.underlying_id, names)


def with_price(market: Market, underlying: str | int, move: float) -> Market:
    """The market after a relative move of an underlying, its name or row, with its forwards and its coin.

    DataError for an underlying that is none, ConfigError for a move that is no finite number above -1.
    """
    names = market.underlying_id.tolist()
    row = names.index(underlying) if underlying in names else underlying
    if not isinstance(row, (int, np.integer)) or isinstance(row, bool) or not 0 <= row < len(names):
        remedy = f"must be one of {', '.join(names)}, or a row from 0 to {len(names) - 1}"
        raise DataError([Problem("market", None, "underlying", underlying, remedy)])
    if not is_finite(move) or not move > -1.0:
        raise ConfigError(f"move = {move!r}: must be a finite number above -1, 0.01 for a rise of 1 %")
    spot, forward, fx = market.spot.copy(), market.forward.copy(), market.fx.copy()
    spot[row] *= 1.0 + move
    forward[market.expiry_underlying == row] *= 1.0 + move
    fx[market.currency_underlying == row] *= 1.0 + move
    return replace(market, spot=spot, forward=forward, fx=fx)


def with_slice(market: Market, table: Instruments, place: tuple[int, int], change: float) -> Market:
    """The market with one raw SVI parameter changed, place being expiry and parameter, and mark vols moved with it."""
    svi = market.svi.copy()
    svi[place] += change
    here = table.is_option & (table.expiry_idx == place[0]) & np.isfinite(market.mark_vol)
    tau, strike = years_to_expiry(market)[place[0]], table.strike[here]
    vols = [slice_vol(strike, market.forward[place[0]], tau, parameters[place[0]]) for parameters in (market.svi, svi)]
    mark_vol = market.mark_vol.copy()
    mark_vol[here] += vols[1] - vols[0]
    return replace(market, svi=svi, mark_vol=mark_vol)


def with_time(market: Market, years: float) -> Market:
    """The market later by so many years, to the millisecond, with forwards and vols as they are.

    So total variance shrinks with the time that is left: of a raw slice, w = a + b (...), that is a and b (Gatheral and
    Jacquier 2014, eq. 3.1). What has expired before stays as it is. ConfigError for years that are no finite number.
    """
    if not is_finite(years):
        raise ConfigError(f"years = {years!r}: must be a finite number, before 0 for the past")
    passed = round(years * MILLISECONDS_PER_YEAR)
    before = years_to_expiry(market)
    left = np.maximum(before - passed / MILLISECONDS_PER_YEAR, 0.0)
    svi = market.svi.copy()
    svi[:, :2] *= np.divide(left, before, out=np.ones_like(before), where=before > 0.0)[:, None]
    return replace(market, valuation_time=market.valuation_time + passed, svi=svi)


def _held(own: Book, instruments: Instruments) -> tuple[Book, Instruments, IntArray]:
    """The book of one account on a table of what it holds and the cash, that table, and its rows -> N."""
    kept = np.unique(np.concatenate([own.instrument_idx, np.flatnonzero(instruments.kind == Kind.CASH)]))
    columns = {f.name: getattr(instruments, f.name)[kept] for f in fields(instruments)}
    return replace(own, instrument_idx=np.searchsorted(kept, own.instrument_idx)), Instruments(**columns), kept
