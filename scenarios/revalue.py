"""revalue: every instrument under every scenario, once per market snapshot."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from dataclasses import fields
from types import ModuleType
from typing import Any

import numpy as np

from pricing.arrays import FloatArray, IntArray
from pricing.digest import hash_parts
from pricing.errors import ConfigError, NumericalError
from pricing.instruments import Instruments, Kind
from pricing.market import Market
from pricing.price import check_threads, default_threads, load_backend
from pricing.resolve import PricingInputs, is_solved, model_columns, models_of, resolve
from pricing.surfaces import svi
from pricing.xp import coefficients
from scenarios import dynamics
from scenarios.bind import ShockedInputs, bind
from scenarios.risk_arrays import DECIMAL_NOISE, DEFAULT_TICK, EXACT_LIMIT, FEWEST_TICKS, METHODS, RiskArrays
from scenarios.shocks import ScenarioSet
from scenarios.terms import terms_of


def revalue(
    instruments: Instruments,
    market: Market,
    scenario_set: ScenarioSet,
    *,
    backend: str = "numba",
    method: str = "full",
    tick: float | None = DEFAULT_TICK,
    threads: int | None = None,
) -> RiskArrays:
    """Risk arrays of all instruments.

    backend  "numpy", "numba" (the backend of record) or "jax"; they agree to one tick
    method   "full" revaluation, or "taylor" (numpy only) for screening
    tick     margin currency per tick that rows are rounded to, per quantity step; None for no rounding
    threads  None for one on small work and all cores on large; never changes a result

    Raises DataError for instruments the market cannot price, ConfigError for parameters,
    NumericalError where a result is not finite or too large for its tick.
    """
    if method not in METHODS:
        raise ConfigError(f"method = {method!r}: must be one of {', '.join(METHODS)}")
    _check_numbers(tick, threads)
    tick = None if tick is None else float(tick)
    inputs = resolve(instruments, market)
    shocked = bind(scenario_set, market, inputs)
    names, models = models_of(instruments)
    workers = default_threads(len(instruments) * len(scenario_set)) if threads is None else threads
    pnl = np.empty((len(instruments), len(scenario_set)))
    value, delta = np.empty(len(instruments)), np.empty(len(instruments))
    for name, model in models.items():
        mask = names == name
        rows, moves = (inputs, shocked) if mask.all() else (inputs.rows(mask), shocked.rows(mask))
        pnl[mask] = _unit_pnl(method, backend, model, rows, moves, workers)
        value[mask], delta[mask] = _base(model, rows, market, backend, workers)
    settled = inputs.settled > 0
    conversion = market.fx[inputs.currency_idx] / np.where(inputs.inverse > 0, inputs.forward, 1.0)
    unit = np.where(instruments.is_collateral, 1.0, instruments.quantity_step)
    notional = inputs.multiplier * inputs.forward * conversion
    _check_resolution(instruments, notional * unit, tick)
    return RiskArrays(
        instrument_id=instruments.instrument_id,
        kind=instruments.kind,
        underlying_idx=instruments.underlying_idx,
        expiry_idx=instruments.expiry_idx,
        cash_row=_cash_rows(instruments),
        quantity_step=instruments.quantity_step,
        underlying_id=market.underlying_id,
        expiry_name=np.array(market.expiry_name, dtype=np.str_),
        rows=to_ticks(pnl, unit[:, None], tick, ~instruments.is_collateral, instruments.instrument_id),
        value_rows=to_ticks(
            np.where(settled, 0.0, value)[:, None],
            unit[:, None],
            tick,
            ~instruments.is_collateral,
            instruments.instrument_id,
        )[:, 0],
        delta=delta,
        notional=notional,
        terms=terms_of(instruments, market, inputs),
        tick=tick,
        scenario_set=scenario_set,
        valuation_time=market.valuation_time,
        currency=str(market.currency_id[0]),
        digest=_digest((instruments, market, scenario_set), (method, backend, tick), list(models.values())),
        market_digest=market.digest,
        method=method,
    )


def _check_numbers(tick: object, threads: object) -> None:
    number = isinstance(tick, (int, float, np.floating)) and not isinstance(tick, bool)
    if tick is not None and not (number and 0.0 < float(tick) <= 1.0):  # type: ignore[arg-type]
        raise ConfigError(f"tick = {tick!r}: must be a number above 0 and at most 1, or None")
    check_threads(threads)


def _check_resolution(instruments: Instruments, step_notional: FloatArray, tick: float | None) -> None:
    """NumericalError where a tick is too coarse for the smallest trade of a contract: its margin would round away."""
    if tick is None:
        return
    coarse = ~instruments.is_collateral & (step_notional < FEWEST_TICKS * tick * (1.0 - DECIMAL_NOISE))
    if np.any(coarse):
        smallest = int(np.argmin(np.where(coarse, step_notional, np.inf)))
        fits = 10.0 ** np.floor(np.log10(step_notional[smallest] / FEWEST_TICKS) + DECIMAL_NOISE)
        raise NumericalError(
            f"tick = {tick:g} is too coarse for {instruments.instrument_id[smallest]}, whose smallest trade of "
            f"{instruments.quantity_step[smallest]:g} has a notional of {step_notional[smallest]:.3g}: "
            f"revalue with tick={fits:.0e}, or give the contract a larger quantity_step"
        )


def to_ticks(
    amount: FloatArray, unit: FloatArray, tick: float | None, contract: np.ndarray, names: np.ndarray
) -> FloatArray:
    """Amounts per contract as ticks per unit; whole numbers where `contract` is true."""
    ticks = np.asarray(amount * (unit / (1.0 if tick is None else tick)))
    largest = max(ticks.max(initial=0.0), -ticks.min(initial=0.0))
    if not np.isfinite(largest):
        bad = names[~np.all(np.isfinite(ticks), axis=1)]
        raise NumericalError(f"the value is not finite for {', '.join(map(str, bad[:10]))}")
    if tick is None:
        return ticks
    if largest > EXACT_LIMIT:
        needed = tick * 2.0 ** np.ceil(np.log2(largest / EXACT_LIMIT) + 1)
        raise NumericalError(f"tick = {tick:g} is too fine for a double: {needed:.1e} would fit")
    np.rint(ticks, out=ticks, where=contract[:, None])
    # Adding 0 turns -0 into 0, so that equal arrays have equal bits.
    ticks += 0.0
    # Nobody else holds it: read-only from here on, it is not copied again.
    ticks.flags.writeable = False
    return ticks


def _unit_pnl(
    method: str, backend: str, model: ModuleType, inputs: PricingInputs, shocked: ShockedInputs, threads: int
) -> FloatArray:
    if method == "taylor":
        from scenarios import taylor

        return taylor.unit_pnl(model, inputs, shocked)
    pnl: FloatArray = load_backend("scenarios", backend).unit_pnl(model, inputs, shocked, threads)
    return pnl


def _base(
    model: ModuleType, inputs: PricingInputs, market: Market, backend: str, threads: int
) -> tuple[FloatArray, FloatArray]:
    """Value and delta per contract in margin currency, by the reference formulas on every backend; only a model that
    needs a solver, which is slow in the reference, by the solver of the backend.

    delta is the gain for a relative move of 1.00 of the underlying; the share of a forward that settlement has fixed
    does not move. An inverse value moves with the ratio fx / forward, which a move of both leaves alone, unless the
    coin is the margin currency and fx does not move; any other value held in a coin moves with the coin as well.
    """
    module = load_backend("pricing", backend if is_solved(model) else "numpy")
    value, unit_delta, *_ = module.greeks(model, model_columns(model, inputs), threads)
    conversion = inputs.multiplier * market.fx[inputs.currency_idx] / np.where(inputs.inverse > 0, inputs.forward, 1.0)
    moves = inputs.expiry_idx < len(market.forward)
    moved = market.currency_underlying[inputs.currency_idx] >= 0
    held = inputs.settled == 0
    free = 1.0 - np.append(market.fixed_share, 0.0)[inputs.expiry_idx]
    with_coin = np.where(moved, 1.0, 0.0) - np.where(inputs.inverse > 0, free, 0.0)
    direct = np.where(moves, unit_delta * inputs.forward * free, 0.0)
    delta = conversion * (direct + np.where(held, with_coin * value, 0.0))
    return conversion * value, delta


def _cash_rows(instruments: Instruments) -> IntArray:
    """(N,) row of the cash instrument of each settlement currency, -1 where the table has none."""
    cash = np.flatnonzero(instruments.kind == Kind.CASH)
    row_of_currency = np.full(instruments.currency_idx.max(initial=0) + 1, -1)
    row_of_currency[instruments.currency_idx[cash]] = cash
    return row_of_currency[instruments.currency_idx]


def _digest(tables: tuple[Any, ...], how: tuple[str, str, float | None], models: list[ModuleType]) -> str:
    """Hash of everything that goes in, and of the sources of every formula and kernel behind the numbers."""
    content = [getattr(table, f.name) for table in tables for f in fields(table)]
    return hash_parts(
        [*content, *how, *(_source(module) for module in [*models, *_sources_of(how[0], how[1], models)])]
    )


def _sources_of(method: str, backend: str, models: list[ModuleType]) -> list[ModuleType]:
    # numpy stands behind base value and delta on every backend, and behind the Taylor expansion.
    libraries = [importlib.import_module(f"pricing.xp.{name}") for name in dict.fromkeys(("numpy", backend))]
    arithmetic = [source for library in libraries for source in getattr(library, "SOURCES", (library,))]
    kernels = [load_backend("scenarios", backend)]
    if method == "taylor":
        kernels = [load_backend("scenarios", "numpy"), importlib.import_module("scenarios.taylor")]
    shared = (resolve.__module__, svi.__name__, dynamics.__name__, bind.__module__, __name__)
    if any(is_solved(model) for model in models):
        solver = ("pricing.exercise", "pricing.collocation", f"pricing.backends.american_{backend}")
        kernels += [importlib.import_module(name) for name in solver]
    return [*(sys.modules[name] for name in shared), *arithmetic, coefficients, *kernels]


@functools.cache
def _source(module: ModuleType) -> str:
    return inspect.getsource(module)
