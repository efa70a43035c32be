"""Positional SPAN files: fields, prices in fractions, tables, and what is broken by line and bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.span_layout import RECORDS
from portfolio_margin.io.span_pa2 import read_pa2, settlement_price
from portfolio_margin.io.span_write import write_spn
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.span.choices import Choices
from portfolio_margin.span.contracts import ContractView
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.recompute import recompute, within
from portfolio_margin.span.rules import rules_of
from portfolio_margin.span.spreads import ScanSpread, Spread
from portfolio_margin.span.tables import RiskParameterFile
from pricing import DataError
from tests.portfolio_margin.pa2_example import line, lines
from tests.portfolio_margin.span_examples import future_losses

Change = Callable[[list[str]], list[str]]


def read(rows: list[str], folder: Path) -> RiskParameterFile:
    path = folder / "test.pa2"
    path.write_bytes("\r\n".join([*rows, ""]).encode("latin-1"))
    return read_pa2(path)[0]


@pytest.mark.parametrize("wide", [False, True])
def test_every_table(wide: bool, tmp_path: Path) -> None:
    file = read(lines(wide), tmp_path)
    assert (file.header.date, file.header.clearing_org, file.header.qualifier) == ("20260102", "CME", "final")
    assert file.header.look_ahead_years == 0.004
    assert file.header.cap_option_value
    # One decimal of the array and an exponent of 1 of the commodity cancel.
    np.testing.assert_allclose(file.arrays.loss[0], future_losses(800.0).round())
    assert file.arrays.composite_delta.tolist() == [1.0, 1.0, 0.4, -0.6]
    assert file.contracts.price.tolist() == pytest.approx([3.7575, 3.75875, 0.12, 0.17])
    assert file.contracts.right.tolist() == ["", "", "C", "P"]
    assert file.contracts.strike[2:].tolist() == [380.0, 380.0]
    assert file.families.contract_value_factor.tolist() == [5_000.0, 50.0]
    assert file.periods.period.tolist() == ["202603", "202605", "202602"]
    assert file.periods.underlying_period.tolist() == ["", "", "202603"]
    assert file.scan_rates.price_scan.tolist() == [800.0] * 3
    assert file.scan_rates.vol_scan_relative.tolist() == [0.25] * 3
    assert file.commodities.risk_exponent.tolist() == [1, 0]
    assert file.commodities.weighted_price_risk_method.tolist() == ["SCANRANGE CAP", ""]
    assert file.commodities.minimum_method.tolist() == ["MAX", "GROSS"]
    assert file.conversions.factor.tolist() == [1.25]


def test_whole_numbers_are_allowed_their_rounding(tmp_path: Path) -> None:
    """Futures print thirds of 800 as 267: half a dollar is 6e-4 of the scan range."""
    file = read(lines(), tmp_path)
    found = recompute(file)
    futures = ContractView(file).kind[found.contract] == "FUT"
    assert found.loss_error[futures].max() > 4e-4
    assert found.last_digit.tolist() == [0.5 / 800.0] * 4
    assert within(found, 2e-4, 2e-4)[futures].all()
    assert not within(found, 2e-4, 2e-4)[~futures].any()


def test_the_rules(tmp_path: Path) -> None:
    file = read(lines(), tmp_path)
    made = file_arrays(file)
    rules = rules_of(file, made.arrays, Choices(account_type="H"))
    assert rules.factors[0] == pytest.approx([0.9 * 1.1, 0.9])
    assert rules_of(file, made.arrays, Choices(account_type="S")).factors[0] == pytest.approx([1.35, 1.0])
    # Spreads of contract periods come before those of tiers; charges are times ten.
    assert [spread.rate for spread in rules.intra] == [2500.0, 1000.0]
    assert [[leg.periods.tolist() for leg in spread.legs] for spread in rules.intra] == [[[0], [1]], [[0], [1]]]
    (spot,) = rules.spot
    assert (spot.period, spot.spread, spot.outright) == (0, 150.0, 200.0)
    first, second = rules.between
    assert isinstance(first, Spread) and [leg.rate for leg in first.legs] == [0.55, 0.55]
    assert [leg.ratio for leg in first.legs] == [1.0, 2.0]
    assert isinstance(second, ScanSpread) and second.rate.tolist() == [0.98, 0.98]
    assert rules.minimum.max() == 70.0
    assert rules.larger_minimum.tolist() == [True]
    # An option's delta belongs to the month of its future.
    assert len(rules.period_code) == 2
    assert made.arrays.instrument_id[:2].tolist() == ["ZC-OOF-202602-C-380", "ZC-OOF-202602-P-380"]


def test_both_kinds_of_file_have_one_form(tmp_path: Path) -> None:
    file = read(lines(), tmp_path)
    write_spn(tmp_path / "as.spn", file)
    again, _ = read_spn(tmp_path / "as.spn")
    assert file.differences(again) == []


@pytest.mark.parametrize(
    ("raw", "decimals", "alignment", "price"),
    [
        (122060.0, 3, "C", 122.1875),
        (106015.0, 3, "C", 106 + 1.5 / 32),
        (3757.0, 3, "0", 3.7575),
        (251100.0, 2, "", 2511.0),
        (295800.0, 5, "", 2.958),
        (-3757.0, 3, "0", -3.7575),
        (12206.0, 2, "C", 122.1875),
    ],
)
def test_settlement_prices(raw: float, decimals: int, alignment: str, price: float) -> None:
    found = settlement_price(np.array([raw]), np.array([float(decimals)]), np.array([alignment]))
    assert found[0] == pytest.approx(price, rel=1e-15)


def test_fields_do_not_overlap_and_have_no_gaps_in_keys() -> None:
    for kind, layout in RECORDS.items():
        taken: set[int] = {1, 2}
        for name, field in layout.items():
            places = set(range(field.first, field.last + 1))
            assert not places & taken or len(kind) == 1, (kind, name)
            taken |= places
            assert field.kind in "NAS"


def broken(rows: list[str], folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(rows, folder)
    return str(caught.value).splitlines()[0]


def changed(number: int, old: str, new: str) -> Change:
    def change(rows: list[str]) -> list[str]:
        assert old in rows[number]
        return [row.replace(old, new, 1) if n == number else row for n, row in enumerate(rows)]

    return change


LAST = len(lines()) - 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-1], (f"line {LAST}", "its 82 must follow", "cut")),
        (lambda rows: [*rows[:-1], rows[-1][:72]], (f"line {LAST + 1}", "price", "must be a number")),
        (changed(21, "00000", "00O00"), ("line 22", "record 81 value_1", "'00O00'", "must be digits", "bytes 55-59")),
        (lambda rows: [*rows, "QQ something"], (f"line {LAST + 2}", "'QQ'", "unknown record")),
        (changed(0, "U2", "UP"), ("line 1, bytes 36-37", "'UP'", "Paris expanded", "places of whose fields", ".spn")),
        (changed(0, "U2", "U "), ("'U'", "80 bytes", "places of whose fields", ".spn")),
        (lambda rows: rows[1:], ("the first record must be of type 0",)),
        (lambda rows: [row for row in rows if not row.startswith("P")], ("no record of type P",)),
        (lambda rows: [row for row in rows if not row.startswith("2 ")], ("no record of type 2",)),
        (lambda rows: [*rows, rows[-2], rows[-1].replace("380", "390")], ("bytes 3-54 differ",)),
    ],
)  # fmt: skip
def test_broken_files_are_said_with_line_and_bytes(change: Change, said: tuple[str, ...], tmp_path: Path) -> None:
    rows = change(lines())
    if rows == lines():
        pytest.fail("nothing was changed")
    message = broken(rows, tmp_path)
    for part in said:
        assert part in message


def test_a_tier_that_is_missing(tmp_path: Path) -> None:
    rows = [row if not row.startswith("C ") else line("C", cc="C", method="10", priority=2, legs=2, charge=100,
            tier_1=1, ratio_1=1, side_1="A", tier_2=7, ratio_2=1, side_2="B") for row in lines()]  # fmt: skip
    message = broken(rows, tmp_path)
    assert "line 10" in message
    assert "tier = 7: C has no intra tier of this number" in message


def test_every_month_its_own_tier(tmp_path: Path) -> None:
    rows = [line("3", cc="C", method="01") if row.startswith("3 C") else row for row in lines()]
    tiers = read(rows, tmp_path).tiers
    mine = tiers.purpose == "intra"
    assert tiers.number[mine].tolist() == [1, 2]
    assert tiers.start[mine].tolist() == tiers.end[mine].tolist() == ["202603", "202605"]


def test_files_are_told_by_their_names(tmp_path: Path) -> None:
    read(lines(), tmp_path)
    assert len(read_span_file(tmp_path / "test.pa2")[0].contracts) == 4
    assert read_span_file(tmp_path / "test.pa2")[1] == (
        "1 records of type V: not computed here",
        "D: a factor of initial margin on maintenance is blank in record 3, 1 is taken",
        "D: a factor of maintenance is blank in record 4, 1 is taken",
        "account types M, H, S: M counts unless the parameter account_type names one",
    )
    with pytest.raises(DataError, match=r"ends in .spn or .pa2"):
        read_span_file(tmp_path / "test.txt")


def field_changed(record: str, name: str, text: str, nth: int = 0) -> list[str]:
    """The example with one field of the n-th record of a kind changed."""
    rows, field = lines(), RECORDS[record][name]
    place = [n for n, row in enumerate(rows) if row[:2].strip() == record][nth]
    row = rows[place].ljust(field.last)
    rows[place] = row[: field.first - 1] + text.ljust(field.last - field.first + 1) + row[field.last :]
    return rows


@pytest.mark.parametrize(
    ("record", "name", "text", "said"),
    [
        ("0", "date", "20260230", "record 0 date = '20260230': must be a day of the calendar"),
        ("0", "created", "20260102XX14", "record 0 created = '20260102XX14': must be a day and a time"),
        ("0", "time", "2561", "record 0 time = '2561': must be a time of day"),
        ("B", "expiry", "20261301", "settlement date = '20261301': must be a day of the calendar"),
        ("P", "settle_decimals", "", "record P settle_decimals = None: must not be blank"),
        ("4", "method", "", "record 4 method = '': is none, but the record states charges of delivery"),
        ("4", "month_1", "", "record 4 month_1 = '': must not be blank where a charge is stated"),
        ("4", "outright_1", "", "record 4 outright_1 = None: must not be blank where a month is stated"),
    ],
)
def test_fields_whose_loss_would_lower_a_margin(record: str, name: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test.pa2, line \d+") as caught:
        read(field_changed(record, name, text), tmp_path)
    assert said in str(caught.value)


def test_blank_strike_decimals_of_an_option(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="record P strike_decimals = None: must not be blank of an option"):
        read(field_changed("P", "strike_decimals", "", nth=1), tmp_path)


def test_a_blank_risk_exponent_is_told(tmp_path: Path) -> None:
    read(field_changed("2", "risk_exponent", ""), tmp_path)
    notes = read_span_file(tmp_path / "test.pa2")[1]
    assert "C: the risk exponent is blank in record 2, 0 is taken" in notes


def test_zeros_state_no_day(tmp_path: Path) -> None:
    assert read(field_changed("B", "expiry", "00000000"), tmp_path).periods.settlement_date[0] == ""
