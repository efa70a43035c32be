"""Implied vol: exact to a few roundings of the price, published vectors, round trips, every status, equal backends."""

from __future__ import annotations

import math
import sys
from statistics import NormalDist
from typing import Any

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import ConfigError, DataError, NumericalError, Status, implied_vol, price
from pricing.errors import PROBLEMS_SHOWN
from pricing.implied_vol import RESOLUTION
from pricing.inversions import black76
from pricing.price import BACKENDS
from tests.naive import exact
from tests.naive.implied_vol import exact_vol
from tests.vectors import literature_vectors, reference_json

ROUNDINGS_ALLOWED = 10.0
FAMILIES = ("core", "far", "minutes", "high", "near", "at the money", "in the money", "wide")


def quotes(family: str, count: int, seed: int) -> dict[str, Any]:
    """Random contracts of one family with their Black-76 prices, as arguments of implied_vol, and the vol."""
    random = np.random.default_rng([seed, FAMILIES.index(family)])
    forward = random.uniform(50, 150, count)
    tau = 10 ** random.uniform(-3, 0.3, count)
    vol = random.uniform(0.05, 2, count)
    distance = random.normal(0, 1.5, count)
    sign = random.choice([-1.0, 1.0], count)
    if family == "far":
        distance = random.uniform(4, 30, count) * sign
    if family == "minutes":
        tau, vol = 10 ** random.uniform(-5.7, -2.56, count), random.uniform(0.01, 0.1, count)
    if family == "high":
        vol = random.uniform(2, 6, count)
        sign = np.where(distance > 0, 1.0, -1.0)  # in the money at such a vol the intrinsic value hides the rest
    if family == "in the money":
        distance = -random.uniform(1, 6.5, count) * sign
    strike = forward * np.exp(distance * vol * np.sqrt(tau))
    if family == "near":
        strike = forward * (1 + 10 ** random.uniform(-15, -3, count))
    if family == "at the money":
        strike = forward.copy()
    if family == "wide":
        tau, vol = 10 ** random.uniform(-6, 1.5, count), 10 ** random.uniform(-3, 1, count)
        strike = forward * np.exp(random.normal(0, 2, count))
    discount = np.where(random.uniform(size=count) < 0.5, 1.0, random.uniform(0.7, 1, count))
    contract = {"forward": forward, "strike": strike, "tau": tau, "sign": sign, "discount": discount}
    return {"price": price(vol=vol, **contract, backend="numpy"), **contract, "vol": vol}


def arguments(case: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in case.items() if name != "vol"}


def movement(case: dict[str, Any], row: int, sensitivity: Any) -> float:
    """How far one rounding of the price moves vol."""
    return float(sensitivity) * float(np.spacing(case["price"][row]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_within_a_few_roundings_of_the_exact_root(family: str, backend: str, report_vectors: Any) -> None:
    """Where the price determines vol the root is exact to what the price allows; elsewhere the status says so."""
    case = quotes(family, 150, seed=1)
    vol, status = implied_vol(**arguments(case), backend=backend)
    root, _ = implied_vol(**arguments(case), backend=backend, resolution=math.inf)
    roundings = []
    for row in np.flatnonzero(np.isfinite(root)):
        columns = [case[name][row] for name in ("price", "forward", "strike", "tau", "discount", "sign")]
        exact, sensitivity = exact_vol(*columns, start=root[row])
        moved, scale = movement(case, row, sensitivity), max(1.0, float(exact))
        # Twice the resolution is undetermined and half of it determined, by whichever root it is judged.
        if status[row] == Status.OK:
            assert vol[row] == root[row]
            assert moved < 1.01 * RESOLUTION * scale
            assert abs(float(root[row] - exact)) <= RESOLUTION * scale
            roundings.append(abs(float(root[row] - exact)) / (moved + np.spacing(root[row])))
        else:
            assert status[row] == Status.NOT_DETERMINED
            assert np.isnan(vol[row])
            assert moved > 0.99 * RESOLUTION * scale
    lost = np.flatnonzero(np.isnan(root))
    assert np.isin(status[lost], (Status.NOT_DETERMINED, Status.BELOW_INTRINSIC, Status.ABOVE_MAXIMUM)).all()
    if family not in ("in the money", "wide"):
        assert len(roundings) == 150, "these prices all determine vol"
    report_vectors(len(roundings), max(roundings), "roundings", f"implied vol, {family}, {backend}")
    assert max(roundings) <= ROUNDINGS_ALLOWED


@pytest.mark.parametrize("family", FAMILIES)
def test_no_failure_in_many(family: str) -> None:
    """100,000 round trips: no NaN without a cause, and nothing off by more than a billionth."""
    case = quotes(family, 100_000, seed=2)
    vol, status = implied_vol(**arguments(case))
    found = status == Status.OK
    assert np.isnan(vol[~found]).all()
    error = np.abs(vol - case["vol"])[found]
    assert (error <= 1e-9 * np.maximum(case["vol"][found], 0.1)).all()
    if family in ("core", "far", "minutes", "high", "near", "at the money"):
        assert found.mean() > 0.999
    rest = np.unique(status[~found])
    assert np.isin(rest, (Status.NOT_DETERMINED, Status.BELOW_INTRINSIC, Status.ABOVE_MAXIMUM)).all()


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["implied_vol", "implied_vol_guess"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_literature_implied_vol(kind: str, backend: str, report_vectors: Any) -> None:
    """Every published vol to its tolerance; NaN where the price does not hold ten digits of it, and then the root."""
    errors = []
    for v in literature_vectors(kind):
        i, expected, tolerance = v["inputs"], v["expected"]["vol"], v["tolerance"]["vol"]["rel"]
        sign = 1.0 if i["option"] == "call" else -1.0
        contract = (i["forward"], i["strike"], i["t_years"], sign, i.get("discount", 1.0))
        vol, status = implied_vol(i["price"], *contract, backend=backend)
        root, root_status = implied_vol(i["price"], *contract, backend=backend, resolution=math.inf)
        assert root_status == Status.OK, v["id"]
        errors.append(abs(float(root) / expected - 1) / tolerance)
        if status == Status.OK:
            assert vol == root
        else:
            _, sensitivity = exact_vol(i["price"], *contract[:3], contract[4], sign, start=expected)
            assert status == Status.NOT_DETERMINED, v["id"]
            assert np.isnan(vol)
            assert float(sensitivity) * np.spacing(i["price"]) > RESOLUTION * max(1.0, expected), v["id"]
    report_vectors(len(errors), max(errors), "of the tolerance", f"{kind} {backend}")
    assert max(errors) <= 1


@pytest.mark.reference
def test_derive_black76_round_trip(report_vectors: Any) -> None:
    """The contract's own prices give back its vol, as far as their tolerance of 2e-14 max(F, K) allows."""
    vectors = [v for v in reference_json("derive-black76.json")["vectors"] if v["category"] in ("typical", "extreme")]
    forward, strike, discount, vol, seconds = (
        np.array([float(v[name]) for v in vectors])
        for name in ("forward", "strike", "discount", "vol", "time_to_expiry_sec")
    )
    tau = seconds / 31_536_000
    errors: list[float] = []
    for sign, name in ((1.0, "call_price"), (-1.0, "put_price")):
        value = np.array([float(v["expected"][name]) for v in vectors])
        found, status = implied_vol(value, forward, strike, tau, sign, discount)
        assert not np.isin(status, (Status.NOT_FINITE, Status.NOT_CONVERGED)).any()
        deviation = vol * np.sqrt(tau)
        d1 = np.log(forward / strike) / deviation + deviation / 2
        vega = discount * forward * np.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi) * np.sqrt(tau)
        with np.errstate(divide="ignore"):
            allowed = 2e-14 * np.maximum(forward, strike) / vega + 1e-14 * vol
        firm = allowed < 1e-4 * vol
        assert (status[firm & (allowed < 1e-10)] == Status.OK).all()
        rows = firm & (status == Status.OK)
        errors += list(np.abs(found - vol)[rows] / allowed[rows])
    report_vectors(len(errors), max(errors), "of what the price allows", "derive-black76 prices to vol")
    assert len(errors) > len(vectors)
    assert max(errors) <= 1


@settings(max_examples=300, deadline=None)
@given(
    forward=st.floats(0.01, 1e5),
    moneyness=st.floats(-1.5, 1.5),
    tau=st.floats(1e-5, 5.0),
    vol=st.floats(0.02, 4.0),
    sign=st.sampled_from([-1.0, 1.0]),
    discount=st.floats(0.5, 1.0),
)
def test_round_trip(forward: float, moneyness: float, tau: float, vol: float, sign: float, discount: float) -> None:
    contract = (forward, forward * math.exp(moneyness), tau)
    value = price(*contract, vol, sign, discount, backend="numpy")
    found, status = implied_vol(value, *contract, sign, discount, backend="numpy")
    if status == Status.OK:
        # price() is itself within some roundings, and each moves vol by no more than the resolution.
        assert abs(float(found) - vol) <= 8 * RESOLUTION * max(1.0, vol)
    else:
        assert status in (Status.NOT_DETERMINED, Status.BELOW_INTRINSIC, Status.ABOVE_MAXIMUM)
        assert np.isnan(found)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=6, max_size=6))
def test_any_number_gets_a_status(values: list[float]) -> None:
    """No float makes the vector form raise, and NaN and a failing status always come together."""
    for backend in ("numpy", "numba"):
        vol, status = implied_vol(*values[:4], [1.0, -1.0, values[4]], values[5], backend=backend)
        assert (np.isnan(vol) == (status != Status.OK)).all()


CASES = [
    # price, forward, strike, tau, sign, discount, status
    (10.0, 100.0, 100.0, 1.0, 1, 1.0, Status.OK),
    (19.0, 120.0, 100.0, 1.0, 1, 1.0, Status.BELOW_INTRINSIC),
    (20.0 * (1.0 - 2.0**-49), 120.0, 100.0, 1.0, 1, 1.0, Status.BELOW_INTRINSIC),
    (np.nextafter(20.0, 0.0), 120.0, 100.0, 1.0, 1, 1.0, Status.NOT_DETERMINED),
    (-1.0, 100.0, 120.0, 1.0, 1, 1.0, Status.BELOW_INTRINSIC),
    (101.0, 100.0, 100.0, 1.0, 1, 1.0, Status.ABOVE_MAXIMUM),
    (100.0, 200.0, 100.0, 1.0, -1, 0.9, Status.ABOVE_MAXIMUM),
    (10.0, 100.0, 100.0, 0.0, 1, 1.0, Status.EXPIRED),
    (500.0, 100.0, 100.0, 0.0, 1, 1.0, Status.EXPIRED),
    (math.nan, 100.0, 100.0, 1.0, 1, 1.0, Status.NOT_FINITE),
    (math.inf, 100.0, 100.0, 1.0, 1, 1.0, Status.NOT_FINITE),
    (10.0, -100.0, 100.0, 1.0, 1, 1.0, Status.NOT_FINITE),
    (10.0, 100.0, 0.0, 1.0, 1, 1.0, Status.NOT_FINITE),
    (10.0, 100.0, math.nan, 0.0, 1, 1.0, Status.NOT_FINITE),
    (10.0, 100.0, 100.0, -1.0, 1, 1.0, Status.NOT_FINITE),
    (10.0, 100.0, 100.0, 1.0, 0, 1.0, Status.NOT_FINITE),
    (10.0, 100.0, 100.0, 1.0, 1, 0.0, Status.NOT_FINITE),
    (20.0, 120.0, 100.0, 1.0, 1, 1.0, Status.NOT_DETERMINED),
    (0.9 * 20.0, 120.0, 100.0, 1.0, 1, 0.9, Status.NOT_DETERMINED),
    (20.0 + 1e-13, 120.0, 100.0, 1.0, 1, 1.0, Status.NOT_DETERMINED),
    (0.0, 100.0, 120.0, 1.0, 1, 1.0, Status.NOT_DETERMINED),
    (100.0, 100.0, 100.0, 1.0, 1, 1.0, Status.NOT_DETERMINED),
    (np.nextafter(100.0, 0.0), 100.0, 100.0, 1.0, 1, 1.0, Status.NOT_DETERMINED),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_status(backend: str) -> None:
    columns = [np.array(column, dtype=float) for column in zip(*CASES, strict=True)]
    vol, status = implied_vol(*columns[:6], backend=backend)
    assert vol.dtype == np.float64
    assert status.dtype == np.int8
    assert status.tolist() == columns[6].tolist()
    assert (np.isnan(vol) == (status != Status.OK)).all()
    assert vol[0] == pytest.approx(2 * NormalDist().inv_cdf(0.55), rel=1e-14)


def test_not_converged_is_a_status_and_further_steps_reach_what_lies_beyond_any_market(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At strikes e^282 times the forward the first value is too far off for two steps: noticed, and gone on from."""
    forward, strike, deviation = 1.0, math.exp(282.7656761356517), np.linspace(23.2, 24.2, 400)
    value = price(forward, strike, 1.0, deviation, 1.0, backend="numpy")
    for backend in BACKENDS:
        vol, status = implied_vol(value, forward, strike, 1.0, 1.0, backend=backend)
        assert np.all(status == Status.OK)
        assert vol == pytest.approx(deviation, rel=1e-12)
    monkeypatch.setattr(sys.modules["pricing.implied_vol"], "FURTHER_STEPS", 0)
    vol, status = implied_vol(value, forward, strike, 1.0, 1.0, backend="numpy")
    assert set(np.unique(status)) == {Status.OK, Status.NOT_CONVERGED}
    assert np.isnan(vol[status == Status.NOT_CONVERGED]).all()
    with pytest.raises(NumericalError, match="did not reach a vol"):
        implied_vol(value, forward, strike, 1.0, 1.0, backend="numpy", on_error="raise")


@pytest.mark.parametrize(("log_ratio", "deviation"), [(40.0, 9.034), (198.9, 19.73)])
def test_far_beyond_any_market_the_vol_is_as_good_as_its_price(log_ratio: float, deviation: float) -> None:
    """A first value off by more than usual leaves no residue."""
    with mp.workdps(60):
        forward, strike = mp.exp(mp.mpf(log_ratio)), mp.mpf(1)
        value = float(exact.black(mp.mpf(float(forward)), strike, mp.mpf(1), mp.mpf(deviation), -1))
    vol, status = implied_vol(value, float(forward), 1.0, 1.0, -1, resolution=np.inf)
    truth, slope = exact_vol(value, float(forward), 1.0, 1.0, 1.0, -1.0, start=deviation)
    assert status == Status.OK
    assert abs(float(vol) - float(truth)) <= ROUNDINGS_ALLOWED * (
        float(slope) * np.spacing(value) + np.spacing(float(truth))
    )


def test_formula_uses_the_status_codes_of_errors() -> None:
    for name in ("OK", "BELOW_INTRINSIC", "ABOVE_MAXIMUM", "NOT_CONVERGED", "NOT_DETERMINED"):
        assert getattr(black76, name) == Status[name], name


def test_resolution_decides_what_is_determined() -> None:
    """A call 35 % in the money three weeks out holds its vol to eight digits, not to ten."""
    contract = (0.35000000053458924, 1.0, 0.65, 0.0191780822, 1)
    assert implied_vol(*contract)[1] == Status.NOT_DETERMINED
    assert implied_vol(*contract, resolution=1e-9)[1] == Status.NOT_DETERMINED
    vol, status = implied_vol(*contract, resolution=1e-8)
    assert status == Status.OK
    assert vol == pytest.approx(0.582632511653753, rel=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_backends_agree(family: str) -> None:
    """The same status everywhere; the same vol to the roundings that the price allows."""
    case = quotes(family, 3_000, seed=3)
    vol, status = implied_vol(**arguments(case), backend="numpy")
    found = status == Status.OK
    assert found.mean() > 0.1
    step = price(**{k: v for k, v in case.items() if k != "price"} | {"vol": case["vol"] * (1 + 1e-6)}, backend="numpy")
    vega = (step - case["price"]) / (1e-6 * case["vol"])
    with np.errstate(divide="ignore"):
        allowed = ROUNDINGS_ALLOWED * (np.spacing(case["price"]) / vega + np.spacing(case["vol"]))
    for backend in ("numba", "jax"):
        other, other_status = implied_vol(**arguments(case), backend=backend)
        # A sensitivity within its own rounding of the resolution may be judged either way.
        assert (other_status != status).mean() <= 1 / 1_000
        both = found & (other_status == Status.OK)
        assert (np.abs(other - vol)[both] <= allowed[both]).all()


def test_inputs_of_every_kind() -> None:
    series, status = implied_vol(pd.Series([8.0, 9.0], index=[7, 3]), [100, 100], 100.0, 1, 1)
    assert series.shape == status.shape == (2,)
    single, single_status = implied_vol(8.0, 100, 100, 1, 1)
    assert single.shape == single_status.shape == ()
    assert float(single) == series[0]
    table, _ = implied_vol([[8.0], [9.0]], 100.0, [100.0, 101.0, 102.0], 1.0, np.array(1, dtype=np.int8))
    assert table.shape == (2, 3)
    assert table[:, 0].tolist() == series.tolist()
    empty, empty_status = implied_vol([], 100.0, 100.0, 1.0, 1)
    assert empty.shape == empty_status.shape == (0,)


def test_inputs_are_left_alone() -> None:
    given_prices = np.array([8.0, math.nan, 200.0])
    given_prices.flags.writeable = False
    for mode in ("nan", "clip"):
        implied_vol(given_prices, 100.0, 100.0, [1.0, 1.0, 0.0], 1, on_error=mode)
    assert given_prices.tolist()[::2] == [8.0, 200.0]


@pytest.mark.parametrize("model", ["black76", "inverse"])
@pytest.mark.parametrize("discount", [1.0, 0.93])
def test_clip(model: str, discount: float) -> None:
    """0 at and below the intrinsic value, inf at and above the maximum, NaN for bad input; the status stays."""
    forward, strike = np.array([120.0, 117.3, 1e5 / 3]), np.array([100.0, 200 / 3, 1234.5])
    unit = forward if model == "inverse" else 1.0
    intrinsic = price(forward, strike, 1.0, 0.0, 1, discount, model=model)
    maximum = discount * forward / unit
    for value, status, expected in (
        (intrinsic, Status.NOT_DETERMINED, 0.0),
        (0.9 * intrinsic, Status.BELOW_INTRINSIC, 0.0),
        (maximum, Status.NOT_DETERMINED, math.inf),
        (1.1 * maximum, Status.ABOVE_MAXIMUM, math.inf),
    ):
        vol, found = implied_vol(value, forward, strike, 1.0, 1, discount, model=model, on_error="clip")
        assert (found == status).all()
        assert (vol == expected).all()
    vol, found = implied_vol([8.0, math.nan, 8.0], 100.0, 100.0, [1.0, 1.0, 0.0], 1, model="black76", on_error="clip")
    assert found.tolist() == [Status.OK, Status.NOT_FINITE, Status.EXPIRED]
    assert np.isnan(vol).tolist() == [False, True, True]


def test_raise_names_every_element() -> None:
    with pytest.raises(DataError) as bad:
        implied_vol(
            [8.0, 500.0, 8.0, 8.0], 100.0, [100.0, 100.0, math.nan, 100.0], [1.0, 1.0, 1.0, 0.0], 1, on_error="raise"
        )
    problems = [(problem.row, problem.field) for problem in bad.value.problems]
    assert problems == [(1, "price"), (2, "strike"), (3, "tau")]
    assert "row 1, price = 500.0: above" in str(bad.value)
    with pytest.raises(NumericalError, match=r"row \(1, 0\), price = 20.0: one rounding"):
        implied_vol([[8.0], [20.0]], [[100.0], [120.0]], 100.0, 1.0, 1, on_error="raise")
    with pytest.raises(DataError, match="do not broadcast"):
        implied_vol([1.0, 2.0], [1.0, 2.0, 3.0], 1.0, 1.0, 1)
    fine, _ = implied_vol([8.0, 9.0], 100.0, 100.0, 1.0, 1, on_error="raise")
    assert np.isfinite(fine).all()


@pytest.mark.parametrize(
    "wrong", [{"model": "linear"}, {"model": "../x"}, {"backend": "torch"}, {"on_error": "ignore"}, {"resolution": 0.0}]
)
def test_unknown_choices(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        implied_vol(8.0, 100.0, 100.0, 1.0, 1, **wrong)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inverse(backend: str) -> None:
    """A coin price is a price in quote currency over the forward."""
    forward, strike = 68_000.0, np.array([40_000.0, 60_000.0, 68_000.0, 70_000.0, 120_000.0])
    for sign in (1, -1):
        coin = price(forward, strike, 0.1, 0.6, sign, model="inverse")
        vol, status = implied_vol(coin, forward, strike, 0.1, sign, model="inverse", backend=backend)
        assert (status == Status.OK).all()
        assert vol == pytest.approx(np.full(5, 0.6), abs=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_smallest_prices_at_the_money(backend: str) -> None:
    """There the vol is the price by sqrt(2 pi); squares of it are below all doubles."""
    value = np.array([1e-30, 1e-99, 1e-101, 1e-140, 1e-151, 1e-200, 1e-300])
    vol, status = implied_vol(value, 100.0, 100.0, 4.0, -1, 0.5, backend=backend)
    assert (status == Status.OK).all()
    assert vol == pytest.approx(value * math.sqrt(2 * math.pi) / 100, rel=1e-14, abs=0.0)
    vol, status = implied_vol([1e-310, 1e-300], [100.0, 1e100], [100.0, 1e100], 1.0, 1, backend=backend)
    assert (status == Status.NOT_DETERMINED).all() and np.isnan(vol).all()


def test_a_million_wrong_prices_are_counted_and_the_first_are_listed() -> None:
    rows = 1_000_000
    price = np.full(rows, 200.0)
    price[5] = np.nan
    with pytest.raises(DataError) as caught:
        implied_vol(price, 100.0, 100.0, 1.0, 1, on_error="raise")
    listed = caught.value.problems
    assert caught.value.count == rows
    assert [problem.row for problem in listed] == list(range(PROBLEMS_SHOWN + 1))
    assert "must be a finite number" in listed[5].remedy and "above what the option can be worth" in listed[6].remedy
