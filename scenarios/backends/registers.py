"""Registers of eight doubles in code that is written for LLVM: what its builder has on single numbers only."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

LANES = 8
DOUBLE, INDEX, SMALL = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
REGISTER, BITS = ir.VectorType(DOUBLE, LANES), ir.VectorType(INDEX, LANES)


def called(builder: Any, name: str, *values: Any) -> Any:
    """What an instruction of LLVM on registers gives."""
    kind = ir.FunctionType(REGISTER, [value.type for value in values])
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), values)


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c of registers, rounded once where the processor does that in one instruction."""
    return called(builder, "llvm.fmuladd.v8f64", a, b, c)


def shuffled(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    """Of the numbers of two registers, one after the other, those at the places."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(SMALL, len(order)), order))


def spread(builder: Any, number: Any) -> Any:
    """A register of a number in all lanes."""
    nothing = ir.Constant(REGISTER, ir.Undefined)
    return shuffled(builder, builder.insert_element(nothing, number, ir.Constant(SMALL, 0)), nothing, [0] * LANES)


def line(builder: Any, start: Any, place: Any) -> Any:
    """The address of the register at a place, a number or a value, after an address."""
    offset = ir.Constant(INDEX, place) if isinstance(place, int) else place
    return builder.bitcast(builder.gep(start, [offset]), REGISTER.as_pointer())


def joined(builder: Any, register: Any, operation: Any) -> Any:
    """In all lanes what an operation on two makes of all of them, pair by pair."""
    for distance in (4, 2, 1):
        register = operation(register, shuffled(builder, register, register, [n ^ distance for n in range(LANES)]))
    return register
