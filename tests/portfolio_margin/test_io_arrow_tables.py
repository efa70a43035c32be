"""Arrow and Parquet files that are damaged, or hold kinds of columns that pandas does not take: read, or named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, ipc, parquet

from portfolio_margin.io.arrow_columns import coded_rows
from portfolio_margin.io.chain import Snapshot
from portfolio_margin.io.partitions import BookFiles, partitions
from portfolio_margin.io.positions import POSITION_COLUMNS, read_book
from portfolio_margin.io.tables import number_column, read_table
from pricing.errors import DataError
from tests.portfolio_margin.io_examples import refused, snapshot

ACCOUNTS = ["a", "b", "b"]
NAMES = ["BTC-PERPETUAL", "BTC-PERPETUAL", "BTC-27MAR26"]


@pytest.fixture(scope="module")
def chain() -> Snapshot:
    return snapshot()


def table_of(account: Any = None, name: Any = None, quantity: Any = None) -> pa.Table:
    columns = [ACCOUNTS if account is None else account, NAMES if name is None else name]
    return pa.table([*columns, [10.0, 20.0, -10.0] if quantity is None else quantity], names=list(POSITION_COLUMNS))


def saved(folder: Path, table: pa.Table) -> list[Path]:
    """A table as every kind of file."""
    with ipc.new_file(folder / "p.arrow", table.schema) as file:
        file.write_table(table)
    with ipc.new_stream(folder / "stream.arrow", table.schema) as stream:
        stream.write_table(table)
    return [folder / "p.arrow", folder / "stream.arrow"]


def said(source: Any, chain: Snapshot) -> list[tuple]:
    return refused(lambda: read_book(source, None, chain.instruments, chain.market))


def coded(indices: list[int], names: list[str | None]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array(names), safe=False)


@pytest.mark.parametrize("index", [9, -1])
def test_indices_outside_of_a_dictionary(tmp_path: Path, chain: Snapshot, index: int) -> None:
    for path in saved(tmp_path, table_of(account=coded([0, 1, index], ["a", "b"]))):
        [(_, field, _, remedy)] = said(path, chain)
        assert (field, remedy) == ("file", "damaged Arrow file; fetch or write it again")


def test_offsets_that_point_outside(tmp_path: Path, chain: Snapshot) -> None:
    """Values that are looked at without a check end the process."""
    offsets = np.array([0, 1, 2**40, 3], np.int64)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"abb")]
    wild = table_of(account=pa.Array.from_buffers(pa.large_string(), 3, buffers))
    [(_, field, _, _)] = said(wild, chain)
    assert field == "file"
    assert coded_rows(wild, POSITION_COLUMNS) is None


def test_damage_anywhere_is_said(tmp_path: Path, chain: Snapshot) -> None:
    """Bytes that change make a file that is refused in words, or read: by codes as it is row by row."""
    feather.write_feather(table_of(), tmp_path / "p.feather", compression="uncompressed")
    parquet.write_table(table_of(), tmp_path / "p.parquet")
    random = np.random.default_rng(4)
    for path in (tmp_path / "p.feather", tmp_path / "p.parquet"):
        whole, refusals = path.read_bytes(), 0
        for _ in range(150):
            changed = bytearray(whole)
            changed[int(random.integers(8, len(whole) - 8))] = int(random.integers(256))
            path.write_bytes(changed)
            try:
                found = read_book(path, None, chain.instruments, chain.market)
            except DataError as error:
                refusals += 1
                assert str(path) in str(error)
                continue
            expected = read_book(read_table(path), None, chain.instruments, chain.market)
            assert all(np.array_equal(getattr(found, key), getattr(expected, key)) for key in vars(expected))
        assert 0 < refusals < 150


def test_text_that_is_not_utf8(tmp_path: Path, chain: Snapshot) -> None:
    text = pa.array([b"a", b"m\xfcller", b"b"], pa.binary()).view(pa.string())
    names = pa.array([b"BTC-PERPETUAL", b"\xe9"], pa.binary()).view(pa.string())
    code = pa.DictionaryArray.from_arrays(pa.array([0, 0, 1], pa.int32()), names)
    remedy = "not UTF-8; write the text as UTF-8"
    table = table_of(account=text, name=code)
    parquet.write_table(table, tmp_path / "p.parquet", row_group_size=2)
    for source in [*saved(tmp_path, table), tmp_path / "p.parquet", table]:
        expected = [(2, "account", b"m\xfcller", remedy), (3, "instrument", b"\xe9", remedy)]
        assert said(source, chain) == expected
    assert refused(lambda: partitions(BookFiles(str(tmp_path / "p.parquet")))) == expected[:1]
    frame = pd.DataFrame({"account": [b"a", b"\xfc"], "instrument": NAMES[:2], "quantity": [10.0, 20.0]})
    assert said(frame, chain) == [(2, "account", b"\xfc", remedy)]


@pytest.mark.parametrize("column", ["account", "instrument", "currency"])
def test_a_null_inside_a_dictionary_is_a_blank_name(tmp_path: Path, chain: Snapshot, column: str) -> None:
    """Its index counts no null; it was an account named None."""
    if column == "currency":
        owned = pa.table({"account": ["a", "b"], "currency": coded([0, 1], ["USD", None]), "amount": [1.0, 2.0]})
        sources = [*saved(tmp_path, owned), owned]
        for source in sources:
            found = refused(lambda source=source: read_book(table_of(), source, chain.instruments, chain.market))
            assert [(row, field, remedy) for row, field, _, remedy in found] == [
                (2, "currency", "blank currency; fill it in")
            ]
        return
    table = table_of(account=coded([0, 1, 1], ["a", None])) if column == "account" else table_of(
        name=coded([0, 1, 1], ["BTC-PERPETUAL", None]))  # fmt: skip
    remedy = "blank account name; fill it in" if column == "account" else "blank instrument; fill it in"
    for source in [*saved(tmp_path, table), table, table.to_batches()[0]]:
        found = [(row, field, remedy) for row, field, _, remedy in said(source, chain)]
        assert found == [(2, column, remedy), (3, column, remedy)]


def test_columns_that_are_read_as_what_they_hold(tmp_path: Path, chain: Snapshot) -> None:
    """Run ends are decoded, streams read, texts of any layout taken."""
    ends = pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array(["a", "b"]))
    expected = read_book(table_of(), None, chain.instruments, chain.market)
    for account in (ends, pa.array(ACCOUNTS, pa.string_view()), pa.array(ACCOUNTS, pa.large_string())):
        for path in saved(tmp_path, table_of(account=account)):
            found = read_book(path, None, chain.instruments, chain.market)
            assert all(np.array_equal(getattr(found, key), getattr(expected, key)) for key in vars(expected))


def test_a_stream_that_was_cut_off(tmp_path: Path, chain: Snapshot) -> None:
    """Readers take what lies before a cut between two messages for the whole stream."""
    path = saved(tmp_path, table_of())[1]
    path.write_bytes(path.read_bytes()[:-8])
    [(_, field, value, _)] = said(path, chain)
    assert (field, value) == ("file", "an Arrow stream without its end")


def test_a_kind_of_column_that_is_not_read_is_named() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1.0])])
    with pytest.raises(DataError, match=r"when = .*union.*a column of this kind is not read"):
        read_table(pa.table({"when": union}), "t")


def test_a_column_given_twice(tmp_path: Path, chain: Snapshot) -> None:
    twice = table_of().append_column("quantity", pa.array([1.0, 2.0, 3.0]))
    parquet.write_table(twice, tmp_path / "p.parquet")
    for source in [*saved(tmp_path, twice), tmp_path / "p.parquet"]:
        assert said(source, chain) == [(None, "quantity", "column given twice", "keep one")]


def test_cells_of_a_frame_that_are_no_quantities(chain: Snapshot) -> None:
    frame = pd.DataFrame({"account": ACCOUNTS, "instrument": NAMES})
    remedy = "not a number; write it with a point and without separators"
    mixed = frame.assign(quantity=pd.Series([True, 20, np.complex64(1)], dtype=object))
    assert said(mixed, chain) == [(1, "quantity", True, remedy), (3, "quantity", 1 + 0j, remedy)]
    numbers, bad = number_column(read_table(frame.assign(quantity=[1j, 2, 3])), "quantity")
    assert np.isnan(numbers).all() and bad.all()
