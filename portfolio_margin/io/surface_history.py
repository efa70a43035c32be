"""Option chains of many days as a history of a surface: vols and forwards at constant tenors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from portfolio_margin.io.history_gaps import WEEKDAYS, days_apart, over_a_gap, weekdays_off
from portfolio_margin.io.tables import number_column, read_table, refuse, require_columns, row_problems_of, text_column
from pricing.arrays import BoolArray, FloatArray
from pricing.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from scenarios.calibrate.surfaces import SurfaceHistory

YEAR_MS = 365 * 86_400_000
NUMBERS = ("strike", "underlying", "index", "mark_iv")
# A quote nearer to its expiry than this has a vol that says little.
LEAST_YEARS = 0.25 / 365.0
SHOWN = 3


def read_surface_history(source: str | Path | pd.DataFrame, underlying: str, until: str = "") -> SurfaceHistory:
    """The surface of an underlying on every day of a file of chains; of several snapshots of a day the last.

    source      columns snapshot_utc, currency, expiry_utc (times), cp (C, P), strike, underlying (forward of the
                expiry), index (spot), mark_iv (decimal); one row an option and snapshot
    underlying  its currency
    until       last day taken, YYYY-MM-DD, "" for all there is

    Of every expiry the options out of the money count. Days of a gap (more than a market has off, `days_off`) are rows
    without vols: moves over it are none. DataError listing every row that is wrong, where the file has
    nothing of the underlying, where vols are in percent, and where days are two apart or more on the median, since a
    move from one to the next would count as one of a day.
    """
    table = read_table(source, "chains")
    require_columns(table, ["snapshot_utc", "currency", "expiry_utc", "cp", *NUMBERS], only=False)
    columns = {name: number_column(table, name) for name in NUMBERS}
    problems = [
        problem
        for name, (values, unread) in columns.items()
        for problem in row_problems_of(table, name, unread | ~(values > 0.0), "must be a number above 0")
    ]
    if problems:
        raise DataError(problems)
    strike, forward, spot, vol = (values for values, _ in columns.values())
    if np.median(vol) > 3.0:
        refuse(table.file, "mark_iv", float(np.median(vol)), "looks like percent; vols are decimal here, 0.65")
    moment, expiry = (_milliseconds(table.frame[name]) for name in ("snapshot_utc", "expiry_utc"))
    call = (text_column(table, "cp") == "C").to_numpy()
    day = moment.astype("datetime64[ms]").astype("datetime64[D]")
    chosen = (text_column(table, "currency") == underlying).to_numpy() & (expiry > moment + LEAST_YEARS * YEAR_MS)
    if until:
        chosen &= day <= np.datetime64(until, "D")
    chosen &= call == (strike >= forward)
    if not np.any(chosen):
        refuse(table.file, "currency", underlying, "the file has no option of it to that day")
    _refuse_sparse(table.file, np.unique(day[chosen]))
    order = np.lexsort((strike, expiry, moment))
    rows = order[chosen[order]]
    return _history(day[rows], moment[rows], expiry[rows], np.log(strike[rows] / forward[rows]),
                    np.log(forward[rows] / spot[rows]), vol[rows])  # fmt: skip


def surfaces_told(name: str, surface: SurfaceHistory) -> str:
    """What is told of the surfaces of an underlying: how many, from when to when, on which days of the week there are
    none, which gaps there are."""
    said = f"surfaces of {name} on {surface.known_days} days, {surface.date[0]} to {surface.date[-1]}"
    known = surface.date[np.isfinite(surface.vol).any(axis=(1, 2))].astype("datetime64[D]").astype(np.int64)
    if len(known) and (off := weekdays_off(known)):
        names = " and ".join(WEEKDAYS[n] for n in off)
        said = f"{said}, none or few on {names}: a move over these counts as one of a day"
    if not surface.gaps:
        return said
    more = f" and {len(surface.gaps) - SHOWN} more" if len(surface.gaps) > SHOWN else ""
    gaps = f"{', '.join(surface.gaps[:SHOWN])}{more}"
    return f"{said}; {len(surface.gaps)} gaps, {gaps}: moves over a gap do not count"


def _refuse_sparse(file: str, days: FloatArray) -> None:
    """DataError for (T,) days, datetime64, that are no days in a row."""
    if apart := days_apart(days.astype(np.int64)):
        refuse(
            file, "snapshot_utc", str(days[1]), f"chains are {apart:g} days apart on the median: give one of every day"
        )


def _history(
    day: FloatArray, moment: FloatArray, expiry: FloatArray, k: FloatArray, carry: FloatArray, vol: FloatArray
) -> SurfaceHistory:
    """Rows sorted by moment, expiry and strike into days."""
    from scenarios.calibrate.surfaces import MONEYNESS, TENORS, SurfaceHistory

    known = np.unique(day)
    days, gaps = _with_gaps(known)
    surface = np.full((len(days), len(TENORS), len(MONEYNESS)), np.nan)
    rate = np.full((len(days), len(TENORS)), np.nan)
    for n, date in enumerate(days):
        here = day == date
        if not here.any():
            continue
        here &= moment == moment[here].max()
        surface[n], rate[n] = _one_day(here, moment, expiry, k, carry, vol)
    names = days.astype(np.str_)
    return SurfaceHistory(names, np.array(TENORS), np.array(MONEYNESS), surface, rate, gaps)


def _with_gaps(days: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
    """(T,) days, datetime64, with those of gaps among them; the days before and after each gap."""
    over = np.flatnonzero(over_a_gap(days.astype(np.int64)))
    missing = [np.arange(days[n] + 1, days[n + 1]) for n in over.tolist()]
    return np.sort(np.concatenate([days, *missing])), tuple(f"{days[n]} to {days[n + 1]}" for n in over.tolist())


def _one_day(
    here: BoolArray, moment: FloatArray, expiry: FloatArray, k: FloatArray, carry: FloatArray, vol: FloatArray
) -> tuple[FloatArray, FloatArray]:
    from scenarios.calibrate.surfaces import MONEYNESS, TENORS, constant_tenors, slice_vols

    expiries = np.unique(expiry[here])
    tau = (expiries - moment[here][0]) / YEAR_MS
    variance = np.full((len(tau), len(MONEYNESS)), np.nan)
    carried = np.full(len(tau), np.nan)
    for x, end in enumerate(expiries):
        of_it = here & (expiry == end)
        # A row has the forward and the spot of its own minute: the median is that of the snapshot.
        carried[x] = np.median(carry[of_it])
        moneyness, first = np.unique(k[of_it], return_index=True)
        variance[x] = slice_vols(moneyness, vol[of_it][first], float(tau[x]), MONEYNESS) ** 2 * tau[x]
    tenors = np.array(TENORS) / 365.0
    found = constant_tenors(tau, variance, TENORS) / tenors[:, None]
    return np.sqrt(found), constant_tenors(tau, carried, TENORS) / tenors


def _milliseconds(values: pd.Series) -> FloatArray:
    import pandas as pd

    return np.asarray(pd.to_datetime(values, utc=True).dt.as_unit("ms").astype("int64"), dtype=np.int64)
