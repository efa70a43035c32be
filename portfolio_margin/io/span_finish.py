"""What is left to do with the rows of a SPAN XML file once all are read: underlyings, header, checks with places."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from portfolio_margin.io.span_rows import PlaceOfRun, Rows
from portfolio_margin.io.span_source import place_of, refuse_record
from portfolio_margin.span.checks import findings
from portfolio_margin.span.tables import FUTURES_LIKE, OPTION_TYPES, Header, RiskParameterFile
from pricing.errors import DataError, Problem

PROBLEMS_PLACED = 20


def add_underlying_periods(all_rows: dict[str, Rows]) -> None:
    """Fill in the period of the future that an option is on, which is where its delta counts."""
    families, periods = all_rows["families"].columns, all_rows["periods"].columns
    contracts, exchanges = all_rows["contracts"].columns, all_rows["exchanges"].columns
    futures = {}
    for period, contract in zip(contracts["period_idx"], contracts["contract_id"], strict=True):
        family = periods["family_idx"][period]
        if families["kind"][family] in FUTURES_LIKE:
            exchange = exchanges["code"][families["exchange_idx"][family]]
            futures[exchange, families["family_id"][family], contract] = periods["period"][period]
    names = ("family_idx", "underlying_exchange", "underlying_family_id", "underlying_contract_id")
    rows = zip(*(periods[name] for name in names), strict=True)
    option = [kind in OPTION_TYPES for kind in families["kind"]]
    periods["underlying_period"] = [futures.get(tuple(key), "") if option[family] else "" for family, *key in rows]


def check_tables(path: str, file: RiskParameterFile, rows: dict[str, Rows]) -> None:
    """DataError about everything wrong with the tables, each with its place in the file."""
    if not len(file.contracts):
        refuse_record(path, place_of(path, "clearingOrg", 0), "contracts", 0, "the file holds none")
    problems = []
    for n, finding in enumerate(findings(file)):
        table = rows["contracts" if finding.table == "arrays" else finding.table]
        row = int(file.arrays.contract_idx[finding.row]) if finding.table == "arrays" else finding.row
        place = table.places[row]
        place = place.of(row) if isinstance(place, PlaceOfRun) else place
        where = place_of(path, *place) if n < PROBLEMS_PLACED else f"{place[0]} number {place[1] + 1}"
        value = finding.value.item() if hasattr(finding.value, "item") else finding.value
        problems.append(Problem(path, where, finding.field, value, finding.remedy))
    if problems:
        raise DataError(problems)


def header_of(values: dict[str, Any]) -> Header:
    """The header of what a file states; what it does not is absent."""
    types = {f.name: str(f.type) for f in fields(Header)}
    absent: dict[str, Any] = {"str": "", "bool": False, "float": np.nan}
    stated = {name: bool(value) if types[name] == "bool" else value for name, value in values.items()}
    return Header(**{**{name: absent[kind] for name, kind in types.items()}, **stated})
