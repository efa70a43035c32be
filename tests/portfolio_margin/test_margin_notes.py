"""What statements, explanations and comparisons say beside their numbers, and what they ask parameters for."""

from __future__ import annotations

import csv
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, explain, keep_parameters, load_parameters, load_sample, margin
from portfolio_margin.held import without_idle_underlyings
from portfolio_margin.models import bybit_standard, deribit_spm, paradex_pm, reg_t, worst_case
from portfolio_margin.strategy_lines import ONE_PAIRING, PAIRINGS
from scenarios.revalue import revalue
from scenarios.shocks import make
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.equities import Listed, arrays_for, book_of

run = test_cli.run
SAMPLE = load_sample()
PARADEX = ("--model", "paradex_pm", "--parameter-set", "2026-04-22")


def of_bitcoin(folder: Path) -> list[str]:
    """Options for an account of options on bitcoin alone."""
    positions = "account,instrument,quantity\na,BTC-27MAR26-90000-C,-2\na,BTC-27MAR26-60000-P,-1\n"
    (folder / "p.csv").write_text(positions)
    (folder / "c.csv").write_text("account,currency,amount\na,USD,200000\n")
    return ["--positions", "p.csv", "--collateral", "c.csv"]


def test_coins_that_do_not_count_are_named_wherever_the_balance_stands(run: Any) -> None:
    account = "coin-only-01"
    document = json.loads(run("explain", account, *PARADEX, "--json").out)
    assert document["margin_balance"] == "0.00"
    lines = {line["asset"]: line for line in document["collateral"]}
    assert set(lines) == {"BTC", "ETH"}
    assert all(line["haircut"] == 1.0 and line["counts"] == 0.0 < line["value"] for line in lines.values())
    for command in (("margin", "--account", account), ("explain", account)):
        done = run(*command, *PARADEX)
        assert any("haircut" in line and "BTC" in line and "100 %" in line for line in done.out.splitlines())
        assert "100 %" in run(*command, *PARADEX, "--csv").err
    call = ("compare", "--model", "paradex_pm", "--model", "worst_case", "--account", account)
    rows = list(csv.DictReader(run(*call, "--csv").out.splitlines()))
    (row,) = (row for row in rows if row["model"] == "paradex_pm")
    assert row["saving"] == row["saving_percent"] == "" and row["saving_reason"].startswith("paradex_pm counts")
    assert {(row["model"], row["parameter_set"]) for row in rows} == {
        ("paradex_pm", "2026-04-22"), ("worst_case", "defaults"),
    }  # fmt: skip


def test_the_collateral_lines_add_up_to_the_balance() -> None:
    model = paradex_pm.Model(*load_parameters("paradex_pm", name="2026-04-22"))
    arrays = revalue(SAMPLE.instruments, SAMPLE.market, model.scenario_set(SAMPLE.market))
    statement = margin(SAMPLE.book, arrays, SAMPLE.market, model)
    for account in ("coin-only-01", "market-maker-03"):
        row = SAMPLE.book.row_of(account)
        lines = explain(statement, SAMPLE.book, arrays, account).collateral
        assert sum(line.value for line in lines) == pytest.approx(
            statement.collateral_value_before_haircut[row], abs=0.01
        )
        assert sum(line.value - line.counts for line in lines) == pytest.approx(statement.haircut[row], abs=0.01)


def test_charges_of_ours_are_marked() -> None:
    model = deribit_spm.Model(*load_parameters("deribit_spm", at=SAMPLE.market.valuation_time))
    arrays = revalue(SAMPLE.instruments, SAMPLE.market, model.scenario_set(SAMPLE.market))
    statement = margin(SAMPLE.book, arrays, SAMPLE.market, model)
    owed = statement.charges["balances_owed"][:, 0] > 0.0
    assert owed.any() and not owed.all()
    assert statement.identity()["charges_of_ours"] == ["balances_owed"]
    assert any("balances_owed" in note for note in statement.notes)
    explanation = explain(statement, SAMPLE.book, arrays, str(statement.account[np.argmax(owed)]))
    marked = {line.name for line in explanation.lines if line.ours and line.level == "charge"}
    assert marked == {"balances_owed"}
    amount = sum(line.initial for line in explanation.lines if line.level == "charge" and line.ours)
    assert float(amount) == pytest.approx(statement.charges["balances_owed"][np.argmax(owed), 0])


def test_scenarios_named_in_an_explanation_state_their_moves(run: Any) -> None:
    document = json.loads(run("explain", "box-01", "--model", "deribit_spm", "--json").out)
    named = {line["scenario"] for line in document["lines"]} - {""}
    moves = {moves["id"]: moves for moves in document["scenarios"]}
    assert named and named <= set(moves)
    model = deribit_spm.Model(*load_parameters("deribit_spm", at=SAMPLE.market.valuation_time))
    known = model.scenario_set(SAMPLE.market)
    for name in named:
        s = known.label.tolist().index(name)
        assert moves[name]["spot_shift"] == known.price_move[s, 0] and moves[name]["weight"] == known.weight[s]
    text = run("explain", "box-01", "--model", "deribit_spm").out
    assert all(f"scenario {name}: price " in text for name in named)


def test_parameters_are_asked_for_what_is_held_alone(run: Any, tmp_path: Path) -> None:
    """An account of options on one coin needs no rates of futures, and none of the other coin."""
    book = of_bitcoin(tmp_path)
    assert json.loads(run("margin", *book, "--model", "bybit_standard", "--json").out)["accounts"]
    grid = (
        "[bybit_pm]\nshort_option_coefficient = 0.01\nfutures_factor = 0.01\ninitial_factor = 1.2\ncoin_haircut = 0.1\n"
    )
    grid += 'spreads = "left_out"\n[bybit_pm.grids.{}]\nprice_moves = [-0.2, 0.0, 0.2]\nvol_up = 0.3\nvol_down = 0.2\n'
    found = {}
    for name in ("btc", "any", "eth"):
        (tmp_path / f"{name}.toml").write_text(grid.format(name))
        done = run("margin", *book, "--model", "bybit_pm", "--params", f"{name}.toml", "--json")
        found[name] = json.loads(done.out)["accounts"][0]["initial_margin"] if done.code == 0 else done.err
    assert found["btc"] == found["any"] != "0.00"
    assert "grids.btc" in found["eth"] and "grids.eth" not in found["eth"]
    okx = ("--model", "okx_pm", "--param", "term_structure_vol=0.1", "--param", "rate_move=0.01")
    assert run("margin", *book, *okx).code == 0
    (tmp_path / "c.csv").write_text("account,currency,amount\na,ETH,200\n")
    held = run("margin", *book, *okx)
    assert held.code == 2 and "haircut.eth" in held.err and "haircut.btc" not in held.err


def test_futures_held_still_need_their_rates() -> None:
    model = bybit_standard.Model(*load_parameters("bybit_standard", at=SAMPLE.market.valuation_time))
    arrays = revalue(SAMPLE.instruments, SAMPLE.market, make(["as it is"], np.zeros(1)))
    names = SAMPLE.instruments.instrument_id.tolist()
    rows = [names.index("BTC-27MAR26"), names.index("ETH-27MAR26-2000-P")]
    book = Book.from_arrays(["a", "a"], rows, [1.0, -1.0], SAMPLE.instruments.expiry_idx)
    with pytest.raises(Exception, match=r"futures\.btc") as refused:
        margin(book, arrays, SAMPLE.market, model)
    assert "futures.eth" not in str(refused.value)


def test_a_market_without_idle_underlyings_gives_the_same_rows() -> None:
    only = SAMPLE.book.select("box-02")
    book, instruments, market = without_idle_underlyings(only, SAMPLE.instruments, SAMPLE.market)
    assert len(market.underlying_id) < len(SAMPLE.market.underlying_id)
    moves = make(["down", "up"], np.array([-0.1, 0.1]))
    arrays, small = (revalue(i, m, moves) for i, m in ((SAMPLE.instruments, SAMPLE.market), (instruments, market)))
    at = [SAMPLE.instruments.instrument_id.tolist().index(name) for name in small.instrument_id.tolist()]
    assert np.array_equal(arrays.pnl[at], small.pnl)
    held = [(SAMPLE.instruments.instrument_id[i], q) for i, q in zip(only.instrument_idx, only.quantity, strict=True)]
    kept = [(instruments.instrument_id[i], q) for i, q in zip(book.instrument_idx, book.quantity, strict=True)]
    assert held == kept
    named = [str(name) for name in SAMPLE.instruments.instrument_id if str(name).startswith(("BTC-27", "ETH-27"))]
    assert without_idle_underlyings(only, SAMPLE.instruments, SAMPLE.market, named)[2] is SAMPLE.market


def test_each_pairing_of_strategies_stands_by_itself() -> None:
    """A collar is a covered call and a put when opened, a collar afterwards: Regulation T knows none."""
    model = reg_t.Model(reg_t.Params(default_class="equity"))
    series = [Listed("U", "P", 95.0), Listed("U", "C", 105.0), Listed("U", "P", 90.0)]
    arrays = arrays_for(model, {"U": 100.0}, series)
    put, call, other = (listed.name for listed in series)
    held = {"collar": {"U": 250.0, put: 2.0, call: -2.0}, "naked": {call: -5.0, other: -3.0}}
    book = book_of(arrays, held)
    statement = margin(book, arrays, None, model)
    collar = explain(statement, book, arrays, "collar").lines
    used: dict[tuple[str, str], float] = {}
    pairing = ""
    for line in collar:
        pairing = line.name.removeprefix("U, ") if line.level == "netting_set" else pairing
        if line.level == "position":
            used[pairing, line.name] = used.get((pairing, line.name), 0.0) + float(line.quantity or 0.0)
            # Only the margin that the pairing is for.
            assert not (line.maintenance if pairing == PAIRINGS[0] else line.initial)
    assert used == {(name, i): q for name in PAIRINGS for i, q in held["collar"].items()}
    strategies = {line.name for line in collar if line.level == "strategy"}
    assert {"collar", "covered call", "long put", "long stock"} == strategies
    stock = sum(line.maintenance for line in collar if line.level == "position" and line.name == "U")
    assert stock > Decimal(0)
    naked = explain(statement, book, arrays, "naked").lines
    assert {line.name for line in naked if line.level == "netting_set"} == {f"U, {ONE_PAIRING}"}
    legs = {(line.name, line.quantity) for line in naked if line.level == "position"}
    assert {(call, -3.0), (other, -3.0), (call, -2.0)} == legs
    assert all(line.initial == line.maintenance for line in naked)


def test_a_statement_prints_as_one_line() -> None:
    arrays = revalue(SAMPLE.instruments, SAMPLE.market, make(["down", "up"], np.array([-0.1, 0.1])))
    statement = margin(SAMPLE.book, arrays, SAMPLE.market, worst_case.Model())
    text = repr(statement)
    assert "\n" not in text and len(text) < 250
    assert "56 accounts" in text and f"{statement.initial_margin.sum():.2f}" in text


def test_rows_of_csv_say_what_they_are_of(run: Any) -> None:
    """The future of one account has no rule under Derive's managers."""
    done = run("margin", "--model", "derive_pmrm", "--account", "future-roll-01", "--account", "box-01", "--csv")
    rows = {row["account"]: row for row in csv.DictReader(done.out.splitlines())}
    assert {row["model"] for row in rows.values()} == {"derive_pmrm"}
    assert {row["parameter_set"] for row in rows.values()} == {"2026-01-21"}
    assert rows["box-01"]["excluded"] == ""
    names = [part.partition(":")[0] for part in rows["future-roll-01"]["excluded"].split("; ")]
    assert names == ["ETH-27MAR26", "ETH-25SEP26"]


def test_marks_are_those_of_the_nearest_set(tmp_path: Path) -> None:
    for name in ("2026-02-15", "2024-06-17-docs"):
        params, info = load_parameters("deribit_spm", name=name)
        keep_parameters(tmp_path / name, "deribit_spm", params, "2026-03-01", source="as shipped", note="kept")
        kept = load_parameters("deribit_spm", name="2026-03-01", folder=tmp_path / name)[1]
        assert set(kept.second_hand) == set(info.second_hand)


def test_arrays_of_a_file_are_compared_with_its_scan_ranges(run: Any, tmp_path: Path) -> None:
    assert run("arrays", "--output", "ours.spn").code == 0
    positions = "account,instrument,quantity\na,BTC-27MAR26-90000-C,-2\n"
    (tmp_path / "p.csv").write_text(positions)
    call = ("--positions", "p.csv", "--model", "span")
    whole = run("margin", "--arrays", "ours.spn", *call)
    assert whole.code == 0 and "scan ranges" not in whole.out
    text = (tmp_path / "ours.spn").read_text()
    first = re.search(r"<a>(-?[1-9][0-9]*\.[0-9]+)</a>", text)
    assert first is not None
    turned = str(-float(first.group(1)))
    (tmp_path / "turned.spn").write_text(text.replace(first.group(0), f"<a>{turned}</a>", 1))
    wrong = run("margin", "--arrays", "turned.spn", *call)
    assert wrong.code == 0 and "1 of " in wrong.out
    assert any(line.startswith("warning: ") and "scan ranges" in line for line in wrong.out.splitlines())


def test_a_file_that_contradicts_itself_is_refused_shortly(run: Any, tmp_path: Path) -> None:
    """Every value of an option has the wrong sign."""
    assert run("arrays", "--output", "ours.spn").code == 0
    text = (tmp_path / "ours.spn").read_text()
    (tmp_path / "wrong.spn").write_text(text.replace("<v>", "<v>-"))
    (tmp_path / "p.csv").write_text("account,instrument,quantity\na,BTC-27MAR26-90000-C,-2\n")
    done = run("margin", "--arrays", "wrong.spn", "--positions", "p.csv", "--model", "span")
    lines = done.err.splitlines()
    assert done.code == 2 and len(lines) == 5
    (rest,) = re.findall(r"and (\d+) problems more in this file", lines[-1])
    assert int(rest) > 100
