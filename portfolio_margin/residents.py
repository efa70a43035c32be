"""Residents: whoever asks the same partitions again and again has an actor on every worker, and asks it directly.

A round of questions is one call to every worker, with what is new of what they share; the scheduler plans nothing. A
worker answers for the same partitions each time, so that it has kept what it knows of them. One that is lost costs the
time of what it had kept: its partitions are asked of others, until a new worker takes its place.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from portfolio_margin import cluster
from portfolio_margin.cluster import ClusterError
from portfolio_margin.in_parts import Part, Result
from pricing.errors import DataError

# How long a worker that is listed has to take a resident in, before it counts as lost.
ADMISSION_SECONDS = 30.0


class Told(NamedTuple):
    """What a resident has to say of one part: a result, bad rows, or what went wrong."""

    result: Any = None
    bad: DataError | None = None
    error: BaseException | None = None


class Resident:
    """On a worker: what is shared, by number, and answers for parts."""

    def __init__(self) -> None:
        self.items: dict[int, Any] = {}

    def answers(
        self, compute: Callable[..., Any], new: dict[int, Any], shared: tuple[int, ...], parts: Sequence[Any]
    ) -> list[Told]:
        """compute(shared, part) of every part.

        new     items that have not been here before, by number
        shared  numbers of the items that are shared now; all others are forgotten
        """
        with cluster.ONE_AT_A_TIME:
            every = {**self.items, **new}
            self.items = {number: every[number] for number in shared}
            return [_told(compute, tuple(self.items[number] for number in shared), part) for part in parts]


def _told(compute: Callable[..., Any], given: tuple[Any, ...], part: Any) -> Told:
    try:
        return Told(compute(given, part))
    except DataError as error:
        return Told(bad=error)
    except Exception as error:  # told where it can be raised, and not to be taken for a lost worker
        return Told(error=error)


class _Place(NamedTuple):
    """A worker with a resident, and the numbers of the items that are there."""

    address: str
    resident: Any
    known: set[int]


class Residents:
    """`in_parts.Each` on the workers of a cluster, for parts that are asked many times.

    Part k is at home at worker homes[k], modulo their number at the start, or k without `homes`. Raises as
    `cluster.over_accounts`.

    finished  called here with each result as it comes, in any order
    """

    def __init__(self, client: Any, finished: Callable[[Any], None] | None = None) -> None:
        self.client, self.finished = client, finished or (lambda result: None)
        self.places: list[_Place | None] = [None] * max(len(client.nthreads()), 1)
        self.lost: set[str] = set()
        self.items: dict[int, Any] = {}
        self.count = itertools.count()

    def __call__(
        self,
        compute: Callable[[tuple[Any, ...], Part], Result],
        shared: tuple[Any, ...],
        parts: Sequence[Part],
        homes: Sequence[int] | None = None,
    ) -> list[Result]:
        """As `in_parts.Each` says."""
        numbers, done = self._numbered(shared), dict[int, Told]()
        with cluster.connection_named(self.client):
            losses = 0
            while len(done) < len(parts) and not any(told.error for told in done.values()):
                self._fill()
                left = {k: k if homes is None else homes[k] for k in range(len(parts)) if k not in done}
                found = [(own, self._answers(*call)) for own, call in self._asked(compute, numbers, parts, left)]
                for own, answers in found:
                    done |= zip(own, answers, strict=True) if answers is not None else ()
                losses = 0 if any(answers is not None for _, answers in found) else losses + 1
                if losses > cluster.LOSSES_IN_A_ROW:
                    raise ClusterError(cluster.all_lost(losses, len(parts) - len(done)))
        for told in done.values():
            if told.error is not None:
                raise told.error
        bad = [told.bad for told in done.values() if told.bad is not None]
        if bad:
            raise cluster.all_problems(bad)
        return [done[k].result for k in range(len(parts))]

    def _numbered(self, shared: tuple[Any, ...]) -> tuple[int, ...]:
        """Numbers of the items: those of before where they are the same objects."""
        known = {id(item): number for number, item in self.items.items()}
        numbers = tuple(known.get(id(item), -1) for item in shared)
        numbers = tuple(next(self.count) if number < 0 else number for number in numbers)
        self.items = dict(zip(numbers, shared, strict=True))
        return numbers

    def _asked(
        self, compute: Callable[..., Any], numbers: tuple[int, ...], parts: Sequence[Any], homes: dict[int, int]
    ) -> list[tuple[list[int], tuple[_Place, Any]]]:
        """A call to every worker that has a part to answer for: its parts, and the worker with what will be answers."""
        own: dict[str, list[int]] = {}
        there = {}
        for k, home in homes.items():
            place = self._home(home)
            own.setdefault(place.address, []).append(k)
            there[place.address] = place
        calls = []
        for address, mine in own.items():
            place = there[address]
            new = {number: self.items[number] for number in numbers if number not in place.known}
            try:
                call = place.resident.answers(compute, new, numbers, [parts[k] for k in mine])
            except RuntimeError:  # Dask knows already that the worker is lost
                call = None
            place.known.clear()
            place.known.update(numbers)
            calls.append((mine, (place, call)))
        return calls

    def _home(self, home: int) -> _Place:
        """The worker of a home; the next one where it is lost."""
        size = len(self.places)
        turn = (self.places[(home + k) % size] for k in range(size))
        return next(place for place in turn if place is not None)

    def _answers(self, place: _Place, call: Any) -> list[Told] | None:
        """What a worker has answered; None where it was lost."""
        while call is not None:
            try:
                answers: list[Told] = call.result(timeout=cluster.LOOK_SECONDS)
            except TimeoutError:
                if place.address in self.client.nthreads():
                    continue
                break
            except OSError:
                break
            for told in answers:
                if told.error is None and told.bad is None:
                    self.finished(told.result)
            return answers
        self.lost.add(place.address)
        self.places = [None if other is place else other for other in self.places]
        return None

    def _fill(self) -> None:
        """A worker that is there takes every place that is free; waits for one where all are."""
        end = time.monotonic() + cluster.WORKERS_SECONDS
        while any(place is None for place in self.places):
            taken = {place.address for place in self.places if place is not None}
            free = iter(sorted(set(self.client.nthreads()) - taken - self.lost))
            self.places = [self._settled(next(free, None)) if place is None else place for place in self.places]
            if any(self.places):
                return
            if time.monotonic() > end:
                raise ClusterError(cluster.NO_WORKERS)
            time.sleep(cluster.PAUSE_SECONDS)

    def _settled(self, address: str | None) -> _Place | None:
        """A worker with a new resident; None where it is lost."""
        if address is None:
            return None
        there = {"workers": [address], "allow_other_workers": False}
        end = time.monotonic() + ADMISSION_SECONDS
        admitted = self.client.submit(Resident, actor=True, pure=False, **there)
        # A worker that was lost may be listed for a moment still.
        while time.monotonic() < end and address in self.client.nthreads():
            try:
                return _Place(address, admitted.result(cluster.PAUSE_SECONDS), set())
            except TimeoutError:
                continue
            except (OSError, RuntimeError):
                break
        self.lost.add(address)
        return None
