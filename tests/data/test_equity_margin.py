"""Portfolio against strategy margin on the real SPY chain: the same accounts, side by side."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from portfolio_margin import Book, compare, load_parameters
from portfolio_margin.io.equity_chain import read_equity_chain
from portfolio_margin.io.equity_market import equity_market
from portfolio_margin.io.market_json import read_market_file, write_market
from portfolio_margin.models import reg_t, tims
from tests.vectors import data_file

pytestmark = pytest.mark.data
MOMENT = datetime(2025, 9, 25, 20, 0, tzinfo=UTC)
MONTH = "SPY-2025-10-31"


def spy() -> tuple:
    chain = read_equity_chain(
        data_file("equity_chain/spy_chain_cboe_20250925.csv.gz"), valuation_time=MOMENT, rate=0.042
    )
    return equity_market(chain, "SPY", spot=658.05, valuation_time=MOMENT, rate=0.042)


ACCOUNTS: dict[str, dict[str, float]] = {
    "covered call": {"SPY": 1_000.0, f"{MONTH}-680-C": -10.0},
    "protective put": {"SPY": 1_000.0, f"{MONTH}-640-P": 10.0},
    "collar": {"SPY": 1_000.0, f"{MONTH}-640-P": 10.0, f"{MONTH}-680-C": -10.0},
    "iron condor": {f"{MONTH}-630-P": 10.0, f"{MONTH}-640-P": -10.0, f"{MONTH}-680-C": -10.0, f"{MONTH}-690-C": 10.0},
    "naked put": {f"{MONTH}-630-P": -10.0},
    "straddle": {f"{MONTH}-660-C": -10.0, f"{MONTH}-660-P": -10.0},
    "box": {f"{MONTH}-640-C": 10.0, f"{MONTH}-640-P": -10.0, f"{MONTH}-680-C": -10.0, f"{MONTH}-680-P": 10.0},
    "stock": {"SPY": 1_000.0},
}


def test_portfolio_against_strategy_margin() -> None:
    instruments, market = spy()
    row = instruments.index_of()
    held = [(a, row[name], q) for a, positions in ACCOUNTS.items() for name, q in positions.items()]
    account, instrument, quantity = (list(column) for column in zip(*held, strict=True))
    book = Book.from_arrays(np.array(account), instrument, quantity, instruments.expiry_idx)
    models = {"reg_t": reg_t.Model(*load_parameters("reg_t")), "tims": tims.Model(*load_parameters("tims"))}
    still = tims.Model(*load_parameters("tims")).scenario_set(market)
    result = compare(book, market, models, instruments=instruments, scenario_set=still, reference="reg_t")
    strategy, portfolio = (dict(zip(result.account, amounts, strict=True)) for amounts in result.initial)
    assert not any(s.positions_excluded for s in result.statements.values())
    assert strategy["stock"] == pytest.approx(0.5 * 658_050)
    assert portfolio["stock"] == pytest.approx(0.08 * 658_050)
    saved = {a: 1 - portfolio[a] / strategy[a] for a in ACCOUNTS}
    # What is hedged saves most; a condor inside the range is margined at its width either way.
    assert saved["collar"] > saved["covered call"] > 0.8
    assert saved["protective put"] > 0.9
    assert saved["naked put"] > 0.3
    assert strategy["iron condor"] <= 10_000
    assert abs(saved["iron condor"]) < 0.5
    # American options: a box may be worth a little more than its width discounted.
    assert portfolio["box"] < strategy["box"]


def test_the_market_of_a_chain_is_a_market_file(tmp_path) -> None:
    instruments, market = spy()
    path = tmp_path / "spy.json"
    write_market(path, instruments, market, "SPY")
    assert read_market_file(path).market.digest == market.digest
