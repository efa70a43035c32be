"""A SPAN file of a market of ours: arrays, composite deltas and margin are those of the market; and its commands."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, margin
from portfolio_margin.io.span_write import write_spn
from portfolio_margin.io.span_xml import read_spn
from portfolio_margin.models import span
from portfolio_margin.requirement import covered
from portfolio_margin.span.contracts import ContractView
from portfolio_margin.span.file_arrays import file_arrays
from portfolio_margin.span.market_file import is_span_set
from portfolio_margin.span.recompute import recompute
from pricing import ConfigError, greeks
from pricing.instruments import Kind
from scenarios import revalue
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import ARRAYS, BOOK, INSTRUMENTS, MARKET
from tests.portfolio_margin.equities import Listed, equity_market
from tests.portfolio_margin.span_examples import Exchange, exchange_with_every_rule
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
MODEL = span.Model()
SPAN_ARRAYS = revalue(INSTRUMENTS, MARKET, MODEL.scenario_set(MARKET))
MADE = MODEL.market_file(SPAN_ARRAYS)


@pytest.mark.parametrize("ending", [".spn", ".spn.gz"])
def test_round_trip(ending: str, tmp_path: Path) -> None:
    write_spn(tmp_path / f"x{ending}", MADE.file)
    assert MADE.file.differences(read_spn(tmp_path / f"x{ending}")[0]) == []


@pytest.mark.parametrize("vol_scan", ["relative", "absolute"])
def test_arrays_recompute_from_the_file(vol_scan: str) -> None:
    """Only ticks and the carry of a future over its own forward are between the two."""
    model = span.Model(span.Params(vol_scan=vol_scan, vol_scan_range=0.1))
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
    file = model.market_file(arrays).file
    found = recompute(file)
    assert not found.skipped
    view = ContractView(file)
    european = view.is_option[found.contract] & (file.families.exercise[view.family[found.contract]] == "EURO")
    # Rows are whole ticks for a tenth of a contract.
    half_a_tick = 0.5 * 1e-6 / 0.1 / (model.params.price_scan * MARKET.spot.min())
    assert found.loss_error[european].max() < 1.001 * half_a_tick
    assert found.delta_error.max() < 1e-12
    assert found.loss_error.max() < 1e-5


def test_composite_deltas_are_weighted_deltas() -> None:
    """Of one option, by `greeks` at the seven moves after the look-ahead."""
    row = int(np.flatnonzero(SPAN_ARRAYS.kind == Kind.OPTION)[0])
    terms, expiry = SPAN_ARRAYS.terms, SPAN_ARRAYS.expiry_idx[row]
    scan = MODEL.params.price_scan * terms.forward[expiry]
    tau = SPAN_ARRAYS.years_to_expiry[expiry] - MODEL.params.look_ahead_years
    moves, weights = np.arange(-3, 4) / 3.0, [0.037, 0.111, 0.217, 0.270, 0.217, 0.111, 0.037]
    rate = -np.log(terms.discount[expiry]) / SPAN_ARRAYS.years_to_expiry[expiry]
    deltas = greeks(terms.forward[expiry] + moves * scan, terms.strike[row], tau, terms.vol[row], terms.sign[row],
                    np.exp(-rate * tau), backend="numpy")["delta"]  # fmt: skip
    ours = MADE.file.arrays.composite_delta[MADE.contract[row]]
    assert ours == pytest.approx(float(deltas @ weights), rel=1e-12)


def test_the_file_gives_the_margin_of_the_market() -> None:
    view, read = ContractView(MADE.file), file_arrays(MADE.file)
    row_of = read.arrays.index_of()
    contracts = np.flatnonzero(MADE.contract >= 0)
    new_row = np.full(len(SPAN_ARRAYS), -1)
    new_row[contracts] = [row_of[str(view.name[MADE.contract[row]])] for row in contracts]
    held = BOOK.keep(new_row[BOOK.instrument_idx] >= 0)
    # Contracts of a file trade in whole numbers.
    held = replace(held, quantity=np.round(10 * held.quantity))
    account = np.repeat(held.account_id, np.diff(held.position_ptr))
    theirs = Book.from_arrays(account, new_row[held.instrument_idx], held.quantity, read.arrays.expiry_idx,
                              accounts=held.account_id)  # fmt: skip
    ours = MODEL.requirement(held, SPAN_ARRAYS)
    loose = file_arrays(MADE.file, tick=None).arrays
    other = span.Model(file=MADE.file).requirement(theirs, loose)
    scale = np.maximum(ours.initial, 1.0)
    assert np.abs(other.initial - ours.initial).max() < 1e-3 + 1e-9 * scale.max()
    assert np.abs(other.maintenance - ours.maintenance).max() < 1e-3 + 1e-9 * scale.max()


def test_other_scenarios_make_no_span_file() -> None:
    assert is_span_set(SPAN_ARRAYS) and not is_span_set(ARRAYS)
    with pytest.raises(ConfigError, match="16 SPAN scenarios"):
        MODEL.market_file(ARRAYS)


def test_positions_outside_the_file_are_named() -> None:
    exchange = Exchange()
    family = exchange.family(exchange.commodity("A"), "FUT")
    exchange.future(family, "202603", 100.0, 80.0)
    small = exchange.built()
    model = span.Model(file=small)
    book = BOOK.select(str(BOOK.account_id[0]))
    contracts = ~SPAN_ARRAYS.is_collateral[book.instrument_idx] & (book.quantity != 0)
    left_out = covered(model, book, SPAN_ARRAYS)[1]
    assert len(left_out) == contracts.sum()
    assert all("no contract of a combined commodity" in line for line in left_out)
    with pytest.raises(ConfigError, match="no rule for any contract here"):
        margin(book, SPAN_ARRAYS, MARKET, model)
    assert margin(book.keep(~contracts), SPAN_ARRAYS, MARKET, model).initial_margin[0] == 0.0


def test_arrays_writes_and_checks_span_files(run: Any, tmp_path: Path) -> None:
    assert run("arrays", "--output", "market.spn").code == 0
    done = run("arrays", "--check", "market.spn")
    assert done.code == 0
    assert "options recomputed: largest error" in done.out
    text = (tmp_path / "market.spn").read_text(encoding="utf-8")
    first = text.index("<a>", text.index("<opt>"))
    (tmp_path / "off.spn").write_text(text[:first] + "<a>77" + text[first + 3 :], encoding="utf-8")
    done = run("arrays", "--check", "off.spn")
    assert done.code == 1
    assert "1 arrays are off by more than 1e-05: BTC-OOP" in done.err
    assert run("arrays", "--check", "off.spn", "--tolerance", "10").code == 0
    (tmp_path / "cut.spn").write_text(text[: len(text) // 2], encoding="utf-8")
    check_fails(run("arrays", "--check", "cut.spn"), "cut.spn", "line", "cut short")
    check_fails(run("arrays", "--check", "none.spn"), "no such file")
    check_fails(run("arrays", "--check", "market.spn", "--output", "x.npz"), "--check writes no file")
    check_fails(run("arrays"), "--output")
    check_fails(run("arrays", "--output", "x.spn", "--model", "worst_case"), "model span")
    check_fails(run("arrays", "--output", "x.spn", "--method", "taylor"), "full revaluation")


def test_margin_from_a_span_file(run: Any, tmp_path: Path) -> None:
    write_spn(tmp_path / "x.spn", exchange_with_every_rule())
    with (tmp_path / "p.csv").open("w", newline="") as stream:
        rows = [("a", "AA-FUT-202603", 5), ("a", "AA-FUT-202606", -3), ("b", "BB-OOF-202605-C-100", -2)]
        csv.writer(stream).writerows([("account", "instrument", "quantity"), *rows])
    given = ("--arrays", "x.spn", "--positions", "p.csv")
    document = json.loads(run("margin", *given, "--model", "span", "--json").out)
    assert document["model_id"] == "span"
    first, second = document["accounts"]
    assert float(first["components"]["intra_spread"]["maintenance"]) == 33.0
    assert float(second["components"]["short_option_minimum"]["maintenance"]) >= 0.0
    assert run("margin", *given, "--json").code == 0  # worst_case takes the arrays alone
    explained = run("explain", "a", *given, "--model", "span")
    assert explained.code == 0 and "AA-FUT-202603" in explained.out
    changed = run("what-if", "a", *given, "--model", "span", "--order", "AA-FUT-202606=3")
    assert changed.code == 0, changed.err
    check_fails(run("margin", "--arrays", "x.spn", "--model", "span"), "--positions")
    check_fails(run("margin", "--market", "x.spn", "--positions", "p.csv"), "--arrays")
    (tmp_path / "q.csv").write_text("account,instrument,quantity\na,AA-FUT-202604,1\n")
    check_fails(run("margin", "--arrays", "x.spn", "--model", "span", "--positions", "q.csv"), "did you mean")


def test_a_short_stock_is_a_position_without_a_rule() -> None:
    """The file scans no stock: a short one must not pass as one that costs nothing."""
    instruments, market = equity_market({"SPY": 650.0}, [Listed("SPY", "C", 660.0)])
    arrays = revalue(instruments, market, MODEL.scenario_set(market))
    row = arrays.index_of()["SPY"]
    held = (["long", "short", "short"], [row, row, arrays.index_of()["USD"]], [10.0, -10.0, 1e5])
    book = Book.from_arrays(*held, instruments.expiry_idx)
    statement = margin(book, arrays, market, MODEL)
    assert [line.split(":")[0] for line in statement.positions_excluded] == ["long SPY", "short SPY"]
    assert statement.unmargined.tolist() == [False, True]
