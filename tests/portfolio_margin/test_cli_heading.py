"""Every table on a statement says of which model, parameters and market it is, and what is not in its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portfolio_margin.cli.what_if import verdict
from portfolio_margin.io.parameter_sets import parameter_files, read_parameter_set
from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.span_write import write_spn
from portfolio_margin.requirement import LONGEST_LIST, ParameterSet, parameters_text
from portfolio_margin.sensitivities import COMPARED, WhatIf
from portfolio_margin.span.file_arrays import file_arrays
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.span_examples import exchange_with_every_rule
from tests.vectors import ROOT

run = test_cli.run
MODEL = ("--model", "derive_pmrm2")
MOMENT = "the shipped sample at 2026-02-26T09:41:05Z"
# Two accounts of the sample hold what Derive has no rule for: two positions of one, one of the other.
ROLL = "future-roll-01 ETH-27MAR26: Derive lists no dated futures"
CARRY = "cash-and-carry-01 BTC-26JUN26: Derive lists no dated futures"
ORDER = ("--order", "BTC-PERPETUAL=10")
COMMANDS = (
    ("margin", "--account", "future-roll-01"),
    ("explain", "future-roll-01"),
    ("explain", "future-roll-01", "--by-position"),
    ("what-if", "future-roll-01", *ORDER),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_table_has_the_heading_of_the_statement(run: Any, command: tuple[str, ...]) -> None:
    """Model and market time in the title; hashes, parameters and the positions excluded of this account below."""
    statement = json.loads(run("margin", *MODEL, "--json").out)
    lines = run(*command, *MODEL).out.splitlines()
    assert f"derive_pmrm2 margin of {MOMENT}" in lines[0]
    hashes = f"inputs {statement['input_hash']}, parameters {statement['parameters_hash']}, engine "
    assert any(line.startswith(hashes) for line in lines)
    assert any(
        line.startswith("derive_pmrm2: parameter set 2026-01-21; second-hand: collateral; doubtful: margin.long_base")
        for line in lines
    )
    assert "positions excluded: 2" in lines and f"  {ROLL}" in lines and f"  {CARRY}" not in lines
    assert "market rows left out: none" in lines


@pytest.mark.parametrize("command", COMMANDS)
def test_documents_and_csv_tell_the_same(run: Any, command: tuple[str, ...]) -> None:
    document = json.loads(run(*command, *MODEL, "--json").out)
    assert len(document["positions_excluded"]) == 2
    assert ROLL in document["positions_excluded"] and CARRY not in document["positions_excluded"]
    assert document["parameters_second_hand"] == ["collateral"]
    done = run(*command, *MODEL, "--csv")
    assert "derive_pmrm2: parameter set 2026-01-21; second-hand: collateral; doubtful: " in done.err
    assert "positions excluded: 2" in done.err and ROLL in done.err and CARRY not in done.err


def test_nothing_is_excluded_of_an_account_that_the_model_has_rules_for(run: Any) -> None:
    for command in (("explain", "iron-condor-07"), ("margin", "--account", "iron-condor-07")):
        assert "positions excluded: none" in run(*command, *MODEL).out.splitlines()
        assert json.loads(run(*command, *MODEL, "--json").out)["positions_excluded"] == []
    assert "positions excluded: 3" in run("margin", *MODEL).out.splitlines()


def test_a_long_list_of_parameters_is_summarised(run: Any) -> None:
    """On the terminal the count and the first names; in the document all of them."""
    options = ("iron-condor-07", "--model", "deribit_xpm")
    names = json.loads(run("explain", *options, "--json").out)["parameters_second_hand"]
    wanted = f"second-hand: {len(names)} parameters ({', '.join(names[:3])} and {len(names) - 3} more)"
    for command in (("explain", *options), ("what-if", *options, *ORDER), ("margin", *options[1:])):
        line = next(line for line in run(*command).out.splitlines() if line.startswith("deribit_xpm: "))
        assert line.endswith(wanted) and len(line) < LONGEST_LIST
    short = ParameterSet(name="2024-01-01", valid_from="2024-01-01", second_hand=("a" * 99, "b" * 99))
    assert short.text().endswith(f"second-hand: {'a' * 99}, {'b' * 99}")


def test_what_is_summarised_stands_in_the_docs() -> None:
    summarised = 0
    for folder in sorted((ROOT / "portfolio_margin" / "parameters").iterdir()):
        for path in parameter_files(folder.name).values():
            names = read_parameter_set(path).info.second_hand
            if len(", ".join(names)) > LONGEST_LIST:
                page = (ROOT / "docs" / "models" / f"{folder.name}.md").read_text()
                assert [name for name in names if f"`{name}`" not in page] == [], path
                summarised += 1
    assert summarised >= 4


def test_parameters_of_a_span_file_are_named_after_it(run: Any, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "exchange.spn"
    write_spn(path, exchange_with_every_rule(date="20160517"))
    name = str(file_arrays(read_span_file(str(path))[0]).arrays.instrument_id[0])
    (tmp_path / "p.csv").write_text(f"account,instrument,quantity\na,{name},-1\n")
    book = ("--arrays", str(path), "--positions", "p.csv")
    text = "span: parameter set TEST 2016-05-17 final exchange.spn"
    assert text in run("margin", *book, "--model", "span").out.splitlines()
    assert f"{text}; changed: haircut" in run("explain", "a", *book, "--model", "span", "--param", "haircut=0.1").out
    document = json.loads(run("what-if", "a", *book, "--model", "span", "--order", f"{name}=1", "--json").out)
    named = {name: document[f"parameter{name}"] for name in ("_set", "s_valid_from", "s_apply")}
    assert named == {"_set": text.removeprefix("span: parameter set "), "s_valid_from": "2016-05-17", "s_apply": True}
    # The rules of another model are not those of the file, and a market has none.
    assert "worst_case: default parameters" in run("margin", *book, "--model", "worst_case").out
    assert "span: default parameters" in run("margin", "--model", "span").out


def test_a_set_reads_back_from_what_a_statement_says_of_it() -> None:
    found = ParameterSet("x", "2024-01-02", second_hand=("a", "b"), doubtful=("c",), changed=("b",), applies=False)
    assert found.text() == parameters_text(json.loads(json.dumps(found.identity())))
    assert found.text() == (
        "parameter set x of 2024-01-02; not valid at the time of this market; changed: b; second-hand: a; doubtful: c"
    )


def outcome(free: tuple[float, float], after: tuple[float, float], **decided: Any) -> str:
    """The verdict on an account with this available funds and excess liquidity before and after."""
    pre, post = (dict.fromkeys(COMPARED, 0.0) | dict(zip(("available_funds", "excess_liquidity"), values, strict=True))
                 for values in (free, after))  # fmt: skip
    given = {"pre_status": "LIQUIDATION", "post_status": "LIQUIDATION", "fits": False, "allowed": False} | decided
    return "\n".join(verdict(WhatIf("a", "USD", pre, post, pre_worst_scenario="", post_worst_scenario="",
                                    **given)))  # fmt: skip


def test_the_verdict_says_what_changes() -> None:
    assert outcome((5.0, 9.0), (3.0, 8.0), fits=True, allowed=True) == (
        "the orders fit: initial margin is covered afterwards"
    )
    assert outcome((-5.0, -2.0), (1.0, 3.0), fits=True, allowed=True).splitlines() == [
        "the orders fit: initial margin is covered afterwards",
        "initial margin: 5.00 missing before, covered afterwards [USD]",
        "maintenance margin: 2.00 missing before, covered afterwards [USD]",
    ]
    assert outcome((-5.0, -2.0), (-4.0, -1.0), allowed=True).splitlines() == [
        "the account stays below maintenance margin; the orders lower what is missing, so they are allowed",
        "initial margin: 5.00 missing before, 4.00 missing afterwards [USD]",
        "maintenance margin: 2.00 missing before, 1.00 missing afterwards [USD]",
    ]
    assert outcome((-5.0, 2.0), (-5.0, 2.0), allowed=True).startswith(
        "the account stays below initial margin; the orders do not raise what is missing, so they are allowed\n"
    )
    assert outcome((-5.0, -2.0), (-6.0, -3.0)).startswith("the orders do not fit: the account is below initial margin")
    assert outcome((5.0, 9.0), (-6.0, 3.0)).splitlines() == [
        "the orders do not fit: initial margin is not covered afterwards",
        "initial margin: covered before, 6.00 missing afterwards [USD]",
    ]
    assert outcome((5.0, 9.0), (5.0, 9.0), unmargined=True) == (
        "the orders do not fit: afterwards the account holds risk that the model has no rule for"
    )


def test_a_bankrupt_account_is_not_said_to_fit(run: Any) -> None:
    order = ("what-if", "short-straddle-bankrupt", "--order", "ETH-6MAR26-2075-C=100")
    done = run(*order)
    assert "orders fit" not in done.out
    assert "the account stays below maintenance margin; the orders lower what is missing" in done.out
    assert "equity is below zero: no order at the mark changes that" in done.out.splitlines()
    document = json.loads(run(*order, "--json").out)
    assert (document["fits"], document["allowed"], document["unmargined"]) == (False, True, False)
    told = json.loads(run("what-if", "future-roll-01", *ORDER, *MODEL, "--json").out)
    assert (told["fits"], told["allowed"], told["unmargined"]) == (False, False, True)
