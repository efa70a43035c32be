"""A stress in partitions: the same bits for any cut of the accounts and any workers, with one lost in a step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book
from portfolio_margin.cluster import Workers, connect
from portfolio_margin.io.partitions import BookFiles, partitions
from portfolio_margin.io.positions import read_book
from portfolio_margin.margin_parts import digest_of_rows
from portfolio_margin.residents import Residents
from portfolio_margin.stress import path_fund
from portfolio_margin.stress.gap import Params, fund_size, reverse_stress
from portfolio_margin.stress.prevention import topped_up
from portfolio_margin.stress.result import Result
from portfolio_margin.stress.rules import Impact, Rules
from portfolio_margin.stress.run import Venue, run
from portfolio_margin.stress.sections import BookPart, mark_section, trade_section
from portfolio_margin.stress_parts import sources_of
from pricing import DataError
from tests.portfolio_margin import test_cli
from tests.portfolio_margin.books import BOOK, INSTRUMENTS, MARKET
from tests.portfolio_margin.cluster_tasks import dies_once
from tests.portfolio_margin.stress.venues import path_of, venue_of
from tests.portfolio_margin.test_cli import check_fails
from tests.portfolio_margin.test_cluster import sample_files
from tests.portfolio_margin.test_partitions import written

command = test_cli.run
CRASH = path_of([1.0, 0.9, 0.75, 0.6, 0.7], [1.0, 1.3, 1.8, 2.4, 1.9], eth=1.2)
THIN = Impact(daily_volume=1e8)
ALL_RULES = {
    "plain": Rules(fund=1e5),
    "few bidders": Rules(fund=0.0, demand=2_000.0, impact=THIN),
    "late prices": Rules(fund=1e4, delay_hours=3.0, impact=THIN),
    "named": Rules(
        fund=1e4,
        impact=THIN,
        named={"account-000003": "cheapest", "account-000050": "largest_contributor", "account-000119": "proportional"},
    ),
}


def bits(result: Result) -> list[Any]:
    """All numbers of a result."""
    found: list[Any] = [repr(row) for row in result.rows]
    for column in fields(result):
        value = getattr(result, column.name)
        if column.name not in ("path", "rows", "digests"):
            found += [np.asarray(part).tobytes() for part in (value if isinstance(value, tuple) else (value,))]
    return found


def cut(venue: Venue, bounds: Sequence[int]) -> Venue:
    """The venue with its accounts in partitions, on this machine."""
    sources = tuple(BookPart(venue.book.accounts(low, high)) for low, high in pairwise(bounds))
    return replace(venue, book=venue.book.accounts(0, 0), sources=sources)


@pytest.mark.parametrize("name", ALL_RULES)
def test_any_cut_gives_the_same_bits(name: str) -> None:
    rules, venue, size = ALL_RULES[name], venue_of(BOOK), len(BOOK)
    whole = run(venue, CRASH, rules)
    assert whole.liquidated.sum() > 2 and whole.total("shortfall") > 0.0
    for bounds in ([0, size], [0, 1, 2, 60, size], [*range(0, size, 7), size]):
        assert bits(run(cut(venue, bounds), CRASH, rules)) == bits(whole), bounds


def test_an_account_that_names_a_policy_must_be_there() -> None:
    rules = Rules(named={"account-000003": "cheapest", "nobody": "cheapest"})
    with pytest.raises(DataError, match=r"account = 'nobody': no such account"):
        run(cut(venue_of(BOOK), [0, 60, 120]), CRASH, rules)


def test_what_is_asked_beside_a_run_has_the_same_bits() -> None:
    """The fund by jumps, the nearest jump, accounts that owe before, and a run after the margin calls are answered."""
    whole, size = venue_of(BOOK), len(BOOK)
    params = Params(draws=1_500, directions=10, cost=0.01)
    wanted = fund_size(whole, params), [reverse_stress(whole, fund, params) for fund in (0.0, 7e6)]
    assert wanted[0].amount > 0.0 and wanted[1][0].owing and 0.0 < wanted[1][1].distance < np.inf
    after = run(topped_up(whole), CRASH, ALL_RULES["late prices"])
    assert bits(after) != bits(run(whole, CRASH, ALL_RULES["late prices"]))
    for bounds in ([0, 1, 2, 60, size], [*range(0, size, 7), size]):
        parted = cut(whole, bounds)
        found = fund_size(parted, params)
        assert np.array_equal(found.loss, wanted[0].loss) and found[:2] == wanted[0][:2]
        for fund, nearest in zip((0.0, 7e6), wanted[1], strict=True):
            again = reverse_stress(parted, fund, params)
            assert (again.move.tobytes(), again.distance, again.loss, again.owing) == (
                nearest.move.tobytes(), nearest.distance, nearest.loss, nearest.owing
            )  # fmt: skip
        assert bits(run(topped_up(parted), CRASH, ALL_RULES["late prices"])) == bits(after)
        # Of the venue after the calls, jumps cost what they cost the accounts that have paid in.
        assert np.array_equal(fund_size(topped_up(parted), params).loss, fund_size(topped_up(whole), params).loss)


def test_partitions_are_read_again_without_the_options_that_nobody_holds(tmp_path: Path) -> None:
    """As for the fund by paths; contracts then have other rows, and the run before and after has its own."""
    owner, kept = np.repeat(BOOK.account_id, np.diff(BOOK.position_ptr)), BOOK.instrument_idx % 3 > 0
    kept |= ~INSTRUMENTS.is_option[BOOK.instrument_idx]
    columns = (owner[kept], BOOK.instrument_idx[kept], BOOK.quantity[kept])
    book, sources = files_of(tmp_path, 40, 3, Book.from_arrays(*columns, INSTRUMENTS.expiry_idx))
    venue, rules = venue_of(book), ALL_RULES["few bidders"]
    parted = replace(venue, book=book.accounts(0, 0), sources=sources)
    held, path = np.unique(book.instrument_idx), path_of([1.0, 0.75])
    idle = ~np.isin(np.arange(len(INSTRUMENTS)), held) & INSTRUMENTS.is_option
    small, wanted = path_fund.without_idle_options(parted), bits(run(venue, path, rules))
    assert len(small.instruments) == len(INSTRUMENTS) - idle.sum() < len(INSTRUMENTS)
    for some in (parted, small, parted):
        assert bits(run(some, path, rules)) == wanted


def files_of(folder: Path, accounts_each: int, workers: int, given: Book = BOOK) -> tuple[Book, tuple[Any, ...]]:
    """The book as files: what one machine reads, and its partitions as sources."""
    files: BookFiles = written(folder, given, seed=5)
    book = read_book(files.positions, files.collateral, INSTRUMENTS, MARKET)
    return book, sources_of(files, partitions(files, accounts_each), workers, {})


def test_partitions_are_read_again_where_they_are_not_kept(tmp_path: Path) -> None:
    """One process that may keep two of the seven parts; and the digests of the rows."""
    book, sources = files_of(tmp_path, 18, 7)
    rules = ALL_RULES["few bidders"]
    venue = venue_of(book)
    parted = run(replace(venue, book=book.accounts(0, 0), sources=sources), CRASH, rules)
    assert bits(parted) == bits(run(venue, CRASH, rules)) and {source.memory for source in sources} == {2}
    assert parted.digests == tuple(digest_of_rows(book.accounts(low, min(low + 18, 120))) for low in range(0, 120, 18))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connect(workers=2) as client:
        yield client


@pytest.mark.parametrize("at", [mark_section, trade_section], ids=lambda at: at.__name__)
def test_a_worker_lost_within_a_step_costs_time_not_results(
    client: Any, tmp_path: Path, at: Callable[..., Any]
) -> None:
    """A worker kills itself while it computes a partition; what it had read is read again elsewhere."""
    book, sources = files_of(tmp_path, 20, 2)
    workers, calls, marker = Residents(client), [0], tmp_path / "lost"

    def each(compute: Any, shared: Any, parts: Any, homes: Any = None) -> list[Any]:
        calls[0] += 1
        if compute is at and calls[0] > 2:
            return workers(dies_once, (str(marker), compute, *shared), parts, homes)
        return workers(compute, shared, parts, homes)

    rules, path = ALL_RULES["few bidders"], path_of([1.0, 0.75, 0.7], [1.0, 1.8, 1.9], eth=1.2)
    venue = venue_of(book)
    parted = run(replace(venue, book=book.accounts(0, 0), sources=sources, each=each), path, rules)
    assert bits(parted) == bits(run(venue, path, rules))
    assert marker.exists() and calls[0] > 8


def test_what_is_shared_is_sent_once(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While calls share it; another item beside it is sent alone."""
    sent: list[Any] = []
    scatter = client.scatter
    monkeypatch.setattr(client, "scatter", lambda data, **how: (sent.append(data), scatter(data, **how))[1])
    workers, kept, first, second = Workers(client), {"a": 1}, {"b": 2}, {"c": 3}
    for shared in ((kept, first), (kept, first), (kept, second), (kept,)):
        assert workers(len_of, shared, [1, 2, 3], [0, 1, 2]) == [(n, len(shared)) for n in (1, 2, 3)]
    assert sent == [[kept], [first], [second]]


def len_of(shared: tuple[Any, ...], part: int) -> tuple[int, int]:
    return part, len(shared)


def test_the_command(client: Any, command: Any, tmp_path: Path) -> None:
    files = sample_files(tmp_path)
    client.wait_for_workers(1, timeout=120)
    address = client.scheduler.address
    (tmp_path / "crash.csv").write_text("hours,price_BTC,price_ETH,vol_BTC,vol_ETH\n0,1,1,1,1\n12,0.8,0.7,1.9,1.8\n")
    asked = ["stress", *files, "--path", "crash.csv", "--fund", "100", "--impact", "5", "--json"]
    asked += ["--size-fund", "--draws", "1500", "--reverse", "--prevent"]
    asked += ["--fund-by-paths", "--paths", "56", "--path-days", "0.2"]
    one, many = command(*asked), command(*asked, "--cluster", address, "--chunk-accounts", "25")
    assert many.code == 0, many
    here, there = json.loads(one.out), json.loads(many.out)
    assert here["liquidated_accounts"]
    assert len(there.pop("book_hash")) == len(here.pop("input_hash")) == 16
    assert here == there and here["accounts_liquidated"] > 0
    answers = here["fund_size"]["amount"], here["fund_by_paths"]["amount"], here["reverse_stress"][0]["loss"]
    assert min(answers) > 0.0 and [found["parameter"] for found in here["prevention"]] == ["price_range", "buffer"]
    assert min(found["runs"] for found in here["prevention"]) > 1
    for options, said in {
        ("--cluster", address): "--cluster needs --positions",
        (*files, "--workers", "2"): "--workers has no effect without --cluster",
        (*files, "--cluster", address, "--workers", "2"): "has its own",
    }.items():
        check_fails(command("stress", *options), said)
    assert os.getpid() not in client.run(os.getpid).values()
