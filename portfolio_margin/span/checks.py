"""What contradicts itself in a risk parameter file: references that lead nowhere, amounts that are none."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.span.tables import (
    FUTURES_LIKE,
    INTER,
    INTRA,
    MINIMUM,
    OPTION_TYPES,
    SCAN,
    SCENARIOS,
    RiskParameterFile,
)
from pricing.arrays import BoolArray, IntArray
from pricing.errors import DataError, Problem


class Finding(NamedTuple):
    """Something wrong with one row of one table.

    table, row, field   where it stands
    value, remedy       what stands there, and what should
    """

    table: str
    row: int
    field: str
    value: Any
    remedy: str


def scenario_rows(file: RiskParameterFile, commodity: int = -1) -> IntArray:
    """Rows of the 16 scenarios of a commodity, or of the clearing organisation where it has none of its own.

    DataError where there are none for either.
    """
    points = file.scan_points
    for owner in (commodity, -1):
        rows = np.flatnonzero(points.commodity_idx == owner)[:SCENARIOS]
        if len(rows) == SCENARIOS:
            return rows
    remedy = "the file states no scenarios, which pair each with the opposite vol move"
    raise DataError([Problem("SPAN file", None, "pointDef", len(points), remedy)])


def findings(file: RiskParameterFile) -> list[Finding]:
    """Everything wrong with the tables of a file, in the order of the tables; empty for a sound file."""
    return [
        *_numbers(file),
        *_point_findings(file),
        *_contract_findings(file),
        *_array_findings(file),
        *_commodity_findings(file),
        *_leg_findings(file),
    ]


def _rows(table: str, field: str, bad: BoolArray, values: Any, remedy: str) -> list[Finding]:
    return [Finding(table, int(row), field, values[row], remedy) for row in np.flatnonzero(bad)]


def _numbers(file: RiskParameterFile) -> list[Finding]:
    """Columns in which a number must stand, and of which sign."""
    wanted = (
        ("conversions", "factor", "above"),
        ("scan_points", "price", "any"),
        ("scan_points", "vol", "any"),
        ("scan_points", "weight", "share"),
        ("delta_points", "weight", "share"),
        ("adjustments", "factor", "zero"),
        ("tier_rates", "value", "zero"),
        ("spread_rates", "value", "any"),
        ("spread_legs", "ratio", "above"),
        ("spot_rates", "spread", "any"),
        ("spot_rates", "outright", "any"),
        ("links", "delta_scale", "above"),
    )
    tests = {
        "any": (lambda x: np.isfinite(x), "must be a number"),
        "above": (lambda x: np.isfinite(x) & (x > 0), "must be a number above 0"),
        "zero": (lambda x: np.isfinite(x) & (x >= 0), "must be a number of 0 or more"),
        "share": (lambda x: np.isfinite(x) & (x >= 0) & (x <= 1), "must be a number from 0 to 1"),
    }
    found = []
    for table, field, kind in wanted:
        values = getattr(getattr(file, table), field)
        test, remedy = tests[kind]
        found += _rows(table, field, ~test(values), values, remedy)
    return found


def _point_findings(file: RiskParameterFile) -> list[Finding]:
    found = []
    points = file.scan_points
    for commodity, point_set in sorted({(int(c), int(r)) for c, r in zip(points.commodity_idx, points.point_set,
                                                                           strict=True)}):  # fmt: skip
        rows = np.flatnonzero((points.commodity_idx == commodity) & (points.point_set == point_set))
        if points.point[rows].tolist() != list(range(1, 17)):
            remedy = "the scenarios of a definition are the points 1 to 16, in order"
            found.append(Finding("scan_points", int(rows[0]), "point", points.point[rows].tolist(), remedy))
        paired = points.paired[rows]
        outside = (paired < 1) | (paired > len(rows))
        found += [
            Finding("scan_points", int(r), "paired", int(points.paired[r]), "no such point") for r in rows[outside]
        ]
    return found


def _contract_findings(file: RiskParameterFile) -> list[Finding]:
    contracts = file.contracts
    option = contracts.right != ""
    strike = contracts.strike
    return [
        *_rows("contracts", "right", option & ~np.isin(contracts.right, ("C", "P")), contracts.right, "C or P"),
        *_rows("contracts", "strike", option & ~np.isfinite(strike), strike, "an option needs a strike"),
        *_rows("contracts", "price", option & ~np.isfinite(contracts.price), contracts.price, "must be a number"),
    ]


def _array_findings(file: RiskParameterFile) -> list[Finding]:
    arrays = file.arrays
    bad = ~np.isfinite(arrays.loss).all(axis=1)
    first = np.argmin(np.isfinite(arrays.loss), axis=1) + 1
    found = [
        Finding("arrays", int(row), f"array value {first[row]}", float(arrays.loss[row, first[row] - 1]),
                "must be a number")
        for row in np.flatnonzero(bad)
    ]  # fmt: skip
    delta = arrays.composite_delta
    found += _rows("arrays", "composite delta", ~np.isfinite(delta), delta, "must be a number")
    with_array = np.zeros(len(file.contracts), dtype=bool)
    with_array[arrays.contract_idx] = True
    # A physical may be there for its price alone.
    kind = file.families.kind[file.periods.family_idx[file.contracts.period_idx]]
    needed = np.isin(kind, (*FUTURES_LIKE, *OPTION_TYPES))
    identifiers = file.contracts.contract_id
    return found + _rows("contracts", "array", needed & ~with_array, identifiers, "the contract has no risk array")


def _commodity_findings(file: RiskParameterFile) -> list[Finding]:
    codes = file.commodities.code
    _, first = np.unique(codes, return_index=True)
    repeated = ~np.isin(np.arange(len(codes)), first)
    found = _rows("commodities", "code", repeated, codes, "a combined commodity of this code came before")
    for table in ("commodities", "families"):
        currency = getattr(file, table).currency
        found += _rows(table, "currency", currency == "", currency, "must be named")
    _, first = np.unique(file.links.family_idx, return_index=True)
    repeated = ~np.isin(np.arange(len(file.links)), first)
    names = file.families.code[file.links.family_idx] if len(file.links) else file.families.code[:0]
    remedy = "the family belongs to another combined commodity already"
    return found + _rows("links", "family", repeated, names, remedy)


def _leg_findings(file: RiskParameterFile) -> list[Finding]:
    """Legs that name a commodity or a tier that is not there, spreads without two legs or without a rate."""
    legs, spreads, tiers = file.spread_legs, file.spreads, file.tiers
    position = {str(code): row for row, code in enumerate(file.commodities.code)}
    commodity = np.array([position.get(str(code), -1) for code in legs.commodity], dtype=np.int64)
    found = _rows("spread_legs", "commodity", commodity < 0, legs.commodity, "no such combined commodity")
    known = {
        (purpose, int(c), int(n))
        for purpose, c, n in zip(tiers.purpose, tiers.commodity_idx, tiers.number, strict=True)
    }
    for row in np.flatnonzero((legs.kind == "tier") & (legs.tier != 0) & (commodity >= 0)):
        inside = spreads.scope[legs.spread_idx[row]] == INTRA
        purposes = (INTRA,) if inside else (INTER, SCAN)
        if not any((purpose, int(commodity[row]), int(legs.tier[row])) in known for purpose in purposes):
            remedy = f"{legs.commodity[row]} has no {purposes[0]} tier of this number"
            found.append(Finding("spread_legs", int(row), "tier", int(legs.tier[row]), remedy))
    counts = np.bincount(legs.spread_idx, minlength=len(spreads))
    # A scanning spread may consist of its target and one leg; a delta spread needs two sides.
    found += _rows("spreads", "legs", counts < 2, counts.tolist(), "a spread needs at least two legs")
    bad_side = (legs.kind != "scan") & ~np.isin(legs.side, ("A", "B"))
    found += _rows("spread_legs", "side", bad_side, legs.side, "must be A or B")
    rated = np.zeros(len(spreads), dtype=bool)
    rated[file.spread_rates.spread_idx] = True
    found += _rows("spreads", "rate", ~rated, spreads.number, "the spread has no rate")
    methods = ("F", "W", "P")
    odd = (spreads.kind == "delta") & ~np.isin(spreads.charge_method, methods)
    found += _rows("spreads", "charge_method", odd, spreads.charge_method, f"must be one of {', '.join(methods)}")
    remedy = "no combined commodity has a tier of this purpose"
    return found + _rows("tiers", "purpose", ~np.isin(tiers.purpose, (SCAN, INTRA, INTER, MINIMUM, "rate")),
                         tiers.purpose, remedy)  # fmt: skip
