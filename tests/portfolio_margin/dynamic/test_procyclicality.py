"""Anti-procyclicality tools against published vectors and what the tools promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio_margin.dynamic import procyclicality as tools
from pricing import ConfigError
from tests.vectors import literature_vectors

margins = st.floats(1e-3, 1e6)
series = st.lists(st.floats(0.01, 10.0), min_size=2, max_size=40)


@pytest.mark.reference
def test_tools_of_article_28(report_vectors: Any) -> None:
    errors = []
    for vector in literature_vectors("emir_art28_tools"):
        i = vector["inputs"]
        found = {
            "buffered": tools.buffered(i["model_margin"], i["buffer"]),
            "weighted": tools.stressed_weighted(i["model_margin"], i["stressed_margin"], i["stressed_weight"]),
            "floored": tools.floored(i["model_margin"], i["ten_year_floor_margin"]),
        }
        for name, wanted in vector["expected"].items():
            errors.append(abs(float(found[name]) / wanted - 1.0))
            assert errors[-1] <= vector["tolerance"][name]["rel"]
    report_vectors(len(errors), max(errors), "relative")


@given(margins, margins, st.floats(0.25, 2.0))
def test_the_buffer_is_whole_in_calm_used_up_in_stress_and_never_in_the_way(
    margin: float, usual: float, buffer: float
) -> None:
    charged = float(tools.buffer_drawn(margin, usual, buffer))
    assert margin <= charged <= float(tools.buffered(margin, buffer)) * (1 + 1e-12)
    if margin <= usual:
        assert charged == pytest.approx(float(tools.buffered(margin, buffer)), rel=1e-12)
    elif margin >= usual * (1.0 + buffer):
        assert charged == margin
    else:
        assert charged == pytest.approx(usual * (1.0 + buffer), rel=1e-12)


@given(series, st.floats(0.0, 1.0), st.floats(0.0, 0.9))
def test_a_limited_path_keeps_its_limits_and_arrives(target: list[float], rise: float, fall: float) -> None:
    path = tools.rate_limited(target, rise, fall)
    steps = path[1:] / path[:-1]
    assert np.all(steps <= 1.0 + rise + 1e-12)
    assert np.all(steps >= 1.0 - fall - 1e-12)
    # Where neither limit binds it is on its target; it never overshoots.
    assert np.all((path >= np.minimum.accumulate(target) - 1e-12) & (path <= np.maximum.accumulate(target) + 1e-12))
    still = tools.rate_limited([target[0]] + [target[-1]] * 600, 0.1, 0.1)
    assert still[-1] == pytest.approx(target[-1], rel=1e-12)


@pytest.mark.parametrize(("rise", "fall"), [(-0.1, 0.1), (0.1, 1.0), (float("nan"), 0.1)])
def test_limits_that_are_none_are_refused(rise: float, fall: float) -> None:
    with pytest.raises(ConfigError, match="rise"):
        tools.rate_limited([1.0, 2.0], rise, fall)
