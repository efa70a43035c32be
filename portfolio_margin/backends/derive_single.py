"""Scenarios of an account under Derive's rules in single precision, in registers, and what is exact beside them.

A row is scenarios in single precision, then the four ends in double: the two basis moves, the value as the venue marks
it and the value in the arrays. Registers are of 256 bits: sums and gains of all scenarios that the venue admits fit
sixteen of them. See `derive_screen` for what is counted, and how far it is off.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from portfolio_margin.backends.lanes import DOUBLE, IN_DOUBLE, INDEX, SMALL, rint

# Singles of a register, and the ends, which fill one.
SINGLES, ENDS = 8, 4
# Places of the ends: value as the venue marks it.
MARKED = 2
SINGLE = ir.FloatType()
REGISTER, EXACT = ir.VectorType(SINGLE, SINGLES), ir.VectorType(DOUBLE, ENDS)
BITS = ir.VectorType(SMALL, SINGLES)
BYTES = 32
FUSED = ("contract",)


class Gains(types.Type):  # type: ignore[misc]
    """numba's name of so many singles."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Gains({width})")


class Sums(types.Type):  # type: ignore[misc]
    """numba's name of so many singles and the ends."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Sums({width})")


@register_model(Gains)
class _GainsModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, gains: Gains) -> None:
        super().__init__(manager, gains, ir.ArrayType(REGISTER, gains.width // SINGLES + 1))


@register_model(Sums)
class _SumsModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, sums: Sums) -> None:
        super().__init__(manager, sums, ir.LiteralStructType([_registers(sums.width), EXACT]))


class Losses(types.Type):  # type: ignore[misc]
    """numba's name of four doubles: basis contingency where up is worse, where down is, both, and revaluation."""

    def __init__(self) -> None:
        super().__init__(name="Losses")


LOSSES = Losses()


@register_model(Losses)
class _LossesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, losses: Losses) -> None:
        super().__init__(manager, losses, EXACT)


class Operations(NamedTuple):
    """What the screen does with sums and gains of a width; addresses of what is in single precision are of singles.

    nothing()                   sums of no position
    add(sums, rows, start, near, held)  with `near`, a single, times the row so many singles after an address, each
                                product fused with its sum, and `held` times its ends, each rounded to a whole number
    add_steps(sums, rows, start, steps)     the same with `steps` of whole ticks, a single: exactly so many, and nothing
                                has to be rounded
    put_ends(sums, place)       writes the ends to an address
    opened()                    gains of no expiry, and beside them what their values add up to
    folded(gains, sums, factors, signs)     with those of an expiry: of a sum S, S times the first of three factors at
                                an address where S is not below zero, else times the second. In the last register its
                                value is taken off, the third times what the venue marks, and set are the sign bits of
                                a register at an address; of the others its value is taken off at the end
    put(gains, place, dampening)        writes them to an address, times singles at another
    lowest(place)               the smallest of gains at an address
    below(place, limit)         bits of those up to a limit, the first one lowest
    no_losses()                 of no expiry
    with_basis(losses, ends, tick, again, weight)   with those of the ends at an address, times tick, restated with
                                `again`: basis contingency of an expiry and revaluation, as `derive_numba` counts them
    losses(losses)              contingency where up is worse, where down is, all of it; revaluation
    """

    nothing: Any
    add: Any
    add_steps: Any
    put_ends: Any
    opened: Any
    folded: Any
    put: Any
    lowest: Any
    below: Any
    no_losses: Any
    with_basis: Any
    losses: Any


@functools.cache
def operations(width: int) -> Operations:
    """The operations on so many scenarios, a multiple of SINGLES."""
    return Operations(
        _nothing(width), _add(width), _add_steps(width), _put_ends(width), _opened(width), _folded(width), _put(width),
        _lowest(width), _below(width), _no_losses, _with_basis, _losses,
    )  # fmt: skip


def _spread(builder: Any, number: Any, register: Any) -> Any:
    nothing = ir.Constant(register, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(SMALL, 0))
    return builder.shuffle_vector(
        first, nothing, ir.Constant(ir.VectorType(SMALL, register.count), [0] * register.count)
    )


def _load(builder: Any, start: Any, singles: int, register: Any = REGISTER, align: int = BYTES) -> Any:
    """The register so many singles after an address of singles."""
    place = builder.gep(start, [ir.Constant(INDEX, singles)])
    return builder.load(builder.bitcast(place, register.as_pointer()), align=align)


def _zero(register: Any) -> Any:
    return ir.Constant(register, [0.0] * register.count)


def _registers(width: int) -> Any:
    return ir.ArrayType(REGISTER, width // SINGLES)


def _nothing(width: int) -> Any:
    @intrinsic
    def nothing(typing_context: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return ir.Constant.literal_struct(
                [ir.Constant(_registers(width), [_zero(REGISTER)] * (width // SINGLES)), _zero(EXACT)]
            )

        return Sums(width)(), codegen

    return nothing


def _add(width: int) -> Any:
    @intrinsic
    def add(typing_context: Any, sums: Any, rows: Any, start: Any, near: Any, held: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            sums, rows, start, near, held = arguments
            start = builder.gep(rows, [start])
            units = _spread(builder, near, REGISTER)
            for number in range(width // SINGLES):
                product = builder.fmul(units, _load(builder, start, number * SINGLES), flags=FUSED)
                total = builder.fadd(builder.extract_value(sums, [0, number]), product, flags=FUSED)
                sums = builder.insert_value(sums, total, [0, number])
            product = builder.fmul(_spread(builder, held, EXACT), _load(builder, start, width, EXACT))
            whole = builder.call(rint(builder.module, IN_DOUBLE._replace(lanes=ENDS)), [product])
            return builder.insert_value(sums, builder.fadd(builder.extract_value(sums, 1), whole), 1)

        return sums(sums, rows, types.int64, types.float32, types.float64), codegen

    return add


def _add_steps(width: int) -> Any:
    @intrinsic
    def add_steps(typing_context: Any, sums: Any, rows: Any, start: Any, steps: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            sums, rows, start, steps = arguments
            start = builder.gep(rows, [start])
            units, whole = _spread(builder, steps, REGISTER), _spread(builder, builder.fpext(steps, DOUBLE), EXACT)
            for number in range(width // SINGLES):
                product = builder.fmul(units, _load(builder, start, number * SINGLES), flags=FUSED)
                total = builder.fadd(builder.extract_value(sums, [0, number]), product, flags=FUSED)
                sums = builder.insert_value(sums, total, [0, number])
            product = builder.fmul(whole, _load(builder, start, width, EXACT), flags=FUSED)
            return builder.insert_value(sums, builder.fadd(builder.extract_value(sums, 1), product, flags=FUSED), 1)

        return sums(sums, rows, types.int64, types.float32), codegen

    return add_steps


def _put_ends(width: int) -> Any:
    @intrinsic
    def put_ends(typing_context: Any, sums: Any, place: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            room = builder.bitcast(arguments[1], EXACT.as_pointer())
            builder.store(builder.extract_value(arguments[0], 1), room, align=8)
            return context.get_dummy_value()

        return types.none(sums, place), codegen

    return put_ends


def _opened(width: int) -> Any:
    @intrinsic
    def opened(typing_context: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            count = width // SINGLES + 1
            return ir.Constant(ir.ArrayType(REGISTER, count), [_zero(REGISTER)] * count)

        return Gains(width)(), codegen

    return opened


def _folded(width: int) -> Any:
    last = width // SINGLES - 1

    @intrinsic
    def folded(typing_context: Any, gains: Any, sums: Any, factors: Any, signs: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            gains, sums, factors, signs = arguments
            places = (builder.gep(factors, [ir.Constant(INDEX, place)]) for place in range(3))
            positive, negative, again = (_spread(builder, builder.load(place), REGISTER) for place in places)
            marked = builder.extract_element(builder.extract_value(sums, 1), ir.Constant(SMALL, MARKED))
            value = builder.fmul(_spread(builder, builder.fptrunc(marked, SINGLE), REGISTER), again)
            for number in range(last + 1):
                total = builder.extract_value(sums, [0, number])
                below = builder.icmp_signed("<", builder.bitcast(total, BITS), ir.Constant(BITS, [0] * SINGLES))
                counted = builder.fmul(total, builder.select(below, negative, positive), flags=FUSED)
                if number == last:
                    counted = builder.fsub(counted, value, flags=FUSED)
                    set_bits = builder.bitcast(_load(builder, signs, 0), BITS)
                    counted = builder.bitcast(builder.or_(builder.bitcast(counted, BITS), set_bits), REGISTER)
                summed = builder.fadd(builder.extract_value(gains, number), counted, flags=FUSED)
                gains = builder.insert_value(gains, summed, number)
            return builder.insert_value(gains, builder.fadd(builder.extract_value(gains, last + 1), value), last + 1)

        return gains(gains, sums, factors, signs), codegen

    return folded


def _put(width: int) -> Any:
    last = width // SINGLES - 1

    @intrinsic
    def put(typing_context: Any, gains: Any, place: Any, dampening: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            gains, place, dampening = arguments
            value = builder.extract_value(gains, last + 1)
            for number in range(last + 1):
                gain = builder.extract_value(gains, number)
                gain = gain if number == last else builder.fsub(gain, value)
                damped = builder.fmul(gain, _load(builder, dampening, number * SINGLES))
                room = builder.gep(place, [ir.Constant(INDEX, number * SINGLES)])
                builder.store(damped, builder.bitcast(room, REGISTER.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.none(gains, place, dampening), codegen

    return put


def _lowest(width: int) -> Any:
    @intrinsic
    def lowest(typing_context: Any, place: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def smaller(a: Any, b: Any) -> Any:
                return builder.select(builder.fcmp_ordered("<", a, b), a, b)

            least = functools.reduce(
                smaller,
                [_load(builder, arguments[0], number * SINGLES, align=4) for number in range(width // SINGLES)],
            )
            for turn in (4, 2, 1):
                turned = ir.Constant(BITS, [(lane + turn) % SINGLES for lane in range(SINGLES)])
                least = smaller(least, builder.shuffle_vector(least, least, turned))
            return builder.extract_element(least, ir.Constant(SMALL, 0))

        return types.float32(place), codegen

    return lowest


def _below(width: int) -> Any:
    @intrinsic
    def below(typing_context: Any, place: Any, limit: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            bound, places = _spread(builder, arguments[1], REGISTER), ir.Constant(INDEX, 0)
            for number in range(width // SINGLES):
                found = builder.fcmp_ordered("<=", _load(builder, arguments[0], number * SINGLES, align=4), bound)
                bits = builder.zext(builder.bitcast(found, ir.IntType(SINGLES)), INDEX)
                places = builder.or_(places, builder.shl(bits, ir.Constant(INDEX, number * SINGLES)))
            return places

        return types.int64(place, types.float32), codegen

    return below


@intrinsic
def _no_losses(typing_context: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _zero(EXACT)

    return LOSSES(), codegen


@intrinsic
def _with_basis(typing_context: Any, before: Any, place: Any, tick: Any, again: Any, weight: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        before, place, *numbers = arguments
        tick, again, weight = (_spread(builder, number, EXACT) for number in numbers)

        def turned(register: Any, *lanes: int) -> Any:
            return builder.shuffle_vector(register, register, ir.Constant(ir.VectorType(SMALL, ENDS), lanes))

        ends = builder.fmul(builder.load(builder.bitcast(place, EXACT.as_pointer()), align=8), tick)
        marked = turned(ends, 2, 2, 2, 2)
        value = builder.fmul(marked, again)
        moved = builder.fmul(builder.fsub(builder.fmul(builder.fadd(ends, marked), again), value), weight)
        falls = builder.fcmp_ordered("<", turned(moved, 1, 1, 1, 1), turned(moved, 0, 0, 0, 0))
        whole = ir.VectorType(INDEX, ENDS)
        # Masks as whole numbers: of two conditions LLVM would make one by detours.
        kept = builder.xor(builder.sext(falls, whole), ir.Constant(whole, [-1, 0, 0, 0]))
        zero = _zero(EXACT)
        below = builder.select(builder.fcmp_ordered("<", moved, zero), moved, zero)
        lost = builder.bitcast(builder.and_(builder.bitcast(below, whole), kept), EXACT)
        both = builder.fadd(lost, turned(lost, 1, 0, 1, 0))
        revalued = builder.fsub(value, ends)
        half = builder.shuffle_vector(both, revalued, ir.Constant(ir.VectorType(SMALL, ENDS), [0, 1, 0, 7]))
        added = builder.shuffle_vector(lost, half, ir.Constant(ir.VectorType(SMALL, ENDS), [0, 1, 6, 7]))
        return builder.fadd(before, added)

    return LOSSES(before, place, types.float64, types.float64, types.float64), codegen


@intrinsic
def _losses(typing_context: Any, found: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = [builder.extract_element(arguments[0], ir.Constant(SMALL, lane)) for lane in range(ENDS)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(types.float64, ENDS)(found), codegen
