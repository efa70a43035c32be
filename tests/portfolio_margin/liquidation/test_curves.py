"""Curves of Dutch auctions: published values, naive twins, and what any curve must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.liquidation import curves
from pricing import DataError
from tests.naive import liquidation as naive
from tests.vectors import literature_vectors

CURVES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "auction_price_linear": lambda i: curves.linear_price(i["top"], i["elapsed_s"], i["tau_s"]),
    "auction_price_exponential": lambda i: curves.exponential_price(i["top"], i["elapsed_s"], i["cut_per_s"]),
    "auction_price_stairstep": lambda i: curves.stairstep_price(
        i["top"], i["elapsed_s"], i["cut_per_step"], i["step_s"]
    ),
    "dutch_auction_discount": lambda i: curves.two_phase_share(
        i["elapsed_s"], i["start"], i["cutoff"], i["fast_s"], i["slow_s"]
    ),
}


@pytest.mark.reference
@pytest.mark.parametrize(
    "kind",
    ["auction_price_linear", "auction_price_exponential", "auction_price_stairstep", "dutch_auction_discount"],
)
def test_published_prices(kind: str, report_vectors: Callable[..., None]) -> None:
    largest, vectors = 0.0, literature_vectors(kind)
    for vector in vectors:
        (name, expected), (allowed,) = next(iter(vector["expected"].items())), vector["tolerance"].values()
        gap = abs(float(CURVES[kind](vector["inputs"])) - expected)
        bound = allowed["abs"] if "abs" in allowed else allowed["rel"] * abs(expected)
        assert gap <= bound, f"{vector['id']} {name}: off by {gap:.3g}"
        largest = max(largest, gap)
    report_vectors(len(vectors), largest, label=kind)


seconds = st.integers(0, 4_000)
shares = st.integers(0, 1000).map(lambda n: n / 1000)


@given(seconds, shares, shares, st.integers(0, 2_000), st.integers(1, 3_000))
def test_two_phases_equal_their_exact_twin(t: int, one: float, other: float, fast: int, slow: int) -> None:
    start, cutoff = max(one, other), min(one, other)
    found = float(curves.two_phase_share(t, start, cutoff, fast, slow))
    assert found == pytest.approx(float(naive.two_phase_share(t, start, cutoff, fast, slow)), abs=1e-15)


@given(st.integers(0, 600), st.integers(1, 1000).map(lambda n: n / 1000), st.integers(1, 90))
def test_decaying_curves_equal_their_twins(t: int, cut: float, step: int) -> None:
    top = 1234.5
    pairs = [
        (curves.linear_price(top, t, 450), naive.linear_price(top, t, 450)),
        (curves.exponential_price(top, t, cut), naive.exponential_price(top, t, cut)),
        (curves.stairstep_price(top, t, cut, step), naive.stairstep_price(top, t, cut, step)),
    ]
    for found, expected in pairs:
        assert float(found) == pytest.approx(float(expected), rel=1e-12, abs=1e-300)


def test_curves_never_rise_and_take_arrays() -> None:
    t = np.arange(0, 5_000)
    for prices in (
        curves.linear_price(100.0, t, 3_600),
        curves.exponential_price(100.0, t, 0.999),
        curves.stairstep_price(100.0, t, 0.9, 90),
        curves.two_phase_share(t, 0.95, 0.7, 900, 3_600),
    ):
        assert prices.shape == t.shape
        assert np.all(np.diff(prices) <= 0) and np.all(prices >= 0)


def test_the_whole_part_is_that_of_the_decimal() -> None:
    """0.57 x 100 is 57, though the product of the doubles is below it."""
    assert 0.57 * 100 < 57
    assert curves.whole_part_of_product(0.57, np.array([100])) == 57
    every = np.array([[curves.whole_part_of_product(n / 1000, np.array([s]))[0] for s in (7, 999, 86_400)]
                      for n in range(1001)])  # fmt: skip
    assert np.array_equal(every, [[n * s // 1000 for s in (7, 999, 86_400)] for n in range(1001)])


def test_an_exponential_halves_in_its_half_life() -> None:
    assert float(curves.exponential_price(8.0, 1800, curves.halving_cut(900.0))) == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: curves.linear_price(-1.0, 0, 1), "top"),
        (lambda: curves.linear_price(1.0, -1, 1), "elapsed_s"),
        (lambda: curves.linear_price(1.0, 0, 0), "duration_s"),
        (lambda: curves.exponential_price(1.0, 0, 1.5), "cut_per_second"),
        (lambda: curves.stairstep_price(1.0, 0, 0.9, 0), "step_s"),
        (lambda: curves.two_phase_share(0.5, 1.0, 0.5, 1, 1), "elapsed_s"),
        (lambda: curves.two_phase_share(0, 0.5, 0.6, 1, 1), "cutoff"),
        (lambda: curves.two_phase_share(np.nan, 1.0, 0.5, 1, 1), "elapsed_s"),
        (lambda: curves.halving_cut(0.0), "half_life_s"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], object], field: str) -> None:
    with pytest.raises(DataError, match=field):
        call()
