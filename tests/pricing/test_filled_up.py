"""Rows that jax is given more of, so that few shapes are compiled."""

from __future__ import annotations

import numpy as np

from pricing.xp.devices import FEW_ROWS, MANY_ROWS, filled_up, room_for


def test_few_sizes_and_little_more_than_was_asked_for() -> None:
    counts = [*range(1, 3 * FEW_ROWS), *range(MANY_ROWS - 3, MANY_ROWS + 4), 10_000, 65_536, 65_537, 999_999]
    rooms = [room_for(count) for count in counts]
    assert all(count <= room for count, room in zip(counts, rooms, strict=True))
    assert all(room <= 1.125 * count for count, room in zip(counts, rooms, strict=True) if count > MANY_ROWS)
    assert {room for count, room in zip(counts, rooms, strict=True) if count <= MANY_ROWS} == {256, 512, 1024, 4096}
    assert len({room_for(count) for count in range(65_537, 131_073, 7)}) == 8


def test_rows_behind_the_last_are_the_last_again() -> None:
    columns = np.array([1.0, 2.0]), np.array([[1, 2], [3, 4]])
    one, two = filled_up(columns, 4)
    assert one.tolist() == [1.0, 2.0, 2.0, 2.0] and two.tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]
    assert [column.tolist() for column in filled_up(columns, 2)] == [column.tolist() for column in columns]
