"""Derivatives by the parameters of a slice: against differences, and against the closed form of the fit."""

from __future__ import annotations

import numpy as np
import pytest

from pricing.errors import ConfigError
from pricing.slice_sensitivities import PARAMETERS, parameter_derivatives
from pricing.surfaces import jump_wing, natural, svi

RAW = np.array([0.004, 0.06, -0.2, 0.02, 0.1])
TAU = 0.1
K = np.linspace(-0.6, 0.6, 9)


def moved(raw: np.ndarray, quantity: str) -> np.ndarray:
    w = svi.total_variance(np, K, *raw)
    return np.asarray(w if quantity == "total_variance" else np.sqrt(w / TAU))


@pytest.mark.parametrize("quantity", ["total_variance", "vol"])
@pytest.mark.parametrize("parameters", list(PARAMETERS))
def test_against_differences(quantity: str, parameters: str) -> None:
    found = parameter_derivatives(K, RAW, TAU, quantity=quantity, parameters=parameters)
    forms = {"raw": RAW, "jump_wing": jump_wing.from_raw(np, *RAW, TAU), "natural": natural.from_raw(np, *RAW)}
    centre = np.array(forms[parameters])
    for column in range(5):
        step = np.zeros(5)
        step[column] = 1e-6 * abs(centre[column])
        points = (centre + step, centre - step)
        if parameters == "jump_wing":
            points = tuple(np.array(jump_wing.to_raw(np, *point, TAU)) for point in points)
        if parameters == "natural":
            points = tuple(np.array(natural.to_raw(np, *point)) for point in points)
        up, down = (moved(point, quantity) for point in points)
        slope = (up - down) / (2.0 * step[column])
        assert np.allclose(found[:, column], slope, rtol=1e-5, atol=1e-7 * np.abs(found).max())


def test_level_at_the_money_in_jump_wings() -> None:
    """v is the variance at the money, so d vol / dv there is 1 / (2 vol) and nothing else moves it."""
    found = parameter_derivatives([0.0], RAW, TAU, parameters="jump_wing")[0]
    vol = np.sqrt(svi.total_variance(np, 0.0, *RAW) / TAU)
    assert np.allclose(found, [0.5 / vol, 0.0, 0.0, 0.0, 0.0], atol=1e-10)


def test_words_that_mean_nothing() -> None:
    with pytest.raises(ConfigError, match="quantity"):
        parameter_derivatives(K, RAW, TAU, quantity="price")
    with pytest.raises(ConfigError, match="parameters"):
        parameter_derivatives(K, RAW, TAU, parameters="ssvi")
