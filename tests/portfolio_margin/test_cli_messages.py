"""One clear sentence where something goes to the wrong place: a file, a folder, an option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from portfolio_margin.io.market_json import write_market
from pricing import Exercise
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.io_examples import as_tickers, chain_frame
from tests.portfolio_margin.test_cli import GOOD, HEADER, changed_market, check_fails
from tests.scenarios.test_american_book import market_and_options, steep

run = test_cli.run
ACCURACIES: dict[str, tuple[str, ...]] = {
    "none": (),
    "default": ("--american-accuracy", "default"),
    "fast": ("--american-accuracy", "fast"),
}


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("margin", "--positions", "adir"), ("adir", "a folder")),
        (("margin", "--market", "adir", "--positions", "p.csv"), ("adir", "a folder")),
        (("margin", "--positions", "p.txt"), ("unknown ending; known: .csv, .csv.gz, .parquet, .arrow, .feather\n",)),
        (("margin", "--positions", "book.csv"), ("zip or Excel", "its name says CSV; save it as CSV")),
        (("fit-surface", "market.json"), ("market.json is a market file of ours", "option chain")),
        (("margin", "p.csv"), ("unexpected extra argument", "positions go after --positions")),
        (("margin", "--csv", "out.csv"), ("unexpected extra argument", "a file for the result after --output")),
        (("sample", "--output", "p.csv"), ("--output p.csv is a file", "name a folder")),
        (("margin", "--market", "futures.csv", "--positions", "p.csv"), ("table of futures", "--futures")),
        (("fit-surface", "options.csv", "--futures", "options.csv"), ("table of options", "futures and perpetuals")),
        (("margin", "--positions", "times.parquet"), ("row 1", "quantity", "not a number")),
    ],
)
def test_what_goes_to_the_wrong_place(
    run: Any, tmp_path: Path, arguments: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    (tmp_path / "adir").mkdir()
    (tmp_path / "p.csv").write_text(f"{HEADER}a,{GOOD},1\n")
    (tmp_path / "p.txt").write_text(f"{HEADER}a,{GOOD},1\n")
    (tmp_path / "book.csv").write_bytes(b"PK\x03\x04 and so on")
    changed_market(tmp_path)
    options = as_tickers(chain_frame())
    options.to_csv(tmp_path / "options.csv", index=False)
    options.drop(columns=["underlying_price", "mark_iv", "strike"]).to_csv(tmp_path / "futures.csv", index=False)
    held = pd.DataFrame({"account": ["a"], "instrument": [GOOD], "quantity": pd.to_datetime(["2026-01-01"])})
    held.to_parquet(tmp_path / "times.parquet")
    done = run(*arguments)
    check_fails(done, *texts)
    assert sum(line != "" and not line.startswith(("Usage", "Try")) for line in done.err.splitlines()) == 1


def test_arrays_of_another_market_need_positions(run: Any, tmp_path: Path) -> None:
    chain_frame().to_parquet(tmp_path / "chain.parquet")
    assert run("arrays", "--market", "chain.parquet", "--output", "a.npz").code == 0
    done = run("margin", "--arrays", "a.npz")
    check_fails(done, "--arrays needs --positions FILE", "the sample's accounts")
    assert len(done.err.splitlines()) == 1


def test_standard_input_is_numbered_like_a_file(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    text = f"{HEADER}a,{GOOD},1\n\nb,{GOOD},x\n"
    (tmp_path / "p.csv").write_text(text)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    typed = run("margin", "--positions", "-").err
    assert typed.replace("standard input", "p.csv") == run("margin", "--positions", "p.csv").err
    assert "row 4" in typed


def test_moments_are_listed_where_they_are_few(run: Any, tmp_path: Path) -> None:
    frame = chain_frame()
    moments = [frame.assign(snapshot_utc=frame["snapshot_utc"] + pd.Timedelta(minutes=m)) for m in range(41)]
    pd.concat(moments[:40]).to_parquet(tmp_path / "few.parquet")
    pd.concat(moments).to_parquet(tmp_path / "many.parquet")
    check_fails(run("fit-surface", "few.parquet"), "40 snapshots", ", 2026-02-26T09:52:05Z, ")
    check_fails(run("fit-surface", "many.parquet"), "41 snapshots", "from 2026-02-26T09:41:05Z to 2026-02-26T10:21:05Z")


def test_a_contract_that_is_not_solved_is_named(run: Any, tmp_path: Path) -> None:
    """A put held with too little vol for its drift stops nothing but with its name, in one sentence."""
    instruments, market = steep((0.015, 0.05))
    write_market(tmp_path / "steep.json", instruments, market, "test")
    (tmp_path / "p.csv").write_text(f"{HEADER}a,call-100,1\na,put-85,1\n")
    (tmp_path / "other.csv").write_text(f"{HEADER}a,call-100,1\n")
    assert run("margin", "--market", "steep.json", "--positions", "other.csv").code == 0  # nobody holds it
    for command, positions in (("margin", "p.csv"), ("greeks", "other.csv")):
        done = run(command, "--market", "steep.json", "--positions", positions)
        check_fails(done, "steep.json, instruments, row put-85, vol = 0.015: the forward drifts by 42.4 deviations")
        assert len(done.err.splitlines()) == 1
    check_fails(run("arrays", "--market", "steep.json", "--output", "a.npz"), "row put-85")


def test_accuracy_of_early_exercise(run: Any, tmp_path: Path) -> None:
    write_market(tmp_path / "american.json", *market_and_options(Exercise.AMERICAN), "test")
    (tmp_path / "p.csv").write_text(f"{HEADER}a,put-100,-1\n")
    book = ("--positions", "p.csv", "--tick", "1e-7", "--json")
    done = {name: run("margin", "--market", "american.json", *book, *how) for name, how in ACCURACIES.items()}
    digests = {name: json.loads(one.out)["input_hash"] for name, one in done.items()}
    assert digests["default"] == digests["none"] != digests["fast"]
    wrong = run("margin", "--american-accuracy", "perfect")
    check_fails(wrong, "--american-accuracy", "fast")
    assert run("arrays", "--market", "american.json", "--output", "a.npz", "--american-accuracy", "fast").code == 0
    useless = run("margin", "--arrays", "a.npz", "--positions", "p.csv", "--american-accuracy", "fast")
    check_fails(useless, "--american-accuracy has no effect beside --arrays")
