"""Blocks of rows that threads take one by one, and loops that work on several vectors at once: the same bits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest

from pricing import Status, price
from pricing.backends import implied_numba, implied_numpy
from pricing.inversions import bachelier, black76
from pricing.xp import numba as xp

BLOCK = implied_numba.BLOCK
SIZES = (0, 1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 13)


def quotes(size: int) -> tuple[np.ndarray, ...]:
    """price, forward, strike, tau, discount, sign: most have a vol; some are no numbers, expired, too low or absurd."""
    random = np.random.default_rng(size)
    forward, tau, vol = random.uniform(50, 150, size), random.uniform(0.01, 2, size), random.uniform(0.05, 2, size)
    strike = forward * np.exp(random.normal(0, 2, size) * vol * np.sqrt(tau))
    sign, discount = random.choice([-1.0, 1.0], size), np.exp(-0.03 * tau)
    value = price(forward, strike, tau, vol, sign, discount)
    value[3::17], tau[5::19], value[7::23] = np.nan, 0.0, -1.0
    # So far from the money as no market comes: the usual steps do not reach the vol of some.
    far = np.arange(2, size, 101)
    forward[far], strike[far], tau[far], sign[far], discount[far] = 1.0, np.exp(282.7656761356517), 1.0, 1.0, 1.0
    value[far] = price(1.0, strike[far], 1.0, np.linspace(23.2, 24.2, len(far)), 1.0, backend="numpy")
    return value, forward, strike, tau, discount, sign


def same_bits(first: Any, second: Any) -> bool:
    """NaN is equal to NaN here."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("inversion", [black76, bachelier])
def test_any_number_of_threads_gives_the_same_bits(inversion: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer blocks than threads and more, a last block that is not full; and rows that did not converge are told."""
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 5)
    for size in SIZES:
        columns = quotes(size)
        alone = implied_numba.implied_vol(inversion, columns, 1e-10)
        for threads in (2, 3, 5):
            assert same_bits(implied_numba.implied_vol(inversion, columns, 1e-10, threads), alone)
        _, status, far = alone
        assert far.tolist() == np.flatnonzero(status == Status.NOT_CONVERGED).tolist()
        assert implied_numpy.implied_vol(inversion, quotes(0), 1e-10)[2].size == 0


def test_there_are_rows_that_did_not_converge() -> None:
    """Of which the tests above would say nothing if there were none; numpy finds the same."""
    columns = quotes(SIZES[-1])
    far = implied_numba.implied_vol(black76, columns, 1e-10)[2]
    assert len(far) > 0
    assert np.isin(far, implied_numpy.implied_vol(black76, columns, 1e-10)[2]).all()


def test_a_row_has_the_same_bits_in_any_company() -> None:
    """In two vectors side by side, in one, and among the few after the last one."""
    columns = quotes(SIZES[-1])
    vol, status, _ = implied_numba.implied_vol(black76, columns, 1e-10)
    for few in (1, 9, 23):
        for start in range(0, 40 * few, few):
            rows = slice(start, start + few)
            alone = implied_numba.implied_vol(black76, tuple(column[rows] for column in columns), 1e-10)
            assert same_bits(alone[:2], (vol[rows], status[rows]))


@numba.njit(nogil=True)
def numbers_taken(taken: np.ndarray, count: int) -> np.ndarray:
    found = np.empty(count, dtype=np.int64)
    for i in range(count):
        found[i] = xp.next_of(taken, 8)
    return found


def test_no_two_threads_take_the_same() -> None:
    count, threads = 50_000, 4
    taken = np.zeros(16, dtype=np.int64)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lambda _: numbers_taken(taken, count), range(threads)))
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(count * threads))
    assert taken.tolist() == [0] * 8 + [count * threads] + [0] * 7


def _quotients_template(tag: str) -> Any:
    def quotients(a, out):
        tag  # noqa: B018 - enters the key of the disk cache
        xp.vector_loop()
        for n in range(out.shape[0]):
            out[n] = 1.0 / a[n]
            xp.side_by_side(AT_ONCE)  # noqa: F821
        xp.settle_loops()

    return quotients


def test_side_by_side_is_what_the_compiler_does() -> None:
    """As many divisions of vectors in the loop as were asked for, and the same results, also in what is left over."""
    a = np.linspace(1.0, 2.0, 1_003)
    divisions = {}
    for at_once in (2, 4):
        kernel = xp.compile_kernel(_quotients_template(""), f"{at_once}", None, {"AT_ONCE": at_once}, cache=False)
        out = np.empty(a.size)
        kernel(a, out)
        assert np.array_equal(out, 1.0 / a)
        (code,) = kernel.inspect_llvm().values()
        divisions[at_once] = sum("fdiv" in line and " <" in line for line in code.splitlines())
    # One more where what is left over is taken in vectors, too.
    assert 2 <= divisions[2] <= 3 and 4 <= divisions[4] <= 5
