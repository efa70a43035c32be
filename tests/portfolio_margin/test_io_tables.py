"""What a table file really is: names that lie, text that is damaged, columns that are missing."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from portfolio_margin import io as io_package
from portfolio_margin.io.tables import (
    kind_of_name,
    number_column,
    read_table,
    require_columns,
    table_from_csv,
    text_column,
)
from tests.portfolio_margin.io_examples import refused, refused_files
from tests.vectors import ROOT

COLUMNS = ("account", "instrument", "quantity")
GOOD = b"account,instrument,quantity\nalice,X,1\nbob,Y,-2.5\n"


def parquet_bytes(folder: Path) -> bytes:
    path = folder / "source.parquet"
    pd.DataFrame({"account": ["alice"], "instrument": ["X"], "quantity": [1.0]}).to_parquet(path)
    return path.read_bytes()


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("name", ["positions.csv", "POSITIONS.CSV", "positions.csv.gz", "positions.parquet"])
def test_the_same_table_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pd.DataFrame({"account": ["alice", "bob"], "instrument": ["X", "Y"], "quantity": [1.0, -2.5]}).to_parquet(path)
    else:
        path.write_bytes(gzip.compress(GOOD) if name.endswith("gz") else GOOD)
    table = read_table(path)
    assert table.file == str(path)
    assert text_column(table, "account").tolist() == ["alice", "bob"]
    assert number_column(table, "quantity")[0].tolist() == [1.0, -2.5]
    assert table.row.tolist() == ([1, 2] if name.endswith("parquet") else [2, 3])


def test_columns_of_a_frame(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "text": [" a ", None],
            "category": pd.Categorical(["x", "y"]),
            "code": [7, 8],
            "single": np.array([0.9968, 0.1], dtype=np.float32),
            "flag": [True, False],
            "mixed": ["1.5", "abc"],
        }
    )
    table = read_table(frame, "my frame")
    assert table.file == "my frame"
    assert text_column(table, "text").tolist() == ["a", ""]
    assert text_column(table, "category").tolist() == ["x", "y"]
    assert text_column(table, "code").tolist() == ["7", "8"]
    # Single precision is read to the digits it holds.
    assert number_column(table, "single")[0].tolist() == [0.9968, 0.1]
    assert number_column(table, "flag")[1].tolist() == [True, True]
    numbers, no_number = number_column(table, "mixed")
    assert numbers[0] == 1.5 and np.isnan(numbers[1]) and no_number.tolist() == [False, True]


def test_blank_lines_and_cells_over_several_lines_keep_line_numbers(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfaccount,instrument,quantity\n\n"al\nice",X,1\nbob,Y,2,\n,,\n"c,d",Z\n'
    table = read_table(written(tmp_path, "p.csv", text))
    assert table.frame["account"].tolist() == ["al\nice", "bob", "c,d"]
    assert table.frame["quantity"].tolist() == ["1", "2", ""]
    assert table.row.tolist() == [3, 5, 7]


LIES = [
    ("p.csv", "parquet", "Parquet", "CSV"),
    ("p.csv", b'{"a": 1}', "JSON", "CSV"),
    ("p.csv", b'  [{"a": 1}]', "JSON", "CSV"),
    ("p.csv", b"PK\x03\x04rest", "zip or Excel", "CSV"),
    ("p.csv", gzip.compress(GOOD, mtime=0), "gzip", "CSV"),
    ("p.csv", b"a,b\x00c\n", "binary", "CSV"),
    ("p.csv", "account,x\n".encode("utf-16"), "UTF-16 text", "CSV"),
    ("p.parquet", GOOD, "CSV", "Parquet"),
    ("p.parquet", b"\x89PNG\r\n\x1a\n\x00\x00", "binary", "Parquet"),
]


@pytest.mark.parametrize(("name", "content", "found", "expected"), LIES)
def test_a_file_that_is_not_what_its_name_says(
    tmp_path: Path, name: str, content: bytes | str, found: str, expected: str
) -> None:
    path = written(tmp_path, name, parquet_bytes(tmp_path) if isinstance(content, str) else content)
    rename = "rename it or " if found in ("CSV", "Parquet", "JSON") else ""
    assert refused(lambda: read_table(path)) == [
        (None, "file type", found, f"its name says {expected}; {rename}save it as {expected}")
    ]
    assert refused_files(lambda: read_table(path)) == [str(path)]


def test_a_name_that_says_gzip_for_plain_text(tmp_path: Path) -> None:
    path = written(tmp_path, "p.csv.gz", GOOD)
    assert refused(lambda: read_table(path)) == [
        (None, "file type", "CSV", "its name says gzip; take .gz off the name")
    ]


@pytest.mark.parametrize("cut", [30, 60])
def test_damaged_files(tmp_path: Path, cut: int) -> None:
    [(_, field, _, remedy)] = refused(lambda: read_table(written(tmp_path, "p.csv.gz", gzip.compress(GOOD)[:cut])))
    assert (field, remedy) == ("file", "damaged gzip file; fetch it again")
    whole = parquet_bytes(tmp_path)
    [(_, field, _, remedy)] = refused(lambda: read_table(written(tmp_path, "p.parquet", whole[: len(whole) - cut])))
    assert (field, remedy) == ("file", "damaged Parquet file; fetch or write it again")


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_file(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, "p.csv", content)
    assert refused(lambda: read_table(path)) == [(None, "file", "empty", "the file holds nothing")]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    written(tmp_path, "positions.csv", GOOD)
    assert refused(lambda: read_table(tmp_path / "position.csv")) == [
        (None, "file", "position.csv", "no such file; did you mean positions.csv?")
    ]
    [(_, _, value, remedy)] = refused(lambda: read_table(tmp_path / "nowhere" / "a.csv"))
    assert (value, remedy) == ("a.csv", "no such file")
    (tmp_path / "folder.csv").mkdir()
    [(_, _, _, remedy)] = refused(lambda: read_table(tmp_path / "folder.csv"))
    assert remedy == "cannot be read"


def test_unknown_endings(tmp_path: Path) -> None:
    path = written(tmp_path, "positions.xlsx", b"PK\x03\x04")
    [(row, field, value, remedy)] = refused(lambda: read_table(path))
    assert (row, field, value) == (None, "file type", ".xlsx")
    assert remedy == "unknown ending; known: .csv, .csv.gz, .parquet, .arrow, .feather"
    [(_, _, _, remedy)] = refused(lambda: read_table(written(tmp_path, "p.json", b"{}")))
    assert remedy == "expected a table; give a .csv, .csv.gz or .parquet file"
    assert kind_of_name("a/b.JSON.GZ") == "JSON"


def test_what_is_no_table() -> None:
    [(_, field, value, _)] = refused(lambda: read_table({"a": [1]}, "positions"))  # type: ignore[arg-type]
    assert (field, value) == ("type", "dict")


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = written(tmp_path, "p.csv", "account,instrument,quantity\nalice,X,1\nJosé,X,1\n".encode("latin-1"))
    assert refused(lambda: read_table(path)) == [(3, "text", b"\xe9", "not UTF-8; save the file as UTF-8")]


def test_every_line_that_is_too_long_is_named(tmp_path: Path) -> None:
    remedy = "more fields than the 3 columns of the header; look for commas inside names or numbers"
    one_more = written(tmp_path, "a.csv", b"account,instrument,quantity\na,X,1,000\nb,Y,2\nc,Z,3,000\n")
    assert refused(lambda: read_table(one_more)) == [
        (2, "line", "a,X,1,000", remedy),
        (4, "line", "c,Z,3,000", remedy),
    ]
    first_row = written(tmp_path, "c.csv", b"account,instrument,quantity\na,X,1,,5\n")
    assert refused(lambda: read_table(first_row)) == [(2, "line", "a,X,1,,5", remedy)]
    many_more = written(tmp_path, "b.csv", b"account,instrument,quantity\na,X,1\nb,Y,2,3,4,5\nc,Z,1,5\n")
    assert refused(lambda: read_table(many_more)) == [
        (3, "line", "b,Y,2,3,4,5", remedy),
        (4, "line", "c,Z,1,5", remedy),
    ]


def test_an_open_quotation_mark(tmp_path: Path) -> None:
    path = written(tmp_path, "p.csv", b'account,instrument,quantity\n"alice,X,1\nbob,Y,2\n')
    [(_, field, _, remedy)] = refused(lambda: read_table(path))
    assert (field, remedy) == ("text", "cannot be read as CSV; look for an open quotation mark")


def missing_column(header: str, tmp_path: Path) -> list[tuple]:
    table = read_table(written(tmp_path, "p.csv", f"{header}\na,X,1\n".encode()))
    return refused(lambda: require_columns(table, COLUMNS, only=True))


def test_wrong_columns(tmp_path: Path) -> None:
    assert missing_column("account,instrument,qty", tmp_path) == [
        (None, "columns", "account, instrument, qty", "missing column quantity (did you mean qty?)")
    ]
    remedy = "missing columns account (did you mean Account?), instrument (did you mean instrumnt?)"
    assert missing_column("Account,instrumnt,quantity", tmp_path) == [
        (None, "columns", "Account, instrumnt, quantity", remedy)
    ]
    remedy = "missing columns account, instrument, quantity"
    assert missing_column("x,y,z", tmp_path) == [(None, "columns", "x, y, z", remedy)]


def test_lines_that_end_in_a_carriage_return(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "p.csv", b"account,instrument,quantity\ra,X,1\rb,Y,2\r"))
    assert table.frame.to_numpy().tolist() == [["a", "X", "1"], ["b", "Y", "2"]]
    assert table.row.tolist() == [2, 3]
    too_long = written(tmp_path, "q.csv", b"account,instrument,quantity\ra,X,1\rb,Y,2,5\r")
    assert [row for row, *_ in refused(lambda: read_table(too_long))] == [3]
    latin = written(tmp_path, "r.csv", b"account,instrument,quantity\ra,X,1\r\xe9,Y,2\r")
    assert [row for row, *_ in refused(lambda: read_table(latin))] == [3]


def test_a_header_that_no_reader_takes(tmp_path: Path) -> None:
    path = written(tmp_path, "p.csv", b"a" * 200_000 + b",b\n1,2\n")
    [(_, field, value, _)] = refused(lambda: read_table(path))
    assert field == "text" and "field larger" in str(value)


def test_nul_characters_anywhere(tmp_path: Path) -> None:
    path = written(tmp_path, "p.csv", b"account,instrument,quantity\n" + b"a,X,1\n" * 2_000 + b"b\0,X,1\n")
    [(_, field, value, _)] = refused(lambda: read_table(path))
    assert (field, value) == ("file type", "binary")


def test_times_are_no_numbers() -> None:
    frame = pd.DataFrame({"quantity": pd.to_datetime(["2026-01-01", None]), "held": pd.to_timedelta([1, 2], "D")})
    for column in frame:
        numbers, bad = number_column(read_table(frame), str(column))
        assert np.isnan(numbers).all() and bad.all()


def test_folders_are_named_as_such(tmp_path: Path) -> None:
    [(_, field, value, remedy)] = refused(lambda: read_table(tmp_path))
    assert (field, value, remedy) == ("file", "a folder", "name a file, not the folder it is in")


def test_a_table_that_was_read_keeps_its_lines() -> None:
    table = table_from_csv("standard input", b"a,b\n1,2\n\n3,4\n")
    assert read_table(table) is table
    assert table.row.tolist() == [2, 4]
    for content in (b"", b"PK\x03\x04", b"a,b\n\0,1\n", b"{}"):
        [(_, field, _, _)] = refused(lambda content=content: table_from_csv("standard input", content))
        assert field.startswith("file")


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separators(tmp_path: Path, mark: str, word: str) -> None:
    header = mark.join(COLUMNS)
    path = written(tmp_path, "p.csv", f"{header}\na{mark}X{mark}1,5\n".encode())
    assert refused(lambda: read_table(path)) == [
        (1, "columns", header, f"separated by {word}; save the file with commas")
    ]


def test_extra_and_repeated_columns(tmp_path: Path) -> None:
    remedy = (
        "this column is not read and might change what a row means; delete it, expected account, instrument, quantity"
    )
    assert missing_column("account,instrument,quantity,side", tmp_path) == [(1, "side", "extra column", remedy)]
    assert missing_column("account,instrument,quantity,quantity", tmp_path) == [
        (1, "quantity", "column given twice", "keep one")
    ]


def test_reading_code_loads_pandas_only_when_it_reads() -> None:
    modules = sorted(path.stem for path in Path(io_package.__path__[0]).glob("*.py") if path.stem != "__init__")
    assert {"chain", "deribit", "deribit_json", "market_json", "positions", "results", "symbols"} <= set(modules)
    imports = ", ".join(f"portfolio_margin.io.{name}" for name in modules)
    heavy = "{'pandas', 'pyarrow', 'numba', 'jax', 'scipy'}"
    code = f"import sys, {imports}; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"
