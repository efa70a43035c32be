"""hedge: the cheapest trades to a target, against brute force, one program of all scenarios, and delta hedging."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from portfolio_margin import Book, hedge_enumeration, margin
from portfolio_margin.hedge import Costs, Limits, Target, hedge, open_desk, program_of
from portfolio_margin.hedge_enumeration import MOST_LISTED
from portfolio_margin.hedge_search import Search
from portfolio_margin.hedge_terms import trade_terms
from portfolio_margin.models import span, worst_case
from portfolio_margin.requirement import Requirement
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.trial_margins import prepare_trials, slopes, trial_margins
from pricing import ConfigError, DataError
from pricing.errors import InfeasibleError
from tests.portfolio_margin import books
from tests.portfolio_margin.hedge_examples import (
    MODELS,
    cheapest_by_enumeration,
    delta_hedge_cost,
    measured,
    sample_under,
    tradable,
)
from tests.portfolio_margin.span_examples import exchange_with_every_rule

SMALL = (books.BOOK, books.ARRAYS, books.MARKET, worst_case.Model())
FUNDS = Target()
FREE_OF_GAP = Limits(gap=0.0)


def below(world: Any, measure: str = "available_funds") -> list[str]:
    """Accounts whose measure is below 0 and that the model has rules for."""
    book, arrays, market, model = world
    statement = margin(book, arrays, market, model)
    return [str(a) for a in statement.account[(getattr(statement, measure) < 0) & ~statement.unmargined]]


@pytest.mark.parametrize("name", MODELS)
def test_trial_margins_are_those_of_statements(name: str) -> None:
    """Of every account of the sample, to the rounding of the statement, and of rows that a model rounds to a tick."""
    book, arrays, market, model = sample_under(name)
    statement = margin(book, arrays, market, model)
    rows = np.flatnonzero(~arrays.is_collateral & (model.not_covered(arrays) == ""))[::97]
    for k, account in enumerate(statement.account):
        trials = prepare_trials(book.select(str(account)), arrays, model, rows)
        found = trial_margins(trials, np.zeros((1, len(rows))))
        own = book.select(str(account))
        steps = np.abs(own.quantity / arrays.quantity_step[own.instrument_idx])[
            ~arrays.is_collateral[own.instrument_idx]
        ]
        rounding = 0.03 + float(arrays.tick or 0.0) * steps.sum()
        for column in ("initial_margin", "maintenance_margin", "margin_balance"):
            trial = found.balance if column == "margin_balance" else getattr(found, column.removesuffix("_margin"))
            assert trial[0] == pytest.approx(getattr(statement, column)[k], abs=rounding)


def test_slopes_are_the_losses_of_the_active_scenario() -> None:
    """Where the worst scenario is unique, d(scan) / d(quantity) = -unit P&L there (architecture of risk arrays)."""
    book, arrays, market, _ = sample_under("worst_case")
    model = worst_case.Model(worst_case.Params(netting="joint", short_option_minimum=0.0))
    statement = margin(book, arrays, market, model)
    rows = np.flatnonzero(~arrays.is_collateral)[::37]
    account = book.row_of("iron-condor-07")
    trials = prepare_trials(book.select("iron-condor-07"), arrays, model, rows)
    worst = int(statement.worst_scenario[account])
    by_lot = slopes(trials, np.zeros(len(rows)))
    scale = np.abs(arrays.pnl[rows, worst] * arrays.quantity_step[rows]).max()
    expected = -arrays.pnl[rows, worst] * arrays.quantity_step[rows]
    # A premium is paid in coin, which moves with the scenario as well.
    cash = arrays.cash_row[rows]
    paid = arrays.value[rows] / arrays.value[cash] * arrays.quantity_step[rows]
    expected += (
        paid * arrays.pnl[cash, worst] * np.where(trials.base[np.searchsorted(trials.column, cash)] > 0, 0.95, 1)
    )
    assert by_lot["initial"] == pytest.approx(expected, abs=1e-3 * scale)


@pytest.mark.parametrize("measure", ["available_funds", "excess_liquidity", "initial_margin", "maintenance_margin"])
@pytest.mark.parametrize("row", [3, 20, 47])
@pytest.mark.parametrize("listed", [0, MOST_LISTED])
def test_the_cheapest_of_all_whole_lots(measure: str, row: int, listed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By programs, and by a list of all there are."""
    monkeypatch.setattr(hedge_enumeration, "MOST_LISTED", listed)
    book, arrays = SMALL[:2]
    account = str(book.account_id[row])
    now = measured(SMALL, account, [], measure, 0.0)
    names = [books.CONTRACTS[k] for k in (0, 5, len(books.CONTRACTS) - 1)]
    target = Target(measure, max(now * 0.999, 0.0) if "margin" in measure else now + 5.0)
    brute = cheapest_by_enumeration(SMALL, account, target, names, 3, Costs())
    steps = {name: 3 * float(arrays.quantity_step[books.ROW[name]]) for name in names}
    try:
        found = hedge(*SMALL, account, target, instruments=names, limits=replace(FREE_OF_GAP, size=steps))
    except InfeasibleError as error:
        assert brute == np.inf
        assert target.missed_by(error.reachable) > 0
        return
    assert found.cost == pytest.approx(brute, rel=1e-6, abs=1e-6)
    assert target.missed_by(measured(SMALL, account, found.orders, measure, found.cost)) <= 0


def test_one_program_of_all_scenarios_has_the_same_bound() -> None:
    """min cost s.t. for every scenario factor x loss_s(x) - balance(x) + cost(x) <= 0, without the planes."""
    book, arrays, market, _ = sample_under("worst_case")
    params = worst_case.Params(netting="joint", short_option_minimum=0.0, haircut=0.0)
    model = worst_case.Model(params)
    for account in ("perpetual-short-03", "naked-call-seller-01", "short-strangle-stressed"):
        names = tradable(arrays, model, book, account)
        desk = open_desk(book, arrays, market, model, account, names, "numba")
        program = program_of(desk, Costs(), Limits(), spent=True)
        trials = desk.trials
        unit_pnl, value = trials.arrays.pnl[trials.column], trials.arrays.value[trials.column]
        losses, gains = -(trials.base @ unit_pnl), trials.per_lot @ unit_pnl
        balance = float(trials.base @ value)
        cost = np.concatenate([program.buy_cost, program.sell_cost])
        rows = np.vstack([np.concatenate([-gains[:, s], gains[:, s]]) + cost for s in range(gains.shape[1])])
        rows, right = np.vstack([rows, cost]), np.append(balance - losses, balance)
        sizes = np.concatenate([program.most_bought, program.most_sold])
        every = linprog(cost, A_ub=rows, b_ub=right, bounds=np.column_stack([np.zeros(len(sizes)), sizes]))
        search = Search(trials, program, "available_funds")
        search.support(np.zeros(len(names)))
        assert search.relax(0.0) == pytest.approx(every.fun, rel=1e-3, abs=0.02)
        assert search.convex


@pytest.mark.parametrize("name", MODELS)
def test_never_worse_than_delta_hedging(name: str) -> None:
    """Of every account of the sample below its target; of derive_pmrm, which has twenty, the first six."""
    world = sample_under(name)
    book, arrays, _, model = world
    shares = np.arange(0.05, 1.5, 0.05)
    solved = 0
    for account in below(world)[: 6 if name == "derive_pmrm" else None]:
        names = tradable(arrays, model, book, account, every=400)
        alone = delta_hedge_cost(world, account, FUNDS, shares)
        try:
            found = hedge(*world, account, FUNDS, instruments=names)
        except InfeasibleError as error:
            assert error.reachable < 0
            assert alone == np.inf
            continue
        solved += 1
        assert found.cost <= alone * (1 + 1e-9)
        assert measured(world, account, found.orders, "available_funds", found.cost) >= 0
        assert found.cost >= 0
        assert not found.convex or found.lower_bound <= found.cost
    assert solved


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 119), st.floats(0.0, 200.0), st.integers(1, 6))
@example(101, 1e-10, 1)  # A cent is missed, which the program cannot see: every lot it adds was dearer by then.
@example(21, 1e-10, 3)
def test_what_holds_for_every_hedge(row: int, more: float, count: int) -> None:
    """Costs are 0 or more, the target is met, more instruments cost no more, and a hedge of the result is empty."""
    account = str(books.BOOK.account_id[row])
    target = Target("available_funds", measured(SMALL, account, [], "available_funds", 0.0) + more)
    names = books.CONTRACTS[:count]
    costs = {}
    for few in (names, [*names, *books.CONTRACTS[-3:]]):
        try:
            found = hedge(*SMALL, account, target, instruments=few, limits=Limits(gap=1e-6))
        except InfeasibleError:
            costs[len(few)] = np.inf
            continue
        costs[len(few)] = found.cost
        assert found.cost >= 0
        assert measured(SMALL, account, found.orders, "available_funds", found.cost) >= target.amount
        assert found.margins.change["equity"] == pytest.approx(0.0, abs=0.05)
    # What is gained is counted in cents, so costs below a cent are not told apart.
    assert costs[count + 3] <= costs[count] + max(1e-4 * abs(costs[count]), 0.01) or costs[count] == np.inf


def test_nothing_is_traded_where_the_target_is_met() -> None:
    account = str(books.BOOK.account_id[0])
    now = measured(SMALL, account, [], "initial_margin", 0.0)
    found = hedge(*SMALL, account, Target("initial_margin", now))
    assert (found.trades, found.cost, found.gap, found.rounds) == ((), 0.0, 0.0, 0)


def test_what_cannot_be_reached_is_told_with_what_can() -> None:
    world = sample_under("worst_case")
    with pytest.raises(InfeasibleError, match=r"bankrupt.*the largest .*is -\d") as raised:
        hedge(*world, "short-straddle-bankrupt", FUNDS, instruments=["BTC-PERPETUAL"])
    reached = raised.value.reachable
    assert reached < 0
    assert reached >= measured(world, "short-straddle-bankrupt", [], "available_funds", 0.0)


def test_what_no_trades_can_do_is_told_with_the_deposit_that_would() -> None:
    """After closing everything and paying the deposit the target is met to the cent, and not with a cent less."""
    world = sample_under("worst_case")
    book, arrays, market, model = world
    account = "short-straddle-bankrupt"
    with pytest.raises(InfeasibleError, match="No trades can do it: equity is -") as raised:
        hedge(*world, account, FUNDS, instruments=["BTC-PERPETUAL"])
    text, own = str(raised.value), book.select(account)
    assert "Allow more" not in text
    trades = [
        (str(arrays.instrument_id[row]), -float(quantity))
        for row, quantity in zip(own.instrument_idx, own.quantity, strict=True)
        if not arrays.is_collateral[row]
    ]
    rows = np.array([arrays.index_of()[name] for name, _ in trades])
    terms = trade_terms(arrays, rows, Costs(), Limits(), 1e12)
    lots = np.array([quantity for _, quantity in trades]) / arrays.quantity_step[rows]
    cost = float(terms.buy_cost @ np.maximum(lots, 0.0) + terms.sell_cost @ np.maximum(-lots, 0.0))
    left = measured(world, account, trades, "available_funds", cost)
    assert f"for {cost:,.2f}, leaves available_funds at {left:,.2f}: a deposit of {-left:,.2f}" in text
    assert raised.value.deposit == pytest.approx(min(-left, -raised.value.reachable), abs=0.01)
    assert raised.value.deposit >= -margin(own, arrays, market, model).equity[0] - 0.01


@pytest.mark.parametrize("target", [672_522.90, 672_523.84])
def test_no_bound_is_claimed_that_a_single_contract_refutes(target: float) -> None:
    """A few lots at the kink of a short perpetual, where a plane beside the point lies above the requirement."""
    world = sample_under("worst_case")
    limits = Limits(size={"ETH-PERPETUAL": 3.0, "BTC-PERPETUAL": 2.0}, gap=0.0)
    account, asked = "naked-wing-seller-01", Target("maintenance_margin", target)
    found = hedge(*world, account, asked, instruments=["ETH-PERPETUAL", "BTC-PERPETUAL"], limits=limits)
    alone = [("BTC-PERPETUAL", 2.0)]
    assert measured(world, account, alone, "maintenance_margin", 0.0) <= target
    terms = trade_terms(world[1], np.array([world[1].index_of()["BTC-PERPETUAL"]]), Costs(), limits, 1e12)
    assert found.cost <= 2.0 * terms.buy_cost[0] * (1.0 + 1e-9)
    assert not found.convex or found.lower_bound <= found.cost


def test_closing_is_advised_where_it_would_do() -> None:
    world = sample_under("worst_case")
    nothing = Limits(size=0.0)
    with pytest.raises(InfeasibleError, match=r"Closing everything.*allow the contracts that are held") as raised:
        hedge(*world, "perpetual-short-03", FUNDS, instruments=["ETH-PERPETUAL"], limits=nothing)
    assert np.isnan(raised.value.deposit)
    with pytest.raises(InfeasibleError, match=r"initial_margin to at most 0\.00"):
        hedge(*world, "perpetual-short-03", Target("initial_margin", 0.0), instruments=["ETH-PERPETUAL"])


def test_limits_hold() -> None:
    world = sample_under("worst_case")
    names = ["BTC-PERPETUAL", "ETH-PERPETUAL"]
    free = hedge(*world, "perpetual-short-03", FUNDS, instruments=names)
    (trade,) = free.trades
    with pytest.raises(InfeasibleError):
        hedge(*world, "perpetual-short-03", FUNDS, instruments=names, limits=Limits(total_cost=0.5 * free.cost))
    sides = {"BTC-PERPETUAL": (abs(trade.quantity), 0.0) if trade.quantity > 0 else (0.0, abs(trade.quantity))}
    try:
        other = hedge(*world, "perpetual-short-03", FUNDS, instruments=names, limits=Limits(size=sides))
        assert all(t.instrument != "BTC-PERPETUAL" or t.quantity * trade.quantity < 0 for t in other.trades)
    except InfeasibleError as error:
        assert all(t != "BTC-PERPETUAL" or q * trade.quantity < 0 for t, q in error.trades)


def test_quotes_take_the_place_of_spreads() -> None:
    book, arrays, market, model = sample_under("worst_case")
    row = arrays.index_of()["BTC-PERPETUAL"]
    mark = float(arrays.terms.forward[arrays.expiry_idx[row]])
    quotes = {"BTC-PERPETUAL": (mark - 10.0, mark + 20.0)}
    found = hedge(
        book, arrays, market, model, "perpetual-short-03", FUNDS,
        instruments=["BTC-PERPETUAL"], costs=Costs(future_fee=0.0, quotes=quotes),
    )  # fmt: skip
    (trade,) = found.trades
    assert trade.cost == pytest.approx(trade.quantity * 10.0 * 20.0 / mark, rel=1e-9)
    assert (trade.side, trade.price) == ("buy", pytest.approx(mark + 20.0, rel=1e-12))
    nobody = Costs(quotes={"BTC-PERPETUAL": (mark, None)})
    with pytest.raises(InfeasibleError):
        hedge(book, arrays, market, model, "perpetual-short-03", FUNDS, instruments=["BTC-PERPETUAL"], costs=nobody)


@dataclass(frozen=True)
class Capped:
    """worst_case with a requirement of `cap` at most: not convex, and flat where an account is far above it."""

    cap: float
    inner: worst_case.Model = field(default_factory=worst_case.Model)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "inner"), name)

    def requirement(self, *args: Any, **kwargs: Any) -> Requirement:
        found = self.inner.requirement(*args, **kwargs)
        initial, maintenance = (np.minimum(part, self.cap) for part in (found.initial, found.maintenance))
        return found._replace(initial=initial, maintenance=maintenance)


def test_where_the_requirement_is_not_convex_it_is_said_and_the_target_is_met() -> None:
    """Buying back what was sold is far away over a flat: found all the same, and nothing is claimed of its cost."""
    held = books.book_of({"short": {"BTC-PERPETUAL": -2000.0, "USD": 1e5}})
    free = margin(held, books.ARRAYS, books.MARKET, worst_case.Model()).initial_margin[0]
    world = (held, books.ARRAYS, books.MARKET, Capped(0.5 * free))
    target = Target("initial_margin", 0.3 * free)
    found = hedge(*world, "short", target, instruments=["BTC-PERPETUAL", "BTC-60D"])
    assert not found.convex
    assert np.isnan(found.lower_bound) and np.isnan(found.gap)
    assert "not proven convex" in found.notes[0]
    assert measured(world, "short", found.orders, "initial_margin", 0.0) <= target.amount
    convex = hedge(*world[:3], worst_case.Model(), "short", target, instruments=["BTC-PERPETUAL", "BTC-60D"])
    assert convex.convex
    assert found.cost == pytest.approx(convex.cost, rel=1e-2)


def test_an_exchange_of_every_span_rule() -> None:
    """Spreads and credits between months and commodities, from a file: the target is met, and nothing is claimed."""
    file = exchange_with_every_rule()
    arrays = file_arrays(file, apply_exponent=True).arrays
    model = span.Model(span.Params(risk_exponent="apply"), file=file)
    contracts = np.flatnonzero(~arrays.is_collateral & (model.not_covered(arrays) == ""))
    random = np.random.default_rng(1)
    held = random.choice(contracts, 6, replace=False)
    quantity = random.integers(-20, 20, 6) * arrays.quantity_step[held]
    book = Book.from_arrays(["a"] * 6, held, quantity, arrays.expiry_idx)
    world = (book, arrays, None, model)
    target = Target("initial_margin", 0.6 * measured(world, "a", [], "initial_margin", 0.0))
    names = [str(name) for name in arrays.instrument_id[np.union1d(held, contracts[:20])]]
    found = hedge(*world, "a", target, instruments=names)
    assert measured(world, "a", found.orders, "initial_margin", 0.0) <= target.amount
    assert found.trades
    assert not found.convex


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: Target("equity"), ConfigError, "target measure = 'equity'"),
        (lambda: Target("initial_margin", float("nan")), ConfigError, "target amount = nan"),
        (lambda: Target("initial_margin", -1.0), ConfigError, "never below 0"),
        (lambda: Target("initial_margin", 10**400), ConfigError, "target amount = 1000"),
        (lambda: Limits(size=10**400), ConfigError, "limit size"),
        (lambda: Limits(total_cost=10**400), ConfigError, "total_cost"),
        (lambda: Costs(quotes={"a": (1, 10**400)}), ConfigError, "quotes a"),
        (lambda: Costs(option_fee=float("nan")), ConfigError, "option_fee"),
        (lambda: Costs(future_fee=-0.1), ConfigError, "future_fee"),
        (lambda: Costs(quotes={"a": (2.0, 1.0)}), ConfigError, "bid is above the ask"),
        (lambda: Limits(size=float("nan")), ConfigError, "limit size"),
        (lambda: Limits(total_cost=-1.0), ConfigError, "total_cost"),
        (lambda: hedge(*SMALL, "nobody", FUNDS), DataError, "no such account"),
        (
            lambda: hedge(*SMALL, str(books.BOOK.account_id[0]), FUNDS, instruments=[]),
            ConfigError,
            "names of one contract",
        ),
    ],
)
def test_bad_input_is_told(make: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        make()


def test_every_bad_contract_is_named() -> None:
    account, asset = str(books.BOOK.account_id[0]), books.ASSETS[0]
    names = ["no-such", asset, books.CONTRACTS[0], books.CONTRACTS[0]]
    with pytest.raises(DataError) as raised:
        hedge(*SMALL, account, FUNDS, instruments=names)
    assert [problem.row for problem in raised.value.problems] == [1, 2, 4]
    with pytest.raises(DataError, match="limits"):
        hedge(*SMALL, account, Target("initial_margin", 0.0), limits=Limits(size={"no-such": 1.0}))
