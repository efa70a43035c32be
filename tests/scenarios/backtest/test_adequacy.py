"""Sizes of breaches and efficiency, by hand and by what a quantile is."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import ConfigError
from scenarios.backtest import adequacy


def test_sizes_by_hand() -> None:
    loss, margin = np.zeros(40), np.full(40, 2.0)
    loss[[3, 5, 30]] = [3.0, 6.0, 2.5]
    margin[30] = 1.0
    found = adequacy.breach_size(loss, margin)
    assert found == adequacy.BreachSize(4.0, 2.0, (1.0 + 4.0 + 1.5) / 3, 5, 2, 2)
    assert adequacy.breach_size(loss, np.full(40, 6.0)) == adequacy.BreachSize(0.0, 0.0, 0.0, -1, 0, 0)
    assert adequacy.breach_size([1.0], [0.0]).largest_share == np.inf


def test_efficiency_by_hand() -> None:
    loss = np.array([-1.0, 1.0, 3.0, 5.0])
    found = adequacy.efficiency(loss, np.full(4, 4.0), 0.5)
    assert found.mean_margin == 4.0
    assert found.over_quantile == pytest.approx(4.0 / 2.0)
    assert found.over_mean_loss == pytest.approx(4.0 / 3.0)
    assert found.score == pytest.approx(0.5 * (5.0 + 3.0 + 1.0 + 1.0) / 4)
    assert adequacy.efficiency([-1.0, -2.0], [1.0, 1.0], 0.9).over_mean_loss == np.inf


def test_the_score_is_lowest_at_the_quantile() -> None:
    loss = np.random.default_rng(2).standard_normal(20_000)
    right = float(np.quantile(loss, 0.99))

    def score(margin: float) -> float:
        found = adequacy.efficiency(loss, np.full(len(loss), margin), 0.99)
        return found.score

    assert score(right) < min(score(0.8 * right), score(1.25 * right))


def test_series_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="one length"):
        adequacy.breach_size([1.0, 2.0], [1.0])
