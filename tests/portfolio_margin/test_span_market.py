"""A SPAN file of a market of ours: arrays, composite deltas and margin are those of the market; and its commands."""

from __future__ import annotations

import csv
import json
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
from pricing import ConfigError, DataError, greeks
from pricing.instruments import Kind
from scenarios import revalue
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import ARRAYS, BOOK, INSTRUMENTS, MARKET
from tests.portfolio_margin.equities import Listed, equity_market
from tests.portfolio_margin.span_examples import Exchange, exchange_with_every_rule, future_losses
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
    new_row[contracts] = [row_of[str(name)] for name in SPAN_ARRAYS.instrument_id[contracts]]
    assert view.name[MADE.contract[contracts]].tolist() == SPAN_ARRAYS.instrument_id[contracts].tolist()
    held = BOOK.keep(new_row[BOOK.instrument_idx] >= 0)
    assert np.any(held.quantity != np.round(held.quantity))
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
    left_out = [line for line in covered(model, book, SPAN_ARRAYS)[1] if "held as such" not in line]
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
    (tmp_path / "off.spn").write_text(text[:first] + "<a>7" + text[first + 3 :], encoding="utf-8")
    done = run("arrays", "--check", "off.spn")
    assert done.code == 1
    assert "1 arrays are off by more than 1e-05: BTC-27FEB26-40000-C" in done.err
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


def test_explain_names_tiers_months_number_and_rate_of_spreads(run: Any, tmp_path: Path) -> None:
    write_spn(tmp_path / "x.spn", exchange_with_every_rule())
    held = {"AA-FUT-202603": 5, "AA-FUT-202606": -3, "AA-FUT-202609": -2, "AA-FUT-202612": 4}
    with (tmp_path / "p.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("account", "instrument", "quantity"), *(("a", *pair) for pair in held.items())])
    given = ("--arrays", "x.spn", "--positions", "p.csv", "--model", "span", "--json")
    lines = json.loads(run("explain", "a", *given).out)["lines"]
    names = [line["name"] for line in lines]
    first = names.index("202603 against 202606")
    tiers = names.index("tier 1 (202603..202606) and tier 3 (202612) against 2 x tier 2 (202609)")
    for place, months, count, charge in (
        (first, "3 of 202603 against 3 of 202606, 11 each", 3.0, 33.0),
        (tiers, "1 of 202603 and 1 of 202612 against 2 of 202609, 7 each", 1.0, 7.0),
    ):
        line = lines[place + 1]
        assert line["name"] == months and float(line["quantity"]) == count and float(line["maintenance"]) == charge


def test_a_file_of_ours_gives_names_and_steps_back(tmp_path: Path) -> None:
    """Through the file: in aliases, which the format has for names that others give a contract."""
    write_spn(tmp_path / "x.spn", MADE.file)
    read = file_arrays(read_spn(tmp_path / "x.spn")[0]).arrays
    held = ~SPAN_ARRAYS.is_collateral
    rows = [read.index_of()[str(name)] for name in SPAN_ARRAYS.instrument_id[held]]
    assert read.quantity_step[rows].tolist() == SPAN_ARRAYS.quantity_step[held].tolist()
    assert len(set(read.quantity_step[rows].tolist())) > 1
    half_a_tick = 0.5 * read.tick_size / read.quantity_step[rows]
    assert np.all(np.abs(read.pnl[rows] - SPAN_ARRAYS.pnl[held]) <= 1.001 * half_a_tick[:, None])
    assert MADE.left_out == ("BTC", "ETH")
    text = (tmp_path / "x.spn").read_text()
    foreign = text.replace("portfolio-margin ", "another ").encode()
    (tmp_path / "y.spn").write_bytes(foreign)
    others = file_arrays(read_spn(tmp_path / "y.spn")[0]).arrays
    assert set(others.quantity_step.tolist()) == {1.0}
    assert any(str(name).startswith("BTC-OOP-") for name in others.instrument_id)
    (tmp_path / "z.spn").write_text(text.replace("step</aType><aVal>0.1", "step</aType><aVal>-0.1", 1))
    with pytest.raises(DataError, match=r"quantity_step = -0\.1: must be above 0"):
        read_spn(tmp_path / "z.spn")


def test_positions_in_our_names_against_a_file_of_ours(run: Any, tmp_path: Path) -> None:
    """The statement of the market itself, from the file alone; coins as collateral are refused by name."""
    written = run("arrays", "--output", "market.spn")
    assert "BTC, ETH" in written.err and "no place in a SPAN file" in written.err
    rows = [("a", "BTC-27MAR26-90000-C", -2.5), ("a", "BTC-PERPETUAL", 700), ("b", "ETH-27MAR26-2000-P", -3)]
    with (tmp_path / "p.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("account", "instrument", "quantity"), *rows])
    (tmp_path / "c.csv").write_text("account,currency,amount\na,USD,100000\nb,USD,20000\n")
    given = ("--positions", "p.csv", "--collateral", "c.csv", "--model", "span", "--json")
    done = run("margin", "--arrays", "market.spn", *given)
    assert done.code == 0, done.err
    of_file = json.loads(done.out)
    assert run("arrays", "--output", "market.npz", "--model", "span").code == 0
    of_market = json.loads(run("margin", "--arrays", "market.npz", *given).out)
    for one, other in zip(of_file["accounts"], of_market["accounts"], strict=True):
        for name in ("equity", "initial_margin", "maintenance_margin"):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=0.011)
        assert float(one["initial_margin"]) > 0
    (tmp_path / "q.csv").write_text("account,instrument,quantity\na,BTC-27MAR26-90000-C,0.05\n")
    check_fails(run("margin", "--arrays", "market.spn", "--positions", "q.csv"), "must be a whole multiple of 0.1")
    (tmp_path / "c.csv").write_text("account,currency,amount\na,BTC,1\n")
    check_fails(run("margin", "--arrays", "market.spn", *given), "BTC", "unknown currency")


def test_what_cannot_be_recomputed_fails_a_check(run: Any, tmp_path: Path) -> None:
    write_spn(tmp_path / "x.spn", MADE.file)
    text = (tmp_path / "x.spn").read_text(encoding="utf-8")
    assert run("arrays", "--check", "x.spn", "--tolerance", "1e9").code == 0
    first = text.index("<scanRate>", text.index("<phy>"))
    last = text.index("</scanRate>", first) + len("</scanRate>")
    (tmp_path / "y.spn").write_text(text[:first] + text[last:], encoding="utf-8")
    done = run("arrays", "--check", "y.spn", "--tolerance", "1e9")
    assert done.code == 1
    assert "1 arrays could not be recomputed: BTC-PHY-" in done.err


def test_arrays_of_a_span_file_as_npz(run: Any, tmp_path: Path) -> None:
    """Their margin under a model that takes any arrays; span needs the rules, which are in the file alone."""
    exchange = Exchange()
    family = exchange.family(exchange.commodity("POWER"), "FUT")
    # One week apart, and twice the price: no carry explains it, and none has to.
    for month, price in (("202602", 100.0), ("202603", 210.0)):
        exchange.future(family, month, price, 20.0)
    write_spn(tmp_path / "x.spn", exchange.built())
    done = run("arrays", "x.spn", "--output", "x.npz")
    assert done.code == 0 and "none of its rules" in done.err, done.err
    (tmp_path / "p.csv").write_text("account,instrument,quantity\na,POWER-FUT-202602,1\na,POWER-FUT-202603,-3\n")
    statement = json.loads(run("margin", "--arrays", "x.npz", "--positions", "p.csv", "--json").out)
    direct = json.loads(run("margin", "--arrays", "x.spn", "--positions", "p.csv", "--json").out)
    assert statement["accounts"] == direct["accounts"]
    assert float(statement["accounts"][0]["initial_margin"]) > 0
    given = ("--positions", "p.csv", "--model", "span")
    check_fails(run("margin", "--arrays", "x.npz", *given), "span, from the SPAN file itself")
    with pytest.raises(ConfigError, match="span needs the file itself"):
        MODEL.market_file(file_arrays(exchange.built()).arrays)
    check_fails(run("arrays", "x.spn"), "--output FILE.npz")
    check_fails(run("arrays", "x.spn", "--output", "y.spn"), ".npz")
    check_fails(run("arrays", "x.csv", "--output", "y.npz"), ".spn or .pa2")
    check_fails(run("arrays", "x.spn", "--output", "y.npz", "--tick", "0.01"), "--tick has no effect")
    check_fails(run("arrays", "x.spn", "--check", "x.spn"), "--check x.spn alone")


def test_statements_name_the_file(run: Any, tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    write_spn(tmp_path / "day" / "x.spn", exchange_with_every_rule())
    (tmp_path / "p.csv").write_text("account,instrument,quantity\na,AA-FUT-202603,1\n")
    given = ("--arrays", "day/x.spn", "--positions", "p.csv", "--model", "span")
    document = json.loads(run("margin", *given, "--param", "haircut=0.1", "--json").out)
    assert document["parameter_set"] == "TEST 2026-01-02 final x.spn"
    assert document["parameters_valid_from"] == "2026-01-02"
    assert document["parameters_changed"] == ["haircut"]
    assert document["warnings"] == []
    model = span.Model(file=exchange_with_every_rule())
    assert model.parameter_set.name == "TEST 2026-01-02 final"
    assert model.parameter_set.source == "A clearing house"


@pytest.mark.parametrize(("haircut", "said", "rate"), [(0.2, "haircut 0.2", 0.2), (0.0, "no haircut", 0.15)])
def test_coins_are_told_as_not_scanned_and_cost_their_scan_range_when_owed(
    haircut: float, said: str, rate: float
) -> None:
    row = SPAN_ARRAYS.index_of()
    amounts = {"long": 2.0, "short": -2.0}
    names, rows = [*amounts, "short"], [row["BTC"], row["BTC"], row["USD"]]
    book = Book.from_arrays(names, rows, [*amounts.values(), 1e6], INSTRUMENTS.expiry_idx)
    model = span.Model(span.Params(haircut=0.05, haircut_by_asset={"BTC": haircut}))
    statement = margin(book, SPAN_ARRAYS, MARKET, model)
    assert [line.split(":")[0] for line in statement.positions_excluded] == ["long BTC"]
    assert said in statement.positions_excluded[0] and not statement.unmargined.any()
    spot = SPAN_ARRAYS.terms.spot[0]
    assert statement.initial_margin == pytest.approx([0.0, 2.0 * spot * rate], abs=0.02)
    assert statement.margin_balance[0] == pytest.approx(2.0 * spot * (1.0 - haircut), abs=0.02)


def test_a_short_stock_costs_its_price_scan_range() -> None:
    """The file scans no stock: a short one must not pass as one that costs nothing."""
    instruments, market = equity_market({"SPY": 650.0}, [Listed("SPY", "C", 660.0)])
    arrays = revalue(instruments, market, MODEL.scenario_set(market))
    row = arrays.index_of()["SPY"]
    held = (["long", "short", "short"], [row, row, arrays.index_of()["USD"]], [10.0, -10.0, 1e5])
    book = Book.from_arrays(*held, instruments.expiry_idx)
    statement = margin(book, arrays, market, MODEL)
    assert [line.split(":")[0] for line in statement.positions_excluded] == ["long SPY"]
    assert statement.initial_margin == pytest.approx([0.0, 0.15 * 6_500.0], abs=0.02)
    assert not statement.unmargined.any()


@pytest.mark.parametrize("name", [" X", "X ", "X\t", "X\x07Y", "X\nY", "\u00a0X"])
def test_names_that_the_format_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.spn"
    exchange = Exchange()
    family = exchange.family(exchange.commodity(name), "FUT")
    period = exchange.period(family, "202603", 10.0)
    exchange.contract(period, future_losses(10.0), 1.0, 100.0, own_name=name)
    with pytest.raises(DataError) as caught:
        write_spn(path, exchange.built())
    for place in ("commodities code", "families code", "contracts own_name"):
        assert f"SPAN file, {place} = {name!r}: a SPAN file cannot hold a text with blanks" in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("name", ["X", "X Y", "<&>", "Ümlaut", "\u0663", "X  Y", "'\""])
def test_other_names_come_back(name: str, tmp_path: Path) -> None:
    exchange = Exchange()
    exchange.future(exchange.family(exchange.commodity(name), "FUT"), "202603", 100.0, 10.0)
    write_spn(tmp_path / "x.spn", exchange.built())
    assert read_spn(tmp_path / "x.spn")[0].commodities.code.tolist() == [name]
