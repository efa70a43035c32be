"""What contradicts itself in a risk parameter file: references that lead nowhere, amounts that are none."""

from __future__ import annotations

import numpy as np

from portfolio_margin.span.bounds import Finding, rows_with, value_findings
from portfolio_margin.span.contracts import ContractView, within_tier
from portfolio_margin.span.scan import NORMAL, price_method
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
from pricing.arrays import IntArray
from pricing.errors import DataError, Problem

PAIR_ROUNDING = 1e-3


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
        *value_findings(file),
        *_point_findings(file),
        *_contract_findings(file),
        *_array_findings(file),
        *_commodity_findings(file),
        *_tier_findings(file),
        *_scan_findings(file),
        *_minimum_findings(file),
        *_leg_findings(file),
        *_repeated_legs(file),
    ]


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
        if not outside.any():
            found += _pairs(file, rows)
    return found


def _pairs(file: RiskParameterFile, rows: IntArray) -> list[Finding]:
    """Points that move the vol are paired with each other: at the same price, with the opposite vol."""
    points = file.scan_points
    price, vol, paired = points.price[rows], points.vol[rows], points.paired[rows] - 1
    alike = (np.abs(price[paired] - price) < PAIR_ROUNDING) & (np.abs(vol[paired] + vol) < PAIR_ROUNDING)
    mutual = paired[paired] == np.arange(len(rows))
    # Of two that do not name each other, the one is told that names a point unlike itself.
    bad = (vol != 0.0) & ~(alike & (mutual | ~alike[paired]))
    remedy = "must be the point of the same price move and the opposite vol move, which names this one"
    return [Finding("scan_points", int(row), "paired", int(points.paired[row]), remedy) for row in rows[bad]]


def _contract_findings(file: RiskParameterFile) -> list[Finding]:
    contracts = file.contracts
    # By family and not by what the option says of itself: one that says nothing would pass as no option.
    option = ContractView(file).is_option | (contracts.right != "")
    strike = contracts.strike
    needs_factor = np.isin(file.families.kind, (*FUTURES_LIKE, *OPTION_TYPES))[file.periods.family_idx]
    factor = ContractView(file).stated_factor
    lacking = needs_factor[contracts.period_idx] & np.isnan(factor)
    remedy = "neither the contract nor its series or family states one above 0"
    return [
        *rows_with("contracts", "contract_value_factor", lacking, factor, remedy),
        *rows_with("contracts", "right", option & ~np.isin(contracts.right, ("C", "P")), contracts.right, "C or P"),
        *rows_with("contracts", "strike", option & ~np.isfinite(strike), strike, "an option needs a strike"),
        *rows_with("contracts", "price", option & ~np.isfinite(contracts.price), contracts.price, "must be a number"),
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
    found += rows_with("arrays", "composite delta", ~np.isfinite(delta), delta, "must be a number")
    found += _directions(file)
    with_array = np.zeros(len(file.contracts), dtype=bool)
    with_array[arrays.contract_idx] = True
    # A physical may be there for its price alone.
    kinds = np.isin(file.families.kind, (*FUTURES_LIKE, *OPTION_TYPES))
    needed = kinds[file.periods.family_idx][file.contracts.period_idx]
    identifiers = file.contracts.contract_id
    return found + rows_with("contracts", "array", needed & ~with_array, identifiers, "the contract has no risk array")


def _directions(file: RiskParameterFile) -> list[Finding]:
    """Futures whose delta has one sign and whose losses the other, or none: their spreads would be formed wrongly."""
    arrays, points, view = file.arrays, file.scan_points, ContractView(file)
    own = points.commodity_idx == -1
    if own.sum() < SCENARIOS:
        return []
    moves = points.price[np.flatnonzero(own)[:SCENARIOS]]
    with np.errstate(invalid="ignore", over="ignore"):
        gain, delta = -(arrays.loss @ moves), np.sign(arrays.composite_delta)
    future = np.isin(file.families.kind, FUTURES_LIKE)[view.family[arrays.contract_idx]]
    remedy = "the array gains where the price falls against this delta"
    found = rows_with("arrays", "composite delta", future & (gain * delta < 0.0), delta, remedy)
    still = future & (gain != 0.0) & (delta == 0.0)
    return found + rows_with("arrays", "composite delta", still, delta, "the array moves with the price")


def _commodity_findings(file: RiskParameterFile) -> list[Finding]:
    codes = file.commodities.code
    _, first = np.unique(codes, return_index=True)
    repeated = ~np.isin(np.arange(len(codes)), first)
    found = rows_with("commodities", "code", repeated, codes, "a combined commodity of this code came before")
    for table in ("commodities", "families"):
        currency = getattr(file, table).currency
        found += rows_with(table, "currency", currency == "", currency, "must be named")
    found += _missing_scan_ranges(file)
    _, first = np.unique(file.links.family_idx, return_index=True)
    repeated = ~np.isin(np.arange(len(file.links)), first)
    names = file.families.code[file.links.family_idx] if len(file.links) else file.families.code[:0]
    remedy = "the family belongs to another combined commodity already"
    return found + rows_with("links", "family", repeated, names, remedy)


def _missing_scan_ranges(file: RiskParameterFile) -> list[Finding]:
    """Futures without a scan range in money, where the price risk of their commodity is that range or capped at it."""
    view, scans = ContractView(file), file.scan_rates
    methods = [price_method(name) for name in file.commodities.weighted_price_risk_method.tolist()]
    ranged = np.array([method is not None and method != NORMAL for method in methods] + [False], dtype=bool)
    stated = np.zeros(len(file.periods), dtype=bool)
    stated[scans.period_idx[np.isfinite(scans.price_scan)]] = True
    bare = ranged[view.commodity] & np.isin(view.kind, FUTURES_LIKE) & ~stated[file.contracts.period_idx]
    remedy = "the price risk method of its commodity needs a price scan range in money"
    return rows_with("contracts", "priceScan", bare, view.period, remedy)


def _tier_findings(file: RiskParameterFile) -> list[Finding]:
    """Tiers of one purpose are numbered from 1 without a gap, or one tier 0 is the whole commodity."""
    tiers, found = file.tiers, []
    for commodity, purpose in sorted({(int(c), str(p)) for c, p in zip(tiers.commodity_idx, tiers.purpose,
                                                                       strict=True)}):  # fmt: skip
        rows = np.flatnonzero((tiers.commodity_idx == commodity) & (tiers.purpose == purpose))
        stated = tiers.number[rows].tolist()
        first = min(stated) if min(stated) in (0, 1) else 1
        wanted = list(range(first, first + len(stated)))
        numbered = sorted(zip(stated, rows.tolist(), strict=True))
        # The first row that is out of the sequence has the place of the gap.
        wrong = [row for want, (number, row) in zip(wanted, numbered, strict=True) if number != want]
        if wrong:
            remedy = f"the {purpose} tiers of {file.commodities.code[commodity]} are not numbered without a gap"
            found.append(Finding("tiers", wrong[0], "number", int(tiers.number[wrong[0]]), remedy))
    for row, (start, end) in enumerate(zip(tiers.start.tolist(), tiers.end.tolist(), strict=True)):
        if tiers.number[row] == 0 and start + end:
            remedy = "tier 0 is the whole commodity and has no bounds; ranges of periods are tiers from 1"
            found.append(Finding("tiers", row, "start" if start else "end", start or end, remedy))
        common = min(len(start), len(end))
        if start[:common] > end[:common]:
            found.append(Finding("tiers", row, "end", end, f"the tier ends before it starts, {start}"))
    return found + _overlaps(file)


def _overlaps(file: RiskParameterFile) -> list[Finding]:
    """Tiers of scan risk, or of the short option minimum, that share a period: what is in it would count as either."""
    tiers, view, found = file.tiers, ContractView(file), []
    counted = {SCAN: np.isin(view.kind, (*FUTURES_LIKE, *OPTION_TYPES)), MINIMUM: view.is_option}
    taken: dict[tuple[int, str], set[str]] = {}
    for row in np.flatnonzero(np.isin(tiers.purpose, (SCAN, MINIMUM)) & (tiers.number > 0)).tolist():
        commodity, purpose = int(tiers.commodity_idx[row]), str(tiers.purpose[row])
        mine = np.unique(view.period[counted[purpose] & (view.commodity == commodity)])
        inside = set(mine[within_tier(file, row, mine)].tolist())
        shared = inside & taken.setdefault((commodity, purpose), set())
        if shared:
            remedy = f"another {purpose} tier of the commodity has {min(shared)} as well"
            found.append(Finding("tiers", row, "number", int(tiers.number[row]), remedy))
        taken[commodity, purpose] |= inside
    return found


def _scan_findings(file: RiskParameterFile) -> list[Finding]:
    """Periods in none of the tiers of a commodity that is scanned by tiers: of those that are left, what is in no tier
    would be netted, so a tier that was lost would lower a margin."""
    tiers, view, periods = file.tiers, ContractView(file), file.periods
    commodity = np.full(len(periods), -1, dtype=np.int64)
    kinds = np.isin(view.kind, (*FUTURES_LIKE, *OPTION_TYPES))
    commodity[file.contracts.period_idx] = np.where(kinds, view.commodity, -1)
    # The delta of an option on a future counts where the future is.
    code = np.where(periods.underlying_period != "", periods.underlying_period, periods.period)
    scanned = (tiers.purpose == SCAN) & (tiers.number > 0)
    covered = np.zeros(len(periods), dtype=bool)
    for row in np.flatnonzero(scanned).tolist():
        covered |= (commodity == tiers.commodity_idx[row]) & within_tier(file, row, code)
    bare = np.isin(commodity, np.unique(tiers.commodity_idx[scanned])) & ~covered
    return rows_with("periods", "period", bare, code, "no scan tier of its commodity covers this period")


def _minimum_findings(file: RiskParameterFile) -> list[Finding]:
    """A short option minimum without a rate, or options that no tier of it covers."""
    tiers, view, commodities = file.tiers, ContractView(file), file.commodities
    rated = np.zeros(len(tiers), dtype=bool)
    rated[file.tier_rates.tier_idx] = True
    minimum = tiers.purpose == MINIMUM
    remedy = "a tier of the short option minimum needs a rate"
    found = rows_with("tiers", "tier", minimum & ~rated, tiers.number, remedy)
    tiered = np.unique(tiers.commodity_idx[minimum])
    with_options = np.unique(view.commodity[view.is_option & (view.commodity >= 0)])
    rows = np.arange(len(commodities))
    bare = (commodities.minimum_method != "") & np.isin(rows, with_options) & ~np.isin(rows, tiered)
    remedy = "a method for the short option minimum is stated, but no tier of it with a rate"
    found += rows_with("commodities", "minimum_method", bare, commodities.minimum_method, remedy)
    covered = np.zeros(len(file.periods), dtype=bool)
    commodity = np.full(len(file.periods), -1, dtype=np.int64)
    commodity[file.contracts.period_idx] = np.where(view.is_option, view.commodity, -1)
    for row in np.flatnonzero(minimum).tolist():
        covered |= (commodity == tiers.commodity_idx[row]) & within_tier(file, row, file.periods.period)
    open_periods = np.isin(commodity, tiered) & ~covered
    remedy = "no tier of the short option minimum of its commodity covers this series"
    return found + rows_with("periods", "period", open_periods, file.periods.period, remedy)


def _leg_findings(file: RiskParameterFile) -> list[Finding]:
    """Legs that name a commodity or a tier that is not there, spreads without two legs or without a rate."""
    legs, spreads, tiers = file.spread_legs, file.spreads, file.tiers
    position = {str(code): row for row, code in enumerate(file.commodities.code)}
    commodity = np.array([position.get(str(code), -1) for code in legs.commodity], dtype=np.int64)
    found = rows_with("spread_legs", "commodity", commodity < 0, legs.commodity, "no such combined commodity")
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
    found += rows_with("spreads", "legs", counts < 2, counts.tolist(), "a spread needs at least two legs")
    bad_side = (legs.kind != "scan") & ~np.isin(legs.side, ("A", "B"))
    found += rows_with("spread_legs", "side", bad_side, legs.side, "must be A or B")
    rated = np.zeros(len(spreads), dtype=bool)
    rated[file.spread_rates.spread_idx] = True
    found += rows_with("spreads", "rate", ~rated, spreads.number, "the spread has no rate")
    methods = ("F", "W", "P")
    odd = (spreads.kind == "delta") & ~np.isin(spreads.charge_method, methods)
    found += rows_with("spreads", "charge_method", odd, spreads.charge_method, f"must be one of {', '.join(methods)}")
    remedy = "no combined commodity has a tier of this purpose"
    return found + rows_with("tiers", "purpose", ~np.isin(tiers.purpose, (SCAN, INTRA, INTER, MINIMUM, "rate")),
                         tiers.purpose, remedy)  # fmt: skip


def _repeated_legs(file: RiskParameterFile) -> list[Finding]:
    """Legs that a spread between commodities names twice, so that it would count the same risk twice.

    Tiers and periods of one commodity may be legs of one spread, and inside a commodity two legs on the same deltas
    ask for them together; a scanning spread scans whole commodities, and one of them is its target.
    """
    legs, spreads, found = file.spread_legs, file.spreads, []
    for spread in np.flatnonzero(spreads.scope != INTRA).tolist():
        named: set[tuple[str, ...]] = set()
        targets = 0
        for row in np.flatnonzero(legs.spread_idx == spread).tolist():
            code, scanned = str(legs.commodity[row]), legs.kind[row] == "scan"
            place = (str(legs.kind[row]), str(legs.tier[row]), str(legs.period[row]), str(legs.side[row]))
            key = (code,) if scanned else (code, *place)
            if key in named:
                what = "scans it twice" if scanned else "has this leg twice, tier or period and side alike"
                remedy = f"spread {spreads.number[spread]} {what}"
                found.append(Finding("spread_legs", row, "commodity", code, remedy))
            named.add(key)
            targets += legs.is_target[row] == "1"
            if targets > 1 and legs.is_target[row] == "1":
                remedy = f"spread {spreads.number[spread]} has a target already"
                found.append(Finding("spread_legs", row, "isTarget", code, remedy))
    return found
