"""Calls with known dividends in cash: closed form for one, a dense grid and QuantLib for more, and what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pricing import ConfigError, DataError, dividend_induction, price
from pricing.dividends import CONVENTIONS, american_call_with_dividend, american_with_dividends
from tests.naive.dividends import call_with_dividends

QUARTERLY = (np.array([60.0, 150.0, 240.0, 330.0]) / 365, np.full(4, 1.5))
UNEVEN = (np.array([5.0, 20.0, 100.0, 300.0, 360.0]) / 365, np.array([0.5, 1.0, 2.0, 0.3, 4.0]))
# strike, tau, vol, rate on a spot of 100
VARIOUS = ((100.0, 1.0, 0.3, 0.05), (85.0, 1.0, 0.2, 0.02), (110.0, 1.1, 0.5, 0.0), (95.0, 0.5, 0.25, 0.08))
TERMS = (80.0, 82.0, 1 / 3, 0.30, 0.06, 4.0, 0.25)


def closed_form(
    spot: float, strike: float, tau: float, vol: float, rate: float, dividend: float, dividend_tau: float
) -> float:
    """Whaley (1981, eq. 9 corrected), the cumulative bivariate normal by mpmath's quadrature of its density."""
    mp = pytest.importorskip("mpmath")
    clean = spot - dividend * math.exp(-rate * dividend_tau)
    left = tau - dividend_tau

    def european(s: float) -> float:
        d1 = (mp.log(s / strike) + (rate + vol**2 / 2) * left) / (vol * mp.sqrt(left))
        return s * mp.ncdf(d1) - strike * mp.exp(-rate * left) * mp.ncdf(d1 - vol * mp.sqrt(left))

    switch = mp.findroot(lambda s: european(s) - s - dividend + strike, strike)

    def bivariate(a: float, b: float, rho: float) -> float:
        return mp.quad(lambda x: mp.npdf(x) * mp.ncdf((b - rho * x) / mp.sqrt(1 - rho**2)), [-12, -4, 0, a])

    a1 = (mp.log(clean / strike) + (rate + vol**2 / 2) * tau) / (vol * mp.sqrt(tau))
    b1 = (mp.log(clean / switch) + (rate + vol**2 / 2) * dividend_tau) / (vol * mp.sqrt(dividend_tau))
    a2, b2 = a1 - vol * mp.sqrt(tau), b1 - vol * mp.sqrt(dividend_tau)
    rho = -mp.sqrt(dividend_tau / tau)
    return float(
        clean * mp.ncdf(b1)
        + clean * bivariate(a1, -b1, rho)
        - strike * mp.exp(-rate * tau) * bivariate(a2, -b2, rho)
        - (strike - dividend) * mp.exp(-rate * dividend_tau) * mp.ncdf(b2)
    )


def test_published_value() -> None:
    """Haug (2007), table 9-1."""
    assert float(american_call_with_dividend(*TERMS)) == pytest.approx(4.3860, abs=5e-5)


@pytest.mark.parametrize("change", [{}, {3: 0.1}, {3: 0.8}, {5: 1.0}, {5: 10.0}, {6: 0.02}, {6: 0.33}, {0: 120.0}])
def test_closed_form(change: dict[int, float]) -> None:
    terms = [change.get(k, value) for k, value in enumerate(TERMS)]
    assert float(american_call_with_dividend(*terms)) == pytest.approx(closed_form(*terms), abs=1e-9)


def test_small_dividend_is_never_worth_it() -> None:
    """Below K (1 - exp(-r left)) the call is the European one on the spot less the dividend."""
    spot, strike, tau, vol, rate, _, dividend_tau = TERMS
    small = strike * (1 - math.exp(-rate * (tau - dividend_tau))) * 0.99
    clean = spot - small * math.exp(-rate * dividend_tau)
    european = price(clean * math.exp(rate * tau), strike, tau, vol, 1, math.exp(-rate * tau))
    ours = american_call_with_dividend(spot, strike, tau, vol, rate, [0.0, small], dividend_tau)
    assert ours[1] == pytest.approx(float(european), abs=1e-12)
    just_above = american_call_with_dividend(spot, strike, tau, vol, rate, small / 0.99 * 1.001, dividend_tau)
    below = american_call_with_dividend(spot, strike, tau, vol, rate, small / 0.99 * 0.999, dividend_tau)
    assert abs(just_above - below) < 2 * 0.002 * small


def test_bounds() -> None:
    spots = np.linspace(60.0, 110.0, 11)
    ours = american_call_with_dividend(spots, *TERMS[1:])
    assert np.all(ours >= np.maximum(spots - TERMS[1], 0.0) - 1e-12)
    assert np.all(np.diff(ours) > 0)
    assert np.all(np.diff(ours) < np.diff(spots))


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        (0, 3.0, "spot"),
        (2, 0.0, "tau"),
        (3, 0.0, "vol"),
        (4, -0.01, "rate"),
        (5, -1.0, "dividend"),
        (6, 0.5, "dividend_tau"),
    ],
)
def test_refusals(place: int, value: float, field: str) -> None:
    terms = [value if k == place else number for k, number in enumerate(TERMS)]
    with pytest.raises(DataError) as caught:
        american_call_with_dividend(*terms)
    assert field in {problem.field for problem in caught.value.problems}


def sample(size: int, seed: int = 3) -> tuple[np.ndarray, ...]:
    """spot, strike, tau, vol, sign, rate: spot 100, lives of 2 months to 1.5 years, vols 10-90 %, rates 0-8 %."""
    random = np.random.default_rng(seed)
    strike = 100.0 * np.exp(random.normal(0, 0.2, size))
    tau, vol, rate = random.uniform(0.15, 1.5, size), random.uniform(0.1, 0.9, size), random.uniform(0.0, 0.08, size)
    return np.full(size, 100.0), strike, tau, vol, np.ones(size), rate


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("schedule", [QUARTERLY, UNEVEN], ids=["quarterly", "uneven"])
def test_against_a_dense_grid(convention: str, schedule: tuple[np.ndarray, np.ndarray]) -> None:
    strike, tau, vol, rate = (np.array(column) for column in zip(*VARIOUS, strict=True))
    ours = american_with_dividends(100.0, strike, tau, vol, 1, rate, *schedule, convention=convention)["price"]
    pairs = list(zip(*(column.tolist() for column in schedule), strict=True))
    expected = [call_with_dividends(100.0, *terms, pairs, convention == "escrowed") for terms in VARIOUS]
    assert ours == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_against_quantlib(convention: str) -> None:
    """Its grid of finite differences is right to about 1e-4 itself."""
    ql = pytest.importorskip("QuantLib")
    today, days, calendar = ql.Date(1, 1, 2026), ql.Actual365Fixed(), ql.NullCalendar()
    ql.Settings.instance().evaluationDate = today
    for strike, life, vol, rate, dates, amounts in (
        (100.0, 365, 0.3, 0.05, (60, 150, 240, 330), (1.5,) * 4),
        (110.0, 200, 0.4, 0.02, (10, 190), (3.0, 5.0)),
        (80.0, 200, 0.25, 0.06, (100,), (5.0,)),
    ):
        flat = [ql.YieldTermStructureHandle(ql.FlatForward(today, level, days)) for level in (0.0, rate)]
        surface = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, calendar, vol, days))
        process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(100.0)), *flat, surface)
        option = ql.VanillaOption(
            ql.PlainVanillaPayoff(ql.Option.Call, strike), ql.AmericanExercise(today, today + life)
        )
        engine = ql.FdBlackScholesVanillaEngine
        model = engine.Escrowed if convention == "escrowed" else engine.Spot
        paid = ql.DividendVector([today + date for date in dates], list(amounts))
        option.setPricingEngine(engine(process, paid, 400, 800, 0, ql.FdmSchemeDesc.Douglas(), False, -1.0, model))
        schedule = (np.array(dates) / 365, amounts)
        ours = american_with_dividends(100.0, strike, life / 365, vol, 1, rate, *schedule, convention=convention)
        assert float(ours["price"]) == pytest.approx(option.NPV(), abs=4e-4)
        assert float(ours["delta"]) == pytest.approx(option.delta(), abs=1e-5)
        assert float(ours["gamma"]) == pytest.approx(option.gamma(), abs=1e-6)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("schedule", [QUARTERLY, UNEVEN], ids=["quarterly", "uneven"])
def test_stated_accuracy(
    convention: str, schedule: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1e-9 of the spot: more terms, more points and a wider range change no more than that."""
    columns = sample(24)
    ours = american_with_dividends(*columns, *schedule, convention=convention)
    for name, value in (("FEWEST_TERMS", 90), ("TERMS_A_DEVIATION", 2.0), ("SMOOTH_POINTS", 80), ("BEND_POINTS", 50)):
        monkeypatch.setattr(dividend_induction, name, value)
    monkeypatch.setattr(dividend_induction, "FAR", 8.2)
    finer = american_with_dividends(*columns, *schedule, convention=convention)
    assert np.abs(ours["price"] - finer["price"]).max() < 1e-9 * 100
    assert np.abs(ours["delta"] - finer["delta"]).max() < 1e-8
    assert np.abs(ours["gamma"] - finer["gamma"]).max() < 1e-8


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_delta_and_gamma_are_the_derivatives(convention: str) -> None:
    spot, *others = sample(24)
    step = 0.05
    at = [
        american_with_dividends(spot + k * step, *others, *QUARTERLY, convention=convention) for k in (-2, -1, 0, 1, 2)
    ]
    slopes = {
        name: (at[0][of] - 8 * at[1][of] + 8 * at[3][of] - at[4][of]) / (12 * step)
        for name, of in (("delta", "price"), ("gamma", "delta"))
    }
    assert at[2]["delta"] == pytest.approx(slopes["delta"], abs=1e-7)
    assert at[2]["gamma"] == pytest.approx(slopes["gamma"], abs=1e-7)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_without_dividends_it_is_european(convention: str) -> None:
    """None, none before expiry, and ever smaller ones; in the escrowed model exactly where none is worth exercise."""
    spot, strike, tau, vol, sign, rate = sample(24)
    european = price(spot * np.exp(rate * tau), strike, tau, vol, sign, np.exp(-rate * tau))
    for schedule in (([], []), ([2.0], [5.0]), ([0.1, 0.3], [0.0, 0.0])):
        ours = american_with_dividends(spot, strike, tau, vol, sign, rate, *schedule, convention=convention)
        assert ours["price"] == pytest.approx(european, abs=2e-8)
    sizes = (1.0, 0.1, 1e-3, 1e-6)
    gaps = [
        np.abs(
            american_with_dividends(
                spot, strike, tau, vol, sign, rate, [0.1, 0.3], [size, size], convention=convention
            )["price"]
            - european
        ).max()
        for size in sizes
    ]
    assert all(gap <= 2.0 * size + 2e-8 for gap, size in zip(gaps, sizes, strict=True))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_must_hold(convention: str) -> None:
    columns = sample(64, seed=8)
    spot, strike, tau, vol, _, rate = columns
    ours = american_with_dividends(*columns, *UNEVEN, convention=convention)["price"]
    counted = UNEVEN[0][:, None] < tau
    worth = (counted * UNEVEN[1][:, None] * np.exp(-rate * UNEVEN[0][:, None])).sum(0)
    assert np.all(ours >= np.maximum(spot - strike, 0.0) - 1e-7)
    assert np.all(ours <= spot)
    if convention == "escrowed":
        european = price((spot - worth) * np.exp(rate * tau), strike, tau, vol, 1, np.exp(-rate * tau))
        assert np.all(ours >= european - 1e-7)
    dates = UNEVEN[0]
    more = american_with_dividends(*columns, dates, UNEVEN[1] * 1.2, convention=convention)["price"]
    assert np.all(more <= ours + 1e-7)
    strikes = np.linspace(70.0, 140.0, 29)
    across = american_with_dividends(100.0, strikes, 1.0, 0.3, 1, 0.04, *UNEVEN, convention=convention)["price"]
    slope = np.diff(across) / np.diff(strikes)
    assert np.all((slope < 0) & (slope > -1))
    assert np.all(np.diff(slope) > 0)
    doubled = american_with_dividends(
        2 * spot, 2 * strike, tau, vol, 1, rate, dates, 2 * UNEVEN[1], convention=convention
    )
    assert doubled["price"] == pytest.approx(2 * ours, abs=1e-6)


def test_the_conventions_and_one_dividend() -> None:
    spot, strike, tau, vol, rate, dividend, date = TERMS
    ours = american_with_dividends(spot, strike, tau, vol, 1, rate, [date], [dividend])
    assert float(ours["price"]) == pytest.approx(float(american_call_with_dividend(*TERMS)), abs=1e-11)
    drop = american_with_dividends(spot, strike, tau, vol, 1, rate, [date], [dividend], convention="drop")
    # The same vol is that of more than the spot less its dividend, and so the call is worth more.
    assert 0.0 < float(drop["price"] - ours["price"]) < 0.3


def test_company_and_backend_do_not_matter() -> None:
    columns = sample(9)
    together = american_with_dividends(*columns, *UNEVEN)["price"]
    alone = [float(american_with_dividends(*(c[row] for c in columns), *UNEVEN)["price"]) for row in range(9)]
    assert together == pytest.approx(alone, abs=1e-9)
    other = american_with_dividends(*columns, *UNEVEN, backend="numpy")["price"]
    assert other == pytest.approx(together, abs=1e-9)


def test_refusals_of_a_schedule() -> None:
    good = (100.0, 95.0, 1.0, 0.3)
    with pytest.raises(ConfigError, match="convention = 'forward'"):
        american_with_dividends(*good, 1, 0.05, *QUARTERLY, convention="forward")
    with pytest.raises(DataError, match="one amount for each date"):
        american_with_dividends(*good, 1, 0.05, [0.1, 0.2], [1.0])
    with pytest.raises(DataError) as caught:
        american_with_dividends(*good, 1, 0.05, [0.3, 0.2, math.nan], [1.0, -1.0, 1.0])
    found = {(problem.row, problem.field) for problem in caught.value.problems}
    assert found == {(1, "dividend_tau"), (2, "dividend_tau"), (1, "dividend")}
    with pytest.raises(DataError) as caught:
        american_with_dividends([100.0, 4.0], 95.0, 1.0, 0.3, [0, 1], [0.05, -0.01], *QUARTERLY)
    found = {(problem.row, problem.field) for problem in caught.value.problems}
    assert found == {(0, "sign"), (1, "spot"), (1, "rate")}
    assert "1 for a call, -1 for a put" in str(caught.value)
