"""What gets lost from a SPAN file, or stands twice in a spread, and would lower a margin without a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portfolio_margin.io.span_pa2 import read_pa2
from portfolio_margin.io.span_write import spn_bytes
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.span.checks import findings
from portfolio_margin.span.choices import Choices
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.rules import rules_of
from pricing.errors import ConfigError
from tests.portfolio_margin.pa2_example import line, lines
from tests.portfolio_margin.span_examples import Exchange, exchange_with_every_rule, future_losses, option_losses
from tests.portfolio_margin.test_span_bounds import refused

EVERY = spn_bytes(exchange_with_every_rule()).decode()
SPREAD = re.search(r"<sSpread>.*?</sSpread>", EVERY, re.DOTALL)
LEG = "<sLeg><cc>DD</cc><isTarget>1</isTarget><i>1</i></sLeg>"


@pytest.mark.parametrize(
    "leg", [LEG, LEG.replace(">1</isT", ">0</isT"), LEG.replace("DD", "CC").replace(">1</isT", ">0</isT")]
)
def test_a_scanning_spread_scans_no_commodity_twice(leg: str, tmp_path: Path) -> None:
    assert SPREAD
    text = EVERY.replace(SPREAD[0], SPREAD[0].replace(LEG, LEG + leg))
    said = refused(text, tmp_path)
    assert re.search(r"line \d+, byte \d+, .*commodity = '(DD|CC)': spread 5 scans it twice", said)


def test_a_scanning_spread_has_one_target(tmp_path: Path) -> None:
    assert "commodity = 'BB'" not in (said := refused(EVERY.replace("<isTarget>0", "<isTarget>1", 1), tmp_path))
    assert "isTarget = 'BB': spread 5 has a target already" in said


def test_tiers_of_one_commodity_may_be_legs_of_a_spread() -> None:
    for legs, sound in (
        ([("A", 1, "A", 1), ("A", 2, "A", 1), ("B", 0, "B", 1)], True),
        ([("A", "202603", "A", 1), ("A", "202606", "B", 1), ("B", 0, "B", 1)], True),
        ([("A", 1, "A", 1), ("A", 1, "A", 1), ("B", 0, "B", 1)], False),
        ([("A", "202603", "A", 1), ("A", "202603", "A", 2), ("B", 0, "B", 1)], False),
    ):
        exchange = Exchange()
        for code in "AB":
            tiers = {1: ("202603", "202603"), 2: ("202606", "202606")}
            family = exchange.family(exchange.commodity(code, tiers=tiers), "FUT")
            for month in ("202603", "202606"):
                exchange.contract(exchange.period(family, month, 10.0), future_losses(10.0), 1.0, 100.0)
        exchange.spread("inter", legs, 0.5, "W")
        remedies = [finding.remedy for finding in findings(exchange.built())]
        assert remedies == ([] if sound else ["spread 1 has this leg twice, tier or period and side alike"])


def test_inside_a_commodity_legs_may_repeat() -> None:
    exchange = Exchange()
    commodity = exchange.commodity("A")
    exchange.future(exchange.family(commodity, "FUT"), "202603", 100.0, 10.0)
    exchange.spread("intra", [("A", 0, "A", 1), ("A", 0, "B", 2), ("A", 0, "A", 1)], 1.0, commodity=commodity)
    assert findings(exchange.built()) == []


@pytest.mark.parametrize("kind", ["3", "4"])
@pytest.mark.parametrize("code", ["C", "D"])
def test_a_record_of_every_commodity_that_was_lost(kind: str, code: str, tmp_path: Path) -> None:
    rows = lines()
    left = [row for row in rows if not row.startswith(f"{kind} {code} ")]
    assert len(left) == len(rows) - 1
    said = refused("\n".join([*left, ""]), tmp_path, "x.pa2")
    assert f"combined commodity = '{code}': has no record of type {kind}, which states" in said
    assert re.search(rf"line {next(n for n, row in enumerate(left, 1) if row.startswith(f'2 EXC {code} '))},", said)


def test_a_spread_that_was_lost_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pa2"

    def notes(rows: list[str]) -> list[str]:
        path.write_text("\n".join([*rows, ""]))
        return [note for note in read_pa2(path)[1] if "may have been lost" in note]

    rows = lines()
    assert notes(rows) == []
    (note,) = notes([row for row in rows if not row.startswith("E ")])
    assert note == "no spread of C has the number 1: one may have been lost"
    # One numbering each is as sound.
    spread = {"cc": "C", "method": "10", "legs": 2, "charge": 100, "tier_1": 1, "ratio_1": 1, "side_1": "A",
              "tier_2": 2, "ratio_2": 1, "side_2": "B"}  # fmt: skip
    assert notes([line("C", priority=1, **spread) if row.startswith("C ") else row for row in rows]) == []


def test_a_spread_that_was_lost_of_an_xml_file_is_told(tmp_path: Path) -> None:
    """Every one but the last of its list, whose end nothing marks."""
    path = tmp_path / "x.spn"

    def told(text: str) -> list[str]:
        path.write_text(text)
        return [note for note in read_spn(path)[1] if "may have been lost" in note]

    assert told(EVERY) == []
    found = {}
    for spread in re.finditer(r"<dSpread><spread>(\d+)</spread>.*?</dSpread>", EVERY, re.DOTALL):
        notes = told(EVERY[: spread.start()] + EVERY[spread.end() :])
        assert len(notes) < 2
        found |= {f"{notes[0].split(' has')[0]} {spread[1]}": notes[0].split("number ")[1] for _ in notes}
    assert list(found) == [*(f"no spread of AA {n}" for n in (1, 2, 3)),
                           *(f"no spread between commodities (inter) {n}" for n in (1, 2, 3, 4))]  # fmt: skip
    assert [said[:2] for said in found.values()] == ["1:", "2:", "3:", "1:", "2:", "3:", "4:"]


def test_decimals_of_arrays_that_are_blank(tmp_path: Path) -> None:
    """One beside others was lost; all of a record mean 0, as records of CME have it, and that is told."""
    rows = lines()
    (place,) = [n for n, row in enumerate(rows) if row.startswith("2 EXC C ")]
    # Two products, whose locators are characters 36 and 52.
    for column in (35, 51):
        row = rows[place]
        assert row[column] == "1"
        lost = [*rows[:place], f"{row[:column]} {row[column + 1 :]}", *rows[place + 1 :]]
        said = refused("\n".join([*lost, ""]), tmp_path, "x.pa2")
        number = 1 if column == 35 else 2
        assert f"line {place + 1}, record 2 decimals_{number} = None: must not be blank" in said
    path = tmp_path / "y.pa2"
    none = rows[place][:35] + " " + rows[place][36:51]
    path.write_text("\n".join([*rows[:place], none, *rows[place + 1 :], ""]))
    assert "C: the decimals of arrays are blank in record 2, 0 are taken" in read_pa2(path)[1]


def test_a_file_cut_behind_a_contract_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pa2"
    for lost, count in ((2, 0), (4, 1), (6, 2)):
        path.write_text("\n".join([*lines()[:-lost], ""]))
        told = [note for note in read_pa2(path)[1] if "cut short" in note]
        assert [note[:9] for note in told] == ([f"{count} periods"] if count else [])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_scan_tier_that_was_lost(number: int, tmp_path: Path) -> None:
    """Refused by its gap, or, of the last one, by the period that no tier is left for."""
    scanned = re.search(r"<scanTiers>.*?</scanTiers>", EVERY, re.DOTALL)
    assert scanned
    lost = re.sub(rf"<tier>\s*<tn>{number}<.*?</tier>", "", scanned[0], count=1, flags=re.DOTALL)
    assert len(lost) < len(scanned[0])
    said = refused(EVERY.replace(scanned[0], lost), tmp_path)
    assert re.search(r"line \d+, byte \d+, ", said)
    if number == 3:
        assert "fut[4]/pe, " in said
        assert "period = '202612': no scan tier of its commodity covers this period" in said


def test_a_scan_tier_that_only_the_deltas_of_options_need() -> None:
    exchange = Exchange()
    commodity = exchange.commodity("A")
    exchange.future(exchange.family(commodity, "FUT"), "202606", 100.0, 10.0)
    options = exchange.family(commodity, "OOF", valuation="EQTY")
    period = exchange.period(options, "202605", 10.0, vol=0.2, underlying_period="202606")
    exchange.contract(period, option_losses(10.0, 0.5, 1.0), 0.5, 3.0, "C", 100.0, vol=0.2)
    exchange.add("tiers", commodity_idx=commodity, purpose="scan", number=1, start="202606", end="202606")
    file = exchange.built()
    assert findings(file) == []
    arrays = file_arrays(file).arrays
    rules_of(file, arrays)
    with pytest.raises(ConfigError, match="period 202605 of A is in none of its scan tiers"):
        rules_of(file, arrays, Choices(option_delta="own"))
