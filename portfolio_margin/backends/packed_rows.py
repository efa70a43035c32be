"""Rows of sixteen bits a number, and their sums in whole numbers: what a screen of worst losses reads first.

All rows are rounded to whole shares of the largest magnitude of any, so that their sums with whole quantities are sums
of whole numbers. One instruction multiplies numbers of two rows with the quantities of both and adds the products up in
32 bits, exactly. So a row is a quarter of the bytes of one in double precision, and a position takes a quarter of the
operations. What is lost is lost by rounding the rows: half a share each time that one is held.

No sum leaves 32 bits while the quantities of an account are MOST_HELD at most, their magnitudes added up.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from portfolio_margin.backends import lanes
from portfolio_margin.backends.lanes import ALIGNMENT, IN_SINGLE, INDEX, SMALL, Precision, Vector
from pricing.arrays import FloatArray

SHARES = 2**15 - 1
MOST_HELD = 2**16 - 1
# Numbers that are summed side by side, and of a row in a cache line; neighbours in pairs of rows stand so far apart.
SUMS, LINE, RUN = 16, 32, 4

SHORT = ir.IntType(16)
IN_WHOLE = Precision("i32", SMALL, types.int32, np.int32, SUMS)
WHOLE, ROW_LINE = IN_WHOLE.register, ir.VectorType(SHORT, LINE)
# What multiplies and adds neighbours here: an instruction on registers of 512 or of 256 bits, or several.
PRODUCTS = next((name for name in ("avx512bw", "avx2") if binding.get_host_cpu_features().get(name, False)), "plain")
# Which numbers of two rows are paired for the first sixteen columns of 32, and for the last.
PAIRS = [
    [part + 2 * RUN * run + half + n for run in range(SUMS // RUN) for n in range(RUN) for part in (0, LINE)]
    for half in (0, RUN)
]


def words_of(width: int) -> int:
    """Numbers that a row of so many columns takes: whole cache lines."""
    return LINE * -(-width // LINE)


def packed(rows: FloatArray, share: float, width: int, chunks: int) -> Any:
    """(chunks * N, words) int16: rows (N,K) in whole shares, in chunks of so many columns.

    Columns stand as instructions pair them: of 32, those of the first sixteen and of the last in turn, by four.
    """
    count, words = len(rows), words_of(width)
    shares = np.zeros((count, chunks, words), np.int16)
    for chunk in range(chunks):
        here = rows[:, chunk * width : (chunk + 1) * width]
        shares[:, chunk, : here.shape[1]] = np.rint(here / share)
    turned = shares.reshape(count, chunks, words // LINE, 2, LINE // 2 // RUN, RUN).swapaxes(3, 4)
    return lanes.aligned(np.ascontiguousarray(turned.reshape(count, chunks, words).swapaxes(0, 1)).reshape(-1, words))


def _numbers(kind: Any, numbers: Any) -> Any:
    return ir.Constant(ir.VectorType(kind, len(numbers)), list(numbers))


def _products(builder: Any, pairs: Any, held: Any) -> Any:
    """Of vectors of 32 short numbers the sums of the products of neighbours, in 32 bits."""

    def called(name: str, result: Any, *values: Any) -> Any:
        kind = ir.FunctionType(result, [value.type for value in values])
        return builder.call(
            builder.module.globals.get(name) or ir.Function(builder.module, name=name, ftype=kind), values
        )

    def taken(places: Any) -> list[Any]:
        return [builder.shuffle_vector(values, values, _numbers(SMALL, places)) for values in (pairs, held)]

    if PRODUCTS == "avx512bw":
        return called("llvm.x86.avx512.pmaddw.d.512", WHOLE, pairs, held)
    if PRODUCTS == "avx2":
        half = ir.VectorType(SMALL, SUMS // 2)
        halves = [called("llvm.x86.avx2.pmadd.wd", half, *taken(range(n, n + SUMS))) for n in (0, SUMS)]
        return builder.shuffle_vector(*halves, _numbers(SMALL, range(SUMS)))
    products = [builder.mul(*(builder.sext(v, WHOLE) for v in taken(range(first, LINE, 2)))) for first in (0, 1)]
    return builder.add(*products)


@functools.cache
def add_pair(width: int) -> Any:
    """total + quantities[0] * rows[first] + quantities[1] * rows[second]; `both` are the two, the first one lowest."""

    @intrinsic
    def add(typing_context: Any, total: Any, rows: Any, first: Any, second: Any, both: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            total, rows, first, second, both = arguments
            held = builder.bitcast(lanes.spread(builder, both, IN_WHOLE), ROW_LINE)
            words = ir.Constant(INDEX, words_of(width))
            starts = [builder.gep(rows, [builder.mul(builder.sext(row, INDEX), words)]) for row in (first, second)]
            for number in range(width // SUMS):
                if number % 2 == 0:
                    place = ir.Constant(INDEX, number * SUMS)
                    places = [builder.bitcast(builder.gep(start, [place]), ROW_LINE.as_pointer()) for start in starts]
                    lines = [builder.load(one, align=ALIGNMENT) for one in places]
                pairs = builder.shuffle_vector(*lines, _numbers(SMALL, PAIRS[number % 2]))
                summed = builder.add(builder.extract_value(total, number), _products(builder, pairs, held))
                total = builder.insert_value(total, summed, number)
            return total

        small = types.int32
        return Vector(width, IN_WHOLE)(total, rows, small, small, small), codegen

    return add


@intrinsic
def pair_at(typing_context: Any, quantities: Any, place: Any) -> Any:
    """Two neighbouring short numbers of an address, as one of 32 bits."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), SMALL.as_pointer())
        return builder.load(start, align=np.dtype(np.int16).itemsize)

    return types.int32(quantities, place), codegen


@intrinsic
def size_of(typing_context: Any, quantities: Any, place: Any, count: Any) -> Any:
    """The sum of the magnitudes of up to LINE short numbers of an address, where as many can be read."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), ROW_LINE.as_pointer())
        numbers = builder.load(start, align=np.dtype(np.int16).itemsize)
        none = ir.Constant(ROW_LINE, [0] * LINE)
        ends = builder.insert_element(none, builder.trunc(arguments[2], SHORT), ir.Constant(SMALL, 0))
        ends = builder.shuffle_vector(ends, none, _numbers(SMALL, [0] * LINE))
        wanted = builder.icmp_signed("<", _numbers(SHORT, range(LINE)), ends)
        lower = builder.icmp_signed("<", numbers, none)
        magnitudes = builder.select(wanted, builder.select(lower, builder.sub(none, numbers), numbers), none)
        sums = _products(builder, magnitudes, _numbers(SHORT, [1] * LINE))
        for turn in (8, 4, 2, 1):
            places = [(lane + turn) % SUMS for lane in range(SUMS)]
            sums = builder.add(sums, builder.shuffle_vector(sums, sums, _numbers(SMALL, places)))
        return builder.sext(builder.extract_element(sums, ir.Constant(SMALL, 0)), INDEX)

    return types.int64(quantities, place, count), codegen


@functools.cache
def nothing(width: int) -> Any:
    """A vector of zeros."""

    @intrinsic
    def zeros(typing_context: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return ir.Constant(ir.ArrayType(WHOLE, width // SUMS), None)

        return Vector(width, IN_WHOLE)(), codegen

    return zeros


@functools.cache
def scaled(width: int) -> Any:
    """share * sums in single precision."""

    @intrinsic
    def multiply(typing_context: Any, sums: Any, share: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            sums, factor = arguments[0], lanes.spread(builder, arguments[1], IN_SINGLE)
            total = ir.Constant(ir.ArrayType(IN_SINGLE.register, width // SUMS), ir.Undefined)
            for number in range(width // SUMS):
                numbers = builder.sitofp(builder.extract_value(sums, number), IN_SINGLE.register)
                total = builder.insert_value(total, builder.fmul(numbers, factor), number)
            return total

        return Vector(width, IN_SINGLE)(Vector(width, IN_WHOLE), types.float32), codegen

    return multiply
