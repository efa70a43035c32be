"""Stressed periods that are known, and compression against brute force."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pricing import ConfigError
from scenarios import revalue
from scenarios.calibrate.scenario_sets import Period, _books, compress, compress_tails, stress_periods
from scenarios.calibrate.settings import Settings
from scenarios.families import historical
from tests.examples import market_and_instruments


def test_the_wild_periods_are_found() -> None:
    returns = np.random.default_rng(1).normal(0.0, 0.01, (1000, 2))
    returns[200:260] *= 5.0
    returns[600:660] *= 8.0
    found = stress_periods(returns, Settings(stress_days=60, stress_periods=2))
    assert [abs(p.first - first) <= 3 for p, first in zip(found, (200, 600), strict=True)] == [True, True]
    assert found[1].stress > found[0].stress > 1.0
    assert all(p.last - p.first == 59 for p in found)
    # As the text says it, window by window.
    moves = returns[1:] + returns[:-1]
    square = (moves**2 / (moves**2).mean(axis=0)).mean(axis=1)
    windows = [square[n : n + 59].mean() for n in range(1000 - 60 + 1)]
    best = int(np.argmax(windows))
    assert Period(best, best + 59, pytest.approx(np.sqrt(windows[best]))) in found
    many = stress_periods(returns[:, 0], Settings(stress_days=400, stress_periods=5))
    assert len(many) <= 2 and all(a.last < b.first for a, b in pairwise(many))
    with pytest.raises(ConfigError, match="stress_days = 60"):
        stress_periods(returns[:50], Settings(stress_days=60))


def test_what_is_never_worst_goes() -> None:
    """Scenarios inside the triangle of three others are never the worst of any book."""
    corner = np.array([[1.0, -0.5, -0.5], [0.0, 0.8, -0.8]])
    share = np.random.default_rng(2).dirichlet([1.0, 1.0, 1.0], size=300)
    pnl = np.hstack([corner, corner @ share.T])
    found = compress(pnl, Settings(seed=3))
    assert found.kept.tolist() == [0, 1, 2]
    assert (found.missed, found.largest) == (0.0, pytest.approx(0.0, abs=1e-12))
    with pytest.raises(ConfigError, match="no contract moves"):
        compress(np.zeros((3, 5)), Settings())


def test_a_history_is_compressed_with_a_small_error() -> None:
    instruments, market = market_and_instruments()
    random = np.random.default_rng(6)
    returns = random.standard_t(4, (2000, 2)) @ np.array([[0.02, 0.025], [0.0, 0.01]])
    params = historical.Params(
        returns={"BTC": tuple(returns[:, 0].tolist()), "ETH": tuple(returns[:, 1].tolist())},
        vol_returns={"BTC": tuple((-returns[:, 0] + random.normal(0, 0.02, 2000)).tolist())},
        windows=2000, method="plain",
    )  # fmt: skip
    pnl = revalue(instruments, market, historical.scenarios(params, market), backend="numpy").rows
    found = compress(pnl, Settings(), books=1000)
    assert len(found.kept) < 0.4 * pnl.shape[1]
    assert 0.0 <= found.mean <= 5e-3 and found.largest < 0.2
    assert 0.0 <= found.missed < 0.2
    again = compress(pnl[:, found.kept], Settings(), books=1000)
    assert len(again.kept) <= len(found.kept)


def test_scenarios_in_no_tail_go() -> None:
    """Scenarios within half of the triangle of three others, of each of which there are two copies: no tail of two has
    them, in either of two sub-samples."""
    corner = np.array([[1.0, -0.5, -0.5], [0.0, 0.8, -0.8]])
    share = np.random.default_rng(2).dirichlet([1.0, 1.0, 1.0], size=300)
    pnl = np.hstack([np.repeat(corner, 4, axis=1), 0.5 * corner @ share.T])
    found = compress_tails(pnl, Settings(seed=3), 12, [1.0, 1.0], turns=2)
    assert sorted(found.kept.tolist()) == list(range(12))
    assert np.all(found.kept[::2] % 2 == 0) and np.all(found.kept[1::2] % 2 == 1)
    assert (found.missed, found.largest, found.mean) == (0.0, 0.0, 0.0)
    # Without the copies of one corner books that lose there are short of it, and the error says so.
    short = compress_tails(pnl, Settings(seed=3), 8, [0.5, 0.5], turns=2)
    assert short.missed > 0.1 and 0.1 < short.largest <= 1.0 and short.mean > 0.01
    for count in (2, 7, 312):
        with pytest.raises(ConfigError, match=f"count = {count}: must be a multiple of 2 from 4, .* below the 312"):
            compress_tails(pnl, Settings(), count, [0.5, 0.5], turns=2)


def test_the_error_of_tails_by_hand() -> None:
    """The mean of the two largest losses among those kept, book by book, beside that of all."""
    random = np.random.default_rng(8)
    pnl = random.normal(size=(5, 60))
    tail = np.array([0.25, 0.75])
    found = compress_tails(pnl, Settings(seed=5), 20, tail, books=50)
    scaled = pnl / np.abs(pnl).max(axis=1)[:, None]
    quantity = _books(np.random.default_rng(5), 5, 50)
    shortfalls, missed = [], 0
    for book in quantity:
        loss = -(book @ scaled)
        whole, few = np.sort(loss)[-2:] @ tail, np.sort(loss[found.kept])[-2:] @ tail
        shortfalls.append(1.0 - few / whole)
        missed += not set(np.argsort(loss)[-2:].tolist()) <= set(found.kept.tolist())
    assert found.mean == pytest.approx(np.mean(shortfalls)) and found.largest == pytest.approx(max(shortfalls))
    assert found.missed == missed / 50 and min(shortfalls) >= -1e-12
    assert np.all(np.diff(found.kept) > 0) and len(found.kept) == 20
