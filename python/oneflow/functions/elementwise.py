"""Arithmetic, comparisons and elementwise functions, with PyTorch's broadcasting and promotion."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
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
    """The elements in another dtype; `x` itself if it has that already. To integers fractions are cut off."""
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
    if (
        isinstance(a, Tensor)
        and isinstance(b, Tensor)
        and a._dtype is b._dtype
        and (not to_float or a._dtype.is_floating_point)
    ):
        return a, b  # by far the most calls: no rule of promotion to look up
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


def _times_alpha(name: str, input: Operand, other: Operand, alpha: Number) -> Operand:
    """alpha * other; integers are not multiplied by a fraction."""
    if alpha == 1 and not isinstance(alpha, bool):
        return other
    left, _ = _pair(input, other)
    if isinstance(alpha, float) and not left.dtype.is_floating_point:
        raise DTypeError(
            f"{name}: alpha={alpha} of {left.dtype!r}: integers take an integer; convert with .float()",
            user_location(),
        )
    return mul(other, alpha)


def add(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """input + alpha * other."""
    if type(alpha) is not int or alpha != 1:
        other = _times_alpha("add", input, other, alpha)
    return _commutative("add", "logical_or", input, other)


def _commutative(op: str, of_bools: str, input: Operand, other: Operand) -> Tensor:
    """`op` or, of a tensor and a number, `op`_scalar; of two bools the logical op that has its numbers."""
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        if input._dtype is other._dtype and input._dtype is not dtypes.bool_:
            return apply(op, input, other)  # by far the most calls
    else:
        if _is_number(input):
            input, other = other, input
        if _is_number(other):
            result = _with_number(f"{op}_scalar", _tensor(input), other)
            if result is not None:
                return result
    return _of_bools_too(op, of_bools, input, other)


def _of_bools_too(op: str, of_bools: str, input: Operand, other: Operand) -> Tensor:
    """`op`, which of two bools is the logical op that has its numbers."""
    left, right = _pair(input, other)
    return apply(of_bools if left._dtype is dtypes.bool_ else op, left, right)


def sub(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """input - alpha * other. Bools have no difference: use `^` or logical_not."""
    for operand in (input, other):
        if isinstance(operand, bool) or getattr(operand, "dtype", None) is dtypes.bool_:
            raise DTypeError(
                "sub: a bool has no difference; use `^`, logical_not(), or convert with .int()",
                user_location(),
            )
    other = _times_alpha("sub", input, other, alpha)
    if _is_number(other) and not isinstance(other, bool):
        return add(input, -other)
    if _is_number(input):
        return add(neg(_tensor(other)), input)
    return apply("sub", *_pair(input, other))


def mul(input: Operand, other: Operand) -> Tensor:
    """input * other, broadcast."""
    return _commutative("mul", "logical_and", input, other)


def div(input: Operand, other: Operand) -> Tensor:
    """True division: the result is floating."""
    if _is_number(other) and other != 0:
        return mul(cast_to_float(_tensor(input)), 1.0 / other)
    return apply("div", *_pair(input, other, to_float=True))


def cast_to_float(x: Tensor) -> Tensor:
    """`x` in float32, or as it is if it is floating."""
    return x if x.dtype.is_floating_point else cast(x, dtypes.float32)


def pow(input: Operand, exponent: Operand) -> Tensor:
    """input ** exponent; integers stay integers for an integer number as exponent."""
    if not _is_number(exponent):
        left, right = _pair(input, exponent)
        if not left.dtype.is_floating_point:
            raise DTypeError(
                "pow of integers to integer tensors has no op; convert with .float()",
                user_location(),
            )
        return apply("pow", left, right)
    x = _tensor(input)
    if isinstance(exponent, int) and not x.dtype.is_floating_point:
        return _integer_power(x if x.dtype is not dtypes.bool_ else cast(x, dtypes.int64), exponent)
    x = cast_to_float(x)
    if exponent == 1:
        return x.clone()
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


def floor_divide(input: Operand, other: Operand) -> Tensor:
    """input / other rounded down, in the promoted dtype: what `//` means."""
    return apply("floor_divide", *_pair(input, other))


def remainder(input: Operand, other: Operand) -> Tensor:
    """The rest of input / other rounded down, with the sign of `other`: what `%` means."""
    return apply("remainder", *_pair(input, other))


def fmod(input: Operand, other: Operand) -> Tensor:
    """The rest of input / other cut towards zero, with the sign of `input`."""
    return apply("fmod", *_pair(input, other))


def atan2(input: Operand, other: Operand) -> Tensor:
    """The angle of the point (other, input), in (-pi, pi]."""
    return apply("atan2", *_pair(input, other, to_float=True))


def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of two elements, broadcast; nan where one is nan."""
    return _of_bools_too("maximum", "logical_or", input, other)


def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of two elements, broadcast; nan where one is nan."""
    return _of_bools_too("minimum", "logical_and", input, other)


def eq(input: Operand, other: Operand) -> Tensor:
    """input == other, broadcast, as bool; nan equals nothing."""
    return apply("eq", *_pair(input, other))


def ne(input: Operand, other: Operand) -> Tensor:
    """input != other, broadcast, as bool; nan differs from all."""
    return apply("ne", *_pair(input, other))


def lt(input: Operand, other: Operand) -> Tensor:
    """input < other, broadcast, as bool; False beside nan."""
    return apply("lt", *_pair(input, other))


def le(input: Operand, other: Operand) -> Tensor:
    """input <= other, broadcast, as bool; False beside nan."""
    return apply("le", *_pair(input, other))


def gt(input: Operand, other: Operand) -> Tensor:
    """input > other, broadcast, as bool; False beside nan."""
    return apply("gt", *_pair(input, other))


def ge(input: Operand, other: Operand) -> Tensor:
    """input >= other, broadcast, as bool; False beside nan."""
    return apply("ge", *_pair(input, other))


def logical_and(input: Operand, other: Operand) -> Tensor:
    """True where both are not zero, broadcast."""
    return apply("logical_and", *_pair(input, other))


def logical_or(input: Operand, other: Operand) -> Tensor:
    """True where one is not zero, broadcast."""
    return apply("logical_or", *_pair(input, other))


def logical_xor(input: Operand, other: Operand) -> Tensor:
    """True where exactly one is not zero, broadcast."""
    return apply("logical_xor", *_pair(input, other))


def logical_not(input: Tensor) -> Tensor:
    """True where an element is 0."""
    return eq(input, False if input.dtype is dtypes.bool_ else 0)


def _bits(op: str, sign: str, input: Operand, other: Operand) -> Tensor:
    left, right = _pair(input, other)
    if left.dtype.is_floating_point:
        raise DTypeError(
            f"{sign} of {left.dtype!r}: only bools and integers; compare first, as in `x > 0`",
            user_location(),
        )
    return apply(op, left, right)


def bitwise_and(input: Operand, other: Operand) -> Tensor:
    """What `&` means: of bools `logical_and`, of integers their bits."""
    return _bits("bitwise_and", "&", input, other)


def bitwise_or(input: Operand, other: Operand) -> Tensor:
    """What `|` means: of bools `logical_or`, of integers their bits."""
    return _bits("bitwise_or", "|", input, other)


def bitwise_xor(input: Operand, other: Operand) -> Tensor:
    """What `^` means: of bools `logical_xor`, of integers their bits."""
    return _bits("bitwise_xor", "^", input, other)


def bitwise_not(input: Tensor) -> Tensor:
    """What `~` means: of bools `logical_not`, of integers their bits."""
    if input.dtype is dtypes.bool_:
        return logical_not(input)
    return bitwise_xor(input, 255 if input.dtype is dtypes.uint8 else -1)


def isnan(input: Tensor) -> Tensor:
    """True where an element is nan; False everywhere for integers."""
    return ne(input, input)


def isinf(input: Tensor) -> Tensor:
    """True where an element is inf or -inf; False everywhere for integers."""
    if not input.dtype.is_floating_point:
        return full(input.shape, False, dtype=dtypes.bool_)
    return eq(abs(input), math.inf)


def isfinite(input: Tensor) -> Tensor:
    """True where an element is neither nan nor infinite; True everywhere for integers."""
    if not input.dtype.is_floating_point:
        return full(input.shape, True, dtype=dtypes.bool_)
    return lt(abs(input), math.inf)


def where(condition: Tensor, input: Operand, other: Operand) -> Tensor:
    """`input` where `condition` holds, `other` elsewhere, element by element."""
    if _is_number(input) and _is_number(other):
        dtype = max(number_dtype(input), number_dtype(other), key=lambda dtype: dtype.rank)
        a, b = full((), input, dtype=dtype), full((), other, dtype=dtype)
    else:
        a, b = _pair(input, other)
    return apply("where", _tensor(condition), a, b)


def masked_fill(input: Tensor, mask: Tensor, value: Number) -> Tensor:
    """`value` where the bool `mask` is True, `input` elsewhere; broadcast, in the dtype of `input`."""
    return where(mask, full((), value, dtype=input.dtype), input)


def lerp(input: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """input + weight * (end - input); floating tensors of one dtype."""
    tensors = [x for x in (input, end, weight) if isinstance(x, Tensor)]
    if any(x.dtype is not input.dtype or not x.dtype.is_floating_point for x in tensors):
        raise DTypeError(
            f"lerp takes floating tensors of one dtype, not {[x.dtype for x in tensors]}; convert "
            "with .to(dtype)",
            user_location(),
        )
    return add(input, mul(sub(end, input), weight))


def promoted(*tensors: Tensor) -> list[Tensor]:
    """All in the dtype that arithmetic of them has."""
    with_dims = [x.dtype for x in tensors if x.ndim] or [x.dtype for x in tensors]
    dtype = functools.reduce(promote, with_dims)
    for x in tensors:
        if x.ndim == 0 and x.dtype.category > dtype.category:
            dtype = x.dtype
    return [cast(x, dtype) for x in tensors]


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    input, tensor1, tensor2 = promoted(input, tensor1, tensor2)
    if input.dtype is dtypes.bool_:
        raise DTypeError("addcmul of bools; use | and &, or convert with .int()", user_location())
    return add(input, mul(tensor1, tensor2), alpha=value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 / tensor2; of integers use div with its rounding said."""
    are_whole = not (tensor1.dtype.is_floating_point or tensor2.dtype.is_floating_point)
    input, tensor1, tensor2 = promoted(input, tensor1, tensor2)
    if are_whole:
        raise DTypeError(
            "addcdiv divides integers: convert with .float(), or write input + tensor1 // tensor2",
            user_location(),
        )
    return add(input, div(tensor1, tensor2), alpha=value)


def neg(input: Tensor) -> Tensor:
    """-input."""
    return apply("neg", input)


def abs(input: Tensor) -> Tensor:
    """The absolute value; the gradient at 0 is 0."""
    return apply("abs", input)


def _of_floats(op: str, doc: str) -> Callable[[Tensor], Tensor]:
    """The function of a unary op that computes in floating point: integers become float32."""

    def function(input: Tensor) -> Tensor:
        return apply(op, cast_to_float(_tensor(input)))

    function.__name__ = function.__qualname__ = op
    function.__doc__ = doc
    return function


acos = _of_floats("acos", "arccos, nan outside [-1, 1].")
acosh = _of_floats("acosh", "arcosh, nan below 1.")
asin = _of_floats("asin", "arcsin, nan outside [-1, 1].")
asinh = _of_floats("asinh", "arsinh.")
atan = _of_floats("atan", "arctan.")
atanh = _of_floats("atanh", "artanh, nan outside [-1, 1].")
cos = _of_floats("cos", "The cosine.")
cosh = _of_floats("cosh", "The hyperbolic cosine.")
digamma = _of_floats("digamma", "The derivative of lgamma.")
erf = _of_floats("erf", "The error function.")
erfc = _of_floats("erfc", "1 - erf(input), exact where erf is near 1.")
erfinv = _of_floats("erfinv", "The inverse of erf: infinite at -1 and 1, nan beyond.")
exp = _of_floats("exp", "e^input.")
exp2 = _of_floats("exp2", "2^input.")
expm1 = _of_floats("expm1", "e^input - 1, exact near 0.")
lgamma = _of_floats("lgamma", "ln |gamma(input)|, inf at 0 and at the negative integers.")
log = _of_floats("log", "The natural logarithm: -inf at 0, nan below.")
log10 = _of_floats("log10", "The logarithm to base 10.")
log1p = _of_floats("log1p", "ln(1 + input), exact near 0.")
log2 = _of_floats("log2", "The logarithm to base 2.")
reciprocal = _of_floats("reciprocal", "1 / input.")
rsqrt = _of_floats("rsqrt", "1 / sqrt(input).")
sigmoid = _of_floats("sigmoid", "1 / (1 + e^-input).")
sin = _of_floats("sin", "The sine.")
sinh = _of_floats("sinh", "The hyperbolic sine.")
sqrt = _of_floats("sqrt", "The square root, nan below 0.")
tan = _of_floats("tan", "The tangent.")
tanh = _of_floats("tanh", "The hyperbolic tangent.")


def _of_whole(op: str, doc: str) -> Callable[[Tensor], Tensor]:
    """The function of a rounding op: integers are round already."""

    def function(input: Tensor) -> Tensor:
        if input.dtype is dtypes.bool_:
            raise DTypeError(f"{op} of bools; convert with .int()", user_location())
        return apply(op, input) if input.dtype.is_floating_point else input.clone()

    function.__name__ = function.__qualname__ = op
    function.__doc__ = doc
    return function


ceil = _of_whole("ceil", "Rounded up. The gradient is 0.")
floor = _of_whole("floor", "Rounded down. The gradient is 0.")
round = _of_whole("round", "Rounded to the nearest integer, halves to even. The gradient is 0.")
trunc = _of_whole("trunc", "Rounded towards zero. The gradient is 0.")


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1, of a bool itself. The gradient is 0."""
    return input.clone() if input.dtype is dtypes.bool_ else apply("sign", input)


def relu(input: Tensor) -> Tensor:
    """max(input, 0); the gradient at 0 is 0."""
    return apply("relu", input)


def square(input: Tensor) -> Tensor:
    """input * input, element by element."""
    if input.dtype is dtypes.bool_:
        input = cast(input, dtypes.int64)
    if not _takes("square", input.dtype.name):
        return mul(input, input)
    return apply("square", input)


def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Elements below `min` become `min`, those above `max` become `max`; either a number or a tensor."""
    if min is None and max is None:
        raise Error("clamp needs min= or max=", user_location())
    bounds = [x for x in (min, max) if isinstance(x, Tensor)]
    if bounds and all(x.dtype is dtypes.bool_ for x in (input, *bounds)):
        raise DTypeError("clamp of bools; use & and |", user_location())
    result = input
    if min is not None:
        result = maximum(result, min)
    if max is not None:
        result = minimum(result, max)
    return result


__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "addcdiv",
    "addcmul",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "cast",
    "ceil",
    "clamp",
    "cos",
    "cosh",
    "div",
    "eq",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "fmod",
    "ge",
    "gt",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "lerp",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "masked_fill",
    "maximum",
    "minimum",
    "mul",
    "ne",
    "neg",
    "pow",
    "reciprocal",
    "relu",
    "remainder",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "sub",
    "tan",
    "tanh",
    "trunc",
    "where",
]
