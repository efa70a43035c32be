"""The few moves of a historical set that are in the tail of some book, for `calibrate --compress`; docs/calibration.md.

Books are of standard contracts on every underlying at its last vol: a forward, and options of 7, 30 and 90 days out to
three deviations. The measure of `historical_simulation` depends on n (1 - confidence) alone, so that a set of fewer
moves with the lower confidence that leaves this product as it was has the same ranks in its tail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from portfolio_margin.dynamic.rule import rounded
from portfolio_margin.models.historical_simulation import Params
from portfolio_margin.tail_measures import tail_weights
from pricing.arrays import FloatArray
from pricing.errors import ConfigError
from scenarios.backtest.books import Books, Shelf
from scenarios.backtest.revaluation import Moves, book_pnl, terms
from scenarios.calibrate.history_set import compressed, horizon_table
from scenarios.calibrate.scenario_sets import Compression, compress_tails
from scenarios.calibrate.settings import Settings

LEAST_CONFIDENCE = 0.5


def compress_params(
    params: Params, count: int, last_vol: Mapping[str, float], settings: Settings
) -> tuple[Params, Compression]:
    """The set with `count` moves of its history, and what that costs books held out.

    last_vol  underlying -> 30-day vol of the last day

    The stressed set is kept whole. There is no correlation break, which is of windows of the whole history, and
    `impact` is smaller as the deviation of the moves kept is larger, of the underlying of which that is least.
    ConfigError for a count that is too small for the tail, or not below what there is.
    """
    there, turns = params.history.horizons, int(params.subsamples)
    confidence = 1.0 - (1.0 - params.confidence) * there / max(count, 1)
    if confidence < LEAST_CONFIDENCE:
        least = int(np.ceil(there * (1.0 - params.confidence) / (1.0 - LEAST_CONFIDENCE) - 1e-9))
        raise ConfigError(
            f"--compress {count}: a tail of {there} moves at {params.confidence:g} needs {least} at least"
        )
    tail = tail_weights(there // turns, params.confidence, params.measure, params.quantile)
    found = compress_tails(_standard_pnl(params, last_vol), settings, count, tail, turns)
    price = np.expm1(horizon_table(params.history)[0])
    few = replace(
        params,
        history=compressed(params.history, found.kept),
        confidence=confidence,
        break_factor=0.0,
        impact=rounded(params.impact * float((price.std(axis=0) / price[found.kept].std(axis=0)).max())),
    )
    return few, found


def _standard_pnl(params: Params, last_vol: Mapping[str, float]) -> FloatArray:
    """(N,S) P&L of the standard contracts on every underlying under every horizon, a share of its price."""
    history, books = params.history, _single_contracts()
    price, vol = (np.expm1(table) for table in horizon_table(history))
    vols = dict(zip(sorted(history.vol_returns), vol.T, strict=True))
    passed = history.horizon_steps * history.step_days if history.passing == "passes" else 0.0
    still = np.ones(len(price))
    found = []
    for name, moved in zip(sorted(history.returns), price.T, strict=True):
        moves = Moves(*(row[None, :] for row in (moved, vols.get(name, 0.0 * still), passed * still, still)))
        at = terms(books, np.array([last_vol[name]]))
        found.append(book_pnl(books, at, moves, history.dynamics)[:, 0])
    return np.vstack(found)


def _single_contracts() -> Books:
    """One of each option of the standard books, and the forward."""
    shelf = Shelf()
    options = len(shelf.z)
    quantity = np.vstack([np.eye(options), np.zeros(options)])
    return Books(
        name=np.arange(options + 1).astype(np.str_),
        family=np.repeat("single", options + 1),
        tenor_days=shelf.tenor_days,
        deviations=shelf.z,
        sign=shelf.sign,
        quantity=quantity,
        forwards=np.append(np.zeros(options), 1.0),
        hedged=np.zeros(options + 1, dtype=np.bool_),
    )
