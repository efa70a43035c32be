"""Weekends, holidays and stale closes that were filled in are found; those of real files are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.history import read_checked_bars, read_checked_history
from portfolio_margin.io.history_still import LARGEST_SHARE, USUAL_SHARE
from pricing import DataError
from pricing.arrays import FloatArray
from tests.vectors import data_file

DAYS = (np.datetime64("2024-01-01") + np.arange(520)).astype(str)  # a Monday
WEEKDAY = np.arange(520) % 7
CLOSE = 100.0 * np.exp(np.cumsum(np.random.default_rng(4).normal(0.0, 0.01, 520)))


def filled(rows: FloatArray) -> pd.DataFrame:
    """Closes of the day before on some rows."""
    close = pd.Series(np.where(rows, np.nan, CLOSE)).ffill().to_numpy()
    return pd.DataFrame({"date": DAYS, "close": close})


def refused(table: pd.DataFrame) -> str:
    texts = set()
    for read in (read_checked_history, read_checked_bars):
        with pytest.raises(DataError) as caught:
            read(table)
        texts.add(str(caught.value))
    assert len(texts) == 1
    return texts.pop()


@pytest.mark.parametrize(
    ("off", "names"), [((5, 6), "Saturdays and Sundays"), ((4, 5), "Fridays and Saturdays"), ((6,), "Sundays")]
)
def test_days_of_the_week_that_were_filled_in(off: tuple[int, ...], names: str) -> None:
    table = filled(np.isin(WEEKDAY, off))
    count = int(np.isin(WEEKDAY, off).sum())
    text = f"close = '{names}': {count} of {count} closes repeat the day before: filled in where there is no trading"
    assert text in refused(table) and refused(table).count("\n") == 0
    assert read_checked_history(table[~np.isin(WEEKDAY, off)].reset_index(drop=True)).findings == ()
    some = table.copy()
    some.loc[some.index[np.isin(WEEKDAY, off)][:3], "close"] *= 1.001  # three of them were traded
    assert names in refused(some)
    traded = filled(np.isin(WEEKDAY, off) & (np.arange(520) % 2 == 0))
    assert "leave these rows out" not in " ".join(read_checked_history(traded).findings)


@pytest.mark.parametrize(
    ("off", "names", "weekend"),
    [((5, 6), "Sundays and Mondays", "Saturdays and Sundays"), ((6,), "Mondays", "Sundays")],
)
def test_days_that_were_filled_backward(off: tuple[int, ...], names: str, weekend: str) -> None:
    """Mondays have the real price: it is the days before that know it too early, and that have to go."""
    rest = np.isin(WEEKDAY, off)
    close = pd.Series(np.where(rest, np.nan, CLOSE)).bfill().to_numpy()
    table = pd.DataFrame({"date": DAYS, "close": close}).dropna()
    count = int(np.isin(WEEKDAY[: len(table)], [(n + 1) % 7 for n in off])[1:].sum())
    assert refused(table) == (
        f"history, close = '{names}': {count} of {count} closes repeat the day before: {weekend} were filled backward "
        f"with the later price of Mondays, which looks ahead; leave {weekend} out"
    )
    assert read_checked_history(table[~rest[: len(table)]].reset_index(drop=True)).findings == ()


@pytest.mark.parametrize("noise", [1e-9, 2e-7])
def test_noise_of_rounding_hides_no_filling(noise: float) -> None:
    rest = np.isin(WEEKDAY, (5, 6))
    table = filled(rest)
    table.loc[rest, "close"] *= 1.0 + noise * np.random.default_rng(5).uniform(-1.0, 1.0, rest.sum())
    assert "Saturdays and Sundays': 148 of 148 closes repeat" in refused(table)
    table.loc[rest, "close"] *= 1.0 + np.random.default_rng(5).normal(0.0, 1e-3, rest.sum())
    assert "repeat" not in " ".join(read_checked_history(table[:515]).findings)  # there is some trading


def test_bars_of_a_market_that_rests_filled_in() -> None:
    hour = np.arange(24 * 63)
    weekend = np.isin(hour // 24 % 7, (5, 6))
    price = 100.0 * np.exp(np.cumsum(np.random.default_rng(6).normal(0.0, 0.003, len(hour))))
    close = pd.Series(np.where(weekend, np.nan, price)).ffill().to_numpy()
    dates = (np.datetime64("2024-01-01T00", "h") + hour).astype(str)
    table = pd.DataFrame({"date": np.char.add(dates, ":00Z"), "close": close})
    with pytest.raises(DataError, match="Saturdays and Sundays': 18 of 18 closes repeat"):
        read_checked_bars(table)


def test_holidays_filled_in_are_told() -> None:
    weekdays = np.flatnonzero(WEEKDAY < 5)
    holidays = np.zeros(520, dtype=np.bool_)
    holidays[weekdays[11::25]] = True  # ten Tuesdays a year
    table = filled(holidays)[WEEKDAY < 5].reset_index(drop=True)
    told = read_checked_history(table).findings
    assert told == (f"history: {holidays.sum()} of {len(table) - 1} closes repeat the one before (4.0 %); "
                    "filled in, or a market with few trades",)  # fmt: skip
    assert read_checked_history(filled(np.arange(520) % 40 == 39)).findings == ()


@pytest.mark.parametrize("share", [0.9 * LARGEST_SHARE, 1.1 * LARGEST_SHARE])
def test_so_many_stale_closes_that_quantiles_mean_little(share: float) -> None:
    stale = np.random.default_rng(3).permutation(520) < share * 520
    stale[0] = False
    repeated = f"{stale.sum()} of 519 closes repeat the one before ({100 * stale.sum() / 519:.1f} %)"
    if share > LARGEST_SHARE:
        assert f"close = '{repeated}': more than 25 %" in refused(filled(stale))
    else:
        assert repeated in read_checked_history(filled(stale)).findings[-1]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("btcusd_1d_yahoo_20140917_20240810", "close"),
        ("spx_1d_yahoo_19500103_20231228", "close"),
        ("wti_1d_fred_19860102_20190103", "wti_usd_bbl"),
        ("vix_1d_cboe_19900102_20260723", "close"),
        ("dvol_btc_1d_deribit_20230101_20260622", "dvol_close"),
    ],
)
def test_real_files_are_far_from_both_and_found_once_filled(name: str, price: str) -> None:
    """Their closes repeat far less; filled up to calendar days a market that rests is refused, a coin is not."""
    history = read_checked_history(data_file(f"prices/{name}.csv.gz"), price=price)
    assert "closes repeat" not in " ".join(history.findings)
    assert np.mean(np.diff(history.close) == 0.0) < 0.6 * USUAL_SHARE
    days = pd.date_range(history.date[0], history.date[-1]).strftime("%Y-%m-%d")
    whole = pd.Series(history.close, index=history.date).reindex(days).ffill()
    table = pd.DataFrame({"date": days, "close": whole.to_numpy()})
    if len(table) == len(history.date):
        assert len(read_checked_history(table).close) == len(table)
    else:
        assert "Sundays" in refused(table)
