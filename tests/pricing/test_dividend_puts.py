"""Puts with known dividends in cash, escrowed: QuantLib, a binomial tree, and what must hold."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pricing import DataError, UnsolvedError, american_implied_vol, american_price, dividend_puts, price
from pricing.dividends import american_with_dividends
from tests.naive.dividends import put_with_dividends

QUARTERLY = np.array([60.0, 150.0, 240.0, 330.0]) / 365
# strike, days, vol, rate, days of the dividends, amount: from no boundary between them to one nearly throughout
CASES = (
    (100.0, 365, 0.30, 0.05, (60, 150, 240, 330), 1.5),
    (110.0, 200, 0.40, 0.02, (10, 190), 3.0),
    (130.0, 365, 0.20, 0.08, (60, 150, 240, 330), 0.5),
    (100.0, 365, 0.30, 0.05, (60, 150, 240, 330), 0.2),
    (120.0, 500, 0.20, 0.05, (30, 120, 210, 300, 390, 480), 0.01),
)


# Deep in the money, where all of the boundary counts.
DEEP = (150.0, 205, 0.20, 0.043, (20, 110, 200, 290), 1.0)


def ours(spot: float, case: tuple) -> dict[str, float]:
    strike, days, vol, rate, dates, amount = case
    schedule = (np.array(dates) / 365, np.full(len(dates), amount))
    found = american_with_dividends(spot, strike, days / 365, vol, -1, rate, *schedule)
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("case", CASES)
def test_against_quantlib(case: tuple) -> None:
    """Its error is of first order in the time step: two grids, extrapolated, are right to about 1e-4."""
    ql = pytest.importorskip("QuantLib")
    strike, life, vol, rate, dates, amount = case
    today, days = ql.Date(1, 1, 2026), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    flat = [ql.YieldTermStructureHandle(ql.FlatForward(today, level, days)) for level in (0.0, rate)]
    surface = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), vol, days))
    spot = 0.95 * strike
    process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(spot)), *flat, surface)
    option = ql.VanillaOption(ql.PlainVanillaPayoff(ql.Option.Put, strike), ql.AmericanExercise(today, today + life))
    engine, paid = ql.FdBlackScholesVanillaEngine, ql.DividendVector([today + d for d in dates], [amount] * len(dates))
    found = []
    for steps in (200, 400):
        scheme = ql.FdmSchemeDesc.Douglas()
        option.setPricingEngine(engine(process, paid, steps, 2 * steps, 0, scheme, False, -1.0, engine.Escrowed))
        found.append(np.array([option.NPV(), option.delta(), option.gamma()]))
    expected = 2.0 * found[1] - found[0]
    mine = ours(spot, case)
    assert mine["price"] == pytest.approx(expected[0], abs=4e-4)
    assert mine["delta"] == pytest.approx(expected[1], abs=1e-4)
    assert mine["gamma"] == pytest.approx(expected[2], abs=5e-5)


@pytest.mark.parametrize("case", CASES)
def test_against_a_tree(case: tuple) -> None:
    strike, days, vol, rate, dates, amount = case
    schedule = [(date / 365, amount) for date in dates]
    expected = put_with_dividends(100.0, strike, days / 365, vol, rate, schedule)
    assert ours(100.0, case)["price"] == pytest.approx(expected, abs=5e-3)


def drawn(count: int, seed: int, least: float) -> list[tuple]:
    """Arguments of puts on a spot of 100 with up to four dividends, each from `least` to 3."""
    random, puts = np.random.default_rng(seed), []
    for _ in range(count):
        several, tau = random.integers(1, 5), random.uniform(0.1, 2.0)
        dates = np.sort(random.uniform(0.01, 0.98, several)) * tau
        amounts = np.exp(random.uniform(np.log(least), np.log(3.0), several))
        terms = (100.0 * np.exp(random.uniform(-0.3, 0.45)), tau, random.uniform(0.1, 0.6))
        puts.append((100.0, *terms, -1, random.uniform(0.01, 0.1), dates, amounts))
    return puts


FOUND_BY_ATTACK = (100, 148.99484941526498, 2, 0.3711632507420737, -1, 0.09015294414527647, [1.1939542708861712], [0.1])
FINER = {"STRIDE": 0.17, "DEGREE": 6, "POINTS": 8, "FIRST_POINTS": 20, "PANELS": 14, "PANEL_POINTS": 24, "REACH": 18.0}


def test_stated_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    """1e-8 of the spot, tiny dividends and large: nothing changes more with more nodes, points and digits."""
    puts = [*drawn(8, 21, 0.01), *drawn(6, 22, 1e-8), FOUND_BY_ATTACK]
    puts += [
        (100.0, case[0], case[1] / 365, *case[2:3], -1, case[3], np.array(case[4]) / 365, [case[5]] * len(case[4]))
        for case in (*CASES, DEEP)
    ]
    before = [american_with_dividends(*put) for put in puts]
    for name, value in FINER.items():
        monkeypatch.setattr(dividend_puts, name, value)
    monkeypatch.setattr(dividend_puts, "LEAST_INTEREST", 1.5e-10)
    for put, found in zip(puts, before, strict=True):
        after = american_with_dividends(*put)
        assert found["price"] == pytest.approx(after["price"], abs=1e-8 * 100.0, rel=0), put
        assert found["delta"] == pytest.approx(after["delta"], abs=1e-7, rel=0), put


def test_against_a_method_of_lower_order() -> None:
    """The put of FOUND_BY_ATTACK, where ln(K/B) itself goes by parabolas, of third order, through points where waiting
    is worth as much as exercise: 144, 300, 450 and 700 nodes leave 49.2464555, 4453, 4445 and 4443."""
    assert float(american_with_dividends(*FOUND_BY_ATTACK)["price"]) == pytest.approx(49.2464442, abs=1.5e-6)


@pytest.mark.parametrize("terms", [(100.0, 1.0, 0.3, 0.05, 0.5), (147.03, 2.0, 0.3833, 0.06434, 1.512)])
def test_small_dividends_do_little(terms: tuple) -> None:
    """A dividend changes a put by its own worth at most, either way, and from one size to the next as evenly."""
    strike, tau, vol, rate, date = terms
    plain = float(american_price(100.0, strike, tau, vol, -1, rate, accuracy="accurate"))
    found = []
    sizes = (1e-12, 1e-9, 9e-8, 1.2e-7, 1e-6, 1e-5, 1e-4, 1e-3)
    for size in sizes:
        found.append(float(american_with_dividends(100.0, strike, tau, vol, -1, rate, [date], [size])["price"]))
        assert abs(found[-1] - plain) <= size + 5e-7
    rises = np.diff(found)
    assert np.all(np.abs(rises) <= np.diff(sizes) + 5e-7)
    # At one vol of what is left of the spot a large dividend takes time value from a put deep in the money.
    assert np.all(rises * np.sign(found[-1] - plain) >= -5e-7)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_backends_agree(backend: str) -> None:
    given = american_with_dividends(*FOUND_BY_ATTACK)
    for name, value in american_with_dividends(*FOUND_BY_ATTACK, backend=backend).items():
        assert value == pytest.approx(given[name], abs=1e-9), name
    dates, amounts = FOUND_BY_ATTACK[6:]
    vol, status = american_implied_vol(
        given["price"], *FOUND_BY_ATTACK[:3], -1, FOUND_BY_ATTACK[5], dividends=(dates, amounts), backend=backend
    )
    assert int(status) == 0
    assert float(vol) == pytest.approx(FOUND_BY_ATTACK[3], abs=1e-7)


def test_delta_and_gamma_are_the_derivatives() -> None:
    spot, step = np.linspace(80.0, 140.0, 9), 0.02
    terms = (100.0, 1.0, 0.3, -1, 0.05, QUARTERLY, np.full(4, 0.3))
    low, middle, high = (american_with_dividends(spot + k * step, *terms) for k in (-1, 0, 1))
    assert middle["delta"] == pytest.approx((high["price"] - low["price"]) / (2 * step), abs=2e-6)
    assert middle["gamma"] == pytest.approx((high["delta"] - low["delta"]) / (2 * step), abs=2e-6)


def test_limits() -> None:
    """No dividend is the American put without; no rate the European; far in the money it is exercised at once."""
    spot, strike = np.array([80.0, 100.0, 125.0]), 100.0
    plain = american_price(spot, strike, 1.0, 0.3, -1, 0.05)
    for schedule in (([], []), ([2.0], [5.0]), (QUARTERLY, np.zeros(4))):
        found = american_with_dividends(spot, strike, 1.0, 0.3, -1, 0.05, *schedule)
        assert found["price"] == pytest.approx(plain, abs=1e-8)
    free = american_with_dividends(spot, strike, 1.0, 0.3, -1, 0.0, QUARTERLY, np.ones(4))
    assert free["price"] == pytest.approx(price(spot - 4.0, strike, 1.0, 0.3, -1), abs=1e-12)
    deep = american_with_dividends(40.0, strike, 1.0, 0.2, -1, 0.08, QUARTERLY, np.full(4, 0.1))
    assert [float(deep[name]) for name in ("price", "delta", "gamma")] == [60.0, -1.0, 0.0]
    waits = american_with_dividends(40.0, strike, 1.0, 0.2, -1, 0.08, QUARTERLY, np.full(4, 3.0))
    assert float(waits["price"]) > 60.0


def test_what_must_hold() -> None:
    spot = np.linspace(60.0, 150.0, 19)
    terms = (100.0, 1.0, 0.3, -1, 0.05)
    by_size = [american_with_dividends(spot, *terms, QUARTERLY, np.full(4, size))["price"] for size in (0.1, 0.5, 2.0)]
    for less, more in itertools.pairwise(by_size):
        assert np.all(more >= less - 1e-6)
    for values in by_size:
        slope = np.diff(values) / np.diff(spot)
        assert np.all((slope <= 1e-9) & (slope >= -1 - 1e-9))
        assert np.all(np.diff(slope) >= -1e-7)
        assert np.all(values >= np.maximum(100.0 - spot, 0.0) - 1e-7)
    worth = sum(0.5 * math.exp(-0.05 * date) for date in QUARTERLY)
    european = price((spot - worth) * math.exp(0.05), 100.0, 1.0, 0.3, -1, math.exp(-0.05))
    assert np.all(by_size[1] >= european - 1e-9)
    # Calls and puts in one call, in their places.
    both = american_with_dividends(100.0, 100.0, 1.0, 0.3, [1, -1, 1], 0.05, QUARTERLY, np.full(4, 0.5))["price"]
    alone = [
        float(american_with_dividends(100.0, *terms[:3], s, 0.05, QUARTERLY, np.full(4, 0.5))["price"]) for s in (1, -1)
    ]
    assert both == pytest.approx([alone[0], alone[1], alone[0]], abs=1e-9)


def test_refused_where_the_spot_drops() -> None:
    with pytest.raises(DataError, match="puts are solved with the dividends escrowed"):
        american_with_dividends(100.0, 100.0, 1.0, 0.3, -1, 0.05, QUARTERLY, np.ones(4), convention="drop")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"spot": 1e150, "strike": 1e150}, "rate = 0.05: leaves no forward"),
        ({"sign": 1, "rate": 1e3}, "rate = 1000.0: leaves no forward"),
        ({"strike": np.inf}, "strike = inf: must be at most 1e"),
        ({"strike": 0.0}, "strike = 0.0: must be above 0"),
    ],
)
def test_what_is_beyond_all_numbers_is_refused(change: dict, text: str) -> None:
    terms = {"spot": 100.0, "strike": 100.0, "tau": 1.0, "vol": 0.3, "sign": -1, "rate": 0.05} | change
    with pytest.raises(DataError, match=text):
        american_with_dividends(**terms, dividend_tau=[0.5], dividend=[1.0])


@pytest.mark.parametrize("vol", [1e-7, 1e-5, 4e-4])
def test_next_to_no_vol_is_refused(vol: float) -> None:
    with pytest.raises(UnsolvedError, match="drifts by more than 100 deviations"):
        american_with_dividends(100.0, 110.0, 1.0, vol, -1, 0.05, [0.5], [1.0])


def test_greeks_keep_their_bounds() -> None:
    spot = np.linspace(60.0, 140.0, 41)
    found = american_with_dividends(spot, 110.0, 1.0, 0.2, -1, 0.05, [0.4], [0.01])
    assert np.all((found["delta"] >= -1.0) & (found["delta"] <= 0.0))
    assert np.all(found["gamma"] >= 0.0)
    assert np.all(found["price"] >= np.maximum(110.0 - spot, 0.0))
