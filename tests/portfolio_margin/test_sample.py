"""The shipped sample: it loads, makes sense, and is what its script derives."""

from __future__ import annotations

import csv
import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portfolio_margin import AccountStatus, explain, load_sample, margin, what_if
from portfolio_margin.io.market_json import read_market_file
from portfolio_margin.models import worst_case
from portfolio_margin.sample import COLLATERAL_FILE, MARKET_FILE, POSITIONS_FILE, sample_path
from pricing.resolve import slice_vol, years_to_expiry
from scenarios import revalue
from scenarios.families import grid
from tests.vectors import data_file

SAMPLE = load_sample()
ARRAYS = revalue(SAMPLE.instruments, SAMPLE.market, grid.scenarios(grid.Params(), SAMPLE.market))
MODEL = worst_case.Model(worst_case.Params())
STATEMENT = margin(SAMPLE.book, ARRAYS, SAMPLE.market, MODEL)
ACCOUNTS = [str(name) for name in SAMPLE.book.account_id]
# What rounding to ticks may leave in a position of a few legs, margin currency.
TICKS = 1e-2
VOL_TOLERANCE = 1e-6


def of(name: str) -> int:
    return SAMPLE.book.row_of(name)


def named(prefix: str) -> list[str]:
    found = [name for name in ACCOUNTS if name.startswith(prefix)]
    assert found
    return found


def options_of(account: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and quantities of an account's options."""
    book = SAMPLE.book.select(account)
    option = SAMPLE.instruments.is_option[book.instrument_idx]
    return book.instrument_idx[option], book.quantity[option]


def discounted(row: int) -> float:
    """Margin currency today per unit of quote currency at expiry: coins at the forward, sold at the index."""
    forward = SAMPLE.market.forward[SAMPLE.instruments.expiry_idx[row]]
    return float(SAMPLE.market.fx[SAMPLE.instruments.currency_idx[row]] / forward)


def test_the_public_example() -> None:
    assert len(STATEMENT.frame()) == len(SAMPLE.book) >= 50
    assert explain(STATEMENT, SAMPLE.book, ARRAYS, "iron-condor-07").lines
    wing = SAMPLE.instruments.index_of()["BTC-27MAR26-90000-C"]
    rows, quantity = options_of("iron-condor-07")
    assert quantity[rows == wing] > 2.0
    orders = [("BTC-27MAR26-90000-C", -2.0)]
    result = what_if(SAMPLE.book, ARRAYS, SAMPLE.market, MODEL, account="iron-condor-07", orders=orders)
    assert result.change["initial_margin"] > 0


def test_it_loads_in_well_under_a_second() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        load_sample()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_every_account_of_the_files_is_in_the_book() -> None:
    written = set()
    for name in (POSITIONS_FILE, COLLATERAL_FILE):
        with sample_path(name).open(encoding="utf-8", newline="") as stream:
            written |= {row["account"] for row in csv.DictReader(stream)}
    assert written == set(ACCOUNTS)
    assert list(STATEMENT.account) == ACCOUNTS


def test_the_readme_tells_every_kind_and_every_account_in_trouble() -> None:
    text = sample_path("README.md").read_text(encoding="utf-8")
    kinds = set(re.findall(r"`([a-z-]+)`", text))
    stems = {name: re.sub(r"-(\d\d|stressed|underwater|bankrupt|liquidated)$", "", name) for name in ACCOUNTS}
    assert set(stems.values()) <= kinds, set(stems.values()) - kinds
    told = dict(re.findall(r"^\| `([\w-]+)` \| ([A-Z_]+) \|$", text, flags=re.MULTILINE))
    codes = zip(ACCOUNTS, STATEMENT.status, strict=True)
    found = {name: AccountStatus(code).name for name, code in codes if code != AccountStatus.NORMAL}
    assert found == told
    assert set(found.values()) == {status.name for status in AccountStatus} - {"NORMAL"}
    assert f"{len(ACCOUNTS)} generated accounts" in text
    assert f"{SAMPLE.instruments.is_option.sum():,} listed options" in text


def test_no_price_or_vol_of_the_source_is_shipped() -> None:
    read = read_market_file(sample_path(MARKET_FILE))
    assert "2026-02-26 09:41:05 UTC" in read.source and "Deribit" in read.source
    assert np.isnan(read.market.mark_vol).all()
    document = json.loads(gzip.decompress(sample_path(MARKET_FILE).read_bytes()))
    columns = {name for table in document.values() if isinstance(table, dict) for name in table}
    assert not {name for name in columns if re.search("bid|ask|price|delta|interest|volume", name)}
    assert sum(sample_path(name).stat().st_size for name in (MARKET_FILE, POSITIONS_FILE, COLLATERAL_FILE)) < 100_000


def test_quantities_are_whole_steps() -> None:
    contract = ~ARRAYS.is_collateral[SAMPLE.book.instrument_idx]
    steps = SAMPLE.book.quantity[contract] / SAMPLE.instruments.quantity_step[SAMPLE.book.instrument_idx[contract]]
    assert np.allclose(steps, np.rint(steps), rtol=1e-12, atol=0)


def test_futures_and_cash_need_what_they_should() -> None:
    perpetual = of("perpetual-long-01")
    assert STATEMENT.initial_margin[perpetual] == pytest.approx(0.16 * STATEMENT.delta_total[perpetual], rel=1e-3)
    assert STATEMENT.initial_margin[of("empty")] == 0
    assert STATEMENT.equity[of("empty")] > 0


@pytest.mark.parametrize("account", named("short-strangle"))
def test_a_naked_strangle_needs_a_plausible_share_of_its_notional(account: str) -> None:
    rows, quantity = options_of(account)
    notional = np.max(-quantity * ARRAYS.notional[rows])
    assert 0.10 < STATEMENT.initial_margin[of(account)] / notional < 0.25


@pytest.mark.parametrize("account", named("box"))
def test_a_box_is_worth_its_discounted_width(account: str) -> None:
    rows, quantity = options_of(account)
    strikes = SAMPLE.instruments.strike[rows]
    width, size = strikes.max() - strikes.min(), quantity[0]
    lowest_call = (strikes == strikes.min()) & (SAMPLE.instruments.sign[rows] > 0)
    side = np.sign(quantity[lowest_call])[0]
    expected = side * abs(size) * width * discounted(rows[0])
    assert quantity @ ARRAYS.value[rows] == pytest.approx(expected, abs=TICKS)
    assert np.abs(quantity @ ARRAYS.pnl[rows]).max() < TICKS


@pytest.mark.parametrize("account", named("iron-condor"))
def test_an_iron_condor_loses_no_more_than_its_width(account: str) -> None:
    rows, quantity = options_of(account)
    assert len(rows) == 4
    strikes = np.sort(SAMPLE.instruments.strike[rows])
    width = max(strikes[1] - strikes[0], strikes[3] - strikes[2]) * quantity.max()
    value = quantity @ ARRAYS.value[rows]
    assert value < 0
    bound = width * discounted(rows[0]) + value
    weight = ARRAYS.scenario_set.weight
    whole = (quantity @ ARRAYS.pnl[rows]) / weight
    assert np.all(-whole <= bound + TICKS / weight)
    assert 0 < STATEMENT.initial_margin[of(account)] <= bound


@pytest.mark.parametrize("account", named("covered-call"))
def test_a_covered_call_never_loses_more_than_the_coin(account: str) -> None:
    book = SAMPLE.book.select(account)
    coin = ARRAYS.is_collateral[book.instrument_idx]
    weight = ARRAYS.scenario_set.weight
    parts = book.quantity[:, None] * ARRAYS.pnl[book.instrument_idx] / weight
    worth = book.quantity @ ARRAYS.value[book.instrument_idx]
    assert np.all(parts.sum(axis=0) >= -worth)
    down_and_calm = (ARRAYS.scenario_set.price_move[:, 0] < 0) & (ARRAYS.scenario_set.vol_move[:, 0] <= 0)
    assert np.all(parts.sum(axis=0)[down_and_calm] > parts[coin].sum(axis=0)[down_and_calm])
    assert STATEMENT.delta_total[of(account)] > 0


@pytest.mark.parametrize("account", [*named("market-maker"), *named("delta-hedged-gamma")])
def test_hedged_books_have_no_delta(account: str) -> None:
    book = SAMPLE.book.select(account)
    gross = np.abs(book.quantity * ARRAYS.delta[book.instrument_idx]).sum()
    assert gross > 1e5
    assert abs(STATEMENT.delta_total[of(account)]) < 1e-4 * gross


@pytest.mark.data
def test_the_script_gives_the_shipped_files(tmp_path: Path) -> None:
    """The same bytes twice; and the shipped content, up to what another processor may change in a slice."""
    from portfolio_margin.sample.derive import SNAPSHOT_FILE, derive

    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        derive(data_file(SNAPSHOT_FILE).parent.parent, folder)
    for name in (MARKET_FILE, POSITIONS_FILE, COLLATERAL_FILE):
        assert folders[0].joinpath(name).read_bytes() == folders[1].joinpath(name).read_bytes(), name
    for name in (POSITIONS_FILE, COLLATERAL_FILE):
        assert folders[0].joinpath(name).read_bytes() == sample_path(name).read_bytes(), name
    derived, shipped = (
        json.loads(gzip.decompress(path.read_bytes())) for path in (folders[0] / MARKET_FILE, sample_path(MARKET_FILE))
    )
    slices = [document["expiries"].pop("svi") for document in (derived, shipped)]
    assert derived == shipped
    assert np.abs(np.subtract(*(_listed_vols(rows) for rows in slices))).max() < VOL_TOLERANCE


def _listed_vols(slices: list[Any]) -> np.ndarray:
    """Vols of all listed options from the slices of a market document."""
    parameters = np.array([[np.nan] * 5 if row is None else row for row in slices])
    listed, market = SAMPLE.instruments, SAMPLE.market
    expiry = listed.expiry_idx[listed.is_option]
    strike = listed.strike[listed.is_option]
    return slice_vol(strike, market.forward[expiry], years_to_expiry(market)[expiry], parameters[expiry])


@pytest.mark.data
def test_slices_price_the_market(report_vectors: Any) -> None:
    """Values from our slices against the venue's marks of that moment, in coin."""
    from portfolio_margin.io.deribit import read_chain
    from portfolio_margin.sample.derive import SNAPSHOT_FILE

    snapshot = read_chain(data_file(SNAPSHOT_FILE), on_bad_row="exclude")
    options = len(snapshot.quotes)
    coin = ARRAYS.value[:options] / SAMPLE.market.fx[SAMPLE.instruments.currency_idx[:options]]
    assert np.array_equal(snapshot.instruments.instrument_id, SAMPLE.instruments.instrument_id)
    error = np.abs(coin - snapshot.quotes.mark)
    report_vectors(options, float(np.median(error)), "coin, median")
    assert np.median(error) < 2e-4
