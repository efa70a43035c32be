"""A chain given on the command line: tables of quotes or the venue's own JSON, fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import click

from portfolio_margin.cli.output import progress
from portfolio_margin.io.chain import EXCLUDE, REFUSE, Snapshot, vol_quotes, with_surface
from portfolio_margin.io.chain_rows import DECIMAL, PERCENT
from portfolio_margin.io.tables import JSON, kind_of_name
from pricing.errors import ConfigError
from pricing.fit import Surface, expiries_of, fit

EXCLUDED_SHOWN = 10


@dataclass(frozen=True)
class ChainOptions:
    """How a chain is read; the defaults are those of the options."""

    snapshot: str | None = None
    on_bad_row: str = REFUSE
    iv_unit: str | None = None
    fx: tuple[str, ...] = ()
    futures: str | None = None

    @classmethod
    def take(cls, values: dict[str, Any]) -> ChainOptions:
        """Take the options of a chain out of the keyword arguments of a command."""
        return cls(**{field.name: values.pop(field.name) for field in fields(cls)})

    def given(self) -> list[str]:
        """The options that were given a value of their own, as they are written."""
        return [
            f"--{field.name.replace('_', '-')}" for field in fields(self) if getattr(self, field.name) != field.default
        ]


CHAIN_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--snapshot", metavar="TIME", help="Which moment of a chain that holds several (ISO or ms UTC)."),
    click.option(
        "--on-bad-row",
        type=click.Choice([REFUSE, EXCLUDE]),
        default=REFUSE,
        show_default=True,
        help="Bad rows of a chain: refuse the file, or leave them out and list them.",
    ),
    click.option("--iv-unit", type=click.Choice([DECIMAL, PERCENT]), help="Unit of a chain's vols, if not the usual."),
    click.option(
        "--fx", metavar="CURRENCY=RATE", multiple=True, help="USD per unit of a settlement currency; repeatable."
    ),
    click.option("--futures", metavar="FILE", help="Ticker table of futures and perpetuals, for option tickers."),
)


def fitted_chain(file: str, options: ChainOptions) -> tuple[Snapshot, Surface]:
    """One moment of a chain with our slices in its market, and the fit."""
    with progress("reading the chain", 3) as step:
        read = _read(file, options)
        step("quotes to vols")
        quotes = vol_quotes(read)
        step("fitting")
        surface = fit(quotes, expiries_of(read.market))
        step("done")
    _tell_excluded(read)
    return with_surface(read, surface.svi), surface


def _tell_excluded(read: Snapshot) -> None:
    """Every format of output goes with this: a row that is left out is never lost silently."""
    for problem in read.excluded[:EXCLUDED_SHOWN]:
        click.echo(f"left out: {problem}", err=True)
    if len(read.excluded) > EXCLUDED_SHOWN:
        click.echo(f"left out: {len(read.excluded) - EXCLUDED_SHOWN} more rows", err=True)


def _read(file: str, options: ChainOptions) -> Snapshot:
    fx = _rates(options.fx)
    if kind_of_name(file) == JSON:
        useless = [name for name in options.given() if name in ("--snapshot", "--futures", "--iv-unit")]
        if useless:
            raise ConfigError(f"the venue's JSON holds one moment, vols in percent: leave {' and '.join(useless)} out")
        from portfolio_margin.io.deribit_json import read_payloads

        return read_payloads(file, on_bad_row=options.on_bad_row, fx=fx)
    from portfolio_margin.io.deribit import read_chain

    return read_chain(
        file,
        snapshot=options.snapshot,
        futures=options.futures,
        iv_unit=options.iv_unit,
        on_bad_row=options.on_bad_row,
        fx=fx,
    )


def _rates(texts: tuple[str, ...]) -> dict[str, float]:
    """CURRENCY=RATE options as numbers above 0."""
    rates: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            rate = float(number)
        except ValueError:
            rate = 0.0
        if not name or not 0.0 < rate < float("inf"):
            raise ConfigError(f"--fx {text}: write CURRENCY=RATE with a rate above 0, for example USDC=1.0")
        rates[name] = rate
    return rates
