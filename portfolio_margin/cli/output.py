"""What commands print: a table on a terminal, JSON or CSV for programs, Parquet into a file."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from portfolio_margin.cli.tell import tell
from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.results import csv_text, json_rows, json_text, result_bytes
from portfolio_margin.io.tables import CSV, JSON, PARQUET, kind_of_name
from portfolio_margin.io.told import Told
from portfolio_margin.requirement import parameters_text
from pricing.errors import ConfigError

MONEY_DIGITS = 2
PROGRESS_AFTER_SECONDS = 1.0
# Lines of positions that the model has no rule for; JSON has them all.
EXCLUDED_SHOWN = 10
# Lines about a model left out that differ in names only and are all shown; JSON has them all.
ALIKE_SHOWN = 3
OUTPUT_PARAMETERS = ("output_file", "parquet_file", "market_file")


@dataclass(frozen=True)
class Output:
    """Where a result goes: kind "" is a table for people."""

    kind: str
    path: str | None


@dataclass(frozen=True)
class Column:
    """One column of a table for people; the header is a name, or "name [unit]".

    keep False: left out where the terminal is too narrow.
    """

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
    refuse_overwriting_inputs()
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


def refuse_overwriting_inputs() -> None:
    """ConfigError where the running command would write over a file that it reads, or write one file twice."""
    given = click.get_current_context().params
    outputs = [str(given[name]) for name in OUTPUT_PARAMETERS if given.get(name)]
    inputs = [value for name, value in given.items() if isinstance(value, str) and name not in OUTPUT_PARAMETERS]
    for path in outputs:
        if any(_same_file(path, other) for other in inputs):
            raise ConfigError(f"{path} is an input of this command; write the result to another file")
    if len({os.path.realpath(path) for path in outputs}) < len(outputs):
        raise ConfigError(f"{outputs[0]} is named for two results; give each its own file")


def _same_file(first: str, second: str) -> bool:
    return os.path.isfile(first) and os.path.isfile(second) and os.path.samefile(first, second)


def deliver(
    output: Output, columns: Mapping[str, Any], identity: Mapping[str, Any], document: Callable[[], Mapping[str, Any]]
) -> bool:
    """Print or write the result where a program asked for it; False where a table for people is wanted.

    columns   the result as a table, for CSV and Parquet; identity, what reproduces it, goes with it into Parquet
    document  the result as JSON; the same on standard output and in a file
    """
    if not output.kind:
        return False
    if output.kind == PARQUET:
        content = result_bytes(PARQUET, columns, identity, ())
    else:
        content = (csv_text(columns) if output.kind == CSV else json_text(document()) + "\n").encode()
    if output.kind == CSV:  # which has no place for them
        remarks = Told(notes=tuple(identity.get("notes", ())), warnings=tuple(identity.get("warnings", ()))).remarks()
        stated = [f"{name}: {value}" for name, value in identity.items() if not isinstance(value, (list, tuple, dict))]
        for line in [*stated, *remarks, *_of_models(identity, _parameters)]:
            tell(line)
    if output.kind != JSON:
        for line in [*_of_models(identity, _excluded), *left_out_lines(identity.get("models_left_out", {}))]:
            tell(line)
    if output.path is None:
        emit(content.decode())
        return True
    if output.path.lower().endswith(".gz"):
        # No time in the header: the same result is the same file.
        content = gzip.compress(content, mtime=0)
    write_whole(output.path, content)
    tell(f"wrote {output.path}")
    return True


def excluded_lines(lines: Sequence[str], whose: str = "") -> list[str]:
    """What is said of positions that a model has no rule for: how many, and the first of them."""
    return [f"{whose}positions excluded: {count_text(len(lines))}", *(f"  {line}" for line in lines[:EXCLUDED_SHOWN])]


def left_out_lines(reasons: Mapping[str, str]) -> list[str]:
    """What is said of models that could not be computed, every line with the name of the model.

    Of more than a few lines that differ in names only, of contracts or underlyings, the first and how many there are.
    """
    return [f"left out, {name}: {line}" for name, reason in reasons.items() for line in _shortened(reason.splitlines())]


def _shortened(lines: Sequence[str]) -> list[str]:
    alike: list[list[str]] = []
    for line in lines:
        group = next((group for group in alike if _differ_in_names(group[0], line)), None)
        if group is None:
            alike.append([line])
        else:
            group.append(line)
    shown = []
    for group in alike:
        many = len(group) > ALIKE_SHOWN
        shown += [f"{group[0]} (and {len(group) - 1} more lines like this one)"] if many else group
    return shown


def _differ_in_names(line: str, other: str) -> bool:
    """Whether a third of the words at most is another, and the number of words the same."""
    words, others = line.split(), other.split()
    return len(words) == len(others) and 3 * sum(a != b for a, b in zip(words, others, strict=True)) <= len(words)


def _of_models(identity: Mapping[str, Any], say: Callable[[Mapping[str, Any], str], list[str]]) -> list[str]:
    """What is said of one statement, or of several by model."""
    several = {f"{name}: ": stated for name, stated in identity.get("models", {}).items()} or {"": identity}
    return [line for whose, stated in several.items() for line in say(stated, whose)]


def _excluded(stated: Mapping[str, Any], whose: str) -> list[str]:
    lines = tuple(stated.get("positions_excluded", ()))
    return excluded_lines(lines, whose) if lines else []


def _parameters(stated: Mapping[str, Any], whose: str) -> list[str]:
    return [f"{whose or stated['model_id'] + ': '}{parameters_text(stated)}"] if "parameter_set" in stated else []


def emit(text: str) -> None:
    """Print a result; where its reader has gone away, go on without output: the exit code is still to be decided."""
    try:
        click.echo(text, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()


def drop_output() -> None:
    """Send what is still to be printed nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def plots_in(folder: str) -> Path:
    """The folder for pictures, made where it is not there. ConfigError where it is a file."""
    if Path(folder).is_file():
        raise ConfigError(f"--plots {folder} is a file: name a folder for the pictures")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


def rows_document(
    identity: Mapping[str, Any],
    name: str,
    columns: Mapping[str, Any],
    money: Sequence[str] = (),
    digits: int = MONEY_DIGITS,
) -> Callable[[], Mapping[str, Any]]:
    """A document for `deliver`: the identity, and under `name` one object a row; `money` columns as decimal texts."""
    return lambda: {**identity, name: json_rows(columns, money, digits)}


def show_table(title: str, columns: Sequence[Column], footer: str = "") -> None:
    """A table. On a terminal units stand on a second line; where that is too wide, columns that may go are left out,
    last first, then headers are wrapped, and what is still too wide becomes several tables, each with the names of the
    rows. Only texts are ever broken, numbers never. Piped, every column is there and every row is one line."""
    from rich.console import Console
    from rich.text import Text

    terminal = sys.stdout.isatty()
    between = "\n["
    if not terminal:
        emit(_plain_table(title, columns, footer))
        return
    shown = [replace(column, header=column.header.replace(" [", between, 1)) for column in columns]
    kept = list(shown)
    console = Console(highlight=False)
    while _width(kept) > console.width and any(not column.keep for column in kept):
        kept.remove([column for column in kept if not column.keep][-1])
    pieces = [kept] if _width(kept) <= console.width else table_pieces(kept, console.width)
    left_out = [column.header.partition("\n")[0] for column in shown if column not in kept]
    # Captured, since rich itself ends the process with code 1 where the reader has gone away.
    with console.capture() as captured:
        console.print(Text(title, style="italic"), soft_wrap=True)
        for n, piece in enumerate(pieces):
            console.print(_rich_table(piece, console.width), new_line_start=n > 0)
        if left_out:
            console.print(Text(f"not shown for lack of width: {', '.join(left_out)}", style="dim"), soft_wrap=True)
        if footer:
            console.print(Text(footer), soft_wrap=True)
    emit(captured.get())


def table_pieces(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Tables that are no wider, headers wrapped between words: each has the columns of texts that come first, and as
    many of the others as fit, one at least."""
    narrow = [replace(column, header=_wrapped(column)) for column in columns]
    count = next((n for n, column in enumerate(narrow) if column.right), len(narrow))
    stub, pieces = narrow[:count], [narrow[:count]]
    for column in narrow[count:]:
        if len(pieces[-1]) > len(stub) and _width([*pieces[-1], column]) > width:
            pieces.append(list(stub))
        pieces[-1].append(column)
    return pieces


def _wrapped(column: Column) -> str:
    """The header on lines no longer than the column's texts or the longest word of the header."""
    words = column.header.replace("\n", " ").split()
    most = max(map(len, [*words, *column.texts]), default=1)
    return "\n".join(textwrap.wrap(" ".join(words), most, break_on_hyphens=False))


def _rich_table(columns: Sequence[Column], width: int) -> Any:
    """The table; texts are folded where it is too wide all the same, numbers are not."""
    from rich.table import Table
    from rich.text import Text

    fits = _width(columns) <= width
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        least = _width([column]) if column.right else None
        table.add_column(
            Text(column.header), justify=justify, no_wrap=fits or column.right, overflow="fold", min_width=least
        )
    for row in range(len(columns[0].texts) if columns else 0):
        table.add_row(*(Text(c.texts[row], style=c.styles[row] if c.styles else "") for c in columns))
    return table


def _plain_table(title: str, columns: Sequence[Column], footer: str) -> str:
    """The table as lines of text, one a row, every column as wide as its widest cell."""
    cells = [[column.header, *column.texts] for column in columns]
    widths = [max(map(len, texts)) for texts in cells]
    sides = [str.rjust if column.right else str.ljust for column in columns]
    padded = [[side(text, width) for text in texts] for texts, width, side in zip(cells, widths, sides, strict=True)]
    lines = ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
    return "\n".join([title, *lines, *([footer] if footer else [])]) + "\n"


def moment_text(milliseconds: int) -> str:
    """A moment given in ms UTC, to the second."""
    return f"{np.datetime64(milliseconds, 'ms').astype('datetime64[s]')}Z"


def money(values: Any, digits: int = MONEY_DIGITS) -> list[str]:
    """Amounts with the decimals of their currency, usually two, and, on a terminal, thousands separators."""
    return number(values, digits)


def number(values: Any, digits: int) -> list[str]:
    """Numbers with fixed decimals and, on a terminal, thousands separators; nothing where there is none."""
    pattern = f",.{digits}f" if sys.stdout.isatty() else f".{digits}f"
    return ["" if math.isnan(value) else _unsigned_zero(format(value, pattern)) for value in values]


def _unsigned_zero(text: str) -> str:
    """-0.00 is what rounding leaves of a small negative number; it reads as 0.00."""
    return text.lstrip("-") if set(text) <= set("-0.") else text


def amount_text(exact: str) -> str:
    """An amount in exact decimals as `money` shows one: with thousands separators on a terminal."""
    return format(Decimal(exact), ",") if exact and sys.stdout.isatty() else exact


def count_text(count: int) -> str:
    """A number of things in a line of text, with thousands separators; none for 0."""
    return f"{count:,}" if count else "none"


def quantity_text(value: float) -> str:
    """A quantity with as many digits as it has, at most eight decimals."""
    pattern = ",.8f" if sys.stdout.isatty() else ".8f"
    return format(value, pattern).rstrip("0").rstrip(".")


@contextlib.contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[str], None]]:
    """A bar on standard error for work that lasts over a second; call the function after each step.

    total  number of steps; None where nobody knows it: the bar moves to and fro, and the words say how far it is
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *([] if total is None else [MofNCompleteColumn()]),
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
    """Characters a table of these columns takes, two between columns."""
    return sum(max(map(len, [*column.header.split("\n"), *column.texts])) + 2 for column in columns) - 2
