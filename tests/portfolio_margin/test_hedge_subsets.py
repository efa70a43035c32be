"""More contracts to choose from never cost more than fewer of them, also where no cost is proven least."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portfolio_margin import Target, hedge
from portfolio_margin.hedge_terms import contract_rows
from portfolio_margin.trial_margins import prepare_trials
from pricing.errors import InfeasibleError
from pricing.instruments import Kind
from tests.portfolio_margin.hedge_examples import measured, sample_under

FUNDS = Target("available_funds", 0.0)
# Accounts of the sample below their target, under models that are not convex.
CASES = (
    ("derive_pmrm2", "market-maker-02"),
    ("deribit_spm", "delta-hedged-gamma-04"),
    ("deribit_spm", "future-roll-01"),
    ("span", "conversion-01"),
)


def nested(world: Any, account: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Every sixtieth contract with what is held, futures and perpetuals; and its subsets of each class."""
    book, arrays, _, model = world
    rows = contract_rows(arrays, model, None)
    held = np.isin(rows, book.select(account).instrument_idx)
    perpetual = arrays.kind[rows] == Kind.PERPETUAL
    linear = perpetual | (arrays.kind[rows] == Kind.FUTURE)
    few = np.zeros(len(rows), dtype=np.bool_)
    few[::60] = True
    classes = (held, perpetual, linear, held | perpetual, held | linear)
    return rows[few | held | linear], [rows[chosen] for chosen in classes]


def cost_of(world: Any, account: str, rows: np.ndarray) -> float:
    """Cost of a hedge that meets the target by a statement made anew; inf where there is none."""
    try:
        found = hedge(*world, account, FUNDS, instruments=[str(name) for name in world[1].instrument_id[rows]])
    except InfeasibleError:
        return np.inf
    assert measured(world, account, found.orders, "available_funds", found.cost) >= 0.0
    return found.cost


@pytest.mark.parametrize(("name", "account"), [("span", "future-roll-01"), ("derive_pmrm2", "market-maker-02")])
def test_no_contract_can_be_traded_a_lot_less(name: str, account: str) -> None:
    """Also where the gap stays open: one lot less of any contract misses the target, or costs more."""
    world = sample_under(name)
    book, arrays = world[:2]
    own_rows = book.select(account).instrument_idx
    names = [str(n) for n in arrays.instrument_id[own_rows[~arrays.is_collateral[own_rows]]]]
    found = hedge(*world, account, FUNDS, instruments=sorted({*names, "BTC-PERPETUAL", "ETH-PERPETUAL"}))
    step = {str(n): float(s) for n, s in zip(arrays.instrument_id, arrays.quantity_step, strict=True)}
    trade = {one.instrument: one for one in found.trades}
    for less, quantity in found.orders:
        lot = np.sign(quantity) * step[less]
        orders = [(n, q - (lot if n == less else 0.0)) for n, q in found.orders]
        cost = found.cost - trade[less].cost * abs(lot / quantity)
        assert cost >= found.cost or measured(world, account, orders, "available_funds", cost) < 0.0, less


@pytest.mark.parametrize(("name", "account"), CASES)
def test_a_larger_set_never_costs_more(name: str, account: str) -> None:
    world = sample_under(name)
    every, subsets = nested(world, account)
    whole = cost_of(world, account, every)
    alone = [cost_of(world, account, rows) for rows in subsets]
    assert np.isfinite(whole)
    assert whole <= min(alone) * (1.0 + 1e-9)
    # Held with perpetuals or with futures as well beats what each of its own subsets does.
    held, perpetual, linear, with_perpetuals, with_linear = alone
    assert with_perpetuals <= min(held, perpetual) * (1.0 + 1e-9)
    assert with_linear <= min(held, linear, with_perpetuals) * (1.0 + 1e-9)
    assert linear <= perpetual * (1.0 + 1e-9)


def test_a_set_never_costs_more_than_a_delta_hedge_by_any_one_contract() -> None:
    """The single contracts of a set, each searched alone by all whole sizes of a fine ladder."""
    world = sample_under("derive_pmrm2")
    book, arrays, _, model = world
    account = "market-maker-02"
    rows, _ = nested(world, account)
    found = hedge(*world, account, FUNDS, instruments=[str(name) for name in arrays.instrument_id[rows]])
    assert prepare_trials(book.select(account), arrays, model, rows).rows.tolist() == rows.tolist()
    for row in (r for r in rows if arrays.kind[r] == Kind.PERPETUAL):
        name = str(arrays.instrument_id[row])
        for size in np.arange(500.0, 20_000.0, 500.0):
            for orders in ([(name, size)], [(name, -size)]):
                half_spread_and_fee = 0.0006 * size * arrays.notional[row]
                if measured(world, account, orders, "available_funds", half_spread_and_fee) >= 0.0:
                    assert found.cost <= half_spread_and_fee * (1.0 + 1e-9)
