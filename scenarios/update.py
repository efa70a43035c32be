"""update: risk arrays after some prices have moved; only the contracts that depend on these are revalued."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pricing.arrays import BoolArray
from pricing.errors import DataError, Problem
from pricing.instruments import Instruments
from pricing.market import DIVIDENDS, Market
from pricing.price import default_threads
from pricing.resolve import resolve
from scenarios.revalue import arrays_digest, contract_columns
from scenarios.risk_arrays import RiskArrays
from scenarios.terms import BY_CURRENCY, BY_EXPIRY

# What names the rows of a market: another name is another market, not another price.
ROW_NAMES = ("underlying_id", "expiry_underlying", "expiry_time", "currency_id", "currency_underlying")
OF_EXPIRY = ("forward", "discount", "svi", "fixed_share")


def moved_contracts(instruments: Instruments, before: Market, after: Market) -> BoolArray:
    """(N,) True where a contract's value in some scenario may differ between two snapshots of the same rows.

    Every contract, where the time has moved or other dividends are known; else those whose vol, expiry row, underlying
    or settlement currency has moved.
    DataError where the two do not have the same rows.
    """
    for name in ROW_NAMES:
        if not np.array_equal(getattr(before, name), getattr(after, name)):
            remedy = "the rows of the market have changed: the contracts have to be listed anew with it"
            raise DataError([Problem("market", None, name, getattr(after, name)[:4].tolist(), remedy)])
    if before.mark_vol.shape != after.mark_vol.shape:
        remedy = f"needs one vol per contract, {len(instruments)} in all (NaN = use the slice)"
        raise DataError([Problem("market", None, "mark_vol", after.mark_vol.shape, remedy)])
    dividends_differ = any(not np.array_equal(getattr(before, name), getattr(after, name)) for name in DIVIDENDS)
    if before.valuation_time != after.valuation_time or dividends_differ:
        return np.ones(len(instruments), dtype=np.bool_)
    expiry = np.any([_differs(getattr(before, name), getattr(after, name)) for name in OF_EXPIRY], axis=0)
    underlying, currency = _differs(before.spot, after.spot), _differs(before.fx, after.fx)
    # One more row each, for index -1: cash that no underlying moves.
    expiry, underlying = np.append(expiry, False), np.append(underlying, False)
    return np.asarray(
        _differs(before.mark_vol, after.mark_vol)
        | expiry[instruments.expiry_idx]
        | underlying[instruments.underlying_idx]
        | currency[instruments.currency_idx]
    )


def update(
    arrays: RiskArrays,
    instruments: Instruments,
    market: Market,
    moved: BoolArray,
    *,
    backend: str = "numba",
    threads: int | None = None,
) -> RiskArrays:
    """The risk arrays of `market`, equal bit by bit to `revalue(instruments, market, arrays.scenario_set)`.

    arrays  of the snapshot before, fully revalued by the same backend with the default accuracy of early exercise
    moved   (N,) from `moved_contracts`; other rows are taken over
    Raises what `revalue` raises.
    """
    inputs = resolve(instruments, market)
    workers = default_threads(int(moved.sum()) * len(arrays.scenario_set)) if threads is None else threads
    how = ("full", backend, "default", workers)
    part, models = contract_columns(instruments, market, arrays.scenario_set, inputs, moved, arrays.tick, how)
    columns: dict[str, Any] = {
        name: _scattered(getattr(arrays, name), moved, new) for name, new in part._asdict().items()
    }
    of_market: dict[str, Any] = {name: getattr(market, name) for name in (*BY_EXPIRY, *BY_CURRENCY)}
    return replace(
        arrays,
        **columns,
        terms=replace(arrays.terms, vol=inputs.vol, spot=market.spot, **of_market),
        valuation_time=market.valuation_time,
        digest=arrays_digest(
            (instruments, market, arrays.scenario_set), ("full", backend, arrays.tick), "default", list(models.values())
        ),
        market_digest=market.digest,
    )


def _differs(before: NDArray[np.float64], after: NDArray[np.float64]) -> BoolArray:
    """(rows,) whether any number of a row has other bits; NaN, for a number that is not given, equals itself."""
    apart = np.ascontiguousarray(before).view(np.int64) != np.ascontiguousarray(after).view(np.int64)
    return np.asarray(apart if apart.ndim == 1 else apart.any(axis=1))


def _scattered(values: NDArray[np.float64], where: BoolArray, new: NDArray[np.float64]) -> NDArray[np.float64]:
    changed = values.copy()
    changed[where] = new
    # Nobody else holds it: read-only from here on, it is not copied again.
    changed.flags.writeable = False
    return changed
