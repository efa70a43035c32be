"""what_if: one order of one account, against recomputing the whole book in the same run."""

from __future__ import annotations

import numpy as np

from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from portfolio_margin import Book, load_sample, margin, what_if
from portfolio_margin.models import worst_case
from scenarios import RiskArrays, revalue
from scenarios.families import grid


def book_of(arrays: RiskArrays, accounts: int, positions: int, seed: int = 3) -> Book:
    """Accounts with distinct random contracts each, both signs, in whole steps."""
    random = np.random.default_rng(seed)
    contracts = np.flatnonzero(~arrays.is_collateral)
    stride = len(contracts) // positions
    instrument = contracts[random.integers(0, stride, (accounts, positions)) + stride * np.arange(positions)]
    steps = random.integers(1, 50, (accounts, positions)) * random.choice([-1, 1], (accounts, positions))
    quantity = steps * arrays.quantity_step[instrument]
    names = np.repeat([f"account-{a:06d}" for a in range(accounts)], positions)
    return Book.from_arrays(names, instrument.ravel(), quantity.ravel(), group_of_instrument=arrays.expiry_idx)


def run(accounts: int, positions: int, rounds: int) -> None:
    """Time one what-if on the contracts of the sample, and the margin of all accounts that it spares."""
    sample = load_sample()
    market, model = sample.market, worst_case.Model(worst_case.Params())
    arrays = revalue(sample.instruments, market, grid.scenarios(grid.Params(), market))
    book = book_of(arrays, accounts, positions)
    name = str(arrays.instrument_id[np.flatnonzero(~arrays.is_collateral)[0]])
    order = [(name, float(arrays.quantity_step[arrays.index_of()[name]]))]
    account = str(book.account_id[accounts // 2])
    contestants = {
        "what_if, numba, one order": lambda: what_if(book, arrays, market, model, account, order),
        "what_if, numpy, one order": lambda: what_if(book, arrays, market, model, account, order, backend="numpy"),
        "margin of the whole book, numba": lambda: margin(book, arrays, market, model),
    }
    seconds = best_seconds(contestants, rounds)
    shape = f"{accounts:,} accounts x {positions} positions"
    title = f"what-if: {shape}, {len(arrays):,} instruments x {len(arrays.scenario_set)} scenarios"
    report(title, seconds, "what_if, numba, one order")


if __name__ == "__main__":
    command_line(run, __doc__, accounts=100_000, positions=20, rounds=5)
