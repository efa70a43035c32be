"""The least of margin and cost against published programs, the program written out, and every neighbour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from portfolio_margin.scenario_hedge import min_margin_hedge
from pricing import ConfigError, DataError
from tests.vectors import literature_vectors


def test_published_hedges() -> None:
    for v in literature_vectors("min_margin_hedge"):
        found = min_margin_hedge(**v["inputs"])
        for name, value in v["expected"].items():
            bound = {key: v["tolerance"][name][key] for key in ("rel", "abs") if key in v["tolerance"][name]}
            assert getattr(found, name) == pytest.approx(value, **{"abs": 0.0, **bound}), name
        assert found.gap <= 1e-9 * found.margin_before


def drawn(seed: int, scale: float = 1.0) -> tuple:
    random = np.random.default_rng(seed)
    scenarios, count, traded = random.integers(3, 40), random.integers(2, 6), random.integers(1, 3)
    pnl = random.normal(size=(scenarios, count)) * scale
    cost, most = random.uniform(0.0, 0.3, traded) * scale, random.uniform(0.0, 3.0, traded)
    return pnl, random.normal(size=count), random.permutation(count)[:traded], cost, most


def written_out(
    pnl: np.ndarray, x: np.ndarray, rows: np.ndarray, cost: np.ndarray, most: np.ndarray, share: float
) -> float:
    """Rockafellar and Uryasev's program over (bought, sold, a, excess), the floor at 0 as one more variable t."""
    s, h = len(pnl), len(rows)
    aside = np.concatenate([cost, cost, [0.0], np.zeros(s), [1.0]])
    excess = np.hstack([-pnl[:, rows], pnl[:, rows], -np.ones((s, 1)), -np.eye(s), np.zeros((s, 1))])
    reach = np.concatenate([np.zeros(2 * h), [1.0], np.full(s, 1.0 / (s * share)), [-1.0]])
    bounds = [(0.0, m) for m in (*most, *most)] + [(None, None)] + [(0.0, None)] * (s + 1)
    found = linprog(aside, np.vstack([excess, reach]), np.append(pnl @ x, 0.0), bounds=bounds)
    return float(found.fun)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([1e-3, 1.0, 1e6]))
def test_the_program_written_out(seed: int, scale: float) -> None:
    """The worst loss is the shortfall of a tail of one scenario."""
    book = drawn(seed, scale)
    shortfall = min_margin_hedge(*book, measure="expected_shortfall", confidence=0.75)
    assert shortfall.objective == pytest.approx(written_out(*book, 0.25), rel=1e-6, abs=1e-7 * scale)
    worst = min_margin_hedge(*book)
    assert worst.objective == pytest.approx(written_out(*book, 1.0 / len(book[0])), rel=1e-6, abs=1e-7 * scale)
    assert shortfall.margin_before <= worst.margin_before * (1.0 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000))
def test_no_trade_is_better(seed: int) -> None:
    pnl, held, rows, cost, most = drawn(seed)
    found = min_margin_hedge(pnl, held, rows, cost, most)
    trades = np.random.default_rng(seed).uniform(-1.0, 1.0, (500, len(rows))) * most
    near = np.clip(found.trades + 0.01 * trades, -most, most)
    for tried in (trades, near):
        margins = np.maximum(-(pnl @ held)[None, :] - tried @ pnl[:, rows].T, 0.0).max(axis=1)
        assert (margins + np.abs(tried) @ cost).min() >= found.objective - 1e-9
    assert np.all(np.abs(found.trades) <= most)
    assert found.objective == pytest.approx(found.margin_after + found.cost)
    assert found.objective <= found.margin_before


def test_nothing_is_traded_where_it_costs_more_than_it_saves() -> None:
    found = min_margin_hedge([[1.0], [-1.0]], [1.0], [0], [2.0], [10.0])
    assert found.trades == pytest.approx([0.0]) and found.objective == found.margin_before == 1.0
    free = min_margin_hedge([[1.0], [-1.0]], [1.0], [0], [0.0], [10.0])
    assert free.trades == pytest.approx([-1.0]) and free.objective == pytest.approx(0.0, abs=1e-12)


def test_refusals() -> None:
    rows = [[1.0, 2.0], [-1.0, 0.0]]
    with pytest.raises(DataError, match=r"row 0, hedge_instruments = 2\.0: must be a whole number from 0 to 1"):
        min_margin_hedge(rows, [1.0, 1.0], [2], [0.1], [1.0])
    with pytest.raises(DataError, match="without repetition"):
        min_margin_hedge(rows, [1.0, 1.0], [0, 0], [0.1, 0.1], [1.0, 1.0])
    with pytest.raises(DataError, match="positions"):
        min_margin_hedge(rows, [1.0], [0], [0.1], [1.0])
    with pytest.raises(DataError, match="row 0, cost_per_unit"):
        min_margin_hedge(rows, [1.0, 1.0], [0], [-0.1], [1.0])
    with pytest.raises(DataError, match="row 0, max_abs_trade"):
        min_margin_hedge(rows, [1.0, 1.0], [0], [0.1], [np.inf])
    with pytest.raises(DataError, match="row 1, pnl_per_unit"):
        min_margin_hedge([[1.0], [np.nan]], [1.0], [0], [0.1], [1.0])
    with pytest.raises(ConfigError, match="measure"):
        min_margin_hedge(rows, [1.0, 1.0], [0], [0.1], [1.0], measure="variance")
