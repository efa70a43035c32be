"""Bad histories are found and named: gaps, repetition, zeros, splits, time zones, order, NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.history import decimal_vols, read_checked_bars, read_checked_history
from pricing import DataError
from tests.vectors import data_file

CLOSE = 100.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.02, 60)))
DAYS = [str(day) for day in np.datetime64("2026-01-01") + np.arange(60)]


def frame(**changes: Any) -> pd.DataFrame:
    return pd.DataFrame({"date": DAYS, "close": CLOSE} | changes)


def hours(zone: str = "Z", count: int = 24 * 10, start: str = "2026-01-05T00") -> pd.DataFrame:
    moment = np.datetime64(start, "h") + np.arange(count)
    return pd.DataFrame({"date": [f"{m}:00:00{zone}" for m in moment], "close": np.resize(CLOSE, count)})


def refused(table: pd.DataFrame, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_checked_history(table, **more)
    return str(caught.value)


def test_a_sound_history_is_read_in_silence() -> None:
    history = read_checked_history(frame())
    assert (history.date.tolist(), history.findings) == (DAYS, ())
    assert history.close == pytest.approx(CLOSE)
    assert read_checked_history(frame(), until="2026-02-01").date[-1] == "2026-02-01"


def test_zeros_and_what_is_no_number() -> None:
    close = CLOSE.astype(object)
    close[[3, 5, 7]] = 0.0, "n/a", np.inf
    text = refused(frame(close=close))
    assert all(f"row {row}" in text for row in (4, 6, 8)) and "must be a number above 0" in text
    holes = CLOSE.copy()
    holes[[10, 20]] = np.nan
    history = read_checked_history(frame(close=holes))
    assert "2 rows without a close are left out" in history.findings[0]
    assert "days are missing, 2026-01-10 to 2026-01-12" in history.findings[1]


def test_repetition_and_order() -> None:
    table = frame()
    twice = pd.concat([table.iloc[:10], table.iloc[9:]], ignore_index=True)
    assert "row 11" in (text := refused(twice)) and "the same time as the row before" in text
    backwards = table.iloc[::-1].reset_index(drop=True)
    text = refused(backwards)
    assert text == "history, row 1, date = '2026-03-01': rows are in descending order: reverse the file"
    newest_first_but_one = pd.concat([backwards.iloc[:30], table.iloc[29:30], backwards.iloc[31:]], ignore_index=True)
    newest_first_but_one.loc[30, "date"] = "2026-02-20"
    assert "sort the rows by time" in refused(newest_first_but_one)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"close": -CLOSE}, "must be a number above 0"),
        ({"close": np.full(60, "n/a")}, "must be a number above 0"),
        ({"date": [f"{day[8:]}/{day[5:7]}/{day[:4]}" for day in DAYS]}, "ISO 8601"),
        ({"date": np.repeat(DAYS[:30], 2)}, "the same time as the row before"),
        ({"date": [f"{d}T00:00{'Z' * (n % 2)}" for n, d in enumerate(DAYS)]}, "some times have a time zone"),
    ],
)
def test_many_rows_of_one_kind_are_ten_lines_at_most(change: dict[str, Any], text: str) -> None:
    """The first eight by row and value, and how many more there are."""
    with pytest.raises(DataError) as caught:
        read_checked_history(frame(**change))
    lines = str(caught.value).splitlines()
    assert len(lines) == 9 and all(text in line and "history, row" in line for line in lines[:8])
    assert lines[8].startswith(f"... and {caught.value.count - 8} more with ") and caught.value.count in (30, 60)
    assert text in lines[8] and lines[8].endswith(lines[0].partition("': ")[2] or lines[0].partition(": ")[2])


def test_kinds_are_told_apart_and_their_particulars_left_out() -> None:
    """Two kinds of wrong rows have eight each; a remedy that names its own row is told without that."""
    close = CLOSE.astype(object)
    close[:20] = 0.0
    text = refused(frame(close=close, date=np.concatenate([DAYS[:40], np.repeat(DAYS[40:41], 20)])))
    assert text.count("must be a number above 0") == 9 and text.count("the same time as the row before") == 9
    assert "... and 12 more with close: must be a number above 0, blank where there is none" in text
    ticks = 100.0 + 0.01 * np.arange(60)
    ticks[3:60:5] *= 50.0
    assert "... and 4 more with close: a jump from ... and back to ... looks like a bad tick" in refused(
        frame(close=ticks)
    )


def test_too_few_rows_are_counted() -> None:
    assert refused(frame().iloc[:0]) == "history, days with a close = 0: needs prices of two days at least"
    assert refused(frame().iloc[:1]) == "history, days with a close = 1: needs prices of two days at least"


def test_a_jump_after_a_standstill_names_both() -> None:
    """Filled in for a month, then three times as much: whoever mends it must know that the month is not real."""
    stuck = CLOSE.copy()
    stuck[20:40] = stuck[20]
    stuck[40:] *= 3.0 * stuck[20] / stuck[40]
    text = refused(frame(close=stuck))
    assert "row 41, close" in text and "multiplied by 3 since 2026-02-09" in text and text.count("row 4") == 1
    assert "the same on 20 rows from 2026-01-21" in text and "blank the rows that stand still" in text
    moved = stuck.copy()
    moved[37:40] *= 1.01
    assert "the same on" not in refused(frame(close=moved))


def test_a_large_jump_near_no_ratio_is_told_among_wild_days() -> None:
    doubled = 100.0 * np.exp(3.0 * np.log(CLOSE / 100.0))
    doubled[30:] *= 2.2 * doubled[29] / doubled[30]
    told = read_checked_history(frame(close=doubled)).findings
    assert len(told) == 1 and "on 2026-01-31, by 2.2, " in told[0] and "taken as moves, near no split" in told[0]
    assert read_checked_history(frame(close=doubled), accept=["2026-01-31"]).findings == ()


def test_what_is_no_time() -> None:
    days = list(DAYS)
    days[4], days[6] = "2026-02-30", "5 January"
    text = refused(frame(date=days))
    assert "row 5" in text and "row 7" in text and "ISO 8601" in text


def test_splits_and_units() -> None:
    halved = CLOSE.copy()
    halved[30:] /= 2.0
    text = refused(frame(close=halved))
    assert "row 31" in text and "divided by 2 since 2026-01-30" in text and "looks like a split" in text
    assert len(read_checked_history(frame(close=halved), accept=["2026-01-31"]).date) == 60
    cents = CLOSE.copy()
    cents[40:] *= 100.0
    assert "multiplied by 100" in refused(frame(close=cents))
    crash = 100.0 * np.exp(3.0 * np.log(CLOSE / 100.0))
    crash[30:] *= 0.6  # the worst day of a coin among its wildest is none
    assert len(read_checked_history(frame(close=crash)).date) == 60


RATIOS = (5 / 4, 4 / 3, 3 / 2, 5 / 2, 7 / 2, 9, 12, 14, 16, 60, 70, 71.4, 200, 500, 1e3, 1e4, 1e6, 1e8)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("down", [True, False])
def test_every_ratio_that_is_about_one_of_a_split_or_a_unit(ratio: float, down: bool) -> None:
    """Among moves of a percent, each with a move of its own on top of it."""
    changed = 1_000.0 * np.exp(0.5 * np.log(CLOSE / 100.0))
    changed[30:] *= 1.0 / ratio if down else ratio
    text = refused(frame(close=changed))
    assert "row 31, close" in text and ("divided by" if down else "multiplied by") in text and text.count("row") == 2
    assert len(read_checked_history(frame(close=changed), accept=["2026-01-31"]).date) == 60


@pytest.mark.parametrize(("value", "rows"), [(0.01, 1), (70.0, 1), (1e-6, 6), (0.8, 1), (1.3, 3)])
def test_bad_ticks_of_days_and_of_bars(value: float, rows: int) -> None:
    """A row or a few that are far off and back: one jump, named once, with its first row and its last."""
    for table, read in ((frame(), read_checked_history), (hours(), read_checked_bars), (hours(), read_checked_history)):
        close = 30_000.0 * np.exp(0.3 * np.log(table.close.to_numpy() / 100.0))
        close[30:] *= close[29] / close[30]
        close[30 : 30 + rows] *= value
        bad = table.assign(close=close)
        with pytest.raises(DataError) as caught:
            read(bad)
        text = str(caught.value)
        assert f"row 31, close = {close[30]}" in text and text.count("looks like a bad tick") == 1, text
        assert "looks like a split" not in text and (rows == 1 or f"after row {30 + rows}" in text)
        assert len(read(bad, accept=[str(table.date[30])[:10]]).close) > 9


def test_a_market_that_jumps_among_wild_days_is_told_and_not_refused() -> None:
    """As in October 1987: a quarter in a day, with moves of several percent around it."""
    wild = np.random.default_rng(5).normal(0.0, 0.005, 400)
    wild[200:220] = 0.05 * (-1.0) ** np.arange(20)
    wild[210] = -np.log(1.25)
    crash = pd.DataFrame({"date": np.datetime64("2025-01-01") + np.arange(400), "close": 100 * np.exp(np.cumsum(wild))})
    crash["date"] = crash.date.astype(str)
    told = read_checked_history(crash).findings
    assert len(told) == 2 and "on 2025-07-30 is near 5:4" in told[0] and "not as splits" in told[0]
    assert "16 more: taken as moves, near no split" in told[1]
    assert read_checked_history(crash, accept=["2025-07-30"]).findings == told[1:]
    calm = wild.copy()
    calm[200:210] = calm[211:220] = 0.005
    assert "5:4" in refused(crash.assign(close=100 * np.exp(np.cumsum(calm))))


def test_days_that_cannot_be() -> None:
    for day, text in (("1026-03-01", "before 1900-01-01"), ("2226-03-01", "after 2100-12-31")):
        days = [day, *DAYS[1:]] if day < "1900" else [*DAYS[:-1], day]
        assert f"date = '{day}': {text}" in refused(frame(date=days))
    assert "row 60, date = '2026-03-01': after 2026-02-27, in the future" in refused(frame(), latest="2026-02-27")
    assert len(read_checked_history(frame(), until="2026-02-28", latest="2026-03-01").date) == 59


def test_a_day_that_is_not_over_by_the_clock() -> None:
    """Of rows a day nothing but the clock says whether the last one is over; tomorrow is there already in the east."""
    assert read_checked_history(frame(), latest="2026-03-02").findings == ()
    for read in (read_checked_history, read_checked_bars):
        for latest, left in (("2026-03-01", 59), ("2026-02-28", 58)):
            found = read(frame(), latest=latest)
            assert (
                len(found.close) == left and f"the last day, {latest}, is left out: it is not over" in found.findings[0]
            )
        closes = frame(date=[f"{day}T21:00:00Z" for day in DAYS])
        assert len(read(closes, latest="2026-03-01").close) == 59 and len(read(closes, latest="2026-03-02").close) == 60
    whole = read_checked_history(hours(), latest="2026-01-14")
    assert whole.date[-1] == "2026-01-13" and "the last day, 2026-01-14, is left out" in whole.findings[0]
    bars = read_checked_bars(hours(), latest="2026-01-14")
    assert len(bars.close) == 240 and "2026-01-14, is not over" in bars.findings[0]
    assert "needs prices of two days" in refused(frame().iloc[:2], latest="2026-01-02")


def test_gaps_short_and_long() -> None:
    short = frame().drop(index=[20, 21]).reset_index(drop=True)
    assert "days are missing, 2026-01-20 to 2026-01-23" in read_checked_history(short).findings[0]
    long = frame().drop(index=range(20, 32)).reset_index(drop=True)
    assert "no price for more than 7 days before this row" in refused(long)
    business = pd.DataFrame({"date": DAYS, "close": CLOSE})
    weekday = (np.array(DAYS, dtype="datetime64[D]").astype(int) + 3) % 7
    assert read_checked_history(business[weekday < 5].reset_index(drop=True)).findings == ()
    still = CLOSE.copy()
    still[10:16] = still[10]
    assert "the same close on 6 days from 2026-01-11" in read_checked_history(frame(close=still)).findings[0]


def test_bars_within_days() -> None:
    table = hours().drop(index=[30, 31, 32, 100]).reset_index(drop=True)
    told = read_checked_history(table).findings
    assert told == ("history: 2 gaps, 4 of 240 bars missing, the longest 4 hours from 2026-01-06T05:00Z",)
    unfinished = read_checked_history(hours(count=24 * 9 + 5))
    assert unfinished.date[-1] == "2026-01-13"
    assert "the last day, 2026-01-14, is left out" in unfinished.findings[0]


def test_every_bar_with_the_same_checks() -> None:
    bars = read_checked_bars(hours("+09:00", 24 * 9 + 5), until="2026-01-12")
    assert bars.step_ms == 3_600_000 and len(bars.close) == 24 * 8 + 9
    assert bars.time_ms[0] == np.datetime64("2026-01-04T15", "ms").astype(int)  # nine hours earlier in UTC
    open_day = read_checked_bars(hours(count=24 * 9 + 5))
    assert len(open_day.close) == 24 * 9 + 5
    assert "the last day, 2026-01-14, is not over" in open_day.findings[0]
    halved = hours().assign(close=100.0 + 0.01 * np.arange(240))
    halved.loc[100:, "close"] /= 4.0
    with pytest.raises(DataError, match=r"divided by 4 since 2026-01-09T03:00Z .* looks like a split"):
        read_checked_bars(halved)
    with pytest.raises(DataError, match="three prices"):
        read_checked_bars(frame().iloc[:2])
    with pytest.raises(DataError, match="no vols in decimal; give the other unit"):
        decimal_vols("vix.csv", "close", np.full(9, 20.0), "decimal")


def test_time_zones() -> None:
    assert read_checked_history(hours()).findings == ()
    assert "no zone and are taken as UTC" in read_checked_history(hours("")).findings[0]
    east = read_checked_history(hours("+09:00"))
    assert "+09:00 are converted" in east.findings[0]
    assert east.date[0] == "2026-01-04"  # nine hours earlier in UTC
    mixed = pd.concat([hours(count=48), hours("", 48, "2026-01-07T00")], ignore_index=True)
    assert "some times have a time zone and others none" in refused(mixed)
    dated = pd.concat([frame().iloc[:4], hours(start="2026-01-05T00")], ignore_index=True)
    text = refused(dated)
    assert "row 1, date = '2026-01-01': some times have a time zone and others none" in text and "row 5" not in text
    summer = hours("", 24 * 5, "2025-10-24T00")
    repeated = summer.iloc[[*range(51), 50, *range(51, 120)]].reset_index(drop=True)
    assert "daylight saving" in refused(repeated)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "columns", "days", "told"),
    [
        ("btcusdt_1h_binance_spot_20170817_20260726", ("open_time_utc", "close"), 3265, "27 gaps, 127 of 78373 bars"),
        ("btcusdt_5m_binance_2025-10", ("open_time_utc", "close"), 31, ""),
        ("ethusdt_1h_binance_perp_20200301_20260331", ("open_time_utc", "close"), 2221, "on 2021-05-19 is near 4:3"),
        ("btcusd_1d_yahoo_20140917_20240810", ("date", "close"), 3616, "on 2015-08-18 is near 5:4"),
        ("spx_1d_yahoo_19500103_20231228", ("date", "close"), 18618, "on 1987-10-19 is near 5:4"),
        ("nasdaq_composite_1d_yahoo_19990104_20181231", ("date", "close"), 5031, ""),
        ("wti_1d_fred_19860102_20190103", ("date", "wti_usd_bbl"), 8321, "290 rows without a wti_usd_bbl"),
        ("vix_1d_cboe_19900102_20260723", ("date", "close"), 9235, "2001-09-10 to 2001-09-17"),
        ("dvol_btc_1d_deribit_20230101_20260622", ("date", "dvol_close"), 1269, "on 2026-02-05 is near 3:2"),
    ],
)
def test_real_histories(name: str, columns: tuple[str, str], days: int, told: str) -> None:
    """Crashes of coins, indices and vols are none: every close of every file is taken."""
    file = data_file(f"prices/{name}.csv.gz")
    history = read_checked_history(file, time=columns[0], price=columns[1])
    assert len(history.date) == days
    assert told in " ".join(history.findings)
    assert len(read_checked_bars(file, time=columns[0], price=columns[1]).close) >= days


@pytest.mark.data
def test_bad_ticks_of_a_real_file() -> None:
    """Opens of the VIX have some, 36.55 between 15.77 and 14.20 and 2.58 between 13.67 and 12.89."""
    with pytest.raises(
        DataError, match=r"row 3542, open = 36.55: a jump from 15.77 (.|\n)*row 3745, open = 2.58: a jump"
    ):
        read_checked_history(data_file("prices/vix_1d_cboe_19900102_20260723.csv.gz"), price="open")
