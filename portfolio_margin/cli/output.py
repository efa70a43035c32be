"""What commands print: a table on a terminal, JSON or CSV for programs, Parquet into a file."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from portfolio_margin.io.results import csv_text, json_rows, json_text, write_result
from portfolio_margin.io.tables import CSV, JSON, PARQUET, kind_of_name
from pricing.errors import ConfigError

PLAIN_WIDTH = 200
PROGRESS_AFTER_SECONDS = 1.0


@dataclass(frozen=True)
class Output:
    """Where a result goes: kind "" is a table for people."""

    kind: str
    path: str | None


@dataclass(frozen=True)
class Column:
    """One column of a table for people. `keep` False: left out where the terminal is too narrow."""

    header: str
    texts: list[str]
    right: bool = True
    keep: bool = True
    styles: list[str] | None = None


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json, --csv, --parquet FILE and --output FILE, for every command with a result."""
    for option in (
        click.option(
            "--output", "output_file", metavar="FILE", help="Write .json, .csv or .parquet instead of printing."
        ),
        click.option("--parquet", "parquet_file", metavar="FILE", help="Write a Parquet file instead of printing."),
        click.option("--csv", "as_csv", is_flag=True, help="CSV on standard output, or into --output."),
        click.option("--json", "as_json", is_flag=True, help="JSON on standard output, or into --output."),
    ):
        command = option(command)
    return command


def chosen_output(as_json: bool, as_csv: bool, parquet_file: str | None, output_file: str | None) -> Output:
    """The one output these options ask for. ConfigError where they contradict each other."""
    if as_json + as_csv + (parquet_file is not None) > 1:
        raise ConfigError("--json, --csv and --parquet exclude each other; give one")
    kind = JSON if as_json else CSV if as_csv else PARQUET if parquet_file else ""
    path = parquet_file or output_file
    if parquet_file and output_file:
        raise ConfigError("--parquet FILE already names the file; leave --output out")
    if path is not None:
        named = kind_of_name(path)
        if kind and named != kind:
            raise ConfigError(f"{path}: the name says {named}, the option says {kind}")
        kind = named
    return Output(kind, path)


def deliver(
    output: Output, columns: Mapping[str, Any], identity: Mapping[str, Any], money: Sequence[str], rows_name: str
) -> bool:
    """Print or write the result where a program asked for it; False where a table for people is wanted."""
    if output.path is not None:
        write_result(output.path, columns, identity, money)
        click.echo(f"wrote {output.path}", err=True)
    elif output.kind == JSON:
        click.echo(json_text({**identity, rows_name: json_rows(columns, money)}))
    elif output.kind == CSV:
        click.echo(csv_text(columns), nl=False)
    else:
        return False
    return True


def show_table(title: str, columns: Sequence[Column], footer: str = "") -> None:
    """A table; columns that may go are left out, last first, until it fits the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
    kept = list(columns)
    while _width(kept) > console.width and any(not column.keep for column in kept):
        kept.remove([column for column in kept if not column.keep][-1])
    table = Table(
        title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for column in kept:
        table.add_column(
            Text(column.header), justify="right" if column.right else "left", no_wrap=_width(kept) <= console.width
        )
    for row in range(len(kept[0].texts) if kept else 0):
        table.add_row(*(Text(c.texts[row], style=c.styles[row] if c.styles else "") for c in kept))
    console.print(table)
    left_out = [column.header for column in columns if column not in kept]
    if left_out:
        console.print(Text(f"not shown for lack of width: {', '.join(left_out)}", style="dim"))
    if footer:
        console.print(Text(footer), soft_wrap=True)


def money(values: Any) -> list[str]:
    """Amounts with two decimals and, on a terminal, thousands separators."""
    pattern = ",.2f" if sys.stdout.isatty() else ".2f"
    return [format(float(value), pattern) if math.isfinite(value) else str(float(value)) for value in values]


def number(values: Any, digits: int) -> list[str]:
    """Numbers with fixed decimals; nothing where there is none."""
    pattern = f",.{digits}f" if sys.stdout.isatty() else f".{digits}f"
    return ["" if math.isnan(value) else format(float(value) + 0.0, pattern) for value in values]


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error for work that lasts over a second; call the function after each step."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task(description, total=total)
    timer = threading.Timer(PROGRESS_AFTER_SECONDS, bar.start)
    timer.daemon = True
    timer.start()

    def step(name: str) -> None:
        bar.update(task, advance=1, description=name)

    try:
        yield step
    finally:
        timer.cancel()
        bar.stop()


def _width(columns: Sequence[Column]) -> int:
    return sum(max([len(column.header), *map(len, column.texts)]) + 2 for column in columns)
