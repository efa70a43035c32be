"""What accounts hold in the terms of SPAN: losses, deltas, short options and option value by commodity and period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from portfolio_margin.blocks import blocks
from portfolio_margin.book import Book
from portfolio_margin.contributions import position_ticks
from portfolio_margin.span.rules import SpanRules
from pricing.arrays import BoolArray, FloatArray, IntArray
from pricing.instruments import Kind
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

# Sums a block of accounts may hold, 16 MB; never fewer accounts than it takes to make a pass over all contracts cheap.
BLOCK_NUMBERS = 2_000_000
FEWEST_ACCOUNTS = 1_024


class Holdings(NamedTuple):
    """What a block of accounts holds, summed up.

    loss         (U,A,16) losses in every scenario
    scan_loss    (K,A,16) the same by the parts that are scanned apart
    tier_loss    (T,A,16) the same by the tiers that legs between commodities are on
    delta        (D,A) scaled deltas by contract period
    short_calls, short_puts  (M,A) short option minimum of the calls, and of the puts, by tier
    option_value (U,A) net option value
    exposure     (U,A) notional of futures, long or short, and of short options
    """

    loss: FloatArray
    scan_loss: FloatArray
    tier_loss: FloatArray
    delta: FloatArray
    short_calls: FloatArray
    short_puts: FloatArray
    option_value: FloatArray
    exposure: FloatArray


def holdings(
    book: Book, arrays: RiskArrays, rules: SpanRules, *, backend: str = "numba", threads: int | None = None
) -> Iterator[tuple[int, int, Holdings]]:
    """First and last account (as in a slice) and holdings, block after block.

    Losses are sums of whole ticks, and so exact; deltas are added up in the order of the book, which is sorted.
    """
    rows = _rows(arrays, rules)
    size = 16 * max(len(rules.code), 1) + 3 * max(len(rules.period_code), 1)
    most = max(FEWEST_ACCOUNTS, BLOCK_NUMBERS // size)
    first = 0
    while first < len(book):
        last = min(first + most, len(book))
        part = book.accounts(first, last)
        yield first, last, _block(part, arrays, rows, rules, backend, threads)
        first = last


@of_arrays
def _rows(arrays: RiskArrays, rules: SpanRules) -> FloatArray:
    """(N,16) risk arrays, 0 for what the rules do not cover."""
    return np.where(rules.covered[:, None], arrays.rows, 0.0)


@of_arrays
def _by_underlying(arrays: RiskArrays, rules: SpanRules) -> bool:
    """Whether underlyings of the arrays are the commodities of the rules."""
    covered = np.flatnonzero(rules.covered)
    return np.array_equal(rules.commodity[covered], arrays.underlying_idx[covered])


def _block(
    book: Book, arrays: RiskArrays, rows: FloatArray, rules: SpanRules, backend: str, threads: int | None
) -> Holdings:
    accounts, commodities = len(book), len(rules.code)
    account = np.repeat(np.arange(accounts), np.diff(book.position_ptr))
    instrument, quantity = book.instrument_idx, book.quantity
    loss = _losses(book, arrays, rows, rules, backend, threads)
    own = rules.covered[instrument] if len(instrument) else np.zeros(0, dtype=bool)
    account, instrument, quantity = account[own], instrument[own], quantity[own]
    delta = _added((len(rules.period_code), accounts), rules.period[instrument], account,
                   quantity * rules.delta[instrument])  # fmt: skip
    value = _added((commodities, accounts), rules.commodity[instrument], account,
                   quantity * rules.option_value[instrument])  # fmt: skip
    short = (quantity < 0) & (rules.minimum_tier[instrument] >= 0)
    amount = -quantity * rules.minimum[instrument]
    shape = (len(rules.tier_commodity), accounts)
    call = rules.is_call[instrument]
    calls, puts = (
        _added(shape, rules.minimum_tier[instrument[chosen]], account[chosen], amount[chosen])
        for chosen in (short & call, short & ~call)
    )
    settled = arrays.kind[instrument] == Kind.FUTURE
    perpetual = arrays.kind[instrument] == Kind.PERPETUAL
    option = arrays.kind[instrument] == Kind.OPTION
    size = np.where(settled | perpetual, np.abs(quantity), np.where(option, np.maximum(-quantity, 0.0), 0.0))
    exposure = _added((commodities, accounts), rules.commodity[instrument], account, size * rules.exposure[instrument])
    scanned, tiers = (_tier_losses(book, arrays, rows, rules, tier) for tier in (rules.scan_tier, rules.inter_tier))
    return Holdings(loss, scanned, tiers, delta, calls, puts, value, exposure)


def _losses(
    book: Book, arrays: RiskArrays, rows: FloatArray, rules: SpanRules, backend: str, threads: int | None
) -> FloatArray:
    """(U,A,16) losses; by the kernels where underlyings of the arrays are the commodities of the rules."""
    loss = np.zeros((len(rules.code), len(book), rows.shape[1]))
    if _by_underlying(arrays, rules):
        for block in blocks(book, arrays, rows, by="underlying", backend=backend, threads=threads):
            mine = (block.key >= 0) & (block.key < len(loss))
            loss[block.key[mine], block.account[mine] + block.first] = -block.amounts[mine]
    else:
        ticks = position_ticks(book, arrays, rows)
        account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
        mine = rules.covered[book.instrument_idx]
        np.add.at(loss, (rules.commodity[book.instrument_idx[mine]], account[mine]), -ticks[mine])
        loss *= arrays.tick_size
    # Adding 0 turns -0 into 0.
    return loss + 0.0


def _added(shape: tuple[int, int], row: IntArray, account: IntArray, amount: FloatArray) -> FloatArray:
    total = np.zeros(shape)
    np.add.at(total, (row, account), amount)
    return total


def _tier_losses(book: Book, arrays: RiskArrays, rows: FloatArray, rules: SpanRules, inside: BoolArray) -> FloatArray:
    """(T,A,16) losses of the positions whose periods are inside each of the tiers, (T,D)."""
    tiers = len(inside)
    result = np.zeros((tiers, len(book), rows.shape[1]))
    if not tiers or not len(book.instrument_idx):
        return result
    ticks = position_ticks(book, arrays, rows)
    account = np.repeat(np.arange(len(book)), np.diff(book.position_ptr))
    covered = rules.covered[book.instrument_idx]
    for tier in range(tiers):
        mine = covered & inside[tier][rules.period[book.instrument_idx]]
        np.add.at(result[tier], account[mine], -ticks[mine] * arrays.tick_size)
    return result + 0.0


def position_losses(book: Book, arrays: RiskArrays, rules: SpanRules) -> FloatArray:
    """(P,16) ticks that every position gains in every scenario; 0 for what the rules do not cover."""
    return position_ticks(book, arrays, _rows(arrays, rules))
