"""Worst loss of every account, against numpy and scipy.sparse in the same run."""

from __future__ import annotations

import os

import numpy as np
from scipy import sparse

from benchmarks import exchange
from benchmarks.parts import command_line
from benchmarks.timing import best_seconds, report
from portfolio_margin import Book, worst_loss
from scenarios import RiskArrays, revalue

CHUNK_ACCOUNTS = 20_000


def sparse_worst_loss(matrix: sparse.csr_array, pnl: np.ndarray) -> np.ndarray:
    """scipy CSR times dense in chunks of accounts, then the row minimum."""
    chunks = range(0, matrix.shape[0], CHUNK_ACCOUNTS)
    return np.concatenate([-np.minimum((matrix[low : low + CHUNK_ACCOUNTS] @ pnl).min(axis=1), 0) for low in chunks])


def numpy_worst_loss(instrument: np.ndarray, quantity: np.ndarray, pnl: np.ndarray) -> np.ndarray:
    """numpy gather and batched product in chunks of accounts; needs equally many positions each."""
    chunk = CHUNK_ACCOUNTS // 20
    losses = []
    for low in range(0, len(instrument), chunk):
        part = slice(low, low + chunk)
        losses.append(-np.minimum((quantity[part, None, :] @ pnl[instrument[part]])[:, 0].min(axis=1), 0))
    return np.concatenate(losses)


def csr_matrix(book: Book, contracts: int) -> sparse.csr_array:
    """The book as accounts by contracts."""
    shape = (len(book), contracts)
    return sparse.csr_array((book.quantity, book.instrument_idx, book.position_ptr), shape=shape)


def run(contracts: int, scenarios: int, accounts: int, positions: int, rounds: int) -> None:
    """Time the worst loss of all accounts from ready risk arrays."""
    instruments, market = exchange.options(contracts)
    arrays: RiskArrays = revalue(instruments, market, exchange.scenario_set(market, scenarios))
    book = exchange.book(contracts, accounts, positions)
    matrix, pnl = csr_matrix(book, contracts), arrays.pnl
    instrument = book.instrument_idx.reshape(accounts, positions)
    quantity = book.quantity.reshape(accounts, positions)
    loss, _ = worst_loss(book, arrays)
    gap = np.abs(sparse_worst_loss(matrix, pnl) - loss).max() / np.abs(loss).max()
    cores = os.cpu_count() or 1
    contestants = {
        "worst_loss, numba, 1 thread": lambda: worst_loss(book, arrays, threads=1),
        f"worst_loss, numba, {cores} threads": lambda: worst_loss(book, arrays, threads=cores),
        "worst_loss, numpy": lambda: worst_loss(book, arrays, backend="numpy"),
        "worst_loss, jax": lambda: worst_loss(book, arrays, backend="jax"),
        "scipy.sparse CSR @ dense, chunked": lambda: sparse_worst_loss(matrix, pnl),
        "plain numpy take + matmul, chunked": lambda: numpy_worst_loss(instrument, quantity, pnl),
    }
    seconds = best_seconds(contestants, rounds)
    title = (
        f"worst loss: {accounts:,} accounts x {positions} positions, {contracts:,} contracts x {scenarios} scenarios"
    )
    report(title, seconds, "worst_loss, numba, 1 thread")
    print(f"  largest relative difference from scipy.sparse: {gap:.1e}")


if __name__ == "__main__":
    command_line(run, __doc__, contracts=2_000, scenarios=64, accounts=100_000, positions=20, rounds=5)
