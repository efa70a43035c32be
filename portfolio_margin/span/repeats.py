"""What stands twice in a risk parameter file: which of the two counts would be a matter of their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.span.contracts import ContractView
from portfolio_margin.span.tables import FUTURES_LIKE, OPTION_TYPES, RiskParameterFile
from pricing.arrays import BoolArray, IntArray

# What tells one row of a table from the others, and the field that a message names.
KEYS = (
    ("levels", ("is_customer", "account_type", "is_maintenance", "bond_class"), "account type", "account_type"),
    ("conversions", ("from_currency", "to_currency"), "currency conversion", "from_currency"),
    ("delta_points", ("commodity_idx", "point_set", "point"), "point", "point"),
    ("scan_rates", ("period_idx", "rate"), "rate", "rate"),
    ("arrays", ("contract_idx", "rate"), "rate", "rate"),
    ("adjustments", ("commodity_idx", "rate"), "rate", "rate"),
    ("tier_rates", ("tier_idx", "rate"), "rate", "rate"),
    ("spread_rates", ("spread_idx", "leg", "rate"), "rate", "rate"),
    ("spot_rates", ("commodity_idx", "period", "rate"), "rate", "rate"),
)
UNDERLYING = ("underlying_exchange", "underlying_family_id", "underlying_contract_id", "underlying_period")
ONLY_ONE = "a second one of this number, and only one counts"


class Repeat(NamedTuple):
    """A row that says again what a row before it said.

    table, row, field   where it stands
    value, remedy       what stands there, and what is wrong
    """

    table: str
    row: int
    field: str
    value: Any
    remedy: str


def repeats(file: RiskParameterFile) -> Iterator[Repeat]:
    """Every row of rates, arrays, contract periods and contracts that another one before it stated."""
    for table, names, field, shown in KEYS:
        rows = getattr(file, table)
        again = _again([getattr(rows, name) for name in names])
        yield from _told(table, field, again, getattr(rows, shown), ONLY_ONE)
    yield from repeated_periods(file)
    yield from repeated_contracts(file)
    yield from repeated_spreads(file)


def repeated_periods(file: RiskParameterFile) -> Iterator[Repeat]:
    """Periods of a family on one underlying and with one contract value factor that stand twice.

    Physicals are told apart by their numbers alone, and need no period.
    """
    periods = file.periods
    dated = np.isin(file.families.kind, (*FUTURES_LIKE, *OPTION_TYPES))[periods.family_idx]
    names = ("family_idx", "period", *UNDERLYING, "contract_value_factor")
    again = _again([getattr(periods, name) for name in names]) & dated
    remedy = "a second period of this code in its family, and only one counts"
    return _told("periods", "period", again, periods.period, remedy)


def repeated_contracts(file: RiskParameterFile) -> Iterator[Repeat]:
    """Contracts with the number, the terms or the name of another one."""
    contracts, view = file.contracts, ContractView(file)
    again = _again([view.family, contracts.contract_id])
    remedy = "a second contract of this number in its family, and only one counts"
    yield from _told("contracts", "contract number", again, contracts.contract_id, remedy)
    dated = view.is_option | np.isin(file.families.kind, FUTURES_LIKE)[view.family]
    alike = _again([contracts.period_idx, contracts.right, contracts.strike, contracts.contract_value_factor])
    remedy = "a second contract of these terms in its period, and only one counts"
    yield from _told("contracts", "strike", alike & dated & ~again, contracts.strike, remedy)
    named = _again([contracts.own_name]) & (contracts.own_name != "")
    yield from _told("contracts", "name", named & ~again & ~alike, contracts.own_name, "a second contract of this name")


def repeated_spreads(file: RiskParameterFile) -> Iterator[Repeat]:
    """Spreads of one number with the same legs: a credit would be given twice."""
    spreads, legs = file.spreads, file.spread_legs
    of_spread: dict[int, list[tuple[object, ...]]] = {}
    columns = (legs.commodity, legs.kind, legs.tier, legs.period, legs.side, legs.is_target)
    for spread, *leg in zip(legs.spread_idx.tolist(), *(column.tolist() for column in columns), strict=True):
        of_spread.setdefault(spread, []).append(tuple(leg))
    owners = zip(spreads.scope.tolist(), spreads.commodity_idx.tolist(), spreads.number.tolist(), strict=True)
    seen: set[tuple[object, ...]] = set()
    for row, owner in enumerate(owners):
        key = (*owner, *of_spread.get(row, ()))
        if key in seen:
            yield Repeat("spreads", row, "spread", spreads.number[row], "a second one of this number and these legs")
        seen.add(key)


def _told(table: str, field: str, again: BoolArray, values: Any, remedy: str) -> Iterator[Repeat]:
    return (Repeat(table, int(row), field, values[row], remedy) for row in np.flatnonzero(again))


def _again(columns: list[Any]) -> BoolArray:
    """(R,) True for every row but the first of those that are alike in all columns."""
    codes = [_codes(column) for column in columns]
    # Sorted by key, and by row where keys are alike.
    order = np.lexsort(codes[::-1])
    alike = np.all([code[order][1:] == code[order][:-1] for code in codes], axis=0)
    again = np.zeros(len(order), dtype=np.bool_)
    again[order[1:][alike]] = True
    return again


def _codes(column: Any) -> IntArray:
    """Whole numbers that are alike where the values are; absent numbers are alike."""
    if column.dtype.kind == "f":
        column = np.where(np.isnan(column), np.inf, column)
    if column.dtype.kind in "iub":
        return np.asarray(column)
    return np.asarray(np.unique(column, return_inverse=True)[1]).ravel()
