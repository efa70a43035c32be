"""Our own market snapshot: one JSON document with contracts, forwards, slices and vols, columns by name.

Vols are decimals, SVI parameters are of total variance, times are ms UTC, null is "none". Numbers are written with
the shortest digits that read back to the same double, so writing and reading a market loses nothing.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portfolio_margin.io.atomic import write_whole
from portfolio_margin.io.dividends import COLUMNS as DIVIDEND_COLUMNS
from portfolio_margin.io.dividends import TABLE as DIVIDENDS
from portfolio_margin.io.dividends import dividend_columns
from portfolio_margin.io.json_text import parsed_json
from portfolio_margin.io.market_limits import document_of, fx_limits_of, limits_of
from portfolio_margin.io.market_terms import contradictions
from portfolio_margin.io.tables import JSON, kind_of_name, read_bytes, refuse
from portfolio_margin.io.told import NOTHING, Told
from pricing.arrays import StrArray
from pricing.errors import DataError, Problem
from pricing.instruments import Exercise, Instruments, Kind, Payoff
from pricing.market import UNDATED, Market
from pricing.market_limits import FX_TOLERANCE, USUAL, MarketLimits

FORMAT = "portfolio-margin market 1"
VARIANCE = "total"
PERCENT_SUSPECTED = 3.0
HEADER = ("format", "source", "valuation_time_ms", "variance", "margin_currency")
OPTIONAL = ("market_rows_left_out", "notes", "warnings", "limits")
# Columns that a table may lack, and what stands for each of them then.
OPTIONAL_COLUMNS = {("expiries", "fixed_share"): 0.0, ("currencies", "fx_basis_limit"): FX_TOLERANCE}
TABLES = {
    "currencies": ("currency", "fx", "underlying"),
    "underlyings": ("underlying", "spot"),
    "expiries": ("underlying", "expiry_time_ms", "forward", "discount", "svi"),
    "instruments": (
        "instrument",
        "kind",
        "payoff",
        "underlying",
        "expiry",
        "strike",
        "option_type",
        "exercise",
        "multiplier",
        "quantity_step",
        "currency",
        "mark_vol",
    ),
}


# A table that a document may lack.
OPTIONAL_TABLES = {DIVIDENDS: DIVIDEND_COLUMNS}


@dataclass(frozen=True)
class MarketFile:
    """What a market file holds: the two tables, where they come from and what is told of them."""

    instruments: Instruments
    market: Market
    source: str
    told: Told = NOTHING


def write_market(
    path: str | Path, instruments: Instruments, market: Market, source: str, told: Told | None = None
) -> None:
    """Write a market whole or not at all; compressed where the name ends in .gz, the same bytes each time."""
    text = market_text(instruments, market, source, told)
    content = text.encode("utf-8")
    write_whole(path, gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)


def market_text(instruments: Instruments, market: Market, source: str, told: Told | None = None) -> str:
    """The document, one line a column; lists of what is told of it where there is something to tell."""
    tables = {
        "currencies": {
            "currency": market.currency_id.tolist(),
            "fx": market.fx.tolist(),
            "underlying": _named(market.underlying_id, market.currency_underlying),
            **fx_limits_of(market),
        },
        "underlyings": {"underlying": market.underlying_id.tolist(), "spot": market.spot.tolist()},
        "expiries": {
            "underlying": _named(market.underlying_id, market.expiry_underlying),
            "expiry_time_ms": [None if time == UNDATED else int(time) for time in market.expiry_time],
            "forward": market.forward.tolist(),
            "discount": market.discount.tolist(),
            "svi": [None if np.isnan(row).all() else row.tolist() for row in market.svi],
            **({"fixed_share": market.fixed_share.tolist()} if np.any(market.fixed_share) else {}),
        },
        "instruments": _instrument_columns(instruments, market),
        **({DIVIDENDS: dividend_columns(market)} if len(market.dividend) else {}),
    }
    header: dict[str, Any] = {
        "format": FORMAT,
        "source": source,
        "valuation_time_ms": market.valuation_time,
        "variance": VARIANCE,
        "margin_currency": str(market.currency_id[0]),
        **({} if market.limits == USUAL else {"limits": document_of(market.limits)}),
        **{name: texts for name, texts in (told or NOTHING).document().items() if texts},
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in header.items()]
    for table, columns in tables.items():
        inner = [f"    {json.dumps(name)}: {json.dumps(values, allow_nan=False)}" for name, values in columns.items()]
        lines.append(f"  {json.dumps(table)}: {{\n" + ",\n".join(inner) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_market(path: str | Path) -> tuple[Instruments, Market]:
    """Instruments and market of a file. DataError listing every bad entry by table, row, field and value."""
    read = read_market_file(path)
    return read.instruments, read.market


def read_market_file(path: str | Path) -> MarketFile:
    """The whole content of a market file; see `read_market`."""
    file = str(path)
    if kind_of_name(path) != JSON:
        refuse(file, "file type", Path(path).suffix, "a market snapshot is a .json or .json.gz file")
    document = _document(file, read_bytes(path))
    reader = _Reader(file, document)
    for name, fields in OPTIONAL_TABLES.items():
        document.setdefault(name, {field: [] for field in fields})
    columns = {name: reader.table(name, fields) for name, fields in (*TABLES.items(), *OPTIONAL_TABLES.items())}
    reader.stop_if_bad()
    underlyings = reader.names("underlyings", "underlying")
    currencies = reader.names("currencies", "currency")
    reader.stop_if_bad()
    underlying_of = {str(name): row for row, name in enumerate(underlyings)}
    currency_of = {str(name): row for row, name in enumerate(currencies)}
    market_fields: dict[str, Any] = {
        "valuation_time": reader.whole("valuation_time_ms"),
        "underlying_id": underlyings,
        "spot": reader.numbers("underlyings", "spot"),
        "currency_id": currencies,
        "fx": reader.numbers("currencies", "fx"),
        "currency_underlying": reader.codes("currencies", "underlying", underlying_of, none=-1),
        "expiry_underlying": reader.codes("expiries", "underlying", underlying_of),
        "expiry_time": reader.times("expiries", "expiry_time_ms"),
        "forward": reader.numbers("expiries", "forward"),
        "discount": reader.numbers("expiries", "discount"),
        "svi": reader.slices("expiries", "svi"),
        "fixed_share": reader.numbers("expiries", "fixed_share"),
        "fx_basis_limit": reader.numbers("currencies", "fx_basis_limit", none=np.inf),
        "dividend_underlying": reader.codes(DIVIDENDS, "underlying", underlying_of),
        "dividend_time": reader.times(DIVIDENDS, "ex_time_ms"),
        "dividend": reader.numbers(DIVIDENDS, "amount"),
        "limits": reader.limits(),
        "mark_vol": reader.numbers("instruments", "mark_vol", none=np.nan),
    }
    expiry_of = {row: row for row in range(len(columns["expiries"]["forward"]))}
    terms: dict[str, Any] = {
        "instrument_id": reader.texts("instruments", "instrument"),
        "kind": reader.codes("instruments", "kind", {kind.name.lower(): int(kind) for kind in Kind}),
        "payoff": reader.codes("instruments", "payoff", {payoff.name.lower(): int(payoff) for payoff in Payoff}),
        "underlying_idx": reader.codes("instruments", "underlying", underlying_of, none=-1),
        "expiry_idx": reader.codes("instruments", "expiry", expiry_of, none=-1),
        "strike": reader.numbers("instruments", "strike", none=np.nan),
        "sign": reader.codes("instruments", "option_type", {"C": 1, "P": -1}, none=1),
        "exercise": reader.codes("instruments", "exercise", {e.name.lower(): int(e) for e in Exercise}),
        "multiplier": reader.numbers("instruments", "multiplier"),
        "quantity_step": reader.numbers("instruments", "quantity_step"),
        "currency_idx": reader.codes("instruments", "currency", currency_of),
    }
    told = Told(*(reader.remarks(name) for name in NOTHING.document()))
    reader.options_without_type()
    reader.margin_currency(currencies)
    reader.stop_if_bad()
    _refuse_percent(file, market_fields["mark_vol"])
    try:
        instruments, market = Instruments(**terms), Market(**market_fields)
        problems = contradictions(instruments, market)
        if problems:
            raise DataError(problems)
        return MarketFile(instruments, market, str(document.get("source", "")), told)
    except DataError as error:
        raise error.within(file) from None


class _Reader:
    """Columns of a document as arrays; what is wrong is collected and raised at once."""

    def __init__(self, file: str, document: dict[str, Any]) -> None:
        self.file = file
        self.document = document
        self.problems: list[Problem] = []

    def stop_if_bad(self) -> None:
        """Raise what was found so far."""
        if self.problems:
            raise DataError(self.problems)

    def table(self, name: str, fields: Iterable[str]) -> dict[str, list[Any]]:
        """A table whose columns are all there, known and of one length."""
        content = self.document.get(name)
        if not isinstance(content, dict):
            self._note(name, None, type(content).__name__, "must be an object of columns")
            return {}
        wanted = tuple(fields)
        content = {**content, **self._assumed(name, content, wanted)}
        self.document[name] = content
        for field in content:
            if field not in wanted and (name, field) not in OPTIONAL_COLUMNS:
                self._note(f"{name}.{field}", None, "", f"unknown column; known: {', '.join(wanted)}")
        for field in wanted:
            if not isinstance(content.get(field), list):
                self._note(f"{name}.{field}", None, content.get(field), "this column is missing or is no list")
        lengths = {field: len(values) for field, values in content.items() if isinstance(values, list)}
        if len(set(lengths.values())) > 1:
            self._note(name, None, lengths, "the columns have different lengths")
        return content

    def _assumed(self, table: str, content: dict[str, Any], fields: tuple[str, ...]) -> dict[str, list[float]]:
        """Columns that the table lacks and may lack, as long as the others."""
        first = content.get(fields[0])
        rows = len(first) if isinstance(first, list) else 0
        return {
            field: [fill] * rows
            for (owner, field), fill in OPTIONAL_COLUMNS.items()
            if owner == table and field not in content
        }

    def options_without_type(self) -> None:
        """An option is a call or a put; null is for everything else."""
        columns = self.document["instruments"]
        for row, (kind, given) in enumerate(zip(columns["kind"], columns["option_type"], strict=True)):
            if kind == Kind.OPTION.name.lower() and given is None:
                self._note("instruments.option_type", row, given, "an option is C or P")

    def margin_currency(self, currencies: StrArray) -> None:
        """The margin currency stated is the first of the currencies."""
        stated = self.document.get("margin_currency")
        if not len(currencies) or stated != str(currencies[0]):
            self._note("margin_currency", None, stated, "must be the first of the currencies, whose fx is 1")

    def limits(self) -> MarketLimits:
        """The limits that the document declares, or the usual ones."""
        limits, bad = limits_of(self.document.get("limits", {}))
        for field, value, remedy in bad:
            self._note(field, None, value, remedy)
        return limits

    def whole(self, field: str) -> int:
        """A whole number of the document itself."""
        value = _whole(self.document.get(field))
        if value is None:
            self._note(field, None, self.document.get(field), "must be a whole number, ms UTC")
        return value or 0

    def remarks(self, field: str) -> tuple[str, ...]:
        """A list of texts of the document itself, which may be missing."""
        given = self.document.get(field, [])
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
            self._note(field, None, given, "must be a list of texts")
            return ()
        return tuple(given)

    def texts(self, table: str, field: str) -> np.ndarray:
        """(R,) names."""
        return np.array(self._column(table, field, "", _text, "must be a text that is not empty"), dtype=np.str_)

    def names(self, table: str, field: str) -> np.ndarray:
        """(R,) names that other tables refer to, each once."""
        names = self.texts(table, field)
        for row, name in enumerate(names):
            if name and name in names[:row]:
                self._note(f"{table}.{field}", row, str(name), "listed more than once; keep one row")
        return names

    def numbers(self, table: str, field: str, none: float | None = None) -> np.ndarray:
        """(R,) float64; null becomes `none` where that is given."""
        remedy = "must be a number" if none is None else "must be a number or null"
        return np.array(self._column(table, field, np.nan, _number, remedy, none), dtype=np.float64)

    def codes(self, table: str, field: str, known: dict[Any, int], none: int | None = None) -> np.ndarray:
        """(R,) int64 codes of known values."""
        shown = ", ".join(map(str, list(known)[:8])) + (" ..." if len(known) > 8 else "")
        remedy = f"must be one of {shown}" + ("" if none is None else " or null")

        def code(value: Any) -> int | None:
            return known.get(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None

        return np.array(self._column(table, field, 0, code, remedy, none), dtype=np.int64)

    def times(self, table: str, field: str) -> np.ndarray:
        """(R,) ms UTC, UNDATED for null."""
        return np.array(self._column(table, field, 0, _whole, "must be whole ms UTC or null", UNDATED), dtype=np.int64)

    def slices(self, table: str, field: str) -> np.ndarray:
        """(R,5) SVI parameters, NaN for null."""
        empty = [np.nan] * 5
        rows = self._column(table, field, empty, _slice, "must be the five numbers a b rho m sigma or null", empty)
        return np.array(rows, dtype=np.float64).reshape(-1, 5)

    def _column(
        self, table: str, field: str, fill: Any, parse: Callable[[Any], Any], remedy: str, none: Any = None
    ) -> list[Any]:
        parsed = []
        for row, value in enumerate(self.document[table][field]):
            if value is None and none is not None:
                parsed.append(none)
                continue
            result = parse(value)
            if result is None:
                self._note(f"{table}.{field}", row, value, remedy)
                result = fill
            parsed.append(result)
        return parsed

    def _note(self, field: str, row: int | None, value: object, remedy: str) -> None:
        self.problems.append(Problem(self.file, row, field, value, remedy))


def _document(file: str, content: bytes) -> dict[str, Any]:
    document = parsed_json(file, content, strict_numbers=True)
    if not isinstance(document, dict):
        refuse(file, "content", type(document).__name__, "a market snapshot is one JSON object")
    if document.get("format") != FORMAT:
        refuse(file, "format", document.get("format"), f"this version reads {FORMAT!r}")
    unknown = [name for name in document if name not in (*HEADER, *TABLES, *OPTIONAL, *OPTIONAL_TABLES)]
    if unknown:
        refuse(
            file,
            unknown[0],
            document[unknown[0]],
            f"unknown entry; known: {', '.join((*HEADER, *TABLES, *OPTIONAL_TABLES))}",
        )
    if document.get("variance") != VARIANCE:
        refuse(file, "variance", document.get("variance"), 'SVI must be of total variance: "variance": "total"')
    return document


def _refuse_percent(file: str, vol: np.ndarray) -> None:
    given = vol[np.isfinite(vol)]
    if len(given) and np.median(given) > PERCENT_SUSPECTED:
        remedy = "median vol: volatility looks like percent; write decimals, 0.55 for 55 %"
        refuse(file, "instruments.mark_vol", float(np.median(given)), remedy)


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < UNDATED else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() and _is_unicode(value) and "\0" not in value else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _slice(value: Any) -> list[float] | None:
    if not isinstance(value, list) or len(value) != 5 or any(_number(number) is None for number in value):
        return None
    return [float(number) for number in value]


def _named(names: np.ndarray, index: np.ndarray) -> list[str | None]:
    return [None if i < 0 else str(names[i]) for i in index]


def _instrument_columns(instruments: Instruments, market: Market) -> dict[str, list[Any]]:
    option = instruments.is_option
    types = np.where(instruments.sign > 0, "C", "P")
    return {
        "instrument": instruments.instrument_id.tolist(),
        "kind": [Kind(code).name.lower() for code in instruments.kind],
        "payoff": [Payoff(code).name.lower() for code in instruments.payoff],
        "underlying": _named(market.underlying_id, instruments.underlying_idx),
        "expiry": [None if row < 0 else int(row) for row in instruments.expiry_idx],
        "strike": [None if np.isnan(strike) else float(strike) for strike in instruments.strike],
        "option_type": [str(name) if is_option else None for name, is_option in zip(types, option, strict=True)],
        "exercise": [Exercise(code).name.lower() for code in instruments.exercise],
        "multiplier": instruments.multiplier.tolist(),
        "quantity_step": instruments.quantity_step.tolist(),
        "currency": _named(market.currency_id, instruments.currency_idx),
        "mark_vol": [None if np.isnan(vol) else float(vol) for vol in market.mark_vol],
    }


def is_market_file(path: str | Path) -> bool:
    """True for a JSON file that states our format; the venue's own JSON does not."""
    if kind_of_name(path) != JSON:
        return False
    return b'"format"' in read_bytes(path)[:200]
