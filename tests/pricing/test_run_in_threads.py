"""Work that threads share: every row once, results in order, errors told, and one thread held up holds up no other."""

from __future__ import annotations

import threading
import time

import pytest

from pricing.xp.numba import run_in_threads, workers_of

TWO = pytest.mark.skipif(workers_of(2) < 2, reason="one processor")


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 1_000, 12_345])
@pytest.mark.parametrize(("threads", "turns"), [(1, 1), (1, 8), (2, 1), (2, 8), (3, 5)])
@pytest.mark.parametrize("block", [1, 64])
def test_every_row_once_and_in_order(rows: int, threads: int, turns: int, block: int) -> None:
    found = run_in_threads(lambda part: list(range(rows))[part], rows, threads, block=block, turns=turns)
    assert [row for part in found for row in part] == list(range(rows))
    assert all(part[0] % block == 0 for part in found if part)
    assert all(found) or rows == 0


@TWO
@pytest.mark.parametrize("fails_here", [True, False])
def test_an_error_of_any_thread_is_told(fails_here: bool) -> None:
    """After what has been begun; nothing more is begun."""
    here, both, begun, ended = threading.get_ident(), threading.Barrier(2), [], []

    def run(part: slice) -> None:
        begun.append(part.start)
        if len(begun) <= 2:
            both.wait(timeout=30)
        if (threading.get_ident() == here) == fails_here:
            raise ValueError(f"slice {part.start}")
        time.sleep(0.1)
        ended.append(part.start)

    with pytest.raises(ValueError, match=r"slice [01]$"):
        run_in_threads(run, 6, 2, block=1, turns=3)
    assert len(begun) == len(ended) + 1 == 2


@TWO
def test_a_thread_that_is_held_up_leaves_slices_to_the_other() -> None:
    here, taken = threading.get_ident(), []

    def run(part: slice) -> None:
        mine = threading.get_ident() == here
        taken.append(mine)
        time.sleep(0.3 if mine else 0.01)

    run_in_threads(run, 16, 2, block=1, turns=8)
    assert len(taken) == 16
    assert sum(taken) <= 4
