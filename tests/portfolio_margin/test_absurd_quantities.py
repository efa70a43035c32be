"""Quantities that no sum could hold exactly: one sentence with file, row, field and value, and no warning."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin import Book, margin
from portfolio_margin.io.open_orders import read_orders
from portfolio_margin.io.positions import read_book
from portfolio_margin.models import worst_case
from portfolio_margin.worst_fill import OpenOrders, check_orders
from pricing import DataError
from pricing.errors import NumericalError
from tests.portfolio_margin.books import ARRAYS, BACKENDS, INSTRUMENTS, MARKET, ROW

OPTION = "BTC-60D-81600-C"
MARGIN = worst_case.Model()


@pytest.fixture(autouse=True)
def no_warning() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def written(path: Path, rows: list[tuple[Any, ...]], columns: str, parquet: bool = False) -> str:
    frame = pd.DataFrame(rows, columns=columns.split(","))
    frame.to_parquet(path) if parquet else frame.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("parquet", [False, True])
@pytest.mark.parametrize("number", [1e300, -1e308, 2e16])
def test_a_table_names_its_row(tmp_path: Path, number: float, parquet: bool) -> None:
    columns, end = "account,instrument,quantity", "parquet" if parquet else "csv"
    good = written(tmp_path / f"p.{end}", [("x", OPTION, 1.0)], columns, parquet)
    bad = written(tmp_path / f"q.{end}", [("x", "BTC-PERPETUAL", 1.0), ("x", OPTION, number)], columns, parquet)
    coins = written(tmp_path / f"c.{end}", [("x", "BTC", number)], "account,currency,amount", parquet)
    for positions, collateral, file, row, field in (
        (bad, None, "q", 2, "quantity"),
        (good, coins, "c", 1, "amount"),
    ):
        with pytest.raises(DataError) as told:
            read_book(positions, collateral, INSTRUMENTS, MARKET)
        (problem,) = told.value.problems
        assert (Path(str(problem.file)).stem, problem.row, problem.field) == (file, row + (not parquet), field)
        assert float(problem.value) == number and problem.remedy == "too large for exact sums"


@pytest.mark.parametrize("number", [1e300, -1e308, 1e15])
def test_an_order_names_its_row(tmp_path: Path, number: float) -> None:
    """The last one is a number of whole steps, whose gains are too large for ticks."""
    book = Book.from_arrays(["x"], [ROW[OPTION]], [1.0], INSTRUMENTS.expiry_idx)
    columns = "account,instrument,quantity,price"
    file = written(tmp_path / "orders.csv", [("x", OPTION, 1.0, 0.1), ("x", OPTION, number, 0.1)], columns)
    with pytest.raises(DataError) as told:
        read_orders(file, book, ARRAYS, MARKET)
    (problem,) = told.value.problems
    assert (problem.row, problem.field, float(problem.value)) == (3, "quantity", number)
    orders = OpenOrders(np.array([0]), np.array([ROW[OPTION]]), np.array([number]), np.zeros(1))
    with pytest.raises(DataError, match="too large for exact sums"):
        check_orders(book, ARRAYS, orders)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "number"), [("BTC", 1e308), (OPTION, -1e306)])
def test_a_book_names_account_quantity_and_contract(backend: str, name: str, number: float) -> None:
    book = Book.from_arrays(["x", "y"], [ROW[OPTION], ROW[name]], [1.0, number], INSTRUMENTS.expiry_idx)
    told = re.escape(f"account y: a quantity of {number:g} {name} is too large for exact sums")
    with pytest.raises(NumericalError, match=told):
        margin(book, ARRAYS, MARKET, MARGIN, backend=backend)
