"""What a SPAN file leaves unsaid is told, and what it says twice or in no encoding is refused with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.span.assumed import assumptions
from portfolio_margin.span.checks import findings
from portfolio_margin.span.file_arrays import file_arrays, valuation_time_ms
from portfolio_margin.span.rules import rules_of
from pricing import ConfigError, DataError
from tests.portfolio_margin.span_examples import Exchange, exchange_with_every_rule
from tests.portfolio_margin.test_span_bounds import refused
from tests.portfolio_margin.test_span_every_element import LEVEL, TEXT

FACTOR = "<adjRate><r>2</r><baseR>1</baseR><val>1.35</val></adjRate>"
CASES = [
    ("<fromCur>EUR", "<fromCur>JPY</fromCur><fromCur>EUR", "clearingOrg", "fromCur = 'EUR': curConv has stated it"),
    ("<factor>1.25", "<factor>1.2</factor><factor>1.25", "clearingOrg", "factor = '1.25': curConv has stated it"),
    ("<p>101<", "<p>90</p><p>101<", "fut[2]", "p = '101': fut has stated it before, as 90.0"),
    ("<isM>0", "<isM>1", "clearingOrg", "account type = 'H': a second one of this number"),
    ("<isM>0</isM>", "<isM></isM>", "clearingOrg", "is_maintenance = None: pbRateDef needs it"),
    ("<isM>0", "<isM>2", "clearingOrg", "isM = '2': must be 0 or 1"),
    ("<r>2</r><isCust>1", "<r>0</r><isCust>1", "clearingOrg", "rate = 0: must be a number from 1"),
    (LEVEL, LEVEL.replace(">H<", ">X<"), "clearingOrg", "account type = 'X': no such account type is defined"),
    (FACTOR, FACTOR.replace("<r>2", "<r>7"), "ccDef", "rate = 7: no level of requirement has this number"),
    (FACTOR, FACTOR.replace("R>1", "R>6"), "ccDef", "base_rate = 6: no array and no other factor"),
    ("<date>20260102", "<date>20260231", "pointInTime", "date = '20260231': must be a day of the calendar"),
    ("<created>202601021830", "<created>202601022460", "", "created = '202601022460': must be a day and"),
    ("<isSetl>1</isSetl>", "<isSetl>1</isSetl><time>9:99</time>", "pointInTime", "time = '9:99': must be a time"),
    ("<setlDate>20260315", "<setlDate>20260332", "fut", "setlDate = '20260332': must be a day of the calendar"),
    ("<t>0.1<", "<t>-0.1<", "fut", "years = -0.1: must be 0 or more"),
    ("<pe>202603</pe><p>", "<pe>202613</pe><p>", "fut", "period = '202613': is no contract period"),
    ("<lookAheadYears>0.004", "<lookAheadYears>-1", "clearingOrg", "lookAheadYears = -1.0: must be 0 or more"),
    ("<factor>1.25", "<factor>1.25<x/>", "clearingOrg", "factor = '1.25<x>': an element stands where only a text"),
    ("<ra><r>1</r>", "<ra>5<r>1</r>", "fut", "ra = '5': text stands where only elements can"),
    ("<a>", "<a>1<b/>", "fut", "an element stands where only a text can"),
    ("<tLeg>", "x<tLeg>", "ccDef", "= 'x': text stands where only elements can"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place", "said"), CASES)
def test_refused_with_its_place(old: str, new: str, place: str, said: str, tmp_path: Path) -> None:
    assert old in TEXT
    line = refused(TEXT.replace(old, new, 1), tmp_path)
    assert said in line
    assert re.search(rf"x.spn, line \d+, byte \d+, spanFile(/[^ ,]*)?{re.escape(place)}(/[^ ,]*)?, ", line)


def test_one_statement_given_twice_alike_is_one(tmp_path: Path) -> None:
    path = tmp_path / "x.spn"
    path.write_text(TEXT.replace("<factor>1.25</factor>", "<factor>1.25</factor><factor>1.250</factor>"))
    assert read_span_file(path)[0].conversions.factor.tolist() == [1.25]


@pytest.mark.parametrize("encoding", ["klingon", "big5", "utf-7", "hex"])
def test_encodings_that_no_xml_is_in(encoding: str, tmp_path: Path) -> None:
    assert "line 1, encoding = " in refused(TEXT.replace("UTF-8", encoding, 1), tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-9"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "x.spn"
    path.write_text(TEXT)
    file = read_span_file(path)[0]
    text = TEXT.replace("UTF-8", encoding.removesuffix("-sig"), 1).replace("\n", end)
    path.write_bytes(text.encode(encoding))
    assert file.differences(read_span_file(path)[0]) == []


def notes(text: str, folder: Path) -> str:
    path = folder / "x.spn"
    path.write_text(text)
    return "\n".join(read_span_file(path)[1])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (FACTOR, "", "AA: no factor leads from initial margin of type H, rate 2, to their arrays"),
        ("<wfprMeth>SCANRANGE</wfprMeth>", "", "CC: no wfprMeth is stated, NORMAL is taken"),
        ("<capAnov>1</capAnov>", "<capAnov></capAnov>", "BB: no capAnov is stated, 0 is taken"),
        ("<capAnov>1</capAnov>", "<capAnov></capAnov>", "1 x ccDef/capAnov stands empty: taken as not stated"),
        ("<ePe>202612</ePe>", "", "tiers without a last period, taken as open: AA scan 3, "),
        ("<r>1</r><pe>202603", "<r>1</r><pe>202702", "delivery months of which there is no contract, and which charge "
                                                    "nothing: AA 202702"),
        ("<cc>AA</cc><pe>202603", "<cc>AA</cc><pe>202701", "which are not formed: AA 1"),
    ],
)  # fmt: skip
def test_what_is_taken_for_what_is_not_there(old: str, new: str, told: str, tmp_path: Path) -> None:
    assert old in TEXT
    assert told not in notes(TEXT, tmp_path)
    assert told in notes(TEXT.replace(old, new, 1), tmp_path)


def test_spread_lists_that_are_empty(tmp_path: Path) -> None:
    for tag in ("superSpreads", "interSpreads"):
        text = re.sub(rf"<{tag}>.*</{tag}>", f"<{tag}></{tag}>", TEXT, flags=re.DOTALL)
        assert f"{tag} of the file is empty: no spreads between commodities" in notes(text, tmp_path)


def test_legs_that_are_alike_inside_a_commodity() -> None:
    exchange = Exchange()
    commodity = exchange.commodity("A")
    exchange.future(exchange.family(commodity, "FUT"), "202603", 100.0, 10.0)
    exchange.spread("intra", [("A", 0, "A", 1), ("A", 0, "B", 2), ("A", 0, "A", 1)], 1.0, commodity=commodity)
    (told,) = [line for line in assumptions(exchange.built()) if "alike" in line]
    assert told == "spreads with two legs alike, which ask for their deltas together as one of both ratios: A 1"
    assert not [line for line in assumptions(exchange_with_every_rule()) if "alike" in line]


@pytest.mark.parametrize(
    ("tiers", "told"),
    [
        ({1: ("202603", "202606"), 2: ("202606", "202609")}, "A intra 2 (from 202606), A inter 2 (from 202606)"),
        ({1: ("202603", ""), 2: ("202609", "202609")}, "A intra 2 (from 202609), A inter 2 (from 202609)"),
        ({1: ("202603", "202603"), 2: ("202606", "202609")}, ""),
        # What both cover has no contract.
        ({1: ("202603", "202607"), 2: ("202607", "202609")}, ""),
        ({0: ("", "")}, ""),
    ],
)
def test_tiers_of_spreads_that_overlap(tiers: dict[int, tuple[str, str]], told: str) -> None:
    exchange = Exchange()
    family = exchange.family(exchange.commodity("A", tiers=tiers), "FUT")
    for period in ("202603", "202606", "202609"):
        exchange.future(family, period, 100.0, 10.0)
    file = exchange.built()
    assert findings(file) == []
    lines = [line.rpartition(": ")[2] for line in assumptions(file) if "serve either" in line]
    assert lines == ([told] if told else [])


def test_overlapping_tiers_of_spreads_in_a_file(tmp_path: Path) -> None:
    assert "serve either" not in notes(TEXT, tmp_path)
    number = TEXT.index("<intraTiers>")
    end = TEXT.index("</intraTiers>", number)
    block = TEXT[number:end]
    first = block.index("<ePe>")
    wider = re.sub(r"<ePe>\d+</ePe>", "<ePe>209912</ePe>", block[first:], count=1)
    assert "serve either" in notes(TEXT[:number] + block[:first] + wider + TEXT[end:], tmp_path)


def test_a_file_without_levels() -> None:
    assert any("no level of initial margin is defined for accounts of type H" in line
               for line in assumptions(exchange_with_every_rule()))  # fmt: skip
    exchange = Exchange()
    exchange.future(exchange.family(exchange.commodity("A"), "FUT"), "202603", 100.0, 10.0)
    exchange.rows["levels"].columns = {name: type(column)() if isinstance(column, list) else column[:0]
                                       for name, column in exchange.rows["levels"].columns.items()}  # fmt: skip
    assert assumptions(exchange.built())[0].startswith("no level of requirement is defined (pbRateDef)")


def test_a_spread_of_one_number_and_legs_twice() -> None:
    exchange = Exchange()
    for code in "AB":
        exchange.future(exchange.family(exchange.commodity(code), "FUT"), "202603", 100.0, 10.0)
    exchange.spread("inter", [("A", 0, "A", 1), ("B", 0, "B", 1)], 0.5, "W")
    assert findings(exchange.built()) == []
    exchange.spread("inter", [("A", 0, "A", 1), ("B", 0, "B", 1)], 0.4, "W")
    # Another number is another spread, which finds no deltas left.
    assert findings(exchange.built()) == []
    exchange.rows["spreads"].columns["number"][1] = "1"
    (found,) = findings(exchange.built())
    assert (found.table, found.row, found.remedy) == ("spreads", 1, "a second one of this number and these legs")


def test_rates_there_and_back() -> None:
    for back, sound in ((0.8, True), (0.804, True), (0.7, False)):
        exchange = Exchange()
        exchange.future(exchange.family(exchange.commodity("A"), "FUT"), "202603", 100.0, 10.0)
        exchange.add("conversions", from_currency="EUR", to_currency="USD", factor=1.25)
        exchange.add("conversions", from_currency="USD", to_currency="EUR", factor=back)
        assert [finding.field for finding in findings(exchange.built())] == ([] if sound else ["factor"] * 2)


def test_price_risk_by_a_scan_range_that_is_not_stated() -> None:
    for method, sound in (("NORMAL", True), ("SCANRANGE", False), ("SCANRANGE CAP", False)):
        exchange = Exchange()
        commodity = exchange.commodity("A", weighted_price_risk_method=method)
        exchange.future(exchange.family(commodity, "FUT"), "202603", 100.0, 10.0)
        exchange.rows["scan_rates"].columns["price_scan"][0] = float("nan")
        assert [finding.field for finding in findings(exchange.built())] == ([] if sound else ["priceScan"])


@pytest.mark.parametrize(
    ("head", "said"), [({"date": "20260230"}, "date = '20260230'"), ({"time": "24"}, "time = '24'")]
)
def test_days_of_tables_made_by_hand(head: dict[str, str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        valuation_time_ms(exchange_with_every_rule(**head))


@pytest.mark.parametrize("rates", [(2,), (2, 1)])
def test_a_delivery_charge_for_another_level(rates: tuple[int, ...]) -> None:
    exchange = Exchange()
    exchange.level(2, maintenance=False)
    commodity = exchange.commodity("A")
    exchange.future(exchange.family(commodity, "FUT"), "202603", 100.0, 10.0)
    for rate in rates:
        exchange.add("spot_rates", commodity_idx=commodity, rate=rate, period="202603", spread=rate, outright=4.0)
    file = exchange.built()
    if 1 in rates:
        (charge,) = rules_of(file, file_arrays(file).arrays).spot
        assert (charge.spread, charge.outright) == (1.0, 4.0)
        return
    with pytest.raises(ConfigError, match="delivery month 202603 of A states no rate number 1 or 1"):
        rules_of(file, file_arrays(file).arrays)
