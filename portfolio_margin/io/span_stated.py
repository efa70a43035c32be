"""What records of positional SPAN files state of themselves and of each other: flags, counts, the same thing again.

Records are repeated where what they list is longer than one line. What such a record leaves blank has been said before;
what it states otherwise is a contradiction, since which of the two counts would be a matter of their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from portfolio_margin.span.assumed import shown

Each = Callable[[str], Iterator[tuple[int, dict[str, Any]]]]
Refuse = Callable[[int, str, object, str], None]
CLASSES = ("member", "hedger", "speculator")
YES_NO = ("Y", "N", "")
# Codes that a record may have; "" is a blank one.
KNOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "0": {"settle_flag": ("S", "I", ""), "limit_option_value": YES_NO, "gross_net": ("G", "N", "")},
    "2": {"option_style": ("P", "F", ""), "limit_option_value": YES_NO, "combination": ("S", "D", "M", "")},
    "3": {"method": ("01", "10", "00", "")},
    "S": {"method": ("01", "02", "10", "20", "21", "22", "23", "30", "")},
    "4": {"method": ("00", "10", "11", "")},
    "C": {"method": ("00", "01", "10", "")},
    "B": {"vol_scan_quote": ("A", "P", ""), "price_scan_quote": ("A", "P", "")},
    "6": {
        "method": ("01", "1", "04", "4", "10", "20", ""),
        "credit_method": ("W", "F", ""),
        "target_required": YES_NO,
        "separate_rates": YES_NO,
        **{f"required_{leg}": YES_NO for leg in range(1, 5)},
    },
}
# What a record says of the whole of what it is about, however often it is repeated.
OF_ALL = {
    "0": ("complex", "date", "settle_flag", "file_id", "time", "created", "format", "limit_option_value", "gross_net"),
    "2": ("risk_exponent", "currency", "limit_option_value", "combination"),
    "3": ("method", *(f"ratio_{name}" for name in CLASSES)),
    "S": ("weighted_price_risk",),
    "4": ("method", "som_rate", "som_method", *(f"adjustment_{name}" for name in CLASSES)),
}


def check_flags(kind: str, line: int, record: dict[str, Any], refuse: Refuse) -> None:
    """Refuse a code of a record that is none of those known: it may be a lost one, and would mean something else."""
    for name, known in KNOWN.get(kind, {}).items():
        if record[name] not in known:
            listed = ", ".join(filter(None, known))
            refuse(line, f"record {kind} {name}", record[name], f"is not known: must be one of {listed} or blank")


def agreed(kind: str, each: Each, refuse: Refuse, of: str = "cc") -> dict[str, dict[str, Any]]:
    """What all records of a kind say together, by the field `of`: of each field what one states, blank if none does.

    A record that states another value than one before it is refused.
    """
    said: dict[str, dict[str, Any]] = {}
    place: dict[tuple[str, str], int] = {}
    for line, record in each(kind):
        mine = said.setdefault(str(record.get(of, "")), {name: record[name] for name in OF_ALL[kind]})
        for name in OF_ALL[kind]:
            key = (str(record.get(of, "")), name)
            if is_blank(record[name]):
                continue
            if key in place and record[name] != mine[name]:
                remedy = (
                    f"must not differ from {mine[name]!r} in line {place[key]}, of which this record is a continuation"
                )
                refuse(line, f"record {kind} {name}", record[name], remedy)
            mine[name] = record[name]
            place.setdefault(key, line)
    return said


def is_blank(value: object) -> bool:
    """Whether a field is."""
    return value == "" or (isinstance(value, float) and bool(np.isnan(value)))


def check_count(kind: str, name: str, listed: Iterable[tuple[int, object, float, int]], refuse: Refuse) -> None:
    """Refuse a record that lists more or fewer than it says: the end of its line was lost.

    listed  line, what the record is about, the count it states (NaN for none), how many it lists; a count may also be
            that of all records about the same thing together
    """
    rows = list(listed)
    together: dict[object, int] = {}
    for _, owner, _, found in rows:
        together[owner] = together.get(owner, 0) + found
    for line, owner, count, found in rows:
        if not np.isnan(count) and count not in (found, together[owner]):
            refuse(line, f"record {kind} {name}", int(count), f"is not what the record lists: {found}")


def told_of_records(each: Each, refuse: Refuse) -> tuple[str, ...]:
    """Lines on what records leave blank and is taken to be something, and on names that no other record has."""
    return (*_blanks(each, refuse), *_unknown_names(each))


def _blanks(each: Each, refuse: Refuse) -> Iterator[str]:
    two, four = agreed("2", each, refuse), agreed("4", each, refuse)
    bare = [code for code, record in two.items() if is_blank(record["risk_exponent"])]
    if bare:
        yield f"{shown(bare)}: the risk exponent is blank in record 2, 0 is taken"
    bare = [
        record["cc"]
        for _, record in each("2")
        if any(record[f"product_{block}"] and np.isnan(record[f"decimals_{block}"]) for block in range(1, 7))
    ]
    if bare:
        yield f"{shown(bare)}: the decimals of arrays are blank in record 2, 0 are taken"
    for kind, prefix, what in (("3", "ratio", "initial margin on maintenance"), ("4", "adjustment", "maintenance")):
        stated = agreed(kind, each, refuse)
        bare = [code for code, record in stated.items() if any(is_blank(record[f"{prefix}_{c}"]) for c in CLASSES)]
        if bare:
            yield f"{shown(bare)}: a factor of {what} is blank in record {kind}, 1 is taken"
    bare = [code for code, record in four.items() if record["som_rate"] > 0 and not record["som_method"]]
    if bare:
        yield f"{shown(bare)}: the method of the short option minimum is blank in record 4, calls and puts add up"
    bare = [f"{record['product']}/{record['kind']}" for _, record in each("B") if np.isnan(record["delta_scale"])]
    if bare:
        yield f"{shown(bare)}: the delta scale is blank in a record B, 1 is taken"
    split = [code for code, record in two.items() if record["combination"] == "M"]
    if split:
        yield f"{shown(split)}: method M of combinations in record 2 is described nowhere and not computed"


def _unknown_names(each: Each) -> Iterator[str]:
    """Groups and commodities that records 5 and 6 name and no other record defines; no margin depends on a group."""
    codes = {record["cc"] for _, record in each("2")}
    groups = {record["group"] for _, record in each("5")}
    members = [record[f"cc_{n}"] for _, record in each("5") for n in range(1, 11)]
    lost = [code for code in members if code and code not in codes]
    if lost:
        yield f"records 5 name combined commodities that no record 2 defines: {shown(lost)}"
    lost = [record["group"] for _, record in each("6") if record["group"] not in {*groups, "ALL", ""}]
    if lost:
        yield f"records 6 are of groups that no record 5 defines: {shown(lost)}"
