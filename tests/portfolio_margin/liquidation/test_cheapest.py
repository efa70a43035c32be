"""The cheapest plan: never worse than a simple one, as good as trying everything where that can be done."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portfolio_margin import margin
from portfolio_margin.io.parameter_sets import load_parameters
from portfolio_margin.liquidation.cheapest_trades import cheapest_trades
from portfolio_margin.liquidation.plan import Action, Costs, Outcome, Trade
from portfolio_margin.liquidation.policies import cheapest
from portfolio_margin.liquidation.trials import open_case, try_trades
from pricing import ConfigError
from scenarios import revalue
from tests.portfolio_margin.books import ARRAYS, INSTRUMENTS, MARKET, ROW, Held, book_of, contracts_held, in_steps
from tests.portfolio_margin.liquidation.test_policies import COSTS, DEAR, FREE, MODEL, STRANGLE, short_by

SIMPLE = ("largest_contributor", "delta_hedge_first", "proportional")
BUFFER = 0.15


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contracts_held, st.integers(5, 100), st.sampled_from([FREE, COSTS, DEAR]))
def test_never_worse_than_a_simple_policy(steps: dict[str, int], percent: int, costs: Costs) -> None:
    book = book_of({"x": short_by(in_steps(steps), percent / 100)})
    best = cheapest.plan(book, ARRAYS, MODEL, costs, cheapest.Params(buffer=BUFFER), backend="numpy")
    for name in SIMPLE:
        module = import_module(f"portfolio_margin.liquidation.policies.{name}")
        other = module.plan(book, ARRAYS, MODEL, costs, module.Params(buffer=BUFFER), backend="numpy")
        if other.outcome is Outcome.RESTORED:
            assert best.outcome is Outcome.RESTORED
            assert best.cost + best.penalty <= other.cost + other.penalty + 1e-9
        assert cheapest.rank(best, BUFFER) <= cheapest.rank(other, BUFFER)


def test_cheaper_where_the_simple_ones_are_dear() -> None:
    """A short strangle: some of the wing, some of the delta."""
    book = book_of({"x": short_by(STRANGLE, 0.8)})
    best = cheapest.plan(book, ARRAYS, MODEL, COSTS, backend="numpy")
    others = []
    for name in SIMPLE:
        module = import_module(f"portfolio_margin.liquidation.policies.{name}")
        others.append(module.plan(book, ARRAYS, MODEL, COSTS, module.Params(buffer=BUFFER), backend="numpy"))
    assert best.outcome is Outcome.RESTORED
    assert best.cost + best.penalty < min(other.cost + other.penalty for other in others)


@pytest.mark.parametrize("percent", [85, 92, 97])
def test_as_cheap_as_any_of_all_trades(percent: int) -> None:
    """Two contracts in a few lots: every combination of closings and hedges is tried."""
    held: Held = {"BTC-60D-81600-C": -1.2, "BTC-60D-54400-P": -0.8}
    book = book_of({"x": short_by(held, percent / 100)})
    # Nothing else has a market, so that all there is can be tried.
    tradable = np.isin(ARRAYS.instrument_id, list(held))
    costs = Costs.of(ARRAYS, 0.0005 * ARRAYS.notional, 0.001 * ARRAYS.notional, tradable=tradable)
    case = open_case(book, ARRAYS, MODEL, costs, BUFFER, "numpy")
    rows = [ROW[name] for name in held]
    trials = []
    for calls, puts in product(range(13), range(9)):
        sizes = [(rows[0], 0.1 * calls), (rows[1], 0.1 * puts)]
        trials.append([Trade(row, size, Action.CLOSE) for row, size in sizes if size])
    done = try_trades(case, trials)
    enough = [t.step.cost + t.step.penalty for t in done if t.step.after.shortfall(BUFFER) <= 0]
    found = cheapest_trades(case)
    assert enough and found is not None
    assert found.step.after.shortfall(BUFFER) <= 0
    # To within a cent for each figure that is rounded up.
    assert found.step.cost + found.step.penalty <= min(enough) + 0.021


def test_a_hedge_pays_no_penalty() -> None:
    """Penalties so high that only hedges are affordable: futures are traded and nothing is closed."""
    book = book_of({"x": short_by({"BTC-60D-81600-C": -3.0}, 0.85)})
    costs = Costs.of(ARRAYS, 0.0005 * ARRAYS.notional, 0.05 * ARRAYS.notional)
    best = cheapest.plan(book, ARRAYS, MODEL, costs, backend="numpy")
    actions = {trade.action for step in best.steps for trade in step.trades}
    assert best.outcome is Outcome.RESTORED and actions == {Action.HEDGE} and best.penalty == 0.0


def test_nothing_to_trade() -> None:
    """Without a market there is no plan; who is safe or bankrupt is left alone."""
    book = book_of({"x": short_by(STRANGLE, 0.8)})
    shut = replace(COSTS, tradable=np.zeros(len(ARRAYS), dtype=np.bool_))
    assert cheapest_trades(open_case(book, ARRAYS, MODEL, shut, BUFFER, "numpy")) is None
    assert cheapest.plan(book, ARRAYS, MODEL, shut, backend="numpy").outcome is Outcome.EXHAUSTED
    for share, outcome in ((1.01, Outcome.SAFE), (-0.5, Outcome.BANKRUPT)):
        given_book = book_of({"x": short_by(STRANGLE, share)})
        assert cheapest.plan(given_book, ARRAYS, MODEL, COSTS, backend="numpy").outcome is outcome


@pytest.mark.parametrize("name", ["deribit_spm", "derive_pmrm2"])
def test_another_model(name: str) -> None:
    """Models with charges beside the scan, under scenarios of their own."""
    module = import_module(f"portfolio_margin.models.{name}")
    model = module.Model(*load_parameters(name, at=MARKET.valuation_time))
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET), backend="numpy")
    costs = Costs.of(arrays, 0.0005 * arrays.notional, 0.001 * arrays.notional)
    held: Held = {**STRANGLE, "USD": 0.0}
    statement = margin(book_of({"x": held}), arrays, MARKET, model, backend="numpy")
    held["USD"] = round(0.85 * float(statement.maintenance_margin[0]) - float(statement.margin_balance[0]), 2)
    plans = {}
    for policy in (*SIMPLE, "cheapest"):
        module = import_module(f"portfolio_margin.liquidation.policies.{policy}")
        given_book = book_of({"x": held})
        plans[policy] = module.plan(given_book, arrays, model, costs, module.Params(buffer=BUFFER), backend="numpy")
    best = cheapest.rank(plans["cheapest"], BUFFER)
    assert plans["cheapest"].outcome is Outcome.RESTORED
    assert all(best <= cheapest.rank(plans[policy], BUFFER) for policy in SIMPLE)


def test_slices_are_whole() -> None:
    with pytest.raises(ConfigError, match=r"slices = 2.5: must be a whole number"):
        cheapest.Params(slices=2.5)  # type: ignore[arg-type]
