"""The complete risk parameter file of a clearing house: read, written, recomputed, and every commodity margined."""

from __future__ import annotations

import csv
import gzip
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from portfolio_margin import Book, margin
from portfolio_margin.io.arrays_file import read_arrays, write_arrays
from portfolio_margin.io.span_elements import (
    ACCOUNT_TYPE,
    ADJUSTMENT,
    CLEARING_ORG,
    COMMODITY,
    CONTRACT,
    CONVERSION,
    CURRENCY,
    DELTA_POINT,
    DELTA_SPREAD,
    FAMILY,
    LEVEL,
    LINK,
    NOT_COMPUTED,
    OPTION,
    PASSED_OVER,
    PERIOD_LEG,
    POINT_IN_TIME,
    RATE,
    REFUSED,
    SCAN_LEG,
    SCAN_POINT,
    SCAN_RATE,
    SCAN_SPREAD,
    SERIES,
    SPAN_FILE,
    SPOT_RATE,
    TIER,
    TIER_LEG,
)
from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.span_runs import Run, pieces
from portfolio_margin.io.span_write import spn_bytes, write_spn
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.models import span
from portfolio_margin.span.contracts import ContractView
from portfolio_margin.span.file_arrays import FileArrays, conversions, file_arrays
from portfolio_margin.span.holdings import holdings
from portfolio_margin.span.recompute import recompute, within
from portfolio_margin.span.requirement import commodity_risk, totals
from portfolio_margin.span.rules import rules_of
from portfolio_margin.span.tables import RiskParameterFile
from tests.naive import span as naive
from tests.portfolio_margin.test_span_market import MADE as MARKET_FILE
from tests.vectors import data_file

pytestmark = pytest.mark.data
TAKASBANK = "takasbank_20160517.spn.gz"
# What the single precision of the exchange leaves: of the scan range, of a delta.
LOSS_ALLOWED, DELTA_ALLOWED = 4.4e-6, 1.3e-6
OF_LOSS, OF_DELTA = f"of the scan range, {LOSS_ALLOWED} allowed", f"of a delta, {DELTA_ALLOWED} allowed"

PARTS = ("scan", "time", "volatility", "price", "weighted_price", "net_delta", "intra", "delivery", "inter_credit",
         "minimum", "risk", "option_value")  # fmt: skip


@cache
def takasbank() -> tuple[RiskParameterFile, FileArrays]:
    file, notes = read_span_file(data_file("span/takasbank_20160517.spn.gz"))
    (note,) = notes
    assert re.match(r"AKBNKE, .* no factor leads from maintenance margin of type H, rate 2, to their arrays", note)
    return file, file_arrays(file)


def test_read_write_read(tmp_path: Path) -> None:
    file, _ = takasbank()
    sizes = [len(file.commodities), len(file.contracts), len(file.spreads), len(file.currencies)]
    assert sizes == [40, 2628 + 146 + 37, 96, 50]
    write_spn(tmp_path / "again.spn.gz", file)
    again, _ = read_span_file(tmp_path / "again.spn.gz")
    assert file.differences(again) == []
    assert spn_bytes(again) == spn_bytes(file)


@pytest.mark.reference
def test_every_array_and_composite_delta_is_recomputed(report_vectors: Any) -> None:
    """To a few millionths of the scan range, in single precision by its look."""
    file, _ = takasbank()
    view = ContractView(file)
    found = recompute(file)
    assert not found.skipped
    option = view.is_option[found.contract]
    assert option.sum() == 2628
    loss, delta = found.loss_error[option], found.delta_error[option]
    report_vectors(
        int(option.sum()) * 16,
        float(loss.max()),
        OF_LOSS,
        f"{TAKASBANK}: option arrays",
    )
    report_vectors(int(option.sum()), float(delta.max()), OF_DELTA, f"{TAKASBANK}: composite deltas")
    assert loss.max() < LOSS_ALLOWED
    assert np.quantile(loss, 0.99) < 2.5e-6
    assert delta.max() < DELTA_ALLOWED
    assert found.loss_error[~option].max() < 1e-7
    assert within(found, 1e-5, 1e-5).all()
    # Another look-ahead is clearly worse, so that it is tested too.
    assert recompute(file, look_ahead=1 / 252).loss_error[option].max() > 1e-4


def test_underlyings_have_the_price_of_their_rounded_value() -> None:
    """An index of 94.642 is worth 94.64 in one class: with its price that class alone is off, by 1.3e-4."""
    file, _ = takasbank()
    view = ContractView(file)
    found = recompute(file, underlying="price")
    coarse = file.families.code[view.family[found.contract]] == "XU030X"
    option = view.is_option[found.contract]
    assert 1e-4 < found.loss_error[option & coarse].max() < 1.4e-4
    assert found.loss_error[option & ~coarse].max() < 4.4e-6


def test_the_risk_arrays_are_those_of_the_file() -> None:
    file, made = takasbank()
    rows = np.flatnonzero(made.contract >= 0)
    assert len(rows) == len(file.contracts) and not made.left_out
    assert np.array_equal(np.round(-made.arrays.pnl[rows], 6), file.arrays.loss[made.contract[rows]])
    assert np.array_equal(np.rint(made.arrays.rows), made.arrays.rows)
    assert made.arrays.currency == "TRY"


def test_arrays_go_through_a_risk_array_file(tmp_path: Path) -> None:
    """Power and steel stand beside an old price of what they are on, further away than any carry."""
    made = takasbank()[1].arrays
    write_arrays(tmp_path / "x.npz", made)
    again = read_arrays(tmp_path / "x.npz")
    assert again.digest == made.digest
    assert np.array_equal(again.rows, made.rows)


def test_all_options_are_read_by_pattern() -> None:
    path = data_file("span/takasbank_20160517.spn.gz")
    with gzip.open(path) as stream:
        assert sum(piece.options for piece in pieces(stream) if isinstance(piece, Run)) == 2628
    assert takasbank()[0].differences(read_spn(path, by_pattern=False)[0]) == []


RECORDS = {
    "type:ProductFamily": FAMILY, "type:NonOptionPF": FAMILY, "type:OptionPF": FAMILY, "type:FutPf": FAMILY,
    "type:PhyPf": FAMILY, "type:FwdPf": FAMILY, "type:CmbPf": FAMILY, "type:EquityPf": FAMILY, "type:DebtPf": FAMILY,
    "type:EDebtPf": FAMILY, "type:Contract": CONTRACT, "type:NonOptionContract": CONTRACT, "type:Phy": CONTRACT,
    "type:Fut": CONTRACT, "fut": CONTRACT, "type:Fwd": CONTRACT, "type:Cmb": CONTRACT, "type:Equity": CONTRACT,
    "type:Debt": CONTRACT, "type:EDebt": CONTRACT, "series": SERIES, "opt": OPTION, "scanRate": SCAN_RATE,
    "ccDef": COMMODITY, "pfLink": LINK, "adjRate": ADJUSTMENT, "tier": TIER, "rate": RATE, "dSpread": DELTA_SPREAD,
    "sSpread": SCAN_SPREAD, "tLeg": TIER_LEG, "pLeg": PERIOD_LEG, "sLeg": SCAN_LEG, "spotRate": SPOT_RATE,
    "currencyDef": CURRENCY, "acctTypeDef": ACCOUNT_TYPE, "curConv": CONVERSION, "pbRateDef": LEVEL,
    "clearingOrg": CLEARING_ORG, "pointInTime": POINT_IN_TIME, "spanFile": SPAN_FILE, "scanPointDef": SCAN_POINT,
    "deltaPointDef": DELTA_POINT,
}  # fmt: skip


def schema() -> dict[str, list[str]]:
    children: dict[str, list[str]] = {}
    with data_file("span/spn_xml_elements.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            children.setdefault(row["parent"], []).append(row["child"])
    return children


def required() -> dict[str, set[str]]:
    """Children that the schema wants at least once, outside of choices."""
    needed: dict[str, set[str]] = {}
    with data_file("span/spn_xml_elements.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["min"] not in ("", "0") and row["group"] == "sequence":
                needed.setdefault(row["parent"], set()).add(row["child"])
    return needed


def test_every_element_of_the_schema_is_known() -> None:
    """Nothing that the format has is taken for damage."""
    children = schema()
    passed = PASSED_OVER | NOT_COMPUTED | REFUSED
    for parent, record in RECORDS.items():
        known = record.leaves.keys() | record.inline | record.nested | passed
        assert not set(children[parent]) - known, parent
        for inner in record.inline:
            leaves = {tag.partition("/")[2] for tag in record.leaves.keys() | record.nested if tag.startswith(inner)}
            assert not set(children.get(inner, [])) - leaves - passed, inner


CONTRACT_TYPES = {
    "fut": ("Contract", "NonOptionContract", "Fut"),
    "phy": ("Contract", "Phy"),
    "futPf": ("ProductFamily", "NonOptionPF", "FutPf"),
    "phyPf": ("ProductFamily", "NonOptionPF", "PhyPf"),
    "oopPf": ("ProductFamily", "OptionPF"),
}


@pytest.mark.parametrize("of", ["takasbank", "a market of ours"])
def test_a_written_file_is_one_of_the_schema(of: str) -> None:
    """Children stand in the order of the schema, and those that it wants are there."""
    content = spn_bytes(takasbank()[0] if of == "takasbank" else MARKET_FILE.file)
    children, needed = schema(), required()
    for name, types in CONTRACT_TYPES.items():
        children[name] = [child for kind in types for child in children[f"type:{kind}"]]
        needed[name] = set().union(*(needed.get(f"type:{kind}", set()) for kind in types))
    place = {parent: {tag: n for n, tag in reversed(list(enumerate(tags)))} for parent, tags in children.items()}
    checked = 0
    for element in ElementTree.fromstring(content).iter():
        if len(element):
            tags = [child.tag for child in element]
            places = [place[element.tag][tag] for tag in tags]
            assert places == sorted(places), element.tag
            assert needed.get(element.tag, set()) <= set(tags), element.tag
            checked += 1
    assert checked > (7_000 if of == "takasbank" else 200)


def portfolios(file: RiskParameterFile, made: FileArrays) -> list[dict[int, float]]:
    """Two of every combined commodity, and some across the market."""
    random = np.random.default_rng(11)
    view = ContractView(file)
    result: list[dict[int, float]] = []
    for commodity in range(len(file.commodities)):
        mine = np.flatnonzero(view.commodity == commodity)
        for most in (4, 12):
            chosen = random.permutation(mine)[:most]
            result.append({int(c): float(q) for c, q in zip(chosen, random.integers(-50, 51, len(chosen)),
                                                            strict=True)})  # fmt: skip
    futures = np.flatnonzero(np.isin(view.kind, ["FUT"]))
    for size in (5, 20, 60):
        for pool in (np.arange(len(file.contracts)), futures):
            chosen = random.permutation(pool)[:size]
            result.append({int(c): float(q) for c, q in zip(chosen, random.integers(-50, 51, size), strict=True)})
    return result


@pytest.mark.reference
def test_every_combined_commodity_is_margined_like_by_the_naive_twin(report_vectors: Any) -> None:
    file, made = takasbank()
    held = portfolios(file, made)
    row_of = {int(contract): row for row, contract in enumerate(made.contract) if contract >= 0}
    loose = [(f"{n:03d}", row_of[c], q) for n, account in enumerate(held) for c, q in account.items()]
    names, rows, quantities = (list(column) for column in zip(*loose, strict=True))
    accounts = [f"{n:03d}" for n in range(len(held))]
    book = Book.from_arrays(np.array(names), rows, np.array(quantities), made.arrays.expiry_idx, accounts=accounts)
    rules = rules_of(file, made.arrays)
    ((_, _, summed),) = holdings(book, made.arrays, rules)
    risk = commodity_risk(rules, summed)
    total = totals(rules, risk)
    fx, largest, seen = conversions(file, "TRY"), 0.0, set()
    for number, account in enumerate(held):
        results = naive.Account(file, account, fx).computed()
        size = 1.0 + max(abs(value) for result in results.values() for value in result.values())
        for row, code in enumerate(rules.code):
            for part in PARTS:
                error = abs(float(getattr(risk, part)[row, number]) - results[str(code)][part]) / size
                largest = max(largest, error)
            if results[str(code)]["risk"] > 0:
                seen.add(str(code))
        expected = naive.requirement(file, results, 0.75)
        largest = max(largest, abs(float(total.requirement[number, 1]) - expected) / size)
    report_vectors(
        len(held) * len(rules.code) * len(PARTS), largest, "of the account, 1e-09 allowed", f"{TAKASBANK}: portfolios"
    )
    assert largest < 1e-9
    without_risk = set(file.commodities.code.tolist()) - seen
    # Three hold a physical alone, and some physicals do not move in the file.
    assert len(without_risk) <= 5
    assert np.any(risk.inter_credit > 0) and np.any(risk.intra > 0)
    assert np.any(risk.minimum > risk.scan)


def test_statements_by_the_names_of_the_file() -> None:
    file, made = takasbank()
    model = span.Model(file=file)
    row = made.arrays.index_of()
    held = {"AKBNKE-FUT-201605S0": 10.0, "AKBNKE-FUT-201606S0": -4.0, "XU030-FUT-201606S0": -2.0}
    book = Book.from_arrays(["a"] * 3, [row[name] for name in held], list(held.values()), made.arrays.expiry_idx)
    statement = margin(book, made.arrays, None, model)
    # 6 x 90 and 2 x 955 to scan, four spreads at 90; 6 deltas against 6/12.75 of the index at 60 %.
    credit = 0.6 * (6 * 90 + 6 / 12.75 * 955)
    assert statement.initial_margin[0] == pytest.approx(540 + 1910 + 360 - credit, abs=0.011)
    assert statement.maintenance_margin[0] == pytest.approx(0.75 * (540 + 1910 + 360 - credit), abs=0.011)
    assert statement.positions_excluded == ()
