"""Implied vol: published vectors to their tolerance, round trips, every status, equal backends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import DataError, NumericalError, Status, implied_vol, price
from pricing.price import BACKENDS
from tests.vectors import literature_vectors


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["implied_vol", "implied_vol_guess"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_literature_implied_vol(kind: str, backend: str, report_vectors: Any) -> None:
    errors = []
    for v in literature_vectors(kind):
        i = v["inputs"]
        sign = 1 if i["option"] == "call" else -1
        vol, status = implied_vol(
            i["price"], i["forward"], i["strike"], i["t_years"], sign, i.get("discount", 1.0), backend=backend
        )
        allowed = v["tolerance"]["vol"]["rel"] * v["expected"]["vol"]
        assert status == Status.OK, v["id"]
        errors.append(abs(float(vol) - v["expected"]["vol"]) / allowed)
    report_vectors(len(errors), max(errors), "of the tolerance", f"{kind} {backend}")
    assert max(errors) <= 1


@settings(max_examples=300, deadline=None)
@given(
    st.floats(0.01, 1e5),
    st.floats(-1.5, 1.5),
    st.floats(1e-5, 5.0),
    st.floats(0.02, 4.0),
    st.sampled_from([-1.0, 1.0]),
)
def test_round_trip(forward: float, moneyness: float, tau: float, vol: float, sign: float) -> None:
    strike = forward * math.exp(moneyness)
    value = price(forward, strike, tau, vol, sign, backend="numpy")
    found, status = implied_vol(value, forward, strike, tau, sign, backend="numpy")
    if status == Status.OK:
        assert abs(float(found) - vol) <= 3e-10 * max(1.0, vol)
    else:
        assert status in (Status.NOT_DETERMINED, Status.BELOW_INTRINSIC, Status.ABOVE_MAXIMUM)
        assert np.isnan(found)


def test_every_status() -> None:
    cases = [
        (10.0, 100.0, 100.0, 1.0, 1, Status.OK),
        (19.0, 120.0, 100.0, 1.0, 1, Status.BELOW_INTRINSIC),
        (101.0, 100.0, 100.0, 1.0, 1, Status.ABOVE_MAXIMUM),
        (10.0, 100.0, 100.0, 0.0, 1, Status.EXPIRED),
        (math.nan, 100.0, 100.0, 1.0, 1, Status.NOT_FINITE),
        (10.0, -100.0, 100.0, 1.0, 1, Status.NOT_FINITE),
        (20.0, 120.0, 100.0, 1.0, 1, Status.NOT_DETERMINED),
    ]
    for backend in BACKENDS:
        columns = [np.array(column, float) for column in zip(*cases, strict=True)]
        vol, status = implied_vol(*columns[:5], backend=backend)
        assert status.tolist() == columns[5].tolist()
        assert np.isnan(vol[1:]).all()
        assert vol[0] > 0


def test_modes_and_inputs() -> None:
    import pandas as pd

    vol, status = implied_vol(pd.Series([8.0, 9.0]), [100, 100], 100.0, 1.0, 1)
    assert vol.shape == status.shape == (2,)
    assert implied_vol(8.0, 100, 100, 1, 1)[0].shape == ()
    clipped, _ = implied_vol([1.0, 200.0], 120.0, 100.0, 1.0, 1, on_error="clip")
    assert clipped.tolist() == [0.0, math.inf]
    with pytest.raises((DataError, NumericalError)):
        implied_vol([8.0, 500.0], 100.0, 100.0, 1.0, 1, on_error="raise")
    coin = price(68_000.0, 70_000.0, 0.1, 0.6, 1, model="inverse")
    assert implied_vol(coin, 68_000.0, 70_000.0, 0.1, 1, model="inverse")[0] == pytest.approx(0.6, abs=1e-11)


def test_backends_agree() -> None:
    random = np.random.default_rng(5)
    forward, tau = np.full(3_000, 100.0), random.uniform(1e-3, 3, 3_000)
    strike, vol = 100 * np.exp(random.normal(0, 0.4, 3_000)), random.uniform(0.05, 3, 3_000)
    sign = random.choice([-1.0, 1.0], 3_000)
    value = price(forward, strike, tau, vol, sign)
    answers = {b: implied_vol(value, forward, strike, tau, sign, backend=b) for b in BACKENDS}
    both = np.logical_and.reduce([answers[b][1] == Status.OK for b in BACKENDS])
    assert both.mean() > 0.8
    for backend in ("numba", "jax"):
        assert np.abs(answers[backend][0] - answers["numpy"][0])[both].max() < 1e-9
        assert (answers[backend][1] != answers["numpy"][1]).mean() < 0.01
