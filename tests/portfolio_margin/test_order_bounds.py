"""The bound for any number of open orders: every model states one, and no subset of the orders ever asks for more.

Held against all subsets, filled one by one and margined by the model, on random accounts: rich and poor ones, accounts
with debts and without anything, orders of both sides of a contract, and parameters at which charges bend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, Target, hedge, margin, order_margin
from portfolio_margin.derive_feeds import Feeds
from portfolio_margin.dynamic.assets import Asset
from portfolio_margin.hedge_orders import hedge_with_orders
from portfolio_margin.models import worst_case
from portfolio_margin.order_bounds import Reach, declared_bounds, most, range_of, sizes_of
from pricing.errors import InfeasibleError
from tests.portfolio_margin.books import ARRAYS, MARKET, ROW, Held, book_of, in_steps, quantity
from tests.portfolio_margin.test_contracts import SHIPPED, arrays_of, model_of
from tests.portfolio_margin.test_order_margin import RICH, Listed, fill, fitted, least_funds, orders_of

DOUBTS = Feeds(spot_confidence={"BTC": 0.3, "ETH": 0.8}, perp_confidence={"BTC": 0.1}, stable_price=0.97)
TIERS = Asset(tiers=(0.0, 1e5, 1e6), shares=(1.0, 0.8, 0.0), depeg=0.02)
GROUPS = {"product_group": {"BTC": "c", "ETH": "c"}, "product_offset": {"BTC": 0.9, "ETH": 0.9}}
# Parameters at which charges bend, beside those of every model as it ships.
BENT: dict[str, tuple[str, dict[str, Any]]] = {
    "tiers": ("dynamic_worst_case", {"assets": {"BTC": TIERS, "ETH": Asset(scenarios="outside")}, "haircut": 0.1}),
    "not eligible": ("dynamic_worst_case", {"assets": {"ETH": Asset(eligible="none")}, "initial_factor": 5.0}),
    "value at risk": ("historical_simulation", {"measure": "var", "liquidity_alpha": 0.9, "impact": 5.0}),
    "blend": ("historical_simulation", {"combine": "blend", "break_factor": 3.0, "break_cap": 2.0}),
    "doubts 1": ("derive_pmrm", {"feeds": DOUBTS}),
    "doubts 2": ("derive_pmrm2", {"feeds": DOUBTS}),
    "class minimums": ("tims", {**GROUPS, "contract_minimum": 20.0}),
    "falls beyond value": ("worst_case", {"initial_factor": 5.0, "haircut": 0.9}),
    "tiers of size": ("okx_pm", {"term_structure_vol": 1.0, "tier_limits": (1e3, 2e3, 4e3, 8e3, 1e4, 2e4)}),
    "rounded": ("span", {"rounding_unit": 100.0, "spread_charge": 0.9, "haircut": 0.5}),
    "value last": ("span", {"initial_ratio": 4.0, "initial_ratio_applies": "after_option_value"}),
    "all coins": ("deribit_xpm", {"coins": "cell_by_cell"}),
}
CASES = {**{name: (name, {}) for name in SHIPPED}, **BENT}
ACCOUNTS = {"reg_t": 2}


def case(label: str) -> Any:
    name, change = CASES[label]
    model = model_of(name, **change)
    look_up = getattr(model, "for_arrays", None)
    return model if look_up is None else look_up(arrays_of(model))


def contracts_seen(model: Any, arrays: Any) -> list[str]:
    covered = ~arrays.is_collateral & (np.asarray(model.not_covered(arrays)) == "")
    return [str(name) for name in arrays.instrument_id[covered]]


def account(random: np.random.Generator, names: list[str], kind: int) -> tuple[Held, Listed]:
    """One random account and five orders of four contracts, one of which it holds and closes."""
    scale = (300, 3, 3000, 300)[kind]
    money: list[Held] = [
        dict(RICH),
        {"USD": 1e6, "BTC": 5.0},
        {"USD": float(random.integers(-(10**6), 10**6)), "BTC": float(random.integers(-20, 40)), "ETH": -30.0},
        {},
    ]
    steps = {str(name): int(random.integers(-scale, scale)) for name in random.choice(names, 4)}
    pool = random.choice(names, 4)
    listed: Listed = [
        (str(name), int(random.integers(1, scale)) * int(random.choice([-1, 1])), float(random.integers(-2000, 2000)))
        for name in random.choice(pool, 4)
    ]
    steps[str(pool[0])] = scale
    listed.append((str(pool[0]), -scale, 0.0))
    return {**in_steps(steps), **money[kind]}, listed


@pytest.mark.parametrize("label", CASES)
def test_no_subset_asks_for_more_than_the_bound(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = case(label)
    arrays, random = arrays_of(model), np.random.default_rng(5)
    if hasattr(model, "order_table"):
        monkeypatch.setattr(type(model), "order_table", lambda self, arrays: None)
    monkeypatch.setattr(order_margin, "ENUMERATED", 2)
    for trial in range(ACCOUNTS.get(CASES[label][0], 6)):
        held, listed = account(random, contracts_seen(model, arrays), trial % 4)
        monkeypatch.setattr(order_margin, "GROUP", 1 + trial % 3)
        found = margin(book_of({"a": held}), arrays, MARKET, model, orders=orders_of(listed)).orders
        assert found is not None and found.method_names[0] == "bound"
        every = least_funds(held, listed, model, arrays)
        assert found.added[0] >= every[0] - min(every)


def reach_of(held: Held, listed: Listed, arrays: Any) -> Reach:
    """What an account may hold, one subset after the other in plain sums."""
    orders = orders_of(listed)
    ask = order_margin._Ask(book_of({"a": held}), arrays, orders, lambda book: pytest.fail("nothing to margin"), 0.01)
    return order_margin._reach(ask, 0, np.arange(len(listed)), 2)


def subsets(held: Held, listed: Listed, arrays: Any) -> Book:
    tried = order_margin.every_subset(len(listed))
    chosen = [[order for order, fills in zip(listed, row, strict=True) if fills] for row in tried]
    return book_of({f"{n:05d}": fill(held, orders, arrays) for n, orders in enumerate(chosen)})


@pytest.mark.parametrize("label", [label for label in CASES if hasattr(case(label), "order_excess")])
def test_charges_stay_under_their_ceilings(label: str) -> None:
    model = case(label)
    arrays, random = arrays_of(model), np.random.default_rng(9)
    for trial in range(ACCOUNTS.get(CASES[label][0], 4)):
        held, listed = account(random, contracts_seen(model, arrays), trial % 4)
        stated = declared_bounds(model, arrays, reach_of(held, listed, arrays))
        charges: Mapping[str, np.ndarray] = margin(subsets(held, listed, arrays), arrays, MARKET, model).charges
        for excess in stated:
            assert np.all(excess.rates >= 0.0) and excess.amount >= 0.0
            named = sum((charges[name][:, 0] for name in excess.ceilings), np.zeros(2 ** len(listed)))
            assert named.max() <= sum(excess.ceilings.values()) + 0.01


def test_sums_at_their_most_are_those_of_the_worst_subset() -> None:
    random = np.random.default_rng(4)
    names = [str(name) for name in ARRAYS.instrument_id[~ARRAYS.is_collateral]]
    rows = random.normal(size=(len(ARRAYS), 3))
    held, listed = account(random, names, 1)
    reach, book = reach_of(held, listed, ARRAYS), subsets(held, listed, ARRAYS)
    quantities = np.zeros((len(book), len(ARRAYS)))
    owner = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    np.add.at(quantities, (owner, book.instrument_idx), book.quantity)
    assert most(reach, rows)[0] == pytest.approx((quantities @ rows).max(axis=0))
    assert range_of(reach, rows)[0] == pytest.approx(np.abs(quantities @ rows).max(axis=0))
    cut = np.where(ARRAYS.is_collateral, 0.3, 0.0)
    counted = (quantities - cut * np.maximum(quantities, 0.0)) @ rows
    assert np.all(most(reach, rows, haircut=cut)[0] >= counted.max(axis=0) - 1e-9)
    sizes = sizes_of(reach, np.abs(rows))[0]
    assert np.all(sizes >= (np.abs(quantities) @ np.abs(rows)).max(axis=0) - 1e-9)
    assert np.all(reach.low <= quantities.min(axis=0) + 1e-9)
    assert np.all(reach.high >= quantities.max(axis=0) - 1e-9)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_model_takes_more_orders_than_can_be_tried(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(name)
    monkeypatch.setattr(order_margin, "GROUP", 4)
    arrays = arrays_of(model)
    seen = contracts_seen(model, arrays)
    listed: Listed = [(seen[k % 3], 5 - 9 * (k % 2), 0.0) for k in range(order_margin.ENUMERATED + 1)]
    held: Held = {**in_steps({seen[0]: 4}), **RICH}
    found = margin(book_of({"a": held}), arrays, MARKET, model, orders=orders_of(listed)).orders
    assert found is not None and found.method_names[0] == ("exact" if name == "worst_case" else "bound")
    some = margin(book_of({"a": held}), arrays, MARKET, model, orders=orders_of(listed[: order_margin.ENUMERATED - 6]))
    assert some.orders is not None and found.added[0] >= some.orders.added[0]


def test_a_debt_without_a_rule_that_a_fill_begins_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Premiums are paid in a coin that reg_t has no rule for owing: the account is blind, and it is not refused."""
    model = fitted("reg_t")
    arrays = arrays_of(model)
    monkeypatch.setattr(order_margin, "ENUMERATED", 2)
    monkeypatch.setattr(order_margin, "GROUP", 2)
    model = replace(model, params=replace(model.params, default_class="", product_class={"ETH": "equity"}))
    option = next(name for name in contracts_seen(model, arrays) if name.startswith("ETH"))
    coin = str(arrays.instrument_id[arrays.cash_row[ROW[option]]])
    assert not model.debts_covered(arrays)[ROW[coin]] or coin == "ETH"
    listed: Listed = [(option, 3, 0.0)] * 3
    found = margin(book_of({"a": {"USD": 1e6}}), arrays, MARKET, model, orders=orders_of(listed))
    assert found.orders is not None and found.orders.method_names[0] == "bound"
    assert bool(found.unmargined[0]) is not bool(model.debts_covered(arrays)[ROW[coin]])


def test_a_hedge_with_open_orders_meets_its_target_whichever_fill() -> None:
    model = worst_case.Model()
    held: Held = {"USD": 9e4, **in_steps({"BTC-PERPETUAL": 20_000})}
    book = book_of({"a": held, "b": {"USD": 1.0}})
    listed: Listed = [("BTC-PERPETUAL", 12_000, 0.0)]
    orders = orders_of(listed)
    now = margin(book, ARRAYS, MARKET, model, orders=orders).available_funds[0]
    target = Target("available_funds", float(now) + 2_000.0)
    found = hedge_with_orders(book, ARRAYS, MARKET, model, "a", target, orders, instruments=["BTC-PERPETUAL"])
    alone = hedge(book, ARRAYS, MARKET, model, "a", target, instruments=["BTC-PERPETUAL"])
    assert found.trades and found.cost >= alone.cost
    assert found.lower_bound <= found.cost and "open orders stay open" in found.notes[-1]
    after = fill(held, [(t.instrument, round(t.quantity / quantity(t.instrument, 1)), 0.0) for t in found.trades])
    statement = margin(book_of({"a": after}), ARRAYS, MARKET, model, orders=orders)
    assert statement.available_funds[0] - found.cost >= target.amount - 0.02
    same = hedge_with_orders(book, ARRAYS, MARKET, model, "a", Target("excess_liquidity", 0.0), orders)
    assert same.trades == hedge(book, ARRAYS, MARKET, model, "a", Target("excess_liquidity", 0.0)).trades
    impossible = Target("available_funds", 8.9e4)
    both = orders_of([("BTC-PERPETUAL", 30_000, 0.0), ("BTC-PERPETUAL", -30_000, 0.0)])
    with pytest.raises(InfeasibleError, match="a: no trades"):
        hedge_with_orders(book, ARRAYS, MARKET, model, "a", impossible, both, instruments=["BTC-PERPETUAL"])
