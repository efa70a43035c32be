"""A large book in chunks: files equal to those of one run however often it was interrupted, and of one run only."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from portfolio_margin import Book, margin
from portfolio_margin.chunks import Work, chunks, manifest_of, run_in_chunks, write_part
from portfolio_margin.io import atomic, part_files
from portfolio_margin.io.arrow_columns import coded_rows
from portfolio_margin.io.part_files import UnwrittenError
from portfolio_margin.io.positions import read_book
from portfolio_margin.io.results import json_text
from portfolio_margin.io.told import Told
from portfolio_margin.models import worst_case
from portfolio_margin.requirement import ParameterSet
from pricing import ConfigError, DataError
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import ARRAYS, BOOK, INSTRUMENTS, MARKET
from tests.portfolio_margin.test_cli import check_fails
from tests.vectors import ROOT

run = test_cli.run
MODEL = worst_case.Model()
WORK = Work(BOOK, ARRAYS, MARKET, MODEL)


def manifest(folder: str | Path) -> dict[str, Any]:
    return dict(json.loads((Path(folder) / "_manifest.json").read_text(encoding="utf-8")))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_parts_are_the_statement(tmp_path: Path) -> None:
    finished = run_in_chunks(WORK, tmp_path / "out", 17)
    assert finished[:3] == (8, 0, 120)
    parts = [pd.read_parquet(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert [len(part) for part in parts] == [17] * 7 + [1]
    whole = margin(BOOK, ARRAYS, MARKET, MODEL).frame()
    found = pd.concat(parts, ignore_index=True)
    assert found["account"].tolist() == whole["account"].tolist()
    for name in ("equity", "initial_margin", "maintenance_margin", "status", "worst_scenario"):
        assert found[name].tolist() == whole[name].tolist(), name


def test_a_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Files missing, cut short, of another chunk, and what a killed process left behind."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_in_chunks(WORK, whole, 17)
    run_in_chunks(WORK, broken, 17)
    (broken / "part-000001.parquet").unlink()
    short = (broken / "part-000003.parquet").read_bytes()
    (broken / "part-000003.parquet").write_bytes(short[: len(short) // 2])
    (broken / "part-000005.parquet").write_bytes((broken / "part-000004.parquet").read_bytes())
    (broken / ".part-000006.parquet.0123456789ab.part").write_bytes(b"half")
    seen: list[int] = []
    finished = run_in_chunks(WORK, broken, 17, resume=True, done=lambda chunk: seen.append(chunk.number))
    assert finished[:3] == (3, 5, 120) and seen == list(range(8))
    assert contents(broken) == contents(whole)
    before = {path: path.stat().st_mtime_ns for path in broken.iterdir()}
    assert run_in_chunks(WORK, broken, 17, resume=True)[:3] == (0, 8, 120)
    assert {path: path.stat().st_mtime_ns for path in broken.iterdir()} == before


@pytest.mark.parametrize("manifest", ["of the whole run", "of a run that was killed"])
def test_damaged_parts_are_computed_again(tmp_path: Path, manifest: str) -> None:
    """One bit, wherever it is in a part of 17 accounts: in the rows, the footer, or what the part says of itself."""
    run_in_chunks(WORK, tmp_path, 60)
    whole = contents(tmp_path)
    path, sound = tmp_path / "part-000001.parquet", whole["part-000001.parquet"]
    if manifest == "of a run that was killed":
        (tmp_path / "_manifest.json").write_text(json_text(manifest_of(WORK, 60)), encoding="utf-8")
    for place in np.linspace(0, len(sound) - 1, 25).astype(int).tolist():
        damaged = bytearray(sound)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        assert run_in_chunks(WORK, tmp_path, 60, resume=True)[:3] == (1, 1, 120), place
        assert contents(tmp_path) == whole


def test_a_part_of_no_run_is_named(tmp_path: Path) -> None:
    run_in_chunks(WORK, tmp_path, 60)
    (tmp_path / "part-000099.parquet").write_bytes(b"x")
    before = contents(tmp_path)
    with pytest.raises(DataError, match=r"part-000099.parquet.*no part of this run"):
        run_in_chunks(WORK, tmp_path, 60, resume=True)
    assert contents(tmp_path) == before


def test_chunks_in_any_order_make_the_same_folder(tmp_path: Path) -> None:
    """What a cluster does: the manifest is made once, and chunks are written by whoever is free."""
    run_in_chunks(WORK, tmp_path / "one", 50)
    folder = tmp_path / "other"
    folder.mkdir()
    digest = manifest_of(WORK, 50)["digest"]
    for chunk in reversed(chunks(len(BOOK), 50)):
        write_part(WORK, chunk, folder, digest)
    one = contents(tmp_path / "one")
    assert json.loads(one.pop("_manifest.json"))["digest"] == digest
    assert contents(folder) == one


OTHERS: dict[str, tuple[Any, int, str]] = {
    "quantities": (WORK._replace(book=replace(BOOK, quantity=BOOK.quantity * 2.0)), 17, "inputs.book"),
    "parameters": (WORK._replace(model=worst_case.Model(worst_case.Params(haircut=0.1))), 17, "inputs.parameters"),
    "arrays": (WORK._replace(arrays=replace(ARRAYS, digest="another")), 17, "inputs.risk_arrays"),
    "chunks": (WORK, 18, "chunk_accounts"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_results_of_other_inputs_are_not_added(tmp_path: Path, name: str) -> None:
    run_in_chunks(WORK, tmp_path / "out", 17)
    before = contents(tmp_path / "out")
    work, size, field = OTHERS[name]
    with pytest.raises(DataError, match="results of another run") as caught:
        run_in_chunks(work, tmp_path / "out", size, resume=True)
    fields = [problem.field for problem in caught.value.problems]
    assert field in fields
    # The digest of a book is that of its parts: cut otherwise it is another, and nobody's fault.
    assert ("inputs.book" in fields) == (field == "inputs.book")
    assert contents(tmp_path / "out") == before


NAMED = ParameterSet("2026-01-01", "2026-01-01", source="a venue", note="as published", doubtful=("haircut",))
SETS: dict[str, Any] = {
    "name": {"name": "2026-01-02"},
    "header": {"note": "somebody else's"},
    "doubt": {"doubt": "margins may be too low"},
    "validity": {"valid_to": "2026-01-15"},
    "the next one": {"next_from": "2026-01-15"},
    "overlay": {"overlay": "a.toml"},
    "archive": {"archive": "mine"},
}


@pytest.mark.parametrize("name", [*SETS, "told", "writer"])
def test_parts_of_one_folder_say_the_same(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of the parameters alike, and all else that a part states: who resumes with another one is refused."""
    work, told = WORK._replace(model=replace(MODEL, parameter_set=NAMED)), Told(notes=("one",))
    run_in_chunks(work, tmp_path, 60, told=told)
    (tmp_path / "part-000001.parquet").unlink()
    before = contents(tmp_path)
    if name == "writer":
        monkeypatch.setattr(part_files, "writer", lambda: "pyarrow 0")
    elif name == "told":
        told = Told(notes=("another",))
    else:
        work = work._replace(model=replace(MODEL, parameter_set=replace(NAMED, **SETS[name])))
    with pytest.raises(DataError, match="results of another run"):
        run_in_chunks(work, tmp_path, 60, told=told, resume=True)
    assert contents(tmp_path) == before


def test_a_part_states_the_warnings_of_its_statement(tmp_path: Path) -> None:
    """And those of the market; the manifest has what any part states."""
    doubtful = replace(NAMED, valid_to="2026-01-15", doubt="margins may be too low")
    work = WORK._replace(model=replace(MODEL, parameter_set=doubtful))
    found = run_in_chunks(work, tmp_path, 60, told=Told(notes=("one",), warnings=("two",))).manifest
    warned = margin(BOOK, ARRAYS, MARKET, work.model).warnings
    assert len(warned) == 2 and found["warnings"] == ["two", *warned] and found["notes"][0] == "one"
    for path in tmp_path.glob("*.parquet"):
        stated = json.loads(pyarrow.parquet.read_schema(path).metadata[b"portfolio_margin"])
        assert stated["warnings"] == found["warnings"] and set(stated["notes"]) <= set(found["notes"])
    assert found["positions"] + found["balances"] == len(BOOK.quantity)
    assert found["balances"] == ARRAYS.is_collateral[BOOK.instrument_idx].sum() > 0


def test_the_command_does_not_go_on_with_the_parameters_of_another_file(run: Any, tmp_path: Path) -> None:
    values = "[worst_case]\nhaircut = 0.1\n"
    (tmp_path / "a.toml").write_text(values, encoding="utf-8")
    (tmp_path / "c.toml").write_text('[header]\nsource = "elsewhere"\nnote = "x"\n' + values, encoding="utf-8")
    how = ("--chunk-accounts", "20", "--output", "o")
    assert run("margin", *how, "--params", "a.toml").code == 0
    whole = contents(tmp_path / "o")
    (tmp_path / "o" / "part-000001.parquet").unlink()
    check_fails(run("margin", *how, "--params", "c.toml", "--resume"), "parameter_set", "results of another run")
    assert run("margin", *how, "--params", "a.toml", "--resume").code == 0 and contents(tmp_path / "o") == whole
    # A folder that cannot be gone on with is told before a book is read, however bad that is.
    check_fails(run("margin", *how, "--positions", "none.csv"), "o, output", "holds results already")


def test_folders_with_something_in_them_are_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place in ("full", "file"):
        for resume in (False, True):
            with pytest.raises(DataError, match="no empty folder"):
                run_in_chunks(WORK, tmp_path / place, 17, resume=resume)
    run_in_chunks(WORK, tmp_path / "out", 100)
    with pytest.raises(DataError, match="give --resume"):
        run_in_chunks(WORK, tmp_path / "out", 100)
    (tmp_path / "out" / "_manifest.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        run_in_chunks(WORK, tmp_path / "out", 100, resume=True)
    with pytest.raises(ConfigError, match="chunk_accounts = 0"):
        chunks(10, 0)


@pytest.mark.parametrize("name", ["_manifest.json", "part-000003.parquet"])
@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, there: bool
) -> None:
    """Also where the disk fills up with the last file, the manifest of the whole run, which has one from the start."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_in_chunks(WORK, whole, 17)
    if there:
        out.mkdir()
    replace_file, begun = os.replace, {"_manifest.json": 2}.get(name, 1)
    seen: list[str] = []

    def full(part: Path, target: Path) -> None:
        seen.append(target.name)
        if seen.count(name) == begun:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_file(part, target)

    with monkeypatch.context() as patched:
        patched.setattr(atomic.os, "replace", full)
        with pytest.raises(UnwrittenError, match=f"{name} cannot be written: the disk is full; .* go on with --resume"):
            run_in_chunks(WORK, out, 17)
    kept = 8 if name == "_manifest.json" else 3
    assert len(list(out.glob("part-*.parquet"))) == kept and not list(out.glob(".*"))
    assert run_in_chunks(WORK, out, 17, resume=True)[:3] == (8 - kept, kept, 120)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("resume", [False, True])
def test_a_manifest_that_was_begun_when_a_run_was_killed_is_in_nobodys_way(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "._manifest.json.0123456789ab.part").write_bytes(b"half")
    assert run_in_chunks(WORK, tmp_path, 60, resume=resume)[:3] == (2, 0, 120)
    assert sorted(contents(tmp_path)) == ["_manifest.json", "part-000000.parquet", "part-000001.parquet"]


def test_a_folder_in_the_place_of_a_part_is_named(tmp_path: Path) -> None:
    run_in_chunks(WORK, tmp_path, 60)
    part = tmp_path / "part-000000.parquet"
    part.unlink()
    part.mkdir()
    with pytest.raises(DataError, match=r"part-000000\.parquet'.* is no file, .* remove it$"):
        run_in_chunks(WORK, tmp_path, 60, resume=True)
    part.rmdir()
    assert run_in_chunks(WORK, tmp_path, 60, resume=True)[:3] == (1, 1, 120)


def command(positions: Path, folder: Path, *more: str) -> list[str]:
    files = ["--positions", str(positions), "--chunk-accounts", "20", "--output", str(folder)]
    return [sys.executable, "-m", "portfolio_margin", "margin", *files, *more]


def test_a_killed_run_goes_on_to_the_same_files(tmp_path: Path) -> None:
    """kill -9 after some of a hundred files; then the rest, none of them twice, and equal to a run left alone."""
    random = np.random.default_rng(4)
    names = ["BTC-PERPETUAL", "ETH-PERPETUAL", "BTC-27MAR26-90000-C", "ETH-27MAR26-2000-P"]
    held = pd.DataFrame(
        {
            "account": np.repeat([f"a{n:05d}" for n in range(4_000)], len(names)),
            "instrument": names * 4_000,
            "quantity": random.integers(-50, 50, 16_000).astype(np.float64),
        }
    )
    positions, folder = tmp_path / "positions.parquet", tmp_path / "killed"
    held.to_parquet(positions)
    process = subprocess.Popen(command(positions, folder), cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120.0
    while len(list(folder.glob("part-*.parquet"))) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    assert 5 <= len(before) < 200
    again = subprocess.run(command(positions, folder, "--resume"), cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"4,000 accounts in 200 files, {len(before)} of them from before, and _manifest.json" in again.stderr
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    assert len(after) == 200 and before.items() <= after.items()
    subprocess.run(command(positions, tmp_path / "alone"), cwd=ROOT, capture_output=True, check=True)
    assert contents(folder) == contents(tmp_path / "alone")


def test_the_command_says_what_contradicts(run: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "out")
    done = run("margin", "--chunk-accounts", "20", "--output", folder)
    assert done.code == 0 and "56 accounts in 3 files, and _manifest.json" in done.err
    shown = [line for line in run("margin").out.splitlines() if " accounts: " in line or "totals:" in line]
    assert len(shown) == 2 and all(line in done.out.splitlines() for line in shown)
    short = sum(count for name, count in manifest(folder)["status"].items() if name in ("LIQUIDATION", "BANKRUPT"))
    assert short > 0 and f"below maintenance margin: {short} accounts" in done.err
    assert run("margin", "--chunk-accounts", "20", "--output", str(tmp_path / "two"), "--check").code == 1
    check_fails(run("margin", "--chunk-accounts", "20", "--output", folder), "--resume")
    check_fails(run("margin", "--chunk-accounts", "20"), "--output FOLDER")
    check_fails(run("margin", "--resume"), "--chunk-accounts")
    check_fails(run("margin", "--chunk-accounts", "20", "--output", folder, "--json", "--csv"), "--json, --csv")


def test_plain_parquet_is_read_as_every_other_table(tmp_path: Path) -> None:
    """The quick reader and the careful one make the same book, in whatever order and form the rows stand."""
    random = np.random.default_rng(8)
    account = np.repeat([f"acc {n % 37:02d}" for n in range(150)], 3)
    contract = [str(name) for name in INSTRUMENTS.instrument_id[~INSTRUMENTS.is_collateral]]
    row = np.concatenate([random.choice(len(contract), 3, replace=False) for _ in range(150)])
    frame = pd.DataFrame({"account": account, "instrument": [contract[n] for n in row]}).drop_duplicates()
    step = INSTRUMENTS.quantity_step[[INSTRUMENTS.index_of()[name] for name in frame["instrument"]]]
    frame["quantity"] = random.integers(-9, 9, len(frame)) * step
    cash = pd.DataFrame({"account": ["acc 03", "new"], "currency": ["USD", " BTC "], "amount": [10.5, -0.25]})
    frame.sample(frac=1.0, random_state=1).to_parquet(tmp_path / "plain.parquet", row_group_size=100)
    frame.astype({"account": "category"}).to_parquet(tmp_path / "coded.parquet")
    frame.assign(account=" " + frame["account"] + " ").to_parquet(tmp_path / "blanks.parquet")
    cash.to_parquet(tmp_path / "cash.parquet")
    expected = read_book(frame, cash, INSTRUMENTS, MARKET)
    for name in ("plain", "coded", "blanks"):
        found = read_book(tmp_path / f"{name}.parquet", tmp_path / "cash.parquet", INSTRUMENTS, MARKET)
        assert all(np.array_equal(getattr(found, key), getattr(expected, key)) for key in vars(expected)), name
    assert isinstance(expected, Book)
    whole, owned = (
        pyarrow.Table.from_pandas(frame, preserve_index=False),
        pyarrow.Table.from_pandas(cash, preserve_index=False),
    )
    coded = pyarrow.Table.from_pandas(frame.astype({"account": "category"}), preserve_index=False)
    for held in (whole, coded, whole.combine_chunks().to_batches()[0], pyarrow.concat_tables([whole[:50], whole[50:]])):
        assert coded_rows(held, ("account", "instrument", "quantity")) is not None
        found = read_book(held, owned, INSTRUMENTS, MARKET)
        assert all(np.array_equal(getattr(found, key), getattr(expected, key)) for key in vars(expected))


def test_a_bad_row_of_an_arrow_table_is_named() -> None:
    bad = pyarrow.table({"account": ["a", "b"], "instrument": ["BTC-PERPETUAL"] * 2, "quantity": [1.0, None]})
    with pytest.raises(DataError, match=r"row 2, .*missing"):
        read_book(bad, None, INSTRUMENTS, MARKET)
    with pytest.raises(DataError, match="a pandas DataFrame or an Arrow table"):
        read_book([bad], None, INSTRUMENTS, MARKET)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("quantity", 0.05, "whole multiple"),
        ("quantity", np.nan, "missing"),
        ("instrument", "BTC-NONE", "unknown instrument"),
        ("account", "", "blank account"),
        ("account", "a1", "already"),
    ],
)
def test_a_bad_row_of_plain_parquet_is_named(tmp_path: Path, field: str, value: Any, message: str) -> None:
    frame = pd.DataFrame({"account": ["a1", "a2"], "instrument": ["BTC-PERPETUAL"] * 2, "quantity": [1.0, 2.0]})
    frame.loc[1, field] = value
    frame.to_parquet(tmp_path / "positions.parquet")
    with pytest.raises(DataError, match=rf"positions.parquet, row 2, .*{message}"):
        read_book(tmp_path / "positions.parquet", None, INSTRUMENTS, MARKET)
