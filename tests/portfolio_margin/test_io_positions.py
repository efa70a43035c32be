"""Positions and collateral: what is read, and every bad row listed at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.arrow_columns import coded_rows
from portfolio_margin.io.chain import Snapshot
from portfolio_margin.io.partitions import BookFiles, partitions
from portfolio_margin.io.positions import read_book, read_collateral, read_positions
from pricing.errors import DataError
from tests.portfolio_margin.io_examples import refused, snapshot

POSITIONS = """account,instrument,quantity
zoe,BTC-27MAR26-68000-C,-1.5
alice,ETH-27MAR26-2100-P,3
alice,BTC-27MAR26,-20
zoe,BTC-PERPETUAL,7
"""
COLLATERAL = """account,currency,amount
alice,USD,1000.25
zoe,BTC,-0.12345678
carol,ETH,5
"""


@pytest.fixture(scope="module")
def chain() -> Snapshot:
    return snapshot()


def files(folder: Path, positions: str = POSITIONS, collateral: str = COLLATERAL) -> tuple[Path, Path]:
    (folder / "positions.csv").write_text(positions)
    (folder / "collateral.csv").write_text(collateral)
    return folder / "positions.csv", folder / "collateral.csv"


def bad_positions(folder: Path, chain: Snapshot, *rows: str) -> list[tuple]:
    path, _ = files(folder, "account,instrument,quantity\n" + "\n".join(rows) + "\n")
    return refused(lambda: read_positions(path, chain.instruments, chain.market))


def test_a_book_from_two_files(tmp_path: Path, chain: Snapshot) -> None:
    book = read_book(*files(tmp_path), chain.instruments, chain.market)
    assert book.account_id.tolist() == ["alice", "carol", "zoe"]
    names = chain.instruments.instrument_id[book.instrument_idx].tolist()
    held = {
        (account, name): quantity
        for a, account in enumerate(book.account_id.tolist())
        for name, quantity in list(zip(names, book.quantity.tolist(), strict=True))[
            book.position_ptr[a] : book.position_ptr[a + 1]
        ]
    }
    assert held == {
        ("zoe", "BTC-27MAR26-68000-C"): -1.5,
        ("zoe", "BTC-PERPETUAL"): 7.0,
        ("zoe", "BTC"): -0.12345678,
        ("alice", "ETH-27MAR26-2100-P"): 3.0,
        ("alice", "BTC-27MAR26"): -20.0,
        ("alice", "USD"): 1000.25,
        ("carol", "ETH"): 5.0,
    }
    groups = chain.instruments.expiry_idx[book.instrument_idx]
    assert np.array_equal(np.repeat(book.group_key, np.diff(book.group_ptr)), groups)


def test_files_of_every_kind_and_frames_give_the_same_book(tmp_path: Path, chain: Snapshot) -> None:
    positions, collateral = files(tmp_path)
    expected = read_book(positions, collateral, chain.instruments, chain.market)
    frames = pd.read_csv(positions), pd.read_csv(collateral)
    for frame, name in zip(frames, ("p.parquet", "c.parquet"), strict=True):
        frame.astype({frame.columns[1]: "category"}).to_parquet(tmp_path / name)
        frame.to_feather(tmp_path / name.replace("parquet", "feather"))
        frame.to_feather(tmp_path / name.replace("parquet", "arrow"), compression="uncompressed")
    kept = [(tmp_path / f"p.{kind}", tmp_path / f"c.{kind}") for kind in ("parquet", "feather", "arrow")]
    assert all(coded_rows(p, ("account", "instrument", "quantity")) is not None for p, _ in kept)
    shuffled = frames[0].sample(frac=1, random_state=1), frames[1].iloc[::-1]
    for pair in (frames, shuffled, *kept):
        book = read_book(*pair, chain.instruments, chain.market)
        for field in ("account_id", "account_ptr", "group_key", "group_ptr", "instrument_idx", "quantity"):
            assert np.array_equal(getattr(book, field), getattr(expected, field)), field


def test_white_space_and_account_numbers(tmp_path: Path, chain: Snapshot) -> None:
    path, _ = files(tmp_path, "account, instrument ,quantity\n 007 , BTC-PERPETUAL, 2 \n7,BTC-PERPETUAL,1e1\n")
    held = read_positions(path, chain.instruments, chain.market)
    assert held.account.tolist() == ["007", "7"]
    assert held.quantity.tolist() == [2.0, 10.0]


def test_a_quantity_of_zero_keeps_the_account(chain: Snapshot) -> None:
    frame = pd.DataFrame({"account": ["idle"], "instrument": ["BTC-PERPETUAL"], "quantity": [0]})
    book = read_book(frame, None, chain.instruments, chain.market)
    assert book.account_id.tolist() == ["idle"] and book.quantity.tolist() == [0.0]


def test_steps_that_doubles_cannot_hold_are_whole_steps(chain: Snapshot) -> None:
    quantities = np.round(np.arange(1, 20_001) * 0.1, 1)
    frame = pd.DataFrame({"account": np.arange(20_000), "instrument": "BTC-27MAR26-68000-C", "quantity": quantities})
    assert np.array_equal(read_positions(frame, chain.instruments, chain.market).quantity, quantities)


def test_every_bad_row_is_listed_at_once(tmp_path: Path, chain: Snapshot) -> None:
    positions, collateral = files(
        tmp_path,
        """account,instrument,quantity
alice,BTC-27MAR26-68000-X,1
,BTC-27MAR26-68000-C,1
bob,BTC-27MAR26-68000-C,abc
bob,BTC-27MAR26-68000-P,

bob,BTC-PERPETUAL,inf
carol,BTC-27MAR26-68000-C,0.15
carol,ETH-27MAR26-2100-C,1.5
dave,BTC-20FEB26-68000-C,1
dave,USD,100
dave,,1
erin,BTC-PERPETUAL,1
erin,ETH-PERPETUAL,1
erin, BTC-PERPETUAL,2
erin,ETH-PERPETUAL,3
""",
        """account,currency,amount
alice,EUR,1
alice,USD,nan
alice,BTC,1
alice,BTC,2
""",
    )
    with pytest.raises(DataError) as caught:
        read_book(positions, collateral, chain.instruments, chain.market)
    found = [(Path(p.file).name, p.row, p.field, p.value, p.remedy) for p in caught.value.problems]
    expired = "expired before the valuation time 2026-02-26T09:41:05Z; remove the row or settle it"
    again = "account 'erin' has this instrument in row {} already; merge them"
    assert found == [
        (
            "positions.csv",
            2,
            "instrument",
            "BTC-27MAR26-68000-X",
            "unknown instrument; did you mean BTC-27MAR26-68000-P or BTC-27MAR26-68000-C?",
        ),
        ("positions.csv", 3, "account", "", "blank account name; fill it in"),
        ("positions.csv", 4, "quantity", "abc", "not a number; write it with a point and without separators"),
        ("positions.csv", 5, "quantity", "", "missing; give a finite number"),
        ("positions.csv", 7, "quantity", "inf", "not finite; give a finite number"),
        ("positions.csv", 8, "quantity", "0.15", "must be a whole multiple of 0.1"),
        ("positions.csv", 9, "quantity", "1.5", "must be a whole multiple of 1"),
        ("positions.csv", 10, "instrument", "BTC-20FEB26-68000-C", expired),
        ("positions.csv", 11, "instrument", "USD", "a currency; put it into the collateral table"),
        ("positions.csv", 12, "instrument", "", "blank instrument; fill it in"),
        ("positions.csv", 15, "instrument", " BTC-PERPETUAL", again.format(13)),
        ("positions.csv", 16, "instrument", "ETH-PERPETUAL", again.format(14)),
        ("collateral.csv", 2, "currency", "EUR", "unknown currency; known: BTC, ETH, USD"),
        ("collateral.csv", 3, "amount", "nan", "not a number; write it with a point and without separators"),
        (
            "collateral.csv",
            5,
            "currency",
            "BTC",
            "account 'alice' has this currency in row 4 already; merge them",
        ),
    ]
    assert "positions.csv, row 4, quantity = 'abc': not a number" in str(caught.value)


def test_an_expired_contract_that_is_still_listed(chain: Snapshot) -> None:
    later = replace(chain.market, valuation_time=int(chain.market.expiry_time[0]) + 1)
    frame = pd.DataFrame({"account": ["a"], "instrument": ["BTC-6MAR26-68000-C"], "quantity": [1.0]})
    [(row, field, value, remedy)] = refused(lambda: read_positions(frame, chain.instruments, later))
    assert (row, field, value) == (1, "instrument", "BTC-6MAR26-68000-C")
    assert remedy == "expired before the valuation time 2026-03-06T08:00:00Z; remove the row or settle it"
    at_expiry = replace(chain.market, valuation_time=int(chain.market.expiry_time[0]))
    assert len(read_positions(frame, chain.instruments, at_expiry).quantity) == 1


def test_an_empty_portfolio(tmp_path: Path, chain: Snapshot) -> None:
    assert bad_positions(tmp_path, chain) == [(None, "rows", 0, "an empty portfolio; give at least one position")]
    assert bad_positions(tmp_path, chain, "", ",,") == [
        (None, "rows", 0, "an empty portfolio; give at least one position")
    ]


def test_wrong_columns(tmp_path: Path, chain: Snapshot) -> None:
    positions, collateral = files(tmp_path, "account,symbol,quantity\n", "account,currency,amount,haircut\n")
    [(row, field, value, remedy)] = refused(lambda: read_positions(positions, chain.instruments))
    assert (row, field, value) == (None, "columns", "account, symbol, quantity")
    assert remedy == "missing column instrument"
    [(row, field, value, _)] = refused(lambda: read_collateral(collateral, chain.instruments))
    assert (row, field, value) == (1, "haircut", "extra column")


def test_arrow_files_that_are_none(tmp_path: Path, chain: Snapshot) -> None:
    path, frame = tmp_path / "p.arrow", pd.DataFrame({"account": ["a"], "symbol": ["x"], "quantity": [1.0]})
    frame.to_feather(path)
    [(_, field, _, remedy)] = refused(lambda: read_positions(path, chain.instruments))
    assert (field, remedy) == ("columns", "missing column instrument")
    path.write_bytes(path.read_bytes()[:200])
    [(_, field, _, remedy)] = refused(lambda: read_positions(path, chain.instruments))
    assert (field, remedy) == ("file", "damaged Arrow file; fetch or write it again")
    path.write_text("account,instrument,quantity")
    [(_, field, found, remedy)] = refused(lambda: read_positions(path, chain.instruments))
    assert (field, found, remedy) == ("file type", "CSV", "its name says Arrow; rename it or save it as Arrow")


@pytest.mark.parametrize("lacks", ["account", "instrument", "quantity"])
def test_a_parquet_file_that_lacks_a_column(tmp_path: Path, chain: Snapshot, lacks: str) -> None:
    """As the same file in CSV, also in parts: Arrow cannot make a dictionary of a column that is not there."""
    path = tmp_path / "book.parquet"
    frame = pd.DataFrame({"account": ["a"], "instrument": ["BTC-PERPETUAL"], "quantity": [1.0]}).drop(columns=lacks)
    frame.to_parquet(path, index=False)
    for read in (lambda: read_positions(path, chain.instruments), lambda: partitions(BookFiles(str(path)))):
        with pytest.raises(DataError, match=f"columns = '.*': missing column {lacks}"):
            read()


def test_frames_name_rows_from_one_and_accounts_are_no_decimals(chain: Snapshot) -> None:
    frame = pd.DataFrame({"account": ["a", None], "instrument": ["BTC-PERPETUAL"] * 2, "quantity": [1.0, np.nan]})
    assert refused(lambda: read_positions(frame, chain.instruments)) == [
        (2, "account", pytest.approx(np.nan, nan_ok=True), "blank account name; fill it in"),
        (2, "quantity", pytest.approx(np.nan, nan_ok=True), "missing; give a finite number"),
    ]
    decimal = frame.assign(account=[1.0, 2.0], quantity=1)
    assert refused(lambda: read_positions(decimal, chain.instruments)) == [
        (None, "account", "float64", "a column of decimal numbers; give account names as text")
    ]


def test_a_thousand_bad_rows_are_all_listed(chain: Snapshot) -> None:
    names = [f"SOL-27MAR26-{strike}-C" for strike in range(1, 1_001)]
    frame = pd.DataFrame({"account": "a", "instrument": names, "quantity": 1.0})
    problems = refused(lambda: read_positions(frame, chain.instruments, chain.market))
    assert [(row, value) for row, _, value, _ in problems] == list(enumerate(names, start=1))
    assert all(remedy.startswith("unknown instrument") for *_, remedy in problems)


def test_many_rows_take_no_python_object_each(tmp_path: Path, chain: Snapshot) -> None:
    """A quarter of a million rows take about half a second; a loop over rows would take longer than is allowed here."""
    import time

    options = chain.instruments.instrument_id[chain.instruments.is_option]
    accounts = 250_000 // len(options)
    frame = pd.DataFrame(
        {
            "account": np.repeat([f"account-{a:06d}" for a in range(accounts)], len(options)),
            "instrument": np.tile(options, accounts),
            "quantity": np.tile(np.arange(1.0, len(options) + 1), accounts),
        }
    )
    frame.to_csv(tmp_path / "p.csv", index=False)
    start = time.perf_counter()
    book = read_book(tmp_path / "p.csv", None, chain.instruments, chain.market)
    assert time.perf_counter() - start < 10.0
    assert len(book.quantity) == len(frame) and len(book) == accounts
    assert np.array_equal(np.unique(book.instrument_idx), np.sort(np.flatnonzero(chain.instruments.is_option)))
