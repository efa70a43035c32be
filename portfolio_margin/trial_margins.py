"""What an account would be required to hold after trades that nobody has made: many trades at once, and derivatives.

Trades are in lots, one `quantity_step` each, and need not be whole: margins are those of the same risk arrays with a
step so fine that nothing is rounded, so that they are the requirement as a function of real numbers. No statement is
made from them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from portfolio_margin.book import UNGROUPED, Book
from portfolio_margin.collateral import uncounted_rows
from portfolio_margin.requirement import MarginModel, check_groups
from pricing.arrays import BoolArray, FloatArray, IntArray, StrArray
from pricing.errors import DataError, Problem
from scenarios.risk_arrays import RiskArrays

# Lots are divided this finely: the smallest step of a derivative is some thousand of these.
FINE = 2.0**-28
# Steps of differences, as a share of what the account and the trade are worth in notional.
DIFFERENCE_STEP = 3e-7
# Of a difference step in money: what a difference may be off by where there is no kink.
KINK = 1e-2
MOST_TURNS = 8
# Contracts that are moved although nothing is held of them, so that scenarios are told apart for who holds nothing.
LEAST_MOVED = 8
# The share of a difference step that is taken there.
FINER = 0.1
SLOPES = ("initial", "maintenance", "balance")
# Numbers in the positions of trials that are evaluated at once, 64 MB.
NUMBERS_AT_ONCE = 8_000_000
GOLDEN = 0.6180339887498949


class TrialMargins(NamedTuple):
    """(K,) each, margin currency, not rounded.

    initial, maintenance   requirement
    balance                margin balance: equity less haircut, without options where the model does not count them
    worst_scenario         -> S, -1 where no scenario loses
    """

    initial: FloatArray
    maintenance: FloatArray
    balance: FloatArray
    worst_scenario: IntArray


@dataclass(frozen=True)
class Trials:
    """One account and the contracts it may trade, n of them; P rows of arrays that it may hold.

    arrays     with a step so fine that nothing is rounded
    model      the margin model
    account    its name
    rows       (n,) -> N contracts that may be traded
    column     (P,) -> N sorted by group and row; group (P,) their groups
    base       (P,) quantity held now
    per_lot    (n,P) what one lot bought adds: the contract, and the cash that pays for it
    place      (n,) -> P the contracts; payers -> P the cash that pays for any of them
    seen       (P,) True where the model has a rule
    owed       (P,) True where it has one for what is held below 0: an asset owed may cost margin, and held not be seen
    step       (n,) contracts per lot
    scale      notional of the account, of one lot at least, margin currency
    """

    arrays: RiskArrays
    model: MarginModel
    account: str
    rows: IntArray
    column: IntArray
    group: IntArray
    base: FloatArray
    per_lot: FloatArray
    place: IntArray
    payers: IntArray
    seen: BoolArray
    owed: BoolArray
    step: FloatArray
    scale: float

    @property
    def names(self) -> StrArray:
        """(n,) of the contracts."""
        return self.arrays.instrument_id[self.rows]

    @property
    def lot_notional(self) -> FloatArray:
        """(n,) margin currency per lot."""
        return np.asarray(self.arrays.notional[self.rows] * self.step)

    def held_lots(self) -> FloatArray:
        """(n,) lots of each contract that the account holds now."""
        return np.asarray(self.base[self.place] / self.step)


def prepare_trials(book: Book, arrays: RiskArrays, model: MarginModel, rows: IntArray) -> Trials:
    """Trials of the one account of `book` in the contracts of `rows`, which are (n,) -> N and differ.

    DataError for a contract whose settlement currency is not among the instruments, so that nothing can pay for it, and
    for a position in another group than that of its expiry row.
    """
    check_groups(book, arrays)
    look_up = getattr(model, "for_arrays", None)
    fitted: MarginModel = model if look_up is None else look_up(arrays)
    step = arrays.quantity_step[rows]
    value, cash = arrays.value[rows], arrays.cash_row[rows]
    paid = value != 0
    missing = np.flatnonzero(paid & (cash < 0))
    if len(missing):
        remedy = "its settlement currency is not among the instruments, so its premium cannot be booked"
        names = arrays.instrument_id[rows[missing]]
        raise DataError([Problem("instruments", None, "instrument", str(name), remedy) for name in names])
    column = np.unique(np.concatenate([book.instrument_idx, rows, cash[paid]]))
    ungrouped = len(book.group_key) > 0 and book.group_key.min() == UNGROUPED
    group = np.full(len(column), UNGROUPED) if ungrouped else arrays.expiry_idx[column]
    order = np.lexsort((column, group))
    column, group = column[order], group[order]
    place = np.full(len(arrays), -1)
    place[column] = np.arange(len(column))
    base = np.zeros(len(column))
    base[place[book.instrument_idx]] = book.quantity
    per_lot = np.zeros((len(rows), len(column)))
    per_lot[np.arange(len(rows)), place[rows]] = step
    payers = np.flatnonzero(paid)
    per_lot[payers, place[cash[paid]]] -= step[paid] * value[paid] / arrays.value[cash[paid]]
    seen = np.asarray(fitted.not_covered(arrays), dtype=np.str_) == ""
    asset = arrays.is_collateral & (arrays.instrument_id != arrays.currency)
    charged = fitted.debts_covered(arrays)
    gross = float(np.abs(arrays.notional[book.instrument_idx] * book.quantity).sum())
    largest = float((arrays.notional[rows] * step).max(initial=0.0))
    return Trials(
        arrays=unrounded(arrays),
        model=fitted,
        account=str(book.account_id[0]),
        rows=rows,
        column=column,
        group=group,
        base=base,
        per_lot=per_lot,
        place=place[rows],
        payers=np.unique(place[cash[paid]]),
        seen=(seen | (asset & charged))[column],
        owed=np.where(asset, charged, seen)[column],
        step=step,
        scale=max(gross, largest),
    )


def unrounded(arrays: RiskArrays) -> RiskArrays:
    """The same arrays without ticks and with steps so fine that quantities are as good as real numbers."""
    asset = arrays.is_collateral
    factor = arrays.tick_size * np.where(asset, 1.0, FINE)
    return replace(
        arrays,
        quantity_step=np.where(asset, arrays.quantity_step, arrays.quantity_step * FINE),
        rows=arrays.rows * factor[:, None],
        value_rows=arrays.value_rows * factor,
        tick=None,
    )


def trial_margins(trials: Trials, lots: FloatArray, *, backend: str = "numba") -> TrialMargins:
    """Margins after trades (K,n) in lots, + bought, that need not be whole."""
    most = max(1, NUMBERS_AT_ONCE // max(len(trials.column), 1))
    parts = [_margins(trials, lots[first : first + most], backend) for first in range(0, max(len(lots), 1), most)]
    return TrialMargins(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _margins(trials: Trials, lots: FloatArray, backend: str) -> TrialMargins:
    quantity = np.repeat(trials.base[None, :], len(lots), axis=0)
    quantity[:, trials.place] += lots * trials.step
    for cash in trials.payers:
        # Sums and no products of matrices: those start threads, which costs more than it saves at this size.
        quantity[:, cash] += (lots * trials.per_lot[:, cash]).sum(axis=1)
    account, place = np.nonzero(quantity)
    return _required(trials, account, place, quantity[account, place], len(lots), backend)


def single_margins(
    trials: Trials, lots: FloatArray, which: IntArray, further: FloatArray, *, backend: str = "numba"
) -> TrialMargins:
    """Margins after trades (n,), each time with so many lots (K,) more of the contract which (K,) -> n, (K,) results.

    `trial_margins` of as many trades, but only what is held of each is looked at.
    """
    held = trials.base.copy()
    held[trials.place] += lots * trials.step
    for cash in trials.payers:
        held[cash] += (lots * trials.per_lot[:, cash]).sum()
    kept = np.union1d(np.flatnonzero(held), trials.payers)
    at_once = max(1, NUMBERS_AT_ONCE // (len(kept) + 1))
    parts = []
    for first in range(0, max(len(which), 1), at_once):
        some, extra = which[first : first + at_once], further[first : first + at_once]
        quantity = np.repeat(held[kept][None, :], len(some), axis=0)
        for column in np.searchsorted(kept, trials.payers):
            quantity[:, column] += extra * trials.per_lot[some, kept[column]]
        own = trials.place[some]
        more = np.zeros((len(some), 1))
        known = np.isin(own, kept)
        quantity[known.nonzero()[0], np.searchsorted(kept, own[known])] += extra[known] * trials.step[some[known]]
        more[~known, 0] = extra[~known] * trials.step[some[~known]]
        place = np.column_stack([np.repeat(kept[None, :], len(some), axis=0), own])
        order = np.argsort(place, axis=1, kind="stable")
        quantity = np.take_along_axis(np.column_stack([quantity, more]), order, axis=1)
        account, column = np.nonzero(quantity)
        place = np.take_along_axis(place, order, axis=1)[account, column]
        parts.append(_required(trials, account, place, quantity[account, column], len(some), backend))
    return TrialMargins(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _required(
    trials: Trials, account: IntArray, place: IntArray, quantity: FloatArray, count: int, backend: str
) -> TrialMargins:
    """Margins of so many accounts with positions (M,) by account and place -> P."""
    arrays, row = trials.arrays, trials.column[place]
    asset, step = arrays.is_collateral[row], arrays.quantity_step[row]
    quantity = np.where(asset, quantity, np.rint(quantity / step) * step)
    book = _book(trials, account, place, quantity, count)
    required = trials.model.requirement(book, arrays, backend=backend, threads=1)
    value = arrays.value
    share = np.where(arrays.is_collateral, trials.model.haircut(arrays), 0.0)
    counted = np.where(uncounted_rows(arrays, trials.model.traits.options_counted), 0.0, value)
    worth = quantity * counted[row] - np.maximum(quantity, 0.0) * (share * value)[row]
    balance = np.bincount(account, worth, minlength=count).astype(np.float64)
    if required.revaluation is not None:
        balance = balance + required.revaluation
    return TrialMargins(required.initial, required.maintenance, balance, required.worst_scenario)


def _book(trials: Trials, account: IntArray, place: IntArray, quantity: FloatArray, count: int) -> Book:
    """The accounts with what the model has rules for; nothing is held of what is 0."""
    counts = np.where(quantity < 0.0, trials.owed[place], trials.seen[place]) & (quantity != 0)
    account, place, quantity = account[counts], place[counts], quantity[counts]
    group = trials.group[place]
    opens = np.ones(len(account), dtype=np.bool_)
    opens[1:] = (np.diff(account) != 0) | (np.diff(group) != 0)
    first = np.flatnonzero(opens)
    return Book(
        account_id=np.arange(count).astype(np.str_),
        account_ptr=np.searchsorted(account[first], np.arange(count + 1)),
        group_key=group[first],
        group_ptr=np.append(first, len(account)),
        instrument_idx=trials.column[place],
        quantity=quantity,
    )


def steps_of(trials: Trials) -> FloatArray:
    """(n,) lots by which differences are taken: the same small notional of every contract, whole fine steps."""
    lots = DIFFERENCE_STEP * trials.scale / trials.lot_notional
    return np.asarray(np.maximum(np.rint(lots / FINE), 1.0) * FINE)


def nearby(trials: Trials, lots: FloatArray, turn: int = 0) -> FloatArray:
    """(n,) a point close to trades (n,) where a piecewise linear requirement has, almost surely, one slope only.

    Every contract is moved by another multiple of its difference step, 2 to 10 of them, up or down; always by the
    same, so that a hedge is the same whenever it is computed. turn gives other points, 0, 1, 2, ...
    """
    part = np.modf(GOLDEN * (np.arange(1, len(lots) + 1) + len(lots) * turn))[0]
    multiple = np.where(part < 0.5, -(2.0 + 16.0 * part), 2.0 + 16.0 * (part - 0.5))
    return np.asarray(lots + multiple * steps_of(trials))


def slopes(trials: Trials, lots: FloatArray, *, backend: str = "numba") -> dict[str, Any]:
    """Derivatives by lot of `initial`, `maintenance` and `balance`, (n,) each, next to trades (n,).

    Forward differences over `steps_of` at a point `nearby`: exact up to rounding where the requirement is linear over
    the step. Where a difference runs across a kink, which a much smaller move of all contracts at once shows, another
    point is taken; where all of them do, the requirement is curved, and the last is an approximation.

    At first only what is held or traded and one contract of every group is moved, so that the n books have few
    positions. Differences of a convex requirement are a slope of it nearby if they add up: a sublinear function that
    is additive at one point inside a cone of directions is linear on it, and the move of all contracts at once is such
    a point.
    """
    for turn in range(-1, MOST_TURNS):
        step = steps_of(trials)
        here = nearby(trials, lots, max(turn, 0))
        if turn < 0:
            here = _few_moved(trials, lots, here)
            # Smaller differences: none of them leads from where a few contracts were moved back across a kink.
            step = np.maximum(np.rint(FINER * step / FINE), 1.0) * FINE
        # Whole fine steps, so that all contracts at once move as the differences that they are compared with.
        together = np.maximum(np.rint(step / (len(step) * FINE)), 1.0) * FINE
        share = together / step
        ends = trial_margins(trials, np.vstack([here, here + together]), backend=backend)
        each = single_margins(trials, here, np.arange(len(lots)), step, backend=backend)
        rises = {name: getattr(each, name) - getattr(ends, name)[0] for name in SLOPES}
        gaps = [abs(float((share * rises[name]).sum()) - float(np.diff(getattr(ends, name))[0])) for name in SLOPES]
        if max(gaps) <= KINK * float((share * step * trials.lot_notional).min()):
            break
    return {name: values / step for name, values in rises.items()}


def _few_moved(trials: Trials, lots: FloatArray, near: FloatArray) -> FloatArray:
    """(n,) trades with what is held or traded moved to a point nearby, and the first contract of every group bought."""
    held = (lots != 0.0) | (trials.base[trials.place] != 0.0)
    first = np.zeros(len(lots), dtype=np.bool_)
    first[np.unique(trials.group[trials.place], return_index=True)[1]] = True
    first[:: max(1, len(lots) // LEAST_MOVED)] = True
    # What nobody holds is bought, as by the differences.
    return np.asarray(np.where(held, near, np.where(first, lots + np.abs(near - lots), lots)))
