"""Between and beyond expiries, and forwards from parity: what the rules promise, and known forwards come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pricing.butterfly import butterfly_free
from pricing.calendar_spread import calendar_free
from pricing.errors import ConfigError, DataError
from pricing.fit import Expiries, Surface, fit, slices_of
from pricing.forwards import forward_at, implied_forwards
from pricing.interpolation import total_variance_at, vol_at
from pricing.price import price
from pricing.slice_sensitivities import parameter_derivatives
from pricing.ssvi_fit import essvi_surface
from pricing.surfaces import ssvi, svi
from tests.pricing.test_fit import TYPICAL, joined, quotes_on

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


def test_at_the_expiries_it_is_the_slice() -> None:
    slices, k = surface(1), np.linspace(-1.0, 1.0, 7)
    found = total_variance_at(slices, TIMES, TIMES[:, None], k)
    assert np.allclose(found, [svi.total_variance(np, k, *row) for row in slices], rtol=1e-14)
    assert np.array_equal(
        found, total_variance_at(slices.tolist(), TIMES.tolist(), TIMES[:, None].tolist(), k.tolist())
    )


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


def two_underlyings() -> tuple[Surface, Expiries]:
    """Two underlyings of two expiries each, the rows mixed, and an undated row of each."""
    k = np.linspace(-0.4, 0.4, 17)
    later = np.array([0.02, 0.09, -0.2, 0.02, 0.15])
    parts = [(later, 0.4, 0), (TYPICAL, 0.1, 1), (1.1 * TYPICAL, 0.12, 3), (later, 0.5, 4)]
    quotes = joined(*(quotes_on(raw, k, tau, expiry=row) for raw, tau, row in parts))
    expiries = Expiries(np.array([0, 0, 0, 1, 1, 1]), np.array([0.4, 0.1, np.nan, 0.12, 0.5, np.nan]))
    return fit(quotes, expiries), expiries


def test_one_underlying_is_chosen_in_the_order_of_time() -> None:
    found, expiries = two_underlyings()
    for underlying, rows in ((0, [1, 0]), (1, [3, 4])):
        chosen = slices_of(found, expiries, underlying)
        assert chosen.expiry_idx.tolist() == rows
        assert np.array_equal(chosen.tau, expiries.tau[rows])
        assert np.array_equal(chosen.svi, found.svi[rows])
        assert butterfly_free(chosen.svi).all()
        assert calendar_free(chosen.svi[:-1], chosen.svi[1:]).all()
    with pytest.raises(DataError, match=r"underlying_idx = 7: no slice of this underlying.*0, 1"):
        slices_of(found, expiries, 7)
    with pytest.raises(DataError, match="6 expiry rows"):
        slices_of(found, Expiries(np.zeros(1), np.array([0.1])))


def test_rows_that_are_no_stack_of_one_underlying_are_refused() -> None:
    found, expiries = two_underlyings()
    with pytest.raises(DataError, match=r"total_variance_at, row 2, slices = .*no slice in this row"):
        total_variance_at(found.svi, expiries.tau, 0.3, 0.0)
    dated = np.isfinite(expiries.tau)
    with pytest.raises(DataError, match=r"row 1, slice_tau = 0.1: times must rise(.|\n)*row 2, slice_tau"):
        vol_at(found.svi[[0, 1, 1]], expiries.tau[[0, 1, 1]], 0.3, 0.0)
    with pytest.raises(DataError, match="times must rise"):
        total_variance_at(found.svi[dated], expiries.tau[dated], 0.3, 0.0)


@pytest.mark.parametrize(
    ("tau", "k", "match"),
    [
        (-0.1, 0.0, r"vol_at, row 0, tau = -0.1: years, above 0"),
        ([0.1, 0.0], 0.0, r"row 1, tau = 0.0"),
        (np.nan, 0.0, r"tau = nan"),
        (np.timedelta64(30, "D"), 0.0, r"tau = .*must be a number"),
        (0.1, np.inf, r"k = inf: must be a finite number"),
        ([0.1, 0.2], [0.0, 0.1, 0.2], r"shapes = .*do not broadcast"),
    ],
)
def test_times_and_strikes_that_are_none(tau: object, k: object, match: str) -> None:
    with pytest.raises(DataError, match=match):
        vol_at(surface(3), TIMES, tau, k)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [np.ones((3, 4)), np.ones((5, 3)), np.ones(4), np.ones((2, 2, 5))])
def test_slices_of_another_shape(wrong: np.ndarray) -> None:
    for call in (
        lambda: butterfly_free(wrong),
        lambda: calendar_free(wrong, wrong),
        lambda: vol_at(wrong, TIMES, 0.1, 0.0),
    ):
        with pytest.raises(DataError, match=r"raw slices a b rho m sigma are \(X, 5\)"):
            call()
    with pytest.raises(DataError, match="2 earlier, 3 later"):
        calendar_free(surface(3)[:2], surface(3))
    with pytest.raises(DataError, match=r"slice_tau \(2,\)"):
        vol_at(surface(3), TIMES[:2], 0.1, 0.0)


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


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"expiry_tau": [1.0, 0.25]}, r"row 1, expiry_tau = 0.25: times must rise"),
        ({"expiry_tau": [0.25, np.nan]}, r"row 1, expiry_tau = nan: years, above 0; leave undated"),
        ({"forward": [100.0, np.nan]}, r"row 1, forward = nan: must be above 0"),
        ({"forward": [100.0]}, r"shapes = .*forward \(1,\)"),
        ({"expiry_tau": [], "forward": []}, r"X of 1 or more"),
        ({"spot": 0.0}, r"spot = 0.0: must be above 0"),
        ({"tau": -0.1}, r"tau = -0.1: years, 0 or more"),
        ({"tau": np.timedelta64(3, "D")}, r"tau = .*must be a number"),
    ],
)
def test_forwards_that_say_nothing_are_refused(change: dict[str, object], match: str) -> None:
    given_ = {"tau": 0.1, "expiry_tau": [0.25, 1.0], "forward": [101.0, 102.0], "spot": 100.0, **change}
    with pytest.raises(DataError, match=match):
        forward_at(**given_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"discount": 0.99}, r"discount = 0.99: needs one number for every expiry"),
        ({"strike": [100.0]}, r"shapes = .*strike \(1,\)"),
        ({"expiry_idx": 0}, r"shapes = .*expiry_idx \(\)"),
        ({"expiry_idx": [0.5, 0.0]}, r"row 0, expiry_idx = 0.5"),
        ({"bid": ["a", "b"]}, r"bid = .*must be a number"),
        ({"futures": ([1.0], [1.0, 2.0])}, r"futures = .*each \(1,\)"),
    ],
)
def test_columns_of_parity_that_do_not_fit(change: dict[str, object], match: str) -> None:
    columns = {"expiry_idx": [0, 0], "strike": [100.0, 100.0], "sign": [1.0, -1.0], "bid": [4.0, 4.0]}
    with pytest.raises(DataError, match=match):
        implied_forwards(**{**columns, "ask": [5.0, 5.0], "discount": [1.0], **change})  # type: ignore[arg-type]


def test_derivatives_of_what_is_no_slice() -> None:
    for slices, k, tau, match in (
        (np.ones((3, 4)), [0.0, 0.1, 0.2], 0.1, r"raw slices a b rho m sigma"),
        (surface(3)[:2], [0.0, 0.1, 0.2], 0.1, r"slices \(2, 5\)"),
        (surface(3), [0.0, 0.1, 0.2], [0.1, 0.2], r"tau \(2,\)"),
        (surface(3), [0.0, 0.1, 0.2], 0.0, r"tau = 0.0: years, above 0"),
    ):
        with pytest.raises(DataError, match=match):
            parameter_derivatives(k, slices, tau)
