"""What is told of a market goes with it: into market files and risk arrays, and with every form of every result."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.io.told import Told
from pricing.errors import DataError
from scenarios import RiskArrays
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.io_examples import as_tickers, chain_frame, linear_frame
from tests.portfolio_margin.test_cli import GOOD, changed_market, check_fails
from tests.vectors import ROOT

run = test_cli.run
NAME, BAD = "BTC-6MAR26-68000-P", "BTC-6MAR26-60000-C"
COMMANDS = (("margin",), ("greeks",), ("explain", "a"), ("what-if", "a", "--order", f"{NAME}=1"))
NO_COLLATERAL = "no --collateral was given, so the accounts hold none"
BOOK = ("--positions", "p.csv", "--collateral", "c.csv")
CHAIN = ("--market", "chain.parquet", "--on-bad-row", "exclude")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A chain with one bad row, and a book."""
    frame = chain_frame()
    frame.loc[0, "mark_iv"] = -0.3
    frame.to_parquet(tmp_path / "chain.parquet")
    (tmp_path / "p.csv").write_text(f"account,instrument,quantity\na,{NAME},-1\n")
    (tmp_path / "c.csv").write_text("account,currency,amount\na,BTC,2\n")
    return tmp_path


def test_lines_of_what_is_told_read_back() -> None:
    told = Told(
        ("x, row 3 (BTC-1JAN26-5-C), mark = -1: bad, unlike BTC-2JAN26-5-C", "y"), ("n", "warning of a sort"), ("w",)
    )
    assert Told.of_lines(told.lines()) == told
    assert Told.of_lines(["plain"]) == Told(notes=("plain",))
    assert told.left_out_by_name() == {"BTC-1JAN26-5-C": told.left_out[0]}


def test_market_files_and_arrays_tell_what_the_chain_told(run: Any, folder: Path) -> None:
    done = run("fit-surface", "chain.parquet", "--on-bad-row", "exclude", "--market", "m.json", "--json")
    fitted = json.loads(done.out)
    assert len(fitted["market_rows_left_out"]) == 1 and fitted["notes"]
    assert run("arrays", *CHAIN, "--output", "a.npz").code == 0
    names = ("market_rows_left_out", "notes", "warnings")
    for origin in (CHAIN, ("--market", "m.json"), ("--arrays", "a.npz")):
        done = run("margin", *origin, *BOOK, "--json")
        document = json.loads(done.out)
        own = [note for note in document["notes"] if note.startswith("worst_case: ")]  # of the model, not the market
        document["notes"] = [note for note in document["notes"] if note not in own]
        assert {name: document[name] for name in names} == {name: fitted[name] for name in names}, origin
        assert f"left out: {fitted['market_rows_left_out'][0]}" in done.err
        assert "market rows left out: 1" in run("margin", *origin, *BOOK).out


def test_warnings_go_with_a_market_file(run: Any, tmp_path: Path) -> None:
    market = tmp_path / changed_market(tmp_path)
    document = json.loads(market.read_text()) | {"warnings": ["rough"], "notes": ["added"]}
    market.write_text(json.dumps(document))
    options = ("--market", market.name, "--positions", "p.csv")
    (tmp_path / "p.csv").write_text(f"account,instrument,quantity\na,{GOOD},-1\n")
    assert json.loads(run("margin", *options, "--json").out)["warnings"] == ["rough"]
    done = run("arrays", "--market", market.name, "--output", "a.npz")
    assert done.err.splitlines() == ["note: added", "warning: rough"]
    market.write_text(json.dumps(document | {"notes": [1], "warnings": "x"}))
    check_fails(run("margin", *options), "notes = [1]", "warnings = 'x'", "list of texts")


def test_every_output_tells(run: Any, folder: Path) -> None:
    for command in COMMANDS:
        shown = run(*command, *CHAIN, *BOOK)
        assert "note: cash rows added" in shown.out, command
        told = run(*command, *CHAIN, *BOOK, "--csv")
        assert "note: cash rows added" in told.err and "note: " not in told.out, command
        assert "warnings" in json.loads(run(*command, *CHAIN, *BOOK, "--json").out)
    assert "note: cash rows added" in run("arrays", *CHAIN, "--output", "a.npz").err
    assert "note: cash rows added" in run("fit-surface", "chain.parquet", *CHAIN[2:], "--csv").err


def test_a_book_without_collateral_is_told(run: Any, folder: Path) -> None:
    for command in COMMANDS:
        assert f"note: {NO_COLLATERAL}" in run(*command, *CHAIN, *BOOK[:2]).out, command
        assert NO_COLLATERAL not in run(*command, *CHAIN, *BOOK).out, command


def test_altered_notes_of_arrays_are_refused(run: Any, folder: Path) -> None:
    assert run("arrays", *CHAIN, "--output", "a.npz").code == 0
    with np.load(folder / "a.npz") as archive:
        columns = {name: archive[name] for name in archive.files}
    metadata = json.loads(str(columns.pop("metadata")))
    assert metadata["notes"][0].startswith("left out: ")
    for notes in ([], "x"):
        np.savez(folder / "b.npz", metadata=np.array(json.dumps({**metadata, "notes": notes})), **columns)
        with pytest.raises(DataError):
            RiskArrays.from_bytes((folder / "b.npz").read_bytes())


def test_an_order_for_a_contract_that_was_left_out(run: Any, folder: Path) -> None:
    (folder / "o.csv").write_text(f"instrument,quantity\n{NAME},1\n\n{BAD},1\n")
    assert run("fit-surface", "chain.parquet", "--on-bad-row", "exclude", "--market", "m.json").code == 0
    assert run("arrays", *CHAIN, "--output", "a.npz").code == 0
    for origin in (CHAIN, ("--market", "m.json"), ("--arrays", "a.npz")):
        told = ("left out of the market, since", "mark_iv = -0.3")
        check_fails(run("what-if", "a", "--order", f"{BAD}=1", *origin, *BOOK), "--order, row 1", *told)
        check_fails(run("what-if", "a", "--orders", "o.csv", *origin, *BOOK), "o.csv, row 4", *told)
    check_fails(run("what-if", "a", "--order", "BTC-6MAR26-68001-P=1", *CHAIN, *BOOK), "no such instrument", NAME)


def test_greeks_of_several_accounts(run: Any) -> None:
    done = run("greeks", "--account", "iron-condor-01", "--account", "box-01", "--csv")
    assert {row["account"] for row in csv.DictReader(done.out.splitlines())} == {"iron-condor-01", "box-01"}
    assert "box-01" in run("greeks", "--account", "iron-condor-01", "--account", "box-01").out
    check_fails(run("greeks", "--account", "bx-01", "--account", "nobody"), "bx-01", "nobody")


def test_rates_are_for_currencies_without_an_index(run: Any, folder: Path) -> None:
    check_fails(run("margin", *CHAIN, *BOOK, "--fx", "BTC=50000"), "--fx BTC=50000", "its own index")
    check_fails(run("fit-surface", "chain.parquet", *CHAIN[2:], "--fx", "USD=2"), "--fx USD=2", "margin currency")
    as_tickers(linear_frame(), min_trade_amount=0.01).to_parquet(folder / "linear.parquet")
    check_fails(run("fit-surface", "linear.parquet", "--fx", "USDC=1", "--fx", "BTC=5"), "--fx BTC=5", "its own index")


def test_currencies_with_a_rate_can_be_collateral(run: Any, folder: Path) -> None:
    (folder / "c.csv").write_text("account,currency,amount\na,EUR,1000\nb,USDC,1000\nc,USD,1000\n")
    (folder / "p.csv").write_text(f"account,instrument,quantity\na,{NAME},0\nb,{NAME},0\nc,{NAME},0\n")
    options = (*CHAIN, *BOOK, "--fx", "USDC=1", "--fx", "EUR=1.08", "--param", "haircut=0.1", "--json")
    document = json.loads(run("margin", *options).out)
    values = {row["account"]: (row["equity"], row["haircut"]) for row in document["accounts"]}
    assert values == {"a": ("1080.00", "108.00"), "b": ("1000.00", "100.00"), "c": ("1000.00", "0.00")}
    assert any("rate given" in note and "EUR, USDC" in note for note in document["notes"])
    assert {row["initial_margin"] for row in document["accounts"]} == {"0.00"}


def test_what_if_and_explain_say_of_what_and_when(run: Any) -> None:
    statement = json.loads(run("margin", "--json").out)
    order = ("what-if", "box-01", "--order", f"{GOOD}=-2")
    for command in (order, ("explain", "box-01")):
        document = json.loads(run(*command, "--json").out)
        for name in ("input_hash", "parameters_hash", "model_id", "engine_version"):
            assert document[name] == statement[name], (command, name)
        assert document["as_of_ms"] == statement["accounts"][0]["as_of_ms"]
        title = run(*command).out.splitlines()[0]
        assert "the shipped sample at 2026-02-26T09:41:05Z" in title


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("margin",), 0),
        (("margin", "--csv"), 0),
        (("margin", "--check"), 1),
        (("margin", "--check", "--account", "box-01"), 0),
        (("doctor",), 0),
    ],
)
def test_a_reader_that_leaves_decides_no_exit_code(arguments: tuple[str, ...], code: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "portfolio_margin", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=variables, text=True)
    finally:
        os.close(writer)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
