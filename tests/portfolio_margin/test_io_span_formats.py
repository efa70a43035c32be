"""Positional SPAN files in formats of which a part is public: the rest of the places is given as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.io.span_file import read_span_file
from portfolio_margin.io.span_formats import read_layout
from portfolio_margin.io.span_layout import KNOWN_PLACES, RECORDS, Field
from portfolio_margin.io.span_records import decode, read_lines
from pricing import ConfigError, DataError
from tests.portfolio_margin.pa2_example import lines

PUBLIC = KNOWN_PLACES["UP"]
# Behind what is public of a record; contract keys stand before the array values.
BEHIND = {"0": 40, "B": 100, "81": 152, "82": 140}
Places = dict[str, dict[str, Field]]


def made_up() -> Places:
    """Places of a format of which nobody has a description, where nothing is public: one field behind the other."""
    layout: Places = {}
    for kind, fields in RECORDS.items():
        at = BEHIND.get(kind, 3)
        keys = 3
        layout[kind] = {}
        for name, field in fields.items():
            assert field is not None
            if name in PUBLIC.get(kind, {}):
                continue
            width = field.last - field.first + 1
            if kind in ("81", "82") and name in list(RECORDS["81"])[:10]:
                first, keys = keys, keys + width
            else:
                first, at = at, at + width
            layout[kind][name] = field._replace(first=first, last=first + width - 1)
    return layout


def moved(row: str, layout: Places) -> str:
    """A record with its fields where the layout has them, numbers of eight digits or with their locator."""
    kind = row[:2].strip()
    if kind not in RECORDS:
        return row
    made = [" "] * 600
    made[:2] = row[:2].ljust(2)
    for name, field in RECORDS[kind].items():
        assert field is not None
        text = row.ljust(field.last)[field.first - 1 : field.last]
        there = {**PUBLIC.get(kind, {}), **layout[kind]}[name]
        width = there.last - there.first + 1
        if there.kind != "A" and text.strip():
            text = text.rjust(width, "0")
        made[there.first - 1 : there.last] = text.ljust(width)
        if there.kind == "L" and text.strip():
            made[there.last] = str(field.decimals)
    return "".join(made).rstrip()


def written(layout: Places, folder: Path, rows: list[str] | None = None) -> Path:
    path = folder / "paris.pa2"
    rows = [moved(row, layout).replace("U2", "UP", 1) if row[:2] == "0 " else moved(row, layout)
            for row in rows or lines()]  # fmt: skip
    path.write_bytes("\r\n".join([*rows, ""]).encode("latin-1"))
    return path


def table(layout: Places, folder: Path, *more: str) -> Path:
    path = folder / "layout.csv"
    rows = [f"{kind},{name},{f.first},{f.last},{f.kind},{f.decimals}" for kind, fields in layout.items()
            for name, f in fields.items()]  # fmt: skip
    path.write_text("\n".join(["record,field,from,to,kind,decimals", *rows, *more]))
    return path


def test_public_places_and_given_ones_are_the_whole_file(tmp_path: Path) -> None:
    layout = made_up()
    found, notes = read_span_file(written(layout, tmp_path), read_layout(table(layout, tmp_path)))
    (tmp_path / "same.pa2").write_bytes("\r\n".join([*lines(), ""]).encode("latin-1"))
    expected, same_notes = read_span_file(tmp_path / "same.pa2")
    assert found.header.file_format == "UP"
    assert found.differences(expected) == ["header"]
    assert notes == same_notes


def test_numbers_stand_where_they_are_public(tmp_path: Path) -> None:
    """Written by hand from the places of the description, not by our layout: eight digits from column 70 every nine,
    and numbers of array parameters with the digit behind each that says its decimals."""
    array = "81".ljust(69) + "".join(f"{12_345_600 + n:08d}{'-' if n % 2 else '+'}" for n in range(9))
    parameters = "B ".ljust(38) + "00253000" + "5" + "35000000" + "6" + "0008005" + "1"
    parameters += "03000" + "3" + "03300" + "5" + "00297" + "4" + "0001972" + "4" + "000040" + "4"
    assert parameters.index("35000000") == 47 and parameters.index("03300") == 70 and len(parameters) == 97
    path = tmp_path / "x.pa2"
    path.write_text(f"{array}\n{parameters}\n")
    records = read_lines(path)
    values = decode(str(path), records, "81", {"81": PUBLIC["81"]}).columns
    assert [values[f"value_{n}"][0] for n in range(1, 10)] == [
        (12_345_600.0 + n) * (-1 if n % 2 else 1) for n in range(9)
    ]
    numbers = decode(str(path), records, "B", {"B": PUBLIC["B"]}).columns
    stated = {name: float(column[0]) for name, column in numbers.items()}
    assert stated == pytest.approx({
        "base_vol": 2.53, "vol_scan": 35.0, "price_scan": 800.5, "extreme_multiplier": 3.0, "extreme_cover": 0.033,
        "rate": 0.0297, "years": 0.1972, "look_ahead": 0.004,
    })  # fmt: skip


def test_a_number_without_its_locator_is_refused(tmp_path: Path) -> None:
    layout = made_up()
    path = written(layout, tmp_path)
    rows = path.read_text().splitlines()
    place = next(n for n, row in enumerate(rows) if row.startswith("B "))
    rows[place] = rows[place][:63] + " " + rows[place][64:]
    path.write_text("\n".join(rows))
    with pytest.raises(DataError, match=rf"line {place + 1}, bytes 57-64, record B price_scan = '0000800 '"):
        read_span_file(path, read_layout(table(layout, tmp_path)))


def test_places_that_nobody_states_are_asked_for_by_name(tmp_path: Path) -> None:
    layout = made_up()
    path = written(layout, tmp_path)
    with pytest.raises(
        DataError, match=r"Paris expanded format.*record P \(exchange, product.*record 82 .*composite_de"
    ):
        read_span_file(path)
    del layout["B"]["dividend"]
    with pytest.raises(DataError, match=r"Not known: record B \(dividend\)"):
        read_span_file(path, read_layout(table(layout, tmp_path)))
    # A format may lack a field.
    found, _ = read_span_file(path, read_layout(table(layout, tmp_path, "B,dividend,,,N,")))
    assert np.isnan(found.periods.dividend_yield).all() and len(found.periods) == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("B,base_vol,37,44,N,6", "record B base_vol is .* by what is public"),
        ("B,colour,3,4,A,0", "line 2: record B has no field 'colour'"),
        ("B,exchange,5,3,A,0", "line 2: .*3 <= from <= to"),
        ("B,exchange,x,3,A,0", "line 2: from, to and decimals must be whole numbers"),
        ("B,exchange,3,5,N,0", "record B exchange must be of kind A, not N"),
    ],
)
def test_layouts_that_cannot_be(row: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    path.write_text(f"record,field,from,to,kind,decimals\n{row}\n")
    with pytest.raises(ConfigError, match=said):
        read_span_file(written(made_up(), tmp_path), read_layout(path))


def test_a_layout_for_the_known_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pa2"
    path.write_text("\n".join(lines()))
    given: dict[str, Any] = {"B": {}}
    with pytest.raises(ConfigError, match="U2 are known"):
        read_span_file(path, given)
