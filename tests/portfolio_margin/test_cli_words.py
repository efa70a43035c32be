"""What commands call things: parameters by their whole path, spreads by their periods, deltas by their kind."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import explain, margin
from portfolio_margin.cli.output import left_out_lines
from portfolio_margin.cli.parameters import MODELS, Layer, build, load_registered
from portfolio_margin.io.span_write import write_spn
from portfolio_margin.models import span, tims
from portfolio_margin.product_classes import without_class
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.equities import Listed, arrays_for
from tests.portfolio_margin.equities import book_of as equity_book
from tests.portfolio_margin.span_examples import Exchange
from tests.portfolio_margin.test_cli import check_fails
from tests.vectors import ROOT

run = test_cli.run
MONTHS = ("202603", "202606")


@pytest.fixture
def calendar(tmp_path: Path) -> str:
    """One commodity with a charge of 7 for a calendar spread, and an account that holds three of them."""
    exchange = Exchange()
    row = exchange.commodity("AA")
    family = exchange.family(row, "FUT")
    for month in MONTHS:
        exchange.future(family, month, 100.0, 50.0)
    exchange.spread("intra", [("AA", MONTHS[0], "A", 1), ("AA", MONTHS[1], "B", 1)], 7.0, commodity=row)
    write_spn(tmp_path / "x.spn", exchange.built())
    (tmp_path / "p.csv").write_text("account,instrument,quantity\na,AA-FUT-202603,3\na,AA-FUT-202606,-3\n")
    return "x.spn"


def test_spreads_are_named_by_their_periods(run: Any, calendar: str) -> None:
    options = ("--arrays", calendar, "--model", "span", "--positions", "p.csv")
    done = run("explain", "a", *options, "--json")
    assert done.code == 0, done.err
    lines = json.loads(done.out)["lines"]
    below = [line for line in lines if line["level"] == "expiry" and "against" in line["name"]]
    assert [line["name"] for line in below] == ["202603 against 202606"]
    charge = next(line for line in lines if line["name"] == "intra_spread")
    assert float(below[0]["initial"]) == float(charge["initial"]) == 21.0
    table = run("explain", "a", *options).out
    assert "  202603 against 202606" in table
    assert not re.search(r"^ *(expiry|position)\b", table, re.MULTILINE)


def test_deltas_of_a_file_are_composite(run: Any, calendar: str) -> None:
    done = run("margin", "--arrays", calendar, "--model", "span", "--positions", "p.csv")
    assert "composite delta [" in done.out.splitlines()[1]
    own = run("margin", "--account", "box-01").out.splitlines()[1]
    assert "delta [" in own and "composite" not in own


def test_a_span_file_is_not_written_from_a_span_file(run: Any, calendar: str) -> None:
    check_fails(run("arrays", calendar, "--output", "y.spn"), "x.spn is a SPAN file already", "write_spn")


def test_a_refused_bound_names_its_path_and_its_place(run: Any) -> None:
    done = run("margin", "--model", "deribit_spm", "--param", "currency_pair.btc_usd.price_range=5")
    check_fails(done, "--param: currency_pair.btc_usd.price_range = 5: must be a number from 0.01 to 0.9")
    assert "parameter set" not in done.err


def test_a_ratio_that_stays_infinite_has_not_changed(run: Any) -> None:
    done = run("what-if", "short-straddle-bankrupt", "--order", "BTC-PERPETUAL=-1")
    (line,) = (line for line in done.out.splitlines() if line.startswith("mm_rate"))
    assert line.split() == ["mm_rate", "inf", "inf", "0.0000"]


def test_every_line_of_a_reason_has_its_model() -> None:
    assert left_out_lines({"a": "one\ntwo", "b": "three"}) == [
        "left out, a: one",
        "left out, a: two",
        "left out, b: three",
    ]


def test_contracts_without_a_class_are_told_the_classes() -> None:
    arrays = arrays_for(tims.Model(tims.Params(default_class="equity")), {"U": 100.0}, [Listed("U", "C", 100.0)])
    reason = without_class(arrays, np.array([""]), ("equity", "broad_index"))
    assert (
        reason[-1] == "no product class for U: give product_class.U=..., or default_class, one of equity, broad_index"
    )


def test_tims_is_explained_after_its_margin() -> None:
    model = tims.Model(tims.Params(default_class="equity"))
    arrays = arrays_for(model, {"U": 100.0}, [Listed("U", "C", 100.0)])
    book = equity_book(arrays, {"a": {"U-30D-100-C": -1.0}})
    statement = margin(book, arrays, None, model)
    lines = explain(statement, book, arrays, "a").lines
    assert float(lines[0].initial) == statement.initial_margin[0] > 0


@pytest.mark.parametrize("name", ["bybit_pm", "delta_exchange_pm"])
def test_the_parameters_on_the_pages_of_grids_are_parameters(name: str) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "models" / f"{name}.md").read_text(), re.DOTALL)
    params = build(load_registered(MODELS, name).Params, Layer("page", tomllib.loads(block)[name]))
    assert params.grids["any"].vol_up == 0.3 and len(params.grids["any"].price_moves) == 7


def test_the_requirement_of_a_box_is_its_value_in_span() -> None:
    """Which equity holds, so that what is left is what SPAN's own total leaves: cash less what SPAN requires."""
    model = span.Model()
    options = [Listed("U", right, strike) for right in "CP" for strike in (90.0, 110.0)]
    arrays = arrays_for(model, {"U": 100.0}, options)
    held = {"U-30D-90-C": 1.0, "U-30D-110-C": -1.0, "U-30D-110-P": 1.0, "U-30D-90-P": -1.0, "USD": 500.0}
    statement = margin(equity_book(arrays, {"a": held}), arrays, None, model)
    value = statement.equity[0] - 500.0
    assert value == pytest.approx(2_000.0, abs=0.02)
    # SPAN: (risk - value)+ is 0, so all the cash is free, and no more.
    assert statement.excess_liquidity[0] == pytest.approx(500.0, abs=0.02)


def test_lines_that_differ_in_names_only_are_counted() -> None:
    lines = [
        f"no grids.{name.lower()} among the parameters, which {name} needs"
        for name in ("AKBNK", "AKBNKE", "GARAN", "THYAO")
    ]
    reason = "\n".join([*lines, "spreads must be given: the venue publishes none"])
    assert left_out_lines({"a": reason}) == [
        f"left out, a: {lines[0]} (and 3 more lines like this one)",
        "left out, a: spreads must be given: the venue publishes none",
    ]
    assert left_out_lines({"a": "\n".join(lines[:3])}) == [f"left out, a: {line}" for line in lines[:3]]


def test_a_parameter_set_behind_the_model_is_for_compare(run: Any) -> None:
    done = run("margin", "--model", "derive_pmrm2:cases")
    assert done.code == 2 and "write --model derive_pmrm2 --parameter-set cases" in done.err
