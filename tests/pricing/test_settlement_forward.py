"""The forward of an expiry that settles on an average: limits, continuity, refusals; vectors in test_derive_vectors."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import ConfigError, settlement_forward


def test_before_the_window_nothing_is_fixed() -> None:
    forward, share = settlement_forward(np.array([100.0, 101.0]), np.nan, np.array([1800.0, 1e6]))
    assert forward.tolist() == [100.0, 101.0]
    assert share.tolist() == [0.0, 0.0]


def test_at_expiry_everything_is_fixed() -> None:
    forward, share = settlement_forward(120.0, 95.0, 0.0)
    assert (float(forward), float(share)) == (95.0, 1.0)


def test_half_way_both_count_alike() -> None:
    forward, share = settlement_forward(120.0, 80.0, 300.0, window_seconds=600.0)
    assert float(forward) == 100.0
    assert float(share) == 0.4
    moved = float(forward) * (float(share) + (1.0 - float(share)) * 1.1)
    assert moved == pytest.approx(40.0 + 60.0 * 1.1)


@pytest.mark.parametrize(("seconds", "window"), [(-1.0, 1800.0), (10.0, 0.0), (np.nan, 1800.0), (10.0, np.nan)])
def test_impossible_times_are_refused(seconds: float, window: float) -> None:
    with pytest.raises(ConfigError, match="seconds"):
        settlement_forward(100.0, 100.0, seconds, window)
