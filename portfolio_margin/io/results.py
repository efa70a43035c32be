"""Results out: named columns as JSON, CSV or Parquet; files are whole or not there."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.frames import frame
from portfolio_margin.io.tables import CSV, JSON, PARQUET, kind_of_name
from pricing.arrays import BoolArray, StrArray

MONEY_DIGITS = 2


def write_result(
    path: str | Path, columns: Mapping[str, Any], identity: Mapping[str, Any], money: Sequence[str]
) -> None:
    """Write columns to a .json, .csv or .parquet file, whole or not at all.

    path      name of the file; its ending says the format
    identity  what reproduces the result; inside the document for JSON and in the schema for Parquet
    money     columns that are amounts: decimal texts in JSON
    """
    write_whole(path, result_bytes(kind_of_name(path), columns, identity, money))


def result_bytes(kind: str, columns: Mapping[str, Any], identity: Mapping[str, Any], money: Sequence[str]) -> bytes:
    """The content of a result file of this kind."""
    if kind == JSON:
        return (json_text({**identity, "rows": json_rows(columns, money)}) + "\n").encode()
    if kind == CSV:
        return csv_text(columns).encode()
    if kind == PARQUET:
        return _parquet(columns, identity)
    raise AssertionError(f"unknown kind of file {kind}")


def write_book(name: str, book: Book, instrument_id: StrArray, is_collateral: BoolArray) -> None:
    """Write a book to NAME-positions.csv and NAME-collateral.csv, as `read_book` takes them.

    name                          without its ending, with the folder
    instrument_id, is_collateral  (N,) of the contracts and assets
    """
    account = np.repeat(book.account_id, np.diff(book.position_ptr))
    asset = is_collateral[book.instrument_idx]
    for ending, rows, of, much in (
        ("positions", ~asset, "instrument", "quantity"),
        ("collateral", asset, "currency", "amount"),
    ):
        names, amounts = instrument_id[book.instrument_idx[rows]], book.quantity[rows]
        write_whole(f"{name}-{ending}.csv", csv_text({"account": account[rows], of: names, much: amounts}).encode())


def json_text(document: Any) -> str:
    """JSON with null where a number is not finite and decimal texts for Decimal."""
    return json.dumps(plain(document), indent=2, allow_nan=False)


def json_rows(columns: Mapping[str, Any], money: Sequence[str], digits: int = MONEY_DIGITS) -> list[dict[str, Any]]:
    """One object a row; columns in `money` as decimal texts with so many digits."""
    names = list(columns)
    rows = zip(*(columns[name] for name in names), strict=True)
    return [
        {name: money_text(value, digits) if name in money else value for name, value in zip(names, row, strict=True)}
        for row in rows
    ]


def money_text(value: Any, digits: int = MONEY_DIGITS) -> str | None:
    """An amount as a decimal text with so many digits; exact Decimals as they are; None where there is none."""
    if value is None:
        return None
    if isinstance(value, Decimal):
        return decimal_text(value)
    return f"{float(value):.{digits}f}" if math.isfinite(value) else None


def decimal_text(value: Decimal) -> str:
    """A Decimal in full, without exponent and without trailing zeros beyond the cents."""
    text = f"{value:f}"
    whole, _, digits = text.partition(".")
    digits = digits.rstrip("0").ljust(MONEY_DIGITS, "0")
    return f"{whole}.{digits}"


def csv_text(columns: Mapping[str, Any]) -> str:
    """The columns as CSV with a header; numbers with the shortest digits that read back to the same value, nothing
    where a number is not finite."""
    return str(frame(_tabular(columns)).to_csv(index=False, lineterminator="\n"))


def _tabular(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns as tables hold them: Decimals as texts, no number where one is not finite, as null in JSON."""
    shown: dict[str, Any] = {}
    for name, values in columns.items():
        if _decimals(values):
            shown[name] = [decimal_text(value) for value in values]
        elif isinstance(values, np.ndarray) and values.dtype.kind == "f":
            shown[name] = np.where(np.isfinite(values), values, np.nan)
        else:
            shown[name] = values
    return shown


def plain(value: Any) -> Any:
    """Numpy, Decimal and mappings as what JSON knows."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _decimals(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and isinstance(values[0], Decimal)


def _parquet(columns: Mapping[str, Any], identity: Mapping[str, Any]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(frame(_tabular(columns)), preserve_index=False)
    table = table.replace_schema_metadata({"portfolio_margin": json.dumps(plain(identity))})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()
