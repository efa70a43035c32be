"""The product grid and the 16 SPAN scenarios, number by number."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pricing import ConfigError
from scenarios.families import grid, span
from tests.examples import market_and_instruments, one_option

INSTRUMENTS, MARKET = market_and_instruments()
ONE = one_option(100.0, 100.0, 1.0, 0.2, 1.0)[1]


def test_the_grid_is_a_product_with_weighted_tails() -> None:
    moves = grid.scenarios(grid.Params(price_range=0.16), MARKET)
    standard = 9 * 3 * 2
    assert len(moves) == standard + 8 * 2
    prices = [step * 0.16 / 4 for step in range(-4, 5)]
    expected = list(itertools.product(prices, (-0.25, 0.0, 0.5), (0.0, 1.0)))
    table = np.column_stack([moves.price_move[:, 0], moves.vol_move[:, 0], moves.time_step_years * 365])
    assert table[:standard] == pytest.approx(np.array(expected), abs=1e-15)
    tails = list(itertools.product(grid.TAIL_MOVES, (0.5,), (0.0, 1.0)))
    assert table[standard:] == pytest.approx(np.array(tails))
    assert np.all(moves.weight[:standard] == 1)
    assert moves.weight[standard:] == pytest.approx([0.16 / abs(move) for move, _, _ in tails])
    assert np.count_nonzero(np.all(moves.price_move == 0, axis=1)) == 6
    assert np.count_nonzero(np.all(table == 0, axis=1)) == 1


def test_labels_say_what_happens() -> None:
    labels = grid.scenarios(grid.Params(price_range=0.12, days=(0.0,), tail_moves=(0.5,)), MARKET).label.tolist()
    assert labels[2] == "S-12.0/V+50%/T0"
    assert labels[-1] == "S+50.0/V+50%/T0"


def test_a_range_for_each_underlying() -> None:
    moves = grid.scenarios(grid.Params(price_range={"BTC": 0.10, "ETH": 0.20, "SOL": 0.3}), MARKET)
    assert moves.price_move.shape[1] == 2
    assert moves.price_move[0].tolist() == [-0.10, -0.20]
    # The widest range of the market's own underlyings sets the share of the tails.
    assert moves.weight[-1] == pytest.approx(0.20 / 5.0)
    with pytest.raises(ConfigError, match="ETH"):
        grid.scenarios(grid.Params(price_range={"BTC": 0.10}), MARKET)


def test_tails_are_optional_and_never_count_more_than_once() -> None:
    assert len(grid.scenarios(grid.Params(tail_moves=()), MARKET)) == 54
    near = grid.scenarios(grid.Params(price_range=0.5, tail_moves=(0.4, -0.8)), MARKET)
    assert near.weight[-4:] == pytest.approx([1.0, 1.0, 0.625, 0.625])
    none = grid.scenarios(grid.Params(tail_factor=0.0), MARKET)
    assert np.all(none.weight[-16:] == 0)


def test_span_order_and_weights() -> None:
    moves = span.scenarios(span.Params(price_scan_range=6.0, vol_scan_range=0.2, extreme_multiplier=3.0), ONE)
    thirds = [0, 0, 2, 2, -2, -2, 4, 4, -4, -4, 6, 6, -6, -6, 18, -18]
    assert moves.price_move[:, 0] * 100 == pytest.approx(thirds)
    assert moves.vol_move[:, 0].tolist() == [0.2, -0.2] * 7 + [0.0, 0.0]
    assert moves.weight.tolist() == [1.0] * 14 + [0.35] * 2
    assert np.all(moves.time_step_years == 0.004)
    assert np.all(moves.vol_shift == 0)


def test_span_vols_may_move_in_points() -> None:
    moves = span.scenarios(span.Params(price_scan_range=6.0, vol_scan_range=0.05, vol_scan="absolute"), ONE)
    assert moves.vol_shift[:, 0].tolist() == [0.05, -0.05] * 7 + [0.0, 0.0]
    assert np.all(moves.vol_move == 0)


def test_span_ranges_are_in_quote_currency() -> None:
    ranges = {"BTC": 6_800.0, "ETH": 410.0}
    moves = span.scenarios(span.Params(price_scan_range=ranges, vol_scan_range=0.2), MARKET)
    assert moves.price_move[10] == pytest.approx([0.1, 0.2])
    with pytest.raises(ConfigError, match="0 or below"):
        span.scenarios(span.Params(price_scan_range=60.0, vol_scan_range=0.2), ONE)


def test_nodes_and_vols_by_underlying() -> None:
    """Places of the buckets' ends instead of equal steps; a vol move of its own for every underlying."""
    params = grid.Params(
        price_range={"BTC": 0.1, "ETH": 0.2}, vol_up={"BTC": 0.4, "ETH": 0.6}, vol_down={"BTC": 0.1, "ETH": 0.2},
        price_nodes=(-1.0, -0.3, 0.0, 0.7, 1.0), days=(0.0,), tail_moves=(0.5,),
    )  # fmt: skip
    moves = grid.scenarios(params, MARKET)
    assert len(moves) == 5 * 3 + 1
    assert moves.price_move[::3, :][:5] == pytest.approx(np.outer(params.price_nodes, (0.1, 0.2)))
    assert moves.vol_move[:3].tolist() == [[-0.1, -0.2], [0.0, 0.0], [0.4, 0.6]]
    assert moves.vol_move[-1].tolist() == [0.4, 0.6]
    assert moves.label[2] == "S-10.0|-20.0/V+40|+60%/T0"
    same = grid.Params(vol_up={"BTC": 0.5, "ETH": 0.5}, vol_down={"BTC": 0.25, "ETH": 0.25})
    assert grid.scenarios(same, MARKET).label.tolist() == grid.scenarios(grid.Params(), MARKET).label.tolist()
    with pytest.raises(ConfigError, match="vol_up has no entry for ETH"):
        grid.scenarios(grid.Params(vol_up={"BTC": 0.5}), MARKET)
    for nodes in ((-1.0, 1.0), (-0.9, 0.0, 1.0), (-1.0, 0.0, 0.0, 1.0), (0.0,)):
        with pytest.raises(ConfigError, match="price_nodes"):
            grid.Params(price_nodes=nodes)
    with pytest.raises(ConfigError, match=r"vol_down ETH = 1\.5: must be a number from 0 to 1"):
        grid.Params(vol_down={"BTC": 0.5, "ETH": 1.5})
