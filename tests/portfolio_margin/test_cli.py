"""The command line as a user meets it: every command, every output, and what bad input ends in."""

from __future__ import annotations

import csv
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from portfolio_margin.cli.main import main
from portfolio_margin.io.market_json import market_text, read_market, write_market
from portfolio_margin.sample import COLLATERAL_FILE, MARKET_FILE, POSITIONS_FILE, load_sample, sample_path
from scenarios.risk_arrays import DEFAULT_TICK


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["portfolio-margin", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return call


def check_fails(done: Done, *texts: str) -> None:
    """Bad input: exit code 2, every text in the message, no traceback, nothing printed as a result."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert not done.out
    for text in texts:
        assert text in done.err, done.err


def test_margin_table_and_check(run: Any) -> None:
    done = run("margin")
    assert done.code == 0
    assert "iron-condor-07" in done.out
    assert "positions excluded: none" in done.out
    assert run("margin", "--check").code == 1
    assert run("margin", "--check", "--account", "iron-condor-07").code == 0


def test_margin_outputs_agree(run: Any, tmp_path: Path) -> None:
    document = json.loads(run("margin", "--json").out)
    rows = list(csv.DictReader(run("margin", "--csv").out.splitlines()))
    assert run("margin", "--parquet", "m.parquet").code == 0
    import pandas as pd

    frame = pd.read_parquet(tmp_path / "m.parquet")
    assert len(document["accounts"]) == len(rows) == len(frame) > 50
    assert document["model_id"] == "worst_case"
    for account, row, initial in zip(document["accounts"], rows, frame["initial_margin"], strict=True):
        assert isinstance(account["initial_margin"], str)
        assert float(account["initial_margin"]) == float(row["initial_margin"]) == initial
    assert run("margin", "--output", "m.csv").code == 0
    assert (tmp_path / "m.csv").read_text() == run("margin", "--csv").out


def test_arrays_reproduce_the_statement(run: Any) -> None:
    assert run("arrays", "--output", "a.npz").code == 0
    assert run("margin", "--arrays", "a.npz", "--json").out == run("margin", "--json").out
    ours, theirs = (run("explain", "box-01", *origin).out.splitlines() for origin in (("--arrays", "a.npz"), ()))
    assert ours[0] == theirs[0].replace("the shipped sample", "a.npz") and ours[1:] == theirs[1:]


def test_explain_sums_exactly(run: Any) -> None:
    document = json.loads(run("explain", "market-maker-02", "--json").out)
    lines = document["rows"] if "rows" in document else document["lines"]
    for side in ("initial", "maintenance"):
        total = Decimal(lines[0][side])
        parts = sum(Decimal(line[side]) for line in lines if line["depth"] == 1)
        leaves = sum(Decimal(line[side]) for line in lines if line["level"] in ("position", "rounding"))
        assert total == parts == leaves
    assert "netting_set BTC" in run("explain", "market-maker-02").out


def test_what_if(run: Any, tmp_path: Path) -> None:
    order = ("what-if", "iron-condor-07", "--order", "BTC-27MAR26-90000-C=-2", "--json")
    document = json.loads(run(*order).out)
    measures = {row["measure"]: row for row in document["measures"]}
    assert Decimal(measures["initial_margin"]["change"]) > 0
    assert measures["equity"]["change"] == "0.00"
    (tmp_path / "o.csv").write_text("instrument,quantity\nBTC-27MAR26-90000-C,-2\n")
    assert (
        json.loads(run("what-if", "iron-condor-07", "--orders", "o.csv", "--json").out)["measures"]
        == document["measures"]
    )
    check_fails(run("what-if", "iron-condor-07"), "--order")
    check_fails(run("what-if", "iron-condor-07", "--order", "BTC-27MAR26-90000-C"), "INSTRUMENT=QUANTITY")
    check_fails(
        run("what-if", "iron-condor-07", "--order", "BTC-27MAR26-90001-C=1"), "did you mean", "BTC-27MAR26-90000-C"
    )


def test_greeks(run: Any) -> None:
    accounts = list(csv.DictReader(run("greeks", "--csv").out.splitlines()))
    statement = list(csv.DictReader(run("margin", "--csv").out.splitlines()))
    deltas = {row["account"]: float(row["delta_total"]) for row in statement}
    sample = load_sample()
    steps = np.abs(sample.book.quantity) / sample.instruments.quantity_step[sample.book.instrument_idx]
    steps_held = np.add.reduceat(steps, sample.book.position_ptr[:-1])
    for row, held in zip(accounts, steps_held, strict=True):
        # The statement's delta is whole ticks per quantity step: half a tick for every step held.
        bound = 0.5 * DEFAULT_TICK * held + 1e-6
        assert float(row["delta_cash"]) == pytest.approx(deltas[row["account"]], rel=0, abs=bound)
    assert "vega [quote ccy / 1 vol pt]" in run("greeks", "--instruments").out
    assert "BTC-27MAR26" in run("greeks", "--account", "iron-condor-01", "--csv").out


def test_parameters(run: Any, tmp_path: Path) -> None:
    base = json.loads(run("margin", "--json", "--account", "iron-condor-07").out)["accounts"][0]
    (tmp_path / "p.toml").write_text("[worst_case]\ninitial_factor = 2.0\n[grid]\nbuckets = 4\n")
    twice = json.loads(run("margin", "--json", "--account", "iron-condor-07", "--params", "p.toml").out)["accounts"][0]
    assert float(twice["initial_margin"]) == pytest.approx(2 * float(base["initial_margin"]), abs=0.02)
    narrow = ("margin", "--json", "--account", "perpetual-long-01", "--scenario", "price_range=0.08")
    assert float(json.loads(run(*narrow).out)["accounts"][0]["initial_margin"]) == pytest.approx(27_374.4, rel=1e-3)
    check_fails(run("margin", "--param", "inital_factor=2"), "initial_factor")
    check_fails(run("margin", "--param", "initial_factor=0.5"), "initial_factor", "1 to 5")
    check_fails(run("margin", "--param", "initial_factor=high"), "initial_factor", "high")
    check_fails(run("margin", "--scenario", "price_range=nan"), "price_range")
    check_fails(run("margin", "--model", "guess"), "guess")
    (tmp_path / "q.toml").write_text("[worstcase]\ninitial_factor = 2.0\n")
    check_fails(run("margin", "--params", "q.toml"), "q.toml", "worstcase", "[worst_case]")
    (tmp_path / "r.toml").write_text("[worst_case\n")
    check_fails(run("margin", "--params", "r.toml"), "r.toml", "TOML")


def test_help_and_unknown_commands(run: Any) -> None:
    assert "what-if" in run("--help").out
    done = run("margn")
    assert done.code == 2
    assert "margin" in done.err


def test_doctor_and_warmup(run: Any) -> None:
    assert "kernels ready" in run("warmup", "--no-jax").out
    out = run("doctor").out
    assert "threading layer" in out
    assert "numba cache" in out


@pytest.fixture
def positions(tmp_path: Path) -> Any:
    def write(text: str, name: str = "p.csv") -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


HEADER = "account,instrument,quantity\n"
GOOD = "BTC-27MAR26-90000-C"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"account,instrumnt,quantity\na,{GOOD},1\n", ["instrumnt"]),
        (f"{HEADER}a,{GOOD},1\na,BTC-27MAR26-90001-C,1\nb,NOPE,2\n", ["row 3", "BTC-27MAR26-90001-C", "row 4", "NOPE"]),
        (f"{HEADER}a,{GOOD},nan\nb,{GOOD},x\nc,{GOOD},inf\n", ["row 2", "row 3", "row 4", "quantity"]),
        (f"{HEADER}a,{GOOD},0.15\n", ["row 2", "0.15"]),
        (f"{HEADER}a,{GOOD},1\na,{GOOD},2\n", ["row 3", "a"]),
        (f"{HEADER},{GOOD},1\n", ["row 2", "account"]),
        (f"{HEADER}a,BTC-2JAN26-90000-C,1\n", ["row 2", "expired"]),
        (HEADER, ["p.csv"]),
        ("", ["p.csv"]),
    ],
)
def test_bad_positions(run: Any, positions: Any, text: str, expected: list[str], tmp_path: Path) -> None:
    name = positions(text)
    check_fails(run("margin", "--positions", name, "--output", "out.csv"), "p.csv", *expected)
    assert not (tmp_path / "out.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_bad_collateral(run: Any, positions: Any) -> None:
    held = positions(f"{HEADER}a,{GOOD},1\n")
    owned = positions("account,currency,amount\na,DOGE,5\na,USD,nan\n", "c.csv")
    check_fails(run("margin", "--positions", held, "--collateral", owned), "c.csv", "DOGE", "row 3")


def test_files_that_are_not_what_they_say(run: Any, positions: Any, tmp_path: Path) -> None:
    check_fails(run("margin", "--positions", "missing.csv"), "missing.csv")
    check_fails(run("margin", "--positions", str(tmp_path)), str(tmp_path))
    check_fails(run("margin", "--positions", positions(f"{HEADER}a,{GOOD},1\n", "p.parquet")), "p.parquet", "Parquet")
    (tmp_path / "b.csv").write_bytes(bytes(range(256)) * 10)
    check_fails(run("margin", "--positions", "b.csv"), "b.csv")
    held = positions(f"{HEADER}a,{GOOD},1\n")
    check_fails(run("margin", "--market", positions("{", "m.json"), "--positions", held), "m.json")
    check_fails(run("margin", "--arrays", positions("x", "a.npz")), "a.npz")
    check_fails(run("margin", "--output", "no/such/folder/x.csv"), "folder")
    check_fails(run("margin", "--output", "x.xlsx"), "xlsx")
    check_fails(run("explain", "iron-condor-77"), "did you mean")
    check_fails(run("margin", "--json", "--csv"), "--json")


def changed_market(tmp_path: Path, **columns: Any) -> str:
    instruments, market = read_market(sample_path(MARKET_FILE))
    document = json.loads(market_text(instruments, market, "test"))
    for path, change in columns.items():
        table, column = path.split("__")
        document[table][column] = change(document[table][column])
    (tmp_path / "market.json").write_text(json.dumps(document))
    return "market.json"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"underlyings__spot": lambda v: [None, *v[1:]]}, ["underlyings.spot", "row 0"]),
        ({"expiries__forward": lambda v: [-5.0, *v[1:]]}, ["forward", "-5.0"]),
        ({"instruments__mark_vol": lambda v: [-0.4, *v[1:]]}, ["mark_vol", "-0.4"]),
        ({"instruments__mark_vol": lambda v: [55.0] * len(v)}, ["percent"]),
        ({"instruments__strike": lambda v: ["x", *v[1:]]}, ["instruments.strike", "'x'"]),
        ({"instruments__instrument": lambda v: [v[1], *v[1:]]}, ["more than once"]),
        ({"instruments__kind": lambda v: ["swaption", *v[1:]]}, ["swaption"]),
        ({"currencies__fx": lambda v: v[:-1]}, ["currencies"]),
    ],
)
def test_bad_markets(run: Any, tmp_path: Path, columns: dict[str, Any], expected: list[str]) -> None:
    name = changed_market(tmp_path, **columns)
    positions, collateral = (str(sample_path(f)) for f in (POSITIONS_FILE, COLLATERAL_FILE))
    check_fails(run("margin", "--market", name, "--positions", positions, "--collateral", collateral), *expected)


def test_nan_in_a_market_is_refused(run: Any, tmp_path: Path) -> None:
    name = changed_market(tmp_path, underlyings__spot=lambda v: [float("nan"), *v[1:]])
    check_fails(run("margin", "--market", name, "--positions", str(sample_path(POSITIONS_FILE))), "market.json", "NaN")


def test_market_round_trip_is_bit_for_bit(tmp_path: Path) -> None:
    instruments, market = read_market(sample_path(MARKET_FILE))
    for name in ("m.json", "m.json.gz"):
        write_market(tmp_path / name, instruments, market, "x")
        again = read_market(tmp_path / name)
        for old, new in zip((instruments, market), again, strict=True):
            for field in old.__dataclass_fields__:
                assert np.array_equal(
                    np.asarray(getattr(old, field)),
                    np.asarray(getattr(new, field)),
                    equal_nan=field in ("svi", "mark_vol", "strike"),
                )


def test_a_market_needs_its_own_positions(run: Any, tmp_path: Path) -> None:
    name = changed_market(tmp_path)
    check_fails(run("margin", "--market", name), "--positions")
    same = (
        "--market",
        name,
        "--positions",
        str(sample_path(POSITIONS_FILE)),
        "--collateral",
        str(sample_path(COLLATERAL_FILE)),
    )
    ours, theirs = (json.loads(run("margin", *options, "--json").out)["accounts"] for options in ((), same))
    assert ours == theirs
