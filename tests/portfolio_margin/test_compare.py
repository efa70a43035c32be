"""Models side by side: each under its own scenarios, savings, what is left out; the command and its picture."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import portfolio_margin.models
from portfolio_margin import ParameterSet, compare, compare_on, margin
from portfolio_margin.compare import Comparison
from portfolio_margin.models import span, worst_case
from portfolio_margin.statement import up
from pricing import ConfigError
from scenarios import revalue
from scenarios.families import grid
from tests.portfolio_margin import test_cli, toy_model
from tests.portfolio_margin.books import ARRAYS, BOOK, GRID, INSTRUMENTS, MARKET, book_of
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
TOY = toy_model.Model()
FUTURE = str(INSTRUMENTS.instrument_id[INSTRUMENTS.kind == 2][0])
MODELS = {
    "worst_case": worst_case.Model(),
    "lenient": worst_case.Model(worst_case.Params(netting="joint", short_option_minimum=0.0)),
    "toy": TOY,
}


def compared(**models: Any) -> Comparison:
    return compare(BOOK, MARKET, {**MODELS, **models}, instruments=INSTRUMENTS, scenario_set=GRID)


def test_models_on_arrays_as_they_are() -> None:
    """Models without scenarios of their own as on the market; the toy has others, and is left out."""
    result, whole = compare_on(BOOK, ARRAYS, MODELS), compared()
    assert result.model == ["worst_case", "lenient"] and "scenarios of its own" in result.left_out["toy"]
    assert result.initial.tobytes() == whole.initial[:2].tobytes()
    with pytest.raises(ConfigError, match="no model can be computed here"):
        compare_on(BOOK, ARRAYS, {"toy": TOY})


def test_every_model_is_computed_under_its_own_scenarios() -> None:
    result = compared()
    own = revalue(INSTRUMENTS, MARKET, TOY.scenario_set(MARKET))
    for name, arrays in (("worst_case", ARRAYS), ("lenient", ARRAYS), ("toy", own)):
        alone = margin(BOOK, arrays, MARKET, MODELS[name])
        row = result.model.index(name)
        assert result.initial[row].tobytes() == alone.initial_margin.tobytes()
        assert result.maintenance[row].tobytes() == alone.maintenance_margin.tobytes()
        assert result.worst_scenario[row].tolist() == alone.columns()["worst_scenario"].tolist()
    assert np.allclose(result.saving, result.initial[0] - result.initial, atol=0.005)
    assert np.all(result.saving[1] >= 0)


def test_the_largest_charge_is_named() -> None:
    result = compared()
    for row, name in enumerate(result.model):
        charges = result.statements[name].charges
        for account in range(0, len(BOOK), 17):
            parts = {charge: values[account, 0] for charge, values in charges.items()}
            assert parts[result.charge[row, account]] == max(parts.values())
            assert result.charge_amount[row, account] == up(np.array([max(parts.values())]))[0]


def test_equal_scenarios_are_revalued_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*given: Any, **how: Any) -> Any:
        calls.append(given[2])
        return revalue(*given, **how)

    monkeypatch.setattr(sys.modules["portfolio_margin.compare"], "revalue", counted)
    compared(again=toy_model.Model(toy_model.Params(short_rate=0.5)))
    assert len(calls) == 2


@dataclass(frozen=True)
class Unable(toy_model.Model):
    """A model that nobody gave its table."""

    def scenario_set(self, market: Any) -> Any:
        """Refused."""
        raise ConfigError("needs the table that the venue does not publish")


def test_a_model_that_cannot_be_computed_is_left_out_with_the_reason() -> None:
    result = compared(unable=Unable())
    assert result.left_out == {"unable": "needs the table that the venue does not publish"}
    assert result.model == list(MODELS)
    assert result.identity()["models_left_out"] == dict(result.left_out)
    with pytest.raises(ConfigError, match="no model can be computed here:\nunable: needs the table"):
        compare(BOOK, MARKET, {"unable": Unable()}, instruments=INSTRUMENTS)
    with pytest.raises(ConfigError, match=r"models = \{\}: give one at least"):
        compare(BOOK, MARKET, {}, instruments=INSTRUMENTS)
    with pytest.raises(ConfigError, match="give a scenario_set"):
        compare(BOOK, MARKET, {"worst_case": MODELS["worst_case"]}, instruments=INSTRUMENTS)
    with pytest.raises(ConfigError, match="reference = 'none'"):
        compare(BOOK, MARKET, MODELS, instruments=INSTRUMENTS, scenario_set=GRID, reference="none")


def test_the_frame_has_a_row_a_model_and_account() -> None:
    result = compared().select([3, 5])
    frame = result.frame()
    assert frame["model"].tolist() == [name for name in MODELS for _ in range(2)]
    assert frame["account"].tolist() == BOOK.account_id[[3, 5]].tolist() * 3
    assert frame["initial_margin"].tolist() == result.initial.ravel().tolist()
    held = slice(BOOK.position_ptr[3], BOOK.position_ptr[4])
    row = BOOK.instrument_idx[held]
    size = np.where(ARRAYS.is_collateral[row], 0.0, np.abs(BOOK.quantity[held]) * ARRAYS.notional[row]).sum()
    assert result.notional[0] == pytest.approx(size)


@dataclass(frozen=True)
class Named(toy_model.Model):
    """The toy model under another name."""

    model_id: str = "toy_pm"


def test_savings_are_measured_against_the_standard_model_of_the_venue() -> None:
    """Of several with other parameters against the one with the set of the same name; without one, worst_case."""
    standard = Named(toy_model.Params(short_rate=0.4), model_id="toy_standard")
    tested = replace(standard, parameter_set=ParameterSet(name="2024-01-01-test", valid_from="2024-01-01"))
    models = {
        "pm": Named(),
        "pm:test": Named(parameter_set=tested.parameter_set),
        "other": Named(model_id="other_pm"),
        "usual": MODELS["worst_case"],
        "standard": standard,
        "standard:test": replace(tested, params=toy_model.Params(short_rate=0.6)),
    }
    result = compare(BOOK, MARKET, models, instruments=INSTRUMENTS, scenario_set=GRID)
    assert result.references == {
        "pm": "standard", "pm:test": "standard:test", "other": "usual", "usual": "usual", "standard": "standard",
        "standard:test": "standard:test",
    }  # fmt: skip
    initial = dict(zip(result.model, result.initial, strict=True))
    for row, (name, reference) in enumerate(result.references.items()):
        assert np.allclose(result.saving[row], initial[reference] - initial[name], atol=0.005)
    assert np.any(result.saving[0] != result.saving[1])
    frame = result.frame()
    assert frame.groupby("model")["reference"].unique().map(list).to_dict() == {
        name: [reference] for name, reference in result.references.items()
    }
    only = {name: models[name] for name in ("pm", "other")}
    alone = compare(BOOK, MARKET, only, instruments=INSTRUMENTS, scenario_set=GRID)
    assert alone.references == {"pm": "pm", "other": "pm"}
    asked = compare(BOOK, MARKET, models, instruments=INSTRUMENTS, scenario_set=GRID, reference="other")
    assert set(asked.references.values()) == {"other"}


@pytest.fixture
def with_toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The toy model as if it were shipped."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "toy_model.py").write_text("from tests.portfolio_margin.toy_model import Model, Params\n")
    paths = [*portfolio_margin.models.__path__, str(folder)]
    monkeypatch.setattr(portfolio_margin.models, "__path__", paths)
    yield
    sys.modules.pop("portfolio_margin.models.toy_model", None)
    vars(portfolio_margin.models).pop("toy_model", None)


@pytest.mark.usefixtures("with_toy")
def test_the_command(run: Any, tmp_path: Path) -> None:
    done = run("compare", "--plot", "map.png")
    assert done.code == 0, done.err
    assert "toy_model: " in done.out and "worst_case: 100.0 %" in done.out
    rows = list(csv.DictReader(run("compare", "--csv").out.splitlines()))
    document = json.loads(run("compare", "--json", "--account", "iron-condor-07").out)
    assert {row["model"] for row in rows} >= {"worst_case", "toy_model"}
    mine = {row["model"]: row for row in rows if row["account"] == "iron-condor-07"}
    for row in document["rows"]:
        assert row["initial_margin"] == f"{float(mine[row['model']]['initial_margin']):.2f}"
    assert document["models"]["toy_model"]["parameter_set"] == "defaults"
    assert run("compare", "--parquet", "c.parquet", "--model", "toy_model").code == 0
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    check_fails(run("compare", "--account", "nobody"), "nobody")
    check_fails(run("compare", "--reference", "nothing"), "nothing")


@pytest.mark.usefixtures("with_toy")
def test_a_model_with_scenarios_of_its_own_on_the_command_line(run: Any) -> None:
    sample = ("--model", "toy_model", "--account", "iron-condor-07", "--json")
    first = json.loads(run("margin", *sample).out)
    assert first["parameters_changed"] == []
    changed = json.loads(run("margin", *sample, "--param", "initial_factor=2.6").out)
    assert changed["parameters_changed"] == ["initial_factor"]
    amounts = [float(d["accounts"][0]["initial_margin"]) for d in (first, changed)]
    assert amounts[1] == pytest.approx(2 * amounts[0], abs=0.02)
    for options, text in (
        (("--family", "grid"), "--family"),
        (("--scenario", "buckets=3"), "--scenario"),
    ):
        check_fails(run("margin", *sample, *options), f"{text} has no effect beside toy_model", "scenarios of its own")
    check_fails(run("margin", *sample, "--parameter-set", "2024-01-01"), "no parameter sets, only its defaults")
    assert run("arrays", "--model", "toy_model", "--output", "toy.npz").code == 0
    again = json.loads(run("margin", *sample, "--arrays", "toy.npz").out)
    assert again["accounts"] == first["accounts"]
    check_fails(run("margin", "--model", "worst_case", "--arrays", "toy.npz", "--family", "grid"), "--arrays")
    assert run("arrays", "--output", "grid.npz").code == 0
    check_fails(run("margin", *sample, "--arrays", "grid.npz"), "toy_model has scenarios of its own")


def test_positions_without_a_rule_are_shown() -> None:
    model = toy_model.Model(toy_model.Params(futures="off"))
    statement = margin(BOOK, revalue(INSTRUMENTS, MARKET, model.scenario_set(MARKET)), MARKET, model)
    held = (INSTRUMENTS.kind[BOOK.instrument_idx] == 2) & (BOOK.quantity != 0)
    assert len(statement.positions_excluded) == held.sum() > 0
    assert all(line.endswith(": futures are off") for line in statement.positions_excluded)
    assert statement.identity()["positions_excluded"] == list(statement.positions_excluded)
    with_all = margin(BOOK, revalue(INSTRUMENTS, MARKET, TOY.scenario_set(MARKET)), MARKET, TOY)
    assert statement.equity.tobytes() == with_all.equity.tobytes()


def test_a_set_that_is_not_valid_then_is_said_to_be() -> None:
    late = replace(TOY, parameter_set=ParameterSet(name="2030-01-01", valid_from="2030-01-01", applies=False))
    assert "not valid at the time of this market" in late.parameter_set.text()
    assert compared(late=late).identity()["models"]["late"]["parameters_apply"] is False


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from portfolio_margin.plots import margin_map

    result = compared().select(list(range(20)))
    for scale in ("notional", "amount"):
        picture = margin_map(result, scale)
        shown = picture.frame
        wanted = shown["initial_margin"] / (shown["notional"] if scale == "notional" else 1.0)
        assert np.allclose(shown["value"], wanted, equal_nan=True)
        picture.save(tmp_path / f"{scale}.png")
        assert (tmp_path / f"{scale}.png").stat().st_size > 10_000
    with pytest.raises(ConfigError, match="scale"):
        margin_map(result, "colour")
    many = compare(BOOK, MARKET, MODELS, instruments=INSTRUMENTS, scenario_set=grid.scenarios(grid.Params(), MARKET))
    with pytest.raises(ConfigError, match="choose some"):
        margin_map(many.select([*range(120), 0]))


def test_the_picture_tells_zero_from_nothing_held_from_not_computed() -> None:
    pytest.importorskip("matplotlib")
    from portfolio_margin.plots import margin_map

    held = {
        "long": {"BTC-7D-68000-C": 1.0, "USD": 1e5},
        "coin": {"BTC": 3.0},
        "future": {FUTURE: -10.0, "USD": 1e5},
        "both": {FUTURE: -10.0, "BTC-PERPETUAL": -500.0, "USD": 1e5},
    }
    models = {"usual": MODELS["worst_case"], "off": Named(toy_model.Params(futures="off")), "unable": Unable()}
    models["free"] = models["off"]
    result = compare(book_of(held), MARKET, models, instruments=INSTRUMENTS, scenario_set=GRID)
    initial = np.where(result.account == "long", [[1.0], [1.0], [0.0]], result.initial)
    initial[1:, result.account == "coin"] = 0.0
    zero = replace(result, initial=initial)
    picture = margin_map(zero)
    cell = picture.frame.set_index(["model", "account"])["state"]
    assert cell["usual"].to_dict() == {"long": "number", "coin": "amount", "future": "number", "both": "number"}
    assert cell["off"].to_dict() == {
        "long": "number", "coin": "nothing held", "future": "not computed", "both": "amount",
    }  # fmt: skip
    assert cell["free", "long"] == "zero"
    assert picture.frame["value"].notna().tolist() == picture.frame["state"].isin(["number", "part"]).tolist()
    axes = picture.figure.axes[0]
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    column = {name: row for row, name in enumerate(zero.account.tolist())}
    marks = [shown[(1, column["future"])], shown[(1, column["coin"])], shown[(2, column["long"])]]
    # A margin of a part is no share of the notional of the whole.
    both = zero.initial[1, column["both"]]
    assert len(set(marks)) == 3 and shown[(1, column["both"])] == f"{both:.0f}*" and both > 1.0
    below = picture.figure.get_supxlabel().replace("\n", " ")
    for mark, meaning in zip(
        marks, ("not computed", "nothing required, no contract held", "nothing required"), strict=True
    ):
        assert f"{mark} {meaning}" in below
    # What the coin needs is shown, though it is no share of a contract's notional.
    thousands = zero.initial[0, column["coin"]] / 1e3
    assert thousands > 1 and shown[(0, column["coin"])] == f"{thousands:.3g} k"
    assert "1 k no contract held, or a part of what bears risk, so no share but an amount, in USD" in below
    assert "* of a part" in below and "not computed for any account: unable" in below
    for scale in ("notional", "amount"):
        title = margin_map(zero, scale).figure.axes[0].get_title()
        assert "USD" in title and "2026-02-26T09:41:05Z" in title, title
    amounts = margin_map(zero, "amount").frame.set_index(["model", "account"])["state"]
    assert amounts["usual", "coin"] == "number" and amounts["off", "both"] == "part"
    lines = margin_map(zero.select([column["coin"]])).figure.axes[0].get_title().split("\n")
    assert max(map(len, lines)) < 60
    assert "×" not in margin_map(result.select([column["coin"]])).figure.get_supxlabel()


def test_a_star_marks_every_margin_of_a_part() -> None:
    """Also where what is left out is an asset, which leaves no risk without a rule: the number is not of it."""
    pytest.importorskip("matplotlib")
    from portfolio_margin.plots import margin_map

    held = {"covered": {"BTC": 1.0, "BTC-7D-68000-C": -1.0}, "naked": {"BTC-7D-68000-C": -1.0, "USD": 1e5}}
    result = compare(book_of(held), MARKET, {"span": span.Model()}, instruments=INSTRUMENTS)
    assert result.unmargined.tolist() == [[False, False]] and result.excluded.tolist() == [[1, 0]]
    picture = margin_map(result)
    assert picture.frame["state"].tolist() == ["part", "number"]
    assert [text.get_text().endswith("*") for text in picture.figure.axes[0].texts] == [True, False]
    assert "* of a part" in picture.figure.get_supxlabel().replace("\n", " ")


def test_the_picture_of_accounts_that_need_nothing() -> None:
    """Left out beside others; never one that is not computed."""
    pytest.importorskip("matplotlib")
    from portfolio_margin.plots import margin_map

    held = {"cash": {"USD": 1.0}, "future": {FUTURE: -10.0, "USD": 1e5}, "none": {}}
    off = {"off": Named(toy_model.Params(futures="off"))}
    result = compare(book_of(held), MARKET, off, instruments=INSTRUMENTS)
    assert margin_map(result).frame[["account", "state"]].to_numpy().tolist() == [["future", "not computed"]]
    idle = margin_map(result.select([0, 2])).frame
    assert idle[["account", "state"]].to_numpy().tolist() == [["cash", "nothing held"], ["none", "nothing held"]]


def test_there_is_no_saving_against_a_margin_of_a_part() -> None:
    """A reference that leaves a contract out, and a model that does, ask for less than the whole requires."""
    off = toy_model.Model(toy_model.Params(futures="off"))
    book = book_of({"part": {"USD": 30_000.0, FUTURE: 100.0}, "whole": {"USD": 30_000.0, "BTC-PERPETUAL": 100.0}})
    for reference in ("off", "worst_case"):
        models = {"off": off, "worst_case": worst_case.Model()}
        result = compare(book, MARKET, models, instruments=INSTRUMENTS, scenario_set=GRID, reference=reference)
        other = 1 - result.model.index(reference)
        assert result.comparable[other].tolist() == [False, True]
        assert np.isnan(result.saving[other, 0]) and np.isfinite(result.saving[other, 1])
        frame = result.frame()
        assert frame.saving[frame.account == "part"].isna().any()
        assert frame.saving[frame.account == "whole"].notna().all()


def test_every_output_of_the_command_marks_that_there_is_no_saving(run: Any, tmp_path: Path) -> None:
    future = "BTC-27MAR26"
    rows = f"account,instrument,quantity\na,{future},-100000\nb,BTC-PERPETUAL,1000\n"
    (tmp_path / "p.csv").write_text(rows)
    (tmp_path / "c.csv").write_text("account,currency,amount\na,USD,100000\nb,USD,100000\n")
    call = ("compare", "--positions", "p.csv", "--collateral", "c.csv", "--model", "worst_case", "--model",
            "derive_pmrm2", "--reference", "derive_pmrm2")  # fmt: skip
    rows = list(csv.DictReader(run(*call, "--csv").out.splitlines()))
    savings = {(row["model"], row["account"]): row["saving"] for row in rows}
    assert savings["worst_case", "a"] == savings["derive_pmrm2", "a"] == "" and savings["worst_case", "b"] != ""
    assert {(row["account"], bool(row["saving_reason"])) for row in rows} == {("a", True), ("b", False)}
    document = json.loads(run(*call, "--json").out)
    assert [row["saving"] is None for row in document["rows"]] == [True, False, True, False]
    lines = run(*call).out.splitlines()
    (footer,) = (line for line in lines if line.startswith("worst_case: "))
    assert "of derive_pmrm2 in the 1 of 2 accounts that can be compared" in footer
    asked = {(row["model"], row["account"]): float(row["initial_margin"]) for row in rows}
    share = 100.0 * asked["worst_case", "b"] / asked["derive_pmrm2", "b"]
    assert f"worst_case: {share:.1f} % of" in footer
