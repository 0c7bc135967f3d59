"""Functions of single elements that are composed of others, under PyTorch's names."""

from __future__ import annotations

import math

from .. import dtypes
from ..errors import DTypeError, Error
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .creation import full


def _no_bools(name: str, *tensors: ew.Operand) -> None:
    if any(isinstance(x, Tensor) and x.dtype is dtypes.bool_ for x in tensors):
        raise DTypeError(f"{name} of bools; convert with .int()", user_location())


def _only_floats(name: str, *tensors: Tensor) -> None:
    for x in tensors:
        if not x.dtype.is_floating_point:
            raise DTypeError(f"{name} of {x.dtype!r}; convert with .float()", user_location())


def _floating_pair(name: str, input: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both in their promoted dtype, which is floating."""
    a, b = ew.promoted(input, other)
    _only_floats(name, a)
    return a, b


def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians."""
    return ew.mul(ew.cast_to_float(input), math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees."""
    return ew.mul(ew.cast_to_float(input), 180 / math.pi)


def isneginf(input: Tensor) -> Tensor:
    """True for -inf."""
    return ew.logical_and(
        ew.isinf(input), ew.lt(input, False if input.dtype is dtypes.bool_ else 0)
    )


def isposinf(input: Tensor) -> Tensor:
    """True for inf."""
    return ew.logical_and(
        ew.isinf(input), ew.gt(input, False if input.dtype is dtypes.bool_ else 0)
    )


def isreal(input: Tensor) -> Tensor:
    """True everywhere: there are no complex numbers here."""
    return full(input.shape, True, dtype=dtypes.bool_)


def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    _no_bools("positive", input)
    return input


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """ln(input / (1 - input)), the inverse of sigmoid; with `eps`, input is limited to [eps, 1 - eps] first."""
    x = ew.cast_to_float(input)
    if eps is not None:
        x = ew.clamp(x, eps, 1 - eps)
    return ew.log(ew.div(x, ew.sub(1, x)))


def signbit(input: Tensor) -> Tensor:
    """True for negative numbers, -0.0 among them."""
    if not input.dtype.is_floating_point:
        return ew.lt(input, False if input.dtype is dtypes.bool_ else 0)
    # 1 / -0.0 is -inf. A nan has a sign too, which no comparison shows.
    return ew.logical_or(ew.lt(input, 0), ew.lt(ew.div(full((), 1.0, dtype=input.dtype), input), 0))


def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), 1 at 0."""
    x = ew.mul(ew.cast_to_float(input), math.pi)
    at_zero = ew.eq(x, 0)
    inner = ew.where(at_zero, 1.0, x)
    return ew.where(at_zero, 1.0, ew.div(ew.sin(inner), inner))


def float_power(input: ew.Operand, exponent: ew.Operand) -> Tensor:
    """input ** exponent in float64."""

    def wide(x: ew.Operand) -> ew.Operand:
        return ew.cast(x, dtypes.float64) if isinstance(x, Tensor) else x

    return ew.pow(
        wide(input), float(exponent) if not isinstance(exponent, Tensor) else wide(exponent)
    )


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The greater one; where one is nan, the other."""
    a, b = ew.promoted(input, other)
    if not a.dtype.is_floating_point:
        return ew.maximum(a, b)
    return ew.where(ew.isnan(a), b, ew.where(ew.isnan(b), a, ew.maximum(a, b)))


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller one; where one is nan, the other."""
    a, b = ew.promoted(input, other)
    if not a.dtype.is_floating_point:
        return ew.minimum(a, b)
    return ew.where(ew.isnan(a), b, ew.where(ew.isnan(b), a, ew.minimum(a, b)))


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """ln(e^input + e^other), without overflow."""
    a, b = _floating_pair("logaddexp", input, other)
    same = ew.logical_and(ew.eq(a, b), ew.isinf(a))  # whose difference is nan
    distance = ew.where(same, 0.0, ew.sub(a, b))
    more = ew.log1p(ew.exp(ew.neg(ew.abs(distance))))
    return ew.where(same, a, ew.add(ew.maximum(a, b), more))


def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2^input + 2^other), without overflow."""
    a, b = _floating_pair("logaddexp2", input, other)
    same = ew.logical_and(ew.eq(a, b), ew.isinf(a))
    distance = ew.where(same, 0.0, ew.sub(a, b))
    more = ew.mul(ew.log1p(ew.exp2(ew.neg(ew.abs(distance)))), 1 / math.log(2))
    return ew.where(same, a, ew.add(ew.maximum(a, b), more))


def copysign(input: Tensor, other: ew.Operand) -> Tensor:
    """The size of `input` with the sign of `other`, of -0.0 too; a nan in `other` counts as positive."""
    sign = other if isinstance(other, Tensor) else full((), other, dtype=dtypes.float32)
    a, b = ew.promoted(input, sign)
    a, b = ew.cast_to_float(a), ew.cast_to_float(b)
    size = ew.abs(a)
    return ew.where(signbit(b), ew.neg(size), size)


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below 0, `values` at 0, 1 above; no gradient."""
    if input.dtype is not values.dtype:
        raise DTypeError(
            f"heaviside takes two tensors of one dtype, not {input.dtype!r} and {values.dtype!r}",
            user_location(),
        )
    zero = False if input.dtype is dtypes.bool_ else 0
    step = ew.cast(ew.gt(input, zero), input.dtype)
    return ew.where(ew.eq(input, zero), values, step).detach()


def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2^other."""
    return ew.mul(input, ew.exp2(other))


def rsub(input: ew.Operand, other: ew.Operand, *, alpha: ew.Number = 1) -> Tensor:
    """other - alpha * input."""
    return ew.sub(other, input, alpha=alpha)


def xlogy(input: ew.Operand, other: ew.Operand) -> Tensor:
    """input * ln(other), 0 where input is 0 and other is a number."""
    a, b = ew._pair(input, other, to_float=True)
    product = ew.mul(a, ew.log(b))
    nothing = ew.logical_and(ew.eq(a, 0), ew.eq(b, b))
    return ew.where(nothing, full((), 0, dtype=product.dtype), product)


def frac(input: Tensor) -> Tensor:
    """What is behind the point, with the sign of the number."""
    _only_floats("frac", input)
    return ew.sub(input, ew.trunc(input))


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input^2 + other^2), infinite where one of them is."""
    a, b = _floating_pair("hypot", input, other)
    far = ew.logical_or(ew.isinf(a), ew.isinf(b))
    largest = ew.maximum(ew.abs(a), ew.abs(b)).detach()
    scale = ew.where(ew.logical_and(ew.isfinite(largest), ew.gt(largest, 0)), largest, 1.0)
    length = ew.sqrt(ew.add(ew.square(ew.div(a, scale)), ew.square(ew.div(b, scale))))
    return ew.where(far, math.inf, ew.mul(length, scale))


def mvlgamma(input: Tensor, p: int) -> Tensor:
    """ln of the multivariate gamma function of dimension p."""
    if isinstance(p, bool) or not isinstance(p, int) or p < 1:
        raise Error(f"mvlgamma: p={p!r} is no dimension", user_location())
    x = ew.cast_to_float(input)
    total = ew.lgamma(x)
    for j in range(1, p):
        total = ew.add(total, ew.lgamma(ew.sub(x, 0.5 * j)))
    return ew.add(total, 0.25 * p * (p - 1) * math.log(math.pi))


__all__ = [
    "copysign",
    "deg2rad",
    "float_power",
    "fmax",
    "fmin",
    "frac",
    "heaviside",
    "hypot",
    "isneginf",
    "isposinf",
    "isreal",
    "ldexp",
    "logaddexp",
    "logaddexp2",
    "logit",
    "mvlgamma",
    "positive",
    "rad2deg",
    "rsub",
    "signbit",
    "sinc",
    "xlogy",
]
