"""Verdicts on margins whose coverage is known because the losses were drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from pricing import ConfigError
from scenarios.backtest import coverage, verdict

DAYS = 2_000
PRICE = np.full(DAYS, 50.0)


def drawn(factor: float, seed: int = 11) -> verdict.Verdict:
    """A normal loss against so many times its 99 % quantile."""
    loss = np.random.default_rng(seed).standard_normal(DAYS)
    return verdict.verdict(loss, np.full(DAYS, factor * ndtri(0.99)), PRICE, 0.99)


def test_a_right_margin_holds_a_small_one_fails_a_large_one_is_called_large() -> None:
    right, small, large = drawn(1.0), drawn(0.8), drawn(1.6)
    assert right.words == "holds; 250 losses in yellow" and right.light.zone == "green"
    assert small.words.startswith("fails") and small.light.zone == "red" and small.shortfall_p < 0.01
    assert large.words == "holds, more margin than claimed" and large.shortfall_p > 0.9
    assert right.shortfall_p > 0.05
    assert small.efficiency.mean_margin < right.efficiency.mean_margin < large.efficiency.mean_margin


def test_sides_of_a_rejection_and_shortfalls_are_named() -> None:
    right, small, large = drawn(1.0), drawn(0.8), drawn(1.6)
    assert [one.kupiec_side for one in (right, small, large)] == [0, 1, -1]
    assert [one.shortfall_rejected for one in (right, small, large)] == [False, True, False]
    assert "ES rejected" in small.words and "ES" not in right.words + large.words
    rare = np.random.default_rng(7).standard_normal(DAYS)
    rare[50::500] = 60.0  # four losses far beyond a margin that is seldom exceeded
    deep = verdict.verdict(np.abs(rare), np.full(DAYS, 3.3), PRICE, 0.99)
    assert deep.kupiec_side == -1 and deep.words.startswith("holds, more margin than claimed; ES rejected")


def test_breaches_that_come_together_are_named() -> None:
    random = np.random.default_rng(3)
    wild = np.arange(DAYS) % 400 < 20
    loss = random.standard_normal(DAYS) * np.where(wild, 4.0, 0.9)
    found = verdict.verdict(loss, np.full(DAYS, 3.2), PRICE, 0.99)
    assert found.words.endswith("breaches cluster")
    assert found.worst_250 == coverage.rolling_count(loss > 3.2, 250).max()


@pytest.mark.parametrize(("count", "zone"), [(4, "green"), (5, "yellow"), (9, "yellow"), (10, "red")])
def test_the_light_of_250_is_told_beside_that_of_the_whole_count(count: int, zone: str) -> None:
    """Basel 1996, table 2: 5 of 250 are yellow, 10 red; of 2,000 losses both counts are green and the book holds."""
    loss = np.where((np.arange(DAYS) >= 1_000) & (np.arange(DAYS) < 1_000 + 20 * count), 0.5, 0.0)
    loss[1_000 : 1_000 + 20 * count : 20] = 1.1
    loss[:900:90] = 1.1  # ten more, at most three of 250
    found = verdict.verdict(loss, np.ones(DAYS), PRICE, 0.99)
    assert found.breaches_apart == count + 10 and found.light.zone == "green"
    assert (found.worst_250, found.worst_light.zone) == (count, zone)
    assert found.words.startswith("holds")
    assert (f"250 losses in {zone}" in found.words) == (zone != "green")


def test_losses_that_overlap_are_counted_and_not_tested() -> None:
    loss = np.repeat(np.random.default_rng(5).standard_normal(DAYS // 10), 10)
    margin = np.full(DAYS, float(ndtri(0.95)))
    found = verdict.verdict(loss, margin, PRICE, 0.95, horizon=10, steps_per_day=10)
    single = verdict.verdict(loss[::10], margin[::10], PRICE[::10], 0.95)
    assert found.observations == 10 * found.apart == DAYS
    assert found.kupiec == single.kupiec and found.christoffersen == single.christoffersen
    assert found.coverage == pytest.approx(single.coverage)


def test_the_table_has_a_row_a_verdict_and_money_moves_with_the_price() -> None:
    found = drawn(1.0)
    table = verdict.columns([found, drawn(0.8)])
    assert {len(column) for column in table.values()} == {2}
    assert table["verdict"][0] == found.words and table["worst_250_zone"][0] == "yellow"
    assert table["share_peak_to_trough"][0] == 1.0 and np.isnan(table["share_at_floor"][0])
    rising = verdict.verdict(np.zeros(DAYS), np.ones(DAYS), np.linspace(1.0, 3.0, DAYS), 0.99)
    assert rising.money.peak_to_trough == pytest.approx(3.0) and rising.share.peak_to_trough == 1.0
    nothing = verdict.verdict(np.zeros(DAYS), np.zeros(DAYS), PRICE, 0.99)
    assert np.isnan(nothing.shortfall_p) and nothing.coverage == 1.0
    with pytest.raises(ConfigError, match="at least"):
        verdict.columns([])


def test_too_few_losses_are_refused() -> None:
    with pytest.raises(ConfigError, match="50 losses that do not overlap"):
        verdict.verdict(np.zeros(100), np.ones(100), np.ones(100), 0.99, horizon=2)
