"""PyTorch's `torch.special`: the functions of oneflow under its names, and some that are only there."""

from __future__ import annotations

import math

from .functions import (
    add,
    digamma,
    eq,
    erf,
    erfc,
    erfinv,
    exp2,
    expm1,
    full,
    gt,
    lgamma,
    log,
    log1p,
    log_softmax,
    logical_and,
    logit,
    logsumexp,
    mul,
    mvlgamma,
    neg,
    round,
    sigmoid,
    sinc,
    softmax,
    where,
    xlogy,
)
from .functions.elementwise import Operand, _pair, cast_to_float
from .tensor import Tensor

expit, gammaln, psi, multigammaln = sigmoid, lgamma, digamma, mvlgamma


def entr(input: Tensor) -> Tensor:
    """-input * ln(input): 0 at 0, -inf below."""
    x = cast_to_float(input)
    inside = gt(x, 0)
    value = neg(mul(x, log(where(inside, x, 1.0))))
    return where(inside, value, where(eq(x, 0), 0.0, where(eq(x, x), -math.inf, x)))


def xlog1py(input: Operand, other: Operand) -> Tensor:
    """input * ln(1 + other), 0 where input is 0 and other is a number."""
    a, b = _pair(input, other, to_float=True)
    product = mul(a, log1p(b))
    nothing = logical_and(eq(a, 0), eq(b, b))
    return where(nothing, full((), 0, dtype=product.dtype), product)


def ndtr(input: Tensor) -> Tensor:
    """The share of the standard normal distribution below `input`."""
    return mul(erfc(mul(cast_to_float(input), -math.sqrt(0.5))), 0.5)


def ndtri(input: Tensor) -> Tensor:
    """The inverse of ndtr: infinite at 0 and 1, nan beyond. Shares below 1e-7 lose digits in float32."""
    return mul(erfinv(add(mul(cast_to_float(input), 2.0), -1.0)), math.sqrt(2))


__all__ = [
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammaln",
    "log1p",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "psi",
    "round",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
]
