"""Prices and Greeks: against mpmath, QuantLib, a naive twin and their own laws."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import ConfigError, DataError, greeks, price
from pricing.errors import PROBLEMS_SHOWN
from pricing.greek_names import GREEK_NAMES, THIRD_ORDER
from pricing.price import BACKENDS
from tests.naive import pricing as naive

options = st.tuples(
    st.floats(0.1, 1e5),
    st.floats(-2.0, 2.0),
    st.floats(1e-4, 5.0),
    st.floats(0.02, 3.0),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.5, 1.1),
)


def sample(size: int = 4_000, seed: int = 3) -> tuple[np.ndarray, ...]:
    """forward, strike, tau, vol, sign, discount over a wide range."""
    random = np.random.default_rng(seed)
    forward = np.exp(random.uniform(-3, 12, size))
    strike = forward * np.exp(random.normal(0, 0.7, size))
    tau, vol = np.exp(random.uniform(-9, 1.5, size)), np.exp(random.uniform(-4, 1.5, size))
    return forward, strike, tau, vol, random.choice([-1.0, 1.0], size), random.uniform(0.7, 1.05, size)


@settings(max_examples=200, deadline=None)
@given(options)
def test_parity_bounds_and_naive_twin(option: tuple[float, ...]) -> None:
    forward, moneyness, tau, vol, sign, discount = option
    strike = forward * math.exp(moneyness)
    size = max(forward, strike)
    call, put = (float(price(forward, strike, tau, vol, s, discount, backend="numpy")) for s in (1, -1))
    assert abs(call - put - discount * (forward - strike)) <= 1e-13 * size
    ours = call if sign > 0 else put
    assert discount * max(sign * (forward - strike), 0.0) <= ours <= discount * (forward if sign > 0 else strike)
    assert abs(ours - naive.value(forward, strike, tau, vol, discount, sign)) <= 1e-13 * size


@settings(max_examples=100, deadline=None)
@given(options, st.floats(1.0001, 2.0))
def test_monotone_and_homogeneous(option: tuple[float, ...], factor: float) -> None:
    forward, moneyness, tau, vol, sign, discount = option
    strike = forward * math.exp(moneyness)

    def v(f: float = 1.0, k: float = 1.0, t: float = 1.0, s: float = 1.0) -> float:
        return float(price(forward * f, strike * k, tau * t, vol * s, sign, discount, backend="numpy"))

    slack = 1e-13 * max(forward, strike) * factor
    assert v(s=factor) >= v() - slack
    assert v(t=factor) >= v() - slack
    assert sign * (v(f=factor) - v()) >= -slack
    assert sign * (v(k=factor) - v()) <= slack
    assert abs(v(f=factor, k=factor) - factor * v()) <= slack * 10


def test_backends_agree() -> None:
    columns = sample()
    size = np.maximum(columns[0], columns[1])
    reference = price(*columns, backend="numpy")
    named = greeks(*columns, backend="numpy")
    for backend in ("numba", "jax"):
        assert (np.abs(price(*columns, backend=backend) - reference) / size).max() < 2e-15
        for name, values in greeks(*columns, backend=backend).items():
            scale = np.abs(named[name]) + 1e-300
            living = np.abs(named[name]) > 1e-9 * np.abs(named[name]).max()
            assert (np.abs(values - named[name]) / scale)[living].max() < 1e-9, (backend, name)


def test_greeks_equal_naive_twin() -> None:
    forward, strike, tau, vol, sign, discount = sample(300)
    ours = greeks(forward, strike, tau, vol, sign, discount, order=3)
    for row in range(0, 300, 7):
        terms = tuple(float(c[row]) for c in (forward, strike, tau, vol, discount, sign))
        expected = (*naive.greeks(*terms), *naive.third_order(*terms))
        for name, value in zip((*GREEK_NAMES, *THIRD_ORDER), expected, strict=True):
            assert ours[name][row] == pytest.approx(value, rel=1e-7, abs=1e-9 * max(1.0, abs(value), forward[row]))


def test_against_quantlib() -> None:
    ql = pytest.importorskip("QuantLib")
    forward, strike, tau, vol, sign, discount = sample(400)
    ours = greeks(forward, strike, tau, vol, sign, discount)
    for row in range(400):
        kind = ql.Option.Call if sign[row] > 0 else ql.Option.Put
        payoff = ql.PlainVanillaPayoff(kind, float(strike[row]))
        deviation = float(vol[row] * math.sqrt(tau[row]))
        calculator = ql.BlackCalculator(payoff, float(forward[row]), deviation, float(discount[row]))
        size = max(forward[row], strike[row])
        assert ours["price"][row] == pytest.approx(calculator.value(), abs=1e-12 * size)
        assert ours["delta"][row] == pytest.approx(calculator.deltaForward(), abs=1e-10)
        assert ours["vega"][row] == pytest.approx(calculator.vega(float(tau[row])), abs=1e-9 * size)


@pytest.mark.parametrize("backend", BACKENDS)
def test_limits_are_the_discounted_intrinsic_value(backend: str) -> None:
    for tau, vol in ((0.0, 0.5), (1.0, 0.0), (0.0, 0.0), (1e-300, 1e-300)):
        for strike in (50.0, 100.0, 200.0):
            for sign in (1.0, -1.0):
                ours = greeks(100.0, strike, tau, vol, sign, 0.97, backend=backend)
                assert ours["price"] == 0.97 * max(sign * (100 - strike), 0)
                # Half of the exercise is in the money where forward and strike are the same.
                inside = 0.5 + 0.5 * sign * np.sign(100 - strike)
                assert ours["delta"] == 0.97 * sign * inside
                assert ours["rho"] == pytest.approx(sign * tau * strike * 0.97 * inside, abs=1e-290)


def test_extreme_moneyness_is_finite() -> None:
    for backend in BACKENDS:
        values = price([1e-6, 1e9, 1.0, 1e150], [1e9, 1e-6, 1e-300, 1.0], 1.0, [0.1, 8.0, 3.0, 5.0], 1, backend=backend)
        assert np.all(np.isfinite(values))
        assert np.all(values >= 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"forward": math.nan}, "forward"),
        ({"forward": -1.0}, "forward"),
        ({"strike": -1.0}, "strike"),
        ({"tau": -0.1}, "tau"),
        ({"vol": math.inf}, "vol"),
        ({"vol": -0.2}, "vol"),
        ({"sign": 0}, "sign"),
        ({"discount": 0.0}, "discount"),
    ],
)
def test_bad_numbers_are_named(change: dict[str, float], field: str) -> None:
    good = {"forward": 100.0, "strike": 100.0, "tau": 1.0, "vol": 0.2, "sign": 1, "discount": 1.0}
    with pytest.raises(DataError) as caught:
        price(**{**good, **change})
    assert [problem.field for problem in caught.value.problems] == [field]


def test_bad_choices_are_refused() -> None:
    for choice in ({"backend": "cuda"}, {"model": "heston"}):
        with pytest.raises(ConfigError):
            price(100.0, 100.0, 1.0, 0.2, 1, **choice)
    for choice in ({"order": 4}, {"units": "bananas"}):
        with pytest.raises(ConfigError):
            greeks(100.0, 100.0, 1.0, 0.2, 1, **choice)
    with pytest.raises(DataError):
        price([100.0, 101.0], [100.0, 101.0, 102.0], 1.0, 0.2, 1)


def test_a_million_bad_rows_are_counted_and_the_first_are_listed() -> None:
    rows = 1_000_000
    with pytest.raises(DataError) as caught:
        price(-100.0, np.full(rows, 100.0), 0.5, 0.2, 1)
    assert [problem.row for problem in caught.value.problems] == list(range(PROBLEMS_SHOWN))
    assert caught.value.count == rows
    left = f"... and {rows - PROBLEMS_SHOWN} more with forward: must be a finite number, ... or more"
    assert str(caught.value).splitlines()[PROBLEMS_SHOWN] == left
    assert pickle.loads(pickle.dumps(caught.value)).count == caught.value.within("file").count == rows
