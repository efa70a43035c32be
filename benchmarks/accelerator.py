"""The jax backend beside numba: prices and Greeks, risk arrays and the worst loss of every account, on jax's devices.

Run by itself, `python -m benchmarks.accelerator`; on a processor jax sees one device, or as many as
XLA_FLAGS=--xla_force_host_platform_device_count=N pretends.
"""

from __future__ import annotations

import argparse
import os

import numpy as np

from benchmarks import exchange
from benchmarks.timing import best_seconds, report
from portfolio_margin import worst_loss
from portfolio_margin.backends.state import jax_devices
from pricing import greeks, price
from scenarios import revalue


def formulas(options: int, rounds: int) -> None:
    """Time prices and Greeks of so many unrelated options, arrays in and arrays out, on numba and on jax."""
    random = np.random.default_rng(options)
    forward = np.full(options, 100.0)
    columns = (
        forward,
        forward * np.exp(random.normal(0.0, 0.3, options)),
        random.uniform(0.02, 2.0, options),
        random.uniform(0.1, 1.5, options),
        np.where(random.random(options) < 0.5, 1.0, -1.0),
    )
    cores = os.cpu_count() or 1
    gap = float(np.abs(price(*columns, backend="jax") - price(*columns)).max()) / 100.0
    seconds = best_seconds(
        {
            f"price, numba, {cores} threads": lambda: price(*columns),
            "price, jax": lambda: price(*columns, backend="jax"),
            f"greeks, numba, {cores} threads": lambda: greeks(*columns),
            "greeks, jax": lambda: greeks(*columns, backend="jax"),
        },
        rounds,
    )
    report(f"{options:,} options, from and to arrays of the host", seconds, f"price, numba, {cores} threads")
    print(f"  largest difference of a price from numba: {gap:.1e} of the forward")


def run(contracts: int, scenarios: int, accounts: int, positions: int, rounds: int) -> None:
    """Time risk arrays and worst losses on numba and on one, two, four ... devices of jax."""
    found = jax_devices()
    print(f"jax sees {len(found)} device(s): {', '.join(dict.fromkeys(found))}")
    counts = [2**n for n in range(len(found).bit_length())]
    backends = ["jax", *(f"jax:{count}" for count in counts if count > 1)]
    instruments, market = exchange.options(contracts)
    moves = exchange.scenario_set(market, scenarios)
    cores = os.cpu_count() or 1

    record = revalue(instruments, market, moves)
    gap = max(float(np.abs(revalue(instruments, market, moves, backend=b).rows - record.rows).max()) for b in backends)
    seconds = best_seconds(
        {
            f"revalue, numba, {cores} threads": lambda: revalue(instruments, market, moves, threads=cores),
            **{f"revalue, {b}": lambda b=b: revalue(instruments, market, moves, backend=b) for b in backends},
        },
        rounds,
    )
    report(f"risk arrays: {contracts:,} contracts x {scenarios} scenarios", seconds, f"revalue, numba, {cores} threads")
    print(f"  largest difference from numba: {gap:.0f} tick(s)")

    book = exchange.book(contracts, accounts, positions)
    loss, scenario = worst_loss(book, record)
    for backend in backends:
        again = worst_loss(book, record, backend=backend)
        if again[0].tobytes() != loss.tobytes() or not np.array_equal(again[1], scenario):
            raise AssertionError(f"{backend} has other worst losses than numba")
    seconds = best_seconds(
        {
            f"worst_loss, numba, {cores} threads": lambda: worst_loss(book, record, threads=cores),
            **{f"worst_loss, {b}": lambda b=b: worst_loss(book, record, backend=b) for b in backends},
        },
        rounds,
    )
    title = f"worst loss: {accounts:,} accounts x {positions} positions x {scenarios} scenarios, the same bits"
    report(title, seconds, f"worst_loss, numba, {cores} threads")


def main() -> None:
    """Parse the sizes and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator", description=__doc__)
    parser.add_argument("--options", type=int, default=1_000_000)
    parser.add_argument("--contracts", type=int, default=2_000)
    parser.add_argument("--scenarios", type=int, default=64)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--positions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    sizes = parser.parse_args()
    formulas(sizes.options, sizes.rounds)
    run(sizes.contracts, sizes.scenarios, sizes.accounts, sizes.positions, sizes.rounds)


if __name__ == "__main__":
    main()
