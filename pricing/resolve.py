"""resolve: join contract terms with the market. What comes out holds numbers only."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import NamedTuple

import numpy as np

from pricing.arrays import MILLISECONDS_PER_YEAR, BoolArray, FloatArray, IntArray, StrArray, row_problems
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from pricing.surfaces import svi


class PricingInputs(NamedTuple):
    """Contract terms joined with the market, each (N,); no name, date or calendar left.

    forward     quote currency per unit; 1 for cash
    strike      quote currency; 1 where there is none
    tau         years ACT/365 to expiry, never below 0; 0 for undated contracts
    vol         per sqrt(year); 0 where there is none
    discount    settlement-currency discount factor
    sign        +1 call, -1 put, +1 everything else
    multiplier  units of forward per contract; for inverse futures coins at the mark per contract
    expiry_idx  -> X; X itself (one past the last row) for cash that no underlying moves
    currency_idx -> C
    carry       cost of carry per year of what early exercise delivers, ln(forward/spot)/tau; 0 on futures, and where
                there is no early exercise
    inverse, settled   1.0 or 0.0: paid in coin; worth 0 because gains are paid as variation margin
    """

    forward: FloatArray
    strike: FloatArray
    tau: FloatArray
    vol: FloatArray
    discount: FloatArray
    sign: FloatArray
    multiplier: FloatArray
    expiry_idx: IntArray
    currency_idx: IntArray
    inverse: FloatArray
    settled: FloatArray
    carry: FloatArray

    def rows(self, mask: BoolArray) -> PricingInputs:
        """The rows where `mask` is true."""
        return PricingInputs._make(np.ascontiguousarray(column[mask]) for column in self)


def load_model(name: str, others: Iterable[str] = ()) -> ModuleType:
    """The pricing model of that name. ConfigError where there is none, offering what there is and the `others`."""
    if (
        not isinstance(name, str)
        or not name.isidentifier()
        or importlib.util.find_spec(f"pricing.models.{name}") is None
    ):
        raise ConfigError(f"model = {name!r}: {offered(name, 'pricing.models', others)}")
    return importlib.import_module(f"pricing.models.{name}")


def offered(name: object, package: str, others: Iterable[str]) -> str:
    """What there is to choose from in a package and besides, the nearest name first."""
    files = (module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))
    known = sorted({*files, *others})
    near = difflib.get_close_matches(str(name), known, 1)
    return (f"did you mean {near[0]}? " if near else "") + f"must be one of {', '.join(known)}"


def models_of(instruments: Instruments) -> tuple[StrArray, dict[str, ModuleType]]:
    """(N,) name of the pricing model of each contract, and the models by name.

    DataError naming every contract that no pricing model of this version prices.
    """
    names = model_names(instruments)
    found = {str(name): importlib.util.find_spec(f"pricing.models.{name}") for name in np.unique(names)}
    missing = np.isin(names, [name for name, spec in found.items() if spec is None])
    if missing.any():
        remedy = "no pricing model of this name: leave the contract out"
        raise DataError(row_problems("instruments", "pricing model", missing, names, remedy, instruments.instrument_id))
    return names, {name: load_model(name) for name in found}


def model_names(instruments: Instruments) -> StrArray:
    """(N,) name of the pricing model of each contract, which is the name of its file."""
    option = instruments.is_option
    american = option & (instruments.exercise != Exercise.EUROPEAN)
    return np.where(american, "american", np.where(option, "black76", "linear")).astype(np.str_)


def is_solved(model: ModuleType) -> bool:
    """Whether the model's value is the solution of an equation, for which each backend has a solver of its own."""
    return hasattr(model, "SCHEMES")


def model_columns(model: ModuleType, inputs: PricingInputs) -> tuple[FloatArray, ...]:
    """forward, strike, tau, vol, discount, sign of each contract, and its carry where the model takes it."""
    columns = (inputs.forward, inputs.strike, inputs.tau, inputs.vol, inputs.discount, inputs.sign)
    return (*columns, inputs.carry) if getattr(model, "CARRY", False) else columns


def years_to_expiry(market: Market) -> FloatArray:
    """(X,) ACT/365 years to each expiry row; 0 for undated rows, negative once expired."""
    undated = market.expiry_time == UNDATED
    left = np.where(undated, market.valuation_time, market.expiry_time) - market.valuation_time
    return left / MILLISECONDS_PER_YEAR


def slice_vol(strike: FloatArray, forward: FloatArray, tau: FloatArray, parameters: FloatArray) -> FloatArray:
    """Vol read from raw SVI slices, parameters (..., 5); NaN where total variance or tau is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        w = svi.total_variance(np, np.log(strike / forward), *np.moveaxis(parameters, -1, 0))
        return np.where((w > 0) & (tau > 0), np.sqrt(np.maximum(w, 0.0) / tau), np.nan)


def resolve(instruments: Instruments, market: Market) -> PricingInputs:
    """Look up everything a price depends on.

    The venue's own mark vol takes precedence over the slice. Raises DataError naming every contract
    that points outside the market, has expired, or has neither a mark vol nor a slice.
    """
    _check_references(instruments, market)
    dated_row = instruments.expiry_idx >= 0
    row = np.where(dated_row, instruments.expiry_idx, 0)
    option = instruments.is_option
    years = years_to_expiry(market)[row] if len(market.forward) else np.zeros(len(instruments))
    cash = instruments.kind == Kind.CASH
    priced_off_row = dated_row & ~cash
    forward = np.where(priced_off_row, market.forward[row] if len(market.forward) else 1.0, 1.0)
    expired = priced_off_row & (years < 0)
    problems = _expired_problems(instruments, market, row, expired)
    strike = np.where(option, instruments.strike, 1.0)
    vol = _vols(instruments, market, row, strike, forward, years)
    lifeless = option & ~expired & (years > 0) & (vol == 0) & (market.limits.min_vol > 0)
    remedy = "a live option has a vol above 0; leave it blank to use the slice"
    problems += row_problems("instruments", "vol", lifeless, vol, remedy, instruments.instrument_id)
    remedy = "no mark vol and no usable SVI slice for its expiry"
    problems += row_problems(
        "instruments", "vol", option & ~expired & ~np.isfinite(vol), vol, remedy, instruments.instrument_id
    )
    inverse = instruments.payoff == Payoff.INVERSE
    remedy = "early exercise into coins is another problem than the one solved here: must be linear or European"
    problems += row_problems(
        "instruments",
        "exercise",
        option & inverse & (instruments.exercise != Exercise.EUROPEAN),
        instruments.exercise,
        remedy,
        instruments.instrument_id,
    )
    if problems:
        raise DataError(problems)
    settled = instruments.is_settled
    multiplier = np.where(inverse & settled, instruments.multiplier / forward, instruments.multiplier)
    return PricingInputs(
        forward=forward,
        strike=strike,
        tau=np.where(option, np.maximum(years, 0.0), 0.0),
        vol=np.where(option, vol, 0.0),
        discount=np.where(option, market.discount[row] if len(market.forward) else 1.0, 1.0),
        sign=instruments.sign.copy(),
        multiplier=multiplier,
        expiry_idx=np.where(priced_off_row, row, len(market.forward)),
        currency_idx=instruments.currency_idx.copy(),
        inverse=inverse.astype(np.float64),
        settled=settled.astype(np.float64),
        carry=_carry(instruments, market, forward, years),
    )


def _carry(instruments: Instruments, market: Market, forward: FloatArray, years: FloatArray) -> FloatArray:
    """Per year, of options exercised into the underlying; a dividend yield lowers it, borrowing cost raises it."""
    delivers_spot = instruments.is_option & (instruments.exercise == Exercise.AMERICAN) & (years > 0)
    carry = np.zeros(len(instruments))
    row = np.flatnonzero(delivers_spot)
    carry[row] = np.log(forward[row] / market.spot[instruments.underlying_idx[row]]) / years[row]
    return carry


def _vols(
    instruments: Instruments, market: Market, row: IntArray, strike: FloatArray, forward: FloatArray, years: FloatArray
) -> FloatArray:
    """Mark vol, or the slice's where there is none; at expiry vol does not matter and is 0."""
    from_slice = (
        slice_vol(strike, forward, years, market.svi[row]) if len(market.forward) else np.full(len(row), np.nan)
    )
    vol = np.where(np.isnan(market.mark_vol), from_slice, market.mark_vol)
    return np.where(~instruments.is_option | (years == 0), 0.0, vol)


def _check_references(instruments: Instruments, market: Market) -> None:
    if market.mark_vol.shape != (len(instruments),):
        remedy = f"needs one vol per contract, {len(instruments)} in all (NaN = use the slice)"
        raise DataError([Problem("market", None, "mark_vol", market.mark_vol.shape, remedy)])
    problems: list[Problem] = []
    for field, length in (
        ("underlying_idx", len(market.underlying_id)),
        ("expiry_idx", len(market.forward)),
        ("currency_idx", len(market.currency_id)),
    ):
        values = getattr(instruments, field)
        problems += row_problems(
            "instruments", field, values >= length, values, f"the market has only {length}", instruments.instrument_id
        )
    if problems:
        raise DataError(problems)
    if len(market.forward):
        row = np.maximum(instruments.expiry_idx, 0)
        wrong = (instruments.expiry_idx >= 0) & (market.expiry_underlying[row] != instruments.underlying_idx)
        remedy = "its expiry row belongs to another underlying"
        problems += row_problems(
            "instruments", "expiry_idx", wrong, instruments.expiry_idx, remedy, instruments.instrument_id
        )
        dated = (instruments.kind == Kind.OPTION) | (instruments.kind == Kind.FUTURE)
        undated = dated & (market.expiry_time[row] == UNDATED)
        remedy = "an option or future needs a dated expiry row"
        problems += row_problems(
            "instruments", "expiry_idx", undated, instruments.expiry_idx, remedy, instruments.instrument_id
        )
    problems += _currency_problems(instruments, market)
    if problems:
        raise DataError(problems)


def _currency_problems(instruments: Instruments, market: Market) -> list[Problem]:
    """A coin stands in the netting set of what moves it, and an inverse contract pays in its own coin.

    Where that coin is the margin currency itself nothing moves it, and its name tells.
    """
    mover = market.currency_underlying[instruments.currency_idx]
    cash, inverse = instruments.kind == Kind.CASH, instruments.payoff == Payoff.INVERSE
    names = instruments.instrument_id
    apart = cash & (instruments.underlying_idx != mover)
    remedy = "cash belongs to the underlying that moves its currency, -1 where none does"
    problems = row_problems("instruments", "underlying_idx", apart, instruments.underlying_idx, remedy, names)
    misnamed = cash & (names != market.currency_id[instruments.currency_idx])
    remedy = "a cash row has the name of its currency"
    problems += row_problems("instruments", "instrument_id", misnamed, names, remedy, names)
    homeless = cash & ~apart & (mover >= 0) & (instruments.expiry_idx < 0)
    remedy = "a coin needs the undated expiry row of its underlying"
    problems += row_problems("instruments", "expiry_idx", homeless, instruments.expiry_idx, remedy, names)
    foreign = inverse & ~cash & (instruments.underlying_idx != mover) & ~in_margin_coin(instruments, market)
    remedy = "an inverse contract pays in the coin of its own underlying"
    problems += row_problems("instruments", "currency_idx", foreign, instruments.currency_idx, remedy, names)
    return problems


def in_margin_coin(instruments: Instruments, market: Market) -> BoolArray:
    """(N,) True for contracts on the coin that is the margin currency, paid in it."""
    if not len(market.underlying_id):
        return np.zeros(len(instruments), dtype=np.bool_)
    named = market.underlying_id[np.maximum(instruments.underlying_idx, 0)] == market.currency_id[0]
    return (instruments.underlying_idx >= 0) & (instruments.currency_idx == 0) & named


def _expired_problems(instruments: Instruments, market: Market, row: IntArray, expired: BoolArray) -> list[Problem]:
    if not np.any(expired):
        return []
    text = market.expiry_time[row].astype("datetime64[ms]").astype(np.str_)
    now = np.datetime64(market.valuation_time, "ms")
    remedy = f"expired before the valuation time {now}; remove it"
    return row_problems("instruments", "expiry_time", expired, text, remedy, instruments.instrument_id)
