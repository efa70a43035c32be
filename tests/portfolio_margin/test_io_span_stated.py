"""Positional SPAN files: repeated records, counts, flags and what is blank, each against the file as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.span_layout import RECORDS
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.levels import levels
from portfolio_margin.span.rules import Choices, rules_of
from portfolio_margin.span.tables import RiskParameterFile
from pricing import DataError
from tests.portfolio_margin.pa2_example import line, lines


def read(rows: list[str], folder: Path) -> tuple[RiskParameterFile, tuple[str, ...]]:
    path = folder / "test.pa2"
    path.write_bytes("\r\n".join([*rows, ""]).encode("latin-1"))
    return read_span_file(path)


def place(kind: str, nth: int = 0) -> int:
    return [n for n, row in enumerate(lines()) if row[:2].strip() == kind][nth]


def behind(kind: str, *more: str) -> list[str]:
    """The example with records behind the first of a kind."""
    rows = lines()
    rows[place(kind) + 1 : place(kind) + 1] = more
    return rows


def with_fields(kind: str, nth: int = 0, **texts: str) -> list[str]:
    """The example with fields of one record written as they stand."""
    rows = lines()
    for name, text in texts.items():
        field, row = RECORDS[kind][name], rows[place(kind, nth)]
        row = row.ljust(field.last)
        rows[place(kind, nth)] = row[: field.first - 1] + text.ljust(field.last - field.first + 1) + row[field.last :]
    return rows


def factors(file: RiskParameterFile, account_type: str) -> Any:
    return levels(file, Choices(account_type=account_type))[0]


def test_continuations_add_and_leave_what_they_do_not_state(tmp_path: Path) -> None:
    """More tiers in a second record 3, another delivery month in a second 4: their blank ratios change nothing."""
    rows = behind("3", line("3", cc="C", method="10", number_1=3, start_1="202701", end_1="202712"))
    month = line("4", cc="C", method="10", month_1="202605", spread_1=15, outright_1=20)
    rows.insert(rows.index(lines()[place("4")]) + 1, month)
    file, _ = read(rows, tmp_path)
    base, _ = read(lines(), tmp_path)
    for account_type in "MHS":
        np.testing.assert_array_equal(factors(file, account_type), factors(base, account_type))
    assert factors(file, "S")[0, 0] == 1.35
    intra = file.tiers.purpose == "intra"
    assert file.tiers.number[intra].tolist() == [1, 2, 3]
    assert file.spot_rates.period.tolist() == ["202603", "202605"]
    minimum = file.tiers.purpose == "som"
    assert minimum.sum() == 1 and file.commodities.minimum_method[0] == "MAX"


def test_the_method_of_price_risk_outlives_a_blank_one(tmp_path: Path) -> None:
    more = line("S", cc="C", method="30", count=1, number_1=1, start_1="202601", end_1="202612", som_rate_1=9)
    file, _ = read(behind("S", more), tmp_path)
    assert file.commodities.weighted_price_risk_method[0] == "SCANRANGE CAP"


TWO = {"exchange": "EXC", "cc": "C", "option_style": "P"}


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        (
            "3",
            line("3", cc="C", method="10", ratio_hedger=1.0),
            "record 3 ratio_hedger = 1.0: must not differ from 1.1",
        ),
        ("4", line("4", cc="C", method="10", adjustment_hedger=1.0), "record 4 adjustment_hedger = 1.0"),
        ("4", line("4", cc="C", method="10", som_rate=1), "record 4 som_rate = 1.0: must not differ from 7.0"),
        ("4", line("4", cc="C", method="10", som_method="1"), "record 4 som_method = '1': must not differ from '2'"),
        ("4", line("4", cc="C", method="00"), "record 4 method = '00': must not differ from '10'"),
        ("S", line("S", cc="C", method="10", weighted_price_risk="3"), "record S weighted_price_risk = '3'"),
        ("2", line("2", **TWO, risk_exponent=2), "record 2 risk_exponent = 2.0: must not differ from 1.0"),
        ("2", line("2", **TWO, currency="EUR"), "record 2 currency = 'EUR': must not differ from 'USD'"),
        ("2", line("2", **TWO, limit_option_value="Y"), "record 2 limit_option_value = 'Y'"),
        ("0", lines()[0].replace("20260102", "20270102", 1), "record 0 date = '20270102': must not differ"),
    ],
)
def test_contradictions_are_refused(kind: str, more: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(behind(kind, more), tmp_path)
    assert said in str(caught.value)
    assert f"line {place(kind) + 2}" in str(caught.value)
    assert f"in line {place(kind) + 1}" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "nth", "texts", "said"),
    [
        ("C", 0, {"legs": "03"}, "record C legs = 3: is not what the record lists: 2"),
        ("C", 0, {"side_2": ""}, "record C legs = 2: is not what the record lists: 1"),
        ("S", 0, {"count": "02"}, "record S count = 2: is not what the record lists: 1"),
        ("4", 0, {"count": "02"}, "record 4 count = 2: is not what the record lists: 1"),
        ("6", 1, {"legs_required": "0009"}, "record 6 legs_required = 9: are more legs than it lists: 1"),
        ("6", 0, {"exchange_1": "XXX"}, "record 6 exchange_1 = 'XXX': no record of type 1 names this exchange"),
        ("6", 1, {"required_1": "?"}, "record 6 required_1 = '?': is not known"),
        ("6", 0, {"credit_method": "Z"}, "record 6 credit_method = 'Z': is not known: must be one of W, F or blank"),
        ("2", 0, {"limit_option_value": "X"}, "record 2 limit_option_value = 'X': is not known"),
        ("2", 0, {"option_style": "?"}, "record 2 option_style = '?': is not known"),
        ("2", 0, {"combination": "?"}, "record 2 combination = '?': is not known"),
        ("0", 0, {"limit_option_value": "y"}, "record 0 limit_option_value = 'y': is not known"),
        ("0", 0, {"gross_net": "X"}, "record 0 gross_net = 'X': is not known"),
        ("0", 0, {"settle_flag": "X"}, "record 0 settle_flag = 'X': is not known"),
        ("C", 0, {"method": "99"}, "record C method = '99': is not known"),
        ("B", 0, {"vol_scan_quote": "Q"}, "record B vol_scan_quote = 'Q': is not known"),
    ],
)
def test_counts_and_flags(kind: str, nth: int, texts: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(with_fields(kind, nth, **texts), tmp_path)
    assert f"line {place(kind, nth) + 1}, {said}" in str(caught.value)


def test_a_spread_that_was_cut_in_its_last_leg(tmp_path: Path) -> None:
    """Without the third leg a butterfly would be a charge on any pair."""
    whole = line("C", cc="C", method="10", priority=2, legs=3, charge=100, tier_1=1, ratio_1=1, side_1="A", tier_2=2,
                 ratio_2=2, side_2="B", tier_3=1, ratio_3=1, side_3="A")  # fmt: skip
    rows = lines()
    rows[place("C")] = whole
    assert len(read(rows, tmp_path)[0].spread_legs) == len(read(lines(), tmp_path)[0].spread_legs) + 1
    for end in range(22, len(whole)):
        rows[place("C")] = whole[:end]
        with pytest.raises(DataError, match="record C"):
            read(rows, tmp_path)


@pytest.mark.parametrize(("method", "credit", "own"), [("F", 500.0, 500.0), ("", 0.0005, 0.0005)])
def test_rates_of_legs_are_in_the_unit_of_the_credit(method: str, credit: float, own: float, tmp_path: Path) -> None:
    """Seven digits are money with two decimals where the credit is flat, else percent with four."""
    rows = with_fields("6", 0, credit_method=method, credit="0050000", separate_rates="Y", rate_1="0050000")
    if not method:
        rows = with_fields("6", 0, credit="0000500", separate_rates="Y", rate_1="0000500")
    file, _ = read(rows, tmp_path)
    first = int(np.flatnonzero(file.spreads.scope == "inter")[0])
    mine = file.spread_rates.spread_idx == first
    assert file.spread_rates.value[mine].tolist() == pytest.approx([credit, own])
    rules = rules_of(file, file_arrays(file).arrays)
    assert [leg.rate for leg in rules.between[0].legs] == pytest.approx([own, credit])  # type: ignore[union-attr]


def test_a_scan_range_in_percent_has_an_exponent(tmp_path: Path) -> None:
    rows = with_fields("S", 0, weighted_price_risk="1")
    field = RECORDS["B"]["price_scan_quote"]
    for nth in range(3):
        row = rows[place("B", nth)].ljust(168)
        rows[place("B", nth)] = row[:52] + "00750" + row[57 : field.first - 1] + "P02-"
    file, _ = read(rows, tmp_path)
    assert file.scan_rates.price_scan_percent.tolist() == pytest.approx([7.5] * 3)


def test_what_is_told(tmp_path: Path) -> None:
    def notes(rows: list[str]) -> set[str]:
        return set(read(rows, tmp_path)[1]) - set(read(lines(), tmp_path)[1])

    assert notes(with_fields("4", 0, som_method="")) == {
        "C: the method of the short option minimum is blank in record 4, calls and puts add up"
    }
    assert notes(with_fields("B", 0, delta_scale="")) == {"ZC/FUT: the delta scale is blank in a record B, 1 is taken"}
    assert notes(with_fields("6", 0, group="ZZZ")) == {"records 6 are of groups that no record 5 defines: ZZZ"}
    assert notes(with_fields("5", 0, cc_1="QQ")) == {"records 5 name combined commodities that no record 2 defines: QQ"}
    gross = notes(with_fields("0", 0, gross_net="G"))
    assert len(gross) == 3 and all("margined gross by the file" in note for note in gross)
