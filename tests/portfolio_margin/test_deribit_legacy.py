"""Deribit's portfolio margin before the risk matrix: two printed numbers and a plain twin on random books."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.models.deribit_legacy_pm import Model, Params
from pricing import ConfigError
from pricing.resolve import resolve
from scenarios import bind, revalue
from tests.examples import DAY_MS, NOW_MS
from tests.naive import deribit_legacy as naive
from tests.portfolio_margin.deribit_examples import CONTRACTS, INDEX, LINEAR, LINEAR_MARKET, ROW, linear_book, plain
from tests.vectors import worked_examples

PARAMS = Params(0.1, 0.38, 0.3, 1.3, 0.01, 0.005, 0.01)
EXACT = revalue(LINEAR, LINEAR_MARKET, Model(PARAMS).scenario_set(LINEAR_MARKET), backend="numpy", tick=None)
BTC = [name for name in CONTRACTS if name.startswith("BTC")]


@pytest.mark.reference
def test_printed_numbers(report_vectors: Any) -> None:
    errors = []
    for example in worked_examples("Deribit portfolio margin (legacy)"):
        i, (want,) = example["inputs"], example["expected"].values()
        if "dte" in i:
            model = Model(replace(PARAMS, vol_range=i["base"], vega_power=i["power"]))
            times = LINEAR_MARKET.expiry_time.copy()
            times[1] = NOW_MS + i["dte"] * DAY_MS
            market = replace(LINEAR_MARKET, expiry_time=times)
            row = ROW["BTC-30D-1.0-+1"]
            vols = bind(model.scenario_set(market), market, resolve(LINEAR, market)).vol[row]
            found = vols[0] / vols[1] - 1.0
        else:
            model = Model(replace(PARAMS, short_option_rate=i["rate_btc"]))
            held = {
                f"BTC-30D-1.0-{sign}1": float(i["strike_positions"][side])
                for side, sign in (("call", "+"), ("put", "-"))
            }
            found = model.requirement(linear_book(held), EXACT).charges["short_options"][0, 1] / INDEX["BTC"]
        errors.append(abs(found - want) / example["tolerance"]["abs"])
        assert errors[-1] <= 1.0
    report_vectors(len(errors), max(errors), "of the tolerance", "Deribit legacy")


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(BTC), st.integers(-400, 400), min_size=1, max_size=8))
def test_the_model_is_its_plain_twin(steps: dict[str, int]) -> None:
    held = {name: n * float(LINEAR.quantity_step[ROW[name]]) for name, n in steps.items()}
    want = naive.maintenance([(plain(name), q) for name, q in held.items()], PARAMS, INDEX["BTC"])
    required = Model(PARAMS).requirement(linear_book(held), EXACT, backend="numpy")
    for name, amount in want.items():
        assert required.charges[name][0] == pytest.approx([1.3 * amount, amount], rel=1e-9, abs=1e-6), name


def test_strikes_of_different_expiries_are_not_netted() -> None:
    book = linear_book({"BTC-30D-1.0-+1": 4.0, "BTC-3D-1.0-+1": -4.0})
    charge = Model(PARAMS).requirement(book, EXACT).charges["short_options"][0, 1]
    assert charge == pytest.approx(4.0 * 0.01 * INDEX["BTC"])
    lines = [line for line in Model(PARAMS).contributions(book, EXACT) if line.charge == "short_options"]
    assert [float(line.maintenance) for line in lines] == pytest.approx([charge])
    assert np.all(Model(PARAMS).haircut(EXACT) == 0.0)


@pytest.mark.parametrize(
    "change", [{"price_range": 0.0}, {"buckets": 2.5}, {"futures_rate": 1.1}, {"initial_factor": 0.9}]
)
def test_parameters_outside_their_bounds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(PARAMS, **change)
