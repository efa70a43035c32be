"""The model: against its naive twin, and what a requirement that moves must do."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, explain, margin
from portfolio_margin.charges import short_option_minimum
from portfolio_margin.dynamic import concentration, crowding, near_expiry, oracle
from portfolio_margin.dynamic.closing import gap_columns
from portfolio_margin.dynamic.crowding import sides
from portfolio_margin.dynamic.moves import TIERS, Moves, nested_scenarios, tier_widths
from portfolio_margin.models import dynamic_worst_case as model_file
from portfolio_margin.risk_units import vega_per_contract
from pricing import ConfigError
from pricing.instruments import Instruments, Kind
from pricing.market import Market
from scenarios import RiskArrays, revalue
from tests.naive import dynamic as naive
from tests.portfolio_margin.books import (
    ARRAYS,
    BOOK,
    INSTRUMENTS,
    MARKET,
    ROW,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
)
from tests.portfolio_margin.dynamic.states import state
from tests.portfolio_margin.test_contracts import check_tree

# Expiries within the window, so that every part of the requirement is at work.
PARAMS = model_file.Params(
    {"BTC": state(), "ETH": state(daily_volume=2e8, daily_vega_volume=5e6, long_share=0.2)},
    near_expiry=near_expiry.Params(window_days=30.0),
)
MODEL = model_file.Model(PARAMS)
UNDER = revalue(INSTRUMENTS, MARKET, MODEL.scenario_set(MARKET))
# Tiers so low that the accounts of the tests lie in all of them.
TIERED = replace(PARAMS, concentration=concentration.Params(curve="tiered", tiers=(0.0, 0.0005, 0.005, 0.05)))


# Charges that accounts of the book with these parameters have.
ALWAYS = (*TIERS, "near_expiry", "concentration", "liquidity", "basis")


def naive_positions(book: Book, arrays: RiskArrays, haircut: np.ndarray) -> list[naive.Position]:
    vega, years = vega_per_contract(arrays), arrays.years_to_expiry
    positions = []
    for row, quantity in zip(book.instrument_idx.tolist(), book.quantity.tolist(), strict=True):
        collateral, owner = bool(arrays.is_collateral[row]), int(arrays.underlying_idx[row])
        counted = quantity * (1.0 - haircut[row]) if collateral and quantity > 0 else quantity
        positions.append(
            {
                "underlying": "" if owner < 0 else str(arrays.underlying_id[owner]),
                "expiry": int(arrays.expiry_idx[row]),
                "option": arrays.kind[row] == Kind.OPTION,
                "collateral": collateral,
                "quantity": quantity,
                "counted": counted,
                "pnl": arrays.pnl[row].tolist(),
                "delta": float(arrays.delta[row]),
                "vega": float(vega[row]),
                "value": float(arrays.value[row]),
                "notional": float(arrays.notional[row]),
                "days": float(years[arrays.expiry_idx[row]] * 365.0),
            }
        )
    return positions


@pytest.mark.parametrize("params", [PARAMS, TIERED], ids=["continuous", "tiered"])
def test_every_charge_is_the_naive_one(params: model_file.Params) -> None:
    model = model_file.Model(params)
    book = BOOK.accounts(0, 12)
    required = model.requirement(book, UNDER)
    floor = short_option_minimum(book, UNDER, params.short_option_minimum)
    tier, gap = UNDER.scenario_set.tier.tolist(), gap_columns(UNDER)
    for a, account in enumerate(book.account_id):
        positions = naive_positions(book.select(str(account)), UNDER, model.haircut(UNDER))
        wanted = naive.charges(positions, tier, gap, float(floor[a]), params)
        assert {*wanted, "collateral_limit", "depeg", "balances_owed"} == set(required.charges)  # test_assets.py
        for name, amount in wanted.items():
            found = required.charges[name][a] / np.array([params.initial_factor, params.maintenance_factor])
            # Delta and vega of the model are whole ticks per step.
            assert found == pytest.approx([amount, amount], rel=1e-6, abs=1e-2), name
    assert all(parts[:, 0].max() > 0.0 for name, parts in required.charges.items() if name in ALWAYS)


@settings(max_examples=40, deadline=None)
@given(contracts_held, st.sampled_from([PARAMS, TIERED]))
def test_twice_the_position_needs_at_least_twice_the_margin(steps: dict[str, int], params: model_file.Params) -> None:
    """The market part doubles; size and liquidity more than double, strictly where there is anything to lose."""
    model = model_file.Model(params)
    required = model.requirement(book_of({"one": in_steps(steps), "two": in_steps(steps, 2)}), UNDER)
    one, two = required.maintenance
    assert two >= 2.0 * one * (1.0 - 1e-12)
    for name in ("concentration", "liquidity"):
        single, double = required.charges[name][:, 1]
        assert double >= 2.0 * single * (1.0 - 1e-12)
    if params is PARAMS and required.charges["scan"][0, 1] > 1.0:
        assert two > 2.0 * one


@pytest.mark.parametrize("name", [name for name in ROW if name.startswith("BTC-7D-")])
def test_closing_an_option_held_costs_no_more_than_it_is_worth_but_for_impact(name: str) -> None:
    wide = ((2.0,) * len(PARAMS.liquidity.deltas),) * len(PARAMS.liquidity.days)
    params = replace(PARAMS, liquidity=replace(PARAMS.liquidity, half_spreads=wide, impact=0.0))
    cost = model_file.Model(params).requirement(book_of({"a": {name: 10.0}}), UNDER).charges["liquidity"][0, 1]
    hedge = 10.0 * abs(float(UNDER.delta[ROW[name]])) * params.underlyings["BTC"].half_spread
    assert cost <= 10.0 * float(UNDER.value[ROW[name]]) + hedge + 1e-3


@settings(max_examples=25, deadline=None)
@given(contracts_held, st.integers(1, 400))
def test_the_requirement_is_continuous_in_size(steps: dict[str, int], count: int) -> None:
    """One step of a contract moves a large account by little: no cliff between tiers."""
    model = model_file.Model(TIERED)
    held, more = in_steps(steps), in_steps(steps)
    name = "BTC-PERPETUAL"
    held[name], more[name] = 1000.0 * count, 1000.0 * count + 1.0  # 10 USD more
    before, after = model.requirement(book_of({"a": held, "b": more}), UNDER).maintenance
    assert abs(after - before) < 10.0 * 5.0


def test_a_hedged_book_pays_for_what_is_left_not_for_its_legs() -> None:
    """A short call against the future: the delta nets, so hedging costs less than for either leg alone."""
    call = (
        "BTC-60D-68000-C"
        if "BTC-60D-68000-C" in ROW
        else next(n for n in ROW if n.startswith("BTC-60D-6") and n.endswith("C"))
    )
    delta = float(UNDER.delta[ROW[call]])
    contracts = round(-100.0 * -delta / float(UNDER.delta[ROW["BTC-PERPETUAL"]]))
    legs = {"call": {call: -100.0}, "future": {"BTC-PERPETUAL": float(contracts)}}
    hedged = {**legs["call"], **legs["future"]}
    cost = MODEL.requirement(book_of({**legs, "hedged": hedged}), UNDER).charges["liquidity"][:, 1]
    whole = dict(zip(("call", "future", "hedged"), cost, strict=True))
    assert whole["hedged"] < whole["call"] < whole["call"] + whole["future"]
    # A calendar spread of the same strike is closed as one where both legs lie in the same buckets, else as two.
    flat = MODEL.requirement(book_of({"flat": {call: 5.0}, "none": {call: 0.0}}), UNDER).charges["liquidity"]
    assert flat[0, 1] > flat[1, 1] == 0.0


@pytest.mark.parametrize("perpetual", [-20_000.0, 20_000.0])
def test_a_perpetual_against_a_dated_future_pays_for_both_legs(perpetual: float) -> None:
    """No delta and no loss in any scenario, yet both must be closed; two perpetuals of one coin would net."""
    delta = {name: float(UNDER.delta[ROW[name]]) for name in ("BTC-PERPETUAL", "BTC-60D")}
    dated = -round(perpetual * delta["BTC-PERPETUAL"] / delta["BTC-60D"])
    pair = {"BTC-PERPETUAL": perpetual, "BTC-60D": float(dated)}
    accounts = {"pair": pair, "twice": {name: 2.0 * size for name, size in pair.items()}}
    required = MODEL.requirement(book_of(accounts), UNDER)
    legs = sum(abs(size * delta[name]) for name, size in pair.items())
    floor = legs * PARAMS.underlyings["BTC"].half_spread
    assert required.charges["liquidity"][0, 1] == pytest.approx(floor, rel=1e-3)
    assert required.maintenance[0] >= floor > 0.0
    assert required.maintenance[1] >= 2.0 * required.maintenance[0] * (1.0 - 1e-12)
    statement = margin(book_of(accounts), UNDER, MARKET, MODEL)
    check_tree(explain(statement, book_of(accounts), UNDER, "pair"), statement, "pair")


@settings(max_examples=25, deadline=None)
@given(
    contracts_held,
    balances_held,
    st.sampled_from(
        [
            {"price_range": 0.25},
            {"vol_up": 0.9},
            {"vol_down": 0.6},
            {"oracle_age_seconds": 3000.0},
            {"oracle_confidence": 0.05},
            {"daily_volume": 1e8},
            {"daily_vega_volume": 1e6},
            {"open_interest": 1e8},
            {"half_spread": 0.01},
            {"day_move": 0.08},
            {"day_vol_change": 0.1},
        ]
    ),
)
def test_charges_on_size_and_cost_rise_with_a_worse_market(
    steps: dict[str, int], cash: dict[str, float], worse: dict[str, float]
) -> None:
    """Volumes, spreads and moves a day enter the contracts' charges monotonically; ranges only widen the scan."""
    model = model_file.Model(
        replace(PARAMS, underlyings={n: replace(s, **worse) for n, s in PARAMS.underlyings.items()})
    )
    book = book_of({"a": {**in_steps(steps), **cash}})
    if "price_range" in worse or "vol_up" in worse or "vol_down" in worse or "oracle" in next(iter(worse)):
        arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
        scenario = arrays.scenario_set
        assert np.all(np.abs(scenario.price_move) >= np.abs(UNDER.scenario_set.price_move) - 1e-15)
        assert margin(book, arrays, MARKET, model).maintenance_margin[0] >= 0.0
        return
    if "day_move" in worse:  # it also widens what a stale price adds
        model = replace(model, params=replace(model.params, oracle=oracle.Params(stale_factor=0.0)))
        before = replace(MODEL, params=replace(PARAMS, oracle=oracle.Params(stale_factor=0.0)))
    else:
        before = MODEL
    arrays = UNDER
    for name in ("concentration", "liquidity"):
        now = model.requirement(book, arrays).charges[name][0, 0]
        assert now >= before.requirement(book, arrays).charges[name][0, 0] * (1.0 - 1e-12)


def test_tiers_are_nested_and_say_what_they_are_for() -> None:
    widths = tier_widths(list(PARAMS.underlyings.values()), PARAMS.crowding, PARAMS.oracle)
    for narrow, wide in pairwise(widths):
        for name in ("down", "up", "vol_down", "vol_up"):
            assert np.all(getattr(wide, name) >= getattr(narrow, name))
    crowded, today = widths[2], widths[1]
    # BTC is crowded long, so that it can fall further; ETH is crowded short.
    assert crowded.down[0] == pytest.approx(today.down[0] * 1.2) and crowded.up[0] == today.up[0]
    assert crowded.up[1] == pytest.approx(today.up[1] * 1.2) and crowded.down[1] == today.down[1]
    assert np.all(widths[3].down > crowded.down)
    made = nested_scenarios(list(PARAMS.underlyings.values()), Moves(), PARAMS.crowding, PARAMS.oracle)
    assert np.array_equal(np.unique(made.tier), np.arange(len(TIERS)))
    for k, name in enumerate(TIERS):
        assert all(str(label).startswith(f"{name}:") for label in made.label[made.tier == k])


def test_a_fall_stays_above_nothing_however_wide_the_doubt() -> None:
    wide = state(price_range=0.9, price_floor=0.5, oracle_confidence=0.5, long_share=1.0)
    made = nested_scenarios([wide], Moves(), crowding.Params(), oracle.Params())
    assert made.price_move.min() > -1.0


def test_sides_are_counted_by_accounts() -> None:
    call = next(name for name in ROW if name.startswith("ETH-60D-") and name.endswith("C"))
    book = book_of(
        {
            "a": {"BTC-PERPETUAL": 100.0},
            "b": {"BTC-PERPETUAL": 1.0, "BTC": -50.0},  # what it owes as collateral is not its side
            "c": {"BTC-PERPETUAL": -5000.0},
            "d": {call: -3.0, "ETH-PERPETUAL": 10_000.0},
            "e": {"USD": 5.0},
        }
    )
    found = sides(book, ARRAYS)
    assert found.long_share.tolist() == pytest.approx([2 / 3, 1.0])
    assert found.short_vol_share.tolist() == [0.5, 1.0]
    with pytest.raises(ConfigError, match="differ in vol"):
        sides(
            book, replace(ARRAYS, scenario_set=replace(ARRAYS.scenario_set, vol_move=ARRAYS.scenario_set.vol_move * 0))
        )


def test_a_price_that_is_too_old_gives_no_margin() -> None:
    with pytest.raises(
        ConfigError, match=r"underlyings.BTC.oracle_age_seconds = 4000.0: .* there is no margin from it"
    ):
        replace(PARAMS, underlyings={"BTC": state(oracle_age_seconds=4000.0)})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"underlyings": {"BTC": 1.0}}, "mapping from underlying to Underlying"),
        ({"underlyings": None}, "mapping from underlying to Underlying"),
        ({"crowding": None}, "crowding = None"),
        ({"haircut_by_asset": {"BTC": 2.0}}, "haircut_by_asset BTC"),
        ({"haircut_by_asset": 0.5}, "haircut_by_asset"),
    ],
)
def test_what_are_no_parameters_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        replace(PARAMS, **change)


def test_an_underlying_without_a_state_is_named() -> None:
    model = model_file.Model(replace(PARAMS, underlyings={"ETH": state()}))
    with pytest.raises(ConfigError, match=r"no underlyings.BTC among the parameters; there are ETH"):
        model.scenario_set(MARKET)
    with pytest.raises(ConfigError, match=r"no underlyings.BTC"):
        margin(BOOK, UNDER, MARKET, model)


def test_a_market_of_money_alone_needs_nothing() -> None:
    none, one = np.zeros(0), np.ones(1)
    market = Market(
        valuation_time=MARKET.valuation_time,
        underlying_id=np.zeros(0, dtype=np.str_),
        **dict.fromkeys(("spot", "expiry_underlying", "expiry_time", "forward", "discount"), none),
        svi=np.zeros((0, 5)),
        mark_vol=np.full(1, np.nan),
        currency_id=np.array(["USD"]),
        fx=one,
        currency_underlying=np.array([-1]),
    )
    names = [field.name for field in fields(INSTRUMENTS)]
    money = Instruments(**{name: getattr(INSTRUMENTS, name)[[ROW["USD"]]] for name in names})
    model = model_file.Model(replace(PARAMS, underlyings={}))
    arrays = revalue(money, market, model.scenario_set(market))
    book = Book.from_arrays(["a"], [0], [5.0], money.expiry_idx)
    statement = margin(book, arrays, market, model)
    assert (statement.initial_margin[0], statement.margin_balance[0]) == (0.0, 5.0)
    check_tree(explain(statement, book, arrays, "a"), statement, "a")


def test_requirements_rise_into_expiry_without_a_step() -> None:
    """The charge for short gamma of the same arrays, as the window opens: 0 at its edge, more and more inside."""
    put = next(name for name in ROW if name.startswith("BTC-7D-6") and name.endswith("P"))
    book = book_of({"a": {put: -10.0}})
    found = []
    for window in (6.9, 7.0, 7.01, 8.0, 14.0, 60.0):
        model = model_file.Model(replace(PARAMS, near_expiry=near_expiry.Params(window_days=window)))
        found.append(float(model.requirement(book, UNDER).charges["near_expiry"][0, 1]))
    assert found[0] == found[1] == 0.0
    assert 0.0 < found[2] < 0.01 * found[-1]
    assert found == sorted(found)
    bought = model_file.Model(replace(PARAMS, near_expiry=near_expiry.Params(window_days=60.0)))
    assert bought.requirement(book_of({"a": {put: 10.0}}), UNDER).charges["near_expiry"][0, 1] == 0.0


def test_lines_of_the_tiers_add_up_to_what_a_position_loses_in_the_worst_scenario_of_all() -> None:
    held = {"BTC-PERPETUAL": 3_000.0, "BTC-60D-74800-C": -2.0, "BTC-60D-61200-P": -1.0, "USD": 80_000.0}
    book = book_of({"a": held})
    statement = margin(book, UNDER, MARKET, MODEL)
    worst = int(statement.worst_scenario[0])
    lines = explain(statement, book, UNDER, "a").lines
    charge, found = "", dict.fromkeys(held, 0.0)
    for line in lines:
        charge = line.name if line.level == "charge" else charge
        if line.level == "position" and charge in TIERS:
            assert line.name in held
            found[line.name] += float(line.maintenance)
    for name, quantity in held.items():
        want = -quantity * float(UNDER.pnl[ROW[name], worst]) * PARAMS.maintenance_factor
        assert found[name] == pytest.approx(want, abs=1e-6)
    assert sum(float(statement.charges[tier][0, 1]) > 0.0 for tier in TIERS) >= 2
