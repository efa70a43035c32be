"""A set of historical scenarios from histories: filtered moves to the last day, and those of stressed periods beside.

Returns of a day are of all underlyings and of their vols together. Stressed moves are those over the horizon from every
day of the periods that `stress_periods` finds, unscaled. Where a vol index does not reach back, its move is what
`leverage` says that of the price explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pricing.arrays import FloatArray, IntArray, StrArray
from pricing.errors import ConfigError
from scenarios.calibrate.moves import horizon_moves
from scenarios.calibrate.scenario_sets import Period, stress_periods
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.vol_shocks import leverage
from scenarios.calibrate.volatility import fit_garch
from scenarios.families import historical

DIGITS = 5


def history_params(
    date: StrArray,
    returns: Mapping[str, FloatArray],
    vol_returns: Mapping[str, FloatArray],
    settings: Settings,
) -> tuple[historical.Params, list[Period]]:
    """Parameters of the family `historical`, and the stressed periods as rows of the history.

    date         (T,) last day of each return, YYYY-MM-DD
    returns      underlying -> (T,) log returns of its price a day
    vol_returns  underlying -> (T,) log changes a day of its 30-day vol, NaN on the days before it was known

    filter "none" takes the moves as they were, "ewma" and "garch" scale them to today, one ratio for all prices; GARCH
    is fitted to the mean of the returns in their own deviations. ConfigError where no vol is known on enough days.
    """
    names = list(returns)
    table = np.column_stack([returns[name] for name in names])
    vols = np.column_stack([vol_returns[name] for name in names])
    known = np.all(np.isfinite(vols), axis=1)
    first = int(np.argmax(known))
    if not known[first:].all() or len(table) - first < settings.least_days:
        raise ConfigError(f"vols are known on {int(known.sum())} days: needs {settings.least_days} in a row at the end")
    steps = int(settings.horizon_days)
    count = min(int(settings.scenarios) + steps - 1, len(table) - first)
    filled = _filled(table, vols, first, settings)
    periods = stress_periods(table, settings)
    starts = np.unique(np.concatenate([np.arange(p.first, p.last - steps + 2) for p in periods]))
    price_moves, vol_moves = horizon_moves(table, steps)[starts], horizon_moves(filled, steps)[starts]
    taken = slice(len(table) - count, None)
    params = historical.Params(
        returns={name: _rounded(table[taken, n]) for n, name in enumerate(names)},
        vol_returns={name: _rounded(vols[taken, n]) for n, name in enumerate(names)},
        dates=tuple(date[taken].tolist()),
        horizon_steps=steps,
        windows=count - steps + 1,
        stress_returns={name: _rounded(price_moves[:, n]) for n, name in enumerate(names)},
        stress_vol_returns={name: _rounded(vol_moves[:, n]) for n, name in enumerate(names)},
        stress_dates=tuple(date[starts + steps - 1].tolist()),
        **_filter(table[taken], settings),  # type: ignore[arg-type]
    )
    return params, periods


def horizon_table(params: historical.Params) -> tuple[FloatArray, FloatArray]:
    """(M,F) log moves over the horizons taken, filtered as the parameters say: of prices and of vols, by name."""
    tables = (historical.moves(params, params.returns), historical.moves(params, params.vol_returns))
    price, vol = (horizon_moves(table, int(params.horizon_steps))[-params.horizons :] for table in tables)
    return price, vol


def compressed(params: historical.Params, kept: IntArray) -> historical.Params:
    """These horizons alone, in this order, each a step of its own; the stressed set is kept whole."""
    (price, vol), names, vol_names = horizon_table(params), sorted(params.returns), sorted(params.vol_returns)
    ends = np.array(params.dates)[-params.horizons :]
    return replace(
        params,
        returns={name: _rounded(price[kept, n]) for n, name in enumerate(names)},
        vol_returns={name: _rounded(vol[kept, n]) for n, name in enumerate(vol_names)},
        dates=tuple(ends[kept].tolist()),
        step_days=params.step_days * params.horizon_steps,
        horizon_steps=1,
        windows=len(kept),
        method="plain",
    )


def _filter(table: FloatArray, settings: Settings) -> dict[str, str | float]:
    if settings.filter == "none":
        return {"method": "plain"}
    if settings.filter == "ewma":
        return {"method": "scaled", "filter": "ewma", "decay": settings.decay}
    fitted = fit_garch((table / table.std(axis=0)).mean(axis=1))
    # As many digits as fit: alpha + beta stays below 1.
    alpha, beta = round(fitted.alpha, DIGITS), np.floor(fitted.beta * 10**DIGITS) / 10**DIGITS
    return {"method": "scaled", "filter": "garch", "garch_alpha": alpha, "garch_beta": float(beta)}


def _filled(table: FloatArray, vols: FloatArray, first: int, settings: Settings) -> FloatArray:
    """Changes of vols, before they were known as returns of the day explain them."""
    one_day = Settings(horizon_days=1, least_days=settings.least_days, lookback_days=settings.lookback_days)
    filled = vols.copy()
    for n in range(table.shape[1]):
        found = leverage(table[first:, n], vols[first:, n], 1.0, 1.0, 1.0, one_day)
        explained = found.down * np.maximum(-table[:, n], 0.0) + found.up * np.maximum(table[:, n], 0.0)
        filled[:first, n] = explained[:first]
    return filled


def _rounded(values: FloatArray) -> tuple[float, ...]:
    return tuple((np.round(values, DIGITS) + 0.0).tolist())
