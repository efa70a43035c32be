"""What commands read: market, book, risk arrays and parameters; without files, the shipped sample."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import click
import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.cli.book_phase import STANDARD_INPUT, book_phase
from portfolio_margin.cli.chain import CHAIN_OPTIONS, ChainOptions, fitted_chain, tell_left_out, told_of
from portfolio_margin.cli.output import progress
from portfolio_margin.cli.parameters import build_all
from portfolio_margin.cli.policy import DEFAULT_FAMILY, Archive, FamilyInput, ModelInput, scenarios_for
from portfolio_margin.held import without_idle_exercise, without_idle_underlyings
from portfolio_margin.io.told import NOTHING, Told
from portfolio_margin.margin import margin
from portfolio_margin.nearest import nearest
from portfolio_margin.requirement import MarginModel, check_covers
from portfolio_margin.statement import MarginStatement
from portfolio_margin.venue_caps import of_venue
from portfolio_margin.worst_fill import OpenOrders
from pricing.errors import ConfigError, DataError, EngineError, Problem, UnsolvedError
from pricing.instruments import Instruments
from pricing.market import Market
from pricing.models import american
from pricing.price import BACKENDS
from scenarios.risk_arrays import DEFAULT_TICK, RiskArrays
from scenarios.shocks import ScenarioSet, make

SAMPLE = "the shipped sample"
DEFAULT_ACCURACY = "default"


@dataclass(frozen=True)
class Options:
    """The options every command on a book shares."""

    market: str | None
    chain: ChainOptions
    positions: str | None
    collateral: str | None
    arrays: str | None
    model: str
    parameter_set: str | None
    archive: Archive
    family: str | None
    params_file: str | None
    params: tuple[str, ...]
    scenario: tuple[str, ...]
    backend: str
    threads: int | None
    tick: float
    american_accuracy: str
    open_orders: str | None = None


@dataclass(frozen=True)
class Session:
    """Everything a command computes with; market and instruments are None where arrays came from a file.

    model     the margin model with its parameters; source, what statements call the market
    told      what is told of the market and the book with every result
    left_out  names of contracts among the rows left out, and why
    orders    open orders, None where none were given
    """

    instruments: Instruments | None
    market: Market | None
    arrays: RiskArrays
    book: Book
    model: MarginModel
    source: str
    told: Told = NOTHING
    left_out: Mapping[str, str] = field(default_factory=dict)
    orders: OpenOrders | None = None

    def warned(self, statement: MarginStatement) -> Session:
        """The session with what a statement notes and warns of among what is told."""
        return replace(self, told=self.told.noted(statement.notes).warned(statement.warnings))


class MarketInput(NamedTuple):
    """A market and what is to be told of it.

    instruments, market   the two tables
    source    what statements call it
    told      rows of the source that were left out, what was added or assumed, what is rough about it
    left_out  names of contracts among the rows left out, and why
    """

    instruments: Instruments
    market: Market
    source: str
    told: Told = NOTHING
    left_out: Mapping[str, str] = MappingProxyType({})


MARKET_OPTIONS = (
    click.option(
        "--market",
        metavar="FILE",
        help="Market: our .json, a chain of Deribit or of a listed stock (.csv, .csv.gz, .parquet; Deribit's .json).",
    ),
    *CHAIN_OPTIONS,
)
BOOK_OPTIONS = (
    click.option(
        "--positions",
        metavar="FILE",
        help="account, instrument, quantity (.csv, .csv.gz, .parquet, .arrow; - reads CSV).",
    ),
    click.option(
        "--collateral",
        metavar="FILE",
        help="account, currency, amount (.csv, .csv.gz, .parquet, .arrow; - reads CSV).",
    ),
)

ORDERS_OPTION = click.option(
    "--open-orders",
    metavar="FILE",
    help="Orders that may fill: account, instrument, quantity, price (.csv, .csv.gz, .parquet, .arrow; - reads CSV).",
)


class BackendType(click.Choice[str]):
    """A backend by name; jax:4 is jax on four devices."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name, separator, devices = str(value).partition(":")
        chosen = super().convert(name if separator else value, param, ctx)
        return f"{chosen}{separator}{devices}"


BACKEND_OPTION = click.option(
    "--backend",
    type=BackendType(BACKENDS),
    default="numba",
    show_default=True,
    help="What computes; jax:4 shares the work out among four devices that jax sees.",
)
ARCHIVE_OPTIONS = (
    click.option(
        "--archive",
        metavar="FOLDER",
        help="Parameter sets of one's own, MODEL/YYYY-MM-DD.toml, beside the shipped ones; of one name it is taken.",
    ),
    click.option("--archive-only", is_flag=True, help="Use no parameter sets but those of --archive."),
)
ACCURACY_OPTION = click.option(
    "--american-accuracy",
    type=click.Choice(tuple(american.SCHEMES)),
    default=DEFAULT_ACCURACY,
    show_default=True,
    help="Accuracy of contracts with early exercise.",
)
ARRAYS_OPTION = click.option(
    "--arrays", metavar="FILE", help="Risk array file, or SPAN file (.spn, .pa2), instead of a market."
)
MARGIN_OPTIONS = (
    ARRAYS_OPTION,
    click.option("--model", default="worst_case", show_default=True, help="Margin model."),
    click.option(
        "--parameter-set", metavar="NAME", help="Parameter set of the model, such as 2026-02-15; by default by date."
    ),
    *ARCHIVE_OPTIONS,
    click.option(
        "--family", help=f"Scenario family, for a model without scenarios of its own.  [default: {DEFAULT_FAMILY}]"
    ),
    click.option("--params", "params_file", metavar="FILE", help="TOML with a table for the model and the family."),
    click.option(
        "--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter of the model; repeatable."
    ),
    click.option("--scenario", metavar="NAME=VALUE", multiple=True, help="A parameter of the family; repeatable."),
    BACKEND_OPTION,
    click.option("--threads", type=click.IntRange(1), help="Threads; by default one for small work, else all cores."),
    click.option("--tick", type=float, default=DEFAULT_TICK, show_default=True, help="Rounding of risk arrays."),
    ACCURACY_OPTION,
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
    chain = ChainOptions.take(values)
    archive = Archive.take(values)
    orders = values.pop("open_orders", None)
    others = [name for name in Options.__dataclass_fields__ if name not in ("chain", "archive", "open_orders")]
    return Options(chain=chain, archive=archive, open_orders=orders, **{name: values.pop(name) for name in others})


def open_session(
    options: Options, book_of: Callable[..., Book] | None = None, named: Collection[str] | None = None
) -> Session:
    """Read what the options name and revalue, with a progress bar where it takes long.

    book_of  how the book is read, as `read_book_option`, which is the default; a book that is read in parts is not
             read here
    named    contracts that the command needs beside those held: other options with early exercise are then left out,
             since they take long, unless the model needs all; None where the command may need any
    """
    book_of = book_of or read_book_option
    _check_combination(options)
    table = orders_table(options.open_orders, options.positions, options.collateral)
    if table is None:
        return _for_venue(_session(options, book_of, named))
    from portfolio_margin.io.open_orders import ordered_contracts

    session = _for_venue(_session(options, book_of, None if named is None else [*named, *ordered_contracts(table)]))
    return replace(session, orders=read_orders_option(table, session))


def _for_venue(session: Session) -> Session:
    """The session with what its model must know of all accounts."""
    return replace(session, model=of_venue(session.model, session.book, session.arrays))


def _session(options: Options, book_of: Callable[..., Book], named: Collection[str] | None) -> Session:
    """`open_session` without orders."""
    where_from = (options.model, options.parameter_set, options.params_file, options.params, options.family)
    policy = ModelInput.read(*where_from, archive=options.archive)
    if options.arrays is not None:
        return _session_of_arrays(options, options.arrays, policy, book_of)
    family = policy.family_input(options.scenario)
    build_all(policy.wanted(None), family.wanted())
    with progress("reading", 4) as step:
        given = read_market_option(options.market, options.chain)
        step(book_phase(options.positions))
        book = book_of(options.positions, options.collateral, given.instruments, given.market, given.left_out)
        step("scenarios")
        model = policy.model(given.market.valuation_time)
        try:
            moves, book, given = _scenarios(model, family, book, given, named)
        except ConfigError:
            _check_rules(model, book, given)
            raise
        step("revaluing")
        how = ("backend", "tick", "threads", "american_accuracy")
        # Rules made from all arrays of a market need all of them.
        if named is not None and not hasattr(model, "for_arrays"):
            book, given = only_needed(book, given, named)
        arrays = revalued(given, moves, **{name: getattr(options, name) for name in how})
        # Rules that belong to the arrays are looked up once.
        model = model.for_arrays(arrays) if hasattr(model, "for_arrays") else model
        step("done")
    told = with_book_notes(given.told, options.positions, options.collateral)
    return Session(given.instruments, given.market, arrays, book, model, given.source, told, given.left_out)


def _scenarios(
    model: MarginModel, family: FamilyInput, book: Book, given: MarketInput, named: Collection[str] | None
) -> tuple[ScenarioSet, Book, MarketInput]:
    """The scenarios of a model, and the book and market they are for: where parameters are lacking for underlyings of
    which nothing is held or named, without these. ConfigError with what is lacking for the others."""
    try:
        return scenarios_for(model, family, given.market), book, given
    except ConfigError:
        if named is None or hasattr(model, "for_arrays"):
            raise
        book, instruments, market = without_idle_underlyings(book, given.instruments, given.market, named)
        if market is given.market:
            raise
    given = given._replace(instruments=instruments, market=market)
    return scenarios_for(model, family, market), book, given


def _check_rules(model: MarginModel, book: Book, given: MarketInput) -> None:
    """ConfigError where a model has a rule for no contract of the market: what its scenarios lack does not matter."""
    book, given = only_needed(book, given)
    try:
        arrays = revalued(given, make(["as it is"], np.zeros(1)))
        model.not_covered(arrays)
    except EngineError:
        return
    check_covers(model, book, arrays)


def _session_of_arrays(options: Options, file: str, policy: ModelInput, book_of: Callable[..., Book]) -> Session:
    """A session on a risk array file, which has its scenarios already."""
    from portfolio_margin.io.arrays_file import read_arrays
    from portfolio_margin.io.span_source import is_span_name

    family = policy.family_name
    if family in policy.tables:
        raise ConfigError(f"[{family}] of {options.params_file} has no effect beside --arrays; leave it out")
    build_all(policy.wanted(None))
    if is_span_name(file):
        return _session_of_span(options, file, policy, book_of)
    with progress("reading", 2) as step:
        arrays = read_arrays(file)
        told = Told.of_lines(arrays.notes)
        left_out = told.left_out_by_name()
        tell_left_out(told.left_out)
        step(book_phase(options.positions))
        book = book_of(options.positions, options.collateral, arrays, None, left_out)
        step("done")
    told = with_book_notes(told, options.positions, options.collateral)
    model = policy.model(arrays.valuation_time)
    return Session(None, None, arrays, book, model, file, told, left_out)


def _session_of_span(options: Options, file: str, policy: ModelInput, book_of: Callable[..., Book]) -> Session:
    """A session on a SPAN risk parameter file: its arrays, and its rules where the model takes any."""
    from portfolio_margin.cli.span_input import SpanInput

    if options.positions is None:
        raise ConfigError("a SPAN file needs --positions FILE beside it: the sample's accounts hold other contracts")
    with progress("reading", 3) as step:
        given = SpanInput(file)
        step("arrays")
        model, arrays, told = given.arrays_for(policy.model(given.time))
        step(book_phase(options.positions))
        left_out = told.left_out_by_name()
        book = book_of(options.positions, options.collateral, arrays, None, left_out)
        step("done")
    told = with_book_notes(given.checked(told), options.positions, options.collateral)
    return Session(None, None, arrays, book, model, file, told, left_out)


def with_book_notes(told: Told, positions: str | None, collateral: str | None) -> Told:
    """What is told of a market, and of the book beside it."""
    if positions is None or collateral is not None:
        return told
    return told._replace(notes=(*told.notes, "no --collateral was given, so the accounts hold none"))


def only_needed(book: Book, given: MarketInput, named: Collection[str] = ()) -> tuple[Book, MarketInput]:
    """Book and market without the options with early exercise that are neither held nor named.

    Beside a name that is none stay those near it, for the message.
    """
    listed = given.instruments.instrument_id.tolist()
    near = [other for name in named if name not in listed for other in nearest(name, listed)]
    book, instruments, market = without_idle_exercise(book, given.instruments, given.market, [*named, *near])
    return book, given._replace(instruments=instruments, market=market)


def revalued(given: MarketInput, moves: ScenarioSet, **how: Any) -> RiskArrays:
    """The risk arrays of a market, with what is told of it.

    What is wrong with a contract is said of the file it came from.
    """
    from scenarios.revalue import revalue

    try:
        arrays = revalue(given.instruments, given.market, moves, **how)
    except (DataError, UnsolvedError) as error:
        raise error.within(given.source) from None
    return replace(arrays, notes=given.told.lines())


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
            orders=session.orders,
        )
        step("done")
    return statement


def orders_table(orders: str | None, *others: str | None) -> Any:
    """The table of open orders that an option names, None for none; - is standard input, that no other option reads."""
    from portfolio_margin.io.tables import read_table

    if orders is None:
        return None
    if orders == STANDARD_INPUT and STANDARD_INPUT in others:
        raise ConfigError("only one of --positions, --collateral and --open-orders can come from standard input")
    return read_table(source(orders), "orders")


def read_orders_option(table: Any, session: Session) -> OpenOrders:
    """The orders of a table, of the accounts and contracts of a session."""
    from portfolio_margin.io.open_orders import read_orders

    return read_orders(table, session.book, session.arrays, session.market, left_out=session.left_out)


def read_market_option(market: str | None, chain: ChainOptions) -> MarketInput:
    """The market of a file or of the sample.

    A chain is fitted first, so that contracts without a vol of the venue take that of their slice.
    """
    from portfolio_margin.io.market_json import is_market_file, read_market_file
    from portfolio_margin.io.span_source import is_span_name
    from portfolio_margin.sample import MARKET_FILE, sample_path

    if market is not None and is_span_name(market):
        raise ConfigError(
            f"{market} holds risk arrays and rules, not a market: give it after --arrays, or arrays --check"
        )
    if market is None or is_market_file(market):
        useless = chain.given()
        if useless:
            raise ConfigError(f"{', '.join(useless)} is about a chain, and {market or SAMPLE} is none")
        file = read_market_file(sample_path(MARKET_FILE) if market is None else market)
        tell_left_out(file.told.left_out)
        return MarketInput(file.instruments, file.market, market or SAMPLE, file.told, file.told.left_out_by_name())
    read = fitted_chain(market, chain)
    return MarketInput(read.instruments, read.market, read.source, told_of(read), read.left_out)


def _check_combination(options: Options) -> None:
    if options.arrays is not None and options.market is not None:
        raise ConfigError("--arrays is used instead of --market; give one of the two")
    if options.arrays is not None:
        unused = {
            "--scenario": bool(options.scenario),
            "--family": options.family is not None,
            "--tick": options.tick != DEFAULT_TICK,
            "--american-accuracy": options.american_accuracy != DEFAULT_ACCURACY,
        }
        given = [name for name, used in unused.items() if used] + options.chain.given()
        if given:
            raise ConfigError(f"{', '.join(given)} has no effect beside --arrays; leave it out or revalue a --market")
    if options.market is not None and options.positions is None:
        raise ConfigError("--market needs --positions FILE: the sample's accounts hold other contracts")


def read_book_option(
    positions: str | None,
    collateral: str | None,
    listed: Instruments | RiskArrays,
    market: Market | None,
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Book:
    """The book of the files given, - being standard input, or of the sample.

    listed is what there is to hold; left_out, contracts that the market's source has and the market has not, and why.
    """
    from portfolio_margin.io.positions import read_book
    from portfolio_margin.sample import COLLATERAL_FILE, POSITIONS_FILE, sample_path

    if positions is None and collateral is not None:
        raise ConfigError("--collateral needs --positions FILE beside it")
    if positions is None:
        try:
            return read_book(sample_path(POSITIONS_FILE), sample_path(COLLATERAL_FILE), listed, market)
        except DataError:
            if isinstance(listed, RiskArrays):
                text = "--arrays needs --positions FILE: the sample's accounts hold contracts that these arrays lack"
                raise ConfigError(text) from None
            raise
    if positions == collateral == STANDARD_INPUT:
        raise ConfigError("only one of --positions and --collateral can come from standard input")
    owned = None if collateral is None else source(collateral)
    return read_book(source(positions), owned, listed, market, left_out=left_out)


def rows_of(book: Book, accounts: tuple[str, ...]) -> list[int]:
    """Rows of the accounts named, each once; DataError listing every name that is none."""
    rows: list[int] = []
    problems: list[Problem] = []
    for name in dict.fromkeys(accounts):
        try:
            rows.append(book.row_of(name))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return rows


def source(path: str) -> Any:
    """A path as it is, or the table that stands on standard input where it is -."""
    if path != STANDARD_INPUT:
        return path
    from portfolio_margin.io.tables import table_from_csv

    return table_from_csv("standard input", sys.stdin.buffer.read())
