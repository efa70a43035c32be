"""What has to be closed: charges of an account's contracts alone, whatever it holds as collateral."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.blocks import blocks
from portfolio_margin.book import Book
from portfolio_margin.dollars import money_of_amounts
from portfolio_margin.dynamic import basis, concentration, liquidity, near_expiry
from portfolio_margin.dynamic.underlying import Underlying
from portfolio_margin.order_bounds import Reach, most, per_contract, range_of, sizes_of
from portfolio_margin.risk_units import vega_per_contract, whole_ticks
from pricing.arrays import DAYS_PER_YEAR, FloatArray, IntArray
from pricing.instruments import Kind
from scenarios.risk_arrays import RiskArrays


class Part(NamedTuple):
    """Underlyings of accounts, R of them; ticks.

    key            (R,) -> U
    loss, column   (R,) worst loss of the contracts over all tiers, 0 or more, and where
    multiplier     (R,) of the concentration
    hedge          (R,) cost of hedging the delta
    legs           (R,) cost of closing futures of several expiries beyond that
    options        (R,K) cost of closing each bucket of vega
    """

    key: IntArray
    loss: FloatArray
    column: IntArray
    multiplier: FloatArray
    hedge: FloatArray
    legs: FloatArray
    options: FloatArray


class Curve(NamedTuple):
    """What the expiries of each underlying (A,U) add up to, ticks.

    legs   sizes of the net delta of the futures and perpetuals of each expiry
    turn   years to expiry times the net delta of all contracts of each expiry
    sizes  sizes of that net delta
    """

    legs: FloatArray
    turn: FloatArray
    sizes: FloatArray


def closing_on(
    arrays: RiskArrays,
    states: Sequence[Underlying],
    time: near_expiry.Params,
    size: concentration.Params,
    cost: liquidity.Params,
) -> Closing:
    """The charges on these arrays, with what was already computed where the same arrays were asked for just before.

    arrays, states, time, size, cost   fields of `Closing`
    A search for trades margins thousands of books on two sets of arrays, which never change once they are made: they
    are known again by identity.
    """
    global _recent
    wanted = Closing(arrays, states, time, size, cost)
    for known in _recent:
        if known.arrays is arrays and (known.states, known.time, known.size, known.cost) == (states, time, size, cost):
            return known
    _recent = (wanted, *_recent[:1])
    return wanted


@dataclass(frozen=True)
class Closing:
    """The charges on one set of risk arrays.

    arrays  under the scenarios of `moves.nested_scenarios`
    states  of every underlying (U,)
    time, size, cost   parameters of near_expiry, concentration and liquidity
    """

    arrays: RiskArrays
    states: Sequence[Underlying]
    time: near_expiry.Params
    size: concentration.Params
    cost: liquidity.Params

    def near_expiry(self, book: Book, *, backend: str = "numba", threads: int | None = None) -> FloatArray:
        """(A,) charge for short gamma close to expiry, margin currency."""
        total = np.zeros(len(book))
        rows = self.gap_rows[:, None]
        for block in blocks(book, self.arrays, rows, by="expiry", backend=backend, threads=threads):
            total[block.first : block.last] = block.by_account(np.maximum(-block.ticks[:, 0], 0.0))
        return total * self.arrays.tick_size

    def basis(self, curve: Curve) -> FloatArray:
        """(A,) charge for forwards that move against each other, margin currency."""
        found = basis.basis_charge(curve.turn, curve.sizes, *self.basis_moves)
        return np.asarray(found.sum(axis=1) * self.arrays.tick_size)

    def size_and_cost(
        self, book: Book, curve: Curve, *, backend: str = "numba", threads: int | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """(A,) concentration and (A,) liquidity, margin currency."""
        excess, cost = np.zeros(len(book)), np.zeros(len(book))
        if not len(self.states):
            return excess, cost
        gross = self.gross(book, backend=backend, threads=threads)
        rows = self.net_rows
        for block in blocks(book, self.arrays, rows, by="underlying", backend=backend, threads=threads):
            here = slice(block.first, block.last)
            key = np.maximum(block.key, 0)
            # Cash that no underlying moves has a row of its own, in which there is nothing to close.
            sizes = (np.where(block.key >= 0, of[here][block.account, key], 0.0) for of in (gross, curve.legs))
            part = self.part(block.ticks, key, *sizes)
            excess[here] = block.by_account((part.multiplier - 1.0) * part.loss)
            cost[here] = block.by_account(part.hedge + part.legs + part.options.sum(axis=1))
        return excess * self.arrays.tick_size, cost * self.arrays.tick_size

    def part(self, ticks: FloatArray, key: IntArray, gross: FloatArray, legs: FloatArray) -> Part:
        """Size and cost of underlyings of accounts.

        ticks  (R,S+1+K) sums of `net_rows`
        key    (R,) -> U
        gross  (R,) size of the contracts, ticks
        legs   (R,) net delta of the futures of each expiry, the sizes of all added up, ticks
        """
        count = len(self.arrays.scenario_set)
        pnl, delta, vega = ticks[:, :count], ticks[:, count], ticks[:, count + 1 :]
        column = np.argmin(pnl, axis=1)
        loss = np.maximum(-np.take_along_axis(pnl, column[:, None], axis=1)[:, 0], 0.0)
        volumes = self.volumes[key]
        size = concentration.size_in_horizons(delta, np.abs(vega).sum(axis=1), gross, volumes, self.size)
        spread, move, change = self.of_trading[key].T
        hedge = liquidity.closing_cost(delta, spread, move, volumes[:, 0], self.cost.impact)
        options = liquidity.closing_cost(vega, self.cost.spreads, change[:, None], volumes[:, 1:2], self.cost.impact)
        more = liquidity.legs_cost(delta, legs, spread)
        return Part(key, loss, column, concentration.size_multiplier(size, self.size), hedge, more, options)

    def gross(self, book: Book, *, backend: str = "numba", threads: int | None = None) -> FloatArray:
        """(A,U) size of the contracts of each underlying, ticks."""
        arrays = self.arrays
        rows = whole_ticks(arrays.notional[:, None], arrays) * self._owned
        sizes = book.holding(np.abs(book.quantity))
        return account_sums(sizes, arrays, rows, backend=backend, threads=threads) / arrays.tick_size

    def curve(self, book: Book, *, backend: str = "numba", threads: int | None = None) -> Curve:
        """What the expiries of each underlying add up to."""
        found = Curve(*(np.zeros((len(book), len(self.states))) for _ in Curve._fields))
        if not len(self.states):
            return found
        rows, years = np.column_stack([self.future_rows, self.delta_rows]), self.arrays.years_to_expiry
        for block in blocks(book, self.arrays, rows, by="expiry", backend=backend, threads=threads):
            expiry = np.maximum(block.key, 0)
            place = (block.first + block.account, self.arrays.terms.expiry_underlying[expiry])
            futures, delta = block.ticks[:, 0], block.ticks[:, 1]
            for into, ticks in zip(found, (np.abs(futures), years[expiry] * delta, np.abs(delta)), strict=True):
                np.add.at(into, place, ticks)
        return found

    def ceilings(self, reach: Reach) -> tuple[float, float]:
        """The most of concentration and of liquidity after any subset of the orders of an account, margin currency:
        losses, deltas, vegas and sizes at their largest, each by itself."""
        arrays, count, scenarios = self.arrays, len(self.states), len(self.arrays.scenario_set)
        if not count:
            return 0.0, 0.0
        key, ticks = arrays.underlying_idx, 1.0 / arrays.tick_size
        rows = per_contract(arrays, self.net_rows)
        losses = most(reach, -rows[:, :scenarios], key, count) * ticks
        sizes = range_of(reach, rows[:, scenarios:], key, count) * ticks
        gross = sizes_of(reach, np.where(arrays.is_collateral, 0.0, arrays.notional)[:, None], key, count) * ticks
        futures = np.abs(per_contract(arrays, self.future_rows[:, None]))
        legs = sizes_of(reach, futures, key, count)[:, 0] * ticks
        found = self.part(np.column_stack([-losses, sizes]), np.arange(count), gross[:, 0], legs)
        excess = (found.multiplier - 1.0) * found.loss
        # Futures cross at least what the delta does: of legs and delta the larger.
        crossed = found.hedge + self._state("half_spread") * np.maximum(legs - sizes[:, 0], 0.0)
        cost = crossed + found.options.sum(axis=1)
        return float(excess.sum()) / ticks, float(cost.sum()) / ticks

    @cached_property
    def distinct(self) -> IntArray:
        """(D,) -> S scenarios that are no copy of an earlier one, rising: a copy has no larger loss and is never the
        first.

        A tier that widens nothing today, for want of a crowd or a doubt, repeats the one before.
        """
        first: dict[bytes, int] = {}
        for scenario, column in enumerate(np.ascontiguousarray(self.arrays.rows.T)):
            first.setdefault(column.tobytes(), scenario)
        return np.array(list(first.values()), dtype=np.int64)

    @cached_property
    def notional_ticks(self) -> FloatArray:
        """(N,) notional of contracts in ticks per unit."""
        return whole_ticks(self.arrays.notional[:, None], self.arrays)[:, 0]

    @cached_property
    def further_rows(self) -> FloatArray:
        """(N,1+K) `net_rows` beyond the P&L."""
        return np.ascontiguousarray(self.net_rows[:, len(self.arrays.scenario_set) :])

    @cached_property
    def delta_rows(self) -> FloatArray:
        """(N,) delta of contracts in ticks per unit."""
        return whole_ticks(self.arrays.delta[:, None], self.arrays)[:, 0]

    @cached_property
    def future_rows(self) -> FloatArray:
        """(N,) delta of futures and perpetuals in ticks per unit, 0 for all else."""
        return np.where(np.isin(self.arrays.kind, (Kind.FUTURE, Kind.PERPETUAL)), self.delta_rows, 0.0)

    @cached_property
    def net_rows(self) -> FloatArray:
        """(N,S+1+K) P&L, delta and vega by bucket in ticks per unit; 0 for collateral."""
        arrays = self.arrays
        expiry = np.maximum(arrays.expiry_idx, 0)
        days = arrays.years_to_expiry[expiry] * DAYS_PER_YEAR
        option = arrays.kind == Kind.OPTION
        notional = np.where(option & (arrays.notional > 0.0), arrays.notional, 1.0)
        unit_delta = np.where(option, np.clip(arrays.delta / notional, -1.0, 1.0), 0.0)
        weights = liquidity.bucket_weights(days, unit_delta, self.cost)
        vega = liquidity.priced_vega(vega_per_contract(arrays), weights, arrays.value, self.cost)[:, None] * weights
        pnl = np.where(arrays.is_collateral[:, None], 0.0, arrays.rows)
        return np.column_stack([pnl, self.delta_rows, whole_ticks(vega, arrays)])

    @cached_property
    def gap_rows(self) -> FloatArray:
        """(N,) what a gap to both sides gains, times the share that is charged, in ticks per unit."""
        arrays = self.arrays
        if not len(self.states):  # a market of currencies alone has no gap, and nothing that would cost in one
            return np.zeros(len(arrays))
        down, up = gap_columns(arrays)
        share = near_expiry.gap_share(arrays.years_to_expiry, arrays.terms.fixed_share, self.time)
        # Options alone: the undated row of a perpetual has a time to expiry of 0 as well.
        option = arrays.kind == Kind.OPTION
        both = (arrays.pnl[:, down] + arrays.pnl[:, up]) * share[np.maximum(arrays.expiry_idx, 0)]
        return np.where(option, whole_ticks(both[:, None], arrays)[:, 0], 0.0)

    @cached_property
    def volumes(self) -> FloatArray:
        """(U,3) daily volume, daily vega volume and open interest, ticks."""
        names = ("daily_volume", "daily_vega_volume", "open_interest")
        stated = np.column_stack([self._state(name) for name in names]).reshape(-1, len(names))
        return np.asarray(stated * money_of_amounts(self.arrays)[:, None] / self.arrays.tick_size)

    @property
    def references(self) -> FloatArray:
        """(U,3) delta, vega and size of contracts that make one liquidation horizon, ticks."""
        return concentration.references(self.volumes, self.size)

    @property
    def of_trading(self) -> FloatArray:
        """(U,3) half spread of the hedge, move of the price and change of vol in a day."""
        return np.column_stack([self._state(name) for name in ("half_spread", "day_move", "day_vol_change")])

    @property
    def basis_moves(self) -> tuple[FloatArray, FloatArray]:
        """(U,) change of all annualised bases alike, and move of one forward by itself."""
        return self._state("basis_rate_move"), self._state("basis_move")

    @property
    def _owned(self) -> FloatArray:
        """(N,U) 1 where an instrument is of an underlying."""
        return (self.arrays.underlying_idx[:, None] == np.arange(len(self.states))).astype(np.float64)

    def _state(self, name: str) -> FloatArray:
        return np.array([getattr(state, name) for state in self.states], dtype=np.float64)


def gap_columns(arrays: RiskArrays) -> tuple[int, int]:
    """Scenarios of the first tier in which the price moves one bucket down, and up, and nothing else moves."""
    moves = arrays.scenario_set
    alone = (moves.tier == 0) & np.all(moves.vol_move == 0.0, axis=1) & (moves.time_step_years == 0.0)
    alone &= moves.weight == 1.0
    size = moves.price_move.sum(axis=1)
    down, up = np.flatnonzero(alone & (size < 0.0)), np.flatnonzero(alone & (size > 0.0))
    return int(down[np.argmax(size[down])]), int(up[np.argmin(size[up])])


# The last two that were asked for.
_recent: tuple[Closing, ...] = ()
