"""Deribit's portfolio margins: a plain twin on random books, and what the rules imply."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import explain, load_parameters, margin
from portfolio_margin.deribit_matrix import COINS, CurrencyPair, CurrencyRisk, Params, scenario_set, terms_for
from portfolio_margin.deribit_vectors import aggregated, shock_of_delta
from portfolio_margin.models import deribit_spm, deribit_xpm
from pricing import ConfigError
from pricing.resolve import resolve
from scenarios import bind, revalue
from scenarios.shocks import make
from tests.naive import deribit as naive
from tests.portfolio_margin.books import ARRAYS, BOOK, INSTRUMENTS, MARKET, book_of
from tests.portfolio_margin.deribit_examples import (
    CONTRACTS,
    EXACT_ARRAYS,
    INDEX,
    LINEAR,
    LINEAR_MARKET,
    MODELS,
    PAIR,
    PAIRS,
    PARAMS,
    RISK,
    RISKS,
    ROW,
    linear_book,
    params_of,
    plain,
)

quantities = st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-400, 400), min_size=1, max_size=8)
balances = st.dictionaries(st.sampled_from(["BTC", "ETH"]), st.floats(-5.0, 20.0), max_size=2)


@settings(max_examples=60, deadline=None)
@given(quantities, balances)
def test_the_models_are_their_plain_twins(steps: dict[str, int], cash: dict[str, float]) -> None:
    held = {name: n * float(LINEAR.quantity_step[ROW[name]]) * 50 for name, n in steps.items()}
    book = linear_book({**held, **cash})
    pieces = [(plain(name), q) for name, q in held.items()]
    extended = list(PARAMS.extended_moves)
    given_params = {"pair": PAIRS, "risk": RISKS, "extended": extended, "count": PARAMS.buckets_count}
    twins = {
        "deribit_spm": naive.segregated(pieces, given_params, INDEX),
        "deribit_xpm": naive.crossed(pieces, cash, given_params, INDEX),
    }
    for name, twin in twins.items():
        required = MODELS[name](PARAMS).requirement(book, EXACT_ARRAYS, backend="numpy")
        if name == "deribit_spm":  # see test_currency_debts.py
            twin["balances_owed"] = required.charges["balances_owed"][0, 0]
        for charge, amount in twin.items():
            assert required.charges[charge][0, 0] == pytest.approx(amount, rel=1e-9, abs=1e-6), (name, charge)
        assert required.maintenance[0] == pytest.approx(0.8 * sum(twin.values()), rel=1e-9, abs=1e-6)


def test_a_cross_account_asks_what_the_venue_asked() -> None:
    """Two summaries of one account of February 2026: BTC and USDC as equity, long ETH-PERPETUAL, short ETH in USDC.

    Known to the digits that the summaries print, which leaves 3e-4 USD open. The price range of BTC is not among the
    printed numbers: 16 % is what both agree with. Underlyings without a correlation set add up.
    """
    shipped, info = load_parameters("deribit_xpm", "2026-02-15")
    assert shipped.coins == "worst_each" and "coins" in info.second_hand
    seen = [
        (68_567.0, 1_964.2, 1_965.27, 1e-6, 0.570187404),
        (68_598.0, 1_957.1, 1_958.3, -1e-6, 0.4557215915800001 / 0.8),
    ]
    for btc, eth, eth_usdc, equity, want in seen:
        forward = LINEAR_MARKET.forward * np.repeat([btc / 68_000, eth / 2_050, eth_usdc / 2_050], 4)
        forward[[3, 7, 11]] = btc, eth, eth_usdc
        prices = {"spot": np.array([btc, eth, eth_usdc]), "fx": np.array([1.0, btc, eth, 1.0]), "forward": forward}
        market = replace(LINEAR_MARKET, **prices)
        fine = replace(LINEAR, quantity_step=np.where(LINEAR.is_collateral, LINEAR.quantity_step, 0.1))
        arrays = revalue(fine, market, scenario_set(shipped, market), backend="numpy", tick=None)
        held = {"BTC": 0.0000348, "ETH": equity, "ETH-PERPETUAL": 1.0, "ETH_USDC-PERPETUAL": -0.1}
        required = deribit_xpm.Model(shipped).requirement(linear_book(held), arrays, backend="numpy")
        assert required.initial[0] == pytest.approx(want, abs=3e-4)
        # Cell by cell, as the venue's text has it, no range of BTC that the venue ever had comes near, nor any offset.
        for price_range, offset in ((0.14, 0.0), (0.16, 0.6), (0.18, 0.0), (0.18, 1.0)):
            pair = replace(shipped.pair("BTC"), price_range=price_range)
            risks = {name: replace(risk, pnl_offset=offset) for name, risk in shipped.currency.items()}
            pairs = {**shipped.currency_pair, "btc_usd": pair}
            other = replace(shipped, coins="cell_by_cell", currency_pair=pairs, currency=risks)
            moved = revalue(fine, market, scenario_set(other, market), backend="numpy", tick=None)
            found = deribit_xpm.Model(other).requirement(linear_book(held), moved, backend="numpy")
            assert found.initial[0] < want - 0.12


def test_a_gain_offsets_in_part_and_up_to_its_limit() -> None:
    model = deribit_spm.Model(params_of())
    terms = terms_for(model.params, EXACT_ARRAYS)
    vectors = model.portfolio(EXACT_ARRAYS).vectors[-1]
    cells = np.zeros((1, 35))
    cells[0, :3] = 10_000.0, 1e9, -7.0
    cells[0, 27:] = 1e9
    after = aggregated(cells, np.array([0]), vectors, terms, 1.0)[0]
    assert after[:3].tolist() == [6_000.0, 30_000.0, -7.0]
    damp = [(abs(m) / 0.16 - 1) * 20_000.0 / (1 + math.copysign(0.16, m)) for m in model.params.extended_moves]
    assert after[27:] == pytest.approx([max(30_000.0 - d, 0.0) for d in damp])


@pytest.mark.parametrize(
    ("total", "longs", "counted"),
    [(-500.0, 0.0, 500.0), (-300.0, 200.0, 300.0), (100.0, 600.0, 0.0), (-900.0, -400.0, 500.0),
     (500.0, 0.0, 500.0), (300.0, -200.0, 300.0), (-100.0, -600.0, 0.0), (900.0, 400.0, 500.0), (0.0, 0.0, 0.0)],
)  # fmt: skip
def test_long_options_lessen_a_delta_and_never_turn_it(total: float, longs: float, counted: float) -> None:
    terms = terms_for(params_of(), EXACT_ARRAYS)
    coin = INDEX["BTC"]
    found = shock_of_delta(np.array([total * coin]), np.array([longs * coin]), terms, np.array([0]), 1.0)[0]
    above = max(counted * coin - 2e5, 0.0)
    assert found == pytest.approx(min(above * counted * 5e-5, 0.1 * counted * coin))


def test_a_correlation_set_shares_a_worst_cell_and_pays_part_of_what_that_saves() -> None:
    """Long BTC, short ETH: together they lose less than one by one."""
    held = {"BTC-PERPETUAL": 10_000.0, "ETH-PERPETUAL": -100_000.0}
    book = linear_book(held)
    alone = deribit_xpm.Model(params_of()).requirement(book, EXACT_ARRAYS).charges
    risks = {name: {**values, "correlation_set": True} for name, values in RISKS.items()}
    found = {}
    for share in (0.0, 0.25, 1.0):
        model = deribit_xpm.Model(params_of(risks=risks, correlation_contingency=share))
        found[share] = required = model.requirement(book, EXACT_ARRAYS)
        saved = alone["worst_case"][0, 0] - required.charges["worst_case"][0, 0]
        assert saved > 1_000
        assert required.charges["correlation_contingency"][0, 0] == pytest.approx(share * saved)
        lines = model.contributions(book, EXACT_ARRAYS)
        total = sum(float(line.initial) for line in lines)
        assert total == pytest.approx(required.initial[0], rel=1e-12)
    assert found[1.0].initial[0] == pytest.approx(
        deribit_xpm.Model(params_of()).requirement(book, EXACT_ARRAYS).initial[0]
    )


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_coins_added_cell_by_cell(backend: str) -> None:
    """A long BTC and a short ETH that move together: one worst cell of the sum, never more than the worst of each."""
    each, added = (deribit_xpm.Model(params_of(coins=coins)) for coins in COINS)
    arrays = revalue(INSTRUMENTS, MARKET, each.scenario_set(MARKET))
    one, other = {"BTC-PERPETUAL": 1_000.0}, {"ETH-PERPETUAL": -9_000.0}
    book = book_of({"a": one, "b": other, "both": {**one, **other}, "none": {}})
    terms = added.portfolio(arrays).terms
    (vectors,) = added.portfolio(arrays).vectors
    cells = []
    for held in (one, other):
        ((name, quantity),) = held.items()
        row = INSTRUMENTS.index_of()[name]
        u = arrays.underlying_idx[[row]]
        ticks = vectors.rows[[row]] / arrays.unit[row] * quantity
        cells.append(aggregated(ticks, u, vectors, terms, arrays.tick_size)[0] * arrays.tick_size)
    wanted = [max(-c.min(), 0.0) for c in (cells[0], cells[1], cells[0] + cells[1])]
    summed, apart = (m.requirement(book, arrays, backend=backend).charges["worst_case"][:, 0] for m in (added, each))
    assert summed == pytest.approx([*wanted, 0.0])
    assert apart == pytest.approx([*wanted[:2], wanted[0] + wanted[1], 0.0])
    assert summed[2] < 0.8 * apart[2]
    statement = margin(BOOK, arrays, MARKET, added)
    assert np.all(statement.initial_margin <= margin(BOOK, arrays, MARKET, each).initial_margin + 0.01)
    for account in BOOK.account_id[:5]:
        explain(statement, BOOK, arrays, str(account))


def test_one_way_to_add_coins_at_a_time() -> None:
    risks = {name: {**values, "correlation_set": True} for name, values in RISKS.items()}
    with pytest.raises(ConfigError, match=r"cell_by_cell.*correlation_set"):
        params_of(risks=risks, correlation_contingency=0.5, coins="cell_by_cell")
    with pytest.raises(ConfigError, match="coins = 'sum'"):
        params_of(coins="sum")
    model = deribit_spm.Model(params_of(coins="cell_by_cell"))
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
    with pytest.raises(ConfigError, match="it is for deribit_xpm"):
        margin(BOOK, arrays, MARKET, model)


def test_a_correlation_set_without_its_share_is_refused() -> None:
    risks = {name: {**values, "correlation_set": True} for name, values in RISKS.items()}
    with pytest.raises(ConfigError, match="correlation_set of btc, eth needs correlation_contingency"):
        params_of(risks=risks)


def test_what_lacks_parameters_is_named() -> None:
    only_btc = params_of({"BTC": PAIR}, {"BTC": RISK})
    with pytest.raises(ConfigError, match=r"currency_pair\.eth_usd"):
        scenario_set(only_btc, MARKET)
    lacking = Params(params_of().currency_pair, {"btc": CurrencyRisk(**RISK)})
    with pytest.raises(ConfigError, match=r"currency\.eth"):
        terms_for(lacking, EXACT_ARRAYS)
    arrays = replace(ARRAYS, currency="EUR", terms=replace(ARRAYS.terms, currency_id=np.array(["EUR", "BTC", "ETH"])))
    with pytest.raises(ConfigError, match="amounts of Deribit's parameters are in USD"):
        terms_for(params_of(), arrays)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_expiry_of_equity_without_impact_does_not_move(name: str) -> None:
    """With impact a coin balance is at risk in a cross account; without it, and in a segregated one, it is not."""
    still = {coin: {**values, "equity_side_impact": "none"} for coin, values in RISKS.items()}
    for risks, at_risk in ((RISKS, name == "deribit_xpm"), (still, False)):
        required = MODELS[name](params_of(risks=risks)).requirement(linear_book({"BTC": 2.0}), EXACT_ARRAYS)
        want = 0.16 * 2.0 * 0.9 * INDEX["BTC"] if at_risk else 0.0
        assert required.initial[0] == pytest.approx(want)
    book = linear_book({"ETH-30D-1.0-+1": 3.0})
    moves = EXACT_ARRAYS.scenario_set.price_move[:, 1]
    row = ROW["ETH-30D-1.0-+1"]
    value = EXACT_ARRAYS.value[row]
    own = (EXACT_ARRAYS.pnl[row] - value * moves)[:27]
    required = deribit_xpm.Model(params_of(risks=still)).requirement(book, EXACT_ARRAYS)
    assert required.charges["worst_case"][0, 0] == pytest.approx(-3.0 * own.min())


@pytest.mark.parametrize("change", [{"days_floor": 5.0}, {"vol_shock": "unscaled"}, {"delta_shock": "none"}])
def test_second_hand_rules_are_parameters(change: dict[str, Any]) -> None:
    held = linear_book({"BTC-3D-1.0-+1": -20.0, "BTC-PERPETUAL": 900_000.0})
    base, other = params_of(), params_of(**change)
    charges = [
        deribit_spm.Model(p)
        .requirement(held, revalue(LINEAR, LINEAR_MARKET, scenario_set(p, LINEAR_MARKET), backend="numpy", tick=None))
        .charges
        for p in (base, other)
    ]
    changed = {name for name in charges[0] if not np.array_equal(charges[0][name], charges[1][name])}
    assert changed == ({"delta_shock"} if "delta_shock" in change else {"worst_case"})


def test_a_floor_of_vols_by_underlying_holds_in_its_scenario() -> None:
    moves = make(["up", "same"], np.zeros(2), vol_floor=np.array([[0.9, 0.2], [0.0, 3.0]]))
    vols = revalue_vols(moves)
    btc, eth = (INSTRUMENTS.is_option & (INSTRUMENTS.underlying_idx == u) for u in (0, 1))
    assert vols[btc, 0].min() == 0.9
    assert np.all(vols[eth, 1] == 3.0)
    assert np.all(vols[btc, 1] == revalue_vols(make(["same"], np.zeros(1)))[btc, 0])
    with pytest.raises(ConfigError, match="vol_floor must be 0 or more"):
        make(["x"], np.zeros(1), vol_floor=np.array([-0.1]))


def revalue_vols(moves: Any) -> np.ndarray:
    vols: np.ndarray = bind(moves, MARKET, resolve(INSTRUMENTS, MARKET)).vol
    return vols


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize(
    ("field", "value"),
    [("mm_factor", 1.1), ("buckets_count", 2.5), ("days_floor", 0.0), ("vol_shock", "x"), ("delta_shock", ""),
     ("extended_moves", (-1.0,)), ("extended_moves", (0.0,)), ("correlation_contingency", 1.5),
     ("currency", {"btc": 1})],
)  # fmt: skip
def test_parameters_outside_their_bounds_are_refused(name: str, field: str, value: Any) -> None:
    params, _ = load_parameters(name)
    with pytest.raises(ConfigError, match=field):
        replace(params, **{field: value})


@pytest.mark.parametrize(("kind", "values"), [(CurrencyPair, PAIR), (CurrencyRisk, RISK)])
def test_parts_of_parameters_have_bounds(kind: Any, values: dict[str, Any]) -> None:
    for field in values:
        wrong = ("sideways",) if isinstance(values[field], str) else (-1e-9, 1e300, math.nan, "1", True)
        for value in wrong:
            with pytest.raises(ConfigError, match=field):
                kind(**{**values, field: value})
    with pytest.raises(ConfigError, match="correlation_set"):
        CurrencyRisk(**{**RISK, "correlation_set": 1})


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_statement_says_what_is_second_hand(name: str) -> None:
    params, info = load_parameters(name)
    model = MODELS[name](params, info)
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
    statement = margin(book_of({"a": {"BTC-PERPETUAL": 10.0}}), arrays, MARKET, model)
    assert {"vol_shock", "days_floor", "delta_shock"} <= set(statement.identity()["parameters_second_hand"])


@settings(max_examples=25, deadline=None)
@given(quantities, balances, st.sampled_from(["pnl_offset", "max_offsetable_pnl", "extended_dampener"]))
def test_more_offset_and_more_dampening_never_ask_for_more(
    steps: dict[str, int], cash: dict[str, float], field: str
) -> None:
    held = {name: n * float(LINEAR.quantity_step[ROW[name]]) * 50 for name, n in steps.items()}
    book, factor = linear_book({**held, **cash}), {"pnl_offset": 1.5}.get(field, 3.0)
    more = {coin: {**values, field: factor * values[field]} for coin, values in RISKS.items()}
    for model in MODELS.values():
        asked, less = (
            model(params_of(risks=risks)).requirement(book, EXACT_ARRAYS, backend="numpy").initial[0]
            for risks in (RISKS, more)
        )
        assert less <= asked * (1 + 1e-12) + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from([n for n in CONTRACTS if "USDC" in n]), st.integers(-400, 400), max_size=6))
def test_linear_contracts_of_one_currency_cost_the_same_segregated_and_crossed(steps: dict[str, int]) -> None:
    book = linear_book({name: n * float(LINEAR.quantity_step[ROW[name]]) * 50 for name, n in steps.items()})
    segregated, crossed = (model(PARAMS).requirement(book, EXACT_ARRAYS, backend="numpy") for model in MODELS.values())
    assert not segregated.charges.pop("balances_owed").any()
    for name, parts in segregated.charges.items():
        assert crossed.charges[name] == pytest.approx(parts, rel=1e-12, abs=1e-9)


def test_what_settles_in_coin_and_in_dollars_nets_crossed_and_does_not_segregated() -> None:
    """Long in coin, short as much in USDC: crossed the worst case is gone but for the roll shock of both."""
    long = 20_000.0 / plain("ETH-PERPETUAL")["units"] / LINEAR_MARKET.forward[7]
    book = linear_book(
        {"ETH-PERPETUAL": round(long), "ETH_USDC-PERPETUAL": -20_000.0 / LINEAR_MARKET.forward[11] / 0.01 // 1}
    )
    segregated, crossed = (model(PARAMS).requirement(book, EXACT_ARRAYS).charges for model in MODELS.values())
    assert segregated["worst_case"][0, 0] > 6_000.0
    assert crossed["worst_case"][0, 0] < 10.0
    assert crossed["roll_shock"][0, 0] == pytest.approx(segregated["roll_shock"][0, 0])
    assert crossed["roll_shock"][0, 0] == pytest.approx(0.01 * 40_000.0, rel=0.01)
