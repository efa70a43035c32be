"""Trials: trades tried on an account by full recomputation of its margin, many at once, and the search for a size.

A trade is at the mark; what it costs against the mark and the penalty are paid from cash in the margin currency. A
trade is taken only if it does not raise the maintenance margin and brings the account nearer to its buffer, and leaves
no risk without a rule where there was none, as `what_if` has it. So a step
never raises the requirement against equity by more than it costs, whatever the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from portfolio_margin.book import Book
from portfolio_margin.dollars import money_step
from portfolio_margin.liquidation.plan import Action, Costs, Margins, Step, Trade
from portfolio_margin.margin import margin
from portfolio_margin.requirement import MarginModel, check_groups
from portfolio_margin.statement import nearest_step, up
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays

# Sizes tried at once; a second round tries as many between the two best: 1/256 of a position is told apart.
SIZES_TRIED = 16
# Binary noise of a share of a number of steps is no step.
NOISE_DIGITS = 9
# Of what is missing, that a step has to bring.
LEAST_PROGRESS = 0.01


@dataclass(frozen=True)
class Case:
    """An account in liquidation: the book of this one account, and what judges and charges its trades.

    buffer  share of the maintenance margin that is restored above it
    """

    book: Book
    arrays: RiskArrays
    model: MarginModel
    costs: Costs
    buffer: float
    margins: Margins
    backend: str = "numba"

    @property
    def shortfall(self) -> float:
        """What is missing to maintenance margin and buffer."""
        return self.margins.shortfall(self.buffer)


class Trial(NamedTuple):
    """A step, with its margins recomputed, and what the account would then hold.

    rows, quantity  (M,) instruments and what is held of them, 0 included
    """

    step: Step
    rows: IntArray
    quantity: FloatArray


def open_case(
    book: Book, arrays: RiskArrays, model: MarginModel, costs: Costs, buffer: float, backend: str = "numba"
) -> Case:
    """The case of the one account of `book`.

    buffer   share of the maintenance margin that is restored above it, 0 or more
    backend  as for `margin`

    DataError where the book holds other than one account, the costs are those of other arrays, or there is no cash of
    the margin currency to pay costs from, or a position stands in another group than that of its expiry row.
    """
    problems = []
    if len(book) != 1:
        problems.append(Problem("liquidation", None, "book", len(book), "must be the book of one account: book.select"))
    if len(costs.trading) != len(arrays):
        problems.append(Problem("liquidation", None, "costs", len(costs.trading), f"needs {len(arrays)} contracts"))
    if not np.any(arrays.instrument_id == arrays.currency):
        remedy = "must be among the instruments: costs and penalties are paid in it"
        problems.append(Problem("liquidation", None, "currency", arrays.currency, remedy))
    if not 0.0 <= buffer <= 100.0:
        problems.append(Problem("liquidation", None, "buffer", buffer, "must be from 0 to 100"))
    if problems:
        raise DataError(problems)
    check_groups(book, arrays)
    prepared = model.for_arrays(arrays) if hasattr(model, "for_arrays") else model
    (margins,) = margins_of(book.instrument_idx, book.quantity[None, :], arrays, prepared, backend)
    return Case(book, arrays, prepared, costs, buffer, margins, backend)


def margins_of(
    rows: IntArray, quantities: FloatArray, arrays: RiskArrays, model: MarginModel, backend: str
) -> list[Margins]:
    """Margins of K books that hold different quantities of the same instruments, in one statement.

    rows        (M,) -> N
    quantities  (K,M) contracts, units of collateral; what is 0 is not held
    backend     as for `margin`
    """
    which, column = np.nonzero(quantities)
    everyone = np.arange(len(quantities))
    book = Book.from_arrays(which, rows[column], quantities[which, column], arrays.expiry_idx, accounts=everyone)
    s = margin(book, arrays, None, model, backend=backend)
    columns = (s.equity, s.margin_balance, s.initial_margin, s.maintenance_margin)
    amounts = zip(*(column.tolist() for column in columns), s.status.tolist(), s.unmargined.tolist(), strict=True)
    return [Margins(*row) for row in amounts]


def try_trades(case: Case, trials: Sequence[Sequence[Trade]]) -> list[Trial]:
    """Several sets of trades, each on the account as it is, costs and penalties paid and margins recomputed."""
    if not trials:
        return []
    rows, held = held_after(case, trials)
    costs = np.array([_charge(case, case.costs.trading, trades) for trades in trials])
    closes = [[trade for trade in trades if trade.action is Action.CLOSE] for trades in trials]
    # As in the waterfall, a penalty is never more than what is left of the account.
    money = money_step(case.arrays)
    most = np.maximum(nearest_step(case.margins.equity - costs, money), 0.0)
    penalties = np.minimum([_charge(case, case.costs.penalty, trades) for trades in closes], most)
    cash = int(np.flatnonzero(rows == cash_row_of(case.arrays))[0])
    inputs = (case.arrays, case.model, case.backend)

    def paid() -> FloatArray:
        quantity = held.copy()
        quantity[:, cash] -= costs + penalties
        return quantity

    margins = margins_of(rows, paid(), *inputs)
    if case.costs.penalty_share > 0.0:
        freed = np.array([max(case.margins.maintenance - after.maintenance, 0.0) for after in margins])
        shares = up(case.costs.penalty_share * np.where([len(c) > 0 for c in closes], freed, 0.0), money)
        penalties = np.minimum(up(penalties + shares, money), most)
        margins = margins_of(rows, paid(), *inputs)
    found = zip(trials, costs.tolist(), penalties.tolist(), margins, paid(), strict=True)
    return [
        Trial(Step(tuple(trades), cost, penalty, after), rows, quantity)
        for trades, cost, penalty, after, quantity in found
    ]


def taken(case: Case, trial: Trial) -> Case:
    """The case after a trial has been carried out."""
    kept = trial.quantity != 0.0
    name = np.full(int(kept.sum()), str(case.book.account_id[0]))
    columns = (name, trial.rows[kept], trial.quantity[kept], case.arrays.expiry_idx)
    return replace(
        case, book=Book.from_arrays(*columns, accounts=[str(case.book.account_id[0])]), margins=trial.step.after
    )


def is_better(case: Case, trial: Trial) -> bool:
    """Whether trades are worth doing: the maintenance margin does not rise, what is missing falls by a hundredth of
    itself or more, so that no plan creeps, and no risk is traded for one without a rule, as no order may."""
    after = trial.step.after
    if after.unmargined and not case.margins.unmargined:
        return False
    missing = after.shortfall(case.buffer)
    # Two figures that are each rounded to the money step may differ by one where nothing has changed.
    least = max(LEAST_PROGRESS * case.shortfall, money_step(case.arrays) / 2)
    return after.maintenance <= case.margins.maintenance and missing < case.shortfall - least


def best_size(case: Case, steps: int, trades_of: Callable[[int], Sequence[Trade]]) -> Trial | None:
    """The smallest size that restores the buffer, else the one that leaves least missing; None where none helps.

    steps  largest size, in quantity steps; trades_of gives the trades of a size

    Sizes are tried on a ladder, then between the two rungs around the best. Where the maintenance margin is convex in
    the size, as under scenarios, this finds the size up to the spacing of the second ladder.
    """

    def missing(trial: Trial) -> float:
        return trial.step.after.shortfall(case.buffer)

    best: tuple[int, Trial] | None = None
    low, high = 0, steps
    for _ in range(2):
        sizes = ladder(low, high)
        tried = list(zip(sizes, try_trades(case, [trades_of(n) for n in sizes]), strict=True))
        good = [(n, t) for n, t in [*tried, *([best] if best else [])] if is_better(case, t)]
        if good:
            best = min(good, key=lambda row: (max(missing(row[1]), 0.0), row[0]))
            below, above = [n for n in sizes if n < best[0]], [n for n in sizes if n > best[0]]
            low = max(below, default=low)
            high = best[0] if missing(best[1]) <= 0.0 else min(above, default=best[0])
        elif sizes and sizes[0] > 1:
            # The margin may fall and rise again before the first rung.
            high = sizes[0]
        else:
            break
    return best[1] if best else None


def ladder(low: int, high: int) -> list[int]:
    """At most SIZES_TRIED whole sizes above low, the last one high.

    low, high  quantity steps
    """
    sizes = np.unique(np.ceil(low + (high - low) * np.arange(1, SIZES_TRIED + 1) / SIZES_TRIED).astype(np.int64))
    return [int(size) for size in sizes if size > 0]


def cut_sizes(held: FloatArray, unit: FloatArray, share: float) -> FloatArray:
    """(P,) trades that close a share of positions, in whole quantity steps, rounded up.

    held   (P,) contracts
    unit   (P,) quantity step of each
    share  0 to 1
    """
    steps = np.ceil(np.round(share * np.abs(held) / unit, NOISE_DIGITS))
    return np.asarray(-np.sign(held) * steps * unit)


def held_after(case: Case, trials: Sequence[Sequence[Trade]]) -> tuple[IntArray, FloatArray]:
    """(M,) instruments and (K,M) what is held of them after each set of trades at the mark, premiums paid in the
    settlement currency as by `sensitivities.with_orders`; costs are not paid yet."""
    arrays, book = case.arrays, case.book
    which = np.repeat(np.arange(len(trials)), [len(trades) for trades in trials])
    traded = np.array([trade.row for trades in trials for trade in trades], dtype=np.int64)
    amount = np.array([trade.quantity for trades in trials for trade in trades])
    premium = amount * arrays.value[traded]
    paying = np.flatnonzero(premium)
    converted = np.array([trade.action is Action.CONVERT for trades in trials for trade in trades], dtype=np.bool_)
    settled_in = np.where(converted, cash_row_of(arrays), arrays.cash_row[traded])[paying]
    if np.any(settled_in < 0):
        remedy = "its settlement currency is not among the instruments, so its premium cannot be booked"
        names = sorted({str(arrays.instrument_id[row]) for row in traded[paying][settled_in < 0]})
        raise DataError([Problem("liquidation", name, "instrument", name, remedy) for name in names])
    rows = np.unique(np.concatenate([book.instrument_idx, traded, settled_in, [cash_row_of(arrays)]]))
    held = np.zeros((len(trials), len(rows)))
    held[:, np.searchsorted(rows, book.instrument_idx)] = book.quantity
    np.add.at(held, (which, np.searchsorted(rows, traded)), amount)
    # Decimal steps such as 0.1 do not add exactly: a quantity is again the nearest whole multiple.
    contract, unit = ~arrays.is_collateral[rows], arrays.quantity_step[rows]
    held[:, contract] = np.rint(held[:, contract] / unit[contract]) * unit[contract]
    paid = -premium[paying] / arrays.value[settled_in]
    np.add.at(held, (which[paying], np.searchsorted(rows, settled_in)), paid)
    return rows, held


def cash_row_of(arrays: RiskArrays) -> int:
    """The row of cash in the margin currency."""
    return int(np.flatnonzero(arrays.instrument_id == arrays.currency)[0])


def _charge(case: Case, per_contract: FloatArray, trades: Sequence[Trade]) -> float:
    """Rounded up to the money step, so that costs are whole ticks of a ledger."""
    amount = sum(abs(trade.quantity) * float(per_contract[trade.row]) for trade in trades)
    return float(up(np.array([amount]), money_step(case.arrays))[0])
