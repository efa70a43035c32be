"""Listed equity option chains in the layouts of delayed quote tables, as quotes for `pricing.fit`.

Two layouts are known by their columns: calls and puts with bid and ask, whose forwards are implied from put-call
parity, and out-of-the-money quotes that bring their forward. Prices become vols by European Black-76 with the
discount factor of the rate given. The contracts are American: out of the money early exercise is worth little, in the
money it is the price, so only out-of-the-money quotes become vols.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from portfolio_margin.io.tables import (
    Table,
    number_column,
    read_table,
    refuse,
    require_columns,
    row_problems_of,
    text_column,
)
from pricing.arrays import MILLISECONDS_PER_YEAR, BoolArray, FloatArray, IntArray
from pricing.errors import ConfigError, DataError, Problem
from pricing.fit import Expiries
from pricing.forwards import ForwardCurve, implied_forwards
from pricing.quotes import Quotes, quotes_from_prices

if TYPE_CHECKING:
    import pandas as pd

COMMON = ("expiry", "strike", "cp", "bid", "ask")
FORWARD = "forward"
OSI_SYMBOL = "osi_symbol"
# Date, type and strike, which stand behind the root of an OSI symbol.
OSI_TAIL = 15
OTHER_VENUES = frozenset({"instrument", "instrument_name"})
LARGEST_RATE = 1.0
Sides = tuple[FloatArray, FloatArray]
CLOSE = time(16, 0, tzinfo=ZoneInfo("America/New_York"))


@dataclass(frozen=True)
class EquityChain:
    """One moment of the options on one underlying.

    source       what it was read from
    quotes       one row per option that stands, vols from bid and ask
    expiries     one underlying, in the order of time
    expiry_ms    (X,) ms UTC, 16:00 New York
    forwards     from parity, or as the table gives them
    excluded     the expiries left out, and why
    """

    source: str
    quotes: Quotes
    expiries: Expiries
    expiry_ms: IntArray
    forwards: ForwardCurve
    excluded: tuple[Problem, ...] = ()


def is_equity_chain(table: Table) -> bool:
    """Whether a table has the columns of an equity chain, and no contract names as those of other venues have."""
    found = {str(column) for column in table.frame.columns}
    return set(COMMON) <= found and not found & OTHER_VENUES


def underlying_of(table: Table) -> str | None:
    """The stock that the OSI symbols of a chain name, None where it has none or they name several."""
    if OSI_SYMBOL not in table.frame.columns:
        return None
    roots = {text[:-OSI_TAIL].strip() for text in text_column(table, OSI_SYMBOL)}
    return roots.pop() if len(roots) == 1 else None


def read_equity_chain(
    source: str | Path | pd.DataFrame | Table, *, valuation_time: datetime, rate: float = 0.0
) -> EquityChain:
    """Quotes of a .csv, .csv.gz or .parquet file, or a frame.

    Its columns: expiry (YYYY-MM-DD), strike, cp (C or P), bid and ask in quote currency per unit, and forward where
    it is known.

    valuation_time   the moment of the quotes, with its zone
    rate             continuously compounded, per year, decimal, for discounting

    Expiries without a forward, given or implied, are left out (`excluded`). Raises DataError listing every bad row.
    """
    if valuation_time.tzinfo is None:
        refuse("chain", "valuation_time", valuation_time.isoformat(), "give it with its zone")
    if not -LARGEST_RATE < rate < LARGEST_RATE:
        raise ConfigError(f"rate = {rate!r}: must be a decimal per year between -1 and 1, 0.042 for 4.2 %")
    table = read_table(source, "chain")
    require_columns(table, list(COMMON), only=False)
    strike, sign, bid, ask, dates = _columns(table)
    names, row = np.unique(dates, return_inverse=True)
    expiry_ms = np.array([_close_ms(date.fromisoformat(name)) for name in names], dtype=np.int64)
    tau = (expiry_ms - int(valuation_time.timestamp() * 1000)) / MILLISECONDS_PER_YEAR
    discount = np.exp(-rate * np.maximum(tau, 0.0))
    forwards = _forwards(table, row, strike, sign, (bid, ask), discount)
    known = np.flatnonzero(np.isfinite(forwards.forward) & (tau > 0))
    kept = np.isin(row, known) & ((sign > 0) == (strike >= forwards.forward[row]))
    if not kept.any():
        refuse(table.file, FORWARD, "none", "no expiry ahead has a call and a put of one strike quoted on both sides")
    at, strike, sign, bid, ask = row[kept], strike[kept], sign[kept], bid[kept], ask[kept]
    bid, ask, no_mark = bid / discount[at], ask / discount[at], np.full(len(at), np.nan)
    place = np.searchsorted(known, at)
    quotes = quotes_from_prices(place, strike, sign, forwards.forward[at], tau[at], bid, ask, no_mark, model="black76")
    chosen = ForwardCurve(*(getattr(forwards, name)[known] for name in ForwardCurve.__dataclass_fields__))
    expiries = Expiries(np.zeros(len(known), dtype=np.int64), tau[known])
    return EquityChain(table.file, quotes, expiries, expiry_ms[known], chosen, _excluded(table.file, names, tau, known))


def _excluded(file: str, names: np.ndarray, tau: FloatArray, known: IntArray) -> tuple[Problem, ...]:
    """What is said of the expiries that are left out."""
    remedies = {
        x: "no call and put of one strike are quoted on both sides, so it has no forward" if tau[x] > 0 else "expired"
        for x in range(len(names))
        if x not in known
    }
    return tuple(Problem(file, None, "expiry", str(names[x]), remedy) for x, remedy in remedies.items())


def _columns(table: Table) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, np.ndarray]:
    problems: list[Problem] = []

    def bad(column: str, where: BoolArray, remedy: str) -> None:
        problems.extend(row_problems_of(table, column, where, remedy))

    numbers = {}
    for column in ("strike", "bid", "ask"):
        numbers[column], unread = number_column(table, column)
        bad(column, unread, "not a number")
    bad("strike", ~(numbers["strike"] > 0), "must be above 0")
    for column in ("bid", "ask"):
        bad(column, (numbers[column] < 0) | np.isinf(numbers[column]), "must be 0 or more, blank where there is none")
    kind = text_column(table, "cp").str.upper().to_numpy(dtype=np.str_)
    bad("cp", ~np.isin(kind, ("C", "P")), "C for a call, P for a put")
    dates = text_column(table, "expiry").to_numpy(dtype=np.str_)
    bad("expiry", ~np.isin(dates, _readable(np.unique(dates).tolist())), "not a date; write YYYY-MM-DD")
    if problems:
        raise DataError(problems)
    return numbers["strike"], np.where(kind == "C", 1.0, -1.0), numbers["bid"], numbers["ask"], dates


def _readable(texts: Iterable[str]) -> list[str]:
    found = []
    for text in texts:
        try:
            date.fromisoformat(text)
        except ValueError:
            continue
        found.append(text)
    return found


def _close_ms(day: date) -> int:
    return int(datetime.combine(day, CLOSE).timestamp() * 1000)


def _forwards(
    table: Table,
    row: IntArray,
    strike: FloatArray,
    sign: FloatArray,
    sides: tuple[FloatArray, ...],
    discount: FloatArray,
) -> ForwardCurve:
    if FORWARD not in table.frame.columns:
        return implied_forwards(row, strike, sign, sides[0], sides[1], discount)
    given, unread = number_column(table, FORWARD)
    wrong = unread | ~(given > 0)
    if wrong.any():
        raise DataError(row_problems_of(table, FORWARD, wrong, "must be above 0"))
    forward, low, high = (np.empty(len(discount)) for _ in range(3))
    for x in range(len(discount)):
        here = given[row == x]
        forward[x], low[x], high[x] = np.median(here), here.min(), here.max()
    count = np.bincount(row, minlength=len(discount))
    return ForwardCurve(forward, low, high, count, np.zeros(len(discount), dtype=np.int64))
