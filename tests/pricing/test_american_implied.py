"""The vol that the price of an American option on a stock implies: round trips, bisection, ends, and QuantLib."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import (
    ConfigError,
    DataError,
    Status,
    UnsolvedError,
    american_greeks,
    american_implied_vol,
    american_price,
    american_with_dividends,
    exercise_boundary,
    implied_vol,
)
from pricing import american_vol as search
from pricing.price import BACKENDS

QUARTERLY = (np.array([60.0, 150.0, 240.0, 330.0]) / 365, np.array([0.5, 0.7, 0.5, 1.5]))


def sample(size: int, seed: int = 7) -> dict[str, np.ndarray]:
    """vols 10-90 %, a week to two years, rates -2 to 8 %, yields 0 to 6 %, of either exercise."""
    random = np.random.default_rng(seed)
    spot = 10 ** random.uniform(0, 4, size)
    return {
        "spot": spot,
        "strike": spot * np.exp(random.normal(0, 0.15, size)),
        "tau": random.uniform(7, 730, size) / 365,
        "sign": random.choice([-1.0, 1.0], size),
        "rate": random.uniform(-0.02, 0.08, size),
        "dividend_yield": random.uniform(0.0, 0.06, size),
        "vol": random.uniform(0.1, 0.9, size),
    }


@pytest.mark.parametrize(
    ("backend", "accuracy", "size"),
    [("numba", "fast", 1_000), ("numba", "default", 500), ("numba", "accurate", 30), ("numpy", "fast", 40)],
)
def test_round_trips(backend: str, accuracy: str, size: int) -> None:
    """Every vol comes back, or the error stated for values would move it too far, as vega says."""
    terms = sample(size)
    value = american_price(**terms, accuracy=accuracy, backend=backend)
    vol = terms.pop("vol")
    found, status = american_implied_vol(value, **terms, accuracy=accuracy, backend=backend)
    good = status == Status.OK
    assert good.mean() > 0.9
    assert np.max(np.abs(found - vol)[good]) < 1e-9
    assert set(status[~good]) <= {Status.NOT_DETERMINED, Status.BELOW_INTRINSIC}
    assert np.isnan(found[~good]).all()
    # What is lost is exercised, or hardly depends on vol.
    lost = {name: column[~good] for name, column in {**terms, "vol": vol}.items()}
    vega = american_greeks(**lost)["vega"] / np.maximum(lost["spot"], lost["strike"])
    assert np.all(vega < 2.0 * search.STATED[accuracy] / search.RESOLUTION)


def test_round_trips_with_dividends() -> None:
    terms = sample(36, seed=9)
    spot = 20.0 + terms["spot"] % 200.0
    terms |= {"spot": spot, "strike": spot * (terms["strike"] / terms["spot"]), "rate": np.abs(terms["rate"])}
    del terms["dividend_yield"]
    vol, tau = terms.pop("vol"), terms["tau"]
    order = ("spot", "strike", "tau", "sign", "rate")
    columns = [terms[name] for name in order]
    value = american_with_dividends(*columns[:3], vol, *columns[3:], *QUARTERLY)["price"]
    found, status = american_implied_vol(value, *columns, dividends=QUARTERLY)
    good = status == Status.OK
    assert good.mean() > 0.8
    # Where none is paid before expiry the value is that of the scheme of the accuracy, right to 1e-9 of the spot.
    paying = tau > QUARTERLY[0][0]
    assert paying.sum() > 25
    assert np.max(np.abs(found - vol)[good & paying]) < 1e-9
    assert np.max(np.abs(found - vol)[good]) < 1e-5
    assert set(status[~good]) <= {Status.NOT_DETERMINED, Status.BELOW_INTRINSIC}


def test_against_quantlib() -> None:
    """Its implied vol by the fast scheme of Andersen, Lake and Offengenden, from its own price."""
    ql = pytest.importorskip("QuantLib")
    today, days = ql.Date(1, 1, 2026), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    for kind, sign in ((ql.Option.Put, -1), (ql.Option.Call, 1)):
        curves = [ql.YieldTermStructureHandle(ql.FlatForward(today, level, days)) for level in (0.05, 0.03)]
        surface = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), 0.27, days))
        process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(100.0)), *curves, surface)
        option = ql.VanillaOption(ql.PlainVanillaPayoff(kind, 105.0), ql.AmericanExercise(today, today + 300))
        option.setPricingEngine(ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.highPrecisionScheme()))
        vol, status = american_implied_vol(option.NPV(), 100.0, 105.0, 300 / 365, sign, 0.03, 0.05)
        assert status == Status.OK and float(vol) == pytest.approx(0.27, abs=1e-7)


def test_against_plain_bisection() -> None:
    terms = sample(40, seed=8)
    value = american_price(**terms) * 1.01
    del terms["vol"]
    found, status = american_implied_vol(value, **terms)
    low, high = np.full(40, 1e-2), np.full(40, 3.0)
    for _ in range(40):
        middle = 0.5 * (low + high)
        above = american_price(**terms, vol=middle) > value
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    good = status == Status.OK
    assert good.sum() > 30
    assert np.max(np.abs(found - low)[good]) < 1e-6


def test_the_future_is_a_stock_whose_yield_is_the_rate() -> None:
    value = [8.0, 12.5, 3.0]
    own, status = american_implied_vol(value, 100.0, [100.0, 110.0, 90.0], 0.5, [1, -1, -1], 0.04, 0.04)
    other, _ = implied_vol(value, 100.0, [100.0, 110.0, 90.0], 0.5, [1, -1, -1], np.exp(-0.02), model="american")
    assert not status.any()
    assert own == pytest.approx(other, abs=1e-8)


def test_ends_of_the_range() -> None:
    """Below, at and above the ends; the statuses say which, and values between are found again at the price."""
    put = {"spot": 80.0, "strike": 100.0, "tau": 1.0, "sign": -1, "rate": 0.05, "dividend_yield": 0.01}
    vol, status = american_implied_vol([19.99, 20.0, 20.5, 100.0, 100.5, np.nan], **put)
    assert [Status(code).name for code in status] == [
        "BELOW_INTRINSIC", "NOT_DETERMINED", "OK", "NOT_DETERMINED", "ABOVE_MAXIMUM", "NOT_FINITE",
    ]  # fmt: skip
    assert american_price(**put, vol=vol[2]) == pytest.approx(20.5, abs=1e-7)
    # A call with a yield below the rate is best exercised late without vol: 80 exp(-q) - 60 exp(-r) is the least.
    call = {**put, "strike": 60.0, "sign": 1}
    least = 80.0 * np.exp(-0.01) - 60.0 * np.exp(-0.05)
    _, status = american_implied_vol([least - 0.01, least + 0.5, 80.0, 80.1], **call)
    assert [Status(code).name for code in status] == ["BELOW_INTRINSIC", "OK", "NOT_DETERMINED", "ABOVE_MAXIMUM"]
    late, expired = american_implied_vol(5.0, **{**put, "tau": 0.0})
    assert expired == Status.EXPIRED and np.isnan(late)
    edge = float(exercise_boundary(100.0, 1.0, 0.2, -1, 0.05, 0.01))
    inside = american_price(**{**put, "spot": 0.95 * edge}, vol=0.2)
    assert american_implied_vol(inside, **{**put, "spot": 0.95 * edge})[1] == Status.NOT_DETERMINED


def test_ends_with_dividends() -> None:
    """A call may be exercised before the dividend of 10, a put after it; without vol that is what it is worth."""
    paid = ([0.25], [10.0])
    worth = 10.0 * np.exp(-0.05 * 0.25)
    call, put = (100.0, 80.0, 1.0, 1, 0.05), (100.0, 110.0, 1.0, -1, 0.05)
    before = 100.0 - 80.0 * np.exp(-0.05 * 0.25)
    after = 110.0 * np.exp(-0.05 * 0.25) - (100.0 - worth)
    for terms, least in ((call, before), (put, after)):
        vol, status = american_implied_vol([least - 0.01, least + 0.5, 130.0], *terms, dividends=paid)
        assert [Status(code).name for code in status] == ["BELOW_INTRINSIC", "OK", "ABOVE_MAXIMUM"]
        again = american_with_dividends(*terms[:3], vol[1], *terms[3:], *paid)["price"]
        assert again == pytest.approx(least + 0.5, abs=1e-6)
    # The more vol, the nearer to the most: what is left of the spot, and what the rest of it brings.
    for terms, most in ((call, 100.0 - worth), (put, 110.0)):
        wild = american_with_dividends(*terms[:3], 12.0, *terms[3:], *paid)["price"]
        assert most - 2.0 < wild < most
        _, status = american_implied_vol(most + 1e-6, *terms, dividends=paid)
        assert status == Status.ABOVE_MAXIMUM


def test_what_is_out_of_bounds() -> None:
    given = [10.0, 100.0, 100.0, 1.0, 1, 0.05]
    for place, value in ((1, 0.0), (2, -1.0), (3, -0.1), (3, np.inf), (4, 0.5), (5, np.nan), (5, 200.0)):
        changed = [value if k == place else number for k, number in enumerate(given)]
        assert american_implied_vol(*changed)[1] == Status.NOT_FINITE
    assert american_implied_vol(*given[:5], -0.01, dividends=QUARTERLY)[1] == Status.NOT_FINITE
    assert american_implied_vol(10.0, 3.0, *given[2:], dividends=QUARTERLY)[1] == Status.NOT_FINITE
    assert american_implied_vol(10.0, 100.0, 100.0, 0.1, 1, -0.01, dividends=QUARTERLY)[1] == Status.OK
    with pytest.raises(DataError, match="must be 0 beside known dividends"):
        american_implied_vol(*given, 0.01, dividends=QUARTERLY)
    with pytest.raises(DataError, match="one amount for each date"):
        american_implied_vol(*given, dividends=([0.1, 0.2], [1.0]))
    with pytest.raises(ConfigError, match="accuracy = 'best'"):
        american_implied_vol(*given, accuracy="best")


def test_drifts_that_no_scheme_solves_matter_only_where_the_vol_lies_there() -> None:
    """At a rate of 90 % boundaries are solved from a vol of 1.6 % on: a search passes by what is below it."""
    put = {"spot": 100.05, "strike": 100.0, "tau": 0.5, "sign": -1, "rate": 0.9}
    vol = np.array([0.017, 0.02, 0.05])
    found, status = american_implied_vol(american_price(**put, vol=vol), **put)
    assert not status.any() and found == pytest.approx(vol, abs=1e-12)
    with pytest.raises(UnsolvedError):
        american_price(**put, vol=0.014)
    assert american_implied_vol(1e-4, **put)[1] == Status.NOT_CONVERGED


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_asked_nothing_found(backend: str) -> None:
    found, status = american_implied_vol([], 100.0, 100.0, 1.0, 1, 0.05, backend=backend)
    assert found.shape == status.shape == (0,)
