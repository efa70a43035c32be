"""Formulas traced into kernels: every operation beside Python's own, and what keeps compiling short."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest
from llvmlite import ir

from pricing.xp import arithmetic, tracing
from pricing.xp import numba as xp
from tests.vectors import ROOT

NUMBERS = (0.7, -2.5, 3.0, 1e-3, 1e8)


def on_floats(xp: Any, a: Any, b: Any) -> Any:
    """Each operation with a symbol on either side; what holds comes as 1, what does not as 0."""
    truths = (a < b, a <= b, a > b, a >= b, a == b, a != b, a > 1.0, b <= 1.0, (a > 0.0) & (b > 0.0), (a < b) | (a < 1))
    return (
        (a + b, 2.0 + a, a + 2, a - b, 1 - b, b - 1, a * b, 3 * a, a / b, 1.0 / a, -a),
        tuple(xp.where(truth, 1.0, 0.0) for truth in truths),
        (xp.where(a > b, a, 0), xp.where(a > b, 5, b), xp.minimum(a, b), xp.maximum(1.0, b), xp.abs(a)),
    )


class Plain:
    """The same primitives on Python's numbers."""

    minimum, maximum, abs = min, max, abs

    @staticmethod
    def where(condition: bool, yes: float, no: float) -> float:
        return yes if condition else no


TRACED = xp.compile_formula(on_floats)


@numba.njit
def operations(a: float, b: float) -> Any:
    return TRACED(xp, a, b)


@pytest.mark.parametrize("a", NUMBERS)
def test_operations_are_those_of_python(a: float) -> None:
    for b in NUMBERS:
        assert operations(a, b) == on_floats(Plain, a, b)


def on_bits(x: Any) -> Any:
    bits = tracing.float_bits(x)
    exponent = (bits >> 52) & 2047
    return (
        exponent,
        exponent * 0.5,
        tracing.bits_float((exponent - 3) << 52),
        bits | 1,
        tracing.fused(x, x, -x * x),
        tracing.fused(3.0, x, 1.0),
    )


BITS = tracing.traced(on_bits, arithmetic)


@numba.njit
def bits_of(x: float) -> Any:
    return BITS(x)


def test_bits_and_the_fused_product() -> None:
    for x in (1.0, 0.1, 12345.678):
        _, exponent = math.frexp(x)
        biased, half, power, odd, lost, constants = bits_of(x)
        assert (biased, half, power) == (exponent + 1022, (exponent + 1022) / 2, 2.0 ** (exponent - 4))
        assert constants == pytest.approx(3.0 * x + 1.0, rel=1e-15)
        assert odd == int(np.float64(x).view(np.int64)) | 1
        exact = int(math.ldexp(x, 60)) ** 2 - int(math.ldexp(x * x, 120))
        assert lost == pytest.approx(math.ldexp(exact, -120), rel=1e-12)


def test_a_branch_or_another_power_is_refused() -> None:
    block = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), [tracing.DOUBLE]), "f").append_basic_block()
    symbol = tracing.Symbol(ir.IRBuilder(block), block.function.args[0])
    with pytest.raises(TypeError, match="branch-free"):
        max(symbol, 1.0)
    with pytest.raises(TypeError, match=r"0\.5"):
        symbol**3
    with pytest.raises(TypeError, match="fadd"):
        (symbol > 1.0) + (symbol > 2.0)


SIGNATURES = """
import json
import numpy as np
from portfolio_margin.kernels import pricing_jobs, scenario_jobs
from pricing import greeks, implied_vol, price
from pricing.american import american_greeks, american_price, exercise_boundary
from pricing.models import american
from pricing.slice_fit import SliceData, fit_slices
from pricing.xp.numba import COMPILED

for _, job in (*pricing_jobs("numba"), *scenario_jobs("numba")):
    job()
ready = {id(kernel): kernel.signatures for kernel in COMPILED}
frozen = np.linspace(90.0, 110.0, 200)
frozen.flags.writeable = False
for strike in (100, [95, 105], frozen, np.linspace(90.0, 110.0, 400)[::2], frozen.reshape(20, 10).T):
    for model in ("black76", "bachelier", "linear", "american"):
        value = price(100.0, strike, 1.0, 0.2, 1, 0.95, model=model)
        greeks(100.0, strike, 1.0, 0.2, 1, 0.95, model=model)
        greeks(100.0, strike, 0.0, 0.2, 1, 0.95, model=model)
    for model in ("black76", "bachelier"):
        greeks(100.0, strike, 1.0, 0.2, 1, 0.95, model=model, order=3)
        price(100.0, strike, 1.0, 0.2, 1, 0.95, model=model, out=np.empty(np.shape(strike)))
        implied_vol(value, 100.0, strike, 1, 1, model=model)
    for accuracy in american.SCHEMES:
        american_price(100.0, strike, 1.0, 0.2, -1, 0.05, accuracy=accuracy)
    american_greeks(100.0, strike, 1.0, 0.2, -1, 0.05)
    exercise_boundary(strike, 1.0, 0.2, -1, 0.05)
quotes = SliceData(np.linspace(-0.2, 0.2, 7), np.linspace(0.03, 0.05, 7), np.ones(7))
fit_slices([quotes] * 3, threads=2)
late = [kernel.__name__ for kernel in COMPILED if id(kernel) not in ready]
print(json.dumps([late, [(kernel.__name__, len(kernel.signatures)) for kernel in COMPILED]]))
"""


def test_every_kernel_is_compiled_once() -> None:
    """For one signature, whatever the arguments look like, and by what warmup calls; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNATURES],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    late, counts = json.loads(done.stdout)
    assert not late
    assert len(counts) == 20
    assert all(count == 1 for _, count in counts), counts
