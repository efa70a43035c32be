"""One round of liquidations over a whole venue: who is closed, how much of it bidders take, what it costs.

The mass is cut in proportional slices, all accounts at once; accounts that name a policy are planned by it, one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.liquidation.cuts import cut_all_accounts
from portfolio_margin.liquidation.plan import Costs, Outcome
from portfolio_margin.liquidation.trials import cut_sizes
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import AccountStatus
from portfolio_margin.stress.holdings import Holdings, positions_of
from portfolio_margin.stress.measured import Measured
from portfolio_margin.stress.rules import PROPORTIONAL, Rules
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.errors import ConfigError
from scenarios.risk_arrays import RiskArrays

POLICIES = "portfolio_margin.liquidation.policies"


class Round(NamedTuple):
    """What a venue trades in a round.

    place     (M,) -> P positions that are traded
    amount    (M,) contracts closed or hedged and assets that a policy exchanges, + bought
    converted (A,) share of every asset that goes with the contracts, of what these pay all: 1 where everything goes
    touched   (A,) accounts that trade
    closed    (A,) accounts of which everything goes, and those below that hold nothing but cash
    """

    place: IntArray
    amount: FloatArray
    converted: FloatArray
    touched: BoolArray
    closed: BoolArray


@dataclass(frozen=True)
class Desk:
    """What a round is decided with: what accounts hold and what the venue believes prices to be.

    seen    holdings, paid up to the prices that the venue sees
    arrays, model, backend, threads   as `margin` takes them, at the prices that it sees
    rules, costs   of the venue, and of trading now
    """

    seen: Holdings
    arrays: RiskArrays
    model: MarginModel
    rules: Rules
    costs: Costs
    backend: str
    threads: int | None


def offered(desk: Desk, below: IntArray, status: IntArray) -> tuple[IntArray, IntArray]:
    """Rows of the accounts that are cut in slices, in rising order, and how many slices of each are offered.

    below, status   accounts below maintenance margin by row, and their codes of AccountStatus
    """
    mass = np.setdiff1d(below, list(_named_rows(desk, below)))
    if not len(mass):
        return mass, np.zeros(0, dtype=np.int64)
    return mass, _slices(desk, mass, status[np.searchsorted(below, mass)])


def trades_of(desk: Desk, below: IntArray, share: FloatArray, taken: FloatArray) -> Round:
    """The trades of a round.

    below  accounts below maintenance margin by row
    share  (A,) of each account that is offered; taken (A,) the share of that which bidders take
    """
    size = len(desk.seen)
    quantity, converted = _proportional(desk, share, taken)
    for row, policy in _named_rows(desk, below).items():
        _by_policy(desk, row, policy, quantity, converted)
    place = np.flatnonzero(quantity)
    under, touched = np.zeros(size, dtype=np.bool_), np.zeros(size, dtype=np.bool_)
    under[below] = True
    # Who holds nothing but cash is closed as he stands; only accounts below are traded.
    held = desk.seen.beside_cash(below)
    touched[desk.seen.account[place]] = True
    touched |= held & (converted > 0.0)
    closed = (converted >= 1.0) | (under & ~held)
    return Round(place, quantity[place], converted, touched, closed)


def served(margins: Measured, rows: IntArray, wanted: FloatArray, capacity: float) -> tuple[FloatArray, float]:
    """(A,) the share of what is offered of each account that bidders take, and the maintenance margin they take over.

    rows      accounts that are offered; wanted (A,) the maintenance margin of what is offered of each
    capacity  maintenance margin that bidders still take over in this step, margin currency

    Whoever is worst covered comes first.
    """
    share = np.zeros(len(wanted))
    order = rows[np.lexsort((rows, _cover(margins)[rows]))]
    before = np.concatenate([[0.0], np.cumsum(wanted[order])[:-1]]) if len(order) else wanted[order]
    room = np.maximum(capacity - before, 0.0) if np.isfinite(capacity) else np.full(len(order), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        share[order] = np.where(wanted[order] > 0.0, np.minimum(room / wanted[order], 1.0), 1.0)
    return share, float((share * wanted).sum())


def _slices(desk: Desk, rows: IntArray, status: IntArray) -> IntArray:
    """Slices of each account; all of them where it is bankrupt, or no cut helps."""
    everything = np.full(len(rows), int(desk.rules.slices))
    alive = status < AccountStatus.BANKRUPT
    if np.any(alive):
        book = accounts_of(desk.seen.book, rows[alive])
        rule = {"buffer": desk.rules.buffer, "slices": int(desk.rules.slices)}
        how = {"backend": desk.backend, "threads": desk.threads}
        cuts = cut_all_accounts(book, desk.arrays, desk.model, desk.costs, **rule, **how)  # type: ignore[arg-type]
        everything[alive] = np.where(cuts.slices > 0, cuts.slices, int(desk.rules.slices))
    return everything


def _cover(margins: Measured) -> FloatArray:
    """(A,) margin balance per maintenance margin; the lowest is served first."""
    needed = np.maximum(margins.maintenance, 1e-9)
    return np.asarray(margins.balance / needed)


def _proportional(desk: Desk, wanted: FloatArray, accepted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Trades (P,) that close the accepted part (A,) of a share (A,) of every contract, and the share (A,) of assets
    that goes with them: none but of accounts to be closed whole."""
    seen, share = desk.seen, wanted * accepted
    mine = positions_of(seen.book, np.flatnonzero(share > 0.0))
    cuts = cut_sizes(seen.quantity[mine], desk.arrays.quantity_step[seen.rows[mine]], share[seen.account[mine]])
    quantity = np.zeros(len(seen.quantity))
    quantity[mine] = np.where(seen.asset[mine], 0.0, cuts)
    return quantity, np.where(wanted >= 1.0, share, 0.0)


def _named_rows(desk: Desk, below: IntArray) -> dict[int, str]:
    """Rows of the accounts below maintenance that name a policy."""
    policies = {name: policy for name, policy in desk.rules.named.items() if policy != PROPORTIONAL}
    rows = {desk.seen.book.find(name): policy for name, policy in policies.items()}
    return {row: rows[row] for row in below.tolist() if row in rows}


def _by_policy(desk: Desk, row: int, policy: str, quantity: FloatArray, converted: FloatArray) -> None:
    """Write the trades of a plan of one account into `quantity`, and into `converted` whether all of it goes."""
    module = import_module(f"{POLICIES}.{policy}")
    if not hasattr(module, "plan"):
        raise ConfigError(f"policy = {policy!r}: must be a file of liquidation/policies")
    here = np.flatnonzero(desk.seen.account == row)
    book = desk.seen.book.accounts(row, row + 1)
    params = module.Params(buffer=desk.rules.buffer)
    plan = module.plan(book, desk.arrays, desk.model, desk.costs, params, backend=desk.backend)
    if plan.outcome in (Outcome.BANKRUPT, Outcome.EXHAUSTED):
        # What a policy cannot save is taken over whole.
        quantity[here] = np.where(desk.seen.asset[here], 0.0, -desk.seen.quantity[here])
        converted[row] = 1.0
        return
    place = {int(r): int(p) for r, p in zip(desk.seen.rows[here], here, strict=True)}
    for step in plan.steps:
        for trade in step.trades:
            quantity[place[trade.row]] += trade.quantity


def accounts_of(book: Book, rows: IntArray) -> Book:
    """The book of some accounts, in rising rows, without positions of nothing."""
    mine = positions_of(book, rows)
    account = np.repeat(np.arange(len(rows)), book.position_ptr[rows + 1] - book.position_ptr[rows])
    group = np.searchsorted(book.group_ptr, mine, side="right") - 1
    held = book.quantity[mine] != 0.0
    mine, account, key = mine[held], account[held], book.group_key[group[held]]
    columns = (account, key, book.instrument_idx[mine], book.quantity[mine])
    return Book.from_sorted(book.account_id[rows], *columns)
