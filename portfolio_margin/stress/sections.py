"""Sections: the accounts of a venue in partitions, and what each one answers in a stress by itself.

All that is computed account by account is here, as functions of what all sections share at a moment and of one section;
`run` asks them through `in_parts.Each` and computes from the answers, in order of account, what couples accounts:
whom bidders serve, how far prices give way, who bears a loss. One machine has one section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.requirement import MarginModel
from portfolio_margin.stress.closing import Desk, accounts_of, offered, trades_of
from portfolio_margin.stress.holdings import Holdings
from portfolio_margin.stress.measured import Measured, measured
from portfolio_margin.stress.rules import Rules
from pricing.arrays import BoolArray, FloatArray, IntArray
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
    gains   (N,) settlement currency that futures and perpetuals pay a contract since the moment before; None where
            prices are those of before
    gone    (N,) contracts that have expired
    late    prices that the venue sees, None where these are the true ones
    """

    arrays: RiskArrays
    gains: FloatArray | None
    gone: BoolArray
    late: Late | None

    @property
    def seen(self) -> RiskArrays:
        """Risk arrays at the prices that the venue sees."""
        return self.arrays if self.late is None else self.late.arrays


class Source(Protocol):
    """Where a section comes from."""

    def layout(self, setting: Setting) -> tuple[Holdings, str]:
        """What its accounts hold at the start, and the digest of these rows; kept, or made again as often as asked."""

    def accounts(self, setting: Setting) -> Book:
        """The book of its accounts at the start."""


class Laid(NamedTuple):
    """A source on this machine: holdings as they are, and the digest of their rows."""

    holdings: Holdings
    digest: str = ""

    def layout(self, setting: Setting) -> tuple[Holdings, str]:
        """The two."""
        return self.holdings, self.digest

    def accounts(self, setting: Setting) -> Book:
        """Its book."""
        return self.holdings.book


class Whole(NamedTuple):
    """The accounts of a venue that are all on this machine, for what needs no layout of theirs."""

    book: Book

    def accounts(self, setting: Setting) -> Book:
        """The book."""
        return self.book


class Section(NamedTuple):
    """A partition of accounts: where its layout comes from, and (P,) what is held by now."""

    source: Any
    quantity: FloatArray

    def held(self, setting: Setting) -> Holdings:
        """Its holdings by now."""
        return self.source.layout(setting)[0].holding(self.quantity)


class Opened(NamedTuple):
    """A section at the start: (P,) quantities, (A,) places of cash in the margin currency and equity, the digest of its
    rows, and which accounts that name a policy are among it."""

    quantity: FloatArray
    cash: IntArray
    equity: FloatArray
    digest: str
    named: tuple[str, ...]


class Marked(NamedTuple):
    """A section at the mark: (P,) quantities, margins by the prices that the venue sees, and (A,) worth at the true
    ones."""

    quantity: FloatArray
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

    quantity   (P,)
    contracts, assets   the trades, of contracts by what the venue decides, of assets that go with them
    touched    (A,) accounts that the venue trades
    converted  (A,) accounts of which everything goes
    over       (A,) accounts that the venue closes, or that are below with nothing but cash
    beside     (A,) accounts below maintenance margin that hold something beside cash afterwards
    """

    quantity: FloatArray
    contracts: Trades
    assets: Trades
    touched: BoolArray
    converted: BoolArray
    over: BoolArray
    beside: BoolArray


def open_section(shared: tuple[Setting], asked: tuple[Source, FloatArray | None]) -> Opened:
    """What a section holds and is worth at the start.

    asked  where it comes from, and (A,) margin currency that its accounts pay in before; None: nothing
    """
    (setting,) = shared
    source, paid = asked
    held, digest = source.layout(setting)
    if paid is not None:
        quantity = held.quantity.copy()
        quantity[held.cash] += paid
        held = held.holding(quantity)
    names = tuple(name for name in setting.rules.named if held.book.find(name) is not None)
    return Opened(held.quantity, held.cash, held.equity(setting.start, setting.threads), digest, names)


def missing_margin(shared: tuple[Setting], source: Any) -> FloatArray:
    """(A,) what accounts with equity above 0 lack of the initial margin at the start, margin currency.

    source  anything that has `accounts`
    """
    (setting,) = shared
    found = measured(source.accounts(setting), setting.start, setting.model, **setting.how)
    lacking = np.where(found.equity > 0.0, np.maximum(found.initial - found.balance, 0.0), 0.0)
    return np.asarray(np.round(lacking, 2), dtype=np.float64)


def contracts_held(shared: tuple[Setting], source: Any) -> BoolArray:
    """(N,) contracts of which accounts of a section have a position."""
    (setting,) = shared
    found = np.zeros(len(setting.instruments), dtype=np.bool_)
    found[source.accounts(setting).instrument_idx] = True
    return found


def mark_section(shared: tuple[Setting, Moment], section: Section) -> Marked:
    """A section at a moment: gains are paid, what has expired is settled, and all is margined."""
    setting, moment = shared
    held = section.held(setting)
    if moment.gains is not None:
        held = held.paid(moment.gains).without(moment.gone, moment.arrays)
    found = measured(_seen(held, moment).book, moment.seen, setting.model, **setting.how)
    worth = found.worth if moment.late is None else held.equity(moment.arrays, setting.threads)
    return Marked(held.quantity, found, worth)


def measure_accounts(shared: tuple[Setting, Moment], asked: tuple[Section, IntArray]) -> Measured:
    """Margins of some accounts of a section, by row."""
    setting, moment = shared
    section, rows = asked
    held = _seen(section.held(setting), moment)
    return measured(accounts_of(held.book, rows), moment.seen, setting.model, **setting.how)


def offer_section(
    shared: tuple[Setting, Moment, Costs], asked: tuple[Section, IntArray, IntArray]
) -> tuple[IntArray, IntArray]:
    """Rows of the accounts that are cut in slices, and how many slices of each are offered.

    asked  the section, its accounts below maintenance margin by row, and their status
    """
    section, below, status = asked
    return offered(_desk(shared, section.held(shared[0])), below, status)


def trade_section(
    shared: tuple[Setting, Moment, Costs], asked: tuple[Section, IntArray, FloatArray, FloatArray]
) -> Traded:
    """A section after the trades of a round.

    asked  the section, its accounts below maintenance margin by row, (A,) the share of them that is offered, and the
           share of that which bidders take
    """
    setting, moment, _ = shared
    section, below, share, accepted = asked
    held, size = section.held(setting), len(accepted)
    done = trades_of(_desk(shared, held), below, share, accepted)
    free = np.zeros(size)
    after = held.traded(done.place, done.amount, moment.arrays, free)
    # At the prices that are paid, which the venue may see late: nothing of what the contracts pay in coin is left.
    goes, exchanged = after.assets_going(held, done.converted)
    contracts, assets = _trades(held, done.place, done.amount), _trades(held, goes, exchanged)
    after = after.traded(goes, exchanged, moment.arrays, free)
    beside = after.beside_cash(below)
    return Traded(after.quantity, contracts, assets, done.touched, done.converted >= 1.0, done.closed, beside)


def check_accounts(shared: tuple[Setting, Moment], asked: tuple[Section, IntArray]) -> tuple[BoolArray, FloatArray]:
    """Of some accounts of a section, by row, which hold something beside cash (A,), and what they are worth."""
    setting, moment = shared
    section, rows = asked
    held = section.held(setting)
    book, table = accounts_of(held.book, rows), moment.arrays.value_rows[:, None]
    return held.beside_cash(rows), account_sums(book, moment.arrays, table, threads=setting.threads)[:, 0]


def joined(parts: Sequence[Any]) -> Any:
    """NamedTuples of columns, one a section, as one of the whole venue."""
    return type(parts[0])(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _seen(held: Holdings, moment: Moment) -> Holdings:
    """What is held, paid up to the prices that the venue sees."""
    return held if moment.late is None else held.paid(moment.late.gains)


def _desk(shared: tuple[Setting, Moment, Costs], held: Holdings) -> Desk:
    setting, moment, costs = shared
    how = (setting.rules, costs, setting.backend, setting.threads)
    return Desk(_seen(held, moment), moment.seen, setting.model, *how)


def _trades(held: Holdings, place: IntArray, amount: FloatArray) -> Trades:
    return Trades(held.account[place], held.rows[place], amount, amount * held.quantity[place] < 0.0)
