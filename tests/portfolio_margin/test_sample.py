"""The shipped sample: it loads, makes sense, and is what its script derives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portfolio_margin import AccountStatus, explain, load_sample, margin, what_if
from portfolio_margin.models import worst_case
from portfolio_margin.sample import COLLATERAL_FILE, MARKET_FILE, POSITIONS_FILE, sample_path
from scenarios import revalue
from scenarios.families import grid
from tests.vectors import data_file

SAMPLE = load_sample()
ARRAYS = revalue(SAMPLE.instruments, SAMPLE.market, grid.scenarios(grid.Params(), SAMPLE.market))
MODEL = worst_case.Model(worst_case.Params())
STATEMENT = margin(SAMPLE.book, ARRAYS, SAMPLE.market, MODEL)


def of(name: str) -> int:
    return SAMPLE.book.row_of(name)


def test_the_public_example() -> None:
    assert len(STATEMENT.frame()) == len(SAMPLE.book) >= 50
    assert explain(STATEMENT, SAMPLE.book, ARRAYS, "iron-condor-07").lines
    orders = [("BTC-27MAR26-90000-C", -2.0)]
    result = what_if(SAMPLE.book, ARRAYS, SAMPLE.market, MODEL, account="iron-condor-07", orders=orders)
    assert result.change["initial_margin"] > 0


def test_every_status_occurs() -> None:
    assert set(STATEMENT.status.tolist()) == {int(status) for status in AccountStatus}


def test_no_vol_of_the_source_is_shipped() -> None:
    assert np.isnan(SAMPLE.market.mark_vol).all()
    assert sum(sample_path(name).stat().st_size for name in (MARKET_FILE, POSITIONS_FILE, COLLATERAL_FILE)) < 100_000


def test_figures_make_sense() -> None:
    initial = STATEMENT.initial_margin
    perpetual = of("perpetual-long-01")
    assert initial[perpetual] == pytest.approx(0.16 * STATEMENT.delta_total[perpetual], rel=1e-3)
    assert initial[of("empty")] == 0
    positions = dict(_positions("iron-condor-01"))
    strikes = sorted(float(name.split("-")[2]) for name in positions)
    width = max(strikes[1] - strikes[0], strikes[3] - strikes[2]) * max(positions.values())
    assert 0 < initial[of("iron-condor-01")] < width
    box = of("box-02")
    assert initial[box] < 0.05 * abs(STATEMENT.equity[box]) + 2_000


def _positions(account: str) -> list[tuple[str, float]]:
    book = SAMPLE.book.select(account)
    names = SAMPLE.instruments.instrument_id[book.instrument_idx]
    option = SAMPLE.instruments.is_option[book.instrument_idx]
    return [(str(n), float(q)) for n, q in zip(names[option], book.quantity[option], strict=True)]


@pytest.mark.data
def test_the_script_gives_the_shipped_files(tmp_path: Any) -> None:
    from portfolio_margin.sample.derive import SNAPSHOT_FILE, derive

    derive(data_file(SNAPSHOT_FILE).parent.parent, tmp_path)
    for name in (POSITIONS_FILE, COLLATERAL_FILE):
        shipped, derived = (path.read_text().splitlines() for path in (sample_path(name), tmp_path / name))
        assert [line.rsplit(",", 1)[0] for line in derived] == [line.rsplit(",", 1)[0] for line in shipped]
        amounts = [[float(line.rsplit(",", 1)[1]) for line in lines[1:]] for lines in (derived, shipped)]
        assert amounts[0] == pytest.approx(amounts[1], rel=1e-3, abs=25)


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
