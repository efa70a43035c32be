"""A statement says whether its parameters are valid at the moment of its market, whatever they were loaded for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from portfolio_margin import MarginStatement, ParameterSet, compare, load_parameters, load_sample, margin
from portfolio_margin.models import deribit_spm, worst_case
from scenarios import revalue
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import ARRAYS, BOOK, MARKET

run = test_cli.run
NEWEST = ("--model", "deribit_spm", "--parameter-set", "2026-09-01")
TOLD = "deribit_spm: parameter set 2026-09-01 is not valid at the time of the market, 2026-02-26, only from 2026-09-01"


def of(info: ParameterSet) -> MarginStatement:
    return margin(BOOK, ARRAYS, MARKET, replace(worst_case.Model(), parameter_set=info))


@pytest.mark.parametrize(
    ("info", "valid"),
    [
        (ParameterSet("2024-01-01", "2024-01-01"), True),
        (ParameterSet("2024-01-01", "2024-01-01", applies=False), True),  # loaded for another moment
        (ParameterSet("2024-01-01", "2024-01-01", "2024-12-31"), False),
        (ParameterSet("2024-01-01", "2024-01-01", next_from="2025-01-01"), False),
        (ParameterSet("2024-01-01", "2024-01-01", "2090-12-31", next_from="2026-02-26"), False),
        (ParameterSet("2024-01-01", "2024-01-01", next_from="2026-02-27"), True),
        (ParameterSet("2090-01-01", "2090-01-01"), False),
        (ParameterSet(), True),
        (ParameterSet("mine", applies=False), False),
    ],
)
def test_the_moment_of_the_arrays_decides(info: ParameterSet, valid: bool) -> None:
    statement = of(info)
    assert statement.identity()["parameters_apply"] is valid
    assert ("not valid" in statement.parameter_set.text()) is not valid
    assert statement.identity()["warnings"] == list(statement.warnings)
    assert [info.name in warning for warning in statement.warnings] == ([] if valid else [True])


def test_the_last_day_is_valid_and_the_next_is_not() -> None:
    """The market is of one day: sets that end on it and the day before."""
    day = "2026-02-26"
    assert ParameterSet("a", "2024-01-01", day).valid_at(1_772_150_399_999)
    assert not ParameterSet("a", "2024-01-01", day).valid_at(1_772_150_400_000)
    assert ParameterSet("a", day).valid_at(1_772_064_000_000)
    assert not ParameterSet("a", day).valid_at(1_772_063_999_999)


def test_the_newest_set_on_an_older_market() -> None:
    sample = load_sample()
    model = deribit_spm.Model(*load_parameters("deribit_spm"))
    arrays = revalue(sample.instruments, sample.market, model.scenario_set(sample.market))
    statement = margin(sample.book, arrays, sample.market, model)
    assert statement.identity()["parameters_apply"] is False
    assert statement.warnings == (TOLD,)
    result = compare(sample.book, sample.market, {"newest": model}, instruments=sample.instruments)
    assert result.identity()["models"]["newest"]["parameters_apply"] is False
    dated = deribit_spm.Model(*load_parameters("deribit_spm", at=sample.market.valuation_time))
    arrays = revalue(sample.instruments, sample.market, dated.scenario_set(sample.market))
    assert margin(sample.book, arrays, sample.market, dated).identity()["parameters_apply"] is True


def test_every_command_and_output_warns(run: Any) -> None:
    for command in (("margin",), ("explain", "box-01"), ("what-if", "box-01", "--order", f"{test_cli.GOOD}=1")):
        assert f"warning: {TOLD}" in run(*command, *NEWEST).out, command
        document = json.loads(run(*command, *NEWEST, "--json").out)
        assert (document["parameters_apply"], document["warnings"]) == (False, [TOLD])
        assert f"warning: {TOLD}" in run(*command, *NEWEST, "--csv").err
        assert "not valid" not in run(*command, *NEWEST[:2]).out
    done = run("compare", "--model", "worst_case", "--model", "paradex_pm", "--json")
    (warning,) = json.loads(done.out)["warnings"]
    assert warning.startswith("paradex_pm: parameter set 2026-04-22 is not valid")
