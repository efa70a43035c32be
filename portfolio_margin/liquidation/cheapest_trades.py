"""The closings and hedges that restore an account's buffer at the least cost: the program of a hedge, with other ends.

A hedge is asked for a margin; a liquidation for a buffer above it, by closings that are charged for and hedges that are
not. Both are the same program over scenarios and costs (docs/hedging.md): whole lots, a requirement known by the planes
that support it, and every answer computed anew before it is believed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from portfolio_margin.hedge_program import Bands, Program
from portfolio_margin.hedge_search import Found, Search, Verify
from portfolio_margin.hedge_terms import DEFAULT_NOTIONALS, MOST_LOTS
from portfolio_margin.liquidation.closing import LINEAR_KINDS
from portfolio_margin.liquidation.plan import Action, Trade
from portfolio_margin.liquidation.trials import Case, Trial, is_better, try_trades
from portfolio_margin.requirement import covered
from portfolio_margin.trial_margins import Trials, prepare_trials
from pricing.arrays import BoolArray, FloatArray, IntArray

# Branches of one program, and the gap at which it may stop: as for a hedge.
NODES, GAP = 200, 1e-3


class _Terms(NamedTuple):
    """(n,) each, by lot: costs of buying and selling, and the most of both."""

    buy_cost: FloatArray
    sell_cost: FloatArray
    most_bought: FloatArray
    most_sold: FloatArray


def cheapest_trades(case: Case) -> Trial | None:
    """The cheapest trades found that restore the buffer, computed anew; None where none does.

    Options and futures that are held may be closed, futures and perpetuals of the same underlyings bought or sold as a
    hedge; nothing is sold beyond what is held and called a closing. Where the requirement is convex in the quantities
    and penalties go by contract, they are the cheapest there are to within GAP; a penalty on freed margin is charged
    and not minimised.
    """
    rows = _tradable(case)
    if not len(rows):
        return None
    trials = prepare_trials(case.book, case.arrays, case.model, rows)
    terms = _terms(case, trials)
    program = Program(
        *terms,
        bands=Bands(np.zeros((0, len(rows))), np.zeros(0), np.zeros(0)),
        total_cost=np.inf,
        spent=1.0,
        scale=trials.scale,
        nodes=NODES,
        gap=GAP,
    )
    search = Search(trials, program, "excess_liquidity", case.backend, weight=1.0 + case.buffer)

    def missed(lots: FloatArray) -> float:
        after = _tried(case, trials, lots).step.after
        return max(after.shortfall(case.buffer), after.maintenance - case.margins.maintenance)

    best = _search(search, missed)
    if best is None:
        return None
    trial = _tried(case, trials, best.lots)
    return trial if is_better(case, trial) else None


def _search(search: Search, missed: Verify) -> Found | None:
    """The way of `hedge.hedge`: directions, planes, whole lots, smaller by single lots."""
    search.support(np.zeros(len(search.trials.rows)))
    best = search.try_directions(0.0, missed)
    bound = search.relax(0.0)
    if np.isfinite(bound) or not search.proven:
        best, _ = search.whole(0.0, missed, best)
    return None if best is None else search.polish(best, 0.0, missed)


def _tradable(case: Case) -> IntArray:
    """(n,) -> N contracts with a market and a rule: those that are held, and linear ones of the same underlyings."""
    arrays = case.arrays
    seen, _ = covered(case.model, case.book, arrays)
    market = case.costs.tradable & ~arrays.is_collateral & (np.asarray(case.model.not_covered(arrays)) == "")
    held = np.zeros(len(arrays), dtype=np.bool_)
    held[seen.instrument_idx[seen.quantity != 0.0]] = True
    held &= market
    same = np.isin(arrays.underlying_idx, np.unique(arrays.underlying_idx[held]))
    linear = np.isin(arrays.kind, LINEAR_KINDS) & (arrays.delta != 0.0) & same
    return np.flatnonzero(market & (held | linear))


def _terms(case: Case, trials: Trials) -> _Terms:
    """Costs and limits: a closing up to what is held, for cost and penalty; a hedge the other way, for its cost."""
    lots = trials.held_lots()
    trading, penalty = case.costs.trading[trials.rows] * trials.step, case.costs.penalty[trials.rows] * trials.step
    linear = np.isin(case.arrays.kind[trials.rows], LINEAR_KINDS)
    room = np.minimum(np.floor(DEFAULT_NOTIONALS * trials.scale / trials.lot_notional), MOST_LOTS)
    hedge = np.where(linear, room, 0.0)

    def side(closes: BoolArray) -> tuple[FloatArray, FloatArray]:
        return np.where(closes, trading + penalty, trading), np.where(closes, np.rint(np.abs(lots)), hedge)

    buy_cost, most_bought = side(lots < 0.0)
    sell_cost, most_sold = side(lots > 0.0)
    return _Terms(buy_cost, sell_cost, most_bought, most_sold)


def _tried(case: Case, trials: Trials, lots: FloatArray) -> Trial:
    """Whole lots as trades, by full recomputation."""
    held = trials.held_lots()
    trades = []
    for k in np.flatnonzero(np.rint(lots)):
        action = Action.CLOSE if held[k] * lots[k] < 0.0 else Action.HEDGE
        trades.append(Trade(int(trials.rows[k]), float(np.rint(lots[k]) * trials.step[k]), action))
    (trial,) = try_trades(case, [trades])
    return trial
