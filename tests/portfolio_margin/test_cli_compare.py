"""compare on the command line: which models and parameter sets, what is an error, and what is only told."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

import portfolio_margin.sample
from portfolio_margin.cli.parameters import MODELS, registered
from portfolio_margin.io.span_write import write_spn
from portfolio_margin.span.file_arrays import file_arrays
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.span_examples import exchange_with_every_rule
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
TESTED = "derive_pmrm:2026-01-21-test"
SAMPLE = ("--account", "box-01", "--account", "future-roll-01")


def of(*models: str) -> list[str]:
    """Options for these models."""
    return [option for model in models for option in ("--model", model)]


def test_models_with_parameter_sets(run: Any) -> None:
    """The same numbers as margin with that set, beside the set of the day, and measured against the venue's own."""
    models = of("derive_pmrm", TESTED, "derive_standard", "worst_case")
    document = json.loads(run("compare", *models, *SAMPLE, "--json").out)
    assert {name: stated["parameter_set"] for name, stated in document["models"].items()} == {
        "derive_pmrm": "2026-01-21",
        TESTED: "2026-01-21-test",
        "derive_standard": "2026-01-21",
        "worst_case": "defaults",
    }
    assert document["references"] == {
        "derive_pmrm": "derive_standard", TESTED: "derive_standard", "derive_standard": "derive_standard",
        "worst_case": "worst_case",
    }  # fmt: skip
    alone = run(
        "margin", "--model", "derive_pmrm", "--parameter-set", "2026-01-21-test", "--account", "box-01", "--json"
    )
    initial = {row["model"]: row["initial_margin"] for row in document["rows"] if row["account"] == "box-01"}
    assert initial[TESTED] == json.loads(alone.out)["accounts"][0]["initial_margin"] != initial["derive_pmrm"]
    by_name = json.loads(run("compare", *of("derive_pmrm:test", "derive_pmrm"), *SAMPLE, "--json").out)
    assert by_name["models"]["derive_pmrm:test"]["parameter_set"] == "2026-01-21-test"


def test_the_table_names_what_savings_are_measured_against(run: Any) -> None:
    models = of("derive_pmrm", "derive_standard", "worst_case")
    lines = run("compare", *models, *SAMPLE).out.splitlines()
    assert lines[0].endswith("by model, saving against derive_standard or worst_case")
    assert {line.split()[1]: "derive_standard" in line for line in lines[2:5]} == {
        "derive_pmrm": True, "derive_standard": True, "worst_case": False,
    }  # fmt: skip
    # Derive has no rule for the dated future of the second account.
    (footer,) = (line for line in lines if line.startswith("derive_pmrm: "))
    assert "% of derive_standard in the 1 of 2 accounts that can be compared" in footer
    (footer,) = (line for line in lines if line.startswith("worst_case: "))
    assert "100.0 % of worst_case in all" in footer
    one = run("compare", *models, *SAMPLE, "--reference", "derive_pmrm").out.splitlines()
    assert one[0].endswith("by model, saving against derive_pmrm") and "against" not in one[1]


def test_positions_excluded_are_those_of_the_accounts_asked_for(run: Any) -> None:
    models = of("derive_pmrm", "worst_case")
    for account, count in (("box-01", "none"), ("future-roll-01", "2"), ("cash-and-carry-01", "1")):
        done = run("compare", *models, "--account", account)
        assert f"parameter set 2026-01-21; positions excluded: {count}\n" in done.out
        assert ("excluded" in done.out.splitlines()[1]) == (count != "none")
        stated = json.loads(run("compare", *models, "--account", account, "--json").out)["models"]["derive_pmrm"]
        assert str(len(stated["positions_excluded"]) or "none") == count


@pytest.mark.parametrize(
    ("table", "texts"),
    [
        ("[derive_pmrm]\nnonsense = 1", ("derive_pmrm: ", "[derive_pmrm]", "unknown parameter nonsense")),
        ("[span]\nprice_scan = -5", ("span: ", "[span]", "price_scan = -5", "from 0.001 to 0.3")),
        ("[deribit_legacy_pm]\nprice_range = 0.15", ("deribit_legacy_pm: ", "[deribit_legacy_pm]", "needs a value")),
        # Only the market's contracts show that this one is wrong.
        ('[deribit_spm]\ncoins = "cell_by_cell"', ("deribit_spm", "of --params", "it is for deribit_xpm")),
    ],
)
def test_wrong_parameters_of_the_user_are_an_error(
    run: Any, tmp_path: Path, table: str, texts: tuple[str, ...]
) -> None:
    (tmp_path / "p.toml").write_text(table)
    models = of("derive_pmrm", "span", "deribit_legacy_pm", "deribit_spm", "worst_case")
    check_fails(run("compare", *models, *SAMPLE, "--params", "p.toml"), *texts)


def test_wrong_names_of_the_user_are_an_error(run: Any) -> None:
    both = of("worst_case", "derive_pmrm:2020-01-01")
    check_fails(run("compare", *both, *SAMPLE), "no parameter set '2020-01-01'", "2026-01-21")
    check_fails(run("compare", *of("worst_case:2020-01-01"), *SAMPLE), "worst_case has no parameter sets")
    check_fails(run("compare", *of("derive_pmrm:"), *SAMPLE), "NAME:PARAMETER-SET")
    check_fails(run("compare", *of("derive_pmr:test"), *SAMPLE), "derive_pmrm")


def test_what_a_venue_does_not_publish_is_only_told(run: Any, tmp_path: Path) -> None:
    """Also where a part of it was given: the rest is missing with or without that part."""
    (tmp_path / "p.toml").write_text("[okx_pm]\nterm_structure_vol = 0.05\n")
    models = of("okx_pm", "deribit_legacy_pm", "worst_case")
    done = run("compare", *models, *SAMPLE, "--params", "p.toml")
    assert done.code == 0, done.err
    assert "left out, okx_pm: rate_move must be given" in done.out
    assert "left out, deribit_legacy_pm: deribit_legacy_pm needs a value for price_range" in done.out
    told = run("compare", *models, *SAMPLE, "--params", "p.toml", "--csv")
    assert {row["model"] for row in csv.DictReader(told.out.splitlines())} == {"worst_case"}
    assert "left out, okx_pm: rate_move must be given" in told.err
    assert "worst_case: default parameters" in told.err
    stated = json.loads(run("compare", *models, *SAMPLE, "--json").out)["models_left_out"]
    assert list(stated) == ["deribit_legacy_pm", "okx_pm"] and all(stated.values())


def test_where_no_model_can_be_computed_every_reason_is_told(run: Any) -> None:
    done = run("compare", *of("deribit_legacy_pm"), *SAMPLE)
    check_fails(done, "no model can be computed here:\nderibit_legacy_pm: deribit_legacy_pm needs a value")
    check_fails(run("compare", *of("okx_pm", "deribit_legacy_pm"), *SAMPLE), "\nokx_pm: term", "\nderibit_legacy_pm: d")
    missing = run("compare", *of("deribit_legacy_pm", "worst_case"), *SAMPLE, "--reference", "deribit_legacy_pm")
    check_fails(missing, "reference = 'deribit_legacy_pm': deribit_legacy_pm needs a value")


EXAMPLES = str(Path(portfolio_margin.sample.__file__).parent / "parameters.toml")


def test_the_example_parameters_compute_every_model(run: Any) -> None:
    done = run("compare", "--params", EXAMPLES, *SAMPLE, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["models_left_out"] == {} and len(registered(MODELS)) >= 18
    assert {row["model"] for row in document["rows"]} == set(registered(MODELS))
    assert json.loads(run("compare", *SAMPLE, "--json").out)["models_left_out"]  # which is what they are for


def test_a_parameter_file_for_several_models_serves_one(run: Any) -> None:
    document = json.loads(run("compare", "--params", EXAMPLES, *of("okx_pm"), *SAMPLE, "--json").out)
    alone = run("margin", "--params", EXAMPLES, "--model", "okx_pm", "--account", "box-01", "--json")
    assert alone.code == 0, alone.err
    assert "not used here" not in alone.err
    none = run("margin", "--params", EXAMPLES, "--model", "worst_case", "--account", "box-01")
    assert none.code == 0 and "not used here: [aevo_standard]" in none.err
    (initial,) = (row["initial_margin"] for row in document["rows"] if row["account"] == "box-01")
    assert json.loads(alone.out)["accounts"][0]["initial_margin"] == initial


def test_a_doubtful_set_says_what_it_does_to_margins(run: Any) -> None:
    lines = run("compare", *of("derive_pmrm2", "derive_pmrm2:cases"), *SAMPLE).out.splitlines()
    (said,) = (line for line in lines if "margins come out too low" in line)
    assert said.startswith("warning: derive_pmrm2: ") and "derive_pmrm2:cases has them the other way round" in said
    for command in (("margin",), ("explain", "box-01")):
        assert said in run(*command, "--model", "derive_pmrm2").out.splitlines()
    assert "too low" not in run("margin", "--model", "derive_pmrm2", "--parameter-set", "cases").out


def test_parameters_of_another_time_are_marked_row_by_row(run: Any) -> None:
    models = of("paradex_pm", "worst_case")
    lines = run("compare", *models, *SAMPLE).out.splitlines()
    assert next(line.split()[1:3] for line in lines if line.startswith("box-01")) == ["paradex_pm", "†"]
    assert any(line.startswith("† parameters not valid at the time of this market") for line in lines)
    assert "† paradex_pm: 2026-04-22" in lines
    assert not any("†" in line for line in lines if "worst_case  " in line)
    rows = csv.DictReader(run("compare", *models, *SAMPLE, "--csv").out.splitlines())
    assert {row["model"]: row["parameters_apply"] for row in rows} == {"paradex_pm": "False", "worst_case": "True"}
    assert "†" not in run("compare", *of("worst_case"), *SAMPLE).out


def test_option_value_in_a_requirement_is_told_apart_from_risk(run: Any) -> None:
    """A box bought costs its risk, and its value, which equity holds and SPAN sets against nothing else."""
    out = run("compare", *of("span", "worst_case"), "--account", "box-01").out
    document = json.loads(run("explain", "box-01", "--model", "span", "--json").out)
    charge = [line for line in document["lines"] if line["name"] == "option_value"]
    amount = f"{float(charge[0]['initial']):.2f}"
    assert f"span: {amount} USD of it, option_value, is no risk: option value that equity holds" in out
    assert "option_value" not in run("compare", *of("worst_case"), "--account", "box-01").out
    told = run("compare", *of("derive_standard", "worst_case"), "--account", "box-01").out
    assert re.search(r"derive_standard: [1-9][\d,.]* USD of it, in option, is no risk: option value", told)


def test_models_on_a_risk_array_file(run: Any) -> None:
    """Who has the published arrays has the numbers of the market; a model of other scenarios says what it needs."""
    models = of("deribit_spm", "deribit_standard", "worst_case", "paradex_pm")
    assert run("arrays", "--model", "deribit_spm", "--output", "a.npz").code == 0
    document = json.loads(run("compare", "--arrays", "a.npz", *models, *SAMPLE, "--json").out)
    assert set(document["models"]) == {"deribit_spm", "deribit_standard", "worst_case"}
    reason = document["models_left_out"]["paradex_pm"]
    assert "scenarios of its own, 24 of them" in reason and "arrays --model paradex_pm" in reason
    of_market = json.loads(run("compare", *of("deribit_spm", "deribit_standard"), *SAMPLE, "--json").out)
    for row in of_market["rows"]:
        assert row in document["rows"]
    alone = json.loads(run("margin", "--arrays", "a.npz", "--account", "box-01", "--json").out)["accounts"][0]
    (initial,) = (
        row["initial_margin"] for row in document["rows"] if (row["model"], row["account"]) == ("worst_case", "box-01")
    )
    assert initial == alone["initial_margin"]
    table = run("compare", "--arrays", "a.npz", *models, *SAMPLE).out
    assert table.startswith("margin of a.npz at 2026-02-26T09:41:05Z by model")
    assert "left out, paradex_pm: paradex_pm has scenarios of its own" in table


def test_models_on_a_span_file(run: Any, tmp_path: Path) -> None:
    file = exchange_with_every_rule(date="20160517")
    write_spn(tmp_path / "x.spn", file)
    first, *_ = file_arrays(file).arrays.instrument_id
    (tmp_path / "p.csv").write_text(f"account,instrument,quantity\none,{first},-3\n")
    book = ("--arrays", "x.spn", "--positions", "p.csv")
    document = json.loads(run("compare", *book, *of("span", "worst_case", "derive_pmrm"), "--json").out)
    assert "from no market" in document["models_left_out"]["derive_pmrm"]
    for row in document["rows"]:
        alone = json.loads(run("margin", *book, "--model", row["model"], "--json").out)["accounts"][0]
        assert row["initial_margin"] == alone["initial_margin"] != "0.00"
    assert document["models"]["span"]["parameter_set"].endswith("x.spn")


def test_what_has_no_effect_beside_arrays(run: Any, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text("[grid]\n")
    one = of("worst_case")
    check_fails(run("compare", "--arrays", "a.npz", "--market", "m.json", *one), "give one of the two")
    check_fails(run("compare", "--arrays", "a.npz", "--tick", "1", "--family", "grid", *one), "--family, --tick has no")
    check_fails(run("compare", "--arrays", "a.npz", "--params", "grid.toml", *one), "[grid] of grid.toml has no effect")
    check_fails(run("compare", "--arrays", "a.npz", *one), "a.npz")
    check_fails(run("compare", "--arrays", "x.spn", *one), "--positions FILE")
