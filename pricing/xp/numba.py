"""The primitives of the formulas for numba: plain arithmetic that the compiler turns into vectors.

A call into a mathematical library inside a loop stops vectorisation, so exp, log_ratio and the Mills
ratio are written out; their errors are 1 to 2 units in the last place. `compile_formula` compiles a
formula of `pricing.models` or `pricing.surfaces` as it stands, with these primitives behind `xp`.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import CellType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pricing.xp import coefficients
from pricing.xp.coefficients import MILLS_DENOMINATOR, MILLS_NUMERATOR, MILLS_REST

# Inputs are checked to be finite before a kernel runs; nothing here may reassociate sums.
FAST_FLAGS = frozenset({"nsz", "contract", "arcp", "nnan", "ninf"})

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471803691238
LN2_LOW = 1.9082149292705877e-10
LN2 = 0.6931471805599453
ROUND_MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
EXP_LOWEST = -708.0
FAR = 1.0e20  # beyond it the Mills ratio is 1/x to the last digit
INVERSE_SQRT_TWO_PI = 0.3989422804014327
HALF_AN_EXPONENT = 1 << 51
RSQRT_MAGIC = 0x5FE6EB50C7B537A9
# Numbers as bits: infinity, 1, all but the sign, everything.
INFINITY = 0x7FF0000000000000
ONE = 0x3FF0000000000000
MAGNITUDE = 0x7FFFFFFFFFFFFFFF
ALL_BITS = -1
WIDEST = 965 << 52
MINUS_ZERO = -(1 << 63)
SMALLEST_USUAL, LARGEST_USUAL, LARGEST_VARIANCE = (
    int(bits) for bits in np.array([1.0e-100, 1.0e100, 1.0e4]).view(np.int64)
)
SMALLEST_QUOTE, LARGEST_QUOTE = (int(bits) for bits in np.array([1.0e-150, 1.0e150]).view(np.int64))

# Kernels that `compile_kernel` made in this process, for reports on the state of the cache.
COMPILED: list[Any] = []

P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10 = MILLS_NUMERATOR
G0, G1, G2, G3, G4, G5, G6, G7, G8, G9 = MILLS_REST
Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9, Q10, Q11 = MILLS_DENOMINATOR


def _inlined(function: Callable[..., Any]) -> Any:
    # By LLVM, not by numba: as fast, and it halves the time that kernels take to compile.
    return numba.njit(forceinline=True, fastmath=set(FAST_FLAGS), error_model="numpy")(function)


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


@intrinsic
def fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), codegen


@intrinsic
def vector_loop(typing_context: Any) -> Any:
    """To be called once in a serial kernel: vectors of 512 bits where the processor has them, no aliasing.

    LLVM prefers 256 bits on processors that could do twice that, and proves few arrays apart. Both are set for
    the one function that is being compiled. Its arrays must not overlap.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite knows only some attributes by name; this is LLVM's own spelling.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.none(), codegen


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
def rsqrt(x):
    """1/sqrt(x) for normal positive x, to two roundings: two cubic steps and one of Newton, no division."""
    y = _bits_float(RSQRT_MAGIC - (_float_bits(x) >> 1))
    z = x * y * y
    y = y * (1.875 + z * (0.375 * z - 1.25))
    z = x * y * y
    y = y * (1.875 + z * (0.375 * z - 1.25))
    return y + 0.5 * y * (1.0 - x * y * y)


@_inlined
def exp(x):
    """exp(x) for x <= 708; below -708 it is 0."""
    bounded = x if x > EXP_LOWEST else EXP_LOWEST
    shifted = bounded * LOG2_E + ROUND_MAGIC
    whole = shifted - ROUND_MAGIC
    r = (bounded - whole * LN2_HIGH) - whole * LN2_LOW
    # Taylor to degree 13 on |r| <= ln(2)/2: truncation 4e-18.
    y = r * r
    even = (((1.0 / 479001600.0 * y + 1.0 / 3628800.0) * y + 1.0 / 40320.0) * y + 1.0 / 720.0) * y + 1.0 / 24.0
    odd = (((1.0 / 6227020800.0 * y + 1.0 / 39916800.0) * y + 1.0 / 362880.0) * y + 1.0 / 5040.0) * y + 1.0 / 120.0
    odd = odd * y + 1.0 / 6.0
    mantissa = 1.0 + (r + y * ((0.5 + y * even) + r * odd))
    scale = _bits_float((_float_bits(shifted) + 1023) << 52)
    return mantissa * scale if x > EXP_LOWEST else 0.0


@_inlined
def _nearest_exponent(numerator, denominator):
    """The power of two nearest to a quotient, without dividing: bits read as integers are logarithms to 0.09.

    What is left of the quotient lies between 2/3 and 3/2.
    """
    return (_float_bits(numerator) - _float_bits(denominator) + HALF_AN_EXPONENT) >> 52


@_inlined
def _artanh_tail(s):
    """2 artanh(s) - 2 s on |s| <= 0.2: eleven terms leave 1e-18."""
    z = s * s
    # Even and odd terms apart: two chains half as long keep the processor busier than one.
    y = z * z
    even = ((((2.0 / 23.0 * y + 2.0 / 19.0) * y + 2.0 / 15.0) * y + 2.0 / 11.0) * y + 2.0 / 7.0) * y + 2.0 / 3.0
    odd = (((2.0 / 21.0 * y + 2.0 / 17.0) * y + 2.0 / 13.0) * y + 2.0 / 9.0) * y + 2.0 / 5.0
    return s * z * (even + z * odd)


@_inlined
def product_minus(a, b, c):
    """a b - c, rounded once: what rounding took from c, where c is about a b."""
    return fused(a, b, -c)


@_inlined
def log_ratio_parts(numerator, denominator):
    """ln(numerator/denominator) for normal positive numbers as a sum of two, right to 1e-17 of the logarithm."""
    exponent = _nearest_exponent(numerator, denominator)
    scaled = denominator * _bits_float((exponent + 1023) << 52)
    difference = numerator - scaled
    total = numerator + scaled
    inverse = 1.0 / total
    s = difference * inverse
    s = s if s < 1.0 else 1.0
    lost = (numerator - total) + scaled if difference >= 0.0 else (scaled - total) + numerator
    rest = -(fused(s, total, -difference) + s * lost) * inverse
    whole = exponent * LN2_HIGH
    high = whole + 2.0 * s
    low = ((whole - high) + 2.0 * s) + (exponent * LN2_LOW + (2.0 * rest + _artanh_tail(s)))
    logarithm = high + low
    return logarithm, (high - logarithm) + low


@_inlined
def log_ratio(numerator, denominator):
    """ln(numerator/denominator) for normal positive numbers; the quotient itself is never rounded."""
    exponent = _nearest_exponent(numerator, denominator)
    scaled = denominator * _bits_float((exponent + 1023) << 52)
    s = (numerator - scaled) / (numerator + scaled)
    return exponent * LN2 + (2.0 * s + _artanh_tail(s))


@_inlined
def log(x):
    return log_ratio(x, 1.0)


@_inlined
def mills_ratio(x):
    """N(-x) / phi(x) for x >= 0."""
    t = x if x < FAR else FAR
    y = t * t
    p = ((((P10 * y + P8) * y + P6) * y + P4) * y + P2) * y + P0
    p = p + t * ((((P9 * y + P7) * y + P5) * y + P3) * y + P1)
    q = ((((Q10 * y + Q8) * y + Q6) * y + Q4) * y + Q2) * y + Q0
    q = q + t * (((((Q11 * y + Q9) * y + Q7) * y + Q5) * y + Q3) * y + Q1)
    return p / q


@_inlined
def _mills_polynomials(x):
    # Even and odd powers apart, as above.
    y = x * x
    p = ((((P10 * y + P8) * y + P6) * y + P4) * y + P2) * y + P0
    p = p + x * ((((P9 * y + P7) * y + P5) * y + P3) * y + P1)
    g = (((G8 * y + G6) * y + G4) * y + G2) * y + G0
    g = g + x * ((((G9 * y + G7) * y + G5) * y + G3) * y + G1)
    q = ((((Q10 * y + Q8) * y + Q6) * y + Q4) * y + Q2) * y + Q0
    q = q + x * (((((Q11 * y + Q9) * y + Q7) * y + Q5) * y + Q3) * y + Q1)
    return p, g, q


@_inlined
def _mills_fraction(x):
    y = x * x
    p = ((((P10 * y + P8) * y + P6) * y + P4) * y + P2) * y + P0
    p = p + x * ((((P9 * y + P7) * y + P5) * y + P3) * y + P1)
    q = ((((Q10 * y + Q8) * y + Q6) * y + Q4) * y + Q2) * y + Q0
    q = q + x * (((((Q11 * y + Q9) * y + Q7) * y + Q5) * y + Q3) * y + Q1)
    return p, q


@_inlined
def mills_of_two(x, y):
    """`mills_ratio` of two numbers up to 1e10, with one division."""
    p, q = _mills_fraction(x)
    v, w = _mills_fraction(y)
    inverse = 1.0 / (q * w)
    return p * (inverse * w), v * (inverse * q)


@_inlined
def mills_and_rest(x):
    """M = N(-x) / phi(x) and 1 - x M for x >= 0, both to a few roundings of themselves."""
    p, g, q = _mills_polynomials(x if x < FAR else FAR)
    inverse = 1.0 / q
    return p * inverse, g * inverse


@_inlined
def mills_and_rest_of_two(x, y):
    """`mills_and_rest` of two numbers up to 1e10, with one division."""
    p, g, q = _mills_polynomials(x)
    u, v, w = _mills_polynomials(y)
    inverse = 1.0 / (q * w)
    first, second = inverse * w, inverse * q
    return p * first, g * first, u * second, v * second


@_inlined
def normal_cdf(x):
    distance = x if x >= 0.0 else -x
    tail = INVERSE_SQRT_TWO_PI * exp(-0.5 * x * x) * mills_ratio(distance)
    return 1.0 - tail if x >= 0.0 else tail


@_inlined
def fit_row(forward, strike, tau, vol, discount, sign, signed):
    """Whether a row is finite and within bounds, seen from the bits: kernels assume that numbers are finite.

    forward and strike above 0, or of any sign where `signed`; tau and vol 0 or more; discount above 0; sign 1 or -1.
    """
    mask = MAGNITUDE if signed else ALL_BITS
    least = -1 if signed else 0
    f, k = _float_bits(forward) & mask, _float_bits(strike) & mask
    t, v, d = _float_bits(tau), _float_bits(vol), _float_bits(discount)
    prices = (f > least) & (f < INFINITY) & (k > least) & (k < INFINITY)
    # A quotient beyond 2^965, a little over 1e290, leaves no exponent for its logarithm.
    prices = prices & (signed | ((f - k < WIDEST) & (k - f < WIDEST)))
    rest = (t >= 0) & (t < INFINITY) & (v >= 0) & (v < INFINITY) & (d > 0) & (d < INFINITY)
    return prices & rest & ((_float_bits(sign) & MAGNITUDE) == ONE)


@_inlined
def usual_row(forward, strike, tau, vol, discount, sign):
    """Whether all numbers of a row are positive, finite and far from the ends of the range, seen from the bits."""
    f, k, d = _float_bits(forward), _float_bits(strike), _float_bits(discount)
    variance = _float_bits(vol * vol * tau)
    prices = (f > SMALLEST_USUAL) & (f < LARGEST_USUAL) & (k > SMALLEST_USUAL) & (k < LARGEST_USUAL)
    terms = (variance > SMALLEST_USUAL) & (variance < LARGEST_VARIANCE)
    terms = terms & (_float_bits(vol) > 0) & (_float_bits(tau) < LARGEST_USUAL)
    return prices & terms & (d > 0) & (d < INFINITY) & ((_float_bits(sign) & MAGNITUDE) == ONE)


@_inlined
def is_marked(value):
    """Whether `nan_unless` put a NaN here."""
    return _float_bits(value) == ALL_BITS


@_inlined
def fit_quote(price, forward, strike, tau, discount, sign, signed):
    """Whether the numbers of a quote are finite and between 1e-150 and 1e150 as `implied_vol` asks, from the bits."""
    mask = MAGNITUDE if signed else ALL_BITS
    least = 0 if signed else SMALLEST_QUOTE
    f, k, t = _float_bits(forward) & mask, _float_bits(strike) & mask, _float_bits(tau)
    d, p = _float_bits(discount), _float_bits(price) & MAGNITUDE
    prices = (f >= least) & (f <= LARGEST_QUOTE) & (k >= least) & (k <= LARGEST_QUOTE) & (p <= LARGEST_QUOTE)
    rest = (((t >= 0) & (t <= LARGEST_QUOTE)) | (t == MINUS_ZERO)) & (d >= SMALLEST_QUOTE) & (d <= LARGEST_QUOTE)
    return prices & rest & ((_float_bits(sign) & MAGNITUDE) == ONE)


@_inlined
def nan_unless(fit, value):
    """The value, or NaN; joined as bits, because kernels assume that there is no NaN."""
    return _bits_float(_float_bits(value) | (0 if fit else ALL_BITS))


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
    """Hash of the sources of the modules, of this one and of the coefficients.

    A kernel closes over it, so that numba's disk cache notices an edit in a formula that stands in
    another file (numba includes the contents of closures in its cache key).
    """
    sources = "".join(inspect.getsource(module) for module in (*modules, coefficients, sys.modules[__name__]))
    return hashlib.sha256(sources.encode()).hexdigest()


def compile_kernel(
    template: Callable[..., Any],
    tag: str,
    formula: Callable[..., Any],
    bound: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Compile a kernel template with `FORMULA` bound to a compiled formula and cache it on disk.

    `bound` holds further names of the template and their constant values.

    `template` must be a closure over exactly one string, so that `tag` enters numba's cache key; the
    formula goes in as a global, because a compiled function in a closure changes the key every time.
    """
    scope = {**template.__globals__, "FORMULA": compile_formula(formula), **(bound or {})}
    function = FunctionType(template.__code__, scope, template.__name__, None, (CellType(tag),))
    function.__qualname__ = template.__qualname__
    function.__module__ = template.__module__
    settings = {"fastmath": set(FAST_FLAGS), "error_model": "numpy", "cache": True, "nogil": True, **options}
    kernel = numba.njit(**settings)(function)
    COMPILED.append(kernel)
    return kernel


def run_in_threads(run: Callable[[slice], Any], rows: int, threads: int) -> None:
    """Call `run` with slices that make up the rows, one a thread, the last on this one; kernels release the lock."""
    workers = max(1, min(threads, numba.config.NUMBA_NUM_THREADS))
    # Whole blocks of 64 rows, so that threads never write to one cache line.
    ends = [rows * part // workers // 64 * 64 for part in range(workers)] + [rows]
    slices = [slice(start, end) for start, end in itertools.pairwise(ends)]
    if workers == 1:
        run(slices[0])
        return
    with ThreadPoolExecutor(workers - 1) as pool:
        waiting = [pool.submit(run, part) for part in slices[:-1]]
        run(slices[-1])
        for future in waiting:
            future.result()


@contextlib.contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Run parallel kernels on this many threads, at most what the process was started with."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(threads, numba.config.NUMBA_NUM_THREADS)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
