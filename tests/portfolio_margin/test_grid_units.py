"""Bybit and Delta Exchange: printed examples, plain twins on random books, and what must be supplied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import Book, load_parameters
from portfolio_margin.grid_units import Grid
from portfolio_margin.models import bybit_pm, bybit_standard, delta_exchange_pm
from pricing import ConfigError, Kind
from scenarios import RiskArrays, revalue
from tests.examples import one_option
from tests.naive import grid_units as naive
from tests.portfolio_margin.deribit_examples import CONTRACTS, INDEX, LINEAR, LINEAR_MARKET, ROW, linear_book, plain
from tests.portfolio_margin.test_standard_margin import marked, one, option_arrays
from tests.vectors import worked_examples

GRID = Grid((-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2), 0.4, 0.3)
BYBIT = bybit_pm.Params({"any": GRID}, 0.004, 0.002, 1.25, 0.1, "left_out")
DELTA = delta_exchange_pm.Params({"any": GRID}, 0.02, 0.03, 0.005)
LINEAR_CONTRACTS = [name for name in CONTRACTS if name.startswith("ETH_USDC")]
steps_held = st.dictionaries(st.sampled_from(LINEAR_CONTRACTS), st.integers(-400, 400), min_size=1, max_size=6)


def arrays_for(model: Any) -> RiskArrays:
    return revalue(LINEAR, LINEAR_MARKET, model.scenario_set(LINEAR_MARKET), backend="numpy", tick=None)


EXACT = arrays_for(bybit_pm.Model(BYBIT))


def amounts(steps: dict[str, int]) -> dict[str, float]:
    return {name: n * float(LINEAR.quantity_step[ROW[name]]) for name, n in steps.items()}


@pytest.mark.reference
def test_printed_margin_of_a_put(report_vectors: Any) -> None:
    params, _ = load_parameters("bybit_standard")
    errors = []
    for example in worked_examples("Bybit options (classic, not portfolio margin)"):
        i, want = example["inputs"], example["expected"]
        rates = replace(params.options["any"], maintenance=i["mm_ratio"], put_mark=i["mm_ratio"],
                        liquidation=i["liq_fee"], initial=i["im_max"], initial_minimum=i["im_min"])  # fmt: skip
        assert rates == params.options["any"]
        # The venue takes the larger of entry and mark; a book knows the mark.
        assert i["entry"] <= i["mark"]
        arrays = marked(option_arrays(i["spot"], i["strike"], i["type"]), i["mark"])
        found = one(arrays, -1.0, replace(params, options={"any": rates}))
        errors += [abs(found[0] - want["im"]), abs(found[1] - want["mm"])]
        assert max(errors) <= example["tolerance"]["abs"]
    assert bybit_standard.Model(params).haircut(EXACT)[ROW["BTC"]] == 1.0
    report_vectors(len(errors), max(errors), f"USD, {example['tolerance']['abs']:g} allowed", "Bybit options")


@pytest.mark.reference
def test_printed_margin_of_a_future_at_a_venue_of_the_same_form(report_vectors: Any) -> None:
    """Dederi's page, futures: the loss over its grid of prices and a contingency by size: Bybit's form with the
    tables that Bybit does not publish. Its options, whose vol shocks grow to expiry, are not this model's."""
    errors = []
    for example in worked_examples("Dederi portfolio margin"):
        i, want = example["inputs"], example["expected"]
        forward = i["index"] * (1.0 + i["annual_basis"] * i["dte"] / 365.0)
        instruments, market = one_option(
            i["index"], 1.0, i["dte"] / 365.0, np.nan, 1.0, forward=np.array([forward, i["index"]])
        )
        instruments = replace(instruments, kind=np.array([Kind.FUTURE]), strike=np.array([np.nan]))
        grid = Grid(tuple(i["shocks"]), 0.0, 0.0)
        params = bybit_pm.Params({"any": grid}, 0.0, i["futures_contingency_factor"], 1.0, 0.1, "left_out")
        model = bybit_pm.Model(params)
        arrays = revalue(instruments, market, model.scenario_set(market), backend="numpy", tick=None)
        book = Book.from_arrays(["a"], [0], [float(i["qty"])], instruments.expiry_idx)
        required = model.requirement(book, arrays)
        errors += [abs(forward - want["forward"])]
        errors += np.abs(i["qty"] * arrays.pnl[0, 1::3] - want["pnl"]).tolist()
        errors += [abs(required.charges["futures"][0, 0] - want["contingency"])]
        errors += [abs(required.charges["scan"][0, 0] + min(want["pnl"]))]
        assert max(errors) <= example["tolerance"]["abs"]
    report_vectors(len(errors), max(errors), f"USD, {example['tolerance']['abs']:g} allowed", "Dederi futures")


@settings(max_examples=40, deadline=None)
@given(steps_held)
def test_bybit_is_its_plain_twin(steps: dict[str, int]) -> None:
    held = amounts(steps)
    want = naive.bybit([(plain(name), q) for name, q in held.items()], INDEX["ETH"], BYBIT, GRID)
    required = bybit_pm.Model(BYBIT).requirement(linear_book(held), EXACT, backend="numpy")
    for name, amount in want.items():
        assert required.charges[name][0] == pytest.approx([1.25 * amount, amount], rel=1e-9, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(steps_held)
def test_delta_exchange_is_its_plain_twin(steps: dict[str, int]) -> None:
    held = amounts(steps)
    risk, floor = naive.delta_exchange([(plain(name), q) for name, q in held.items()], INDEX["ETH"], DELTA, GRID)
    required = delta_exchange_pm.Model(DELTA).requirement(linear_book(held), EXACT, backend="numpy")
    assert required.charges["scan"][0, 0] == pytest.approx(risk, rel=1e-9, abs=1e-7)
    assert required.initial[0] == pytest.approx(max(risk, floor), rel=1e-9, abs=1e-7)
    assert required.maintenance[0] == pytest.approx(0.8 * max(risk, floor), rel=1e-9, abs=1e-7)


def test_what_is_not_published_must_be_given() -> None:
    book = linear_book({"ETH_USDC-PERPETUAL": -3.0})
    with pytest.raises(ConfigError, match=r"no grids\.btc among the parameters, which BTC needs: the venue publishes"):
        delta_exchange_pm.Model(delta_exchange_pm.Params()).scenario_set(LINEAR_MARKET)
    with pytest.raises(ConfigError, match="futures_floor, long_option_floor must be given: Delta Exchange"):
        delta_exchange_pm.Model(replace(DELTA, futures_floor=None, long_option_floor=None)).requirement(book, EXACT)
    with pytest.raises(ConfigError, match="give spreads=left_out"):
        bybit_pm.Model(replace(BYBIT, spreads="")).requirement(book, EXACT)
    with pytest.raises(ConfigError, match="short_option_coefficient, futures_factor must be given"):
        lacking = replace(BYBIT, short_option_coefficient=None, futures_factor=None)
        bybit_pm.Model(lacking).requirement(book, EXACT)
    with pytest.raises(ConfigError, match="initial_factor must be given"):
        bybit_pm.Model(replace(BYBIT, initial_factor=None)).requirement(book, EXACT)
    with pytest.raises(ConfigError, match="coin_haircut must be given"):
        bybit_pm.Model(replace(BYBIT, coin_haircut=None)).haircut(EXACT)


@pytest.mark.parametrize(
    ("params", "change"),
    [(BYBIT, {"spreads": "no"}), (BYBIT, {"futures_factor": 1.5}), (BYBIT, {"initial_factor": 0.9}),
     (BYBIT, {"grids": {"btc": 1}}), (BYBIT, {"grids": {"a": GRID, "b": Grid((0.1,), 0.1, 0.1)}}),
     (DELTA, {"long_option_floor": -0.1}), (DELTA, {"mm_factor": 0.0}), (DELTA, {"grids": None})],
)  # fmt: skip
def test_parameters_outside_their_bounds_are_refused(params: Any, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(params, **change)


def test_grids_have_bounds() -> None:
    for change in ({"price_moves": ()}, {"price_moves": (-1.0,)}, {"vol_up": -0.1}, {"vol_down": 1.1}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            replace(GRID, **change)
