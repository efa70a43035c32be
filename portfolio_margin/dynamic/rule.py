"""The rule: parameters of an underlying from its history, bounded and limited per day. No vote, no judgement.

Anybody with the same history gets the same parameters, since the path starts with the history and everything the rule
needs is in `Rule`; results are rounded to `DIGITS` significant digits.

  level    s[t] daily volatility: EWMA v[t+1] = decay v[t] + (1 - decay) r[t]^2 (RiskMetrics 1996), the implied
           vol over sqrt(365), or the larger of the two
  target   multiple x s[t] x sqrt(horizon_days)
  tool     one of EMIR's three, with s of the last floor_days as the floor and the usual level, and the largest s of
           stressed_window days within them as the stressed one (`procyclicality.py`)
  bounds   clip to [low, high]
  limit    at most rise_per_day up and fall_per_day down from one day to the next

Returns of a vol index go through the same steps: vol_up = exp(x) - 1 and vol_down = 1 - exp(-x) of the path x. Volumes
are a low quantile of the latest days, limited per day the other way round: thin markets count at the rate of rises.
What is measured may be a history too, one value a day: then volumes and shares are limited per day as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from portfolio_margin.dynamic.procyclicality import buffer_drawn, floored, rate_limited, stressed_weighted
from portfolio_margin.dynamic.underlying import BOUNDS, Underlying
from pricing.arrays import DAYS_PER_YEAR, FloatArray
from pricing.errors import ConfigError, DataError, Problem
from scenarios.filters import ewma_variance
from scenarios.shocks import check_bounds

LEVELS = ("ewma", "implied", "larger")
TOOLS = ("floor", "buffer", "stressed_weight")
DIGITS = 4


@dataclass(frozen=True)
class Rule:
    """What is published beside the data, with bounds.

    level            "ewma", "implied" or "larger": what the volatility of a day is
    decay            of the EWMA, 0.5 to 0.9999
    multiple         standard deviations covered, 1 to 10
    horizon_days     days to close, 0.1 to 30
    tool             "floor", "buffer" or "stressed_weight"
    buffer           share on top of the usual level that stress may use up, 0.25 to 2
    stressed_weight  weight of the stressed observations, 0.25 to 1
    stressed_window  days of a stressed stretch, 5 to 1,000
    floor_days       days of the floor, 250 to 10,000; of a shorter history all of it
    least_days       a history must have at least so many returns, 20 to 10,000
    range_low, range_high   bounds of the price range, 0.001 to 0.9
    vol_low, vol_high       bounds of the path of vol, in logarithm, 0.001 to 1.7
    rise_per_day     largest rise from one day to the next, a share, 0.001 to 10
    fall_per_day     largest fall, 0.001 to 0.9
    volume_days      latest days of which volume is taken, 1 to 1,000
    volume_quantile  quantile of them, 0 to 1
    share_per_day    largest change of a share of accounts from one day to the next, 0.001 to 1
    """

    level: str = "ewma"
    decay: float = 0.97
    multiple: float = 3.0
    horizon_days: float = 2.0
    tool: str = "floor"
    buffer: float = 0.25
    stressed_weight: float = 0.25
    stressed_window: int = 60
    floor_days: int = 3650
    least_days: int = 250
    range_low: float = 0.03
    range_high: float = 0.6
    vol_low: float = 0.1
    vol_high: float = 1.2
    rise_per_day: float = 0.1
    fall_per_day: float = 0.02
    volume_days: int = 30
    volume_quantile: float = 0.25
    share_per_day: float = 0.05

    def __post_init__(self) -> None:
        for name, known in (("level", LEVELS), ("tool", TOOLS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")
        check_bounds(self, RULE_BOUNDS)
        for name in ("stressed_window", "floor_days", "least_days", "volume_days"):
            if int(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")
        for low, high in (("range_low", "range_high"), ("vol_low", "vol_high")):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(f"{low} = {getattr(self, low)!r}: must not exceed {high} = {getattr(self, high)!r}")


RULE_BOUNDS = {
    "decay": (0.5, 0.9999),
    "multiple": (1.0, 10.0),
    "horizon_days": (0.1, 30.0),
    "buffer": (0.25, 2.0),
    "stressed_weight": (0.25, 1.0),
    "stressed_window": (5, 1000),
    "floor_days": (250, 10_000),
    "least_days": (20, 10_000),
    "range_low": (0.001, 0.9),
    "range_high": (0.001, 0.9),
    "vol_low": (0.001, 1.7),
    "vol_high": (0.001, 1.7),
    "rise_per_day": (0.001, 10.0),
    "fall_per_day": (0.001, 0.9),
    "volume_days": (1, 1000),
    "volume_quantile": (0.0, 1.0),
    "share_per_day": (0.001, 1.0),
}
# What a history of it is limited by: volumes by their inverse, which a requirement rises with, and shares by a step.
INVERSE = ("open_interest", "daily_vega_volume")
SHARES = ("long_share", "short_vol_share")


class History(NamedTuple):
    """One underlying, one row a day, oldest first.

    close     (T,) last price, above 0
    vol       (V,) index of 30-day implied vol, decimal, its last day that of `close`; it may reach less far back
    turnover  (T,) traded that day, in the currency of amounts
    """

    close: FloatArray
    vol: FloatArray
    turnover: FloatArray


class Path(NamedTuple):
    """(T+1,) each, for the day of every return and for the day after the last; moves over the horizon.

    target  what the level, the multiple and the tool give, within the bounds
    floor   what the floor of the ten years gives, within the bounds
    moved   the target as far as the limit per day lets it go: what is charged
    level   standard deviation of a day behind the target, before tool, bounds and limit
    """

    target: FloatArray
    floor: FloatArray
    moved: FloatArray
    level: FloatArray


def parameters_of(name: str, history: History, rule: Rule, measured: Mapping[str, ArrayLike]) -> Underlying:
    """Parameters of an underlying for the day after its history.

    name      of the underlying, for messages
    measured  what no history has: half_spread, open_interest, daily_vega_volume, long_share, short_vol_share,
              oracle_age_seconds, oracle_confidence; what is not given has the default of `Underlying`, if any. A
              number, or one a day to the last day of the history, which is limited where `measured_value` says so
    DataError for a history that is too short, holds what is no price, or has no turnover of late; ConfigError for a
    measure out of bounds.
    """
    _check(name, history, rule)
    price = move_path(np.diff(np.log(history.close)), rule, (rule.range_low, rule.range_high), _implied(history))
    vol = move_path(np.diff(np.log(history.vol)), rule, (rule.vol_low, rule.vol_high))
    days = rule.multiple * np.sqrt(rule.horizon_days)
    change = rate_limited(vol.level * history.vol, rule.rise_per_day, rule.fall_per_day)
    moved, floor = float(price.moved[-1]), min(float(price.floor[-1]), float(price.moved[-1]))
    up, up_floor = float(vol.moved[-1]), min(float(vol.floor[-1]), float(vol.moved[-1]))
    found: dict[str, Any] = {
        "price_range": moved,
        "price_floor": floor,
        "vol_up": np.expm1(up),
        "vol_up_floor": np.expm1(up_floor),
        "vol_down": -np.expm1(-up),
        "vol_down_floor": -np.expm1(-up_floor),
        "day_move": moved / days,
        "day_vol_change": change[-1],
        "daily_volume": volume_path(history.turnover, rule)[-1],
    }
    unknown = sorted(set(measured) - {field.name for field in fields(Underlying)} | set(measured) & set(found))
    if unknown:
        raise ConfigError(f"{name}: {', '.join(unknown)} cannot be given: the rule has it, or there is no such field")
    missing = [key for key in ("half_spread", "open_interest", "daily_vega_volume") if key not in measured]
    if missing:
        raise ConfigError(f"{name}: no history has {', '.join(missing)}: give it as measured")
    found = {key: rounded(value) for key, value in found.items()}
    return Underlying(**found, **{key: measured_value(key, value, rule) for key, value in measured.items()})


def measured_value(field: str, values: ArrayLike, rule: Rule) -> float:
    """What counts of a measured field of `Underlying`: a number as it is, of one number a day where the limit has it.

    ConfigError where it is neither, or a volume of a history is not above 0.
    """
    series = np.atleast_1d(np.asarray(values, dtype=np.float64))
    single = np.ndim(values) == 0
    if series.ndim != 1 or not len(series) or not np.all(np.isfinite(series)):
        raise ConfigError(f"{field} = {values!r}: must be a number, or one for every day")
    if single or field not in (*INVERSE, *SHARES):
        return float(series[-1])
    if field in SHARES:
        share = float(series[0])
        for now in series[1:].tolist():
            share += min(max(now - share, -rule.share_per_day), rule.share_per_day)
        return rounded(share)
    if not np.all(series > 0.0):
        raise ConfigError(f"{field} = {values!r}: must be above 0 on every day")
    return rounded(1.0 / float(rate_limited(1.0 / series, rule.rise_per_day, rule.fall_per_day)[-1]))


def move_path(returns: FloatArray, rule: Rule, bounds: tuple[float, float], implied: FloatArray | None = None) -> Path:
    """The path of moves over the horizon, from `least_days` returns on to the day after the last.

    returns  (T,) log returns a day, oldest first
    bounds   of the move
    implied  (T+1,) standard deviation of a day that options imply, known on each day
    """
    moves = np.asarray(returns, dtype=np.float64)
    squares = moves * moves
    known = np.sqrt(ewma_variance(moves, rule.decay, squares[: rule.least_days].mean()))
    level = known if implied is None or rule.level == "ewma" else implied
    level = np.maximum(known, implied) if implied is not None and rule.level == "larger" else level
    long_run = np.sqrt(trailing_mean(squares, rule.floor_days))
    days = rule.multiple * np.sqrt(rule.horizon_days)
    floor = days * long_run
    if rule.tool == "floor":
        target = floored(days * level, floor)
    elif rule.tool == "buffer":
        target = buffer_drawn(days * level, floor, rule.buffer)
    else:
        stressed = days * np.sqrt(trailing_maximum(_stretches(squares, int(rule.stressed_window)), rule.floor_days))
        target = stressed_weighted(days * level, stressed, rule.stressed_weight)
    wanted, least = np.clip(target, *bounds), np.clip(floor, *bounds)
    start = min(int(rule.least_days), len(moves))
    limited = rate_limited(wanted[start:], rule.rise_per_day, rule.fall_per_day)
    return Path(wanted, least, np.concatenate([wanted[:start], limited]), level)


def volume_path(turnover: FloatArray, rule: Rule) -> FloatArray:
    """(T,) volume of a day that counts: a low quantile of the latest days, limited per day, at least 1."""
    window = int(rule.volume_days)
    low = [np.quantile(turnover[max(0, t + 1 - window) : t + 1], rule.volume_quantile) for t in range(len(turnover))]
    target = np.clip(np.array(low), *BOUNDS["daily_volume"])
    # The inverse of a volume is what a requirement rises with, so limits apply to it.
    return np.asarray(1.0 / rate_limited(1.0 / target, rule.rise_per_day, rule.fall_per_day))


def trailing_mean(values: FloatArray, window: int) -> FloatArray:
    """(T+1,) mean of up to `window` values before each day and before the day after the last; of the first value where
    there is none before."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(len(values) + 1)
    begin = np.maximum(end - int(window), 0)
    mean = (total[end] - total[begin]) / np.maximum(end - begin, 1)
    return np.asarray(np.maximum(np.where(end > 0, mean, values[0]), 0.0))


def _stretches(squares: FloatArray, window: int) -> FloatArray:
    """(T+1,) mean of the `window` values before each day; the first whole stretch stands for all before it."""
    mean = trailing_mean(squares, window)
    mean[:window] = mean[min(window, len(squares))]
    return mean


def trailing_maximum(values: FloatArray, window: int) -> FloatArray:
    """(T,) largest of up to `window` values to each day, that day included."""
    width = min(int(window), len(values))
    padded = np.concatenate([np.full(width - 1, -np.inf), values])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, width).max(axis=1))


def rounded(value: float) -> float:
    """A parameter to its significant digits: what differs by less in the last bits of a sum is the same parameter."""
    return float(f"{float(value):.{DIGITS}g}")


def _implied(history: History) -> FloatArray | None:
    """(T,) standard deviation of a day that the vol index implies; None where it does not reach back as far."""
    if len(history.vol) != len(history.close):
        return None
    return np.asarray(history.vol / np.sqrt(DAYS_PER_YEAR))


def _check(name: str, history: History, rule: Rule) -> None:
    problems = []
    for field in History._fields:
        values = np.asarray(getattr(history, field), dtype=np.float64)
        least = rule.least_days + 1 if field != "turnover" else len(history.close)
        if len(values) < least:
            problems.append(Problem(name, None, field, len(values), f"needs at least {least} days"))
        bad = np.flatnonzero(~(np.isfinite(values) & ((values > 0.0) | (field == "turnover")) & (values >= 0.0)))
        problems += [Problem(name, int(row) + 1, field, float(values[row]), "must be above 0") for row in bad]
    if rule.level != "ewma" and len(history.vol) != len(history.close):
        remedy = f"level = {rule.level!r} needs an index for every day of the prices, {len(history.close)}"
        problems.append(Problem(name, None, "vol", len(history.vol), remedy))
    if not problems:
        latest = float(np.quantile(history.turnover[-int(rule.volume_days) :], rule.volume_quantile))
        if not latest >= BOUNDS["daily_volume"][0]:
            remedy = (
                f"the {rule.volume_quantile:g} quantile of the last {rule.volume_days} days must be at least "
                f"{BOUNDS['daily_volume'][0]:g}: a market without trades has none to close in; is the column empty?"
            )
            problems.append(Problem(name, None, "turnover", latest, remedy))
    if problems:
        raise DataError(problems)
