"""Histories for a calibration, and parameters made of what it found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from portfolio_margin.io.history import (
    LAST_DAY,
    VOL_UNITS,
    CheckedHistory,
    decimal_vols,
    read_checked_history,
    refuse_constant,
)
from portfolio_margin.io.tables import refuse
from pricing.arrays import FloatArray, IntArray, StrArray


@dataclass(frozen=True)
class CalibrationHistory:
    """What an underlying is calibrated from.

    price, vol   its histories, of the price and of an index of its 30-day vol
    vol_unit     "percent" or "decimal", that of the index
    """

    price: CheckedHistory
    vol: CheckedHistory
    vol_unit: str

    @property
    def last_day(self) -> str:
        """The last day of both, YYYY-MM-DD."""
        return str(self.price.date[-1])

    @property
    def last_vol(self) -> float:
        """The vol of the last day, decimal."""
        return float(self.vol.close[-1]) * VOL_UNITS[self.vol_unit]

    def joint_returns(self) -> tuple[FloatArray, FloatArray, StrArray]:
        """(M,) log returns of price and of vol from one day that both have to the next, and (M,) the later days."""
        from scenarios.calibrate.moves import log_returns

        days, of_price, of_vol = np.intersect1d(self.price.date, self.vol.date, return_indices=True)
        if len(days) < 3:
            refuse(self.vol.source, "date", len(days), f"has fewer than three days in common with {self.price.source}")
        return log_returns(self.price.close[of_price]), log_returns(self.vol.close[of_vol]), days[1:]


def read_calibration_history(
    prices: str,
    vols: str,
    *,
    price_columns: tuple[str, str],
    vol_columns: tuple[str, str],
    vol_unit: str,
    until: str = "",
    accept: Collection[str] = (),
    latest: str = LAST_DAY,
) -> CalibrationHistory:
    """Histories of one underlying, checked, up to and with the day `until`.

    prices, vols   files
    price_columns, vol_columns   names of time and close
    vol_unit                     "percent" (vol points) or "decimal"
    accept                       days whose jump is known to be real
    latest                       today, in UTC: it is not over and is left out

    DataError as `read_checked_history`; where one never moves; where the two end on different days; where vols are in
    the other unit.
    """
    price, vol = (
        read_checked_history(file, time=columns[0], price=columns[1], until=until, accept=accept, latest=latest)
        for file, columns in ((prices, price_columns), (vols, vol_columns))
    )
    refuse_constant(price.source, price_columns[1], price.close)
    refuse_constant(vol.source, vol_columns[1], vol.close)
    if vol.date[-1] != price.date[-1]:
        remedy = f"the prices of {price.source} end on {price.date[-1]}: give a last day that both have"
        refuse(vol.source, "date", str(vol.date[-1]), remedy)
    decimal_vols(vol.source, vol_columns[1], vol.close, vol_unit)
    return CalibrationHistory(price, vol, vol_unit)


def common_returns(histories: Mapping[str, CalibrationHistory]) -> FloatArray:
    """(M,U) log returns of all prices from one day that all have to the next. DataError where there are no three."""
    from scenarios.calibrate.moves import log_returns

    days = common_days(histories)
    return log_returns(
        np.column_stack([h.price.close[np.searchsorted(h.price.date, days)] for h in histories.values()])
    )


def common_days(histories: Mapping[str, CalibrationHistory]) -> StrArray:
    """(M+1,) days on which all have a price. DataError where there are no three."""
    days = sorted(set.intersection(*(set(history.price.date.tolist()) for history in histories.values())))
    if len(days) < 3:
        names = ", ".join(history.price.source for history in histories.values())
        refuse(names, "date", len(days), "the histories have fewer than three days in common")
    return np.array(days, dtype=np.str_)


def day_numbers(dates: StrArray) -> IntArray:
    """(T-1,) days since 1970 on which the returns from one of (T,) dates to the next ended."""
    return np.asarray(dates[1:], dtype="datetime64[D]").astype(np.int64)


def findings(histories: Mapping[str, CalibrationHistory]) -> list[str]:
    """What is told of all files, each sentence once."""
    told = [line for history in histories.values() for line in (*history.price.findings, *history.vol.findings)]
    return list(dict.fromkeys(told))
