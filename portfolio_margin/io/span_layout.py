"""Layout of positional SPAN files in the expanded format (U2): where in a record which field stands.

Positions count from 1 and include both ends. N3 is a number with three implied decimals, L one with a digit behind it
that says its decimals, A a text, S a sign: "+" or blank for plus, "-" for minus. Source: the public record descriptions
of CME Clearing, types 0 to Z, expanded format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Field(NamedTuple):
    """One field: columns first to last of the line, its kind (N, L, A or S) and implied decimals."""

    first: int
    last: int
    kind: str
    decimals: int

    @property
    def end(self) -> int:
        """Last column, with the locator of decimals that stands behind a number of kind L."""
        return self.last + (self.kind == "L")


# Fields of records by their names; None for one that a format does not have.
Layout = Mapping[str, Mapping[str, Field | None]]


def fields_of(text: str) -> dict[str, Field]:
    """Fields from a table of rows name, first-last, kind."""
    fields = {}
    for row in text.strip().splitlines():
        name, place, kind = row.split()
        first, _, last = place.partition("-")
        fields[name] = Field(int(first), int(last or first), kind[0], int(kind[1:] or 0))
    return fields


def repeated(count: int, start: int, step: int, *parts: tuple[str, int, int, str]) -> str:
    """Rows of `count` blocks; a part is its name with {} for the number, offset, length and kind."""
    rows = []
    for number in range(count):
        for name, offset, length, kind in parts:
            first = start + number * step + offset
            rows.append(f"{name.format(number + 1)} {first}-{first + length - 1} {kind}")
    return "\n".join(rows)


HEADER = "complex 3-8 A\ndate 9-16 A\nsettle_flag 17 A\nfile_id 18-19 A\ntime 20-23 A\ncreated 24-35 A\n" \
         "format 36-37 A\nlimit_option_value 38 A\ngross_net 39 A"  # fmt: skip
KEY = """
exchange 3-5 A
product 6-15 A
underlying_product 16-25 A
kind 26-28 A
right 29 A
future_month 30-35 A
future_day 36-37 A
option_month 39-44 A
option_day 45-46 A
strike 48-54 N
"""
PRODUCT = """
exchange 3-5 A
product 6-15 A
kind 16-18 A
name 19-33 A
settle_decimals 34-36 N
strike_decimals 37-39 N
settle_alignment 40 A
strike_alignment 41 A
value_factor 42-55 N7
cabinet 56-63 N2
currency 66-68 A
quote_method 70-72 A
value_factor_exponent_sign 73 S
value_factor_exponent 74-75 N
exercise 76-79 A
long_name 80-114 A
valuation 117-121 A
settlement 122-126 A
"""
PARAMETERS = """
exchange 3-5 A
product 6-15 A
kind 16-18 A
future_month 19-24 A
future_day 25-26 A
option_month 28-33 A
option_day 34-35 A
base_vol 37-44 N6
vol_scan 45-52 N6
price_scan 53-57 N
extreme_multiplier 58-62 N3
extreme_cover 63-67 N4
rate 68-72 N4
years 73-79 N6
look_ahead 80-85 N6
delta_scale 86-91 N4
expiry 92-99 A
underlying_product 100-109 A
model 110-111 A
dividend 112-119 N6
value_factor 129-142 N7
value_factor_exponent 143-144 N
value_factor_exponent_sign 145 S
base_vol_exponent 146-147 N
base_vol_exponent_sign 148 S
vol_scan_exponent 149-150 N
vol_scan_exponent_sign 151 S
vol_scan_quote 164 A
price_scan_quote 165 A
price_scan_exponent 166-167 N
price_scan_exponent_sign 168 S
"""
SPOT = """
cc 3-8 A
method 9-10 A
count 11-12 N
month_1 15-20 A
spread_1 21-27 N
outright_1 28-34 N
month_2 37-42 A
spread_2 43-49 N
outright_2 50-56 N
day_1 57-58 A
day_2 59-60 A
som_rate 63-69 N
adjustment_member 70-72 N2
adjustment_hedger 73-75 N2
adjustment_speculator 76-78 N2
som_method 79 A
"""
INTER = """
group 3-5 A
priority 6-9 N
credit 10-16 N4
method 89-90 A
target_exchange 91-93 A
target_required 94 A
target_cc 95-100 A
credit_method 101 A
target_ratio 111-117 N4
legs_required 118-121 N
separate_rates 122 A
"""


def _tail(first: int, last_block: str) -> str:
    """What follows the array values of a second record; `first` is where the composite delta begins."""
    rows = (
        ("composite_delta", 0, 5, "N4"), ("composite_delta_sign", 5, 1, "S"), ("implied_vol", 6, 8, "N6"),
        ("settlement", 14, 7, "N"), ("settlement_sign", 21, 1, "S"), ("strike_sign", 22, 1, "S"),
        ("current_delta", 23, 5, "N4"), ("current_delta_sign", 28, 1, "S"), ("implied_vol_exponent", 38, 2, "N"),
        ("implied_vol_exponent_sign", 40, 1, "S"), ("value_factor", 41, 14, "N7"),
        ("value_factor_exponent", 55, 2, "N"), ("value_factor_exponent_sign", 57, 1, "S"),
        ("strike_value_factor", 58, 14, "N7"), ("strike_value_factor_exponent", 72, 2, "N"),
        ("strike_value_factor_exponent_sign", 74, 1, "S"),
    )  # fmt: skip
    return last_block + "\n" + repeated(1, first, 0, *rows)


def _array_block(first_value: int, count: int, digits: int, begin: int = 55) -> str:
    names = [f"value_{first_value + n}" for n in range(count)]
    rows = []
    for n, name in enumerate(names):
        start = begin + n * (digits + 1)
        rows += [f"{name} {start}-{start + digits - 1} N", f"{name}_sign {start + digits} S"]
    return "\n".join(rows)


TIER_BLOCKS = (("number_{}", 0, 2, "N"), ("start_{}", 2, 6, "A"), ("end_{}", 8, 6, "A"))
DAY_BLOCKS = (("start_day_{}", 0, 2, "A"), ("end_day_{}", 2, 2, "A"))
FAMILY_BLOCKS = (("product_{}", 0, 10, "A"), ("kind_{}", 10, 3, "A"), ("decimals_{}", 13, 1, "N"),
                 ("decimals_sign_{}", 14, 1, "S"))  # fmt: skip
TIER_LEGS = (("tier_{}", 2, 2, "N"), ("ratio_{}", 4, 2, "N"), ("side_{}", 6, 1, "A"))
SERIES_LEGS = (("month_{}", 0, 4, "A"), ("day_{}", 4, 3, "A"), ("ratio_{}", 7, 6, "N4"), ("side_{}", 13, 1, "A"))
INTER_LEGS = (("exchange_{}", 0, 3, "A"), ("required_{}", 3, 1, "A"), ("cc_{}", 4, 6, "A"), ("ratio_{}", 10, 7, "N4"),
              ("side_{}", 17, 1, "A"))  # fmt: skip

RECORDS: dict[str, dict[str, Field]] = {
    "0": fields_of(HEADER),
    "T": fields_of("from_currency 3-5 A\nto_currency 7-9 A\nrate 11-20 N6"),
    "1": fields_of("exchange 3-5 A\ncode 8-9 A"),
    "P": fields_of(PRODUCT),
    "2": fields_of(
        "exchange 3-5 A\ncc 7-12 A\nrisk_exponent 13 N\ncurrency 14-16 A\noption_style 18 A\nlimit_option_value 19 A\n"
        "combination 20 A\n" + repeated(6, 23, 16, *FAMILY_BLOCKS)
    ),
    "3": fields_of(
        "cc 3-8 A\nmethod 9-10 A\nratio_member 69-72 N3\nratio_hedger 73-76 N3\nratio_speculator 77-80 N3\n"
        + repeated(4, 11, 14, *TIER_BLOCKS) + "\n" + repeated(4, 81, 4, *DAY_BLOCKS)
    ),
    "C": fields_of(
        "cc 3-8 A\nmethod 9-10 A\npriority 11-12 N\nlegs 13-14 N\ncharge 15-21 N\n" + repeated(8, 22, 7, *TIER_LEGS)
    ),
    "E": fields_of("cc 3-8 A\npriority 9-13 N\ncharge 14-20 N\n" + repeated(4, 21, 14, *SERIES_LEGS)),
    "S": fields_of(
        "cc 3-8 A\nmethod 9-10 A\ncount 11-12 N\nweighted_price_risk 83 A\n" + repeated(5, 13, 14, *TIER_BLOCKS) + "\n"
        + repeated(5, 84, 4, *DAY_BLOCKS) + "\n" + repeated(5, 104, 7, ("som_rate_{}", 0, 7, "N"))
    ),
    "4": fields_of(SPOT),
    "B": fields_of(PARAMETERS),
    "5": fields_of("group 3-5 A\n" + repeated(10, 13, 6, ("cc_{}", 0, 6, "A"))),
    "6": fields_of(
        INTER + repeated(4, 17, 18, *INTER_LEGS) + "\n" + repeated(4, 102, 2, ("tier_{}", 0, 2, "N")) + "\n"
        + repeated(4, 123, 7, ("rate_{}", 0, 7, "N4"))
    ),
    "81": fields_of(KEY + _array_block(1, 9, 5) + "\nprecise_settlement 109-122 N\nprecise 123 A"),
    "82": fields_of(KEY + _tail(97, _array_block(10, 7, 5))),
    "83": fields_of(KEY + _array_block(1, 9, 8)),
    "84": fields_of(KEY + _tail(118, _array_block(10, 7, 8))),
}  # fmt: skip
# What is public of other unpacked formats: where the format is stated, and of the Paris expanded one (UP) the numbers
# of array parameters, each with its locator, and the array values.
FORMAT_PLACE = {"format": Field(36, 37, "A", 0)}
KNOWN_PLACES: dict[str, dict[str, dict[str, Field]]] = {
    "U": {"0": FORMAT_PLACE},
    "UP": {
        "0": FORMAT_PLACE,
        "B": fields_of(
            "base_vol 39-46 L\nvol_scan 48-55 L\nprice_scan 57-63 L\nextreme_multiplier 65-69 L\n"
            "extreme_cover 71-75 L\nrate 77-81 L\nyears 83-89 L\nlook_ahead 91-96 L"
        ),
        "81": fields_of(_array_block(1, 9, 8, 70)),
        "82": fields_of(_array_block(10, 7, 8, 70)),
    },
}
# Known and without effect on margin as it is computed here: daily adjustments, combinations, debt.
PASSED_OVER = frozenset("VXYZ97R")
# Fields without which a record means nothing.
NEEDED: dict[str, tuple[str, ...]] = {
    "T": ("rate",),
    "P": ("value_factor", "settle_decimals"),
    "C": ("priority", "charge"),
    "E": ("priority", "charge"),
    "6": ("priority", "credit"),
    "B": ("price_scan", "extreme_multiplier", "extreme_cover"),
}
