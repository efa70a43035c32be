"""update: risk arrays after some prices have moved are those of a full revaluation, bit by bit."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import DataError, Exercise, Market
from scenarios import RiskArrays, revalue
from scenarios.families import grid
from scenarios.update import moved_contracts, update
from tests.examples import market_and_instruments

INSTRUMENTS, MARKET = market_and_instruments()
MOVES = grid.scenarios(grid.Params(), MARKET)
ARRAYS = revalue(INSTRUMENTS, MARKET, MOVES)
UNDERLYING = INSTRUMENTS.underlying_idx


def ticked(market: Market, underlying: int, move: float, vol: float = 0.0) -> Market:
    """The market after the prices of one underlying, its coin and the vols of its contracts have moved."""
    factor = 1.0 + move
    of_expiry, of_coin = market.expiry_underlying == underlying, market.currency_underlying == underlying
    return replace(
        market,
        spot=np.where(np.arange(len(market.spot)) == underlying, market.spot * factor, market.spot),
        forward=np.where(of_expiry, market.forward * factor, market.forward),
        fx=np.where(of_coin, market.fx * factor, market.fx),
        mark_vol=np.where(underlying == UNDERLYING, market.mark_vol + vol, market.mark_vol),
    )


def check_equal(updated: RiskArrays, fresh: RiskArrays) -> None:
    for field in fields(RiskArrays):
        mine, other = getattr(updated, field.name), getattr(fresh, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.tobytes() == other.tobytes(), field.name
        elif field.name == "terms":
            for term in fields(mine):
                assert getattr(mine, term.name).tobytes() == getattr(other, term.name).tobytes(), term.name
        elif field.name != "scenario_set":
            assert mine == other, field.name


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1), st.floats(-0.2, 0.2), st.floats(-0.1, 0.1))
def test_a_tick_of_one_underlying(underlying: int, move: float, vol: float) -> None:
    after = ticked(MARKET, underlying, move, vol)
    moved = moved_contracts(INSTRUMENTS, MARKET, after)
    assert not np.any(moved[underlying != UNDERLYING])
    if after.spot[underlying] != MARKET.spot[underlying]:
        assert np.all(moved[underlying == UNDERLYING])
    check_equal(update(ARRAYS, INSTRUMENTS, after, moved), revalue(INSTRUMENTS, after, MOVES))


CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "one forward": {"forward": np.where(np.arange(6) == 4, MARKET.forward * 1.01, MARKET.forward)},
    "one vol": {"mark_vol": np.where(np.arange(len(UNDERLYING)) == 6, 0.61, MARKET.mark_vol)},
    "a slice": {"svi": np.where(np.arange(6)[:, None] == 1, MARKET.svi * [1.1, 1, 1, 1, 1], MARKET.svi)},
    "a discount": {"discount": np.where(np.arange(6) == 0, 0.999, 1.0)},
    "a share fixed": {"fixed_share": np.where(np.arange(6) == 0, 0.25, 0.0)},
    "an fx": {"fx": MARKET.fx * [1.0, 1.0, 1.001]},
    "the time": {"valuation_time": MARKET.valuation_time + 60_000},
}


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_moves_is_revalued_and_nothing_else(change: str, backend: str) -> None:
    after = replace(MARKET, **CHANGES[change])
    moved = moved_contracts(INSTRUMENTS, MARKET, after)
    before = ARRAYS if backend == "numba" else revalue(INSTRUMENTS, MARKET, MOVES, backend=backend)
    fresh = revalue(INSTRUMENTS, after, MOVES, backend=backend)
    check_equal(update(before, INSTRUMENTS, after, moved, backend=backend), fresh)
    assert moved.all() == (change == "the time")
    assert moved.any() == (change != "nothing")
    differs = (fresh.rows != before.rows).any(axis=1) | (fresh.value_rows != before.value_rows)
    assert not np.any(differs & ~moved)


def test_options_with_early_exercise_move_with_the_spot() -> None:
    american = (INSTRUMENTS.payoff == 0) | ~INSTRUMENTS.is_option
    linear = replace(
        INSTRUMENTS,
        payoff=np.where(INSTRUMENTS.is_option, 0, INSTRUMENTS.payoff),
        exercise=np.where(INSTRUMENTS.is_option, int(Exercise.AMERICAN), 0),
    )
    assert not american.all()
    few = grid.scenarios(grid.Params(buckets=1, days=(0.0,), tail_moves=()), MARKET)
    before = revalue(linear, MARKET, few)
    after = replace(MARKET, spot=MARKET.spot * [1.001, 1.0])
    moved = moved_contracts(linear, MARKET, after)
    assert np.array_equal(moved, UNDERLYING == 0)
    check_equal(update(before, linear, after, moved), revalue(linear, after, few))


def test_another_market_is_refused() -> None:
    other = replace(MARKET, expiry_time=MARKET.expiry_time + np.where(MARKET.expiry_time < 2**60, 1, 0))
    with pytest.raises(DataError, match="expiry_time"):
        moved_contracts(INSTRUMENTS, MARKET, other)
    with pytest.raises(DataError, match="one vol per contract"):
        moved_contracts(INSTRUMENTS, MARKET, replace(MARKET, mark_vol=MARKET.mark_vol[:-1]))
