"""Every pricing model and every order of Greek: published numbers, 60-digit derivatives, laws, limits, outputs."""

from __future__ import annotations

import functools
import math
from typing import Any

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import ConfigError, DataError, greeks, implied_vol, price
from pricing.greek_names import GREEK_NAMES, THIRD_ORDER, TRADER_DIVISOR
from pricing.price import BACKENDS
from pricing.resolve import load_model
from tests.naive import exact
from tests.naive import pricing as naive
from tests.vectors import literature_vectors

EXTRA = {"displaced": {"displacement": 30.0}, "black_scholes_merton": {"rate": 0.05, "dividend_yield": 0.02}}
MODELS = ("black76", "bachelier", "displaced", "black_scholes_merton", "inverse")
ALL = (*GREEK_NAMES, *THIRD_ORDER)
# By forward (0), tau (1) and vol (2), one after the other: which leaf of (..., derivative) is which Greek.
AUTOMATIC = {
    (0, 0, 0): {0: "price", 1: "delta", 3: "gamma", 7: "speed"},
    (0, 0, 1): {4: "theta", 5: "charm", 7: "color"},
    (0, 0, 2): {4: "vega", 5: "vanna", 7: "zomma"},
    (2, 2, 2): {3: "volga", 7: "ultima"},
    (1, 2): {3: "veta"},
}


def call_or_put(inputs: dict[str, Any]) -> float:
    return 1.0 if inputs["option"] == "call" else -1.0


def share(value: float, expected: float, tolerance: dict[str, float]) -> float:
    """Error as a share of the tolerance; at most 1 passes."""
    return abs(value - expected) / max(tolerance.get("abs", 0.0), tolerance.get("rel", 0.0) * abs(expected))


@pytest.mark.reference
def test_literature_bachelier_price(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("bachelier_price"):
        i = v["inputs"]
        terms = (i["forward"], i["strike"], 1.0, i["std_dev"], call_or_put(i), i["discount"])
        for backend in BACKENDS:
            ours = float(price(*terms, model="bachelier", backend=backend))
            errors.append(share(ours, v["expected"]["price"], v["tolerance"]["price"]))
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_literature_bachelier_greek(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("bachelier_greek"):
        i, t = v["inputs"], v["inputs"]["t_years"]
        vol = i["std_dev"] / math.sqrt(t)
        g = greeks(i["forward"], i["strike"], t, vol, call_or_put(i), i["discount"], model="bachelier")
        carry = i["forward"] / i["spot"]
        known = {
            "delta_forward": g["delta"],
            "gamma_spot": g["gamma"] * carry**2,
            "rho": g["rho"],
            "dividend_rho": -t * i["forward"] * g["delta"],
            "strike_sensitivity": -g["delta"],
            "strike_gamma": g["gamma"],
            "volga": g["volga"],
        }
        errors += [share(float(known[name]), e, v["tolerance"][name]) for name, e in v["expected"].items()]
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_literature_digital_price(report_vectors: Any) -> None:
    """Cash or nothing is the strike's share of the price, asset or nothing the spot's."""
    errors = []
    for v in literature_vectors("digital_price"):
        i, sign = v["inputs"], call_or_put(v["inputs"])
        carry = {"rate": i["rate"], "dividend_yield": i["dividend_yield"]}
        g = greeks(i["spot"], i["strike"], i["t_years"], i["vol"], sign, model="black_scholes_merton", **carry)
        asset = sign * i["spot"] * g["delta"]
        cash = i["cash_or_second_strike"] * sign * g["rho"] / (i["t_years"] * i["strike"])
        ours = float(asset if i["kind"] == "asset" else cash)
        errors.append(share(ours, v["expected"]["price"], v["tolerance"]["price"]))
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_literature_fx_delta(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("fx_delta"):
        i, sign = v["inputs"], call_or_put(v["inputs"])
        carry = {"rate": -math.log(i["domestic_discount"]), "dividend_yield": -math.log(i["foreign_discount"])}
        spot = greeks(i["spot"], i["strike"], 1.0, i["std_dev"], sign, model="black_scholes_merton", **carry)
        forward = i["spot"] * i["foreign_discount"] / i["domestic_discount"]
        undiscounted = greeks(forward, i["strike"], 1.0, i["std_dev"], sign, model="inverse", order=1)
        undiscounted_delta = greeks(forward, i["strike"], 1.0, i["std_dev"], sign, order=1)["delta"]
        known = {
            "spot": spot["delta"],
            "premium_adjusted_spot": spot["delta"] - spot["price"] / i["spot"],
            "forward": undiscounted_delta,
            "premium_adjusted_forward": undiscounted["delta_pa"],
        }
        errors.append(share(float(known[i["convention"]]), v["expected"]["delta"], v["tolerance"]["delta"]))
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


def exact_value(model: str, strike: float, sign: int, rate: Any, options: dict[str, float]) -> Any:
    """The model's price as a function of forward (or spot), tau and vol, in as many digits as mpmath works with."""
    k = mp.mpf(strike)

    def value(f: Any, t: Any, v: Any) -> Any:
        if model == "bachelier":
            return mp.exp(-rate * t) * exact.bachelier(f, k, t, v, sign)
        if model == "displaced":
            shift = mp.mpf(options["displacement"])
            return mp.exp(-rate * t) * exact.black(f + shift, k + shift, t, v, sign)
        if model == "black_scholes_merton":
            r, q = mp.mpf(options["rate"]), mp.mpf(options["dividend_yield"])
            return mp.exp(-r * t) * exact.black(f * mp.exp((r - q) * t), k, t, v, sign)
        undiscounted = exact.black(f, k, t, v, sign)
        return mp.exp(-rate * t) * undiscounted / (f if model == "inverse" else 1)

    return value


@pytest.mark.parametrize("model", MODELS)
def test_every_greek_is_the_derivative_in_60_digits(model: str, report_vectors: Any) -> None:
    """Also minutes before expiry and at a tiny vol, at the money and a few deviations off it."""
    options = EXTRA.get(model, {})
    cases = [
        (100.0, distance, tau, vol, sign)
        for tau, vol in ((0.4, 0.35), (2.0, 0.9), (1e-5, 0.6), (0.3, 1e-4))
        for distance, sign in ((0.0, 1), (-0.7, -1), (1.3, 1), (3.1, -1))
    ]
    worst, count = 0.0, 0
    for forward, distance, tau, vol, sign in cases:
        used = vol * forward if model == "bachelier" else vol
        middle = forward * math.exp(0.03 * tau) if model == "black_scholes_merton" else forward
        strike = middle * math.exp(distance * vol * math.sqrt(tau))
        if model == "bachelier":
            strike = forward + distance * used * math.sqrt(tau)
        discount = 1.0 if model == "black_scholes_merton" else math.exp(-0.03 * tau)
        ours = greeks(forward, strike, tau, used, sign, discount, model=model, order=3, **options)
        with mp.workdps(60):
            rate = -mp.log(mp.mpf(discount)) / mp.mpf(tau)
        expected = exact.derivatives(exact_value(model, strike, sign, rate, options), (forward, tau, used))
        for name, value in expected.items():
            # Two terms of a Greek may all but cancel: then the error is that of the terms.
            unit = scale_of(name, expected, forward, tau, used)
            error = abs(float(ours[name]) - value) / max(abs(value), 1e-3 * unit, 1e-300)
            # A sum with the displacement, or the forward of a spot, is rounded: deviations from the money see that.
            allowed = 1e-11 + (2e-12 / (vol * math.sqrt(tau)) if options else 0.0)
            worst, count = max(worst, error / allowed), count + 1
    report_vectors(count, worst, "of what is allowed", f"60-digit derivatives, {model}")
    assert worst < 1


def scale_of(name: str, greek: dict[str, float], forward: float, tau: float, vol: float) -> float:
    """How large the terms are that a Greek is a sum of."""
    per = {"charm": ("delta", tau), "veta": ("vega", tau), "speed": ("gamma", forward), "zomma": ("gamma", vol)}
    per |= {"color": ("gamma", tau), "ultima": ("vega", vol * vol), "volga": ("vega", vol), "vanna": ("delta", vol)}
    base, unit = per.get(name, (name, 1.0))
    return abs(greek[base]) / unit


@pytest.mark.parametrize("model", ["black76", "bachelier"])
def test_every_greek_is_the_automatic_derivative(model: str) -> None:
    """jax through the formula of the value, thrice, over moneyness, down to a minute and to a vol of 1e-3."""
    import jax

    from pricing.xp import jax as xp

    formula, rate = load_model(model), 0.03

    def value(f: Any, t: Any, v: Any, k: Any, s: Any) -> Any:
        return formula.value(xp, f, k, t, v, jax.numpy.exp(-rate * t), s)

    def with_tangent(function: Any, argument: int) -> Any:
        """The function and its derivative by one argument, element by element, in forward mode."""

        def both(*at: Any) -> Any:
            direction = tuple(jax.numpy.full(n, 1.0 if i == argument else 0.0) for i in range(3))
            return jax.jvp(function, at, direction)

        return both

    random = np.random.default_rng(17)
    n = 40
    forward, tau = np.full(n, 100.0), 10 ** random.uniform(-5.5, 0.5, n)
    vol = 10 ** random.uniform(-3, 0.3, n) * (100.0 if model == "bachelier" else 1.0)
    width = vol * np.sqrt(tau) / (100.0 if model == "bachelier" else 1.0)
    strike, sign = forward * np.exp(random.normal(0, 1.5, n) * width), random.choice([-1.0, 1.0], n)
    closed = greeks(forward, strike, tau, vol, sign, np.exp(-rate * tau), model=model, order=3)
    found: dict[str, np.ndarray] = {}
    with xp.double_precision():
        for arguments, picked in AUTOMATIC.items():
            derivative = functools.partial(value, k=strike, s=sign)
            for argument in arguments:
                derivative = with_tangent(derivative, argument)
            results = [np.asarray(leaf) for leaf in jax.tree.leaves(derivative(forward, tau, vol))]
            found |= {name: -results[i] if exact.ORDERS[name][1] else results[i] for i, name in picked.items()}
    assert set(found) == set(exact.ORDERS)
    for name, automatic in found.items():
        per = {"veta": tau, "color": tau, "charm": tau, "zomma": vol, "speed": 100.0 * width, "ultima": vol**2}
        base = {"veta": "vega", "color": "gamma", "charm": "delta", "zomma": "gamma", "speed": "gamma"}
        terms = closed[base.get(name, "vega" if name == "ultima" else name)] / per.get(name, 1.0)
        allowed = 1e-8 * (np.abs(closed[name]) + np.abs(terms)) + 1e-300
        assert (np.abs(automatic - closed[name]) <= allowed).all(), name


def test_normal_greeks_equal_naive_twin() -> None:
    random = np.random.default_rng(8)
    n = 60
    forward, tau, vol = random.uniform(-50, 50, n), random.uniform(0.01, 2, n), random.uniform(1, 40, n)
    strike, sign = forward + random.normal(0, 1, n) * vol * np.sqrt(tau), random.choice([-1.0, 1.0], n)
    ours = greeks(forward, strike, tau, vol, sign, 0.96, model="bachelier", order=3)
    for row in range(n):
        terms = [float(c[row]) for c in (forward, strike, tau, vol)]
        expected = naive.normal_greeks(*terms, 0.96, float(sign[row]))
        for name, value in zip(ALL, expected, strict=True):
            assert ours[name][row] == pytest.approx(value, rel=1e-9, abs=1e-12 * (1 + abs(expected[0]))), name


@pytest.mark.parametrize("model", MODELS)
def test_backends_agree_to_third_order(model: str) -> None:
    random = np.random.default_rng(4)
    n = 2_000
    forward = np.exp(random.uniform(0, 8, n))
    tau, vol = np.exp(random.uniform(-8, 1, n)), np.exp(random.uniform(-4, 1, n))
    strike = forward * np.exp(random.normal(0, 1.5, n) * vol * np.sqrt(tau))
    vol = vol * forward if model == "bachelier" else vol
    terms = (forward, strike, tau, vol, random.choice([-1.0, 1.0], n))
    options = {"model": model, "order": 3, **EXTRA.get(model, {})}
    reference = greeks(*terms, backend="numpy", **options)
    value = price(*terms, model=model, backend="numpy", **EXTRA.get(model, {}))
    assert np.abs(value - reference["price"]).max() <= 1e-14 * np.abs(value).max()
    for backend in ("numba", "jax"):
        for name, values in greeks(*terms, backend=backend, **options).items():
            size = np.abs(reference[name])
            firm = size > 1e-6 * np.median(size)
            assert (np.abs(values - reference[name])[firm] <= 1e-9 * size[firm]).all(), (backend, name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", MODELS)
def test_limits_are_finite_at_every_order(model: str, backend: str) -> None:
    tau, vol, strike, sign = (
        grid.ravel()
        for grid in np.meshgrid(
            [0.0, 1e-12, 1.0], [0.0, 1e-300, 0.5, 1e100], [50.0, 97.0, 100.0, 104.0, 200.0], [1.0, -1.0]
        )
    )
    options = EXTRA.get(model, {})
    ours = greeks(100.0, strike, tau, vol, sign, model=model, backend=backend, order=3, **options)
    assert all(np.isfinite(values).all() for values in ours.values())
    flat = (tau == 0) | (vol == 0)
    if model == "black_scholes_merton":
        growth, discount = np.exp(-0.02 * tau), np.exp(-0.05 * tau)
        intrinsic = np.maximum(sign * (100.0 * growth - strike * discount), 0.0)
    else:
        intrinsic = np.maximum(sign * (100.0 - strike), 0.0) / (100.0 if model == "inverse" else 1.0)
    assert ours["price"][flat] == pytest.approx(intrinsic[flat], rel=1e-15)
    away = flat & (strike != 100.0)
    if model in ("black76", "bachelier"):
        assert ours["delta"][away].tolist() == np.where(sign * (100.0 - strike) > 0, sign, 0.0)[away].tolist()
        for name in ("gamma", "vega", "vanna", "volga", "speed", "zomma", "color", "ultima", "veta"):
            assert not ours[name][away].any(), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", ["black76", "bachelier"])
def test_limits_at_the_money_are_those_of_a_vanishing_vol(model: str, backend: str) -> None:
    for sign in (1, -1):
        terms = {"sign": sign, "discount": 0.97, "model": model, "order": 3, "backend": backend}
        limit = greeks(100.0, 100.0, 0.5, 0.0, **terms)
        close = greeks(100.0, 100.0, 0.5, 1e-7, **terms)
        for name in ("price", "delta", "vega", "theta", "rho", "vanna", "volga", "charm", "veta", "ultima"):
            assert float(limit[name]) == pytest.approx(float(close[name]), rel=1e-6, abs=1e-5), name


contracts = st.tuples(
    st.floats(0.5, 500.0), st.floats(-1.5, 1.5), st.floats(1e-3, 4.0), st.floats(0.03, 2.0), st.sampled_from([-1, 1])
)


@settings(max_examples=150, deadline=None)
@given(contracts, st.sampled_from(MODELS), st.integers(-3, 3))
def test_laws(contract: tuple[float, ...], model: str, power: int) -> None:
    """Put-call parity, homogeneity by powers of two to the last bit, monotonicity and convexity in the strike."""
    forward, distance, tau, vol, sign = contract
    options = dict.fromkeys(("rate", "dividend_yield"), 0.02) if model == "black_scholes_merton" else {}
    strikes = forward * np.exp(distance + np.array([-0.03, 0.0, 0.04]))
    used = vol * forward if model == "bachelier" else vol

    def values(s: int, scale: float = 1.0) -> np.ndarray:
        moved = {"displacement": 0.3 * forward * scale} if model == "displaced" else options
        spread = used * scale if model == "bachelier" else used
        given_terms = (forward * scale, strikes * scale, tau, spread, s)
        return np.asarray(price(*given_terms, model=model, backend="numpy", **moved))

    unit = forward if model == "inverse" else 1.0
    discount = math.exp(-0.02 * tau) if options else 1.0
    size = 1e-14 * max(forward, strikes.max()) / unit * (1.4 if model == "displaced" else 1.0)
    parity = values(1) - values(-1) - discount * (forward - strikes) / unit
    assert np.abs(parity).max() <= 2 * size
    ours = values(sign)
    scale = 2.0**power
    if model != "black_scholes_merton":  # whose forward is an exponential's rounding away
        normal = ours > 1e-290
        assert (values(sign, scale) == ours * (1.0 if model == "inverse" else scale))[normal].all()
    steps = np.diff(ours)
    assert (sign * steps <= size).all()
    slopes = steps / np.diff(strikes)
    assert slopes[1] - slopes[0] >= -4 * size / np.diff(strikes).min()


def test_against_quantlib() -> None:
    ql = pytest.importorskip("QuantLib")
    random = np.random.default_rng(12)
    for _ in range(60):
        spot, tau, vol = random.uniform(20, 200), random.uniform(0.02, 3), random.uniform(0.05, 1.2)
        strike, sign = spot * math.exp(random.normal() * vol * math.sqrt(tau)), int(random.choice([-1, 1]))
        rate, dividend = random.uniform(-0.02, 0.1), random.uniform(0, 0.06)
        kind = ql.Option.Call if sign > 0 else ql.Option.Put
        carry = {"rate": rate, "dividend_yield": dividend}
        g = greeks(spot, strike, tau, vol, sign, model="black_scholes_merton", **carry)
        growth, discount = math.exp(-dividend * tau), math.exp(-rate * tau)
        deviation = vol * math.sqrt(tau)
        theirs = ql.BlackCalculator(ql.PlainVanillaPayoff(kind, strike), spot * growth / discount, deviation, discount)
        assert float(g["price"]) == pytest.approx(theirs.value(), abs=1e-11 * spot)
        assert float(g["delta"]) == pytest.approx(theirs.delta(spot), abs=1e-12)
        assert float(g["gamma"]) == pytest.approx(theirs.gamma(spot), rel=1e-10)
        assert float(g["vega"]) == pytest.approx(theirs.vega(tau), rel=1e-10)
        assert float(g["theta"]) == pytest.approx(theirs.theta(spot, tau), rel=1e-9, abs=1e-9)
        assert float(g["rho"]) == pytest.approx(theirs.rho(tau), rel=1e-9, abs=1e-9)
        assert float(g["dividend_rho"]) == pytest.approx(theirs.dividendRho(tau), rel=1e-9, abs=1e-9)
        normal = ql.bachelierBlackFormula(kind, strike, spot, vol * spot * math.sqrt(tau), discount)
        ours = float(price(spot, strike, tau, vol * spot, sign, discount, model="bachelier"))
        assert ours == pytest.approx(normal, abs=1e-12 * spot)


def test_trader_units_of_every_order() -> None:
    terms = (100.0, [90.0, 100.0, 120.0], 0.3, 0.4, 1)
    for model in MODELS:
        options = {"model": model, "order": 3, **EXTRA.get(model, {})}
        raw, trader = greeks(*terms, **options), greeks(*terms, units="trader", **options)
        assert set(raw) == set(trader)
        for name in set(raw) - {"theta"}:
            assert trader[name] == pytest.approx(raw[name] / TRADER_DIVISOR.get(name, 1.0), rel=1e-15), name
        assert trader["theta"] == pytest.approx(np.maximum(raw["theta"] / 365.0, -raw["price"]), rel=1e-15)


def test_orders_hold_what_they_say() -> None:
    terms = (100.0, 100.0, 0.3, 0.4, 1)
    assert tuple(greeks(*terms, order=1)) == ("price", "delta", "vega", "theta", "rho")
    assert tuple(greeks(*terms)) == GREEK_NAMES
    assert tuple(greeks(*terms, order=3)) == ALL
    assert tuple(greeks(*terms, order=3, model="inverse")) == (*ALL, "delta_pa")
    assert "dividend_rho" in greeks(*terms, order=1, model="black_scholes_merton", rate=0.01)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", MODELS)
def test_out_is_filled_and_returned(model: str, backend: str) -> None:
    strike = np.linspace(80.0, 130.0, 6).reshape(2, 3)
    terms = (100.0, strike, 0.3, 30.0 if model == "bachelier" else 0.3, 1)
    options = {"model": model, "backend": backend, **EXTRA.get(model, {})}
    expected = price(*terms, **options)
    for target in (np.full((2, 3), -1.0), np.full((2, 6), -1.0)[:, ::2], np.full((3, 2), -1.0).T):
        assert price(*terms, **options, out=target) is target
        assert (target == expected).all()
    named = greeks(*terms, order=3, units="trader", **options)
    out = {name: np.empty((2, 3)) for name in named}
    assert greeks(*terms, order=3, units="trader", **options, out=out) is out
    assert all((out[name] == named[name]).all() for name in named)
    raw, filled = greeks(*terms, order=3, **options), {name: np.empty((2, 3)) for name in named}
    assert greeks(*terms, order=3, **options, out=filled) is filled
    assert all((filled[name] == raw[name]).all() for name in named)
    vol, status = implied_vol(expected, *terms[:3], 1, **options)
    pair = (np.empty((2, 3)), np.empty((2, 3), dtype=np.int8))
    assert implied_vol(expected, *terms[:3], 1, **options, out=pair) is pair
    assert (pair[0] == vol).all()
    assert (pair[1] == status).all()
    assert vol == pytest.approx(np.full((2, 3), terms[3]), rel=1e-9)


def test_out_may_be_an_input() -> None:
    strike = np.linspace(80.0, 130.0, 600)
    expected = price(100.0, strike, 0.3, 0.3, 1)
    shifted = np.concatenate([strike, strike])
    assert (price(100.0, shifted[:600], 0.3, 0.3, 1, out=shifted[1:601]) == expected).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: price([100.0, 90.0], 90.0, 1, 0.2, 1, out=np.empty(3)), "out = 'writeable float64 (3,)'"),
        (lambda: price([100.0], 90.0, 1, 0.2, 1, out=np.empty(1, np.float32)), "float32"),
        (lambda: price(100.0, 90.0, 1, 0.2, 1, out=[1.0]), "out = 'list'"),
        (lambda: greeks(100.0, 90.0, 1, 0.2, 1, out={"price": np.empty(())}), "must be a dict of arrays named price"),
        (lambda: implied_vol(9.0, 100.0, 100.0, 1, 1, out=np.empty(())), "tuple of two arrays"),
        (lambda: price(100.0, "ninety", 1, 0.2, 1), "strike = \"'ninety'\""),
        (lambda: price(math.nan, 90.0, 1, 0.2, 1, model="bachelier"), "price, row 0, forward = nan"),
        (lambda: price(100.0, 90.0, 1, 0.2, 1, model="black_scholes_merton", rate=math.inf), "rate = inf"),
        (lambda: price(10.0, 90.0, 1, 0.2, 1, model="displaced", displacement=-20.0), "forward = 10.0"),
    ],
)
def test_what_cannot_be_done_is_named(call: Any, text: str) -> None:
    with pytest.raises(DataError) as caught:
        call()
    assert text in str(caught.value)


def test_arguments_of_another_model_are_refused() -> None:
    for wrong in ({"rate": 0.01}, {"model": "displaced", "rate": 0.01}, {"model": "bachelier", "displacement": 1.0}):
        with pytest.raises(ConfigError, match="belongs to the model"):
            price(100.0, 90.0, 1.0, 0.2, 1, **wrong)
    with pytest.raises(ConfigError, match="derives the discount"):
        greeks(100.0, 90.0, 1.0, 0.2, 1, 0.95, model="black_scholes_merton")
    for function in (price, greeks):
        with pytest.raises(TypeError, match="speed_up"):
            function(100.0, 90.0, 1.0, 0.2, 1, speed_up=True)


def test_lists_series_and_signed_prices() -> None:
    series = price(pd.Series([-5.0, 2.0], index=[3, 1]), [0, 1], 1, 7.5, -1, model="bachelier")
    table = price(np.float32(-5.0), [[0.0], [1.0]], 1.0, [7.5, 8.0], np.int8(-1), model="bachelier")
    assert series.shape == (2,)
    assert table.shape == (2, 2)
    assert table[0, 0] == series[0]
    assert price([], 1.0, 1.0, 0.2, 1).shape == (0,)


@pytest.mark.parametrize("sign", [1, -1])
def test_greeks_of_a_spot_of_nothing_and_of_the_last_instant_are_finite(sign: int) -> None:
    """A spot of 0 stays there: its call is worth nothing, its put the strike; a tau without an inverse is none."""
    for order in (2, 3):
        got = greeks(0.0, 100.0, 1.0, 0.2, sign, model="black_scholes_merton", rate=0.05, order=order)
        assert all(np.isfinite(value) for value in got.values()), got
        assert float(got["delta"]) == (0.0 if sign > 0 else -1.0)
    for model in ("black76", "bachelier"):
        got = greeks(100.0, 100.0, 1e-310, 0.2, sign, model=model, order=3)
        assert all(np.isfinite(value) for value in got.values()), got
