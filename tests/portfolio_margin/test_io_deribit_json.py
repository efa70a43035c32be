"""The venue's own JSON: book summaries, instrument lists and tickers, alone and together."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from portfolio_margin.io.chain import Snapshot
from portfolio_margin.io.deribit import read_chain
from portfolio_margin.io.deribit_json import from_payloads, read_payloads
from pricing.instruments import Kind
from tests.portfolio_margin.io_examples import (
    NOW_MS,
    as_tickers,
    chain_frame,
    linear_frame,
    option_names,
    refused,
    refused_files,
)
from tests.vectors import data_file

LISTED_MS = NOW_MS - 30 * 86_400_000


def tickers(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Answers of public/ticker; the venue writes 0 where nobody quotes."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    terms = ("contract_size", "min_trade_amount", "strike", "option_type", "expiration_timestamp")
    return [
        {**{k: v for k, v in row.items() if k not in terms}, "greeks": {"delta": 0.5}, "state": "open", "stats": {}}
        for row in rows
    ]


def summaries(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Entries of public/get_book_summary_by_currency; null where nobody quotes."""
    return [
        {
            "instrument_name": row["instrument_name"],
            "base_currency": row["instrument_name"][:3],
            "quote_currency": row["instrument_name"][:3],
            "bid_price": row["best_bid_price"] or None,
            "ask_price": row["best_ask_price"] or None,
            "mid_price": None,
            "mark_price": row["mark_price"],
            "mark_iv": row["mark_iv"],
            "underlying_price": row["underlying_price"],
            "underlying_index": row["underlying_index"],
            "estimated_delivery_price": row["index_price"],
            "creation_timestamp": row["timestamp"],
            "interest_rate": 0.0,
            "open_interest": 10.0,
        }
        for row in tickers(frame)
    ]


def instruments(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Entries of public/get_instruments."""
    return [
        {
            "instrument_name": row["instrument_name"],
            "kind": "option",
            "instrument_type": "linear" if "_" in row["instrument_name"] else "reversed",
            "base_currency": row["instrument_name"][:3],
            "settlement_currency": row["instrument_name"][:3],
            "contract_size": row["contract_size"],
            "min_trade_amount": row["min_trade_amount"],
            "strike": row["strike"],
            "option_type": row["option_type"],
            "expiration_timestamp": row["expiration_timestamp"],
            "creation_timestamp": LISTED_MS,
            "is_active": True,
        }
        for row in frame.to_dict("records")
    ]


def envelope(result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": result, "usIn": 1, "usOut": 2, "usDiff": 1, "testnet": False}


def quoted() -> pd.DataFrame:
    """The example chain as tickers, one side missing here and there."""
    frame = as_tickers(chain_frame())
    frame["min_trade_amount"] = np.where(frame["instrument_name"].str.startswith("BTC"), 0.1, 1.0)
    frame.loc[0, "best_bid_price"] = 0.0
    frame.loc[5, "best_ask_price"] = 0.0
    return frame


def assert_same(first: Snapshot, second: Snapshot) -> None:
    for part in ("instruments", "market", "quotes"):
        one, other = getattr(first, part), getattr(second, part)
        for field in one.__dataclass_fields__:
            mine, theirs = np.asarray(getattr(one, field)), np.asarray(getattr(other, field))
            assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"), field


@pytest.mark.parametrize("wrap", [envelope, lambda result: result], ids=["envelope", "bare"])
def test_every_combination_of_answers_is_one_snapshot(wrap: Callable[[Any], Any]) -> None:
    frame = quoted()
    expected = read_chain(frame)
    summary, terms = wrap(summaries(frame)), wrap(instruments(frame))
    ticker = [wrap(entry) for entry in tickers(frame)]
    for documents in (
        {"summary.json": summary},
        {"summary.json": summary, "instruments.json": terms},
        {"instruments.json": terms, "summary.json": summary},
        {"tickers.json": ticker},
        {"tickers.json": ticker, "instruments.json": terms},
        {"all.json": {"summary": summary, "instruments": terms, "tickers": ticker}},
    ):
        snapshot = from_payloads(documents)
        assert_same(snapshot, expected)
        assert snapshot.source == ", ".join(documents) and snapshot.excluded == ()
        by_delivery = "the index is the estimated_delivery_price of the book summaries"
        assert (by_delivery in snapshot.notes) == ("tickers.json" not in documents and "all.json" not in documents)


def test_a_ticker_is_fresher_than_a_summary() -> None:
    frame = quoted()
    [one] = tickers(frame.iloc[[1]])
    fresh = {
        **one,
        "mark_price": 1.1 * one["mark_price"],
        "best_ask_price": 3 * one["mark_price"],
        "timestamp": NOW_MS + 5,
    }
    for documents in ({"a": [fresh], "b": summaries(frame)}, {"b": summaries(frame), "a": fresh}):
        quotes = from_payloads(documents).quotes
        assert quotes.mark[1] == fresh["mark_price"] and quotes.ask[1] == fresh["best_ask_price"]
        assert quotes.time_ms[1] == NOW_MS + 5 and quotes.mark[0] == frame["mark_price"].iloc[0]


def test_valuation_time_is_the_median_of_the_rows_unless_given() -> None:
    documents = {"a": summaries(quoted().assign(timestamp=NOW_MS + 2 * np.arange(16)))}
    assert from_payloads(documents).market.valuation_time == NOW_MS + 15
    assert from_payloads(documents, valuation_time=NOW_MS).market.valuation_time == NOW_MS


def test_files(tmp_path: Path) -> None:
    frame = quoted()
    (tmp_path / "summary.json").write_text(json.dumps(envelope(summaries(frame))))
    (tmp_path / "instruments.json.gz").write_bytes(gzip.compress(json.dumps(instruments(frame)).encode()))
    snapshot = read_payloads([tmp_path / "summary.json", tmp_path / "instruments.json.gz"])
    assert_same(snapshot, read_chain(frame))
    assert_same(read_payloads(tmp_path / "summary.json"), snapshot)


def test_futures_perpetuals_combinations_and_spot() -> None:
    future = {"mark_price": 68_700.0, "bid_price": 68_690.0, "ask_price": 68_710.0, "creation_timestamp": NOW_MS}
    future["estimated_delivery_price"] = 68_400.0
    others = [
        {"instrument_name": "BTC-27MAR26", **future},
        {"instrument_name": "BTC-26JUN26", **future, "mark_price": 69_500.0},
        {"instrument_name": "BTC-PERPETUAL", **future, "mark_price": 68_410.0},
        {"instrument_name": "BTC-FS-27MAR26_PERP", **future, "mark_price": 290.0},
        {"instrument_name": "BTC_USDC", **future},
    ]
    listed = [
        *instruments(quoted()),
        {"instrument_name": "BTC-6MAR26-90000-C", "contract_size": 1.0, "strike": 90_000.0},
    ]
    snapshot = from_payloads({"options": summaries(quoted()), "futures": others, "listed": listed})
    settled = snapshot.instruments.instrument_id[snapshot.instruments.is_settled].tolist()
    assert settled == ["BTC-27MAR26", "BTC-26JUN26", "BTC-PERPETUAL"]
    forward = dict(zip(snapshot.market.expiry_name, snapshot.market.forward.tolist(), strict=True))
    assert forward["BTC-2026-06-26"] == 69_500.0 and forward["BTC-2026-03-27"] == 68_700.0
    assert [(p.row, p.remedy) for p in snapshot.excluded] == [
        ("BTC-FS-27MAR26_PERP", "a combination; use its legs"),
        ("BTC_USDC", "a spot pair is no contract of this engine"),
    ]
    assert "listed but not quoted, left out: BTC-6MAR26-90000-C" in snapshot.notes
    assert "BTC-6MAR26-90000-C" not in snapshot.instruments.instrument_id


def test_linear_contracts_take_their_terms_from_the_instrument_list() -> None:
    frame = as_tickers(linear_frame(), contract_size=1.0, min_trade_amount=0.01)
    frame["underlying_index"] = "index_price"
    documents = {"summary": summaries(frame), "instruments": instruments(frame)}
    snapshot = from_payloads(documents, fx={"USDC": 0.9998})
    assert snapshot.instruments.quantity_step[:6].tolist() == [0.01] * 6
    assert snapshot.market.currency_id.tolist() == ["USD", "USDC"]
    assert {field for _, field, _, _ in refused(lambda: from_payloads({"summary": summaries(frame)}))} == {
        "contract_size",
        "min_trade_amount",
    }


def changed(row: int, **values: Any) -> dict[str, Any]:
    entries = summaries(quoted())
    entries[row].update(values)
    return {"summary.json": entries}


BAD = [
    ({"mark_price": None}, "mark_price", None, "missing mark price"),
    ({"mark_price": "0.1"}, "mark_price", "0.1", "not a number"),
    ({"mark_price": True}, "mark_price", True, "not a number"),
    ({"mark_price": 10**400}, "mark_price", 10**400, "not a number"),
    ({"mark_iv": -50.0}, "mark_iv", -50.0, "must be above 0; leave it blank to use the surface"),
    (
        {"bid_price": 0.5, "ask_price": 0.25},
        "bid_price",
        "0.5 above ask 0.25",
        "crossed quote; bid must not be above ask",
    ),
    ({"underlying_price": None}, "underlying_price", None, "missing forward (underlying price)"),
    ({"creation_timestamp": None}, "creation_timestamp", "no time", "needs the time of its prices"),
    ({"creation_timestamp": 1e300}, "creation_timestamp", 1e300, "not a number"),
]


@pytest.mark.parametrize(("values", "field", "value", "remedy"), BAD, ids=[str(bad[0])[:40] for bad in BAD])
def test_a_bad_entry(values: dict[str, Any], field: str, value: object, remedy: str) -> None:
    documents = changed(2, **values)
    [(row, found_field, found_value, found)] = refused(lambda: from_payloads(documents))
    assert (row, found_field, found) == ("BTC-6MAR26-68000-C", field, remedy)
    assert found_value == value or (value is None and np.isnan(found_value))  # type: ignore[call-overload]
    assert refused_files(lambda: from_payloads(documents)) == ["summary.json"]
    left = from_payloads(documents, on_bad_row="exclude")
    assert len(left.quotes) == 15 and [problem.field for problem in left.excluded] == [field]


def test_terms_that_contradict_the_name() -> None:
    entries = instruments(quoted())
    entries[0].update(strike=1.0, option_type="put", instrument_type="linear", expiration_timestamp=NOW_MS)
    found = refused(lambda: from_payloads({"s": summaries(quoted()), "i": entries}))
    assert [(row, field) for row, field, _, _ in found] == [
        ("BTC-6MAR26-60000-C", name) for name in ("strike", "expiration_timestamp", "option_type", "instrument_type")
    ]


def test_percent_is_what_the_venue_writes() -> None:
    decimal = summaries(quoted().assign(mark_iv=lambda f: f["mark_iv"] / 100))
    [(row, field, value, remedy)] = refused(lambda: from_payloads({"s": decimal}))
    assert (row, field, value) == ("BTC-6MAR26-60000-C", "mark_iv", 0.5)
    assert remedy.startswith("volatility looks like decimal")


def test_what_is_no_answer(tmp_path: Path) -> None:
    assert refused(lambda: from_payloads({"x": {"jsonrpc": "2.0", "result": []}})) == [
        (None, "content", "no instruments", "this holds no answer about an instrument")
    ]
    error = {"jsonrpc": "2.0", "error": {"code": 10028, "message": "too_many_requests"}}
    assert refused(lambda: from_payloads({"x": error})) == [
        (None, "error", "too_many_requests", "the venue refused the request (code 10028)")
    ]
    assert refused(lambda: from_payloads({"x": instruments(quoted())})) == [
        (None, "mark_price", None, "no instrument has a price")
    ]
    nameless = {"x": [*summaries(quoted()), {"instrument_name": None, "mark_price": 1.0}]}
    assert refused(lambda: from_payloads(nameless)) == [
        (17, "instrument_name", None, "must be the name of an instrument")
    ]
    (tmp_path / "cut.json").write_text('{"result": [{"instrument_name": "BTC')
    [(_, field, _, remedy)] = refused(lambda: read_payloads(tmp_path / "cut.json"))
    assert (field, remedy) == ("content", "this is not valid JSON text in UTF-8")


def test_answers_of_two_moments_are_not_mixed() -> None:
    documents = {"a": summaries(quoted()), "b": summaries(quoted().iloc[:2])}
    remedy = "a second book summary of this instrument; give the answers of one moment"
    assert refused(lambda: from_payloads(documents)) == [
        (name, "instrument_name", name, remedy) for name in option_names()[:2]
    ]
    assert refused_files(lambda: from_payloads(documents)) == ["b", "b"]


@pytest.mark.data
def test_real_tickers_as_answers_are_the_ticker_table(report_vectors: Callable[..., None]) -> None:
    path = data_file("deribit_chain/btc_option_tickers_20260121.csv.gz")
    frame = pd.read_csv(path)
    ticker, terms, summary = tickers(frame), instruments(frame), summaries(frame)
    expected = read_chain(path)
    assert_same(
        from_payloads({"tickers": [envelope(entry) for entry in ticker], "instruments": envelope(terms)}), expected
    )
    by_summary = from_payloads({"summary": envelope(summary), "instruments": envelope(terms)})
    assert_same(by_summary, expected)
    assert (by_summary.instruments.kind == Kind.OPTION).sum() == len(frame)
    report_vectors(len(frame), 0.0)
