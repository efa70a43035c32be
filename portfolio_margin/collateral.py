"""Collateral: what the assets of an account are worth, before and after haircuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from portfolio_margin.aggregate import account_sums
from portfolio_margin.book import Book
from portfolio_margin.dollars import is_dollar
from pricing.arrays import BoolArray, FloatArray, StrArray
from pricing.errors import ConfigError
from pricing.instruments import Kind
from scenarios.of_arrays import of_arrays
from scenarios.risk_arrays import RiskArrays

DELTA_DIGITS = 4
NO_SEGREGATED_ACCOUNT = "no contract settles in it, so there is no segregated account of it"


class Equity(NamedTuple):
    """(A,) each, margin currency.

    equity        value of everything the account holds
    collateral    value of its cash, coins and spot before haircuts
    haircut       what does not count of it
    uncounted     net value of options where the margin balance is without it, 0 where it counts;
                  margin balance = equity - haircut - uncounted
    delta         gain for a relative move of 1.00 of every underlying
    """

    equity: FloatArray
    collateral: FloatArray
    haircut: FloatArray
    uncounted: FloatArray
    delta: FloatArray


def equity(
    book: Book,
    arrays: RiskArrays,
    haircut: FloatArray,
    *,
    options_counted: bool,
    backend: str = "numba",
    threads: int | None = None,
) -> Equity:
    """Equity of every account at the base scenario; haircut (N,) applies to long collateral balances, options_counted
    is that of the model's `Traits`."""
    rows = _rows_of_equity(arrays, options_counted)
    before = account_sums(book, arrays, rows.gross, backend=backend, threads=threads)
    after = before[:, 1:2]
    if haircut.any():
        after = account_sums(book, arrays, rows.collateral, haircut=haircut, backend=backend, threads=threads)
    delta = np.round(before[:, 3], DELTA_DIGITS) + 0.0
    return Equity(before[:, 0], before[:, 1], before[:, 1] - after[:, 0], before[:, 2], delta)


class _EquityRows(NamedTuple):
    """In ticks per unit: gross (N,4), the value, that of collateral, that of uncounted options, and delta; collateral
    (N,1), the second of them."""

    gross: FloatArray
    collateral: FloatArray


@of_arrays
def _rows_of_equity(arrays: RiskArrays, options_counted: bool) -> _EquityRows:
    # Delta is for information: not rounded by contract, since a million small contracts would add up the rounding.
    delta_rows = arrays.delta * arrays.unit / arrays.tick_size
    collateral = np.where(arrays.is_collateral, arrays.value_rows, 0.0)
    uncounted = np.where(uncounted_rows(arrays, options_counted), arrays.value_rows, 0.0)
    gross = np.column_stack([arrays.value_rows, collateral, uncounted, delta_rows])
    return _EquityRows(gross, collateral[:, None])


def uncounted_rows(arrays: RiskArrays, options_counted: bool) -> BoolArray:
    """(N,) contracts whose value is no part of the margin balance: options, at a venue that does not count them."""
    return np.asarray((arrays.kind == Kind.OPTION) & (not options_counted))


@of_arrays
def moved_assets(arrays: RiskArrays) -> BoolArray:
    """(N,) assets that gain in some scenario: a balance owed of them loses there."""
    rows = np.flatnonzero(arrays.is_collateral)
    result = np.zeros(len(arrays), dtype=np.bool_)
    result[rows] = np.any(arrays.rows[rows] > 0.0, axis=1)
    return result


@of_arrays
def segregated_assets(arrays: RiskArrays) -> StrArray:
    """(N,) why a venue whose accounts hold one currency each does not take an asset, "" for contracts and for what it
    takes: coins, dollars, the margin currency and whatever a contract settles in."""
    settled = np.unique(arrays.terms.currency_idx[~arrays.is_collateral])
    pays = (arrays.kind == Kind.CASH) & np.isin(arrays.terms.currency_idx, settled)
    taken = ~arrays.is_collateral | arrays.is_coin | is_dollar(arrays) | pays
    return np.where(taken, "", NO_SEGREGATED_ACCOUNT)


def haircuts(arrays: RiskArrays, default: float, by_asset: Mapping[str, float]) -> FloatArray:
    """(N,) haircut of each row: none on contracts and the margin currency, `default` on other assets.

    ConfigError for a name that is no asset of these arrays: a misspelt haircut must not be lost.
    """
    asset = arrays.is_collateral
    names = {str(name) for name in arrays.instrument_id[asset]}
    unknown = sorted(set(by_asset) - names)
    if unknown:
        raise ConfigError(f"haircut for {', '.join(unknown)}: not an asset here; assets are {', '.join(sorted(names))}")
    result = np.where(asset & (arrays.instrument_id != arrays.currency), default, 0.0)
    for name, value in by_asset.items():
        result[asset & (arrays.instrument_id == name)] = value
    return result
