"""Between and beyond expiries, and forwards from parity: what the rules promise, and known forwards come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pricing.butterfly import butterfly_free
from pricing.errors import ConfigError, DataError
from pricing.forwards import forward_at, implied_forwards
from pricing.interpolation import total_variance_at, vol_at
from pricing.price import price
from pricing.ssvi_fit import essvi_surface
from pricing.surfaces import ssvi, svi

TIMES = np.array([0.1, 0.25, 1.0])


def surface(seed: int) -> np.ndarray:
    """Three slices free of static arbitrage."""
    random = np.random.default_rng(seed)
    box = np.concatenate([random.uniform(-0.8, 0.8, 3), random.uniform(0.01, 0.1, 3), random.uniform(0.1, 0.9, 3)])
    theta, rho, psi = essvi_surface(box)[0].T
    return np.stack(ssvi.to_raw(np, theta, rho, psi / theta), axis=1)


@given(st.integers(0, 10_000), st.floats(1e-4, 5.0), st.floats(1e-4, 5.0), st.floats(-2.0, 2.0))
@settings(max_examples=200, deadline=None)
def test_total_variance_rises_with_time(seed: int, one: float, other: float, k: float) -> None:
    slices = surface(seed)
    earlier, later = sorted((one, other))
    assert total_variance_at(slices, TIMES, earlier, k) <= total_variance_at(slices, TIMES, later, k) + 1e-15


def test_at_the_expiries_it_is_the_slice_in_any_order() -> None:
    slices, k = surface(1), np.linspace(-1.0, 1.0, 7)
    for order in ([0, 1, 2], [2, 0, 1]):
        found = total_variance_at(slices[order], TIMES[order], TIMES[:, None], k)
        assert np.allclose(found, [svi.total_variance(np, k, *row) for row in slices], rtol=1e-14)


def test_rules_between_and_beyond() -> None:
    slices, k = surface(2), np.linspace(-1.0, 1.0, 7)
    first, second, last = (svi.total_variance(np, k, *row) for row in slices)
    assert np.allclose(total_variance_at(slices, TIMES, 0.05, k), 0.5 * first)
    assert np.allclose(vol_at(slices, TIMES, 0.01, k), np.sqrt(first / 0.1))
    assert np.allclose(total_variance_at(slices, TIMES, 0.2, k), first + (second - first) * 2.0 / 3.0)
    assert np.allclose(vol_at(slices, TIMES, 3.0, 0.0), vol_at(slices, TIMES, 1.0, 0.0))
    assert np.allclose(np.diff(total_variance_at(slices, TIMES, 3.0, k)), np.diff(last))
    assert total_variance_at(slices, TIMES, 0.0, 0.3) == 0.0


@given(st.integers(0, 10_000), st.floats(0.01, 0.999), st.floats(1.0, 10.0))
@settings(max_examples=25, deadline=None)
def test_beyond_the_slices_it_stays_free_of_butterflies(seed: int, shrunk: float, grown: float) -> None:
    """What the rules make of the first and the last slice are raw slices themselves."""
    slices, far = surface(seed), np.array([-1.0, 0.4])
    first, last = slices[0].copy(), slices[-1].copy()
    first[:2] *= shrunk
    last[0] += svi.total_variance(np, 0.0, *last) * (grown - 1.0)
    assert np.allclose(total_variance_at(slices, TIMES, shrunk * 0.1, far), svi.total_variance(np, far, *first))
    assert np.allclose(total_variance_at(slices, TIMES, grown, far), svi.total_variance(np, far, *last))
    assert butterfly_free(np.stack([first, last])).all()


def test_rows_without_a_slice_are_passed_over() -> None:
    slices = surface(3)
    holed = np.vstack([slices[:1], np.full((1, 5), np.nan), slices[1:]])
    times = np.array([0.1, 0.17, 0.25, 1.0])
    assert total_variance_at(holed, times, 0.17, 0.1) == total_variance_at(slices, TIMES, 0.17, 0.1)
    assert np.isnan(total_variance_at(np.full((2, 5), np.nan), TIMES[:2], 0.2, 0.1))


def parity_quotes(forward: float, tau: float, discount: float, half: float, model: str) -> tuple[np.ndarray, ...]:
    """Calls and puts of nine strikes about the forward, `half` of a price unit to either side."""
    strike = np.tile(forward * np.linspace(0.8, 1.2, 9), 2)
    sign = np.repeat([1.0, -1.0], 9)
    value = np.asarray(price(forward, strike, tau, 0.6, sign, 1.0 if model == "inverse" else discount))
    value = value / forward if model == "inverse" else value
    return strike, sign, value - half, value + half


@given(st.floats(10.0, 1e5), st.floats(0.01, 2.0), st.floats(0.8, 1.0), st.sampled_from(["black76", "inverse"]))
@settings(max_examples=60, deadline=None)
def test_a_forward_comes_back(forward: float, tau: float, discount: float, model: str) -> None:
    half = 1e-5 if model == "inverse" else 1e-5 * forward
    quotes = parity_quotes(forward, tau, discount, half, model)
    assume(np.all(quotes[2] > 0))
    found = implied_forwards(np.zeros(18), *quotes, [discount], model=model)
    assert found.forward[0] == pytest.approx(forward, rel=1e-6)
    assert found.low[0] <= forward <= found.high[0]
    assert found.used_count[0] == 9


def test_contradicting_pairs_are_left_out_and_a_future_counts() -> None:
    strike, sign, bid, ask = parity_quotes(100.0, 0.5, 0.98, 0.02, "black76")
    bid[4], ask[4] = bid[4] + 3.0, ask[4] + 3.0  # a stale call at the money
    bid[5], ask[5] = ask[5] + 0.2, bid[5]  # a crossed one
    found = implied_forwards(np.zeros(18), strike, sign, bid, ask, [0.98])
    assert found.forward[0] == pytest.approx(100.0, abs=1e-9)
    assert (found.used_count[0], found.rejected_count[0]) == (7, 2)
    with_future = implied_forwards(np.zeros(18), strike, sign, bid, ask, [0.98], futures=([100.009], [100.011]))
    assert with_future.forward[0] == pytest.approx(100.01, abs=1e-3)
    alone = implied_forwards([0], [100.0], [1.0], [np.nan], [5.0], [1.0, 1.0], futures=([99.0, np.nan], [101.0, 1.0]))
    assert alone.forward[0] == 100.0
    assert np.isnan(alone.forward[1])


def test_bad_rows_of_parity() -> None:
    with pytest.raises(DataError, match="row 1, strike"):
        implied_forwards([0, 0], [100.0, -1.0], [1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [1.0])
    with pytest.raises(DataError, match="there are 1 expiries"):
        implied_forwards([1], [100.0], [1.0], [1.0], [2.0], [1.0])
    with pytest.raises(ConfigError, match="must be one of"):
        implied_forwards([0], [100.0], [1.0], [1.0], [2.0], [1.0], model="bachelier")


def test_forwards_between_and_beyond() -> None:
    times, rate = np.array([0.25, 1.0]), 0.05
    forward = 100.0 * np.exp(rate * times)
    assert np.allclose(
        forward_at([0.0, 0.1, 0.5, 3.0], times, forward, 100.0), 100.0 * np.exp(rate * np.array([0, 0.1, 0.5, 3]))
    )
