"""Chains on the command line: fit-surface, the market it writes, margin straight from a chain, warmup and doctor."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portfolio_margin.cli import doctor
from portfolio_margin.sample import COLLATERAL_FILE, POSITIONS_FILE, sample_path
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.io_examples import crossing_frame
from tests.portfolio_margin.test_cli import check_fails
from tests.vectors import ROOT, data_file

run = test_cli.run
RAW = "deribit_chain/raw_snapshot_20260226T094105Z.csv.gz"
CRASH = "deribit_chain/crash_20260131_20260208.parquet"
BOOK = ("--positions", str(sample_path(POSITIONS_FILE)), "--collateral", str(sample_path(COLLATERAL_FILE)))


@pytest.mark.data
def test_fit_surface_and_the_market_it_writes(run: Any, tmp_path: Path) -> None:
    chain = str(data_file(RAW))
    done = run("fit-surface", chain, "--output", "market.json.gz", "--csv")
    assert done.code == 0, done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 26
    assert {row["status"] for row in rows} <= {"FITTED", "REPAIRED"}
    assert all(float(row["minimum_g"]) >= 0 and float(row["rmse_vega_vol_points"]) < 2 for row in rows)
    document = json.loads(gzip.decompress((tmp_path / "market.json.gz").read_bytes()))
    written = [svi for svi in document["expiries"]["svi"] if svi is not None]
    assert [[float(row[name]) for name in ("a", "b", "rho", "m", "sigma")] for row in rows] == written
    # The sample was derived from this chain in the same way, so its accounts get the same statements.
    ours = run("margin", "--market", "market.json.gz", *BOOK, "--csv")
    assert ours.code == 0, ours.err
    sample = {row["account"]: row for row in csv.DictReader(io.StringIO(run("margin", "--csv").out))}
    for row in csv.DictReader(io.StringIO(ours.out)):
        expected = float(sample[row["account"]]["initial_margin"])
        assert float(row["initial_margin"]) == pytest.approx(expected, rel=1e-6, abs=0.05)


@pytest.mark.data
def test_fit_surface_outputs(run: Any, tmp_path: Path) -> None:
    chain = str(data_file(RAW))
    document = json.loads(run("fit-surface", chain, "--json").out)
    assert document["market_rows_left_out"] == []
    assert len(document["expiries"]) == 26
    assert run("fit-surface", chain, "--json", "--output", "fit.json").code == 0
    assert json.loads((tmp_path / "fit.json").read_text()) == document
    assert run("fit-surface", chain, "--parquet", "fit.parquet").code == 0
    assert "min g" in run("fit-surface", chain).out
    check_fails(run("fit-surface", chain, "--market", "market.csv"), "market.csv", ".json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.json", "fit.parquet"]


def test_fit_surface_tells_every_crossing(run: Any, tmp_path: Path) -> None:
    """A crossing beyond the quoted strikes is a crossing: in the table, in the files, in the warning."""
    crossing_frame().to_csv(tmp_path / "chain.csv", index=False)
    done = run("fit-surface", "chain.csv", "--csv")
    assert done.code == 0, done.err
    near, far = csv.DictReader(io.StringIO(done.out))
    assert (near["crosses_previous"], far["crosses_previous"]) == ("False", "True")
    assert float(far["calendar_gap_quoted"]) > 0 > float(far["calendar_gap"])
    assert (far["converged"], near["calendar_gap"]) == ("True", "")
    assert float(far["k_low"]) < 0 < float(far["k_high"])
    assert float(far["rmse_unconstrained_vol_points"]) < 1
    table = run("fit-surface", "chain.csv")
    assert "crosses the one before it (calendar arbitrage): BTC-2026-03-27" in table.out + table.err
    line = next(line for line in table.out.splitlines() if line.startswith("BTC-2026-03-27"))
    assert " yes " in line
    joint = json.loads(run("fit-surface", "chain.csv", "--method", "svi_joint", "--json").out)["expiries"]
    assert [row["crosses_previous"] for row in joint] == [False, False]


def test_fit_surface_chooses_quotes_and_weights(run: Any, tmp_path: Path) -> None:
    frame = crossing_frame()
    wrong = frame["instrument"] == "BTC-27MAR26-70000-C"
    frame.loc[wrong, ["bid", "ask"]] *= 1.2
    frame.to_csv(tmp_path / "chain.csv", index=False)

    def rows(*options: str) -> list[dict[str, str]]:
        done = run("fit-surface", "chain.csv", "--csv", *options)
        assert done.code == 0, done.err
        return list(csv.DictReader(io.StringIO(done.out)))

    plain, cleaned, by_vega = rows(), rows("--reject-outliers"), rows("--weighting", "vega")
    assert int(cleaned[1]["quotes_rejected"]) == int(plain[1]["quotes_rejected"]) + 1
    assert float(cleaned[1]["rmse_vol_points"]) < 0.1 * float(plain[1]["rmse_vol_points"])
    assert by_vega[1]["a"] != plain[1]["a"]
    assert rows("--oldest-seconds", "600") == plain  # a collected chain has one time
    check_fails(run("fit-surface", "chain.csv", "--oldest-seconds", "-1"), "oldest-seconds")
    check_fails(run("fit-surface", "chain.csv", "--oldest-seconds", "nan"), "oldest_seconds", "nan")
    check_fails(run("fit-surface", "chain.csv", "--weighting", "volume"), "weighting")


@pytest.mark.data
def test_fit_surface_by_another_method_with_pictures(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run("fit-surface", str(data_file(RAW)), "--method", "svi_joint", "--plots", "pictures", "--csv")
    assert done.code == 0, done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert {row["status"] for row in rows} == {"FITTED", "REPAIRED"}
    assert all(float(row["calendar_gap_quoted"] or 0.0) >= 0 for row in rows)
    names = {path.stem for path in (tmp_path / "pictures").iterdir()}
    assert {f"{kind}-{coin}" for kind in ("fan", "butterfly", "residuals") for coin in ("BTC", "ETH")} <= names
    assert len(names) == 6 + 26


@pytest.mark.data
def test_one_moment_of_many(run: Any, tmp_path: Path) -> None:
    chain = str(data_file(CRASH))
    check_fails(run("fit-surface", chain, "--output", "m.json"), "35 snapshots")
    check_fails(run("fit-surface", chain, "--snapshot", "2026-02-05T00:00:00Z"), "nearest one is 2026-02-04T21:33:08Z")
    check_fails(run("fit-surface", chain, "--snapshot", "yesterday"), "yesterday", "ISO 8601")
    assert not list(tmp_path.iterdir())
    (tmp_path / "p.csv").write_text("account,instrument,quantity\na,BTC-27MAR26-90000-C,-1\n")
    done = run("margin", "--market", chain, "--snapshot", "2026-02-04T21:33:08Z", "--positions", "p.csv", "--json")
    assert done.code == 0, done.err
    account = json.loads(done.out)["accounts"][0]
    assert account["as_of_ms"] // 1000 == 1_770_240_788
    assert float(account["initial_margin"]) > 1_000


@pytest.mark.data
def test_percent_in_a_decimal_column(run: Any, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(data_file(RAW).read_bytes()).decode())))
    vol = next(name for name in rows[0] if name in ("mark_iv", "implied_volatility"))
    with (tmp_path / "percent.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, vol: 100 * float(row[vol] or "nan")} for row in rows)
    check_fails(run("fit-surface", "percent.csv", "--output", "m.json"), "percent.csv", vol, "percent")
    check_fails(run("margin", "--market", "percent.csv", *BOOK), "percent.csv", "percent")
    assert [path.name for path in tmp_path.iterdir()] == ["percent.csv"]


def test_what_is_no_chain(run: Any, tmp_path: Path) -> None:
    positions = str(sample_path(POSITIONS_FILE))
    check_fails(run("fit-surface", positions, "--output", "m.json"), "positions.csv", "missing column")
    check_fails(run("fit-surface", "none.parquet"), "none.parquet", "no such file")
    check_fails(run("fit-surface", "chain.xlsx"), "chain.xlsx", "unknown ending")
    (tmp_path / "chain.parquet").write_text("no")
    check_fails(run("fit-surface", "chain.parquet"), "chain.parquet", "Parquet")
    (tmp_path / "chain.json").write_text('{"result": 5}')
    check_fails(run("fit-surface", "chain.json"), "chain.json")
    check_fails(run("fit-surface"), "CHAIN")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain.json", "chain.parquet"]


def test_warmup_compiles_all_that_the_commands_use(tmp_path: Path) -> None:
    """After the jobs of warmup no command needs another compilation; a process of its own, as caches are shared."""
    code = f"""
import sys
from portfolio_margin.backends.state import threading_state
from portfolio_margin.cli import main
from portfolio_margin.kernels import compile_jobs
from pricing.xp import numba as compiler
def ready():
    return sum(len(kernel.signatures) for kernel in compiler.COMPILED)
for _, job in compile_jobs(("numba",)):
    job()
before = ready()
order = ("what-if", "box-01", "--order", "BTC-PERPETUAL=10")
arrays = ("arrays", "--output", {str(tmp_path / "a.npz")!r})
for command in (("margin",), ("explain", "box-01"), order, ("greeks",), arrays):
    sys.argv = ["portfolio-margin", *command]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, command
threading_state()
assert before >= 9, before
assert ready() == before, (before, ready())
"""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr[-2_000:]


def test_warmup_covers_jax(run: Any) -> None:
    out = run("warmup").out
    for name in ("numba: unit_pnl", "jax: unit_pnl", "jax: implied_vol black76", "jax: worst_loss"):
        assert name in out


def test_doctor_states_versions_and_places(run: Any) -> None:
    done = run("doctor")
    assert done.code == 0
    for name in (
        "python",
        "numpy",
        "numba",
        "llvmlite",
        "jax",
        "pandas",
        "pyarrow",
        "cores",
        "jax float64",
        "jax cache",
    ):
        assert name in done.out
    assert str(ROOT / "pricing") in done.out


def test_after_warmup_every_kernel_comes_from_disk() -> None:
    """In processes of their own: this one has compiled already.

    They share the cache folder of all tests, so that what they compile is compiled for all. Whoever kept a kernel,
    `doctor` makes the same calls as `warmup` and finds it only if it is kept, and under a name that lasts.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = [
        subprocess.run(
            [sys.executable, "-m", "portfolio_margin", *arguments], capture_output=True, text=True, env=environment
        )
        for arguments in (("warmup", "--no-jax"), ("doctor",))
    ]
    assert [done.returncode for done in ended] == [0, 0], ended
    assert "every kernel came from disk" in ended[1].stdout


def test_doctor_finds_what_is_missing(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("numba", "pyarrow") else known(name))
    done = run("doctor")
    assert done.code == 1
    assert "MISSING" in next(line for line in done.out.splitlines() if line.startswith("numba"))
    assert "optional" in next(line for line in done.out.splitlines() if line.startswith("pyarrow"))
