"""Arithmetic, comparisons and elementwise functions, with PyTorch's broadcasting and promotion."""

from __future__ import annotations

import functools
from typing import Any

from .. import _core, dtypes
from ..dispatch import apply
from ..dtypes import DType, promote, promote_scalar
from ..errors import DTypeError, Error
from ..location import user_location
from ..tensor import Tensor
from .creation import exact, full, number_dtype

Number = bool | int | float
Operand = Any  # a Tensor, a number, or an array


@functools.cache
def _takes(op: str, dtype: str) -> bool:
    return dtype in _core.describe_op(op)["inputs"][0]["dtypes"]


def _is_number(x: object) -> bool:
    return isinstance(x, (bool, int, float))


def _tensor(x: Operand) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def cast(x: Tensor, dtype: DType) -> Tensor:
    return x if x.dtype is dtype else apply("cast", x, dtype=dtype.name)


def _result_dtype(a: Tensor, b: Tensor) -> DType:
    """Promotion of two tensors: beside one with dims a 0-d one only raises the category, as a number does."""
    if (a.ndim == 0) == (b.ndim == 0):
        return promote(a.dtype, b.dtype)
    with_dims, without = (b, a) if a.ndim == 0 else (a, b)
    raises = without.dtype.category > with_dims.dtype.category
    return without.dtype if raises else with_dims.dtype


def _pair(a: Operand, b: Operand, to_float: bool = False) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of one dtype; a number becomes a 0-d constant."""
    if _is_number(a):
        b = _tensor(b)
        dtype = promote_scalar(b.dtype, a)
    elif _is_number(b):
        a = _tensor(a)
        dtype = promote_scalar(a.dtype, b)
    else:
        a, b = _tensor(a), _tensor(b)
        dtype = _result_dtype(a, b)
    if to_float and not dtype.is_floating_point:
        dtype = dtypes.float32
    left = full((), a, dtype=dtype) if _is_number(a) else cast(a, dtype)
    right = full((), b, dtype=dtype) if _is_number(b) else cast(b, dtype)
    return left, right


def _with_number(op: str, x: Tensor, number: Number) -> Tensor | None:
    """x op number through add_scalar or mul_scalar where the dtypes allow."""
    dtype = promote_scalar(x.dtype, number)
    if not _takes(op, dtype.name):
        return None
    return apply(op, cast(x, dtype), value=exact(number))


def add(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """input + alpha * other."""
    if alpha != 1:
        other = mul(other, alpha)
    if _is_number(input):
        input, other = other, input
    if _is_number(other):
        result = _with_number("add_scalar", _tensor(input), other)
        if result is not None:
            return result
    return apply("add", *_pair(input, other))


def sub(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """input - alpha * other."""
    if alpha != 1:
        other = mul(other, alpha)
    if _is_number(other) and not isinstance(other, bool):
        return add(input, -other)
    if _is_number(input):
        return add(neg(_tensor(other)), input)
    return apply("sub", *_pair(input, other))


def mul(input: Operand, other: Operand) -> Tensor:
    if _is_number(input):
        input, other = other, input
    if _is_number(other):
        result = _with_number("mul_scalar", _tensor(input), other)
        if result is not None:
            return result
    return apply("mul", *_pair(input, other))


def div(input: Operand, other: Operand) -> Tensor:
    """True division: the result is floating."""
    if _is_number(other) and other != 0:
        return mul(cast_to_float(_tensor(input)), 1.0 / other)
    return apply("div", *_pair(input, other, to_float=True))


def cast_to_float(x: Tensor) -> Tensor:
    return x if x.dtype.is_floating_point else cast(x, dtypes.float32)


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input ** exponent for a number as the exponent; integers stay integers for an integer exponent."""
    if not _is_number(exponent):
        raise DTypeError("pow takes a number as its exponent", user_location())
    x = _tensor(input)
    if isinstance(exponent, int) and not x.dtype.is_floating_point:
        return _integer_power(x if x.dtype is not dtypes.bool_ else cast(x, dtypes.int64), exponent)
    x = cast_to_float(x)
    if exponent == 1:
        return x
    if exponent == 2:
        return square(x)
    if exponent == 0.5:
        return sqrt(x)
    if exponent == -0.5:
        return rsqrt(x)
    return apply("pow_scalar", x, value=float(exponent))


def _integer_power(x: Tensor, exponent: int) -> Tensor:
    """By squaring: wraps as integer products do."""
    if exponent < 0:
        raise DTypeError(
            f"integers to the power {exponent} are no integers; use .float()", user_location()
        )
    result: Tensor | None = None
    while exponent:
        if exponent & 1:
            result = x if result is None else mul(result, x)
        exponent >>= 1
        x = mul(x, x) if exponent else x
    return full(x.shape, 1, dtype=x.dtype) if result is None else result


def maximum(input: Operand, other: Operand) -> Tensor:
    return apply("maximum", *_pair(input, other))


def minimum(input: Operand, other: Operand) -> Tensor:
    return apply("minimum", *_pair(input, other))


def eq(input: Operand, other: Operand) -> Tensor:
    return apply("eq", *_pair(input, other))


def ne(input: Operand, other: Operand) -> Tensor:
    return apply("ne", *_pair(input, other))


def lt(input: Operand, other: Operand) -> Tensor:
    return apply("lt", *_pair(input, other))


def le(input: Operand, other: Operand) -> Tensor:
    return apply("le", *_pair(input, other))


def gt(input: Operand, other: Operand) -> Tensor:
    return apply("gt", *_pair(input, other))


def ge(input: Operand, other: Operand) -> Tensor:
    return apply("ge", *_pair(input, other))


def logical_and(input: Operand, other: Operand) -> Tensor:
    left, right = _tensor(input), _tensor(other)
    return apply("logical_and", cast(left, dtypes.bool_), cast(right, dtypes.bool_))


def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """What `&` means: of bools `logical_and`; bits of integers have no op."""
    left, right = _tensor(input), _tensor(other)
    if left.dtype is not dtypes.bool_ or right.dtype is not dtypes.bool_:
        raise DTypeError(
            f"& of {left.dtype!r} and {right.dtype!r}: only bools; logical_and takes any numbers",
            user_location(),
        )
    return logical_and(left, right)


def where(condition: Tensor, input: Operand, other: Operand) -> Tensor:
    """`input` where `condition` holds, `other` elsewhere, element by element."""
    if _is_number(input) and _is_number(other):
        dtype = max(number_dtype(input), number_dtype(other), key=lambda dtype: dtype.rank)
        a, b = full((), input, dtype=dtype), full((), other, dtype=dtype)
    else:
        a, b = _pair(input, other)
    return apply("where", _tensor(condition), a, b)


def masked_fill(input: Tensor, mask: Tensor, value: Number) -> Tensor:
    return where(mask, full((), value, dtype=input.dtype), input)


def neg(input: Tensor) -> Tensor:
    return apply("neg", input)


def abs(input: Tensor) -> Tensor:
    return apply("abs", input)


def exp(input: Tensor) -> Tensor:
    return apply("exp", cast_to_float(input))


def log(input: Tensor) -> Tensor:
    return apply("log", cast_to_float(input))


def sqrt(input: Tensor) -> Tensor:
    return apply("sqrt", cast_to_float(input))


def rsqrt(input: Tensor) -> Tensor:
    return apply("rsqrt", cast_to_float(input))


def tanh(input: Tensor) -> Tensor:
    return apply("tanh", cast_to_float(input))


def sigmoid(input: Tensor) -> Tensor:
    return apply("sigmoid", cast_to_float(input))


def relu(input: Tensor) -> Tensor:
    return apply("relu", input)


def square(input: Tensor) -> Tensor:
    if not _takes("square", input.dtype.name):
        return mul(input, input)
    return apply("square", input)


def clamp(input: Tensor, min: Number | None = None, max: Number | None = None) -> Tensor:
    """Elements below `min` become `min`, those above `max` become `max`."""
    if min is None and max is None:
        raise Error("clamp needs min= or max=", user_location())
    result = input
    if min is not None:
        result = maximum(result, min)
    if max is not None:
        result = minimum(result, max)
    return result


__all__ = [
    "abs",
    "add",
    "cast",
    "clamp",
    "div",
    "eq",
    "exp",
    "ge",
    "gt",
    "le",
    "log",
    "logical_and",
    "lt",
    "masked_fill",
    "maximum",
    "minimum",
    "mul",
    "ne",
    "neg",
    "pow",
    "relu",
    "rsqrt",
    "sigmoid",
    "sqrt",
    "square",
    "sub",
    "tanh",
    "where",
]
