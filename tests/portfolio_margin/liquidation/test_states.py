"""States against a plain twin and the promises of the module: worse at once, better only with room to spare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin import AccountStatus, MarginStatement, margin
from portfolio_margin.liquidation import states
from portfolio_margin.liquidation.plan import DEFAULT_BUFFER
from portfolio_margin.models import worst_case
from portfolio_margin.statement import account_status
from pricing import ConfigError, DataError
from tests.bounds import check_bounds_of_numbers
from tests.naive import liquidation as naive
from tests.portfolio_margin.books import ARRAYS, BOOK, MARKET

BASE = margin(BOOK.accounts(0, 1), ARRAYS, MARKET, worst_case.Model())
HOUR = states.MS_PER_HOUR
Figures = tuple[float, float, float, float]


def statement_of(accounts: dict[str, Figures], at_ms: int) -> MarginStatement:
    """A statement whose accounts have (equity, balance, initial, maintenance)."""
    equity, balance, initial, maintenance = np.array(list(accounts.values()), dtype=float).reshape(-1, 4).T
    status = account_status(equity, balance, initial, maintenance)
    return replace(
        BASE, account=np.array(list(accounts), dtype=np.str_), equity=equity, margin_balance=balance,
        initial_margin=initial, maintenance_margin=maintenance, status=status, as_of_ms=at_ms,
    )  # fmt: skip


def codes(given_: states.States) -> dict[str, AccountStatus]:
    return {str(name): AccountStatus(code) for name, code in zip(given_.account, given_.state, strict=True)}


money = st.integers(-300, 300).map(float)
figures = st.tuples(money, st.integers(0, 50), st.integers(0, 150), st.integers(0, 150)).map(
    lambda f: (f[0], f[0] - f[1], float(f[2] + f[3]), float(f[2]))
)
exit_params = st.tuples(
    st.integers(100, 130), st.integers(110, 150), st.integers(0, 40), st.sampled_from([0, 2, 24])
).map(lambda p: states.Params(p[0] / 100, p[1] / 100, min(1.0 + p[2] / 100, p[1] / 100), p[3]))


@given(st.lists(st.tuples(st.integers(0, 30), figures, figures), min_size=1, max_size=8), exit_params)
def test_states_equal_their_twin(moments: list[tuple[int, Figures, Figures]], params: states.Params) -> None:
    now, given_ = BASE.as_of_ms, None
    twin = {"a": (0, -1), "b": (0, -1)}
    exits = {name: getattr(params, f"leave_{name}") for name in ("liquidation", "reduce_only", "margin_call")}
    exits["call_hours"] = params.call_hours
    for hours, *both in moments:
        now += hours * HOUR
        statement = statement_of(dict(zip(("a", "b"), both, strict=True)), now)
        before = twin
        given_, changes = states.advance(given_, statement, params)
        names = ("equity", "balance", "initial", "maintenance")
        twin = {
            name: naive.next_state(*before[name], now, int(code), dict(zip(names, row, strict=True)), exits)
            for name, code, row in zip(("a", "b"), statement.status, both, strict=True)
        }
        assert dict(zip(given_.account.tolist(), given_.state.tolist(), strict=True)) == {
            n: t[0] for n, t in twin.items()
        }
        assert given_.called_ms.tolist() == [twin["a"][1], twin["b"][1]]
        moved = [(n, before[n][0], twin[n][0]) for n in ("a", "b") if before[n][0] != twin[n][0]]
        assert [(c.account, int(c.before), int(c.after)) for c in changes] == moved
        assert np.all(given_.state >= statement.status)


def test_an_account_is_released_with_room_to_spare_and_not_before() -> None:
    now = BASE.as_of_ms
    path = [  # balance against a maintenance margin of 100 and an initial margin of 150
        (160.0, AccountStatus.NORMAL),
        (99.0, AccountStatus.LIQUIDATION),
        (109.0, AccountStatus.LIQUIDATION),
        (110.01, AccountStatus.REDUCE_ONLY),
        (119.0, AccountStatus.REDUCE_ONLY),
        (120.0, AccountStatus.MARGIN_CALL),
        (152.0, AccountStatus.MARGIN_CALL),
        (153.0, AccountStatus.NORMAL),
        (-1.0, AccountStatus.BANKRUPT),
        (1.0, AccountStatus.LIQUIDATION),
    ]
    given_ = None
    for step, (balance, expected) in enumerate(path):
        given_, _ = states.advance(given_, statement_of({"x": (balance, balance, 150.0, 100.0)}, now + step))
        assert codes(given_) == {"x": expected}, balance
    assert given_ is not None and given_.called_ms.tolist() == [now + 8] and given_.since_ms.tolist() == [now + 9]


def test_who_is_cut_to_the_buffer_of_the_policies_is_out_of_liquidation() -> None:
    """The level of the way out is below what they restore, so that nobody is liquidated and never let go."""
    assert states.Params().leave_liquidation < 1.0 + DEFAULT_BUFFER
    now, restored = BASE.as_of_ms, 100.0 * (1.0 + DEFAULT_BUFFER)
    cut, _ = states.advance(None, statement_of({"x": (99.0, 99.0, 150.0, 100.0)}, now))
    after, _ = states.advance(cut, statement_of({"x": (restored, restored, 150.0, 100.0)}, now))
    assert codes(cut)["x"] == AccountStatus.LIQUIDATION and codes(after)["x"] == AccountStatus.REDUCE_ONLY


def test_a_margin_call_unanswered_becomes_reduce_only() -> None:
    now, called = BASE.as_of_ms, {"x": (140.0, 140.0, 150.0, 100.0)}
    first, _ = states.advance(None, statement_of(called, now))
    still, none = states.advance(first, statement_of(called, now + 24 * HOUR - 1))
    late, changes = states.advance(still, statement_of(called, now + 24 * HOUR))
    assert codes(still) == {"x": AccountStatus.MARGIN_CALL} and not none
    assert codes(late) == {"x": AccountStatus.REDUCE_ONLY}
    assert [change.after for change in changes] == [AccountStatus.REDUCE_ONLY]
    later, none = states.advance(late, statement_of(called, now + 48 * HOUR))
    assert codes(later) == {"x": AccountStatus.REDUCE_ONLY} and not none


def test_accounts_that_a_statement_leaves_out_keep_their_state() -> None:
    now, good, bad = BASE.as_of_ms, (500.0, 500.0, 150.0, 100.0), (50.0, 50.0, 150.0, 100.0)
    first, _ = states.advance(None, statement_of({"a": bad, "b": bad}, now))
    second, changes = states.advance(first, statement_of({"c": good, "b": good}, now + 1))
    assert codes(second) == {"a": AccountStatus.LIQUIDATION, "b": AccountStatus.NORMAL, "c": AccountStatus.NORMAL}
    assert [change.account for change in changes] == ["b"]


def test_of_real_statements_the_first_state_is_their_status() -> None:
    statement = margin(BOOK, ARRAYS, MARKET, worst_case.Model())
    given_, changes = states.advance(None, statement, states.Params(call_hours=1.0))
    assert np.array_equal(given_.state, statement.status)
    assert len(changes) == np.count_nonzero(statement.status) > 0
    with pytest.raises(DataError, match="as_of_ms"):
        states.advance(given_, replace(statement, as_of_ms=statement.as_of_ms - 1))


def test_rules_are_bounded() -> None:
    check_bounds_of_numbers(states.Params(), lambda **change: replace(states.Params(), **change))
    with pytest.raises(ConfigError, match="leave_liquidation"):
        states.Params(leave_liquidation=1.3)
