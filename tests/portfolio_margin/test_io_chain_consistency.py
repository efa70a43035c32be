"""Rows of a chain that contradict the other rows, or themselves, are named: one cause a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.deribit import read_chain
from tests.portfolio_margin.io_examples import as_tickers, chain_frame, linear_frame, refused

ROW = "4 (BTC-6MAR26-68000-P)"


def altered(column: str, factor: float, row: int = 3) -> pd.DataFrame:
    frame = chain_frame()
    frame.loc[row, column] *= factor
    return frame


@pytest.mark.parametrize(
    ("column", "factor", "field"),
    [
        ("underlying", 10.0, "underlying"),
        ("underlying", 0.94, "underlying"),
        ("underlying", 1.06, "underlying"),
        ("index", 0.1, "index"),
        ("index", 1.06, "index"),
        ("mark", 10.0, "mark"),
        ("mark", 0.0, "mark"),
        ("mark_iv", 0.01, "mark_iv"),
        ("mark_iv", 30.0, "mark_iv"),
        ("mark_iv", 3.0, "mark"),
    ],
)
def test_a_slip_in_one_row_is_named_once(column: str, factor: float, field: str) -> None:
    found = refused(lambda: read_chain(altered(column, factor)))
    assert [(row, name) for row, name, _, _ in found] == [(ROW, field)]


@pytest.mark.parametrize(
    ("column", "factor"), [("underlying", 1.002), ("index", 0.98), ("mark", 1.02), ("mark_iv", 1.01)]
)
def test_what_a_moving_market_does_is_taken(column: str, factor: float) -> None:
    assert len(read_chain(altered(column, factor)).quotes) == 16


def test_such_a_row_can_be_left_out() -> None:
    left = read_chain(altered("underlying", 10.0), on_bad_row="exclude")
    assert len(left.quotes) == 15
    assert list(left.left_out) == ["BTC-6MAR26-68000-P"]
    assert "other rows of its expiry" in left.left_out["BTC-6MAR26-68000-P"]
    assert left.market.forward[0] == 68_450.0


def test_a_whole_expiry_far_from_the_index() -> None:
    frame = chain_frame()
    frame.loc[frame.instrument.str.startswith("BTC-6MAR26"), "underlying"] *= 10
    found = refused(lambda: read_chain(frame))
    assert len(found) == 6 and {field for _, field, _, _ in found} == {"underlying"}
    assert all("carry" in remedy for _, _, _, remedy in found)


def test_prices_in_quote_currency_are_measured_in_it() -> None:
    def read(frame: pd.DataFrame) -> Any:
        return read_chain(as_tickers(frame, min_trade_amount=0.01), fx={"USDC": 1.0})

    assert len(read(linear_frame()).quotes) == 6
    wrong = linear_frame()
    wrong.loc[2, "mark"] /= 68_000.0
    assert [field for _, field, _, _ in refused(lambda: read(wrong))] == ["mark_price"]


def test_a_row_that_is_wrong_already_is_not_named_twice() -> None:
    frame = altered("underlying", 10.0)
    frame.loc[3, "mark"] = np.nan
    assert [(row, field) for row, field, _, _ in refused(lambda: read_chain(frame))] == [(ROW, "mark")]
