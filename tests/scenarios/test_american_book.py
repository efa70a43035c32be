"""Risk arrays of American options: on equities with a dividend yield and on futures, beside European ones."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from portfolio_margin.greeks import contract_greeks
from pricing import ConfigError, DataError, Exercise, Instruments, Kind, Market, Payoff, UnsolvedError, greeks
from pricing.american import american_greeks, american_price
from pricing.market import UNDATED
from pricing.resolve import resolve
from scenarios.revalue import revalue
from scenarios.risk_arrays import DEFAULT_TICK
from scenarios.shocks import ScenarioSet, VolDynamics, make
from scenarios.taylor import taylor_error

DAY_MS = 86_400_000
RATE, YIELD, LIFE = 0.05, 0.02, 0.5
STRIKES = (85.0, 100.0, 115.0)


def market_and_options(exercise: Exercise, vol: float = 0.25) -> tuple[Instruments, Market]:
    """Calls and puts of half a year and the stock itself, spot 100, rate 5 %, yield 2 %."""
    strike = np.array([*STRIKES, *STRIKES, np.nan])
    rows = len(strike)
    option = np.arange(rows) < rows - 1
    instruments = Instruments(
        instrument_id=np.array([*(f"call-{k:g}" for k in STRIKES), *(f"put-{k:g}" for k in STRIKES), "stock"]),
        kind=np.where(option, Kind.OPTION, Kind.SPOT),
        payoff=np.full(rows, Payoff.LINEAR),
        underlying_idx=np.zeros(rows, np.int64),
        expiry_idx=np.where(option, 0, 1),
        strike=strike,
        sign=np.array([1.0] * 3 + [-1.0] * 3 + [1.0]),
        exercise=np.where(option, exercise, Exercise.EUROPEAN),
        multiplier=np.where(option, 100.0, 1.0),
        quantity_step=np.ones(rows),
        currency_idx=np.zeros(rows, np.int64),
    )
    market = Market(
        valuation_time=0,
        underlying_id=np.array(["U"]),
        spot=np.array([100.0]),
        expiry_underlying=np.zeros(2, np.int64),
        expiry_time=np.array([int(LIFE * 365 * DAY_MS), UNDATED]),
        forward=np.array([100.0 * math.exp((RATE - YIELD) * LIFE), 100.0]),
        discount=np.array([math.exp(-RATE * LIFE), 1.0]),
        svi=np.full((2, 5), np.nan),
        mark_vol=np.where(option, vol, np.nan),
        currency_id=np.array(["USD"]),
        fx=np.ones(1),
        currency_underlying=np.array([-1]),
    )
    return instruments, market


def moves(carry: str = "rolled") -> ScenarioSet:
    """Price, vol and time moves; among them none, and one far enough to be in the exercise region."""
    return make(
        ["none", "down", "up", "crash", "day"],
        np.array([[0.0], [-0.1], [0.1], [-0.6], [-0.05]]),
        vol_move=np.array([[0.0], [0.3], [-0.3], [0.0], [0.1]]),
        time_step_years=np.array([0.0, 0.0, 0.0, 0.0, 7 / 365]),
        dynamics=VolDynamics(carry=carry),
    )


@pytest.mark.parametrize(
    ("exercise", "rate", "payout", "price_is"),
    [(Exercise.AMERICAN, RATE, YIELD, "spot"), (Exercise.AMERICAN_ON_FUTURE, RATE, RATE, "forward")],
)
def test_every_scenario_is_the_price_in_its_market(
    exercise: Exercise, rate: float, payout: float, price_is: str
) -> None:
    instruments, market = market_and_options(exercise)
    scenario_set = moves()
    arrays = revalue(instruments, market, scenario_set)
    strike, sign = instruments.strike[:6], instruments.sign[:6]
    tau = LIFE - scenario_set.time_step_years
    for s, move in enumerate(scenario_set.price_move[:, 0]):
        shocked = 100.0 * (1 + move)
        if price_is == "forward":
            shocked *= math.exp((RATE - YIELD) * tau[s])
        vol = 0.25 * (1 + scenario_set.vol_move[s, 0])
        after = american_price(shocked, strike, tau[s], vol, sign, rate, payout)
        assert arrays.value[:6] + arrays.pnl[:6, s] == pytest.approx(100.0 * after, abs=2e-6)
    assert arrays.pnl[6] == pytest.approx(scenario_set.price_move[:, 0] * 100.0, abs=1e-6)
    crash = arrays.value[3:6] + arrays.pnl[3:6, 3]
    paid = 100.0 * (1 - 0.6) if price_is == "spot" else 40.0 * math.exp((RATE - YIELD) * LIFE)
    assert crash == pytest.approx(100.0 * (np.array(STRIKES) - paid), abs=2e-6)


@pytest.mark.parametrize("exercise", [Exercise.AMERICAN, Exercise.AMERICAN_ON_FUTURE])
def test_backends_agree_to_a_tick(exercise: Exercise) -> None:
    instruments, market = market_and_options(exercise)
    record = revalue(instruments, market, moves())
    for backend in ("numpy", "jax"):
        other = revalue(instruments, market, moves(), backend=backend)
        assert np.abs(other.rows - record.rows).max() <= 1
        assert np.abs(other.value_rows - record.value_rows).max() <= 1
        assert other.delta == pytest.approx(record.delta, rel=1e-9)
    assert record.rows.tobytes() == revalue(instruments, market, moves(), threads=2).rows.tobytes()
    assert record.tick == DEFAULT_TICK


def test_held_carry_keeps_the_forward() -> None:
    """A week passes and the forward stays, so the spot is what leads to it at the same carry."""
    instruments, market = market_and_options(Exercise.AMERICAN)
    arrays = revalue(instruments, market, moves("held"))
    week = 7 / 365
    spot = 95.0 * math.exp((RATE - YIELD) * week)
    after = american_price(spot, instruments.strike[:6], LIFE - week, 0.275, instruments.sign[:6], RATE, YIELD)
    assert arrays.value[:6] + arrays.pnl[:6, 4] == pytest.approx(100.0 * after, abs=2e-6)


def test_never_worth_less_than_european() -> None:
    american, market = market_and_options(Exercise.AMERICAN)
    european = replace(american, exercise=np.zeros(len(american), np.int64))
    early, late = (revalue(table, market, moves()) for table in (american, european))
    gap = (early.value[:, None] + early.pnl) - (late.value[:, None] + late.pnl)
    assert gap.min() >= -2e-6
    assert gap[3:6, 3].min() > 10.0
    assert early.digest != late.digest


def test_greeks_of_contracts() -> None:
    instruments, market = market_and_options(Exercise.AMERICAN)
    ours = contract_greeks(instruments, market, units="raw")
    expected = american_greeks(100.0, instruments.strike[:6], LIFE, 0.25, instruments.sign[:6], RATE, YIELD)
    grow = math.exp((RATE - YIELD) * LIFE)
    assert ours["price"][:6] == pytest.approx(expected["price"], abs=1e-9)
    assert ours["delta"][:6] * grow == pytest.approx(expected["delta"], abs=1e-9)
    assert ours["vega"][:6] == pytest.approx(expected["vega"], abs=1e-7)
    assert resolve(instruments, market).carry[:6] == pytest.approx(np.full(6, RATE - YIELD), abs=1e-12)


def test_greeks_of_contracts_on_a_future() -> None:
    """As `greeks(model="american")` has them: rho moves the future with the rate, like that of European contracts."""
    instruments, market = market_and_options(Exercise.AMERICAN_ON_FUTURE)
    ours = contract_greeks(instruments, market, units="raw")
    terms = (market.forward[0], instruments.strike[:6], LIFE, 0.25, instruments.sign[:6], market.discount[0])
    for name, values in greeks(*terms, model="american").items():
        assert ours[name][:6] == pytest.approx(values, rel=1e-9, abs=1e-12), name


def test_taylor_is_near_for_small_moves() -> None:
    instruments, market = market_and_options(Exercise.AMERICAN)
    small = make(["none", "up"], np.array([[0.0], [0.002]]), vol_move=np.array([[0.0], [0.01]]))
    full = revalue(instruments, market, small, tick=None)
    approximate = revalue(instruments, market, small, tick=None, method="taylor")
    assert taylor_error(full, approximate).largest < 1e-2


def test_coin_settled_american_is_refused() -> None:
    instruments, market = market_and_options(Exercise.AMERICAN)
    inverse = replace(instruments, payoff=np.where(instruments.is_option, Payoff.INVERSE, Payoff.LINEAR))
    with pytest.raises(DataError, match="early exercise into coins") as caught:
        resolve(inverse, replace(market, currency_id=np.array(["U"])))
    assert {problem.field for problem in caught.value.problems} == {"exercise"}


def steep(vols: tuple[float, float]) -> tuple[Instruments, Market]:
    """Two puts with so little vol for a rate of 90 % that their forward drifts 42 and 30 deviations to expiry."""
    instruments, market = market_and_options(Exercise.AMERICAN, vol=0.05)
    mark_vol = market.mark_vol.copy()
    mark_vol[[3, 5]] = vols
    grown = np.array([100.0 * math.exp(0.9 * LIFE), 100.0])
    return instruments, replace(
        market, mark_vol=mark_vol, forward=grown, discount=np.array([math.exp(-0.9 * LIFE), 1.0])
    )


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_contracts_that_are_not_solved_are_named(backend: str) -> None:
    """One contract as it stands, another only where a scenario takes vol from it; every one of them, in one error."""
    with pytest.raises(UnsolvedError) as caught:
        revalue(*steep((0.015, 0.021)), moves(), backend=backend)
    found = [(p.file, p.row, p.scenario, p.field) for p in caught.value.problems]
    assert found == [("instruments", "put-85", None, "vol"), ("instruments", "put-115", "up", "vol")]
    lines = str(caught.value).splitlines()
    assert "vol = 0.015: the forward drifts by 42.4 deviations to expiry" in lines[0]
    assert "(put, rate 0.9, yield 0, 0.5 years); and in 3 scenarios: leave the contract out" in lines[0]
    assert lines[1].startswith("instruments, row put-115, scenario up, vol = 0.0147: ")
    assert all(sum(line.count(word) for word in ("put-85", "put-115")) == 1 for line in lines)
    for method in ("full", "taylor"):
        with pytest.raises(UnsolvedError, match=r"instruments, row put-85, vol = 0\.015"):
            revalue(*steep((0.015, 0.05)), moves(), method=method)
    with pytest.raises(UnsolvedError, match=r"instruments, row put-85, vol = 0\.015"):
        contract_greeks(*steep((0.015, 0.021)))


def test_accuracy_of_early_exercise() -> None:
    american, european = market_and_options(Exercise.AMERICAN), market_and_options(Exercise.EUROPEAN)
    default, fast, finest = (
        revalue(*american, moves(), tick=None, american_accuracy=accuracy)
        for accuracy in ("default", "fast", "accurate")
    )
    assert default.digest == revalue(*american, moves(), tick=None).digest
    assert len({arrays.digest for arrays in (default, fast, finest)}) == 3
    assert 1e-9 < np.abs(fast.pnl - finest.pnl).max() < 100 * 100 * 1e-6
    assert np.abs(default.pnl - finest.pnl).max() < 100 * 100 * 1e-9
    late = [revalue(*european, moves(), american_accuracy=accuracy).digest for accuracy in ("default", "fast")]
    assert late[0] == late[1]
    for book in (american, european):
        with pytest.raises(ConfigError, match="accuracy"):
            revalue(*book, moves(), american_accuracy="perfect")


def test_negative_rates_with_two_boundaries() -> None:
    """A put on a spot that costs to lend, at a rate below 0: every scenario is its price there."""
    instruments, market = market_and_options(Exercise.AMERICAN)
    rate, payout = -0.01, -0.04
    forward = np.array([100.0 * math.exp((rate - payout) * LIFE), 100.0])
    market = replace(market, forward=forward, discount=np.array([math.exp(-rate * LIFE), 1.0]))
    arrays = revalue(instruments, market, moves())
    after = american_price(90.0, instruments.strike[:6], LIFE, 0.325, instruments.sign[:6], rate, payout)
    assert arrays.value[:6] + arrays.pnl[:6, 1] == pytest.approx(100.0 * after, abs=2e-6)
    assert np.all(after >= np.maximum(instruments.sign[:6] * (90.0 - instruments.strike[:6]), 0.0))


def test_the_digest_follows_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit of the solver is an edit of the numbers; a European book does not depend on it."""
    module = sys.modules["scenarios.revalue"]

    moves = make(["down"], np.array([-0.1]))
    american, european = market_and_options(Exercise.AMERICAN), market_and_options(Exercise.EUROPEAN)
    before = [revalue(*book, moves).digest for book in (american, european)]
    source = module._source
    edited = {"pricing.exercise", "pricing.two_boundaries", "pricing.certain_exercise", "pricing.collocation"}
    edited |= {"pricing.backends.american_numba", "pricing.near_boundary", "pricing.near_two_boundaries"}
    for name in edited:
        monkeypatch.setattr(module, "_source", lambda m, name=name: source(m) + ("#" if m.__name__ == name else ""))
        assert revalue(*american, moves).digest != before[0], name
        assert revalue(*european, moves).digest == before[1], name
