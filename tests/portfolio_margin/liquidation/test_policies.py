"""What every policy must do, found by walking their folder, and what each is for."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portfolio_margin import AccountStatus, margin
from portfolio_margin.liquidation import policies, waterfall
from portfolio_margin.liquidation.ledger import open_ledger, to_ticks
from portfolio_margin.liquidation.plan import Action, Costs, LiquidationPlan, Outcome, Trade
from portfolio_margin.liquidation.trials import best_size, is_better, ladder, open_case, taken, try_trades
from portfolio_margin.models import worst_case
from portfolio_margin.sensitivities import with_orders
from pricing import ConfigError, DataError
from tests.bounds import check_bounds_of_numbers
from tests.portfolio_margin import toy_model
from tests.portfolio_margin.books import ARRAYS, CONTRACTS, MARKET, ROW, Held, book_of, contracts_held, in_steps

NAMES = sorted(module.name for module in iter_modules(policies.__path__))
POLICIES: dict[str, Any] = {name: import_module(f"{policies.__name__}.{name}") for name in NAMES}
MODEL = worst_case.Model()
# Five hundredths of a percent of the notional to trade and as much again as a penalty.
RATE = 0.0005
COSTS = Costs.of(ARRAYS, RATE * ARRAYS.notional, RATE * ARRAYS.notional)
FREE = Costs.of(ARRAYS)
DEAR = Costs.of(ARRAYS, 100 * RATE * ARRAYS.notional, 100 * RATE * ARRAYS.notional)
MONEY = 0.011


def plan(name: str, held: Held, costs: Costs = COSTS, **params: Any) -> LiquidationPlan:
    module = POLICIES[name]
    return module.plan(book_of({"x": held}), ARRAYS, MODEL, costs, module.Params(**params), backend="numpy")


def requirement_of(held: Held) -> float:
    return float(margin(book_of({"x": held}), ARRAYS, MARKET, MODEL, backend="numpy").maintenance_margin[0])


def short_by(held: Held, share: float) -> Held:
    """The same contracts with cash such that the margin balance is a share of the maintenance margin."""
    statement = margin(book_of({"x": {**held, "USD": 0.0}}), ARRAYS, MARKET, MODEL, backend="numpy")
    missing = share * float(statement.maintenance_margin[0]) - float(statement.margin_balance[0])
    return {**held, "USD": round(missing, 2)}


STRANGLE: Held = {"BTC-60D-54400-P": -3.0, "BTC-60D-81600-C": -3.0, "ETH-60D-2050-C": -4.0}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contracts_held, st.integers(5, 110), st.sampled_from([FREE, COSTS, DEAR]))
def test_a_partial_close_costs_what_it_says(name: str, steps: dict[str, int], percent: int, costs: Costs) -> None:
    """No step raises the requirement against equity by more than its cost; nothing is gained or lost beside it."""
    plan_ = plan(name, short_by(in_steps(steps), percent / 100), costs)
    margins, buffer = [plan_.before, *(step.after for step in plan_.steps)], POLICIES[name].Params().buffer
    for (before, after), step in zip(pairwise(margins), plan_.steps, strict=True):
        charged = step.cost + step.penalty
        assert before.equity - after.equity == pytest.approx(charged, abs=MONEY)
        assert after.maintenance - after.equity <= before.maintenance - before.equity + charged + MONEY
        assert after.maintenance <= before.maintenance
        assert after.shortfall(buffer) < before.shortfall(buffer)
    anew = margin(plan_.book, ARRAYS, MARKET, MODEL, backend="numpy")
    assert anew.maintenance_margin[0] == plan_.after.maintenance and anew.equity[0] == plan_.after.equity
    assert (plan_.outcome is Outcome.RESTORED) == (bool(plan_.steps) and plan_.after.shortfall(buffer) <= 0)
    if plan_.outcome is Outcome.SAFE or plan_.before.status == AccountStatus.BANKRUPT:
        assert not plan_.steps
    assert (plan_.outcome is Outcome.BANKRUPT) == (plan_.after.status == AccountStatus.BANKRUPT)
    # Who has nothing left is not traded any further.
    assert all(step.after.status != AccountStatus.BANKRUPT for step in plan_.steps[:-1])
    assert (plan_.outcome is Outcome.SAFE) == (plan_.before.status < AccountStatus.LIQUIDATION)
    # Where trading is free, whoever has equity can be brought to safety.
    assert plan_.outcome is not Outcome.EXHAUSTED or costs is not FREE


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contracts_held, st.integers(5, 100))
def test_closes_only_close(name: str, steps: dict[str, int], percent: int) -> None:
    """Positions move towards 0 in whole steps and never through it; only a future or perpetual may be a hedge."""
    held = short_by(in_steps(steps), percent / 100)
    plan_ = plan(name, held)
    now = {ROW[n]: q for n, q in held.items()}
    for step in plan_.steps:
        for trade in step.trades:
            before = now.get(trade.row, 0.0)
            now[trade.row] = before + trade.quantity
            unit = float(ARRAYS.quantity_step[trade.row])
            assert ARRAYS.is_collateral[trade.row] or abs(trade.quantity / unit - round(trade.quantity / unit)) < 1e-6
            if trade.action is Action.CONVERT:
                assert ARRAYS.is_collateral[trade.row]
            elif trade.action is Action.CLOSE:
                assert trade.quantity * before < 0 and abs(trade.quantity) <= abs(before) + 1e-9
            else:
                assert str(ARRAYS.instrument_id[trade.row]).endswith(("PERPETUAL", "60D"))
    left = dict(zip(plan_.book.instrument_idx.tolist(), plan_.book.quantity.tolist(), strict=True))
    contracts = {row: q for row, q in now.items() if not ARRAYS.is_collateral[row]}
    assert all(left.get(row, 0.0) == pytest.approx(q, abs=1e-6) for row, q in contracts.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_short_strangle_is_restored_and_nothing_is_closed_in_vain(name: str) -> None:
    held = short_by(STRANGLE, 0.8)
    plan_ = plan(name, held)
    assert plan_.outcome is Outcome.RESTORED and plan_.cost > 0
    freed = plan_.before.maintenance - plan_.after.maintenance
    # Enough for what was missing and its cost, and not twice as much.
    assert 0 < freed < 2 * (plan_.before.shortfall(POLICIES[name].Params().buffer) + plan_.cost + plan_.penalty)
    columns = plan_.columns(ARRAYS)
    assert len(columns["instrument"]) == sum(len(step.trades) for step in plan_.steps)
    assert columns["cost"].sum() == pytest.approx(plan_.cost)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(contracts_held, st.integers(1, 100), st.sampled_from([1, 20, 400]), st.integers(0, 10**6))
def test_the_books_say_what_the_plan_says(name: str, steps: dict[str, int], percent: int, dear: int, fund: int) -> None:
    """Cost and penalty of a plan are whole ticks; posted, they leave the account what its margin anew says it has, and
    what it then owes is borne by the fund as far as it goes."""
    rates = dear * RATE * ARRAYS.notional
    plan_ = plan(name, short_by(in_steps(steps), percent / 100), Costs.of(ARRAYS, rates, rates, 0.05))
    opening = int(to_ticks(plan_.before.equity, 0.01, up=False))
    books = open_ledger({"x": opening}, {"maker": 0}, insurance_fund=fund)
    nobody = waterfall.Others(np.array([], dtype=np.str_), np.array([], dtype=np.int64))
    for step in plan_.steps:
        cost, penalty = (int(to_ticks(amount, 0.01, up=True)) for amount in (step.cost, step.penalty))
        done = waterfall.settle(books, "x", "maker", waterfall.Params(), nobody, cost=cost, penalty=penalty)
        assert done.ledger.total == books.total and done.deficit == done.from_fund + done.uncovered
        # Equity is rounded down in every statement, so by one tick more or less.
        left = books.balance_of("x") - cost - done.penalty
        assert abs(left - round(step.after.equity * 100)) <= 1 + len(plan_.steps) and abs(done.penalty - penalty) <= 1
        books = done.ledger
        assert not done.deficit or step is plan_.steps[-1]


@pytest.mark.parametrize("name", NAMES)
def test_who_is_safe_or_bankrupt_is_left_alone(name: str) -> None:
    assert plan(name, short_by(STRANGLE, 1.01)).outcome is Outcome.SAFE
    assert plan(name, {}).outcome is Outcome.SAFE
    # A position of nothing is there, and is no position.
    assert plan(name, {**short_by(STRANGLE, 0.8), "BTC-PERPETUAL": 0.0}).outcome is Outcome.RESTORED
    broke = plan(name, short_by(STRANGLE, -0.1))
    assert broke.outcome is Outcome.BANKRUPT and not broke.steps and broke.after == broke.before


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_can_be_traded_nothing_is_done(name: str) -> None:
    closed = Costs.of(ARRAYS, tradable=False)
    plan_ = plan(name, short_by(STRANGLE, 0.8), closed)
    assert plan_.outcome is Outcome.EXHAUSTED and not plan_.steps


@pytest.mark.parametrize("name", NAMES)
def test_policies_take_any_model(name: str) -> None:
    """A model with its own scenarios, credits and charges by expiry, and positions it has no rule for."""
    from scenarios import revalue
    from tests.portfolio_margin.books import INSTRUMENTS

    model = toy_model.Model(toy_model.Params(futures="off"))
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
    book = book_of({"x": {**STRANGLE, "BTC-60D": 100.0, "USD": 12_000.0}})
    module, costs = POLICIES[name], Costs.of(arrays, RATE * arrays.notional, penalty_share=0.1)
    plan_ = module.plan(book, arrays, model, costs, backend="numpy")
    anew = margin(plan_.book, arrays, MARKET, model, backend="numpy")
    assert plan_.before.maintenance > 12_000.0 and plan_.before.unmargined
    # Whoever closes the future, too, ends without risk beside the rules.
    assert plan_.outcome is (Outcome.UNMARGINED if anew.unmargined[0] else Outcome.RESTORED)
    assert anew.maintenance_margin[0] == plan_.after.maintenance
    freed = plan_.before.maintenance - plan_.after.maintenance
    hedges_only = all(t.action is Action.HEDGE for step in plan_.steps for t in step.trades)
    assert plan_.penalty == (0.0 if hedges_only else pytest.approx(0.1 * freed, rel=0.5))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_bounded(name: str) -> None:
    params = POLICIES[name].Params()
    check_bounds_of_numbers(params, lambda **change: replace(params, **change))


def test_slices_keep_the_shape() -> None:
    """Paradex's multiples of a fifth: with positions of five steps each, every one is cut by the same fifths."""
    held = short_by({"BTC-60D-54400-P": -5.0, "BTC-60D-81600-C": -2.5, "ETH-60D-2050-C": -10.0}, 0.75)
    plan_ = plan("proportional", held, FREE)
    (step,) = plan_.steps
    shares = {-trade.quantity / held[str(ARRAYS.instrument_id[trade.row])] for trade in step.trades}
    (share,) = {round(share, 12) for share in shares}
    # 0.75 of the margin is there; (1 + 1/9)(1 - share) <= 0.75 holds from a share of 0.325 on: two fifths.
    assert share == 0.4 and plan_.outcome is Outcome.RESTORED


def test_the_smallest_restoring_share_is_found() -> None:
    """Against every one of forty shares, each margined by itself."""
    held = short_by({"BTC-60D-54400-P": -4.0, "BTC-60D-81600-C": -8.0}, 0.75)
    plan_ = plan("proportional", held, FREE, slices=40)
    restoring = []
    for n in range(1, 41):
        cut = with_orders(book_of({"x": held}), ARRAYS, [(i, -q * n / 40) for i, q in held.items() if i != "USD"])
        s = margin(cut, ARRAYS, MARKET, MODEL, backend="numpy")
        restoring += [n] if s.margin_balance[0] >= (1 + 1 / 9) * s.maintenance_margin[0] else []
    shares = {-t.quantity / held[str(ARRAYS.instrument_id[t.row])] for t in plan_.steps[0].trades}
    assert {round(40 * share, 9) for share in shares} == {restoring[0]} and restoring[0] not in (1, 40)


@given(st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-50, 50), min_size=1, max_size=4), contracts_held)
def test_a_trade_does_to_a_book_what_an_order_does(traded: dict[str, int], steps: dict[str, int]) -> None:
    held, orders = {**in_steps(steps), "USD": 1000.0}, in_steps(traded)
    case = open_case(book_of({"x": held}), ARRAYS, MODEL, FREE, 0.1, "numpy")
    (trial,) = try_trades(case, [[Trade(ROW[name], q, Action.HEDGE) for name, q in orders.items()]])
    found, expected = taken(case, trial).book, with_orders(case.book, ARRAYS, list(orders.items()))
    assert np.array_equal(found.instrument_idx, expected.instrument_idx)
    assert found.quantity == pytest.approx(expected.quantity, rel=1e-12, abs=1e-12)


def test_the_largest_contributor_goes_first() -> None:
    held = short_by({"BTC-60D-54400-P": -3.0, "ETH-60D-2050-P": -1.0}, 0.9)
    first = plan("largest_contributor", held).steps[0]
    assert [str(ARRAYS.instrument_id[t.row]) for t in first.trades] == ["BTC-60D-54400-P"]
    shut = np.arange(len(ARRAYS)) != ROW["BTC-60D-54400-P"]
    next_one = plan("largest_contributor", held, replace(COSTS, tradable=COSTS.tradable & shut)).steps[0]
    assert [str(ARRAYS.instrument_id[t.row]) for t in next_one.trades] == ["ETH-60D-2050-P"]


def test_a_delta_is_hedged_before_anything_is_closed() -> None:
    held = short_by({"BTC-60D-68000-C": -3.0}, 0.8)
    plan_ = plan("delta_hedge_first", held)
    (trade,) = plan_.steps[0].trades
    assert trade.action is Action.HEDGE and trade.quantity > 0
    assert plan_.outcome is Outcome.RESTORED and plan_.penalty == 0.0


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 200), st.integers(-200, 200), st.integers(30, 99))
def test_the_size_found_is_the_smallest_of_all_to_its_spacing(sold: int, other: int, percent: int) -> None:
    """Every size of a close, one by one, against the two ladders; the margin is convex in the size."""
    held = short_by(in_steps({"BTC-60D-68000-C": -sold, "BTC-60D-54400-P": other}), percent / 100)
    case = open_case(book_of({"x": held}), ARRAYS, MODEL, COSTS, 0.1, "numpy")
    if case.margins.status != AccountStatus.LIQUIDATION:
        return
    row, unit = ROW["BTC-60D-68000-C"], 0.1

    def trades(size: int) -> list[Trade]:
        return [Trade(row, size * unit, Action.CLOSE)]

    every = [trial for trial in try_trades(case, [trades(n) for n in range(1, sold + 1)]) if is_better(case, trial)]
    found = best_size(case, sold, trades)
    if not every:
        assert found is None
        return
    assert found is not None or sold > 16
    if found is None:
        return
    best = min(max(trial.step.after.shortfall(0.1), 0.0) for trial in every)
    restoring = [t.step.trades[0].quantity for t in every if t.step.after.shortfall(0.1) <= 0.0]
    left, size = max(found.step.after.shortfall(0.1), 0.0), found.step.trades[0].quantity
    spacing = np.ceil(np.ceil(sold / 16) * 2 / 16) * unit
    if restoring:
        assert left == 0.0 and restoring[0] - 1e-9 <= size <= restoring[0] + spacing + 1e-9
    else:
        assert left <= best + spacing * 2 * float(ARRAYS.notional[row])


def test_ladders_hold_their_end() -> None:
    assert ladder(0, 3) == [1, 2, 3]
    assert ladder(10, 26) == list(range(11, 27)) and ladder(0, 1000)[-1] == 1000
    assert ladder(0, 0) == []


def test_bad_cases_are_refused() -> None:
    with pytest.raises(DataError, match="trading"):
        Costs.of(ARRAYS, trading=-1.0)
    with pytest.raises(DataError, match="penalty_share"):
        Costs.of(ARRAYS, penalty_share=2.0)
    with pytest.raises(DataError, match="book"):
        open_case(book_of({"a": {}, "b": {}}), ARRAYS, MODEL, COSTS, 0.1)
    with pytest.raises(DataError, match="buffer"):
        open_case(book_of({"a": {}}), ARRAYS, MODEL, COSTS, -0.1)
    with pytest.raises(ConfigError, match="slices"):
        POLICIES["proportional"].Params(slices=2.5)
