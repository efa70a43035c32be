"""What kernels of orders in batch share: how orders lie there, what is fetched ahead of them, how answers are rounded.

Inlined in kernels, which close over the hash of this file.
"""

from __future__ import annotations

from typing import Any

import numba

from portfolio_margin.backends.figures import after_order
from portfolio_margin.backends.order_parts import INLINED, entry_of, order_fault, premium_of
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from portfolio_margin.ledger import FIGURES
from portfolio_margin.order_codes import AVAILABLE, EXCESS, INEXACT, NO_ACCOUNT, OK, WIDTH
from pricing.xp import numba as XP

# Positions lie anywhere in memory: they are fetched for the order that is so many ahead of the one that is worked on,
# and the place where they stand for the one twice as far.
AHEAD = 8
# Numbers of an order and of the answer to it, whose last is a verdict: 1 if it fits, 2 if it is allowed, FAULT times
# its code.
NUMBERS, FAULT = 4, 1 << 2
# Rows of what is known of the accounts of a block of orders: sums, then the code of what is wrong with an order.
KNOWN = 6
SUMMED, EQUITY, COLLATERAL, KEPT, FLOOR, CODE = range(KNOWN)


@numba.njit(**INLINED)
def account_at(given: Any, k: int, last: int) -> int:
    """The account of the k-th order, -1 for none there or beyond the last."""
    return int(given[k * NUMBERS]) if k < last else -1


@numba.njit(**INLINED)
def fetch_entry(ledger: Any, account: int) -> None:
    """Ask where the positions of an account stand."""
    XP.prefetch(ledger[1], entry_of(ledger, account))


@numba.njit(**INLINED)
def fault_at(terms: Any, given: Any, k: int) -> int:
    """What is wrong with the k-th order."""
    if given[k * NUMBERS] < 0.0:
        return NO_ACCOUNT
    return order_fault(terms, int(given[k * NUMBERS + 1]), given[k * NUMBERS + 2])


@numba.njit(**INLINED)
def order_at(terms: Any, given: Any, k: int) -> Any:
    """Row and contracts of the k-th order, and row and amount of what is paid."""
    row, contracts = int(given[k * NUMBERS + 1]), given[k * NUMBERS + 2]
    cash, amount = premium_of(terms[1], row, contracts)
    return row, contracts, cash, amount


@numba.njit(**INLINED)
def put_known(known: Any, size: int, j: int, summed: float, sums: Any) -> None:
    """Put down the sum of worst losses of the j-th account of a block and its equity, collateral, kept and floor; its
    code is INEXACT where the sum of magnitudes, the last, is beyond whole doubles."""
    equity, collateral, kept, floor, magnitude = sums
    known[SUMMED * size + j], known[EQUITY * size + j], known[COLLATERAL * size + j] = summed, equity, collateral
    known[KEPT * size + j], known[FLOOR * size + j] = kept, floor
    known[CODE * size + j] = OK if magnitude <= EXACT_LIMIT else INEXACT


@numba.njit(**INLINED)
def put_fault(known: Any, size: int, j: int, code: int) -> None:
    """Put down what is wrong with the j-th order of a block, and nothing of its account."""
    for number in range(KNOWN):
        known[number * size + j] = 0.0
    known[CODE * size + j] = code


@numba.njit(**INLINED)
def answer(numbers: Any, ledger: Any, known: Any, size: int, given: Any, first: int, count: int) -> None:
    """Write the answers in the places of `count` orders from `first` on.

    known   address of KNOWN rows of `size`, which are written over
    """
    # Rounded in a loop of their own, several orders at a time.
    for j in range(count):
        equity, collateral, kept = known[EQUITY * size + j], known[COLLATERAL * size + j], known[KEPT * size + j]
        sums = equity, collateral, kept, 0.0, known[FLOOR * size + j], 0.0
        initial, maintenance, available, excess = after_order(numbers, known[j], sums)
        known[j], known[size + j], known[2 * size + j], known[3 * size + j] = initial, maintenance, available, excess
    # Only what does not fit is compared with what was before.
    for j in range(count):
        if not known[2 * size + j] >= 0.0:
            XP.prefetch(ledger[4], _figures_of(ledger, given, first + j) + AVAILABLE)
    for j in range(count):
        at, code, available, verdict = (first + j) * NUMBERS, known[CODE * size + j], known[2 * size + j], 3.0
        if not available >= 0.0:
            before = _figures_of(ledger, given, first + j)
            no_worse = (available >= ledger[4][before + AVAILABLE]) & (
                known[3 * size + j] >= ledger[4][before + EXCESS]
            )
            verdict = 2.0 if no_worse else 0.0
        given[at], given[at + 1], given[at + 2] = known[j], known[size + j], available
        given[at + 3] = verdict + FAULT * code


@numba.njit(**INLINED)
def _figures_of(ledger: Any, given: Any, k: int) -> int:
    """Where the figures of the account of the k-th order stand, which there must be."""
    return ledger[1][entry_of(ledger, int(given[k * NUMBERS])) + FIGURES] * WIDTH
