"""Chains of listed stocks on the command line: every command that takes a chain takes them, and says what it needs."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.market_json import read_market
from pricing import american_price, american_with_dividends
from pricing.price import price
from pricing.resolve import resolve
from scenarios.revalue import revalue
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.test_cli import check_fails
from tests.vectors import data_file

run = test_cli.run
NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
SPOT, RATE, VOL = 100.0, 0.04, 0.25
EXPIRIES = {"2026-03-13": 20, "2026-04-17": 20}  # hour of the close in UTC, after summer time began on 8 March
TERMS = ("--snapshot", "2026-03-02T15:00Z", "--spot", "100", "--rate", "0.04", "--stock", "SPY")


def tau_of(day: str) -> float:
    close = datetime.fromisoformat(day).replace(hour=EXPIRIES[day], tzinfo=UTC)
    return (close - NOW).total_seconds() / (365 * 86_400)


def chain_frame() -> pd.DataFrame:
    """Two expiries of European prices at one vol and no yield, a cent wide; the outermost put has no bid."""
    parts = []
    for day in EXPIRIES:
        tau = tau_of(day)
        strike, sign = np.tile(np.arange(80.0, 122.0, 2.0), 2), np.repeat([1.0, -1.0], 21)
        value = np.asarray(price(SPOT * np.exp(RATE * tau), strike, tau, VOL, sign, np.exp(-RATE * tau)))
        bid = np.where((strike == 80) & (sign < 0), 0.0, np.maximum(value - 0.005, 0.0))
        columns = {"strike": strike, "cp": np.where(sign > 0, "C", "P"), "bid": bid, "ask": value + 0.005}
        parts.append(pd.DataFrame({"expiry": day, **columns}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def chain(run: Any, tmp_path: Path) -> str:
    chain_frame().to_csv(tmp_path / "spy.csv", index=False)
    (tmp_path / "p.csv").write_text(
        "account,instrument,quantity\ncovered,SPY,100\ncovered,SPY-2026-04-17-104-C,-1\nput,SPY-2026-04-17-116-P,-1\n"
    )
    (tmp_path / "c.csv").write_text("account,currency,amount\nput,USD,9000\nput,EUR,100\n")
    return "spy.csv"


BOOK = ("--positions", "p.csv", "--collateral", "c.csv", "--fx", "EUR=1.1")


def test_margin_from_a_chain_is_that_of_american_options(run: Any, chain: str) -> None:
    done = run("margin", "--market", chain, *TERMS, *BOOK, "--model", "tims", "--csv")
    assert done.code == 0, done.err
    rows = {row["account"]: row for row in csv.DictReader(done.out.splitlines())}
    tau = tau_of("2026-04-17")
    put, call = (float(american_price(SPOT, k, tau, VOL, s, RATE)) for k, s in ((116.0, -1), (104.0, 1)))
    assert float(rows["put"]["equity"]) == pytest.approx(9_110 - 100 * put, abs=2.0)
    assert float(rows["covered"]["equity"]) == pytest.approx(10_000 - 100 * call, abs=2.0)
    # TIMS moves this one down by 8 %: a naked put deep in the money loses nearly that, and has to be the American one.
    worse = float(american_price(0.92 * SPOT, 116.0, tau, VOL, -1, RATE))
    assert float(rows["put"]["initial_margin"]) == pytest.approx(100 * (worse - put), abs=3.0)
    european = run("margin", "--market", chain, *TERMS, *BOOK, "--exercise", "european", "--csv")
    less = {row["account"]: float(row["equity"]) for row in csv.DictReader(european.out.splitlines())}
    assert less["put"] > float(rows["put"]["equity"]) + 5.0
    assert less["covered"] == pytest.approx(float(rows["covered"]["equity"]), abs=0.1)


def test_every_command_takes_it(run: Any, chain: str, tmp_path: Path) -> None:
    market = ("--market", chain, *TERMS)
    fitted = json.loads(run("fit-surface", chain, *TERMS, "--json").out)
    assert [row["expiry"] for row in fitted["expiries"]] == ["SPY-2026-03-13", "SPY-2026-04-17"]
    assert all(row["rmse_vega_vol_points"] < 0.1 for row in fitted["expiries"])
    assert any("american options" in note for note in fitted["notes"])
    compared = json.loads(run("compare", *market, *BOOK, "--model", "tims", "--model", "reg_t", "--json").out)
    assert {row["model"] for row in compared["rows"]} == {"tims", "reg_t"}
    greeks = json.loads(run("greeks", *market, "--instruments", "--json").out)
    assert len(greeks["rows"]) == 2 * 2 * 21
    assert run("arrays", *market, "--model", "tims", "--output", "a.npz").code == 0
    direct = run("margin", *market, "--positions", "p.csv", "--model", "tims", "--csv")
    assert run("margin", "--arrays", "a.npz", "--positions", "p.csv", "--model", "tims", "--csv").out == direct.out
    written = run("fit-surface", chain, *TERMS, "--output", "m.json", "--keep-marks")
    assert written.code == 0, written.err
    # A strike whose put has no bid is listed, and takes the vol of its slice.
    listed, kept = read_market(tmp_path / "m.json")
    unquoted = listed.index_of()["SPY-2026-03-13-80-P"]
    assert np.isnan(kept.mark_vol[unquoted])
    assert resolve(listed, kept).vol[unquoted] == pytest.approx(VOL, abs=0.03)
    assert run("margin", "--market", "m.json", "--positions", "p.csv", "--model", "tims", "--csv").out == direct.out


def test_sample_accounts_on_a_stock(run: Any, chain: str) -> None:
    market = ("--market", chain, *TERMS)
    done = run("sample", *market, "--output", "book")
    assert done.code == 0, done.err
    files = ("--positions", "book/positions.csv", "--collateral", "book/collateral.csv")
    rows = {r["account"]: r for r in csv.DictReader(run("margin", *market, *files, "--csv").out.splitlines())}
    assert len(rows) > 25
    status = {name.removeprefix("spy-"): row["status"] for name, row in rows.items()}
    assert status["short-straddle-bankrupt"] == "BANKRUPT"
    assert status["short-strangle-stressed"] == "MARGIN_CALL"
    assert status["naked-call-seller-01"] in ("REDUCE_ONLY", "LIQUIDATION")
    assert status["collar-01"] == status["iron-condor-02"] == "NORMAL"
    lent = rows["spy-stock-on-margin-01"]
    assert float(lent["equity"]) == pytest.approx(0.5 * 1_000 * SPOT)
    assert abs(float(rows["spy-delta-hedged-gamma-01"]["delta_total"])) < 0.05 * 1_000 * SPOT


def test_what_is_missing_or_out_of_place_is_named(run: Any, chain: str) -> None:
    check_fails(run("fit-surface", chain), "chain of a listed stock", "--snapshot", "--spot", "--rate", "--stock")
    check_fails(run("fit-surface", chain, *TERMS[:4], "--stock", "SPY"), "needs --rate RATE")
    check_fails(run("fit-surface", chain, *TERMS, "--on-bad-row", "exclude"), "--on-bad-row is not for a chain")
    check_fails(run("fit-surface", chain, *TERMS[:2], "--spot", "-1", *TERMS[4:]), "--spot -1: must be above 0")
    check_fails(run("fit-surface", chain, *TERMS[:2], "--spot", "300", *TERMS[4:]), "forward", "further from the spot")
    check_fails(run("fit-surface", chain, *TERMS[:4], "--rate", "4", *TERMS[6:]), "rate = 4.0", "0.042 for 4.2 %")
    check_fails(run("margin", "--market", chain, *TERMS, *BOOK[:2], "--fx", "USD=1"), "--fx USD", "leave it out")
    check_fails(run("margin", "--spot", "3"), "--spot is about a chain")


def test_a_spot_that_the_forwards_contradict(run: Any, chain: str) -> None:
    """10 % off is refused, 2 % is told of, and the right one passes without a word; ages are not known here."""
    check_fails(
        run("fit-surface", chain, *TERMS[:2], "--spot", "90", *TERMS[4:]), "spot = 90", "forward of 100.1", "+11.1%"
    )
    told = run("fit-surface", chain, *TERMS[:2], "--spot", "98", *TERMS[4:], "--oldest-seconds", "60", "--json")
    assert told.code == 0, told.err
    assert "1 of 2 forwards lie further from spot and rate than usual dividends explain, by up to +2.0%" in told.out
    assert "--oldest-seconds left nothing out" in told.out
    right = run("fit-surface", chain, *TERMS, "--backend", "numpy", "--json")
    assert right.code == 0 and "usual dividends" not in right.out and "left nothing out" not in right.out


def test_a_folder_for_pictures_that_cannot_be(run: Any, chain: str) -> None:
    check_fails(run("fit-surface", chain, *TERMS, "--plots", "spy.csv/x"), "--plots spy.csv/x: cannot be a folder")


def test_expiries_left_out_are_told(run: Any, chain: str, tmp_path: Path) -> None:
    frame = chain_frame()
    frame.loc[(frame["expiry"] == "2026-03-13") & (frame["cp"] == "C"), "bid"] = 0.0
    frame.assign(osi_symbol="SPY   260413P00080000").to_csv(tmp_path / "one.csv", index=False)
    done = run("fit-surface", "one.csv", *TERMS[:6], "--json")
    assert "left out: one.csv, expiry = '2026-03-13'" in done.err, done.err
    document = json.loads(done.out)
    assert [row["expiry"] for row in document["expiries"]] == ["SPY-2026-04-17"]
    assert len(document["market_rows_left_out"]) == 1


@pytest.mark.data
def test_the_real_chain_from_end_to_end(run: Any) -> None:
    chain = str(data_file("equity_chain/spy_chain_cboe_20250925.csv.gz"))
    market = ("--market", chain, "--snapshot", "2025-09-25T20:00Z", "--spot", "658.05", "--rate", "0.042")
    assert run("sample", *market, "--output", "book").code == 0
    files = ("--positions", "book/positions.csv", "--collateral", "book/collateral.csv")
    done = run("compare", *market, *files, "--model", "reg_t", "--model", "tims", "--reference", "reg_t", "--json")
    initial = {(row["account"], row["model"]): float(row["initial_margin"]) for row in json.loads(done.out)["rows"]}
    assert initial["spy-stock-long-01", "reg_t"] == pytest.approx(0.50 * 658_050)
    assert initial["spy-stock-long-01", "tims"] == pytest.approx(0.08 * 658_050)
    assert initial["spy-collar-01", "tims"] < 0.1 * initial["spy-collar-01", "reg_t"]
    assert initial["spy-box-01", "tims"] < 0.1 * initial["spy-box-01", "reg_t"]


def dividend_chain(run: Any, folder: Path) -> None:
    """One expiry of European prices on a spot less a dividend of 1.50 within a fortnight; a book on it."""
    day, paid = "2026-04-17", 1.5 * np.exp(-RATE * 11 / 365)
    tau = tau_of(day)
    strike, sign = np.tile(np.arange(80.0, 122.0, 2.0), 2), np.repeat([1.0, -1.0], 21)
    forward = (SPOT - paid) * np.exp(RATE * tau)
    value = np.asarray(price(forward, strike, tau, VOL, sign, np.exp(-RATE * tau)))
    columns = {"strike": strike, "cp": np.where(sign > 0, "C", "P"), "bid": np.maximum(value - 0.005, 0.0)}
    pd.DataFrame({"expiry": day, **columns, "ask": value + 0.005}).to_csv(folder / "spy.csv", index=False)
    (folder / "d.csv").write_text("ex_date,amount\n2025-12-12,1.4\n2026-03-13,1.5\n2026-06-12,1.6\n")
    held = ("call,SPY-2026-04-17-82-C,1", "put,SPY-2026-04-17-116-P,1")
    (folder / "p.csv").write_text("\n".join(["account,instrument,quantity", *held, ""]))


def test_known_dividends(run: Any, tmp_path: Path) -> None:
    """A call far in the money is exercised before the ex-date; the market file keeps what is to come."""
    dividend_chain(run, tmp_path)
    market = ("--market", "spy.csv", *TERMS, "--dividends", "d.csv")

    def equities(*chain: str) -> dict[str, float]:
        done = run("margin", *chain, "--positions", "p.csv", "--model", "tims", "--csv")
        assert done.code == 0, done.err
        return {row["account"]: float(row["equity"]) for row in csv.DictReader(done.out.splitlines())}

    equity = equities(*market)
    ex_date = (datetime(2026, 3, 13, 13, 30, tzinfo=UTC) - NOW).total_seconds() / (365 * 86_400)
    tau = tau_of("2026-04-17")
    for name, strike, sign in (("call", 82.0, 1), ("put", 116.0, -1)):
        expected = american_with_dividends(SPOT, strike, tau, VOL, sign, RATE, [ex_date], [1.5])["price"]
        assert equity[name] == pytest.approx(100.0 * float(expected), abs=3.0)
    assert equity["call"] > 100.0 * (SPOT - 82.0)
    assert equity["put"] - equities(*market[:-2])["put"] > 1.0
    assert (
        "1 known dividends before the last expiry" in run("fit-surface", "spy.csv", *TERMS, "--dividends", "d.csv").out
    )
    written = run("fit-surface", "spy.csv", *TERMS, "--dividends", "d.csv", "--output", "m.json", "--keep-marks")
    assert written.code == 0, written.err
    _, kept = read_market(tmp_path / "m.json")
    assert kept.dividend.tolist() == [1.5, 1.6] and kept.dividend_underlying.tolist() == [0, 0]
    assert equities("--market", "m.json") == equity
    check_fails(run("greeks", *market, "--instruments"), "known dividends before expiry", "american_with_dividends")


def test_dividends_that_are_none(run: Any, tmp_path: Path) -> None:
    dividend_chain(run, tmp_path)
    (tmp_path / "bad.csv").write_text("ex_date,amount\n2026-03-13,1.5\n13/06/2026,1.6\n2026-03-13,0\n")
    failed = run("fit-surface", "spy.csv", *TERMS, "--dividends", "bad.csv")
    check_fails(failed, "ex_date = '13/06/2026': must be a date", "a second dividend of this day", "amount = '0'")
    (tmp_path / "old.csv").write_text("ex_date,cash\n2026-03-13,1.5\n")
    check_fails(run("fit-surface", "spy.csv", *TERMS, "--dividends", "old.csv"), "amount")
    (tmp_path / "large.csv").write_text("ex_date,amount\n2026-03-13,9.5\n")
    failed = run("margin", "--market", "spy.csv", *TERMS, "--dividends", "large.csv", "--positions", "p.csv")
    check_fails(failed, "what spot, forward and discount factor say the dividends before expiry are worth")


def rows_of(run: Any, *words: str) -> list[dict[str, str]]:
    done = run(*words, "--csv")
    assert done.code == 0, done.err
    return list(csv.DictReader(done.out.splitlines()))


@pytest.mark.parametrize("model", ["tims", "reg_t", "worst_case", "span"])
def test_contracts_that_nobody_holds_change_no_margin(
    run: Any, chain: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not revalued, unless rules are made from all of them; published arrays of all give the same."""
    market = ("--market", chain, *TERMS, "--fx", "EUR=1.1")
    revalued: list[int] = []

    def counted(instruments: Any, *given: Any, **how: Any) -> Any:
        revalued.append(int(np.sum(instruments.is_option)))
        return revalue(instruments, *given, **how)

    monkeypatch.setattr(sys.modules["scenarios.revalue"], "revalue", counted)
    of_market = rows_of(run, "margin", *market, *BOOK[:4], "--model", model)
    assert run("arrays", *market, "--model", model, "--output", "all.npz").code == 0
    assert rows_of(run, "margin", "--arrays", "all.npz", *BOOK[:4], "--model", model) == of_market
    assert revalued == [84 if model == "span" else 2, 84]


def test_orders_in_contracts_that_nobody_holds(run: Any, chain: str) -> None:
    asked = ("what-if", "put", "--market", chain, *TERMS, *BOOK, "--model", "tims", "--order")
    rows = {row["measure"]: row for row in rows_of(run, *asked, "SPY-2026-04-17-114-P=1")}
    assert float(rows["initial_margin"]["change"]) < 0
    check_fails(run(*asked, "SPY-2026-04-17-113-P=1"), "did you mean", "SPY-2026-04-17-114-P")


def test_venues_of_coins_have_no_rule_for_stocks(run: Any, chain: str) -> None:
    """Said before their scenarios and parameters are asked for, of which a stock has none."""
    models = [word for name in ("tims", "bybit_pm", "okx_pm", "deribit_spm") for word in ("--model", name)]
    done = run("compare", "--market", chain, *TERMS, *BOOK, *models)
    assert done.code == 0, done.err
    said = [line for line in done.out.splitlines() if line.startswith("left out")]
    assert len(said) == 3 and all("has no rule for any contract here" in line for line in said)


def test_a_model_alone_says_that_it_has_no_rule_for_stocks(run: Any, chain: str) -> None:
    done = run("margin", "--market", chain, *TERMS, *BOOK, "--model", "bybit_pm")
    check_fails(done, "bybit_pm has no rule for any contract here")
    assert "grids" not in done.err


def test_compare_takes_the_accuracy_of_early_exercise(run: Any, chain: str) -> None:
    asked = ("compare", "--market", chain, *TERMS, *BOOK, "--model", "tims", "--model", "reg_t", "--json")
    usual, fast = (json.loads(run(*asked, *more).out) for more in ((), ("--american-accuracy", "fast")))
    alone = json.loads(run("margin", *asked[1:-5], "--model", "tims", "--american-accuracy", "fast", "--json").out)
    margins = [float(row["initial_margin"]) for row in fast["rows"] if row["model"] == "tims"]
    assert margins == [float(account["initial_margin"]) for account in alone["accounts"]]
    assert margins == pytest.approx(
        [float(row["initial_margin"]) for row in usual["rows"] if row["model"] == "tims"], rel=1e-3
    )
    check_fails(run("compare", "--arrays", "x.npz", "--american-accuracy", "fast"), "has no effect beside --arrays")


def test_a_shipped_set_of_the_stock_is_named(run: Any, chain: str) -> None:
    """historical_simulation by date is of coins; the set that knows SPY goes by name."""
    models = ("--model", "tims", "--model", "historical_simulation")
    out = run("compare", "--market", chain, *TERMS, *BOOK, *models).out
    assert "a set that goes by name has some: --model historical_simulation:2023-12-28-spx" in out
