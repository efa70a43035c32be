"""Kernels of numba around the formulas, which stay as they stand in `pricing.models` or `pricing.surfaces`.

A formula is not compiled by numba: `pricing.xp.tracing` runs it once, with the primitives of `pricing.xp.arithmetic`
behind `xp`, and writes what it does into the kernel. numba itself compiles only the loops.
"""

from __future__ import annotations

import collections
import functools
import gc
import hashlib
import inspect
import itertools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import CellType, FunctionType, ModuleType
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils, event
from numba.extending import intrinsic

from pricing.xp import arithmetic, coefficients, tracing
from pricing.xp.tracing import traced

T = TypeVar("T")

# Inputs are checked to be finite before a kernel runs; nothing here may reassociate sums.
FAST_FLAGS = frozenset({"nsz", "contract", "arcp", "nnan", "ninf"})

# Doubles in a cache line.
LINE = 8


class _CollectorRests(event.Listener):  # type: ignore[misc]
    """The collector of cycles rests while something compiles, in any thread.

    What the compiler makes lives until it is done, and the collector would look through it again and again: a twelfth
    of the time. One that was off before stays off.
    """

    def __init__(self) -> None:
        self.lock, self.compiling, self.resting = threading.Lock(), 0, False

    def on_start(self, event: Any) -> None:
        with self.lock:
            self.compiling += 1
            if self.compiling == 1 and gc.isenabled():
                gc.disable()
                self.resting = True

    def on_end(self, event: Any) -> None:
        with self.lock:
            self.compiling -= 1
            if self.compiling == 0 and self.resting:
                self.resting = False
                gc.enable()


event.register("numba:compiler_lock", _CollectorRests())
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


@intrinsic(prefer_literal=True)
def side_by_side(typing_context: Any, vectors: Any) -> Any:
    """To be the last statement of a loop that is turned into vectors: so many (a literal number) of them at once.

    A processor looks ahead by some hundred operations that wait for another one. Where those of one vector are a long
    chain, it finds little to do beside it, unless those of the next stand between. `settle_loops` completes it.
    An `if` around it or right before it in the loop would put it elsewhere, and LLVM would not see it.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.__dict__.setdefault("loop_ends", []).append((builder.block, vectors.literal_value))
        return context.get_dummy_value()

    return types.none(vectors), codegen


@intrinsic
def settle_loops(typing_context: Any) -> Any:
    """To be the last statement of a kernel with `side_by_side`, when all branches are written."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        module = builder.module
        for place, (block, vectors) in enumerate(builder.function.__dict__.pop("loop_ends")):
            count = module.add_metadata(
                [ir.MetaDataString(module, "llvm.loop.interleave.count"), ir.Constant(ir.IntType(32), vectors)]
            )
            loop = module.add_metadata([ir.MetaDataString(module, f"{builder.function.name} {place}")])
            # LLVM's form of a loop's name: a list that begins with itself.
            loop.operands = (loop, count)
            block.terminator.set_metadata("llvm.loop", loop)
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def prefetch(typing_context: Any, array: Any, row: Any) -> Any:
    """Ask for the cache line of a row of a contiguous array, or of its address, that will soon be read.

    Streams of six columns are more than a processor foresees: it waits for memory a third of the time.
    A row beyond the end asks for nothing.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = arguments[0]
        if not isinstance(signature.args[0], types.CPointer):
            data = context.make_array(signature.args[0])(context, builder, data).data
        text, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        line = builder.bitcast(builder.gep(data, [arguments[1]]), text)
        ask = builder.module.declare_intrinsic(
            "llvm.prefetch", [text], ir.FunctionType(ir.VoidType(), [text, number, number, number])
        )
        # To be read, kept in all caches, data.
        builder.call(ask, [line, ir.Constant(number, 0), ir.Constant(number, 3), ir.Constant(number, 1)])
        return context.get_dummy_value()

    return types.none(array, row), codegen


def _fence(ordering: str) -> Any:
    @intrinsic
    def fence(typing_context: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.none(), codegen

    return fence


# What is written before `release()` is there for whoever sees what is written after it, and then calls `acquire()`.
release, acquire = _fence("release"), _fence("acquire")


@intrinsic(prefer_literal=True)
def scratch(typing_context: Any, size: Any) -> Any:
    """Room for so many doubles (a literal number) on the stack of the kernel, on a cache line: its address."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            room = builder.alloca(ir.DoubleType(), ir.Constant(ir.IntType(64), size.literal_value))
        room.align = 64
        return room

    if not isinstance(size, types.IntegerLiteral):
        return None
    return types.CPointer(types.float64)(size), codegen


def _line(builder: Any, start: Any, place: Any) -> Any:
    """Address of a cache line of doubles, `place` doubles after `start`."""
    return builder.bitcast(builder.gep(start, [place]), ir.VectorType(ir.DoubleType(), LINE).as_pointer())


def _copy_lines(builder: Any, origin: Any, target: Any, lines: int, past_caches: bool) -> None:
    """Copy cache lines of doubles from address to address; past the caches if `target` is the start of one."""
    for k in range(lines):
        place = ir.Constant(ir.IntType(64), LINE * k)
        value = builder.load(_line(builder, origin, place), align=8)
        stored = builder.store(value, _line(builder, target, place), align=8 * LINE if past_caches else 8)
        if past_caches:
            stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


@intrinsic
def put(typing_context: Any, array: Any, row: Any, value: Any) -> Any:
    """`array[row] = value` for a row of a contiguous array; in one of a single row, which nobody wants, its first."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_value, row, value = arguments
        results = context.make_array(array)(context, builder, array_value)
        one = ir.Constant(ir.IntType(64), 1)
        place = builder.select(builder.icmp_signed(">", results.nitems, one), row, ir.Constant(one.type, 0))
        builder.store(value, builder.gep(results.data, [place]))
        return context.get_dummy_value()

    return types.none(array, types.int64, types.float64), codegen


@intrinsic(prefer_literal=True)
def group_out(typing_context: Any, room: Any, array: Any, row: Any, count: Any, past: Any, group: Any) -> Any:
    """Copy the results of a group of rows from the scratch room to `array`, past the caches where `past` says so.

    A cache line that is written as usual is read first; a whole one that goes past the caches is not, which halves
    the traffic of results that are too many for the caches. So that lines are whole, what stands before `row` in its
    cache line goes out with the group, and as much at its end stays behind for the next.

    room    what `scratch` returned; one line of the rows before `row`, then the rows of the group
    array   contiguous and aligned; nothing is written if the group does not fit, that is if nobody wants it
    row     of the array, where the group begins
    count   rows of this group: one line for the first of an array, then `group`, a literal number, but for the last
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, array_value, row, count, past, _ = arguments
        results_array = context.make_array(signature.args[1])(context, builder, array_value)
        data, number = results_array.data, ir.IntType(64)
        line, none = ir.Constant(number, LINE), ir.Constant(number, 0)
        results = builder.gep(start, [line])
        target = builder.gep(data, [row])
        full = builder.icmp_unsigned("==", count, ir.Constant(number, group.literal_value))
        # The last group of the array leaves nothing behind.
        whole = builder.and_(full, builder.icmp_unsigned("<", builder.add(row, count), results_array.nitems))

        def copy(before: Any, rows: Any) -> None:
            back = builder.neg(before)
            cgutils.raw_memcpy(builder, builder.gep(target, [back]), builder.gep(results, [back]), rows, 8)

        fits = builder.icmp_unsigned("<=", builder.add(row, count), results_array.nitems)
        with builder.if_then(fits), builder.if_else(whole) as (lines, rest):
            with lines, builder.if_else(past) as (streaming, usual):
                with streaming:
                    address = builder.lshr(builder.ptrtoint(target, number), ir.Constant(number, 3))
                    back = builder.neg(builder.and_(address, ir.Constant(number, LINE - 1)))
                    origin = builder.gep(results, [back])
                    _copy_lines(builder, origin, builder.gep(target, [back]), group.literal_value // LINE, True)
                with usual:
                    _copy_lines(builder, results, target, group.literal_value // LINE, False)
            with rest:
                waiting = builder.and_(past, builder.icmp_unsigned(">=", row, line))
                before = builder.select(waiting, line, none)
                copy(before, builder.add(before, count))
        # What the next group begins with.
        last = builder.gep(results, [builder.sub(count, line)])
        _copy_lines(builder, last, start, 1, False)
        return context.get_dummy_value()

    takes = (room, array, types.uint64, types.uint64, types.boolean, group)
    return types.none(*takes), codegen


@intrinsic
def next_of(typing_context: Any, array: Any, place: Any) -> Any:
    """Add 1 to a whole number of a contiguous array, and return what it was: no two threads get the same."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [arguments[1]]), ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(array, types.int64), codegen


@intrinsic
def settle(typing_context: Any) -> Any:
    """Let what went past the caches be seen by other threads before anything that is written later."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), codegen


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
    # The name of the machine code is made of it: two that come from the disk cache under one name, compiled in
    # different processes for different constants, would be one to the linker, which takes the first.
    made.__qualname__ = f"{code.__qualname__}_{hashlib.sha256(''.join(cells).encode()).hexdigest()[:12]}"
    made.__module__ = code.__module__
    return made


def workers_of(threads: int) -> int:
    """As many of these threads as the process was started with."""
    return max(1, min(threads, numba.config.NUMBA_NUM_THREADS))


def run_in_threads(run: Callable[[slice], T], rows: int, threads: int, block: int = 64, turns: int = 1) -> list[T]:
    """What `run` returns for slices that make up the rows, in their order; this thread works too.

    Kernels release the lock. An error of any thread is raised after what has been begun; nothing is begun after it.

    block   rows that stay together: 64 numbers fill whole cache lines, which threads should not share
    turns   slices for a thread, which takes the next one when it is free: where the machine holds up one thread, the
            others do more. Of few rows there are fewer slices
    """
    workers = workers_of(threads) if threads > 1 else 1
    blocks = -(-rows // block)
    count = min(workers * turns, blocks)
    if workers == 1 or count <= 1:
        return [run(slice(0, rows))]
    ends = [blocks * part // count * block for part in range(count)] + [rows]
    left = collections.deque(enumerate(slice(start, end) for start, end in itertools.pairwise(ends)))
    found: dict[int, T] = {}

    def work() -> None:
        while left:
            try:
                number, part = left.popleft()
            except IndexError:  # another thread took it
                return
            try:
                found[number] = run(part)
            except BaseException:
                left.clear()
                raise

    others = [_pool(workers - 1, os.getpid()).submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        left.clear()  # also where this thread was interrupted between two slices
        # A thread that has not begun has nothing to do any more.
        begun = [future for future in others if not future.cancel()]
        for future in begun:  # one by one: `wait` takes a tenth of a millisecond
            future.exception()
    for future in begun:
        future.result()
    return [found[number] for number in range(count)]


@functools.cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay: starting them takes as long as some ten thousand prices. A forked process needs its own."""
    return ThreadPoolExecutor(workers, thread_name_prefix="kernels")
