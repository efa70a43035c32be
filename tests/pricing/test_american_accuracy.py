"""Stated errors of American options, against more nodes than any scheme has, also where rate and yield are close."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pricing.american import american_greeks, american_price, exercise_boundary
from pricing.models import american
from tests.pricing.test_american import sample

# Errors stated for each accuracy, of the larger of spot and strike, over `sample`; there of the spot as well.
STATED = {"fast": 1e-6, "default": 1e-9, "accurate": 1e-12}


@pytest.mark.parametrize("accuracy", ["fast", "default"])
def test_stated_accuracy(accuracy: str) -> None:
    columns = sample(600)
    finest = american_price(*columns, accuracy="accurate")
    assert np.abs(american_price(*columns, accuracy=accuracy) - finest).max() < STATED[accuracy] * 100


def near_the_boundary(size: int) -> tuple[np.ndarray, ...]:
    """`sample` with spots within 3 % of where exercise begins, and with rates or yields of 0."""
    _, strike, tau, vol, sign, rate, dividend_yield = sample(size, seed=6)
    rate[::7], dividend_yield[::5] = 0.0, 0.0
    edge = exercise_boundary(strike, tau, vol, sign, rate, dividend_yield)
    away = np.exp(np.random.default_rng(2).uniform(-9.0, -3.5, size))
    found = np.isfinite(edge)
    columns = (edge * (1.0 - sign * away), strike, tau, vol, sign, rate, dividend_yield)
    return tuple(column[found] for column in columns)


def close_rates(size: int) -> tuple[np.ndarray, ...]:
    """`sample` with rate and yield 1e-5 to 1e-2 apart, every tenth equal, and spots within 6 % of the boundary."""
    _, strike, tau, vol, sign, rate, _ = sample(size, seed=12)
    random = np.random.default_rng(13)
    apart = np.exp(random.uniform(np.log(1e-5), np.log(1e-2), size)) * random.choice([-1.0, 1.0], size)
    apart[::10] = 0.0
    dividend_yield = np.where(np.abs(rate + apart - 0.04) > 0.04, rate - apart, rate + apart)
    dividend_yield = np.clip(dividend_yield, 0.0, 0.08)
    edge = exercise_boundary(strike, tau, vol, sign, rate, dividend_yield)
    away = np.exp(random.uniform(-9.0, np.log(0.06), size))
    return edge * (1.0 - sign * away), strike, tau, vol, sign, rate, dividend_yield


# spot, strike, years, vol, sign, rate, yield whose errors were 4e-9 (default) and 9e-11 (accurate) by other schemes.
CLOSE_RATES = (
    (100.0, 29.0, 2.0, 0.7, 1.0, 0.08, 0.077),
    (100.0, 31.0, 2.0, 0.65, 1.0, 0.08, 0.075),
    (100.0, 20.0, 1.75, 0.85, 1.0, 0.05, 0.048),
    (100.0, 60.0, 1.9, 0.28, 1.0, 0.0715, 0.0704),
    (100.0, 400.0, 2.0, 0.75, -1.0, 0.05, 0.0505),
    (100.0, 60.13718491650789, 1.8628790754893731, 0.27525394906866973, 1.0, 0.07152790213756707, 0.07037673556927686),
)
# Of the six, of the option itself, from 160 nodes; with 192 nodes and another variable they differ by 3e-11 at most.
CLOSE_RATE_VALUES = (
    71.03218077380888,
    69.02685727282267,
    80.03707252712415,
    40.02155416831663,
    300.6330766951623,
    39.871697509402566,
)


def finest(columns: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Prices by 128 nodes and more points than any scheme has, whatever the terms."""
    monkeypatch.setitem(american.SCHEMES, "finest", (128, 120, 800, 1.0, 3, 120, 1e-12))
    return american_price(*columns, accuracy="finest")


@pytest.mark.parametrize("accuracy", ["fast", "default", "accurate"])
@pytest.mark.parametrize("rows", [near_the_boundary, close_rates])
def test_stated_accuracy_near_the_boundary(accuracy: str, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the larger of spot and strike, as the premium is spread over short times here."""
    added = CLOSE_RATES if rows is close_rates else ((82.7, 100.0, 2.0, 0.2, -1.0, 0.08, 0.0),)
    columns = tuple(np.append(column, more) for column, more in zip(rows(60), np.array(added).T, strict=True))
    error = np.abs(american_price(*columns, accuracy=accuracy) - finest(columns, monkeypatch))
    assert (error / np.maximum(columns[0], columns[1])).max() < STATED[accuracy]


def test_close_rates_against_stored_values() -> None:
    """By another scheme: (160, 130, 640, 0.25, 1, 80, 1e-11) of `american.SCHEMES`, as `finest` takes its own."""
    ours = american_price(*np.array(CLOSE_RATES).T, accuracy="accurate")
    assert np.abs(ours - CLOSE_RATE_VALUES).max() < STATED["accurate"] * 100


def test_never_below_exercise_or_above_what_it_pays_at_most() -> None:
    """To the last digit: roundings of the forward used to take one too many."""
    assert float(american_price(100.0, 30.0, 1.95, 0.6, 1, 0.065, 0.06)) == 70.0
    assert float(american_price(100.0, 0.0, 0.5, 0.25, 1, 0.04, 0.1)) == 100.0
    random = np.random.default_rng(8)
    spot, strike = np.exp(random.uniform(0.0, 9.0, (2, 4_000)))
    spot[::50], strike[1::50] = 0.0, 0.0
    sign = random.choice([-1.0, 1.0], 4_000)
    rate, dividend_yield = random.choice([0.0, 0.03, 0.06], (2, 4_000))
    columns = (spot, strike, 0.75, 0.3, sign, rate, dividend_yield)
    for values in (american_price(*columns, accuracy="fast"), american_greeks(*columns, accuracy="fast")["price"]):
        assert np.all(values >= np.maximum(sign * (spot - strike), 0.0))
        assert np.all(values <= np.where(sign > 0, spot, strike))
    # A yield below 0 makes a call worth more than its spot.
    assert float(american_price(100.0, 0.01, 10.0, 0.3, 1, 0.01, -0.05)) > 150.0


def test_accurate_scheme_has_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as many nodes and points again change nothing within the error stated."""
    columns = sample(40)
    ours = american_price(*columns, accuracy="accurate")
    monkeypatch.setitem(american.SCHEMES, "finest", (96, 120, 960, 1.0, 2, 120, 1e-10))
    assert np.abs(ours - american_price(*columns, accuracy="finest")).max() < STATED["accurate"] * 100
