"""Rules of combined commodities in positional SPAN files: tiers, spreads, delivery months, minimums, ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from portfolio_margin.io.span_rows import Rows
from portfolio_margin.io.span_stated import CLASSES, Each, Refuse, agreed, check_count, check_flags
from portfolio_margin.span.tables import FUTURES_LIKE, INTER, INTRA, MINIMUM, SCAN

# Methods of record S and the purposes their tiers serve.
TIER_METHODS = {"10": (SCAN,), "20": (INTER,), "21": (SCAN, INTER), "22": (SCAN,), "23": (INTER,), "30": (MINIMUM,)}
WEIGHTED_PRICE_RISK = {"1": "NORMAL", "2": "SCANRANGE CAP", "3": "SCANRANGE"}
MINIMUM_METHODS = {"1": "GROSS", "2": "MAX"}
# Legs that a record C has room for.
TIER_LEGS_MOST = 8
PURPOSES = (SCAN, INTRA, INTER, MINIMUM)
# Records that every combined commodity has: each has a code that says "none", so one that is lost says nothing.
OF_EVERY_COMMODITY = {
    "3": "states the ratios of initial to maintenance margin and the tiers of spreads",
    "4": "states the short option minimum and the charges of delivery",
}


def add_commodity_rules(rows: dict[str, Rows], each: Each, refuse: Refuse) -> None:
    """Records S, 3, 4, C and E: everything that belongs to one combined commodity."""
    position = {code: row for row, code in enumerate(rows["commodities"].columns["code"])}
    adjustment: dict[int, tuple[float, ...]] = dict.fromkeys(position.values(), (1.0, 1.0, 1.0))
    ratios = dict(adjustment)
    places: dict[tuple[str, int], int] = {}

    def commodity(line: int, record: dict[str, Any]) -> int:
        if record["cc"] not in position:
            refuse(line, "combined commodity", record["cc"], "no record of type 2 defines it")
        return position[record["cc"]]

    _require_records(rows, each, refuse)
    columns = rows["commodities"].columns
    money = {row: 10.0**exponent for row, exponent in enumerate(columns["risk_exponent"])}
    said = {kind: agreed(kind, each, refuse) for kind in ("S", "3", "4")}
    for line, record in each("S"):
        row = commodity(line, record)
        check_flags("S", line, record, refuse)
        method = said["S"][record["cc"]]["weighted_price_risk"]
        columns["weighted_price_risk_method"][row] = _named(WEIGHTED_PRICE_RISK, method)
        _add_tiers(rows, line, row, record, money[row])
    check_counts(each, refuse)
    for line, record in each("3"):
        row = commodity(line, record)
        check_flags("3", line, record, refuse)
        stated = said["3"][record["cc"]]
        places.setdefault(("3", row), line)
        ratios[row] = tuple(_stated(stated[f"ratio_{name}"], 1.0) for name in CLASSES)
        if stated["method"] == "10":
            for number, start, end in _blocks(record, 4):
                values = {"commodity_idx": row, "purpose": INTRA, "number": number, "start": start, "end": end}
                rows["tiers"].add(line, values)
        elif stated["method"] == "01" and places["3", row] == line:
            _month_tiers(rows, line, row, INTRA)
    for line, record in each("4"):
        row = commodity(line, record)
        check_flags("4", line, record, refuse)
        stated = {**record, **said["4"][record["cc"]]}
        places.setdefault(("4", row), line)
        adjustment[row] = tuple(_stated(stated[f"adjustment_{name}"], 1.0) for name in CLASSES)
        _check_spot(line, stated, refuse)
        _add_spot(rows, line, row, stated, money[row])
    for row in position.values():
        for place in range(len(CLASSES)):
            own = {"commodity_idx": row, "rate": place + 1, "base_rate": 1, "factor": adjustment[row][place]}
            initial = {**own, "rate": place + 4, "base_rate": place + 1, "factor": ratios[row][place]}
            rows["adjustments"].add(places.get(("4", row)), own)
            rows["adjustments"].add(places.get(("3", row)), initial)
    _sort_tiers(rows)
    _add_intra_spreads(rows, each, commodity, money, refuse)


def check_counts(each: Each, refuse: Refuse) -> None:
    """Refuse counts of tiers in records S, of delivery months in 4, of legs in C, that are not what is listed."""
    tiers = [
        (line, (record["cc"], record["method"]), record["count"], len(list(_blocks(record, 5))))
        for line, record in each("S")
        if record["method"] in TIER_METHODS
    ]
    check_count("S", "count", tiers, refuse)
    months = [
        (line, record["cc"], record["count"], sum(bool(record[f"month_{n}"].strip("0")) for n in (1, 2)))
        for line, record in each("4")
        if record["method"] == "10"
    ]
    check_count("4", "count", months, refuse)
    legs = [(line, line, record["legs"], len(_legs(record, TIER_LEGS_MOST))) for line, record in each("C")]
    check_count("C", "legs", legs, refuse)


def _legs(record: dict[str, Any], most: int) -> list[int]:
    """Numbers of the legs that a record C or E states."""
    return [leg for leg in range(1, most + 1) if np.isfinite(record[f"ratio_{leg}"]) and record[f"side_{leg}"]]


def _require_records(rows: dict[str, Rows], each: Each, refuse: Refuse) -> None:
    """Refuse a combined commodity without a record that all have."""
    commodities = rows["commodities"]
    for kind, states in OF_EVERY_COMMODITY.items():
        stated = {record["cc"] for _, record in each(kind)}
        for line, code in zip(commodities.places, commodities.columns["code"], strict=True):
            if code not in stated:
                refuse(line, "combined commodity", code, f"has no record of type {kind}, which {states}")


def add_inter_spreads(rows: dict[str, Rows], each: Each, refuse: Refuse) -> None:
    """Records of type 6 in the order of their priority."""
    exchanges = {record["exchange"] for _, record in each("1")}
    for line, record in sorted(each("6"), key=lambda pair: pair[1]["priority"]):
        check_flags("6", line, record, refuse)
        _known_exchanges(line, record, exchanges, refuse)
        legs = sum(bool(record[f"cc_{leg}"]) for leg in range(1, 5))
        if record["legs_required"] > legs:
            refuse(line, "record 6 legs_required", int(record["legs_required"]), f"are more legs than it lists: {legs}")
        scanning = record["method"] in ("04", "4")
        flat = record["credit_method"] == "F"
        kind = {"kind": "scan"} if scanning else {"kind": "delta", "charge_method": "F" if flat else "W"}
        values = {"scope": INTER, "number": str(int(record["priority"])), **kind}
        if scanning:
            values["target_required"] = "0" if record["target_required"] == "N" else "1"
            values["legs_required"] = "" if np.isnan(record["legs_required"]) else str(int(record["legs_required"]))
        spread = rows["spreads"].add(line, values)
        # Money has two decimals where a share in percent has four.
        unit = 100.0 if flat else 0.01
        rate = {"spread_idx": spread, "rate": 1, "value": record["credit"] * unit}
        rows["spread_rates"].add(line, rate)
        if scanning and record["target_cc"]:
            target = {"commodity": record["target_cc"], "is_target": "1", "ratio": record["target_ratio"]}
            rows["spread_legs"].add(line, {**target, "spread_idx": spread, "kind": "scan"})
        for leg in range(1, 5):
            _add_inter_leg(rows, line, record, leg, spread, scanning, unit)


def _known_exchanges(line: int, record: dict[str, Any], exchanges: set[str], refuse: Refuse) -> None:
    named = {f"exchange_{leg}": f"cc_{leg}" for leg in range(1, 5)} | {"target_exchange": "target_cc"}
    for name, of in named.items():
        if record[of] and record[name] and record[name] not in exchanges:
            refuse(line, f"record 6 {name}", record[name], "no record of type 1 names this exchange")


def _add_inter_leg(rows: dict[str, Rows], line: int, record: dict[str, Any], leg: int, spread: int,
                   scanning: bool, unit: float) -> None:  # fmt: skip
    code = record[f"cc_{leg}"]
    if not code:
        return
    tier = record[f"tier_{leg}"]
    values = {
        "spread_idx": spread,
        "commodity": code,
        "kind": "scan" if scanning else "tier",
        "tier": 0 if np.isnan(tier) else int(tier),
        "side": "" if scanning else record[f"side_{leg}"],
        "ratio": record[f"ratio_{leg}"],
    }
    if scanning:
        values |= {"is_target": "0", "is_required": "0" if record[f"required_{leg}"] == "N" else "1"}
    row = rows["spread_legs"].add(line, values)
    own = record[f"rate_{leg}"]
    if record["separate_rates"] == "Y" and np.isfinite(own):
        rows["spread_rates"].add(line, {"spread_idx": spread, "leg": row, "rate": 1, "value": own * unit})


def _add_tiers(rows: dict[str, Rows], line: int, commodity: int, record: dict[str, Any], money: float) -> None:
    method = record["method"]
    if method in ("01", "02"):
        for purpose in (SCAN, INTER):
            if method == "02":
                _month_tiers(rows, line, commodity, purpose)
            else:
                rows["tiers"].add(line, {"commodity_idx": commodity, "purpose": purpose, "number": 1})
        return
    for purpose in TIER_METHODS.get(method, ()):
        for place, (number, start, end) in enumerate(_blocks(record, 5), 1):
            values = {"commodity_idx": commodity, "purpose": purpose, "number": number, "start": start, "end": end}
            tier = rows["tiers"].add(line, values)
            if purpose == MINIMUM:
                rows["tier_rates"].add(
                    line, {"tier_idx": tier, "rate": 1, "value": money * record[f"som_rate_{place}"]}
                )


def _blocks(record: dict[str, Any], count: int) -> Iterator[tuple[int, str, str]]:
    """Number, first and last period of every tier that a record states."""
    for place in range(1, count + 1):
        number = record[f"number_{place}"]
        if np.isfinite(number) and record[f"start_{place}"]:
            start = record[f"start_{place}"] + record[f"start_day_{place}"]
            yield int(number), start, record[f"end_{place}"] + record[f"end_day_{place}"]


def _month_tiers(rows: dict[str, Rows], line: int, commodity: int, purpose: str) -> None:
    """Every period of the commodity's futures is a tier of its own, numbered from the nearest."""
    links, families, periods = rows["links"].columns, rows["families"].columns, rows["periods"].columns
    mine = {f for c, f in zip(links["commodity_idx"], links["family_idx"], strict=True) if c == commodity}
    mine = {f for f in mine if families["kind"][f] in FUTURES_LIKE}
    months = sorted({p for f, p in zip(periods["family_idx"], periods["period"], strict=True) if f in mine})
    for number, month in enumerate(months, 1):
        values = {"commodity_idx": commodity, "purpose": purpose, "number": number, "start": month, "end": month}
        rows["tiers"].add(line, values)


def _sort_tiers(rows: dict[str, Rows]) -> None:
    """Tiers by commodity and purpose, in the order in which the other kind of file has them."""
    tiers, rates = rows["tiers"], rows["tier_rates"]
    keys = [(c, PURPOSES.index(p)) for c, p in zip(tiers.columns["commodity_idx"], tiers.columns["purpose"],
                                                   strict=True)]  # fmt: skip
    order = sorted(range(len(tiers)), key=keys.__getitem__)
    place = {old: new for new, old in enumerate(order)}
    for name, column in tiers.columns.items():
        tiers.columns[name] = [column[row] for row in order]
    tiers.places = [tiers.places[row] for row in order]
    rates.columns["tier_idx"] = [place[row] for row in rates.columns["tier_idx"]]
    by_tier = sorted(range(len(rates)), key=rates.columns["tier_idx"].__getitem__)
    for name, column in rates.columns.items():
        rates.columns[name] = [column[row] for row in by_tier]
    rates.places = [rates.places[row] for row in by_tier]


def _check_spot(line: int, record: dict[str, Any], refuse: Refuse) -> None:
    """Refuse delivery charges that nothing would use: without a month, without a method, or one of two alone."""
    for place in (1, 2):
        month, charges = record[f"month_{place}"], {name: record[f"{name}_{place}"] for name in ("spread", "outright")}
        due = [name for name, charge in charges.items() if charge > 0]
        if due and record["method"] != "10" and record["method"] != "11":
            refuse(line, "record 4 method", record["method"], "is none, but the record states charges of delivery")
        if due and not month and record["method"] == "10":
            refuse(line, f"record 4 month_{place}", month, "must not be blank where a charge is stated")
        for name, charge in charges.items():
            if month.strip("0") and np.isnan(charge) and record["method"] == "10":
                refuse(line, f"record 4 {name}_{place}", None, "must not be blank where a month is stated")


def _add_spot(rows: dict[str, Rows], line: int, commodity: int, record: dict[str, Any], money: float) -> None:
    """Delivery months, and the short option minimum of the whole commodity where no tiers of it came before."""
    columns = rows["commodities"].columns
    columns["spot_method"][commodity] = {"00": "NONE", "10": "NORMAL", "11": "BASIS"}.get(
        record["method"], record["method"]
    )
    columns["minimum_method"][commodity] = _named(MINIMUM_METHODS, record["som_method"])
    if record["method"] == "10":
        for place in (1, 2):
            month, spread, outright = (record[f"{name}_{place}"] for name in ("month", "spread", "outright"))
            if month and np.isfinite(spread):
                charges = {"spread": money * spread, "outright": money * _stated(outright, 0.0)}
                period = {"period": month + record[f"day_{place}"], "rate": 1, "commodity_idx": commodity}
                rows["spot_rates"].add(line, {**period, **charges})
    tiers = rows["tiers"].columns
    tiered = any(c == commodity and p == MINIMUM for c, p in zip(tiers["commodity_idx"], tiers["purpose"], strict=True))
    if not tiered and np.isfinite(record["som_rate"]):
        tier = rows["tiers"].add(line, {"commodity_idx": commodity, "purpose": MINIMUM, "number": 0})
        rows["tier_rates"].add(line, {"tier_idx": tier, "rate": 1, "value": money * record["som_rate"]})


def _add_intra_spreads(
    rows: dict[str, Rows], each: Each, commodity: Callable[..., int], money: dict[int, float], refuse: Refuse
) -> None:
    """Spreads of contract periods come before those of tiers, each in the order of priority."""
    for kind, most in (("E", 4), ("C", TIER_LEGS_MOST)):
        for line, record in sorted(each(kind), key=lambda pair: (pair[1]["cc"], pair[1]["priority"])):
            owner = commodity(line, record)
            check_flags(kind, line, record, refuse)
            values = {"scope": INTRA, "commodity_idx": owner, "kind": "delta", "charge_method": "F"}
            spread = rows["spreads"].add(line, {**values, "number": str(int(record["priority"]))})
            rows["spread_rates"].add(
                line, {"spread_idx": spread, "leg": -1, "rate": 1, "value": money[owner] * record["charge"]}
            )
            for leg in _legs(record, most):
                ratio, side = record[f"ratio_{leg}"], record[f"side_{leg}"]
                place = {"kind": "tier", "tier": int(_stated(record[f"tier_{leg}"], 0))} if kind == "C" else {
                    "kind": "period", "period": f"20{record[f'month_{leg}']}{record[f'day_{leg}']}"}  # fmt: skip
                own = {"spread_idx": spread, "commodity": record["cc"], "side": side, "ratio": ratio}
                rows["spread_legs"].add(line, {**own, **place})


def _named(names: dict[str, str], code: str) -> str:
    """The name of a code, the first where it is blank, and a code without a name as it stands, which is refused."""
    return names.get(code, code) if code else next(iter(names.values()))


def _stated(value: float, otherwise: float) -> float:
    return otherwise if np.isnan(value) else float(value)
