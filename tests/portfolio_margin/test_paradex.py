"""Paradex's portfolio margin: the printed example, a plain twin on random books, and what the rule implies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import load_parameters
from portfolio_margin.models import paradex_pm
from portfolio_margin.models.paradex_pm import Asset, Params
from pricing import ConfigError, Kind
from scenarios import RiskArrays, revalue
from tests.examples import NOW_MS
from tests.naive import paradex as naive
from tests.portfolio_margin.deribit_examples import CONTRACTS, INDEX, LINEAR, LINEAR_MARKET, ROW, linear_book, plain
from tests.vectors import worked_examples

SHIPPED, _ = load_parameters("paradex_pm", "2026-04-22")
LINEAR_CONTRACTS = [name for name in CONTRACTS if name.startswith("ETH_USDC")]


def arrays_for(params: Params, market: Any = LINEAR_MARKET) -> RiskArrays:
    return revalue(LINEAR, market, paradex_pm.Model(params).scenario_set(market), backend="numpy", tick=None)


def test_the_scenarios_are_those_of_the_page() -> None:
    eth = SHIPPED.asset("ETH_USDC")
    assert len(eth.scenarios) == 24
    assert eth.scenarios[0] == (0.16, 0.4, 1.0)
    assert eth.scenarios[8] == (0.0, -0.22, 1.0)
    assert [row[2] for row in eth.scenarios[16:]] == [0.18, 0.36, 0.24, 0.12, 0.06, 0.04, 0.03, 0.024]
    assert SHIPPED.asset("HYPE").scenarios[15] == (-0.28, 0.64, 1.0)


@pytest.mark.reference
def test_printed_minimum_delta(report_vectors: Any) -> None:
    errors = []
    for example in worked_examples("Paradex portfolio margin"):
        i, want = example["inputs"], example["expected"]
        asset = replace(SHIPPED.asset("BTC"), hedged_margin_factor=i["hedged"], unhedged_margin_factor=i["unhedged"])
        model = paradex_pm.Model(replace(SHIPPED, assets={"any": asset}))
        arrays = arrays_for(model.params)
        # Both legs of the example, told by their deltas at its spot.
        rows = [ROW["BTC-PERPETUAL"], ROW["BTC-30D-1.0-+1"]]
        delta = arrays.delta.copy()
        delta[rows] = np.array(i["deltas"]) * i["spot"]
        required = model.requirement(
            linear_book({"BTC-PERPETUAL": 1.0, "BTC-30D-1.0-+1": 1.0}),
            replace(arrays, delta=delta, rows=arrays.rows * 0),
        )
        errors.append(abs(required.charges["minimum_delta"][0, 0] - want["min_delta"]))
        assert errors[-1] <= example["tolerance"]["abs"]
    report_vectors(
        len(errors), max(errors), f"USD, {example['tolerance']['abs']:g} allowed", "Paradex portfolio margin"
    )


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.sampled_from(LINEAR_CONTRACTS), st.integers(-400, 400), min_size=1, max_size=6),
    st.floats(-0.01, 0.01),
)
def test_the_model_is_its_plain_twin(steps: dict[str, int], rate: float) -> None:
    held = {name: n * float(LINEAR.quantity_step[ROW[name]]) * 20 for name, n in steps.items()}
    params = replace(SHIPPED, funding_rate_8h={"any": rate})
    want = naive.requirement(
        [(plain(name), q) for name, q in held.items()], INDEX["ETH"], params.asset("ETH"), params, rate
    )
    required = paradex_pm.Model(params).requirement(linear_book(held), EXACT, backend="numpy")
    assert (required.initial[0], required.maintenance[0]) == pytest.approx(want, rel=1e-9, abs=1e-6)


EXACT = arrays_for(SHIPPED)


def test_in_the_averaging_period_an_option_counts_with_what_is_left_of_it() -> None:
    """Half of the 30 minutes before expiry: half the gains; a perpetual counts in full."""
    times = LINEAR_MARKET.expiry_time.copy()
    times[8] = NOW_MS + 900_000
    market = replace(LINEAR_MARKET, expiry_time=times)
    arrays = arrays_for(SHIPPED, market)
    model = paradex_pm.Model(SHIPPED)
    book = linear_book({"ETH_USDC-3D-1.0--1": -10.0})
    weight = np.array([row[2] for row in SHIPPED.asset("ETH").scenarios])
    loss = (10.0 * arrays.pnl[ROW["ETH_USDC-3D-1.0--1"]] * weight).max()
    assert model.requirement(book, arrays).charges["scan"][0, 0] == pytest.approx(0.5 * loss)
    settled = replace(market, fixed_share=np.where(np.arange(12) == 8, 0.5, 0.0))
    again = arrays_for(SHIPPED, settled)
    loss = (10.0 * again.pnl[ROW["ETH_USDC-3D-1.0--1"]] * weight).max()
    assert model.requirement(book, again).charges["scan"][0, 0] == pytest.approx(loss)


def test_only_dollars_are_collateral() -> None:
    haircut = paradex_pm.Model(SHIPPED).haircut(EXACT)
    assert haircut[[ROW[name] for name in ("USD", "USDC", "BTC", "ETH")]].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert not haircut[LINEAR.kind == Kind.OPTION].any()


def test_what_is_missing_is_named() -> None:
    only_btc = replace(SHIPPED, assets={"btc": SHIPPED.asset("BTC")})
    with pytest.raises(ConfigError, match=r"no assets\.eth among the parameters, which ETH needs"):
        paradex_pm.Model(only_btc).scenario_set(LINEAR_MARKET)
    unfunded = paradex_pm.Model(replace(SHIPPED, funding_rate_8h={}))
    with pytest.raises(ConfigError, match=r"no funding_rate_8h\.btc among the parameters"):
        unfunded.requirement(linear_book({"BTC-PERPETUAL": 1.0}), EXACT)


@pytest.mark.parametrize(
    "change",
    [{"assets": {"btc": 1}}, {"funding_rate_8h": {"btc": 2.0}}, {"funding_rate_8h": {"btc": True}}, {"assets": None},
     {"funding_rate_8h": None}],
)  # fmt: skip
def test_parameters_outside_their_bounds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(SHIPPED, **change)
    asset = SHIPPED.asset("BTC")
    for scenarios in ((), ((-1.0, 0.0, 1.0),), ((0.0, 0.0, 1.1),), ((0.0, float("nan"), 1.0),)):
        with pytest.raises(ConfigError, match="scenarios"):
            replace(asset, scenarios=scenarios)
    with pytest.raises(ConfigError, match="same number of scenarios"):
        replace(SHIPPED, assets={"btc": asset, "eth": Asset(asset.scenarios[:3], 0.01, 0.02)})
