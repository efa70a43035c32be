"""crowding: on which side the accounts of a venue stand, as `calibrate --model dynamic_worst_case` takes it."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from portfolio_margin.cli.chain import ChainOptions
from portfolio_margin.cli.inputs import (
    BOOK_OPTIONS,
    MARKET_OPTIONS,
    read_book_option,
    read_market_option,
    with_book_notes,
    with_options,
)
from portfolio_margin.cli.output import (
    Column,
    chosen_output,
    deliver,
    moment_text,
    output_options,
    rows_document,
    show_table,
)
from portfolio_margin.cli.tell import tell
from portfolio_margin.dynamic.crowding import Sides, sides
from portfolio_margin.io.atomic import write_whole
from portfolio_margin.version import VERSION
from pricing.errors import ConfigError, DataError, UnsolvedError
from scenarios.families import grid
from scenarios.revalue import revalue

# Shares of a table of parameters have no more digits than accounts can tell apart.
DIGITS = 6


@click.command("crowding")
@with_options(*MARKET_OPTIONS, *BOOK_OPTIONS)
@click.option("--measured", metavar="FILE.toml", help="Write [measured.NAME] tables that calibrate --params takes.")
@output_options
def command(
    measured: str | None,
    as_json: bool,
    as_csv: bool,
    parquet_file: str | None,
    output_file: str | None,
    **shared: Any,
) -> None:
    """Of every underlying, the share of accounts that are long by delta, and of those that lose when vol rises.

    Vol rises from the lowest to the highest of the default grid, by tenor. What accounts hold as collateral is left
    out; an account without a side does not count, and where nobody has one the share is 0.5.
    """
    output = chosen_output(as_json, as_csv, parquet_file, output_file)
    files = (shared["positions"], shared["collateral"])
    if shared["market"] is not None and files[0] is None:
        raise ConfigError("--market needs --positions FILE")
    given = read_market_option(shared["market"], ChainOptions.take(shared))
    book = read_book_option(*files, given.instruments, given.market, given.left_out)
    try:
        arrays = revalue(given.instruments, given.market, grid.scenarios(grid.Params(), given.market))
    except (DataError, UnsolvedError) as error:
        raise error.within(given.source) from None
    found, names = sides(book, arrays), given.market.underlying_id
    columns = {
        "underlying": names,
        "long_share": np.round(found.long_share, DIGITS),
        "short_vol_share": np.round(found.short_vol_share, DIGITS),
    }
    if measured is not None:
        write_whole(measured, _tables(names.tolist(), found).encode())
        tell(f"wrote {measured}")
    told = with_book_notes(given.told, *files)
    identity = {
        "source": given.source,
        "as_of_ms": given.market.valuation_time,
        "accounts": len(book),
        **told.document(),
        "engine_version": VERSION,
    }
    if not deliver(output, columns, identity, rows_document(identity, "rows", columns)):
        shown = [Column(name, [str(value) for value in values.tolist()]) for name, values in columns.items()]
        title = f"sides of {len(book)} accounts of {given.source} at {moment_text(given.market.valuation_time)}"
        show_table(title, shown, "\n".join(told.lines()))


def _tables(names: list[str], found: Sides) -> str:
    """One table an underlying."""
    rows = zip(names, found.long_share.tolist(), found.short_vol_share.tolist(), strict=True)
    return "\n".join(
        f'[measured."{name}"]\nlong_share = {long:.{DIGITS}g}\nshort_vol_share = {short:.{DIGITS}g}\n'
        for name, long, short in rows
    )
