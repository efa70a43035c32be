"""How the paths that ship were made of market data: run again on the data, these give the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from portfolio_margin.io.chain import vol_quotes, with_surface
from portfolio_margin.io.deribit import read_chain, snapshot_times
from portfolio_margin.io.price_history import PriceHistory
from portfolio_margin.io.tables import number_column, read_table, text_column
from portfolio_margin.stress.path import StressPath, by_tenor
from portfolio_margin.stress.rules import VOL_BETA
from pricing.arrays import FloatArray, IntArray
from pricing.errors import DataError, Problem
from pricing.fit import expiries_of, fit, slices_of
from pricing.interpolation import vol_at

MS_PER_HOUR = 3_600_000
TENORS = (7.0, 30.0, 90.0, 180.0)
DAYS_PER_YEAR = 365.0
NO_TOKENS = np.zeros(0, dtype=np.str_)
DIGITS = 4


def chain_path(source: str | Path, name: str, origin: str = "", rows: Sequence[int] | None = None) -> StressPath:
    """The path of a file with several snapshots of a Deribit chain: indices, and vols at the money of the slices that
    our own fit makes of each, at TENORS days.

    source         .csv, .csv.gz or .parquet
    name, origin   of the path
    rows    of the snapshots in the order of time, the first first; None: all
    """
    every = [int(moment) for moment in snapshot_times(source)]
    moments = every if rows is None else [every[row] for row in rows]
    price, vol, names = [], [], None
    for moment in moments:
        snapshot = read_chain(source, snapshot=moment, on_bad_row="exclude")
        expiries = expiries_of(snapshot.market)
        surface = fit(vol_quotes(snapshot), expiries, backend="numpy")
        market = with_surface(snapshot, surface.svi).market
        names = market.underlying_id if names is None else names
        price.append(market.spot)
        at_money = []
        for u in range(len(names)):
            kept = slices_of(surface, expiries, u)
            years = np.array(TENORS) / DAYS_PER_YEAR
            at_money.append(vol_at(kept.svi, kept.tau, years, np.zeros(len(TENORS))))
        vol.append(np.array(at_money))
    return _path(name, origin, np.array(moments), np.array(price), np.stack(vol), np.array(TENORS), names)


def price_path(
    sources: dict[str, str | Path],
    name: str,
    moments: IntArray,
    *,
    lowest: int | None = None,
    index: PriceHistory | None = None,
    origin: str = "",
) -> StressPath:
    """The path of hourly bars, columns open_time_utc, close and low.

    sources   underlying -> file
    name      of the path
    moments   (T,) ms UTC, ends of bars, rising
    lowest    one of the moments that gets the low of its bar, at the time that the bar begins plus 20 minutes
    index     closes of a vol index of 30 days, one a day; between two, straight in time. None: log vol rises by
              VOL_BETA times the fall of log price below the start, of the first underlying
    origin    where the numbers come from
    """
    closes, lows = [], []
    for file in sources.values():
        table = read_table(file, "bars")
        begins = np.array(text_column(table, "open_time_utc").str.rstrip("Z").to_numpy(), dtype="datetime64[ms]")
        ends = begins.astype(np.int64) + MS_PER_HOUR
        rows = np.searchsorted(ends, moments)
        known = (rows < len(ends)) & (ends[np.minimum(rows, len(ends) - 1)] == moments)
        if not np.all(known):
            late = int(np.flatnonzero(~known)[0])
            raise DataError([Problem(str(file), None, "open_time_utc", int(moments[late]), "no bar ends then")])
        closes.append(number_column(table, "close")[0][rows])
        lows.append(number_column(table, "low")[0][rows])
    price, times = np.column_stack(closes), moments.copy()
    if lowest is not None:
        row = int(np.flatnonzero(moments == lowest)[0])
        price = np.insert(price, row, np.column_stack(lows)[row], axis=0)
        times = np.insert(times, row, lowest - MS_PER_HOUR * 2 // 3)
    if index is None:
        level = np.exp(-VOL_BETA * np.minimum(np.log(price[:, :1] / price[0, :1]), 0.0))
    else:
        # A close of a day is one of its end.
        day_ends = index.date.astype("datetime64[ms]").astype(np.int64) + 24 * MS_PER_HOUR
        level = np.interp(times, day_ends, index.close)[:, None]
        level = level / level[0]
    days = np.array(TENORS)
    vol = np.repeat(by_tenor(level, days)[:, None, :], len(sources), axis=1)
    return _path(name, origin, times, price, vol, days, np.array(list(sources)))


def path_text(path: StressPath) -> str:
    """The path as the CSV that `read_path` reads, factors with four decimals."""
    columns = {"hours": [f"{hour:.4f}".rstrip("0").rstrip(".") for hour in path.hours]}
    for u, underlying in enumerate(path.underlying_id.tolist()):
        columns[f"price_{underlying}"] = [f"{value:.{DIGITS}f}" for value in path.price[:, u]]
        for k, days in enumerate(path.tenor_days.tolist()):
            columns[f"vol_{underlying}_{days:g}d"] = [f"{value:.{DIGITS}f}" for value in path.vol[:, u, k]]
    lines = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
    return "\n".join(lines) + "\n"


def _path(
    name: str, origin: str, times: IntArray, price: FloatArray, vol: FloatArray, days: FloatArray, names: object
) -> StressPath:
    """Factors on the first row."""
    hours = (times - times[0]) / MS_PER_HOUR
    peg = np.zeros((len(hours), 0))
    return StressPath(
        name=name,
        source=origin,
        hours=hours,
        underlying_id=np.asarray(names, dtype=np.str_),
        price=np.round(price / price[0], DIGITS),
        tenor_days=days,
        vol=np.round(vol / vol[0], DIGITS),
        token=NO_TOKENS,
        peg=peg,
    )
