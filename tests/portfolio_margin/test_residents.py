"""Residents on the workers of a cluster: answers in order, what is shared sent once, and workers lost on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from portfolio_margin import cluster
from portfolio_margin.cluster import ClusterError, connect
from portfolio_margin.residents import Resident, Residents, Told
from pricing import DataError
from pricing.errors import Problem
from tests.portfolio_margin.cluster_tasks import dies_once, divided, killed, opened, refused, where

WORKERS = 2


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connect(workers=WORKERS) as client:
        yield client


def test_answers_in_order_at_home(client: Any) -> None:
    """Parts of one home are asked of one worker; items that are shared on are sent once."""
    residents, seen = Residents(client), list[Any]()
    residents.finished = seen.append
    sent: list[set[int]] = []
    kept, first, second = {"a": 1}, {"b": 2}, {"c": 3}
    homes = [4, 7, 4, 7, 9]
    for shared in ((kept, first), (kept, first), (kept, second), (kept,)):
        before = set(residents.items)
        found = residents(where, shared, list(range(5)), homes)
        sent.append(set(residents.items) - before)
        assert [part for part, _, _ in found] == list(range(5)) and {n for _, n, _ in found} == {len(shared)}
        assert found[0][2] == found[2][2] != found[1][2] == found[3][2] == found[4][2]
    assert [len(new) for new in sent] == [2, 0, 1, 0] and len(seen) == 20
    assert residents(where, (kept,), []) == []


def test_only_what_is_new_is_needed() -> None:
    resident = Resident()
    assert resident.answers(divided, {3: 6.0}, (3,), [2, 3]) == [Told(3.0), Told(2.0)]
    assert resident.answers(divided, {}, (3,), [6]) == [Told(1.0)]
    resident.answers(divided, {5: 1.0}, (5,), [1])
    with pytest.raises(KeyError):
        resident.answers(divided, {}, (3,), [6])


def test_bad_rows_and_other_errors(client: Any) -> None:
    """An OSError of the task is an error of the task, no lost worker."""
    residents = Residents(client)
    problems = {n: [Problem("book", row, "quantity", 0, "is bad") for row in (100 - n, 200 - n)] for n in (3, 40)}
    with pytest.raises(DataError) as error:
        residents(refused, (problems,), list(range(50)))
    assert [problem.row for problem in error.value.problems] == [60, 97, 160, 197]
    with pytest.raises(ZeroDivisionError):
        residents(divided, (1.0,), [2, 1, 0, 1])
    with pytest.raises(FileNotFoundError):
        residents(opened, ("/no/such/file",), [1, 2, 3])
    assert residents(divided, (1.0,), [2, 1]) == [0.5, 1.0] and not residents.lost


def test_lost_workers(client: Any, tmp_path: Any) -> None:
    """One within a call, all between two calls; and a part that ends whoever computes it is told."""
    residents = Residents(client)
    for number in range(2):
        marker = tmp_path / f"lost-{number}"
        assert residents(dies_once, (str(marker), divided, 6.0), [1, 2, 3]) == [6.0, 3.0, 2.0]
        assert marker.exists() and len(residents.lost) == 1 + number
        client.wait_for_workers(WORKERS, timeout=120)
    for process in client.run(os.getpid).values():
        os.kill(process, signal.SIGKILL)
    assert residents(divided, (6.0,), [1, 2, 3]) == [6.0, 3.0, 2.0]


def test_a_part_that_ends_its_workers_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOSSES_IN_A_ROW", 0)
    with pytest.raises(
        ClusterError, match=r"all workers were lost 1 times with 1 parts.*take fewer accounts to a part"
    ):
        Residents(client)(killed, (2,), [2], [0])
