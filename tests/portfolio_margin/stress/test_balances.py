"""Columns of balances say what the books of single entries say, and nothing is lost between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.liquidation.ledger import Role, open_ledger
from portfolio_margin.liquidation.waterfall import Others, Params, settle
from portfolio_margin.stress import balances as columns
from portfolio_margin.stress.balances import Balances, House
from pricing import NumericalError

ticks = st.integers(-(10**9), 10**9)
RULES = st.builds(
    Params,
    to_liquidator=st.integers(0, 3),
    to_fund=st.integers(1, 3),
    to_venue=st.integers(0, 3),
    fund_floor=st.sampled_from([0, 500]),
    deleveraging=st.sampled_from(["pro_rata", "none"]),
    profit_share=st.sampled_from([0.5, 1.0]),
    socialising=st.sampled_from(["equity", "none"]),
)


def books(trader: list[int], fund: int) -> Balances:
    house = np.zeros(len(House), dtype=np.int64)
    house[House.FUND] = fund
    return Balances(np.array(trader, dtype=np.int64), house)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), max_size=5), st.integers(-(10**9), -1), st.integers(0, 10**9), RULES)
def test_one_bankrupt_account_as_in_the_waterfall(others: list[int], owed: int, fund: int, rules: Params) -> None:
    """A profit is what is above the opening; here every other account opened at half of what it has."""
    trader = np.array([owed, *others], dtype=np.int64)
    opening = np.array([0, *(value // 2 for value in others)], dtype=np.int64)
    closed = np.arange(len(trader)) == 0
    after, losses = columns.cover(books(trader.tolist(), fund), closed, opening, rules)
    names = [f"o{number}" for number in range(len(others))]
    able = np.floor((trader[1:] - opening[1:]) * rules.profit_share).astype(np.int64)
    ledger = open_ledger({"x": owed, **dict(zip(names, others, strict=True))}, {"maker": 0}, insurance_fund=fund)
    whole = Params(**{**vars(rules), "profit_share": 1.0})
    done = settle(ledger, "x", "maker", whole, Others(np.array(names, dtype=np.str_), able))
    assert losses.deficit == done.deficit == -owed
    assert losses.from_fund == done.from_fund and losses.deleveraged == done.deleveraged
    assert losses.socialised == done.socialised and losses.uncovered == done.uncovered
    assert after.trader[0] == done.ledger.balance_of("x") == -losses.uncovered
    assert after.house[House.FUND] == done.ledger.balance_of(Role.INSURANCE_FUND)
    # Shares go by profit with the same caps; where a cap is half of it, weights are in proportion all the same.
    if rules.profit_share == 1.0:
        assert after.trader.tolist() == [done.ledger.balance_of(name) for name in ("x", *names)]
    assert after.total == int(trader.sum()) + fund == done.ledger.total


@settings(deadline=None)
@given(st.lists(ticks, min_size=1, max_size=12), st.integers(0, 10**9), RULES, st.data())
def test_whatever_happens_nothing_is_lost(trader: list[int], fund: int, rules: Params, data: st.DataObject) -> None:
    start = books(trader, fund)
    marks = np.array([data.draw(ticks) for _ in trader])
    now = columns.marked(start, marks * columns.TICK)
    assert now.total == start.total and np.array_equal(now.trader, marks)
    penalty = np.minimum(np.array([data.draw(st.integers(0, 10**6)) for _ in trader]), np.maximum(now.trader, 0))
    now = columns.penalised(now, penalty, rules)
    closed = np.array([data.draw(st.booleans()) for _ in trader])
    before = now
    now, losses = columns.cover(now, closed, start.trader, rules)
    assert now.total == start.total
    assert losses.deficit == losses.from_fund + losses.deleveraged + losses.socialised + losses.uncovered
    assert int(np.maximum(-now.trader[closed], 0).sum()) == losses.uncovered
    # Nobody pays who owes or was closed, nobody pays more than he has, and nobody gains beyond 0.
    gained = now.trader - before.trader
    assert np.all(gained[~closed] <= 0) and np.all(now.trader[gained < 0] >= 0) and np.all(now.trader[gained > 0] <= 0)
    assert now.house[House.FUND] >= min(rules.fund_floor, before.house[House.FUND])


def test_no_more_than_what_is_exact() -> None:
    with pytest.raises(NumericalError, match="beyond 2\\^53"):
        columns.moved(books([0], 0), np.array([2**53 + 2]), House.LIQUIDATORS)
