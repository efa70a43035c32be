"""Margin for open orders, against every subset filled by hand and margined as an account of its own."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import AccountStatus, margin, order_margin, what_if
from portfolio_margin.chunks import Work, manifest_of
from portfolio_margin.convexity import declared_excess
from portfolio_margin.models import worst_case
from portfolio_margin.requirement import MarginModel
from portfolio_margin.worst_fill import OpenOrders, gain_at_limit
from pricing import ConfigError, DataError
from tests.portfolio_margin.books import ARRAYS, CONTRACTS, INSTRUMENTS, MARKET, ROW, Held, book_of, in_steps, quantity
from tests.portfolio_margin.test_contracts import SHIPPED, arrays_of, model_of

CENT = 0.01
Listed = list[tuple[str, int, float]]

# Coins and dollars enough that none is owed after a fill: debts without a rule are another matter.
RICH = {"USD": 5e7, "BTC": 4_000.0, "ETH": 90_000.0}
contracts_held = st.dictionaries(st.sampled_from(CONTRACTS), st.integers(-300, 300), max_size=5)
orders_listed = st.lists(
    st.tuples(
        st.sampled_from(CONTRACTS),
        st.integers(-200, 200).filter(bool),
        st.one_of(st.just(0.0), st.integers(-(10**6), 10**6).map(float)),
    ),
    min_size=1,
    max_size=4,
)


def fitted(name: str) -> Any:
    model = model_of(name)
    look_up = getattr(model, "for_arrays", None)
    return model if look_up is None else look_up(arrays_of(model))


def orders_of(listed: Listed, account: int = 0) -> OpenOrders:
    return OpenOrders(
        np.full(len(listed), account),
        np.array([ROW[name] for name, *_ in listed], dtype=np.int64),
        np.array([quantity(name, steps) for name, steps, _ in listed]),
        np.array([gain for *_, gain in listed]),
    )


def fill(held: Held, listed: Listed, arrays: Any = ARRAYS) -> Held:
    """What is held after the orders, every one paid in its settlement currency, in plain sums."""
    steps = {name: round(amount / quantity(name, 1)) for name, amount in held.items() if name in CONTRACTS}
    money = {name: amount for name, amount in held.items() if name not in CONTRACTS}
    for name, count, gain in listed:
        steps[name] = steps.get(name, 0) + count
        row = ROW[name]
        cash = arrays.cash_row[row]
        coin = str(arrays.instrument_id[cash])
        cost = quantity(name, count) * float(arrays.value[row]) - gain
        money[coin] = money.get(coin, 0.0) - cost / float(arrays.value[cash])
    return {**in_steps(steps), **money}


def least_funds(held: Held, listed: Listed, model: MarginModel, arrays: Any) -> list[float]:
    """Available funds after every subset, in the order of `product`."""
    chosen = [
        [o for o, fills in zip(listed, which, strict=True) if fills] for which in product((0, 1), repeat=len(listed))
    ]
    book = book_of({f"{n:05d}": fill(held, orders, arrays) for n, orders in enumerate(chosen)})
    return [float(amount) for amount in margin(book, arrays, MARKET, model).available_funds]


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=6, deadline=None)
@given(contracts_held, orders_listed)
def test_the_worst_subset_is_the_worst_of_all(name: str, steps: dict[str, int], listed: Listed) -> None:
    model = fitted(name)
    arrays = arrays_of(model)
    seen = {str(n) for n in arrays.instrument_id[np.asarray(model.not_covered(arrays)) == ""]}
    listed = [order for order in listed if order[0] in seen]
    held = {**in_steps(steps), **RICH}
    book = book_of({"a": held})
    plain = margin(book, arrays, MARKET, model)
    statement = margin(book, arrays, MARKET, model, orders=orders_of(listed))
    assert statement.orders is not None
    every = least_funds(held, listed, model, arrays)
    assert plain.available_funds[0] == pytest.approx(every[0], abs=1e-6)
    wanted = every[0] - min(every)
    # A cent: sums in another order, and in a worst loss ticks of what is paid, round to another one.
    assert statement.orders.added[0] == pytest.approx(wanted, abs=1.01 * CENT)
    place = sum(1 << n for n, fills in enumerate(reversed(statement.orders.filled.tolist())) if fills)
    assert every[0] - every[place] == pytest.approx(wanted, abs=1.01 * CENT)
    assert statement.orders.method_names[0] == ("exact" if listed else "")
    # It is a part of initial margin and of nothing else.
    added = statement.initial_margin - plain.initial_margin
    assert added == pytest.approx(statement.orders.added, abs=1e-6)
    assert statement.available_funds == pytest.approx(plain.available_funds - added, abs=1e-6)
    for column in ("equity", "margin_balance", "maintenance_margin", "excess_liquidity"):
        assert np.array_equal(getattr(statement, column), getattr(plain, column)), column


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=6, deadline=None)
@given(contracts_held, orders_listed, st.lists(st.sampled_from(CONTRACTS), min_size=1, max_size=1))
def test_another_order_never_lowers_it(name: str, steps: dict[str, int], listed: Listed, more: list[str]) -> None:
    model = fitted(name)
    arrays = arrays_of(model)
    book = book_of({"a": {**in_steps(steps), **RICH}})
    found = [
        margin(book, arrays, MARKET, model, orders=orders_of(orders)).initial_margin[0]
        for orders in ([], listed, [*listed, (more[0], 7, 0.0)])
    ]
    assert found[0] <= found[1] <= found[2] + CENT
    assert found[0] == margin(book, arrays, MARKET, model).initial_margin[0]


STATED = [name for name in SHIPPED if declared_excess(fitted(name), arrays_of(fitted(name))) is not None]


def test_models_that_state_a_bound() -> None:
    assert set(STATED) == {
        "aevo_standard",
        "bybit_pm",
        "bybit_standard",
        "delta_exchange_pm",
        "deribit_legacy_pm",
        "derive_pmrm",
        "okx_pm",
        "paradex_pm",
        "tims",
        "worst_case",
    }


balances_held = st.fixed_dictionaries(
    {}, optional={"USD": st.integers(-(10**6), 10**6).map(float), "BTC": st.integers(-50, 50).map(float)}
)


@pytest.mark.parametrize("name", STATED)
@settings(max_examples=40, deadline=None)
@given(contracts_held, balances_held, contracts_held, balances_held)
def test_books_together_ask_for_no_more_than_apart_and_the_excess(
    name: str, first: dict[str, int], cash: Held, second: dict[str, int], more: Held
) -> None:
    model = fitted(name)
    arrays = arrays_of(model)
    excess = declared_excess(model, arrays)
    assert excess is not None
    both = {n: first.get(n, 0) + second.get(n, 0) for n in {*first, *second}}
    money = {n: cash.get(n, 0.0) + more.get(n, 0.0) for n in {*cash, *more}}
    other = {**in_steps(second), **more}
    book = book_of({"a": {**in_steps(first), **cash}, "b": other, "c": {**in_steps(both), **money}})
    statement = margin(book, arrays, MARKET, model)
    if statement.unmargined.any():
        return
    beyond = sum(abs(amount) * float(excess[ROW[n]]) for n, amount in other.items())
    apart = statement.available_funds[0] + statement.available_funds[1]
    assert statement.available_funds[2] >= apart - beyond - 2 * CENT - 1e-9 * abs(apart)


@pytest.mark.parametrize("name", [name for name in STATED if name != "worst_case"])
def test_a_bound_is_at_least_what_all_subsets_ask_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(name)
    arrays = arrays_of(model)
    random = np.random.default_rng(7)
    tight = []
    for _ in range(8):
        held = {**in_steps({str(n): int(random.integers(-300, 300)) for n in random.choice(CONTRACTS, 4)}), **RICH}
        listed = [
            (str(n), int(random.integers(1, 200)) * int(random.choice([-1, 1])), float(random.integers(-2000, 2000)))
            for n in random.choice(CONTRACTS, 8)
        ]
        book, orders = book_of({"a": held}), orders_of(listed)
        exact = margin(book, arrays, MARKET, model, orders=orders).orders
        with monkeypatch.context() as small:
            small.setattr(order_margin, "ENUMERATED", 3)
            small.setattr(order_margin, "GROUP", 3)
            bound = margin(book, arrays, MARKET, model, orders=orders).orders
        assert exact is not None and bound is not None
        assert (exact.method_names[0], bound.method_names[0]) == ("exact", "bound")
        assert bound.added[0] >= exact.added[0]
        tight.append(bound.added[0] / max(exact.added[0], 1.0))
    # It is of use: without netting between groups, a few times the exact one at most.
    assert np.median(tight) < 4.0


def test_a_worst_loss_takes_any_number_of_orders_and_names_the_worst_of_all_subsets() -> None:
    """13 orders, more than are tried, paid in coins with a haircut that move in the scenarios; 8,192 books by hand."""
    model = worst_case.Model(worst_case.Params(initial_factor=1.2, short_option_minimum=0.02))
    random = np.random.default_rng(11)
    listed = [
        (str(n), int(random.integers(1, 300)) * int(random.choice([-1, 1])), float(random.integers(-3000, 3000)))
        for n in random.choice(CONTRACTS, 13)
    ]
    held = {**in_steps({str(n): int(random.integers(-300, 300)) for n in random.choice(CONTRACTS, 5)}), **RICH}
    found = margin(book_of({"a": held}), ARRAYS, MARKET, model, orders=orders_of(listed)).orders
    every = least_funds(held, listed, model, ARRAYS)
    assert found is not None and found.method_names[0] == "exact"
    assert found.added[0] == pytest.approx(every[0] - min(every), abs=1.01 * CENT)


def test_a_coin_that_could_turn_is_tried_and_then_bounded() -> None:
    """With no coins held, what a fill pays is owed: its haircut bends there, and no place is changed with a maximum."""
    model = worst_case.Model()
    options = [name for name in CONTRACTS if name.endswith(("-C", "-P")) and name.startswith("BTC")]
    few = [(name, 50, 0.0) for name in options[:6]] + [(options[6], -50, 0.0)]
    held: Held = {"USD": 1e7}
    found = margin(book_of({"a": held}), ARRAYS, MARKET, model, orders=orders_of(few)).orders
    every = least_funds(held, few, model, ARRAYS)
    assert found is not None and found.method_names[0] == "exact"
    assert found.added[0] == pytest.approx(every[0] - min(every), abs=1.01 * CENT)
    many = few + [(name, -20, 0.0) for name in options[7:15]]
    bound = margin(book_of({"a": held}), ARRAYS, MARKET, model, orders=orders_of(many)).orders
    assert bound is not None and bound.method_names[0] == "bound"
    some = margin(book_of({"a": held}), ARRAYS, MARKET, model, orders=orders_of(many[4:16])).orders
    assert some is not None and bound.added[0] >= some.added[0]


def test_more_orders_than_can_be_tried_are_refused_by_name_where_there_is_no_bound() -> None:
    model = fitted("reg_t")
    arrays = arrays_of(model)
    listed: Listed = [(CONTRACTS[0], 1, 0.0)] * (order_margin.ENUMERATED + 1)
    seen = [name for name in CONTRACTS if model.not_covered(arrays)[ROW[name]] == ""]
    listed = [(seen[0], 1, 0.0)] * (order_margin.ENUMERATED + 1)
    with pytest.raises(ConfigError, match=r"reg_t states no bound .* 12 open orders of one account: a has 13"):
        margin(book_of({"a": {}}), arrays, MARKET, model, orders=orders_of(listed))


def test_an_order_without_a_rule_is_named_and_makes_the_account_blind() -> None:
    model = fitted("derive_pmrm")
    arrays = arrays_of(model)
    assert model.not_covered(arrays)[ROW["BTC-60D"]] != ""
    held: Held = {"USD": 1e6}
    orders = orders_of([("BTC-60D", 100, 0.0), ("BTC-60D-68000-C", -10, 0.0)])
    statement = margin(book_of({"a": held, "b": held}), arrays, MARKET, model, orders=orders)
    assert statement.orders is not None
    assert statement.positions_excluded[0].startswith("a BTC-60D: order, ")
    assert statement.unmargined.tolist() == [True, False]
    assert statement.orders.filled.tolist() == [False, True]
    assert statement.excluded_of([1]) == statement.positions_excluded[:1]
    alone = margin(book_of({"a": held}), arrays, MARKET, model, orders=orders.take(np.array([1])))
    assert alone.initial_margin[0] == statement.initial_margin[0] > 0.0


def test_an_account_that_its_orders_make_short_is_called_and_not_liquidated() -> None:
    held: Held = {"USD": 100.0}
    orders = orders_of([("BTC-PERPETUAL", 1000, 0.0)])
    statement = margin(book_of({"a": held}), ARRAYS, MARKET, worst_case.Model(), orders=orders)
    assert statement.status[0] == AccountStatus.MARGIN_CALL
    assert statement.available_funds[0] < 0.0 < statement.excess_liquidity[0]
    assert statement.columns()["orders_filled_worst"][0] == statement.columns()["orders_open"][0] == 1
    assert statement.charges["open_orders"][0].tolist() == [statement.orders.added[0], 0.0]  # type: ignore[union-attr]


def test_accounts_do_not_touch_each_other_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("derive_pmrm2")
    arrays = arrays_of(model)
    held = {f"a{n}": {**in_steps({CONTRACTS[n]: 10 * n - 20}), **RICH} for n in range(5)}
    parts = [orders_of([(CONTRACTS[n + 3], 30, -100.0), (CONTRACTS[n], -20, 50.0)], n) for n in (4, 0, 2)]
    columns = ("account_idx", "instrument_idx", "quantity", "gain")
    orders = OpenOrders(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))
    whole = margin(book_of(held), arrays, MARKET, model, orders=orders).orders
    monkeypatch.setattr(order_margin, "AT_ONCE", 3)
    again = margin(book_of(held), arrays, MARKET, model, orders=orders).orders
    assert whole is not None and again is not None
    assert whole.added.tolist() == again.added.tolist()
    for row, name in enumerate(held):
        alone = margin(book_of({name: held[name]}), arrays, MARKET, model, orders=orders.between(row, row + 1)).orders
        assert alone is not None and alone.added[0] == whole.added[row]
    assert whole.method_names.tolist() == ["exact", "", "exact", "", "exact"]


def test_limits_gain_what_they_are_away_from_the_mark() -> None:
    perpetual, option = ROW["BTC-PERPETUAL"], ROW["BTC-60D-68000-C"]
    forward = float(ARRAYS.terms.forward[ARRAYS.expiry_idx[perpetual]])
    coin = float(ARRAYS.terms.fx[ARRAYS.terms.currency_idx[perpetual]])
    # 100 contracts of 10 dollars, a tenth below the mark.
    gains = gain_at_limit(ARRAYS, np.array([perpetual]), np.array([100.0]), np.array([0.9 * forward]))
    assert gains[0] == pytest.approx(1000.0 * (1 / (0.9 * forward) - 1 / forward) * coin)
    value = float(ARRAYS.value[option])
    mark = value / (float(INSTRUMENTS.multiplier[option]) * coin)
    sold = gain_at_limit(ARRAYS, np.array([option]), np.array([-2.0]), np.array([mark + 0.01]))
    assert sold[0] == pytest.approx(2.0 * 0.01 * coin)
    # The same future in dollars: 3 contracts bought 100 below the mark.
    terms = replace(ARRAYS.terms, payoff=np.zeros_like(ARRAYS.terms.payoff), currency_idx=0 * ARRAYS.terms.currency_idx)
    linear = replace(ARRAYS, terms=terms)
    bought = gain_at_limit(linear, np.array([perpetual]), np.array([3.0]), np.array([forward - 100.0]))
    assert bought[0] == pytest.approx(3.0 * 100.0 * float(INSTRUMENTS.multiplier[perpetual]))


def test_a_contract_that_nothing_can_pay_for_is_named() -> None:
    cash = np.where(ARRAYS.cash_row == ROW["BTC"], -1, ARRAYS.cash_row)
    arrays = replace(ARRAYS, cash_row=cash)
    orders = orders_of([("BTC-60D-68000-C", 1, 0.0)])
    with pytest.raises(DataError, match="settlement currency"):
        margin(book_of({"a": {}}), arrays, None, worst_case.Model(), orders=orders)


def test_what_if_keeps_orders_open() -> None:
    money: Held = {"USD": 1e6}
    book, orders = book_of({"a": dict(RICH), "b": money}), orders_of([("BTC-PERPETUAL", 1000, 0.0)], 1)
    model = worst_case.Model()
    answer = what_if(book, ARRAYS, MARKET, model, "b", [("BTC-PERPETUAL", -1000.0)], open_orders=orders)
    assert answer.pre["initial_margin"] == margin(book, ARRAYS, MARKET, model, orders=orders).initial_margin[1] > 0.0
    after = margin(book_of({"b": fill(money, [("BTC-PERPETUAL", -1000, 0.0)])}), ARRAYS, MARKET, model)
    # The open order would close what was sold, so it costs nothing more.
    assert answer.post["initial_margin"] == pytest.approx(after.initial_margin[0], abs=CENT)


def test_orders_are_part_of_what_a_run_is_of() -> None:
    book, model = book_of({"a": dict(RICH)}), worst_case.Model()
    works = [
        Work(book, ARRAYS, MARKET, model),
        Work(book, ARRAYS, MARKET, model, orders=orders_of([(CONTRACTS[0], 1, 0.0)])),
    ]
    assert len({manifest_of(work, 10)["digest"] for work in works}) == 2
    plain, with_orders = (margin(book, ARRAYS, MARKET, model, orders=work.orders) for work in works)
    assert plain.input_hash != with_orders.input_hash
    assert "order_margin" not in plain.columns()
