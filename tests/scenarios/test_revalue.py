"""revalue: equal on every backend, whole ticks, linear products by hand, a digest that follows every input."""

from __future__ import annotations

import inspect
import math
import sys
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import pricing.models.black76
import pricing.surfaces.svi
import pricing.xp.arithmetic
import pricing.xp.coefficients
import pricing.xp.numba
import pricing.xp.numpy
import pricing.xp.tracing
import scenarios.backends.numba
import scenarios.dynamics
from pricing import ConfigError, DataError, Instruments, Market, NumericalError
from pricing.resolve import model_names, resolve, years_to_expiry
from scenarios import RiskArrays, ScenarioSet, VolDynamics, bind, revalue
from scenarios.families import grid
from scenarios.shocks import make
from tests.examples import DAY_MS, NOW_MS, market_and_instruments, one_option
from tests.naive import scenarios as naive

BACKENDS = ("numpy", "numba", "jax")
INSTRUMENTS, MARKET = market_and_instruments()
GRID = grid.scenarios(grid.Params(), MARKET)
ROW = INSTRUMENTS.index_of()
ROUGH = replace(
    GRID, dynamics=VolDynamics(0.3, 0.13, minimum_vol_up=0.5, vol_floor=0.05, rule="sticky_moneyness", carry="rolled")
)
# Interest of ten per cent a year; undated rows have none.
RATES = replace(MARKET, discount=np.exp(-0.1 * np.maximum(years_to_expiry(MARKET), 0.0)))


@pytest.fixture(scope="module")
def exact() -> RiskArrays:
    return revalue(INSTRUMENTS, MARKET, GRID, tick=None)


@pytest.mark.parametrize(("market", "moves"), [(MARKET, GRID), (RATES, ROUGH)], ids=["plain", "every rule and rates"])
def test_naive_twin(market: Market, moves: ScenarioSet) -> None:
    inputs = resolve(INSTRUMENTS, market)
    shocked = bind(moves, market, inputs)
    arrays = {backend: revalue(INSTRUMENTS, market, moves, tick=None, backend=backend) for backend in BACKENDS}
    names = model_names(INSTRUMENTS)
    for n in range(0, len(INSTRUMENTS), 4):
        x, c = inputs.expiry_idx[n], inputs.currency_idx[n]
        contract = {f: float(getattr(inputs, f)[n]) for f in inputs._fields if not f.endswith("_idx")}
        contract |= {"fx": float(market.fx[c]), "linear": float(names[n] == "linear")}
        steps = [
            {
                "forward": shocked.forward[x, s],
                "tau": shocked.tau[x, s],
                "vol": shocked.vol[n, s],
                "discount": shocked.discount[x, s],
                "fx": shocked.fx[c, s],
                "weight": shocked.weight[s],
            }
            for s in range(len(moves))
        ]
        expected = naive.unit_pnl(contract, steps)
        for backend in BACKENDS:
            assert arrays[backend].pnl[n] == pytest.approx(expected, rel=1e-11, abs=1e-8), backend


def test_every_rule_agrees_to_one_tick() -> None:
    reference = revalue(INSTRUMENTS, RATES, ROUGH, backend="numpy")
    contract = ~reference.is_collateral
    for backend in ("numba", "jax"):
        other = revalue(INSTRUMENTS, RATES, ROUGH, backend=backend)
        assert np.abs(other.rows - reference.rows)[contract].max() <= 1


@pytest.mark.parametrize("tick", [None, 1e-6])
def test_threads_do_not_change_a_bit(tick: float | None) -> None:
    first, *others = (revalue(INSTRUMENTS, MARKET, GRID, threads=t, tick=tick) for t in (1, 2, 2, None))
    for other in others:
        assert first.rows.tobytes() == other.rows.tobytes()
        assert first.digest == other.digest


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    """Every third contract alone gives the rows it has among all."""
    chosen = np.arange(0, len(INSTRUMENTS), 3)
    part = replace(INSTRUMENTS, **{f.name: getattr(INSTRUMENTS, f.name)[chosen] for f in fields(INSTRUMENTS)})
    market = replace(MARKET, mark_vol=MARKET.mark_vol[chosen])
    alone, together = revalue(part, market, GRID), revalue(INSTRUMENTS, MARKET, GRID)
    assert np.abs(alone.rows - together.rows[chosen]).max() <= 1
    assert np.array_equal(alone.value_rows, together.value_rows[chosen])


def test_nothing_moves_nothing_gains(exact: RiskArrays) -> None:
    """Exactly 0 ticks; without ticks a fused product may leave a rounding of the value."""
    moves = make(["none"], np.zeros((1, 1)))
    for backend in BACKENDS:
        arrays = revalue(INSTRUMENTS, MARKET, moves, backend=backend)
        assert np.all(arrays.rows == 0)
        assert not np.any(np.signbit(arrays.rows))
        unrounded = revalue(INSTRUMENTS, MARKET, moves, backend=backend, tick=None)
        assert np.all(np.abs(unrounded.pnl[:, 0]) <= 4e-16 * np.maximum(exact.value, exact.notional))


def test_what_does_not_count_is_zero(exact: RiskArrays) -> None:
    half = revalue(INSTRUMENTS, MARKET, replace(GRID, weight=GRID.weight * 0.5), tick=None)
    assert half.rows == pytest.approx(exact.rows * 0.5, rel=1e-15)
    none = revalue(INSTRUMENTS, MARKET, replace(GRID, weight=np.zeros(len(GRID))))
    assert np.all(none.rows == 0)


@pytest.mark.parametrize("tick", [1e-9, 1e-7, 1e-6, 5e-6])
def test_rows_are_whole_ticks(tick: float, exact: RiskArrays) -> None:
    arrays = revalue(INSTRUMENTS, MARKET, GRID, tick=tick)
    contract = ~arrays.is_collateral
    assert np.array_equal(arrays.rows[contract], np.rint(arrays.rows[contract]))
    assert np.array_equal(arrays.value_rows[contract], np.rint(arrays.value_rows[contract]))
    step = exact.unit[:, None]
    for ours, unrounded in (
        (arrays.pnl * step, exact.pnl * step),
        (arrays.value * exact.unit, exact.value * exact.unit),
    ):
        assert np.abs(ours - unrounded)[contract].max() <= 0.5 * tick * (1 + 1e-9) + 1e-12
        assert ours[~contract] == pytest.approx(unrounded[~contract], rel=1e-14)
    # Delta and notional are for information and stay as they are.
    assert np.array_equal(arrays.delta, exact.delta)
    assert np.array_equal(arrays.notional, exact.notional)


def test_a_tick_too_fine_is_refused_with_one_that_fits() -> None:
    """First for the gains, which are made first, then for the values; neither is coarser than it needs to be."""
    tick, refusals = 1e-15, 0
    while refusals < 3:
        try:
            arrays = revalue(INSTRUMENTS, MARKET, GRID, tick=tick)
            break
        except NumericalError as error:
            refusals += 1
            tick = float(str(error).split(": ")[1].split()[0])
    assert refusals in (1, 2)
    assert 2.0**50 < max(np.abs(arrays.rows).max(), np.abs(arrays.value_rows).max()) <= 2.0**53


@pytest.mark.parametrize("tick", [0.0, -1.0, 2.0, math.nan, math.inf])
def test_ticks_have_bounds(tick: float) -> None:
    with pytest.raises(ConfigError, match="tick"):
        revalue(INSTRUMENTS, MARKET, GRID, tick=tick)


def test_linear_products_by_hand(exact: RiskArrays) -> None:
    moves = make(["up", "down"], np.array([[0.25, 0.0], [-0.5, 0.0]]))
    arrays = revalue(INSTRUMENTS, MARKET, moves, tick=None)
    index, forward = MARKET.spot[0], MARKET.forward[1]
    for column, move in enumerate((0.25, -0.5)):
        after = index * (1 + move)
        # Ten dollars bought at F0 and sold at F1 are 10 (1/F0 - 1/F1) coins, each worth the new index.
        assert arrays.pnl[ROW["BTC-PERPETUAL"], column] == pytest.approx(10 * (1 / index - 1 / after) * after)
        coins = 10 * (1 / forward - 1 / (forward * (1 + move)))
        assert arrays.pnl[ROW["BTC-60D"], column] == pytest.approx(coins * after)
        assert arrays.pnl[ROW["BTC"], column] == pytest.approx(move * index)
    assert np.all(arrays.pnl[[ROW["USD"], ROW["ETH"], ROW["ETH-PERPETUAL"]]] == 0)
    assert arrays.value[[ROW["USD"], ROW["BTC"], ROW["BTC-PERPETUAL"], ROW["BTC-60D"]]].tolist() == [
        1.0,
        index,
        0.0,
        0.0,
    ]


def test_inverse_options_by_hand() -> None:
    """Coins are worth value over forward; the account counts in dollars, so coin and coin price both move."""
    from pricing import price

    moves = make(["s"], np.array([-0.2]), np.array([0.3]), time_step_years=np.array([2 / 365]))
    arrays = revalue(INSTRUMENTS, MARKET, moves, tick=None)
    inputs = resolve(INSTRUMENTS, MARKET)
    for name in ("BTC-7D-68000-C", "BTC-60D-54400-P", "ETH-7D-2460-C"):
        n = ROW[name]
        terms = [float(column[n]) for column in (inputs.forward, inputs.strike, inputs.tau, inputs.vol, inputs.sign)]
        forward, strike, tau, vol, sign = terms
        index = MARKET.spot[INSTRUMENTS.underlying_idx[n]]
        before = float(price(forward, strike, tau, vol, sign)) / forward * index
        after = float(price(forward * 0.8, strike, tau - 2 / 365, vol * 1.3, sign)) / (forward * 0.8) * index * 0.8
        assert arrays.value[n] == pytest.approx(before, rel=1e-13)
        assert arrays.pnl[n, 0] == pytest.approx(after - before, rel=1e-10)


def test_long_options_lose_at_most_their_value(exact: RiskArrays) -> None:
    option = INSTRUMENTS.is_option
    assert np.all(exact.pnl[option] >= -exact.value[option, None] * (1 + 1e-12))
    assert np.all(exact.value[option] > 0)


def test_parity_holds_in_every_scenario(exact: RiskArrays) -> None:
    """A call less a put is D (F - K) of the linear kind: with the coin's price, exactly so in every scenario."""
    dollars = np.where(INSTRUMENTS.is_collateral, INSTRUMENTS.currency_idx, 0)
    instruments = replace(INSTRUMENTS, payoff=np.zeros(len(INSTRUMENTS)), currency_idx=dollars)
    vols = replace(MARKET, mark_vol=np.full(len(INSTRUMENTS), 0.6))
    held = replace(GRID, time_step_years=np.zeros(len(GRID)))
    pnl = revalue(instruments, vols, held, tick=None).pnl
    for name in INSTRUMENTS.instrument_id[INSTRUMENTS.is_option & (INSTRUMENTS.sign > 0)]:
        call, put = ROW[str(name)], ROW[f"{name[:-1]}P"]
        forward = MARKET.forward[INSTRUMENTS.expiry_idx[call]]
        gain = held.weight * forward * held.price_move[:, 0]
        assert pnl[call] - pnl[put] == pytest.approx(gain, abs=1e-9)


def test_delta_is_the_derivative_of_value() -> None:
    step = 1e-6
    moves = make(["u", "d"], np.array([[step], [-step]]))
    arrays = revalue(INSTRUMENTS, MARKET, moves, tick=None)
    slope = (arrays.pnl[:, 0] - arrays.pnl[:, 1]) / (2 * step)
    assert slope == pytest.approx(arrays.delta, rel=1e-5, abs=1e-2)
    assert arrays.notional[ROW["BTC-PERPETUAL"]] == pytest.approx(10.0)
    assert arrays.notional[ROW["BTC-60D-68000-C"]] == pytest.approx(MARKET.spot[0])
    # Linear contracts settled in a coin: what is paid for moves with the coin, what is settled daily has no value to.
    linear = replace(INSTRUMENTS, payoff=np.zeros(len(INSTRUMENTS)))
    arrays = revalue(linear, MARKET, moves, tick=None)
    slope = (arrays.pnl[:, 0] - arrays.pnl[:, 1]) / (2 * step)
    assert slope == pytest.approx(arrays.delta, rel=1e-5, abs=1e-2)


def test_each_contract_knows_its_cash(exact: RiskArrays) -> None:
    assert exact.cash_row[ROW["BTC-7D-68000-C"]] == ROW["BTC"]
    assert exact.cash_row[ROW["ETH-PERPETUAL"]] == ROW["ETH"]
    keep = np.flatnonzero(INSTRUMENTS.instrument_id != "ETH")
    fewer = replace(INSTRUMENTS, **{f.name: getattr(INSTRUMENTS, f.name)[keep] for f in fields(INSTRUMENTS)})
    arrays = revalue(fewer, replace(MARKET, mark_vol=MARKET.mark_vol[keep]), GRID)
    assert arrays.cash_row[arrays.index_of()["ETH-PERPETUAL"]] == -1


def test_nothing_to_revalue() -> None:
    empty = replace(INSTRUMENTS, **{f.name: getattr(INSTRUMENTS, f.name)[:0] for f in fields(INSTRUMENTS)})
    for backend in BACKENDS:
        assert revalue(empty, replace(MARKET, mark_vol=np.zeros(0)), GRID, backend=backend).rows.shape == (0, len(GRID))


def test_the_digest_follows_every_input() -> None:
    base = revalue(INSTRUMENTS, MARKET, GRID).digest
    assert revalue(INSTRUMENTS, MARKET, GRID).digest == base
    digests = [base]
    for table, name in ((INSTRUMENTS, "instruments"), (MARKET, "market"), (GRID, "scenario_set")):
        for field in fields(table):
            changed = nudged(table, field.name)
            if changed is not None:
                tables = {"instruments": INSTRUMENTS, "market": MARKET, "scenario_set": GRID, name: changed}
                if field.name == "currency_id":  # a cash row has the name of its currency
                    renamed = np.char.replace(INSTRUMENTS.instrument_id, "ETH", "?TH")
                    tables["instruments"] = replace(INSTRUMENTS, instrument_id=renamed)
                digests.append(revalue(**tables).digest)
    digests += [
        revalue(INSTRUMENTS, MARKET, GRID, tick=2e-6).digest,
        revalue(INSTRUMENTS, MARKET, GRID, tick=None).digest,
    ]
    digests.append(revalue(INSTRUMENTS, MARKET, GRID, method="taylor").digest)
    for name in ("short_power", "days_floor", "vol_floor"):
        dynamics = replace(GRID.dynamics, **{name: 0.9})
        digests.append(revalue(INSTRUMENTS, MARKET, replace(GRID, dynamics=dynamics)).digest)
    for change in ({"rule": "sticky_moneyness"}, {"carry": "rolled"}):
        digests.append(revalue(INSTRUMENTS, MARKET, replace(GRID, dynamics=replace(GRID.dynamics, **change))).digest)
    assert len(digests) > 25
    assert len(set(digests)) == len(digests)


def nudged(table: Any, field: str) -> Any:
    """The table with the last number or name of a column changed a little; None for columns of codes and indices."""
    column = getattr(table, field)
    if isinstance(column, int):
        return replace(table, **{field: column + 1})
    if not isinstance(column, np.ndarray) or column.dtype.kind == "i" or not column.size:
        return None
    changed = column.astype(f"<U{column.dtype.itemsize // 4}").copy() if column.dtype.kind == "U" else column.copy()
    last = np.unravel_index(np.flatnonzero(changed == changed)[-1], changed.shape)
    if changed.dtype.kind == "U":
        changed[last] = "?" + changed[last][1:]
    elif field == "sign":
        changed[last] = -changed[last]
    elif field == "fixed_share":
        changed[0] = 1e-9
    else:
        changed[last] = np.nextafter(changed[last], 0.0) if changed[last] else 1e-9
    return replace(table, **{field: changed})


def test_the_digest_does_not_follow_what_does_not_matter() -> None:
    base = revalue(INSTRUMENTS, MARKET, GRID).digest
    assert revalue(INSTRUMENTS, MARKET, GRID, threads=2).digest == base
    copies = [replace(t, **{f.name: getattr(t, f.name) for f in fields(t)}) for t in (INSTRUMENTS, MARKET, GRID)]
    assert revalue(*copies).digest == base
    again = RiskArrays.from_bytes(revalue(INSTRUMENTS, MARKET, GRID).to_bytes())
    assert again.digest == base


def test_the_digest_does_not_follow_the_width_of_names() -> None:
    wide = replace(INSTRUMENTS, instrument_id=INSTRUMENTS.instrument_id.astype("<U60"))
    assert revalue(wide, MARKET, GRID).digest == revalue(INSTRUMENTS, MARKET, GRID).digest


def test_the_digest_does_not_follow_the_type_of_a_number() -> None:
    assert revalue(INSTRUMENTS, MARKET, GRID, tick=np.float64(1e-6)).digest == revalue(INSTRUMENTS, MARKET, GRID).digest


def digest_after_an_edit(module: ModuleType, monkeypatch: pytest.MonkeyPatch, method: str = "full") -> str:
    plain = inspect.getsource
    read = sys.modules["scenarios.revalue"]._source
    with monkeypatch.context() as patch:
        patch.setattr(inspect, "getsource", lambda m: plain(m) + ("# edited" if m is module else ""))
        read.cache_clear()
        digest = revalue(INSTRUMENTS, MARKET, GRID, method=method).digest
    read.cache_clear()
    return digest


@pytest.mark.parametrize(
    "module",
    [
        pricing.models.black76,
        pricing.surfaces.svi,
        scenarios.dynamics,
        sys.modules["scenarios.bind"],
        sys.modules["scenarios.revalue"],
        sys.modules["pricing.resolve"],
        pricing.xp.arithmetic,
        pricing.xp.coefficients,
        pricing.xp.numba,
        pricing.xp.numpy,
        pricing.xp.tracing,
        scenarios.backends.numba,
    ],
    ids=lambda module: module.__name__,
)
def test_the_digest_follows_the_formulas(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    base = revalue(INSTRUMENTS, MARKET, GRID).digest
    assert digest_after_an_edit(module, monkeypatch) != base
    assert revalue(INSTRUMENTS, MARKET, GRID).digest == base


def test_the_digest_of_an_expansion_follows_its_own_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    base = revalue(INSTRUMENTS, MARKET, GRID, method="taylor").digest
    for name in ("scenarios.taylor", "scenarios.backends.numpy", "pricing.xp.numpy"):
        assert digest_after_an_edit(sys.modules[name], monkeypatch, "taylor") != base


def test_bad_choices_are_refused() -> None:
    for choice in ({"backend": "fortran"}, {"method": "guess"}):
        with pytest.raises(ConfigError):
            revalue(INSTRUMENTS, MARKET, GRID, **choice)


def test_what_the_market_cannot_price_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="expired"):
        revalue(INSTRUMENTS, replace(MARKET, valuation_time=NOW_MS + 8 * DAY_MS), GRID)
    with pytest.raises(DataError, match="no mark vol and no usable SVI slice"):
        revalue(INSTRUMENTS, replace(MARKET, svi=np.full_like(MARKET.svi, np.nan)), GRID)
    module = sys.modules["pricing.resolve"]
    monkeypatch.setattr(module, "model_names", lambda table: np.where(table.is_option, "heston", "linear"))
    with pytest.raises(DataError, match="BTC-7D-40800-C, pricing model = 'heston'"):
        revalue(INSTRUMENTS, MARKET, GRID)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_value_that_is_not_finite_is_refused() -> None:
    instruments, market = one_option(1e300, 1e300, 1.0, 0.5, 1.0, multiplier=1e300)
    with pytest.raises(NumericalError, match="not finite for O"):
        revalue(instruments, market, make(["s"], np.array([0.1])), tick=None)


def test_read_only_and_writeable_inputs_are_one() -> None:
    """The columns of a table are read-only whoever made it."""
    table: Instruments = replace(INSTRUMENTS, strike=INSTRUMENTS.strike.copy())
    assert revalue(table, MARKET, GRID).rows.tobytes() == revalue(INSTRUMENTS, MARKET, GRID).rows.tobytes()
