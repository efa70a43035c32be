"""Derive's managers: against plain Python on random books, properties of the rules, edges, feeds, refusals."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import derive_scenarios, explain, load_parameters, margin
from portfolio_margin.aggregate import account_sums
from portfolio_margin.derive_feeds import Feeds
from portfolio_margin.models import derive_pmrm, derive_pmrm2, derive_standard
from pricing import UNDATED
from scenarios import revalue
from scenarios.risk_arrays import RiskArrays
from tests.naive import derive as naive
from tests.portfolio_margin.books import (
    ARRAYS,
    BOOK,
    GRID,
    INSTRUMENTS,
    MARKET,
    ROW,
    book_of,
)
from tests.portfolio_margin.derive_cases import unrounded
from tests.portfolio_margin.test_contracts import check_tree
from tests.portfolio_margin.test_derive_vectors import params_of, portfolio_case, standard_case

MODULES = {"derive_pmrm": derive_pmrm, "derive_pmrm2": derive_pmrm2, "derive_standard": derive_standard}
SETS = {"derive_pmrm": "2026-01-21", "derive_pmrm2": "2026-01-21-cases", "derive_standard": "2026-01-21"}
models = pytest.mark.parametrize("name", list(MODULES))


def model_of(name: str, feeds: Feeds | None = None, **change: Any) -> Any:
    params, info = load_parameters(name, SETS[name])
    params = replace(params, **change) if feeds is None else replace(params, feeds=feeds, **change)
    return MODULES[name].Model(params, info)


def arrays_of(model: Any, tick: float | None = 1e-6) -> RiskArrays:
    moves = model.scenario_set(MARKET)
    return ARRAYS if moves is None else revalue(INSTRUMENTS, MARKET, moves, tick=tick)


def near(random: np.random.Generator, low: float, high: float) -> float:
    return round(float(random.uniform(low, high)), 4)


def confidence(random: np.random.Generator) -> float:
    return near(random, 0.2, 1.0)


def random_market(random: np.random.Generator) -> dict[str, Any]:
    """A market as the vectors have them; some expiries over, some being averaged, some rates below 0."""
    spot = near(random, 20.0, 60_000.0)
    expiries = []
    for seconds in sorted(random.choice([0, 900, 86_400, 604_800, 2_592_000, 2_592_001, 20_000_000], 3, replace=False)):
        forward = spot * near(random, 0.95, 1.08)
        fixed = forward * (0.5 if seconds == 900 else 0.0)
        expiries.append(
            {
                "sec_to_expiry": int(seconds),
                "forward_fixed": fixed,
                "forward_variable": forward - fixed,
                "rate": near(random, -0.02, 0.2),
                **{f"{kind}_confidence": confidence(random) for kind in ("forward", "rate", "vol")},
            }
        )
    return {
        "spot": spot,
        "spot_confidence": confidence(random),
        "perp_confidence": confidence(random),
        "perp_price": spot * near(random, 0.99, 1.01),
        "stable_price": near(random, 0.9, 1.01),
        "expiries": expiries,
    }


def random_options(random: np.random.Generator, market: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Options on few strikes, so that calls and puts meet; no two of the same terms."""
    options = {}
    for _ in range(count):
        index, strike = int(random.integers(3)), market["spot"] * float(random.choice([0.6, 0.9, 1.0, 1.2, 1.7]))
        is_call = bool(random.integers(2))
        amount = float(random.choice([-1.0, 1.0])) * near(random, 0.1, 20.0)
        options[index, strike, is_call] = {
            "expiry_index": index, "strike": strike, "is_call": is_call, "amount": amount,
            "vol": near(random, 0.3, 1.8),
        }  # fmt: skip
    return list(options.values())


def random_portfolio(random: np.random.Generator, market: dict[str, Any]) -> dict[str, Any]:
    held = near(random, -30.0, 30.0) if random.integers(2) else 0.0
    return {
        "cash": near(random, -1e5, 1e5),
        "perp_position": held,
        "perp_unsettled_value": near(random, -1e3, 1e3),
        "options": random_options(random, market, int(random.integers(0, 14))),
    }


def nested(params: Any) -> Any:
    """Parameters as the plain dictionaries of the naive twin."""
    if is_dataclass(params):
        return {f.name: nested(getattr(params, f.name)) for f in fields(params)}
    return [nested(item) for item in params] if isinstance(params, tuple) else params


@pytest.mark.parametrize("name", ["derive_pmrm", "derive_pmrm2"])
@pytest.mark.parametrize("seed", range(30))
def test_portfolio_margins_are_those_of_plain_python(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    market = random_market(random)
    portfolio = random_portfolio(random, market)
    if name == "derive_pmrm":
        portfolio["base_position"] = near(random, 0.0, 20.0)
    else:
        price = market["spot"] * near(random, 0.99, 1.01)
        terms = {"mm_haircut": 0.04, "im_haircut": 0.02}
        portfolio["collaterals"] = [
            {"name": "COIN", "amount": near(random, 0, 9), "price": price, "confidence": confidence(random),
             "is_risk_cancelling": True, **terms},
            {"name": "OTHER", "amount": near(random, 0, 900), "price": 1.13, "confidence": confidence(random),
             "is_risk_cancelling": False, **terms},
        ]  # fmt: skip
    case, collateral, _ = portfolio_case({"market": market, "portfolio": portfolio})
    instruments, tables, book, feeds = case.finish()
    values = nested(load_parameters(name, ("2026-01-21", "2026-01-21-test")[seed % 2])[0])
    values.pop("feeds")
    if collateral:
        values["collateral"] = collateral
    model = MODULES[name].Model(params_of(MODULES[name], values, feeds))
    arrays = unrounded(instruments, tables, model)
    (part,) = model.portfolios(book, arrays)
    found, expected = model.net_margin(book, arrays), naive.portfolio_margin(market, portfolio, values)
    scale = 1e-11 * market["spot"] * 300
    assert found.initial[0] == pytest.approx(expected["initial"], abs=scale)
    assert found.maintenance[0] == pytest.approx(expected["maintenance"], abs=scale)
    assert found.mark_to_market[0] == pytest.approx(expected["value"], abs=scale)
    assert part.by_account(part.pnl)[0] == pytest.approx(expected["pnl"], abs=scale)
    assert part.basis.sum() == pytest.approx(expected["basis"], abs=scale)


@pytest.mark.parametrize("seed", range(30))
def test_standard_margins_are_those_of_plain_python(seed: int) -> None:
    random = np.random.default_rng(seed)
    params = nested(load_parameters("derive_standard", ("2026-01-21", "2026-01-21-test")[seed % 2])[0])
    account: dict[str, Any] = {"stable_price": near(random, 0.9, 1.01), "cash": near(random, -1e5, 1e5)}
    account["depeg_params"], account["markets"] = params["depeg"], []
    for name in ("BTC", "ETH")[: 1 + seed % 2]:
        market = random_market(random)
        portfolio = {**random_portfolio(random, market), "base_position": near(random, 0.0, 20.0)}
        both = {"asset": name, "market": market, "portfolio": portfolio}
        account["markets"].append({**both, "params": nested(params["markets"][name])})
    instruments, tables, book, feeds = standard_case(account)[0].finish()
    values = {"markets": {m["asset"]: m["params"] for m in account["markets"]}, "depeg": params["depeg"]}
    model = derive_standard.Model(params_of(derive_standard, values, feeds))
    arrays = unrounded(instruments, tables, model)
    found, expected = model.net_margin(book, arrays), naive.standard_margin(account)
    for name in ("initial", "maintenance"):
        assert getattr(found, name)[0] == pytest.approx(expected[name], rel=1e-12, abs=1e-5)
    assert found.mark_to_market[0] == pytest.approx(expected["value"], rel=1e-12, abs=1e-5)


@models
def test_unrounded_and_rounded_arrays_agree(name: str) -> None:
    model = model_of(name)
    seen = BOOK.keep((model.not_covered(arrays_of(model)) == "")[BOOK.instrument_idx])
    exact, rounded = (model.requirement(seen, arrays_of(model, tick)) for tick in (None, 1e-6))
    for side in ("initial", "maintenance"):
        assert getattr(exact, side) == pytest.approx(getattr(rounded, side), rel=1e-7, abs=0.01)


@models
@pytest.mark.parametrize("stable_price", [0.97, 1.02])
def test_available_funds_are_the_net_margin_of_the_venue(name: str, stable_price: float) -> None:
    """With rates, doubts, unsettled gains and a stable price off 1: what moves the venue's mark moves our equity."""
    names = [str(account) for account in BOOK.account_id]
    feeds = Feeds(
        stable_price=stable_price,
        unsettled={account: {"BTC": 500.0, "ETH": -20.0} for account in names[:40]},
        spot_confidence={"ETH": 0.3},
        perp_confidence={"BTC": 0.4},
    )
    years = np.where(MARKET.expiry_time == UNDATED, 0.0, 0.3)
    market = replace(MARKET, discount=np.exp(-years * np.array([0.1, 0.2, 0.0, -0.1, 0.3, 0.0])))
    model = model_of(name, feeds)
    arrays = revalue(INSTRUMENTS, market, model.scenario_set(market) or GRID)
    seen = BOOK.keep((model.not_covered(arrays) == "")[BOOK.instrument_idx])
    statement, venue = margin(BOOK, arrays, market, model), model.net_margin(BOOK, arrays)
    assert model.net_margin(seen, arrays).initial.tolist() == venue.initial.tolist()
    floor = model.requirement(seen, arrays).charges.get("floor", np.zeros((len(BOOK), 2)))
    assert statement.available_funds == pytest.approx(venue.initial - floor[:, 0], abs=0.03)
    assert statement.excess_liquidity == pytest.approx(venue.maintenance - floor[:, 1], abs=0.03)
    assert statement.equity == pytest.approx(venue.mark_to_market, abs=0.02)
    stated = account_sums(seen, arrays, arrays.value_rows[:, None])[:, 0]
    assert np.all(np.abs(statement.equity - stated) > 1.0)
    for account in names[:8]:
        check_tree(explain(statement, BOOK, arrays, account), statement, account)


@models
def test_what_is_unsettled_counts_only_beside_its_perpetual(name: str) -> None:
    model = model_of(name, Feeds(unsettled={"with": {"BTC": 700.0}, "without": {"BTC": 700.0}}))
    accounts = {"with": {"BTC-PERPETUAL": 10.0, "USD": 1e5}, "without": {"USD": 1e5}}
    statement = margin(book_of(accounts), arrays_of(model), MARKET, model)
    assert statement.equity.tolist() == [100_700.0, 100_000.0]
    plain = margin(book_of(accounts), arrays_of(model), MARKET, model_of(name))
    assert statement.initial_margin.tolist() == plain.initial_margin.tolist()


def test_an_expiry_goes_by_its_day_or_its_time() -> None:
    model = model_of("derive_pmrm2")
    arrays, book = arrays_of(model), book_of({"a": {"BTC-60D-68000-C": 1.0}})
    assert book.quantity[0] == 1.0
    day = str(arrays.expiry_name[INSTRUMENTS.expiry_idx[book.instrument_idx[0]]])
    time = MARKET.expiry_time[INSTRUMENTS.expiry_idx[book.instrument_idx[0]]]
    moment = str(np.datetime64(int(time), "ms").astype("datetime64[s]"))
    asked = []
    for key in (day, f"BTC-{moment}"):
        changed = model_of("derive_pmrm2", Feeds(vol_confidence={key: 0.3}))
        asked.append(changed.requirement(book, arrays).charges["confidence"][0, 0])
    assert asked[0] == asked[1] == pytest.approx(0.7 * MARKET.spot[0], rel=1e-14)


def test_an_account_of_two_underlyings_is_margined_as_two(name: str = "derive_pmrm2") -> None:
    model = model_of(name)
    arrays = arrays_of(model)
    seen = BOOK.keep((model.not_covered(arrays) == "")[BOOK.instrument_idx])
    whole = model.requirement(seen, arrays)
    parts = [
        model.requirement(seen.keep(arrays.underlying_idx[seen.instrument_idx] == u), arrays)
        for u in range(len(arrays.underlying_id))
    ]
    assert whole.initial == pytest.approx(parts[0].initial + parts[1].initial, rel=1e-13)
    assert np.all(np.isin(whole.worst_scenario, [p.worst_scenario for p in parts]))


def test_doubt_is_a_step() -> None:
    """At the threshold nothing, just below it all of it."""
    params, _ = load_parameters("derive_pmrm2", SETS["derive_pmrm2"])
    threshold = params.other_contingency.conf_threshold
    book = book_of({"a": {"BTC-PERPETUAL": 100.0}})
    units = 100.0 * 10.0 / MARKET.forward[ARRAYS.expiry_idx[ROW["BTC-PERPETUAL"]]]
    for value, share in ((threshold, 0.0), (threshold - 1e-9, 1.0 - threshold)):
        model = model_of("derive_pmrm2", Feeds(spot_confidence={"BTC": value}))
        found = model.requirement(book, arrays_of(model)).charges["confidence"][0]
        assert found == pytest.approx([share * units * MARKET.spot[0], 0.0], rel=1e-8)


def test_the_scripts_discounts_let_options_gain_from_nothing() -> None:
    """What the set says of itself: long and short gain where nothing moves; with the case files' they lose."""
    book = book_of({"long": {"BTC-60D-40800-C": 1.0}, "short": {"BTC-60D-40800-C": -1.0}})
    for set_name, gains in (("2026-01-21", True), ("2026-01-21-cases", False)):
        params, info = load_parameters("derive_pmrm2", set_name)
        model = derive_pmrm2.Model(params, info)
        arrays = arrays_of(model)
        (part,) = model.portfolios(book, arrays)
        assert np.all((part.trusted[:, 2] > 0) == gains), set_name
        doubtful = info.identity()["parameters_doubtful"]
        assert ("margin.long_base_static_discount" in doubtful) == gains


def test_an_asset_the_venue_does_not_take_is_worth_nothing() -> None:
    model = model_of("derive_pmrm2", collateral={})
    statement = margin(book_of({"a": {"BTC": 2.0, "USD": 100.0}}), arrays_of(model), MARKET, model)
    assert statement.margin_balance[0] == 100.0
    assert statement.equity[0] == pytest.approx(100.0 + 2.0 * MARKET.spot[0])
    assert len(statement.positions_excluded) == 1
    assert "no haircut" in statement.positions_excluded[0]


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_an_asset_without_margin_value_is_not_doubted(factor: float) -> None:
    """What counts for nothing loses nothing by a price in doubt."""
    params, _ = load_parameters("derive_standard", SETS["derive_standard"])
    base = {
        name: replace(m, base_margin=replace(m.base_margin, margin_factor=factor)) for name, m in params.markets.items()
    }
    model = model_of("derive_standard", Feeds(spot_confidence={"BTC": 0.1}), markets=base)
    contingency = base["BTC"].oracle_contingency
    assert contingency.base_threshold > 0.1 and contingency.oc_factor > 0.0
    charged = model.requirement(book_of({"a": {"BTC": 2.0}}), ARRAYS).charges["confidence"][0]
    doubted = 2.0 * MARKET.spot[0] * 0.9 * contingency.oc_factor if factor else 0.0
    assert charged == pytest.approx([doubted, 0.0], rel=1e-9)


def test_a_scenario_as_bad_as_the_basis_is_not_the_worst() -> None:
    """The venue starts from the basis contingency and takes a scenario only where it is lower."""
    params, _ = load_parameters("derive_pmrm2", SETS["derive_pmrm2"])
    basis = replace(params.basis_contingency, scenario_spot_up=1.045, add_factor=1.0, mult_factor=0.0)
    margin_ = replace(
        params.margin,
        **{f"{side}_base_static_discount": 1.0 for side in ("short", "long")},
        **{f"{side}_rate_{kind}_scale": 0.0 for side in ("short", "long") for kind in ("mult", "add")},
    )
    scenarios = (derive_scenarios.Scenario(1.0), derive_scenarios.Scenario(1.045))
    model = model_of("derive_pmrm2", scenarios=scenarios, basis_contingency=basis, margin=margin_)
    arrays = arrays_of(model)
    call = next(str(n) for n in INSTRUMENTS.instrument_id if str(n).startswith("BTC-") and str(n).endswith("-C"))
    (part,) = model.portfolios(book_of({"a": {call: -1.0}}), arrays)
    assert part.pnl[0].min() == part.basis[0] < 0.0
    assert part.worst_column.tolist() == [len(scenarios)]
    worse = model_of("derive_pmrm2", scenarios=(*scenarios, derive_scenarios.Scenario(1.046)), basis_contingency=basis,
                     margin=margin_)  # fmt: skip
    (part,) = worse.portfolios(book_of({"a": {call: -1.0}}), arrays_of(worse))
    assert part.worst_column.tolist() == [2]


def test_initial_margin_is_lifted_where_factors_contradict_each_other() -> None:
    """A maintenance factor above the initial one, which the venue's setter takes."""
    params, _ = load_parameters("derive_pmrm2", SETS["derive_pmrm2"])
    model = model_of("derive_pmrm2", margin=replace(params.margin, mm_factor=4.0))
    arrays = arrays_of(model)
    seen = BOOK.keep((model.not_covered(arrays) == "")[BOOK.instrument_idx])
    required, venue = model.requirement(seen, arrays), model.net_margin(seen, arrays)
    lifted = required.charges["floor"][:, 0] > 0
    assert lifted.sum() > len(BOOK) / 2
    assert np.all(required.initial >= required.maintenance)
    assert np.all(venue.initial[lifted] > venue.maintenance[lifted])
    assert np.array_equal(sum(required.charges.values())[:, 0], required.initial)
