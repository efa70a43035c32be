"""Instrument names of the venues: read, written, and read back."""

from __future__ import annotations

import calendar
import re
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.io.symbols import (
    VENUES,
    SymbolRecord,
    decimal_text,
    format_symbol,
    is_combination,
    parse_symbol,
)
from pricing.errors import ConfigError, DataError
from tests.portfolio_margin.io_examples import refused


def at_eight(year: int, month: int, day: int) -> int:
    return calendar.timegm((year, month, day, 8, 0, 0)) * 1_000


def crypto(venue: str, money: str, day: int, strike: float, option_type: str, size: float | None) -> SymbolRecord:
    """A European option; money is base, quote and settlement currency."""
    base, quote, settle = money.split()
    inverse = settle == base
    return SymbolRecord(venue, base, quote, settle, "option", day, strike, option_type, "european", size, inverse)


def without_strike(money: str, kind: str, size: float | None, day: int | None = None) -> SymbolRecord:
    base, quote, settle = money.split()
    return SymbolRecord("deribit", base, quote, settle, kind, day, None, None, None, size, settle == base)


def listed(root: str, day: int, strike: float, option_type: str, exercise: str, size: float | None) -> SymbolRecord:
    return SymbolRecord("osi", root, "USD", "USD", "option", day, strike, option_type, exercise, size, False)


# 16:00 in New York is 20:00 UTC in summer and 21:00 UTC in winter.
SUMMER, WINTER = at_eight(2027, 6, 18) + 12 * 3_600_000, at_eight(2027, 1, 15) + 13 * 3_600_000
KNOWN = [
    ("BTC-27JUN25-100000-C", crypto("deribit", "BTC USD BTC", at_eight(2025, 6, 27), 1e5, "C", 1.0)),
    ("BTC-2JUN21-37000-P", crypto("deribit", "BTC USD BTC", at_eight(2021, 6, 2), 37e3, "P", 1.0)),
    ("BTC_USDC-27JUN25-100000-C", crypto("deribit", "BTC USDC USDC", at_eight(2025, 6, 27), 1e5, "C", None)),
    ("XRP_USDC-30JUN23-0d625-C", crypto("deribit", "XRP USDC USDC", at_eight(2023, 6, 30), 0.625, "C", None)),
    ("BTC-27MAR26", without_strike("BTC USD BTC", "future", 10.0, at_eight(2026, 3, 27))),
    ("ETH-27MAR26", without_strike("ETH USD ETH", "future", 1.0, at_eight(2026, 3, 27))),
    ("BTC-PERPETUAL", without_strike("BTC USD BTC", "perpetual", 10.0)),
    ("BTC_USDC-PERPETUAL", without_strike("BTC USDC USDC", "perpetual", None)),
    ("BTC_USDC", without_strike("BTC USDC USDC", "spot", 1.0)),
    ("BTC-USD-220309-33000-C", crypto("okx", "BTC USD BTC", at_eight(2022, 3, 9), 33e3, "C", None)),
    ("BTC-30DEC22-18000-C", crypto("bybit", "BTC USDC USDC", at_eight(2022, 12, 30), 18e3, "C", 1.0)),
    ("BTC-13FEB25-89000-P-USDT", crypto("bybit", "BTC USDT USDT", at_eight(2025, 2, 13), 89e3, "P", 1.0)),
    ("BTC-251120-126000-C", crypto("binance", "BTC USDT USDT", at_eight(2025, 11, 20), 126e3, "C", 1.0)),
    ("ETH-20261030-3000-C", crypto("derive", "ETH USDC USDC", at_eight(2026, 10, 30), 3e3, "C", 1.0)),
    ("AAPL  270618C00150500", listed("AAPL", SUMMER, 150.5, "C", "american", 100.0)),
    ("SPXW  270115P05000000", listed("SPXW", WINTER, 5e3, "P", "european", 100.0)),
    ("SDS1  270618C00012000", listed("SDS1", SUMMER, 12.0, "C", "american", None)),
]


@pytest.mark.parametrize(("text", "record"), KNOWN, ids=[text for text, _ in KNOWN])
def test_known_names(text: str, record: SymbolRecord) -> None:
    assert parse_symbol(text, record.venue) == record
    assert format_symbol(record) == text


@pytest.mark.parametrize(
    ("text", "venue"),
    [
        ("BTC-31JUN25-100000-C", "deribit"),  # no such day
        ("BTC-27JUX25-100000-C", "deribit"),
        ("BTC-27JUN25-100000-X", "deribit"),
        ("BTC-27JUN25-100000", "deribit"),
        ("BTC-27JUN25-0-C", "deribit"),
        ("btc-27jun25-100000-c", "deribit"),
        ("BTC-27JUN25-100000-C ", "deribit"),
        ("BTC-27JUN25-١٠٠-C", "deribit"),  # digits of another script
        ("BTC", "deribit"),
        ("", "deribit"),
        ("BTC-USD-221309-33000-C", "okx"),
        ("BTC-30DEC22-18000-C-EUR", "bybit"),
        ("BTC-20251120-126000-C", "binance"),
        ("ETH-261030-3000-C", "derive"),
        ("AAPL  270618X00150500", "osi"),
        ("TOOLONGROOT270618C00150500", "osi"),
    ],
)
def test_other_texts_are_refused(text: str, venue: str) -> None:
    [(row, field, value, remedy)] = refused(lambda: parse_symbol(text, venue))
    assert (row, field, value) == (None, "instrument", text)
    assert venue in remedy


def test_text_of_several_venues_needs_the_venue() -> None:
    [(_, _, value, remedy)] = refused(lambda: parse_symbol("BTC-27JUN25-100000-C"))
    assert value == "BTC-27JUN25-100000-C"
    assert "deribit (BTC-settled option)" in remedy and "bybit (USDC-settled option)" in remedy


@pytest.mark.parametrize(
    "text", ["BTC-USD-220309-33000-C", "BTC-PERPETUAL", "ETH-20261030-3000-C", "BTC-251120-126000-C"]
)
def test_text_of_one_venue_does_not(text: str) -> None:
    assert format_symbol(parse_symbol(text)) == text


def test_text_of_no_venue() -> None:
    [(_, _, _, remedy)] = refused(lambda: parse_symbol("C-BTC-47000-290324"))
    assert remedy == "not an instrument name of deribit, okx, bybit, binance, derive, osi"


def test_unknown_venue() -> None:
    with pytest.raises(ConfigError, match="known: deribit, okx"):
        parse_symbol("BTC-PERPETUAL", "nyse")
    with pytest.raises(ConfigError, match="known: deribit, okx"):
        format_symbol(parse_symbol("BTC-PERPETUAL"), "nyse")


@pytest.mark.parametrize("text", ["BTC-FS-27MAR26_PERP", "BTC-CS-27MAR26-90000_95000", "ETH_USDC-STRD-27MAR26-3000"])
def test_combinations_are_named_as_such(text: str) -> None:
    assert is_combination(text)
    [(_, _, _, remedy)] = refused(lambda: parse_symbol(text, "deribit"))
    assert remedy == "a combination; use its legs"


@pytest.mark.parametrize("text", [text for text, _ in KNOWN])
def test_contracts_are_no_combinations(text: str) -> None:
    assert not is_combination(text)


def test_unpadded_osi_is_read_and_padded_osi_written() -> None:
    assert parse_symbol("AAPL270618C00150500", "osi") == parse_symbol("AAPL  270618C00150500", "osi")


def test_osi_cannot_carry_a_strike_of_100000() -> None:
    highest = parse_symbol("BTC   270618C99999999", "osi")
    assert highest.strike == 99_999.999
    assert format_symbol(highest) == "BTC   270618C99999999"
    for strike in (100_000.0, 150.0005):
        [(_, field, value, remedy)] = refused(lambda: format_symbol(replace(highest, strike=strike)))  # noqa: B023
        assert field == "record" and str(strike) in str(value)
        assert remedy == "the names of osi cannot express this contract"


def test_the_same_contract_on_another_venue() -> None:
    inverse = parse_symbol("BTC-9MAR22-33000-C", "deribit")
    assert format_symbol(inverse, "okx") == "BTC-USD-220309-33000-C"
    assert parse_symbol("BTC-USD-220309-33000-C", "okx") == replace(inverse, venue="okx", multiplier=None)
    with pytest.raises(DataError, match="binance cannot express"):
        format_symbol(inverse, "binance")  # coin-settled; binance settles in USDT
    with pytest.raises(DataError, match="okx cannot express"):
        format_symbol(parse_symbol("BTC-PERPETUAL"), "okx")


BASES = st.from_regex(re.compile(r"[A-Z][A-Z0-9]{1,5}", re.ASCII), fullmatch=True)
DAYS = st.dates(date(2000, 1, 1), date(2099, 12, 31))
THOUSANDTHS = st.integers(1, 99_999_999)


SETTLEMENT = {
    "deribit": ["", "USDC", "USDT"],
    "okx": ["", "USDT"],
    "bybit": ["USDC", "USDT"],
    "binance": ["USDT"],
    "derive": ["USDC"],
}


@given(data=st.data(), base=BASES, day=DAYS, thousandths=THOUSANDTHS, option_type=st.sampled_from("CP"))
def test_every_option_reads_back(data: st.DataObject, base: str, day: date, thousandths: int, option_type: str) -> None:
    venue = data.draw(st.sampled_from(sorted(SETTLEMENT)))
    linear = data.draw(st.sampled_from(SETTLEMENT[venue]))
    if base == linear:
        base = base + "X"
    size = {"okx": None, "deribit": None if linear else 1.0}.get(venue, 1.0)
    money = f"{base} {linear} {linear}" if linear else f"{base} USD {base}"
    expiry_ms = at_eight(day.year, day.month, day.day)
    record = crypto(venue, money, expiry_ms, thousandths / 1_000, option_type, size)
    text = format_symbol(record)
    assert parse_symbol(text, venue) == record
    assert format_symbol(parse_symbol(text, venue)) == text


@given(root=BASES, day=DAYS, thousandths=THOUSANDTHS, option_type=st.sampled_from("CP"))
def test_every_osi_name_reads_back(root: str, day: date, thousandths: int, option_type: str) -> None:
    text = f"{root:<6}{day:%y%m%d}{option_type}{thousandths:08d}"
    record = parse_symbol(text, "osi")
    assert (record.underlying, record.strike, record.option_type) == (root, thousandths / 1_000, option_type)
    assert format_symbol(record) == text
    assert parse_symbol(text.replace(" ", ""), "osi") == record


@given(base=BASES, day=DAYS, quote=st.sampled_from(["", "_USDC"]), dated=st.booleans())
def test_every_deribit_future_reads_back(base: str, day: date, quote: str, dated: bool) -> None:
    month = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"][day.month - 1]
    text = f"{base}{quote}-" + (f"{day.day}{month}{day:%y}" if dated else "PERPETUAL")
    record = parse_symbol(text, "deribit")
    assert record.kind == ("future" if dated else "perpetual")
    assert record.expiry_ms == (at_eight(day.year, day.month, day.day) if dated else None)
    assert format_symbol(record) == text


@given(
    text=st.text(max_size=30) | st.from_regex(r"[A-Z]{3}-\d{1,2}[A-Z]{3}\d\d(-\d+-[CP])?"),
    venue=st.sampled_from(VENUES),
)
def test_any_text_is_a_record_or_a_data_error(text: str, venue: str) -> None:
    try:
        record = parse_symbol(text, venue)
    except DataError:
        return
    assert parse_symbol(format_symbol(record), venue) == record


@given(st.floats(1e-6, 1e9))
def test_decimal_text_is_exact(value: float) -> None:
    assert float(decimal_text(value)) == value
    assert "e" not in decimal_text(value)
