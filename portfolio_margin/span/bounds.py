"""What the values of a risk parameter file may be: bounds of numbers, known methods, one rate of each number.

A value outside would be computed with and give a margin near 0, or a hundredfold one; docs/models/span.md states them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.span.array_shapes import misshapen
from portfolio_margin.span.days import misdated
from portfolio_margin.span.repeats import repeats
from portfolio_margin.span.scan import price_method
from portfolio_margin.span.tables import FUTURES_LIKE, INTER, INTRA, OPTION_TYPES, PERPETUAL, SUPER, RiskParameterFile
from pricing.arrays import BoolArray, FloatArray

# A scenario of more scan ranges than this, or a relative vol scan range above, is a percentage taken for a share.
LARGEST_MOVE, LARGEST_VOL_SCAN = 10.0, 3.0
# Initial and maintenance ratios: 0.75 to 1.4 are seen; a percentage or a zero is none.
SMALLEST_FACTOR, LARGEST_FACTOR = 0.1, 10.0
# Delta scales: of contracts on one dollar of a coin, 1e-5, to those of an index, with room on both sides.
SMALLEST_SCALE, LARGEST_SCALE = 1e-6, 1e6
# Ratios of legs: positional files state them in ten-thousandths and up to 999.9999.
SMALLEST_RATIO, LARGEST_RATIO = 1e-4, 1e4
# Numbers of spreads: positional files have five digits for them.
SPREAD_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)
# Composite deltas are printed rounded.
DELTA_ROUNDING = 1e-3
# Each test of a number, and what is said where it fails. Those with "if stated" let an absent number (NaN) pass.
TESTS: dict[str, tuple[Any, str]] = {
    "above": (lambda x: np.isfinite(x) & (x > 0), "must be a number above 0"),
    "zero": (lambda x: np.isfinite(x) & (x >= 0), "must be a number of 0 or more"),
    "share": (lambda x: np.isfinite(x) & (x >= 0) & (x <= 1), "must be a number from 0 to 1"),
    "move": (lambda x: np.abs(x) <= LARGEST_MOVE, f"must be a number from {-LARGEST_MOVE:g} to {LARGEST_MOVE:g}"),
    "factor": (
        lambda x: (x >= SMALLEST_FACTOR) & (x <= LARGEST_FACTOR),
        f"must be a number from {SMALLEST_FACTOR:g} to {LARGEST_FACTOR:g}",
    ),
    "scale": (
        lambda x: (x >= SMALLEST_SCALE) & (x <= LARGEST_SCALE),
        f"must be a number from {SMALLEST_SCALE:f} to {LARGEST_SCALE:,.0f}",
    ),
    "scale if stated": (
        lambda x: np.isnan(x) | ((x >= SMALLEST_SCALE) & (x <= LARGEST_SCALE)),
        f"must be from {SMALLEST_SCALE:f} to {LARGEST_SCALE:,.0f} where it is stated",
    ),
    "ratio": (
        lambda x: (x >= SMALLEST_RATIO) & (x <= LARGEST_RATIO),
        f"must be a number from {SMALLEST_RATIO:.4f} to {LARGEST_RATIO:,.0f}",
    ),
    "above if stated": (lambda x: np.isnan(x) | (x > 0), "must be above 0 where it is stated"),
    "zero if stated": (lambda x: np.isnan(x) | (x >= 0), "must be 0 or more where it is stated"),
    "vol scan if stated": (
        lambda x: np.isnan(x) | ((x >= 0) & (x <= LARGEST_VOL_SCAN)),
        f"is a share of the vol and must be from 0 to {LARGEST_VOL_SCAN:g}",
    ),
    "percent if stated": (lambda x: np.isnan(x) | ((x >= 0) & (x <= 100)), "must be from 0 to 100 percent"),
}
NUMBERS = (
    ("conversions", "factor", "above"),
    ("scan_points", "price", "move"),
    ("scan_points", "vol", "move"),
    ("scan_points", "weight", "share"),
    ("delta_points", "price", "move"),
    ("delta_points", "weight", "share"),
    ("families", "contract_value_factor", "zero if stated"),
    ("periods", "contract_value_factor", "above if stated"),
    ("periods", "years", "zero if stated"),
    ("periods", "strike_value_factor", "above if stated"),
    ("periods", "delta_scale", "scale if stated"),
    ("periods", "vol", "zero if stated"),
    ("scan_rates", "price_scan", "zero if stated"),
    ("scan_rates", "price_scan_percent", "percent if stated"),
    ("scan_rates", "price_scan_down", "zero if stated"),
    ("scan_rates", "price_scan_down_percent", "percent if stated"),
    ("scan_rates", "vol_scan", "zero if stated"),
    ("scan_rates", "vol_scan_relative", "vol scan if stated"),
    ("scan_rates", "vol_scan_down", "zero if stated"),
    ("scan_rates", "vol_scan_down_relative", "vol scan if stated"),
    ("contracts", "contract_value_factor", "above if stated"),
    ("contracts", "strike_value_factor", "above if stated"),
    ("contracts", "delta_scale", "scale if stated"),
    ("contracts", "vol", "zero if stated"),
    ("contracts", "quantity_step", "above if stated"),
    ("adjustments", "factor", "factor"),
    ("tier_rates", "value", "zero"),
    ("spread_legs", "ratio", "ratio"),
    ("spot_rates", "spread", "zero"),
    ("spot_rates", "outright", "zero"),
    ("links", "delta_scale", "scale"),
)
# Methods that are known, and "" where the file states none. Others are not guessed.
METHODS = (
    ("commodities", "minimum_method", ("GROSS", "MAX")),
    ("commodities", "spot_method", ("NORMAL", "NONE", "BASIS")),
    ("commodities", "procedure", ("NORMAL", "NONE")),
    ("commodities", "combination_method", ("NONE", "SPLIT", "DELTASPLIT")),
    ("links", "combination_method", ("NONE", "SPLIT", "DELTASPLIT")),
)
# Tables whose rows are for one level of requirement each.
RATED = ("scan_rates", "arrays", "tier_rates", "spread_rates", "spot_rates")
# Year and month, then day, week or series: 202606, 20260626, 201606S0.
PERIOD_CODE = re.compile(r"[0-9]{6}[0-9A-Z]{0,6}", re.ASCII)
# Bounds of tiers may be no month at all, 999999 say.
CONTRACT_PERIOD = re.compile(r"[0-9]{4}(0[1-9]|1[0-2])[0-9A-Z]{0,6}", re.ASCII)
# Two rates of one pair of currencies are each the inverse of the other but for rounding.
INVERSE_ROUNDING = 0.01


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


def rows_with(table: str, field: str, bad: BoolArray, values: Any, remedy: str) -> list[Finding]:
    """A finding for every row that is bad."""
    return [Finding(table, int(row), field, values[row], remedy) for row in np.flatnonzero(bad)]


def value_findings(file: RiskParameterFile) -> list[Finding]:
    """Every value that no sound file has."""
    return [
        *_numbers(file),
        *_methods(file),
        *_spread_numbers(file),
        *_spread_rates(file),
        *_option_numbers(file),
        *_composite_deltas(file),
        *_rate_numbers(file),
        *_levels(file),
        *_period_codes(file),
        *_days(file),
        *_inverse_conversions(file),
        *(Finding(*repeat) for repeat in repeats(file)),
        *_misshapen(file),
    ]


def _numbers(file: RiskParameterFile) -> list[Finding]:
    found = []
    for table, field, kind in NUMBERS:
        values = getattr(getattr(file, table), field)
        test, remedy = TESTS[kind]
        with np.errstate(invalid="ignore"):
            found += rows_with(table, field, ~test(values), values, remedy)
    return found


def _methods(file: RiskParameterFile) -> list[Finding]:
    found = []
    for table, field, known in METHODS:
        values = getattr(getattr(file, table), field)
        remedy = f"is not known: must be one of {', '.join(known)}"
        found += rows_with(table, field, ~np.isin(values, ("", *known)), values, remedy)
    names = file.commodities.weighted_price_risk_method
    unknown = np.array([price_method(name) is None for name in names.tolist()], dtype=bool)
    option = np.isin(file.families.kind, OPTION_TYPES)
    valuation = file.families.valuation
    remedy = "is not known of an option: must be one of EQTY, paid by premium, and FUT, settled daily"
    found += rows_with("families", "valuation", option & ~np.isin(valuation, ("EQTY", "FUT")), valuation, remedy)
    remedy = "is not known: must be one of NORMAL, SCANRANGE CAP, SCANRANGE"
    return found + rows_with("commodities", "weighted_price_risk_method", unknown, names, remedy)


def _spread_numbers(file: RiskParameterFile) -> list[Finding]:
    numbers = file.spreads.number
    bad = np.array([SPREAD_NUMBER.fullmatch(number) is None for number in numbers.tolist()], dtype=bool)
    return rows_with("spreads", "number", bad, numbers, "must be a whole number of at most five digits")


def _spread_rates(file: RiskParameterFile) -> list[Finding]:
    """A credit is a share of the risk of its legs, a charge is not negative and at most that risk."""
    rates, spreads, legs = file.spread_rates, file.spreads, file.spread_legs
    scope, kind = spreads.scope[rates.spread_idx], spreads.kind[rates.spread_idx]
    method = np.where(kind == "scan", "scan", spreads.charge_method[rates.spread_idx])
    inside = scope == INTRA
    between = np.isin(scope, (INTER, SUPER))
    most = np.bincount(legs.spread_idx, legs.ratio, len(spreads))[rates.spread_idx]
    value, number = rates.value, spreads.number[rates.spread_idx]
    lowest = np.where((method == "F") & between, -np.inf, 0.0)
    highest = np.select(
        [(method == "scan") | (between & (method == "W")), method == "W", method == "P"], [1.0, most, 100.0], np.inf
    )
    bad = ~(np.isfinite(value) & (value >= lowest) & (value <= highest))
    found = []
    for row in np.flatnonzero(bad).tolist():
        if not np.isfinite(value[row]) or np.isinf(lowest[row]):
            remedy = "must be a number"
        elif method[row] == "P":
            remedy = "must be from 0 to 100 percent"
        elif not inside[row] or method[row] == "scan":
            remedy = "a credit is a share and must be from 0 to 1"
        elif method[row] == "W":
            remedy = f"a charge in price risks must be from 0 to the sum of the ratios, {most[row]:g}"
        else:
            remedy = "a charge must be 0 or more"
        found.append(Finding("spread_rates", row, f"rate of spread {number[row]}", value[row], remedy))
    return found


def _option_numbers(file: RiskParameterFile) -> list[Finding]:
    contracts = file.contracts
    option = contracts.right != ""
    found = []
    for field in ("price", "value"):
        values = getattr(contracts, field)
        with np.errstate(invalid="ignore"):
            found += rows_with("contracts", field, option & (values < 0), values, "an option is not worth less than 0")
    return found


def _composite_deltas(file: RiskParameterFile) -> list[Finding]:
    """Between 0 and 1 by size, or what one delta grows to where a rate is negative; of a call up, of a put down."""
    arrays, periods = file.arrays, file.periods
    delta = arrays.composite_delta
    right = file.contracts.right[arrays.contract_idx]
    period = file.contracts.period_idx[arrays.contract_idx]
    limit = _largest_delta(periods.rate, periods.dividend_yield, periods.years)[period] + DELTA_ROUNDING
    bad = (np.abs(delta) > limit) | ((right == "C") & (delta < -DELTA_ROUNDING))
    bad |= (right == "P") & (delta > DELTA_ROUNDING)
    remedy = "a delta is at most 1 by size, of a call 0 or more and of a put 0 or less"
    return rows_with("arrays", "composite delta", bad, delta, remedy)


def _largest_delta(rate: FloatArray, dividend: FloatArray, years: FloatArray) -> FloatArray:
    lowest = np.minimum(np.nan_to_num(rate), np.nan_to_num(dividend))
    growth = np.clip(-lowest * np.maximum(np.nan_to_num(years), 0.0), 0.0, 1.0)
    result: FloatArray = np.exp(growth)
    return result


def _rate_numbers(file: RiskParameterFile) -> list[Finding]:
    """Numbers of rates that no level of requirement has, so that nothing would ever use them."""
    known = {*file.levels.rate.tolist(), *file.adjustments.rate.tolist(), *file.adjustments.base_rate.tolist()}
    found = []
    for table in RATED:
        numbers = getattr(file, table).rate
        bad = (numbers < 1) | ~np.isin(numbers, sorted(known or set(numbers.tolist())))
        found += rows_with(table, "rate", bad, numbers, "no level of requirement has this number")
    return found


def _levels(file: RiskParameterFile) -> list[Finding]:
    """Levels of accounts that nobody can have, and factors of levels that are none or that lead to no array."""
    levels, table = file.levels, file.adjustments
    types, held = file.account_types.code, set(file.arrays.rate.tolist())
    found = rows_with("levels", "rate", levels.rate < 1, levels.rate, "must be a number from 1")
    if len(types):
        unknown = ~np.isin(levels.account_type, types)
        remedy = f"no such account type is defined: must be one of {', '.join(dict.fromkeys(types.tolist()))}"
        found += rows_with("levels", "account type", unknown, levels.account_type, remedy)
    stated: dict[int, set[int]] = {}
    based: dict[int, set[int]] = {}
    for commodity, rate, base in zip(table.commodity_idx.tolist(), table.rate.tolist(), table.base_rate.tolist(),
                                     strict=True):  # fmt: skip
        stated.setdefault(commodity, set()).add(rate)
        based.setdefault(commodity, set()).add(base)
    defined = set(levels.rate.tolist())
    for row, commodity in enumerate(table.commodity_idx.tolist()):
        rate, base = int(table.rate[row]), int(table.base_rate[row])
        if defined and rate not in defined | (based[commodity] - {base}):
            found.append(Finding("adjustments", row, "rate", rate, "no level of requirement has this number"))
        if held and base not in held | stated[commodity]:
            found.append(Finding("adjustments", row, "base_rate", base, "no array and no other factor has this number"))
    return found


def _days(file: RiskParameterFile) -> list[Finding]:
    days = file.periods.settlement_date
    bad = np.array([day != "" and misdated("settlement_date", day) != "" for day in days.tolist()], dtype=bool)
    return rows_with("periods", "settlement date", bad, days, "must be a day of the calendar, YYYYMMDD")


def _inverse_conversions(file: RiskParameterFile) -> list[Finding]:
    """Rates there and back that contradict each other: which one counts would be a matter of their order."""
    table = file.conversions
    known = dict(zip(zip(table.from_currency.tolist(), table.to_currency.tolist(), strict=True), table.factor.tolist(),
                     strict=True))  # fmt: skip
    found = []
    for row, (pair, factor) in enumerate(known.items() if len(known) == len(table) else ()):
        back = known.get(pair[::-1])
        if back is not None and not abs(back * factor - 1.0) <= INVERSE_ROUNDING:
            remedy = f"the rate from {pair[1]} to {pair[0]}, {back:g}, is not its inverse"
            found.append(Finding("conversions", row, "factor", factor, remedy))
    return found


def _period_codes(file: RiskParameterFile) -> list[Finding]:
    """Periods of futures and options, and those that tiers, legs and delivery months name."""
    kind = file.families.kind[file.periods.family_idx]
    wanted = np.isin(kind, (*FUTURES_LIKE, *OPTION_TYPES))
    undated = file.periods.period == PERPETUAL
    legs = file.spread_legs
    places = (
        ("periods", "period", wanted & ~undated, file.periods.period),
        ("tiers", "start", file.tiers.start != "", file.tiers.start),
        ("tiers", "end", file.tiers.end != "", file.tiers.end),
        ("spread_legs", "period", legs.kind == "period", legs.period),
        ("spot_rates", "period", np.ones(len(file.spot_rates), dtype=bool), file.spot_rates.period),
    )
    found = []
    for table, field, needed, codes in places:
        known = CONTRACT_PERIOD if table == "periods" else PERIOD_CODE
        bad = np.array([known.fullmatch(code) is None for code in codes.tolist()], dtype=bool) & needed
        found += rows_with(table, field, bad, codes, "is no contract period, which begins with year and month")
    return found


def _misshapen(file: RiskParameterFile) -> list[Finding]:
    return [
        Finding("arrays", found.row, f"array value {found.scenario}", found.value, found.remedy)
        for found in misshapen(file)
    ]
