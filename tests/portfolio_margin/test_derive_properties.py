"""Properties of Derive's managers on random books: homogeneity, order, floors, payoffs, naked shorts."""

from __future__ import annotations

from dataclasses import replace
from decimal import localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.derive_feeds import Feeds, net_by_strike, total_of, with_floor
from portfolio_margin.payoffs import lowest_payoffs
from portfolio_margin.requirement import EXACT, covered
from tests.naive import derive as naive
from tests.portfolio_margin.books import (
    ARRAYS,
    CONTRACTS,
    INSTRUMENTS,
    MARKET,
    ROW,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
)
from tests.portfolio_margin.derive_cases import Case, unrounded
from tests.portfolio_margin.test_derive_models import MODULES, arrays_of, model_of, models

legs = st.lists(
    st.tuples(st.sampled_from([80.0, 90.0, 100.0, 110.0]), st.booleans(), st.integers(-5, 5).map(float)), max_size=9
)


@settings(max_examples=100, deadline=None)
@given(st.lists(legs, min_size=1, max_size=4))
def test_the_lowest_payoff_is_at_zero_or_a_strike(groups: list[list[tuple[float, bool, float]]]) -> None:
    """Against a dense grid of prices up to the last strike, group by group."""
    flat = [leg for group in groups for leg in group]
    columns = [np.array([leg[c] for leg in flat], dtype=float) for c in range(3)]
    ptr = np.cumsum([0, *(len(group) for group in groups)])
    found = lowest_payoffs(columns[0], np.where(columns[1] > 0, 1.0, -1.0), columns[2], ptr)
    for row, group in enumerate(groups):
        options = [{"strike": k, "is_call": c, "amount": a} for k, c, a in group]
        last = max((k for k, _, a in group if a), default=0.0)
        grid = [naive.payoff(options, price) for price in np.arange(0.0, last + 0.25, 0.5)]
        assert found.lowest[row] == min(grid)
        assert naive.payoff(options, found.price[row]) == found.lowest[row]
        assert found.net_calls[row] == sum(a for _, c, a in group if c)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(ROW)), st.integers(-9, 9).map(float), max_size=12))
def test_shorts_are_naked_by_strike(held: dict[str, float]) -> None:
    book = book_of({"a": held})
    nets = net_by_strike(book, ARRAYS, book.quantity)
    terms, row = ARRAYS.terms, book.instrument_idx
    wanted = 0.0
    for x in range(len(MARKET.forward)):
        options = [
            {"strike": terms.strike[r], "amount": q}
            for r, q in zip(row, book.quantity, strict=True)
            if INSTRUMENTS.is_option[r] and INSTRUMENTS.expiry_idx[r] == x
        ]
        wanted += naive.naked_shorts(options)
    assert np.maximum(-nets.net, 0.0).sum() == wanted


@settings(max_examples=100, deadline=None)
@given(contracts_held, st.lists(st.sampled_from(CONTRACTS), max_size=6))
def test_positions_of_nothing_change_nothing(steps: dict[str, int], nothing: list[str]) -> None:
    """As short calls go, a strike above the last one that is held would be a price to lose more at."""
    model, arrays = PRICED["derive_standard"]
    more = dict.fromkeys(nothing, 0) | steps
    book = book_of({"a": in_steps(steps), "b": in_steps(more)})
    required = model.requirement(covered(model, book, arrays)[0], arrays)
    for name in required.charges:
        assert required.charges[name][0] == pytest.approx(required.charges[name][1], abs=1e-9), name


def test_a_strike_without_a_position_is_no_price() -> None:
    """One short call at 100 and none at 300: nothing is lost up to 100, and beyond it the call is unpaired."""
    found = lowest_payoffs(np.array([100.0, 300.0]), np.ones(2), np.array([-1.0, 0.0]), np.array([0, 2]))
    assert (found.lowest[0], found.price[0], found.net_calls[0]) == (0.0, 0.0, -1.0)


PRICED = {name: (model_of(name), arrays_of(model_of(name))) for name in MODULES}
DOUBTS = Feeds(stable_price=0.96, spot_confidence={"BTC": 0.4}, vol_confidence={"ETH-2026-03-05": 0.2})


@models
@settings(max_examples=40, deadline=None)
@given(contracts_held, balances_held, st.integers(2, 9), st.booleans())
def test_margins_are_homogeneous(
    name: str, steps: dict[str, int], cash: dict[str, float], factor: int, doubted: bool
) -> None:
    """Everything k times is margined k times: the rules know no size."""
    model, arrays = PRICED[name]
    model = model_of(name, DOUBTS) if doubted else model
    assert "ETH-2026-03-05" in arrays.expiry_name.tolist()
    held = {**in_steps(steps), **cash}
    book = covered(model, book_of({"a": held, "b": {row: factor * q for row, q in held.items()}}), arrays)[0]
    required = model.requirement(book, arrays)
    for side in (required.initial, required.maintenance):
        # Balances are rounded to ticks position by position.
        assert side[1] == pytest.approx(factor * side[0], rel=1e-9, abs=1e-3)


@pytest.mark.parametrize("name", ["derive_pmrm", "derive_pmrm2"])
@settings(max_examples=25, deadline=None)
@given(contracts_held)
def test_a_scenario_more_never_asks_less(name: str, steps: dict[str, int]) -> None:
    """The worst over all scenarios is not below the worst over half of them, and what is shown is where it is."""
    model, arrays = PRICED[name]
    book = covered(model, book_of({"a": in_steps(steps)}), arrays)[0]
    half = replace(model.params, scenarios=model.params.scenarios[::2])
    fewer = MODULES[name].Model(half)
    chosen = [*range(0, len(model.params.scenarios), 2), len(arrays.scenario_set) - 2, len(arrays.scenario_set) - 1]
    part_of = replace(arrays, rows=arrays.rows[:, chosen], scenario_set=fewer.scenario_set(arrays.market_rows))
    required = model.requirement(book, arrays)
    assert np.all(required.initial >= fewer.requirement(book, part_of).initial)
    (part,) = model.portfolios(book, arrays)
    everything = np.column_stack([part.pnl, part.basis])
    for row, column in enumerate(part.worst_column):
        assert part.worst[row] == min(everything[row].min(), 0.0)
        if column >= 0:
            assert everything[row, min(int(column), everything.shape[1] - 1)] == part.worst[row]


amounts = st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: x if abs(x) > 1e-6 else 0.0)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=5))
def test_the_floor_orders_the_totals_to_the_last_bit(rows: list[tuple[float, float]]) -> None:
    charges = {f"c{number}": np.array([row]) for number, row in enumerate(rows)}
    floored = with_floor(charges, 1)
    initial, maintenance = total_of(floored, 1)[0]
    assert initial >= maintenance >= 0.0
    asked = total_of(charges, 1)[0]
    if asked[0] >= asked[1] >= 0.0:
        assert np.all(floored["floor"] == 0.0)
    assert initial <= max(*asked, 0.0) * (1.0 + 1e-15) + 1e-6


def test_quotes_that_admit_arbitrage_never_make_a_negative_requirement() -> None:
    """A spread that is worth less than it can pay: the venue's margin is above the mark; ours states 0, and its own."""
    case = Case()
    case.cash(0.0)
    market = {"spot": 100.0, "spot_confidence": 1.0, "perp_price": 100.0, "perp_confidence": 1.0}
    case.underlying("ETH", market, 0.0, 0.0)
    row = case.expiry(7_776_000, 0.0, 100.0)
    case.option(row, 100.0, True, 1.0, 0.2)
    case.option(row, 101.0, True, -1.0, 0.9)
    instruments, tables, book, _ = case.finish()
    model = model_of("derive_standard")
    arrays = unrounded(instruments, tables, model)
    required, venue = model.requirement(book, arrays), model.net_margin(book, arrays)
    assert venue.mark_to_market[0] < -1.0
    assert venue.initial[0] == venue.maintenance[0] == pytest.approx(0.0, abs=1e-12)
    assert required.initial[0] == required.maintenance[0] == 0.0
    assert required.charges["option"][0] == pytest.approx(np.full(2, venue.mark_to_market[0]))
    lines = model.contributions(book, arrays)
    assert {line.charge for line in lines} == {"option", "floor"}
    with localcontext(EXACT):
        assert sum(line.initial for line in lines) == 0
