"""The index of names against a dict of the same names."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.name_index import FREE, NameIndex, _filled

# Texts of every kind, also those that are no Unicode: a name may be whatever a file held.
TEXTS = st.text(st.characters(codec=None), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(TEXTS, max_size=12), max_size=6), st.lists(TEXTS, max_size=6))
def test_finds_what_a_dict_finds_however_names_were_added(portions: list[list[str]], others: list[str]) -> None:
    index, rows = NameIndex([]), {}
    for portion in portions:
        fresh = [name for name in dict.fromkeys(portion) if name not in rows]
        index.extend(fresh)
        rows.update({name: len(rows) + place for place, name in enumerate(fresh)})
        assert len(index) == len(rows)
        assert all(index.get(name) == row for name, row in rows.items())
    for name in others:
        assert index.get(name, -7) == rows.get(name, -7)
    again = pickle.loads(pickle.dumps(index))
    assert [again.get(name) for name in rows] == list(rows.values())


def test_names_that_do_not_differ_are_refused_and_nothing_is_added() -> None:
    with pytest.raises(ValueError, match="names must differ"):
        NameIndex(["a", "a"])
    index = NameIndex(["a", "b"])
    for names in (["c", "c"], ["c", "a"], [f"name {n}" for n in range(50)] + ["b"]):
        with pytest.raises(ValueError, match="names must differ"):
            index.extend(names)
    assert (len(index), index.get("c"), index.get("b")) == (2, FREE, 1)
    index.extend(["c"])
    assert (len(index), index.get("c")) == (3, 2)


def test_names_whose_places_are_all_one_are_found_and_others_are_not() -> None:
    table = _filled(np.full(5, 6, np.int64), 8)
    assert sorted(table) == [FREE, FREE, FREE, 0, 1, 2, 3, 4]
    assert [place for place, row in enumerate(table) if row == FREE] == [3, 4, 5]  # it goes on at the beginning


def test_a_copy_in_another_process_finds_them_though_hashes_differ(tmp_path) -> None:  # type: ignore[no-untyped-def]
    names = [f"account-{number}" for number in range(300)]
    (tmp_path / "index").write_bytes(pickle.dumps(NameIndex(names)))
    ask = (
        "import pickle, sys; index = pickle.load(open(sys.argv[1], 'rb')); "
        "assert [index.get(f'account-{n}') for n in range(300)] == list(range(300)); print(hash('account-1'))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", ask, str(tmp_path / "index")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 2
