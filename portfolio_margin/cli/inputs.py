"""What commands read: market, book, risk arrays and parameters; without files, the shipped sample."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from portfolio_margin.book import Book
from portfolio_margin.cli.output import progress
from portfolio_margin.cli.parameters import (
    FAMILIES,
    MODELS,
    Layer,
    assignments,
    build,
    load_registered,
    read_parameters,
)
from portfolio_margin.io.chain import REFUSE
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import MarginStatement
from pricing.errors import ConfigError
from pricing.instruments import Instruments
from pricing.market import Market
from pricing.price import BACKENDS
from scenarios.risk_arrays import DEFAULT_TICK, RiskArrays
from scenarios.shocks import ScenarioSet

SAMPLE = "the shipped sample"
DEFAULT_FAMILY = "grid"
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Options:
    """The options every command on a book shares."""

    market: str | None
    snapshot: str | None
    on_bad_row: str
    positions: str | None
    collateral: str | None
    arrays: str | None
    model: str
    family: str
    params_file: str | None
    params: tuple[str, ...]
    scenario: tuple[str, ...]
    backend: str
    threads: int | None
    tick: float


@dataclass(frozen=True)
class Session:
    """Everything a command computes with; market and instruments are None where arrays came from a file."""

    instruments: Instruments | None
    market: Market | None
    arrays: RiskArrays
    book: Book
    model: MarginModel
    excluded: tuple[str, ...]
    source: str


MARKET_OPTIONS = (
    click.option(
        "--market", metavar="FILE", help="Market: our .json, a Deribit chain (.csv, .csv.gz, .parquet, .json)."
    ),
    click.option("--snapshot", metavar="TIME", help="Which moment of a chain that holds several (ISO or ms UTC)."),
    click.option(
        "--on-bad-row",
        type=click.Choice(["refuse", "exclude"]),
        default="refuse",
        show_default=True,
        help="Bad rows of a chain: refuse the file, or leave them out and list them.",
    ),
)
BOOK_OPTIONS = (
    click.option(
        "--positions", metavar="FILE", help="account, instrument, quantity (.csv, .csv.gz, .parquet; - reads CSV)."
    ),
    click.option(
        "--collateral", metavar="FILE", help="account, currency, amount (.csv, .csv.gz, .parquet; - reads CSV)."
    ),
)
MARGIN_OPTIONS = (
    click.option("--arrays", metavar="FILE", help="Risk array file to use instead of a market."),
    click.option("--model", default="worst_case", show_default=True, help="Margin model."),
    click.option("--family", default=DEFAULT_FAMILY, show_default=True, help="Scenario family."),
    click.option("--params", "params_file", metavar="FILE", help="TOML with a table for the model and the family."),
    click.option(
        "--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter of the model; repeatable."
    ),
    click.option("--scenario", metavar="NAME=VALUE", multiple=True, help="A parameter of the family; repeatable."),
    click.option("--backend", type=click.Choice(BACKENDS), default="numba", show_default=True),
    click.option("--threads", type=click.IntRange(1), help="Threads; by default one for small work, else all cores."),
    click.option("--tick", type=float, default=DEFAULT_TICK, show_default=True, help="Rounding of risk arrays."),
)


def with_options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that adds options in the order given."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def collect(values: dict[str, Any]) -> Options:
    """Take the shared options out of the keyword arguments of a command."""
    return Options(**{name: values.pop(name) for name in Options.__dataclass_fields__})


def open_session(options: Options) -> Session:
    """Read what the options name and revalue, with a progress bar where it takes long."""
    _check_combination(options)
    module, family = load_registered(MODELS, options.model), load_registered(FAMILIES, options.family)
    tables = read_parameters(options.params_file, (options.model, options.family))
    if options.arrays is not None and options.family in tables:
        raise ConfigError(f"[{options.family}] of {options.params_file} has no effect beside --arrays; leave it out")
    params = build(module.Params, *layers(options.params_file, tables, options.model, ("--param", options.params)))
    given = layers(options.params_file, tables, options.family, ("--scenario", options.scenario))
    moves_params = None if options.arrays is not None else build(family.Params, *given)
    with progress("reading", 4) as step:
        if options.arrays is not None:
            from portfolio_margin.io.arrays_file import read_arrays

            arrays = read_arrays(options.arrays)
            step("book")
            book = read_book_option(options.positions, options.collateral, arrays, None)
            return Session(None, None, arrays, book, module.Model(params), (), options.arrays)
        instruments, market, excluded, source = read_market_option(options.market, options.snapshot, options.on_bad_row)
        step("book")
        book = read_book_option(options.positions, options.collateral, instruments, market)
        step("scenarios")
        moves: ScenarioSet = family.scenarios(moves_params, market)
        step("revaluing")
        from scenarios.revalue import revalue

        arrays = revalue(
            instruments, market, moves, backend=options.backend, tick=options.tick, threads=options.threads
        )
        step("done")
    return Session(instruments, market, arrays, book, module.Model(params), excluded, source)


def layers(
    file: str | None, tables: dict[str, dict[str, Any]], name: str, options: tuple[str, tuple[str, ...]]
) -> tuple[Layer, Layer]:
    """What the table `name` of a parameter file says, and over it the name=value options of one flag."""
    flag, values = options
    return Layer(f"{file} [{name}]", tables.get(name, {})), Layer(flag, assignments(values))


def statement_of(session: Session, options: Options) -> MarginStatement:
    """The margin statement of a session."""
    with progress("margin", 1) as step:
        statement = margin(
            session.book,
            session.arrays,
            session.market,
            session.model,
            backend=options.backend,
            threads=options.threads,
        )
        step("done")
    return statement


def read_market_option(
    market: str | None, snapshot: str | None, on_bad_row: str
) -> tuple[Instruments, Market, tuple[str, ...], str]:
    """Instruments and market of a file or of the sample, what was left out, and where they come from.

    A chain is fitted first, so that contracts without a vol of the venue take that of their slice.
    """
    from portfolio_margin.io.market_json import is_market_file, read_market
    from portfolio_margin.sample import MARKET_FILE, sample_path

    if market is None or is_market_file(market):
        if snapshot is not None:
            raise ConfigError("--snapshot chooses a moment of a chain; a market file holds one moment")
        instruments, read = read_market(sample_path(MARKET_FILE) if market is None else market)
        return instruments, read, (), SAMPLE if market is None else market
    from portfolio_margin.cli.chain import fitted_chain

    snapshot_read, _ = fitted_chain(market, snapshot, on_bad_row)
    excluded = tuple(str(problem) for problem in snapshot_read.excluded)
    return snapshot_read.instruments, snapshot_read.market, excluded, snapshot_read.source


def _check_combination(options: Options) -> None:
    if options.arrays is not None and options.market is not None:
        raise ConfigError("--arrays is used instead of --market; give one of the two")
    if options.arrays is not None:
        unused = {
            "--scenario": bool(options.scenario),
            "--family": options.family != DEFAULT_FAMILY,
            "--tick": options.tick != DEFAULT_TICK,
            "--snapshot": options.snapshot is not None,
            "--on-bad-row": options.on_bad_row != REFUSE,
        }
        given = [name for name, used in unused.items() if used]
        if given:
            raise ConfigError(f"{', '.join(given)} has no effect beside --arrays; leave it out or revalue a --market")
    if options.market is not None and options.positions is None:
        raise ConfigError("--market needs --positions FILE: the sample's accounts hold other contracts")


def read_book_option(
    positions: str | None, collateral: str | None, listed: Instruments | RiskArrays, market: Market | None
) -> Book:
    """The book of the files given, - being standard input, or of the sample; `listed` is what there is to hold."""
    from portfolio_margin.io.positions import read_book
    from portfolio_margin.sample import COLLATERAL_FILE, POSITIONS_FILE, sample_path

    if positions is None and collateral is not None:
        raise ConfigError("--collateral needs --positions FILE beside it")
    if positions is None:
        return read_book(sample_path(POSITIONS_FILE), sample_path(COLLATERAL_FILE), listed, market)
    if positions == collateral == STANDARD_INPUT:
        raise ConfigError("only one of --positions and --collateral can come from standard input")
    return read_book(source(positions), None if collateral is None else source(collateral), listed, market)


def source(path: str) -> Any:
    """A path as it is, or the frame that stands on standard input where it is -."""
    if path != STANDARD_INPUT:
        return path
    from portfolio_margin.io.frames import frame_from_csv

    return frame_from_csv(sys.stdin.buffer.read(), "standard input")
