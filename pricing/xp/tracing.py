"""Formulas traced into LLVM code: a formula is run once on symbols, and each operation writes its instruction.

Nothing of a formula passes through numba's inference of types, and none of the functions it calls is compiled by
itself, which is most of what compiling a kernel would take. A kernel's own flags for fast mathematics hold in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

DOUBLE, INT64, TRUTH = ir.DoubleType(), ir.IntType(64), ir.IntType(1)
NUMBA_TYPES = {DOUBLE: types.float64, INT64: types.int64, TRUTH: types.boolean}
LLVM_TYPES = {kind: llvm for llvm, kind in NUMBA_TYPES.items()}


def _arithmetic(of_floats: str, of_integers: str | None, swapped: bool = False) -> Any:
    def method(self: Symbol, other: Any) -> Symbol:
        a, b = self.joined(other)
        name = of_floats if a.type == DOUBLE else of_integers
        if name is None or a.type == TRUTH:
            raise TypeError(f"no {of_floats} of {a.type} in a formula")
        return Symbol(self.builder, getattr(self.builder, name)(*((b, a) if swapped else (a, b))))

    return method


def _comparison(operator: str) -> Any:
    def method(self: Symbol, other: Any) -> Symbol:
        a, b = self.joined(other)
        if a.type == DOUBLE:
            compare = self.builder.fcmp_unordered if operator == "!=" else self.builder.fcmp_ordered
            return Symbol(self.builder, compare(operator, a, b))
        return Symbol(self.builder, self.builder.icmp_signed(operator, a, b))

    return method


def _bitwise(name: str) -> Any:
    def method(self: Symbol, other: Any) -> Symbol:
        a, b = self.joined(other)
        return Symbol(self.builder, getattr(self.builder, name)(a, b))

    return method


class Symbol:
    """A double, an integer of 64 bits or a truth value in code that is being written."""

    __slots__ = ("builder", "value")

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def as_float(self) -> ir.Value:
        """The same number as a double."""
        return self.value if self.value.type == DOUBLE else self.builder.sitofp(self.value, DOUBLE)

    def joined(self, other: Any) -> tuple[ir.Value, ir.Value]:
        """This value and another one, or a Python number, in a type for both."""
        if isinstance(other, Symbol):
            if self.value.type == other.value.type:
                return self.value, other.value
            return self.as_float(), other.as_float()
        if isinstance(other, float) or self.value.type == DOUBLE:
            return self.as_float(), ir.Constant(DOUBLE, float(other))
        return self.value, ir.Constant(self.value.type, int(other))

    def __bool__(self) -> bool:
        raise TypeError("a formula is branch-free: where(condition, yes, no) instead of if, and, or, not")

    def __neg__(self) -> Symbol:
        return Symbol(self.builder, self.builder.fneg(self.as_float()))

    def __pow__(self, exponent: float) -> Symbol:
        if exponent != 0.5:
            raise TypeError("the only power in a formula is 0.5")
        root = self.builder.module.declare_intrinsic("llvm.sqrt", [DOUBLE])
        return Symbol(self.builder, self.builder.call(root, [self.as_float()]))

    __hash__ = None  # type: ignore[assignment]
    __add__, __radd__ = _arithmetic("fadd", "add"), _arithmetic("fadd", "add", swapped=True)
    __sub__, __rsub__ = _arithmetic("fsub", "sub"), _arithmetic("fsub", "sub", swapped=True)
    __mul__, __rmul__ = _arithmetic("fmul", "mul"), _arithmetic("fmul", "mul", swapped=True)
    __truediv__, __rtruediv__ = _arithmetic("fdiv", None), _arithmetic("fdiv", None, swapped=True)
    __lt__, __le__, __gt__ = _comparison("<"), _comparison("<="), _comparison(">")
    __ge__, __eq__, __ne__ = _comparison(">="), _comparison("=="), _comparison("!=")
    __and__, __or__ = _bitwise("and_"), _bitwise("or_")
    __rand__, __ror__ = __and__, __or__
    __lshift__, __rshift__ = _bitwise("shl"), _bitwise("ashr")


def where(condition: Any, yes: Any, no: Any) -> Any:
    """One of two numbers; both are computed."""
    if not isinstance(condition, Symbol):
        return yes if condition else no
    builder = condition.builder
    if isinstance(yes, Symbol):
        a, b = yes.joined(no)
    elif isinstance(no, Symbol):
        b, a = no.joined(yes)
    else:
        kind = DOUBLE if isinstance(yes, float) or isinstance(no, float) else INT64
        a, b = ir.Constant(kind, yes), ir.Constant(kind, no)
    return Symbol(builder, builder.select(condition.value, a, b))


def float_bits(x: Symbol | float) -> Any:
    """The bits of a double as an integer."""
    if not isinstance(x, Symbol):
        return int(np.float64(x).view(np.int64))
    return Symbol(x.builder, x.builder.bitcast(x.as_float(), INT64))


def bits_float(x: Symbol) -> Symbol:
    """The double of these bits."""
    return Symbol(x.builder, x.builder.bitcast(x.value, DOUBLE))


def fused(a: Symbol | float, b: Symbol | float, c: Symbol | float) -> Symbol:
    """a b + c, rounded once."""
    builder = next(x.builder for x in (a, b, c) if isinstance(x, Symbol))
    values = [x.as_float() if isinstance(x, Symbol) else ir.Constant(DOUBLE, float(x)) for x in (a, b, c)]
    return Symbol(builder, builder.fma(*values))


def traced(formula: Callable[..., Any], primitives: Any) -> Any:
    """The formula on numbers and tuples of numbers, to be called inside a kernel; where it is given a module, as its
    `xp`, it gets these primitives.
    """

    def typed(_: Any, *given: Any) -> Any:
        kinds = tuple(types.unliteral(kind) for kind in given)

        def written(builder: ir.IRBuilder, values: Sequence[ir.Value]) -> Any:
            return formula(*(_symbols(builder, *pair, primitives) for pair in zip(kinds, values, strict=True)))

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[ir.Value]) -> ir.Value:
            return _packed(context, builder, written(builder, values), signature.return_type)

        # Written into nothing first, to see what comes out.
        block = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), [_llvm_type(k) for k in kinds]), "nothing")
        return _numba_type(written(ir.IRBuilder(block.append_basic_block()), block.args))(*kinds), codegen

    own = inspect.signature(formula)
    first = inspect.Parameter("_", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    typed.__signature__ = own.replace(parameters=[first, *own.parameters.values()])  # type: ignore[attr-defined]
    typed.__name__ = formula.__name__
    return intrinsic(typed)


def _llvm_type(kind: Any) -> ir.Type:
    if isinstance(kind, types.BaseTuple):
        return ir.LiteralStructType([_llvm_type(part) for part in kind])
    return LLVM_TYPES.get(kind, INT64)


def _symbols(builder: ir.IRBuilder, kind: Any, value: ir.Value, primitives: Any) -> Any:
    if isinstance(kind, types.Module):
        return primitives
    if isinstance(kind, types.BaseTuple):
        parts = (builder.extract_value(value, place) for place in range(len(kind)))
        return tuple(_symbols(builder, *pair, primitives) for pair in zip(kind, parts, strict=True))
    if kind not in LLVM_TYPES:
        raise TypeError(f"a formula takes numbers and tuples of numbers, not {kind}")
    return Symbol(builder, value)


def _numba_type(result: Any) -> Any:
    if isinstance(result, tuple):
        return types.BaseTuple.from_types([_numba_type(part) for part in result])
    return NUMBA_TYPES[result.value.type] if isinstance(result, Symbol) else types.float64


def _packed(context: Any, builder: ir.IRBuilder, result: Any, kind: Any) -> ir.Value:
    if isinstance(result, tuple):
        parts = [_packed(context, builder, part, of) for part, of in zip(result, kind, strict=True)]
        return context.make_tuple(builder, kind, parts)
    return result.value if isinstance(result, Symbol) else ir.Constant(DOUBLE, float(result))
