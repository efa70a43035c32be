"""What every margin model promises; the test walks portfolio_margin/models, so a new file is put through it untouched.

A model is tested with its newest parameter set, and shortly with every other one; what these lack, because no venue
publishes it, is in SAMPLES. It is asked what holds for it: its scenarios, what it has no rule for,
its traits. What its numbers state as their bounds is tried out; BOUNDS and OUTSIDE hold those of the known models once
more, with what is neither a number nor a text. A model of the tests uses everything a model may.
"""

from __future__ import annotations

import math
import pkgutil
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from decimal import Decimal, localcontext
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import portfolio_margin.models
from portfolio_margin import (
    AccountStatus,
    Book,
    MarginStatement,
    ParameterSet,
    explain,
    load_parameters,
    margin,
)
from portfolio_margin.explain import Explanation
from portfolio_margin.grid_units import Grid
from portfolio_margin.io.parameter_sets import parameter_files
from portfolio_margin.models.tims import RANGES
from portfolio_margin.requirement import EXACT, UNCHARGED_DEBT, covered
from portfolio_margin.standard_margin import FutureRates, OptionRates
from pricing import ConfigError
from scenarios import RiskArrays, revalue
from scenarios.shocks import make, same_scenarios
from tests.bounds import check_bounds_of_numbers
from tests.portfolio_margin import toy_model
from tests.portfolio_margin.books import (
    ARRAYS,
    BACKENDS,
    BOOK,
    INSTRUMENTS,
    MARKET,
    Held,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
    shuffled,
)

SHIPPED = sorted(module.name for module in pkgutil.iter_modules(portfolio_margin.models.__path__))
MODELS = [*SHIPPED, "toy_model"]
SETS = [(name, set_name) for name in SHIPPED for set_name in parameter_files(name)]
SAMPLES: dict[str, dict[str, Any]] = {
    # The venue publishes no rates of futures.
    "aevo_standard": {"options": {"any": OptionRates()}, "futures": {"any": FutureRates(0.1, 0.05)}},
    "bybit_standard": {"options": {"any": OptionRates()}, "futures": {"any": FutureRates(0.1, 0.05)}},
    # Of grids and floors not more is published than that there are some.
    "bybit_pm": {
        "grids": {"any": Grid((-0.15, -0.05, 0.0, 0.05, 0.15), 0.3, 0.25)},
        **dict.fromkeys(("short_option_coefficient", "futures_factor"), 0.002),
        "initial_factor": 1.2,
        "coin_haircut": 0.05,
        "spreads": "left_out",
    },
    "delta_exchange_pm": {
        "grids": {"any": Grid((-0.2, -0.1, 0.0, 0.1, 0.2), 0.3, 0.25)},
        **dict.fromkeys(("futures_floor", "short_option_floor", "long_option_floor"), 0.01),
    },
    # Its eras have no dates.
    "deribit_legacy_pm": {
        "price_range": 0.1,
        "vol_range": 0.38,
        "vega_power": 0.3,
        "initial_factor": 1.3,
        "short_option_rate": 0.01,
        "option_rate": 0.005,
        "futures_rate": 0.01,
    },
    # Tables of the vega and rate charges and of collateral are not published.
    "okx_pm": {"term_structure_vol": 0.05, "rate_move": 0.02, "haircut": {"any": 0.05}},
    # The securities rules know no coins: here BTC and ETH are taken for stocks, so that all of a model is tried.
    "tims": {"default_class": "equity"},
    "reg_t": {"default_class": "equity"},
}
BOUNDS: dict[str, dict[str, tuple[Any, Any]]] = {
    "worst_case": {
        "netting": ("joint", "per_underlying"),
        "initial_factor": (1.0, 5.0),
        "maintenance_factor": (0.01, 1.0),  # 5, but never above the initial factor
        "short_option_minimum": (0.0, 1.0),
        "haircut": (0.0, 1.0),
        "haircut_by_asset": ({"BTC": 0.0, "ETH": 0.0}, {"BTC": 1.0, "ETH": 1.0, "USD": 1.0}),
    },
    "tims": {
        "ranges": ({**RANGES, "equity": (-0.99, 0.0)}, {**RANGES, "equity": (0.0, 10.0)}),
        "product_class": ({}, {"BTC": "equity", "ETH": "currency"}),
        "points": (2, 100),
        "spacing": ("halves", "range"),
        "class_group": ({}, {"BTC": "coins", "ETH": "coins"}),
        "product_group": ({}, {"BTC": "coins", "ETH": "coins"}),
        "product_offset": ({"coins": 0.0}, {"BTC": 1.0, "ETH": 1.0}),
        "portfolio_offset": ({"coins": 0.0}, {"BTC": 1.0}),
        "contract_minimum": (0.0, 100.0),
        "initial_factor": (1.0, 5.0),
        "haircut": (0.0, 1.0),
    },
    "historical_simulation": {
        "measure": ("var", "es"),
        "quantile": ("order", "plotting"),
        "subsamples": (1, 20),
        "confidence": (0.5, 0.9999),
        "combine": ("larger", "blend"),
        "break_factor": (0.0, 5.0),
        "break_window": (10, 4000),
        "liquidity_alpha": (0.0, 1.0),
        "liquidity_sizes": ((0.0, 0.5, 0.6, 0.7), (0.0, 1.0, 2.0, 3.0)),
        "capacity": ({"BTC": 1.0}, {"BTC": 1e15}),
        "default_daily_volume": (1.0, 1e15),
        "stress_weight": (0.0, 2.0),
        "maintenance_factor": (0.01, 1.0),
    },
}
NARROWER = {("worst_case", "maintenance_factor")}
OUTSIDE: dict[str, dict[str, tuple[Any, ...]]] = {
    "worst_case": {
        "netting": ("gross", "", None),
        "initial_factor": (0.99, 5.1, math.nan, "1", None, True),
        "maintenance_factor": (0.0, 1.2, -1.0, math.nan),
        "short_option_minimum": (-0.1, 1.1, math.inf),
        "haircut": (-0.1, 1.5, math.nan),
        "haircut_by_asset": ({"BTC": 2.0}, {"BTC": -0.1}, {"BTC": math.nan}, {"BTC": "0.1"}),
    },
    "tims": {
        "ranges": ({"equity": (-1.0, 0.1)}, {"equity": (0.1, 0.2)}, {"equity": (-0.1,)}, {"equity": (-0.1, math.nan)}),
        "product_class": ({"BTC": "coin"}, ["BTC"]),
        "default_class": ("coin", None),
        "points": (0, 1, 5, 102, True),
        "spacing": ("", "even"),
        "class_group": ({"BTC": 1}, "coins"),
        "product_offset": ({"coins": 1.1}, {"coins": -0.1}, {"coins": math.nan}, {"coins": "1"}),
        "portfolio_offset": ({"coins": 1.1}, {"coins": True}),
        "contract_minimum": (-0.1, 101.0, math.nan),
        "initial_factor": (0.9, 5.1),
        "haircut": (-0.1, 1.1),
    },
    "historical_simulation": {
        "history": (None, "x"),
        "subsamples": (0, 21, 1.5),
        "break_floor": (0.6, -0.1),
        "liquidity_sizes": ((), (0.1, 0.2, 0.3, 0.4), (0.0, 0.0, 0.1, 0.2)),
        "liquidity_factors": ((0.0, 0.1, 0.2, 11.0), (0.0,)),
        "capacity": ({"BTC": 0.0}, {"BTC": "1"}, 5.0),
        "daily_volume": ({"BTC": math.nan},),
        "combine": ("sum",),
    },
}
models = pytest.mark.parametrize("name", MODELS)
# A model with a solver for every account is tried on so many accounts.
ACCOUNTS = {"reg_t": 12, "historical_simulation": 24}


# A file of a thousand scenarios is read once, not for every example.
loaded = cache(load_parameters)


# What a parameter needs beside it at a bound: no window fits so many sub-samples, and none so long.
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("historical_simulation", "subsamples"): {"break_factor": 0.0},
    ("historical_simulation", "break_window"): {"break_factor": 0.0},
}


def book_for(name: str) -> Book:
    """The book a model is tried on."""
    return BOOK.accounts(0, ACCOUNTS.get(name, len(BOOK)))


def model_of(name: str, set_name: str | None = None, **change: Any) -> Any:
    """The model with its newest parameter set, or the one named, or its sample, and some parameters changed."""
    module = toy_model if name == "toy_model" else import_module(f"portfolio_margin.models.{name}")
    given = {**SAMPLES.get(name, {}), **change}
    if not parameter_files(name):
        return module.Model(module.Params(**given))
    params, info = loaded(name, set_name or list(parameter_files(name))[-1])
    return module.Model(replace(params, **given), info)


MADE: list[RiskArrays] = [ARRAYS]


def arrays_of(model: Any) -> RiskArrays:
    """Risk arrays under the scenarios that the model needs, or under the grid."""
    moves = model.scenario_set(MARKET)
    for known in MADE:
        if moves is None or same_scenarios(known.scenario_set, moves):
            return known
    MADE.append(revalue(INSTRUMENTS, MARKET, moves))
    return MADE[-1]


def statement_of(name: str, accounts: dict[str, Held], **change: Any) -> MarginStatement:
    model = model_of(name, **change)
    return margin(book_of(accounts), arrays_of(model), MARKET, model)


def seen(model: Any, book: Book) -> Book:
    """The positions that the model has rules for."""
    return covered(model, book, arrays_of(model))[0]


def test_there_are_models() -> None:
    assert "worst_case" in MODELS
    assert set(BOUNDS) <= set(MODELS)


@pytest.mark.parametrize(("name", "set_name"), SETS)
def test_every_parameter_set_can_be_used(name: str, set_name: str) -> None:
    book = book_for(name)
    model = model_of(name, set_name)
    assert model.parameter_set.name == set_name
    if np.all(model.not_covered(arrays_of(model))[~ARRAYS.is_collateral] != ""):
        with pytest.raises(ConfigError, match="no rule for any contract"):
            margin(book, arrays_of(model), MARKET, model)
        return
    statement = margin(book, arrays_of(model), MARKET, model)
    assert statement.identity()["parameter_set"] == set_name
    assert np.all(statement.initial_margin >= statement.maintenance_margin)
    account = str(book.account_id[0])
    check_tree(explain(statement, book, arrays_of(model), account), statement, account)


@models
@pytest.mark.parametrize("backend", BACKENDS)
def test_requirements_are_ordered_and_charges_add_up(name: str, backend: str) -> None:
    book = book_for(name)
    model = model_of(name)
    arrays = arrays_of(model)
    required = model.requirement(seen(model, book), arrays, backend=backend)
    assert np.all(required.initial >= required.maintenance)
    assert np.all(required.maintenance >= 0)
    assert required.initial.max() > 0
    total = sum(required.charges.values())
    assert np.array_equal(total, np.column_stack([required.initial, required.maintenance]))
    for charge, parts in required.charges.items():
        assert charge.isidentifier()
        assert parts.shape == (len(book), 2)
        assert np.all(parts >= 0) or charge in model.traits.credits
    assert set(model.traits.proportional) | set(model.traits.credits) <= set(required.charges)
    assert np.all((required.worst_scenario >= -1) & (required.worst_scenario < len(arrays.scenario_set)))


@models
def test_every_backend_thread_and_order_gives_the_same_bits(name: str) -> None:
    whole = book_for(name)
    model = model_of(name)
    arrays = arrays_of(model)
    reference = model.requirement(seen(model, whole), arrays, backend="numpy")
    book = seen(model, shuffled(whole, np.random.default_rng(5)))
    for backend in BACKENDS:
        for threads in (1, 2):
            other = model.requirement(book, arrays, backend=backend, threads=threads)
            assert other.initial.tobytes() == reference.initial.tobytes()
            assert other.maintenance.tobytes() == reference.maintenance.tobytes()
            assert np.array_equal(other.worst_scenario, reference.worst_scenario)
            assert {k: v.tobytes() for k, v in other.charges.items()} == {
                k: v.tobytes() for k, v in reference.charges.items()
            }


@models
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_account_needs_nothing(name: str, backend: str) -> None:
    model = model_of(name)
    arrays = arrays_of(model)
    for held in ({}, {"BTC-PERPETUAL": 0.0, "USD": 0.0}, {"USD": 5.0}, {"USD": -5.0}):
        required = model.requirement(book_of({"a": held}), arrays, backend=backend)
        assert (required.initial[0], required.maintenance[0], required.worst_scenario[0]) == (0.0, 0.0, -1)
    assert len(model.requirement(book_of({}), arrays, backend=backend).initial) == 0
    assert margin(book_of({"a": {}}), arrays, MARKET, model, backend=backend).status[0] == AccountStatus.NORMAL


@models
@settings(max_examples=20, deadline=None)
@given(contracts_held, st.integers(2, 7))
def test_charges_said_to_be_proportional_scale_with_the_position(name: str, steps: dict[str, int], factor: int) -> None:
    model = model_of(name)
    book = seen(model, book_of({"one": in_steps(steps), "scaled": in_steps(steps, factor)}))
    required = model.requirement(book, arrays_of(model))
    for charge in model.traits.proportional:
        once, scaled = required.charges[charge][:, 0]
        assert scaled == pytest.approx(factor * once, rel=1e-13)


@models
def test_a_contract_without_a_rule_is_named_and_left_out(name: str) -> None:
    book = book_for(name)
    model = model_of(name)
    arrays = arrays_of(model)
    row = book.instrument_idx
    owed = (arrays.is_collateral & (arrays.instrument_id != arrays.currency))[row] & (book.quantity < 0)
    charged, known = model.debts_covered(arrays)[row], model.not_covered(arrays)[row]
    debt = np.where(charged, "", np.where(known != "", known, UNCHARGED_DEBT))
    reason = np.where(owed, debt, known)
    statement = margin(book, arrays, MARKET, model)
    out = (reason != "") & (book.quantity != 0)
    assert len(statement.positions_excluded) == out.sum()
    for position, line in zip(np.flatnonzero(out), statement.positions_excluded, strict=True):
        assert line.endswith(f"{arrays.instrument_id[row[position]]}: {reason[position]}")
    # An asset held without a rule of its own stands against debts, and so stays in the margin.
    backs = arrays.is_collateral[row] & (book.quantity > 0) & charged
    again = margin(book.keep(~out | backs), arrays, MARKET, model)
    assert again.initial_margin.tobytes() == statement.initial_margin.tobytes()
    assert len(again.positions_excluded) == (out & backs).sum()
    assert name == "span" or not (out & backs).any()


@models
def test_risk_arrays_under_other_scenarios_are_refused(name: str) -> None:
    book = book_for(name)
    model = model_of(name)
    other = revalue(INSTRUMENTS, MARKET, make(["up"], np.array([0.0123])))
    if model.scenario_set(MARKET) is None:
        assert len(margin(book, other, MARKET, model)) == len(book)
        return
    for market in (MARKET, None):
        with pytest.raises(ConfigError, match="scenarios of its own"):
            margin(book, other, market, model)


@models
def test_the_array_file_and_the_parameters_reproduce_the_margin(name: str) -> None:
    book = book_for(name)
    model = model_of(name)
    arrays = RiskArrays.from_bytes(arrays_of(model).to_bytes())
    ours, theirs = margin(book, arrays, None, model), margin(book, arrays_of(model), MARKET, model)
    assert ours.initial_margin.tobytes() == theirs.initial_margin.tobytes()
    assert ours.maintenance_margin.tobytes() == theirs.maintenance_margin.tobytes()


@models
@settings(max_examples=30, deadline=None)
@given(contracts_held, balances_held, st.sampled_from(["USD", "BTC", "ETH"]), st.floats(0.01, 1e4))
def test_more_collateral_never_lowers_excess(
    name: str, steps: dict[str, int], cash: Held, asset: str, more: float
) -> None:
    """By the default parameters: a factor above the inverse of the price range would ask more than the coin adds."""
    held = {**in_steps(steps), **cash}
    richer = {**held, asset: held.get(asset, 0.0) + more}
    statement = statement_of(name, {"poor": held, "rich": richer})
    poor, rich = (statement.account.tolist().index(n) for n in ("poor", "rich"))
    for column in (statement.margin_balance, statement.excess_liquidity, statement.available_funds):
        assert column[rich] >= column[poor] - 0.03  # cents rounded in the house's favour on the way


@models
@settings(max_examples=20, deadline=None)
@given(contracts_held, balances_held)
def test_accounts_do_not_touch_each_other(name: str, steps: dict[str, int], cash: Held) -> None:
    held = {**in_steps(steps), **cash}
    alone = statement_of(name, {"a": held})
    among = statement_of(name, {"0": {"BTC": 1.0}, "a": held, "z": in_steps(steps, 3)})
    for column in ("equity", "haircut", "margin_balance", "initial_margin", "maintenance_margin", "delta_total"):
        assert getattr(alone, column)[0] == getattr(among, column)[1]


@models
def test_parameters_are_frozen_and_all_have_bounds(name: str) -> None:
    model = model_of(name)
    assert model.model_id == name
    assert is_dataclass(model.params)
    for field in fields(model.params):
        with pytest.raises(FrozenInstanceError):
            setattr(model.params, field.name, getattr(model.params, field.name))
    assert isinstance(model.parameter_set, ParameterSet)
    stated = check_bounds_of_numbers(model.params, lambda **change: model_of(name, **change))
    for field, (low, high) in BOUNDS.get(name, {}).items():
        if field in stated and (name, field) not in NARROWER:
            assert stated[field] == (low, high)


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in BOUNDS for field in BOUNDS[name]])
def test_parameters_at_their_bounds(name: str, field: str) -> None:
    book = book_for(name)
    for value in BOUNDS[name][field]:
        model = model_of(name, **{field: value, **BESIDE.get((name, field), {})})
        arrays = arrays_of(model)
        statement = margin(book, arrays, MARKET, model)
        assert np.all(np.isfinite(statement.initial_margin))
        assert np.all(statement.initial_margin >= statement.maintenance_margin)
        assert np.all(statement.maintenance_margin >= 0)
        for account in book.account_id[:3]:
            check_tree(explain(statement, book, arrays, str(account)), statement, str(account))


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in OUTSIDE for field in OUTSIDE[name]])
def test_parameters_outside_their_bounds_are_refused(name: str, field: str) -> None:
    for value in OUTSIDE[name][field]:
        with pytest.raises(ConfigError, match=field):
            model_of(name, **{field: value})


def check_tree(explanation: Explanation, statement: MarginStatement, account: str) -> None:
    """Every line is the exact sum of the lines one deeper below it, and the first line is the statement's."""
    lines = explanation.lines
    row = statement.account.tolist().index(account)
    assert lines[0].initial == Decimal(repr(float(statement.initial_margin[row])))
    assert lines[0].maintenance == Decimal(repr(float(statement.maintenance_margin[row])))
    with localcontext(prec=200):
        for position, line in enumerate(lines):
            below = lines[position + 1 :]
            end = next((n for n, other in enumerate(below) if other.depth <= line.depth), len(below))
            children = [other for other in below[:end] if other.depth == line.depth + 1]
            if children:
                assert sum((c.initial for c in children), Decimal(0)) == line.initial
                assert sum((c.maintenance for c in children), Decimal(0)) == line.maintenance
    assert lines[-1].level == "rounding"
    # Rounded down only to what covers it: a balance whose equity is rounded down and whose haircut up, a cent each.
    left = statement.available_funds[row], statement.excess_liquidity[row]
    two = "-0.02" if statement.haircut[row] > 0.0 else "-0.01"
    for amount, funds in zip((lines[-1].initial, lines[-1].maintenance), left, strict=True):
        assert Decimal("-1e-7" if funds != 0.0 else two) < amount < Decimal("0.01")


@models
@settings(max_examples=25, deadline=None)
@given(contracts_held, balances_held)
@example({"BTC-7D-61200-P": 1}, {"BTC": 1e-08})
def test_explanations_add_up_exactly(name: str, steps: dict[str, int], cash: Held) -> None:
    accounts = {"a": {**in_steps(steps), **cash}}
    statement = statement_of(name, accounts)
    check_tree(explain(statement, book_of(accounts), arrays_of(statement.model), "a"), statement, "a")


@models
def test_contributions_name_positions_charges_and_scenarios(name: str) -> None:
    book = book_for(name)
    model = model_of(name)
    arrays = arrays_of(model)
    for account in book.account_id[:5]:
        alone = seen(model, book.select(str(account)))
        required = model.requirement(alone, arrays)
        lines = model.contributions(alone, arrays)
        assert {line.charge for line in lines} <= set(required.charges)
        held = dict(zip(arrays.instrument_id[alone.instrument_idx].tolist(), alone.quantity.tolist(), strict=True))
        known = set(arrays.instrument_id.tolist())
        # A line is of a whole position, or of what one strategy takes of it.
        parts_of, whole = ([line for line in lines if (line.level == "strategy") is part] for part in (True, False))
        assert {line.instrument: line.quantity for line in whole if line.instrument in known}.items() <= held.items()
        assert all(0.0 < line.quantity / held[line.instrument] <= 1.0 + 1e-12 for line in parts_of)
        assert all(line.scenario == "" or line.scenario in arrays.scenario_set.label for line in lines)
        with localcontext(EXACT):
            for charge, parts in required.charges.items():
                mine = [line for line in lines if line.charge == charge]
                assert float(sum(line.initial for line in mine)) == pytest.approx(parts[0, 0], abs=1e-6, rel=1e-12)
                assert float(sum(line.maintenance for line in mine)) == pytest.approx(parts[0, 1], abs=1e-6, rel=1e-12)


@models
def test_haircuts_are_shares(name: str) -> None:
    model = model_of(name)
    haircut = model.haircut(arrays_of(model))
    assert haircut.shape == (len(ARRAYS),)
    assert np.all((haircut >= 0) & (haircut <= 1))
    assert np.all(haircut[~ARRAYS.is_collateral] == 0)
    assert haircut[ARRAYS.index_of()["USD"]] == 0
