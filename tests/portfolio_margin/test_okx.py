"""OKX's portfolio margin: the printed reply, a plain twin on random books, and what the rule implies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import load_parameters
from portfolio_margin.models import okx_pm
from portfolio_margin.models.okx_pm import Group, vega_per_contract
from pricing import ConfigError, Kind
from scenarios import RiskArrays, revalue
from scenarios.shocks import make
from tests.naive import okx as naive
from tests.portfolio_margin.deribit_examples import CONTRACTS, LINEAR, LINEAR_MARKET, ROW, linear_book, plain
from tests.vectors import worked_examples

SHIPPED, _ = load_parameters("okx_pm")
GIVEN = replace(SHIPPED, term_structure_vol=0.07, rate_move=0.03, haircut={"any": 0.1})
LINEAR_CONTRACTS = [name for name in CONTRACTS if name.startswith("ETH_USDC")]


def arrays_for(params: Any) -> RiskArrays:
    return revalue(LINEAR, LINEAR_MARKET, okx_pm.Model(params).scenario_set(LINEAR_MARKET), backend="numpy", tick=None)


EXACT = arrays_for(GIVEN)


@pytest.mark.reference
def test_printed_reply(report_vectors: Any) -> None:
    """Two units of one perpetual each. The venue shocks a price 1.5e-4 apart from that of the delta, so the worst loss
    is taken at its printed price; everything else follows from the printed delta."""
    errors = []
    for example in worked_examples("OKX portfolio margin"):
        i, want = example["inputs"], example["expected"]
        total = np.zeros(2)
        for unit in i["risk_units"]:
            printed = want[unit["unit"].lower()]
            moves = tuple(unit["mr1_max_move"] * k / 3 for k in (1, 2, 3))
            group = Group(moves, unit["mr4_rate"], 0.0, unit["mr7_rate"])
            params = replace(SHIPPED, groups={"any": group}, group_of={"any": "any"}, initial_factor=i["im_factor"])
            assert params.extreme_multiple * moves[-1] == pytest.approx(unit["mr6_max_move"])
            model, arrays = okx_pm.Model(params), arrays_for(params)
            row, shocked = ROW["ETH_USDC-PERPETUAL"], printed["mr1"] / unit["mr1_max_move"]
            delta, rows = arrays.delta.copy(), arrays.rows.copy()
            delta[row] = abs(unit["delta_usd"])
            rows[row] = shocked * arrays.scenario_set.price_move[:, 2]
            book = linear_book({"ETH_USDC-PERPETUAL": float(np.sign(unit["delta_usd"]))})
            required = model.requirement(book, replace(arrays, delta=delta, rows=rows))
            minimum = model._tiered(np.abs([unit["delta_usd"]]) * group.minimum)[0]
            pairs = [
                (required.charges["scan"][0, 1], printed["mr1"]),
                (required.charges["basis"][0, 1], printed["mr4"]),
                (minimum, printed["mr7"]),
                (required.maintenance[0], printed["mmr"]),
                (required.initial[0], printed["imr"]),
            ]
            errors += [abs(a - b) / abs(b) for a, b in pairs]
            total += required.initial[0], required.maintenance[0]
        borrowed = i["borrow_mmr"] * np.array([i["borrow_im_factor"], 1.0])
        errors += [abs(total[1] / want["deriv_mmr"] - 1.0)]
        errors += (np.abs((total + borrowed) / [want["total_imr"], want["total_mmr"]] - 1.0)).tolist()
        assert max(errors) <= example["tolerance"]["rel"]
    report_vectors(len(errors), max(errors), "relative", "worked examples, OKX portfolio margin")


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(LINEAR_CONTRACTS), st.integers(-400, 400), min_size=1, max_size=6))
def test_the_model_is_its_plain_twin(steps: dict[str, int]) -> None:
    held = {name: n * float(LINEAR.quantity_step[ROW[name]]) * 3_000 for name, n in steps.items()}
    want = naive.maintenance([(plain(name), q) for name, q in held.items()], GIVEN, GIVEN.group("ETH"))
    required = okx_pm.Model(GIVEN).requirement(linear_book(held), EXACT, backend="numpy")
    found = {name: parts[0, 1] for name, parts in required.charges.items()}
    assert found["scan"] == pytest.approx(max(want["mr1"], want["mr2"], want["mr6"]), rel=1e-9, abs=1e-6)
    for name, number in (("vega", 3), ("basis", 4), ("rate", 5)):
        assert found[name] == pytest.approx(want[f"mr{number}"], rel=1e-9, abs=1e-6)
    assert required.maintenance[0] == pytest.approx(want["mmr"], rel=1e-9, abs=1e-6)
    assert required.initial[0] == pytest.approx(1.3 * want["mmr"], rel=1e-9, abs=1e-6)


def test_vega_is_the_gain_of_a_small_move_of_vol() -> None:
    small = make(["up", "down"], np.zeros(2), vol_shift=np.array([1e-5, -1e-5]))
    pnl = revalue(LINEAR, LINEAR_MARKET, small, backend="numpy", tick=None).pnl
    option = LINEAR.kind == Kind.OPTION
    assert vega_per_contract(EXACT)[option] == pytest.approx((pnl[:, 0] - pnl[:, 1])[option] / 2e-5, rel=1e-5, abs=1e-4)
    assert not vega_per_contract(EXACT)[~option].any()


def test_what_is_not_published_must_be_given() -> None:
    option, perpetual = linear_book({"BTC-30D-1.0-+1": -1.0}), linear_book({"BTC-PERPETUAL": 1.0})
    model = okx_pm.Model(SHIPPED)
    assert model.requirement(perpetual, EXACT).initial[0] > 0.0
    with pytest.raises(ConfigError, match="term_structure_vol must be given for options"):
        model.requirement(option, EXACT)
    with pytest.raises(ConfigError, match="rate_move must be given for dated contracts"):
        okx_pm.Model(replace(SHIPPED, term_structure_vol=0.05)).requirement(option, EXACT)
    with pytest.raises(ConfigError, match=r"no haircut\.btc among the parameters"):
        model.haircut(EXACT)
    with pytest.raises(ConfigError, match=r"no group_of\.btc among the parameters, which BTC needs"):
        okx_pm.Model(replace(SHIPPED, group_of={})).scenario_set(LINEAR_MARKET)


@pytest.mark.parametrize(
    ("field", "value"),
    [("vol_points", (0.1,)), ("vol_days", (0.0, 0.0, 1.0)), ("tier_limits", (2.0, 1.0, 3.0, 4.0, 5.0, 6.0)),
     ("tier_multipliers", (1.0,)), ("tier_multipliers", (0.5,) * 7), ("groups", {"a": 1}), ("groups", None),
     ("group_of", {"btc": "minor"}), ("haircut", {"btc": 1.5}), ("term_structure_vol", -1.0), ("rate_move", 2.0)],
)  # fmt: skip
def test_parameters_outside_their_bounds_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        replace(SHIPPED, **{field: value})


def test_groups_have_bounds() -> None:
    for change in ({"price_moves": ()}, {"price_moves": (0.2, 0.1)}, {"price_moves": (0.5,)}, {"minimum": 2.0},
                   {"basis_perpetual": -0.1}, {"basis_annual": float("nan")}):  # fmt: skip
        with pytest.raises(ConfigError, match=next(iter(change))):
            replace(SHIPPED.group("BTC"), **change)
    with pytest.raises(ConfigError, match="same number of price_moves"):
        replace(SHIPPED, groups={**SHIPPED.groups, "major": Group((0.1,), 0.0, 0.0, 0.0)})
