"""What is left to do with the rows of a SPAN XML file once all are read: underlyings, header, checks with places."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from portfolio_margin.io.span_elements import (
    ACCOUNT_TYPE,
    ADJUSTMENT,
    COMMODITY,
    CONTRACT,
    CONVERSION,
    CURRENCY,
    DELTA_POINT,
    DELTA_SPREAD,
    EXCHANGE,
    FAMILY,
    LEVEL,
    LINK,
    OPTION,
    PERIOD_LEG,
    RATE,
    SCAN_LEG,
    SCAN_POINT,
    SCAN_RATE,
    SCAN_SPREAD,
    SERIES,
    SPOT_RATE,
    TIER,
    TIER_LEG,
    Record,
)
from portfolio_margin.io.span_places import Place, Steps, place_of, places_of
from portfolio_margin.io.span_rows import PlaceOfRun, Rows
from portfolio_margin.io.span_source import refuse_record
from portfolio_margin.span.bounds import Finding
from portfolio_margin.span.checks import findings
from portfolio_margin.span.tables import FUTURES_LIKE, OPTION_TYPES, Header, RiskParameterFile
from pricing.errors import DataError, Problem

ARRAY_FIELDS = {"composite delta": "d"}
# Names of fields in findings that are no columns.
OTHER_FIELDS = {"account type": "acctType", "settlement date": "setlDate", "isTarget": "isTarget", "spread": "spread"}
# The elements that rows of a table are read from.
RECORDS: dict[str, tuple[Record, ...]] = {
    "currencies": (CURRENCY,),
    "account_types": (ACCOUNT_TYPE,),
    "conversions": (CONVERSION,),
    "levels": (LEVEL,),
    "scan_points": (SCAN_POINT,),
    "delta_points": (DELTA_POINT,),
    "exchanges": (EXCHANGE,),
    "families": (FAMILY,),
    "periods": (SERIES, CONTRACT),
    "scan_rates": (SCAN_RATE,),
    "contracts": (OPTION, CONTRACT),
    "commodities": (COMMODITY,),
    "links": (LINK,),
    "adjustments": (ADJUSTMENT,),
    "tiers": (TIER,),
    "tier_rates": (RATE,),
    "spreads": (DELTA_SPREAD, SCAN_SPREAD),
    "spread_rates": (RATE,),
    "spread_legs": (TIER_LEG, PERIOD_LEG, SCAN_LEG),
    "spot_rates": (SPOT_RATE,),
}
LEAF_OF = {
    table: OTHER_FIELDS | {leaf.column: tag for record in records for tag, leaf in record.leaves.items()}
    for table, records in RECORDS.items()
}


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


def check_tables(path: str, file: RiskParameterFile, rows: dict[str, Rows], placed: bool) -> None:
    """DataError about everything wrong with the tables, each with its place in the file where it shall be placed."""
    if not len(file.contracts):
        where = place_of(path, "clearingOrg", 0) if placed else None
        refuse_record(path, where, "contracts", 0, "the file holds none")
    found = findings(file)
    if not found:
        return
    problems = []
    places = places_of(path, [_place(file, rows, f) for f in found]) if placed else [None] * len(found)
    for finding, where in zip(found, places, strict=True):
        value = finding.value.item() if hasattr(finding.value, "item") else finding.value
        problems.append(Problem(path, where, finding.field, value, finding.remedy))
    raise DataError(problems)


def _place(file: RiskParameterFile, rows: dict[str, Rows], finding: Finding) -> Place:
    """The leaf that a finding is about, or its record where it has none of its own."""
    table, row = finding.table, finding.row
    steps: Steps = ()
    if table == "arrays":
        owners = file.arrays.contract_idx
        table, row = "contracts", int(owners[row])
        array = ("ra", finding.row - int(np.flatnonzero(owners == row)[0]) + 1)
        value = finding.field.removeprefix("array value ")
        steps = (array, ("a", int(value)) if value.isdigit() else (ARRAY_FIELDS.get(finding.field, "r"), 1))
    elif finding.field in LEAF_OF[table]:
        steps = tuple((tag, 1) for tag in LEAF_OF[table][finding.field].split("/"))
    place = rows[table].places[row]
    place = place.of(row) if isinstance(place, PlaceOfRun) else Place(*place)
    return Place(place.tag, place.ordinal, (*place.steps, *steps))


def header_of(values: dict[str, Any]) -> Header:
    """The header of what a file states; what it does not is absent."""
    types = {f.name: str(f.type) for f in fields(Header)}
    absent: dict[str, Any] = {"str": "", "bool": False, "float": np.nan}
    stated = {name: bool(value) if types[name] == "bool" else value for name, value in values.items()}
    return Header(**{**{name: absent[kind] for name, kind in types.items()}, **stated})
