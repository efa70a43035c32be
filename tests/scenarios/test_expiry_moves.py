"""Moves of single expiries, tilts of vol, forwards fixed in part: by the formulas, one contract at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pricing import ConfigError, DataError, Kind
from pricing.market import UNDATED
from pricing.resolve import resolve
from scenarios import VolDynamics, bind, concat, revalue
from scenarios.shocks import Skew, make, same_scenarios
from tests.examples import market_and_instruments, one_option

INSTRUMENTS, MARKET = market_and_instruments(strikes=5)
INPUTS = resolve(INSTRUMENTS, MARKET)
DATED = MARKET.expiry_time != UNDATED
SKEWED = VolDynamics(
    linear_cap=0.25, linear_cap_slope=-0.1, absolute_cap=0.4, absolute_cap_slope=0.1,
    skew_width_min=0.01, skew_width_scale=4.0, skew_width_vol=0.6,
    skew_width_vol_slope=0.1,
)  # fmt: skip


def tilt(strike: float, forward: float, tau: float, absolute: bool) -> float:
    """The multiplier of Derive's PMRM_2 in plain words, with the numbers of SKEWED."""
    cap = 0.4 + 0.1 * math.sqrt(tau) if absolute else 0.25 - 0.1 * math.sqrt(tau)
    width = max(0.01, math.sqrt(tau) * 4.0 * (0.6 + math.sqrt(tau) * 0.1))
    k = math.log(strike / forward)
    k = abs(k) if absolute else k
    return max(0.0, 1.0 + min(max(k * cap / width, -cap), cap))


@pytest.mark.parametrize(("skew", "absolute"), [(Skew.LINEAR, False), (Skew.ABSOLUTE, True)])
def test_a_skew_tilts_vols_by_moneyness(skew: Skew, absolute: bool) -> None:
    moves = make(["none", "tilt"], np.zeros(2), skew=np.array([0, skew]), dynamics=SKEWED)
    shocked = bind(moves, MARKET, INPUTS)
    factors = set()
    for row in np.flatnonzero(INSTRUMENTS.is_option):
        wanted = tilt(INPUTS.strike[row], INPUTS.forward[row], INPUTS.tau[row], absolute)
        assert shocked.vol[row, 0] == INPUTS.vol[row]
        assert shocked.vol[row, 1] == pytest.approx(INPUTS.vol[row] * wanted, rel=1e-14)
        factors.add(round(wanted, 6))
    assert len(factors) > 8
    assert max(factors) > 1.0
    assert (min(factors) < 1.0) != absolute


@pytest.mark.parametrize("skew", [Skew.LINEAR, Skew.ABSOLUTE])
def test_a_cap_below_zero_bounds_each_side_of_the_money_from_one_side(skew: Skew) -> None:
    """As the venue's own case files with such caps have it: at and above the money at most the cap, below it at least
    its opposite, so that far from the money nothing is cut off."""
    slopes = {"linear_cap": 0.0, "linear_cap_slope": -0.2, "absolute_cap": 0.0, "absolute_cap_slope": -0.2}
    dynamics = VolDynamics(**slopes, skew_width_min=0.05, skew_width_scale=0.1, skew_width_vol=0.6)
    shocked = bind(make(["tilt"], np.zeros(1), skew=np.array([skew]), dynamics=dynamics), MARKET, INPUTS)
    far = 0
    for row in np.flatnonzero(INSTRUMENTS.is_option):
        root, k = math.sqrt(INPUTS.tau[row]), math.log(INPUTS.strike[row] / INPUTS.forward[row])
        k = abs(k) if skew == Skew.ABSOLUTE else k
        cap, width = -0.2 * root, max(0.05, root * 0.1 * 0.6)
        wanted = 1.0 + (min(k * cap / width, cap) if k >= 0 else max(k * cap / width, -cap))
        assert shocked.vol[row, 0] == pytest.approx(INPUTS.vol[row] * wanted, rel=1e-14)
        far += abs(wanted - 1.0) > 2.0 * abs(cap)
    assert far > 5


def test_a_skew_comes_on_top_of_the_vol_move() -> None:
    moves = make(["both"], np.zeros(1), np.array([0.5]), skew=np.array([1]), dynamics=SKEWED)
    alone = make(["tilt"], np.zeros(1), skew=np.array([1]), dynamics=SKEWED)
    both, tilted = bind(moves, MARKET, INPUTS).vol, bind(alone, MARKET, INPUTS).vol
    assert np.allclose(both, 1.5 * tilted, rtol=1e-14)


def test_a_basis_move_leaves_spot_coins_and_perpetuals_alone() -> None:
    moves = make(["basis", "both"], np.array([0.0, 0.1]), basis_move=np.array([0.05, -0.05]))
    shocked = bind(moves, MARKET, INPUTS)
    for row, name in enumerate(MARKET.expiry_name):
        dated = (1.05, 1.1 * 0.95) if DATED[row] else (1.0, 1.1)
        assert shocked.forward[row] == pytest.approx(MARKET.forward[row] * np.array(dated), rel=1e-15), name
    assert shocked.fx[:, 0].tolist() == MARKET.fx.tolist()
    arrays = revalue(INSTRUMENTS, MARKET, moves, tick=None)
    still = INSTRUMENTS.is_collateral | (INSTRUMENTS.kind == Kind.PERPETUAL)
    assert np.all(arrays.rows[still, 0] == 0)
    assert np.all(arrays.rows[INSTRUMENTS.kind == Kind.FUTURE, 0] > 0)


def test_a_single_expiry_moves_alone() -> None:
    basis = np.zeros((1, len(MARKET.forward)))
    basis[0, 1] = 0.03
    vols = np.zeros((1, len(MARKET.forward)))
    vols[0, 0] = 0.2
    moves = make(["one"], np.zeros(1), basis_move=basis, expiry_vol_shift=vols / 2, expiry_vol_move=vols)
    shocked = bind(moves, MARKET, INPUTS)
    factor = shocked.forward[:-1, 0] / MARKET.forward
    assert factor == pytest.approx(np.where(np.arange(len(factor)) == 1, 1.03, 1.0))
    first = INSTRUMENTS.is_option & (INSTRUMENTS.expiry_idx == 0)
    assert shocked.vol[first, 0] == pytest.approx(1.2 * INPUTS.vol[first] + 0.1)
    assert shocked.vol[~first, 0].tolist() == INPUTS.vol[~first].tolist()


@pytest.mark.parametrize(("vol", "wanted"), [(0.4, 0.4 + 0.3), (0.9, 0.9 * 1.5)])
def test_the_larger_of_points_and_percent(vol: float, wanted: float) -> None:
    """OKX: 30 points or 50 percent, whichever is more."""
    instruments, market = one_option(100.0, 110.0, 0.1, vol, 1.0)
    moves = make(["up"], np.zeros(1), np.array([0.5]), np.array([0.3]), dynamics=VolDynamics(combine="larger"))
    shocked = bind(moves, market, resolve(instruments, market))
    assert shocked.vol[0, 0] == pytest.approx(wanted)


def fixed(share: float) -> Any:
    return replace(MARKET, fixed_share=np.where(DATED, share, 0.0))


def test_the_fixed_share_of_a_forward_does_not_move() -> None:
    moves = make(["down", "basis"], np.array([-0.2, 0.0]), basis_move=np.array([0.0, 0.1]))
    shocked = bind(moves, fixed(0.25), INPUTS)
    wanted = MARKET.forward[DATED, None] * (0.25 + 0.75 * np.array([0.8, 1.1]))
    assert shocked.forward[:-1][DATED] == pytest.approx(wanted, rel=1e-15)
    assert shocked.forward[:-1][~DATED, 0] == pytest.approx(MARKET.forward[~DATED] * 0.8)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_delta_is_the_slope_of_the_gains(share: float) -> None:
    """Every kind of contract, also where part of the forward is fixed: delta against a central difference."""
    market, step = fixed(share), 1e-4
    arrays = revalue(INSTRUMENTS, market, make(["up", "down"], np.array([step, -step])), tick=None)
    slope = (arrays.pnl[:, 0] - arrays.pnl[:, 1]) / (2 * step)
    assert arrays.delta == pytest.approx(slope, rel=2e-5, abs=1e-5 * 68_000)


def test_fixed_shares_are_refused_outside_their_bounds() -> None:
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(DataError, match="fixed_share"):
            fixed(value)
    with pytest.raises(DataError, match="nothing expires"):
        replace(MARKET, fixed_share=np.full(len(MARKET.forward), 0.5))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("basis_move", [-1.0]),
        ("basis_move", [math.nan]),
        ("expiry_vol_move", [math.inf]),
        ("expiry_vol_shift", [[[0.0]]]),
        ("skew", [3]),
        ("skew", [0, 0]),
    ],
)
def test_bad_moves_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        make(["a"], np.zeros(1), **{field: np.array(value)})


def test_a_set_for_other_expiries_is_refused() -> None:
    moves = make(["a"], np.zeros(1), basis_move=np.zeros((1, 3)))
    with pytest.raises(ConfigError, match="3 columns: the market has 6 expiries"):
        bind(moves, MARKET, INPUTS)


def test_dynamics_of_skews_have_bounds() -> None:
    for change in (
        {"combine": "product"},
        {"linear_cap": -0.1},
        {"absolute_cap": 11.0},
        {"skew_width_min": 0.0},
        {"skew_width_vol": math.nan},
    ):
        with pytest.raises(ConfigError, match=next(iter(change))):
            VolDynamics(**change)


def test_sets_are_the_same_where_everything_moves_alike() -> None:
    plain = make(["a", "b"], np.array([0.1, -0.1]))
    wide = replace(plain, price_move=np.repeat(plain.price_move, 2, axis=1))
    assert same_scenarios(plain, wide)
    for change in (
        {"label": np.array(["a", "c"])},
        {"price_move": plain.price_move + 1e-12},
        {"skew": np.array([0, 1])},
        {"basis_move": np.array([[0.0], [0.1]])},
        {"weight": np.array([1.0, 0.5])},
        {"dynamics": VolDynamics(vol_floor=0.1)},
    ):
        assert not same_scenarios(plain, replace(plain, **change))
    assert not same_scenarios(plain, concat(plain, plain))
    assert concat(plain, make(["c"], np.zeros(1), basis_move=np.array([0.2]))).basis_move.tolist() == [[0], [0], [0.2]]
