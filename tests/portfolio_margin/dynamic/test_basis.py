"""The basis: what a pair of expiries pays, and the rule that says how far forwards move against each other."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin import explain, margin
from portfolio_margin.dynamic.basis_rule import MS_PER_DAY, Curves, curve_changes, curve_moves, measured_moves
from portfolio_margin.dynamic.rule import Rule
from portfolio_margin.io.forward_curves import read_forward_curves
from portfolio_margin.models import dynamic_worst_case as model_file
from pricing import DataError
from scenarios import revalue
from scenarios.shocks import make
from tests.portfolio_margin.books import INSTRUMENTS, MARKET, ROW, book_of, contracts_held, in_steps
from tests.portfolio_margin.dynamic.test_model import MODEL, PARAMS, UNDER
from tests.portfolio_margin.test_contracts import check_tree

STATE = PARAMS.underlyings["BTC"]
YEAR_DAYS = 365.0


def test_a_perpetual_against_a_dated_future_loses_what_the_forwards_do() -> None:
    """The charge of a pair is what revaluation gives where the basis turns and both forwards move by themselves."""
    delta = {name: float(UNDER.delta[ROW[name]]) for name in ("BTC-PERPETUAL", "BTC-60D")}
    dated = -round(20_000.0 * delta["BTC-PERPETUAL"] / delta["BTC-60D"])
    book = book_of({"pair": {"BTC-PERPETUAL": 20_000.0, "BTC-60D": float(dated)}})
    expiry = int(UNDER.expiry_idx[ROW["BTC-60D"]])
    years = float(UNDER.years_to_expiry[expiry])
    rise = years * STATE.basis_rate_move + STATE.basis_move
    # The perpetual follows the price, which falls by its own move; the forward of the future ends higher by `rise`.
    apart = (rise + STATE.basis_move) / (1.0 - STATE.basis_move)
    moves = make(["basis"], np.full((1, 1), -STATE.basis_move), basis_move=np.full((1, 1), apart))
    moved = revalue(INSTRUMENTS, MARKET, moves)
    loss = -sum(float(moved.pnl[ROW[n], 0]) * q for n, q in (("BTC-PERPETUAL", 20_000.0), ("BTC-60D", float(dated))))
    charge = MODEL.requirement(book, UNDER).charges["basis"][0, 1]
    # To first order in the move, of half a percent.
    assert charge == pytest.approx(loss, rel=0.02)
    assert charge > 0.004 * 200_000.0
    statement = margin(book, UNDER, MARKET, MODEL)
    lines = explain(statement, book, UNDER, "pair")
    check_tree(lines, statement, "pair")
    names = [line.name for line in lines.lines]
    assert any(name == "forward of BTC-undated against the others" for name in names)
    assert "all forwards of BTC, by their time to expiry" in names


@settings(max_examples=30, deadline=None)
@given(contracts_held, contracts_held)
def test_the_charge_is_convex_and_proportional(one: dict[str, int], two: dict[str, int]) -> None:
    both = {name: one.get(name, 0) + two.get(name, 0) for name in {*one, *two}}
    books = {"a": in_steps(one), "b": in_steps(two), "sum": in_steps(both), "twice": in_steps(one, 2)}
    statement = margin(book_of(books), UNDER, MARKET, MODEL)
    found = dict(zip(statement.account.tolist(), statement.charges["basis"][:, 0], strict=True))
    assert found["sum"] <= found["a"] + found["b"] + 1e-6 * (1.0 + found["sum"])
    assert found["twice"] == pytest.approx(2.0 * found["a"], rel=1e-12)


def test_without_moves_nothing_is_charged() -> None:
    still = {name: replace(s, basis_rate_move=0.0, basis_move=0.0) for name, s in PARAMS.underlyings.items()}
    model = model_file.Model(replace(PARAMS, underlyings=still))
    book = book_of({"a": {"BTC-PERPETUAL": 20_000.0, "BTC-60D": -100.0}})
    assert model.requirement(book, UNDER).charges["basis"][0].tolist() == [0.0, 0.0]


RANDOM = np.random.default_rng(5)


def curves(turns: np.ndarray, alone: np.ndarray, days: np.ndarray) -> Curves:
    """Curves that make these changes: turns (T-1,) a year, each forward by itself (T-1,X), days between moments."""
    start = 1_770_000_000_000
    time = start + np.append(0, np.cumsum(days) * MS_PER_DAY).astype(np.int64)
    expiry = start + (np.array([100, 130, 250, 400]) * MS_PER_DAY).astype(np.int64)
    years = (expiry - time[1:, None]) / (YEAR_DAYS * MS_PER_DAY)
    steps = turns[:, None] * years + alone
    return Curves(time, expiry, np.vstack([np.zeros(len(expiry)), np.cumsum(steps, axis=0)]))


def test_a_pure_turn_is_found_and_nothing_is_left() -> None:
    turns = RANDOM.normal(0.0, 0.002, 40)
    found = curve_changes(curves(turns, np.zeros((40, 4)), np.ones(40)), 2.0)
    assert found.turn == pytest.approx(turns, rel=1e-9)
    assert found.largest == pytest.approx(np.zeros(40), abs=1e-12)


def test_the_rule_is_the_loop_of_its_text() -> None:
    days = RANDOM.choice([0.25, 1.0, 1.5], 60)
    made = curves(RANDOM.normal(0.0, 0.002, 60), RANDOM.normal(0.0, 5e-4, (60, 4)), days)
    rule = Rule()
    squares_c, squares_e, largest_c, largest_e = 0.0, 0.0, 0.0, 0.0
    wanted: list[tuple[float, float]] = []
    for t in range(1, 61):
        years = [(float(x) - float(made.time_ms[t])) / (YEAR_DAYS * MS_PER_DAY) for x in made.expiry_ms]
        change = [float(made.log_basis[t, x] - made.log_basis[t - 1, x]) for x in range(4)]
        c = sum(y * m for y, m in zip(years, change, strict=True)) / sum(y * y for y in years)
        rest = [m - c * y for y, m in zip(years, change, strict=True)]
        gap = float(made.time_ms[t] - made.time_ms[t - 1]) / MS_PER_DAY
        squares_c += c * c / gap
        squares_e += sum(r * r for r in rest) / 3 / gap
        largest_c, largest_e = max(largest_c, abs(c)), max(largest_e, *(abs(r) for r in rest))
        if t < 20:
            continue
        target = [max(3.0 * sqrt(2.0 * s / t), top) for s, top in ((squares_c, largest_c), (squares_e, largest_e))]
        if wanted:
            limits = [((1 - 0.02) ** gap * last, (1 + 0.1) ** gap * last) for last in wanted[-1]]
            target = [min(max(value, low), high) for value, (low, high) in zip(target, limits, strict=True)]
        wanted.append((target[0], target[1]))
    path = curve_moves("X", made, rule)
    assert np.column_stack([path.rate_move, path.move]) == pytest.approx(np.array(wanted), rel=1e-9)
    assert measured_moves("X", made, rule)["basis_move"] == pytest.approx(wanted[-1][1], rel=1e-3)


@pytest.mark.parametrize(
    ("days", "text"),
    [(np.ones(10), "needs 20 pairs"), (np.full(40, 3.0), "needs 20 pairs"), (np.zeros(40), "must rise")],
)
def test_too_few_curves_are_refused(days: np.ndarray, text: str) -> None:
    with pytest.raises(DataError, match=text):
        curve_moves("X", curves(np.zeros(len(days)), np.zeros((len(days), 4)), days), Rule())


def chain() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "snapshot_utc": ["2026-01-01T09:00:00Z"] * 4 + ["2026-01-02T09:00:00Z"],
            "currency": ["BTC", "BTC", "BTC", "ETH", "BTC"],
            "expiry_utc": ["2026-03-27T08:00:00Z"] * 4 + ["2026-06-26T08:00:00Z"],
            "underlying": [101.0, 103.0, 102.0, 11.0, 105.0],
            "index": [100.0, 100.0, 100.0, 10.0, 100.0],
        }
    )


def test_a_forward_of_a_snapshot_is_the_median_of_its_rows() -> None:
    found = read_forward_curves([chain(), chain()])
    assert found["BTC"].log_basis[0, 0] == pytest.approx(np.log(1.02))
    assert np.isnan(found["BTC"].log_basis[0, 1]) and found["BTC"].log_basis[1, 1] == pytest.approx(np.log(1.05))
    assert found["ETH"].log_basis.tolist() == [[pytest.approx(np.log(1.1))]]
    assert len(read_forward_curves([chain()], "2026-01-01")["BTC"].time_ms) == 1


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [("index", 0.0, "above 0"), ("underlying", np.nan, "above 0"), ("expiry_utc", "soon", "must be a time")],
)
def test_bad_rows_of_chains_are_named(column: str, value: object, text: str) -> None:
    table = chain().astype(object)
    table.loc[2, column] = value
    with pytest.raises(DataError, match=text):
        read_forward_curves([table])


def test_nothing_up_to_the_day_is_refused() -> None:
    with pytest.raises(DataError, match="no snapshot is as early"):
        read_forward_curves([chain()], "2025-12-31")


@given(st.floats(0.001, 0.5), st.floats(0.0, 0.1))
def test_the_closed_form_is_the_worst_corner(move: float, rate: float) -> None:
    from portfolio_margin.dynamic.basis import basis_charge
    from tests.naive import dynamic as naive

    contracts = [
        {"expiry": x, "quantity": q, "delta": 100.0, "days": days}
        for x, q, days in ((0, 5.0, 0.0), (1, -7.0, 30.0), (2, 3.0, 200.0), (2, -1.0, 200.0))
    ]
    state = replace(STATE, basis_move=move, basis_rate_move=rate)
    turn, sizes = (-7.0 * 30.0 + 2.0 * 200.0) / 365.0 * 100.0, (5.0 + 7.0 + 2.0) * 100.0
    assert basis_charge(turn, sizes, rate, move) == pytest.approx(naive.basis(contracts, state), rel=1e-12)
