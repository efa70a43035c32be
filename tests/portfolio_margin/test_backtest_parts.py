"""A back-test in parts: the same bits however the books are cut, on a cluster, and with a worker lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin.backtest.parts import back_test_part, parts_of
from portfolio_margin.backtest.plan import Plan
from portfolio_margin.backtest.run import BackTest, back_test
from portfolio_margin.backtest.sets import Calibration, Fixed, Scenarios, Set, Simulated
from portfolio_margin.cluster import Workers, connect
from portfolio_margin.in_parts import in_this_process
from pricing import ConfigError
from scenarios.backtest.books import Books, standard_books
from tests.portfolio_margin.cluster_tasks import dies_once
from tests.portfolio_margin.test_cli import check_fails, run  # noqa: F401 - a fixture
from tests.portfolio_margin.test_cli_backtest import ARGUMENTS, written
from tests.scenarios.backtest.histories import walked

SETS: dict[str, Set] = {
    "fixed": Fixed(scenarios=Scenarios(buckets=7)),
    "calibrated": Calibration(),
    "historical": Simulated(window=60),
}


def plan_of(count: int = 44, hours: int = 2) -> Plan:
    return Plan(walked(220, steps_per_day=hours), standard_books(count), least_days=105)


def same(found: BackTest, other: BackTest) -> None:
    """Every number of two results, bit for bit."""
    assert found.lost.tobytes() == other.lost.tobytes()
    for own, their in zip(found.sets, other.sets, strict=True):
        assert (own.name, own.kind, list(own.kept)) == (their.name, their.kind, list(their.kept))
        for book, margin in own.kept.items():
            assert margin.tobytes() == their.kept[book].tobytes()
    for first, second in ((found.table(), other.table()), (found.summary(), other.summary())):
        for name, column in first.items():
            assert column.tobytes() == second[name].tobytes(), name


@pytest.fixture(scope="module")
def here() -> BackTest:
    return back_test(plan_of(), SETS)


@pytest.mark.parametrize("books_each", [5, 20])
def test_the_same_bits_however_the_books_are_cut(books_each: int, here: BackTest) -> None:
    """Also where the last part has few books."""
    same(back_test(here.plan, SETS, books_each=books_each), here)
    same(back_test(here.plan, SETS, each=in_this_process, books_each=books_each), here)


def test_parts_are_every_set_and_book_once() -> None:
    plan = plan_of()
    parts = parts_of(plan, list(SETS), 16)
    assert [(part.first, part.last) for part in parts[:3]] == [(0, 16), (16, 32), (32, 44)]
    assert [part.sets for part in parts] == [(name,) for name in SETS for _ in range(3)]
    assert [part.losses for part in parts] == [True] * 3 + [False] * 6
    with pytest.raises(ConfigError, match="books_each = 0"):
        parts_of(plan, list(SETS), 0)


def test_sums_of_whole_units_do_not_depend_on_their_order() -> None:
    """Books whose options stand in another order, with none of no quantity, are margined with the same bits."""
    plan = plan_of(hours=1)
    shelf, order = plan.books, np.random.default_rng(3).permutation(len(plan.books.sign))
    mixed = Books(
        name=shelf.name,
        family=shelf.family,
        tenor_days=shelf.tenor_days[order],
        deviations=shelf.deviations[order],
        sign=shelf.sign[order],
        quantity=shelf.quantity[:, order],
        forwards=shelf.forwards,
        hedged=shelf.hedged,
    )
    other = Plan(plan.given, mixed, least_days=plan.least_days)
    same(back_test(plan, {"fixed": Fixed()}), back_test(other, {"fixed": Fixed()}))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connect(workers=2) as client:
        yield client


def test_a_cluster_says_the_same_also_where_a_worker_is_lost(client: Any, here: BackTest, tmp_path: Path) -> None:
    """A worker kills itself while it computes a part: that costs time, not results."""
    workers, marker, done = Workers(client), tmp_path / "lost", []
    told = Workers(client, done.append)
    same(back_test(here.plan, SETS, each=told, books_each=16), here)
    assert len(done) == 3 * 3

    def each(compute: Any, shared: Any, parts: Any, homes: Any = None) -> list[Any]:
        assert compute is back_test_part and len(parts) == 2 * 3
        return workers(dies_once, (str(marker), compute, *shared), parts, homes)

    same(back_test(here.plan, SETS, each=each, books_each=22), here)
    assert marker.exists()


def test_the_command_on_a_cluster(client: Any, run: Any, tmp_path: Path) -> None:  # noqa: F811
    written(tmp_path)
    sets = ("--set", "fixed", "--set", "ewma", "--json")
    there = run(*ARGUMENTS, *sets, "--cluster", client.scheduler.address, "--chunk-books", "12")
    assert there.code == 0, there.err
    assert json.loads(there.out) == json.loads(run(*ARGUMENTS, *sets).out)
    check_fails(run(*ARGUMENTS, "--workers", "2"), "--workers has no effect without --cluster")
    check_fails(run(*ARGUMENTS, "--chunk-books", "2"), "--chunk-books has no effect without --cluster")
