"""How often books have their worst losses at one moment, against counting pair by pair and laws that are known."""

from __future__ import annotations

import numpy as np
import pytest

from pricing import ConfigError
from scenarios.backtest.worst_together import by_group, worst_together


def naive(lost: list[list[float]], share: float) -> list[list[float]]:
    """Moments of every book by their loss, the largest first, and for every pair how many of the first are common."""
    rows, books = len(lost), len(lost[0])
    count = max(1, round(share * rows))
    worst = [set(sorted(range(rows), key=lambda r: (-lost[r][b], r))[:count]) for b in range(books)]
    return [[len(worst[a] & worst[b]) / count for b in range(books)] for a in range(books)]


def test_against_pair_by_pair() -> None:
    lost = np.random.default_rng(1).integers(-5, 6, (240, 7)).astype(np.float64)  # many equal losses
    for share in (0.01, 0.1, 0.5):
        found = worst_together(lost, share)
        assert found == pytest.approx(np.array(naive(lost.tolist(), share)))
        assert np.array_equal(found, found.T) and np.array_equal(np.diag(found), np.ones(7))


def test_one_risk_its_opposite_and_none() -> None:
    """Multiples of one loss are worst together, the other side never, and strangers as often as chance has it."""
    loss = np.random.default_rng(2).standard_normal(40_000)
    stranger = np.random.default_rng(3).standard_normal(40_000)
    found = worst_together(np.column_stack([loss, 3.0 * loss, -loss, stranger]), 0.05)
    assert found[0, 1] == 1.0 and found[0, 2] == 0.0
    # Of 2,000 worst moments a hypergeometric number of 100 on average is common; its deviation is 9.5.
    assert abs(2_000 * found[0, 3] - 100.0) < 4 * 9.5


def test_groups_are_means_over_different_books() -> None:
    together = np.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]])
    names, cells = by_group(together, ["b", "b", "a"])
    assert names == ("b", "a")
    assert cells[0, 0] == pytest.approx(0.2) and cells[0, 1] == cells[1, 0] == pytest.approx(0.5)
    assert np.isnan(cells[1, 1])


def test_what_is_no_table_of_losses_is_refused() -> None:
    for lost, share in ((np.zeros(5), 0.1), (np.full((5, 2), np.nan), 0.1), (np.zeros((5, 2)), 1.0)):
        with pytest.raises(ConfigError, match=r"losses of shape|share"):
            worst_together(lost, share)
    with pytest.raises(ConfigError, match="a row and a column a book"):
        by_group(np.eye(2), ["a"])
