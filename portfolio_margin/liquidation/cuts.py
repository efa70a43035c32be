"""Cuts: the proportional policy for many accounts at once, as a stress of a whole venue needs it.

Every account is tried with every number of slices, all of them in one statement. What `policies.proportional` does
first with one account is what this does with each; conversions of assets and closing out are left to plans of single
accounts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.dollars import money_step
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.liquidation.trials import LEAST_PROGRESS, cash_row_of, cut_sizes
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel
from portfolio_margin.statement import AccountStatus, MarginStatement, nearest_step, up
from pricing.arrays import FloatArray, IntArray
from pricing.errors import ConfigError, DataError, Problem
from scenarios.risk_arrays import RiskArrays

# Of one statement: accounts times numbers of slices.
MOST_TRIALS = 2_000_000


class Cuts(NamedTuple):
    """What is cut of each account.

    slices     (A,) how many, 0 where nothing is cut: the account is safe or bankrupt, or no cut helps
    restored   (A,) whether the buffer is there afterwards, and no risk is without a rule
    cost, penalty   (A,) margin currency
    equity, balance, maintenance   (A,) afterwards, recomputed
    book       the accounts afterwards, costs and penalties paid
    """

    slices: IntArray
    restored: np.ndarray
    cost: FloatArray
    penalty: FloatArray
    equity: FloatArray
    balance: FloatArray
    maintenance: FloatArray
    book: Book


class _Trials(NamedTuple):
    """(K,A) costs, penalties and margins by number of slices, from 0 on, and the positions behind them."""

    cost: FloatArray
    penalty: FloatArray
    statement: MarginStatement
    book: Book


def cut_all_accounts(
    book: Book,
    arrays: RiskArrays,
    model: MarginModel,
    costs: Costs,
    buffer: float = 1.0 / 9.0,
    slices: int = 5,
    *,
    backend: str = "numba",
    threads: int | None = None,
) -> Cuts:
    """The smallest number of slices of every account below maintenance margin that restores its buffer, else the one
    that leaves least missing; no cut that raises the maintenance margin or brings less than a hundredth of what is
    missing.

    buffer    share of the maintenance margin that is restored above it, 0 to 10
    slices    equal parts that an account is cut into, 1 or more
    backend, threads  as for `margin`

    Raises what `margin` raises; ConfigError for bounds, or more trials than MOST_TRIALS.
    """
    if not 0.0 <= buffer <= 10.0:
        raise ConfigError(f"buffer = {buffer!r}: must be a number from 0 to 10")
    if slices < 1 or slices != int(slices) or (slices + 1) * len(book) > MOST_TRIALS:
        text = f"must be a whole number of 1 or more, and with {len(book)} accounts make at most {MOST_TRIALS:,} trials"
        raise ConfigError(f"slices = {slices!r}: {text}")
    nothing = np.zeros((slices + 1, len(book)))
    equity = margin(book, arrays, None, model, backend=backend, threads=threads).equity
    tried = _trials(book, arrays, model, costs, nothing, equity, backend, threads)
    if costs.penalty_share > 0.0:
        maintenance = tried.statement.maintenance_margin.reshape(slices + 1, -1)
        freed = up(costs.penalty_share * np.maximum(maintenance[:1] - maintenance, 0.0), money_step(arrays))
        tried = _trials(book, arrays, model, costs, freed, equity, backend, threads)
    return _chosen(book, tried, buffer, arrays)


def _trials(
    book: Book,
    arrays: RiskArrays,
    model: MarginModel,
    costs: Costs,
    further: FloatArray,
    equity: FloatArray,
    backend: str,
    threads: int | None,
) -> _Trials:
    """The accounts once for every number of slices, 0 first; `further` (K,A) penalties beside those by contract, with
    them no more than what is left of the equity (A,)."""
    count, size = further.shape
    account = np.repeat(np.arange(size), np.diff(book.position_ptr))
    rows, held = book.instrument_idx, book.quantity
    contract = (costs.tradable & ~arrays.is_collateral)[rows]
    cash, money = cash_row_of(arrays), money_step(arrays)
    owners, instruments, quantities = [], [], []
    charged = np.zeros((2, count, size))
    for k in range(count):
        traded = np.where(contract, cut_sizes(held, arrays.quantity_step[rows], k / max(count - 1, 1)), 0.0)
        premium = traded * arrays.value[rows]
        paying = np.flatnonzero(premium)
        settled_in = arrays.cash_row[rows[paying]]
        if np.any(settled_in < 0):
            names = sorted({str(arrays.instrument_id[row]) for row in rows[paying][settled_in < 0]})
            remedy = "its settlement currency is not among the instruments, so its premium cannot be booked"
            raise DataError([Problem("liquidation", name, "instrument", name, remedy) for name in names])
        for charge, rate in zip(charged, (costs.trading, costs.penalty), strict=True):
            charge[k] = up(np.bincount(account, np.abs(traded) * rate[rows], minlength=size).astype(np.float64), money)
        most = np.maximum(nearest_step(equity - charged[0, k], money), 0.0)
        charged[1, k] = np.minimum(up(charged[1, k] + further[k], money), most)
        paid = -premium[paying] / arrays.value[settled_in]
        owners += [account + k * size, account[paying] + k * size, np.arange(size) + k * size]
        instruments += [rows, settled_in, np.full(size, cash)]
        left = np.where(contract, np.rint((held + traded) / arrays.quantity_step[rows]), 0.0)
        quantities += [np.where(contract, left * arrays.quantity_step[rows], held), paid, -charged[:, k].sum(axis=0)]
    together = _merged(owners, instruments, quantities, len(arrays), count * size, arrays)
    statement = margin(together, arrays, None, model, backend=backend, threads=threads)
    return _Trials(charged[0], charged[1], statement, together)


def _merged(
    owners: list[IntArray],
    instruments: list[IntArray],
    quantities: list[FloatArray],
    width: int,
    accounts: int,
    arrays: RiskArrays,
) -> Book:
    """A book of integer accounts, with quantities of the same account and instrument added up."""
    # In the order of a book, so that sorting once is enough.
    group = arrays.expiry_idx
    of_place, place = np.lexsort((np.arange(width), group)), np.empty(width, np.int64)
    place[of_place] = np.arange(width)
    key = np.concatenate(owners) * width + place[np.concatenate(instruments)]
    held, position = np.unique(key, return_inverse=True)
    total = np.bincount(position, np.concatenate(quantities), minlength=len(held))
    kept = total != 0.0
    account, where = np.divmod(held[kept], width)
    instrument = of_place[where]
    names = np.arange(accounts).astype(np.str_)
    return Book.from_sorted(names, account, group[instrument], instrument, total[kept])


def _chosen(book: Book, tried: _Trials, buffer: float, arrays: RiskArrays) -> Cuts:
    shape = tried.cost.shape
    s = tried.statement
    balance, maintenance = s.margin_balance.reshape(shape), s.maintenance_margin.reshape(shape)
    missing = (1.0 + buffer) * maintenance - balance
    least = np.maximum(LEAST_PROGRESS * missing[0], money_step(arrays) / 2)
    better = (maintenance <= maintenance[0]) & (missing < missing[0] - least)
    blind = s.unmargined.reshape(shape)
    better &= ~blind | blind[0]
    better &= (s.status.reshape(shape)[0] == AccountStatus.LIQUIDATION)[None, :]
    # The first of those that leave least missing; nothing missing is nothing missing, however much is left over.
    score = np.where(better, np.maximum(missing, 0.0), np.inf)
    slices = np.where(better.any(axis=0), np.argmin(score, axis=0), 0)
    which = slices * shape[1] + np.arange(shape[1])
    trial = np.repeat(np.arange(len(tried.book)), np.diff(tried.book.position_ptr))
    wanted = np.isin(trial, which)
    positions = (tried.book.instrument_idx[wanted], tried.book.quantity[wanted])
    # By row numbers first, so that the accounts keep their order whatever their names are.
    rows = Book.from_arrays(trial[wanted] % shape[1], *positions, arrays.expiry_idx, accounts=np.arange(shape[1]))
    after = replace(rows, account_id=book.account_id)
    columns = [table.ravel()[which] for table in (tried.cost, tried.penalty)]
    columns += [column[which] for column in (s.equity, s.margin_balance, s.maintenance_margin)]
    restored = (slices > 0) & (missing.ravel()[which] <= 0.0) & ~s.unmargined[which]
    return Cuts(slices, restored, columns[0], columns[1], columns[2], columns[3], columns[4], after)
