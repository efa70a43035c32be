"""Margin groups: nothing nets between them, collateral is shared; an isolated position is none. And `isolate`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import AccountStatus, margin
from portfolio_margin.margin_groups import SUMMED, account_of, pooled
from portfolio_margin.models import worst_case
from portfolio_margin.worst_fill import OpenOrders
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import ARRAYS, MARKET, ROW, balances_held, book_of, contracts_held, in_steps
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
MODEL = worst_case.Model()
CENT = 0.011
GROUPED = {
    "alice": {"USD": 300_000.0},
    "alice/BTC-PERPETUAL": {"BTC-PERPETUAL": 10.0, "BTC": 0.01},
    "alice2": {"USD": 1.0},
    "alice:long": {"BTC-PERPETUAL": 60_000.0},
    "alice:short": {"BTC-PERPETUAL": -60_000.0},
}


def test_nothing_nets_between_groups_and_collateral_is_shared() -> None:
    parts = margin(book_of(GROUPED), ARRAYS, MARKET, MODEL)
    found = pooled(parts)
    assert found.account.tolist() == ["alice", "alice/BTC-PERPETUAL", "alice2"]
    row = {str(name): n for n, name in enumerate(parts.account)}
    for name in SUMMED:
        column = getattr(parts, name)
        three = column[row["alice"]] + column[row["alice:long"]] + column[row["alice:short"]]
        assert getattr(found, name).tolist() == pytest.approx(
            [three, column[row["alice/BTC-PERPETUAL"]], column[row["alice2"]]], abs=1e-6
        )
    netted = margin(book_of({"alice": {"USD": 300_000.0}}), ARRAYS, MARKET, MODEL)
    assert netted.initial_margin[0] == 0.0 < found.initial_margin[0]
    # A group alone has no balance; the account covers both.
    assert parts.status[row["alice:long"]] >= AccountStatus.LIQUIDATION
    assert found.status[0] == AccountStatus.NORMAL
    assert found.charges["scan"][0] == pytest.approx(parts.charges["scan"][[0, 3, 4]].sum(axis=0))
    assert found.columns()["available_funds"][0] == pytest.approx(found.margin_balance[0] - found.initial_margin[0])


@settings(max_examples=40, deadline=None)
@given(contracts_held, contracts_held, balances_held)
def test_groups_ask_for_no_less_than_one_account(
    first: dict[str, int], second: dict[str, int], cash: dict[str, float]
) -> None:
    """A worst loss of two books together is no more than of each: grouping only takes netting away."""
    both = {name: first.get(name, 0) + second.get(name, 0) for name in {*first, *second}}
    groups = pooled(margin(book_of({"a": cash, "a:x": in_steps(first), "a:y": in_steps(second)}), ARRAYS, None, MODEL))
    whole = margin(book_of({"a": {**in_steps(both), **cash}}), ARRAYS, None, MODEL)
    assert groups.account.tolist() == ["a"]
    assert groups.equity[0] == pytest.approx(whole.equity[0], abs=3 * CENT)
    assert groups.margin_balance[0] == pytest.approx(whole.margin_balance[0], abs=3 * CENT)
    assert groups.available_funds[0] <= whole.available_funds[0] + CENT


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c/x"]), contracts_held, min_size=1))
def test_without_groups_it_is_the_statement(accounts: dict[str, dict[str, int]]) -> None:
    statement = margin(book_of({name: in_steps(steps) for name, steps in accounts.items()}), ARRAYS, MARKET, MODEL)
    again = pooled(statement)
    for name, column in statement.columns().items():
        assert np.array_equal(again.columns()[name], column), name
    assert again.positions_excluded == statement.positions_excluded


def test_orders_and_what_is_excluded_follow_their_account() -> None:
    orders = OpenOrders(np.array([3, 4]), np.array([ROW["BTC-60D"]] * 2), np.array([1000.0, 1000.0]), np.zeros(2))
    parts = margin(book_of(GROUPED), ARRAYS, MARKET, MODEL, orders=orders)
    found = pooled(parts)
    assert found.orders is not None and parts.orders is not None
    assert found.orders.added[0] == pytest.approx(parts.orders.added.sum())
    assert found.columns()["orders_open"].tolist() == [2, 0, 0]
    assert found.columns()["order_margin_is"].tolist() == ["exact", "", ""]
    assert found.initial_margin[0] == pytest.approx(parts.initial_margin[[0, 3, 4]].sum())
    assert [account_of(name) for name in ("a:b", "a/b", ":x", "a")] == ["a", "a/b", ":x", "a"]


def test_pooled_on_the_command_line(run: Any, tmp_path: Path) -> None:
    rows = "alice:long,BTC-PERPETUAL,60000\nalice:short,BTC-PERPETUAL,-60000\nbob,BTC-PERPETUAL,100\n"
    (tmp_path / "p.csv").write_text("account,instrument,quantity\n" + rows, encoding="utf-8")
    (tmp_path / "c.csv").write_text("account,currency,amount\nalice,USD,400000\nbob,USD,5000\n", encoding="utf-8")
    book = ("--positions", "p.csv", "--collateral", "c.csv")
    market = ("--market", str(sample_market()))
    table = pd.read_csv(io.StringIO(run("margin", *market, *book, "--pool", "--csv").out))
    assert table["account"].tolist() == ["alice", "bob"]
    parts = pd.read_csv(io.StringIO(run("margin", *market, *book, "--csv").out))
    assert table["initial_margin"][0] == pytest.approx(parts["initial_margin"][:3].sum())
    one = json.loads(run("margin", *market, *book, "--pool", "--account", "alice", "--json").out)
    assert [account["account"] for account in one["accounts"]] == ["alice"]
    check_fails(run("margin", *market, *book, "--pool", "--account", "alice:long"), "no such account")
    check_fails(
        run("margin", *market, *book, "--pool", "--chunk-accounts", "2", "--output", "out"), "--pool has no effect"
    )


def sample_market() -> Path:
    from portfolio_margin.sample import MARKET_FILE, sample_path

    return Path(sample_path(MARKET_FILE))


def test_isolate_opens_and_closes_and_writes_the_book(run: Any, tmp_path: Path) -> None:
    name = "perpetual-long-01"
    opening = ("isolate", "coin-only-01", "--open", "BTC-PERPETUAL=1000")
    text = run(*opening)
    assert "isolation: " in text.out and "BTC from coin-only-01 to coin-only-01/BTC-PERPETUAL" in text.out, text
    told = json.loads(run(*opening, "--book", "after", "--json").out)
    sub = next(account for account in told["accounts"] if account["account"] == "coin-only-01/BTC-PERPETUAL")
    assert float(sub["available_funds"]) >= 0.0
    assert told["moved"] > 0.0 == told["covered_by_fund"]
    book = (
        "--market",
        str(sample_market()),
        "--positions",
        "after-positions.csv",
        "--collateral",
        "after-collateral.csv",
    )
    again = pd.read_csv(io.StringIO(run("margin", *book, "--csv").out)).set_index("account")
    whole = pd.read_csv(io.StringIO(run("margin", "--csv").out)).set_index("account")
    assert again.loc["coin-only-01/BTC-PERPETUAL", "available_funds"] == float(sub["available_funds"])
    # Nobody else is touched.
    assert again.loc[name].equals(whole.loc[name])
    closing = ("isolate", "coin-only-01", *book, "--close", "BTC-PERPETUAL=-1000")
    back = json.loads(run(*closing, "--json").out)
    assert back["moved"] == -told["moved"]
    assert [entry["reason"] for entry in back["entries"]] == ["release"]
    crash = run(*closing, "--price", "1500")
    assert "cover: " in crash.out and "from insurance_fund to coin-only-01/BTC-PERPETUAL" in crash.out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("coin-only-01",), "give either --open"),
        (("coin-only-01", "--open", "A=1", "--close", "A=1"), "give either --open"),
        (("coin-only-01", "--open", "BTC-PERPETUAL"), "write INSTRUMENT=QUANTITY"),
        (("coin-only-01", "--close", "BTC-PERPETUAL=5"), "must reduce that"),
        (("nobody", "--open", "BTC-PERPETUAL=10"), "no such account"),
    ],
)
def test_what_isolate_refuses(run: Any, options: tuple[str, ...], text: str) -> None:
    check_fails(run("isolate", *options), text)
