"""American exercise: against published values, trees, QuantLib, its own finest scheme, and what must hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import ConfigError, DataError, NumericalError, UnsolvedError, greeks, price
from pricing.american import american_greeks, american_price, exercise_boundary
from pricing.models import american
from pricing.price import BACKENDS
from tests.naive.american import american_value
from tests.vectors import literature_vectors

terms = st.tuples(
    st.floats(50.0, 200.0),
    st.floats(0.02, 3.0),
    st.floats(0.05, 1.0),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.0, 0.15),
    st.floats(0.0, 0.15),
)


def sample(size: int, seed: int = 4) -> tuple[np.ndarray, ...]:
    """spot, strike, tau, vol, sign, rate, yield: spot 100, a week to two years, vols 10-90 %, rates up to 8 %."""
    random = np.random.default_rng(seed)
    strike = 100.0 * np.exp(random.normal(0, 0.2, size))
    tau, vol = random.uniform(7, 730, size) / 365, random.uniform(0.1, 0.9, size)
    rates = random.uniform(0.0, 0.08, (2, size))
    return np.full(size, 100.0), strike, tau, vol, random.choice([-1.0, 1.0], size), *rates


def of_vectors(vectors: list[dict[str, Any]], accuracy: str = "default") -> np.ndarray:
    """Our prices of the vectors, in one call."""
    names = ("spot", "strike", "t_years", "vol", "option", "rate", "dividend_yield")
    table = {name: [v["inputs"][name] for v in vectors] for name in names}
    table["option"] = [1.0 if option == "call" else -1.0 for option in table["option"]]
    return american_price(*table.values(), accuracy=accuracy)


def share(value: float, expected: float, tolerance: dict[str, float]) -> float:
    """Error as a share of the tolerance; at most 1 passes."""
    return abs(value - expected) / max(tolerance.get("abs", 0.0), tolerance.get("rel", 0.0) * abs(expected))


@pytest.mark.reference
def test_literature_american_price(report_vectors: Any) -> None:
    vectors = literature_vectors("american_price")
    errors = []
    for v, ours in zip(vectors, of_vectors(vectors), strict=True):
        # Values of the QD+ approximation are another method's.
        expected = {name: e for name, e in v["expected"].items() if name != "qd_plus_price"}
        assert expected
        errors += [share(ours, e, v["tolerance"][name]) for name, e in expected.items()]
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_literature_american_price_approx(report_vectors: Any) -> None:
    """The value that Barone-Adesi and Whaley, Bjerksund and Stensland, and Ju approximate."""
    vectors = literature_vectors("american_price_approx")
    name = "true_american"
    errors = [
        share(ours, v["expected"][name], v["tolerance"][name])
        for v, ours in zip(vectors, of_vectors(vectors), strict=True)
    ]
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["american_premium", "american_premium_convergence"])
def test_literature_american_premium(kind: str, report_vectors: Any) -> None:
    """Premia converge to the published one; every published row of a coarser scheme is within its own error of it.

    Premia of the paper's fixed points ("premium_fp_a", "premium_fp_b") are those of the same scheme only.
    """
    errors = []
    vectors = literature_vectors(kind)
    for v, ours in zip(vectors, of_vectors(vectors, "accurate"), strict=True):
        i = v["inputs"]
        forward = i["spot"] * math.exp((i["rate"] - i["dividend_yield"]) * i["t_years"])
        european = price(forward, i["strike"], i["t_years"], i["vol"], -1, math.exp(-i["rate"] * i["t_years"]))
        names = [name for name in v["expected"] if not name.startswith("premium_fp")]
        errors += [share(ours - float(european), v["expected"][name], v["tolerance"][name]) for name in names]
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_literature_american_exercise_boundary(report_vectors: Any) -> None:
    """The published boundaries are of the QD+ approximation, which is within 0.35; ours is where value meets payoff."""
    errors = []
    for v in literature_vectors("american_exercise_boundary"):
        i = v["inputs"]
        put = (i["strike"], i["time_to_expiry"], i["vol"], -1.0, i["rate"], i["dividend_yield"])
        ours = float(exercise_boundary(*put, accuracy="accurate"))
        errors.append(abs(ours - v["expected"]["qd_plus_boundary"]) / 0.35)
        above = ours * (1.0 + 1e-9)
        g = american_greeks(above, *put, accuracy="accurate")
        assert g["price"] == pytest.approx(i["strike"] - above, abs=1e-9)
        assert g["delta"] == pytest.approx(-1.0, abs=1e-6)
    report_vectors(len(errors), max(errors), "of 0.35")
    assert max(errors) <= 1


def test_against_tree() -> None:
    columns = sample(24, seed=9)
    ours = american_price(*columns)
    expected = [american_value(*(float(column[row]) for column in columns)) for row in range(24)]
    assert np.abs(ours - expected).max() < 2e-3


def test_against_quantlib() -> None:
    """Its high-precision scheme is off by up to some 1e-6 itself, so the bound is its, not ours."""
    ql = pytest.importorskip("QuantLib")
    today = ql.Date(1, 1, 2026)
    ql.Settings.instance().evaluationDate = today
    days = ql.Actual365Fixed()
    spot = ql.SimpleQuote(100.0)
    worst = 0.0
    for sign in (1.0, -1.0):
        for life in (30, 365, 700):
            for rate, payout in ((0.05, 0.0), (0.05, 0.02), (0.04, 0.04), (0.01, 0.06), (0.08, 0.01)):
                for vol in (0.15, 0.4):
                    process = ql.BlackScholesMertonProcess(
                        ql.QuoteHandle(spot),
                        ql.YieldTermStructureHandle(ql.FlatForward(today, payout, days)),
                        ql.YieldTermStructureHandle(ql.FlatForward(today, rate, days)),
                        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), vol, days)),
                    )
                    engine = ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.highPrecisionScheme())
                    for strike in (80.0, 100.0, 115.0):
                        kind = ql.Option.Call if sign > 0 else ql.Option.Put
                        option = ql.VanillaOption(
                            ql.PlainVanillaPayoff(kind, strike), ql.AmericanExercise(today, today + life)
                        )
                        option.setPricingEngine(engine)
                        ours = float(american_price(100.0, strike, life / 365, vol, sign, rate, payout))
                        worst = max(worst, abs(ours - option.NPV()))
    assert worst < 1e-5


@settings(max_examples=60, deadline=None)
@given(terms)
def test_bounds_symmetry_and_homogeneity(option: tuple[float, ...]) -> None:
    strike, tau, vol, sign, rate, payout = option

    def v(spot: float, k: float, s: float, r: float, q: float) -> float:
        return float(american_price(spot, k, tau, vol, s, r, q))

    ours = v(100.0, strike, sign, rate, payout)
    slack = 2e-7
    european = price(100.0 * math.exp((rate - payout) * tau), strike, tau, vol, sign, math.exp(-rate * tau))
    assert ours >= float(european) - 1e-12 * 100.0
    assert max(sign * (100.0 - strike), 0.0) - 1e-12 <= ours <= (100.0 if sign > 0 else strike)
    assert abs(v(strike, 100.0, -sign, payout, rate) - ours) < slack
    assert abs(v(300.0, 3.0 * strike, sign, rate, payout) - 3.0 * ours) < 3.0 * slack


@settings(max_examples=40, deadline=None)
@given(terms)
def test_monotone_and_convex(option: tuple[float, ...]) -> None:
    strike, tau, vol, sign, rate, payout = option
    slack = 2e-7
    longer = american_price(100.0, strike, tau * np.array([0.5, 1.0, 1.5]), vol, sign, rate, payout)
    assert np.all(np.diff(longer) >= -slack)
    wilder = american_price(100.0, strike, tau, vol * np.array([0.8, 1.0, 1.3]), sign, rate, payout)
    assert np.all(np.diff(wilder) >= -slack)
    at = strike * np.linspace(0.8, 1.2, 9)
    slope = np.diff(american_price(100.0, at, tau, vol, sign, rate, payout)) / np.diff(at)
    assert np.all(-sign * slope >= -slack)
    assert np.all(-sign * slope <= 1.0 + slack)
    assert np.all(np.diff(slope) >= -slack)


@pytest.mark.parametrize("backend", BACKENDS)
def test_never_exercised_early_is_european(backend: str) -> None:
    spot = np.array([80.0, 100.0, 130.0])
    for sign, rate, payout in ((1, 0.05, 0.0), (1, 0.05, -0.01), (-1, 0.0, 0.0), (-1, 0.0, 0.03), (-1, -0.01, 0.02)):
        forward, discount = spot * np.exp(np.float64(rate - payout)), np.exp(np.float64(-rate))
        european = price(forward, 100.0, 1.0, 0.3, sign, discount, backend=backend)
        ours = american_price(spot, 100.0, 1.0, 0.3, sign, rate, payout, backend=backend)
        assert ours.tolist() == european.tolist()
        assert np.isnan(exercise_boundary(100.0, 1.0, 0.3, sign, rate, payout, backend=backend))


def test_limits() -> None:
    assert american_price(90.0, 100.0, 0.0, 0.3, -1, 0.05) == 10.0
    assert american_price(90.0, 100.0, 1.0, 0.0, -1, 0.05) == pytest.approx(10.0, abs=1e-12)
    # Without vol, yield above rate: wait until what the spot pays is less than what the strike earns.
    waited = american_price(100.0, 120.0, 40.0, 1e-7, -1, 0.01, 0.5)
    when = math.log(0.01 * 120 / (0.5 * 100)) / (0.01 - 0.5)
    assert waited == pytest.approx(120 * math.exp(-0.01 * when) - 100 * math.exp(-0.5 * when), abs=1e-9)
    inside = american_greeks(50.0, 100.0, 1.0, 0.3, [-1, 1], [0.05, 0.0], [0.0, 0.05])
    assert inside["price"][0] == pytest.approx(50.0, abs=1e-12)
    assert inside["delta"][0] == pytest.approx(-1.0, abs=1e-15)
    assert all(inside[name][0] == 0.0 for name in ("gamma", "vega", "rho", "vanna", "volga"))
    assert all(abs(inside[name][0]) < 1e-12 for name in ("theta", "charm"))
    assert american_price(0.0, 100.0, 1.0, 0.3, -1, 0.05) == pytest.approx(100.0, abs=1e-12)
    assert american_price(100.0, 0.0, 1.0, 0.3, 1, 0.05) == pytest.approx(100.0, abs=1e-12)
    far = american_price([1e-3, 1e5], 100.0, 1.0, 0.3, [1, -1], 0.05, 0.03)
    assert np.all((far >= 0) & (far < 1e-12))


@pytest.mark.parametrize("backend", BACKENDS)
def test_limits_are_finite(backend: str) -> None:
    for tau, vol in ((0.0, 0.5), (1.0, 0.0), (0.0, 0.0), (1e-300, 1e-300), (1e-9, 0.3)):
        for strike in (50.0, 100.0, 200.0):
            for sign in (1.0, -1.0):
                ours = greeks(100.0, strike, tau, vol, sign, 1.0 - 0.03 * tau, model="american", backend=backend)
                assert all(np.isfinite(v) for v in ours.values()), (tau, vol, strike, ours)


def derivative(value: Any, at: float, step: float) -> float:
    """Central difference of sixth order."""
    weights = ((1, 45.0), (2, -9.0), (3, 1.0))
    return sum(w * (value(at + k * step) - value(at - k * step)) for k, w in weights) / (60.0 * step)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("rate", "payout"), [(0.05, 0.02), (0.02, 0.06), (0.06, -0.01), (0.03, 0.031)])
def test_greeks_are_the_derivatives(sign: float, rate: float, payout: float) -> None:
    """Of prices, and of deltas for gamma, vanna and charm, by differences whose own error is about 1e-9."""
    base = {
        "spot": 100.0,
        "strike": 104.0,
        "tau": 0.8,
        "vol": 0.3,
        "sign": sign,
        "rate": rate,
        "dividend_yield": payout,
    }
    ours = {name: float(v) for name, v in american_greeks(**base, accuracy="accurate").items()}

    def along(name: str, field: str, step: float) -> float:
        def value(x: float) -> float:
            return float(american_greeks(**{**base, field: x}, accuracy="accurate")[name])

        return derivative(value, base[field], step)

    assert ours["delta"] == pytest.approx(along("price", "spot", 0.5), rel=1e-9)
    assert ours["gamma"] == pytest.approx(along("delta", "spot", 0.5), rel=1e-8)
    assert ours["vega"] == pytest.approx(along("price", "vol", 0.004), rel=1e-8)
    assert ours["vanna"] == pytest.approx(along("delta", "vol", 0.004), rel=1e-7, abs=1e-9)
    assert ours["volga"] == pytest.approx(along("vega", "vol", 0.004), rel=1e-6)
    assert ours["theta"] == pytest.approx(-along("price", "tau", 0.01), rel=1e-7)
    assert ours["charm"] == pytest.approx(-along("delta", "tau", 0.01), rel=1e-6, abs=1e-9)
    if abs(rate - payout) > 0.002:  # a difference must not cross rate = yield, where the boundary starts elsewhere
        assert ours["rho"] == pytest.approx(along("price", "rate", 0.0005), rel=1e-7)


def test_backends_agree() -> None:
    columns = sample(60)
    reference = american_price(*columns, backend="numpy")
    named = american_greeks(*columns, backend="numpy")
    for backend in ("numba", "jax"):
        assert np.abs(american_price(*columns, backend=backend) - reference).max() < 1e-12
        for name, values in american_greeks(*columns, backend=backend).items():
            # Volga is a difference of vegas, which magnifies their rounding.
            bound = 1e-6 if name == "volga" else 1e-9
            assert np.abs(values - named[name]).max() < bound * max(1.0, np.abs(named[name]).max()), (backend, name)


def test_rows_without_a_boundary_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a solver gives up on, of whatever scheme, by row, with the terms of the option itself."""
    hurried = {name: (*scheme[:5], 1, scheme[6]) for name, scheme in american.SCHEMES.items()}
    monkeypatch.setattr(american, "SCHEMES", hurried)
    with pytest.raises(UnsolvedError) as caught:
        american_price(100.0, 100.0, [1.0, 10.0, 1.0], 0.2, [-1, 1, 1], [0.05, 0.04, 0.05], [0.0, 0.06, 0.0])
    assert [(p.row, p.field, p.value) for p in caught.value.problems] == [(0, "vol", 0.2), (1, "vol", 0.2)]
    assert "no exercise boundary found (call, rate 0.04, yield 0.06, 10 years)" in str(caught.value)


def test_result_does_not_depend_on_company_or_threads() -> None:
    from pricing.backends import numba as backend

    spot, strike, tau, vol, sign, rate, payout = sample(50)
    columns = (spot * np.exp((rate - payout) * tau), strike, tau, vol, np.exp(-rate * tau), sign, rate - payout)
    together = backend.value(american, columns, 2)
    # Among copies of itself a row keeps its place: the European part may round its last digit by the place in a vector.
    copies = [backend.value(american, tuple(np.full(50, c[row]) for c in columns), 1)[row] for row in range(50)]
    assert together.tolist() == copies


def test_model_of_futures_options() -> None:
    """`price(model="american")` is the option on the forward itself: rate and yield are equal."""
    ours = price(100.0, 95.0, 0.7, 0.25, [-1, 1], 0.96, model="american")
    rate = -math.log(0.96) / 0.7
    assert ours == pytest.approx(american_price(100.0, 95.0, 0.7, 0.25, [-1, 1], rate, rate), abs=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("rate", "vol"), [(0.05, 0.3), (-0.02, 0.3), (0.05, 0.0)])
def test_rho_of_futures_options_moves_the_future(sign: float, rate: float, vol: float) -> None:
    """dV/dr with F = S exp(r tau) and D = exp(-r tau), in the exercise region too."""
    strike, tau = np.array([40.0, 80.0, 95.0, 105.0, 120.0, 150.0, 250.0]), 0.8
    spot = 100.0 * math.exp(-rate * tau)

    def value(r: float) -> np.ndarray:
        at = (spot * math.exp(r * tau), strike, tau, vol, sign, math.exp(-r * tau))
        return price(*at, model="american", accuracy="accurate")

    ours = greeks(100.0, strike, tau, vol, sign, math.exp(-rate * tau), model="american", accuracy="accurate")
    assert ours["rho"] == pytest.approx(derivative(value, rate, 5e-4), rel=1e-6, abs=1e-7)


def test_refusals() -> None:
    for function in (american_price, american_greeks):
        with pytest.raises(NumericalError) as refused:
            function(100.0, 100.0, 1.0, [0.2, 1e-4, 2e-4], -1, 0.08, 0.0)
        assert str(refused.value).splitlines() == [
            f"american, row {row}, vol = {vol}: the forward drifts by {drift} deviations to expiry, and at most 40 are "
            "solved (put, rate 0.08, yield 0, 1 years)"
            for row, vol, drift in ((1, 0.0001, 800), (2, 0.0002, 400))
        ]
    with pytest.raises(ConfigError, match="accuracy"):
        american_price(100.0, 100.0, 1.0, 0.2, -1, 0.05, accuracy="perfect")
    with pytest.raises(ConfigError, match="backend"):
        american_price(100.0, 100.0, 1.0, 0.2, -1, 0.05, backend="cuda")
    with pytest.raises(DataError) as caught:
        american_price([100.0, math.nan], -1.0, 1.0, 0.2, -1, 0.05)
    assert {problem.field for problem in caught.value.problems} == {"spot", "strike"}
    with pytest.raises(DataError, match="do not broadcast"):
        american_price([100.0, 101.0], [1.0, 2.0, 3.0], 1.0, 0.2, -1, 0.05)
