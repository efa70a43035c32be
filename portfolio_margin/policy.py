"""Policy: a margin model and risk arrays, with what questions about single accounts look up made once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.fills import Additions, merged
from portfolio_margin.ledger import Ledger, Positions, book_of
from portfolio_margin.margin import Amounts, amounts, check_belongs
from portfolio_margin.order_codes import AVAILABLE, EXCESS, NAMES, UNMARGINED
from portfolio_margin.order_table import OrderKernels, plain_table, rank_of
from portfolio_margin.requirement import MarginModel, has_every_rule
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.market import Market
from pricing.price import default_threads
from scenarios.risk_arrays import RiskArrays

if TYPE_CHECKING:
    from portfolio_margin.worst_fill import OpenOrders


# An account after one order is so many products; below this many, half a millisecond, one thread is as fast.
PARALLEL_PRODUCTS = 3_000_000
USUAL_POSITIONS = 20


@dataclass(frozen=True)
class Policy:
    """What margins are computed from; an account of a ledger and orders are all that is missing.

    arrays, model, backend
    row_of   row of each instrument by name
    labels   (S + 1,) name of each scenario, and "" at the end for none
    rank     (N,) place of each instrument inside an account
    kernels  the compiled functions for orders and fills on such a table, None where `backend` is another
    table    an `OrderTable` for them, a plain tuple since numba takes that faster
    tabled   True where the table is the model's requirement; else models are asked themselves, and the table says
             only how fills and transfers add up
    """

    arrays: RiskArrays
    model: MarginModel
    backend: str
    row_of: dict[str, int]
    labels: list[str]
    rank: IntArray
    kernels: OrderKernels | None
    table: tuple[FloatArray, ...]
    tabled: bool

    @classmethod
    def of(
        cls,
        arrays: RiskArrays,
        model: MarginModel,
        market: Market | None,
        backend: str = "numba",
        before: Policy | None = None,
    ) -> Policy:
        """The policy of a model and arrays that belong together, else ConfigError or DataError as from `margin`.

        before  a policy of the same contracts, whose names are taken over
        """
        check_belongs(arrays, market, model)
        prepare = getattr(model, "for_arrays", None)
        model = model if prepare is None else prepare(arrays)
        same = before is not None and before.arrays.instrument_id is arrays.instrument_id
        make = getattr(model, "order_table", None)
        # Sums that are not whole ticks depend on their order, which is the model's own.
        tabled = make is not None and arrays.tick is not None and backend == "numba" and has_every_rule(model, arrays)
        table: tuple[FloatArray, ...] = make(arrays) if make is not None and tabled else plain_table(arrays)
        kernels = None
        if backend == "numba":
            compiled = import_module("portfolio_margin.backends.orders_numba")
            table = compiled.laid_out(table)
            kernels = compiled.kernels_of(table[0].shape[1])
        return cls(
            arrays=arrays,
            model=model,
            backend=backend,
            row_of=before.row_of if before is not None and same else arrays.index_of(),
            labels=[*(str(label) for label in arrays.scenario_set.label), ""],
            rank=before.rank if before is not None and same else rank_of(arrays),
            kernels=kernels,
            table=tuple(table),
            tabled=tabled,
        )

    def figures(self, ledger: Ledger, rows: IntArray) -> FloatArray:
        """(R,K) figures of accounts as they stand, columns by `order_codes.NAMES`."""
        if self.kernels is not None and self.tabled:
            found, exact = self.kernels.figures_of(self.table, buffers_of(ledger), rows, self.threads(len(rows)))
            if exact:
                return found
        # Also where sums are too large: this names the account.
        return stacked(self.amounts(ledger.book(rows, self.arrays.expiry_idx)))

    def amounts(self, book: Book, orders: OpenOrders | None = None) -> Amounts:
        """What the model says of every account of a book with open orders, None for none."""
        return amounts(book, self.arrays, self.model, backend=self.backend, orders=orders)

    def amounts_after(
        self, positions: Positions, additions: Additions, names: StrArray, orders: OpenOrders | None = None
    ) -> Amounts:
        """Amounts of accounts (R,) of these positions after additions, with open orders, None for none."""
        after = merged(positions, additions, self.arrays, self.rank)
        return self.amounts(book_of(names, after, self.arrays.expiry_idx), orders)

    def threads(self, accounts: int) -> int:
        """Threads for so many accounts or orders."""
        return default_threads(accounts * USUAL_POSITIONS * len(self.labels), PARALLEL_PRODUCTS)


def stacked(found: Amounts) -> FloatArray:
    """(R,K) the figures of a statement, columns by `order_codes.NAMES`."""
    return np.column_stack([getattr(found, name) for name in NAMES]).astype(np.float64)


def buffers_of(ledger: Ledger) -> tuple[Any, ...]:
    """A ledger as the kernels take it."""
    buffers = ledger.buffers
    return ledger.root, buffers.pages, buffers.instrument_idx, buffers.quantity, buffers.figures


def fits(before: FloatArray, after: FloatArray) -> tuple[BoolArray, BoolArray]:
    """(R,) whether accounts with figures (R,K) cover their initial margin afterwards, and whether that is allowed: they
    do, or neither available funds nor excess liquidity are less than before.
    """
    margined = after[:, UNMARGINED] == 0.0
    covered = (after[:, AVAILABLE] >= 0.0) & margined
    no_worse = (after[:, AVAILABLE] >= before[:, AVAILABLE]) & (after[:, EXCESS] >= before[:, EXCESS])
    return np.asarray(covered), np.asarray(covered | (no_worse & margined))
