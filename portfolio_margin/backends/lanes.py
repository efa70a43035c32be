"""Sums of many scenarios in registers: vector types for kernels, of 16 to 64 numbers, and what one does with them.

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


class Precision(NamedTuple):
    """Of what numbers a vector is.

    suffix    LLVM's name of a register in names of its functions
    number    LLVM's type of a number, scalar numba's and stored numpy's
    lanes     numbers of one register of 512 bits
    """

    suffix: str
    number: Any
    scalar: Any
    stored: Any
    lanes: int

    @property
    def register(self) -> Any:
        """LLVM's type of a register."""
        return ir.VectorType(self.number, self.lanes)

    def registers(self, width: int) -> list[tuple[int, Any]]:
        """Number and first column of each register."""
        return [(number, ir.Constant(INDEX, number * self.lanes)) for number in range(width // self.lanes)]


IN_DOUBLE = Precision("f64", DOUBLE, types.float64, np.float64, LANES)
IN_SINGLE = Precision("f32", ir.FloatType(), types.float32, np.float32, 2 * LANES)


class Vector(types.Type):  # type: ignore[misc]
    """numba's name of the type."""

    def __init__(self, width: int, precision: Precision = IN_DOUBLE) -> None:
        self.width, self.precision = width, precision
        super().__init__(name=f"Vector({width} {precision.suffix})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        precision = vector.precision
        super().__init__(manager, vector, ir.ArrayType(precision.register, vector.width // precision.lanes))


class Operations(NamedTuple):
    """What kernels do with vectors of one width and precision; arrays and numbers beside them are of that precision.

    zeros()                         a vector of zeros
    add_row(total, rows, n, held)   total + held * rows[n], each product fused with its sum; rows, an array or its
                                    address, are aligned
    add_rounded(total, rows, n, held)   the same with each product rounded to a whole number first
    lowest(total)                   smallest element and its first place
    below(total, limit)             bits of the elements up to a limit, the first one lowest
    store(total, array)             writes the elements to an array
    """

    zeros: Any
    add_row: Any
    add_rounded: Any
    lowest: Any
    below: Any
    store: Any


def width_of(columns: int, widest: int = WIDEST) -> tuple[int, int]:
    """Width and number of the vectors that columns are cut into: the fewest, then the narrowest."""
    chunks = max(1, -(-columns // widest))
    each = -(-columns // chunks)
    return min(width for width in WIDTHS if width >= each), chunks


def chunked(rows: FloatArray, width: int, chunks: int, precision: Precision = IN_DOUBLE) -> Any:
    """(chunks * N, W) rows (N,K) cut into chunks of W columns, padded with zeros; rows begin on cache lines."""
    count = len(rows)
    values = aligned(np.zeros(0, precision.stored), (chunks * count, width))
    for chunk in range(chunks):
        here = rows[:, chunk * width : (chunk + 1) * width]
        part = values[chunk * count : (chunk + 1) * count]
        part[:, : here.shape[1]] = here
        part[:, here.shape[1] :] = 0.0
    return values


def aligned(values: Any, shape: tuple[int, int] | None = None) -> Any:
    """A copy of the values, or an empty array of a shape and their type, that begins at a cache line."""
    size = values.nbytes if shape is None else values.itemsize * shape[0] * shape[1]
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    found = memory[start : start + size].view(values.dtype).reshape(values.shape if shape is None else shape)
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


@intrinsic
def first_place(typing_context: Any, bits: Any) -> Any:
    """The place of the lowest bit of a number that is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@functools.cache
def operations(width: int, precision: Precision = IN_DOUBLE) -> Operations:
    """The operations on vectors of a width, a multiple of the numbers of a register; at most 64."""
    of = (width, precision)
    return Operations(_zeros(*of), _add(*of, False), _add(*of, True), _lowest(*of), _below(*of), _store(*of))


def _zeros(width: int, precision: Precision) -> Any:
    @intrinsic
    def zeros(typing_context: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            zero, count = ir.Constant(precision.register, [0.0] * precision.lanes), width // precision.lanes
            return ir.Constant(ir.ArrayType(precision.register, count), [zero] * count)

        return Vector(width, precision)(), codegen

    return zeros


def registers(width: int) -> list[tuple[int, int]]:
    """Number and first column of each register of doubles."""
    return [(number, LANES * number) for number in range(width // LANES)]


def _add(width: int, precision: Precision, rounded: bool) -> Any:
    @intrinsic
    def add_row(typing_context: Any, total: Any, rows: Any, row: Any, held: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rows_type, data = signature.args[1], arguments[1]
            if not isinstance(rows_type, types.CPointer):
                data = context.make_array(rows_type)(context, builder, data).data
            start = builder.gep(data, [builder.mul(arguments[2], ir.Constant(INDEX, width))])
            units, flags = spread(builder, arguments[3], precision), () if rounded else ("contract",)
            total = arguments[0]
            for number, column in precision.registers(width):
                place = builder.bitcast(builder.gep(start, [column]), precision.register.as_pointer())
                product = builder.fmul(units, builder.load(place, align=ALIGNMENT), flags=flags)
                if rounded:
                    product = builder.call(rint(builder.module, precision), [product])
                summed = builder.fadd(builder.extract_value(total, number), product, flags=flags)
                total = builder.insert_value(total, summed, number)
            return total

        return total(total, rows, row, held), codegen

    return add_row


def rint(module: Any, precision: Precision = IN_DOUBLE) -> Any:
    """The function of LLVM that rounds a register to whole numbers."""
    name, register = f"llvm.rint.v{precision.lanes}{precision.suffix}", precision.register
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(register, [register]), name)


def spread(builder: Any, number: Any, precision: Precision = IN_DOUBLE) -> Any:
    """A register with one number in every lane."""
    nothing = ir.Constant(precision.register, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(nothing, number, ir.Constant(SMALL, 0)), nothing, _places([0] * precision.lanes)
    )


def _places(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(SMALL, len(places)), places)


def _bits(builder: Any, total: Any, relation: str, bound: Any, width: int, precision: Precision) -> Any:
    """The bits of the elements that are in a relation to those of a register."""
    places = ir.Constant(INDEX, 0)
    for number, column in precision.registers(width):
        found = builder.fcmp_ordered(relation, builder.extract_value(total, number), bound)
        bits = builder.bitcast(found, ir.IntType(precision.lanes))
        places = builder.or_(places, builder.shl(builder.zext(bits, INDEX), column))
    return places


def _lowest(width: int, precision: Precision) -> Any:
    """The smaller of two registers, then of a register and itself turned, which leaves it in every lane."""
    turns = [precision.lanes >> step for step in range(1, precision.lanes.bit_length())]

    @intrinsic
    def lowest(typing_context: Any, total: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def smaller(a: Any, b: Any) -> Any:
                return builder.select(builder.fcmp_ordered("<", b, a), b, a)

            parts = [builder.extract_value(arguments[0], number) for number, _ in precision.registers(width)]
            least = functools.reduce(smaller, parts)
            for turn in turns:
                turned = _places([(lane + turn) % precision.lanes for lane in range(precision.lanes)])
                least = smaller(least, builder.shuffle_vector(least, least, turned))
            places = _bits(builder, arguments[0], "==", least, width, precision)
            # Where nothing equals the smallest, as beside NaN, the place is the number of bits.
            first = builder.cttz(places, ir.Constant(ir.IntType(1), 0))
            low = builder.extract_element(least, ir.Constant(SMALL, 0))
            return context.make_tuple(builder, signature.return_type, [low, first])

        return types.Tuple((precision.scalar, types.int64))(total), codegen

    return lowest


def _below(width: int, precision: Precision) -> Any:
    @intrinsic
    def below(typing_context: Any, total: Any, limit: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _bits(builder, arguments[0], "<=", spread(builder, arguments[1], precision), width, precision)

        return types.int64(total, precision.scalar), codegen

    return below


def _store(width: int, precision: Precision) -> Any:
    @intrinsic
    def store(typing_context: Any, total: Any, array: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[1])(context, builder, arguments[1]).data
            for number, column in precision.registers(width):
                place = builder.bitcast(builder.gep(data, [column]), precision.register.as_pointer())
                builder.store(builder.extract_value(arguments[0], number), place).align = array.dtype.bitwidth // 8
            return context.get_dummy_value()

        return types.none(total, array), codegen

    return store
