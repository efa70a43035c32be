"""Deribit chains from the venue's own JSON: what `public/...` methods answer, saved to a file.

`get_book_summary_by_currency` (prices and mark vol in percent of every option), `get_instruments` (contract terms) and
`ticker` (one instrument). A file holds one answer, a list of answers, or an object of answers; each with or without the
JSON-RPC envelope. Rows about the same instrument are joined: a ticker wins over a summary.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portfolio_margin.io.chain import REFUSE, Snapshot, build_snapshot
from portfolio_margin.io.chain_rows import LATEST_MS, NO_TIME, PERCENT, ChainRows, Findings, check_vol_unit
from portfolio_margin.io.json_text import parsed_json
from portfolio_margin.io.tables import read_bytes, refuse
from pricing.errors import DataError, Problem

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
# creation_timestamp is when a summary was made; in get_instruments it is when the contract was listed.
TIMES = {"time_ms": ("timestamp", "creation_timestamp"), "expiry_ms": ("expiration_timestamp",)}
UNDERLYING_NAMES = ("underlying_index",)
TICKER, SUMMARY, TERMS = "ticker", "book summary", "instrument list"
# What an answer of each sort may say about a contract; a ticker is the freshest.
PRECEDENCE = (TICKER, SUMMARY, TERMS)
LARGEST = sys.float_info.max
LISTING_DATE = "creation_timestamp"


def read_payloads(
    paths: str | Path | Sequence[str | Path],
    *,
    on_bad_row: str = REFUSE,
    valuation_time: int | None = None,
    fx: Mapping[str, float] | None = None,
) -> Snapshot:
    """One moment of a chain from saved answers of the venue. DataError listing every bad row."""
    files = [paths] if isinstance(paths, (str, Path)) else list(paths)
    documents = {str(path): parsed_json(str(path), read_bytes(path)) for path in files}
    return from_payloads(documents, on_bad_row=on_bad_row, valuation_time=valuation_time, fx=fx)


def from_payloads(
    documents: Mapping[str, Any],
    *,
    on_bad_row: str = REFUSE,
    valuation_time: int | None = None,
    fx: Mapping[str, float] | None = None,
) -> Snapshot:
    """The same from parsed answers by name; the name is what messages call them."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    origin: dict[str, str] = {}
    problems: list[Problem] = []
    for file, document in documents.items():
        for number, answer in enumerate(_answers(document, file), start=1):
            name, sort = answer.get("instrument_name"), _sort(answer)
            if not isinstance(name, str) or not name:
                problems.append(Problem(file, number, "instrument_name", name, "must be the name of an instrument"))
            elif sort in found.setdefault(name, {}):
                remedy = f"a second {sort} of this instrument; give the answers of one moment"
                problems.append(Problem(file, name, "instrument_name", name, remedy))
            else:
                found[name][sort] = answer
                origin.setdefault(name, file)
    if not found and not problems:
        refuse(", ".join(documents), "content", "no instruments", "this holds no answer about an instrument")
    if problems:
        raise DataError(problems)
    merged = {name: _merged(answers) for name, answers in found.items()}
    findings = Findings(_field_names(merged.values()))
    rows = _rows(merged, origin, findings)
    listed_only = sorted(name for name, answers in found.items() if set(answers) == {TERMS})
    notes = [f"listed but not quoted, left out: {', '.join(listed_only)}"] if listed_only else []
    if findings.columns["index_price"] != "index_price":
        notes.append(f"the index is the {findings.columns['index_price']} of the book summaries")
    label = ", ".join(documents)
    return build_snapshot(
        rows, findings, label, valuation_time=valuation_time, on_bad_row=on_bad_row, fx=fx, notes=notes
    )


def _answers(document: Any, file: str) -> Iterator[dict[str, Any]]:
    """Every object about an instrument, whatever it is wrapped in. DataError for an answer that is an error."""
    if isinstance(document, list):
        for item in document:
            yield from _answers(item, file)
    elif isinstance(document, dict):
        if "instrument_name" in document:
            yield document
        elif isinstance(document.get("error"), dict):
            error = document["error"]
            refuse(file, "error", error.get("message"), f"the venue refused the request (code {error.get('code')})")
        elif "result" in document:
            yield from _answers(document["result"], file)
        else:
            for value in document.values():
                yield from _answers(value, file)


def _sort(answer: Mapping[str, Any]) -> str:
    if "greeks" in answer or "best_bid_price" in answer:
        return TICKER
    return SUMMARY if "mark_price" in answer or "mid_price" in answer else TERMS


def _merged(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One object per instrument; a null never hides what another answer says."""
    merged: dict[str, Any] = {}
    for sort in PRECEDENCE:
        for key, value in answers.get(sort, {}).items():
            if merged.get(key) is None and not (sort == TERMS and key == LISTING_DATE):
                merged[key] = value
    if set(answers) != {TERMS}:
        merged.setdefault("mark_price", None)
    return merged


def _field_names(merged: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Our field -> the name the answers use for it, for messages."""
    known = {key for answer in merged for key, value in answer.items() if value is not None}
    fields = {**NUMBERS, **TIMES, "option_type": ("option_type",), "inverse": ("instrument_type",)}
    names = {field: next((key for key in keys if key in known), keys[0]) for field, keys in fields.items()}
    return {**names, "instrument": "instrument_name"}


def _rows(merged: dict[str, dict[str, Any]], origin: dict[str, str], findings: Findings) -> ChainRows:
    """Instruments with terms and no prices (get_instruments alone) are no rows of a chain."""
    quoted = {name: answer for name, answer in merged.items() if "mark_price" in answer}
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
        unread[field] |= np.abs(values) > LATEST_MS
        known = np.abs(values) <= LATEST_MS
        times[field] = np.where(known, np.where(known, values, 0.0).astype(np.int64), NO_TIME)
    unit_problem = check_vol_unit(numbers["mark_vol"], PERCENT, (next(iter(origin.values())), list(names)), "mark_iv")
    if unit_problem is not None:
        findings.problems.append((None, unit_problem))
    kinds = _texts(answers, ("option_type",))
    findings.state("mark_vol", numbers["mark_vol"].tolist())
    findings.state("quantity_step", numbers["quantity_step"].tolist())
    findings.state("option_type", kinds.tolist())
    numbers["mark_vol"] = numbers["mark_vol"] / 100.0
    for side in ("bid", "ask"):  # the venue writes 0 or null where nobody quotes
        numbers[side] = np.where(numbers[side] == 0, np.nan, numbers[side])
    numbers["quantity_step"] = numbers["quantity_step"] / numbers["multiplier"]
    rows = ChainRows(
        file=[origin[name] for name in names],
        row=list(names),
        instrument=np.array(names, dtype=np.str_),
        underlying_name=_texts(answers, UNDERLYING_NAMES),
        option_type=np.strings.upper(kinds.astype("<U1")),
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
    good = [isinstance(v, (int, float)) and not isinstance(v, bool) and not abs(v) > LARGEST for v in values]
    bad = np.array([not ok and value is not None for ok, value in zip(good, values, strict=True)], dtype=bool)
    return np.array([float(v) if ok else np.nan for ok, v in zip(good, values, strict=True)]), bad


def _texts(answers: list[dict[str, Any]], keys: Iterable[str]) -> np.ndarray:
    wanted = tuple(keys)
    return np.array([str(_first(answer, wanted) or "") for answer in answers], dtype=np.str_)


def _inverse(answer: Mapping[str, Any]) -> float:
    kind = answer.get("instrument_type")
    return np.nan if kind not in ("reversed", "linear") else float(kind == "reversed")
