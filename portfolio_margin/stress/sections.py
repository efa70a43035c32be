"""Sections: the accounts of a venue in partitions, and what each one answers in a stress by itself.

All that is computed account by account is here, as functions of what all sections share at a moment and of one section;
`run` asks them through `in_parts.Each` and computes from the answers, in order of account, what couples accounts:
whom bidders serve, how far prices give way, who bears a loss. One machine has one section.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.requirement import MarginModel
from portfolio_margin.stress.closing import Desk, accounts_of, offered, trades_of
from portfolio_margin.stress.holdings import Holdings, prepare_holdings
from portfolio_margin.stress.log import Entry, Fill, Kept, Log, fill_of
from portfolio_margin.stress.measured import Measured, measured
from portfolio_margin.stress.rules import Rules
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.instruments import Instruments
from pricing.market import Market
from scenarios.risk_arrays import RiskArrays


@dataclass(frozen=True)
class Setting:
    """What all sections share from the start to the end.

    instruments, market, start   contracts, market and risk arrays at the start
    model, rules, backend, threads   of the venue
    """

    instruments: Instruments
    market: Market
    start: RiskArrays
    model: MarginModel
    rules: Rules
    backend: str
    threads: int | None

    @property
    def how(self) -> dict[str, Any]:
        """The keywords of kernels."""
        return {"backend": self.backend, "threads": self.threads}

    @cached_property
    def contracts(self) -> str:
        """A name of the contracts in their order."""
        return blake2b("\n".join(self.instruments.instrument_id.tolist()).encode(), digest_size=16).hexdigest()


class Late(NamedTuple):
    """The prices that a venue margins at where they are behind, and (N,) what futures pay on the way there."""

    arrays: RiskArrays
    gains: FloatArray


@dataclass(frozen=True)
class Moment:
    """The market at a time.

    arrays  at the true prices
    late    prices that the venue sees, None where these are the true ones
    """

    arrays: RiskArrays
    late: Late | None

    @property
    def seen(self) -> RiskArrays:
        """Risk arrays at the prices that the venue sees."""
        return self.arrays if self.late is None else self.late.arrays


class Source(Protocol):
    """Where a section comes from: it reads the accounts, for the contracts of a setting."""

    def accounts(self, setting: Setting) -> Book:
        """The book of its accounts at the start."""

    def kept(self, setting: Setting) -> Kept:
        """What this process keeps of it; made where there is none, or where the contracts are others."""


@dataclass(frozen=True)
class BookPart:
    """Accounts on this machine.

    keeps  the one layout that is kept, by what it is for
    """

    book: Book
    digest: str = ""
    keeps: dict[tuple[str, ...], Kept] = field(default_factory=dict)

    def accounts(self, setting: Setting) -> Book:
        """The book, as it is."""
        return self.book

    def kept(self, setting: Setting) -> Kept:
        """Of the last setting. DataError as `prepare_holdings`."""
        key = (setting.contracts, *sorted(setting.rules.named))
        if key not in self.keeps:
            self.keeps.clear()
            self.keeps[key] = Kept(
                prepare_holdings(self.book, setting.start, named_in(self.book, setting)), self.digest
            )
        return self.keeps[key]


class Section(NamedTuple):
    """A partition of accounts: where it comes from, and what has happened to it."""

    source: Source
    log: Log = Log()

    def then(self, entry: Entry) -> Section:
        """After one more thing has happened."""
        return self._replace(log=self.log.then(entry))

    def since(self, count: int) -> Section:
        """For whoever has seen so many entries of its log."""
        return self._replace(log=self.log.since(count))

    def held(self, setting: Setting) -> Holdings | None:
        """Its holdings by now; None where its log goes on from what this process has not kept."""
        return self.source.kept(setting).after(self.log, len(setting.instruments))

    def accounts(self, setting: Setting) -> Book:
        """Its book by now, of a log that is whole."""
        return _whole(self.held(setting)).book if self.log.entries else self.source.accounts(setting)


class Behind(NamedTuple):
    """The answer of a process that has not kept the state from which a log goes on: it needs the whole log."""


def of_section(compute: Callable[..., Any]) -> Callable[..., Any]:
    """compute(shared, held, ...) as a function of what is shared and of a section with columns of its accounts, for
    `in_parts.Each`. It answers `Behind` where the log is not whole and its first state is not known here."""

    @wraps(compute)
    def asked(shared: tuple[Any, ...], part: tuple[Any, ...]) -> Any:
        section, *columns = part
        held = section.held(shared[0])
        return Behind() if held is None else compute(shared, held, *columns)

    return asked


class Opened(NamedTuple):
    """A section at the start: (A,) what its accounts are worth, the digest of its rows, and which accounts that name a
    policy are among them."""

    equity: FloatArray
    digest: str
    named: tuple[str, ...]


class Marked(NamedTuple):
    """A section at the mark: margins by the prices that the venue sees, and (A,) worth at the true ones."""

    margins: Measured
    worth: FloatArray


class Trades(NamedTuple):
    """Trades (M,) of a section in order of position.

    account -> A, row -> N; amount in contracts or units, + bought; closes True where it closes what was held
    """

    account: IntArray
    row: IntArray
    amount: FloatArray
    closes: BoolArray


class Traded(NamedTuple):
    """A section after the trades of a round, before costs.

    fill       what they change
    contracts, assets   the trades, of contracts by what the venue decides, of assets that go with them
    touched    (A,) accounts that the venue trades
    converted  (A,) accounts of which everything goes
    over       (A,) accounts that the venue closes, or that are below with nothing but cash
    beside     (A,) accounts below maintenance margin that hold something beside cash afterwards
    """

    fill: Fill
    contracts: Trades
    assets: Trades
    touched: BoolArray
    converted: BoolArray
    over: BoolArray
    beside: BoolArray


def named_in(book: Book, setting: Setting) -> tuple[str, ...]:
    """Accounts of a book that name a policy."""
    return tuple(name for name in setting.rules.named if book.find(name) is not None)


def open_section(shared: tuple[Setting], section: Section) -> Opened:
    """What a section holds and is worth at the start."""
    (setting,) = shared
    held = _whole(section.held(setting))
    worth = held.equity(setting.start, setting.threads)
    return Opened(worth, section.source.kept(setting).digest, named_in(held.book, setting))


def account_names(shared: tuple[Setting], section: Section) -> StrArray:
    """(A,) the accounts of a section."""
    (setting,) = shared
    return section.accounts(setting).account_id


def missing_margin(shared: tuple[Setting], section: Section) -> FloatArray:
    """(A,) what accounts with equity above 0 lack of the initial margin at the start, margin currency."""
    (setting,) = shared
    found = measured(section.accounts(setting), setting.start, setting.model, **setting.how)
    lacking = np.where(found.equity > 0.0, np.maximum(found.initial - found.balance, 0.0), 0.0)
    return np.asarray(np.round(lacking, 2), dtype=np.float64)


def contracts_held(shared: tuple[Setting], section: Section) -> BoolArray:
    """(N,) contracts of which accounts of a section have a position."""
    (setting,) = shared
    found = np.zeros(len(setting.instruments), dtype=np.bool_)
    found[section.accounts(setting).instrument_idx] = True
    return found


@of_section
def mark_section(shared: tuple[Setting, Moment], held: Holdings) -> Marked:
    """A section at a moment, of which the gains are paid and what has expired is settled: all is margined."""
    setting, moment = shared
    found = measured(_seen(held, moment).book, moment.seen, setting.model, **setting.how)
    worth = found.worth if moment.late is None else held.equity(moment.arrays, setting.threads)
    return Marked(found, worth)


@of_section
def measure_accounts(shared: tuple[Setting, Moment], held: Holdings, rows: IntArray) -> Measured:
    """Margins of some accounts of a section, by row."""
    setting, moment = shared
    book = accounts_of(_seen(held, moment).book, rows)
    return measured(book, moment.seen, setting.model, **setting.how)


@of_section
def offer_section(
    shared: tuple[Setting, Moment, Costs], held: Holdings, below: IntArray, status: IntArray
) -> tuple[IntArray, IntArray]:
    """Rows of the accounts that are cut in slices, and how many slices of each are offered.

    below, status  accounts below maintenance margin by row, and their status
    """
    return offered(_desk(shared, held), below, status)


@of_section
def trade_section(
    shared: tuple[Setting, Moment, Costs], held: Holdings, below: IntArray, share: FloatArray, accepted: FloatArray
) -> Traded:
    """A section after the trades of a round.

    below            accounts below maintenance margin by row
    share, accepted  (A,) the share of each that is offered, and the share of that which bidders take
    """
    _, moment, _ = shared
    size = len(accepted)
    done = trades_of(_desk(shared, held), below, share, accepted)
    free = np.zeros(size)
    after = held.traded(done.place, done.amount, moment.arrays, free)
    # At the prices that are paid, which the venue may see late: nothing of what the contracts pay in coin is left.
    goes, exchanged = after.assets_going(held, done.converted)
    contracts, assets = _trades(held, done.place, done.amount), _trades(held, goes, exchanged)
    after = after.traded(goes, exchanged, moment.arrays, free)
    beside, fill = after.beside_cash(below), fill_of(held, after)
    return Traded(fill, contracts, assets, done.touched, done.converted >= 1.0, done.closed, beside)


@of_section
def check_accounts(shared: tuple[Setting, Moment], held: Holdings, rows: IntArray) -> tuple[BoolArray, FloatArray]:
    """Of some accounts of a section, by row, which hold something beside cash (A,), and what they are worth."""
    setting, moment = shared
    book, table = accounts_of(held.book, rows), moment.arrays.value_rows[:, None]
    return held.beside_cash(rows), account_sums(book, moment.arrays, table, threads=setting.threads)[:, 0]


def joined(parts: Sequence[Any]) -> Any:
    """NamedTuples of columns, one a section, as one of the whole venue."""
    return type(parts[0])(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _whole(held: Holdings | None) -> Holdings:
    if held is None:
        raise AssertionError("the log of a section must be whole here")
    return held


def _seen(held: Holdings, moment: Moment) -> Holdings:
    """What is held, paid up to the prices that the venue sees."""
    return held if moment.late is None else held.paid(moment.late.gains)


def _desk(shared: tuple[Setting, Moment, Costs], held: Holdings) -> Desk:
    setting, moment, costs = shared
    how = (setting.rules, costs, setting.backend, setting.threads)
    return Desk(_seen(held, moment), moment.seen, setting.model, *how)


def _trades(held: Holdings, place: IntArray, amount: FloatArray) -> Trades:
    return Trades(held.account[place], held.rows[place], amount, amount * held.quantity[place] < 0.0)
