"""How much of one position a partial liquidation closes, and what fee it can bear: closed forms of linear margin.

Drift protocol v2 (2026, math of liquidation), formulas only. Elementwise over arrays. A size is inf where no size
restores the margin, because fees take more than a unit closed frees: then all of it is taken over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pricing.arrays import FloatArray
from pricing.errors import DataError, Problem

# Of what margin and liquidator leave, so that a liquidation with the fee still restores more than it costs.
INSURANCE_SAFETY = 0.95


def contracts_to_close(
    shortage: ArrayLike,
    margin_ratio: ArrayLike,
    price: ArrayLike,
    *,
    quote_price: ArrayLike = 1.0,
    liquidator_fee: ArrayLike = 0.0,
    insurance_fee: ArrayLike = 0.0,
) -> FloatArray:
    """Units of a linear contract to close so that margin and equity meet.

    shortage        margin required less equity, margin currency, 0 or more
    margin_ratio    margin per notional
    price           of a unit, in quote currency, above 0
    quote_price     margin currency per unit of quote currency, above 0
    liquidator_fee  share of the notional closed, to the liquidator
    insurance_fee   share of the notional closed, to the insurance fund, in quote currency

    size = shortage / (P Q (ratio - liquidator fee) - P insurance fee).
    """
    short = _amounts("shortage", shortage)
    p, q = _prices("price", price), _prices("quote_price", quote_price)
    freed = p * q * (np.asarray(margin_ratio) - np.asarray(liquidator_fee)) - p * np.asarray(insurance_fee)
    return _size(short, freed)


def liability_to_transfer(
    shortage: ArrayLike,
    liability_price: ArrayLike,
    *,
    asset_weight: ArrayLike,
    asset_multiplier: ArrayLike,
    liability_weight: ArrayLike,
    liability_multiplier: ArrayLike,
    insurance_fee: ArrayLike = 0.0,
) -> FloatArray:
    """Units of what is owed that a liquidator takes over, with assets for them, so that margin and equity meet.

    shortage              margin required less equity, margin currency, 0 or more
    liability_price       margin currency per unit owed, above 0
    asset_weight          share of an asset's value that counts as collateral
    asset_multiplier      assets the liquidator gets per value, 1 + his discount
    liability_weight      margin required per value owed, 1 or more
    liability_multiplier  share of the value owed he pays for, above 0
    insurance_fee         share of the value transferred, to the insurance fund

    size = shortage / (P (lw - aw am / lm) - P lw insurance fee); inf where aw am >= lw lm: selling cannot cure it.
    """
    short, p = _amounts("shortage", shortage), _prices("liability_price", liability_price)
    owed = np.asarray(liability_weight, dtype=np.float64)
    paid = (
        np.asarray(asset_weight) * np.asarray(asset_multiplier) / _prices("liability_multiplier", liability_multiplier)
    )
    return _size(short, p * (owed - paid) - p * owed * np.asarray(insurance_fee))


def asset_for_liability(
    liability: ArrayLike,
    liability_price: ArrayLike,
    asset_price: ArrayLike,
    asset_multiplier: ArrayLike,
    liability_multiplier: ArrayLike,
) -> FloatArray:
    """Units of an asset that a liquidator gets for taking over units of what is owed.

    liability             units taken over, 0 or more
    liability_price       per unit, above 0
    asset_price           per unit, in the same currency, above 0
    asset_multiplier      assets he gets per value
    liability_multiplier  share of the value owed he pays for, above 0
    """
    value = _amounts("liability", liability) * _prices("liability_price", liability_price)
    rate = np.asarray(asset_multiplier) / _prices("liability_multiplier", liability_multiplier)
    return np.asarray(value * rate / _prices("asset_price", asset_price))


def liability_for_asset(
    asset: ArrayLike,
    asset_price: ArrayLike,
    liability_price: ArrayLike,
    asset_multiplier: ArrayLike,
    liability_multiplier: ArrayLike,
) -> FloatArray:
    """Units owed that a liquidator takes over for units of an asset: the inverse of `asset_for_liability`.

    asset                 units handed over, 0 or more
    asset_price           per unit, above 0
    liability_price       per unit, in the same currency, above 0
    asset_multiplier      assets he gets per value, above 0
    liability_multiplier  share of the value owed he pays for
    """
    value = _amounts("asset", asset) * _prices("asset_price", asset_price)
    rate = np.asarray(liability_multiplier) / _prices("asset_multiplier", asset_multiplier)
    return np.asarray(value * rate / _prices("liability_price", liability_price))


def insurance_fee_of_contract(
    shortage: ArrayLike,
    notional: ArrayLike,
    margin_ratio: ArrayLike,
    liquidator_fee: ArrayLike,
    largest: ArrayLike,
    safety: float = INSURANCE_SAFETY,
) -> FloatArray:
    """Share of the notional that the insurance fund can take without making a liquidation useless.

    shortage        margin required less equity, margin currency, 0 or more
    notional        of the whole position, margin currency, above 0
    margin_ratio    margin per notional
    liquidator_fee  share of the notional closed, to the liquidator
    largest         the most it may be
    safety          share of what is left that may be taken

    min(largest, safety (ratio - liquidator fee - shortage / notional)), 0 or more.
    """
    short = _amounts("shortage", shortage) / _prices("notional", notional)
    left = safety * (np.asarray(margin_ratio) - np.asarray(liquidator_fee) - short)
    return np.asarray(np.clip(left, 0.0, np.asarray(largest)))


def insurance_fee_of_liability(
    shortage: ArrayLike,
    value: ArrayLike,
    *,
    asset_weight: ArrayLike,
    asset_multiplier: ArrayLike,
    liability_weight: ArrayLike,
    liability_multiplier: ArrayLike,
    largest: ArrayLike,
) -> FloatArray:
    """Share of a transfer of what is owed that the insurance fund can take.

    shortage              margin required less equity, margin currency, 0 or more
    value                 of all that is owed, margin currency, above 0
    asset_weight          share of an asset's value that counts as collateral
    asset_multiplier      assets the liquidator gets per value
    liability_weight      margin required per value owed, above 0
    liability_multiplier  share of the value owed he pays for, above 0
    largest               the most it may be

    min(largest, (lw - aw am / lm - shortage / value) / lw), 0 or more.
    """
    owed = _prices("liability_weight", liability_weight)
    paid = (
        np.asarray(asset_weight) * np.asarray(asset_multiplier) / _prices("liability_multiplier", liability_multiplier)
    )
    left = (owed - paid - _amounts("shortage", shortage) / _prices("value", value)) / owed
    return np.asarray(np.clip(left, 0.0, np.asarray(largest)))


def _size(shortage: FloatArray, freed: FloatArray) -> FloatArray:
    """shortage / freed, 0 where nothing is short, inf where a unit closed frees nothing."""
    short, per_unit = np.broadcast_arrays(shortage, freed)
    size = np.where(short > 0.0, np.inf, 0.0)
    np.divide(short, per_unit, out=size, where=(per_unit > 0.0) & (short > 0.0))
    return size


def _amounts(field: str, values: ArrayLike) -> FloatArray:
    return _checked(field, values, False, "must be a finite number, 0 or more")


def _prices(field: str, values: ArrayLike) -> FloatArray:
    return _checked(field, values, True, "must be a finite number above 0")


def _checked(field: str, values: ArrayLike, above: bool, remedy: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    good = np.isfinite(array) & ((array > 0.0) if above else (array >= 0.0))
    if not np.all(good):
        rows = np.flatnonzero(~np.atleast_1d(good))
        bad = np.atleast_1d(array)
        raise DataError([Problem("close size", int(row), field, float(bad.flat[row]), remedy) for row in rows])
    return array
