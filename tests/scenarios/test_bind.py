"""bind: what a scenario does to forwards, discounts, times, fx and vols."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pricing import ConfigError
from pricing.resolve import resolve, slice_vol
from scenarios import VolDynamics, bind
from scenarios.bind import ShockedInputs
from scenarios.dynamics import tenor_scale
from scenarios.shocks import make
from tests.examples import market_and_instruments, one_option

INSTRUMENTS, MARKET = market_and_instruments()
INPUTS = resolve(INSTRUMENTS, MARKET)


def shocked(*columns: Any, market: Any = MARKET, **more: Any) -> ShockedInputs:
    return bind(make(["s"] * len(columns[0]), *columns, **more), market, INPUTS)


def vol_of(vol: float, days: float, dynamics: VolDynamics, **moves: list[float]) -> list[float]:
    instruments, market = one_option(100.0, 100.0, days / 365, vol, 1.0)
    rows = len(next(iter(moves.values())))
    columns = {name: np.array(values) for name, values in moves.items()}
    scenario_set = make(["s"] * rows, np.zeros(rows), **columns, dynamics=dynamics)
    return bind(scenario_set, market, resolve(instruments, market)).vol[0].tolist()


def test_prices_move_forwards_and_coins_alike() -> None:
    s = shocked(np.array([[0.1, -0.2], [0.0, 0.0]]))
    assert s.forward[:6, 0] == pytest.approx(MARKET.forward * np.repeat([1.1, 0.8], 3))
    assert s.fx[:, 0] == pytest.approx(MARKET.fx * [1.0, 1.1, 0.8])
    assert np.array_equal(s.forward[:6, 1], MARKET.forward)
    assert np.array_equal(s.fx[:, 1], MARKET.fx)
    # The last row belongs to cash that no underlying moves.
    assert s.forward[6].tolist() == [1.0, 1.0]
    assert np.array_equal(s.base_fx, MARKET.fx)


def test_one_column_moves_every_underlying() -> None:
    narrow, wide = shocked(np.array([0.1])), shocked(np.array([[0.1, 0.1]]))
    assert all(np.array_equal(a, b) for a, b in zip(narrow, wide, strict=True))
    for name in ("price_move", "vol_move", "vol_shift"):
        moves = make(["s"], np.zeros(1))
        with pytest.raises(ConfigError, match=f"{name} has 3 columns: the market has 2 underlyings"):
            bind(replace(moves, **{name: np.zeros((1, 3))}), MARKET, INPUTS)


def test_vols_move_with_their_own_underlying() -> None:
    owner = INSTRUMENTS.underlying_idx[INSTRUMENTS.is_option]
    base = INPUTS.vol[INSTRUMENTS.is_option]
    moved = shocked(np.zeros(1), vol_move=np.array([[0.5, -0.2]])).vol[INSTRUMENTS.is_option, 0]
    assert moved == pytest.approx(base * np.array([1.5, 0.8])[owner], rel=1e-14)
    shifted = shocked(np.zeros(1), vol_shift=np.array([[0.1, -0.05]])).vol[INSTRUMENTS.is_option, 0]
    assert shifted == pytest.approx(base + np.array([0.1, -0.05])[owner], rel=1e-14)


def test_time_passes_to_expiry_and_not_beyond() -> None:
    s = shocked(np.zeros(3), time_step_years=np.array([0.0, 1 / 365, 30 / 365]))
    assert s.tau[0] * 365 == pytest.approx([7.0, 6.0, 0.0])
    assert s.tau[1] * 365 == pytest.approx([60.0, 59.0, 30.0])
    assert s.tau[2].tolist() == [0.0, 0.0, 0.0]


def test_discounts_run_off_at_a_constant_rate() -> None:
    market = replace(MARKET, discount=np.where(np.arange(6) % 3 == 1, 0.97, 1.0))
    s = shocked(np.zeros(3), market=market, time_step_years=np.array([0.0, 15 / 365, 60 / 365]))
    assert s.discount[1] == pytest.approx([0.97, 0.97**0.75, 1.0], rel=1e-15)


def test_carry_is_held_or_rolled() -> None:
    """Held, the forward keeps its level as time passes; rolled, it slides along to the spot."""
    step = np.array([0.0, 30 / 365, 60 / 365])
    held = shocked(np.full(3, 0.1), time_step_years=step)
    rolled = shocked(np.full(3, 0.1), time_step_years=step, dynamics=VolDynamics(carry="rolled"))
    assert held.forward[1] == pytest.approx(np.full(3, MARKET.forward[1] * 1.1))
    spot, forward = MARKET.spot[0] * 1.1, MARKET.forward[1] * 1.1
    assert rolled.forward[1] == pytest.approx([forward, math.sqrt(spot * forward), spot], rel=1e-14)
    # Past its expiry a forward is the spot; what has no expiry has no carry.
    assert rolled.forward[0, 1] == pytest.approx(spot, rel=1e-14)
    assert rolled.forward[2] == pytest.approx(np.full(3, spot), rel=1e-15)


def test_tenor_scaling() -> None:
    dynamics = VolDynamics(short_power=0.5, long_power=0.25, days_floor=1.0)
    days = np.array([0.1, 1.0, 7.5, 20.0, 30.0, 30.0001, 120.0, 480.0])
    expected = [30**0.5, 30**0.5, 2.0, 1.5**0.5, 1.0, 1.0, 0.25**0.25, 0.5]
    assert tenor_scale(days / 365, dynamics) == pytest.approx(expected, rel=1e-6)
    assert np.all(tenor_scale(days / 365, VolDynamics()) == 1.0)
    assert np.all(np.diff(tenor_scale(np.linspace(0, 2, 500), dynamics)) <= 1e-15)
    assert tenor_scale(np.zeros(1), replace(dynamics, days_floor=0.01)) == pytest.approx([3000**0.5])


def test_relative_moves_scale_with_tenor() -> None:
    dynamics = VolDynamics(short_power=0.30, long_power=0.13)
    assert vol_of(0.5, 7, dynamics, vol_move=[0.4, -0.2, 0.0]) == pytest.approx(
        [0.5 * (1 + 0.4 * (30 / 7) ** 0.30), 0.5 * (1 - 0.2 * (30 / 7) ** 0.30), 0.5], rel=1e-14
    )
    assert vol_of(0.5, 90, dynamics, vol_move=[0.4])[0] == pytest.approx(0.5 * (1 + 0.4 * (1 / 3) ** 0.13), rel=1e-14)


def test_floors_of_shocked_vols() -> None:
    dynamics = VolDynamics(minimum_vol_up=0.5, vol_floor=0.08)
    moves = [0.1, 0.0, -0.9, -2.0]
    assert vol_of(0.10, 30, dynamics, vol_move=moves) == [0.5, 0.10, 0.08, 0.08]
    assert vol_of(0.60, 30, dynamics, vol_move=moves) == pytest.approx([0.66, 0.60, 0.08, 0.08])
    assert vol_of(0.05, 30, dynamics, vol_move=[0.0]) == [0.08]
    assert vol_of(0.05, 30, VolDynamics(minimum_vol_up=0.1, vol_floor=0.3), vol_move=[0.1]) == [0.3]


def test_shifts_come_last_and_vols_stay_positive() -> None:
    assert vol_of(0.2, 30, VolDynamics(vol_floor=0.1), vol_shift=[0.05, -0.05, -1.0]) == pytest.approx(
        [0.25, 0.15, 0.0]
    )
    assert vol_of(0.2, 7, VolDynamics(short_power=1.0), vol_move=[-0.9], vol_shift=[0.0]) == [0.0]


def test_sticky_strike_keeps_vols() -> None:
    s = shocked(np.array([-0.3, 0.5]))
    assert np.array_equal(s.vol, np.repeat(INPUTS.vol[:, None], 2, axis=1))


def test_sticky_moneyness_moves_along_the_slice() -> None:
    s = shocked(np.array([-0.1, 0.0, 0.2]), dynamics=VolDynamics(rule="sticky_moneyness"))
    option = INSTRUMENTS.is_option
    row = INPUTS.expiry_idx[option]
    for column, factor in enumerate((0.9, 1.0, 1.2)):
        moved, still = (
            slice_vol(INPUTS.strike[option], MARKET.forward[row] * f, INPUTS.tau[option], MARKET.svi[row])
            for f in (factor, 1.0)
        )
        expected = INPUTS.vol[option] + moved - still
        assert s.vol[option, column] == pytest.approx(expected, rel=1e-12)
    # On the slice itself that is the slice's vol at the moved forward.
    unmarked = option & np.isnan(MARKET.mark_vol)
    row = INPUTS.expiry_idx[unmarked]
    moved = slice_vol(INPUTS.strike[unmarked], MARKET.forward[row] * 0.9, INPUTS.tau[unmarked], MARKET.svi[row])
    assert s.vol[unmarked, 0] == pytest.approx(moved, rel=1e-12)
    assert np.array_equal(s.vol[:, 1], INPUTS.vol)


def test_sticky_moneyness_without_a_slice_keeps_the_mark() -> None:
    instruments, market = one_option(100.0, 100.0, 0.1, 0.4, 1.0)
    moves = make(["s"], np.array([0.3]), dynamics=VolDynamics(rule="sticky_moneyness"))
    assert bind(moves, market, resolve(instruments, market)).vol.tolist() == [[0.4]]


def test_rows_select_vols() -> None:
    s = shocked(np.array([0.1, 0.2]))
    part = s.rows(INSTRUMENTS.is_option)
    assert np.array_equal(part.vol, s.vol[INSTRUMENTS.is_option])
    assert part.vol.flags.c_contiguous
    assert part.forward is s.forward
