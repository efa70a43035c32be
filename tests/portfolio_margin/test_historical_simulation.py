"""Historical simulation: published filters and blends, a naive twin, tail measures, the shipped scenarios."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import load_parameters
from portfolio_margin.io.parameter_sets import parameter_files
from portfolio_margin.models import historical_simulation
from portfolio_margin.sample import derive_history
from portfolio_margin.tail_measures import blended, scenario_weights, tail_measure, tail_weights
from pricing import ConfigError
from scenarios import revalue
from scenarios.families import historical
from scenarios.filters import ewma_variance, garch_variance, scaled_returns
from tests.naive import historical as naive
from tests.portfolio_margin.books import INSTRUMENTS, MARKET, ROW, book_of, contracts_held, in_steps
from tests.vectors import data_file, literature_vectors, worked_examples

RANDOM = np.random.default_rng(11)
COMMON = RANDOM.standard_t(4, 160) * 0.02
HISTORY = historical.Params(
    returns={"BTC": tuple(COMMON.tolist()), "ETH": tuple((COMMON * 1.2 + RANDOM.normal(0, 0.01, 160)).tolist())},
    vol_returns={"BTC": tuple((-COMMON).tolist())},
    stress_returns={"BTC": (-0.3, 0.25, -0.2, 0.1), "ETH": (-0.4, 0.3, -0.1, 0.3)},
    stress_vol_returns={"BTC": (0.5, 0.2, 0.3, 0.0), "ETH": (0.5, 0.2, 0.3, 0.0)},
    horizon_steps=2,
)
TERMS = {"break_window": 30, "break_step": 7, "default_capacity": 1e6, "capacity": {"BTC": 3e5}}


@pytest.mark.reference
def test_literature_ewma_filter(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("ewma_fhs"):
        i, e = v["inputs"], v["expected"]
        known = ewma_variance(i["returns"], i["lam"], i["initial_variance"])
        scaled = scaled_returns(i["returns"], known)
        losses = -scaled[None, :]
        # The third worst of sixty: 95 %.
        ours = {
            "final_variance": known[-1],
            "scaled_returns_last3": scaled[-3:],
            "var_3rd_worst": tail_measure(losses, tail_weights(60, 0.95, "var", "order"))[0],
            "es_worst3": tail_measure(losses, tail_weights(60, 0.95, "es"))[0],
        }
        assert set(ours) == set(e)
        for name, wanted in e.items():
            errors.append(float(np.abs(np.asarray(ours[name]) / wanted - 1.0).max() / v["tolerance"][name]["rel"]))
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_literature_garch_filter(report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors("garch11_filter"):
        i, e = v["inputs"], v["expected"]
        known = garch_variance(i["returns"], i["omega"], i["alpha"], i["beta"], i["initial_variance"])
        assert i["omega"] == pytest.approx(i["long_run_variance"] * (1 - i["alpha"] - i["beta"]))
        error = np.abs(np.sqrt(known[1:]) - e["volatilities"]).max()
        errors.append(float(error / v["tolerance"]["volatilities"]["abs"]))
    report_vectors(len(errors), max(errors), "of the tolerance")
    assert max(errors) <= 1


@pytest.mark.reference
def test_worked_blend(report_vectors: Any) -> None:
    """The example's x is the weight of the historical part."""
    errors = []
    for example in worked_examples("student SPAN 2 model"):
        i, e = example["inputs"], example["expected"]
        raw = blended(i["hvar"], i["svar"], 1 - i["x"], 0.0)
        both = blended(i["hvar"], i["svar"], 1 - i["x"], i["floor_share"])
        floor = blended(0.0, i["svar"], 0.0, i["floor_share"])
        errors += [abs(raw - e["raw"]), abs(floor - e["floor"]), abs(both - e["blended"])]
    allowed = worked_examples("student SPAN 2 model")[0]["tolerance"]["abs"]
    report_vectors(len(errors), max(errors), f"currency units, {allowed:g} allowed")
    assert max(errors) <= allowed


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=1, max_size=60),
    st.sampled_from([0.5, 0.9, 0.95, 0.97, 0.99, 0.9999]),
    st.sampled_from(["var", "es"]),
    st.sampled_from(["plotting", "order"]),
)
def test_tail_measures(losses: list[float], confidence: float, kind: str, quantile: str) -> None:
    row = np.array(losses)
    weights = tail_weights(len(losses), confidence, kind, quantile)
    assert weights.sum() == pytest.approx(1.0)
    assert np.all(weights >= 0)
    found = tail_measure(row[None, :], weights)[0]
    assert found == pytest.approx(naive.measure(losses, confidence, kind, quantile), abs=1e-9)
    assert max(scenario_weights(row, weights) @ row, 0.0) == pytest.approx(found, abs=1e-9)
    tail = len(losses) * (1 - confidence)
    if abs(tail - round(tail)) < 1e-9 and round(tail):
        es = tail_measure(row[None, :], tail_weights(len(losses), confidence, "es"))[0]
        order = tail_measure(row[None, :], tail_weights(len(losses), confidence, "var", "order"))[0]
        assert es >= order - 1e-9


@pytest.mark.parametrize("name", ["ewma", "garch"])
@pytest.mark.parametrize("scaling", ["each", "common"])
def test_scenarios_of_a_history(name: str, scaling: str) -> None:
    params = replace(HISTORY, filter=name, scaling=scaling, windows=50)
    found = historical.scenarios(params, MARKET)
    alpha, beta = (1 - params.decay, params.decay) if name == "ewma" else (params.garch_alpha, params.garch_beta)
    columns = [list(params.returns[u]) for u in ("BTC", "ETH")]
    known = []
    for column in columns:
        start = float(np.var(column))
        omega = 0.0 if name == "ewma" else (1 - alpha - beta) * start
        known.append(naive.known_variance(column, omega, alpha, beta, start))
    scaled = naive.scaled(columns, known, params.scale_floor, params.scale_cap, scaling == "common")
    wanted = np.array([naive.horizon_moves(column, 2)[-50:] for column in scaled]).T
    assert found.price_move[1:51] == pytest.approx(wanted, abs=1e-12)
    assert np.all(found.price_move[0] == 0) and np.all(found.vol_move[0] == 0)
    assert found.price_move[51:, 0] == pytest.approx(np.expm1(HISTORY.stress_returns["BTC"]))
    assert np.all(found.vol_move[1:51, 1] == 0)  # ETH has no history of vols
    assert found.tier.tolist() == [0] + [1] * 50 + [2] * 4


def test_plain_moves_are_the_history() -> None:
    found = historical.scenarios(replace(HISTORY, method="plain", horizon_steps=1, passing="passes"), MARKET)
    assert found.price_move[1:161, 0] == pytest.approx(np.expm1(COMMON))
    assert found.time_step_years[1:] == pytest.approx(1 / 365)
    assert found.time_step_years[0] == 0


def test_one_ratio_keeps_the_direction_of_a_day() -> None:
    """Scaled one by one the two factors of a day change their proportion, scaled by one ratio they do not."""
    raw = np.array([HISTORY.returns["BTC"], HISTORY.returns["ETH"]]).T
    common = historical.moves(replace(HISTORY, scaling="common"), HISTORY.returns)
    each = historical.moves(replace(HISTORY, scaling="each"), HISTORY.returns)
    assert common[:, 0] * raw[:, 1] == pytest.approx(common[:, 1] * raw[:, 0], abs=1e-12)
    assert np.abs(each[:, 0] * raw[:, 1] - each[:, 1] * raw[:, 0]).max() > 1e-6


ARRAYS = revalue(INSTRUMENTS, MARKET, historical.scenarios(HISTORY, MARKET))
VARIANTS: list[dict[str, Any]] = [
    {},
    {"measure": "var", "subsamples": 2},
    {"measure": "var", "quantile": "order", "stress_weight": 0.1},
    {"combine": "blend", "stress_weight": 0.3, "stress_floor": 0.8, "subsamples": 3},
    {"combine": "blend", "stress_weight": 0.6, "stress_confidence": 0.6, "break_floor": 0.1, "break_cap": 0.2},
    {"break_factor": 0.0, "liquidity_alpha": 1.0, "impact": 3.0},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@settings(max_examples=15, deadline=None)
@given(contracts_held.filter(lambda held: any(held.values())))
def test_naive_twin(variant: dict[str, Any], steps: dict[str, int]) -> None:
    held = in_steps({name: count for name, count in steps.items() if count})
    model = historical_simulation.Model(historical_simulation.Params(HISTORY, **{**TERMS, **variant}))
    ours = model.requirement(book_of({"a": held}), ARRAYS)
    p = {name: getattr(model.params, name) for name in model.params.__dataclass_fields__}
    tier, positions = ARRAYS.scenario_set.tier, []
    for name, quantity in held.items():
        row = ROW[name]
        gains = ARRAYS.pnl[row]
        positions.append(
            {
                "quantity": quantity,
                "history": gains[tier == 1].tolist(),
                "stress": gains[tier == 2].tolist(),
                "notional": float(ARRAYS.notional[row]),
                "delta": float(ARRAYS.delta[row]),
                "underlying": int(ARRAYS.underlying_idx[row]),
            }
        )
    moves = ARRAYS.scenario_set.price_move[tier == 1]
    still = {"capacity": [3e5, 1e6], "daily_volume": [1e9, 1e9], "sigma": moves.std(axis=0).tolist()}
    assert ours.initial[0] == pytest.approx(naive.requirement(positions, still, p), rel=1e-7, abs=1e-3)
    assert ours.maintenance[0] == pytest.approx(0.8 * ours.initial[0])


@settings(max_examples=20, deadline=None)
@given(contracts_held, contracts_held)
def test_expected_shortfall_is_subadditive(first: dict[str, int], second: dict[str, int]) -> None:
    """Of the history by itself; quantiles, add-ons and averages of sub-samples promise no such thing."""
    both = {name: first.get(name, 0) + second.get(name, 0) for name in {*first, *second}}
    model = historical_simulation.Model(historical_simulation.Params(HISTORY, break_window=30))
    book = book_of({"a": in_steps(first), "b": in_steps(second), "c": in_steps(both)})
    one, two, sum_of_both = model.requirement(book, ARRAYS).charges["historical"][:, 0]
    assert sum_of_both <= one + two + 1e-4


def test_no_sub_sample_is_empty() -> None:
    """One without a scenario would lose nothing and pull the mean down."""
    few = replace(HISTORY, windows=5)
    with pytest.raises(ConfigError, match="subsamples = 6: must not exceed the 5 horizons"):
        historical_simulation.Params(few, subsamples=6, break_factor=0.0)
    assert historical_simulation.Params(few, subsamples=5, break_factor=0.0).subsamples == 5


def test_a_window_that_fits_no_sub_sample_is_refused() -> None:
    """There would be no window to look at, and no correlation break."""
    assert HISTORY.horizons == 159
    for subsamples, longest in ((1, 159), (2, 79), (3, 53)):
        fits = historical_simulation.Params(HISTORY, subsamples=subsamples, break_window=longest)
        assert fits.break_window == longest
        with pytest.raises(ConfigError, match=rf"break_window = {longest + 1}: no window fits .* {longest} scenarios"):
            replace(fits, break_window=longest + 1)
    assert historical_simulation.Params(HISTORY, break_window=4000, break_factor=0.0).break_window == 4000


def test_a_history_of_nothing_is_refused() -> None:
    still = {"BTC": HISTORY.returns["BTC"], "ETH": (0.0,) * 160}
    with pytest.raises(ConfigError, match="returns ETH: every log return that is taken is 0"):
        replace(HISTORY, returns=still)
    moved = (0.1, *(0.0,) * 159)  # the first step is one of the latest 159 horizons of two, and not of the latest 50
    assert replace(HISTORY, returns={**still, "ETH": moved}).horizons == 159
    with pytest.raises(ConfigError, match="returns ETH"):
        replace(HISTORY, returns={**still, "ETH": moved}, windows=50)


def test_a_tail_that_gains_asks_for_nothing() -> None:
    rows = -np.array([[1.0, 2.0, 3.0]])
    assert tail_measure(rows, tail_weights(3, 0.99, "es"))[0] == 0.0


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "stem", "day"), [("coins", "2026-02-25", "2020-03-12"), ("spx", "2023-12-28-spx", "1987-10-19")]
)
def test_shipped_scenarios_are_derived_from_the_data(name: str, stem: str, day: str) -> None:
    """Again from the sources: the same file, in which the crashes stand."""
    root = data_file("prices/dvol_btc_1d_deribit_20230101_20260622.csv.gz").parent.parent
    shipped, source = parameter_files("historical_simulation")[stem], derive_history.SETS[name]
    assert derive_history.text_of(derive_history.derive(root, source), source) == shipped.read_text(encoding="utf-8")
    values = tomllib.loads(shipped.read_text(encoding="utf-8"))["params"]["history"]
    first = sorted(values["returns"])[0]
    assert len(values["returns"][first]) == 1000
    assert len(values["stress_returns"][first]) == source.stressed
    crash = values["stress_returns"][first][values["stress_dates"].index(day)]
    assert crash == min(values["stress_returns"][first]) < -0.2


def test_the_shipped_set_stands_beside_the_grid() -> None:
    """Of the size of what it was derived from: two days at 99 % of a coin are 10 to 30 % here."""
    params, info = load_parameters("historical_simulation")
    moves = historical.scenarios(params.history, MARKET)
    arrays = revalue(INSTRUMENTS, MARKET, moves)
    model = historical_simulation.Model(params, info)
    book = book_of({"coin": {"BTC": 1.0}})
    asked = model.requirement(book, arrays).initial[0] / MARKET.spot[0]
    assert 0.10 < asked < 0.30
    assert not math.isnan(asked)
