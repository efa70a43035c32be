"""Reduced costs and the whole lots of few contracts, against the program of all contracts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import OptimizeResult

from portfolio_margin.hedge_columns import relaxed, whole_lots
from portfolio_margin.hedge_program import STOPPED, Bands, Plane, Program

COUNT = 12


def program_of(seed: int, gap: float = 0.0) -> Program:
    """Random planes around a requirement of 1,000 that trades can bring down."""
    random = np.random.default_rng(seed)
    cost = random.uniform(0.5, 3.0, COUNT)
    most = random.integers(0, 6, COUNT).astype(float)
    return Program(
        buy_cost=cost,
        sell_cost=cost * random.uniform(1.0, 1.5, COUNT),
        most_bought=most,
        most_sold=most[::-1].copy(),
        bands=Bands(random.normal(0.0, 1.0, (1, COUNT)), np.array([-9.0]), np.array([9.0])),
        total_cost=np.inf,
        spent=1.0,
        scale=1e4,
        nodes=10_000,
        gap=gap,
        planes=[Plane(1000.0 - 5.0 * k, random.normal(0.0, 30.0, COUNT), str(k)) for k in range(4)],
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, COUNT), st.floats(700.0, 990.0))
def test_whole_lots_of_few_contracts_are_bounded_for_all(seed: int, most: int, ceiling: float) -> None:
    """The bound never exceeds the optimum over all contracts, and what is found satisfies the program."""
    program = program_of(seed)
    best = program.solve(ceiling, whole=np.ones(COUNT, dtype=np.bool_))
    few, outside = whole_lots(program, ceiling, most=most)
    if best.lots is None:
        assert few.lots is None
        return
    least = program.cost(best.lots)
    assert few.bound <= least + 1e-4
    assert few.lots is not None
    assert program.allows(few.lots)
    assert program.height(few.lots) + program.cost(few.lots) <= ceiling + 1e-3
    assert program.cost(few.lots) >= least - 1e-4
    if outside >= program.cost(few.lots):
        assert program.cost(few.lots) == pytest.approx(least, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(700.0, 990.0))
def test_a_lot_more_costs_its_reduced_cost_at_least(seed: int, ceiling: float) -> None:
    """The program with one lot of a contract forced, either way, against optimum + reduced cost."""
    program = program_of(seed)
    loose = relaxed(program, ceiling)
    apart = program.solve(ceiling, whole=np.zeros(COUNT, dtype=np.bool_))
    assert loose.answer.bound == pytest.approx(apart.bound, abs=1e-4)
    if loose.answer.lots is None:
        return
    for k in np.flatnonzero(loose.answer.lots == 0.0):
        for sign in (1.0, -1.0):
            forced = np.zeros((1, COUNT))
            forced[0, k] = sign
            bands = Bands(
                np.vstack([program.bands.by_lot, forced]),
                np.append(program.bands.low, 1.0),
                np.append(program.bands.high, np.inf),
            )
            other = program_of(seed)
            other.bands = bands
            with_one = other.solve(ceiling, whole=np.zeros(COUNT, dtype=np.bool_))
            assert with_one.bound >= loose.answer.bound + loose.dearer[k] - 1e-4


def test_branches_that_run_out_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The solver stops without whole lots: nothing is known but the relaxed bound."""

    def stopped(*_: object, **__: object) -> OptimizeResult:
        return OptimizeResult(x=None, fun=None, status=4, message="model_status is Solution limit reached")

    program = program_of(3)
    monkeypatch.setattr("scipy.optimize.milp", stopped)
    found = program.solve(900.0, whole=np.ones(COUNT, dtype=np.bool_))
    assert (found.lots, found.bound, found.status) == (None, -np.inf, STOPPED)
    few, _ = whole_lots(program, 900.0, most=4)
    assert few.lots is None
    assert few.bound == pytest.approx(relaxed(program, 900.0).answer.bound)
