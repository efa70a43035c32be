"""The primitives of the formulas for numba: plain arithmetic that the compiler turns into vectors.

A call into a mathematical library inside a loop stops vectorisation, so exp, log_ratio and the Mills
ratio are written out; their errors are 1 to 2 units in the last place. `compile_formula` compiles a
formula of `pricing.models` or `pricing.surfaces` as it stands, with these primitives behind `xp`.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, ModuleType
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pricing.xp import coefficients
from pricing.xp.coefficients import MILLS_DENOMINATOR, MILLS_NUMERATOR

# Inputs are checked to be finite before a kernel runs; nothing here may reassociate sums.
FAST_FLAGS = frozenset({"nsz", "contract", "arcp", "nnan", "ninf"})

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471803691238
LN2_LOW = 1.9082149292705877e-10
LN2 = 0.6931471805599453
ROUND_MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
EXP_LOWEST = -708.0
INVERSE_SQRT_TWO_PI = 0.3989422804014327

# Kernels that `compile_kernel` made in this process, for reports on the state of the cache.
COMPILED: list[Any] = []

P0, P1, P2, P3, P4, P5, P6, P7, P8, P9 = MILLS_NUMERATOR
Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9, Q10 = MILLS_DENOMINATOR


def _inlined(function: Callable[..., Any]) -> Any:
    return numba.njit(inline="always", fastmath=set(FAST_FLAGS), error_model="numpy")(function)


@intrinsic
def _float_bits(typing_context: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _bits_float(typing_context: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@_inlined
def where(condition, yes, no):
    return yes if condition else no


@_inlined
def minimum(a, b):
    return a if a < b else b


@_inlined
def maximum(a, b):
    return a if a > b else b


@_inlined
def abs(x):
    return x if x >= 0.0 else -x


@_inlined
def sqrt(x):
    return x**0.5


@_inlined
def exp(x):
    """exp(x) for x <= 708; below -708 it is 0."""
    bounded = x if x > EXP_LOWEST else EXP_LOWEST
    shifted = bounded * LOG2_E + ROUND_MAGIC
    whole = shifted - ROUND_MAGIC
    r = (bounded - whole * LN2_HIGH) - whole * LN2_LOW
    # Taylor to degree 13 on |r| <= ln(2)/2: truncation 4e-18.
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    mantissa = 1.0 + (r + r * r * p)
    scale = _bits_float((_float_bits(shifted) + 1023) << 52)
    return mantissa * scale if x > EXP_LOWEST else 0.0


@_inlined
def log_ratio(numerator, denominator):
    """ln(numerator/denominator) for normal positive numbers; the quotient itself is never rounded."""
    quotient = numerator / denominator
    # Exponent e with quotient in [sqrt(1/2), sqrt(2)) * 2^e: subtract the bits of sqrt(1/2), keep the top.
    exponent = (_float_bits(quotient) - 0x3FE6A09E667F3BCD) >> 52
    scaled = denominator * _bits_float((exponent + 1023) << 52)
    s = (numerator - scaled) / (numerator + scaled)
    z = s * s
    # 2 artanh(s) with |s| <= 0.1716: eleven terms leave 2e-18.
    p = 2.0 / 23.0
    p = p * z + 2.0 / 21.0
    p = p * z + 2.0 / 19.0
    p = p * z + 2.0 / 17.0
    p = p * z + 2.0 / 15.0
    p = p * z + 2.0 / 13.0
    p = p * z + 2.0 / 11.0
    p = p * z + 2.0 / 9.0
    p = p * z + 2.0 / 7.0
    p = p * z + 2.0 / 5.0
    p = p * z + 2.0 / 3.0
    return exponent * LN2 + (2.0 * s + s * z * p)


@_inlined
def log(x):
    return log_ratio(x, 1.0)


@_inlined
def mills_ratio(x):
    """N(-x) / phi(x) for x >= 0."""
    t = x if x < 1.0e20 else 1.0e20
    p = ((((((((P9 * t + P8) * t + P7) * t + P6) * t + P5) * t + P4) * t + P3) * t + P2) * t + P1) * t + P0
    q = (((((((((Q10 * t + Q9) * t + Q8) * t + Q7) * t + Q6) * t + Q5) * t + Q4) * t + Q3) * t + Q2) * t + Q1) * t + Q0
    return p / q


@_inlined
def normal_cdf(x):
    distance = x if x >= 0.0 else -x
    tail = INVERSE_SQRT_TWO_PI * exp(-0.5 * x * x) * mills_ratio(distance)
    return 1.0 - tail if x >= 0.0 else tail


def compile_formula(formula: Callable[..., Any]) -> Any:
    """The compiled twin of a formula `f(xp, ...)`, to be called inside a kernel as `f(XP, ...)`.

    Formulas of the same file that it calls are compiled with it.
    """
    called = {
        name: compile_formula(value)
        for name, value in formula.__globals__.items()
        if name in formula.__code__.co_names and isinstance(value, FunctionType)
    }
    scope = {**formula.__globals__, **called}
    return _inlined(FunctionType(formula.__code__, scope, formula.__name__, formula.__defaults__))


def source_hash(*modules: ModuleType) -> str:
    """Hash of the sources of the modules, of this one and of the coefficients it takes.

    A kernel closes over it, so that numba's disk cache notices an edit in a formula that stands in
    another file (numba includes the contents of closures in its cache key).
    """
    sources = "".join(inspect.getsource(module) for module in (*modules, coefficients, sys.modules[__name__]))
    return hashlib.sha256(sources.encode()).hexdigest()


def compile_kernel(template: Callable[..., Any], tag: str, formula: Callable[..., Any], **options: Any) -> Any:
    """Compile a kernel template with `FORMULA` bound to a compiled formula and cache it on disk.

    `template` must be a closure over exactly one string, so that `tag` enters numba's cache key; the
    formula goes in as a global, because a compiled function in a closure changes the key every time.
    """
    scope = {**template.__globals__, "FORMULA": compile_formula(formula)}
    bound = FunctionType(template.__code__, scope, template.__name__, None, (CellType(tag),))
    bound.__qualname__ = template.__qualname__
    bound.__module__ = template.__module__
    settings = {"fastmath": set(FAST_FLAGS), "error_model": "numpy", "cache": True, "nogil": True, **options}
    kernel = numba.njit(**settings)(bound)
    COMPILED.append(kernel)
    return kernel


@contextlib.contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Run parallel kernels on this many threads, at most what the process was started with."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
