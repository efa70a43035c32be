"""hedge and optimise on the command line: text, JSON, CSV, files of quotes, and what is said of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portfolio_margin import Target, hedge
from portfolio_margin.cli.optimise import progress_text
from portfolio_margin.models import worst_case
from portfolio_margin.search_watch import SearchProgress
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.hedge_examples import sample_under
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
ACCOUNT = "perpetual-short-03"
PERPETUALS = ("--instruments", "*-PERPETUAL")


def test_what_is_shown_is_what_the_function_finds(run: Any) -> None:
    book, arrays, market, _ = sample_under("worst_case")
    names = ["BTC-PERPETUAL", "ETH-PERPETUAL"]
    expected = hedge(book, arrays, market, worst_case.Model(), ACCOUNT, Target(), instruments=names)
    document = json.loads(run("hedge", ACCOUNT, *PERPETUALS, "--json").out)
    assert [(row["instrument"], row["quantity"]) for row in document["trades"]] == list(expected.orders)
    assert float(document["cost"]) == pytest.approx(expected.cost, abs=0.005)
    assert float(document["post_available_funds"]) >= 0
    assert document["convex"] is True
    assert document["parameters_hash"]
    text = run("hedge", ACCOUNT, *PERPETUALS).out
    for part in (expected.trades[0].instrument, "available_funds: -949.60 -> ", "above the least possible"):
        assert part in text
    header = next(line for line in text.splitlines() if line.startswith("instrument"))
    assert header.split()[:4] == ["instrument", "side", "quantity", "price"]
    assert run("hedge", ACCOUNT, *PERPETUALS, "--csv").out.splitlines()[0] == "instrument,side,quantity,price,cost"


def test_a_target_that_is_met_needs_no_trades(run: Any) -> None:
    document = json.loads(run("hedge", "iron-condor-07", *PERPETUALS, "--json").out)
    assert (document["trades"], document["cost"]) == ([], "0.00")


@pytest.mark.parametrize("model", ["worst_case", "deribit_spm"])
def test_a_target_that_is_met_is_proven_to_cost_nothing_under_every_model(run: Any, model: str) -> None:
    met = ("hedge", "iron-condor-07", *PERPETUALS, "--model", model)
    document = json.loads(run(*met, "--json").out)
    assert (document["cost"], document["lower_bound"], document["gap"]) == ("0.00", "0.00", 0.0)
    text = run(*met).out
    assert "cost 0.00 USD, which is the least possible: no trade costs less than nothing" in text
    assert "no bound is proven" not in text


def test_what_is_not_proven_is_said_in_the_same_words(run: Any) -> None:
    text = run("optimise", "iron-condor-07", *PERPETUALS, "--model", "deribit_spm", "--time-limit", "30").out
    assert "USD, no bound is proven" in text
    assert "best found, and no bound is proven" in text


def test_optimise_ends_in_time_and_says_so(run: Any) -> None:
    asked = ("optimise", "iron-condor-07", *PERPETUALS, "--time-limit", "0")
    document = json.loads(run(*asked, "--json").out)
    assert document["finished"] is False
    assert document["trades"] == []
    assert "the search was ended after 0 s: the trades are the best found by then" in run(*asked).out
    check_fails(run(*asked[:-1], "-1"), "time_limit = -1.0")


def test_progress_of_a_search_in_words() -> None:
    proven = progress_text(SearchProgress(2000.0, 1990.0, 7, 1200))
    assert proven == "margin + costs: best 2,000.00, at least 1,990.00 (gap 0.5 %); 7 programs, 1,200 trades tried"
    nothing = progress_text(SearchProgress(float("nan"), 1.0, 1, 0))
    assert nothing == "margin + costs: none allowed yet; 1 programs, 0 trades tried"


def test_quotes_and_limits_of_files_and_options(run: Any, tmp_path: Path) -> None:
    (tmp_path / "quotes.csv").write_text("instrument,bid,ask\nBTC-PERPETUAL,68400,\n")
    options = ("hedge", ACCOUNT, "--instruments", "BTC-PERPETUAL")
    check_fails(run(*options, "--quotes", "quotes.csv"), "no trades within the limits", "available_funds")
    check_fails(run(*options, "--limit", "BTC-PERPETUAL=1"), "no trades within the limits")
    (tmp_path / "quotes.csv").write_text("instrument,bid,ask\nBTC-PERPETUAL,x,-1\n")
    check_fails(run(*options, "--quotes", "quotes.csv"), "row 2, bid = 'x'", "row 2, ask")
    (tmp_path / "quotes.csv").write_text("instrument,bid,ask\nBTC-PERPETUAL,1,2\nx,1,2\n BTC-PERPETUAL,1,3\n")
    said = "row 4, instrument = ' BTC-PERPETUAL': has a quote in row 2 already; keep one row"
    check_fails(run(*options, "--quotes", "quotes.csv"), said)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("hedge", "nobody"), ("no such account",)),
        (("hedge", ACCOUNT, "--instruments", "BTC-99*"), ("--instruments BTC-99*: no contract",)),
        (("hedge", ACCOUNT, "--target", "nan"), ("target amount = nan",)),
        (("hedge", ACCOUNT, "--cost", "fee=1"), ("--cost, row 1, name = 'fee'", "no such name")),
        (("hedge", ACCOUNT, "--limit", "a=1", "--limit", "a=2"), ("--limit, row 2, name = 'a'", "given twice")),
        (("hedge", ACCOUNT, "--size", "1", "--limit", "a=1"), ("give one of the two",)),
        (("optimise", ACCOUNT, "--band", "vega"), ("write GREEK=LOW:HIGH",)),
        (("optimise", ACCOUNT, "--keep", "-1"), ("--keep -1.0",)),
    ],
)
def test_bad_options_are_told(run: Any, arguments: tuple[str, ...], texts: tuple[str, ...]) -> None:
    check_fails(run(*arguments), *texts)


def test_contracts_without_a_rule_are_left_out_of_a_pattern_and_refused_by_name(run: Any) -> None:
    derive = ("hedge", ACCOUNT, "--model", "derive_pmrm2", "--limit", "BTC-PERPETUAL=1e9", "--instruments")
    told = "--instruments: 1 of 2 left out, for which derive_pmrm2 has no rule, such as BTC-27MAR26: Derive lists"
    done = run(*derive, "BTC-27MAR26", "--instruments", "BTC-P*")
    check_fails(done, "instruments, row 1, instrument = 'BTC-27MAR26': the model has no rule for it: Derive lists")
    check_fails(run(*derive, "BTC-27MAR2?"), "the model has no rule for it")
    assert told in run(*derive, "BTC-27MAR2?", "--instruments", "BTC-PERPETUAL").err


def test_optimise_lowers_the_margin_inside_its_bands(run: Any) -> None:
    document = json.loads(run("optimise", "iron-condor-07", "--keep", "0.2", "--gap", "0.05", "--json").out)
    assert float(document["post_initial_margin"]) + float(document["cost"]) <= float(document["pre_initial_margin"])
    text = run("optimise", "iron-condor-07", *PERPETUALS, "--band", "delta_cash=-1e9:1e9").out
    assert "smallest initial_margin + costs with" in text
    assert "delta_cash: -11,840.15 -> " in text
    greeks = document["greeks"]
    assert set(greeks) == {"delta_cash", "gamma_cash_1pct", "vega", "theta"}
    assert all(of["low"] - 1e-6 <= of["post"] <= of["high"] + 1e-6 for of in greeks.values())
    assert any(of["pre"] != of["post"] for of in greeks.values())


def test_optimise_on_a_span_file_keeps_delta_alone_and_is_what_margin_says(run: Any, tmp_path: Path) -> None:
    assert run("arrays", "--output", "market.spn").code == 0
    held = {"BTC-27MAR26-80000-C": -2.0, "BTC-27MAR26-90000-C": 2.0}
    (tmp_path / "c.csv").write_text("account,currency,amount\na,USD,100000\n")
    shared = ("--arrays", "market.spn", "--positions", "p.csv", "--collateral", "c.csv", "--model", "span")

    def write(positions: dict[str, float]) -> None:
        rows = [f"a,{name},{quantity}\n" for name, quantity in positions.items()]
        (tmp_path / "p.csv").write_text("account,instrument,quantity\n" + "".join(rows))

    write(held)
    asked = ("optimise", "a", *shared, "--instruments", "BTC-27MAR26-80000-C", "--instruments", "BTC-27MAR26-90000-C")
    found = json.loads(run(*asked, "--json").out)
    assert set(found["greeks"]) == {"delta_cash"}
    assert float(found["post_initial_margin"]) + float(found["cost"]) <= float(found["pre_initial_margin"])
    check_fails(run(*asked, "--band", "vega=0:1"), "--band vega: risk arrays of a file have no Greek but delta_cash")
    wide = json.loads(run(*asked, "--band", "delta_cash=-1e9:1e9", "--json").out)
    assert wide["trades"]
    for trade in wide["trades"]:
        held[trade["instrument"]] = round(held[trade["instrument"]] + trade["quantity"], 8)
    write(held)
    (after,) = json.loads(run("margin", *shared, "--json").out)["accounts"]
    assert float(after["initial_margin"]) == pytest.approx(float(wide["post_initial_margin"]), abs=0.011)
