"""Run by `test_devices` in a process whose jax sees several devices: prints, as JSON, what it found."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from portfolio_margin import Book, account_pnl, load_parameters, load_sample, margin, worst_loss
from portfolio_margin.backends.jax import TEMPORARIES
from portfolio_margin.models import deribit_spm, worst_case
from pricing import ConfigError, price
from pricing.xp import devices
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from tests.examples import market_and_instruments, random_book

# One device, all of them, and a number that no power of two can be shared among evenly.
ONE, ALL, ODD = "jax", "jax:4", "jax:3"


def account_kernels(name: str, book: Book, arrays: RiskArrays, *backends: str) -> dict[str, bool]:
    """Whether worst losses, scenarios and P&L have the bits of numba's."""
    found = {}
    haircut = worst_case.Model().haircut(arrays)
    for netting in ("joint", "per_underlying"):
        loss, scenario = worst_loss(book, arrays, netting=netting, haircut=haircut)
        for backend in backends:
            again = worst_loss(book, arrays, netting=netting, haircut=haircut, backend=backend)
            same = again[0].tobytes() == loss.tobytes() and np.array_equal(again[1], scenario)
            found[f"{name}, worst loss {netting}, {backend}"] = bool(same)
    pnl = account_pnl(book, arrays).tobytes()
    for backend in backends:
        found[f"{name}, P&L, {backend}"] = account_pnl(book, arrays, backend=backend).tobytes() == pnl
    return found


def statements(book: Book, market: Any, instruments: Any, model: Any) -> dict[str, bool]:
    """Whether whole statements have the bits of numba's, from the same arrays.

    On one device `test_contracts` has it of every model.
    """
    moves = model.scenario_set(market) or grid.scenarios(grid.Params(), market)
    arrays = revalue(instruments, market, moves)
    columns = margin(book, arrays, market, model).columns()
    again = margin(book, arrays, market, model, backend=ALL).columns()
    return {f"{model.model_id}, {ALL}": all(again[name].tolist() == columns[name].tolist() for name in columns)}


def revaluations(name: str, instruments: Any, market: Any, *backends: str) -> dict[str, Any]:
    """The largest difference from numba in ticks, the share of entries that differ, and whether devices matter."""
    moves = grid.scenarios(grid.Params(), market)
    record = revalue(instruments, market, moves)
    shared = {backend: revalue(instruments, market, moves, backend=backend) for backend in backends}
    gaps = {b: np.abs(arrays.rows - record.rows)[~record.is_collateral] for b, arrays in shared.items()}
    first = shared[backends[0]]
    return {
        "name": name,
        "ticks": max(float(gap.max()) for gap in gaps.values()),
        "differ": max(float(np.mean(gap > 0)) for gap in gaps.values()),
        "devices matter": [b for b, arrays in shared.items() if not np.array_equal(arrays.rows, first.rows)],
        "digests": len({arrays.digest for arrays in shared.values()}),
    }


def at_once(arrays: RiskArrays) -> int:
    """Positions that a device takes at a time of very many."""
    return devices.rows_at_once(10**9, TEMPORARIES * 8 * arrays.rows.shape[1], devices.mesh_of(4))


def refusals() -> dict[str, str]:
    """What is said of backends that there are none of."""
    instruments, market = market_and_instruments()
    moves, said = grid.scenarios(grid.Params(), market), {}
    for backend in ("jax:5", "jax:0", "jax:", "jax:-1", "jax:two", "numba:2", "cuda"):
        try:
            revalue(instruments, market, moves, backend=backend)
        except ConfigError as error:
            said[backend] = str(error)
    try:
        price(1.0, 1.0, 1.0, 0.2, 1, backend="jax:2")
    except ConfigError as error:
        said["price"] = str(error)
    return said


def main() -> None:
    """Compute everything and print it."""
    devices.HOST_BYTES = 2**20  # so that there are many blocks
    sample, (instruments, market) = load_sample(), market_and_instruments()
    book = random_book(instruments, accounts=1_500)
    arrays = revalue(instruments, market, grid.scenarios(grid.Params(), market))
    # An account that holds nothing, and one larger than a block.
    few = Book.from_arrays(["a"], [5], [0.1], instruments.expiry_idx, accounts=["b", "c"])
    contracts = np.flatnonzero(~sample.instruments.is_collateral)
    steps = sample.instruments.quantity_step[contracts] * np.where(contracts % 3 > 0, 1.0, -2.0)
    large = Book.from_arrays(np.full(len(contracts), "all"), contracts, steps, sample.instruments.expiry_idx)
    sample_arrays = revalue(sample.instruments, sample.market, grid.scenarios(grid.Params(), sample.market))
    same = {
        **account_kernels("sample", sample.book, sample_arrays, ONE, ALL),
        **account_kernels("large", large, sample_arrays, ODD),
        **account_kernels("random", book, arrays, ODD, ALL),
        **account_kernels("few", few, arrays, ALL),
        **account_kernels("nobody", Book.from_arrays([], [], [], instruments.expiry_idx, accounts=["a"]), arrays, ALL),
    }
    deribit = deribit_spm.Model(*load_parameters("deribit_spm", at=market.valuation_time))
    for model in (worst_case.Model(worst_case.Params(netting="joint")), deribit):
        same |= statements(book, market, instruments, model)
    tables = (("sample", sample.instruments, sample.market, ONE, ALL), ("random", instruments, market, ODD))
    document = {
        "devices": devices.device_kinds(),
        "positions": {"large": len(large.quantity), "at once": at_once(sample_arrays)},
        "same": same,
        "revaluations": [revaluations(*table) for table in tables],
        "refusals": refusals(),
    }
    json.dump(document, sys.stdout)


if __name__ == "__main__":
    main()
