"""The worst subset of an account's open orders: which of them, if they filled, would leave the least.

A worst loss is a maximum over scenarios, and so is the worst over subsets: the two change places. In one scenario every
order fills or not by itself, and the worst subset is just the orders that lose in it (a thesis at KTH and Nasdaq OMX,
2012), so that 2^O subsets cost O x S numbers and the answer is exact:

  max over subsets of (factor x L - G)
    = max over s of (factor x loss[s] + sum over o of max(0, -factor x pnl[o, s] - g[o]))

L worst loss after the fills, 0 or more (one of the scenarios is that nothing moves), G what the fills gain at once,
g[o] of one order: its quantity times what the contract is worth above its limit. Losses of underlyings that add up have
each its own worst subset; orders of one never change the other. The floor of options sold is linear where a contract
is short and 0 where it is not, a maximum of two, and changes places with subsets as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import NETTING
from portfolio_margin.book import Book
from portfolio_margin.contributions import position_ticks
from portfolio_margin.kernel_inputs import EXACT_LIMIT
from pricing.arrays import BoolArray, FloatArray, IntArray, freeze_fields
from pricing.errors import ConfigError, DataError, Problem
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays


@dataclass(frozen=True)
class OpenOrders:
    """Orders that may fill, each wholly or not at all.

    account_idx     (O,) row of the account in the book
    instrument_idx  (O,) -> N, contracts
    quantity        (O,) contracts, bought above 0, sold below
    gain            (O,) what filling it gains at the mark, margin currency: quantity times (value - limit)
    """

    account_idx: IntArray
    instrument_idx: IntArray
    quantity: FloatArray
    gain: FloatArray

    def __post_init__(self) -> None:
        integers = dict.fromkeys(("account_idx", "instrument_idx"), np.int64)
        freeze_fields(self, {**integers, **dict.fromkeys(("quantity", "gain"), np.float64)})

    def __len__(self) -> int:
        return len(self.quantity)

    def take(self, chosen: IntArray | BoolArray) -> OpenOrders:
        """The orders of some rows."""
        return OpenOrders(
            self.account_idx[chosen], self.instrument_idx[chosen], self.quantity[chosen], self.gain[chosen]
        )

    def between(self, first: int, last: int) -> OpenOrders:
        """The orders of the accounts in rows first to last - 1, whose rows are then counted from 0."""
        mine = self.take((self.account_idx >= first) & (self.account_idx < last))
        return OpenOrders(mine.account_idx - first, mine.instrument_idx, mine.quantity, mine.gain)


class WorstFill(NamedTuple):
    """What open orders may ask for.

    needed    (A,) largest of factor x max(worst loss, floor) less the gains of what filled, margin currency; where no
              order is open, the requirement as it stands
    filled    (O,) True for the orders of the subset that leads there
    scenario  (A,) -> S of the underlying that loses most then; -1 where nothing loses, or the floor is what is needed
    """

    needed: FloatArray
    filled: BoolArray
    scenario: IntArray


class _Worst(NamedTuple):
    """The worst of one account over one kind of rule: amount in ticks, its orders (O,), scenario."""

    ticks: float
    filled: BoolArray
    scenario: int


def worst_fill(
    book: Book,
    arrays: RiskArrays,
    orders: OpenOrders,
    *,
    netting: str = "per_underlying",
    haircut: FloatArray | None = None,
    factor: float = 1.0,
    short_rows: FloatArray | None = None,
    paid_rows: FloatArray | None = None,
) -> WorstFill:
    """The worst subset of the orders of every account, exact for requirements that are a worst loss with a floor.

    netting     "per_underlying" or "joint", as `worst_loss` has it
    haircut     (N,) share of a long collateral balance that does not count, or None
    factor      margin per unit of worst loss, above 0
    short_rows  (N,) floor of one contract sold in ticks per unit (`charges.short_option_rows`), or None for no floor
    paid_rows   (O,S) ticks that what is paid for each order gains by scenario, where that is a coin and not money; it
                stands in the netting set of the contract. None for nothing

    DataError naming every order that is none: no such account or contract, collateral, a quantity off its step or 0,
    a gain that is not finite.
    """
    if netting not in NETTING or not factor > 0.0:
        raise ConfigError(f"netting = {netting!r}, factor = {factor!r}: one of {', '.join(NETTING)}, and above 0")
    check_orders(book, arrays, orders)
    floor = np.zeros(len(arrays)) if short_rows is None else short_rows
    needed, scenario = np.zeros(len(book)), np.full(len(book), -1)
    filled = np.zeros(len(orders), dtype=np.bool_)
    for a, name in enumerate(book.account_id):
        own = np.flatnonzero(orders.account_idx == a)
        account = book.select(str(name))
        paid = None if paid_rows is None else paid_rows[own]
        losses = _losses(account, arrays, orders, own, (netting, haircut, factor), paid)
        shorts = _shorts(account, arrays, orders, own, floor * factor)
        worst = losses if losses.ticks >= shorts.ticks else shorts
        needed[a], scenario[a] = worst.ticks * arrays.tick_size, worst.scenario
        filled[own] = worst.filled
    return WorstFill(needed, filled, scenario)


def _losses(
    account: Book,
    arrays: RiskArrays,
    orders: OpenOrders,
    own: IntArray,
    how: tuple[str, FloatArray | None, float],
    paid: FloatArray | None,
) -> _Worst:
    """Worst subset by losses: of every netting set by itself."""
    netting, haircut, factor = how
    held = position_ticks(account, arrays, haircut=haircut)
    row = orders.instrument_idx[own]
    ordered = (orders.quantity[own] / arrays.unit[row])[:, None] * arrays.rows[row]
    ordered = ordered if paid is None else ordered + paid
    gain = orders.gain[own] / arrays.tick_size
    of_held, of_orders = arrays.underlying_idx[account.instrument_idx], arrays.underlying_idx[row]
    if netting == "joint":
        of_held, of_orders = np.zeros_like(of_held), np.zeros_like(of_orders)
    total, largest, scenario = 0.0, 0.0, -1
    filled = np.zeros(len(own), dtype=np.bool_)
    for u in np.unique(np.concatenate([of_held, of_orders])):
        mine = of_orders == u
        # The last column is the scenario in which nothing moves: no loss is below 0.
        base = np.append(-factor * held[of_held == u].sum(axis=0), 0.0)
        each = np.column_stack([-factor * ordered[mine], np.zeros(mine.sum())]) - gain[mine, None]
        sums = base + np.maximum(each, 0.0).sum(axis=0)
        worst = int(np.argmax(sums))
        total += float(sums[worst])
        filled[mine] = each[:, worst] > 0.0
        if worst < len(arrays.scenario_set) and sums[worst] > largest:
            largest, scenario = float(sums[worst]), worst
    return _Worst(total, filled, scenario)


def _shorts(account: Book, arrays: RiskArrays, orders: OpenOrders, own: IntArray, floor: FloatArray) -> _Worst:
    """Worst subset by the floor of options sold: of every contract by itself."""
    row, gain = orders.instrument_idx[own], orders.gain[own] / arrays.tick_size
    held, unit = np.zeros(len(arrays)), arrays.unit
    np.add.at(held, account.instrument_idx, account.quantity)
    total, filled = 0.0, np.zeros(len(own), dtype=np.bool_)
    for i in np.unique(np.concatenate([account.instrument_idx, row])):
        mine, rate = row == i, floor[i] / unit[i]
        short = -rate * orders.quantity[own[mine]] - gain[mine]
        either = (np.maximum(-gain[mine], 0.0).sum(), -rate * held[i] + np.maximum(short, 0.0).sum())
        total += float(max(either))
        filled[mine] = (short > 0.0) if either[1] > either[0] else (gain[mine] < 0.0)
    return _Worst(total, filled, -1)


def gain_at_limit(arrays: RiskArrays, instrument_idx: IntArray, quantity: FloatArray, price: FloatArray) -> FloatArray:
    """(O,) margin currency that filling orders at their limits gains against the mark, below 0 where it costs.

    instrument_idx  (O,) -> N, quantity (O,) contracts, + bought
    price           (O,) as venues quote it. Of an option, settlement currency per unit of the underlying: coins where
                    it pays in coin. Of a future, quote currency per unit; of an inverse one above 0, since q contracts
                    of m quote units bought at p gain q m (1/p - 1/F) coins
    """
    row, terms = instrument_idx, arrays.terms
    forward = np.append(terms.forward, np.nan)[arrays.expiry_idx[row]]
    size = quantity * terms.multiplier[row] * terms.fx[terms.currency_idx[row]]
    of_option = quantity * arrays.value[row] - size * price
    with np.errstate(divide="ignore"):
        of_future = size * np.where(terms.is_inverse[row], 1.0 / price - 1.0 / forward, forward - price)
    return np.asarray(np.where(arrays.kind[row] == Kind.OPTION, of_option, of_future))


def is_too_large(arrays: RiskArrays, row: IntArray, quantity: FloatArray) -> BoolArray:
    """(O,) orders that no sum of ticks could hold exactly; quantity (O,) finite."""
    with np.errstate(over="ignore"):
        steps = np.abs(quantity / arrays.unit[row])
        ticks = steps * np.abs(arrays.rows[row]).max(axis=1, initial=0.0)
    return np.asarray((steps > EXACT_LIMIT) | ((arrays.tick is not None) & (ticks > EXACT_LIMIT)))


def _gains_too_large(arrays: RiskArrays, gain: FloatArray) -> BoolArray:
    """(O,) finite gains that no sum of ticks could hold exactly."""
    return np.asarray(np.isfinite(gain) & (arrays.tick is not None) & (np.abs(gain) > EXACT_LIMIT * arrays.tick_size))


def check_orders(book: Book, arrays: RiskArrays, orders: OpenOrders) -> None:
    """DataError naming every order that is none, as `worst_fill` does."""
    problems = []
    lengths = {len(getattr(orders, name)) for name in ("account_idx", "instrument_idx", "quantity", "gain")}
    if len(lengths) > 1:
        raise DataError([Problem("orders", None, "columns", str(sorted(lengths)), "need one entry for every order")])
    known = (orders.instrument_idx >= 0) & (orders.instrument_idx < len(arrays))
    row = np.where(known, orders.instrument_idx, 0)
    with np.errstate(over="ignore"):
        steps = orders.quantity / arrays.unit[row]
    nearest = np.rint(np.where(np.isfinite(steps), steps, 1.0))
    off = np.abs(steps - nearest)
    whole = np.isfinite(orders.quantity) & (np.isinf(steps) | (off <= 1e-9 * np.maximum(np.abs(steps), 1.0)))
    nobody = (orders.account_idx < 0) | (orders.account_idx >= len(book))
    checks = (
        ("account_idx", nobody, orders.account_idx, f"the book has {len(book)} accounts"),
        ("instrument_idx", ~known, orders.instrument_idx, f"the risk arrays hold only {len(arrays)}"),
        ("instrument_idx", known & arrays.is_collateral[row], orders.instrument_idx, "is collateral, not a contract"),
        ("quantity", ~whole | (nearest == 0.0), orders.quantity, "must be whole steps of the contract, not 0"),
        ("quantity", whole & is_too_large(arrays, row, orders.quantity), orders.quantity, "too large for exact sums"),
        ("gain", ~np.isfinite(orders.gain), orders.gain, "must be finite"),
        ("gain", _gains_too_large(arrays, orders.gain), orders.gain, "too large for exact sums"),
    )
    for field, bad, values, remedy in checks:
        problems += [Problem("orders", int(o) + 1, field, values[o].item(), remedy) for o in np.flatnonzero(bad)]
    if problems:
        raise DataError(problems)
