"""The worst-case model by hand and by published numbers: scan, netting, factors, short option minimum, coins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from portfolio_margin import Book, margin, worst_loss
from portfolio_margin.charges import short_option_minimum, short_option_rows
from portfolio_margin.models import worst_case
from pricing import ConfigError, Kind
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from scenarios.shocks import make
from tests.portfolio_margin.books import (
    ARRAYS,
    BACKENDS,
    BOOK,
    GRID,
    INSTRUMENTS,
    MARKET,
    ROW,
    Held,
    book_of,
    plain_terms,
)
from tests.vectors import literature_vectors

NO_MINIMUM = worst_case.Params(short_option_minimum=0.0)
FAR_CALL = "BTC-7D-95200-C"


def initial(held: Held, params: worst_case.Params = NO_MINIMUM) -> float:
    return float(worst_case.Model(params).requirement(book_of({"a": held}), ARRAYS).initial[0])


def test_the_scan_is_the_worst_loss() -> None:
    for netting in ("joint", "per_underlying"):
        params = worst_case.Params(netting=netting, short_option_minimum=0.0, haircut=0.0)
        required = worst_case.Model(params).requirement(BOOK, ARRAYS)
        loss, scenario = worst_loss(BOOK, ARRAYS, netting=netting)
        assert np.array_equal(required.initial, loss)
        assert np.array_equal(required.maintenance, loss * 0.8)
        assert np.array_equal(required.worst_scenario, scenario)


def test_factors_multiply() -> None:
    held = {"BTC-60D-68000-C": -1.0, "ETH-PERPETUAL": 100.0}
    base = initial(held)
    params = worst_case.Params(short_option_minimum=0.0, initial_factor=1.3, maintenance_factor=0.9)
    required = worst_case.Model(params).requirement(book_of({"a": held}), ARRAYS)
    assert required.initial[0] == pytest.approx(1.3 * base, rel=1e-15)
    assert required.maintenance[0] == pytest.approx(0.9 * base, rel=1e-15)


def test_gains_of_one_underlying_do_not_offset_another() -> None:
    """Long Bitcoin against short Ether of the same size: hedged together, two risks apart."""
    held = {"BTC-PERPETUAL": 6_800.0, "ETH-PERPETUAL": -68_000.0}
    joint = worst_case.Params(netting="joint", short_option_minimum=0.0)
    assert initial(held, joint) == pytest.approx(0.0, abs=0.01)
    assert initial(held) == pytest.approx(0.16 * 68_000.0 * 2, rel=1e-6)


def test_calendar_spreads_net_inside_an_underlying() -> None:
    spread = {"BTC-7D-68000-C": -1.0, "BTC-60D-68000-C": 1.0}
    assert initial(spread) < initial({"BTC-7D-68000-C": -1.0})


@pytest.mark.parametrize("rate", [0.0, 0.003, 0.05, 1.0])
def test_the_short_option_minimum_is_a_floor(rate: float) -> None:
    """Calls and puts sold count, bought ones do not; the floor is for the account, not on top of the scan."""
    held = {FAR_CALL: -0.4, "BTC-60D-40800-P": -1.2, "BTC-60D-54400-P": 5.0, "BTC-PERPETUAL": -3.0}
    params = worst_case.Params(short_option_minimum=rate)
    required = worst_case.Model(params).requirement(book_of({"a": held}), ARRAYS)
    floor = rate * (0.4 * ARRAYS.notional[ROW[FAR_CALL]] + 1.2 * ARRAYS.notional[ROW["BTC-60D-40800-P"]])
    scan = initial(held)
    assert required.charges["scan"][0, 0] == scan
    assert required.initial[0] == pytest.approx(max(scan, floor), abs=2e-5)
    assert required.charges["short_option_minimum"][0] == pytest.approx(
        np.maximum(floor - scan, 0) * np.array([1.0, 0.8]), abs=2e-5
    )


def test_the_floor_is_of_whole_ticks_rounded_up() -> None:
    rate = 0.00123456789  # so that no option's charge is a whole number of ticks by itself
    rows = short_option_rows(ARRAYS, rate)
    option = INSTRUMENTS.is_option
    assert np.all(rows[~option] == 0)
    assert np.array_equal(rows, np.rint(rows))
    exact = rate * ARRAYS.notional * 0.1 / ARRAYS.tick_size
    assert np.all((rows[option] - exact[option] > 0) & (rows[option] - exact[option] < 1))
    floors = [short_option_minimum(BOOK, ARRAYS, rate, backend=backend) for backend in BACKENDS]
    assert floors[0].tobytes() == floors[1].tobytes() == floors[2].tobytes()
    assert floors[0].max() > 0


def test_without_ticks_the_floor_is_not_rounded() -> None:
    exact = revalue(INSTRUMENTS, MARKET, GRID, tick=None)
    floor = short_option_minimum(book_of({"a": {FAR_CALL: -0.3}}), exact, 0.00123456789)
    assert floor[0] == pytest.approx(0.00123456789 * 0.3 * exact.notional[ROW[FAR_CALL]], rel=1e-14)


def test_coins_lose_with_the_market() -> None:
    """A coin held is revalued in the scenarios that move it, after its haircut."""
    assert initial({"BTC": 1.0}, worst_case.Params(haircut=0.0)) == pytest.approx(0.16 * 68_000.0, abs=0.01)
    assert initial({"BTC": 1.0}, worst_case.Params(haircut=0.05)) == pytest.approx(0.95 * 0.16 * 68_000.0, abs=0.01)
    # Owing a coin loses when it rises, and no haircut makes a debt smaller.
    for haircut in (0.0, 0.5):
        assert initial({"BTC": -1.0}, worst_case.Params(haircut=haircut)) == pytest.approx(0.16 * 68_000.0, abs=0.01)


def test_a_coin_covers_a_call() -> None:
    """Covered by the coin the call adds no risk upwards; covered by dollars it does."""
    params = worst_case.Params(haircut=0.0, short_option_minimum=0.0)
    call = {"BTC-60D-74800-C": -1.0}
    covered = initial({**call, "BTC": 1.0}, params)
    assert covered <= initial({"BTC": 1.0}, params)
    assert initial({**call, "USD": 68_000.0}, params) > covered


def test_conversions_are_worth_nothing_at_risk() -> None:
    """Long call, short put, short future of one strike and expiry: only the premium in coin is left to move."""
    future = 68_000.0 * 1.01
    held = {"BTC-60D-68000-C": 1.0, "BTC-60D-68000-P": -1.0, "BTC-60D": -round(future / 10)}
    naked = initial({"BTC-60D-68000-C": 1.0, "BTC-60D-68000-P": -1.0})
    vols = np.where(INSTRUMENTS.is_option, 0.6, np.nan)
    flat = replace(MARKET, mark_vol=vols)
    arrays = revalue(INSTRUMENTS, flat, grid.scenarios(grid.Params(days=(0.0,)), flat))
    required = worst_case.Model(NO_MINIMUM).requirement(book_of({"a": held}), arrays)
    assert required.initial[0] < 0.02 * naked


def test_a_misspelt_haircut_is_not_lost() -> None:
    for name in ("BTCC", "btc", "BTC-PERPETUAL"):
        with pytest.raises(ConfigError, match=name):
            margin(BOOK, ARRAYS, MARKET, worst_case.Model(worst_case.Params(haircut_by_asset={name: 0.2})))


def test_parameters_do_not_follow_the_mapping_they_were_made_from() -> None:
    haircuts = {"BTC": 0.1}
    params = worst_case.Params(haircut_by_asset=haircuts)
    haircuts["BTC"] = 0.9
    assert dict(params.haircut_by_asset) == {"BTC": 0.1}
    with pytest.raises(TypeError):
        params.haircut_by_asset["BTC"] = 0.5  # type: ignore[index]


def arrays_of(pnl: np.ndarray, step: float) -> RiskArrays:
    """Arrays of contracts known by their gains alone, (N,S), not rounded."""
    count, scenarios = pnl.shape
    return RiskArrays(
        instrument_id=np.array([f"i{n}" for n in range(count)]),
        kind=np.full(count, int(Kind.OPTION)),
        underlying_idx=np.zeros(count),
        expiry_idx=np.zeros(count),
        cash_row=np.full(count, -1),
        quantity_step=np.full(count, step),
        underlying_id=np.array(["U"]),
        expiry_name=np.array(["U-X"]),
        rows=pnl * step,
        value_rows=np.zeros(count),
        delta=np.zeros(count),
        notional=np.zeros(count),
        terms=plain_terms(count),
        tick=None,
        scenario_set=make([f"s{n}" for n in range(scenarios)], np.zeros((scenarios, 1))),
        valuation_time=0,
        currency="USD",
        digest="",
    )


@pytest.mark.reference
@pytest.mark.parametrize("backend", BACKENDS)
def test_literature_worst_scenario_euler(backend: str, report_vectors: Any) -> None:
    """Margin, its scenario, and Euler contributions -x_i P(s*, i) that add up to it."""
    model = worst_case.Model(worst_case.Params(netting="joint", short_option_minimum=0.0))
    errors = []
    for v in literature_vectors("worst_scenario_euler"):
        expected, tolerance = v["expected"], v["tolerance"]
        arrays = arrays_of(np.array(v["inputs"]["pnl_per_unit"]).T, 1e-6)
        positions = np.array(v["inputs"]["positions"])
        book = Book.from_arrays(["a"] * len(positions), np.arange(len(positions)), positions, np.zeros(len(positions)))
        loss, scenario = worst_loss(book, arrays, backend=backend)
        assert scenario[0] == expected["worst_index"]
        lines = model.contributions(book, arrays)
        answers = {
            "margin": [loss[0]],
            "contributions": [float(line.initial) for line in lines],
            "subgradient": -arrays.pnl[:, scenario[0]],
        }
        assert set(answers) == set(expected) - {"worst_index"}
        for name, ours in answers.items():
            theirs = np.atleast_1d(expected[name])
            errors += (np.abs(ours - theirs) / (tolerance[name]["rel"] * np.abs(theirs))).tolist()
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1
