"""Risk arrays of American options on a share with known dividends: QuantLib, a tree, the prices of `pricing`."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from portfolio_margin.greeks import contract_greeks
from pricing import ConfigError, DataError, Exercise, Instruments, Market, MarketLimits, UnsolvedError, price
from pricing import dividend_puts as puts
from pricing.american import american_price
from pricing.dividends import american_with_dividends
from scenarios.revalue import revalue
from scenarios.shocks import ScenarioSet, VolDynamics, make
from scenarios.update import moved_contracts, update
from tests.naive.dividends import call_with_dividends, put_with_dividends
from tests.scenarios.test_american_book import DAY_MS, LIFE, RATE, market_and_options

DAYS, AMOUNTS = np.array([30, 120]), np.array([1.0, 1.5])
SCHEDULE = (DAYS / 365, AMOUNTS)
WORTH = float((AMOUNTS * np.exp(-RATE * SCHEDULE[0])).sum())
FORTY_DAYS = 40 / 365


def book(share: float = 1.0, exercise: Exercise = Exercise.AMERICAN) -> tuple[Instruments, Market]:
    """Spot 100, rate 5 %, two dividends before expiry, of which the forward says `share` of what they are worth."""
    instruments, market = market_and_options(exercise)
    forward = np.array([(100.0 - share * WORTH) * math.exp(RATE * LIFE), 100.0])
    known = {"dividend_underlying": np.zeros(2, np.int64), "dividend_time": DAYS * DAY_MS, "dividend": AMOUNTS}
    return instruments, replace(market, forward=forward, **known)


def moves() -> ScenarioSet:
    """None, down, up, so far down that puts are exercised, and forty days with a dividend in them."""
    return make(
        ["none", "down", "up", "crash", "later"],
        np.array([[0.0], [-0.1], [0.1], [-0.6], [0.05]]),
        vol_move=np.array([[0.0], [0.3], [-0.3], [0.0], [0.1]]),
        time_step_years=np.array([0.0, 0.0, 0.0, 0.0, FORTY_DAYS]),
        dynamics=VolDynamics(carry="held"),
    )


@pytest.mark.parametrize("share", [1.0, 1.3])
def test_every_scenario_is_the_price_in_its_market(share: float) -> None:
    instruments, market = book(share)
    arrays = revalue(instruments, market, moves())
    strike, sign, amounts = instruments.strike[:6], instruments.sign[:6], share * AMOUNTS
    for s, (move, vol) in enumerate([(1.0, 0.25), (0.9, 0.325), (1.1, 0.175), (0.4, 0.25)]):
        terms = (move * 100.0, strike, LIFE, vol, sign, RATE)
        after = american_with_dividends(*terms, SCHEDULE[0], move * amounts)["price"]
        assert arrays.value[:6] + arrays.pnl[:6, s] == pytest.approx(100.0 * after, abs=1e-5)
    # The forward is held, so what is left of the spot has grown at the rate; the first dividend has gone.
    left = 1.05 * (100.0 - share * WORTH) * math.exp(RATE * FORTY_DAYS)
    date, amount = SCHEDULE[0][1] - FORTY_DAYS, 1.05 * amounts[1]
    spot = left + amount * math.exp(-RATE * date)
    after = american_with_dividends(spot, strike, LIFE - FORTY_DAYS, 0.275, sign, RATE, [date], [amount])["price"]
    assert arrays.value[:6] + arrays.pnl[:6, 4] == pytest.approx(100.0 * after, abs=1e-5)
    crash = arrays.value[3:6] + arrays.pnl[3:6, 3]
    # Even so far in the money waiting for a dividend can be worth more than exercise now.
    assert np.all(crash >= 100.0 * (strike[3:] - 40.0) - 2e-6)
    assert arrays.pnl[6] == pytest.approx((moves().price_move * 100.0)[:, 0], abs=1e-6)


def test_against_a_grid_and_a_tree() -> None:
    instruments, market = book()
    arrays = revalue(instruments, market, moves())
    value = (arrays.value[:6, None] + arrays.pnl[:6]) / 100.0
    pairs = list(zip(SCHEDULE[0].tolist(), (0.9 * AMOUNTS).tolist(), strict=True))
    for row, strike in enumerate(instruments.strike[:3].tolist()):
        call = call_with_dividends(90.0, strike, LIFE, 0.325, RATE, pairs, escrowed=True)
        assert value[row, 1] == pytest.approx(call, abs=5e-4)
    put = put_with_dividends(90.0, 100.0, LIFE, 0.325, RATE, pairs)
    assert value[4, 1] == pytest.approx(put, abs=5e-3)


def test_against_quantlib() -> None:
    """Finite differences in the escrowed model, on two grids, extrapolated: right to about 1e-4."""
    ql = pytest.importorskip("QuantLib")
    instruments, market = book()
    market = replace(
        market,
        expiry_time=np.array([182 * DAY_MS, market.expiry_time[1]]),
        forward=np.array([(100.0 - WORTH) * math.exp(RATE * 182 / 365), 100.0]),
        discount=np.array([math.exp(-RATE * 182 / 365), 1.0]),
    )
    value = revalue(instruments, market, moves()).value[:6] / 100.0
    today, days = ql.Date(1, 1, 2026), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    flat = [ql.YieldTermStructureHandle(ql.FlatForward(today, level, days)) for level in (0.0, RATE)]
    surface = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), 0.25, days))
    process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(100.0)), *flat, surface)
    paid = ql.DividendVector([today + int(day) for day in DAYS], AMOUNTS.tolist())
    for row in (0, 1, 4, 5):
        kind = ql.Option.Call if row < 3 else ql.Option.Put
        payoff = ql.PlainVanillaPayoff(kind, float(instruments.strike[row]))
        option = ql.VanillaOption(payoff, ql.AmericanExercise(today, today + 182))
        found = []
        for steps in (200, 400):
            engine = ql.FdBlackScholesVanillaEngine
            scheme = ql.FdmSchemeDesc.Douglas()
            option.setPricingEngine(engine(process, paid, steps, 600, 0, scheme, False, -1.0, engine.Escrowed))
            found.append(option.NPV())
        assert value[row] == pytest.approx(2.0 * found[1] - found[0], abs=4e-4)


def test_bounds_and_the_hedge_with_stock() -> None:
    """Never below exercise or the European option; a call far in the money before a dividend moves like the stock."""
    early, late = (revalue(*book(exercise=e), moves()) for e in (Exercise.AMERICAN, Exercise.EUROPEAN))
    value = (early.value[:6, None] + early.pnl[:6])[:, :4]
    assert np.all(value >= (late.value[:6, None] + late.pnl[:6])[:, :4] - 1e-5)
    instruments, _ = book()
    spot = 100.0 * (1.0 + moves().price_move[:4, 0])
    assert np.all(value >= 100.0 * instruments.sign[:6, None] * (spot - instruments.strike[:6, None]) - 1e-5)
    deep = replace(instruments, strike=np.where(instruments.is_option, 20.0, np.nan))
    arrays = revalue(deep, replace(book()[1], dividend_time=np.array([1, 120]) * DAY_MS), moves())
    assert arrays.pnl[0, 1:3] == pytest.approx(100.0 * arrays.pnl[6, 1:3], rel=2e-3)
    assert early.digest != revalue(*market_and_options(Exercise.AMERICAN), moves()).digest


def test_delta_is_the_gain_of_a_small_move() -> None:
    instruments, market = book()
    small = make(["up", "down"], np.array([[1e-3], [-1e-3]]))
    arrays = revalue(instruments, market, small, tick=None)
    slope = (arrays.pnl[:, 0] - arrays.pnl[:, 1]) / 2e-3
    assert arrays.delta == pytest.approx(slope, rel=2e-5)


def test_dividends_after_expiry_do_not_count() -> None:
    instruments, market = market_and_options(Exercise.AMERICAN)
    later = {"dividend_underlying": [0], "dividend_time": [300 * DAY_MS], "dividend": [5.0]}
    with_one = revalue(instruments, replace(market, **later), moves())
    assert np.array_equal(with_one.rows, revalue(instruments, market, moves()).rows)


def test_without_vol_or_time_the_best_exercise_is_known() -> None:
    """Without vol against ever smaller vols; once expired the intrinsic value of the forward."""
    instruments, market = book()
    idle = replace(market, mark_vol=np.where(instruments.is_option, 0.0, np.nan), limits=MarketLimits(min_vol=0.0))
    end = make(
        ["none", "up", "down", "end"],
        np.array([[0.0], [0.25], [-0.25], [0.1]]),
        time_step_years=np.array([0.0, 0.0, 0.0, LIFE]),
        dynamics=VolDynamics(vol_floor=0.0, minimum_vol_up=0.0),
    )
    arrays = revalue(instruments, idle, end)
    value = (arrays.value[:6, None] + arrays.pnl[:6]) / 100.0
    strike, sign = instruments.strike[:6], instruments.sign[:6]
    for s, move in enumerate((1.0, 1.25, 0.75)):
        terms = (100.0 * move, strike, LIFE, 1e-3, sign, RATE)
        near = american_with_dividends(*terms, SCHEDULE[0], move * AMOUNTS)["price"]
        assert value[:, s] == pytest.approx(near, abs=1e-4)
    assert value[:, 3] == pytest.approx(np.maximum(sign * (1.1 * market.forward[0] - strike), 0.0), abs=1e-6)


def test_a_tick_of_the_market_is_revalued_as_the_whole() -> None:
    instruments, market = book()
    before = revalue(instruments, market, moves())
    for change in ({"spot": np.array([100.1])}, {"dividend": AMOUNTS[::-1]}, {"dividend_time": (DAYS + 1) * DAY_MS}):
        after = replace(market, **change)
        moved = moved_contracts(instruments, market, after)
        fresh = revalue(instruments, after, moves())
        updated = update(before, instruments, after, moved)
        assert moved[:6].all() and updated.digest == fresh.digest != before.digest
        assert np.array_equal(updated.rows, fresh.rows) and np.any(fresh.rows != before.rows)


def test_backends_agree() -> None:
    instruments, market = book()
    few = make(["none", "down"], np.array([[0.0], [-0.1]]))
    record = revalue(instruments, market, few)
    other = revalue(instruments, market, few, backend="numpy")
    assert np.abs(other.rows - record.rows).max() <= 10


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    instruments, market = book()
    with pytest.raises(ConfigError, match="method = 'taylor': contracts with known dividends"):
        revalue(instruments, market, moves(), method="taylor")
    with pytest.raises(DataError, match=r"row call-85, dividends = .*must be 0\.33 to 3"):
        revalue(*book(share=3.5), moves())
    lent = replace(market, discount=np.array([1.01, 1.0]), forward=np.array([97.0, 100.0]))
    with pytest.raises(DataError, match=r"row put-115, rate = -0\.0199.*need a rate of 0 or more"):
        revalue(instruments, lent, moves())
    with pytest.raises(DataError, match=r"row call-85, exercise = 1: its share pays known dividends"):
        contract_greeks(instruments, market)
    for change, text in (
        ({"dividend": [1.0, -1.0]}, "row 1, dividend = -1.0: above 0"),
        ({"dividend_time": [0, DAY_MS]}, "row 0, dividend_time = 0: must be ms UTC after the valuation time"),
        ({"dividend_time": [DAY_MS, DAY_MS]}, "row 1, dividend_time = 86400000: a second dividend"),
        ({"dividend_underlying": [0, 1]}, "row 1, dividend_underlying = 1: no such underlying"),
        ({"dividend": [1.0]}, "needs the shape"),
    ):
        with pytest.raises(DataError, match=text):
            replace(market, **change)
    monkeypatch.setattr(puts, "STEPS", 1)
    with pytest.raises(UnsolvedError, match=r"row put-115, scenario down, vol = 0\.325: no exercise boundary"):
        revalue(instruments, market, moves())


def test_the_yield_of_the_forward_is_another_model() -> None:
    """The same forward without a schedule: dividends all the time, and early exercise of calls is worth less."""
    instruments, market = book()
    value = revalue(instruments, market, moves()).value[:6] / 100.0
    payout = RATE - math.log(market.forward[0] / 100.0) / LIFE
    smooth = american_price(100.0, instruments.strike[:6], LIFE, 0.25, instruments.sign[:6], RATE, payout)
    european = price(market.forward[0], instruments.strike[:6], LIFE, 0.25, instruments.sign[:6], market.discount[0])
    assert np.all(value >= european - 1e-9)
    assert 0.01 < np.abs(value - smooth).max() < 0.5


def test_the_digest_follows_the_solver_of_dividends(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["scenarios.revalue"]
    few = make(["none"], np.array([[0.0]]))
    books = (book(), market_and_options(Exercise.AMERICAN))
    before = [revalue(*one, few).digest for one in books]
    source = module._source
    for name in module.DIVIDEND_SOURCES:
        monkeypatch.setattr(module, "_source", lambda m, name=name: source(m) + ("#" if m.__name__ == name else ""))
        assert revalue(*books[0], few).digest != before[0], name
        assert revalue(*books[1], few).digest == before[1], name
