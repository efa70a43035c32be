"""A chain given on the command line: tables of quotes or the venue's own JSON, fitted."""

from __future__ import annotations

import click

from portfolio_margin.cli.output import progress
from portfolio_margin.io.chain import Snapshot, vol_quotes, with_surface
from portfolio_margin.io.tables import JSON, kind_of_name
from pricing.errors import ConfigError
from pricing.fit import Surface, expiries_of, fit

EXCLUDED_SHOWN = 10


def fitted_chain(
    file: str, snapshot: str | None, on_bad_row: str, futures: str | None = None, method: str = "svi"
) -> tuple[Snapshot, Surface]:
    """One moment of a chain with our slices in its market, and the fit by `method`."""
    with progress("reading the chain", 3) as step:
        read = _read(file, snapshot, on_bad_row, futures)
        step("quotes to vols")
        quotes = vol_quotes(read)
        step("fitting")
        surface = fit(quotes, expiries_of(read.market), method=method)
        step("done")
    _tell_excluded(read)
    return with_surface(read, surface.svi), surface


def _tell_excluded(read: Snapshot) -> None:
    """Every format of output goes with this: a row that is left out is never lost silently."""
    for problem in read.excluded[:EXCLUDED_SHOWN]:
        click.echo(f"left out: {problem}", err=True)
    if len(read.excluded) > EXCLUDED_SHOWN:
        click.echo(f"left out: {len(read.excluded) - EXCLUDED_SHOWN} more rows", err=True)


def _read(file: str, snapshot: str | None, on_bad_row: str, futures: str | None) -> Snapshot:
    if kind_of_name(file) == JSON:
        if snapshot is not None or futures is not None:
            raise ConfigError("the venue's JSON holds one moment: leave --snapshot and --futures out")
        from portfolio_margin.io.deribit_json import read_payloads

        return read_payloads(file, on_bad_row=on_bad_row)
    from portfolio_margin.io.deribit import read_chain

    return read_chain(file, snapshot=snapshot, futures=futures, on_bad_row=on_bad_row)
