"""Values that no sound risk parameter file has: each is refused with its place, in both kinds of file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.span_layout import PASSED_OVER, RECORDS
from portfolio_margin.io.span_pa2 import read_pa2
from portfolio_margin.io.span_records import decode, read_lines, unknown_records
from portfolio_margin.io.span_rules import MINIMUM_METHODS, WEIGHTED_PRICE_RISK, check_counts
from portfolio_margin.io.span_stated import CLASSES, KNOWN, check_flags
from portfolio_margin.io.span_write import spn_bytes, write_spn
from portfolio_margin.span.bounds import TESTS
from portfolio_margin.span.checks import findings
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.rules import rules_of
from pricing import ConfigError, DataError
from tests.portfolio_margin.pa2_example import lines
from tests.portfolio_margin.span_examples import Exchange, exchange_with_every_rule
from tests.portfolio_margin.test_io_span_xml import replaced, rich_exchange
from tests.portfolio_margin.test_span import FILE
from tests.vectors import data_file

RICH = spn_bytes(rich_exchange()).decode()
EVERY = spn_bytes(exchange_with_every_rule()).decode()


def refused(content: str, folder: Path, name: str = "x.spn") -> str:
    path = folder / name
    path.write_text(content, encoding="latin-1" if name.endswith("pa2") else "utf-8")
    with pytest.raises(DataError) as caught:
        read_span_file(path)
    return str(caught.value).splitlines()[0]


def cut(start: str, end: str) -> Callable[[str], str]:
    """Everything from one mark to the end of another gone."""

    def change(text: str) -> str:
        first = text.index(start)
        return text[:first] + text[text.index(end, first) + len(end) :]

    return change


CASES = [
    ("val>0.7<", "val>70<", "rate of spread 2 = 70.0: a credit is a share and must be from 0 to 1"),
    ("val>0.4<", "val>6<", "rate of spread 1 = 6.0: a credit is a share and must be from 0 to 1"),
    ("val>0.4<", "val>-0.4<", "a credit is a share"),
    ("val>75<", "val>-75<", "rate of spread 1 = -75.0: a charge must be 0 or more"),
    ("val>0.9<", "val>90<", "a charge in price risks must be from 0 to the sum of the ratios, 3"),
    ("val>1.35<", "val>0<", "factor = 0.0: must be a number from 0.1 to 10"),
    ("val>1.35<", "val>75<", "factor = 75.0: must be a number from 0.1 to 10"),
    ("val>12.5</val></rate></tier>", "val>-1</val></rate></tier>", "value = -1.0: must be a number of 0 or more"),
    ("wfprMeth>NORMAL<", "wfprMeth>BANANA<", "weighted_price_risk_method = 'BANANA': is not known"),
    ("somMeth>GROSS<", "somMeth>BANANA<", "minimum_method = 'BANANA': is not known"),
    ("spotMeth>NORMAL<", "spotMeth>BANANA<", "spot_method = 'BANANA': is not known"),
    ("procMeth>NORMAL<", "procMeth>BANANA<", "procedure = 'BANANA': is not known"),
    ("valueMeth>EQTY<", "valueMeth>BANANA<", "valuation = 'BANANA': is not known of an option"),
    ("pairedPoint>3<", "pairedPoint>1<", "paired = 1: must be the point of the same price move and the opposite"),
    ("<d>0.4</d></ra>", "<d>1.5</d></ra>", "composite delta = 1.5: a delta is at most 1"),
    ("<d>0.4</d></ra>", "<d>-0.4</d></ra>", "of a call 0 or more"),
    ("<cvf>50</cvf>", "<cvf>-100</cvf>", "contract_value_factor = -100.0"),
    ("<cvf>25</cvf>", "<cvf>0</cvf>", "contract_value_factor = 0.0: must be above 0"),
    ("<priceScan>900<", "<priceScan>-5<", "price_scan = -5.0: must be 0 or more"),
    ("<volScan>0<", "<volScanPct>23</volScanPct><volScan>0<", "vol_scan_relative = 23.0: is a share of the vol"),
    ("<p>2</p>", "<p>-1</p>", "price = -1.0: an option is not worth less than 0"),
    ("<a>3</a>", "<a>1_0</a>", "ra/a[1] = '1_0': must be a number"),
    ("<a>3</a>", "<a>\u0663</a>", "must be a number"),
    ("<d>1</d></ra>", "<d>-1</d></ra>", "the array gains where the price falls against this delta"),
    ("<ra><r>1<", "<ra><r>7<", "rate = 7: no level of requirement has this number"),
    ("<rate><r>1</r><val>75<", "<rate><r>1</r><val>1</val></rate><rate><r>1</r><val>75<", "a second one"),
    ("<sPe>202607<", "<sPe>2026-7<", "start = '2026-7': is no contract period"),
    ("<tn>2</tn><sPe>", "<tn>3</tn><sPe>", "number = 3: the intra tiers of C & <o> are not numbered without a gap"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), CASES)
def test_values_that_no_sound_file_has(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = replaced(old, new)(RICH)
    assert text != RICH, old
    line = refused(text, tmp_path)
    assert said in line
    assert "line" in line and "byte" in line and "spanFile/pointInTime/clearingOrg" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut("<somTiers>", "</somTiers>"), "'GROSS': a method for the short option minimum is stated, but no tier"),
        (lambda text: (at := text.index("<somTiers>")) and text[:at] + cut("<rate>", "</rate>")(text[at:]),
         "a tier of the short option minimum needs a rate"),
        (cut("<tier><tn>2</tn><sPe>202607</sPe><rate>", "</tier>"), "no tier of the short option minimum"),
        (replaced("<tn>2</tn><sPe>202607</sPe>", "<tn>2</tn>"), "another som tier of the commodity has 202605 as well"),
    ],
)  # fmt: skip
def test_tiers_that_are_missing(change: Callable[[str], str], said: str, tmp_path: Path) -> None:
    text = change(EVERY)
    assert text != EVERY
    assert said in refused(text, tmp_path)


def test_a_minimum_for_another_level_alone() -> None:
    exchange = Exchange()
    exchange.level(2, maintenance=False)
    family = exchange.family(exchange.commodity("A"), "OOP")
    exchange.contract(exchange.period(family, "202603", 1.0), np.zeros(16), 0.5, 1.0, "C", 1.0)
    exchange.rows["tier_rates"].columns["rate"][0] = 2
    file = exchange.built()
    with pytest.raises(ConfigError, match="a short option minimum tier of A states no rate number 1 or 1"):
        rules_of(file, file_arrays(file).arrays)


def test_what_the_format_lets_be_absent(tmp_path: Path) -> None:
    """Neither a method nor tiers of a short option minimum: there is none."""
    text = cut("<somTiers>", "</somTiers>")(cut("<somMeth>", "</somMeth>")(EVERY))
    path = tmp_path / "x.spn"
    path.write_text(text)
    assert read_span_file(path)[0].commodities.minimum_method[0] == ""


@pytest.mark.data
@pytest.mark.reference
def test_genuine_records_are_within_the_bounds(report_vectors: Any) -> None:
    """The CME records: no file of their own, so field by field; V, X, Y and Z are known and passed over."""
    path = data_file("span/pa2_real_records.txt")
    records = read_lines(path)
    assert unknown_records(str(path), records) == []
    found = {kind: decode(str(path), records, kind) for kind in RECORDS}
    passed_over = sum(kind in PASSED_OVER for kind in records.identifier.tolist())
    decoded = sum(map(len, found.values()))
    assert (len(records.start), decoded, passed_over) == (27, 23, 4)

    def each(kind: str) -> Iterator[tuple[int, dict[str, Any]]]:
        return zip(found[kind].line.tolist(), found[kind].rows(), strict=True)

    def refuse(line: int, field: str, value: object, remedy: str) -> None:
        pytest.fail(f"line {line}: {field} = {value!r} {remedy}")

    for kind in KNOWN:
        for line, record in each(kind):
            check_flags(kind, line, record, refuse)
    check_counts(each, refuse)
    counts = [("C", "legs", 3.0), ("S", "count", 2.0), ("4", "count", 1.0)]
    assert [found[kind].columns[name][0] for kind, name, _ in counts] == [count for *_, count in counts]
    assert set(found["S"].columns["weighted_price_risk"].tolist()) <= {"", *WEIGHTED_PRICE_RISK}
    assert set(found["4"].columns["som_method"].tolist()) <= {"", *MINIMUM_METHODS}
    wanted = [("3", f"ratio_{name}", "factor", 1.0) for name in CLASSES]
    wanted += [("4", f"adjustment_{name}", "factor", 1.0) for name in CLASSES]
    wanted += [("B", "extreme_multiplier", "move", 1.0), ("B", "extreme_cover", "share", 1.0),
               ("B", "vol_scan", "vol scan if stated", 0.01), ("B", "delta_scale", "above if stated", 1.0),
               ("B", "price_scan", "zero if stated", 1.0), ("P", "value_factor", "above", 1.0),
               ("6", "credit", "share", 0.01), ("82", "composite_delta", "share", 1.0)]  # fmt: skip
    outside = []
    for kind, name, test, scale in wanted:
        values = found[kind].columns[name] * scale
        if not (len(values) and TESTS[test][0](values).all()):
            outside.append((kind, name, values))
    report_vectors(decoded, len(outside), "fields outside of their bounds, 0 allowed", "records of CME, field by field")
    assert outside == []


@pytest.mark.data
def test_the_nse_extract_is_within_the_bounds() -> None:
    table = pd.read_csv(data_file("span/nse_banknifty_20250808_span_extract.csv.gz"))
    table = table[table.cp != "F"]
    exchange = Exchange()
    families = {name: exchange.family(exchange.commodity(f"BANKNIFTY {name}"), "OOP") for name in table.file.unique()}
    for (name, expiry), rows in table.groupby(["file", "expiry"]):
        options = families[name]
        period = exchange.period(options, expiry.replace("-", ""), 6_264.0, rate=0.0)
        for row in rows.itertuples():
            exchange.contract(period, np.zeros(16), row.delta, row.price, row.cp, row.strike)
    assert len(table) > 6_000
    assert findings(exchange.built()) == []


def test_a_negative_rate_lets_a_delta_grow(tmp_path: Path) -> None:
    for rate, sound in ((-0.05, True), (0.05, False)):
        exchange = Exchange()
        family = exchange.family(exchange.commodity("A"), "OOP")
        row = exchange.period(family, "202812", 1.0, years=3.0, rate=rate, dividend_yield=rate)
        exchange.contract(row, np.zeros(16), 1.1, 1.0, "C", 1.0)
        assert (findings(exchange.built()) == []) is sound


POSITIONAL_CASES = [
    ("6", "0550000", "9550000", "line 16", "a credit is a share and must be from 0 to 1"),
    ("6", "  01", "  77", "line 16", "record 6 method = '77': is not known"),
    ("S", "S C     20", "S C     77", "line 8", "record S method = '77': is not known"),
    ("3", "3 C     10", "3 C     77", "line 7", "record 3 method = '77': is not known"),
    ("3", "100011001350", "100000001350", "line 7", "factor = 0.0: must be a number from 0.1 to 10"),
    ("4", "100090100", "100000100", "line 9", "factor = 0.0: must be a number from 0.1 to 10"),
    ("4", "1000901002", "1000901009", "line 6", "minimum_method = '9': is not known"),
    ("B", "0200003500", "9900003500", "line 14", "price = 99.0: must be a number from -10 to 10"),
    ("B", "0200003500", "0200099000", "line 14", "weight = 9.9: must be a number from 0 to 1"),
    ("81", "00267-", "002679", "line 22, bytes", "must be + or -"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "old", "new", "place", "said"), POSITIONAL_CASES)
def test_the_same_of_positional_files(record: str, old: str, new: str, place: str, said: str, tmp_path: Path) -> None:
    rows = lines()
    changed = [row.replace(old, new, 1) if row[:2].strip() == record else row for row in rows]
    assert changed != rows
    line = refused("\n".join([*changed, ""]), tmp_path, "x.pa2")
    assert said in line
    assert place in line


def test_sound_files_have_no_findings(tmp_path: Path) -> None:
    (tmp_path / "x.pa2").write_text("\n".join([*lines(), ""]))
    positional, _ = read_pa2(tmp_path / "x.pa2")
    for file in (rich_exchange(), FILE, positional):
        assert findings(file) == []
    write_spn(tmp_path / "x.spn", positional)
    assert findings(read_span_file(tmp_path / "x.spn")[0]) == []


@pytest.mark.parametrize("kind", sorted(TESTS))
def test_bounds_refuse_what_is_infinite(kind: str) -> None:
    test, remedy = TESTS[kind]
    assert not test(np.array([-np.inf]))[0]
    assert remedy.startswith(("must be", "is a share"))


def test_tier_0_is_the_whole_commodity(tmp_path: Path) -> None:
    """It needs no element of its own to be referred to, and no bounds cut anything off it."""
    rich = rich_exchange()
    text = spn_bytes(rich).decode()
    element = "<tier><tn>0</tn></tier>"
    for bound, shown in (("<sPe>202606</sPe>", "start = '202606'"), ("<ePe>202609</ePe>", "end = '202609'")):
        first = refused(text.replace(element, element.replace("</tn>", f"</tn>{bound}"), 1), tmp_path)
        assert f"{shown}: tier 0 is the whole commodity and has no bounds" in first
    (tmp_path / "without.spn").write_text(text.replace(f"<intraTiers>\n{element}\n</intraTiers>\n", ""))
    assert len(read_span_file(tmp_path / "without.spn")[0].tiers) < len(rich.tiers)


def test_an_option_is_one_by_its_family() -> None:
    """A right that is blank makes no other contract of it: tables of whatever reader are checked for it."""
    exchange = Exchange()
    family = exchange.family(exchange.commodity("A"), "OOP")
    exchange.contract(exchange.period(family, "202812", 1.0), np.zeros(16), 0.5, 1.0, "", np.nan)
    found = [(f.table, f.field, f.remedy) for f in findings(exchange.built())]
    assert ("contracts", "right", "C or P") in found
    assert ("contracts", "strike", "an option needs a strike") in found
