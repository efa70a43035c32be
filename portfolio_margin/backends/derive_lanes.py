"""What one expiry adds to the scenarios of its account under Derive's rules, in registers; see `derive_numba`.

Operations on the vectors of `lanes`. Columns are: the scenarios from the first lane on, and in the last four the two
basis moves, the value as the venue marks it and the value in the arrays. What lies between is not used.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from portfolio_margin.backends.lanes import DOUBLE, INDEX, LANES, REGISTER, SMALL, Vector, registers, spread
from pricing.arrays import BoolArray, FloatArray

# Up, down, marked, in the arrays.
ENDS = 4
BITS = ir.VectorType(INDEX, LANES)


class Operations(NamedTuple):
    """What the kernel does with vectors of one width.

    opened(factors)      the gains of an account before its first expiry
    ends(total)          the last four lanes
    folded(gains, total, factors, tick, marked, again, long, short)
                         gains with those of an expiry worth `marked`, which sums of ticks `total` are of: by scenario,
                         with `shocked` = (total * tick + marked) * again and `discount` = long where that is above 0,
                         else short, (shocked * discount - marked * again) * dampening; of a tilt minus its magnitude
    folded_plain(gains, total, factors, tick)
                         the same without discounts: total * tick * dampening
    """

    opened: Any
    ends: Any
    folded: Any
    folded_plain: Any


def width_of(scenarios: int) -> int:
    """Lanes that hold so many scenarios and what else there is."""
    return -(-(scenarios + ENDS) // LANES) * LANES


def columns_of(rows: FloatArray, scenarios: int) -> FloatArray:
    """(N,W) rows (N, scenarios + ENDS) with their ends in the last lanes."""
    laid = np.zeros((len(rows), width_of(scenarios)))
    laid[:, :scenarios], laid[:, -ENDS:] = rows[:, :scenarios], rows[:, scenarios:]
    return laid


def factors_of(dampening: FloatArray, tilt: BoolArray) -> FloatArray:
    """(3,W) dampening, sign bits that tilts set, and gains to begin with: lanes of no scenario are never the lowest."""
    scenarios = len(dampening)
    factors = np.zeros((3, width_of(scenarios)))
    factors[0, :scenarios] = dampening
    factors[1, :scenarios] = np.where(tilt, -0.0, 0.0)
    factors[2, scenarios:] = np.inf
    return factors


@functools.cache
def operations(width: int) -> Operations:
    """The operations on vectors of a width, a multiple of LANES."""
    return Operations(_opened(width), _ends(width), _folded(width), _folded_plain(width))


def _load(builder: Any, start: Any, place: int) -> Any:
    line = builder.bitcast(builder.gep(start, [ir.Constant(INDEX, place)]), REGISTER.as_pointer())
    return builder.load(line, align=LANES)


def _opened(width: int) -> Any:
    @intrinsic
    def opened(typing_context: Any, factors: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            gains = ir.Constant(ir.ArrayType(REGISTER, width // LANES), ir.Undefined)
            for number, column in registers(width):
                start = _load(builder, arguments[0], 2 * width + column)
                gains = builder.insert_value(gains, start, number)
            return gains

        return Vector(width)(factors), codegen

    return opened


def _ends(width: int) -> Any:
    @intrinsic
    def ends(typing_context: Any, total: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            last = builder.extract_value(arguments[0], width // LANES - 1)
            lanes = [ir.Constant(SMALL, lane) for lane in range(LANES - ENDS, LANES)]
            return context.make_tuple(
                builder, signature.return_type, [builder.extract_element(last, lane) for lane in lanes]
            )

        return types.UniTuple(types.float64, ENDS)(total), codegen

    return ends


def _add_gains(builder: Any, gains: Any, factors: Any, counted: Any, width: int) -> Any:
    """Gains plus what `counted` returns of each register, with signs and dampening."""
    for number, column in registers(width):
        added = counted(number)
        signs = builder.bitcast(_load(builder, factors, width + column), BITS)
        signed = builder.bitcast(builder.or_(builder.bitcast(added, BITS), signs), REGISTER)
        product = builder.fmul(signed, _load(builder, factors, column))
        gains = builder.insert_value(gains, builder.fadd(builder.extract_value(gains, number), product), number)
    return gains


def _folded(width: int) -> Any:
    @intrinsic
    def folded(
        typing_context: Any, gains: Any, total: Any, factors: Any, tick: Any, marked: Any, again: Any, long: Any,
        short: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            gains, total, factors, *numbers = arguments
            tick, marked, again, long, short = (spread(builder, number) for number in numbers)
            value, zero = builder.fmul(marked, again), ir.Constant(REGISTER, [0.0] * LANES)

            def counted(number: int) -> Any:
                moved = builder.fmul(builder.extract_value(total, number), tick)
                shocked = builder.fmul(builder.fadd(moved, marked), again)
                discount = builder.select(builder.fcmp_ordered(">", shocked, zero), long, short)
                return builder.fsub(builder.fmul(discount, shocked), value)

            return _add_gains(builder, gains, factors, counted, width)

        return gains(gains, total, factors, tick, marked, again, long, short), codegen

    return folded


def _folded_plain(width: int) -> Any:
    @intrinsic
    def folded_plain(typing_context: Any, gains: Any, total: Any, factors: Any, tick: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            gains, total, factors, tick = arguments
            steps = spread(builder, tick)

            def counted(number: int) -> Any:
                return builder.fmul(builder.extract_value(total, number), steps)

            return _add_gains(builder, gains, factors, counted, width)

        return gains(gains, total, factors, tick), codegen

    return folded_plain
