"""The cumulative normal from its tail and its density at nodes in memory, by the series around the nearest of them.

The tail Q(z) = N(-z), z >= 0, is Q(z0) - phi(z0) d S(z0 d, d^2) at z = z0 + d, S being a polynomial, as He_n(z0) d^n is
one of z0 d and d^2 (Abramowitz and Stegun 1964, 22.3.11 and section 26.2). Nodes lie so close that few powers do; they
take 9 kB, which the first cache holds, and both numbers of a node are one load. Eight coefficients an interval instead
would halve the products, but to turn what is loaded lane by lane into registers takes longer than that. At the last
node both numbers are 0, as the tail is to all digits of 1 from there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir

from pricing.arrays import FloatArray
from pricing.xp.arithmetic import ROUND_MAGIC
from scenarios.backends.registers import BITS, DOUBLE, LANES, REGISTER, SMALL, called, fused, shuffled

# Nodes are whole multiples of INTERVAL. The first power that is left out is beyond all digits.
INTERVAL, NODES, ORDER = 1.0 / 64.0, 536, 5
# Bits of a place, and the bytes of a node as a power of two.
PLACES, NODE_SHIFT = (1 << NODES.bit_length()) - 1, 4
TABLE, NODE = ir.ArrayType(DOUBLE, 2 * NODES), ir.VectorType(DOUBLE, 2)


def node_values() -> FloatArray:
    """(NODES, 2) Q(z) and -INTERVAL phi(z) at INTERVAL times the place of a node."""
    table = np.zeros((NODES, 2))
    for place in range(NODES - 1):
        z = INTERVAL * place
        density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        table[place] = 0.5 * math.erfc(z / math.sqrt(2.0)), -INTERVAL * density
    return table


def series() -> list[list[float]]:
    """What k^m r^m r^2n counts in S, r being the distance from node k per INTERVAL: rows of n, in them m from 0 up."""
    return [
        [
            (-(INTERVAL**2)) ** (m + n) / ((m + 2 * n + 1) * math.factorial(m) * math.factorial(n) * 2.0**n)
            for m in range(ORDER - 2 * n + 1)
        ]
        for n in range(ORDER // 2 + 1)
    ]


def cumulative(builder: Any, deviations: list[Any]) -> list[Any]:
    """N(d) of registers of numbers, given per INTERVAL."""
    return [_cumulative(builder, deviation) for deviation in deviations]


def _cumulative(builder: Any, deviation: Any) -> Any:
    far, magic, one, zero = (ir.Constant(REGISTER, [number] * LANES) for number in (NODES - 1.0, ROUND_MAGIC, 1.0, 0.0))
    magnitude = called(builder, "llvm.fabs.v8f64", deviation)
    magnitude = builder.select(builder.fcmp_ordered("<", magnitude, far), magnitude, far)
    # The nearest whole number is in the low bits of the sum.
    shifted = builder.fadd(magnitude, magic)
    tail, slope = _looked_up(builder, builder.bitcast(shifted, BITS))
    place = builder.fsub(shifted, magic)
    rest = builder.fsub(magnitude, place)
    product, square = builder.fmul(place, rest), builder.fmul(rest, rest)
    total = None
    for row in reversed(series()):
        inner = ir.Constant(REGISTER, [row[-1]] * LANES)
        for number in reversed(row[:-1]):
            inner = fused(builder, inner, product, ir.Constant(REGISTER, [number] * LANES))
        total = inner if total is None else fused(builder, total, square, inner)
    tail = fused(builder, builder.fmul(slope, rest), total, tail)
    return builder.select(builder.fcmp_ordered("<", deviation, zero), tail, builder.fsub(one, tail))


def _looked_up(builder: Any, bits: Any) -> tuple[Any, Any]:
    """Both numbers of the nodes whose places stand in the low bits."""
    places = builder.and_(bits, ir.Constant(BITS, [PLACES] * LANES))
    offsets = builder.shl(places, ir.Constant(BITS, [NODE_SHIFT] * LANES))
    start = builder.bitcast(_table(builder.module), ir.IntType(8).as_pointer())
    nodes = []
    for lane in range(LANES):
        node = builder.gep(start, [builder.extract_element(offsets, ir.Constant(SMALL, lane))])
        nodes.append(builder.load(builder.bitcast(node, NODE.as_pointer()), align=16))
    # Nodes two lanes apart first, as registers of 256 bits are put together.
    pairs = [shuffled(builder, nodes[lane], nodes[lane + 2], [0, 1, 2, 3]) for lane in (0, 1, 4, 5)]
    found = []
    for order in ([0, 4, 2, 6], [1, 5, 3, 7]):
        low, high = shuffled(builder, pairs[0], pairs[1], order), shuffled(builder, pairs[2], pairs[3], order)
        found.append(shuffled(builder, low, high, list(range(LANES))))
    return found[0], found[1]


def _table(module: Any) -> Any:
    """The constant of a module that holds `node_values`."""
    name = "normal_nodes"
    if name in module.globals:
        return module.globals[name]
    table = ir.GlobalVariable(module, TABLE, name)
    table.initializer = ir.Constant(TABLE, node_values().ravel().tolist())
    table.linkage, table.global_constant, table.align = "internal", True, 64
    return table
