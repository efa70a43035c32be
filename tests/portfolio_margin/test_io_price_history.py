"""Price histories: the last price of each day, the days that all have, and every bad row named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.price_history import joint_returns, read_price_history
from pricing.errors import DataError


def frame(rows: list[tuple[str, float]]) -> pd.DataFrame:
    return pd.DataFrame({"date": [day for day, _ in rows], "close": [price for _, price in rows]})


def test_the_last_price_of_a_day_counts() -> None:
    hours = [("2026-01-01T08:00:00Z", 10.0), ("2026-01-01T23:00:00Z", 11.0), ("2026-01-02T01:00:00Z", 12.0)]
    read = read_price_history(frame(hours))
    assert read.date.tolist() == ["2026-01-01", "2026-01-02"]
    assert read.close.tolist() == [11.0, 12.0]


def test_returns_of_common_days() -> None:
    first = read_price_history(frame([(f"2026-01-0{n}", 100.0 * n) for n in (1, 2, 3, 5)]))
    second = read_price_history(frame([(f"2026-01-0{n}", 10.0 + n) for n in (1, 3, 4, 5)]))
    both = joint_returns({"A": first, "B": second})
    assert both.date.tolist() == ["2026-01-03", "2026-01-05"]
    assert both.returns["A"] == pytest.approx(np.log([3.0, 5.0 / 3.0]))
    assert both.returns["B"] == pytest.approx(np.log([13 / 11, 15 / 13]))
    assert len(joint_returns({"A": first, "B": second}, end="2026-01-03").date) == 1
    with pytest.raises(DataError, match="fewer than two days in common"):
        joint_returns({"A": first, "B": second}, start="2026-01-05")


def test_bad_rows_are_named() -> None:
    rows = frame([("2026-01-01", 1.0), ("2026-01-03", 2.0), ("2026-01-02", 3.0), ("soon", 4.0), ("2026-01-09", -1.0)])
    with pytest.raises(DataError) as caught:
        read_price_history(rows)
    assert {(p.row, p.field) for p in caught.value.problems} == {(3, "date"), (4, "date"), (5, "close")}
    with pytest.raises(DataError, match="two days"):
        read_price_history(frame([("2026-01-01", 1.0)]))


def test_days_without_a_price_are_left_out() -> None:
    read = read_price_history(frame([("2026-01-01", 1.0), ("2026-01-02", np.nan), ("2026-01-03", 3.0)]))
    assert read.date.tolist() == ["2026-01-01", "2026-01-03"]
