"""A small option chain in the shapes that readers take, and what a refused input says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from portfolio_margin.io.chain import Snapshot
from portfolio_margin.io.deribit import read_chain
from portfolio_margin.io.symbols import parse_symbol
from pricing.errors import DataError

NOW_MS = 1_772_098_865_000
NOW_TEXT = "2026-02-26T09:41:05Z"
MILLISECONDS_PER_YEAR = 365 * 86_400_000
INDEX = {"BTC": 68_400.0, "ETH": 2_050.0}
# Name of the underlying and forward of every expiry.
FORWARD = {
    "BTC-6MAR26": ("SYN.BTC-6MAR26", 68_450.0),
    "BTC-27MAR26": ("BTC-27MAR26", 68_700.0),
    "ETH-27MAR26": ("ETH-27MAR26", 2_060.0),
}
STRIKES = {"BTC": (60_000, 68_000, 76_000), "ETH": (1_800, 2_100)}


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def coin_price(forward: float, strike: float, tau: float, vol: float, option_type: str) -> float:
    deviation = vol * math.sqrt(tau)
    d1 = math.log(forward / strike) / deviation + 0.5 * deviation
    call = normal_cdf(d1) - strike / forward * normal_cdf(d1 - deviation)
    return call if option_type == "C" else call - 1.0 + strike / forward


def option_names() -> list[str]:
    return [
        f"{expiry}-{strike}-{option_type}"
        for expiry in FORWARD
        for strike in STRIKES[expiry[:3]]
        for option_type in "CP"
    ]


def chain_frame() -> pd.DataFrame:
    """Sixteen options in the columns of a collected snapshot; row 1 is BTC-6MAR26-60000-C."""
    rows = []
    for number, name in enumerate(option_names()):
        record = parse_symbol(name, "deribit")
        assert record.expiry_ms is not None and record.strike is not None and record.option_type is not None
        underlying_name, forward = FORWARD[name.rsplit("-", 2)[0]]
        tau = (record.expiry_ms - NOW_MS) / MILLISECONDS_PER_YEAR
        vol = 0.5 + 0.01 * number
        mark = coin_price(forward, record.strike, tau, vol, record.option_type)
        sign = 1.0 if record.option_type == "C" else -1.0
        half_width = 0.02 * (mark - max(sign * (1.0 - record.strike / forward), 0.0))
        rows.append(
            {
                "snapshot_utc": pd.Timestamp(NOW_MS, unit="ms", tz="UTC"),
                "instrument": name,
                "bid": mark - half_width,
                "ask": mark + half_width,
                "mark": mark,
                "underlying": forward,
                "index": INDEX[record.underlying],
                "mark_iv": vol,
                "underlying_name": underlying_name,
                "strike": record.strike,
                "expiry_utc": pd.Timestamp(record.expiry_ms, unit="ms", tz="UTC"),
                "cp": record.option_type,
            }
        )
    return pd.DataFrame(rows)


def crossing_frame() -> pd.DataFrame:
    """Two expiries of seven strikes: within them the nearer one lies lower, beyond them its steep wings cross."""
    rows = []
    for expiry, level, curve in (("BTC-13MAR26", 0.4, 20.0), ("BTC-27MAR26", 0.5, 0.5)):
        for strike in range(64_000, 72_000, 1_000):
            for option_type in "CP":
                name = f"{expiry}-{strike}-{option_type}"
                record = parse_symbol(name, "deribit")
                assert record.expiry_ms is not None
                tau = (record.expiry_ms - NOW_MS) / MILLISECONDS_PER_YEAR
                vol = math.sqrt(level**2 + curve * math.log(strike / 68_000.0) ** 2)
                mark = coin_price(68_000.0, strike, tau, vol, option_type)
                rows.append(
                    {
                        "snapshot_utc": pd.Timestamp(NOW_MS, unit="ms", tz="UTC"),
                        "instrument": name,
                        "bid": 0.99 * mark,
                        "ask": 1.01 * mark,
                        "mark": mark,
                        "underlying": 68_000.0,
                        "index": 68_000.0,
                        "mark_iv": vol,
                    }
                )
    return pd.DataFrame(rows)


def linear_frame() -> pd.DataFrame:
    """The first six options as USDC-settled ones, prices in USDC; no underlying names."""
    frame = chain_frame().iloc[:6].drop(columns=["underlying_name"])
    frame["instrument"] = frame["instrument"].str.replace("BTC-", "BTC_USDC-")
    return frame.assign(**{column: frame[column] * frame["underlying"] for column in ("bid", "ask", "mark")})


def as_tickers(frame: pd.DataFrame, contract_size: float = 1.0, min_trade_amount: float = 0.1) -> pd.DataFrame:
    """A chain in the venue's own ticker fields: vol in percent, times in ms."""
    fields = {
        "instrument": "instrument_name",
        "bid": "best_bid_price",
        "ask": "best_ask_price",
        "mark": "mark_price",
        "underlying": "underlying_price",
        "index": "index_price",
        "underlying_name": "underlying_index",
    }
    named = frame.rename(columns=fields).drop(columns=["snapshot_utc", "expiry_utc", "cp"])
    return named.assign(
        timestamp=NOW_MS,
        expiration_timestamp=[parse_symbol(name, "deribit").expiry_ms for name in frame["instrument"]],
        option_type=["call" if name.endswith("C") else "put" for name in frame["instrument"]],
        mark_iv=100.0 * frame["mark_iv"],
        contract_size=contract_size,
        min_trade_amount=min_trade_amount,
    )


def snapshot() -> Snapshot:
    return read_chain(chain_frame())


def refused(call: Callable[[], Any]) -> list[tuple[int | str | None, str, object, str]]:
    """Row, field, value and remedy of every problem of the DataError that the call must raise."""
    with pytest.raises(DataError) as caught:
        call()
    return [(problem.row, problem.field, problem.value, problem.remedy) for problem in caught.value.problems]


def refused_files(call: Callable[[], Any]) -> list[str]:
    """The files that the DataError of a call names."""
    with pytest.raises(DataError) as caught:
        call()
    return [problem.file for problem in caught.value.problems]
