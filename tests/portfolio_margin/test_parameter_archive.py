"""Parameters kept in an archive come back as they were, and a set that is there is never changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import load_parameters
from portfolio_margin.io.parameter_archive import keep_parameters
from portfolio_margin.io.parameter_sets import parameter_files
from portfolio_margin.io.parameters import MODELS, registered
from portfolio_margin.models import worst_case
from pricing import ConfigError, DataError

SAID = {"source": 'a page, "quoted"', "note": "two\nlines"}
SHIPPED = [(model, name) for model in registered(MODELS) for name in parameter_files(model)]


def test_what_doubtful_parameters_do_goes_with_them(tmp_path: Path) -> None:
    params, info = load_parameters("derive_pmrm2", "2026-01-21")
    assert info.doubtful and info.doubt
    for name, given, wanted in (
        ("2026-03-01", {}, info.doubt),
        ("2026-03-02", {"doubt": "of ours"}, "of ours"),
        ("2026-03-03", {"doubtful": ()}, ""),
    ):
        keep_parameters(tmp_path, "derive_pmrm2", params, name, **SAID, **given)
        assert load_parameters("derive_pmrm2", name, folder=tmp_path)[1].doubt == wanted
    with pytest.raises(ConfigError, match="is there with doubt = "):
        keep_parameters(tmp_path, "derive_pmrm2", params, "2026-03-02", **SAID)


@pytest.mark.parametrize(("model", "name"), SHIPPED)
def test_every_shipped_set_comes_back(model: str, name: str, tmp_path: Path) -> None:
    params, _ = load_parameters(model, name)
    path = keep_parameters(tmp_path / "mine", model, params, "2026-03-01", **SAID, valid_to="2026-03-31")
    found, info = load_parameters(model, "2026-03-01", folder=tmp_path / "mine")
    assert path == tmp_path / "mine" / model / "2026-03-01.toml" and found == params
    shipped = load_parameters(model, name)[1]
    assert set(shipped.second_hand) <= set(info.second_hand) and set(shipped.doubtful) <= set(info.doubtful)
    assert (info.source, info.note, info.valid_to, info.archive) == (*SAID.values(), "2026-03-31", "mine")


def test_a_set_is_never_changed(tmp_path: Path) -> None:
    params = worst_case.Params(haircut=0.1)
    path = keep_parameters(tmp_path, "worst_case", params, "2026-03-01-mine", **SAID)
    before = path.read_bytes()
    assert keep_parameters(tmp_path, "worst_case", params, "2026-03-01-mine", **SAID) == path
    for said in ({"valid_to": "2026-04-01"}, {"note": "another"}, {"source": "me"}, {"doubtful": ["haircut"]}):
        (key,) = said
        with pytest.raises(ConfigError, match=f"is there with {key} = "):
            keep_parameters(tmp_path, "worst_case", params, "2026-03-01-mine", **{**SAID, **said})
    with pytest.raises(ConfigError, match="there with other parameters"):
        keep_parameters(tmp_path, "worst_case", replace(params, haircut=0.2), "2026-03-01-mine", **SAID)
    assert path.read_bytes() == before


def test_marks_go_with_the_values(tmp_path: Path) -> None:
    params, info = load_parameters("deribit_standard")
    btc = info.second_hand[0].split(".")[-1]
    assert info.second_hand == ("options.btc", "options.eth")
    other = replace(params, options={**params.options, btc: replace(params.options[btc], initial=0.5)})
    for name, given, said, wanted in (
        ("2026-01-01", params, {}, info.second_hand),
        ("2026-01-02", other, {}, ("options.eth",)),
        ("2026-01-03", params, {"second_hand": ()}, ()),
        ("2026-01-04", params, {"second_hand": ("options",)}, ("options",)),
    ):
        keep_parameters(tmp_path, "deribit_standard", given, name, **SAID, **said)
        found = load_parameters("deribit_standard", name, folder=tmp_path)
        assert found[0] == given and found[1].second_hand == wanted


BAD = [
    ("2026-02-31", {}, "name = '2026-02-31'"),
    ("2026-02-01", {"valid_to": "2026-01-15"}, "valid_to = '2026-01-15': is before the first day, 2026-02-01"),
    ("2026-02-01", {"valid_to": "2026-03-15T10:00:00"}, "valid_to = '2026-03-15T10"),
    ("2026-02-01", {"valid_to": "5"}, "valid_to = '5'"),
    ("2026-02-01", {"valid_to": "2026-03-15\nfoo = 1"}, "valid_to = '2026-03-15"),
    ("2026-02-01", {"valid_to": "2026-02-30"}, "valid_to = '2026-02-30'"),
    ("2026-02-01", {"source": None}, "source = None: must be a text"),
    ("2026-02-01", {"source": ["a"]}, "source = .*: must be a text"),
    ("2026-02-01", {"note": "\ud800"}, "note = .*: must be a text"),
    ("2026-02-01", {"second_hand": "haircut"}, "second_hand = 'haircut': must be a list"),
    ("2026-02-01", {"doubtful": ["hair"]}, "doubtful = 'hair': no parameter of this set"),
]


@pytest.mark.parametrize(("name", "said", "message"), BAD)
def test_what_the_loader_would_not_read_is_never_there(
    name: str, said: dict[str, Any], message: str, tmp_path: Path
) -> None:
    keep_parameters(tmp_path, "worst_case", worst_case.Params(), "2026-01-01", **SAID)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=message):
        keep_parameters(tmp_path, "worst_case", worst_case.Params(), name, **{**SAID, **said})
    assert sorted(tmp_path.rglob("*")) == before
    assert load_parameters("worst_case", folder=tmp_path)[1].name == "2026-01-01"


def test_texts_and_numbers_of_any_kind(tmp_path: Path) -> None:
    note = "ok \U0001f600, \x7f \\ \t\u2028 'é'"
    params = worst_case.Params(haircut=np.float64(0.1))
    keep_parameters(tmp_path, "worst_case", params, "2026-01-01", source="s", note=note)
    found, info = load_parameters("worst_case", folder=tmp_path)
    assert found == params and info.note == note


def test_what_is_no_set(tmp_path: Path) -> None:
    params = worst_case.Params()
    with pytest.raises(DataError, match="name = 'March'"):
        keep_parameters(tmp_path, "worst_case", params, "March", **SAID)
    with pytest.raises(DataError, match="valid_to"):
        keep_parameters(tmp_path, "worst_case", params, "2026-03-01", **SAID, valid_to="soon")
    with pytest.raises(ConfigError, match="Params of tims"):
        keep_parameters(tmp_path, "tims", params, "2026-03-01", **SAID)
    assert not list(tmp_path.iterdir())
