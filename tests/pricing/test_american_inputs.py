"""The functions of American options take and refuse what `price` does, and name what they refuse alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pricing import (
    ConfigError,
    DataError,
    american_call_with_dividend,
    american_with_dividends,
    greeks,
    implied_vol,
    price,
)
from pricing.american import american_greeks, american_price, exercise_boundary
from pricing.price import BACKENDS

NOT_NUMBERS = (
    np.timedelta64(30, "D"),
    np.datetime64("2026-01-01"),
    pd.Timedelta("30D"),
    pd.Timestamp("2026-01-01"),
    np.ma.masked_all(2),
    True,
    "0.5",
)
# Each function by its name and how it takes one argument in the place of tau.
BY_TAU = {
    "price": lambda tau: price(100.0, 100.0, tau, 0.2, -1),
    "american_price": lambda tau: american_price(100.0, 100.0, tau, 0.2, -1, 0.05),
    "american_greeks": lambda tau: american_greeks(100.0, 100.0, tau, 0.2, -1, 0.05),
    "exercise_boundary": lambda tau: exercise_boundary(100.0, tau, 0.2, -1, 0.05),
    "american_with_dividends": lambda tau: american_with_dividends(100.0, 100.0, tau, 0.2, 1, 0.05, [0.1], [1.0]),
    "american_call_with_dividend": lambda tau: american_call_with_dividend(100.0, 100.0, tau, 0.2, 0.05, 1.0, 0.1),
}


@pytest.mark.parametrize("function", BY_TAU)
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: f"{type(value).__name__}")
def test_what_is_not_a_number_is_refused_alike(function: str, value: Any) -> None:
    with pytest.raises(DataError, match="must be a number or an array of numbers") as caught:
        BY_TAU[function](value)
    assert [(problem.file, problem.field) for problem in caught.value.problems] == [(function, "tau")]


@pytest.mark.parametrize("function", BY_TAU)
def test_rows_out_of_bounds_are_named_alike(function: str) -> None:
    with pytest.raises(DataError) as caught:
        BY_TAU[function]([1.0, -1.0, math.nan])
    assert [(p.file, p.row, p.field) for p in caught.value.problems[:2]] == [(function, 1, "tau"), (function, 2, "tau")]


def test_texts_are_refused_by_field() -> None:
    with pytest.raises(DataError, match=r"american_price, sign = \"'P'\": \+1 for a call, -1 for a put"):
        american_price(100.0, 100.0, 1.0, 0.2, "P", 0.05)
    with pytest.raises(DataError, match="american_call_with_dividend, spot = \"'x'\": must be a number"):
        american_call_with_dividend("x", 100.0, 1.0, 0.2, 0.05, 1.0, 0.1)
    with pytest.raises(DataError, match=r"american_with_dividends, dividend_tau = .*: must be a number"):
        american_with_dividends(100.0, 100.0, 1.0, 0.2, 1, 0.05, [np.timedelta64(3, "D")], [1.0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("small", [0.0, 1e-300, 1e-289, 1e-200])
def test_spot_and_strike_far_apart(small: float, backend: str) -> None:
    """Worth what exercise now, or waiting for a strike next to nothing, gives; no Greek is NaN."""
    for spot, strike, sign in ((100.0, small, -1), (100.0, small, 1), (small, 100.0, -1), (small, 100.0, 1)):
        ours = american_greeks(spot, strike, 1.0, 0.2, sign, 0.05, 0.02, backend=backend)
        assert all(np.isfinite(values) for values in ours.values()), (spot, strike, sign)
        assert ours["price"] == pytest.approx(max(sign * (spot - strike), 0.0), rel=1e-14)
        assert ours["price"] == american_price(spot, strike, 1.0, 0.2, sign, 0.05, 0.02, backend=backend)


def test_a_forward_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(DataError, match=r"american_price, row 1, rate = 5\.0: leaves no forward or discount factor"):
        american_price(100.0, 100.0, 1000.0, 0.2, -1, [0.05, 5.0])


def test_results_go_where_the_caller_wants_them() -> None:
    strikes = np.linspace(80.0, 120.0, 7)
    terms = (100.0, strikes, 0.5, 0.25, -1, 0.05, 0.01)
    value, g = american_price(*terms), american_greeks(*terms)
    out = np.empty(7)
    assert american_price(*terms, threads=2, out=out) is out
    assert np.array_equal(out, value)
    named = {name: np.empty(7) for name in g}
    filled = american_greeks(*terms, threads=2, out=named)
    assert all(filled[name] is named[name] and np.array_equal(named[name], g[name]) for name in g)
    edge = np.empty(7)
    assert exercise_boundary(strikes, *terms[2:], threads=1, out=edge) is edge
    assert np.array_equal(edge, exercise_boundary(strikes, *terms[2:]))
    trader = american_greeks(*terms, units="trader")
    assert trader["vega"] == pytest.approx(g["vega"] / 100) and trader["theta"] == pytest.approx(g["theta"] / 365)
    with pytest.raises(DataError, match="american_price, out = "):
        american_price(*terms, out=np.empty(6))
    with pytest.raises(ConfigError, match="threads = 0"):
        american_greeks(*terms, threads=0)
    with pytest.raises(ConfigError, match="units = 'euro'"):
        american_greeks(*terms, units="euro")
    with pytest.raises(TypeError, match="order"):
        american_greeks(*terms, order=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_model_by_name_takes_an_accuracy(backend: str) -> None:
    terms = (100.0, [90.0, 110.0], 0.5, 0.25, -1, 0.97)
    equal_rates = -math.log(0.97) / 0.5
    for accuracy in ("fast", "accurate"):
        ours = price(*terms, model="american", accuracy=accuracy, backend=backend)
        own = american_price(*terms[:5], equal_rates, equal_rates, accuracy=accuracy, backend=backend)
        assert ours == pytest.approx(own, rel=1e-13)
        named = greeks(*terms, model="american", accuracy=accuracy, backend=backend)
        assert named["price"] == pytest.approx(own, rel=1e-13)
    assert np.any(price(*terms, model="american", accuracy="fast", backend=backend) != ours)
    with pytest.raises(ConfigError, match="accuracy = 'fast': belongs to the model 'american', not to 'black76'"):
        price(*terms, accuracy="fast", backend=backend)
    with pytest.raises(ConfigError, match="accuracy = 'best'"):
        greeks(*terms, model="american", accuracy="best", backend=backend)


@pytest.mark.parametrize("function", [price, greeks, implied_vol])
@pytest.mark.parametrize("name", ["rate", "dividend_yield"])
def test_a_rate_leads_to_the_functions_of_a_spot(function: Any, name: str) -> None:
    columns = (9.0, 100.0, 100.0, 0.5, 1.0) if function is implied_vol else (100.0, 100.0, 0.5, 0.2, 1.0)
    with pytest.raises(ConfigError, match=rf"^{name} = 0.04: the model 'american' is an option on a future; .*_price"):
        function(*columns, model="american", **{name: 0.04})
