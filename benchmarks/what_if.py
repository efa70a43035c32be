"""what_if: one order of one account, against recomputing the whole book in the same run; and by margin model."""

from __future__ import annotations

import pkgutil
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

import numpy as np

from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from portfolio_margin import Book, load_parameters, load_sample, margin, models, what_if
from portfolio_margin.engine import MarginEngine
from portfolio_margin.models import worst_case
from pricing import ConfigError
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


def by_model(orders: int) -> None:
    """Time one what-if, and the largest order, of every model that the sample has parameters for, in an engine with the
    accounts of the sample; beside it the two margins that a what-if spares, on arrays that nothing is known of."""
    sample, random = load_sample(), np.random.default_rng(5)
    market, moves = sample.market, grid.scenarios(grid.Params(), sample.market)
    contracts = sample.instruments.instrument_id[~sample.instruments.is_collateral]
    calls = [str(name) for name in contracts if str(name).startswith("BTC-") and str(name).endswith("-C")]
    accounts, rows = random.choice(sample.book.account_id, orders), random.integers(0, len(calls), orders)
    asked = [(str(account), calls[row]) for account, row in zip(accounts, rows, strict=True)]
    print(f"\nwhat_if by model: {len(sample.book)} accounts, {len(sample.instruments):,} instruments; ms")
    print(f"  {'model':<24}{'best':>9}{'p50':>9}{'processor':>11}{'from nothing':>14}{'ratio':>8}{'largest_order':>15}")
    for name in sorted(module.name for module in pkgutil.iter_modules(models.__path__)):
        try:
            model = import_module(f"{models.__name__}.{name}").Model(*load_parameters(name, at=market.valuation_time))
            engine = MarginEngine.start(sample.book, model, sample.instruments, market, moves)
        except ConfigError as error:
            print(f"  {name:<24}{str(error).splitlines()[0][:80]}")
            continue
        arrays = engine.state.arrays
        seconds = _each(lambda given, e=engine: e.what_if(given[0], [(given[1], 1.0)]), asked)
        anew = _each(
            lambda given, a=arrays, m=model: what_if(
                sample.book, replace(a), None, m, account=given[0], orders=[(given[1], 1.0)]
            ),
            asked[: max(3, orders // 20)],
        )
        largest = _each(lambda given, e=engine: e.largest_order(*given, "buy"), asked[: max(3, orders // 20)])
        least, p50 = 1e3 * np.percentile(seconds[:, 0], [0, 50])
        busy, nothing = 1e3 * float(np.median(seconds[:, 1])), 1e3 * float(np.median(anew[:, 0]))
        found = f"{least:>9.3f}{p50:>9.3f}{busy:>11.3f}{nothing:>14.1f}{nothing / p50:>8.0f}"
        print(f"  {name:<24}{found}{1e3 * float(np.median(largest[:, 0])):>15.1f}")


def _each(call: Callable[[tuple[str, str]], object], asked: list[tuple[str, str]]) -> np.ndarray:
    """(R,2) seconds of each call, on the clock and of the processor, after three that may compile."""
    for given in asked[:3]:
        call(given)
    taken = np.empty((len(asked), 2))
    for row, given in enumerate(asked):
        clock, busy = time.perf_counter(), time.thread_time()
        call(given)
        taken[row] = time.perf_counter() - clock, time.thread_time() - busy
    return taken


if __name__ == "__main__":
    command_line(run, __doc__, accounts=100_000, positions=20, rounds=5)
