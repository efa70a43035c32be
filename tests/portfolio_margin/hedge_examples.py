"""The sample under several margin models, and what a hedge is checked against: brute force and delta hedging."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from portfolio_margin import Book, load_parameters, load_sample, margin
from portfolio_margin.hedge_terms import Costs, Limits, Target, contract_rows, trade_terms
from portfolio_margin.requirement import MarginModel
from portfolio_margin.sensitivities import with_orders
from pricing.instruments import Kind
from pricing.market import Market
from scenarios import RiskArrays, revalue
from scenarios.families import grid

MODELS = ("worst_case", "derive_pmrm", "derive_pmrm2", "deribit_spm", "deribit_xpm", "span")


@cache
def sample_under(name: str) -> tuple[Book, RiskArrays, Market, MarginModel]:
    """The sample's book, risk arrays, market and model, its rules looked up."""
    sample, module = _sample(), importlib.import_module(f"portfolio_margin.models.{name}")
    at = sample.market.valuation_time
    model = module.Model() if name in ("span", "worst_case") else module.Model(*load_parameters(name, at=at))
    moves = model.scenario_set(sample.market) or grid.scenarios(grid.Params(), sample.market)
    arrays = revalue(sample.instruments, sample.market, moves)
    fitted = model.for_arrays(arrays) if hasattr(model, "for_arrays") else model
    return sample.book, arrays, sample.market, fitted


@cache
def _sample() -> Any:
    return load_sample()


def tradable(arrays: RiskArrays, model: MarginModel, book: Book, account: str, every: int = 60) -> list[str]:
    """The account's own contracts, perpetuals, and every so manieth of the others."""
    rows = contract_rows(arrays, model, None)
    held = np.intersect1d(book.select(account).instrument_idx, rows)
    chosen = np.unique(np.concatenate([rows[::every], rows[arrays.kind[rows] == Kind.PERPETUAL], held]))
    return [str(name) for name in arrays.instrument_id[chosen]]


def measured(world: Any, account: str, orders: Sequence[tuple[str, float]], measure: str, cost: float) -> float:
    """A measure after orders by a statement made anew; funds less the cost."""
    book, arrays, market, model = world
    statement = margin(with_orders(book.select(account), arrays, orders), arrays, market, model)
    value = float(getattr(statement, measure)[0])
    return value - cost if measure in ("available_funds", "excess_liquidity") else value


def delta_hedge_cost(world: Any, account: str, target: Target, shares: Sequence[float]) -> float:
    """Cost of the smallest share of a hedge of the delta by perpetuals that meets the target; inf where none does."""
    book, arrays, _, _ = world
    own = book.select(account)
    perpetuals = np.flatnonzero(arrays.kind == Kind.PERPETUAL)
    terms = trade_terms(arrays, perpetuals, Costs(), Limits(), 1e12)
    delta = arrays.delta[own.instrument_idx] * own.quantity
    for share in sorted(shares):
        orders, cost = [], 0.0
        for k, row in enumerate(perpetuals):
            total = delta[arrays.underlying_idx[own.instrument_idx] == arrays.underlying_idx[row]].sum()
            lots = np.rint(-share * total / (arrays.delta[row] * arrays.quantity_step[row]))
            cost += abs(lots) * terms.buy_cost[k]
            orders.append((str(arrays.instrument_id[row]), float(lots * arrays.quantity_step[row])))
        if target.missed_by(measured(world, account, orders, target.measure, cost)) <= 0:
            return float(cost)
    return np.inf


def cheapest_by_enumeration(
    world: Any, account: str, target: Target, names: Sequence[str], most: int, costs: Costs
) -> float:
    """The least cost of all whole lots from -most to most that meet the target; inf where none do."""
    arrays = world[1]
    rows = np.array([arrays.index_of()[name] for name in names])
    terms = trade_terms(arrays, rows, costs, Limits(), 1e12)
    best = np.inf
    for lots in itertools.product(range(-most, most + 1), repeat=len(names)):
        cost = sum(n * terms.buy_cost[k] if n > 0 else -n * terms.sell_cost[k] for k, n in enumerate(lots))
        if cost >= best:
            continue
        quantities = np.round(np.array(lots) * arrays.quantity_step[rows], 12)
        orders = [(name, float(q)) for name, q in zip(names, quantities, strict=True) if q]
        if target.missed_by(measured(world, account, orders, target.measure, cost)) <= 0:
            best = float(cost)
    return best
