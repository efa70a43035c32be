"""The charge for options sold: the compiled pass against plain Python and the array code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

from portfolio_margin.charges import short_option_minimum, short_option_rows
from pricing import DataError, NumericalError
from pricing.instruments import Kind
from scenarios import revalue
from tests.portfolio_margin.books import ARRAYS, BOOK, GRID, INSTRUMENTS, MARKET, ROW, book_of, contracts_held, in_steps

RATE = 0.003
CALL = next(name for name in ROW if name.startswith("BTC-7D-"))
STEP = float(INSTRUMENTS.quantity_step[ROW[CALL]])


def plain(held: dict[str, float]) -> float:
    """Whole ticks of every option sold, added up one by one."""
    ticks = 0
    for name, quantity in held.items():
        row = ROW[name]
        if INSTRUMENTS.kind[row] == Kind.OPTION and quantity < 0.0:
            unit = float(ARRAYS.unit[row])
            ticks += round(-quantity / unit) * math.ceil(RATE * float(ARRAYS.notional[row]) * unit / ARRAYS.tick_size)
    return float(ticks) * ARRAYS.tick_size


@settings(max_examples=50, deadline=None)
@given(contracts_held)
def test_the_charge_is_that_of_plain_sums(steps: dict[str, int]) -> None:
    held = in_steps(steps)
    assert short_option_minimum(book_of({"a": held}), ARRAYS, RATE).tolist() == [plain(held)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tick", [1e-6, None])
def test_every_backend_and_number_of_threads_has_the_same_bits(tick: float | None, threads: int) -> None:
    arrays = revalue(INSTRUMENTS, MARKET, GRID, tick=tick)
    found, wanted = (short_option_minimum(BOOK, arrays, RATE, backend=b, threads=threads) for b in ("numba", "numpy"))
    assert wanted.max() > 0.0
    np.testing.assert_array_almost_equal_nulp(found, wanted, 0 if tick else 64)  # unrounded sums have an order


@pytest.mark.parametrize(
    ("quantity", "error"), [(-0.5 * STEP, DataError), (-1e18, NumericalError)], ids=["off step", "too large"]
)
def test_what_cannot_be_charged_is_refused_in_the_same_words(quantity: float, error: type[Exception]) -> None:
    book, told = book_of({"a": {CALL: -STEP}, "odd": {CALL: quantity}}), []
    for backend in ("numba", "numpy"):
        with pytest.raises(error, match="odd") as refused:
            short_option_minimum(book, ARRAYS, RATE, backend=backend)
        told.append(str(refused.value))
    assert told[0] == told[1]


def test_a_quantity_a_rounding_off_its_step_counts_as_the_steps_it_is() -> None:
    nearly = -3.0 * STEP * (1.0 + 1e-15)
    assert short_option_minimum(book_of({"a": {CALL: nearly}}), ARRAYS, RATE)[0] == plain({CALL: -3.0 * STEP})
    assert short_option_rows(ARRAYS, RATE)[ROW[CALL]] > 0.0
