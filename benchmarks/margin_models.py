"""Requirements of every account under every shipped margin model, over the plain worst loss of the same run."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

import portfolio_margin.models
from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from portfolio_margin import Book, load_parameters, load_sample
from portfolio_margin.requirement import covered
from pricing import ConfigError, Kind
from scenarios import revalue
from scenarios.families import grid

YARDSTICK = "worst_case"


def book_of(sample: Any, accounts: int, positions: int, expiries: int = 4) -> Book:
    """Accounts with options and perpetuals of the sample on a few neighbouring expiries each, and cash."""
    random, instruments = np.random.default_rng(1), sample.instruments
    contract = np.flatnonzero(instruments.is_option | (instruments.kind == Kind.PERPETUAL))
    contract = contract[np.argsort(instruments.expiry_idx[contract], kind="stable")]
    span = len(contract) * expiries // len(np.unique(instruments.expiry_idx[contract]))
    first = random.integers(0, len(contract) - span, accounts)
    place = np.sort(random.integers(0, span - positions, (accounts, positions)), axis=1) + np.arange(positions)
    held = contract[first[:, None] + place].ravel()
    quantity = random.integers(-50, 51, len(held)) * instruments.quantity_step[held]
    return Book.from_arrays(np.repeat(np.arange(accounts), positions), held, quantity, instruments.expiry_idx)


def run(accounts: int, positions: int, rounds: int) -> None:
    """Time `requirement` of every model that can be had without further input, from ready risk arrays."""
    sample = load_sample()
    book = book_of(sample, accounts, positions)
    contestants: dict[str, Callable[[], Any]] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(portfolio_margin.models.__path__)):
        try:
            parameters = load_parameters(name, at=sample.market.valuation_time)
            model = import_module(f"portfolio_margin.models.{name}").Model(*parameters)
            moves = model.scenario_set(sample.market) or grid.scenarios(grid.Params(), sample.market)
            arrays = revalue(sample.instruments, sample.market, moves)
            seen, _ = covered(model, book, arrays)
            # A contract that a set has no number for is met at the account that holds it.
            model.requirement(seen, arrays)
        except ConfigError as error:
            print(f"{name} left out: {error}")
            continue
        contestants[name] = lambda model=model, seen=seen, arrays=arrays: model.requirement(seen, arrays)
    seconds = best_seconds(contestants, rounds)
    report(f"requirement: {accounts:,} accounts x {positions} positions of the sample", seconds, YARDSTICK)
    for name, value in seconds.items():
        print(f"  {name}: {accounts / value:,.0f} accounts a second")


if __name__ == "__main__":
    command_line(run, __doc__, accounts=100_000, positions=20, rounds=5)
