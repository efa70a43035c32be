"""What a calibration is told: horizon, confidence, filter, tail, floor, buffer, bands; every one with its bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pricing.errors import ConfigError
from scenarios.calibrate.tails import LEAST_EXCESSES, moves_in_tail
from scenarios.shocks import check_bounds

FILTERS = ("none", "ewma", "garch")
TAILS = ("sample", "pareto")
FLOORS = ("none", "history")
WHOLE = ("horizon_days", "lookback_days", "least_days", "restore_days", "refit_days", "block_days", "draws", "seed",
         "stress_days", "stress_periods", "scenarios")  # fmt: skip
BOUNDS = {
    "horizon_days": (1, 30),
    "confidence": (0.9, 0.9999),
    "decay": (0.5, 0.9999),
    "tail_share": (0.02, 0.5),
    "lookback_days": (100, 50_000),
    "least_days": (100, 10_000),
    "buffer": (0.0, 2.0),
    "restore_days": (20, 3650),
    "range_low": (0.001, 0.9),
    "range_high": (0.001, 0.9),
    "vol_low": (0.01, 5.0),
    "vol_high": (0.01, 5.0),
    "tail_low": (0.0, 1.0),
    "refit_days": (1, 1000),
    "block_days": (0, 1000),
    "draws": (20, 10_000),
    "band": (0.5, 0.999),
    "seed": (0, 2**31),
    "stress_days": (5, 1000),
    "stress_periods": (1, 20),
    "scenarios": (20, 4000),
    "grid_error": (1e-4, 0.2),
}
# The tail has so many times the moves beyond the confidence at least: where it began at the confidence itself, rounding
# and equal moves would put the quantile outside it.
TAIL_WIDTH = 1.1
# With which power of its days the logarithm of the least move of a vol grows. See `least_vol_move`.
VOL_LOW_POWER = 0.35


@dataclass(frozen=True)
class Settings:
    """Settings of a calibration, with bounds.

    horizon_days   days to close a position, 1 to 30
    confidence     share of the moves that a range covers, 0.9 to 0.9999
    filter         "none", "ewma" or "garch": what moves are scaled to the volatility of today by
    tail           "sample" quantiles, or those of a generalised "pareto" tail
    decay          of the EWMA, 0.5 to 0.9999
    tail_share     share of the moves that the Pareto tail is fitted to, 0.02 to 0.5; at least 1.1 (1 - confidence), and
                   ten moves of the first `least_days`
    lookback_days  calendar days, by the dates of the history, whose returns are taken: 3,650 are ten years; where no
                   dates are given, rows
    least_days     a history must have at least so many returns
    floor          "history": a range is never below the quantile of the unfiltered moves (EMIR 28 (1) (c)); "none"
    buffer         share on top of what the filter gives, 0 to 2, used up before a rise is charged (EMIR 28 (1) (a))
    restore_days   days in which a buffer that is used up is whole again where nothing rises, 20 to 3,650
    range_low, range_high   bounds of the price range, relative, 0.001 to 0.9
    vol_low        least move up of a vol in a day, relative, 0.01 to 5; `least_vol_move` is that of a horizon
    vol_high       largest move up of a vol over the horizon, relative, 0.01 to 5
    tail_low       least factor of far moves, 0 to 1; the default is that of a tail that falls with the power 2.5
    refit_days     along a history a tail and a filter are fitted anew every so many days
    block_days, draws, band, seed   of the bootstrap: days of a block, 0 for as many as suit the moves (`bootstrap.py`);
                   draws; share inside the band; generator
    stress_days, stress_periods     days of a stressed period, and how many are chosen
    scenarios      newest horizons in a historical set, 20 to 4,000
    grid_error     largest error of a grid allowed, share of the price range a contract of any book, 1e-4 to 0.2
    """

    horizon_days: int = 2
    confidence: float = 0.99
    filter: str = "none"
    tail: str = "pareto"
    decay: float = 0.97
    tail_share: float = 0.10
    lookback_days: int = 3650
    least_days: int = 250
    floor: str = "history"
    buffer: float = 0.25
    restore_days: int = 365
    range_low: float = 0.01
    range_high: float = 0.6
    vol_low: float = 0.28
    vol_high: float = 3.0
    tail_low: float = 2.0 / 3.0
    refit_days: int = 20
    block_days: int = 0
    draws: int = 200
    band: float = 0.90
    seed: int = 1
    stress_days: int = 60
    stress_periods: int = 3
    scenarios: int = 1000
    grid_error: float = 0.025

    def __post_init__(self) -> None:
        for name, known in (("filter", FILTERS), ("tail", TAILS), ("floor", FLOORS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")
        check_bounds(self, BOUNDS)
        for name in WHOLE:
            if int(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be a whole number")
        for low, high in (("range_low", "range_high"), ("vol_low", "vol_high")):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(f"{low} = {getattr(self, low)!r}: must not exceed {high} = {getattr(self, high)!r}")
        if self.least_days > self.lookback_days:
            raise ConfigError(f"least_days = {self.least_days!r}: must not exceed lookback_days")
        self._check_tail()

    def _check_tail(self) -> None:
        """The tail begins below the confidence, and has enough moves in the shortest history that is allowed."""
        least_share = TAIL_WIDTH * (1.0 - self.confidence)
        if self.tail_share < least_share * (1.0 - 1e-9):
            raise ConfigError(
                f"tail_share = {self.tail_share!r}: must be at least {least_share:.4g}, {TAIL_WIDTH:g} times "
                f"1 - confidence (confidence = {self.confidence!r}), so that the tail begins below it"
            )
        moves = int(self.least_days) - int(self.horizon_days) + 1
        found = moves_in_tail(moves, self.tail_share)
        if found < LEAST_EXCESSES:
            enough = -int(-LEAST_EXCESSES // self.tail_share) + int(self.horizon_days) - 1
            raise ConfigError(
                f"tail_share = {self.tail_share!r}: of the first least_days = {self.least_days!r} returns of a history "
                f"{found} moves are in the tail, which needs {LEAST_EXCESSES}; widen it, or set least_days = {enough}"
            )


def least_vol_move(settings: Settings) -> float:
    """The least move of a vol over the horizon, in logarithm, up and down alike: ln(1 + vol_low) horizon^0.35.

    The default is what the VIX was before 2020: its 99.5 % quantiles of 1990 to 2019, of type 8, are 28.5 % in a day,
    36.3 % in two, 42.2 % in three and 54.9 % in five; the law has 28.0, 37.0, 43.7 and 54.3 %, at most 1.6 % (of a
    day) below. Falls of the VIX are smaller (16.9 % and 22.2 % in a day and two, against 21.9 and 27.0 % of the law).
    """
    return float(np.log1p(settings.vol_low) * settings.horizon_days**VOL_LOW_POWER)
