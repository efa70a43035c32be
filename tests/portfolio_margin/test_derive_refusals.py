"""What Derive's managers refuse: feeds and parameters that cannot be, books and markets they have no rule for."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import load_parameters
from portfolio_margin.derive_feeds import Feeds
from portfolio_margin.models import derive_pmrm2, derive_standard
from pricing import ConfigError, DataError
from pricing.market import UNDATED
from tests.bounds import check_bounds_of_numbers
from tests.portfolio_margin.books import ARRAYS, BOOK, book_of
from tests.portfolio_margin.test_derive_models import MODULES, SETS, arrays_of, model_of, models


@models
@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"spot_confidence": {"BTX": 0.5}}, "spot_confidence BTX"),
        ({"vol_confidence": {"BTC-2031-01-01": 0.5}}, "BTC-2031-01-01"),
        ({"collateral_confidence": {"USDX": 0.5}}, "USDX"),
        ({"unsettled": {"account-000000": {"SOL": 1.0}}}, "SOL"),
    ],
)
def test_feeds_of_another_market_are_refused(name: str, feeds: dict[str, Any], words: str) -> None:
    model = model_of(name, Feeds(**feeds))
    arrays = arrays_of(model)
    seen = BOOK.keep((model.not_covered(arrays) == "")[BOOK.instrument_idx])
    with pytest.raises(ConfigError, match=words):
        model.requirement(seen, arrays)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"stable_price": 0.0}, "stable_price"),
        ({"stable_price": "1"}, "stable_price"),
        ({"spot_confidence": {"BTC": 1.1}}, "spot_confidence BTC"),
        ({"perp_confidence": {"BTC": np.nan}}, "perp_confidence BTC"),
        ({"forward_confidence": 0.5}, "forward_confidence"),
        ({"unsettled": {"a": {"BTC": np.inf}}}, "unsettled a BTC"),
        ({"unsettled": 5.0}, "unsettled"),
    ],
)
def test_impossible_feeds_are_refused(feeds: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Feeds(**feeds)


def test_collateral_that_nothing_moves_cancels_no_risk() -> None:
    haircut = derive_pmrm2.Collateral(0.02, 0.01, True)
    model = model_of("derive_pmrm2", collateral={"USD": haircut, "BTC": haircut, "ETH": haircut})
    with pytest.raises(ConfigError, match="USD: is_risk_cancelling"):
        model.requirement(BOOK, arrays_of(model_of("derive_pmrm2")))


def test_a_market_without_parameters_cannot_be_margined() -> None:
    params, info = load_parameters("derive_standard", SETS["derive_standard"])
    model = derive_standard.Model(replace(params, markets={"ETH": params.markets["ETH"]}), info)
    with pytest.raises(ConfigError, match=r"market BTC: give markets\.BTC"):
        model.requirement(book_of({"a": {"BTC-PERPETUAL": 1.0}}), ARRAYS)
    assert len(model.requirement(book_of({"a": {"ETH-PERPETUAL": 1.0, "BTC-PERPETUAL": 0.0}}), ARRAYS).initial) == 1


@models
def test_a_book_without_groups_is_refused(name: str) -> None:
    model = model_of(name)
    with pytest.raises(ConfigError, match="groups"):
        model.requirement(book_of({"a": {"BTC-PERPETUAL": 1.0}}, grouped=False), arrays_of(model))


@pytest.mark.parametrize("name", list(MODULES))
def test_every_parameter_has_bounds(name: str) -> None:
    """The groups inside the parameters, which the contract tests see as one value."""
    params, _ = load_parameters(name, SETS[name])
    stack, seen = [params], 0
    while stack:
        group = stack.pop()
        for value in vars(group).values():
            inner = value.values() if hasattr(value, "values") else value if isinstance(value, tuple) else [value]
            stack += [item for item in inner if is_dataclass(item)]
        if group is not params:
            numbers = [v for v in vars(group).values() if isinstance(v, float | int) and not isinstance(v, bool)]
            bounds = check_bounds_of_numbers(group, lambda _group=group, **change: replace(_group, **change))
            assert len(bounds) == len(numbers)
            seen += len(numbers)
    assert seen > 15


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scenarios": ()}, "1 to 40"),
        ({"scenarios": (derive_pmrm2.Scenario(1.0),) * 41}, "1 to 40"),
        ({"scenarios": (derive_pmrm2.Scenario(1.0, "abs"),) * 2}, "abs"),
        ({"scenarios": "up"}, "Scenario"),
        ({"collateral": {"BTC": 0.1}}, "collateral BTC"),
        ({"collateral": 0.1}, "collateral"),
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        model_of("derive_pmrm2", **change)


@pytest.mark.parametrize("shock", [0.01, 0.19, 11.0, 100.0])
def test_pmrm_2_takes_what_the_contract_takes(shock: float) -> None:
    """Its setters bound neither moves of the spot nor dampening, and the time floor from above only."""
    params, _ = load_parameters("derive_pmrm2", SETS["derive_pmrm2"])
    scenario = derive_pmrm2.Scenario(shock, "up", 10.0 * shock)
    vol_shock = replace(params.vol_shock, dte_floor_sec=shock)
    margins = replace(params.margin, mm_factor=0.1, long_base_static_discount=4.0, short_base_static_discount=0.0)
    basis = replace(params.basis_contingency, scenario_spot_down=0.001)
    legal = replace(params, scenarios=(scenario,), vol_shock=vol_shock, margin=margins, basis_contingency=basis)
    model = derive_pmrm2.Model(replace(legal, collateral={"BTC": derive_pmrm2.Collateral(0.1, 0.1, True)}))
    book = book_of({"a": {"BTC-PERPETUAL": 100.0, "BTC": 1.0}})
    arrays = arrays_of(model)
    (part,) = model.portfolios(book, arrays)
    gain = (100.0 * 10.0 + arrays.terms.spot[0]) * (shock - 1.0) * 10.0 * shock
    assert part.by_account(part.pnl)[0] == pytest.approx([gain], rel=1e-6)


@pytest.mark.parametrize(("scenario", "floor"), [(3.01, 86_400.0), (1.0, 863.0), (1.0, 8_640_001.0)])
def test_pmrm_takes_what_its_contract_takes(scenario: float, floor: float) -> None:
    params, _ = load_parameters("derive_pmrm", SETS["derive_pmrm"])
    inside = derive_pmrm2.Scenario(3.0), replace(params.vol_shock, dte_floor_sec=864.0)
    assert replace(params, scenarios=inside[:1], vol_shock=inside[1]).scenarios[0].spot_shock == 3.0
    vol_shock = replace(params.vol_shock, dte_floor_sec=floor)
    with pytest.raises(ConfigError, match="in PMRM"):
        replace(params, scenarios=(derive_pmrm2.Scenario(scenario),), vol_shock=vol_shock)


def test_pmrm_refuses_what_only_pmrm_2_has() -> None:
    params, _ = load_parameters("derive_pmrm", SETS["derive_pmrm"])
    damped = (derive_pmrm2.Scenario(0.9, "up", 0.5),)
    floored = replace(params.vol_shock, min_vol_up_shock=0.4)
    for change in ({"scenarios": damped}, {"scenarios": (derive_pmrm2.Scenario(1.0, "abs"),)}, {"vol_shock": floored}):
        with pytest.raises(ConfigError, match="PMRM_2"):
            replace(params, **change)
    with pytest.raises(ConfigError, match="vol_shock"):
        derive_pmrm2.Scenario(1.0, "sideways")


def test_a_margin_in_coins_is_refused() -> None:
    model = model_of("derive_standard")
    coin = replace(ARRAYS, currency="BTC")
    with pytest.raises(ConfigError, match="stable currency"):
        model.requirement(BOOK, coin)


@models
@pytest.mark.parametrize(("seconds", "refused"), [(1_801, True), (86_400, True), (1_800, False), (600, False)])
def test_nothing_of_a_forward_is_fixed_before_the_settlement_window(name: str, seconds: int, refused: bool) -> None:
    """A share that is fixed moves in no scenario: at Derive there is none until the last half hour."""
    model = model_of(name)
    arrays = arrays_of(model)
    seen = BOOK.keep((model.not_covered(arrays) == "")[BOOK.instrument_idx])
    first = int(np.flatnonzero(arrays.terms.expiry_time != UNDATED)[0])
    share = np.where(np.arange(len(arrays.terms.forward)) == first, 0.95, 0.0)
    time = np.where(share > 0.0, arrays.valuation_time + 1_000 * seconds, arrays.terms.expiry_time)
    fixed = replace(arrays, terms=replace(arrays.terms, fixed_share=share, expiry_time=time))
    if refused:
        with pytest.raises(DataError, match=r"fixed_share = 0.95: must be 0 until 1800 s before the expiry"):
            model.requirement(seen, fixed)
    else:
        assert len(model.requirement(seen, fixed).initial) == len(seen)
