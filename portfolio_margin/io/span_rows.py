"""Rows of the tables of a risk parameter file while it is read, each with its place in the file."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

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


class Rows:
    """Columns of one table under construction, and the place of every row."""

    def __init__(self, table: type[Columns]) -> None:
        self.table = table
        self.columns: dict[str, list[Any]] = {f.name: [] for f in fields(table)}  # type: ignore[arg-type]
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

    def extend(self, places: list[Any], values: dict[str, list[Any]]) -> None:
        """Append many rows at once, given by columns; what is not given is absent."""
        for name, column in self.columns.items():
            column.extend(values[name] if name in values else [self.fill[name]] * len(places))
        self.places.extend(places)

    def frozen(self) -> Columns:
        """The finished table."""
        return self.table.from_rows(self.columns)


def new_rows() -> dict[str, Rows]:
    """Empty rows of every table but the arrays, which are numbers only."""
    return {name: Rows(table) for name, table in TABLES.items()}
