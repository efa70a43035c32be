"""Collateral: what assets are worth, before and after haircuts, and with the market."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from portfolio_margin import margin
from portfolio_margin.collateral import equity, haircuts
from portfolio_margin.models import worst_case
from tests.portfolio_margin.books import (
    ARRAYS,
    BACKENDS,
    BOOK,
    INSTRUMENTS,
    MARKET,
    ROW,
    Held,
    balances_held,
    book_of,
    contracts_held,
    in_steps,
)


def test_haircuts_by_asset() -> None:
    cut = haircuts(ARRAYS, 0.1, {"ETH": 0.3})
    assert [cut[ROW[name]] for name in ("USD", "BTC", "ETH")] == [0.0, 0.1, 0.3]
    assert np.all(cut[~INSTRUMENTS.is_collateral] == 0)
    # The margin currency is cut only where somebody says so.
    assert haircuts(ARRAYS, 0.1, {"USD": 0.01})[ROW["USD"]] == 0.01


@pytest.mark.parametrize("backend", BACKENDS)
def test_equity_by_hand(backend: str) -> None:
    held = {"USD": 1_000.25, "BTC": 0.5, "ETH": -2.0, "BTC-7D-68000-C": -0.3, "BTC-PERPETUAL": 50.0}
    e = equity(book_of({"a": held}), ARRAYS, haircuts(ARRAYS, 0.1, {}), options_counted=True, backend=backend)
    collateral = 1_000.25 + 0.5 * 68_000.0 - 2.0 * 2_050.0
    option = -0.3 * ARRAYS.value[ROW["BTC-7D-68000-C"]]
    assert e.collateral[0] == pytest.approx(collateral, abs=1e-5)
    # A perpetual is settled in variation margin and worth nothing.
    assert e.equity[0] == pytest.approx(collateral + option, abs=1e-5)
    # Debts are not cut.
    assert e.haircut[0] == pytest.approx(0.1 * 0.5 * 68_000.0, abs=1e-5)
    deltas = sum(q * ARRAYS.delta[ROW[name]] for name, q in held.items())
    assert e.delta[0] == pytest.approx(deltas, abs=1e-4)


def test_every_backend_gives_the_same_bits() -> None:
    cut = haircuts(ARRAYS, 0.05, {})
    runs = [(backend, threads) for backend in BACKENDS for threads in (1, 2)]
    first, *others = (equity(BOOK, ARRAYS, cut, options_counted=True, backend=b, threads=t) for b, t in runs)
    for other in others:
        for ours, theirs in zip(first[:3], other[:3], strict=True):
            assert ours.tobytes() == theirs.tobytes()
        # Delta is for information and carries four decimals.
        assert other.delta == pytest.approx(first.delta, abs=1.01e-4)


@settings(max_examples=30, deadline=None)
@given(contracts_held, balances_held)
def test_haircuts_are_monotone(steps: dict[str, int], cash: Held) -> None:
    """A larger haircut never leaves more of a balance, and by default never more to spend."""
    book = book_of({"a": {**in_steps(steps), **cash}})
    statements = [
        margin(book, ARRAYS, MARKET, worst_case.Model(worst_case.Params(haircut=h))) for h in (0.0, 0.1, 0.5, 1.0)
    ]
    for less, more in itertools.pairwise(statements):
        assert less.equity[0] == more.equity[0]
        assert less.haircut[0] <= more.haircut[0]
        assert less.margin_balance[0] >= more.margin_balance[0]
        assert less.available_funds[0] >= more.available_funds[0] - 0.03
    debt = sum(min(q, 0.0) * ARRAYS.value[ROW[name]] for name, q in cash.items() if name != "USD")
    assert statements[-1].haircut[0] == pytest.approx(
        statements[0].collateral_value_before_haircut[0] - debt - usd(cash), abs=0.03
    )


def usd(cash: Held) -> float:
    return cash.get("USD", 0.0)


def test_collateral_is_revalued_in_the_same_scenario() -> None:
    """A short call against its own coin: in the scenario that hurts the call the coin gains."""
    model = worst_case.Model(worst_case.Params(haircut=0.0, short_option_minimum=0.0))
    book = book_of(
        {"call": {"BTC-60D-68000-C": -1.0}, "coin": {"BTC": 1.0}, "both": {"BTC-60D-68000-C": -1.0, "BTC": 1.0}}
    )
    need = dict(zip(book.account_id.tolist(), model.requirement(book, ARRAYS).initial, strict=True))
    assert need["both"] < need["call"]
    assert need["both"] < need["coin"]


def test_small_balances_are_rounded_to_ticks_once() -> None:
    """A balance of any decimals is worth its product to the nearest tick, however it is split over time."""
    satoshi = 1e-8
    book = book_of({"a": {"BTC": satoshi}, "b": {"BTC": 0.12345678}})
    values = equity(book, ARRAYS, np.zeros(len(ARRAYS)), options_counted=True).equity
    assert values == pytest.approx([68_000e-8, 68_000 * 0.12345678], abs=0.5e-6)
    assert np.rint(values / ARRAYS.tick_size) == pytest.approx(values / ARRAYS.tick_size, rel=1e-15)
