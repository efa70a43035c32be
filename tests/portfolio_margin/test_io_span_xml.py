"""SPAN XML files: what is written reads back equal, and what is broken is said with its place."""

from __future__ import annotations

import gzip
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.io.span_source import is_span_name
from portfolio_margin.io.span_write import plain_number, spn_bytes, write_spn
from portfolio_margin.io.span_xml import number, read_spn
from portfolio_margin.span.tables import RiskParameterFile
from pricing import DataError
from tests.portfolio_margin.span_examples import Exchange, future_losses, large_exchange

Change = Callable[[str], str]


def rich_exchange() -> RiskParameterFile:
    """Everything a file may hold, once at least."""
    exchange = Exchange()
    exchange.level(2, maintenance=False)
    exchange.add("conversions", from_currency="EUR", to_currency="USD", factor=1.25)
    corn = exchange.commodity("C & <o>", tiers={1: ("202603", "202605"), 2: ("202607", "")}, minimum=12.5)
    wheat = exchange.commodity("W", currency="EUR", risk_exponent=2, cap_option_value=True, minimum_method="MAX")
    futures = exchange.family(corn, "FUT", 50.0)
    for month in ("202603", "202605", "202607"):
        exchange.future(futures, month, 100.125, 900.0)
    options = exchange.family(corn, "OOF", 50.0)
    row = exchange.period(
        options, "202603", 900.0, vol=0.25, rate=0.03, underlying_family_id=1, underlying_period="202603"
    )
    exchange.contract(row, np.linspace(-3, 3, 16) / 7, 0.4, 1e-7, "C", 105.0, vol=0.25, value=12.5)
    exchange.contract(row, np.linspace(3, -3, 16), -0.6, 2.0, "P", 105.0, contract_value_factor=25.0)
    physical = exchange.family(wheat, "PHY", 10.0, valuation="EQTY")
    exchange.contract(exchange.period(physical, "00000S", 0.0), np.zeros(16), 1.0, 5.0)
    exchange.add("adjustments", commodity_idx=corn, rate=2, base_rate=1, factor=1.35)
    exchange.add("spot_rates", commodity_idx=corn, rate=1, period="202603", spread=10.0, outright=0.5)
    code = "C & <o>"
    exchange.spread("intra", [(code, "202603", "A", 1), (code, "202605", "B", 1)], 75.0, commodity=corn)
    exchange.spread("intra", [(code, 1, "A", 1), (code, 2, "B", 2)], 0.9, "W", commodity=corn)
    exchange.spread("super", [(code, 0, "A", 1), ("W", 0, "B", 3)], 0.5, "W")
    exchange.spread("inter", [(code, 1, "A", 1, 0.4), ("W", 0, "B", 3, 0.6)], 0.5, "W")
    exchange.spread("inter", [(code, 1, "", 1), ("W", 0, "", 1)], 0.7, kind="scan")
    return exchange.built(cap_option_value=True)


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    for position, file in enumerate((rich_exchange(), large_exchange(3, 2, 2, 4))):
        for ending in (".spn", ".spn.gz"):
            path = tmp_path / f"file{position}{ending}"
            write_spn(path, file)
            again, notes = read_spn(path)
            assert file.differences(again) == []
            assert [note[:20] for note in notes if "exponent" in note] == ["risk exponents of W "] * (position == 0)
            assert spn_bytes(again) == spn_bytes(file)


def test_files_differ_where_a_number_does() -> None:
    file = rich_exchange()
    other = rich_exchange()
    assert file.differences(other) == []
    loss = other.arrays.loss.copy()
    loss[0, 3] += 1e-9
    object.__setattr__(other.arrays, "loss", loss)
    assert file.differences(other) == ["arrays.loss"]


def test_a_zip_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "file.spn.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.spn", spn_bytes(rich_exchange()))
    assert rich_exchange().differences(read_spn(path)[0]) == []
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("second.spn", b"")
    with pytest.raises(DataError, match="exactly one file"):
        read_spn(path)


def test_names() -> None:
    assert all(map(is_span_name, ("a.spn", "A.SPN.GZ", "x.pa2", "x.pa2.zip")))
    assert not any(map(is_span_name, ("a.json", "a.csv.gz", "spn")))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_as_written(value: float) -> None:
    text = plain_number(value)
    assert "e" not in text
    assert number(text) == value


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1_000", "12,5", "", "0x1", "1e999", "l00"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError):
        number(text)


def broken(tmp_path: Path, change: Change, name: str = "broken.spn") -> str:
    """The message a changed file gets."""
    text = spn_bytes(rich_exchange()).decode()
    changed = change(text)
    assert changed != text
    path = tmp_path / name
    path.write_bytes(changed.encode())
    with pytest.raises(DataError) as caught:
        read_spn(path)
    (line,) = str(caught.value).splitlines()
    assert str(path) in line
    return line.removeprefix(str(path))


def replaced(old: str, new: str, count: int = 1) -> Change:
    return lambda text: text.replace(old, new, count)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) // 2], ("cut short", "line")),
        (lambda text: text[:-12], ("cut short", "line", ", in spanFile,")),
        (lambda text: text[: text.index("<a>3</a>") + 5], ("cut short", "/series", "opt", "/ra/a,")),
        (replaced("</ra>", "</rb>"), ("XML = 'mismatched tag'", "no well-formed XML", "/ra,")),
        (replaced("<cvf>50</cvf>", "<cvf>5O</cvf>"), ("cvf = '5O'", "must be a number", "futPf", "line")),
        (replaced("<a>3</a>", "<a>3.0.0</a>"), ("ra/a[1] = '3.0.0'", "opt[2]", "oofPf/series", "byte")),
        (replaced("<a>3</a>", ""), ("15 values", "opt[2]", "line")),
        (replaced("<a>3</a>", "<a>inf</a>"), ("inf", "opt[2]", "must be a number")),
        (replaced("<tn>2</tn><rs>", "<tn>3</tn><rs>"), ("tier = 3", "C & <o> has no intra tier", "ccDef", "line")),
        (replaced("<cc>W</cc><tn>", "<cc>X</cc><tn>"), ("commodity = 'X'", "no such combined commodity")),
        (replaced("<pfLink><exch>EX</exch><pfId>2<", "<pfLink><exch>EX</exch><pfId>9<"), ("9", "no such product")),
        (replaced("<opt>", "<opt><surprise>1</surprise>"), ("surprise", "unknown record", "opt", "line")),
        (replaced("<clearingOrg>", "<clearingOrg><mystery/>"), ("mystery", "unknown record", "clearingOrg")),
        (replaced("<k>105</k>", ""), ("strike", "opt needs it", "line")),
        (replaced("<rate><r>1</r><val>75<", "<pmpsRate/><rate><r>1</r><val>75<"), ("pmpsRate = '1'", "by month")),
        (replaced("<rs>A</rs>", "<rs>C</rs>"), ("side = 'C'", "A or B")),
        (replaced("<isM>1</isM>", "<isM>2</isM>"), ("isM = '2'", "0 or 1")),
        (replaced("<pairedPoint>2</pairedPoint>", "<pairedPoint>17</pairedPoint>"), ("paired = 17", "no such point")),
        (replaced("<point>16</point>", "<point>17</point>"), ("the points 1 to 16",)),
        (replaced("<weight>1</weight>", "<weight>1.5</weight>"), ("weight = 1.5", "from 0 to 1")),
        (replaced("<o>C</o>", "<o>X</o>"), ("right = 'X'", "C or P", "opt")),
        (replaced("</spanFile>", "</spanfile>"), ("XML",)),
        (replaced('"UTF-8"?>', '"UTF-8"?><!DOCTYPE s [<!ENTITY a "b">]>'), ("DOCTYPE", "entities are not expanded")),
    ],
)  # fmt: skip
def test_broken_files_are_said_with_their_place(change: Change, said: tuple[str, ...], tmp_path: Path) -> None:
    line = broken(tmp_path, change)
    for part in said:
        assert part in line


def test_a_broken_line_is_the_line_of_its_record(tmp_path: Path) -> None:
    text = spn_bytes(rich_exchange()).decode()
    line = broken(tmp_path, replaced("<k>105</k>", "<k>1o5</k>"))
    stands = next(n for n, row in enumerate(text.splitlines(), 1) if "<k>105</k>" in row)
    assert f"line {stands}," in line


def test_other_xml_and_no_xml(tmp_path: Path) -> None:
    for content, said in ((b"<margins/>", "spanFile"), (b"", "cut short"), (b"0 CME", "well-formed")):
        path = tmp_path / "x.spn"
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_spn(path)
    with pytest.raises(DataError, match="no such file"):
        read_spn(tmp_path / "nowhere.spn")


def test_packed_files_that_are_cut_or_damaged_say_how_far_they_could_be_read(tmp_path: Path) -> None:
    content = spn_bytes(large_exchange(2, 2, 2, 30))
    packed = gzip.compress(content)
    path = tmp_path / "cut.spn.gz"
    bytes_read = []
    for share in (3, 2, 1):
        path.write_bytes(packed[: len(packed) // share - 10])
        with pytest.raises(DataError, match="is damaged or cut short") as caught:
            read_spn(path)
        place = re.search(r"\.gz, byte (\d+) of what is packed, archive = ", str(caught.value))
        assert place
        bytes_read.append(int(place[1]))
    assert 0 < bytes_read[0] < bytes_read[1] < bytes_read[2] <= len(content)
    with zipfile.ZipFile(tmp_path / "bad.spn.zip", "w") as archive:
        archive.writestr("x.spn", content)
    changed = (tmp_path / "bad.spn.zip").read_bytes().replace(b"A clearing house", b"a clearing house", 1)
    (tmp_path / "bad.spn.zip").write_bytes(changed)
    with pytest.raises(DataError, match=r"byte \d+ of what is packed, archive = .Bad CRC.*damaged or cut short"):
        read_spn(tmp_path / "bad.spn.zip")


def test_what_is_known_and_not_computed_is_told(tmp_path: Path) -> None:
    text = spn_bytes(rich_exchange()).decode().replace("<ccDef>", "<ccDef><liqRate><r>1</r></liqRate>", 1)
    path = tmp_path / "x.spn"
    path.write_text(text, encoding="utf-8")
    notes = read_spn(path)[1]
    assert notes[0] == "1 x liqRate of the file: not computed here"
    assert "risk exponents of W are not applied" in notes[1]


def test_a_contract_without_an_array(tmp_path: Path) -> None:
    exchange = Exchange()
    family = exchange.family(exchange.commodity("A"), "FUT")
    exchange.future(family, "202603", 10.0, 1.0)
    exchange.contract(exchange.period(family, "202606", 1.0), future_losses(1.0), 1.0, 10.0)
    exchange.owners.pop(), exchange.losses.pop(), exchange.deltas.pop()
    path = tmp_path / "x.spn"
    write_spn(path, exchange.built())
    with pytest.raises(DataError, match=r"fut\[2\].*the contract has no risk array"):
        read_spn(path)
