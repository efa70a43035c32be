"""Sums of options from sums of N(d1) and N(d2).

Of a sum of many options the last digits of each forward and strike count and not those of each price, so N(d) is
wanted to a rounding of 1.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from scenarios.backends import normal_nodes, normal_tail
from scenarios.backends.registers import INDEX, LANES, REGISTER, SMALL, fused, spread

# Where a processor can pick numbers from its registers, that is faster than memory.
NORMAL: ModuleType = normal_tail if binding.get_host_cpu_features().get("avx512f", False) else normal_nodes
# What deviations are counted in.
INTERVAL: float = NORMAL.INTERVAL
# The columns of legs that are added up, in the order in which they lie in the room of a kernel.
LOG_MONEYNESS, PER_DEVIATION, HALF, WORTH_GROWN, WORTH_STRIKE = range(5)


@intrinsic(prefer_literal=True)
def leg_sums(typing_context: Any, room: Any, size: Any, first: Any, blocks: Any, log_growth: Any) -> Any:
    """Sums over legs of c F N(c d1) and c K N(c d2), times what each counts, after a move of the forward.

    room        address of five columns of `size` doubles, a literal number, each on a cache line: ln(F/K); c/v and
                c v/2, both per INTERVAL; c F and c K times what a leg counts. c is 1 for a call and -1 for a put
    first       place of the first leg, a multiple of LANES
    blocks      of LANES legs
    log_growth  ln of the growth of the forward, which the first sum is still to be multiplied with
    """
    if not isinstance(size, types.IntegerLiteral):
        return None

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, _, first, count, moved = arguments
        start = builder.gep(start, [first])
        moved = spread(builder, moved)
        sums = [cgutils.alloca_once_value(builder, ir.Constant(REGISTER, [0.0] * LANES)) for _ in range(2)]
        for total in sums:
            builder.store(ir.Constant(REGISTER, [0.0] * LANES), total)
        with cgutils.for_range(builder, count) as loop:

            def column(number: int) -> Any:
                place = builder.add(
                    builder.mul(loop.index, ir.Constant(INDEX, LANES)), ir.Constant(INDEX, number * size.literal_value)
                )
                return builder.load(builder.bitcast(builder.gep(start, [place]), REGISTER.as_pointer()), align=64)

            log_moneyness = builder.fadd(column(LOG_MONEYNESS), moved)
            per_deviation, half = column(PER_DEVIATION), column(HALF)
            deviations = [fused(builder, log_moneyness, per_deviation, shift) for shift in (half, builder.fneg(half))]
            for total, worth, normal in zip(
                sums, (WORTH_GROWN, WORTH_STRIKE), NORMAL.cumulative(builder, deviations), strict=True
            ):
                builder.store(fused(builder, column(worth), normal, builder.load(total)), total)
        added = [_added(builder, builder.load(total)) for total in sums]
        return context.make_tuple(builder, signature.return_type, added)

    return types.UniTuple(types.float64, 2)(room, size, types.int64, types.int64, types.float64), codegen


def _added(builder: Any, register: Any) -> Any:
    """The sum of eight numbers, pair by pair."""
    parts = [builder.extract_element(register, ir.Constant(SMALL, lane)) for lane in range(LANES)]
    while len(parts) > 1:
        parts = [builder.fadd(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]
