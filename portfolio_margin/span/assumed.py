"""What a risk parameter file does not say and the format lets it leave unsaid: the default taken, one text a line.

Each of these could also be a record that got lost, after which a margin may be lower: so it is told with every result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from portfolio_margin.span.contracts import ContractView, commodity_of_family, within_tier
from portfolio_margin.span.levels import chain_of, chained_factors
from portfolio_margin.span.tables import FUTURES_LIKE, INTER, INTRA, OPTION_TYPES, SCAN, RiskParameterFile

NAMES_SHOWN = 5
KINDS = {True: "maintenance", False: "initial"}


def shown(names: Iterable[object]) -> str:
    """The first of some names, and dots for the others."""
    listed = list(dict.fromkeys(map(str, names)))
    return ", ".join(listed[:NAMES_SHOWN]) + (" ..." if len(listed) > NAMES_SHOWN else "")


def assumptions(file: RiskParameterFile) -> tuple[str, ...]:
    """Defaults taken for levels and their factors, open tiers, tiers of spreads that overlap, gaps in the numbers of
    spreads, legs and delivery months without contracts; credits that are more than the scenarios set off."""
    tiers = (*_open_tiers(file), *_shared_tiers(file))
    spreads = (*_alike_legs(file), *_lost_spreads(file), *_without_contracts(file), *_generous_credits(file))
    return (*_levels(file), *tiers, *spreads)


def _levels(file: RiskParameterFile) -> Iterator[str]:
    levels = file.levels
    if not len(levels):
        yield "no level of requirement is defined (pbRateDef): initial and maintenance margin are the risk itself"
        return
    types = list(dict.fromkeys(levels.account_type.tolist()))
    if len(types) > 1:
        yield f"account types {', '.join(types)}: {types[0]} counts unless the parameter account_type names one"
    for account_type in types:
        mine = np.flatnonzero(levels.account_type == account_type)
        kinds = file.account_types.is_net_margin[file.account_types.code == account_type]
        if len(kinds) and not kinds.any():
            yield (f"accounts of type {account_type} are margined gross by the file: long and short of several owners, "
                   "which is not computed; positions of an account are netted")  # fmt: skip
        for maintenance, kind in KINDS.items():
            rows = mine[levels.is_maintenance[mine] == maintenance]
            if not len(rows):
                yield (f"no level of {kind} margin is defined for accounts of type {account_type}: it is taken from "
                       "the other level, as the parameter adjustment says")  # fmt: skip
            if len(rows) > 1:
                numbers = ", ".join(map(str, levels.rate[rows].tolist()))
                yield (f"several levels of {kind} margin are defined for accounts of type {account_type}, rates "
                       f"{numbers}: the first with a factor counts")  # fmt: skip
            for row in rows.tolist():
                yield from _factors(file, int(levels.rate[row]), f"{kind} margin of type {account_type}")


def _factors(file: RiskParameterFile, rate: int, what: str) -> Iterator[str]:
    """Commodities that state no factor of a level: 1 where it has arrays of its own, else that of the other level."""
    chained, held = chained_factors(file), set(np.unique(file.arrays.rate).tolist())
    codes = file.commodities.code.tolist()
    leads = [chain_of(chained, row, rate)[0] in held for row in range(len(codes))]
    lost = [code for code, found in zip(codes, leads, strict=True) if not found]
    bare = [code for row, code in enumerate(codes) if leads[row] and (row, rate) not in chained]
    if lost:
        yield (f"{shown(lost)}: no factor leads from {what}, rate {rate}, to their arrays (adjRate): it is taken from "
               "the other level, as the parameter adjustment says")  # fmt: skip
    if bare:
        yield f"{shown(bare)}: no factor of {what}, rate {rate}, is stated (adjRate): 1 is taken"


def _open_tiers(file: RiskParameterFile) -> Iterator[str]:
    tiers = file.tiers
    bounded = tiers.number > 0
    for column, which in ((tiers.start, "first"), (tiers.end, "last")):
        rows = np.flatnonzero(bounded & (column == ""))
        if len(rows):
            names = shown(f"{file.commodities.code[tiers.commodity_idx[row]]} {tiers.purpose[row]} {tiers.number[row]}"
                          for row in rows.tolist())  # fmt: skip
            yield f"tiers without a {which} period, taken as open: {names}"


def _shared_tiers(file: RiskParameterFile) -> Iterator[str]:
    """Tiers of spreads that have a period of another one: its deltas serve either, in the order of the spreads.

    Tiers of scan risk and of the short option minimum must not (`checks.py`). Of spreads the format does not say it.
    """
    tiers, codes = file.tiers, _period_codes(file)
    taken: dict[tuple[int, str], set[str]] = {}
    found = []
    for row in np.flatnonzero(np.isin(tiers.purpose, (INTRA, INTER)) & (tiers.number > 0)).tolist():
        commodity, purpose = int(tiers.commodity_idx[row]), str(tiers.purpose[row])
        mine = codes.get(commodity, np.zeros(0, dtype=np.str_))
        inside = set(mine[within_tier(file, row, mine)].tolist())
        before = taken.setdefault((commodity, purpose), set())
        if inside & before:
            name = f"{file.commodities.code[commodity]} {purpose} {tiers.number[row]}"
            found.append(f"{name} (from {min(inside & before)})")
        before |= inside
    if found:
        yield f"tiers of spreads with periods that a tier before has as well, whose deltas serve either: {shown(found)}"


def _alike_legs(file: RiskParameterFile) -> Iterator[str]:
    """Legs inside a commodity on the same deltas and of the same side, which ask for them together."""
    legs, spreads = file.spread_legs, file.spreads
    seen: set[tuple[object, ...]] = set()
    keys = zip(legs.spread_idx.tolist(), legs.kind.tolist(), legs.tier.tolist(), legs.period.tolist(),
               legs.side.tolist(), strict=True)  # fmt: skip
    found = []
    for key in keys:
        if spreads.scope[key[0]] == INTRA and key in seen:
            found.append(_named(file, key[0]))
        seen.add(key)
    if found:
        yield f"spreads with two legs alike, which ask for their deltas together as one of both ratios: {shown(found)}"


def _lost_spreads(file: RiskParameterFile) -> Iterator[str]:
    """A line for every list of spreads that is not numbered from 1 without a gap.

    The format does not say that they must be, so such a file is read: a spread that was lost may lower a margin,
    though. Spreads of periods and of tiers of one commodity may share one numbering or have one each.
    """
    spreads = file.spreads
    numbers: dict[str, dict[str, set[int]]] = {}
    legs_are = dict(zip(file.spread_legs.spread_idx.tolist(), file.spread_legs.kind.tolist(), strict=True))
    for row, (number, scope) in enumerate(zip(spreads.number.tolist(), spreads.scope.tolist(), strict=True)):
        commodity = int(spreads.commodity_idx[row])
        inside = scope == INTRA and commodity >= 0
        owner = f"of {file.commodities.code[commodity]}" if inside else f"between commodities ({scope})"
        if number.isascii() and number.isdigit():
            part = legs_are.get(row, "") if inside else ""
            numbers.setdefault(owner, {}).setdefault(part, set()).add(int(number))
    for owner, parts in numbers.items():
        together: set[int] = set().union(*parts.values())
        shared = len(together) == sum(map(len, parts.values()))
        lost = {part: _gaps(found) for part, found in parts.items()}
        if (shared and not _gaps(together)) or not any(lost.values()):
            continue
        names = _gaps(together) if shared else sorted(set().union(*lost.values()))
        yield f"no spread {owner} has the number {shown(names)}: one may have been lost"


def _gaps(numbers: set[int]) -> list[int]:
    """Numbers from 1 that are missing below the largest."""
    return sorted(set(range(1, max(numbers))) - numbers)


def _without_contracts(file: RiskParameterFile) -> Iterator[str]:
    """Legs and delivery months of which the file has no contract."""
    codes = _period_codes(file)
    position = {str(code): row for row, code in enumerate(file.commodities.code)}
    legs, found = file.spread_legs, []
    for row in np.flatnonzero(legs.kind != "scan").tolist():
        spread = int(legs.spread_idx[row])
        commodity = position.get(str(legs.commodity[row]), -1)
        # Nobody holds a commodity that has no contract at all.
        if commodity in codes and not _has_contracts(file, row, codes[commodity]):
            found.append(_named(file, spread))
    if found:
        yield f"spreads with a leg of which there is no contract, and which are not formed: {shown(found)}"
    spot = file.spot_rates
    bare = [
        f"{file.commodities.code[commodity]} {period}"
        for commodity, period in zip(spot.commodity_idx.tolist(), spot.period.tolist(), strict=True)
        if commodity in codes and not np.char.startswith(codes[commodity], period).any()
    ]
    if bare:
        yield f"delivery months of which there is no contract, and which charge nothing: {shown(bare)}"


def _generous_credits(file: RiskParameterFile) -> Iterator[str]:
    """Spreads between commodities that credit more than their legs set off where all prices move by their scan range.

    With scan ranges P by delta, ratios n and sides +1 and -1, one spread loses |sum side n P| then, and is margined
    with sum n P (1 - credit). Spreads over several currencies are not looked at.
    """
    spreads, legs, rates = file.spreads, file.spread_legs, file.spread_rates
    wanted = (spreads.kind == "delta") & (spreads.charge_method == "W") & (spreads.scope != INTRA)
    scan = _scan_ranges(file) if wanted.any() else {}
    position = {str(code): row for row, code in enumerate(file.commodities.code)}
    found = []
    for spread in np.flatnonzero(wanted).tolist():
        rows = np.flatnonzero(legs.spread_idx == spread)
        owners = [position.get(str(code), -1) for code in legs.commodity[rows]]
        stated = np.flatnonzero(rates.spread_idx == spread)
        if not all(owner in scan for owner in owners) or len(set(file.commodities.currency[owners].tolist())) != 1:
            continue
        by_leg = dict(zip(rates.leg[stated][::-1].tolist(), rates.value[stated][::-1].tolist(), strict=True))
        credit = np.array([by_leg.get(leg, by_leg.get(-1, 0.0)) for leg in rows.tolist()])
        size = legs.ratio[rows] * np.array([scan[owner] for owner in owners])
        lost = abs(float((size * np.where(legs.side[rows] == "A", 1.0, -1.0)).sum()))
        if lost > float((size * (1.0 - credit)).sum()) * (1.0 + 1e-9):
            found.append(f"{_named(file, spread)} ({' and '.join(legs.commodity[rows].tolist())})")
    if found:
        yield (
            "credits between commodities that leave less than their legs lose together where all prices move by their "
            f"scan range, counted as the file states them: {shown(found)}"
        )


def _scan_ranges(file: RiskParameterFile) -> dict[int, float]:
    """Scan range of one delta of the nearest future of each commodity that has one."""
    view = ContractView(file)
    own = {int(period): float(value) for period, value in
           zip(file.scan_rates.period_idx[::-1], file.scan_rates.price_scan[::-1], strict=True)}  # fmt: skip
    futures = np.flatnonzero(np.isin(view.kind, FUTURES_LIKE) & (view.commodity >= 0)).tolist()
    scan: dict[int, float] = {}
    for row in sorted(futures, key=lambda row: str(view.period[row]), reverse=True):
        value = own.get(int(file.contracts.period_idx[row]), np.nan) / float(view.delta_scale[row])
        if np.isfinite(value):
            scan[int(view.commodity[row])] = value
    return scan


def _has_contracts(file: RiskParameterFile, leg: int, codes: np.ndarray) -> bool:
    legs, tiers = file.spread_legs, file.tiers
    if legs.kind[leg] == "period":
        return bool(np.char.startswith(codes, str(legs.period[leg])).any())
    if legs.tier[leg] == 0:
        return True
    inside = file.spreads.scope[legs.spread_idx[leg]] == INTRA
    commodity = int(np.flatnonzero(file.commodities.code == legs.commodity[leg])[0])
    for purpose in (INTRA,) if inside else (INTER, SCAN):
        mine = (tiers.commodity_idx == commodity) & (tiers.purpose == purpose) & (tiers.number == legs.tier[leg])
        if mine.any():
            return bool(within_tier(file, int(np.flatnonzero(mine)[0]), codes).any())
    return False


def _period_codes(file: RiskParameterFile) -> dict[int, np.ndarray]:
    """Period codes of the contracts of each commodity, and of what its options on futures are on."""
    pairs: dict[int, set[str]] = {}
    # By period: texts by contract would be the largest of all columns.
    held = np.unique(file.contracts.period_idx)
    family, future = file.periods.family_idx[held], file.periods.underlying_period[held]
    is_option = np.isin(file.families.kind, OPTION_TYPES)[family]
    codes = np.where(is_option & (future != ""), future, file.periods.period[held])
    for commodity, period in set(zip(commodity_of_family(file)[family].tolist(), codes.tolist(), strict=True)):
        if commodity >= 0:
            pairs.setdefault(int(commodity), set()).add(str(period))
    return {commodity: np.array(sorted(periods), dtype=np.str_) for commodity, periods in pairs.items()}


def _named(file: RiskParameterFile, spread: int) -> str:
    commodity = int(file.spreads.commodity_idx[spread])
    owner = str(file.commodities.code[commodity]) if commodity >= 0 else str(file.spreads.scope[spread])
    return f"{owner} {file.spreads.number[spread]}"
