"""Margin of a book in parts on the workers of a cluster: every part a file, and a manifest of all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.cli.inputs import Options, Session, open_session, orders_table
from portfolio_margin.cli.output import progress, refuse_overwriting_inputs
from portfolio_margin.cli.parts_told import tell_parts
from portfolio_margin.cli.tell import tell
from portfolio_margin.io.open_orders import check_accounts
from portfolio_margin.io.part_files import check_no_strays, check_room, part_folder, part_name
from portfolio_margin.io.partitions import DEFAULT_ACCOUNTS, BookFiles, partitions
from portfolio_margin.margin_parts import (
    MarginJob,
    digest_of_book,
    digest_of_partition,
    head_of,
    known_part,
    margin_of_partition,
    venue_of_partition,
    write_manifest,
)
from portfolio_margin.stress.run import Venue
from portfolio_margin.venue_caps import has_caps, with_steps
from pricing.errors import ConfigError

CLUSTER_OPTIONS = (
    click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Compute on a Dask cluster: its scheduler's address, or local. --output names a folder.",
    ),
    click.option("--workers", type=click.IntRange(1), help="Worker processes of --cluster local; one a core."),
)


STRESS_OPTIONS = (
    click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Compute on a Dask cluster: its scheduler's address, or local. --positions is Parquet.",
    ),
    click.option("--workers", type=click.IntRange(1), help="Worker processes of --cluster local; one a core."),
    click.option("--chunk-accounts", type=click.IntRange(1), metavar="N", help="Accounts to a part of --cluster."),
)

SHARED_BOOK = "workers read their accounts from a Parquet file, which the sample's book is none of"


class ClusterRun(NamedTuple):
    """Where the parts of a book are computed and written, and how the book is cut.

    address        of the scheduler, or "local"
    workers        processes of a local cluster
    folder         that is made
    accounts_each  accounts to a part
    resume         whether to go on with an interrupted run in the folder
    """

    address: str
    workers: int | None
    folder: str
    accounts_each: int
    resume: bool


def chosen_cluster(values: dict[str, Any], others: Mapping[str, Any]) -> ClusterRun | None:
    """The run on a cluster that the options ask for, taken out of them, or None. ConfigError where they contradict."""
    address, workers = values.pop("cluster"), values.pop("workers")
    if address is None:
        if workers is not None:
            raise ConfigError("--workers has no effect without --cluster; leave it out")
        return None
    accounts_each, resume = values.pop("chunk_accounts"), values.pop("resume")
    useless = [name for name, given in others.items() if given and name != "--output"]
    if useless:
        raise ConfigError(f"{', '.join(useless)} has no effect beside --cluster, which writes every account as Parquet")
    if not others["--output"] or values["positions"] is None:
        raise ConfigError(f"--cluster needs --positions BOOK.parquet and --output FOLDER beside it: {SHARED_BOOK}")
    refuse_overwriting_inputs()
    return ClusterRun(address, workers, others["--output"], accounts_each or DEFAULT_ACCOUNTS, resume)


class StressRun(NamedTuple):
    """Where the accounts of a stress are computed, and how many make a part."""

    address: str
    workers: int | None
    accounts_each: int


def chosen_stress(values: dict[str, Any]) -> StressRun | None:
    """The cluster that the options of a stress ask for, taken out of them, or None. ConfigError if they contradict."""
    address, workers, each = values.pop("cluster"), values.pop("workers"), values.pop("chunk_accounts")
    if address is None:
        useless = [name for name, given in (("--workers", workers), ("--chunk-accounts", each)) if given is not None]
        if useless:
            raise ConfigError(f"{', '.join(useless)} has no effect without --cluster; leave it out")
        return None
    if values["positions"] is None:
        raise ConfigError(f"--cluster needs --positions BOOK.parquet beside it: {SHARED_BOOK}")
    return StressRun(address, workers, each or DEFAULT_ACCOUNTS)


@contextmanager
def venue_on(how: StressRun, session: Session, options: Options, venue: Venue) -> Iterator[Venue]:
    """A venue whose accounts are read and computed by the workers of a cluster."""
    from portfolio_margin.cluster import connect
    from portfolio_margin.residents import Residents
    from portfolio_margin.stress_parts import sources_of

    files = files_of(options)
    parts = partitions(files, how.accounts_each)
    with connect(how.address, how.workers, tell) as client:
        sources = sources_of(files, parts, len(client.nthreads()), session.left_out)
        yield replace(venue, threads=options.threads or 1, sources=sources, each=Residents(client))


def files_of(options: Options) -> BookFiles:
    """The files of a book by whole paths, since workers run elsewhere."""
    collateral = options.collateral and os.path.abspath(options.collateral)
    return BookFiles(os.path.abspath(str(options.positions)), collateral)


def run(options: Options, how: ClusterRun) -> bool:
    """Margin a Parquet book on a cluster into a folder. True where an account is below maintenance margin or bears
    risk that the model has no rule for, which is told."""
    from portfolio_margin.cluster import connect, over_accounts

    files = files_of(options)
    parts = partitions(files, how.accounts_each)
    orders = orders_table(options.open_orders)
    if orders is not None:
        check_accounts(orders, [(part.first, part.last) for part in parts])
    session = open_session(replace(options, open_orders=None), read_later)
    check_room(Path(how.folder), how.resume)
    with connect(how.address, how.workers, tell) as client, ExitStack() as opened:
        job = replace(_job(session, options, files, os.path.abspath(how.folder)), orders=orders)
        with progress("read", len(parts)) as step:
            rows = over_accounts(digest_of_partition, job, parts, client, lambda digest: step(digest[:8]))
        if has_caps(job.model, session.book, job.arrays):
            with progress("venue", len(parts)) as step:
                steps = over_accounts(venue_of_partition, job, parts, client, lambda part: step("totals"))
            job = replace(job, model=with_steps(job.model, job.arrays, steps))
        head = head_of(digest_of_book(rows), job.arrays, job.model, how.accounts_each, job.told)
        folder = opened.enter_context(part_folder(how.folder, head, how.resume))
        check_no_strays(folder, [part_name(part.number) for part in parts])
        job = replace(job, run=head["digest"], writer=head["writer"])
        known = [known_part(folder, part.number, job.run) for part in parts] if how.resume else []
        kept = {part.number: part for part in known if part is not None}
        missing = [part for part in parts if part.number not in kept]
        with progress("margin", len(missing)) as step:
            done = over_accounts(margin_of_partition, job, missing, client, lambda part: step(part.file))
        every = {**kept, **{part.number: part for part in done}}
        manifest = write_manifest(folder, head, [every[number] for number in sorted(every)])
    return tell_parts(manifest, session, how.folder, len(kept))


def read_later(*_: Any) -> Book:
    """The book of nobody, where workers read the accounts."""
    return Book.from_arrays(np.zeros(0, np.str_), np.zeros(0, np.int64), np.zeros(0))


def _job(session: Session, options: Options, files: BookFiles, folder: str) -> MarginJob:
    """What workers need. Paths are whole, since workers run elsewhere."""
    return MarginJob(
        files=files,
        listed=session.arrays if session.instruments is None else session.instruments,
        market=session.market,
        arrays=session.arrays,
        model=session.model,
        folder=folder,
        backend=options.backend,
        threads=options.threads or 1,
        told=session.told,
        left_out=dict(session.left_out),
    )
