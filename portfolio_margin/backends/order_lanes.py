"""What one position adds to the sums of its account that are no scenarios, in one register; see `order_sums`.

An instrument's first columns in an `OrderTable` fill a cache line, and so one register: they are multiplied with how
much is held and added all at once, each as it counts. Operations beside those of `lanes`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from portfolio_margin.backends.lanes import ALIGNMENT, INDEX, LANES, REGISTER, SMALL, Vector, rint, spread
from portfolio_margin.order_table import COLUMNS, DELTA_TICKS, MAGNITUDE, SHORT_TICKS, VALUE_TICKS

SUMS = Vector(LANES)
# A column counts with the larger of two multiples of what is held: as it is, its magnitude, or what is short of it.
MULTIPLES = {VALUE_TICKS: (1.0, 1.0), DELTA_TICKS: (1.0, 1.0), MAGNITUDE: (1.0, -1.0), SHORT_TICKS: (0.0, -1.0)}
# Of an asset, whose amounts are no whole numbers, products with these are rounded to whole ticks.
ROUNDED = (VALUE_TICKS, DELTA_TICKS)


def _multiples(which: int) -> Any:
    return ir.Constant(REGISTER, [MULTIPLES.get(lane, (0.0, 0.0))[which] for lane in range(LANES)])


def _products(builder: Any, columns: Any, row: Any, held: Any) -> Any:
    start = builder.gep(columns, [builder.mul(row, ir.Constant(INDEX, COLUMNS))])
    line = builder.load(builder.bitcast(start, REGISTER.as_pointer()), align=ALIGNMENT)
    amount = spread(builder, held)
    one, other = (builder.fmul(amount, _multiples(which)) for which in (0, 1))
    return builder.fmul(builder.select(builder.fcmp_ordered(">", one, other), one, other), line)


@intrinsic
def no_terms(typing_context: Any) -> Any:
    """Sums of nothing."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(ir.ArrayType(REGISTER, 1), [ir.Constant(REGISTER, [0.0] * LANES)])

    return SUMS(), codegen


@intrinsic
def add_terms(typing_context: Any, sums: Any, columns: Any, row: Any, held: Any) -> Any:
    """The sums with so many steps of a contract; products and sums are rounded one by one, as plain code has them.

    columns   address of the columns, which begins where a cache line does
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, columns, row, held = arguments
        added = builder.fadd(builder.extract_value(sums, 0), _products(builder, columns, row, held))
        return builder.insert_value(sums, added, 0)

    return SUMS(SUMS, columns, types.int64, types.float64), codegen


@intrinsic
def add_asset_terms(typing_context: Any, sums: Any, columns: Any, row: Any, held: Any) -> Any:
    """The sums with an amount of an asset, whose value and delta are rounded to whole ticks."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, columns, row, held = arguments
        products = _products(builder, columns, row, held)
        whole = builder.call(rint(builder.module), [products])
        bits = [ir.Constant(ir.IntType(1), lane in ROUNDED) for lane in range(LANES)]
        mask = ir.Constant(ir.VectorType(ir.IntType(1), LANES), bits)
        added = builder.fadd(builder.extract_value(sums, 0), builder.select(mask, whole, products))
        return builder.insert_value(sums, added, 0)

    return SUMS(SUMS, columns, types.int64, types.float64), codegen


@intrinsic
def terms_of(typing_context: Any, sums: Any) -> Any:
    """Value, delta, floor of what is short, and sum of magnitudes, in ticks."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        register = builder.extract_value(arguments[0], 0)
        lanes = (VALUE_TICKS, DELTA_TICKS, SHORT_TICKS, MAGNITUDE)
        numbers = [builder.extract_element(register, ir.Constant(SMALL, lane)) for lane in lanes]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(types.float64, 4)(SUMS), codegen


@intrinsic
def word(typing_context: Any, columns: Any, place: Any) -> Any:
    """The bits of a number, which are compared without the units that sum; the same of equal labels of rows."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.bitcast(builder.gep(arguments[0], [arguments[1]]), INDEX.as_pointer()))

    return types.int64(columns, place), codegen
