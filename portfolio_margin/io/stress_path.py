"""Paths of a stress: as CSV or Parquet files of anybody's own, and those that ship."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portfolio_margin.io.tables import Table, number_column, read_table, refuse, require_columns, row_problems_of
from portfolio_margin.nearest import did_you_mean_or_known
from portfolio_margin.stress.path import LARGEST, MOST_STEPS, SMALLEST, StressPath
from pricing.arrays import FloatArray
from pricing.errors import ConfigError, DataError, Problem

if TYPE_CHECKING:
    import pandas as pd

COLUMN = re.compile(r"^(?P<kind>price|vol|peg)_(?P<name>.+?)(?:_(?P<days>\d+(?:\.\d+)?)d)?$")
HOURS = "hours"
ONE_TENOR = 30.0
SOURCES = {
    "crash_2026": "BTC and ETH options on Deribit, 31 January to 8 February 2026: index and vols at the money of "
    "slices fitted to each of 35 snapshots",
    "october_2025": "BTC and ETH on Binance, 10 and 11 October 2025, hourly and the low of the crash; vol by "
    "Deribit's DVOL",
    "march_2020": "BTC and ETH on Binance, 11 to 14 March 2020, every second hour; vol by the rule of docs/stress.md",
}


def shipped_path(name: str) -> StressPath:
    """A path that ships, by name. ConfigError where there is none of that name."""
    if name not in SOURCES:
        raise ConfigError(f"path = {name!r}: no such path{did_you_mean_or_known(name, list(SOURCES))}")
    file = files("portfolio_margin.stress").joinpath("paths", f"{name}.csv")
    return read_path(Path(str(file)), name, SOURCES[name])


def read_path(source: str | Path | pd.DataFrame, name: str = "", origin: str = "") -> StressPath:
    """A path from a table with one row a step.

    source  a .csv, .csv.gz or .parquet file, or a frame, with the columns
                hours         since the start, rising
                price_BTC     factor on the price at the start
                vol_BTC_30d   factor on the vol of options with 30 days to go; vol_BTC is the same for all. Where there
                              are several, all underlyings have the same days; without any vols stay
                peg_USDC      factor on what a dollar token is worth
    name    of the path, by default that of the file
    origin  where its numbers come from, by default the file

    DataError listing every row and column that is none of these.
    """
    table = read_table(source, "path")
    unread = [column for column in table.of_index if column != HOURS]
    table = table._replace(frame=table.frame.drop(columns=unread))
    require_columns(table, list(dict.fromkeys(str(column) for column in table.frame.columns)), only=False)
    known = {column: COLUMN.match(column) for column in table.frame.columns}
    problems = [
        Problem(
            table.file, None, "column", str(column), "must be hours, price_NAME, vol_NAME, vol_NAME_30d or peg_NAME"
        )
        for column, match in known.items()
        if column != HOURS and (match is None or (match["days"] and match["kind"] != "vol"))
    ]
    if HOURS not in known:
        problems.append(Problem(table.file, None, HOURS, "", "the column is missing"))
    if problems:
        raise DataError(problems)
    columns = _numbers(table)
    parts = {column: match for column, match in known.items() if match is not None}
    price = [match["name"] for match in parts.values() if match["kind"] == "price"]
    if not price:
        refuse(table.file, "price", "", "needs a column price_NAME at least")
    tokens = [match["name"] for match in parts.values() if match["kind"] == "peg"]
    tenors, vol = _vols(table, columns, price)
    return StressPath(
        name=name or Path(table.file).name,
        source=origin or table.file,
        hours=columns[HOURS],
        underlying_id=np.array(price, dtype=np.str_),
        price=np.column_stack([columns[f"price_{u}"] for u in price]),
        tenor_days=tenors,
        vol=vol,
        token=np.array(tokens, dtype=np.str_),
        peg=np.column_stack([columns[f"peg_{t}"] for t in tokens]) if tokens else np.zeros((len(columns[HOURS]), 0)),
    )


def _numbers(table: Table) -> dict[str, FloatArray]:
    """Every column as numbers; DataError for each that is none."""
    problems: list[Problem] = []
    columns = {}
    count = len(table.frame)
    if not 1 <= count <= MOST_STEPS:
        refuse(table.file, HOURS, count, f"needs 1 to {MOST_STEPS} rows")
    for column in table.frame.columns:
        values, unread = number_column(table, column)
        bad = unread | ~np.isfinite(values)
        remedy = "must be a number of hours, 0 or more"
        if column == HOURS:
            early = np.append(False, ~(np.diff(values) > 0)) & ~bad
            problems += row_problems_of(table, column, early, "must be later than the row before")
            bad |= ~(values >= 0)
        else:
            bad |= ~((values >= SMALLEST) & (values <= LARGEST))
            remedy = f"must be a factor on the start, {SMALLEST:g} to {LARGEST:g}"
        problems += row_problems_of(table, column, bad, remedy)
        columns[str(column)] = values
    if problems:
        raise DataError(problems)
    return columns


def _vols(table: Table, columns: dict[str, FloatArray], price: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Tenors (K,) and factors (T,U,K)."""
    by_name: dict[str, dict[float, FloatArray]] = {}
    for column, values in columns.items():
        match = COLUMN.match(column)
        if match and match["kind"] == "vol":
            given, days = by_name.setdefault(match["name"], {}), float(match["days"] or ONE_TENOR)
            if days in given:
                refuse(
                    table.file, "column", column, f"vols of {match['name']} at {days:g} days stand in another column"
                )
            given[days] = values
    problems = [
        Problem(table.file, None, "column", f"vol_{name}", f"there is no price_{name}")
        for name in by_name
        if name not in price
    ]
    tenors = sorted({days for given in by_name.values() for days in given}) or [ONE_TENOR]
    for name, given in by_name.items():
        if sorted(given) != tenors:
            remedy = "needs the days of the others: " + ", ".join(f"{days:g}" for days in tenors)
            problems.append(Problem(table.file, None, "column", f"vol_{name}", remedy))
    if problems:
        raise DataError(problems)
    still = dict.fromkeys(tenors, np.ones(len(columns[HOURS])))
    stacked = [np.column_stack([by_name.get(name, still)[days] for days in tenors]) for name in price]
    return np.array(tenors), np.stack(stacked, axis=1)
