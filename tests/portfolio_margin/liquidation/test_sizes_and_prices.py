"""Sizes of partial closes, linear contracts by themselves, schedules of disposal: published numbers and identities."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.liquidation import close_size as c
from portfolio_margin.liquidation import execution, linear
from portfolio_margin.open_orders import open_sizes
from pricing import DataError
from tests.portfolio_margin.liquidation.vectors_of import Answer, check
from tests.vectors import literature_vectors, worked_examples


def close_size(i: dict[str, Any]) -> dict[str, Any]:
    size = c.contracts_to_close(
        i["margin_shortage"], i["margin_ratio"], i["price"], quote_price=i["quote_price"],
        liquidator_fee=i["liquidator_fee"], insurance_fee=i["insurance_fee"],
    )  # fmt: skip
    return {"base_to_close": size}


def transfer(i: dict[str, Any]) -> dict[str, Any]:
    weights = {name: i[name] for name in ("asset_weight", "asset_multiplier", "liability_weight")}
    size = c.liability_to_transfer(
        i["margin_shortage"], i["liability_price"], **weights, liability_multiplier=i["liability_multiplier"],
        insurance_fee=i["insurance_fee"],
    )  # fmt: skip
    return {"liability_to_transfer": size, "unbounded": bool(np.isinf(size))}


def spot_fee(i: dict[str, Any]) -> dict[str, Any]:
    names = ("asset_weight", "asset_multiplier", "liability_weight", "liability_multiplier")
    weights = {name: i[name] for name in names}
    fee = c.insurance_fee_of_liability(
        i["margin_shortage"], i["liability_amount"] * i["price"], **weights, largest=i["max_fee"]
    )
    return {"insurance_fee": fee}


def perp_fee(i: dict[str, Any]) -> dict[str, Any]:
    notional = i["base"] * i["price"] * i["quote_price"]
    fee = c.insurance_fee_of_contract(
        i["margin_shortage"], notional, i["margin_ratio"], i["liquidator_fee"], i["max_fee"], i["safety"]
    )
    return {"insurance_fee": fee}


def riskiest(i: dict[str, Any]) -> dict[str, Any]:
    reached = open_sizes(i["position"], i["buys"], i["sells"])
    return {"riskiest_long": float(reached.buy), "riskiest_short": -float(reached.sell)}


def with_funding(i: dict[str, Any]) -> dict[str, Any]:
    asked = linear.maintenance_margin(
        i["position"], 0.0, 0.0, i["mark"], slippage=i["slippage"], risk_factor_long=i["risk_factor"],
        risk_factor_short=i["risk_factor"], funding=i["funding_payment"], funding_factor=i["margin_funding_factor"],
    )  # fmt: skip
    return {"maintenance": asked}


def best_schedule(i: dict[str, Any]) -> dict[str, Any]:
    names = ("fixed_cost", "permanent_impact", "temporary_impact", "risk_aversion")
    made = execution.optimal_schedule(
        i["shares"], i["horizon_days"], i["n_trades"], volatility=i["daily_vol_price"], **{n: i[n] for n in names}
    )
    penalty = made.expected_cost + i["risk_aversion"] * made.variance
    return {"expected_cost": made.expected_cost, "variance": made.variance, "half_life_days": made.half_life,
            "penalty": penalty, "trajectory": made.holdings}  # fmt: skip


def risk_of(i: dict[str, Any]) -> dict[str, Any]:
    return {name: i[name] for name in ("slippage", "risk_factor", "constant")}


ANSWERS: dict[str, Answer] = {
    "perp_close_size": close_size,
    "spot_liability_transfer": transfer,
    "insurance_fee_perp": perp_fee,
    "insurance_fee_spot": spot_fee,
    "liability_implied_by_asset": lambda i: {
        "liability_transfer": c.liability_for_asset(
            i["asset_transfer"], i["asset_price"], i["liability_price"], i["asset_multiplier"],
            i["liability_multiplier"],
        )
    },
    "asset_paid_for_liability": lambda i: {
        "asset_transfer": c.asset_for_liability(
            i["liability_transfer"], i["liability_price"], i["asset_price"], i["asset_multiplier"],
            i["liability_multiplier"],
        )
    },
    "disposal_schedule": lambda i: {
        "trades": execution.disposal_schedule(
            i["position"], i["disposal_fraction"], i["full_disposal_size"], i["book_volume"], i["max_book_fraction"]
        )
    },
    "optimal_execution": best_schedule,
    "riskiest_positions": riskiest,
    "linear_margin": lambda i: {
        "maintenance": linear.maintenance_margin(
            i["position"], i["buys"], i["sells"], i["mark"], slippage=i["slippage"],
            risk_factor_long=i["risk_factor_long"], risk_factor_short=i["risk_factor_short"],
        )
    },
    "margin_with_funding": with_funding,
    "funding_payment": lambda i: {
        "payment": linear.funding_payment(
            i["spot_twap"], i["mark_twap"], i["delta_t"], i["interest_rate"], (i["clamp_lower"], i["clamp_upper"])
        )
    },
    "isolated_margin": lambda i: {"amount": linear.isolated_margin(i["size"], i["price"], i["margin_factor"])},
    "isolated_order_margin_offset": lambda i: {
        "amount": linear.isolated_order_margin(i["position"], i["buy_size"], i["limit_price"], i["margin_factor"])
    },
    "mark_to_market": lambda i: {"cash_flow": linear.mark_to_market(i["position"], i["previous_price"], i["price"])},
    "liquidation_price": lambda i: {
        "liquidation_price": linear.liquidation_price(i["collateral"], i["position"], i["mark"], **risk_of(i))
    },
}  # fmt: skip


@pytest.mark.reference
@pytest.mark.parametrize(
    "kind",
    ["perp_close_size", "spot_liability_transfer", "insurance_fee_perp", "insurance_fee_spot",
     "liability_implied_by_asset", "asset_paid_for_liability", "disposal_schedule", "optimal_execution",
     "riskiest_positions", "linear_margin", "margin_with_funding", "funding_payment", "isolated_margin",
     "isolated_order_margin_offset", "mark_to_market", "liquidation_price"],
)  # fmt: skip
def test_published(kind: str, report_vectors: Callable[..., None]) -> None:
    check(literature_vectors(kind), ANSWERS[kind], report_vectors, kind)


@pytest.mark.reference
def test_published_liquidation_price(report_vectors: Callable[..., None]) -> None:
    """The numerator is the entry price less the collateral of one unit."""
    (example,) = worked_examples("isolated futures liquidation price")
    given_ = example["inputs"]
    collateral = given_["entry"] - given_["numerator"]
    found = linear.liquidation_price(collateral, 1.0, given_["entry"], risk_factor=given_["maintenance"])
    gap = abs(float(found) - example["expected"]["liquidation_price"])
    assert gap <= example["tolerance"]["abs"]
    report_vectors(1, gap, label="isolated futures liquidation price")


positive = st.integers(1, 10**6).map(lambda n: n / 100)


@given(
    positive,
    positive,
    st.sampled_from([0.05, 0.1, 0.5]),
    st.sampled_from([0.0, 0.01, 0.06]),
    st.sampled_from([0.0, 0.02]),
)
def test_what_is_closed_restores_the_margin(
    shortage: float, price: float, ratio: float, liquidator: float, insurance: float
) -> None:
    """Margin freed less fees paid is the shortage; no size does it where fees take more than the margin frees."""
    size = float(c.contracts_to_close(shortage, ratio, price, liquidator_fee=liquidator, insurance_fee=insurance))
    if ratio <= liquidator + insurance:
        assert size == np.inf
        return
    freed, fees = size * price * ratio, size * price * (liquidator + insurance)
    assert freed - fees == pytest.approx(shortage, rel=1e-9)


def test_what_cannot_be_cured_is_infinite_and_nothing_short_is_nothing() -> None:
    weights = {"asset_weight": 0.9, "asset_multiplier": 1.2, "liability_weight": 1.05, "liability_multiplier": 0.95}
    sizes = c.liability_to_transfer([0.0, 1.0], 100.0, **weights)
    assert sizes.tolist() == [0.0, np.inf]
    assert c.contracts_to_close(0.0, 0.01, 1.0, liquidator_fee=0.02) == 0.0


@given(positive, positive, positive, st.integers(50, 150), st.integers(50, 150))
def test_asset_and_liability_are_inverse(units: float, one: float, other: float, a: int, b: int) -> None:
    paid = c.asset_for_liability(units, one, other, a / 100, b / 100)
    assert float(c.liability_for_asset(paid, other, one, a / 100, b / 100)) == pytest.approx(units, rel=1e-12)


@given(st.integers(-50, 50).filter(bool), positive, positive, st.integers(0, 90), st.integers(-20, 20))
def test_equity_is_the_margin_at_the_liquidation_price(
    position: int, mark: float, collateral: float, percent: int, constant: int
) -> None:
    factor = percent / 100
    price = float(
        linear.liquidation_price(collateral, position, mark, slippage=0.05, risk_factor=factor, constant=constant / 10)
    )
    if price == 0.0:
        return
    equity = collateral + position * (price - mark)
    assert equity == pytest.approx(
        abs(position) * price * (0.05 + factor) + position * constant / 10, abs=1e-6, rel=1e-9
    )


@given(st.integers(-50, 50).filter(bool), positive, positive)
def test_nothing_is_left_at_the_bankruptcy_price(position: int, mark: float, collateral: float) -> None:
    price = float(linear.bankruptcy_price(collateral, position, mark))
    at_liquidation = float(linear.liquidation_price(collateral, position, mark, risk_factor=0.1))
    assert (at_liquidation >= price) if position > 0 else (at_liquidation <= price)
    if price > 0:
        assert collateral + position * (price - mark) == pytest.approx(0.0, abs=1e-6)


def test_no_liquidation_price_where_there_is_none() -> None:
    assert np.isnan(linear.liquidation_price(10.0, 0.0, 100.0, risk_factor=0.1))
    assert np.isnan(linear.liquidation_price(10.0, 1.0, 100.0, risk_factor=1.0))
    with pytest.raises(DataError, match="position"):
        linear.bankruptcy_price(10.0, [1.0, 0.0], 100.0)


@given(st.integers(0, 5000), st.integers(1, 100), st.integers(0, 100), st.integers(100, 10_000))
def test_disposals_close_everything_within_their_bounds(left: int, percent: int, whole: int, volume: int) -> None:
    trades = execution.disposal_schedule(left, percent / 100, whole, volume, 0.5)
    assert sum(trades) == left
    for size in trades:
        assert 0 < size <= volume * 0.5
        assert left <= whole or size <= -(-left * percent // 100)
        left -= size


def cost_and_risk(holdings: np.ndarray, aversion: float) -> float:
    """Expected cost + aversion x variance, straight from its sums (Almgren and Chriss 2000, equations 1 to 6)."""
    gamma, eta, vol, fixed, step = 2.5e-7, 2.5e-6, 0.95, 0.0625, 1.0
    cost = variance = moved = 0.0
    for before, after in pairwise(holdings):
        sold = before - after
        cost += sold * (moved + fixed * np.sign(sold) + eta * sold / step) + step * gamma * (sold / step) * after
        variance += vol**2 * step * after**2
    return float(cost + aversion * variance)


@given(st.sampled_from([0.0, 1e-9, 1e-7, 1e-5]), st.integers(0, 2**32 - 1))
def test_no_other_schedule_is_cheaper(aversion: float, seed: int) -> None:
    made = execution.optimal_schedule(
        1e6, 5.0, 5, volatility=0.95, fixed_cost=0.0625, permanent_impact=2.5e-7, temporary_impact=2.5e-6,
        risk_aversion=aversion,
    )  # fmt: skip
    best = cost_and_risk(made.holdings, aversion)
    assert best == pytest.approx(made.expected_cost + aversion * made.variance, rel=1e-9)
    other = made.holdings.copy()
    other[1:-1] += np.random.default_rng(seed).normal(0.0, 1e5, 4)
    assert cost_and_risk(other, aversion) >= best
    assert np.all(np.diff(made.holdings) <= 0) and made.holdings[-1] == 0.0


def test_a_great_dislike_of_risk_sells_at_once() -> None:
    made = execution.optimal_schedule(
        1e6, 5.0, 5, volatility=0.95, fixed_cost=0.0, permanent_impact=0.0, temporary_impact=1e-6, risk_aversion=1e200
    )
    assert made.holdings[0] == 1e6 and np.all(made.holdings[1:] < 1e-100)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: c.contracts_to_close(-1.0, 0.1, 1.0), "shortage"),
        (lambda: c.contracts_to_close([1.0, 1.0], 0.1, [1.0, 0.0]), "row 1, price"),
        (lambda: c.insurance_fee_of_contract(1.0, 0.0, 0.1, 0.0, 1.0), "notional"),
        (lambda: linear.liquidation_price(1.0, 1.0, [1.0, np.nan], risk_factor=0.1), "row 1, mark"),
        (lambda: linear.isolated_margin(np.inf, 1.0, 0.1), "size"),
        (lambda: linear.bankruptcy_price(np.nan, 1.0, 1.0), "collateral"),
        (lambda: linear.mark_to_market(1.0, 1.0, np.nan), "price"),
        (lambda: execution.disposal_schedule(2.5, 0.5, 1, 10.0), "position"),  # type: ignore[arg-type]
        (lambda: execution.disposal_schedule(5, 0.0, 1, 10.0), "share"),
        (lambda: execution.disposal_schedule(5, 0.5, 1, 0.5), "book_volume"),
        (lambda: execution.disposal_schedule(10**6, 0.5, 1, 1.0), "book_share"),
        (lambda: execution.optimal_schedule(1.0, 1.0, 0, volatility=1.0, fixed_cost=0.0, permanent_impact=0.0,
                                            temporary_impact=1.0, risk_aversion=0.0), "trades"),
        (lambda: execution.optimal_schedule(1.0, 1.0, 1, volatility=1.0, fixed_cost=0.0, permanent_impact=3.0,
                                            temporary_impact=1.0, risk_aversion=0.0), "temporary_impact"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call: Callable[[], object], field: str) -> None:
    with pytest.raises(DataError, match=field):
        call()
