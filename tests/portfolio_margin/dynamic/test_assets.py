"""Collateral by size, eligibility, scenarios and peg: what counts, and that more of it never hurts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import MarginStatement, explain, margin
from portfolio_margin.dynamic.assets import Asset, counted_value
from portfolio_margin.models import dynamic_worst_case as model_file
from portfolio_margin.requirement import has_every_rule
from pricing import ConfigError
from tests.bounds import check_bounds_of_numbers
from tests.naive import dynamic as naive
from tests.portfolio_margin.books import MARKET, ROW, Held, balances_held, book_of, contracts_held, in_steps
from tests.portfolio_margin.dynamic.test_model import PARAMS, UNDER
from tests.portfolio_margin.test_contracts import check_tree

SPOT = float(MARKET.spot[0])
TIERS = Asset(tiers=(0.0, 1e5, 1e6), shares=(1.0, 0.6, 0.0))
RULES = {
    "tiers": TIERS,
    "maintenance": replace(TIERS, eligible="maintenance"),
    "none": Asset(eligible="none"),
    "outside": replace(TIERS, scenarios="outside"),
    "pegged": Asset(depeg=0.1),
}
rules = st.sampled_from(sorted(RULES))


def statement_of(assets: dict[str, Asset], accounts: dict[str, Held]) -> MarginStatement:
    model = model_file.Model(replace(PARAMS, assets=assets))
    return margin(book_of(accounts), UNDER, MARKET, model)


@given(st.floats(0.0, 5e6))
def test_counted_value_is_the_naive_one_and_concave(value: float) -> None:
    found, more, twice = counted_value(np.array([value, value + 1e3, 2.0 * value]), TIERS)
    assert found == pytest.approx(naive.counted(value, list(TIERS.tiers), list(TIERS.shares)), rel=1e-12, abs=1e-9)
    assert found <= value + 1e-9
    assert -1e-6 <= more - found <= 1e3 + 1e-6
    assert twice <= 2.0 * found + 1e-6


def test_the_counts_of_tiers_by_hand() -> None:
    """A hundred thousand in full, 0.6 of the next nine hundred thousand, nothing beyond a million."""
    values = np.array([0.0, 5e4, 1e5, 2e5, 1e6, 9e9])
    assert counted_value(values, TIERS) == pytest.approx([0.0, 5e4, 1e5, 1.6e5, 6.4e5, 6.4e5])


def test_beyond_the_cap_nothing_changes() -> None:
    """Twice a million of coins and ten times: the same to spend, and the same risk."""
    held = {"BTC-PERPETUAL": -2_000.0}
    found = statement_of({"BTC": TIERS}, {"a": {**held, "BTC": 40.0}, "b": {**held, "BTC": 400.0}})
    for column in (found.available_funds, found.excess_liquidity):
        assert column[0] == pytest.approx(column[1], abs=0.05)
    assert found.charges["scan"][0] == pytest.approx(found.charges["scan"][1], rel=1e-9)
    assert found.charges["collateral_limit"][1, 0] == pytest.approx(400.0 * SPOT * 0.95 - 6.4e5, rel=1e-12)
    # The haircut of 5 % is off before the tiers: what counts is 640,000.
    assert found.margin_balance[0] - found.charges["collateral_limit"][0, 0] == pytest.approx(6.4e5, abs=0.05)


def test_a_coin_for_maintenance_alone_opens_nothing() -> None:
    held = {"a": {"USD": 100_000.0, "ETH-PERPETUAL": 1000.0}}
    richer = {"a": {**held["a"], "BTC": 1.0}}
    without, found = statement_of({}, held), statement_of({"BTC": Asset(eligible="maintenance")}, richer)
    assert found.available_funds[0] == pytest.approx(without.available_funds[0], abs=0.05)
    assert found.excess_liquidity[0] > without.excess_liquidity[0] + 0.5 * SPOT


def test_a_coin_outside_the_scenarios_hedges_nothing_and_loses_nothing() -> None:
    covered = {"a": {"BTC": 1.0, "BTC-PERPETUAL": -6800.0}}
    inside, outside = statement_of({}, covered), statement_of({"BTC": Asset(scenarios="outside")}, covered)
    alone = statement_of({}, {"a": {"BTC-PERPETUAL": -6800.0}})
    assert outside.charges["scan"][0] == pytest.approx(alone.charges["scan"][0])
    assert inside.charges["scan"][0, 0] < outside.charges["scan"][0, 0]
    only_coins = statement_of({"BTC": Asset(scenarios="outside")}, {"a": {"BTC": 10.0}})
    assert only_coins.initial_margin[0] == 0.0
    assert only_coins.margin_balance[0] == pytest.approx(9.5 * SPOT)


@pytest.mark.parametrize("balance", [3.0, -3.0])
def test_a_peg_costs_on_either_side(balance: float) -> None:
    found = statement_of({"ETH": Asset(depeg=0.1)}, {"a": {"ETH": balance, "USD": 1e5}})
    # Of what counts: what the haircut of 5 % has taken off is not charged once more.
    share = 0.95 if balance > 0.0 else 1.0
    assert found.charges["depeg"][0] == pytest.approx([0.1 * share * 3.0 * float(MARKET.spot[1])] * 2)


@pytest.mark.parametrize("rule", ["tiers", "maintenance", "none", "outside"])
@pytest.mark.parametrize("balance", [40.0, -3.0])
def test_a_peg_costs_of_what_counts_and_of_what_is_owed(rule: str, balance: float) -> None:
    asset = replace(RULES[rule], depeg=0.2)
    found = statement_of({"BTC": asset}, {"a": {"BTC": balance, "USD": 5e5}})
    worth = balance * SPOT
    kept = naive.counted(0.95 * worth, list(asset.tiers), list(asset.shares)) if balance > 0.0 else -worth
    counts = [balance < 0.0 or asset.eligible == "both", balance < 0.0 or asset.eligible != "none"]
    assert found.charges["depeg"][0] == pytest.approx([0.2 * kept * one for one in counts], rel=1e-9)


LOAN = {"a": {"BTC": 5.0, "USD": -330_000.0}}


@pytest.mark.parametrize(
    ("asset", "haircut", "share"),
    [
        (Asset(), 0.0, 0.0),
        (Asset(scenarios="outside"), 0.0, 1.0),
        (Asset(scenarios="outside", eligible="maintenance"), 0.0, 1.0),
        (Asset(scenarios="outside"), 0.1, 1.0),
        (Asset(scenarios="outside", depeg=0.1), 0.0, 1.0),
        (Asset(scenarios="outside", eligible="none"), 0.0, 0.0),
    ],
)
def test_a_loan_against_coins_outside_the_scenarios_costs_their_fall(
    asset: Asset, haircut: float, share: float
) -> None:
    """What haircut and peg leave of the largest fall, of as many coins as the loan is worth; one inside is scanned."""
    model = model_file.Model(replace(PARAMS, assets={"BTC": asset}, haircut=haircut))
    found = margin(book_of(LOAN), UNDER, MARKET, model)
    fall = -float(UNDER.pnl[ROW["BTC"]].min()) / SPOT
    left = max(fall - haircut - (1.0 - haircut) * asset.depeg, 0.0)
    factors = np.array([PARAMS.initial_factor, PARAMS.maintenance_factor])
    coins = min(5.0 * SPOT, 330_000.0 / (1.0 - haircut))
    wanted = share * left * coins * factors
    assert found.charges["balances_owed"][0] == pytest.approx(wanted, rel=1e-6)
    assert has_every_rule(model, UNDER) and not found.unmargined[0]
    assert found.equity[0] - found.available_funds[0] >= 0.1 * 5.0 * SPOT - 0.05
    check_tree(explain(found, book_of(LOAN), UNDER, "a"), found, "a")


def test_a_loan_through_contracts_costs_as_much_as_one_in_money() -> None:
    """A call sold is money received: where it is gone, coins outside the scenarios stand against what it is worth."""
    strikes = sorted(
        (n for n in ROW if n.startswith("BTC-60D-") and n.endswith("-C")), key=lambda n: UNDER.value[ROW[n]]
    )
    call = strikes[-1]
    worth = float(UNDER.value[ROW[call]])
    model = model_file.Model(replace(PARAMS, assets={"BTC": Asset(scenarios="outside")}, haircut=0.0))
    accounts: dict[str, Held] = {
        "sold": {call: -1.0, "BTC": 2.0},
        "kept": {call: -1.0, "BTC": 2.0, "USD": worth + 1.0},
        "loan": {"BTC": 2.0, "USD": -worth},
    }
    statement = margin(book_of(accounts), UNDER, MARKET, model)
    by_name = {str(n): row for n, row in zip(statement.account, statement.charges["balances_owed"], strict=True)}
    assert by_name["loan"][0] > 0.1 * worth
    assert by_name["sold"] == pytest.approx(by_name["loan"], rel=1e-5)
    assert by_name["kept"].tolist() == [0.0, 0.0]
    check_tree(explain(statement, book_of(accounts), UNDER, "sold"), statement, "sold")


def test_coins_owed_outside_the_scenarios_are_moved_by_them() -> None:
    """Outside is how a balance held counts; a debt of the same coin rises with it."""
    owed = {"a": {"BTC": -5.0, "USD": 500_000.0}}
    inside, outside = statement_of({}, owed), statement_of({"BTC": Asset(scenarios="outside")}, owed)
    assert outside.initial_margin[0] == inside.initial_margin[0] > 0.16 * 5.0 * SPOT
    assert not outside.unmargined[0]


@settings(max_examples=60, deadline=None)
@given(contracts_held, balances_held, rules, st.sampled_from(["BTC", "ETH"]), st.floats(0.01, 1e4), st.floats(0.0, 1.0))
def test_more_collateral_never_lowers_excess(
    steps: dict[str, int], cash: Held, rule: str, asset: str, more: float, share: float
) -> None:
    """Of any rule with any peg that its fall leaves room for: what does not count neither moves nor is charged."""
    held = {**in_steps(steps), **cash}
    richer = {**held, asset: held.get(asset, 0.0) + more}
    rules_of_asset = replace(RULES[rule], depeg=share * (1.0 - PARAMS.initial_factor * largest_fall(asset)))
    found = statement_of({asset: rules_of_asset}, {"a": held, "b": richer})
    assert found.available_funds[1] >= found.available_funds[0] - 0.05
    assert found.excess_liquidity[1] >= found.excess_liquidity[0] - 0.05


def largest_fall(asset: str) -> float:
    """Share of its value that an asset loses in the worst scenario of all tiers."""
    return -float(UNDER.pnl[ROW[asset]].min()) / float(UNDER.value[ROW[asset]])


@pytest.mark.parametrize("beyond", [-0.02, 0.02])
def test_more_collateral_lowers_funds_only_where_fall_and_peg_exceed_it(beyond: float) -> None:
    """The condition of docs/dynamic-margin.md is sharp."""
    depeg = 1.0 - PARAMS.initial_factor * largest_fall("BTC") + beyond
    found = statement_of({"BTC": Asset(depeg=depeg)}, {"a": {"BTC": 1.0}, "b": {"BTC": 100.0}})
    assert 0.0 < depeg < 1.0
    assert (found.available_funds[1] < found.available_funds[0]) == (beyond > 0.0)


@settings(max_examples=40, deadline=None)
@given(contracts_held, balances_held, rules, rules)
def test_margins_stay_ordered_and_explained(steps: dict[str, int], cash: Held, first: str, second: str) -> None:
    accounts = {"a": {**in_steps(steps), **cash}}
    found = statement_of({"BTC": RULES[first], "ETH": RULES[second]}, accounts)
    assert found.initial_margin[0] >= found.maintenance_margin[0] >= 0.0
    check_tree(explain(found, book_of(accounts), UNDER, "a"), found, "a")


@settings(max_examples=30, deadline=None)
@given(contracts_held, balances_held)
def test_an_asset_that_counts_in_full_changes_nothing(steps: dict[str, int], cash: Held) -> None:
    accounts = {"a": {**in_steps(steps), **cash}}
    plain, named = statement_of({}, accounts), statement_of({"BTC": Asset(), "ETH": Asset()}, accounts)
    for column in ("initial_margin", "maintenance_margin", "margin_balance"):
        assert getattr(plain, column)[0] == getattr(named, column)[0]


def test_assets_have_bounds() -> None:
    assert check_bounds_of_numbers(Asset(), Asset) == {"depeg": (0.0, 1.0)}
    of_venue = Asset(venue_cap=1.0, venue_total=2.0)
    assert check_bounds_of_numbers(of_venue, Asset) == {
        "depeg": (0.0, 1.0),
        "venue_cap": (0.0, 1e18),
        "venue_total": (0.0, 1e18),
    }


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"tiers": (1.0,)}, "tiers"),
        ({"tiers": (0.0, float("inf")), "shares": (1.0, 0.5)}, r"tiers = \(0.0, inf\): must be a list of finite"),
        ({"tiers": (0.0, float("nan")), "shares": (1.0, 0.5)}, r"tiers = \(0.0, nan\)"),
        ({"tiers": (False, 1e5), "shares": (1.0, 0.5)}, r"tiers = \(False, 100000.0\)"),
        ({"tiers": (0.0, "1e5"), "shares": (1.0, 0.5)}, r"tiers = \(0.0, '1e5'\)"),
        ({"tiers": 0.0}, "tiers = 0.0"),
        ({"tiers": ((0.0,),)}, "tiers"),
        ({"tiers": (0.0, 1e5), "shares": (1.0, True)}, r"shares = \(1.0, True\)"),
        ({"tiers": (0.0, 0.0), "shares": (1.0, 0.5)}, "tiers"),
        ({"shares": (0.9,)}, "shares"),
        ({"tiers": (0.0, 1.0), "shares": (1.0, 1.1)}, "shares"),
        ({"tiers": (0.0, 1.0), "shares": (1.0, -0.1)}, "shares"),
        ({"tiers": (0.0, 1.0)}, "shares"),
        ({"eligible": "initial"}, "eligible"),
    ],
)
def test_rules_that_are_none_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Asset(**change)


@pytest.mark.parametrize("name", ["BTCC", "USD", "BTC-PERPETUAL"])
def test_a_name_that_is_no_asset_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"assets {name}: no asset here"):
        statement_of({name: TIERS}, {"a": {"BTC": 1.0}})
