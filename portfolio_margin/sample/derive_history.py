"""Derive shipped scenarios: `python -m portfolio_margin.sample.derive_history SET --data DIR --output FILE`.

For `historical_simulation`, from daily closes and a vol index: moves over two days, filtered to the volatility of the
last day, and a stressed set of the largest moves, unfiltered. What ships are these derived moves, rounded to five
digits; no price of the sources is stored. The same sources give the same file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.price_history import JointReturns, joint_returns, read_price_history
from portfolio_margin.io.tables import number_column, read_table, text_column
from pricing.arrays import FloatArray
from scenarios.families import historical
from scenarios.filters import overlapping_sums

HORIZON_DAYS = 2
WINDOWS = 1000
VOLUME_DAYS = 365
CAPACITY_SHARE = 0.2
DIGITS = 5


class Source(NamedTuple):
    """What a set is derived from.

    prices      underlying -> file below the data folder
    time        its column of dates or times
    vol_index   file and column of a 30-day vol index, for all of them
    first_day, last_day   of the stressed set and of everything
    stressed    moves in the stressed set
    volume      whether the files have volumes in units of the underlying
    text        what the sources are, for people
    rough       what is rough about it
    """

    prices: Mapping[str, str]
    time: str
    vol_index: tuple[str, str]
    first_day: str
    last_day: str
    stressed: int
    volume: bool
    text: str
    rough: str


SETS = {
    "coins": Source(
        prices={
            "BTC": "prices/btcusdt_1h_binance_spot_20170817_20260726.csv.gz",
            "ETH": "prices/ethusdt_1h_binance_perp_20200301_20260331.csv.gz",
        },
        time="open_time_utc",
        vol_index=("prices/dvol_btc_1d_deribit_20230101_20260622.csv.gz", "dvol_close"),
        first_day="2020-03-01",
        last_day="2026-02-25",
        stressed=120,
        volume=True,
        text="daily closes of BTC, ETH and a 30-day vol index of BTC",
        rough="ETH has the vol moves of BTC. Volumes are medians of the year before, of one spot market (BTC) and one\n"
        "perpetual (ETH); capacity is a fifth of a day.",
    ),
    "spx": Source(
        prices=dict.fromkeys(("SPX", "SPY"), "prices/spx_1d_yahoo_19500103_20231228.csv.gz"),
        time="date",
        vol_index=("prices/vix_1d_cboe_19900102_20260723.csv.gz", "close"),
        first_day="1950-01-03",
        last_day="2023-12-28",
        stressed=250,
        volume=False,
        text="daily closes of the S&P 500 index and of VIX",
        rough="SPY moves like the index. Capacity and volume are orders of magnitude, not measured.",
    ),
}
# Notional a day where no volumes are at hand, US dollars.
ROUGH_VOLUME = 3e10


class Derived(NamedTuple):
    """Moves over the horizon by underlying, and the volume of the last year."""

    dates: list[str]
    returns: dict[str, FloatArray]
    vol_returns: dict[str, FloatArray]
    stress_dates: list[str]
    stress_returns: dict[str, FloatArray]
    stress_vol_returns: dict[str, FloatArray]
    daily_volume: dict[str, float]


def derive(data: Path, source: Source) -> Derived:
    """The scenarios from the files below `data`."""
    prices = {name: read_price_history(data / path, time=source.time) for name, path in source.prices.items()}
    index = read_price_history(data / source.vol_index[0], price=source.vol_index[1])
    recent = joint_returns({**prices, "vol": index}, end=source.last_day)
    params = historical.Params(
        returns={name: tuple(recent.returns[name].tolist()) for name in prices},
        vol_returns=dict.fromkeys(prices, tuple(recent.returns["vol"].tolist())),
        horizon_steps=HORIZON_DAYS,
        windows=WINDOWS,
    )
    moves, vols = (
        overlapping_sums(historical.moves(params, columns), HORIZON_DAYS)[-WINDOWS:]
        for columns in (params.returns, params.vol_returns)
    )
    ends = recent.date[HORIZON_DAYS - 1 :][-WINDOWS:].tolist()
    long = joint_returns(prices, start=source.first_day, end=source.last_day)
    stress_dates, stressed, stressed_vol = _stressed(long, recent, source.stressed)
    names = sorted(prices)
    volume = {name: _volume(data / path, source) for name, path in source.prices.items()}
    return Derived(
        ends,
        {name: moves[:, n] for n, name in enumerate(names)},
        {name: vols[:, n] for n, name in enumerate(names)},
        stress_dates,
        stressed,
        dict.fromkeys(names, stressed_vol),
        volume,
    )


def _stressed(
    long: JointReturns, recent: JointReturns, count: int
) -> tuple[list[str], dict[str, FloatArray], FloatArray]:
    """The largest joint moves, no two of them overlapping; vol moves as they were, before the index began as the moves
    of prices explain them by least squares on the return and its size."""
    table = np.column_stack([long.returns[name] for name in sorted(long.returns)])
    moves, ends = overlapping_sums(table, HORIZON_DAYS), long.date[HORIZON_DAYS - 1 :]
    size = np.sqrt(((moves / moves.std(axis=0)) ** 2).mean(axis=1))
    chosen: list[int] = []
    for row in np.argsort(-size, kind="stable").tolist():
        if all(abs(row - other) >= HORIZON_DAYS for other in chosen):
            chosen.append(row)
        if len(chosen) == count:
            break
    chosen.sort()
    first = min(long.returns)
    price = overlapping_sums(recent.returns[first], HORIZON_DAYS)
    vol = overlapping_sums(recent.returns["vol"], HORIZON_DAYS)
    slope, *_ = np.linalg.lstsq(np.column_stack([price, np.abs(price)]), vol, rcond=None)
    known = dict(zip(recent.date[HORIZON_DAYS - 1 :].tolist(), vol.tolist(), strict=True))
    own = moves[chosen, 0]
    explained = np.column_stack([own, np.abs(own)]) @ slope
    dates = ends[chosen].tolist()
    shocks = np.array([known.get(date, guess) for date, guess in zip(dates, explained.tolist(), strict=True)])
    return dates, {name: moves[chosen, n] for n, name in enumerate(sorted(long.returns))}, shocks


def _volume(path: Path, source: Source) -> float:
    """Median notional traded a day over the last year, to two digits."""
    if not source.volume:
        return ROUGH_VOLUME
    price = read_price_history(path, time=source.time)
    volume = _daily_sums(path, source.time)
    days = [day for day in price.date.tolist() if day <= source.last_day][-VOLUME_DAYS:]
    notional = np.array([volume[day] * price.close[np.searchsorted(price.date, day)] for day in days])
    return float(f"{np.median(notional):.1e}")


def _daily_sums(path: Path, time: str) -> dict[str, float]:
    table = read_table(path)
    volume, _ = number_column(table, "volume")
    total: dict[str, float] = {}
    for stamp, amount in zip(text_column(table, time).tolist(), volume.tolist(), strict=True):
        total[stamp[:10]] = total.get(stamp[:10], 0.0) + amount
    return total


def text_of(found: Derived, source: Source) -> str:
    """The parameter set as TOML."""
    lines = [
        "[header]",
        f"valid_from = {source.last_day}",
        f'source = "derived by this project from {source.text} to {source.last_day}"',
        'note = """',
        "Not the parameters of any clearing house: SPAN 2, STANS and PRISMA do not publish theirs. Moves over two days",
        f"of the {len(found.dates)} latest horizons to {source.last_day}, filtered by EWMA (decay 0.97, one ratio for",
        f"all prices) to the volatility of that day, and the {len(found.stress_dates)} largest joint moves since",
        f"{source.first_day}, unfiltered. Where the vol index does not reach back, stressed vols are what moves of the",
        "price explain.",
        source.rough,
        'Weights and factors are this project\'s choice."""',
        "",
        "[params]",
        'measure = "es"',
        "confidence = 0.99",
        f"subsamples = {HORIZON_DAYS}",
        "",
        "[params.daily_volume]",
        *(f"{name} = {value:.1e}" for name, value in found.daily_volume.items()),
        "",
        "[params.capacity]",
        *(f"{name} = {CAPACITY_SHARE * value:.2e}" for name, value in found.daily_volume.items()),
        "",
        "[params.history]",
        'method = "plain"',
        f"step_days = {HORIZON_DAYS}",
        "horizon_steps = 1",
        f"windows = {WINDOWS}",
        *_list("dates", [f'"{date}"' for date in found.dates]),
        *_list("stress_dates", [f'"{date}"' for date in found.stress_dates]),
    ]
    for name in ("returns", "vol_returns", "stress_returns", "stress_vol_returns"):
        columns: Mapping[str, FloatArray] = getattr(found, name)
        lines += ["", f"[params.history.{name}]"]
        for key, values in columns.items():
            lines += _list(key, [f"{value + 0:.{DIGITS}f}" for value in np.round(values, DIGITS)])
    return "\n".join(lines) + "\n"


def _list(name: str, items: list[str]) -> list[str]:
    rows = [", ".join(items[first : first + 10]) for first in range(0, len(items), 10)]
    return [f"{name} = [", *(f"    {row}," for row in rows), "]"]


def main() -> None:
    """Write the parameter set."""
    parser = argparse.ArgumentParser(description="Derive the shipped scenarios of historical_simulation.")
    parser.add_argument("set", choices=list(SETS), help="which set")
    parser.add_argument("--data", type=Path, required=True, help="folder with prices/")
    parser.add_argument("--output", type=Path, required=True, help="the parameter set to write (.toml)")
    given = parser.parse_args()
    source = SETS[given.set]
    write_whole(given.output, text_of(derive(given.data, source), source).encode())


if __name__ == "__main__":
    main()
