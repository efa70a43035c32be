"""Tests of expected shortfall against the published critical value, closed forms and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pricing import ConfigError
from scenarios.backtest import shortfall
from tests.vectors import literature_vectors


@pytest.mark.reference
def test_the_published_critical_value(report_vectors: Any) -> None:
    errors = []
    for vector in literature_vectors("z2_critical"):
        i = vector["inputs"]
        found = shortfall.second_critical(i["n_obs"], i["tail"], i["significance"])
        errors.append(abs(found - vector["expected"]["critical_z2"]))
        assert errors[-1] <= vector["tolerance"]["critical_z2"]["abs"]
    report_vectors(len(errors), max(errors), "absolute")
    assert shortfall.second_critical(250, 0.025, 1e-4) == pytest.approx(-1.8, abs=0.1)  # Acerbi and Szekely's other one


@pytest.mark.reference
def test_normal_tails(report_vectors: Any) -> None:
    """QuantLib's risk statistics; they floor at 0, and their shortfall at the mean is that of half of the law."""
    errors = []
    for vector in literature_vectors("gaussian_tail"):
        i, e = vector["inputs"], vector["expected"]
        tail = shortfall.normal_tail(i["mean"], i["stdev"], i["confidence"])
        half = shortfall.normal_tail(0.0, i["stdev"], e["shortfall_prob_at_mean"])
        found = {
            "value_at_risk": max(float(tail.value_at_risk), 0.0),
            "expected_shortfall": max(float(tail.expected_shortfall), 0.0),
            "average_shortfall_at_mean": float(half.expected_shortfall),
        }
        assert float(half.value_at_risk) == 0.0
        for name, value in found.items():
            allowed = vector["tolerance"][name]
            errors.append(abs(value - e[name]) / max(abs(e[name]), 1.0))
            assert abs(value - e[name]) <= allowed["abs"] + allowed["rel"] * abs(e[name])
    report_vectors(len(errors), max(errors), "relative")


def test_statistics_by_hand() -> None:
    """Two of four days beyond: -3 and -6 against a shortfall of 4."""
    forecast = shortfall.NormalTail(np.full(4, 2.0), np.full(4, 4.0))
    found = shortfall.acerbi_szekely([1.0, -3.0, -2.0, -6.0], forecast, 0.25)
    assert found.beyond == 2
    assert found.first == pytest.approx(1.0 - (3.0 + 6.0) / 4.0 / 2.0)
    assert found.second == pytest.approx(1.0 - (3.0 + 6.0) / 4.0 / (4 * 0.25))
    none = shortfall.acerbi_szekely([1.0, 1.0], shortfall.NormalTail(np.array(1.0), np.array(1.0)), 0.25)
    assert none.beyond == 0 and np.isnan(none.first) and none.second == 1.0


def test_the_statistics_are_centred_and_turn_with_the_tail() -> None:
    random = np.random.default_rng(7)
    days, margin = 100_000, 2.3263478740408408  # the normal quantile at 99 %
    forecast = shortfall.normal_reading(np.full(days, margin), 0.99)
    right = random.standard_normal(days)
    fat = random.standard_t(3, days) / np.sqrt(3.0)
    for pnl, centre in ((right, True), (fat, False)):
        found = shortfall.acerbi_szekely(pnl, forecast)
        third = shortfall.standardised_shortfall(pnl)
        if centre:
            assert abs(found.first) < 0.01 and abs(found.second) < 0.05 and abs(third) < 0.01
        else:
            assert found.first < -0.2 and third < -0.1


def test_p_values_are_the_level_at_the_critical_value() -> None:
    critical = shortfall.second_critical(250)
    assert float(shortfall.second_p_value(critical, 250)) == pytest.approx(0.05, abs=5e-3)
    assert shortfall.second_p_value([-2.0, 1.0], 250).tolist() == pytest.approx([0.0, 1.0], abs=1e-3)
    straight = np.random.default_rng(3).standard_normal((20_000, 250))
    forecast = shortfall.normal_reading(2.3263478740408408, 0.99)
    drawn = [shortfall.acerbi_szekely(row, forecast).second for row in straight]
    assert np.quantile(drawn, 0.05) == pytest.approx(critical, abs=0.03)


def test_the_expected_worst_of_few_draws() -> None:
    """Of one draw the mean is 0 and of two the lower one has -1/sqrt(pi)."""
    assert 1.0 - shortfall.standardised_shortfall([-1.0, 1.0], 0.4) == pytest.approx(np.sqrt(np.pi), rel=1e-6)
    drawn = np.sort(np.random.default_rng(5).standard_normal((200_000, 40)), axis=1)[:, :3].mean()
    scores = np.full(40, drawn)
    assert shortfall.standardised_shortfall(scores, 3.2 / 40) == pytest.approx(0.0, abs=5e-3)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="tail"):
        shortfall.normal_reading(1.0, 0.99, 0.6)
    with pytest.raises(ConfigError, match="above 0"):
        shortfall.acerbi_szekely([1.0], shortfall.NormalTail(np.array([0.0]), np.array([0.0])))
    with pytest.raises(ConfigError, match="paths"):
        shortfall.second_critical(250, paths=0)
