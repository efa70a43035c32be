"""What one expiry adds to the scenarios of its account under Derive's rules, in registers; see `derive_numba`.

Operations on the vectors of `lanes`. Columns are: the scenarios from the first lane on, and in the last four the two
basis moves, the value as the venue marks it and the value in the arrays. What lies between is not used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from portfolio_margin.backends.lanes import INDEX, LANES, REGISTER, SMALL, Vector, registers, spread
from portfolio_margin.backends.lanes import operations as lanes_of
from pricing.arrays import BoolArray, FloatArray

# Up, down, marked, in the arrays.
ENDS = 4
BITS = ir.VectorType(INDEX, LANES)


class Operations(NamedTuple):
    """What the kernel does with sums of a width, and with gains of as many registers as hold a scenario.

    opened(factors)      the gains of an account before its first expiry
    ends(total)          the last four lanes
    folded(gains, total, factors, special, tick, marked, long, short, again)
                         gains with those of an expiry worth `marked`, which sums of ticks `total` are of: by scenario,
                         with `shocked` = (total * tick + marked) * again and `discount` = long where that is above 0,
                         else short, (shocked * discount - marked * again) * dampening; of a tilt minus its magnitude.
                         `special` has the bits of the registers with scenarios that are damped or tilts
    folded_at_one(..., short)      the same with `again` 1
    folded_plain(gains, total, factors, special, tick)   the same without discounts: total * tick * dampening
    lowest(gains)        smallest gain and its first place
    """

    opened: Any
    ends: Any
    folded: Any
    folded_at_one: Any
    folded_plain: Any
    lowest: Any


def width_of(scenarios: int) -> int:
    """Lanes that hold so many scenarios and what else there is."""
    return -(-(scenarios + ENDS) // LANES) * LANES


def columns_of(rows: FloatArray, scenarios: int) -> FloatArray:
    """(N,W) rows (N, scenarios + ENDS) with their ends in the last lanes."""
    laid = np.zeros((len(rows), width_of(scenarios)))
    laid[:, :scenarios], laid[:, -ENDS:] = rows[:, :scenarios], rows[:, scenarios:]
    return laid


def folded_width(scenarios: int) -> int:
    """Lanes of the registers that hold a scenario."""
    return -(-scenarios // LANES) * LANES


def factors_of(dampening: FloatArray, tilt: BoolArray) -> tuple[FloatArray, int]:
    """(3,F) dampening, sign bits that tilts set, and gains to begin with: lanes of no scenario are never the lowest.

    And the bits of the registers with scenarios that are damped or tilts.
    """
    scenarios = len(dampening)
    factors = np.zeros((3, folded_width(scenarios)))
    factors[0] = 1.0
    factors[0, :scenarios] = dampening
    factors[1, :scenarios] = np.where(tilt, -0.0, 0.0)
    factors[2, scenarios:] = np.inf
    usual = (factors[0] == 1.0) & ~np.signbit(factors[1])
    special = ~usual.reshape(-1, LANES).all(axis=1)
    return factors, int(special @ 2 ** np.arange(len(special)))


@functools.cache
def operations(width: int, folded: int) -> Operations:
    """The operations on sums of a width and gains of another, multiples of LANES."""
    return Operations(
        _opened(folded), _ends(width), _folded(folded, True), _folded(folded, False), _folded_plain(folded),
        lanes_of(folded).lowest,
    )  # fmt: skip


def _load(builder: Any, start: Any, place: int) -> Any:
    line = builder.bitcast(builder.gep(start, [ir.Constant(INDEX, place)]), REGISTER.as_pointer())
    return builder.load(line, align=LANES)


def _opened(folded: int) -> Any:
    @intrinsic
    def opened(typing_context: Any, factors: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            gains = ir.Constant(ir.ArrayType(REGISTER, folded // LANES), ir.Undefined)
            for number, column in registers(folded):
                start = _load(builder, arguments[0], 2 * folded + column)
                gains = builder.insert_value(gains, start, number)
            return gains

        return Vector(folded)(factors), codegen

    return opened


def _ends(width: int) -> Any:
    @intrinsic
    def ends(typing_context: Any, total: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            last = builder.extract_value(arguments[0], width // LANES - 1)
            places = [ir.Constant(SMALL, lane) for lane in range(LANES - ENDS, LANES)]
            numbers = [builder.extract_element(last, place) for place in places]
            return context.make_tuple(builder, signature.return_type, numbers)

        return types.UniTuple(types.float64, ENDS)(total), codegen

    return ends


def _add_gains(builder: Any, given: Any, counted: Callable[[int], Any], folded: int) -> Any:
    """Gains plus what `counted` returns of each register, with signs and dampening where there are any."""
    gains, factors, special = given
    for number, column in registers(folded):
        usual, before = counted(number), builder.block
        bit = builder.and_(special, ir.Constant(INDEX, 1 << number))
        with builder.if_then(builder.icmp_unsigned("!=", bit, ir.Constant(INDEX, 0)), likely=False):
            signs = builder.bitcast(_load(builder, factors, folded + column), BITS)
            signed = builder.bitcast(builder.or_(builder.bitcast(usual, BITS), signs), REGISTER)
            damped, after = builder.fmul(signed, _load(builder, factors, column)), builder.block
        added = builder.phi(REGISTER)
        added.add_incoming(usual, before)
        added.add_incoming(damped, after)
        gains = builder.insert_value(gains, builder.fadd(builder.extract_value(gains, number), added), number)
    return gains


def _shocked(builder: Any, total: Any, numbers: list[Any], restated: bool) -> Callable[[int], Any]:
    tick, marked, long, short, *again = (spread(builder, number) for number in numbers)
    value, zero = builder.fmul(marked, again[0]) if restated else marked, ir.Constant(REGISTER, [0.0] * LANES)

    def counted(number: int) -> Any:
        shocked = builder.fadd(builder.fmul(builder.extract_value(total, number), tick), marked)
        if restated:
            shocked = builder.fmul(shocked, again[0])
        discount = builder.select(builder.fcmp_ordered(">", shocked, zero), long, short)
        return builder.fsub(builder.fmul(discount, shocked), value)

    return counted


def _folded(width: int, restated: bool) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        gains, total, factors, special, *numbers = arguments
        counted = _shocked(builder, total, numbers, restated)
        return _add_gains(builder, (gains, factors, special), counted, width)

    @intrinsic
    def folded(
        typing_context: Any, gains: Any, total: Any, factors: Any, special: Any, tick: Any, marked: Any, long: Any,
        short: Any, again: Any,
    ) -> Any:  # fmt: skip
        return gains(gains, total, factors, special, tick, marked, long, short, again), codegen

    @intrinsic
    def folded_at_one(
        typing_context: Any, gains: Any, total: Any, factors: Any, special: Any, tick: Any, marked: Any, long: Any,
        short: Any,
    ) -> Any:  # fmt: skip
        return gains(gains, total, factors, special, tick, marked, long, short), codegen

    return folded if restated else folded_at_one


def _folded_plain(width: int) -> Any:
    @intrinsic
    def folded_plain(typing_context: Any, gains: Any, total: Any, factors: Any, special: Any, tick: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            gains, total, factors, special, tick = arguments
            steps = spread(builder, tick)

            def counted(number: int) -> Any:
                return builder.fmul(builder.extract_value(total, number), steps)

            return _add_gains(builder, (gains, factors, special), counted, width)

        return gains(gains, total, factors, special, tick), codegen

    return folded_plain
