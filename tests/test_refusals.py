"""Inputs that once gave a wrong margin, or lost something, without a word: each is refused or told."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, explain, margin
from portfolio_margin.models import worst_case
from pricing import DataError
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from tests.examples import market_and_instruments
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import changed_market, check_fails
from tests.vectors import data_file

run = test_cli.run
INSTRUMENTS, MARKET = market_and_instruments()
ARRAYS = revalue(INSTRUMENTS, MARKET, grid.scenarios(grid.Params(), MARKET))
RAW = "deribit_chain/raw_snapshot_20260226T094105Z.csv.gz"


def with_metadata(change: Any) -> bytes:
    """The array file with its metadata changed and everything else as it was."""
    with np.load(io.BytesIO(ARRAYS.to_bytes()), allow_pickle=False) as archive:
        columns = {name: archive[name] for name in archive.files}
    metadata = change(json.loads(str(columns.pop("metadata"))))
    buffer = io.BytesIO()
    np.savez(buffer, metadata=np.array(json.dumps(metadata)), **columns)
    return buffer.getvalue()


def test_unchanged_metadata_is_read() -> None:
    assert RiskArrays.from_bytes(with_metadata(lambda m: m)).tick == ARRAYS.tick


@pytest.mark.parametrize(
    "change",
    [
        lambda m: {**m, "tick": 1e-9},
        lambda m: {**m, "tick": 0},
        lambda m: {**m, "tick": "x"},
        lambda m: {**m, "tick": None},
        lambda m: {**m, "currency": "BTC"},
        lambda m: {**m, "valuation_time_ms": m["valuation_time_ms"] + 1},
        lambda m: {**m, "digest": "0"},
        lambda m: {**m, "dynamics": {**m["dynamics"], "short_power": 0.0}},
        lambda m: {name: value for name, value in m.items() if name != "checksum"},
        lambda m: [1],
    ],
)
def test_altered_metadata_is_refused(change: Any) -> None:
    with pytest.raises(DataError):
        RiskArrays.from_bytes(with_metadata(change), "a.npz")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fx": MARKET.fx * [1.0, 1e-4, 1.0]}, "fx"),
        ({"fx": MARKET.fx * [1.0, 1.0, 1.02]}, "fx"),
        ({"discount": MARKET.discount * 5}, "discount"),
        ({"mark_vol": np.where(np.arange(len(INSTRUMENTS)) == 9, 55.0, MARKET.mark_vol)}, "mark_vol"),
        ({"currency_underlying": [-1, 0, 7]}, "currency_underlying"),
    ],
)
def test_a_market_that_contradicts_itself_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError) as caught:
        replace(MARKET, **{name: np.asarray(value) for name, value in change.items()})
    assert {problem.field for problem in caught.value.problems} == {field}


def test_an_account_that_holds_nothing_is_explained() -> None:
    book = Book.from_arrays(np.array([], dtype=np.str_), [], [], INSTRUMENTS.expiry_idx, accounts=["nobody"])
    statement = margin(book, ARRAYS, MARKET, worst_case.Model())
    assert explain(statement, book, ARRAYS, "nobody").lines[0].initial == 0


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"instruments__option_type": lambda v: [None, *v[1:]]}, ["instruments.option_type", "row 0"]),
        ({"instruments__mark_vol": lambda v: [55.0, *([0.5] * (len(v) - 1))]}, ["mark_vol", "55.0", "percent"]),
        ({"currencies__fx": lambda v: [v[0], v[1] / 1e4, *v[2:]]}, ["fx", "spot"]),
        ({"expiries__discount": lambda v: [5.0, *v[1:]]}, ["discount", "5.0"]),
    ],
)
def test_bad_market_files_are_refused(run: Any, tmp_path: Path, columns: dict[str, Any], expected: list[str]) -> None:
    name = changed_market(tmp_path, **columns)
    done = run("greeks", "--instruments", "--market", name)
    check_fails(done, *expected)
    assert done.code == 2


def test_margin_currency_of_the_file_is_read(run: Any, tmp_path: Path) -> None:
    name = changed_market(tmp_path)
    document = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps({**document, "margin_currency": "BTC"}))
    done = run("greeks", "--instruments", "--market", name)
    check_fails(done, "margin_currency", "BTC")
    assert done.code == 2


@pytest.mark.parametrize(
    "options", [("--tick", "0.5"), ("--family", "span"), ("--snapshot", "x"), ("--on-bad-row", "exclude")]
)
def test_options_without_effect_on_ready_arrays_are_refused(run: Any, options: tuple[str, str]) -> None:
    assert run("arrays", "--output", "a.npz").code == 0
    done = run("margin", "--arrays", "a.npz", *options)
    check_fails(done, options[0], "--arrays")
    assert done.code == 2


def test_a_grid_table_for_ready_arrays_is_refused(run: Any, tmp_path: Path) -> None:
    assert run("arrays", "--output", "a.npz").code == 0
    (tmp_path / "p.toml").write_text("[grid]\nprice_range = 0.9\n")
    done = run("margin", "--arrays", "a.npz", "--params", "p.toml")
    check_fails(done, "grid", "--arrays")
    assert done.code == 2


@pytest.mark.data
@pytest.mark.parametrize("output", [(), ("--csv",), ("--json",), ("--parquet", "o.parquet")])
def test_rows_left_out_are_told_in_every_format(run: Any, tmp_path: Path, output: tuple[str, ...]) -> None:
    lines = gzip.decompress(data_file(RAW).read_bytes()).decode().splitlines()
    vol = lines[0].split(",").index("implied_volatility")
    for row, value in ((4, "-0.3"), (5, "55")):
        cells = lines[row].split(",")
        cells[vol] = value
        lines[row] = ",".join(cells)
    (tmp_path / "b.csv").write_text("\n".join(lines) + "\n")
    check_fails(run("fit-surface", "b.csv"), "row 5", "-0.3", "row 6", "55", "percent")
    done = run("fit-surface", "b.csv", "--on-bad-row", "exclude", *output)
    assert done.code == 0
    assert lines[4].split(",")[1] in done.err
    assert lines[5].split(",")[1] in done.err
