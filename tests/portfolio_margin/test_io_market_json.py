"""Our market snapshot file: nothing is lost, and every bad entry is named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from portfolio_margin.io.chain import with_surface
from portfolio_margin.io.market_json import is_market_file, market_text, read_market, read_market_file, write_market
from pricing import DataError, MarketLimits
from pricing.instruments import Instruments
from pricing.market import UNDATED, Market
from tests.examples import market_and_instruments
from tests.portfolio_margin.io_examples import NOW_MS, refused, refused_files, snapshot

SOURCE = "Deribit, 2026-02-26"


def assert_same_bits(first: object, second: object) -> None:
    for field in first.__dataclass_fields__:  # type: ignore[attr-defined]
        one, other = np.asarray(getattr(first, field)), np.asarray(getattr(second, field))
        if one.dtype == object:
            assert getattr(first, field) == getattr(second, field), field
            continue
        assert one.dtype == other.dtype and one.shape == other.shape, field
        if one.dtype == np.float64:  # NaN has many bit patterns; which one is not kept
            one, other = np.where(np.isnan(one), np.nan, one), np.where(np.isnan(other), np.nan, other)
        assert one.tobytes() == other.tobytes(), field


def documented() -> dict[str, Any]:
    read = snapshot()
    return json.loads(market_text(read.instruments, read.market, SOURCE))


def saved(folder: Path, document: Any) -> Path:
    path = folder / "market.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", ["market.json", "market.json.gz"])
@pytest.mark.parametrize("example", [lambda: (snapshot().instruments, snapshot().market), market_and_instruments])
def test_nothing_is_lost(tmp_path: Path, name: str, example: Callable[[], tuple[Instruments, Market]]) -> None:
    instruments, market = example()
    write_market(tmp_path / name, instruments, market, SOURCE)
    again = read_market(tmp_path / name)
    assert_same_bits(again[0], instruments)
    assert_same_bits(again[1], market)
    assert read_market_file(tmp_path / name).source == SOURCE
    written = (tmp_path / name).read_bytes()
    write_market(tmp_path / name, *again, SOURCE)
    assert (tmp_path / name).read_bytes() == written


@given(
    svi=st.tuples(*(st.floats(*bounds) for bounds in ((0.01, 0.5), (0.0, 0.5), (-1.0, 1.0), (-0.5, 0.5), (0.01, 1.0)))),
    vol=arrays(np.float64, 23, elements=st.floats(0.4, 2.0) | st.sampled_from([0.0, np.nan])),
    carry=arrays(np.float64, 5, elements=st.floats(0.96, 1.04)),
    moment=st.integers(NOW_MS - 10**9, NOW_MS + 10**8),
)
def test_any_double_reads_back(
    tmp_path_factory: pytest.TempPathFactory, svi: tuple[float, ...], vol: np.ndarray, carry: np.ndarray, moment: int
) -> None:
    read = snapshot()
    slices = np.full((5, 5), np.nan)
    slices[1] = svi
    market = replace(
        with_surface(read, slices).market, mark_vol=vol, forward=read.market.forward * carry, valuation_time=moment
    )
    path = tmp_path_factory.mktemp("market") / "market.json"
    write_market(path, read.instruments, market, "")
    instruments, again = read_market(path)
    assert_same_bits(again, market)
    assert_same_bits(instruments, read.instruments)


def test_declared_limits_are_written_where_there_are_some(tmp_path: Path) -> None:
    """A staked coin a fifth above its coin, any price for another, and a perpetual far from its index."""
    instruments, market = market_and_instruments()
    assert "limit" not in market_text(instruments, market, SOURCE)
    undated = market.expiry_time == UNDATED
    declared = replace(
        market,
        fx=market.fx * [1.0, 1.2, 0.001],
        fx_basis_limit=np.array([0.01, 0.25, np.inf]),
        forward=np.where(undated, 1.3 * market.forward, market.forward),
        limits=MarketLimits(undated_slack=0.5, min_vol=0.0, max_vol=np.inf),
    )
    write_market(tmp_path / "declared.json", instruments, declared, SOURCE)
    assert_same_bits(declared, read_market(tmp_path / "declared.json")[1])
    document = json.loads((tmp_path / "declared.json").read_text())
    assert document["currencies"]["fx_basis_limit"] == [0.01, 0.25, None]
    assert document["limits"]["max_vol"] is None and document["limits"]["undated_slack"] == 0.5


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_volatility": 1.0}, "unknown limit; known: undated_slack"),
        ({"max_vol": 0.0}, "must be a number above 0, or null"),
        ({"min_vol": None}, "must be a number, 0 or more"),
        ({"min_vol": -0.1}, "must be a number, 0 or more"),
        ({"max_vol": "wide"}, "must be a number above 0, or null"),
        ([1.0], "must be an object"),
    ],
)
def test_limits_of_a_file_are_checked(limits: object, words: str, tmp_path: Path) -> None:
    instruments, market = market_and_instruments()
    document = json.loads(market_text(instruments, market, SOURCE))
    (tmp_path / "market.json").write_text(json.dumps({**document, "limits": limits}))
    with pytest.raises(DataError, match=words):
        read_market(tmp_path / "market.json")


def test_a_share_fixed_for_settlement_is_written_where_there_is_one(tmp_path: Path) -> None:
    instruments, market = market_and_instruments()
    assert "fixed_share" not in market_text(instruments, market, SOURCE)
    half = replace(market, fixed_share=np.where(np.arange(len(market.forward)) == 0, 0.5, 0.0))
    write_market(tmp_path / "half.json", instruments, half, SOURCE)
    assert_same_bits(half, read_market(tmp_path / "half.json")[1])
    document = json.loads(market_text(instruments, half, SOURCE))
    document["expiries"]["fixed_share"] = [0.5]
    assert refused(lambda: read_market(saved(tmp_path, document)))


def test_the_document_is_plain_json_for_people() -> None:
    document = documented()
    assert document["format"] == "portfolio-margin market 1" and document["variance"] == "total"
    assert document["source"] == SOURCE and document["margin_currency"] == "USD"
    assert document["underlyings"] == {"underlying": ["BTC", "ETH"], "spot": [68_400.0, 2_050.0]}
    assert document["expiries"]["expiry_time_ms"][2] is None and document["expiries"]["svi"] == [None] * 5
    row = {name: column[0] for name, column in document["instruments"].items()}
    assert row == {
        "instrument": "BTC-6MAR26-60000-C",
        "kind": "option",
        "payoff": "inverse",
        "underlying": "BTC",
        "expiry": 0,
        "strike": 60_000.0,
        "option_type": "C",
        "exercise": "european",
        "multiplier": 1.0,
        "quantity_step": 0.1,
        "currency": "BTC",
        "mark_vol": 0.5,
    }


def test_our_files_are_told_from_the_venue_s(tmp_path: Path) -> None:
    assert is_market_file(saved(tmp_path, documented()))
    assert not is_market_file(saved(tmp_path, {"jsonrpc": "2.0", "result": []}))
    assert not is_market_file(tmp_path / "chain.csv")


BAD_ENTRIES = [
    ("instruments", "strike", 3, "60000", "must be a number or null"),
    ("instruments", "mark_vol", 3, True, "must be a number or null"),
    ("instruments", "kind", 3, "warrant", "must be one of cash, spot, future, perpetual, option"),
    ("instruments", "payoff", 3, None, "must be one of linear, inverse"),
    ("instruments", "underlying", 3, "SOL", "must be one of BTC, ETH or null"),
    ("instruments", "expiry", 3, 9, "must be one of 0, 1, 2, 3, 4 or null"),
    ("instruments", "option_type", 3, "call", "must be one of C, P or null"),
    ("instruments", "currency", 3, ["BTC"], "must be one of USD, BTC, ETH"),
    ("instruments", "instrument", 3, "", "must be a text that is not empty"),
    ("expiries", "forward", 1, None, "must be a number"),
    ("expiries", "forward", 1, 10**400, "must be a number"),
    ("expiries", "expiry_time_ms", 1, 1.5, "must be whole ms UTC or null"),
    ("expiries", "svi", 1, [0.1, 0.1, 0.1, 0.1], "must be the five numbers a b rho m sigma or null"),
    ("expiries", "svi", 1, [0.1, 0.1, None, 0.1, 0.1], "must be the five numbers a b rho m sigma or null"),
    ("underlyings", "underlying", 1, "BTC", "listed more than once; keep one row"),
    ("underlyings", "underlying", 1, ["ETH"], "must be a text that is not empty"),
    ("currencies", "fx", 1, "68400", "must be a number"),
]


@pytest.mark.parametrize(
    ("table", "field", "row", "value", "remedy"), BAD_ENTRIES, ids=[f"{b[1]}={b[3]!r:.20}" for b in BAD_ENTRIES]
)
def test_a_bad_entry(tmp_path: Path, table: str, field: str, row: int, value: Any, remedy: str) -> None:
    document = documented()
    document[table][field][row] = value
    path = saved(tmp_path, document)
    assert refused(lambda: read_market(path)) == [(row, f"{table}.{field}", value, remedy)]
    assert refused_files(lambda: read_market(path)) == [str(path)]


def test_all_bad_entries_at_once(tmp_path: Path) -> None:
    document = documented()
    document["instruments"]["strike"][2] = "x"
    document["instruments"]["multiplier"][5] = None
    document["expiries"]["forward"][0] = "y"
    found = refused(lambda: read_market(saved(tmp_path, document)))
    assert {(row, field) for row, field, *_ in found} == {
        (0, "expiries.forward"),
        (2, "instruments.strike"),
        (5, "instruments.multiplier"),
    }


BAD_VALUES = [
    ("instruments", "mark_vol", 3, -0.5, "mark_vol", "must be 0 or more, decimal"),
    ("instruments", "multiplier", 3, 0.0, "multiplier", "must be above 0"),
    ("instruments", "instrument", 3, "BTC-6MAR26-60000-C", "instrument_id", "listed more than once; keep one row"),
    ("expiries", "forward", 1, -1.0, "forward", "must be above 0"),
    ("currencies", "fx", 0, 2.0, "fx", "currency 0 is the margin currency: its fx is 1"),
]


@pytest.mark.parametrize(("table", "field", "row", "value", "found_field", "remedy"), BAD_VALUES)
def test_a_value_out_of_bounds(
    tmp_path: Path, table: str, field: str, row: int, value: Any, found_field: str, remedy: str
) -> None:
    document = documented()
    document[table][field][row] = value
    path = saved(tmp_path, document)
    [(_, name, _, found)] = refused(lambda: read_market(path))
    assert (name, found) == (found_field, remedy)
    assert refused_files(lambda: read_market(path))[0].startswith(f"{path}, ")


def test_percent_vols(tmp_path: Path) -> None:
    document = documented()
    document["instruments"]["mark_vol"] = [vol and 100 * vol for vol in document["instruments"]["mark_vol"]]
    [(row, field, value, remedy)] = refused(lambda: read_market(saved(tmp_path, document)))
    assert (row, field, value) == (None, "instruments.mark_vol", pytest.approx(57.5))
    assert "volatility looks like percent" in remedy


def with_change(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    document = documented()
    change(document)
    return document


BAD_DOCUMENTS = [
    (
        lambda d: d.update(format="portfolio-margin market 9"),
        "format",
        "this version reads 'portfolio-margin market 1'",
    ),
    (lambda d: d.update(variance="annual"), "variance", 'SVI must be of total variance: "variance": "total"'),
    (lambda d: d.update(valuation_time_ms="now"), "valuation_time_ms", "must be a whole number, ms UTC"),
    (lambda d: d.update(valuation_time_ms=2**70), "valuation_time_ms", "must be a whole number, ms UTC"),
    (lambda d: d.update(expiries=[]), "expiries", "must be an object of columns"),
    (lambda d: d["expiries"].pop("discount"), "expiries.discount", "this column is missing or is no list"),
    (lambda d: d["expiries"]["forward"].pop(), "expiries", "the columns have different lengths"),
    (
        lambda d: d["underlyings"].update(index=[1, 2]),
        "underlyings.index",
        "unknown column; known: underlying, spot",
    ),
]


@pytest.mark.parametrize(("change", "field", "remedy"), BAD_DOCUMENTS, ids=[f"{b[1]}, {b[2]}" for b in BAD_DOCUMENTS])
def test_a_document_of_another_form(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], field: str, remedy: str
) -> None:
    path = saved(tmp_path, with_change(change))
    [(row, found_field, _, found)] = refused(lambda: read_market(path))
    assert (row, found_field, found) == (None, field, remedy)


def test_what_is_no_market_file(tmp_path: Path) -> None:
    for content in (b"[1, 2]", b'{"a": 1', b'{"format": NaN}', b"\xff{}"):
        (tmp_path / "m.json").write_bytes(content)
        [(row, field, _, _)] = refused(lambda: read_market(tmp_path / "m.json"))
        assert row is None and field in ("content", "file type"), content
    (tmp_path / "m.json.gz").write_bytes(gzip.compress(b'{"format": 1}')[:-9])
    [(_, field, _, remedy)] = refused(lambda: read_market(tmp_path / "m.json.gz"))
    assert (field, remedy) == ("file", "damaged gzip file; fetch it again")
    [(_, field, value, _)] = refused(lambda: read_market(tmp_path / "market.csv"))
    assert (field, value) == ("file type", ".csv")


def test_dividends_are_kept(tmp_path: Path) -> None:
    instruments, market = market_and_instruments()
    assert '"dividends"' not in market_text(instruments, market, SOURCE)
    ahead = market.valuation_time + np.array([86_400_000, 9 * 86_400_000])
    paying = replace(market, dividend_underlying=[0, 0], dividend_time=ahead, dividend=[0.3, 1 / 3])
    write_market(tmp_path / "m.json", instruments, paying, SOURCE)
    _, again = read_market(tmp_path / "m.json")
    assert again.digest == paying.digest != market.digest
    document = json.loads((tmp_path / "m.json").read_text())
    document["dividends"]["amount"][1] = "1/3"
    document["dividends"]["underlying"][0] = "nobody"
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"dividends\.amount = '1/3': must be a number") as caught:
        read_market(tmp_path / "m.json")
    assert "dividends.underlying = 'nobody'" in str(caught.value)
