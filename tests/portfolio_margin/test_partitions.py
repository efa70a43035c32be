"""A book in parts: which accounts go together, which rows of the file are theirs, and the margins of the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed.protocol import deserialize, serialize
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, margin
from portfolio_margin.chunks import Work, manifest_of, run_in_chunks
from portfolio_margin.io.part_files import part_folder
from portfolio_margin.io.partitions import BookFiles, Partition, partitions, read_partition
from portfolio_margin.io.positions import read_book
from portfolio_margin.margin_parts import (
    MarginJob,
    digest_of_book,
    digest_of_partition,
    head_of,
    known_part,
    margin_of_partition,
    write_manifest,
)
from portfolio_margin.models import worst_case
from pricing import ConfigError, DataError
from pricing.errors import Problem
from tests.portfolio_margin.books import ARRAYS, ASSETS, BOOK, CONTRACTS, INSTRUMENTS, MARKET, names_of, quantity
from tests.portfolio_margin.test_contracts import MODELS, arrays_of, book_for, model_of

MODEL = worst_case.Model(worst_case.Params())


def tables(book: Book) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Positions and collateral of a book as tables in order of account."""
    instrument = INSTRUMENTS.instrument_id[book.instrument_idx]
    frame = pd.DataFrame({"account": names_of(book), "instrument": instrument, "quantity": book.quantity})
    owned = INSTRUMENTS.is_collateral[book.instrument_idx]
    collateral = frame[owned].rename(columns={"instrument": "currency", "quantity": "amount"})
    return frame[~owned].reset_index(drop=True), collateral.reset_index(drop=True)


def written(folder: Path, book: Book = BOOK, rows: int = 100, seed: int | None = None) -> BookFiles:
    """The book as Parquet files with row groups of so many rows, in order of account or shuffled."""
    files = BookFiles(str(folder / "positions.parquet"), str(folder / "collateral.parquet"))
    for frame, path in zip(tables(book), files, strict=True):
        ordered = frame if seed is None else frame.sample(frac=1.0, random_state=seed)
        ordered.to_parquet(str(path), row_group_size=rows, index=False)
    return files


def job_of(files: BookFiles, folder: Path, **change: Any) -> MarginJob:
    columns = {"listed": INSTRUMENTS, "market": MARKET, "arrays": ARRAYS, "model": MODEL, **change}
    return MarginJob(files=files, folder=str(folder), **columns)


def same_book(first: Book, second: Book) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in vars(first))


@pytest.mark.parametrize("seed", [None, 1], ids=["in order", "shuffled"])
@pytest.mark.parametrize("accounts_each", [1, 17, 120, 1_000])
def test_parts_are_the_book(tmp_path: Path, accounts_each: int, seed: int | None) -> None:
    files = written(tmp_path, BOOK.accounts(0, 40) if accounts_each == 1 else BOOK, seed=seed)
    whole = read_book(files.positions, files.collateral, INSTRUMENTS, MARKET)
    first = 0
    for partition in partitions(files, accounts_each):
        last = first + min(accounts_each, len(whole) - first)
        assert (partition.first, partition.last) == (whole.account_id[first], whole.account_id[last - 1])
        assert same_book(read_partition(files, partition, INSTRUMENTS, MARKET), whole.accounts(first, last))
        first = last
    assert first == len(whole)


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "numbers as text"])
@pytest.mark.parametrize("index", [None, "row_id"], ids=["unnamed index", "named index"])
def test_an_index_of_pandas_is_no_column(tmp_path: Path, index: str | None, plain: bool) -> None:
    """The whole and the parts are read alike, by the quick reader and by the careful one."""
    frame, owned = tables(BOOK)
    frame.index = pd.Index(np.arange(len(frame))[::-1] * 3, name=index)
    if not plain:
        frame["quantity"] = frame["quantity"].map(str)
    files = BookFiles(str(tmp_path / "p.parquet"), str(tmp_path / "c.parquet"))
    frame.to_parquet(files.positions, row_group_size=100)
    owned.sample(frac=1.0, random_state=3).to_parquet(str(files.collateral))
    whole = read_book(files.positions, files.collateral, INSTRUMENTS, MARKET)
    assert same_book(whole, read_book(*tables(BOOK), INSTRUMENTS, MARKET))
    for number, partition in enumerate(partitions(files, 50)):
        found = read_partition(files, partition, INSTRUMENTS, MARKET)
        assert same_book(found, whole.accounts(50 * number, min(50 * number + 50, len(whole))))


def test_an_index_that_is_a_column(tmp_path: Path) -> None:
    """What pandas was told is the index is read where it is a column of a book, and otherwise passed over."""
    frame = tables(BOOK)[0]
    expected = read_book(frame, None, INSTRUMENTS, MARKET)
    for number, held in enumerate((frame.set_index("account"), frame.set_index(["account", "instrument"]),
                                   frame.rename_axis("told"))):  # fmt: skip
        path = str(tmp_path / f"{number}.parquet")
        held.to_parquet(path)
        [whole] = partitions(BookFiles(path), 1_000)
        for found in (
            read_book(held, None, INSTRUMENTS, MARKET),
            read_book(path, None, INSTRUMENTS, MARKET),
            read_partition(BookFiles(path), whole, INSTRUMENTS, MARKET),
        ):
            assert all(np.array_equal(getattr(found, key), getattr(expected, key)) for key in vars(expected))


@pytest.mark.parametrize("change", ["extra", "missing"])
def test_other_columns_are_refused_alike(tmp_path: Path, change: str) -> None:
    frame = tables(BOOK)[0]
    if change == "extra":
        frame["__index_level_0__"] = 1  # not marked as an index
    frame = frame.rename(columns={"quantity": "size"}) if change == "missing" else frame
    frame.to_parquet(tmp_path / "p.parquet", index=False)
    files = BookFiles(str(tmp_path / "p.parquet"))
    found = []
    for read in (lambda: read_book(files.positions, None, INSTRUMENTS, MARKET), lambda: partitions(files, 50)):
        with pytest.raises(DataError) as error:
            read()
        found.append(str(error.value))
    assert found[0] == found[1] and "row 1" not in found[0]


def test_a_file_in_order_is_read_once(tmp_path: Path) -> None:
    files = written(tmp_path)
    groups = [group for partition in partitions(files, 20) for group in partition.positions]
    assert len(groups) < 1.5 * len(set(groups))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text("aAzé0٣ -", min_size=1, max_size=3).filter(lambda name: name.strip()), min_size=1, max_size=9),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_any_names_are_in_one_part_each(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], each: int, rows: int
) -> None:
    """Names with blanks around them, of several scripts, of accounts that hold collateral alone."""
    folder = tmp_path_factory.mktemp("names")
    stripped = list(dict.fromkeys(name.strip() for name in names))
    files = BookFiles(str(folder / "p.parquet"), str(folder / "c.parquet"))
    half = stripped[: (len(stripped) + 1) // 2]
    blank = [f" {name} " for name in half]
    frame = pd.DataFrame({"account": blank, "instrument": CONTRACTS[5], "quantity": quantity(CONTRACTS[5], 3)})
    frame.to_parquet(files.positions, row_group_size=rows)
    owned = pd.DataFrame({"account": stripped, "currency": ASSETS[0], "amount": 7.25})
    owned.to_parquet(str(files.collateral), row_group_size=rows)
    whole = read_book(files.positions, files.collateral, INSTRUMENTS, MARKET)
    found = [read_partition(files, partition, INSTRUMENTS, MARKET) for partition in partitions(files, each)]
    assert [str(name) for book in found for name in book.account_id] == sorted(stripped)
    bounds = np.cumsum([0, *map(len, found)])
    assert all(same_book(book, whole.accounts(low, low + len(book))) for book, low in zip(found, bounds, strict=False))


@pytest.mark.parametrize("name", MODELS)
def test_margins_of_parts_are_those_of_the_book(name: str) -> None:
    """Every model, as it arrives on another machine: the same bits for accounts in parts of any size."""
    model, book = model_of(name), book_for(name)
    arrays = arrays_of(model)
    whole = margin(book, arrays, MARKET, model)
    sent_model, sent_arrays, market = deserialize(*serialize((model, arrays, MARKET)))
    bounds = [0, 1, len(book) // 3, len(book)]
    parts = [book.accounts(low, high) for low, high in pairwise(bounds)]
    statements = [margin(part, sent_arrays, market, sent_model) for part in parts]
    for column, values in whole.columns().items():
        joined = np.concatenate([statement.columns()[column] for statement in statements])
        assert joined.tolist() == values.tolist(), column
        assert values.dtype.kind != "f" or joined.tobytes() == values.tobytes(), column
    hashes = {statement.parameters_hash for statement in [whole, *statements]}
    assert len(hashes) == 1


def test_part_files_are_the_statement(tmp_path: Path) -> None:
    files = written(tmp_path)
    book = read_book(files.positions, files.collateral, INSTRUMENTS, MARKET)
    statement = margin(book, ARRAYS, MARKET, MODEL)
    head = head_of("book", ARRAYS, MODEL, 50)
    with part_folder(tmp_path / "out", head, False) as folder:
        started = json.loads((folder / "_manifest.json").read_text())
        job = job_of(files, folder, run=head["digest"])
        parts = [margin_of_partition(job, partition) for partition in partitions(files, 50)]
        assert margin_of_partition(job, partitions(files, 50)[1]) == parts[1]
        assert [known_part(folder, number, head["digest"]) for number in range(3)] == parts
        assert known_part(folder, 1, "another run") is None and known_part(folder, 3, head["digest"]) is None
        write_manifest(folder, head, parts)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert started.items() <= manifest.items() and manifest["digest"] == head["digest"]
    assert [part["file"] for part in manifest["parts"]] == sorted(p.name for p in (tmp_path / "out").glob("*.parquet"))
    frame = pd.concat([pd.read_parquet(tmp_path / "out" / part["file"]) for part in manifest["parts"]])
    for column, values in statement.columns().items():
        expected = np.where(np.isfinite(values), values, np.nan) if values.dtype.kind == "f" else values
        assert np.array_equal(frame[column].to_numpy(), expected, equal_nan=values.dtype.kind == "f"), column
    assert manifest["accounts"] == len(book) == 120 and manifest["positions"] == np.sum(
        ~ARRAYS.is_collateral[book.instrument_idx]
    )
    assert manifest["positions"] + manifest["balances"] == len(book.quantity)
    assert manifest["below_maintenance"] == statement.below_maintenance.sum() > 0
    cents = int(np.rint(statement.initial_margin * 100).sum())
    assert manifest["totals"]["initial_margin"] == f"{cents // 100}.{cents % 100:02d}"
    assert manifest["parameters_hash"] == statement.parameters_hash


def test_bad_rows_are_named_by_their_row_in_the_file(tmp_path: Path) -> None:
    files = written(tmp_path)
    frame = pd.read_parquet(files.positions)
    frame.loc[701, "quantity"] = np.nan
    frame.loc[[2, 1_100], "instrument"] = "BTC-NOTHING"
    frame.to_parquet(files.positions, row_group_size=100)
    rows = []
    for partition in partitions(files, 20):
        try:
            read_partition(files, partition, INSTRUMENTS, MARKET)
        except DataError as error:
            rows += [problem.row for problem in error.problems]
    assert rows == [3, 702, 1_101]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"account,instrument,quantity\n", "damaged Parquet file"),
        (pd.DataFrame({"account": ["a"], "instrument": ["b"]}), "missing column quantity"),
        (pd.DataFrame({"account": ["a"], "instrument": ["b"], "quantity": [1.0], "x": [0]}), "not read"),
        (pd.DataFrame({"account": [], "instrument": [], "quantity": []}, dtype=str), "an empty portfolio"),
    ],
)
def test_files_that_are_no_book(tmp_path: Path, content: Any, said: str) -> None:
    file = tmp_path / "p.parquet"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        content.to_parquet(file)
    with pytest.raises(DataError, match=said):
        partitions(BookFiles(str(file)))


def test_no_position_is_an_empty_portfolio_beside_collateral_too(tmp_path: Path) -> None:
    """In the words of one machine."""
    files = written(tmp_path)
    nothing = pd.read_parquet(files.positions).iloc[:0]
    nothing.to_parquet(files.positions, index=False)
    said = "rows = 0: an empty portfolio; give at least one position"
    with pytest.raises(DataError, match=said):
        partitions(files)
    with pytest.raises(DataError, match=said):
        read_book(files.positions, files.collateral, INSTRUMENTS, MARKET)


def test_a_book_in_parts_is_parquet(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("account,instrument,quantity\n")
    with pytest.raises(DataError, match=r"save it as \.parquet"):
        partitions(BookFiles(str(file)))
    with pytest.raises(ConfigError, match="accounts_each = 0"):
        partitions(BookFiles(str(file)), 0)


def test_a_folder_stays_to_be_gone_on_with_unless_rows_are_bad(tmp_path: Path) -> None:
    """One form of folder for runs in chunks and on clusters: begun with its manifest, kept when it is interrupted."""
    head = head_of("book", ARRAYS, MODEL, 50)
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), part_folder(out, head, False) as folder:
        (folder / "part-000000.parquet").write_text("one")
        (folder / ".part-000001.parquet.0123456789ab.part").write_text("half")
        raise RuntimeError
    with pytest.raises(DataError, match="give --resume"), part_folder(out, head, False):
        pass
    with part_folder(out, head, True) as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["_manifest.json", "part-000000.parquet"]
    with (
        pytest.raises(DataError, match=r"inputs\.book.*another run"),
        part_folder(out, head_of("other", ARRAYS, MODEL, 50), True),
    ):
        pass
    (tmp_path / "empty").mkdir()
    bad = DataError([Problem("p.parquet", 1, "quantity", "x", "not a number")])
    for name in ("new", "empty"):
        with pytest.raises(DataError, match="not a number"), part_folder(tmp_path / name, head, False) as folder:
            (folder / "part-000000.parquet").write_text("one")
            raise bad
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "out"] and not [
        *(tmp_path / "empty").iterdir()
    ]
    with pytest.raises(DataError, match="no empty folder"), part_folder(out / "_manifest.json", head, False):
        pass


def test_what_a_worker_that_was_killed_had_begun_is_removed(tmp_path: Path) -> None:
    files, head = written(tmp_path), head_of("book", ARRAYS, MODEL, 50)
    begun = (".part-000001.parquet.0123456789ab.part", "._manifest.json.0123456789ab.part")
    with part_folder(tmp_path / "out", head, False) as folder:
        job = job_of(files, folder, run=head["digest"])
        done = [margin_of_partition(job, part) for part in partitions(files, 50)]
        names = sorted(path.name for path in folder.iterdir())
        for name in begun:
            (folder / name).write_text("half")
        write_manifest(folder, head, done)
        assert sorted(path.name for path in folder.iterdir()) == names and "_manifest.json" in names
    for name in begun:
        (folder / name).write_text("half")
    with part_folder(tmp_path / "out", head, True):
        assert sorted(path.name for path in folder.iterdir()) == names


def test_a_digest_is_of_the_book_and_not_of_its_files(tmp_path: Path) -> None:
    """Of one machine, of parts, of files in another order; not of a book that differs in one contract."""

    def digest(book: Book, seed: int | None) -> str:
        files = written(tmp_path, book, seed=seed)
        job = job_of(files, tmp_path)
        return digest_of_book([digest_of_partition(job, part) for part in partitions(files, 50)])

    files = written(tmp_path)
    book = read_book(files.positions, files.collateral, INSTRUMENTS, MARKET)
    assert digest(book, None) == manifest_of(Work(book, ARRAYS, MARKET, MODEL), 50)["inputs"]["book"]
    assert digest(book, 3) == digest(book, None)
    quantity = book.quantity.copy()
    quantity[700] += INSTRUMENTS.quantity_step[book.instrument_idx[700]]
    assert digest(replace(book, quantity=quantity), None) != digest(book, None)


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    run_in_chunks(Work(BOOK, ARRAYS, MARKET, MODEL), tmp_path / "out", 50)
    whole = margin(BOOK, ARRAYS, MARKET, MODEL)
    frame = pd.read_parquet(tmp_path / "out")
    assert frame["account"].tolist() == whole.account.tolist()
    assert frame["initial_margin"].tolist() == whole.initial_margin.tolist()


def test_a_folder_of_a_former_engine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    for resume in (False, True):
        with pytest.raises(DataError, match=r"manifest\.json.*of an engine before this one"):
            run_in_chunks(Work(BOOK, ARRAYS, MARKET, MODEL), tmp_path, 50, resume=resume)


def test_parts_on_another_disk_are_missed(tmp_path: Path) -> None:
    files = written(tmp_path)
    job = job_of(files, tmp_path)
    part = margin_of_partition(job, Partition(0, "account-000000", "account-000003", (0,), (0,)))
    assert part.accounts == 4
    (tmp_path / part.file).unlink()
    with pytest.raises(DataError, match="this machine and all workers share"):
        write_manifest(tmp_path, head_of("", ARRAYS, MODEL, 4), [part])
    assert not (tmp_path / "_manifest.json").exists()
