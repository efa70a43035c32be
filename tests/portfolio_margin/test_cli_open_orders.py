"""--open-orders on the command line: one table, the same margins in every command, one sentence for every bad row."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.open_orders import check_accounts, read_orders, rows_between
from portfolio_margin.io.tables import read_table
from pricing import DataError
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import ARRAYS, MARKET, ROW, book_of
from tests.portfolio_margin.test_cli import check_fails

run = test_cli.run
ACCOUNTS = ("covered-call-01", "naked-call-seller-01", "perpetual-long-01")
ROWS = """account,instrument,quantity,price
covered-call-01,BTC-27MAR26-74000-C,-10,0.03
covered-call-01,BTC-27MAR26-74000-C,10,0.01
naked-call-seller-01,BTC-PERPETUAL,1000,
naked-call-seller-01,BTC-27MAR26-62000-P,-5,0.02
perpetual-long-01,BTC-PERPETUAL,-50000,70000
"""


@pytest.fixture
def orders(run: Any, tmp_path: Path) -> str:
    (tmp_path / "orders.csv").write_text(ROWS, encoding="utf-8")
    return "orders.csv"


def documents(run: Any, *arguments: str) -> dict[str, dict[str, Any]]:
    done = run("margin", *arguments, "--json")
    assert done.code == 0, done.err
    return {account["account"]: account for account in json.loads(done.out)["accounts"]}


def test_every_command_counts_them_alike(run: Any, orders: str) -> None:
    plain, found = documents(run), documents(run, "--open-orders", orders)
    for name, account in found.items():
        added = float(account["order_margin"])
        assert float(account["initial_margin"]) == pytest.approx(float(plain[name]["initial_margin"]) + added)
        assert account["position_initial_margin"] == plain[name]["initial_margin"]
        assert account["maintenance_margin"] == plain[name]["maintenance_margin"]
        assert (added > 0.0) <= (name in ACCOUNTS)
        assert account["order_margin_is"] == ("exact" if name in ACCOUNTS else "")
    assert float(found["covered-call-01"]["order_margin"]) > 0.0
    # A sale of half of what is held long closes it: nothing is asked for.
    assert found["perpetual-long-01"]["order_margin"] == "0.00"
    assert [order["in_worst_subset"] for order in found["covered-call-01"]["open_orders"]] == [True, False]
    name = "naked-call-seller-01"
    wanted = found[name]["initial_margin"]
    explained = run("explain", name, "--open-orders", orders)
    assert f"requirement {name}" in explained.out and wanted in explained.out
    assert "worst subset, exact" in explained.out and "fills BTC-27MAR26-62000-P" in explained.out
    parts = [
        json.loads(run("explain", name, "--by-position", *more, "--json").out)["positions"]
        for more in ((), ("--open-orders", orders))
    ]
    # Positions cost what they did; the orders are what no position is charged with.
    assert parts[0][:-1] == parts[1][:-1]
    assert float(parts[1][-1]["share_initial"]) >= float(found[name]["order_margin"])
    asked = json.loads(run("what-if", name, "--order", "BTC-PERPETUAL=10", "--open-orders", orders, "--json").out)
    measures = {row["measure"]: row for row in asked["measures"]}
    assert measures["initial_margin"]["pre"] == wanted
    compared = run("compare", "--model", "worst_case", "--account", name, "--open-orders", orders, "--csv")
    table = pd.read_csv(io.StringIO(compared.out))
    assert table["initial_margin"].tolist() == [float(wanted)]
    shown = run("margin", "--open-orders", orders, "--account", name)
    assert "for orders [USD]" in shown.out and "2 of 2, exact" in shown.out


def test_many_orders_are_bounded_in_every_model_of_a_comparison(run: Any, tmp_path: Path) -> None:
    rows = "".join(f"perpetual-long-01,BTC-PERPETUAL,{10 * n},\n" for n in range(1, 15))
    (tmp_path / "many.csv").write_text("account,instrument,quantity,price\n" + rows, encoding="utf-8")
    which = ("--model", "worst_case", "--model", "deribit_standard", "--model", "derive_pmrm")
    done = run("compare", *which, "--account", "perpetual-long-01", "--open-orders", "many.csv")
    assert done.code == 0
    assert "left out, deribit_standard" not in done.out
    for model in ("deribit_standard", "derive_pmrm"):
        bounded = documents(run, "--model", model, "--open-orders", "many.csv")
        assert bounded["perpetual-long-01"]["order_margin_is"] == "bound"


def test_hedges_meet_a_target_with_orders_open_and_reports_show_them(run: Any, orders: str, tmp_path: Path) -> None:
    name = "naked-call-seller-01"
    account = documents(run, "--open-orders", orders)[name]
    target = str(float(account["available_funds"]) + 500.0)
    asked = ("hedge", name, "--target", target, "--instruments", "BTC-PERPETUAL", "--json")
    found = json.loads(run(*asked, "--open-orders", orders).out)
    assert found["pre_initial_margin"] == account["initial_margin"]
    assert float(found["post_available_funds"]) >= float(target)
    assert any("open orders stay open" in note for note in found["notes"])
    assert json.loads(run(*asked).out)["pre_initial_margin"] == account["position_initial_margin"]
    pytest.importorskip("matplotlib")
    done = run("report", name, "--open-orders", orders, "--output", "page.html")
    assert done.code == 0, done.err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "of the initial margin, for open orders" in page and f"{float(account['order_margin']):.2f}" in page


def test_a_liquidation_cancels_orders_first(run: Any, orders: str) -> None:
    name = "naked-call-seller-01"
    released = documents(run, "--open-orders", orders)[name]["order_margin"]
    done = run("liquidate", name, "--open-orders", orders)
    assert f"{name}: first 2 open orders are cancelled, which releases {released}" in done.out.replace("\n", " ")
    table = pd.read_csv(io.StringIO(run("liquidate", name, "--open-orders", orders, "--csv").out))
    assert (table["step"][0], table["action"][0], table["quantity"][0]) == (0, "cancel_orders", 2.0)
    (plan,) = json.loads(run("liquidate", name, "--open-orders", orders, "--json").out)["plans"]
    (plain,) = json.loads(run("liquidate", name, "--json").out)["plans"]
    assert (plan["orders_cancelled"], plan["order_margin_released"]) == (2, released)
    assert (plan["before"], plan["trades"]) == (plain["before"], plain["trades"])


def test_chunks_and_a_cluster_count_them_alike(run: Any, orders: str, tmp_path: Path) -> None:
    whole = documents(run, "--open-orders", orders)
    done = run("margin", "--open-orders", orders, "--chunk-accounts", "7", "--output", "parts")
    assert done.code == 0, done.err
    frame = pd.concat([pd.read_parquet(file) for file in sorted((tmp_path / "parts").glob("*.parquet"))])
    wanted = {name: float(account["initial_margin"]) for name, account in whole.items()}
    assert dict(zip(frame["account"], frame["initial_margin"], strict=True)) == pytest.approx(wanted, abs=1e-9)
    again = run("margin", "--chunk-accounts", "7", "--output", "parts", "--resume")
    assert again.code != 0


BAD = {
    "nobody,BTC-PERPETUAL,1000,": "row 2, account = 'nobody': no such account in the book",
    ",BTC-PERPETUAL,1000,": "row 2, account = '': blank account name",
    "box-01,BTC-PERP,1,": "row 2, instrument = 'BTC-PERP': unknown instrument; did you mean BTC-PERPETUAL",
    "box-01,,1,": "row 2, instrument = '': blank instrument",
    "box-01,BTC,1,": "row 2, instrument = 'BTC': an asset that is held, not a contract",
    "box-01,BTC-PERPETUAL,0.5,": "row 2, quantity = '0.5': must be a whole multiple of 1",
    "box-01,BTC-PERPETUAL,nan,": "row 2, quantity = 'nan': must be a finite number of contracts",
    "box-01,BTC-PERPETUAL,0,": "row 2, quantity = '0': must be a finite number of contracts",
    "box-01,BTC-PERPETUAL,1,-5": "row 2, price = '-5': the price of an inverse future is above 0",
    "box-01,BTC-PERPETUAL,1,abc": "row 2, price = 'abc': must be a finite number, or blank: the mark",
    "box-01,BTC-27MAR26-74000-C,1,-0.1": "row 2, price = '-0.1': the price of an option is 0 or more",
    "box-01,BTC-27MAR26-74000-C,1,1500": "row 2, price = '1500': the option is worth 1.0",
    "box-01,BTC-PERPETUAL,1,inf": "row 2, price = 'inf': must be a finite number, or blank: the mark",
    "box-01,BTC-26FEB20-74000-C,1,": "row 2, instrument = 'BTC-26FEB20-74000-C': expired before the valuation time",
}


@pytest.mark.parametrize("row", BAD)
def test_a_bad_row_is_one_sentence(run: Any, tmp_path: Path, row: str) -> None:
    (tmp_path / "bad.csv").write_text(f"account,instrument,quantity,price\n{row}\n", encoding="utf-8")
    done = run("margin", "--open-orders", "bad.csv")
    check_fails(done, f"bad.csv, {BAD[row]}")
    assert len(done.err.strip().splitlines()) == 1


def test_columns_that_are_missing_or_too_many(run: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("account,instrument\nbox-01,BTC-PERPETUAL\n", encoding="utf-8")
    check_fails(run("margin", "--open-orders", "bad.csv"), "missing column quantity")
    (tmp_path / "bad.csv").write_text(
        "account,instrument,quantity,side\nbox-01,BTC-PERPETUAL,1,buy\n", encoding="utf-8"
    )
    check_fails(run("margin", "--open-orders", "bad.csv"), "this column is not read")


def test_frames_and_parquet_are_tables_as_well_and_a_limit_may_be_left_out(tmp_path: Path) -> None:
    book = book_of({"a": {}, "b": {}})
    frame = pd.DataFrame(
        {"account": ["b", "b", "a"], "instrument": ["BTC-PERPETUAL"] * 3, "quantity": [1.0, 1.0, -2.0]}
    )
    found = read_orders(frame, book, ARRAYS, MARKET)
    assert found.account_idx.tolist() == [1, 1, 0]
    assert found.instrument_idx.tolist() == [ROW["BTC-PERPETUAL"]] * 3
    assert (found.quantity.tolist(), found.gain.tolist()) == ([1.0, 1.0, -2.0], [0.0] * 3)
    frame.to_parquet(tmp_path / "orders.parquet")
    again = read_orders(tmp_path / "orders.parquet", book, ARRAYS)
    assert again.account_idx.tolist() == found.account_idx.tolist()
    assert again.quantity.tolist() == found.quantity.tolist()
    priced = read_orders(frame.assign(price=[np.nan, 60_000.0, np.nan]), book, ARRAYS, MARKET)
    assert (priced.gain > 0.0).tolist() == [False, True, False]


def test_rows_of_a_part_and_rows_of_none() -> None:
    frame = pd.DataFrame({"account": ["b", "d", "a"], "instrument": ["X"] * 3, "quantity": [1.0, 2.0, 3.0]})
    table = read_table(frame, "orders")
    assert rows_between(table, "a", "b").frame["quantity"].tolist() == [1.0, 3.0]
    check_accounts(table, [("a", "b"), ("c", "d")])
    with pytest.raises(DataError, match=r"orders, row 2, account = 'd': no such account in the book"):
        check_accounts(table, [("a", "b")])
