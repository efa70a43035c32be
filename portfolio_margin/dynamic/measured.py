"""The parts of the requirement that are made of positions, for all accounts: in one compiled pass, or part by part."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import kernel_positions, kernel_table, threads_for
from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.charges import short_option_minimum, short_option_rows
from portfolio_margin.dynamic import concentration
from portfolio_margin.dynamic.closing import Closing, Curve
from portfolio_margin.dynamic.tier_losses import TierLosses, tier_losses
from pricing.arrays import FloatArray


class Measured(NamedTuple):
    """Of every account before the factors of the two margins, (A,) margin currency each.

    tiers   worst losses
    floor   short option minimum
    near_expiry, concentration, liquidity, basis   charges of the contracts alone
    """

    tiers: TierLosses
    floor: FloatArray
    near_expiry: FloatArray
    concentration: FloatArray
    liquidity: FloatArray
    basis: FloatArray


def measured(
    book: Book,
    closing: Closing,
    haircut: FloatArray,
    floor_rate: float,
    *,
    backend: str = "numba",
    threads: int | None = None,
) -> Measured:
    """The parts of a book as its collateral counts.

    haircut     (N,) share of a long balance that does not count
    floor_rate  short option minimum, share of the notional
    Equal to the last bit for every backend, number of threads and order of positions.
    """
    found = at_once(book, closing, haircut, floor_rate, threads) if backend == "numba" else None
    return found or part_by_part(book, closing, haircut, floor_rate, backend=backend, threads=threads)


def part_by_part(
    book: Book, closing: Closing, haircut: FloatArray, floor_rate: float, *, backend: str, threads: int | None = None
) -> Measured:
    """The same, one array after the other."""
    arrays = closing.arrays
    tiers = tier_losses(book, arrays, haircut, backend=backend, threads=threads)
    floor = short_option_minimum(book, arrays, floor_rate, backend=backend, threads=threads)
    near = closing.near_expiry(book, backend=backend, threads=threads)
    curve = closing.curve(book, backend=backend, threads=threads)
    size, cost = closing.size_and_cost(book, curve, backend=backend, threads=threads)
    return Measured(tiers, floor, near, size, cost, closing.basis(curve))


def at_once(
    book: Book, closing: Closing, haircut: FloatArray, floor_rate: float, threads: int | None = None
) -> Measured | None:
    """The same in one compiled pass; None where an account is no usual one and the array code has to look."""
    from portfolio_margin.backends import dynamic_numba

    arrays = closing.arrays
    # Arrays that are not rounded have no exact sums: the kernel does not take them.
    if arrays.tick is None or not len(closing.states) or np.any(book.group_key == UNGROUPED):
        return None
    contracts = dynamic_numba.Contracts(*_contract_rows(closing, floor_rate), arrays.underlying_idx)
    table = kernel_table(arrays, arrays.rows, haircut)
    most = [np.abs(rows).max(axis=1, initial=0.0) for rows in (contracts.net, contracts.plain)]
    table = table._replace(magnitude=np.maximum(table.magnitude, np.maximum(*most)))
    stated = np.column_stack([closing.volumes[:, :2], closing.references, closing.of_trading])
    terms = dynamic_numba.Terms(
        stated, closing.cost.spreads, float(closing.cost.impact), arrays.years_to_expiry, arrays.tick_size
    )
    columns = dynamic_numba.columns_of(closing.distinct, arrays.scenario_set.tier)
    excess = np.empty(len(book))

    def charge(first: int, last: int, parts: dynamic_numba.Parts) -> None:
        more = (concentration.size_multiplier(parts.size, closing.size) - 1.0) * parts.loss
        # In the order of the parts, as `Block.by_account`.
        excess[first:last] = np.bincount(parts.account, more, minlength=last - first)

    positions, workers = kernel_positions(book, arrays, None), threads_for(book, arrays.rows.shape[1], threads)
    found = dynamic_numba.scan_accounts(positions, book.group_key, table, columns, contracts, terms, charge, workers)
    if found is None:
        return None
    tick, curve = arrays.tick_size, Curve(np.zeros(0), found.turn, found.sizes)
    tiers = TierLosses(found.added * tick, found.worst)
    floor, near = found.floor * tick, found.near_expiry * tick
    return Measured(tiers, floor, near, excess * tick, found.cost * tick, closing.basis(curve))


def _contract_rows(closing: Closing, floor_rate: float) -> tuple[FloatArray, FloatArray]:
    """(N,1+K) and (N,5) what one unit of a contract counts, ticks; see `dynamic_numba.Contracts`."""
    arrays = closing.arrays
    floor = short_option_rows(arrays, floor_rate)
    plain = np.column_stack([closing.gap_rows, closing.future_rows, closing.delta_rows, closing.notional_ticks, floor])
    return closing.further_rows, plain
