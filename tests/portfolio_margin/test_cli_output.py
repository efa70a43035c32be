"""What commands print and write: the same result in every form, plain when piped, whole files or none."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.cli.output import Column, quantity_text, show_table, table_pieces
from portfolio_margin.sample import COLLATERAL_FILE, POSITIONS_FILE, load_sample, sample_path
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import GOOD, HEADER, check_fails
from tests.vectors import ROOT

run = test_cli.run
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]m")


def refuse_constant(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def on_terminal(width: int, *arguments: str, **environment: str) -> str:
    """What a command shows on a terminal of that width; skips where there are no terminals."""
    pty = pytest.importorskip("pty")
    fcntl, struct, termios = (pytest.importorskip(name) for name in ("fcntl", "struct", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "CI")}
    variables = {**kept, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "portfolio_margin", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=variables) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal is an error to read
            while part := os.read(ours, 65_536):
                shown += part
        assert process.wait() == 0
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def test_json_opens_up_scenario_and_components(run: Any) -> None:
    document = json.loads(run("margin", "--json").out, parse_constant=refuse_constant)
    rows = {row["account"]: row for row in csv.DictReader(io.StringIO(run("margin", "--csv").out))}
    identity = ("model_id", "parameters_hash", "input_hash", "engine_version", "positions_excluded")
    assert all(name in document for name in identity)
    with_scenario = 0
    for account in document["accounts"]:
        row, scenario = rows[account["account"]], account["worst_scenario"]
        assert (scenario or {"id": ""})["id"] == row["worst_scenario"]
        if scenario is not None:
            with_scenario += 1
            price, vol, days = re.fullmatch(r"S(.+)/V(.+)%/T(.+)", scenario["id"]).groups()  # type: ignore[union-attr]
            assert (100 * scenario["spot_shift"], 100 * scenario["vol_shift"], scenario["days"]) == pytest.approx(
                (float(price), float(vol), float(days))
            )
        for side, part in (("initial_margin", "initial"), ("maintenance_margin", "maintenance")):
            parts = sum(Decimal(component[part]) for component in account["components"].values())
            assert 0 <= parts - Decimal(account[side]) <= Decimal("0.02")
        assert all(isinstance(account[name], str) for name in ("equity", "haircut", "available_funds", "delta_total"))
    assert 40 < with_scenario < len(document["accounts"])


def test_a_file_holds_what_standard_output_shows(run: Any, tmp_path: Path) -> None:
    for command in (("margin",), ("explain", "box-01"), ("greeks",), ("what-if", "box-01", "--order", f"{GOOD}=1")):
        shown = {kind: run(*command, f"--{kind}").out for kind in ("json", "csv")}
        for kind, text in shown.items():
            assert run(*command, "--output", f"x.{kind}").out == ""
            assert (tmp_path / f"x.{kind}").read_text() == text
            assert run(*command, "--output", f"x.{kind}.gz").code == 0
            assert gzip.decompress((tmp_path / f"x.{kind}.gz").read_bytes()).decode() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.csv.gz", "x.json", "x.json.gz"]


def test_parquet_says_what_reproduces_it(run: Any, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for command in (("margin",), ("explain", "box-01"), ("greeks",), ("what-if", "box-01", "--order", f"{GOOD}=1")):
        assert run(*command, "--parquet", "x.parquet").code == 0
        table = parquet.read_table(tmp_path / "x.parquet")
        assert json.loads(table.schema.metadata[b"portfolio_margin"])["engine_version"]
        assert table.num_rows == len(list(csv.DictReader(io.StringIO(run(*command, "--csv").out))))


def test_parquet_without_pyarrow(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_fails(run("margin", "--parquet", "x.parquet"), "pyarrow", "install")
    assert not list(tmp_path.iterdir())


def test_a_piped_table_is_plain_and_complete(run: Any) -> None:
    order = ("--order", f"{GOOD}=1")
    for command in (("margin",), ("explain", "box-01"), ("greeks", "--by-position"), ("what-if", "box-01", *order)):
        text = run(*command).out
        assert not ESCAPE.search(text)
        assert not re.search(r"\d,\d{3}", text)
        assert "not shown" not in text
    header = run("greeks", "--by-position").out.splitlines()[1]
    for name in ("gamma [units / 1 quote ccy]", "vega_norm [USD / 1 vol pt of 30 d]", "volga [USD / 1 vol pt^2]"):
        assert name in header


def test_numbers_are_right_aligned(run: Any) -> None:
    lines = run("margin").out.splitlines()
    header, rows = lines[1], lines[2:20]
    for title in ("equity [USD]", "initial [USD]", "mm rate"):
        end = header.index(title) + len(title)
        assert all(row[end - 1].isdigit() and row[end : end + 1] in ("", " ") for row in rows)


@pytest.mark.parametrize("width", [80, 130])
def test_a_terminal_shows_what_fits(width: int) -> None:
    text = on_terminal(width, "margin")
    assert COLOUR.search(text)
    lines = ESCAPE.sub("", text).splitlines()
    table = [line for line in lines if re.search(r"\d\.\d\d$|\d\.\d\d ", line) and "totals" not in line]
    assert len(table) == len(load_sample().book)
    assert max(map(len, table)) <= width
    assert {line.split()[0] for line in table} == {str(name) for name in load_sample().book.account_id}
    assert any(re.search(r"\d,\d{3}\.\d\d", line) for line in table)
    assert "not shown for lack of width" in ESCAPE.sub("", text)


def test_no_color_is_respected() -> None:
    assert not COLOUR.search(on_terminal(80, "margin", NO_COLOR="1"))


def test_check_names_the_accounts(run: Any) -> None:
    rows = csv.DictReader(io.StringIO(run("margin", "--csv").out))
    below = [row["account"] for row in rows if float(row["margin_balance"]) < float(row["maintenance_margin"])]
    assert len(below) >= 3
    done = run("margin", "--check", "--csv")
    assert done.code == 1
    assert done.err.splitlines()[-1] == f"below maintenance margin: {', '.join(below)}"
    assert done.out == run("margin", "--csv").out
    healthy = run("margin", "--check", "--account", "box-01", "--account", "box-02")
    assert (healthy.code, healthy.err) == (0, "")


def test_accounts_are_chosen_once_and_missing_ones_all_listed(run: Any) -> None:
    done = run("margin", "--csv", "--account", "box-02", "--account", "box-01", "--account", "box-02")
    assert [row["account"] for row in csv.DictReader(io.StringIO(done.out))] == ["box-02", "box-01"]
    check_fails(run("margin", "--account", "bx-01", "--account", "nobody"), "bx-01", "did you mean box-01", "nobody")


def test_standard_input(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    typed(sample_path(POSITIONS_FILE).read_bytes())
    collateral = str(sample_path(COLLATERAL_FILE))
    assert run("margin", "--csv", "--positions", "-", "--collateral", collateral).out == run("margin", "--csv").out
    typed(f"instrument,quantity\n{GOOD},-2\n".encode())
    orders = run("what-if", "box-01", "--csv", "--orders", "-")
    assert orders.out == run("what-if", "box-01", "--csv", "--order", f"{GOOD}=-2").out
    typed(f"{HEADER}a,{GOOD},1\nb,NOPE,1\n".encode())
    check_fails(run("margin", "--positions", "-"), "standard input, row 3", "NOPE")
    for content, text in ((b"", "empty"), (b"\xff\xfe\x00", "UTF-8")):
        typed(content)
        check_fails(run("margin", "--positions", "-"), "standard input", text)
    check_fails(run("margin", "--positions", "-", "--collateral", "-"), "only one")


def test_bad_input_leaves_an_older_result_alone(run: Any, tmp_path: Path) -> None:
    for name in ("out.json", "out.npz"):
        (tmp_path / name).write_text("older")
    (tmp_path / "p.csv").write_text(f"{HEADER}a,NOPE,1\n")
    check_fails(run("margin", "--positions", "p.csv", "--output", "out.json"), "NOPE")
    check_fails(run("arrays", "--market", "p.csv", "--output", "out.npz"), "p.csv")
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.name != "p.csv"} == {
        "out.json": "older",
        "out.npz": "older",
    }


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("margin", "--output", "x.txt"), ("x.txt", ".json")),
        (("margin", "--json", "--output", "x.csv"), ("x.csv", "JSON")),
        (("margin", "--parquet", "x.csv"), ("x.csv", "Parquet")),
        (("margin", "--parquet", "x.parquet", "--output", "y.csv"), ("--parquet", "--output")),
        (("arrays", "--output", "x.npy"), ("x.npy", ".npz")),
        (("arrays", "--output", "no/x.npz"), ("no/x.npz", "folder")),
        (("margin", "--arrays", "none.npz"), ("none.npz", "no such file")),
        (("margin", "--arrays", "folder.npz"), ("folder.npz", "directory")),
        (("margin", "--output", "folder.json"), ("folder.json", "not a regular file")),
        (("margin", "--collateral", "c.csv"), ("--collateral needs --positions",)),
        (("margin", "--snapshot", "2026-01-01"), ("--snapshot",)),
        (("margin", "--threads", "0"), ("--threads",)),
        (("margin", "--jsn"), ("--json",)),
        (("greeks", "--collateral", "c.csv"), ("--collateral needs --positions",)),
        (("greeks", "--instruments", "--account", "box-01"), ("--instruments", "--account")),
        (("greeks", "--account", "bx-01"), ("did you mean box-01",)),
        (("greeks", "--market", "m.json"), ("--market needs --positions",)),
        (("what-if", "box-01", "--order", "X=nan", "--order", f"{GOOD}=0.05"), ("row 1", "row 2", "multiples of 0.1")),
        (("what-if", "bx-01", "--order", f"{GOOD}=1"), ("did you mean box-01",)),
        (("what-if", "box-01", "--order", f"{GOOD}=inf"), ("finite",)),
        (("explain",), ("ACCOUNT",)),
        (("what-iff",), ("did you mean what-if",)),
    ],
)
def test_bad_arguments(run: Any, tmp_path: Path, arguments: tuple[str, ...], texts: tuple[str, ...]) -> None:
    for name in ("folder.npz", "folder.json"):
        (tmp_path / name).mkdir()
    check_fails(run(*arguments), *texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.json", "folder.npz"]


def test_bad_orders_file(run: Any, tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text(f"instrument,quantity\n{GOOD},x\n{GOOD},\n{GOOD},1\n")
    check_fails(run("what-if", "box-01", "--orders", "o.csv"), "o.csv, row 2", "o.csv, row 3")
    (tmp_path / "o.csv").write_text(f"instrument,qty\n{GOOD},1\n")
    check_fails(run("what-if", "box-01", "--orders", "o.csv"), "o.csv", "did you mean qty")


def test_altered_arrays_are_refused(run: Any, tmp_path: Path) -> None:
    assert run("arrays", "--output", "a.npz").code == 0
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    check_fails(run("margin", "--arrays", "cut.npz"), "cut.npz")
    with np.load(tmp_path / "a.npz") as archive:
        columns = {name: archive[name].copy() for name in archive.files}
    columns["rows"][0, 0] += 1
    np.savez(tmp_path / "altered.npz", **columns)
    check_fails(run("margin", "--arrays", "altered.npz"), "altered.npz", "altered")


def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "portfolio_margin", "greeks", "--instruments", "--csv"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(20).startswith(b"instrument,")
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("value", "text"), [(5.0, "5"), (-0.1, "-0.1"), (100.0, "100"), (0.0, "0"), (12345.678901, "12345.678901")]
)
def test_quantities_keep_their_digits(value: float, text: str) -> None:
    assert quantity_text(value) == text


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from portfolio_margin.cli import main\n"
        "sys.argv = ['portfolio-margin', '--help']\n"
        "try: main()\n"
        "except SystemExit: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)
    assert "what-if" in done.stdout
    assert not {"pandas", "numba", "jax", "scipy", "rich"} & set(done.stderr.split())


NOISY = """
import os, sys
import click
import portfolio_margin.cli

def group(**how):
    os.write(1, b"text of a solver")
    click.echo(f"result {sys.stdout.encoding} {os.isatty(1)}")

entry = sys.modules["portfolio_margin.cli.main"]
entry.group = group
entry.main()
os.write(1, b", and more of it")
"""


def test_what_a_library_writes_to_standard_output_does_not_mix_with_results() -> None:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    # The encoding that was asked for stays.
    assert done.stdout == "result iso8859-1 False\n"
    assert done.stderr == "text of a solver, and more of it"


def test_a_solver_that_prints_leaves_json_whole(tmp_path: Path) -> None:
    """Of this book HiGHS prints a line for every solution that presolve has left off by a rounding."""
    positions, collateral = tmp_path / "positions.csv", tmp_path / "collateral.csv"
    held = {
        "2MAR26-2075-P": 32,
        "27MAR26-5500-C": 62,
        "24APR26-1600-C": -9,
        "24APR26-3600-C": -22,
        "26JUN26-1000-P": -31,
    }
    rows = "".join(f"a,ETH-{name},{quantity}\n" for name, quantity in held.items())
    positions.write_text(f"account,instrument,quantity\n{rows}")
    collateral.write_text("account,currency,amount\na,USD,5967.59\n")
    files = ("--positions", str(positions), "--collateral", str(collateral))
    how = ("--policy", "cheapest", "--cost", "0", "--penalty", "0.002", "--json")
    command = [sys.executable, "-m", "portfolio_margin", "liquidate", *files, *how]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plans"][0]["outcome"] == "restored"


@pytest.mark.parametrize("width", [24, 40, 80])
def test_numbers_of_a_wide_table_are_never_broken(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every number in one piece, beside the name of its row, whatever the width; headers and names may be folded."""
    names, random = ["calibrated", "a set with a long name"], np.random.default_rng(1)
    numbers = [[f"{value:.2f}" for value in random.uniform(10.0, 9_999.0, 2)] for _ in range(9)]
    columns = [Column("set", names, right=False)]
    columns += [Column(f"largest of measure {n} [% of price]", texts) for n, texts in enumerate(numbers)]
    columns.append(Column("dispensable", ["1111111.25", "2222222.75"], keep=False))
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_table("wide", columns)
    lines = ESCAPE.sub("", capsys.readouterr().out).splitlines()
    words = [word for line in lines for word in line.split()]
    assert all(words.count(text) == 1 for texts in numbers for text in texts)
    assert "1111111.25" not in words and any("not shown for lack of width: dispensable" in line for line in lines)
    assert (
        sum(line.startswith("calibrated"[: width // 4]) for line in lines) == len(table_pieces(columns[:-1], width)) > 1
    )
