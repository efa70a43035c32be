"""An account through its expiries: closed forms, equity that no settlement changes, a breach by an expiry alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from portfolio_margin import load_sample
from portfolio_margin.edge.distance import distance
from portfolio_margin.edge.expiries import ageing, settled
from portfolio_margin.edge.holdings import holdings
from portfolio_margin.edge.levels import levels, levels_where_ruled, open_case
from portfolio_margin.edge.moved import States
from portfolio_margin.edge.overview import horizon_of
from portfolio_margin.edge.price_paths import Dynamics
from portfolio_margin.edge.prices import Span, liquidation_prices
from portfolio_margin.edge.probability import Simulation, breach_probability
from portfolio_margin.models import worst_case
from pricing import DataError
from pricing.arrays import DAYS_PER_YEAR
from scenarios.families import grid
from tests.portfolio_margin import books
from tests.portfolio_margin.edge.cases import JOINT, PRICE, case_of, linear_case, random_case

COVERED = {"U-PERPETUAL": -10.0, "U-1000-C": 10.0}
# Maintenance margin of ten perpetuals: a scan of 20 % of the price, half of it.
ALONE = 10.0 * PRICE * 0.2 * 0.5


@pytest.mark.parametrize(("cash", "breaches"), [(0.999 * ALONE, True), (1.001 * ALONE, False)])
def test_a_short_future_is_alone_once_its_calls_are_gone(cash: float, breaches: bool) -> None:
    alone = ageing(linear_case(cash, COVERED))
    (expiry,) = alone.expiries
    assert (expiry.days, expiry.contracts, expiry.names) == (pytest.approx(30.0), 1, ("U-2026-03-28",))
    assert expiry.before.excess[0] > 0.0 and expiry.breaches == breaches
    assert expiry.after.maintenance[0] == pytest.approx(ALONE, rel=1e-12)
    assert expiry.after.balance[0] == pytest.approx(cash, rel=1e-12)
    assert alone.days == (pytest.approx(30.0) if breaches else np.inf)
    assert alone.cause is (expiry if breaches else None) and alone.days_searched == pytest.approx(30.0)


def test_the_distance_names_the_expiry_and_its_band_takes_it_in() -> None:
    case = linear_case(0.999 * ALONE, COVERED)
    prices = liquidation_prices(case, Span(0.5, 2.0, 61))
    far, near = distance(case, prices, 1e-6), distance(case, prices, 30.0)
    assert far.sigmas > 3.0 and far.band == "watch" and far.days == pytest.approx(30.0)
    assert distance(linear_case(1.5 * ALONE, COVERED), prices, 1e-6).band == "safe"
    assert near.ageing.cause is not None and near.band in ("warning", "critical")


def test_what_settles_at_moved_prices_is_in_closed_form() -> None:
    """Calls pay 10 max(P - 1000, 0), perpetuals have paid -10 (P - 1000), and their margin is a tenth of the price."""
    case = linear_case(1_500.0, COVERED)
    price = np.array([0.5, 0.99, 1.0, 1.2, 3.0])
    found, reasons = levels_where_ruled(case, price, np.linspace(0.5, 2.0, 5), case.first_expiry_years, settled=True)
    gain = 10.0 * PRICE * (np.maximum(price - 1.0, 0.0) - (price - 1.0))
    assert found.equity == pytest.approx(1_500.0 + gain, rel=1e-12) and not reasons
    assert found.maintenance == pytest.approx(10.0 * PRICE * price * 0.1, rel=1e-12)
    single, _ = levels_where_ruled(replace(case, at_once=1), price, 1.0, case.first_expiry_years, settled=True)
    assert single.excess == pytest.approx(found.excess, abs=1e-9 * case.scale)
    for k, moved in enumerate(price):
        later = levels(settled(case, float(moved)), np.ones(1))
        assert later.excess[0] == pytest.approx(found.excess[k], abs=1e-9 * case.scale)


@pytest.mark.parametrize("number", range(0, 12, 2))
def test_no_settlement_changes_equity(number: int) -> None:
    """Coins, inverse options and futures of two expiries: what is paid is what was held."""
    case = random_case(number)
    for expiry in ageing(case).expiries:
        assert expiry.after.equity[0] == pytest.approx(expiry.before.equity[0], abs=1e-9 * case.scale)


def test_after_a_settlement_the_rest_is_an_account_of_its_own() -> None:
    """The same as a book written down by hand in a market of that moment: coins paid in, the far leg left."""
    near, far = "BTC-7D-61200-C", "BTC-60D-74800-C"
    names = books.INSTRUMENTS.instrument_id.tolist()
    case = case_of({"BTC": 2.0, near: 3.0, far: -3.0})
    found = levels(settled(case), np.ones(1))
    market, years = books.MARKET, case.first_expiry_years
    row = books.INSTRUMENTS.index_of()
    forward = float(market.forward[books.INSTRUMENTS.expiry_idx[row[near]]])
    at = case.mover.markets(States(np.ones(1), np.ones(1), years))[0]
    coins = 2.0 + 3.0 * books.INSTRUMENTS.multiplier[row[near]] * (forward - 61_200.0) / forward
    whole = replace(
        market, valuation_time=at.valuation_time, spot=at.spot, forward=at.forward, discount=at.discount,
        svi=at.svi, fx=at.fx, limits=at.limits,
    )  # fmt: skip
    vols = np.full(len(names), np.nan)
    table = case.mover.instruments
    vols[[row[str(name)] for name in table.instrument_id]] = at.mark_vol
    book = books.book_of({"a": {"BTC": coins, far: -3.0}})
    by_hand = open_case(
        book, books.INSTRUMENTS, replace(whole, mark_vol=np.where(np.isnan(vols), market.mark_vol, vols)), JOINT,
        books.GRID, "a", "BTC",
    )  # fmt: skip
    there = levels(by_hand, np.ones(1))
    for mine, theirs in zip(found, there, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9)


def test_the_market_maker_of_the_sample_is_liquidated_by_an_expiry() -> None:
    """Its hedges go first: the requirement of what is left is that of the same book without them."""
    sample = load_sample()
    moves = grid.scenarios(grid.Params(), sample.market)
    case = open_case(
        sample.book, sample.instruments, sample.market, worst_case.Model(), moves, "market-maker-03", "BTC"
    )
    alone = ageing(case)
    assert alone.cause is alone.expiries[0] and alone.days == pytest.approx(7.93, abs=0.01)
    assert alone.cause.names == ("BTC-2026-03-06", "ETH-2026-03-06")
    assert len(alone.expiries) == 4 and np.isfinite(alone.days_searched)
    assert alone.days_searched == pytest.approx(alone.expiries[-1].days)
    short = ageing(case, 5.0)
    assert short.days == np.inf and not short.expiries and short.days_searched == pytest.approx(5.0)


def test_an_option_without_cash_to_pay_into_is_named() -> None:
    case = case_of({"USD": 1.0, "BTC-7D-61200-C": 1.0})
    table = case.mover.instruments
    kept = np.flatnonzero(table.instrument_id != "BTC")
    columns = {name: getattr(table, name)[kept] for name in table.__dataclass_fields__}
    market = replace(case.mover.market, mark_vol=case.mover.market.mark_vol[kept])
    mover = type(case.mover).of(type(table)(**columns), market, 0, "moneyness")
    own = replace(case.own, instrument_idx=np.searchsorted(kept, case.own.instrument_idx))
    bare = replace(case, mover=mover, own=own)
    assert bare.first_expiry_years * DAYS_PER_YEAR == pytest.approx(7.0)
    with pytest.raises(DataError, match="what it pays at expiry cannot be booked"):
        settled(bare)


def test_nothing_is_settled_before_its_time() -> None:
    case = linear_case(0.0, COVERED)
    early = States(np.ones(1), np.ones(1), 0.5 * case.first_expiry_years, settled=True)
    last = replace(early, years=case.first_expiry_years)
    names = case.mover.instruments.instrument_id
    assert "U-1000-C" in names[holdings(case.own, case.mover, early)[0]]
    assert "U-1000-C" not in names[holdings(case.own, case.mover, last)[0]]


def test_a_horizon_that_ends_with_an_expiry_sees_its_settlement() -> None:
    """Calls at 1000 over short perpetuals: once they are settled at P above 1000, cash less P is left."""
    case = linear_case(1_100.0, COVERED)
    days = case.first_expiry_years * DAYS_PER_YEAR
    still = Dynamics(0.6)
    found = breach_probability(case, days, still, Simulation(20_000, 1, 3))
    deviation = 0.6 * np.sqrt(30.0 / 365.0)
    exact = norm.cdf((-np.log(1.1) - deviation**2 / 2.0) / deviation)
    assert found.probability == pytest.approx(exact, abs=4.0 * found.standard_error + 1e-3)
    assert found.at_end == pytest.approx(found.probability, rel=1e-12) and found.misread <= 2
    sooner = breach_probability(case, days - 0.01, still, Simulation(2_000, 1, 3))
    assert sooner.probability < 0.1 * exact
    assert horizon_of(case, float(f"{days:.6g}")) == days
