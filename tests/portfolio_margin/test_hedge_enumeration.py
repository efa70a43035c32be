"""Few whole lots are all looked at: the cheapest of them, under every model, where programs once did not find it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from portfolio_margin import Costs, Limits, Target, hedge, hedge_enumeration
from portfolio_margin.hedge_enumeration import MOST_LISTED
from portfolio_margin.hedge_terms import trade_terms
from tests.portfolio_margin.hedge_examples import measured, sample_under

PUTS = ("BTC-27FEB26-58000-P", "BTC-27MAR26-80000-P")


@pytest.mark.parametrize("most", [0, MOST_LISTED])
def test_trades_that_miss_by_rounding_are_left_behind(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One lot and two miss the target by half a cent: the program came back with them fifteen times."""
    monkeypatch.setattr(hedge_enumeration, "MOST_LISTED", most)
    limits = Limits(size={PUTS[0]: (0.5, 0.4), PUTS[1]: (0.8, 0.3)})
    spreads = {"option_half_spread": 0.3, "option_least_half_spread": 0.0, "future_half_spread": 0.0001}
    costs = Costs(option_fee=0.01, **spreads)
    target = Target("available_funds", 34_443.73)
    found = hedge(
        *sample_under("worst_case"), "synthetic-future-01", target, instruments=PUTS, costs=costs, limits=limits
    )
    assert found.cost == pytest.approx(868.8746, abs=1e-3)
    assert found.orders == ((PUTS[0], 0.2), (PUTS[1], 0.2))


@pytest.mark.parametrize(
    ("name", "account", "names"),
    [
        ("deribit_spm", "future-roll-01", ("ETH-20MAR26-2150-C",)),
        ("derive_pmrm2", "perpetual-long-liquidated", ("ETH-24APR26-1700-C", "ETH-PERPETUAL")),
        ("span", "short-strangle-03", ("BTC-27MAR26-20000-C", "BTC-26JUN26-105000-C")),
    ],
)
@pytest.mark.parametrize("measure", ["initial_margin", "available_funds"])
def test_the_cheapest_of_all(name: str, account: str, names: tuple[str, ...], measure: str) -> None:
    """By a statement of each, at targets that each of some trades just meets."""
    world = sample_under(name)
    rows, most = np.array([world[1].index_of()[n] for n in names]), 4 if len(names) == 1 else 2
    step, costs = world[1].quantity_step[rows], Costs()
    terms = trade_terms(world[1], rows, costs, Limits(), 1e12)
    every = {}
    for lots in itertools.product(range(-most, most + 1), repeat=len(names)):
        cost = sum(n * terms.buy_cost[k] if n > 0 else -n * terms.sell_cost[k] for k, n in enumerate(lots))
        orders = [(n, float(q)) for n, q in zip(names, np.round(np.array(lots) * step, 12), strict=True) if q]
        every[lots] = (cost, measured(world, account, orders, measure, cost))
    limits = Limits(size={n: float(most * s) for n, s in zip(names, step, strict=True)})
    for _, amount in list(every.values())[::3]:
        target = Target(measure, max(amount, 0.0) if measure == "initial_margin" else amount)
        best = min(cost for cost, value in every.values() if target.missed_by(value) <= 0.0)
        found = hedge(*world, account, target, instruments=names, costs=costs, limits=limits)
        assert found.cost == pytest.approx(best, rel=1e-12, abs=1e-9)
        assert found.gap == 0.0
        assert found.lower_bound == found.cost
