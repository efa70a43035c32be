"""The most plausible worst move of sample accounts: differences against Greeks, losses against full revaluation."""

from __future__ import annotations

import numpy as np
import pytest

from portfolio_margin import Book, load_sample
from portfolio_margin.greeks import contract_greeks, position_greeks
from portfolio_margin.plausible_moves import factor_greeks, plausible_move
from pricing import ConfigError, DataError
from pricing.errors import InfeasibleError
from scenarios.plausible import chi_square_radius

SAMPLE = load_sample()
WORLD = (SAMPLE.book, SAMPLE.instruments, SAMPLE.market)
COUNT = len(SAMPLE.market.underlying_id)
DEVIATION = np.concatenate([np.full(COUNT, 0.03), np.full(COUNT, 0.08)])
CORRELATION = np.eye(2 * COUNT) + 0.3 * (1.0 - np.eye(2 * COUNT))
COVARIANCE = CORRELATION * np.outer(DEVIATION, DEVIATION)


def usable(name: str) -> bool:
    return bool(SAMPLE.book.select(name).quantity.size)


ACCOUNTS = [str(name) for name in SAMPLE.book.account_id if usable(str(name))][:8]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_differences_are_the_greeks(account: str) -> None:
    """By prices, all together at unchanged vols: what coins do to inverse contracts and balances is in both."""
    found = factor_greeks(*WORLD, account, COVARIANCE[:COUNT, :COUNT])
    book: Book = SAMPLE.book.select(account)
    each = position_greeks(book, SAMPLE.instruments, SAMPLE.market, contract_greeks(SAMPLE.instruments, SAMPLE.market))
    size = float(np.abs(each["delta_cash"]).sum())
    assert float(found.delta.sum()) == pytest.approx(float(each["delta_cash"].sum()), abs=1e-4 * size)
    bend = 100.0 * each["gamma_cash_1pct"]
    assert float(np.trace(found.gamma)) == pytest.approx(float(bend.sum()), abs=1e-4 * np.abs(bend).sum() + 1e-3)
    assert np.array_equal(found.gamma, found.gamma.T)


@pytest.mark.parametrize("account", ACCOUNTS)
def test_small_moves_lose_what_greeks_say(account: str) -> None:
    """At a hundredth of a deviation second order is all there is; no random move of the distance is worse."""
    tiny = 1e-4 * COVARIANCE
    found = plausible_move(*WORLD, account, tiny, radius=1.0)
    assert found.full_loss == pytest.approx(found.loss, rel=2e-2, abs=1e-6 * np.abs(found.greeks.delta).sum() + 1e-6)
    assert found.by_factor.sum() == pytest.approx(found.loss, rel=1e-9, abs=1e-9)
    random = np.random.default_rng(4).normal(size=(500, 2 * COUNT))
    moves = random / np.linalg.norm(random, axis=1)[:, None] @ np.linalg.cholesky(tiny).T
    terms = found.greeks
    pnl = moves @ terms.delta + 0.5 * np.einsum("ni,ij,nj->n", moves, terms.gamma, moves)
    assert -pnl.min() <= found.loss * (1.0 + 1e-9) + 1e-9


def test_reverse_stress_is_the_inverse() -> None:
    worst = plausible_move(*WORLD, "iron-condor-07", COVARIANCE, radius=chi_square_radius(0.99, 2 * COUNT))
    nearest = plausible_move(*WORLD, "iron-condor-07", COVARIANCE, loss=worst.loss)
    assert nearest.distance == pytest.approx(worst.distance, rel=1e-6)
    assert worst.probability == pytest.approx(0.01)
    assert -worst.greeks.quantile(0.01) < worst.loss


def test_refusals() -> None:
    with pytest.raises(DataError, match="no such account"):
        plausible_move(*WORLD, "iron-condor-70", COVARIANCE, radius=1.0)
    with pytest.raises(ConfigError, match="one of the two"):
        plausible_move(*WORLD, "iron-condor-07", COVARIANCE)
    with pytest.raises(ConfigError, match="covariance of the shape"):
        plausible_move(*WORLD, "iron-condor-07", np.eye(2 * COUNT + 1), radius=1.0)
    with pytest.raises((ConfigError, InfeasibleError), match=r"smaller radius|largest loss"):
        plausible_move(*WORLD, "perpetual-short-03", COVARIANCE, loss=1e12)
