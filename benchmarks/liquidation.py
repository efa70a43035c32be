"""Liquidation: many accounts cut at once, beside plans of one account after the other and the margin of all of them."""

from __future__ import annotations

import numpy as np

from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from benchmarks.what_if import book_of
from portfolio_margin import Book, load_sample, margin
from portfolio_margin.liquidation.cuts import cut_all_accounts
from portfolio_margin.liquidation.plan import Costs
from portfolio_margin.liquidation.policies import delta_hedge_first, largest_contributor, proportional
from portfolio_margin.models import worst_case
from scenarios import RiskArrays, revalue
from scenarios.families import grid

ALONE = 20


def short_of_margin(arrays: RiskArrays, accounts: int, positions: int, share: float = 0.8) -> Book:
    """Random accounts with cash such that each has a share of its maintenance margin."""
    book, model = book_of(arrays, accounts, positions), worst_case.Model()
    statement = margin(book, arrays, None, model)
    cash = np.flatnonzero(arrays.instrument_id == arrays.currency)[0]
    owner = np.repeat(book.account_id, np.diff(book.position_ptr))
    missing = np.round(share * statement.maintenance_margin - statement.margin_balance, 2)
    return Book.from_arrays(
        np.append(owner, book.account_id),
        np.append(book.instrument_idx, np.full(accounts, cash)),
        np.append(book.quantity, missing),
        group_of_instrument=arrays.expiry_idx,
    )


def run(accounts: int, positions: int, rounds: int) -> None:
    """Time cuts of all accounts in one call, plans of a few one by one, and one margin statement of all."""
    sample, model = load_sample(), worst_case.Model()
    arrays = revalue(sample.instruments, sample.market, grid.scenarios(grid.Params(), sample.market))
    book, costs = short_of_margin(arrays, accounts, positions), Costs.of(arrays, 0.0005 * arrays.notional)
    few = [book.accounts(row, row + 1) for row in range(ALONE)]
    contestants = {
        "cut_all_accounts, 5 slices": lambda: cut_all_accounts(book, arrays, model, costs),
        "margin of the same accounts": lambda: margin(book, arrays, None, model),
    }
    for policy in (proportional, largest_contributor, delta_hedge_first):
        name = f"{policy.__name__.rsplit('.', 1)[-1]}.plan, {ALONE} accounts one by one"
        contestants[name] = lambda policy=policy: [policy.plan(one, arrays, model, costs) for one in few]
    title = f"liquidation: {accounts:,} accounts x {positions} positions, all below maintenance margin"
    report(title, best_seconds(contestants, rounds), "cut_all_accounts, 5 slices")


if __name__ == "__main__":
    command_line(run, __doc__, accounts=5_000, positions=20, rounds=5)
