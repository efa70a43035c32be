"""Every root: against functions whose roots are known, and against the sign changes of a dense grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.edge.crossings import crossings

GRID = np.linspace(-1.0, 1.0, 101)


def test_several_functions_at_once() -> None:
    def functions(x: np.ndarray, line: np.ndarray) -> np.ndarray:
        values = [np.sin(7 * x), (x - 0.3217) ** 2, (x - 0.3217) ** 2 - 1e-9, np.where(x < 0.1, 1.0, -2.0), 0 * x]
        return np.choose(line, values)

    found = crossings(functions, GRID, 5, 1e-12)
    sine = found.x[found.line == 0]
    assert sine == pytest.approx(np.pi * np.arange(-2, 3) / 7, abs=1e-10)
    assert found.falls[found.line == 0].tolist() == [False, True, False, True, False]
    assert found.x[found.line == 1] == pytest.approx([0.3217], abs=1e-6)
    assert found.touches.tolist() == [False] * 5 + [True] + [False] * 3
    assert found.x[found.line == 2] == pytest.approx(0.3217 + np.array([-1, 1]) * np.sqrt(1e-9), abs=1e-9)
    assert found.jump[found.line == 3] == pytest.approx([2.0])
    assert not np.any(found.line == 4)


def test_a_touch_from_below() -> None:
    found = crossings(lambda x, line: -np.abs(x - 0.25), GRID, 1, 1e-12)
    assert found.touches.all()
    assert found.x == pytest.approx([0.25], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.95, 0.95), min_size=0, max_size=7, unique=True), st.sampled_from([-1.0, 1.0]))
def test_polynomials_have_the_roots_they_were_made_of(roots: list[float], sign: float) -> None:
    known = np.sort(np.array(roots))
    if len(known) > 1 and np.min(np.diff(known)) < 1e-3:
        known = known[np.append(True, np.diff(known) > 0.1)]

    def polynomial(x: np.ndarray, line: np.ndarray) -> np.ndarray:
        return sign * np.prod(x[:, None] - known, axis=1) * (1.0 + 0.0 * x)

    found = crossings(polynomial, GRID, 1, 1e-15)
    assert not found.touches.any()
    assert found.x == pytest.approx(known, abs=1e-8)
    assert np.all(found.falls[1:] != found.falls[:-1])
