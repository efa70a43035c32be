"""revalue: every instrument under every scenario, once per market snapshot."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from dataclasses import fields, replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.cash_dividends import with_dividends
from pricing.collocation import scheme_of
from pricing.digest import hash_parts
from pricing.errors import ConfigError, NumericalError, Problem, UnsolvedError
from pricing.instruments import Instruments, Kind
from pricing.market import Market
from pricing.models import american
from pricing.price import check_threads, default_threads, library_of, load_backend
from pricing.resolve import PricingInputs, is_solved, model_columns, models_of, resolve
from pricing.surfaces import svi
from pricing.xp import coefficients
from scenarios import dividend_rows, dynamics
from scenarios.bind import ShockedInputs, bind
from scenarios.risk_arrays import DECIMAL_NOISE, DEFAULT_TICK, EXACT_LIMIT, FEWEST_TICKS, METHODS, RiskArrays
from scenarios.shocks import ScenarioSet
from scenarios.terms import terms_of

How = tuple[str, str, str, int]  # method, backend, accuracy of early exercise, threads
EXERCISE_SOURCES = (
    "pricing.exercise",
    "pricing.two_boundaries",
    "pricing.near_boundary",
    "pricing.near_two_boundaries",
    "pricing.certain_exercise",
    "pricing.collocation",
)
DIVIDEND_SOURCES = (
    "pricing.cash_dividends",
    "pricing.dividends",
    "pricing.dividend_induction",
    "pricing.dividend_puts",
    "scenarios.dividend_rows",
)


def revalue(
    instruments: Instruments,
    market: Market,
    scenario_set: ScenarioSet,
    *,
    backend: str = "numba",
    method: str = "full",
    tick: float | None = DEFAULT_TICK,
    threads: int | None = None,
    american_accuracy: str = "default",
) -> RiskArrays:
    """Risk arrays of all instruments.

    backend  "numpy", "numba" (the backend of record) or "jax"; they agree to one tick. jax computes on an accelerator
             where it sees one; "jax:4" shares the contracts out among four devices
    method   "full" revaluation, or "taylor" (numpy only) for screening
    tick     margin currency per tick that rows are rounded to, per quantity step; None for no rounding
    threads  None for one on small work and all cores on large; never changes a result
    american_accuracy   "fast", "default" or "accurate", see `pricing.american.american_price`: of contracts with early
             exercise; others do not depend on it

    Contracts with early exercise on shares that pay known dividends in cash before expiry: `pricing.cash_dividends`;
    method "full" only, and american_accuracy does not matter to them.

    Raises DataError for instruments the market cannot price, ConfigError for parameters, UnsolvedError naming every
    contract whose exercise boundary is not found and the scenario, NumericalError where a result is not finite or
    too large for its tick.
    """
    if method not in METHODS:
        raise ConfigError(f"method = {method!r}: must be one of {', '.join(METHODS)}")
    _check_numbers(tick, threads)
    tick = None if tick is None else float(tick)
    inputs = resolve(instruments, market)
    scheme_of(american.SCHEMES, american_accuracy)
    workers = default_threads(len(instruments) * len(scenario_set)) if threads is None else threads
    how = (method, backend, american_accuracy, workers)
    every = np.ones(len(instruments), dtype=np.bool_)
    columns, models = contract_columns(instruments, market, scenario_set, inputs, every, tick, how)
    return RiskArrays(
        instrument_id=instruments.instrument_id,
        kind=instruments.kind,
        underlying_idx=instruments.underlying_idx,
        expiry_idx=instruments.expiry_idx,
        cash_row=_cash_rows(instruments),
        quantity_step=instruments.quantity_step,
        underlying_id=market.underlying_id,
        expiry_name=np.array(market.expiry_name, dtype=np.str_),
        **columns._asdict(),
        terms=terms_of(instruments, market, inputs),
        tick=tick,
        scenario_set=scenario_set,
        valuation_time=market.valuation_time,
        currency=str(market.currency_id[0]),
        digest=arrays_digest(
            (instruments, market, scenario_set),
            (method, library_of(backend), tick),
            american_accuracy,
            list(models.values()),
        ),
        market_digest=market.digest,
        method=method,
    )


class ContractColumns(NamedTuple):
    """Columns of risk arrays that prices move: rows (N,S), value_rows, delta, notional (N,), as in `RiskArrays`."""

    rows: FloatArray
    value_rows: FloatArray
    delta: FloatArray
    notional: FloatArray


def contract_columns(
    instruments: Instruments,
    market: Market,
    scenario_set: ScenarioSet,
    inputs: PricingInputs,
    wanted: BoolArray,
    tick: float | None,
    how: How,
) -> tuple[ContractColumns, dict[str, ModuleType]]:
    """The columns of the contracts where `wanted` (N,) is true, and the pricing models of all contracts by name.

    inputs  what `resolve` made of instruments and market
    tick    as of `revalue`
    """
    names, models = models_of(instruments)
    some = inputs if wanted.all() else inputs.rows(wanted)
    ids, collateral = instruments.instrument_id[wanted], instruments.is_collateral[wanted]
    unit = np.where(collateral, 1.0, instruments.quantity_step[wanted])
    shocked = bind(scenario_set, market, some)
    parts = {model: names[wanted] == name for name, model in models.items()}
    paying = with_dividends(instruments, market)
    parts = {model: mask & ~paying[wanted] for model, mask in parts.items()}
    parts = {model: mask for model, mask in parts.items() if mask.any()}
    dividends = None
    if paying[wanted].any():
        if how[0] != "full":
            raise ConfigError(f"method = {how[0]!r}: contracts with known dividends in cash are revalued in full only")
        dividends = dividend_rows.rows_of((instruments, market), inputs, paying & wanted, scenario_set.time_step_years)
    pnl, value, delta = _by_model(parts, (some, shocked, market), (ids, scenario_set.label), how, dividends)
    held = np.where(some.settled > 0, 0.0, value)
    conversion = market.fx[some.currency_idx] / np.where(some.inverse > 0, some.forward, 1.0)
    notional = some.multiplier * some.forward * conversion
    _check_resolution(ids, instruments.quantity_step[wanted], collateral, notional * unit, tick)
    columns = ContractColumns(
        rows=to_ticks(pnl, unit[:, None], tick, ~collateral, ids),
        value_rows=to_ticks(held[:, None], unit[:, None], tick, ~collateral, ids)[:, 0],
        delta=delta,
        notional=notional,
    )
    return columns, models


def _check_numbers(tick: object, threads: object) -> None:
    number = isinstance(tick, (int, float, np.floating)) and not isinstance(tick, bool)
    if tick is not None and not (number and 0.0 < float(tick) <= 1.0):  # type: ignore[arg-type]
        raise ConfigError(f"tick = {tick!r}: must be a number above 0 and at most 1, or None")
    check_threads(threads)


def _check_resolution(
    names: StrArray, step: FloatArray, collateral: BoolArray, step_notional: FloatArray, tick: float | None
) -> None:
    """NumericalError where a tick is too coarse for the smallest trade of a contract: its margin would round away."""
    if tick is None:
        return
    coarse = ~collateral & (step_notional < FEWEST_TICKS * tick * (1.0 - DECIMAL_NOISE))
    if np.any(coarse):
        smallest = int(np.argmin(np.where(coarse, step_notional, np.inf)))
        fits = 10.0 ** np.floor(np.log10(step_notional[smallest] / FEWEST_TICKS) + DECIMAL_NOISE)
        raise NumericalError(
            f"tick = {tick:g} is too coarse for {names[smallest]}, whose smallest trade of "
            f"{step[smallest]:g} has a notional of {step_notional[smallest]:.3g}: "
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


def _by_model(
    parts: dict[ModuleType, BoolArray],
    joined: tuple[PricingInputs, ShockedInputs, Market],
    labels: tuple[StrArray, StrArray],
    how: How,
    dividends: dividend_rows.Rows | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """pnl (N,S), value and delta (N,), each row by its own model, those with known dividends by theirs; labels name
    contracts and scenarios."""
    inputs, shocked, market = joined
    pnl = np.empty(shocked.vol.shape)
    value, delta = np.empty(len(pnl)), np.empty(len(pnl))
    problems: list[Problem] = []
    every = np.ones(len(pnl), dtype=np.bool_)
    rest = every if not parts else ~np.any([*parts.values()], axis=0)
    pieces: list[tuple[ModuleType | None, BoolArray]] = [*parts.items(), *([(None, rest)] if dividends else [])]
    for model, mask in pieces:
        rows, moves = (inputs, shocked) if mask.all() else (inputs.rows(mask), shocked.rows(mask))
        try:
            if model is not None:
                pnl[mask] = _unit_pnl(model, rows, moves, how)
                value[mask], delta[mask] = _base(rows, market, _base_greeks(model, rows, how))
            elif dividends is not None:
                pnl[mask] = dividend_rows.unit_pnl(rows, moves, market, dividends, library_of(how[1]))
                value[mask], delta[mask] = _base(
                    rows, market, dividend_rows.base_greeks(rows, market, dividends, library_of(how[1]))
                )
        except UnsolvedError as error:
            problems += _named(error, labels[0][mask], labels[1])
    if problems:
        raise UnsolvedError(problems)
    return pnl, value, delta


def _named(error: UnsolvedError, names: StrArray, labels: StrArray) -> list[Problem]:
    """The problems of an error with contracts and scenarios by name, one a contract: at base if it stands there."""
    by_row: dict[int, list[Problem]] = {}
    for problem in sorted(error.problems, key=lambda p: -1 if p.scenario is None else int(p.scenario)):
        by_row.setdefault(int(problem.row or 0), []).append(problem)
    found = []
    for row, (first, *others) in sorted(by_row.items()):
        scenario = None if first.scenario is None else str(labels[int(first.scenario)])
        count = f"{len(others)} {'other ' if scenario else ''}scenario{'s' if len(others) > 1 else ''}"
        more = f"; and in {count}" if others else ""
        remedy = f"{first.remedy}{more}: leave the contract out, or correct its terms"
        found.append(replace(first, file="instruments", row=str(names[row]), scenario=scenario, remedy=remedy))
    return found


def _unit_pnl(model: ModuleType, inputs: PricingInputs, shocked: ShockedInputs, how: How) -> FloatArray:
    method, backend, accuracy, threads = how
    if method == "taylor":
        from scenarios import taylor

        return taylor.unit_pnl(model, inputs, shocked, accuracy)
    pnl: FloatArray = load_backend("scenarios", backend).unit_pnl(model, inputs, shocked, threads, accuracy)
    return pnl


def _base_greeks(model: ModuleType, inputs: PricingInputs, how: How) -> tuple[FloatArray, FloatArray]:
    """Value and delta of one unit by the reference formulas on every backend; only a model that needs a solver, which
    is slow in the reference, by the solver of the backend."""
    _, backend, accuracy, threads = how
    module = load_backend("pricing", library_of(backend) if is_solved(model) else "numpy")
    value, unit_delta, *_ = module.greeks(model, model_columns(model, inputs), threads, accuracy=accuracy)
    return value, unit_delta


def _base(
    inputs: PricingInputs, market: Market, unit_greeks: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Value and delta per contract in margin currency, from those of one unit in quoted currency.

    delta is the gain for a relative move of 1.00 of the underlying; the share of a forward that settlement has fixed
    does not move. An inverse value moves with the ratio fx / forward, which a move of both leaves alone, unless the
    coin is the margin currency and fx does not move; any other value held in a coin moves with the coin as well.
    """
    value, unit_delta = unit_greeks
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


def arrays_digest(
    tables: tuple[Any, ...], how: tuple[str, str, float | None], accuracy: str, models: list[ModuleType]
) -> str:
    """Hash of everything that goes in, and of the sources of every formula and kernel behind the numbers."""
    content = [getattr(table, f.name) for table in tables for f in fields(table)]
    solved = [accuracy] if any(is_solved(model) for model in models) else []
    paid = DIVIDEND_SOURCES if any(len(table.dividend) for table in tables if isinstance(table, Market)) else ()
    further = [importlib.import_module(name) for name in paid]
    sources = (_source(module) for module in [*models, *_sources_of(how[0], how[1], models), *further])
    return hash_parts([*content, *how, *solved, *sources])


def _sources_of(method: str, backend: str, models: list[ModuleType]) -> list[ModuleType]:
    # numpy stands behind base value and delta on every backend, and behind the Taylor expansion.
    libraries = [importlib.import_module(f"pricing.xp.{name}") for name in dict.fromkeys(("numpy", backend))]
    arithmetic = [source for library in libraries for source in getattr(library, "SOURCES", (library,))]
    kernels = [load_backend("scenarios", backend)]
    if method == "taylor":
        kernels = [load_backend("scenarios", "numpy"), importlib.import_module("scenarios.taylor")]
    shared = (resolve.__module__, svi.__name__, dynamics.__name__, bind.__module__, __name__)
    if any(is_solved(model) for model in models):
        solver = (*EXERCISE_SOURCES, f"pricing.backends.american_{backend}")
        kernels += [importlib.import_module(name) for name in solver]
    return [*(sys.modules[name] for name in shared), *arithmetic, coefficients, *kernels]


@functools.cache
def _source(module: ModuleType) -> str:
    return inspect.getsource(module)
