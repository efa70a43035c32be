"""Instrument names of the venues: from text to a structured record and back.

A name tells a date, never a time of day, and rarely a contract size; what a name cannot tell is None in the
record and comes from the venue's own list of instruments. Crypto venues settle at 08:00 UTC; OSI names say only
a date, and 16:00 New York of that date stands for it (morning settlement and half days need a calendar).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import NoReturn

from pricing.errors import ConfigError, DataError, Problem

OPTION, FUTURE, PERPETUAL, SPOT = "option", "future", "perpetual", "spot"
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
CRYPTO_EXPIRY = time(8, 0)
NEW_YORK_CLOSE = time(16, 0)
OSI_STRIKE_SCALE = 1_000
OSI_STRIKE_DIGITS = 8
OSI_ROOT_LENGTH = 6
OSI_MULTIPLIER = 100.0

# Cash-settled index roots whose options are European; every other listed root is taken as American.
OSI_EUROPEAN_ROOTS = frozenset(
    {"SPX", "SPXW", "NDX", "NDXP", "RUT", "RUTW", "VIX", "VIXW", "XSP", "DJX", "MRUT", "XEO"}
)

# Contract sizes of Deribit's coin-settled instruments: coins per option; USD per future or perpetual.
DERIBIT_OPTION_COINS = 1.0
DERIBIT_FUTURE_USD = {"BTC": 10.0, "ETH": 1.0}

DAY_MONTH_YEAR = r"(?P<day>\d{1,2})(?P<month>[A-Z]{3})(?P<year>\d{2})"
DERIBIT = re.compile(
    rf"(?P<base>[A-Z0-9]+)(?:_(?P<quote>[A-Z0-9]+))?"
    rf"(?:-(?:(?P<perpetual>PERPETUAL)|{DAY_MONTH_YEAR}(?:-(?P<strike>\d+(?:[dD]\d+)?)-(?P<type>[CP]))?))?",
    re.ASCII,
)
OKX = re.compile(
    r"(?P<base>[A-Z0-9]+)-(?P<quote>[A-Z]+)-(?P<date>\d{6})-(?P<strike>\d+(?:\.\d+)?)-(?P<type>[CP])", re.ASCII
)
BYBIT = re.compile(
    rf"(?P<base>[A-Z0-9]+)-{DAY_MONTH_YEAR}-(?P<strike>\d+(?:\.\d+)?)-(?P<type>[CP])(?:-(?P<settle>USDT))?",
    re.ASCII,
)
BINANCE = re.compile(r"(?P<base>[A-Z0-9]+)-(?P<date>\d{6})-(?P<strike>\d+(?:\.\d+)?)-(?P<type>[CP])", re.ASCII)
DERIVE = re.compile(r"(?P<base>[A-Z0-9]+)-(?P<date>20\d{6})-(?P<strike>\d+(?:\.\d+)?)-(?P<type>[CP])", re.ASCII)
OSI = re.compile(r"(?P<base>[A-Z0-9./]{1,6}?) *(?P<date>\d{6})(?P<type>[CP])(?P<strike>\d{8})", re.ASCII)
COMBINATION = re.compile(r"[A-Z0-9]+(?:_[A-Z0-9]+)?-[A-Z]+-\d{1,2}[A-Z]{3}\d{2}[_-].+", re.ASCII)


@dataclass(frozen=True, slots=True)
class SymbolRecord:
    """What an instrument name says.

    venue        one of VENUES
    underlying   base asset or root: BTC, XRP, AAPL
    quote        currency of strike and forward
    settle       currency gains are paid in
    kind         option, future, perpetual or spot
    expiry_ms    ms UTC, None where the contract does not expire
    strike       in the quote currency, None where there is none
    option_type  C or P, None where it is no option
    exercise     european or american, None where it is no option
    multiplier   units of underlying per contract (quote currency for an inverse future), None where the name
                 does not tell
    inverse      True where settled in the underlying coin
    """

    venue: str
    underlying: str
    quote: str
    settle: str
    kind: str
    expiry_ms: int | None
    strike: float | None
    option_type: str | None
    exercise: str | None
    multiplier: float | None
    inverse: bool


def parse_symbol(text: str, venue: str | None = None) -> SymbolRecord:
    """The record of an instrument name.

    Without a venue the name must fit the grammar of one venue only. Raises DataError where it fits none, or
    several (the message lists them), and ConfigError for an unknown venue.
    """
    if venue is not None:
        record = _grammar(venue)[0](text)
        return record if record is not None else _refuse(text, _remedy_for(text, venue))
    found = [record for parse, _ in GRAMMARS.values() if (record := parse(text)) is not None]
    if len(found) == 1:
        return found[0]
    if not found:
        _refuse(text, f"not an instrument name of {', '.join(GRAMMARS)}")
    candidates = ", ".join(f"{record.venue} ({record.settle}-settled {record.kind})" for record in found)
    _refuse(text, f"several venues use this form, give the venue: {candidates}")


def format_symbol(record: SymbolRecord, venue: str | None = None) -> str:
    """The name of a contract as a venue writes it, by default the record's own venue.

    Raises DataError where the venue's grammar has no name for the contract, which includes OSI strikes of
    100,000 and more, and ConfigError for an unknown venue.
    """
    target = venue or record.venue
    parse, write = _grammar(target)
    text = write(record)
    if text is None or not _same_contract(parse(text), record):
        remedy = f"the names of {target} cannot express this contract"
        raise DataError([Problem("symbol", None, "record", _describe(record), remedy)])
    return text


def is_combination(text: str) -> bool:
    """True for the name of a Deribit combination (BTC-FS-27MAR26_PERP), whose legs are listed by themselves."""
    return COMBINATION.fullmatch(text) is not None


def decimal_text(value: float) -> str:
    """The shortest decimal of a number, without exponent and without trailing zeros."""
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _refuse(text: str, remedy: str) -> NoReturn:
    raise DataError([Problem("symbol", None, "instrument", text, remedy)])


def _grammar(venue: str) -> Grammar:
    if venue not in GRAMMARS:
        raise ConfigError(f"no grammar for the venue {venue!r}; known: {', '.join(GRAMMARS)}")
    return GRAMMARS[venue]


def _remedy_for(text: str, venue: str) -> str:
    if venue == "deribit" and is_combination(text):
        return "a combination; use its legs"
    return f"not an instrument name of {venue}, which writes {EXAMPLES[venue]}"


def _describe(record: SymbolRecord) -> str:
    parts = (
        record.underlying,
        record.quote,
        record.settle,
        record.kind,
        record.expiry_ms,
        record.strike,
        record.option_type,
    )
    return " ".join(str(part) for part in parts if part is not None)


def _same_contract(other: SymbolRecord | None, record: SymbolRecord) -> bool:
    """True where a name read back means the contract it was written for, on whatever venue."""
    if other is None:
        return False
    fields = ("underlying", "quote", "settle", "kind", "expiry_ms", "strike", "option_type", "exercise", "inverse")
    return all(getattr(other, field) == getattr(record, field) for field in fields)


# --- dates and numbers ---------------------------------------------------------------------------------------------


def _crypto_expiry_ms(year: int, month: int, day: int) -> int | None:
    try:
        moment = datetime.combine(date(year, month, day), CRYPTO_EXPIRY, UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000


def _named_month_ms(match: re.Match[str]) -> int | None:
    if match["month"] not in MONTHS:
        return None
    return _crypto_expiry_ms(2000 + int(match["year"]), MONTHS.index(match["month"]) + 1, int(match["day"]))


def _digits_ms(digits: str) -> int | None:
    """Of YYMMDD or YYYYMMDD."""
    year = int(digits[:-4]) + (2000 if len(digits) == 6 else 0)
    return _crypto_expiry_ms(year, int(digits[-4:-2]), int(digits[-2:]))


def _new_york_ms(digits: str) -> int | None:
    from zoneinfo import ZoneInfo

    try:
        day = date(2000 + int(digits[:2]), int(digits[2:4]), int(digits[4:]))
    except ValueError:
        return None
    moment = datetime.combine(day, NEW_YORK_CLOSE, ZoneInfo("America/New_York"))
    return int(moment.timestamp()) * 1_000


def _utc_date(expiry_ms: int) -> date:
    return datetime.fromtimestamp(expiry_ms / 1_000, UTC).date()


def _day_month_year(expiry_ms: int) -> str:
    day = _utc_date(expiry_ms)
    return f"{day.day}{MONTHS[day.month - 1]}{day.year % 100:02d}"


# --- one pair of functions a venue ----------------------------------------------------------------------------------


def _option(
    venue: str, match: re.Match[str], currencies: tuple[str, str], expiry_ms: int | None, multiplier: float | None
) -> SymbolRecord | None:
    """A European option of a crypto venue; currencies are quote and settlement."""
    strike = float(match["strike"].replace("d", ".").replace("D", "."))
    if expiry_ms is None or not strike > 0:
        return None
    quote, settle = currencies
    inverse = settle == match["base"]
    kind, exercise = OPTION, "european"
    return SymbolRecord(
        venue, match["base"], quote, settle, kind, expiry_ms, strike, match["type"], exercise, multiplier, inverse
    )


def _parse_deribit(text: str) -> SymbolRecord | None:
    match = DERIBIT.fullmatch(text)
    if match is None:
        return None
    base, inverse = match["base"], match["quote"] is None
    quote, settle = ("USD", base) if inverse else (match["quote"], match["quote"])
    expiry_ms = _named_month_ms(match) if match["day"] else None
    if match["strike"]:
        return _option("deribit", match, (quote, settle), expiry_ms, DERIBIT_OPTION_COINS if inverse else None)
    if match["day"] and expiry_ms is None:
        return None
    kind = PERPETUAL if match["perpetual"] else FUTURE if match["day"] else SPOT
    if kind == SPOT and inverse:
        return None
    size = 1.0 if kind == SPOT else DERIBIT_FUTURE_USD.get(base) if inverse else None
    return SymbolRecord("deribit", base, quote, settle, kind, expiry_ms, None, None, None, size, inverse)


def _format_deribit(record: SymbolRecord) -> str | None:
    base = record.underlying if record.inverse else f"{record.underlying}_{record.quote}"
    if record.kind == SPOT:
        return base
    if record.kind == PERPETUAL:
        return f"{base}-PERPETUAL"
    if record.expiry_ms is None:
        return None
    dated = f"{base}-{_day_month_year(record.expiry_ms)}"
    if record.kind == FUTURE:
        return dated
    if record.strike is None:
        return None
    return f"{dated}-{decimal_text(record.strike).replace('.', 'd')}-{record.option_type}"


def _parse_okx(text: str) -> SymbolRecord | None:
    match = OKX.fullmatch(text)
    if match is None:
        return None
    settle = match["base"] if match["quote"] == "USD" else match["quote"]
    return _option("okx", match, (match["quote"], settle), _digits_ms(match["date"]), None)


def _format_okx(record: SymbolRecord) -> str | None:
    return _dashed(record, f"{record.underlying}-{record.quote}", "%y%m%d")


def _parse_bybit(text: str) -> SymbolRecord | None:
    match = BYBIT.fullmatch(text)
    if match is None:
        return None
    currency = match["settle"] or "USDC"
    return _option("bybit", match, (currency, currency), _named_month_ms(match), 1.0)


def _format_bybit(record: SymbolRecord) -> str | None:
    if record.expiry_ms is None or record.strike is None:
        return None
    tail = "" if record.settle == "USDC" else f"-{record.settle}"
    date_text, strike = _day_month_year(record.expiry_ms), decimal_text(record.strike)
    return f"{record.underlying}-{date_text}-{strike}-{record.option_type}{tail}"


def _parse_binance(text: str) -> SymbolRecord | None:
    match = BINANCE.fullmatch(text)
    return None if match is None else _option("binance", match, ("USDT", "USDT"), _digits_ms(match["date"]), 1.0)


def _format_binance(record: SymbolRecord) -> str | None:
    return _dashed(record, record.underlying, "%y%m%d")


def _parse_derive(text: str) -> SymbolRecord | None:
    match = DERIVE.fullmatch(text)
    return None if match is None else _option("derive", match, ("USDC", "USDC"), _digits_ms(match["date"]), 1.0)


def _format_derive(record: SymbolRecord) -> str | None:
    return _dashed(record, record.underlying, "%Y%m%d")


def _dashed(record: SymbolRecord, head: str, date_format: str) -> str | None:
    if record.expiry_ms is None or record.strike is None:
        return None
    date_text = _utc_date(record.expiry_ms).strftime(date_format)
    return f"{head}-{date_text}-{decimal_text(record.strike)}-{record.option_type}"


def _parse_osi(text: str) -> SymbolRecord | None:
    match = OSI.fullmatch(text)
    if match is None or len(text) > 21:
        return None
    root, expiry_ms = match["base"], _new_york_ms(match["date"])
    strike = int(match["strike"]) / OSI_STRIKE_SCALE
    if expiry_ms is None or not strike > 0:
        return None
    exercise = "european" if root in OSI_EUROPEAN_ROOTS else "american"
    # A digit at the end of the root marks terms adjusted after a corporate action.
    multiplier = None if root[-1].isdigit() else OSI_MULTIPLIER
    return SymbolRecord(
        "osi", root, "USD", "USD", OPTION, expiry_ms, strike, match["type"], exercise, multiplier, False
    )


def _format_osi(record: SymbolRecord) -> str | None:
    if record.expiry_ms is None or record.strike is None or len(record.underlying) > OSI_ROOT_LENGTH:
        return None
    thousandths = Decimal(repr(record.strike)) * OSI_STRIKE_SCALE
    if thousandths != int(thousandths) or len(str(int(thousandths))) > OSI_STRIKE_DIGITS:
        return None
    date_text = _utc_date(record.expiry_ms).strftime("%y%m%d")
    return (
        f"{record.underlying:<{OSI_ROOT_LENGTH}}{date_text}{record.option_type}{int(thousandths):0{OSI_STRIKE_DIGITS}d}"
    )


Grammar = tuple[Callable[[str], SymbolRecord | None], Callable[[SymbolRecord], str | None]]
GRAMMARS: dict[str, Grammar] = {
    "deribit": (_parse_deribit, _format_deribit),
    "okx": (_parse_okx, _format_okx),
    "bybit": (_parse_bybit, _format_bybit),
    "binance": (_parse_binance, _format_binance),
    "derive": (_parse_derive, _format_derive),
    "osi": (_parse_osi, _format_osi),
}
VENUES = tuple(GRAMMARS)
EXAMPLES = {
    "deribit": "BTC-27JUN25-100000-C, BTC_USDC-27JUN25-100000-C, BTC-27MAR26 or BTC-PERPETUAL",
    "okx": "BTC-USD-220309-33000-C",
    "bybit": "BTC-30DEC22-18000-C or BTC-13FEB25-89000-P-USDT",
    "binance": "BTC-251120-126000-C",
    "derive": "ETH-20261030-3000-C",
    "osi": "AAPL  270618C00150500",
}
