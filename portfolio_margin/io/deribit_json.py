"""Deribit chains from the venue's own JSON: what `public/...` methods answer, saved to a file.

`get_book_summary_by_currency` (prices and mark vol in percent of every option), `get_instruments` (contract terms) and
`ticker` (one instrument). A file holds one answer, a list of answers, or an object of answers; each with or without the
JSON-RPC envelope. Rows about the same instrument are joined: a ticker wins over a summary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portfolio_margin.io.chain import REFUSE, Snapshot, build_snapshot
from portfolio_margin.io.chain_rows import NO_TIME, PERCENT, ChainRows, Findings, check_vol_unit
from portfolio_margin.io.tables import read_bytes, refuse
from pricing.errors import Problem

# Our field -> the venue's, in the order they are looked for; vols are in percent.
NUMBERS = {
    "bid": ("best_bid_price", "bid_price"),
    "ask": ("best_ask_price", "ask_price"),
    "mark": ("mark_price",),
    "forward": ("underlying_price",),
    "index_price": ("index_price", "estimated_delivery_price"),
    "mark_vol": ("mark_iv",),
    "multiplier": ("contract_size",),
    "quantity_step": ("min_trade_amount",),
    "strike": ("strike",),
}
TIMES = {"time_ms": ("timestamp", "creation_timestamp_ms"), "expiry_ms": ("expiration_timestamp",)}
UNDERLYING_NAMES = ("underlying_index",)
FIELD_NAMES = {name: names[0] for name, names in (*NUMBERS.items(), *TIMES.items())}


def read_payloads(
    paths: str | Path | Sequence[str | Path],
    *,
    on_bad_row: str = REFUSE,
    valuation_time: int | None = None,
    fx: Mapping[str, float] | None = None,
) -> Snapshot:
    """One moment of a chain from saved answers of the venue. DataError listing every bad row."""
    files = [paths] if isinstance(paths, (str, Path)) else list(paths)
    documents = {str(path): _document(path) for path in files}
    return from_payloads(documents, on_bad_row=on_bad_row, valuation_time=valuation_time, fx=fx)


def from_payloads(
    documents: Mapping[str, Any],
    *,
    on_bad_row: str = REFUSE,
    valuation_time: int | None = None,
    fx: Mapping[str, float] | None = None,
) -> Snapshot:
    """The same from parsed answers by name; the name is what messages call them."""
    merged: dict[str, dict[str, Any]] = {}
    origin: dict[str, str] = {}
    problems: list[Problem] = []
    for file, document in documents.items():
        for position, answer in enumerate(_answers(document)):
            name = answer.get("instrument_name")
            if not isinstance(name, str) or not name:
                remedy = "an answer about an instrument names it"
                problems.append(Problem(file, position, "instrument_name", name, remedy))
                continue
            origin.setdefault(name, file)
            known = merged.setdefault(name, {})
            # A ticker has greeks and a time of its own: it is fresher than a summary and wins.
            known.update(answer if "greeks" in answer or not known else {**answer, **known})
    if not merged and not problems:
        refuse(", ".join(documents), "content", "no instruments", "this holds no answer about an instrument")
    findings = Findings(FIELD_NAMES)
    findings.problems.extend((None, problem) for problem in problems)
    rows = _rows(merged, origin, findings)
    label = ", ".join(documents)
    return build_snapshot(rows, findings, label, valuation_time=valuation_time, on_bad_row=on_bad_row, fx=fx)


def _document(path: str | Path) -> Any:
    content = read_bytes(path)
    try:
        return json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        refuse(str(path), "content", str(error), "this is not valid JSON text in UTF-8")


def _answers(document: Any) -> Iterator[dict[str, Any]]:
    """Every object about an instrument, whatever it is wrapped in."""
    if isinstance(document, list):
        for item in document:
            yield from _answers(item)
    elif isinstance(document, dict):
        if "instrument_name" in document:
            yield document
        elif "result" in document:
            yield from _answers(document["result"])
        else:
            for value in document.values():
                if isinstance(value, (list, dict)):
                    yield from _answers(value)


def _rows(merged: dict[str, dict[str, Any]], origin: dict[str, str], findings: Findings) -> ChainRows:
    """Instruments with terms and no prices (get_instruments alone) are not quoted and left out."""
    quoted = {name: answer for name, answer in merged.items() if _first(answer, NUMBERS["mark"]) is not None}
    if not quoted:
        refuse(", ".join(sorted(set(origin.values()))), "mark_price", None, "no instrument has a price")
    answers, names = list(quoted.values()), list(quoted)
    unread: dict[str, np.ndarray] = {}
    numbers: dict[str, np.ndarray] = {}
    times: dict[str, np.ndarray] = {}
    for field, keys in NUMBERS.items():
        numbers[field], unread[field] = _numbers([_first(answer, keys) for answer in answers])
    for field, keys in TIMES.items():
        values, unread[field] = _numbers([_first(answer, keys) for answer in answers])
        times[field] = np.where(np.isnan(values), NO_TIME, np.nan_to_num(values)).astype(np.int64)
    unit_problem = check_vol_unit(numbers["mark_vol"], PERCENT, next(iter(origin.values())), "mark_iv")
    if unit_problem is not None:
        findings.problems.append((None, unit_problem))
    numbers["mark_vol"] = numbers["mark_vol"] / 100.0
    for side in ("bid", "ask"):  # the venue writes 0 or null where nobody quotes
        numbers[side] = np.where(numbers[side] == 0, np.nan, numbers[side])
    numbers["quantity_step"] = numbers["quantity_step"] / numbers["multiplier"]
    rows = ChainRows(
        file=[origin[name] for name in names],
        row=list(names),
        instrument=np.array(names, dtype=np.str_),
        underlying_name=_texts(answers, UNDERLYING_NAMES),
        option_type=np.strings.upper(_texts(answers, ("option_type",)).astype("<U1")),
        inverse=np.array([_inverse(answer) for answer in answers]),
        **numbers,
        **times,
    )
    for field, bad in unread.items():
        if bad.any():
            keys = NUMBERS.get(field) or TIMES[field]
            findings.add(rows, field, bad, [_first(answer, keys) for answer in answers], "not a number")
    return rows


def _first(answer: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((answer[key] for key in keys if answer.get(key) is not None), None)


def _numbers(values: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """float64 with NaN for null, and where a value is neither a number nor null."""
    good = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in values]
    bad = np.array([not ok and value is not None for ok, value in zip(good, values, strict=True)], dtype=bool)
    return np.array([float(v) if ok else np.nan for ok, v in zip(good, values, strict=True)]), bad


def _texts(answers: list[dict[str, Any]], keys: Iterable[str]) -> np.ndarray:
    wanted = tuple(keys)
    return np.array([str(_first(answer, wanted) or "") for answer in answers], dtype=np.str_)


def _inverse(answer: Mapping[str, Any]) -> float:
    kind = answer.get("instrument_type")
    return np.nan if kind not in ("reversed", "linear") else float(kind == "reversed")
