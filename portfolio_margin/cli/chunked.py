"""margin --chunk-accounts: the statements of a large book into a folder, and again where a run was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from portfolio_margin.cli.inputs import Options, Session
from portfolio_margin.cli.output import progress, refuse_overwriting_inputs
from portfolio_margin.cli.parts_told import tell_parts
from portfolio_margin.io.part_files import check_room
from pricing.errors import ConfigError

CHUNK_OPTIONS = (
    click.option(
        "--chunk-accounts",
        type=click.IntRange(1),
        metavar="N",
        help="For large books: N accounts at a time into Parquet files of the folder --output.",
    ),
    click.option(
        "--resume", is_flag=True, help="Go on with an interrupted run of --chunk-accounts or --cluster in its folder."
    ),
)


@dataclass(frozen=True)
class ChunkedRun:
    """A folder and how many accounts a file has."""

    folder: str
    chunk_accounts: int
    resume: bool


def chosen_chunks(values: dict[str, Any], others: dict[str, Any]) -> ChunkedRun | None:
    """The chunked run that the options ask for, taken out of them, or None. ConfigError where they contradict."""
    chunk_accounts, resume = values.pop("chunk_accounts"), values.pop("resume")
    if chunk_accounts is None:
        if resume:
            raise ConfigError(
                "--resume goes on with a run of --chunk-accounts N or --cluster ADDRESS, --output FOLDER: give both"
            )
        return None
    useless = [name for name, given in others.items() if given and name != "--output"]
    if useless:
        raise ConfigError(
            f"{', '.join(useless)} has no effect beside --chunk-accounts, which writes Parquet; leave it out"
        )
    if not others["--output"]:
        raise ConfigError("--chunk-accounts needs --output FOLDER for its files")
    refuse_overwriting_inputs()
    # Before a large book is read in vain.
    check_room(Path(others["--output"]), resume)
    return ChunkedRun(others["--output"], chunk_accounts, resume)


def run(session: Session, options: Options, how: ChunkedRun) -> bool:
    """Compute and write all chunks, with a progress bar, and say what there is. True as `tell_parts` says."""
    from portfolio_margin.chunks import Work, chunks, run_in_chunks

    given = (session.book, session.arrays, session.market, session.model)
    work = Work(*given, options.backend, options.threads, session.orders)
    count = len(chunks(len(session.book), how.chunk_accounts))
    with progress("margin", count) as step:
        finished = run_in_chunks(
            work,
            how.folder,
            how.chunk_accounts,
            resume=how.resume,
            told=session.told,
            done=lambda chunk: step(f"accounts {chunk.first + 1:,} to {chunk.last:,}"),
        )
    return tell_parts(finished.manifest, session, how.folder, finished.kept)
