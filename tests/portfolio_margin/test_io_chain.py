"""Deribit chains from tables: what a snapshot says, and every bad row by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.chain import vol_quotes, with_surface
from portfolio_margin.io.deribit import read_chain, snapshot_times
from pricing.errors import ConfigError
from pricing.fit import expiries_of, fit
from pricing.instruments import Kind, Payoff
from pricing.market import UNDATED
from pricing.resolve import resolve
from tests.portfolio_margin.io_examples import (
    FORWARD,
    INDEX,
    NOW_MS,
    as_tickers,
    chain_frame,
    linear_frame,
    option_names,
    refused,
    refused_files,
)
from tests.vectors import data_file

FOLDER = "deribit_chain"
FRACTION_OF_TICK = 1e-3


def with_cells(changes: dict[str, Any], row: int) -> pd.DataFrame:
    """The chain with some cells of one row (counted from 1) changed."""
    frame = chain_frame()
    for column, value in changes.items():
        if isinstance(value, str) and frame[column].dtype == np.float64:
            frame[column] = frame[column].astype(object)
        frame.loc[row - 1, column] = value
    return frame


def test_what_a_snapshot_says() -> None:
    frame = chain_frame().sample(frac=1, random_state=3)
    snapshot = read_chain(frame)
    instruments, market, quotes = snapshot.instruments, snapshot.market, snapshot.quotes
    futures = ["BTC-27MAR26", "ETH-27MAR26"]
    perpetuals = ["BTC-PERPETUAL", "ETH-PERPETUAL"]
    cash = ["USD", "BTC", "ETH"]
    assert instruments.instrument_id.tolist() == [*option_names(), *futures, *perpetuals, *cash]
    kinds = [Kind.OPTION] * 16 + [Kind.FUTURE] * 2 + [Kind.PERPETUAL] * 2 + [Kind.CASH] * 3
    assert instruments.kind.tolist() == kinds
    assert (instruments.payoff[:20] == Payoff.INVERSE).all() and (instruments.payoff[20:] == Payoff.LINEAR).all()
    assert instruments.multiplier.tolist() == [1.0] * 16 + [10.0, 1.0, 10.0, 1.0] + [1.0] * 3
    assert instruments.quantity_step.tolist() == [0.1] * 12 + [1.0] * 11
    assert market.valuation_time == NOW_MS
    assert market.expiry_name == ["BTC-2026-03-06", "BTC-2026-03-27", "BTC-undated", "ETH-2026-03-27", "ETH-undated"]
    assert market.forward.tolist() == [68_450.0, 68_700.0, 68_400.0, 2_060.0, 2_050.0]
    assert market.spot.tolist() == list(INDEX.values())
    assert market.currency_id.tolist() == cash and market.fx.tolist() == [1.0, 68_400.0, 2_050.0]
    assert market.currency_underlying.tolist() == [-1, 0, 1]
    assert instruments.expiry_idx.tolist() == [0] * 6 + [1] * 6 + [3] * 4 + [1, 3] + [2, 4] + [-1, 2, 4]
    assert np.isnan(market.svi).all() and (market.discount == 1).all()
    ordered = chain_frame()
    assert quotes.mark.tolist() == ordered["mark"].tolist()
    assert quotes.bid.tolist() == ordered["bid"].tolist()
    assert np.array_equal(market.mark_vol[:16], ordered["mark_iv"]) and np.isnan(market.mark_vol[16:]).all()
    assert (quotes.time_ms == NOW_MS).all()
    assert snapshot.source == "chain" and snapshot.excluded == ()
    assert any("BTC-27MAR26, ETH-27MAR26, BTC-PERPETUAL, ETH-PERPETUAL" in note for note in snapshot.notes)
    assert any("USD, BTC, ETH" in note for note in snapshot.notes)


def test_forward_and_spot_are_medians_of_the_rows() -> None:
    frame = chain_frame()
    frame.loc[:5, "underlying"] = [6.82e4, 6.84e4, 6.84e4, 6.86e4, 6.86e4, 6.88e4]
    frame.loc[12:, "index"] = [2_050.0, 2_052.0, 2_053.0, 2_060.0]
    market = read_chain(frame).market
    assert market.forward[0] == 6.85e4
    assert market.spot[1] == market.fx[2] == market.forward[4] == 2_052.5


def test_a_surface_fits_and_prices_the_marks() -> None:
    snapshot = read_chain(chain_frame())
    quotes = vol_quotes(snapshot)
    assert np.allclose(quotes.mark_vol, 0.5 + 0.01 * np.arange(16))
    assert (quotes.bid_vol < quotes.mark_vol).all() and (quotes.ask_vol > quotes.mark_vol).all()
    svi = fit(quotes, expiries_of(snapshot.market)).svi
    fitted = with_surface(snapshot, svi)
    assert np.array_equal(fitted.market.svi, svi, equal_nan=True)
    assert np.isfinite(fitted.market.svi[[0, 1, 3]]).all() and np.isnan(snapshot.market.svi).all()
    without_marks = replace(fitted.market, mark_vol=np.full(len(fitted.instruments), np.nan))
    vol = resolve(fitted.instruments, without_marks).vol[:16]
    assert (np.abs(vol - quotes.mark_vol) < 0.1).all()


def test_a_file_of_several_snapshots(tmp_path: Path) -> None:
    later = chain_frame().assign(snapshot_utc=pd.Timestamp(NOW_MS + 60_000, unit="ms", tz="UTC"))
    both = pd.concat([chain_frame(), later.assign(mark=later["mark"] * 1.01)], ignore_index=True)
    both.to_parquet(tmp_path / "chain.parquet")
    both.to_csv(tmp_path / "chain.csv.gz", index=False)
    for source in (both, tmp_path / "chain.parquet", tmp_path / "chain.csv.gz"):
        assert snapshot_times(source).tolist() == [NOW_MS, NOW_MS + 60_000]
        for when in (
            NOW_MS + 60_000,
            "2026-02-26T09:42:05Z",
            "2026-02-26 10:42:05+01:00",
            datetime(2026, 2, 26, 9, 42, 5),
            datetime(2026, 2, 26, 9, 42, 5, tzinfo=UTC),
        ):
            snapshot = read_chain(source, snapshot=when)
            assert snapshot.market.valuation_time == NOW_MS + 60_000
            assert snapshot.quotes.mark.tolist() == (chain_frame()["mark"] * 1.01).tolist()
    assert refused(lambda: read_chain(both)) == [
        (
            None,
            "snapshot_utc",
            "2 snapshots",
            "choose one with --snapshot TIME (snapshot= in Python): 2026-02-26T09:41:05Z, 2026-02-26T09:42:05Z",
        )
    ]
    assert refused(lambda: read_chain(both, snapshot="2026-02-26T09:41:55Z")) == [
        (
            None,
            "snapshot_utc",
            "2026-02-26T09:41:55Z",
            "no snapshot of this time; the nearest one is 2026-02-26T09:42:05Z",
        )
    ]
    [(_, field, value, _)] = refused(lambda: read_chain(both, snapshot="yesterday"))
    assert (field, value) == ("snapshot", "yesterday")


BAD_CELLS = [
    ({"mark": np.nan}, "mark", np.nan, "missing mark price"),
    ({"mark": -0.1}, "mark", -0.1, "must be a finite price, 0 or more"),
    ({"mark": "n/a"}, "mark", "n/a", "not a number"),
    ({"ask": np.inf}, "ask", np.inf, "must be a finite price, 0 or more"),
    ({"bid": 0.2, "ask": 0.1}, "bid", "0.2 above ask 0.1", "crossed quote; bid must not be above ask"),
    ({"underlying": np.nan}, "underlying", np.nan, "missing forward (underlying price)"),
    ({"underlying": 0.0}, "underlying", 0.0, "must be above 0"),
    ({"index": np.nan}, "index", np.nan, "missing index price"),
    ({"mark_iv": -0.5}, "mark_iv", -0.5, "must be above 0; leave it blank to use the surface"),
    ({"mark_iv": 0.0}, "mark_iv", 0.0, "must be above 0; leave it blank to use the surface"),
    ({"strike": 61_000.0}, "strike", 61_000.0, "is not the strike of the instrument's name"),
    ({"cp": "P"}, "cp", "P", "is not the option type of the instrument's name"),
    (
        {"expiry_utc": pd.Timestamp("2026-03-06", tz="UTC")},
        "expiry_utc",
        1_772_755_200_000,
        "is not the expiry of the instrument's name (08:00 UTC)",
    ),
]


@pytest.mark.parametrize(("changes", "field", "value", "remedy"), BAD_CELLS, ids=[str(row[0]) for row in BAD_CELLS])
def test_a_bad_cell(changes: dict[str, Any], field: str, value: object, remedy: str) -> None:
    [(row, found_field, found_value, found_remedy)] = refused(lambda: read_chain(with_cells(changes, 1)))
    assert row == "1 (BTC-6MAR26-60000-C)"
    assert (found_field, found_remedy) == (field, remedy)
    assert found_value == value or (np.isnan(value) and np.isnan(found_value))  # type: ignore[call-overload]


BAD_NAMES = [
    ("BTC-20FEB26-60000-C", "expired before the valuation time 2026-02-26T09:41:05Z; remove the row"),
    ("BTC-6MAR26-60000-P", "listed more than once; keep one row"),
    (
        "BTC-6MRZ26-60000-C",
        "not an instrument name of deribit, which writes BTC-27JUN25-100000-C, BTC_USDC-27JUN25-100000-C,"
        " BTC-27MAR26 or BTC-PERPETUAL",
    ),
    ("", "not an instrument name of deribit, which writes"),
]


@pytest.mark.parametrize(("name", "remedy"), BAD_NAMES)
def test_a_bad_name(name: str, remedy: str) -> None:
    frame = with_cells({"instrument": name}, 1).drop(columns=["strike", "cp", "expiry_utc"])
    [(row, field, value, found)] = refused(lambda: read_chain(frame))
    place = 2 if "more than once" in remedy else 1
    assert (row, field, value) == (f"{place} ({name})", "instrument", name)
    assert found.startswith(remedy)


def test_bad_rows_of_a_file_are_listed_at_once_with_their_lines(tmp_path: Path) -> None:
    frame = chain_frame()
    frame.loc[2, ["bid", "ask"]] = [0.3, 0.2]
    frame.loc[7, "mark"] = np.nan
    frame.loc[7, "mark_iv"] = -0.4
    path = tmp_path / "chain.csv"
    frame.to_csv(path, index=False)
    found = refused(lambda: read_chain(path))
    assert [(row, field) for row, field, *_ in found] == [
        ("4 (BTC-6MAR26-68000-C)", "bid"),
        ("9 (BTC-27MAR26-60000-P)", "mark"),
        ("9 (BTC-27MAR26-60000-P)", "mark_iv"),
    ]
    assert set(refused_files(lambda: read_chain(path))) == {str(path)}


def test_exclude_leaves_bad_rows_out_and_says_so() -> None:
    frame = chain_frame()
    frame.loc[2, ["bid", "ask"]] = [0.3, 0.2]
    frame.loc[7, "mark"] = np.nan
    snapshot = read_chain(frame, on_bad_row="exclude")
    left_out = ["BTC-6MAR26-68000-C", "BTC-27MAR26-60000-P"]
    assert [name for name in option_names() if name not in snapshot.instruments.instrument_id] == left_out
    assert [(p.row, p.field) for p in snapshot.excluded] == [
        (f"3 ({left_out[0]})", "bid"),
        (f"8 ({left_out[1]})", "mark"),
    ]
    assert len(snapshot.quotes) == 14
    kept = [i for i in range(16) if i not in (2, 7)]
    assert snapshot.quotes.mark.tolist() == chain_frame()["mark"].iloc[kept].tolist()
    with pytest.raises(ConfigError, match='must be "refuse" or "exclude"'):
        read_chain(frame, on_bad_row="ignore")


def test_exclude_still_refuses_what_is_no_single_row() -> None:
    frame = chain_frame().assign(mark=np.nan)
    [(_, field, value, remedy), *rows] = refused(lambda: read_chain(frame, on_bad_row="exclude"))
    assert (field, value, remedy) == ("rows", 0, "no option left that can be used") and len(rows) == 16
    percent = chain_frame().assign(mark_iv=lambda f: 100 * f["mark_iv"])
    [(row, field, _, _)] = refused(lambda: read_chain(percent, on_bad_row="exclude"))
    assert (row, field) == ("1 (BTC-6MAR26-60000-C)", "mark_iv")


def test_percent_and_decimal_are_not_mistaken() -> None:
    percent = chain_frame().assign(mark_iv=lambda f: 100 * f["mark_iv"])
    for frame, given, value, median, looks in (
        (percent, None, 50.0, "57.5", "percent"),
        (chain_frame(), "percent", 0.5, "0.575", "decimal"),
    ):
        remedy = f"volatility looks like {looks}, as in 16 rows with a median of {median}; "
        option = f'give --iv-unit {looks} (iv_unit="{looks}" in Python)'
        found = refused(lambda frame=frame, given=given: read_chain(frame, iv_unit=given))
        assert found == [("1 (BTC-6MAR26-60000-C)", "mark_iv", value, remedy + option)]
    vol = read_chain(percent, iv_unit="percent").quotes.mark_vol
    assert np.allclose(vol, chain_frame()["mark_iv"], rtol=1e-15)
    with pytest.raises(ConfigError, match='must be "decimal" or "percent"'):
        read_chain(percent, iv_unit="points")


def test_missing_sides_are_normal_and_zero_is_no_quote() -> None:
    frame = chain_frame()
    frame.loc[0, "bid"] = np.nan
    frame.loc[1, "ask"] = 0.0
    frame.loc[2, "mark_iv"] = np.nan
    quotes = read_chain(frame).quotes
    assert np.isnan(quotes.bid).tolist() == [True] + [False] * 15
    assert np.isnan(quotes.ask).tolist() == [False, True] + [False] * 14
    assert np.isnan(quotes.mark_vol[2])


def test_single_precision_vols_are_read_to_their_digits() -> None:
    frame = chain_frame()
    single = frame.assign(mark_iv=frame["mark_iv"].round(4).astype(np.float32))
    assert read_chain(single).quotes.mark_vol.tolist() == frame["mark_iv"].round(4).tolist()


def test_a_table_that_is_no_chain() -> None:
    [(_, field, _, remedy)] = refused(lambda: read_chain(chain_frame().rename(columns={"mark": "mark_px"})))
    assert (field, remedy) == ("columns", "missing column mark (did you mean mark_px?)")
    [(_, field, value, remedy)] = refused(lambda: read_chain(chain_frame().iloc[:0]))
    assert (field, value, remedy) == ("rows", 0, "the chain holds no row")
    [(row, field, value, _)] = refused(lambda: read_chain(chain_frame().assign(snapshot_utc="26/02/2026")))[:1]
    assert (row, field, value) == (1, "snapshot_utc", "26/02/2026")


def test_futures_and_options_are_not_taken_for_each_other() -> None:
    options = as_tickers(chain_frame())
    futures = options.drop(columns=["underlying_price", "mark_iv", "strike", "option_type"])
    [(_, field, value, remedy)] = refused(lambda: read_chain(futures))
    assert (field, value) == ("columns", "future tickers") and "--futures" in remedy and "beside a chain" in remedy
    [(_, field, value, remedy)] = refused(lambda: read_chain(options, futures=options))
    assert (field, value) == ("columns", "option tickers") and "futures and perpetuals" in remedy


def test_values_shown_are_those_of_the_source() -> None:
    tickers = as_tickers(chain_frame())
    tickers.loc[0, "mark_iv"] = -3.0
    tickers.loc[1, "option_type"] = "call"
    tickers.loc[2, "min_trade_amount"] = -0.1
    tickers["contract_size"] = 2.0
    found = refused(lambda: read_chain(tickers))
    shown = {(row, field): value for row, field, value, _ in found}
    assert shown[("1 (BTC-6MAR26-60000-C)", "mark_iv")] == -3.0
    assert shown[("2 (BTC-6MAR26-60000-P)", "option_type")] == "call"
    assert shown[("3 (BTC-6MAR26-68000-C)", "min_trade_amount")] == -0.1


def test_a_row_without_a_time_is_named() -> None:
    frame = chain_frame()
    later = frame.assign(snapshot_utc=frame["snapshot_utc"] + pd.Timedelta(minutes=1))
    frame.loc[2, "snapshot_utc"] = pd.NaT
    bad = (f"3 ({option_names()[2]})", "snapshot_utc", "no time", "needs the time of its prices")
    assert refused(lambda: read_chain(frame)) == [bad]
    left = read_chain(frame, on_bad_row="exclude")
    assert [problem.row for problem in left.excluded] == [bad[0]] and len(left.quotes) == len(frame) - 1
    both = pd.concat([frame, later], ignore_index=True)
    moment = "2026-02-26T09:42:05Z"
    assert refused(lambda: read_chain(both, snapshot=moment)) == [bad]
    assert len(read_chain(both, snapshot=moment, on_bad_row="exclude").quotes) == len(frame)
    [(_, _, value, _)] = refused(lambda: read_chain(both))
    assert value == "2 snapshots"
    [(_, field, value, _)] = refused(lambda: read_chain(frame.assign(snapshot_utc=pd.NaT)))
    assert (field, value) == ("snapshot_utc", "blank")


def test_linear_options_need_a_rate_and_terms() -> None:
    terms = "not known for this contract; give public/get_instruments"
    first = "1 (BTC_USDC-6MAR26-60000-C)"
    assert [(r, f, m) for r, f, _, m in refused(lambda: read_chain(linear_frame())) if r == first] == [
        (first, "multiplier", terms),
        (first, "quantity_step", terms),
    ]
    ticker = as_tickers(linear_frame(), min_trade_amount=0.01)
    assert refused(lambda: read_chain(ticker)) == [
        (None, "fx", "USDC", "no USD rate of this settlement currency; give --fx USDC=RATE (fx= in Python)")
    ]
    snapshot = read_chain(ticker, fx={"USDC": 0.9998})
    market, instruments = snapshot.market, snapshot.instruments
    assert market.underlying_id.tolist() == ["BTC_USDC"]
    assert market.currency_id.tolist() == ["USD", "USDC"] and market.fx.tolist() == [1.0, 0.9998]
    assert instruments.payoff.tolist() == [Payoff.LINEAR] * 8
    assert instruments.instrument_id[6:].tolist() == ["USD", "USDC"]
    quotes = vol_quotes(snapshot)
    assert (quotes.bid_vol < quotes.mark_vol).all() and (quotes.mark_vol < quotes.ask_vol).all()


def test_coin_settled_and_linear_options_together() -> None:
    frame = as_tickers(pd.concat([linear_frame(), chain_frame()], ignore_index=True))
    snapshot = read_chain(frame, fx={"USDC": 1.0})
    assert snapshot.market.underlying_id.tolist() == ["BTC", "BTC_USDC", "ETH"]
    assert snapshot.market.currency_id.tolist() == ["USD", "BTC", "ETH", "USDC"]
    quotes = vol_quotes(snapshot)
    assert np.array_equal(quotes.strike, snapshot.instruments.strike[:22])
    assert (quotes.bid_vol < quotes.mark_vol).all() and (quotes.mark_vol < quotes.ask_vol).all()


# --- the real files -------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "moments", "rows"),
    [("crash_20260131_20260208.parquet", 35, 57_700), ("daily_20251230_20260415.parquet", 107, 167_880)],
)
def test_every_snapshot_of_the_collected_files_loads_whole(
    name: str, moments: int, rows: int, report_vectors: Callable[..., None]
) -> None:
    """No row of either file is refused; marks agree with Black-76 at the row's own forward and mark vol."""
    frame = pd.read_parquet(data_file(f"{FOLDER}/{name}"))
    times = snapshot_times(frame)
    assert len(times) == moments
    read, medians = 0, []
    for moment in times:
        snapshot = read_chain(frame, snapshot=int(moment))
        assert snapshot.excluded == ()
        read += len(snapshot.quotes)
        medians.append(np.median(mark_errors(snapshot)))
        undated = snapshot.market.expiry_time == UNDATED
        assert np.array_equal(snapshot.market.forward[undated], snapshot.market.spot)
    assert read == rows
    assert np.median(medians) < 3e-5
    report_vectors(read, float(np.max(medians)), "coin, largest median of a snapshot", name)


@pytest.mark.data
def test_the_source_format_is_read_like_the_collected_one(report_vectors: Callable[..., None]) -> None:
    path = data_file(f"{FOLDER}/raw_snapshot_20260226T094105Z.csv.gz")
    snapshot = read_chain(path)
    assert len(snapshot.quotes) == 1_954 and snapshot.excluded == ()
    assert snapshot.market.valuation_time == 1_772_098_865_543
    assert np.isnan(snapshot.quotes.bid).sum() == 109 and np.isnan(snapshot.quotes.ask).sum() == 7
    futures = snapshot.instruments.instrument_id[snapshot.instruments.kind == Kind.FUTURE].tolist()
    assert futures == [
        f"{coin}-{day}"
        for coin in ("BTC", "ETH")
        for day in ("27FEB26", "6MAR26", "27MAR26", "26JUN26", "25SEP26", "25DEC26")
    ]
    errors = mark_errors(snapshot)
    assert np.median(errors) < 3e-5 and np.quantile(errors, 0.99) < 1e-3
    report_vectors(len(errors), float(np.median(errors)), "coin, median")


@pytest.mark.data
def test_tickers_and_futures(report_vectors: Callable[..., None]) -> None:
    options = data_file(f"{FOLDER}/btc_option_tickers_20260121.csv.gz")
    futures = data_file(f"{FOLDER}/btc_future_tickers_20260121.csv")
    snapshot = read_chain(options, futures=futures)
    instruments, market = snapshot.instruments, snapshot.market
    assert len(snapshot.quotes) == 664 and snapshot.excluded == ()
    listed = pd.read_csv(futures)
    dated = instruments.instrument_id[(instruments.kind == Kind.FUTURE) | (instruments.kind == Kind.PERPETUAL)]
    assert sorted(dated.tolist()) == sorted(listed["instrument_name"])
    assert (instruments.multiplier[instruments.is_settled] == 10.0).all()
    assert (instruments.quantity_step[instruments.is_option] == 0.1).all()
    assert np.isnan(snapshot.quotes.bid).sum() == 39  # the venue's zeros
    assert 0.3 < np.nanmedian(market.mark_vol) < 0.7
    errors = mark_errors(snapshot)
    assert np.quantile(errors, 0.99) < 2e-4
    report_vectors(len(errors), float(errors.max()), "coin")


def mark_errors(snapshot: Any) -> np.ndarray:
    """|mark - Black-76 in coin| of every option at its own forward, time and mark vol."""
    from scipy.special import ndtr

    quotes, instruments, market = snapshot.quotes, snapshot.instruments, snapshot.market
    n = len(quotes)
    strike, sign = instruments.strike[:n], instruments.sign[:n]
    tau = (market.expiry_time[instruments.expiry_idx[:n]] - quotes.time_ms) / (365 * 86_400_000)
    deviation = quotes.mark_vol * np.sqrt(tau)
    d1 = np.log(quotes.forward / strike) / deviation + 0.5 * deviation
    value = sign * (ndtr(sign * d1) - strike / quotes.forward * ndtr(sign * (d1 - deviation)))
    return np.abs(value - quotes.mark)


@pytest.mark.data
def test_a_linear_forward_in_a_real_file_is_what_the_rows_say() -> None:
    frame = pd.read_parquet(data_file(f"{FOLDER}/crash_20260131_20260208.parquet"))
    moment = frame["snapshot_utc"].iloc[-1]
    here = frame[frame["snapshot_utc"] == moment]
    market = read_chain(frame, snapshot=moment.to_pydatetime()).market
    medians = here.groupby(["currency", "expiry_utc"], observed=True)["underlying"].median()
    assert np.array_equal(market.forward[market.expiry_time != UNDATED], medians.to_numpy())
    assert np.array_equal(market.spot, here.groupby("currency", observed=True)["index"].median().to_numpy())


def test_the_example_is_what_it_claims() -> None:
    frame = chain_frame()
    assert len(frame) == 16 and set(frame["underlying_name"]) == {name for name, _ in FORWARD.values()}
    assert np.max(mark_errors(read_chain(frame))) < FRACTION_OF_TICK * 1e-4
