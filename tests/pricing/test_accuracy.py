"""How many digits are right: prices out of the money to 1e-13 down to 1e-300, normal vols to their last roundings."""

from __future__ import annotations

import importlib
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.accuracy import black_greeks, natural_scales
from pricing import Status, implied_vol, price
from pricing.backends import numba as kernels
from pricing.greek_names import GREEK_NAMES
from pricing.models import black76
from pricing.price import BACKENDS
from tests.naive import exact
from tests.vectors import literature_vectors

RELATIVE = 1e-13
SMALLEST = 1e-300
ROUNDINGS_ALLOWED = 10.0
FAMILIES = ("anywhere", "core", "near", "at the money", "high vol", "far", "seam", "edge")


def deviations(family: str, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """vol sqrt(tau) and ln(K/F) of one family; "seam", "edge" lie where the formula changes form."""
    side = random.choice([-1.0, 1.0], count)
    if family == "anywhere":
        s = 10 ** random.uniform(-5, 0.7, count)
        return s, random.uniform(-37, 37, count) * s
    if family == "core":
        s = 10 ** random.uniform(-2, 0.5, count)
        return s, random.normal(0, 1, count) * s
    if family == "near":
        return 10 ** random.uniform(-7, 1, count), side * 10 ** random.uniform(-16, 0, count)
    if family == "at the money":
        return 10 ** random.uniform(-8, 1.5, count), np.zeros(count)
    if family == "high vol":
        return random.uniform(3, 12, count), random.normal(0, 20, count)
    if family == "far":
        s = 10 ** random.uniform(-1.5, 0.5, count)
        return s, side * random.uniform(25, 37.3, count) * s
    if family == "edge":
        # Either side of what the short way is good for: deviations, deviations per v, the v of its series.
        s, edges = 10 ** random.uniform(-6, 0.5, count), random.integers(0, 3, count)
        far = np.where(edges == 0, random.uniform(6, 8.5, count), s * random.uniform(30, 60, count))
        s = np.where(edges == 2, random.uniform(0.05, 0.07, count), s)
        return s, side * np.where(edges == 2, random.uniform(0.2, 0.3, count), (far + s / 2) * s)
    return random.uniform(0.2, 0.3, count), side * random.uniform(0.2, 0.3, count)


@pytest.mark.parametrize("family", FAMILIES)
def test_black_prices_to_thirteen_digits(family: str, report_vectors: Any) -> None:
    random = np.random.default_rng([31, FAMILIES.index(family)])
    s, x = deviations(family, 250, random)
    forward, tau = 100 * 10 ** random.uniform(-2, 2, len(s)), 10 ** random.uniform(-6, 1.5, len(s))
    forward = np.where(np.abs(x) > 600, 1.0, forward)
    strike, vol = forward * np.exp(x), s / np.sqrt(tau)
    sign = np.where(forward <= strike, 1.0, -1.0)
    ours = {backend: price(forward, strike, tau, vol, sign, backend=backend) for backend in BACKENDS}
    deep = price(forward, strike, tau, vol, -sign)
    errors, absolute = [], []
    with mp.workdps(60):
        for row in range(len(s)):
            terms = tuple(mp.mpf(float(c[row])) for c in (forward, strike, tau, vol))
            truth = exact.black(*terms, int(sign[row]))
            if truth >= SMALLEST:
                errors += [float(abs(ours[backend][row] / truth - 1)) for backend in BACKENDS]
            inside = exact.black(*terms, -int(sign[row]))
            absolute.append(float(abs(deep[row] - inside)) / max(forward[row], strike[row]))
    report_vectors(len(errors), max(errors), "of the price", f"Black-76 out of the money, {family}")
    report_vectors(len(absolute), max(absolute), "of max(F, K)", f"Black-76 in the money, {family}")
    assert max(errors) < RELATIVE
    assert max(absolute) < 1e-15


def test_usual_rows_and_others_in_one_call() -> None:
    """Rows the short way is not enough for, at any place and across blocks, beside rows that are no contracts."""
    random = np.random.default_rng(8)
    size = 33_768
    forward, tau = random.uniform(50, 150, size), 10 ** random.uniform(-3, 0.3, size)
    vol, sign = random.uniform(0.05, 2, size), np.ones(size)
    far = random.uniform(size=size) < 0.3
    deviation = np.where(far, random.uniform(8, 30, size), random.normal(0, 1, size))
    strike, discount = forward * np.exp(deviation * vol * np.sqrt(tau)), np.exp(-0.03 * tau)
    columns = tuple(column.copy() for column in (forward, strike, tau, vol, discount, sign))
    columns[3][::7] = 0.0  # worth its intrinsic value
    columns[2][5::7] = 0.0
    columns[0][3::1_000] = -1.0
    columns[4][4::1_000] = np.nan
    columns[5][6::1_000] = 0.5
    fast, careful = kernels.value(black76, columns), kernels.greeks(black76, columns, third_order=True)
    nine = kernels.greeks(black76, columns)
    bad = np.zeros(size, dtype=bool)
    bad[3::1_000] = bad[4::1_000] = bad[6::1_000] = True
    assert np.array_equal(np.isnan(fast), bad) and np.array_equal(np.isnan(nine[0]), bad)
    good = ~bad
    assert np.allclose(fast[good], nine[0][good], rtol=4e-15, atol=0)
    assert np.max(np.abs(fast - careful[0])[good] / np.maximum(forward, strike)[good]) < 1.5e-15
    for ours, theirs in zip(nine[1:], careful[1:9], strict=True):
        natural = np.abs(theirs[good]) + 1e-3 * np.max(np.abs(theirs[good]))
        assert np.max(np.abs(ours - theirs)[good] / natural) < 1e-12
    for threads in (2, 3):
        assert np.array_equal(kernels.value(black76, columns, threads)[good], fast[good])


@pytest.mark.parametrize("family", ["core", "edge", "seam", "high vol"])
def test_black_greeks_to_their_last_digits(family: str, report_vectors: Any) -> None:
    """Error of each Greek over the size it has where it is large; at total vols above 3 d1 has fewer digits."""
    random = np.random.default_rng([33, FAMILIES.index(family)])
    s, x = deviations(family, 150, random)
    forward, tau = 100 * 10 ** random.uniform(-2, 2, len(s)), 10 ** random.uniform(-6, 1.5, len(s))
    discount, sign = np.exp(-random.uniform(-0.02, 0.06, len(s)) * tau), random.choice([-1.0, 1.0], len(s))
    columns = forward, forward * np.exp(x), tau, s / np.sqrt(tau), discount, sign
    ours = dict(zip(GREEK_NAMES, kernels.greeks(black76, columns), strict=True))
    scales, errors = natural_scales(columns), []
    for row in range(len(s)):
        truth = black_greeks(*(float(column[row]) for column in columns))
        with mp.workdps(60):
            errors += [float(abs(ours[n][row] - truth[n])) / scales[n][row] for n in truth if n in ours]
    report_vectors(len(errors), max(errors), "of its size", f"Black-76 Greeks, {family}")
    assert len(errors) == 8 * len(s)
    assert max(errors) < (4e-15 if family == "high vol" else 1e-15)


@settings(max_examples=300, deadline=None)
@given(
    forward=st.floats(1e-3, 1e6),
    distance=st.floats(-36.9, 36.9),
    tau=st.floats(1e-7, 30.0),
    deviation=st.floats(1e-6, 8.0),
    backend=st.sampled_from(["numpy", "numba"]),
)
def test_black_prices_wherever_hypothesis_looks(
    forward: float, distance: float, tau: float, deviation: float, backend: str
) -> None:
    strike = forward * math.exp(distance * deviation)
    vol, sign = deviation / math.sqrt(tau), 1 if forward <= strike else -1
    ours = float(price(forward, strike, tau, vol, sign, backend=backend))
    with mp.workdps(60):
        truth = exact.black(*(mp.mpf(v) for v in (forward, strike, tau, vol)), sign)
        assert truth < SMALLEST or abs(ours / truth - 1) < RELATIVE


@pytest.mark.parametrize("model", ["bachelier", "displaced", "black_scholes_merton"])
def test_other_prices_to_thirteen_digits(model: str, report_vectors: Any) -> None:
    random = np.random.default_rng(32)
    n = 300
    forward, tau = 100 * 10 ** random.uniform(-2, 2, n), 10 ** random.uniform(-5, 1, n)
    s, distance = 10 ** random.uniform(-4, 0.3, n), random.uniform(-36, 36, n)
    vol = s / np.sqrt(tau)
    extra: dict[str, np.ndarray] = {}
    if model == "bachelier":
        forward = forward * random.choice([-1.0, 1.0], n)
        strike = forward + distance * s * np.abs(forward)
        vol, middle = vol * np.abs(forward), forward
    if model == "displaced":
        extra["displacement"] = random.uniform(-0.9, 2, n) * forward
        middle = forward
        shifted = forward + extra["displacement"]
        strike = shifted * np.exp(np.where(np.abs(distance * s) < 20, distance, 1.0) * s) - extra["displacement"]
    if model == "black_scholes_merton":
        extra = {"rate": random.uniform(-0.05, 0.1, n), "dividend_yield": random.uniform(0, 0.1, n)}
        middle = forward * np.exp((extra["rate"] - extra["dividend_yield"]) * tau)
        strike = middle * np.exp(distance * s)
    sign = np.where(middle <= strike, 1, -1)
    errors = []
    for backend in BACKENDS:
        ours = price(forward, strike, tau, vol, sign, model=model, backend=backend, **extra)
        with mp.workdps(60):
            for row in range(n):
                f, k, t, v = (mp.mpf(float(c[row])) for c in (forward, strike, tau, vol))
                discount = mp.mpf(1)
                if model == "displaced":
                    f, k = f + mp.mpf(extra["displacement"][row]), k + mp.mpf(extra["displacement"][row])
                if model == "black_scholes_merton":
                    rate, dividend = (mp.mpf(extra[name][row]) for name in ("rate", "dividend_yield"))
                    f, discount = f * mp.exp((rate - dividend) * t), mp.exp(-rate * t)
                formula = exact.bachelier if model == "bachelier" else exact.black
                with mp.workdps(400 if model == "bachelier" else 60):
                    truth = discount * formula(f, k, t, v, int(sign[row]))
                if truth >= SMALLEST:
                    errors.append(float(abs(ours[row] / truth - 1)))
    report_vectors(len(errors), max(errors), "of the price", f"{model} out of the money")
    assert max(errors) < RELATIVE


@pytest.mark.parametrize("backend", BACKENDS)
def test_primitives(backend: str) -> None:
    """What the formulas rest on, each beside 60 digits."""
    evaluated = evaluate_primitives(backend)
    x, y = evaluated["x"], evaluated["y"]
    with mp.workdps(60):
        for row in range(len(x)):
            a, b = mp.mpf(float(x[row])), mp.mpf(float(y[row]))
            mills = mp.sqrt(mp.pi / 2) * mp.exp(a * a / 2) * mp.erfc(a / mp.sqrt(2))
            assert abs(evaluated["mills"][row] / mills - 1) < 2e-15
            assert abs(evaluated["rest"][row] / (1 - a * mills) - 1) < 2e-15
            assert abs(evaluated["rsqrt"][row] * mp.sqrt(a) - 1) < 5e-16
            logarithm = mp.log(a / b)
            both = mp.mpf(float(evaluated["log"][row])) + mp.mpf(float(evaluated["log_rest"][row]))
            assert abs(both / logarithm - 1) < 2e-17
            product = mp.mpf(float(x[row] * y[row]))
            assert abs(mp.mpf(float(evaluated["lost"][row])) - (a * b - product)) <= mp.mpf(2) ** -104 * product


def evaluate_primitives(backend: str) -> dict[str, np.ndarray]:
    """Every primitive at the same numbers; within numba called from a loop, as kernels call them."""
    xp = importlib.import_module(f"pricing.xp.{backend}")
    random = np.random.default_rng(33)
    x = np.concatenate([10 ** random.uniform(-6, 1.57, 150), random.uniform(0.1, 38, 150)])
    y = np.concatenate([x[:150] * (1 + 10 ** random.uniform(-14, -1, 150)), 10 ** random.uniform(-30, 30, 150)])

    def row(a: Any, b: Any) -> Any:
        mills, rest = xp.mills_and_rest(a)
        log, log_rest = xp.log_ratio_parts(a, b)
        return mills, rest, xp.rsqrt(a), log, log_rest, xp.product_minus(a, b, a * b)

    names = ("mills", "rest", "rsqrt", "log", "log_rest", "lost")
    if backend == "numpy":
        columns = row(x, y)
    elif backend == "jax":
        with xp.double_precision():
            columns = tuple(np.asarray(c) for c in (*xp.mills_and_rest(x), xp.rsqrt(x), *xp.log_ratio_parts(x, y)))
            columns = (*columns, np.asarray(xp.product_minus(x, y, x * y)))
    else:
        import numba

        compiled = numba.njit(row, fastmath=set(xp.FAST_FLAGS), error_model="numpy")
        columns = tuple(np.array(c) for c in zip(*(compiled(a, b) for a, b in zip(x, y, strict=True)), strict=True))
    return {"x": x, "y": y, **dict(zip(names, columns, strict=True))}


@pytest.mark.parametrize("backend", BACKENDS)
def test_normal_vol_within_a_few_roundings_of_the_exact_root(backend: str, report_vectors: Any) -> None:
    random = np.random.default_rng(34)
    n = 150
    forward, tau = random.uniform(-100, 100, n), 10 ** random.uniform(-5, 1, n)
    vol = 10 ** random.uniform(-3, 2, n)
    distance = np.where(random.uniform(size=n) < 0.5, random.normal(0, 1.5, n), random.uniform(-30, 30, n))
    distance = np.where(random.uniform(size=n) < 0.2, 10 ** random.uniform(-14, -1, n), distance)
    strike = forward + distance * vol * np.sqrt(tau)
    sign, discount = random.choice([-1.0, 1.0], n), random.uniform(0.7, 1, n)
    value = price(forward, strike, tau, vol, sign, discount, model="bachelier", backend="numpy")
    contract = (value, forward, strike, tau, sign, discount)
    root, status = implied_vol(*contract, model="bachelier", backend=backend, resolution=math.inf)
    found, found_status = implied_vol(*contract, model="bachelier", backend=backend)
    roundings = []
    for row in np.flatnonzero(status == Status.OK):
        truth = exact.normal_vol(value[row], forward[row], strike[row], tau[row], discount[row], sign[row])
        with mp.workdps(60):
            d = (mp.mpf(forward[row]) - mp.mpf(strike[row])) / (truth * mp.sqrt(mp.mpf(tau[row])))
            moved = float(np.spacing(value[row]) / (discount[row] * mp.npdf(d) * mp.sqrt(mp.mpf(tau[row]))))
            error = float(abs(root[row] - truth))
        roundings.append(error / (moved + np.spacing(root[row])))
        if found_status[row] == Status.OK:
            assert found[row] == root[row]
            assert moved <= 1.01e-10 * float(truth)
        else:
            assert found_status[row] == Status.NOT_DETERMINED
            assert moved >= 0.99e-10 * float(truth)
    lost = status[status != Status.OK]
    assert np.isin(lost, (Status.NOT_DETERMINED, Status.BELOW_INTRINSIC)).all()
    report_vectors(len(roundings), max(roundings), "roundings", f"normal vol, {backend}")
    assert len(roundings) > 100
    assert max(roundings) <= ROUNDINGS_ALLOWED


@pytest.mark.reference
@pytest.mark.parametrize("backend", BACKENDS)
def test_literature_bachelier_implied_vol(backend: str, report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("bachelier_implied_vol"):
        i, expected = v["inputs"], v["expected"]["implied_normal_vol"]
        sign = 1 if i["option"] == "call" else -1
        terms = (i["price"], i["forward"], i["strike"], i["t_years"], sign, i["discount"])
        vol, status = implied_vol(*terms, model="bachelier", backend=backend)
        assert status == Status.OK
        errors.append(abs(float(vol) - expected) / v["tolerance"]["implied_normal_vol"]["abs"])
    report_vectors(len(errors), max(errors), "of the tolerance", f"bachelier_implied_vol {backend}")
    assert max(errors) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_normal_vol_statuses(backend: str) -> None:
    """Any forward and strike will do; there is no largest price; the ends and bad input have a status."""
    cases = [
        (10.0, -3.0, 5.0, 1.0, 1, Status.OK),
        (1e9, -3.0, 5.0, 1.0, -1, Status.OK),
        (7.9, 5.0, -3.0, 1.0, 1, Status.BELOW_INTRINSIC),
        (8.0, 5.0, -3.0, 1.0, 1, Status.NOT_DETERMINED),
        (0.0, 5.0, 5.0, 1.0, 1, Status.NOT_DETERMINED),
        (-1.0, 5.0, 5.0, 1.0, 1, Status.BELOW_INTRINSIC),
        (8.0, 5.0, 5.0, 0.0, 1, Status.EXPIRED),
        (math.nan, 5.0, 5.0, 1.0, 1, Status.NOT_FINITE),
        (8.0, math.inf, 5.0, 1.0, 1, Status.NOT_FINITE),
    ]
    columns = [np.array(column, dtype=float) for column in zip(*cases, strict=True)]
    vol, status = implied_vol(*columns[:5], model="bachelier", backend=backend)
    assert status.tolist() == columns[5].tolist()
    assert (np.isnan(vol) == (status != Status.OK)).all()
    clipped, _ = implied_vol(*columns[:5], model="bachelier", backend=backend, on_error="clip")
    assert clipped[2:6].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert price(-3.0, 5.0, 1.0, vol[0], 1, model="bachelier") == pytest.approx(10.0, rel=1e-14)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 39, 40, 41, 72, 1_000, 32_768, 40_003])
def test_greeks_past_the_caches(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits wherever outputs begin within a cache line, on any number of threads, and nothing beside them."""
    random = np.random.default_rng(size)
    tau, vol, sign = random.uniform(0.01, 2, size), random.uniform(0.05, 2, size), random.choice([-1.0, 1.0], size)
    forward = random.uniform(50, 150, size)
    strike = forward * np.exp(random.normal(0, 4, size) * vol * np.sqrt(tau))
    columns = (forward, strike, tau, vol, np.exp(-0.03 * tau), sign)
    expected = kernels.greeks(black76, columns)
    monkeypatch.setattr(kernels, "CACHED_ROWS", 0)
    for shift in range(9):
        rooms = [np.full(size + 24, 7.0) for _ in range(kernels.GREEKS)]
        # The last round shifts all alike, as numpy's own large arrays are, the others each in its own way.
        starts = [8 + (shift + place * (shift < 8)) % 8 for place in range(kernels.GREEKS)]
        out = tuple(room[start : start + size] for room, start in zip(rooms, starts, strict=True))
        kernels.greeks(black76, columns, 1 + shift % 3, out=out)
        for room, start, result, right in zip(rooms, starts, out, expected, strict=True):
            assert np.array_equal(result, right)
            assert np.all(room[:start] == 7.0) and np.all(room[start + size :] == 7.0)
