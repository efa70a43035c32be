"""Positions that a model has no rule for: every output tells of them, and no check passes over them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import margin, what_if
from pricing import ConfigError
from scenarios import revalue
from tests.portfolio_margin import test_cli, toy_model
from tests.portfolio_margin.books import INSTRUMENTS, MARKET, book_of
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
FUTURE = "BTC-27MAR26"
BOOK = ("--positions", "p.csv", "--collateral", "c.csv")
DERIVE = ("margin", "--model", "derive_pmrm2", *BOOK)
TOY = toy_model.Model(toy_model.Params(futures="off"))
ARRAYS = revalue(INSTRUMENTS, MARKET, TOY.scenario_set(MARKET))
DATED = str(INSTRUMENTS.instrument_id[INSTRUMENTS.kind == 2][0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One account whose only contract has no rule, one with none."""
    (tmp_path / "p.csv").write_text(f"account,instrument,quantity\na,{FUTURE},-100000\nb,BTC-PERPETUAL,10\n")
    (tmp_path / "c.csv").write_text("account,currency,amount\na,USD,100000\nb,USD,100000\n")
    return tmp_path


def test_every_output_tells(run: Any, folder: Path) -> None:
    for done in (run(*DERIVE), run(*DERIVE, "--csv")):
        assert f"a {FUTURE}: Derive lists no dated futures" in done.out + done.err
        assert "positions excluded: 1" in done.out + done.err
    assert f"a {FUTURE}: Derive lists no dated futures" in run(*DERIVE, "--parquet", "x.parquet").err
    rows = list(csv.DictReader(run(*DERIVE, "--csv").out.splitlines()))
    assert [(row["account"], row["positions_excluded"]) for row in rows] == [("a", "1"), ("b", "0")]
    accounts = json.loads(run(*DERIVE, "--json").out)["accounts"]
    assert [account["positions_excluded"] for account in accounts] == [1, 0]
    table = run(*DERIVE).out.splitlines()
    assert "excluded" in table[1].split() and "NORMAL         1" in table[2]
    assert "excluded" not in run("margin", *BOOK).out.splitlines()[1]
    done = run("compare", *BOOK, "--model", "worst_case", "--model", "derive_pmrm2", "--csv")
    assert "derive_pmrm2: positions excluded: 1" in done.err and "worst_case: positions" not in done.err
    counts = {
        (row["model"], row["account"]): row["positions_excluded"] for row in csv.DictReader(done.out.splitlines())
    }
    assert counts == {("worst_case", "a"): "0", ("worst_case", "b"): "0", ("derive_pmrm2", "a"): "1",
                      ("derive_pmrm2", "b"): "0"}  # fmt: skip


def test_check_fails_on_what_it_cannot_see(run: Any, folder: Path) -> None:
    for options in ((), ("--csv",), ("--json",)):
        done = run(*DERIVE, "--check", *options)
        assert done.code == 1
        assert "no rule for positions that bear risk: a\n" in done.err
        assert "below maintenance" not in done.err
    assert run(*DERIVE, "--check", "--account", "b").code == 0
    assert run("margin", *BOOK, "--check", "--account", "a").code == 1  # worst_case sees the future
    (folder / "p.csv").write_text(f"account,instrument,quantity\na,{FUTURE},0\nb,BTC-PERPETUAL,10\n")
    assert run(*DERIVE, "--check").code == 0


def test_explain_and_what_if_tell(run: Any, folder: Path) -> None:
    shared = DERIVE[1:]
    assert f"a {FUTURE}: Derive lists" in run("explain", "a", *shared).out
    assert f"a {FUTURE}: Derive lists" in run("explain", "a", "--csv", *shared).err
    assert "positions excluded: none" in run("explain", "b", *shared).out.splitlines()
    done = run("what-if", "b", "--order", f"{FUTURE}=-1000", *shared)
    assert f"b {FUTURE}: Derive lists" in done.out and "the orders do not fit" in done.out
    assert "the orders fit" in run("what-if", "b", "--order", "BTC-PERPETUAL=10", *shared).out


def test_a_model_without_any_rule_is_an_error(run: Any, folder: Path) -> None:
    for model in ("tims", "reg_t"):
        check_fails(run("margin", "--model", model), f"{model} has no rule for any contract here")


def test_what_counts_as_risk() -> None:
    book = book_of(
        {"both": {DATED: -10.0, "BTC": 1.0}, "cash": {"USD": 5.0}, "contract": {DATED: 10.0}, "none": {DATED: 0.0}}
    )
    statement = margin(book, ARRAYS, MARKET, TOY)
    assert statement.excluded.tolist() == [1, 0, 1, 0]
    assert statement.unmargined.tolist() == [True, False, True, False]
    assert statement.columns()["positions_excluded"].tolist() == statement.excluded.tolist()
    assert what_if(book, ARRAYS, MARKET, TOY, "cash", [(DATED, 10.0)]).fits is False
    assert what_if(book, ARRAYS, MARKET, TOY, "cash", [("BTC-PERPETUAL", 10.0)]).fits is False
    assert what_if(book, ARRAYS, MARKET, TOY, "none", [("BTC-PERPETUAL", 10.0)]).fits is False


def test_an_asset_of_ones_own_is_no_risk_and_one_owed_is() -> None:
    class Narrow(toy_model.Model):
        def not_covered(self, arrays: Any) -> Any:
            return [f"{name} is off" if name == "BTC" else "" for name in arrays.instrument_id]

        def debts_covered(self, arrays: Any) -> Any:
            return np.zeros(len(arrays), np.bool_)

    model = Narrow(toy_model.Params())
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
    statement = margin(book_of({"owed": {"BTC": -1.0}, "own": {"BTC": 1.0}}), arrays, MARKET, model)
    assert (statement.excluded.tolist(), statement.unmargined.tolist()) == ([1, 1], [True, False])


def test_only_accounts_with_contracts_need_a_rule() -> None:
    class Blind(toy_model.Model):
        def not_covered(self, arrays: Any) -> Any:
            return ["" if asset else "off" for asset in arrays.is_collateral]

    model = Blind(toy_model.Params())
    arrays = revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET))
    assert margin(book_of({"a": {"USD": 5.0}}), arrays, MARKET, model).initial_margin.tolist() == [0.0]
    with pytest.raises(ConfigError, match="no rule for any contract"):
        margin(book_of({"a": {"USD": 5.0, DATED: 10.0}}), arrays, MARKET, model)
