"""The score: monotone in everything it is made of, 100 at the edge, 0 where there is nothing to fear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolio_margin.edge.score import ScoreInputs, ScoreParams, risk_score
from pricing import ConfigError, DataError

share = st.floats(0.0, 1.0)
inputs = st.builds(
    ScoreInputs,
    margin_ratio=st.floats(0.0, 3.0),
    distance_sigmas=st.one_of(st.floats(0.0, 50.0), st.just(np.inf)),
    gamma_concentration=share,
    vega_concentration=share,
    liquidity=share,
)
params = st.builds(
    ScoreParams,
    margin_power=st.floats(0.0, 3.0),
    distance_power=st.floats(0.0, 3.0),
    distance_scale=st.floats(0.1, 10.0),
    gamma_weight=st.floats(0.0, 0.9),
    vega_weight=st.floats(0.0, 0.9),
    liquidity_weight=st.floats(0.0, 0.9),
)


@settings(max_examples=300, deadline=None)
@given(inputs, params, st.sampled_from(ScoreInputs._fields), st.floats(0.0, 1.0))
def test_it_is_monotone_in_each_input(given: ScoreInputs, weights: ScoreParams, name: str, more: float) -> None:
    value = float(getattr(given, name))
    raised = value + more if name in ("margin_ratio", "distance_sigmas") else min(value + more, 1.0)
    before, after = (float(risk_score(x, weights)) for x in (given, given._replace(**{name: raised})))
    assert 0.0 <= before <= 100.0
    assert (after <= before + 1e-12) if name == "distance_sigmas" else (after >= before - 1e-12)


def test_its_ends_and_its_formula() -> None:
    calm = ScoreInputs(0.0, np.inf, 0.0, 0.0, 0.0)
    assert risk_score(calm) == 0.0
    assert risk_score(calm._replace(margin_ratio=1.0)) == 100.0
    assert risk_score(calm._replace(margin_ratio=np.inf)) == 100.0
    assert risk_score(calm._replace(distance_sigmas=0.0)) == 100.0
    found = risk_score(ScoreInputs(0.36, 2.0 * np.log(2.0), 0.5, 1.0, 0.2))
    safety = 0.8 * np.sqrt(0.5) * (1 - 0.2 * 0.5) * (1 - 0.1) * (1 - 0.3 * 0.2)
    assert found == pytest.approx(100.0 * (1.0 - safety), rel=1e-12)
    several = risk_score(calm._replace(margin_ratio=np.array([0.0, 0.5, 1.0])))
    assert several.shape == (3,) and np.all(np.diff(several) > 0)


def test_inputs_and_weights_out_of_bounds_are_named() -> None:
    calm = ScoreInputs(0.0, np.inf, 0.0, 0.0, 0.0)
    for name, value in (("margin_ratio", -0.1), ("distance_sigmas", np.nan), ("liquidity", 1.5)):
        with pytest.raises(DataError, match=name):
            risk_score(calm._replace(**{name: value}))
    for name, value in (("gamma_weight", 1.0), ("distance_scale", 0.0), ("closing_cost", -1.0)):
        with pytest.raises(ConfigError, match=name):
            replace(ScoreParams(), **{name: value})
