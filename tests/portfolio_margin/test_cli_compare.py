"""compare on the command line: which models and parameter sets, what is an error, and what is only told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.portfolio_margin import test_cli
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
    assert "% of derive_standard in the 1 of 2 accounts that both see in full" in footer
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
