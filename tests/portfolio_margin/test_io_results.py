"""Results out: whole files or none, money as decimal texts, numbers that read back."""

from __future__ import annotations

import json
import math
import os
import stat
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io import atomic
from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.frames import frame
from portfolio_margin.io.results import csv_text, json_rows, json_text, money_text, write_result
from tests.portfolio_margin.io_examples import refused

COLUMNS = {
    "account": np.array(["alice", "bob"]),
    "equity": np.array([1234567.1, -0.05]),
    "health": np.array([np.inf, 0.1 + 0.2]),
    "worst_scenario": np.array([3, -1]),
}
IDENTITY = {"model_id": "worst-case 1", "positions_excluded": [], "input_hash": "abc"}
MONEY = ("equity",)


def test_json_file(tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", COLUMNS, IDENTITY, MONEY)
    assert json.loads((tmp_path / "r.json").read_text()) == {
        **IDENTITY,
        "rows": [
            {"account": "alice", "equity": "1234567.10", "health": None, "worst_scenario": 3},
            {"account": "bob", "equity": "-0.05", "health": 0.1 + 0.2, "worst_scenario": -1},
        ],
    }


def check_columns(again: pd.DataFrame) -> None:
    """The same values to the last bit; no number where one is not finite, as in JSON."""
    for name, values in COLUMNS.items():
        finite = [None if isinstance(v, float) and not math.isfinite(v) else v for v in values.tolist()]
        assert [None if v != v else v for v in again[name].tolist()] == finite


def test_csv_file(tmp_path: Path) -> None:
    write_result(tmp_path / "r.csv", COLUMNS, IDENTITY, MONEY)
    again = pd.read_csv(tmp_path / "r.csv")
    assert list(again.columns) == list(COLUMNS)
    check_columns(again)


def test_parquet_file(tmp_path: Path) -> None:
    import pyarrow.parquet

    write_result(tmp_path / "r.parquet", COLUMNS, IDENTITY, MONEY)
    check_columns(pd.read_parquet(tmp_path / "r.parquet"))
    schema = pyarrow.parquet.read_schema(tmp_path / "r.parquet")
    assert json.loads(schema.metadata[b"portfolio_margin"]) == IDENTITY


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.10"),
        (1e22, "10000000000000000000000.00"),
        (-12.345, "-12.35"),
        (Decimal("1E+3"), "1000.00"),
        (Decimal("0.12345678901234567890"), "0.1234567890123456789"),
        (Decimal("-5"), "-5.00"),
        (np.float64(np.nan), None),
        (np.inf, None),
    ],
)
def test_money_is_a_decimal_text(value: float | Decimal, text: str | None) -> None:
    assert money_text(value) == text


def test_exact_decimals_stay_exact_everywhere(tmp_path: Path) -> None:
    columns = {"name": ["scan"], "initial": [Decimal("0.123456789012345678901")]}
    assert json_rows(columns, ["initial"]) == [{"name": "scan", "initial": "0.123456789012345678901"}]
    assert csv_text(columns) == "name,initial\nscan,0.123456789012345678901\n"
    write_result(tmp_path / "r.parquet", columns, {}, ["initial"])
    assert pd.read_parquet(tmp_path / "r.parquet")["initial"].tolist() == ["0.123456789012345678901"]


def test_json_knows_no_nan() -> None:
    document = {"a": np.float64(np.nan), "b": [np.inf, 1.5], "c": np.int64(3), "d": {"e": np.array([1.0, np.nan])}}
    assert json.loads(json_text(document)) == {"a": None, "b": [None, 1.5], "c": 3, "d": {"e": [1.0, None]}}


def test_a_frame_keeps_order_and_attributes() -> None:
    table = frame({"b": [1], "a": [2]}, {"unit": "USD"})
    assert list(table.columns) == ["b", "a"] and table.attrs == {"unit": "USD"}


def test_a_file_of_an_unknown_kind(tmp_path: Path) -> None:
    [(_, field, value, _)] = refused(lambda: write_result(tmp_path / "r.xlsx", COLUMNS, IDENTITY, MONEY))
    assert (field, value) == ("file type", ".xlsx")
    assert list(tmp_path.iterdir()) == []


# --- whole files or none --------------------------------------------------------------------------------------------


def test_a_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    target.write_bytes(b"old")
    write_whole(target, b"new")
    assert target.read_bytes() == b"new" and list(tmp_path.iterdir()) == [target]


def test_a_new_file_has_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_whole(tmp_path / "ours", b"")
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")]
    assert rights[0] == rights[1]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "r.json"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, step, fail)
    assert refused(lambda: write_whole(target, b"new")) == [
        (None, "output", "No space left on device", "cannot be written")
    ]
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "r.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    [(_, _, _, remedy)] = refused(lambda: write_whole(tmp_path / "nowhere" / "r.json", b""))
    assert remedy == "the folder does not exist; create it"
    (tmp_path / "folder.json").mkdir()
    [(_, _, value, _)] = refused(lambda: write_whole(tmp_path / "folder.json", b""))
    assert value == "not a regular file"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_bytes(b"old")
    os.symlink(tmp_path / "real.json", tmp_path / "link.json")
    write_whole(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink() and (tmp_path / "real.json").read_bytes() == b"new"
