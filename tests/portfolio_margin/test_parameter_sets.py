"""Dated parameter sets: the one valid on the day, named ones, what is refused; what statements say of them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, load_parameters, margin
from portfolio_margin.io.parameter_sets import find_parameter_set, parameter_files, read_parameter_set, valid_by_name
from portfolio_margin.io.parameters import Layer, build
from portfolio_margin.models import worst_case
from portfolio_margin.span.file_arrays import file_arrays, valuation_time_ms
from pricing import ConfigError, DataError
from tests.portfolio_margin.books import ARRAYS, BOOK, MARKET
from tests.portfolio_margin.span_examples import exchange_with_every_rule
from tests.portfolio_margin.test_cli import check_fails, run  # noqa: F401 - a fixture

HEADER = '[header]\nsource = "a page"\nnote = "a note"\nvalid_from = {start}\n'


def at(day: str) -> int:
    return int(np.datetime64(day, "ms").astype(int))


def written(folder: Path, name: str, params: str, more: str = "") -> Path:
    path = folder / "worst_case" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEADER.format(start=name[:10]) + more + "[params]\n" + params)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    written(tmp_path, "2024-01-01", "haircut = 0.1\n", "valid_to = 2024-06-30\n")
    for start in ("2024-07-01", "2025-03-01"):
        written(tmp_path, start, 'haircut = 0.2\nhaircut_by_asset.ETH = 0.3\nnetting = "joint"\n',
                'second_hand = ["haircut", "haircut_by_asset.ETH"]\n')  # fmt: skip
    written(tmp_path, "2025-01-01", "haircut = 0.3\n", "valid_to = 2025-01-31\n")
    written(tmp_path, "2024-03-01-test", "haircut = 0.9\n")
    return tmp_path


@pytest.mark.parametrize(
    ("day", "name"),
    [
        ("2024-01-01T00:00", "2024-01-01"),
        ("2024-06-30T23:59:59.999", "2024-01-01"),
        ("2024-07-01T00:00", "2024-07-01"),
        ("2025-01-31T12:00", "2025-01-01"),
        ("2025-03-01T00:00", "2025-03-01"),
        ("2026-02-26T09:41", "2025-03-01"),
    ],
)
def test_the_newest_set_valid_on_the_day(archive: Path, day: str, name: str) -> None:
    params, info = load_parameters("worst_case", at=at(day), folder=archive)
    assert (info.name, info.valid_from, info.applies) == (name, name, True)
    assert params.haircut == {"2024-01-01": 0.1, "2024-07-01": 0.2, "2025-01-01": 0.3, "2025-03-01": 0.2}[name]


def test_a_set_does_not_come_back_when_the_next_is_over(archive: Path) -> None:
    """It applies until the next set begins; taken by name later it says so."""
    february = at("2025-02-01")
    with pytest.raises(ConfigError, match="no parameter set valid at 2025-02-01"):
        load_parameters("worst_case", at=february, folder=archive)
    assert find_parameter_set("worst_case", at=february, folder=archive, nearest=True).info.name == "2025-01-01"
    for name, moment, valid, said in (
        ("2024-07-01", "2024-12-31T23:59", True, ""),
        ("2024-07-01", "2025-01-15", False, "only from 2024-07-01 until the next set, of 2025-01-01"),
        ("2024-07-01", "2025-02-01", False, "only from 2024-07-01 until the next set, of 2025-01-01"),
        ("2025-01-01", "2025-02-01", False, "only from 2025-01-01 to 2025-01-31"),
        ("2024-03-01-test", "2025-02-01", True, ""),
    ):
        info = load_parameters("worst_case", name, at(moment), archive)[1]
        assert info.applies is valid and info.valid_at(at(moment)) is valid
        assert info.warning(at(moment)).endswith(said) and bool(info.warning(at(moment))) is not valid


def test_names(archive: Path) -> None:
    assert load_parameters("worst_case", folder=archive)[1].name == "2025-03-01"
    assert load_parameters("worst_case", "test", at("2026-01-01"), archive)[0].haircut == 0.9
    params, info = load_parameters("worst_case", "2024-01-01", at("2026-01-01"), archive)
    assert (params.haircut, info.applies) == (0.1, False)
    for name, text in (("2023-01-01", "no parameter set"), ("tset", "did you mean|known|2024")):
        with pytest.raises(ConfigError, match=text):
            load_parameters("worst_case", name, folder=archive)
    assert list(parameter_files("worst_case", archive)) == [
        "2024-01-01", "2024-03-01-test", "2024-07-01", "2025-01-01", "2025-03-01",
    ]  # fmt: skip


def test_no_set_is_old_enough(archive: Path) -> None:
    with pytest.raises(ConfigError, match=r"no parameter set valid at 2020-01-01.*--parameter-set"):
        load_parameters("worst_case", at=at("2020-01-01"), folder=archive)
    found = find_parameter_set("worst_case", at=at("2020-01-01"), folder=archive, nearest=True)
    assert (found.info.name, found.info.applies) == ("2024-01-01", False)


def test_sets_with_a_word_behind_the_date_go_by_name_only() -> None:
    """Where only such a set is valid the message names it; a search by date, that of compare too, passes it over."""
    with pytest.raises(ConfigError, match=r"2024-06-17-docs: valid then, but .* taken by name only"):
        load_parameters("deribit_spm", at=at("2026-01-15"))
    assert valid_by_name("deribit_spm", at("2026-01-15")) == ["2024-06-17-docs"]
    assert valid_by_name("deribit_spm", at("2024-06-16")) == []
    assert find_parameter_set("deribit_spm", at=at("2026-01-15"), nearest=True).info.name == "2026-02-15"


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), 1.7e12, 10**30, -1, True])
@pytest.mark.parametrize("model", ["worst_case", "dynamic_worst_case"])
def test_a_time_that_is_none_is_refused(model: str, moment: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"at = {moment!r}: must be a whole number, ms UTC")):
        load_parameters(model, at=moment)


def test_a_day_is_a_time() -> None:
    for day in ("2026-02-14", "2026-02-15", "2026-08-31", "2026-09-01"):
        assert load_parameters("paradex_pm", at="2026-08-20")[1].name == "2026-08-20"
        if day != "2026-02-14":
            assert load_parameters("deribit_spm", at=day) == load_parameters("deribit_spm", at=at(day))
    for wrong in ("2026-02-30", "1.5.2026", "", "2026-01-01T00:00"):
        with pytest.raises(ConfigError, match=re.escape(f"at = {wrong!r}: write a day")):
            load_parameters("deribit_spm", at=wrong)


def test_the_last_moment_of_a_date_is_taken() -> None:
    assert load_parameters("dynamic_worst_case", at=at("10000-01-01") - 1)[1].name == "2026-02-26"
    with pytest.raises(ConfigError, match="at = 253402300800000"):
        load_parameters("dynamic_worst_case", at=at("10000-01-01"))


def test_a_model_without_sets_has_its_defaults(tmp_path: Path) -> None:
    params, info = load_parameters("worst_case", at=0, folder=tmp_path)
    assert params == worst_case.Params()
    assert (info.name, info.valid_from) == ("defaults", "")
    with pytest.raises(ConfigError, match="only its defaults"):
        load_parameters("worst_case", "2024-01-01", folder=tmp_path)


def test_an_archive_extends_the_shipped_sets_or_stands_instead(tmp_path: Path) -> None:
    shipped = parameter_files("derive_pmrm")
    own = tmp_path / "mine" / "derive_pmrm"
    own.mkdir(parents=True)
    newer = shipped["2026-01-21"].read_text().replace("valid_from = 2026-01-21", "valid_from = 2026-02-20")
    (own / "2026-02-20.toml").write_text(newer)
    (own / "2026-01-21.toml").write_text(shipped["2026-01-21"].read_text())
    more = {"folder": own.parent, "extend": True}
    assert list(parameter_files("derive_pmrm", **more)) == sorted({*shipped, "2026-02-20"})
    for day, name, archive in (("2026-02-19", "2026-01-21", "mine"), ("2026-02-20", "2026-02-20", "mine")):
        info = load_parameters("derive_pmrm", at=at(day), **more)[1]
        assert (info.name, info.archive) == (name, archive)
    assert load_parameters("derive_pmrm", "test", **more)[1].archive == ""
    assert "from the archive mine" in info.text() and info.identity()["parameters_archive"] == "mine"
    # Models that the folder has no sets of keep the shipped ones, but where it stands alone.
    assert load_parameters("derive_pmrm2", at=at("2026-02-20"), **more)[1].archive == ""
    assert list(parameter_files("derive_pmrm", own.parent)) == ["2026-01-21", "2026-02-20"]
    assert parameter_files("derive_pmrm2", own.parent) == {}


def test_an_archive_with_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"archive.*nowhere.*no such folder"):
        load_parameters("worst_case", folder=tmp_path / "nowhere")
    (tmp_path / "worst_cases").mkdir()
    assert parameter_files("worst_case", tmp_path) == {}, "a folder without sets is nobody's business"
    (tmp_path / "worst_cases" / "2024-01-01.toml").write_text("")
    (tmp_path / "2024-01-01.toml").write_text("")
    with pytest.raises(DataError, match=r"(?s)worst_cases.*no margin model.*worst_case\b.*2024-01-01.toml.*its model"):
        load_parameters("worst_case", folder=tmp_path, extend=True)


def test_an_archive_on_the_command_line(run: Any, archive: Path, tmp_path: Path) -> None:  # noqa: F811
    """The same margins as with the parameters given one by one, in every command that takes a model."""
    mine = ("--archive", str(archive))
    account = ("--account", "iron-condor-07")
    given = ("--param", "haircut=0.2", "--param", "haircut_by_asset.ETH=0.3", "--param", "netting=joint")
    by_archive = json.loads(run("margin", *mine, *account, "--json").out)
    by_hand = json.loads(run("margin", *given, *account, "--json").out)
    assert by_archive["accounts"] == by_hand["accounts"]
    assert (by_archive["parameter_set"], by_archive["parameters_archive"]) == ("2025-03-01", archive.name)
    named = json.loads(run("margin", *mine, "--parameter-set", "test", "--archive-only", *account, "--json").out)
    assert named["parameter_set"] == "2024-03-01-test"
    order = ("--order", "BTC-27MAR26-90000-C=-2")
    said = f"parameter set 2025-03-01; from the archive {archive.name}"
    for command in (
        ("explain", "iron-condor-07"), ("what-if", "iron-condor-07", *order), ("liquidate",),
        ("hedge", "perpetual-short-03", "--target", "0", "--instruments", "BTC-PERPETUAL"),
        ("optimise", "iron-condor-07", "--instruments", "BTC-PERPETUAL"),
        ("compare", "--model", "worst_case", *account),
    ):  # fmt: skip
        done = run(*command, *mine)
        assert said in done.out, (command, done)
    assert run("arrays", "--output", "a.npz", *mine).code == 0


def test_defaults_are_not_taken_beside_sets_of_an_archive(archive: Path) -> None:
    assert parameter_files("worst_case") == {}
    with pytest.raises(
        ConfigError, match=r"no parameter set valid at 2020-01-01.*the defaults of worst_case are not taken"
    ):
        load_parameters("worst_case", at=at("2020-01-01"), folder=archive, extend=True)
    with pytest.raises(ConfigError, match=r"to use it all the same$"):
        load_parameters("derive_pmrm", at=at("2020-01-01"), folder=archive, extend=True)


def test_an_archive_with_mistakes_on_the_command_line(run: Any, archive: Path) -> None:  # noqa: F811
    check_fails(run("margin", "--archive-only"), "--archive FOLDER")
    check_fails(run("margin", "--archive", "nowhere"), "nowhere", "no such folder")
    written(archive, "2026-02-01", "haircut = 1.5\n")
    check_fails(run("compare", "--model", "worst_case", "--model", "reg_t", "--archive", str(archive)), "haircut = 1.5")
    missing = ("margin", "--model", "deribit_spm", "--archive", str(archive), "--archive-only")
    check_fails(
        run(*missing), f"deribit_spm has no parameter set in the archive {archive} and needs a value for currency"
    )


@pytest.mark.parametrize(
    ("name", "content", "error", "text"),
    [
        ("2024-01-01", "haircut = 1.5", ConfigError, r"2024-01-01.*haircut = 1.5: must be a number from 0 to 1"),
        ("2024-01-01", "haircut = 'high'", ConfigError, "must be a number"),
        ("2024-01-01", "hair_cut = 0.1", ConfigError, "unknown parameter hair_cut"),
        ("2024-01-01", "haircut = ", DataError, "not valid TOML"),
        ("2024-13-01x", "", DataError, "YYYY-MM-DD"),
    ],
)
def test_a_set_with_mistakes(tmp_path: Path, name: str, content: str, error: type, text: str) -> None:
    path = tmp_path / "worst_case" / f"{name}.toml"
    path.parent.mkdir()
    path.write_text(HEADER.format(start="2024-01-01") + "[params]\n" + content)
    with pytest.raises(error, match=text):
        load_parameters("worst_case", folder=tmp_path)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("[params]\nhaircut = 0.1\n", "header"),
        (HEADER.format(start="2024-01-01"), "params"),
        (HEADER.format(start="2024-01-02") + "[params]\n", "valid_from"),
        (HEADER.format(start='"2024-01-01"') + "[params]\n", "valid_from"),
        (HEADER.format(start="2024-01-01") + "valid_to = 2023-01-01\n[params]\n", "valid_to"),
        (HEADER.format(start="2024-01-01") + "author = 1\n[params]\n", "author"),
        (HEADER.format(start="2024-01-01") + 'second_hand = ["vol"]\n[params]\nhaircut = 0.1\n', "second_hand"),
        (HEADER.format(start="2024-01-01") + 'doubtful = ["vol"]\n[params]\nhaircut = 0.1\n', "doubtful"),
        (HEADER.format(start="2024-01-01") + "[params]\n[others]\n", "others"),
    ],
)
def test_a_header_with_mistakes(tmp_path: Path, document: str, text: str) -> None:
    path = tmp_path / "2024-01-01.toml"
    path.write_text(document)
    with pytest.raises(DataError, match=text):
        read_parameter_set(path)


def test_statements_name_the_set_and_what_is_second_hand(archive: Path) -> None:
    params, info = load_parameters("worst_case", at=at("2024-08-01"), folder=archive)
    identity = margin(BOOK, ARRAYS, MARKET, worst_case.Model(params, info)).identity()
    assert identity["parameter_set"] == "2024-07-01"
    assert identity["parameters_valid_from"] == "2024-07-01"
    assert identity["parameters_second_hand"] == ["haircut", "haircut_by_asset.ETH"]
    changed = worst_case.Model(params, replace(info, changed=("haircut",)))
    assert margin(BOOK, ARRAYS, MARKET, changed).identity()["parameters_second_hand"] == ["haircut_by_asset.ETH"]
    assert "second-hand: haircut_by_asset.ETH" in changed.parameter_set.text()
    assert worst_case.Model().parameter_set.text() == "default parameters"


def test_the_shipped_sets_can_be_read() -> None:
    from portfolio_margin.io.parameters import MODELS, registered

    for model in registered(MODELS):
        for path in parameter_files(model).values():
            assert read_parameter_set(path).info.source


@dataclass(frozen=True)
class Leg:
    """A part of a parameter set."""

    ratio: float
    side: str = "A"


@dataclass(frozen=True)
class Nested:
    """Everything a parameter set may hold."""

    legs: tuple[Leg, ...] = ()
    by_asset: dict[str, Leg] | None = None
    pairs: tuple[tuple[float, float], ...] = ()
    strict: bool = False
    names: tuple[str, ...] = ()
    inner: Leg = field(default_factory=lambda: Leg(2.0, "B"))


def built(**values: Any) -> Nested:
    result: Nested = build(Nested, Layer("here", values))
    return result


def test_nested_parameters() -> None:
    assert built(legs=[{"ratio": 1}, {"ratio": 2.0, "side": "B"}]).legs == (Leg(1), Leg(2.0, "B"))
    assert build(Nested, Layer("", {"inner": {"ratio": 3.0}})).inner == Leg(3.0, "B")
    given = built(pairs=[[1, 2], [3, 4]], strict=True, names=["a", "b"])
    assert (given.pairs, given.strict, given.names) == (((1, 2), (3, 4)), True, ("a", "b"))
    for values, text in (
        ({"legs": [{"ratio": 1, "sied": "B"}]}, r"legs\[0\].sied"),
        ({"legs": [{"side": "B"}]}, "needs a value for ratio"),
        ({"legs": [3]}, "each given by its parts: ratio, side"),
        ({"pairs": [[1, 2, 3]]}, "pairs"),
        ({"strict": 1}, "true or false"),
        ({"names": [1]}, "names"),
    ):
        with pytest.raises(ConfigError, match=text):
            built(**values)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "valid_to = 2026-03-31T12:00:00",
            "header valid_to = '2026-03-31T12:00:00': must be a date, YYYY-MM-DD without",
        ),
        ("valid_to = 12:00:00", "header valid_to = '12:00:00': must be a date"),
        ("second_hand = [1]", r"header second_hand = \[1\]: must be a list of texts"),
    ],
)
def test_a_header_of_another_type(tmp_path: Path, more: str, said: str) -> None:
    path = written(tmp_path, "2026-03-01", "haircut = 0.1\n", f"{more}\n")
    with pytest.raises(DataError, match=f"{path}, {said}"):
        load_parameters("worst_case", at=at("2026-03-02"), folder=tmp_path)


def test_a_moment_is_no_first_day(tmp_path: Path) -> None:
    path = written(tmp_path, "2026-03-01", "haircut = 0.1\n")
    path.write_text(path.read_text().replace("valid_from = 2026-03-01", "valid_from = 2026-03-01T00:00:00Z"))
    with pytest.raises(DataError, match="header valid_from = '2026-03-01T00:00:00"):
        load_parameters("worst_case", folder=tmp_path)


def test_a_settlement_file_has_the_sets_of_its_business_date(archive: Path) -> None:
    """One that ends with the day is the last that applies, though the file is of the end of that day."""
    for date, name in (("20240630", "2024-01-01"), ("20240701", "2024-07-01"), ("20250131", "2025-01-01")):
        file = exchange_with_every_rule(date=date)
        moment = valuation_time_ms(file)
        assert load_parameters("worst_case", at=moment, folder=archive)[1].name == name
        assert at(f"{date[:4]}-{date[4:6]}-{date[6:]}T00:00") < moment
    assert valuation_time_ms(exchange_with_every_rule(date="20240630", is_settlement=False)) == at("2024-06-30")


def test_a_statement_of_a_settlement_file_applies_on_its_business_date(archive: Path) -> None:
    file = exchange_with_every_rule(date="20250131")
    arrays = file_arrays(file).arrays
    model = worst_case.Model(*load_parameters("worst_case", at=arrays.valuation_time, folder=archive))
    book = Book.from_arrays(["a"], [0], [1.0], arrays.expiry_idx)
    statement = margin(book, arrays, None, model)
    assert (statement.parameter_set.name, statement.parameter_set.applies) == ("2025-01-01", True)
