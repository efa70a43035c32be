"""Distance in price, deviations and days; bands; the contour; payoffs; slopes at the edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.derivatives import market_derivatives
from portfolio_margin.edge.contour import contour
from portfolio_margin.edge.distance import BANDS, Bands, VolDistance, distance, implied_vol_over
from portfolio_margin.edge.expiries import ageing
from portfolio_margin.edge.levels import levels
from portfolio_margin.edge.overview import EdgeSettings, edge, horizon_of
from portfolio_margin.edge.payoff import payoff
from portfolio_margin.edge.prices import Span, liquidation_prices
from portfolio_margin.edge.probability import Simulation
from portfolio_margin.edge.vols import HIGHEST, LOWEST
from pricing import ConfigError, DataError, price
from tests.portfolio_margin import books
from tests.portfolio_margin.edge.cases import JOINT, PRICE, case_of, linear_case, random_case

STRADDLE = linear_case(4_000.0, {"U-1000-C": -10.0, "U-1000-P": -10.0})
FINE = Span(0.2, 3.0, 121)


def test_deviations_are_those_of_the_implied_vol() -> None:
    case = linear_case(3_000.0, {"U-PERPETUAL": -10.0})
    prices = liquidation_prices(case)
    found = distance(case, prices, 4.0)
    assert implied_vol_over(case, 4.0 / 365.0) == pytest.approx(0.6, rel=1e-12)
    assert found.deviation == pytest.approx(0.6 * np.sqrt(4.0 / 365.0), rel=1e-12)
    assert found.sigmas_above == pytest.approx(np.log(prices.price[0] / PRICE) / found.deviation, rel=1e-12)
    assert found.below == -1.0 and found.sigmas_below == np.inf
    assert found.sigmas == found.sigmas_above
    assert found.days == np.inf and found.days_searched == 365.0


def test_total_variance_is_linear_between_slices() -> None:
    case = case_of({"BTC": 1.0})
    total = {x: float(v) for x, v in zip((0, 1), _at_the_money(), strict=True)}
    assert implied_vol_over(case, 7.0 / 365.0) == pytest.approx(np.sqrt(total[0] * 365.0 / 7.0), rel=1e-12)
    middle = total[0] + (total[1] - total[0]) * (20.0 - 7.0) / (60.0 - 7.0)
    assert implied_vol_over(case, 20.0 / 365.0) == pytest.approx(np.sqrt(middle * 365.0 / 20.0), rel=1e-12)
    assert implied_vol_over(case, 90.0 / 365.0) == pytest.approx(np.sqrt(total[1] * 365.0 / 60.0), rel=1e-12)


def _at_the_money() -> np.ndarray:
    a, b, rho, m, sigma = books.MARKET.svi[:2].T
    return a + b * (-rho * m + np.hypot(m, sigma))


def test_days_are_when_decay_has_eaten_the_room() -> None:
    """A long straddle on borrowed money: its equity falls with the Black-76 value, its requirement is computed anew."""
    value = float(price(PRICE, PRICE, 30.0 / 365.0, 0.6, 1)) * 2.0
    case = linear_case(-0.4 * value, {"U-1000-C": 1.0, "U-1000-P": 1.0})
    days = ageing(case).days
    assert ageing(case).days_searched == pytest.approx(30.0)
    assert 0.0 < days < 30.0
    at_edge = levels(case, np.ones(1), 1.0, days / 365.0)
    left = 2.0 * float(price(PRICE, PRICE, (30.0 - days) / 365.0, 0.6, 1))
    assert at_edge.equity[0] == pytest.approx(left - 0.4 * value, abs=1e-4)
    assert at_edge.excess[0] == pytest.approx(0.0, abs=1e-3)
    assert ageing(case, days / 2.0).days == np.inf
    assert ageing(linear_case(-1.0001 * value, {"U-1000-C": 1.0, "U-1000-P": 1.0}), 9.0).days == 0.0


def test_a_market_without_a_slice_takes_the_vol_of_an_option_or_asks() -> None:
    blank = replace(STRADDLE.mover.market, svi=np.full((2, 5), np.nan), mark_vol=np.array([np.nan, 0.7, 0.8]))
    case = replace(STRADDLE, mover=type(STRADDLE.mover).of(STRADDLE.mover.instruments, blank, 0, "strike"))
    assert implied_vol_over(case, 0.1) == pytest.approx(0.7)
    future = linear_case(3_000.0, {"U-PERPETUAL": -10.0})
    bare = replace(future.mover.market, svi=np.full((2, 5), np.nan))
    with pytest.raises(DataError, match="underlying = 'U': the market has no slice of it"):
        implied_vol_over(replace(future, mover=replace(future.mover, market=bare)), 0.1)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 10), st.floats(0, 20), st.floats(0, 3), st.floats(0, 3))
def test_bands_never_improve_as_an_edge_comes_nearer(sigmas: float, days: float, less: float, fewer: float) -> None:
    bands = Bands()
    worse = bands.of(max(sigmas - less, 0.0), max(days - fewer, 0.0))
    assert BANDS.index(worse) >= BANDS.index(bands.of(sigmas, days))
    assert bands.of(sigmas, days, liquidated=True) == "liquidation"


def test_bands_are_what_they_say() -> None:
    bands = Bands((1.0, 2.0, 3.0), (0.0, 0.0, 5.0))
    assert [bands.of(d, np.inf) for d in (0.5, 1.0, 2.5, 3.0)] == ["critical", "warning", "watch", "safe"]
    assert bands.of(10.0, 4.0) == "watch"
    assert [bands.of(10.0, d, by_expiry=True, horizon=8.0) for d in (7.9, 8.0, 8.1)] == ["warning", "warning", "watch"]
    with pytest.raises(ConfigError, match=r"sigmas = \(3\.0, 2\.0, 1\.0\)"):
        Bands(sigmas=(3.0, 2.0, 1.0))


@pytest.mark.parametrize("number", [1, 4, 5])
def test_the_contour_is_the_edge_at_every_vol(number: int) -> None:
    case = random_case(number)
    found = contour(case, FINE, [0.7, 1.0, 1.6])
    for v, vol in enumerate(found.vol):
        row = liquidation_prices(case, FINE, float(vol))
        here = found.line == v
        assert found.edge_price[here] * case.spot == pytest.approx(row.price, rel=1e-9)
        assert found.side[here].tolist() == row.side.tolist()
        assert bool(found.liquidated[v]) == row.liquidated
    with pytest.raises(DataError, match=r"vols = \[1\.2, 1\.0\]: must be multiples above 0, rising"):
        contour(case, FINE, [1.2, 1.0])
    flat = levels(case, np.tile(found.price, 3), np.repeat(found.vol, len(found.price))).excess
    assert found.excess.ravel() == pytest.approx(flat)


def test_the_contour_is_the_edge_along_the_vols_too() -> None:
    """A column of the contour beside vols searched one by one on a dense grid; today's is what is shown."""
    found = contour(STRADDLE, FINE).columns
    assert np.any(found.price == 1.0) and len(found.vol) > 0
    dense = np.exp(np.linspace(np.log(LOWEST), np.log(HIGHEST), 3_001))
    for w, at in enumerate(found.price):
        below = levels(STRADDLE, np.array([at]), dense).excess < 0.0
        turns = np.flatnonzero(below[1:] != below[:-1])
        here = found.vol[(found.line == w) & (found.side != "touches")]
        assert len(here) == len(turns)
        assert np.all((here >= dense[turns]) & (here <= dense[turns + 1]))
    assert found.nearest[1] == pytest.approx(found.at_today[found.at_today > 1.0][0] - 1.0)
    along = VolDistance(-0.2, 0.3, 0.1)
    assert along.sigmas == pytest.approx(min(-np.log(0.8), np.log(1.3)) / 0.1)
    assert VolDistance().sigmas == np.inf and VolDistance(-0.2, 0.3, 0.0).sigmas == np.inf


def test_payoffs_are_black_76_before_and_intrinsic_at_expiry() -> None:
    case = linear_case(500.0, {"U-1000-C": 3.0})
    at = np.array([0.8, 1.0, 1.25])
    curves = payoff(case, at)
    assert curves.label.tolist() == ["now", "tomorrow", "at first expiry"]
    paid = 3.0 * float(price(PRICE, PRICE, 30.0 / 365.0, 0.6, 1))
    for k, left in enumerate((30.0, 29.0)):
        value = 3.0 * np.asarray(price(PRICE * at, PRICE, left / 365.0, 0.6, 1))
        assert curves.gain[k] == pytest.approx(value - paid, abs=1e-5)
    assert curves.gain[2] == pytest.approx(3.0 * np.maximum(PRICE * at - PRICE, 0.0) - paid, abs=1e-6)
    perpetual = payoff(linear_case(500.0, {"U-PERPETUAL": 2.0}), at)
    assert perpetual.label.tolist() == ["now", "tomorrow"]
    assert perpetual.gain[0] == pytest.approx(2.0 * PRICE * (at - 1.0))
    assert payoff(case, at, 40.0).label.tolist() == ["now", "at first expiry"]
    with pytest.raises(ConfigError, match=r"later_days = 0\.0"):
        payoff(case, at, 0.0)


def test_slopes_at_today_are_the_derivatives_of_the_margin() -> None:
    """Of an account whose edge is right here; `market_derivatives` differentiates statements of moved markets."""
    call = next(n for n in books.CONTRACTS if n.startswith("BTC-60D-") and n.endswith("C"))
    slices = replace(books.MARKET, mark_vol=np.full(len(books.INSTRUMENTS), np.nan))
    from portfolio_margin.edge.levels import open_case

    held = {"BTC": 1.0, "USD": 0.0, call: -3.0}
    bare = open_case(books.book_of({"a": held}), books.INSTRUMENTS, slices, JOINT, books.GRID, "a")
    held["USD"] = -float(levels(bare, np.ones(1)).excess[0])
    book = books.book_of({"a": held})
    found = liquidation_prices(open_case(book, books.INSTRUMENTS, slices, JOINT, books.GRID, "a"), FINE)
    here = int(np.argmin(np.abs(found.move)))
    assert found.move[here] == pytest.approx(0.0, abs=1e-9)
    known = market_derivatives(book, books.INSTRUMENTS, slices, JOINT, books.GRID, "a")
    order = [2, 0, 1]  # equity first
    assert found.price_slope[here] == pytest.approx(known.price[0][order], rel=1e-4)
    # All of the slice of this expiry by its vol: w = vol^2 tau scales a and b alike, 1 % of vol is 2 % of both.
    a, b = slices.svi[1][:2]
    by_vol = 2.0 * (a * known.svi[1, 0] + b * known.svi[1, 1])[order]
    assert found.vol_slope[here] == pytest.approx(by_vol, rel=1e-3)


def test_everything_at_once() -> None:
    found = edge(STRADDLE, EdgeSettings(span=FINE, simulation=Simulation(1_000, 4)))
    assert found.distance.horizon_days == 1.0
    away = found.distance
    by_price = min(away.sigmas_below, away.sigmas_above)
    by_vol = found.dynamics.vol_of_vol * np.sqrt(1.0 / 365.0)
    assert away.sigmas_vols == pytest.approx(np.log1p(away.vols_above) / by_vol)
    assert found.joint[0] <= by_price / np.sqrt(1.0 - found.dynamics.correlation**2) + 1e-9
    assert away.sigmas == min(found.joint[0], away.sigmas_below, away.sigmas_above, away.sigmas_vols)
    assert found.inputs.gamma_concentration == 1.0 and found.inputs.vega_concentration == 1.0
    assert found.inputs.margin_ratio == pytest.approx(
        found.prices.now.maintenance[0] / found.prices.now.balance[0], rel=1e-12
    )
    notional = 20.0 * PRICE
    cost = 0.0005 * notional
    assert found.inputs.liquidity == pytest.approx(cost / (cost + found.prices.now.excess[0]), rel=1e-9)
    assert 0.0 < found.score < 100.0
    gone = edge(linear_case(-200.0, {"U-PERPETUAL": 10.0}), EdgeSettings(span=FINE))
    assert gone.score == 100.0 and gone.distance.band == "liquidation" and gone.probability.probability == 1.0


def test_horizons_end_before_something_settles() -> None:
    assert horizon_of(STRADDLE, None) == 1.0
    with pytest.raises(ConfigError, match=r"horizon_days = 40\.0: must be above 0 and at most 30, when the first"):
        horizon_of(STRADDLE, 40.0)
    with pytest.raises(ConfigError, match="horizon_days = inf"):
        horizon_of(linear_case(1.0, {"U-PERPETUAL": 1.0}), np.inf)
