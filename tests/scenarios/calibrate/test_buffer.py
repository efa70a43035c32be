"""The buffer on top of a calculated range: by hand, its three promises, how long it takes to be whole again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing import ConfigError
from scenarios.calibrate.buffer import drawn, in_force, restored_share
from scenarios.calibrate.price_range import price_range, scan_range, scan_range_path
from scenarios.calibrate.settings import Settings
from scenarios.calibrate.vol_shocks import vol_shock, vol_shock_path
from tests.scenarios.calibrate.histories import LONG_RUN

DAILY = Settings(buffer=0.25, refit_days=1, restore_days=20)
RATE = 1.25 ** (1 / 20)
PATHS = st.lists(st.floats(0.01, 2.0), min_size=1, max_size=60)
SETTINGS = st.builds(
    Settings, buffer=st.floats(0.0, 1.0), refit_days=st.integers(1, 9), restore_days=st.integers(20, 400)
)


def test_a_path_by_hand() -> None:
    calculated = [1.0, 1.2, 1.3, 1.3, 1.4, 1.4, 1.2, 1.0, 1.005, 1.2, 1.2]
    expected = [
        1.25,  # whole at the start
        1.25,  # a rise of a fifth is taken out of it,
        1.3,  # and one that it does not hold is charged
        1.3 * RATE,  # nothing rises: a twentieth of the way back
        1.4,  # used up again
        1.4 * RATE,
        1.4 * RATE**2,
        1.25,  # a fall passes with the buffer whole
        1.25625,  # rises slower than it is restored are followed, never beyond the whole buffer
        1.25625,
        1.25625 * RATE,
    ]
    held = in_force(calculated, DAILY)
    assert held == pytest.approx(expected, rel=1e-14)
    assert drawn(float(held[1]), 1.2, DAILY) == pytest.approx(5.0 / 6.0)
    assert [drawn(float(held[t]), calculated[t], DAILY) for t in (0, 2, 7, 8)] == pytest.approx([0.0, 1.0, 0.0, 0.0])
    assert drawn(1.0, 1.0, Settings(buffer=0.0)) == 0.0


def test_fits_alone_restore() -> None:
    """Between fits what is in force follows what a filter calculates no further than it must."""
    settings = replace(DAILY, refit_days=4)
    calculated = [1.0, 1.3, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1]
    rate = 1.25 ** (4 / 20)
    # The fit of row 4 finds a rise of a tenth since row 0, more than it may restore; that of row 8 finds none.
    assert in_force(calculated, settings) == pytest.approx([1.25, *[1.3] * 7, 1.3 * rate, 1.3 * rate])
    assert restored_share(settings) == pytest.approx(rate - 1.0)


@given(PATHS, SETTINGS)
def test_what_a_buffer_promises(calculated: list[float], settings: Settings) -> None:
    asked, held = np.array(calculated), in_force(calculated, settings)
    assert np.all(held >= asked) and np.all(held <= (1.0 + settings.buffer) * asked)
    rise = held[1:] / held[:-1]
    above = rise > (1.0 + restored_share(settings)) * (1.0 + 1e-12)
    # A rise beyond the rate is charged only where nothing of the buffer is left.
    assert np.array_equal(held[1:][above], asked[1:][above])
    # A rise that the buffer holds and that is faster than the rate changes nothing; between fits no rise does.
    inside = (asked[1:] <= held[:-1]) & (held[:-1] <= (1.0 + settings.buffer) * asked[1:])
    between = np.arange(1, len(asked)) % int(settings.refit_days) != 0
    assert np.array_equal(held[1:][inside & between], held[:-1][inside & between])
    # Whoever stops earlier finds the same, and the unit does not matter.
    for end in (1, len(asked) // 2 + 1):
        assert np.array_equal(in_force(asked[:end], settings), held[:end])
    assert in_force(2.0 * asked, settings) == pytest.approx(2.0 * held, rel=1e-14)


@given(PATHS)
def test_no_buffer_is_what_is_calculated(calculated: list[float]) -> None:
    assert in_force(calculated, Settings(refit_days=3, buffer=0.0)).tolist() == calculated


@given(st.floats(0.25, 1.0), st.integers(1, 40), st.integers(40, 800))
def test_a_used_buffer_is_whole_after_its_days(buffer: float, every: int, days: int) -> None:
    settings = Settings(buffer=buffer, refit_days=every, restore_days=days)
    fits = int(np.ceil(days / every))
    calculated = np.full((fits + 3) * every, 1.0 + 2.0 * buffer)
    calculated[:every] = 1.0
    share = 1.0 - (in_force(calculated, settings) - calculated) / (buffer * calculated)
    # The fit that uses it up restores nothing; the next ones do.
    assert share[every] == pytest.approx(1.0) and share[2 * every] < 1.0
    assert share[(1 + fits) * every] == pytest.approx(0.0, abs=1e-9)
    assert np.all(share[every : fits * every] > 1e-9)


@pytest.mark.parametrize("name", ["none", "ewma"])
def test_a_day_is_what_the_walk_says(name: str) -> None:
    """A range is that of the path on the days of fits; on others its own fit, and nothing is restored."""
    moves = np.random.default_rng(4).standard_t(4, 640) * np.sqrt(LONG_RUN / 2.0)
    moves[400:430] *= 4.0
    settings = Settings(filter=name, buffer=0.25, least_days=300, refit_days=20, draws=20, floor="none", range_high=0.9)
    path = scan_range_path(moves, settings)
    plain = scan_range_path(moves, replace(settings, buffer=0.0))
    up, down = vol_shock_path(moves, settings)
    assert np.array_equal(scan_range_path(moves[:500], settings), path[:501], equal_nan=True)
    assert path[300] == pytest.approx(1.25 * plain[300])
    used = []
    for day in (300, 420, 440, 640):
        found = price_range(moves[:day], settings)
        assert found.chosen == scan_range(moves[:day], settings) == pytest.approx(path[day], rel=1e-12)
        assert found.current == pytest.approx(plain[day], rel=1e-12)
        assert found.held == pytest.approx(found.current * (1.25 - 0.25 * found.drawn), rel=1e-12)
        used.append(found.drawn)
        shock = vol_shock(moves[:day], settings)
        assert (shock.up, shock.down) == pytest.approx((up[day], down[day]), rel=1e-12)
        assert 0.0 <= shock.up_drawn <= 1.0 and 0.0 <= shock.down_drawn <= 1.0
    assert used[0] == 0.0 and max(used) > 0.3
    between, fresh = scan_range(moves[:430], settings), scan_range(moves[:430], replace(settings, buffer=0.0))
    assert between == pytest.approx(min(max(path[429], fresh), 1.25 * fresh), rel=1e-12)


def test_the_speed_has_bounds() -> None:
    for days in (19, 3651, 30.5):
        with pytest.raises(ConfigError, match="restore_days"):
            Settings(restore_days=days)  # type: ignore[arg-type]
