"""Sums of many scenarios in registers: a vector type for kernels, of 16 to 64 doubles, and what one does with it.

numba keeps the running sums of a loop over scenarios in memory, which costs more than the sums. A variable of this type
is a row of LLVM's own vectors, so the sums of one account stay in registers while its rows are added. Where registers
are narrower, LLVM splits them.

What is here enters kernels as constants: those that use it close over the hash of this file.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from pricing.arrays import FloatArray

# Doubles of one vector register of 512 bits, and the bytes of a cache line.
LANES = 8
ALIGNMENT = 64
# Of the widths that are compiled the smallest that fits is taken. Eight accumulators of 512 bits keep both multipliers
# busy; registers of 256 bits are only sixteen.
WIDTHS = (16, 32, 48, 64)
WIDEST = 64 if binding.get_host_cpu_features().get("avx512f", False) else 48

DOUBLE, INDEX, SMALL = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
REGISTER = ir.VectorType(DOUBLE, LANES)


class Vector(types.Type):  # type: ignore[misc]
    """numba's name of the type."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Vector({width})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.ArrayType(REGISTER, vector.width // LANES))


class Operations(NamedTuple):
    """What kernels do with vectors of one width.

    zeros()                         a vector of zeros
    add_row(total, rows, n, held)   total + held * rows[n], each product fused with its sum; rows, an array or its
                                    address, are aligned
    add_rounded(total, rows, n, held)   the same with each product rounded to a whole number first
    lowest(total)                   smallest element and its first place
    store(total, array)             writes the elements to an array
    """

    zeros: Any
    add_row: Any
    add_rounded: Any
    lowest: Any
    store: Any


def width_of(columns: int) -> tuple[int, int]:
    """Width and number of the vectors that columns are cut into: the fewest, then the narrowest."""
    chunks = max(1, -(-columns // WIDEST))
    each = -(-columns // chunks)
    return min(width for width in WIDTHS if width >= each), chunks


def chunked(rows: FloatArray, width: int, chunks: int) -> FloatArray:
    """(chunks * N, W) rows (N,K) cut into chunks of W columns, padded with zeros; rows begin on cache lines."""
    count = len(rows)
    values = aligned(np.zeros(0), (chunks * count, width))
    for chunk in range(chunks):
        here = rows[:, chunk * width : (chunk + 1) * width]
        part = values[chunk * count : (chunk + 1) * count]
        part[:, : here.shape[1]] = here
        part[:, here.shape[1] :] = 0.0
    return values


def aligned(values: FloatArray, shape: tuple[int, int] | None = None) -> FloatArray:
    """A copy of the values, or an empty array of a shape, that begins at a cache line."""
    size = values.nbytes if shape is None else 8 * shape[0] * shape[1]
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    found = memory[start : start + size].view(np.float64).reshape(values.shape if shape is None else shape)
    if shape is None:
        found[:] = values
    return found


@intrinsic
def nearest(typing_context: Any, number: Any) -> Any:
    """The nearest whole number, ties to even, as one instruction where the processor has it."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [DOUBLE]), arguments)

    return types.float64(types.float64), codegen


@intrinsic
def take(typing_context: Any, array: Any, place: Any) -> Any:
    """array[place] for a place from 0 on; numba would look whether it counts from the end."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load(builder.gep(data, [arguments[1]]))

    return array.dtype(array, place), codegen


@intrinsic
def address(typing_context: Any, array: Any, place: Any) -> Any:
    """Where the element at a place of a contiguous array lies, its places counted through: indexed like an array.

    Functions that are handed addresses count no references, which in a loop over accounts costs as much as the sums.
    The array must be in use after the last use of its address.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(data, [arguments[1]])

    return types.CPointer(array.dtype)(array, place), codegen


@intrinsic
def offset(typing_context: Any, start: Any, place: Any) -> Any:
    """The address so many places after another."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return start(start, place), codegen


@intrinsic
def number_of(typing_context: Any, start: Any) -> Any:
    """An address as a number."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], INDEX)

    return types.int64(start), codegen


def _pointer_to(scalar: Any, llvm: Any) -> Any:
    @intrinsic
    def pointer(typing_context: Any, number: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], llvm.as_pointer())

        return types.CPointer(scalar)(types.int64), codegen

    return pointer


# An address that a number says, of doubles, whole numbers, and whole numbers of 32 bits.
doubles_at, integers_at = _pointer_to(types.float64, DOUBLE), _pointer_to(types.int64, INDEX)
small_at = _pointer_to(types.int32, SMALL)


@functools.cache
def numbers_at(count: int) -> Any:
    """So many doubles from an address on, as a tuple."""

    @intrinsic
    def numbers(typing_context: Any, start: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            places = [builder.gep(arguments[0], [ir.Constant(INDEX, place)]) for place in range(count)]
            return context.make_tuple(builder, signature.return_type, [builder.load(place) for place in places])

        return types.UniTuple(types.float64, count)(start), codegen

    return numbers


@functools.cache
def operations(width: int) -> Operations:
    """The operations on vectors of a width, a multiple of LANES."""
    return Operations(_zeros(width), _add(width, False), _add(width, True), _lowest(width), _store(width))


def _zeros(width: int) -> Any:
    @intrinsic
    def zeros(typing_context: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            zero = ir.Constant(REGISTER, [0.0] * LANES)
            return ir.Constant(ir.ArrayType(REGISTER, width // LANES), [zero] * (width // LANES))

        return Vector(width)(), codegen

    return zeros


def registers(width: int) -> list[tuple[int, int]]:
    """Number and first column of each register."""
    return [(number, LANES * number) for number in range(width // LANES)]


def _registers(width: int) -> list[tuple[int, Any]]:
    return [(number, ir.Constant(INDEX, column)) for number, column in registers(width)]


def _add(width: int, rounded: bool) -> Any:
    @intrinsic
    def add_row(typing_context: Any, total: Any, rows: Any, row: Any, held: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rows_type, data = signature.args[1], arguments[1]
            if not isinstance(rows_type, types.CPointer):
                data = context.make_array(rows_type)(context, builder, data).data
            start = builder.gep(data, [builder.mul(arguments[2], ir.Constant(INDEX, width))])
            units, flags = spread(builder, arguments[3]), () if rounded else ("contract",)
            total = arguments[0]
            for number, column in _registers(width):
                values = builder.load(builder.bitcast(builder.gep(start, [column]), REGISTER.as_pointer()))
                values.align = ALIGNMENT
                product = builder.fmul(units, values, flags=flags)
                if rounded:
                    product = builder.call(rint(builder.module), [product])
                summed = builder.fadd(builder.extract_value(total, number), product, flags=flags)
                total = builder.insert_value(total, summed, number)
            return total

        return total(total, rows, row, held), codegen

    return add_row


def rint(module: Any) -> Any:
    """The function of LLVM that rounds a register to whole numbers."""
    name = f"llvm.rint.v{LANES}f64"
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(REGISTER, [REGISTER]), name)


def spread(builder: Any, number: Any) -> Any:
    """A register with one number in every lane."""
    nothing = ir.Constant(REGISTER, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(nothing, number, ir.Constant(SMALL, 0)), nothing, _places([0] * LANES)
    )


def _places(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(SMALL, len(places)), places)


def _lowest(width: int) -> Any:
    """The smaller of two registers, then of a register and itself turned, which leaves it in every lane."""

    @intrinsic
    def lowest(typing_context: Any, total: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def smaller(a: Any, b: Any) -> Any:
                return builder.select(builder.fcmp_ordered("<", b, a), b, a)

            parts = [builder.extract_value(arguments[0], number) for number, _ in _registers(width)]
            least = functools.reduce(smaller, parts)
            for turn in (4, 2, 1):
                turned = _places([(lane + turn) % LANES for lane in range(LANES)])
                least = smaller(least, builder.shuffle_vector(least, least, turned))
            places = ir.Constant(INDEX, 0)
            for (_, column), part in zip(_registers(width), parts, strict=True):
                bits = builder.bitcast(builder.fcmp_ordered("==", part, least), ir.IntType(LANES))
                places = builder.or_(places, builder.shl(builder.zext(bits, INDEX), column))
            # Where nothing equals the smallest, as beside NaN, the place is the number of bits.
            first = builder.cttz(places, ir.Constant(ir.IntType(1), 0))
            low = builder.extract_element(least, ir.Constant(SMALL, 0))
            return context.make_tuple(builder, signature.return_type, [low, first])

        return types.Tuple((types.float64, types.int64))(total), codegen

    return lowest


def _store(width: int) -> Any:
    @intrinsic
    def store(typing_context: Any, total: Any, array: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[1])(context, builder, arguments[1]).data
            for number, column in _registers(width):
                place = builder.bitcast(builder.gep(data, [column]), REGISTER.as_pointer())
                builder.store(builder.extract_value(arguments[0], number), place).align = LANES
            return context.get_dummy_value()

        return types.none(total, array), codegen

    return store
