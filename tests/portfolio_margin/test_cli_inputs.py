"""What commands take in, what they tell of it, and what they never write over."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.portfolio_margin import test_cli
from tests.portfolio_margin.io_examples import as_tickers, chain_frame, linear_frame
from tests.portfolio_margin.test_cli import changed_market, check_fails
from tests.vectors import data_file

run = test_cli.run
CRASH = "deribit_chain/crash_20260131_20260208.parquet"
NAME = "BTC-6MAR26-68000-P"
ON_A_BOOK = (("margin",), ("greeks",), ("explain", "a"), ("what-if", "a", "--order", f"{NAME}=1"))


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    chain_frame().to_parquet(tmp_path / "chain.parquet")
    return tmp_path / "chain.parquet"


def positions(tmp_path: Path, *rows: str) -> str:
    (tmp_path / "p.csv").write_text("\n".join(["account,instrument,quantity", *rows]) + "\n")
    return "p.csv"


@pytest.mark.parametrize(
    "command", [("margin",), ("greeks",), ("explain", "a"), ("what-if", "a", "--order", f"{NAME}=1")]
)
@pytest.mark.parametrize("target", ["p.csv", "./p.csv"])
def test_a_result_never_overwrites_an_input(run: Any, tmp_path: Path, command: Any, target: str) -> None:
    name = positions(tmp_path, f"a,{NAME},1")
    before = (tmp_path / name).read_bytes()
    chain_frame().to_parquet(tmp_path / "chain.parquet")
    check_fails(run(*command, "--market", "chain.parquet", "--positions", name, "--output", target), "input", target)
    assert (tmp_path / name).read_bytes() == before


def test_other_results_never_overwrite_an_input(run: Any, tmp_path: Path, chain: Path) -> None:
    market = changed_market(tmp_path)
    before = (tmp_path / market).read_bytes()
    check_fails(run("fit-surface", str(chain), "--parquet", "chain.parquet"), "chain.parquet", "input")
    check_fails(run("greeks", "--instruments", "--market", market, "--json", "--output", market), "input")
    check_fails(
        run("fit-surface", str(chain), "--market", "m.json", "--json", "--output", "m.json"), "m.json", "two results"
    )
    assert run("arrays", "--market", market, "--output", "a.npz").code == 0
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.npz")
    check_fails(run("margin", "--arrays", "a.npz", "--csv", "--output", "link.csv"), "link.csv", "input")
    assert (tmp_path / "a.npz").read_bytes() == content and (tmp_path / market).read_bytes() == before


def test_a_second_file_of_one_option_is_refused(run: Any) -> None:
    """It would take the place of the first without a word."""
    check_fails(run("margin", "--positions", "a.csv", "--positions", "b.csv"), "--positions is given 2 times")


def test_contracts_left_out_are_not_called_unknown(run: Any, tmp_path: Path) -> None:
    frame = chain_frame()
    frame.loc[3, "mark_iv"] = -0.3
    frame.to_parquet(tmp_path / "chain.parquet")
    name = positions(tmp_path, f"a,{NAME},1", "a,BTC-6MAR26-68000-C,1")
    options = ("--market", "chain.parquet", "--positions", name, "--on-bad-row", "exclude")
    for command in (("margin",), ("greeks",), ("what-if", "a", "--order", "BTC-6MAR26-68000-C=1")):
        check_fails(run(*command, *options), "p.csv, row 2", "left out of the market", "mark_iv = -0.3")


def test_what_was_added_to_a_chain_is_told(run: Any, tmp_path: Path, chain: Path) -> None:
    book = ("--market", str(chain), "--positions", positions(tmp_path, f"a,{NAME},1"))
    for command in ON_A_BOOK:
        document = json.loads(run(*command, *book, "--json").out)
        assert any("BTC-PERPETUAL" in note for note in document["notes"]), command
        assert document["market_rows_left_out"] == []
    for command in (("margin", *book), ("greeks", *book), ("fit-surface", str(chain))):
        assert "BTC-PERPETUAL" in run(*command).out


def test_the_unit_of_vols_is_an_option(run: Any, tmp_path: Path) -> None:
    chain_frame().assign(mark_iv=lambda f: 100 * f["mark_iv"]).to_parquet(tmp_path / "c.parquet")
    check_fails(run("fit-surface", "c.parquet"), "row 1 (BTC-6MAR26-60000-C)", "mark_iv = 50.0", "--iv-unit percent")
    assert run("fit-surface", "c.parquet", "--iv-unit", "percent").code == 0
    book = ("--positions", positions(tmp_path, f"a,{NAME},1"))
    chain_frame().to_parquet(tmp_path / "d.parquet")
    given = run("margin", "--market", "c.parquet", "--iv-unit", "percent", *book, "--csv").out
    assert given.splitlines()[1:] == run("margin", "--market", "d.parquet", *book, "--csv").out.splitlines()[1:]


def test_the_rate_of_a_settlement_currency_is_an_option(run: Any, tmp_path: Path) -> None:
    as_tickers(linear_frame(), min_trade_amount=0.01).to_parquet(tmp_path / "c.parquet")
    check_fails(run("fit-surface", "c.parquet"), "USDC", "--fx USDC=RATE")
    for text in ("USDC", "USDC=0", "USDC=x", "=1", "USDC=inf", "USDC=nan"):
        check_fails(run("fit-surface", "c.parquet", "--fx", text), "--fx", "CURRENCY=RATE")
    assert run("fit-surface", "c.parquet", "--fx", "USDC=0.9998", "--market", "m.json").code == 0
    assert json.loads((tmp_path / "m.json").read_text())["currencies"]["fx"] == [1.0, 0.9998]


@pytest.mark.parametrize(
    "option", [("--snapshot", "0"), ("--iv-unit", "percent"), ("--fx", "A=1"), ("--on-bad-row", "exclude")]
)
def test_options_of_a_chain_without_a_chain_are_refused(run: Any, tmp_path: Path, option: tuple[str, str]) -> None:
    check_fails(run("margin", *option), option[0], "chain")
    check_fails(run("greeks", "--instruments", "--market", changed_market(tmp_path), *option), option[0], "chain")


def test_a_contract_that_cannot_be_priced_is_said_of_its_file(run: Any, tmp_path: Path) -> None:
    dead = changed_market(tmp_path, instruments__mark_vol=lambda v: [0.0, *v[1:]])
    for command in (("greeks", "--instruments"), ("arrays", "--output", "a.npz")):
        check_fails(run(*command, "--market", dead), dead, "vol = 0.0", "above 0")
    assert not (tmp_path / "a.npz").exists()


def test_every_wrong_parameter_is_listed_at_once(run: Any, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[grid]\ndays = [0, 'x']\n[worst_case]\nhaircutt = 1\n")
    check_fails(
        run("margin", "--params", "p.toml"), "p.toml [grid]: days", "p.toml [worst_case]: unknown parameter haircutt"
    )
    (tmp_path / "p.toml").write_text("[[grid]]\ndays = [0]\n")
    check_fails(run("margin", "--params", "p.toml"), "p.toml", "grid", "one table")


def test_no_number_where_one_is_not_finite(run: Any, tmp_path: Path) -> None:
    accounts = ("--account", "short-straddle-bankrupt", "--account", "empty")
    rows = list(csv.DictReader(run("margin", *accounts, "--csv").out.splitlines()))
    assert [row["mm_rate"] for row in rows] == ["", "0.0"] and rows[1]["health"] == ""
    assert run("margin", *accounts, "--parquet", "m.parquet").code == 0
    assert pd.read_parquet(tmp_path / "m.parquet")["mm_rate"].isna().tolist() == [True, False]
    document = json.loads(run("margin", *accounts, "--json").out)
    assert [account["mm_rate"] for account in document["accounts"]] == [None, 0.0]


@pytest.mark.data
def test_the_sample_accounts_on_another_market(run: Any, tmp_path: Path) -> None:
    chain = ("--market", str(data_file(CRASH)), "--snapshot", "2026-02-05T21:29:37Z")
    done = run("sample", *chain, "--output", "s")
    assert done.code == 0 and "56 accounts" in done.out, done
    check_fails(run("sample", *chain, "--output", "s"), "exist already")
    files = ("--positions", "s/positions.csv", "--collateral", "s/collateral.csv")
    rows = list(csv.DictReader(run("margin", *chain, *files, "--csv").out.splitlines()))
    assert len(rows) == 56
    assert {row["status"] for row in rows} == {"NORMAL", "MARGIN_CALL", "REDUCE_ONLY", "LIQUIDATION", "BANKRUPT"}
    assert run("sample", *chain, "--output", "s", "--force").code == 0
    assert list(csv.DictReader((tmp_path / "s" / "positions.csv").read_text().splitlines()))


def test_the_sample_accounts_need_their_contracts(run: Any, tmp_path: Path, chain: Path) -> None:
    frame = chain_frame()
    frame[frame.instrument.str.startswith("BTC")].to_parquet(tmp_path / "btc.parquet")
    check_fails(run("sample", "--market", "btc.parquet", "--output", "s"), "ETH", "option")
    assert not (tmp_path / "s").exists()


@pytest.mark.data
def test_rough_slices_are_warned_of(run: Any) -> None:
    chain = str(data_file("deribit_chain/raw_snapshot_20260226T094105Z.csv.gz"))
    warnings = json.loads(run("fit-surface", chain, "--json").out)["warnings"]
    assert any("vol points" in warning and "BTC-2026-02-27" in warning for warning in warnings)
    assert "warning: " in run("fit-surface", chain).out
