"""More than one machine: any function of a partition of accounts on the workers of a Dask cluster.

What all partitions share, risk arrays above all, is sent to every worker once. Which worker computes a partition, how
often and in which order changes nothing: partitions are computed by themselves and results come back in their order.
A worker that is lost costs the time of what it was computing; where it held the last copy of what is shared, that is
sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from typing import Any, NamedTuple, TypeVar

from portfolio_margin.version import VERSION
from pricing.errors import ConfigError, DataError, EngineError, Problem

Shared = TypeVar("Shared")
Part = TypeVar("Part")
Result = TypeVar("Result")

LOCAL = "local"
CONNECT_SECONDS = 10.0
# Workers of a cluster that is just starting, or that is starting again after a loss, have this long to appear.
WORKERS_SECONDS = 60.0
LOOK_SECONDS = 5.0
PAUSE_SECONDS = 0.2
NO_WORKERS = f"the cluster has had no worker for {WORKERS_SECONDS:.0f} seconds; nothing is reported"
# Dask has its workers hand back memory at once: the columns of a kernel are then new pages each time, which the system
# clears. So workers of this machine keep what any process would, up to glibc's own bounds; one thread each, as by Dask.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": 2**25, "MALLOC_TRIM_THRESHOLD_": 2**26}
MEMORY |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)
# A scheduler has pages of its own whether or not somebody looks: on any free port, so that none is in the way.
PAGES = "127.0.0.1:0"
# Partitions under way or waiting, for each thread of the cluster: enough that none is idle.
AHEAD = 3
# How often in a row what is shared may be lost, without one result in between, before a run gives up.
LOSSES_IN_A_ROW = 3
# Threads of one worker take turns: the kernels of a process are not started by two threads at a time.
ONE_AT_A_TIME = threading.Lock()


class ClusterError(EngineError):
    """Machines that do not answer, do not fit, or were lost."""


@contextlib.contextmanager
def connect(
    address: str = LOCAL, workers: int | None = None, told: Callable[[str], None] = lambda text: None
) -> Iterator[Any]:
    """A `distributed.Client` of the scheduler at an address, such as tcp://10.0.0.5:8786, or of this machine.

    address  where the scheduler listens, or "local": worker processes on this machine, which end with the context
    workers  of the local cluster, one a core by default; ConfigError beside an address
    told     called with one line at the end where workers were lost meanwhile

    Raises ConfigError where Dask is not installed, ClusterError where nothing answers, where no worker is there, or
    where workers run another version of the engine.
    """
    distributed = _distributed()
    import dask

    if workers is not None and address != LOCAL:
        raise ConfigError(f"workers = {workers!r}: only of a local cluster; {address} has its own")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers = {workers!r}: must be a whole number above 0, or None")
    with contextlib.ExitStack() as opened:
        # What Dask says of lost workers is dealt with here, so it is no news for the user.
        opened.enter_context(_quiet("distributed"))
        if address == LOCAL:
            count = workers or os.cpu_count() or 1
            settings: dict[str, Any] = {"processes": True, "threads_per_worker": 1, "dashboard_address": PAGES}
            settings["scheduler_kwargs"] = {"dashboard": False}
            with dask.config.set({"distributed.nanny.pre-spawn-environ": MEMORY}), _interrupts_wait():
                cluster = distributed.LocalCluster(n_workers=count, silence_logs=logging.CRITICAL, **settings)
                opened.enter_context(cluster)
            client = opened.enter_context(distributed.Client(cluster))
        else:
            client = opened.enter_context(_client_of(distributed, address))
        _check_workers(client, address)
        before = set(client.nthreads())
        yield client
        _tell_losses(client, before, told)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C waits for the end of this, where the system can have it wait; what is started here never hears it.

    A terminal tells all processes. Workers would each end with a traceback of their own, while Dask starts or closes
    them; they end with the cluster.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Where this begins in a thread that starts a process, it lets interrupts through to that thread.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def over_accounts(
    compute: Callable[[Shared, Part], Result],
    shared: Shared,
    partitions: Sequence[Part],
    client: Any,
    finished: Callable[[Result], None] | None = None,
) -> list[Result]:
    """compute(shared, partition) of every partition, in their order, on the workers of a cluster.

    compute   a function of a module that the workers have as well, whose result depends on its arguments alone. It may
              run more than once for a partition, so what it writes must be whole and the same every time
    shared    sent to every worker once
    finished  called here with each result as it comes, in any order

    Raises what `compute` raises: one DataError with the problems of all partitions, any other error at once; and
    ClusterError where the cluster is lost, or a partition ends every worker that computes it.
    """
    work = _Work(compute, partitions, lambda items: items[0])
    return _Run(client, work, _Sent(client, (shared,))).results(finished or (lambda result: None))


class Workers:
    """`in_parts.Each` on the workers of a cluster.

    Items that are shared are sent to every worker once, and stay there as long as the next call shares them too.

    finished  called here with each result as it comes, in any order
    """

    def __init__(self, client: Any, finished: Callable[[Any], None] | None = None) -> None:
        self.client, self.finished = client, finished or (lambda result: None)
        self.sent = _Sent(client, ())

    def __call__(
        self,
        compute: Callable[[tuple[Any, ...], Part], Result],
        shared: tuple[Any, ...],
        parts: Sequence[Part],
        homes: Sequence[int] | None = None,
    ) -> list[Result]:
        """As `over_accounts`, for what `in_parts.Each` says. Whoever is free computes a part: `homes` say nothing."""
        self.sent = self.sent.of(shared)
        work = _Work(compute, parts, tuple)
        return _Run(self.client, work, self.sent).results(self.finished)


class _Work(NamedTuple):
    """compute(view(items), partition) of every partition; items are what is shared."""

    compute: Callable[..., Any]
    partitions: Sequence[Any]
    view: Callable[..., Any]


class _Sent:
    """Items that all workers need, and those of them that were sent."""

    def __init__(self, client: Any, items: tuple[Any, ...]) -> None:
        self.client, self.items = client, items
        self.futures: list[Any] = [None] * len(items)

    def of(self, items: tuple[Any, ...]) -> _Sent:
        """The same for other items, of which some may be there."""
        after = _Sent(self.client, items)
        for number, item in enumerate(items):
            known = (future for old, future in zip(self.items, self.futures, strict=True) if old is item)
            after.futures[number] = next(known, None)
        return after

    def send(self) -> list[Any]:
        """Futures of all items, sent where they are not there."""
        for number, item in enumerate(self.items):
            future = self.futures[number]
            if future is None or future.status != "finished":
                # A list, since the items of a bare one, or of a mapping, would be sent one by one.
                [self.futures[number]] = self.client.scatter([item], broadcast=True, hash=False)
        return list(self.futures)

    def forget(self) -> None:
        """All are sent again next time."""
        self.futures = [None] * len(self.items)


class _Run:
    """Partitions under way on a cluster, and what came back."""

    def __init__(self, client: Any, work: _Work, sent: _Sent) -> None:
        self.client, self.work, self.sent, self.partitions = client, work, sent, work.partitions
        self.done: dict[int, Any] = {}
        self.bad: list[DataError] = []
        self.failed: set[int] = set()
        self.error: BaseException | None = None
        self.losses = 0
        self.workers: set[str] = set()

    def results(self, finished: Callable[[Any], None]) -> list[Any]:
        """All results in order."""
        with connection_named(self.client):
            while self.error is None and len(self.done) + len(self.failed) < len(self.partitions):
                self._send(finished)
        if self.error is not None:
            raise self.error
        if self.bad:
            raise all_problems(self.bad)
        return [self.done[number] for number in range(len(self.partitions))]

    def _send(self, finished: Callable[[Any], None]) -> None:
        """Send what is shared, then the partitions that are missing, until all are there or what is shared is lost."""
        import distributed

        self._wait_for_workers()
        self.workers = set(self.client.nthreads())
        try:
            shared = self.sent.send()
        except (OSError, TimeoutError, distributed.CancelledError) as error:  # a worker was lost while it was sent to
            self._lost(error)
            return
        missing = (n for n in range(len(self.partitions)) if n not in self.done and n not in self.failed)
        ahead = AHEAD * max(sum(self.client.nthreads().values()), 1)
        pending: dict[Any, int] = {}
        lost = False
        try:
            while not lost:
                for number in itertools.islice(missing, max(ahead - len(pending), 0)):
                    call = (self.work.compute, self.work.view, self.partitions[number], *shared)
                    pending[self.client.submit(_one_at_a_time, *call, pure=False)] = number
                if not pending:
                    return
                for future in self._some_done(pending):
                    number = pending.pop(future)
                    lost |= not self._took(future, number, finished)
                if self.error is not None:
                    return
        finally:
            self.client.cancel(list(pending), force=True)
        self._lost(None)

    def _lost(self, error: BaseException | None) -> None:
        """What is shared was lost, or did not arrive: give up after some times, and else see that the loss is known.

        A busy scheduler may still list workers that have gone; to send to them again would be to lose again.
        """
        self.sent.forget()
        self.losses += 1
        if self.losses <= LOSSES_IN_A_ROW:
            end = time.monotonic() + WORKERS_SECONDS
            while set(self.client.nthreads()) == self.workers and time.monotonic() < end:
                time.sleep(PAUSE_SECONDS)
            return
        if error is not None:
            raise error
        raise ClusterError(all_lost(self.losses, len(self.partitions) - len(self.done) - len(self.failed)))

    def _wait_for_workers(self) -> None:
        """Workers that were lost have time to start again."""
        import distributed

        try:
            self.client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except distributed.TimeoutError:
            raise ClusterError(NO_WORKERS) from None

    def _some_done(self, pending: dict[Any, int]) -> list[Any]:
        """Futures that ended; waits for one. ClusterError where no worker is left to end any."""
        import distributed

        waited = 0.0
        while True:
            with contextlib.suppress(distributed.TimeoutError, distributed.CancelledError):
                distributed.wait(list(pending), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            ended = [future for future in pending if future.status != "pending"]
            if ended:
                return ended
            waited = 0.0 if self.client.nthreads() else waited + LOOK_SECONDS
            if waited >= WORKERS_SECONDS:
                raise ClusterError(NO_WORKERS)

    def _took(self, future: Any, number: int, finished: Callable[[Any], None]) -> bool:
        """Take a future that ended; False where it was lost with what it needs and is to be computed again."""
        import distributed

        if future.status == "finished":
            # The worker that holds a result can be lost before it is fetched.
            try:
                result = future.result()
            except (distributed.CancelledError, OSError):
                return False
            if isinstance(result, _Refused):
                return self._refused(result.error, number)
            self.done[number] = result
            self.losses = 0
            finished(result)
            return True
        if future.status != "error":
            return False
        error = future.exception()
        if isinstance(error, distributed.scheduler.KilledWorker):
            remedy = "it needs more memory than a worker has: take fewer accounts to a part"
            raise ClusterError(f"every worker that computed part {number} was lost; {remedy}") from None
        return self._refused(error, number)

    def _refused(self, error: BaseException, number: int) -> bool:
        """Take an error in place of a result: bad rows of all partitions are told together, any other ends the run."""
        if isinstance(error, DataError):
            self.bad.append(error)
            self.failed.add(number)
        else:
            self.error = error
        return True


@contextlib.contextmanager
def connection_named(client: Any) -> Iterator[None]:
    """ClusterError in place of what sockets say."""
    import distributed

    address = client.scheduler.address if client.scheduler else "the cluster"
    try:
        yield
    except (OSError, TimeoutError, distributed.CancelledError) as error:
        raise ClusterError(f"{address} was lost ({_said(error)}); nothing is reported") from None


def all_lost(losses: int, left: int) -> str:
    """What is said where all workers were lost so many times in a row, and so many parts are left."""
    remedy = "a part needs more memory than a worker has, or machines go away: take fewer accounts to a part"
    return f"all workers were lost {losses} times with {left} parts to go: {remedy}"


class _Refused(NamedTuple):
    """An error in place of a result: of one that is raised by a worker, Dask cuts off what is long."""

    error: EngineError


def _one_at_a_time(
    compute: Callable[..., Result], view: Callable[..., Any], partition: Any, *items: Any
) -> Result | _Refused:
    with ONE_AT_A_TIME:
        try:
            return compute(view(items), partition)
        except EngineError as error:
            return _Refused(error)


def all_problems(errors: Sequence[DataError]) -> DataError:
    """One error with the problems of all, in order of file and row; those beyond what a message shows are counted."""

    def place(problem: Problem) -> tuple[str, int]:
        return problem.file, problem.row if isinstance(problem.row, int) else 0

    problems = sorted((problem for error in errors for problem in error.problems), key=place)
    unlisted: Counter[tuple[str, str]] = Counter()
    for error in errors:
        unlisted.update(error.unlisted)
    return DataError(problems, unlisted)


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a cluster needs Dask ({error.name} is missing): install portfolio-margin[cluster]"
        ) from None
    return distributed


def _client_of(distributed: Any, address: str) -> Any:
    try:
        # A client that does not reach its scheduler waits again when it is closed, so the way is tried first.
        with ThreadPoolExecutor(1) as elsewhere:  # a notebook runs an event loop in this thread
            elsewhere.submit(asyncio.run, _reach(address)).result()
        return distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        remedy = "give the address that the Dask scheduler prints when it starts, such as tcp://10.0.0.5:8786, or local"
        raise ClusterError(f"no Dask scheduler answers at {address!r} ({_said(error)}): {remedy}") from None


async def _reach(address: str) -> None:
    """Shake hands with what listens at an address."""
    from distributed.comm import connect as connect_to
    from distributed.security import Security

    comm = await connect_to(address, timeout=CONNECT_SECONDS, **Security().get_connection_args("client"))
    await comm.close()


def _check_workers(client: Any, address: str) -> None:
    """ClusterError where there are no workers, or some without this version of the engine."""
    import distributed

    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        found = client.run(engine_version, on_error="return")
    except (distributed.TimeoutError, OSError) as error:
        raise ClusterError(f"the scheduler at {address} has no workers ({_said(error)}): start some") from None
    other = {worker: said for worker, said in found.items() if said != VERSION}
    if other:
        worker, said = next(iter(other.items()))
        shown = said if isinstance(said, str) else f"none ({_said(said)})"
        more = f", and {len(other) - 1} more workers" if len(other) > 1 else ""
        raise ClusterError(f"the worker at {worker} runs engine {shown}{more}: install {VERSION}, which is here")


def _tell_losses(client: Any, before: set[str], told: Callable[[str], None]) -> None:
    """One line where workers that were there before are no more; nothing of a scheduler that went, work being done."""
    with contextlib.suppress(OSError, TimeoutError):
        lost = len(before - set(client.nthreads()))
        if lost:
            told(f"{lost} worker{'s were' if lost > 1 else ' was'} lost on the way: what was theirs was computed again")


def engine_version() -> str:
    """The version of the engine on the machine that runs this."""
    return VERSION


def _said(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A logger, and those under it, say nothing in this context."""
    known = [other for other in logging.root.manager.loggerDict if f"{other}.".startswith(f"{name}.")]
    before = {logger: logger.level for logger in map(logging.getLogger, known)}
    for logger in before:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
