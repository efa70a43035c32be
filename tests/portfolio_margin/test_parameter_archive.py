"""Parameters kept in an archive come back as they were, and a set that is there is never changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from portfolio_margin import load_parameters
from portfolio_margin.io.parameter_archive import keep_parameters
from portfolio_margin.io.parameter_sets import parameter_files
from portfolio_margin.io.parameters import MODELS, registered
from portfolio_margin.models import worst_case
from pricing import ConfigError, DataError

SAID = {"source": 'a page, "quoted"', "note": "two\nlines"}
SHIPPED = [(model, name) for model in registered(MODELS) for name in parameter_files(model)]


@pytest.mark.parametrize(("model", "name"), SHIPPED)
def test_every_shipped_set_comes_back(model: str, name: str, tmp_path: Path) -> None:
    params, _ = load_parameters(model, name)
    path = keep_parameters(tmp_path / "mine", model, params, "2026-03-01", **SAID, valid_to="2026-03-31")
    found, info = load_parameters(model, "2026-03-01", folder=tmp_path / "mine")
    assert path == tmp_path / "mine" / model / "2026-03-01.toml" and found == params
    assert (info.source, info.note, info.valid_to, info.archive) == (*SAID.values(), "2026-03-31", "mine")


def test_a_set_is_never_changed(tmp_path: Path) -> None:
    params = worst_case.Params(haircut=0.1)
    path = keep_parameters(tmp_path, "worst_case", params, "2026-03-01-mine", **SAID)
    before = path.read_bytes()
    assert keep_parameters(tmp_path, "worst_case", params, "2026-03-01-mine", **SAID) == path
    with pytest.raises(ConfigError, match="there with other parameters"):
        keep_parameters(tmp_path, "worst_case", replace(params, haircut=0.2), "2026-03-01-mine", **SAID)
    assert path.read_bytes() == before


def test_what_is_no_set(tmp_path: Path) -> None:
    params = worst_case.Params()
    with pytest.raises(DataError, match="name = 'March'"):
        keep_parameters(tmp_path, "worst_case", params, "March", **SAID)
    with pytest.raises(DataError, match="valid_to"):
        keep_parameters(tmp_path, "worst_case", params, "2026-03-01", **SAID, valid_to="soon")
    with pytest.raises(ConfigError, match="Params of tims"):
        keep_parameters(tmp_path, "tims", params, "2026-03-01", **SAID)
    assert not list(tmp_path.iterdir())
