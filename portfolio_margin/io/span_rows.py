"""Rows of the tables of a risk parameter file while it is read, each with its place in the file."""

from __future__ import annotations

from array import array
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.io.span_places import Place
from portfolio_margin.span.columns import Columns
from portfolio_margin.span.tables import (
    AccountTypes,
    Adjustments,
    Commodities,
    Contracts,
    Conversions,
    Currencies,
    DeltaPoints,
    Exchanges,
    Families,
    Links,
    Periods,
    RequirementLevels,
    ScanPoints,
    ScanRates,
    SpotRates,
    SpreadLegs,
    SpreadRates,
    Spreads,
    TierRates,
    Tiers,
)

ABSENT: dict[str, Any] = {"StrArray": "", "IntArray": -1, "FloatArray": np.nan, "BoolArray": False}
# Numbers take eight bytes each while they are collected, and are handed over as they are.
PACKED = {"FloatArray": "d", "IntArray": "q"}
# A ratio that is not stated is one.
STATED_ELSE = {
    (Links, "delta_scale"): 1.0,
    (Commodities, "risk_exponent"): 0,
    (Currencies, "decimals"): 0,
    (SpreadLegs, "tier"): 0,
    (SpreadLegs, "ratio"): 1.0,
}
TABLES: dict[str, type[Columns]] = {
    "currencies": Currencies,
    "account_types": AccountTypes,
    "conversions": Conversions,
    "levels": RequirementLevels,
    "scan_points": ScanPoints,
    "delta_points": DeltaPoints,
    "exchanges": Exchanges,
    "families": Families,
    "periods": Periods,
    "scan_rates": ScanRates,
    "contracts": Contracts,
    "commodities": Commodities,
    "links": Links,
    "adjustments": Adjustments,
    "tiers": Tiers,
    "tier_rates": TierRates,
    "spreads": Spreads,
    "spread_rates": SpreadRates,
    "spread_legs": SpreadLegs,
    "spot_rates": SpotRates,
}


class PlaceOfRun(NamedTuple):
    """The place of rows that stand one behind the other: their tag, the first row and its ordinal in the file."""

    tag: str
    row: int
    ordinal: int

    def of(self, row: int) -> Place:
        """That of one of them."""
        return Place(self.tag, self.ordinal + row - self.row)


class Rows:
    """Columns of one table under construction, and the place of every row; numbers are packed, texts are listed."""

    def __init__(self, table: type[Columns]) -> None:
        self.table = table
        self.columns: dict[str, Any] = {
            f.name: array(PACKED[str(f.type)]) if str(f.type) in PACKED else []
            for f in fields(table)  # type: ignore[arg-type]
        }
        kinds = {f.name: str(f.type) for f in fields(table)}  # type: ignore[arg-type]
        self.fill = {name: STATED_ELSE.get((table, name), ABSENT[kind]) for name, kind in kinds.items()}
        self.places: list[Any] = []

    def __len__(self) -> int:
        return len(self.places)

    def add(self, place: Any, values: dict[str, Any]) -> int:
        """Append a row; what is not given is absent. Returns its number."""
        fill = self.fill
        for name, column in self.columns.items():
            column.append(values.get(name, fill[name]))
        self.places.append(place)
        return len(self.places) - 1

    def extend(self, places: list[Any], values: dict[str, Any]) -> None:
        """Append many rows at once, given by columns; what is not given is absent."""
        for name, column in self.columns.items():
            column.extend(values[name] if name in values else [self.fill[name]] * len(places))
        self.places.extend(places)

    def frozen(self) -> Columns:
        """The finished table. It takes the memory of packed columns over, so that no row can be added after it."""
        return self.table.from_rows({name: handed_over(column) for name, column in self.columns.items()})


def handed_over(column: Any) -> Any:
    """A packed column as a read-only array over the same memory; a list as it is."""
    if not isinstance(column, array) or not column:
        return column
    values = np.frombuffer(column, dtype=np.float64 if column.typecode == "d" else np.int64)
    values.flags.writeable = False
    return values


def new_rows() -> dict[str, Rows]:
    """Empty rows of every table but the arrays, which are numbers only."""
    return {name: Rows(table) for name, table in TABLES.items()}
