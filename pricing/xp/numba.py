"""Kernels of numba around the formulas, which stay as they stand in `pricing.models` or `pricing.surfaces`.

A formula is not compiled by numba: `pricing.xp.tracing` runs it once, with the primitives of `pricing.xp.arithmetic`
behind `xp`, and writes what it does into the kernel. numba itself compiles only the loops.
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
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pricing.xp import arithmetic, coefficients, tracing
from pricing.xp.tracing import traced

# Inputs are checked to be finite before a kernel runs; nothing here may reassociate sums.
FAST_FLAGS = frozenset({"nsz", "contract", "arcp", "nnan", "ninf"})

# Kernels that `compile_kernel` made in this process, for reports on the state of the cache.
COMPILED: list[Any] = []
# What every kernel is made of besides its formula.
SOURCES = (sys.modules[__name__], arithmetic, tracing, coefficients)


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


@intrinsic
def prefetch(typing_context: Any, array: Any, row: Any) -> Any:
    """Ask for the cache line of a row of a contiguous array of doubles that will soon be read.

    Streams of six columns are more than a processor foresees: it waits for memory a third of the time.
    A row beyond the end asks for nothing.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        text, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        line = builder.bitcast(builder.gep(data, [arguments[1]]), text)
        ask = builder.module.declare_intrinsic(
            "llvm.prefetch", [text], ir.FunctionType(ir.VoidType(), [text, number, number, number])
        )
        # To be read, kept in all caches, data.
        builder.call(ask, [line, ir.Constant(number, 0), ir.Constant(number, 3), ir.Constant(number, 1)])
        return context.get_dummy_value()

    return types.none(array, row), codegen


def compile_formula(formula: Callable[..., Any]) -> Any:
    """The twin of a formula `f(xp, ...)`, to be called inside a kernel as `f(XP, ...)`."""
    return traced(formula, arithmetic)


# The primitives by the names that kernels call them by.
where = compile_formula(arithmetic.where)
fused = compile_formula(arithmetic.fused)
minimum = compile_formula(arithmetic.minimum)
maximum = compile_formula(arithmetic.maximum)
abs = compile_formula(arithmetic.abs)
sqrt = compile_formula(arithmetic.sqrt)
rsqrt = compile_formula(arithmetic.rsqrt)
exp = compile_formula(arithmetic.exp)
product_minus = compile_formula(arithmetic.product_minus)
log_ratio_parts = compile_formula(arithmetic.log_ratio_parts)
log_ratio = compile_formula(arithmetic.log_ratio)
log = compile_formula(arithmetic.log)
mills_ratio = compile_formula(arithmetic.mills_ratio)
mills_of_two = compile_formula(arithmetic.mills_of_two)
mills_and_rest = compile_formula(arithmetic.mills_and_rest)
mills_and_rest_of_two = compile_formula(arithmetic.mills_and_rest_of_two)
normal_cdf = compile_formula(arithmetic.normal_cdf)
fit_row = compile_formula(arithmetic.fit_row)
usual_row = compile_formula(arithmetic.usual_row)
is_marked = compile_formula(arithmetic.is_marked)
fit_quote = compile_formula(arithmetic.fit_quote)
nan_unless = compile_formula(arithmetic.nan_unless)


def source_hash(*modules: ModuleType) -> str:
    """Hash of the sources of the modules, of this one and of those it is made of.

    A kernel closes over it, so that numba's disk cache notices an edit in a formula that stands in
    another file (numba includes the contents of closures in its cache key).
    """
    sources = "".join(inspect.getsource(module) for module in (*modules, *SOURCES))
    return hashlib.sha256(sources.encode()).hexdigest()


def compile_kernel(
    template: Callable[..., Any],
    tag: str,
    formula: Callable[..., Any] | None,
    bound_names: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Compile a kernel template with `FORMULA` bound to a compiled formula, where it has one, and cache it on disk.

    `bound_names` holds further names of the template and their constant values.

    `template` must be a closure over exactly one string, so that `tag` enters numba's cache key; the
    formula goes in as a global, because a compiled function in a closure changes the key every time.
    """
    formulas = {} if formula is None else {"FORMULA": compile_formula(formula)}
    function = bound(template, {**formulas, **(bound_names or {})}, tag)
    # Nobody calls a kernel from C; without that entry compiling takes a twelfth less.
    settings = {"fastmath": set(FAST_FLAGS), "error_model": "numpy", "cache": True, "no_cfunc_wrapper": True}
    kernel = numba.njit(**{"nogil": True, **settings, **options})(function)
    COMPILED.append(kernel)
    return kernel


def bound(function: Callable[..., Any], names: dict[str, Any], *cells: str) -> Callable[..., Any]:
    """The same function, plain Python still, with names bound to constants of its own, and what it closes over."""
    code: Any = function
    scope = {**code.__globals__, **names}
    made = FunctionType(code.__code__, scope, code.__name__, None, tuple(CellType(cell) for cell in cells))
    made.__qualname__ = code.__qualname__
    made.__module__ = code.__module__
    return made


def run_in_threads(run: Callable[[slice], Any], rows: int, threads: int, block: int = 64) -> None:
    """Call `run` with slices that make up the rows, one a thread, the last on this one; kernels release the lock.

    block   rows that stay together: 64 numbers fill whole cache lines, which threads should not share
    """
    workers = max(1, min(threads, numba.config.NUMBA_NUM_THREADS))
    ends = [rows * part // workers // block * block for part in range(workers)] + [rows]
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
