"""The nearest point of the edge over price and vol: against fine grids, closed forms and books whose edge is of vol."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from portfolio_margin.edge import nearest_point as module
from portfolio_margin.edge.contour import contour
from portfolio_margin.edge.levels import Case, levels
from portfolio_margin.edge.nearest_point import RING_GAP, NearestPoint, Plane, nearest_point
from portfolio_margin.edge.overview import EdgeSettings, edge
from portfolio_margin.edge.price_paths import Dynamics
from portfolio_margin.edge.prices import Span, liquidation_prices
from portfolio_margin.edge.probability import Simulation
from tests.portfolio_margin import books
from tests.portfolio_margin.edge.cases import case_of, linear_case, short_of_vol

DAY = 1.0 / 365.0
UNKNOWN = np.zeros((0, 2))
STRADDLE = linear_case(4_000.0, {"U-1000-C": -10.0, "U-1000-P": -10.0})
FINE = Span(0.2, 3.0, 121)
OPTIONS = [str(name) for name in books.CONTRACTS if name.startswith("BTC-") and name[-1] in "CP"]


def excess_at(case: Case, plane: Plane, z: np.ndarray) -> np.ndarray:
    price, vol = np.exp(plane.logs(z)).T
    return levels(case, price, vol).excess


def brute(case: Case, plane: Plane, out_to: float, points: int) -> tuple[float, float]:
    """Deviations to the nearest point of a square grid at which the account is below, and the side of a cell."""
    side = np.linspace(-out_to, out_to, points)
    z = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    z = z[np.hypot(*z.T) <= out_to]
    size = np.hypot(*plane.deviations(plane.logs(z)).T)
    below = excess_at(case, plane, z) < 0.0
    return float(size[below].min(initial=np.inf)), float(side[1] - side[0])


@cache
def random_options(number: int) -> Case:
    """An account of random options and, every other, a perpetual, with so much cash that its edge is near."""
    random = np.random.default_rng(100 + number)
    steps = {str(name): int(random.integers(-400, 401)) or 1 for name in random.choice(OPTIONS, 4, replace=False)}
    if number % 2:
        steps["BTC-PERPETUAL"] = int(random.integers(-400, 401))
    held = {**books.in_steps(steps), "BTC": 0.5}
    now = levels(case_of({**held, "USD": 1e6}), np.ones(1))
    room = float(random.uniform(0.05, 0.5)) * float(now.maintenance[0])
    return case_of({**held, "USD": round(1e6 - float(now.excess[0]) + room, 2)})


@pytest.mark.parametrize("number", [1, 5])
def test_no_point_of_a_fine_grid_is_below_and_nearer(number: int) -> None:
    case, dynamics = random_options(number), Dynamics.usual(0.6)
    years = (1.0, 14.0)[number // 4] * DAY
    around = contour(case, FINE)
    found = nearest_point(case, dynamics, years, around.span, around.points)
    plane = Plane.of(dynamics, years, around.span)
    known, gap = brute(case, plane, 1.2 * found.sigmas, 49)
    assert known - 2.0 * gap < found.sigmas <= known * (1.0 + 1e-9)
    assert levels(case, np.array([found.price]), found.vol).excess[0] == pytest.approx(0.0, abs=1e-6 * case.scale)
    alone = nearest_point(case, dynamics, years, around.span, UNKNOWN)
    assert alone.sigmas == pytest.approx(found.sigmas, rel=2e-3)


def test_an_edge_of_vol_between_rows_of_the_contour_is_seen() -> None:
    case = short_of_vol()
    found = edge(case, EdgeSettings(simulation=Simulation(2_000, 4)))
    root = brentq(lambda vol: float(levels(case, np.ones(1), vol).excess[0]), 1.0, 1.12)
    away, spread = found.distance, found.dynamics.vol_of_vol * np.sqrt(DAY)
    assert away.vols_above == pytest.approx(root - 1.0, abs=1e-8) and away.vols_below == -1.0
    assert away.sigmas_vols == pytest.approx(np.log(root) / spread, rel=1e-6)
    assert min(away.sigmas_below, away.sigmas_above) > 5.0
    assert found.joint.sigmas < away.sigmas_vols < 1.0 and away.sigmas == found.joint.sigmas
    assert away.band == "critical" and found.probability.probability > 0.2
    plane = Plane.of(found.dynamics, DAY, found.contour.span)
    known, gap = brute(case, plane, 1.1, 49)
    assert known - 2.0 * gap < found.joint.sigmas <= known * (1.0 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 7.5), st.floats(-np.pi, np.pi), st.floats(1.0, 3.0), st.booleans())
def test_pockets_wider_than_the_net_are_found(away: float, angle: float, size: float, traceless: bool) -> None:
    """A disc of breach anywhere, also where nothing around it says so, so that only what meets it can know."""
    radius = min(size * RING_GAP / np.sqrt(2.0) * 1.01, 0.9 * away)
    centre = away * np.array([np.cos(angle), np.sin(angle)])

    def excess(case: Case, plane: Plane, z: np.ndarray) -> np.ndarray:
        outside = np.hypot(*(z - centre).T) - radius
        return np.sign(outside) if traceless else outside

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_excess", excess)
        # Ten days, in which all of the disc is within the vols looked at.
        found = nearest_point(STRADDLE, Dynamics(vol=0.6, vol_of_vol=0.85), 10.0 * DAY, Span(), UNKNOWN)
    assert found.sigmas == pytest.approx(away - radius, abs=2e-3 * away)


@given(st.floats(-0.99, 0.99), st.floats(0.1, 3.0), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_deviations_are_those_of_the_covariance(rho: float, vol_of_vol: float, x: float, y: float) -> None:
    plane = Plane.of(Dynamics(vol=0.6, vol_of_vol=vol_of_vol, correlation=rho), DAY, Span())
    spread = np.array([0.6, vol_of_vol]) * np.sqrt(DAY)
    covariance = np.outer(spread, spread) * np.array([[1.0, rho], [rho, 1.0]])
    logs = np.array([x, y])
    z = plane.deviations(logs[None])[0]
    assert np.hypot(*z) ** 2 == pytest.approx(float(logs @ np.linalg.solve(covariance, logs)), rel=1e-6, abs=1e-9)
    assert z @ plane.axes == pytest.approx(logs, abs=1e-9)


def test_a_vol_that_does_not_move_leaves_the_price() -> None:
    below, above = liquidation_prices(STRADDLE, FINE).nearest
    known = min(-np.log1p(below), np.log1p(above)) / (0.6 * np.sqrt(DAY))
    for known_points in (UNKNOWN, contour(STRADDLE, FINE).points):
        still = nearest_point(STRADDLE, Dynamics(vol=0.6), DAY, FINE, known_points)
        assert still.sigmas == pytest.approx(known, rel=1e-9) and still.vol == 1.0
    moving = nearest_point(STRADDLE, Dynamics(vol=0.6, vol_of_vol=3.0), DAY, FINE, UNKNOWN)
    assert moving.sigmas < known and moving.vol > 1.0
    x, y = np.log(moving.price) / (0.6 * np.sqrt(DAY)), np.log(moving.vol) / (3.0 * np.sqrt(DAY))
    assert moving.sigmas == pytest.approx(np.hypot(x, y), rel=1e-9)
    assert nearest_point(STRADDLE, Dynamics(vol=0.6, vol_of_vol=3.0, correlation=0.8), DAY, FINE, UNKNOWN).price > 1.0
    tied = nearest_point(STRADDLE, Dynamics(vol=0.6, vol_of_vol=0.9, correlation=1.0), DAY, FINE, UNKNOWN)
    assert np.log(tied.vol) == pytest.approx(1.5 * np.log(tied.price), rel=1e-9)
    safe = linear_case(5_000.0, {"U-PERPETUAL": 2.0})
    nothing = nearest_point(safe, Dynamics.usual(0.6), DAY, FINE, UNKNOWN)
    assert nothing.sigmas == np.inf and np.isnan(nothing.price) and np.isnan(nothing.vol)
    gone = nearest_point(linear_case(-200.0, {"U-PERPETUAL": 10.0}), Dynamics.usual(0.6), DAY, FINE, UNKNOWN)
    assert gone == NearestPoint(0.0, 1.0, 1.0)
