"""Liquidation prices: the closed form of a linear position, sign changes of a dense grid, sides, slopes."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin.edge.levels import levels
from portfolio_margin.edge.moved import STICKY
from portfolio_margin.edge.prices import INTO, OUT_OF, TOUCHES, Span, liquidation_prices
from portfolio_margin.liquidation.linear import liquidation_price
from pricing import ConfigError
from tests.portfolio_margin import books
from tests.portfolio_margin.edge.cases import PRICE, SCAN, case_of, linear_case, random_case
from tests.portfolio_margin.test_contracts import model_of

FINE = Span(0.2, 3.0, 121)


@pytest.mark.parametrize(("cash", "position"), [(3_000.0, 10.0), (3_000.0, -10.0), (1_500.0, 12.0), (900.0, 1.0)])
def test_a_linear_position_has_the_price_of_the_closed_form(cash: float, position: float) -> None:
    factor = 0.5
    found = liquidation_prices(linear_case(cash, {"U-PERPETUAL": position}, factor))
    known = float(liquidation_price(cash, position, PRICE, risk_factor=SCAN * factor))
    assert found.price == pytest.approx([known], rel=1e-9)
    assert found.side.tolist() == [INTO]
    assert not found.jumps.any() and not found.liquidated
    # There equity and requirement move by the position and by its margin rate.
    ratio = known / PRICE
    assert found.price_slope[0, 0] == pytest.approx(position * PRICE * ratio, rel=1e-6)
    assert found.price_slope[0, 2] == pytest.approx(abs(position) * SCAN * factor * PRICE * ratio, rel=1e-6)
    assert found.vol_slope == pytest.approx(np.zeros((1, 3)), abs=1e-6)


def test_a_long_paid_for_in_full_has_none() -> None:
    found = liquidation_prices(linear_case(5_000.0, {"U-PERPETUAL": 2.0}))
    assert len(found) == 0
    assert found.nearest == (-1.0, np.inf)


def test_a_short_straddle_has_two() -> None:
    found = liquidation_prices(linear_case(4_000.0, {"U-1000-C": -10.0, "U-1000-P": -10.0}))
    assert found.side.tolist() == [INTO, INTO]
    assert found.price[0] < PRICE < found.price[1]
    below, above = found.nearest
    assert below == pytest.approx(found.move[0]) and above == pytest.approx(found.move[1])
    # Vols are what a short straddle fears, and time is what it waits for.
    assert np.all(found.vol_slope[:, 0] < 0) and np.all(found.time_slope[:, 0] > 0)


def test_an_account_in_liquidation_comes_out_of_it() -> None:
    found = liquidation_prices(linear_case(-200.0, {"U-PERPETUAL": 10.0}))
    assert found.liquidated
    assert found.side.tolist() == [OUT_OF]
    assert found.move[0] > 0


@pytest.mark.parametrize("number", range(12))
def test_roots_are_the_sign_changes_of_a_dense_grid(number: int) -> None:
    case = random_case(number, sticky=STICKY[number % 2])
    found = liquidation_prices(case, FINE)
    dense = np.exp(np.linspace(np.log(FINE.low), np.log(FINE.high), 4_001))
    below = levels(case, dense).excess < 0
    change = np.flatnonzero(below[1:] != below[:-1])
    roots = found.price[found.side != TOUCHES] / case.spot
    inside = [np.sum((roots >= dense[i]) & (roots <= dense[i + 1])) for i in range(len(dense) - 1)]
    # An odd number of roots where the sign changes, and an even one elsewhere: two that the dense grid steps over.
    assert np.array_equal(np.flatnonzero(np.array(inside) % 2), change)
    assert levels(case, roots).excess[~found.jumps[found.side != TOUCHES]] == pytest.approx(0.0, abs=1e-8 * case.scale)


@pytest.mark.parametrize("name", ["derive_pmrm", "derive_pmrm2", "deribit_xpm", "paradex_pm", "historical_simulation"])
def test_roots_under_models_with_scenarios_of_their_own(name: str) -> None:
    puts = [n for n in books.CONTRACTS if n.startswith("BTC-60D-") and n.endswith("P")]
    held = {"USD": 1e5, "BTC": 1.0, puts[2]: -14.0, puts[4]: 3.0, "BTC-PERPETUAL": 4_000.0}
    case = case_of(held, model_of(name))
    found = liquidation_prices(case, Span(0.5, 2.0, 121))
    dense = np.exp(np.linspace(np.log(found.span.low), np.log(found.span.high), 2_001))
    below = levels(case, dense).excess < 0
    assert len(found) >= 1
    assert np.sum(below[1:] != below[:-1]) == np.sum(found.side != TOUCHES)


def test_sides_alternate_on_either_side_of_today() -> None:
    for number in range(12, 18):
        found = liquidation_prices(random_case(number), FINE)
        for outwards in (found.move >= 0, found.move < 0):
            side = found.side[outwards & (found.side != TOUCHES)]
            side = side if found.move[outwards].min(initial=1.0) >= 0 else side[::-1]
            expected = [OUT_OF, INTO] if found.liquidated else [INTO, OUT_OF]
            assert side.tolist() == [expected[i % 2] for i in range(len(side))]


def test_spans_are_checked() -> None:
    for low, high, points in ((1.2, 3.0, 10), (0.0, 3.0, 10), (0.5, 0.9, 10), (0.5, np.inf, 10), (0.5, 2.0, 2)):
        with pytest.raises(ConfigError, match=r"span|points"):
            Span(low, high, points)
