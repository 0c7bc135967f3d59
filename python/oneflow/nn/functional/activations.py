"""Activations that are compositions; those with ops of their own come from oneflow.functions."""

from __future__ import annotations

from ...errors import DTypeError, Error, ShapeError
from ...functions import (
    abs,
    add,
    argmax,
    cast,
    clamp,
    div,
    eq,
    gt,
    le,
    log,
    lt,
    mul,
    neg,
    relu,
    reshape,
    sigmoid,
    softmax,
    split,
    sub,
    tanh,
    where,
)
from ...functions.activations import only_floats
from ...functions.reductions import normalize_dim
from ...functions.writing import if_inplace
from ...location import user_location
from ...random import rand
from ...tensor import Tensor
from .classes import class_numbers


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where it is positive, weight * x elsewhere; weight is [], [1] or, per channel of dim 1, [c]."""
    only_floats("prelu", input)
    if weight.dtype is not input.dtype:
        raise DTypeError(
            f"prelu takes a weight of the input's dtype {input.dtype!r}, not {weight.dtype!r}",
            user_location(),
        )
    if weight.numel() != 1:
        if weight.ndim != 1 or input.ndim < 2 or input.shape[1] != weight.shape[0]:
            raise ShapeError(
                f"prelu: a weight {list(weight.shape)} does not fit the channels of {list(input.shape)}",
                user_location(),
            )
        slope = reshape(weight, weight.shape[0], *(1,) * (input.ndim - 2))
    else:
        slope = reshape(weight, [])
    return where(gt(input, 0.0), input, mul(input, slope))


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return div(input, abs(input) + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return sub(input, tanh(input))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    only_floats("hardshrink", input)
    return where(le(abs(input), lambd), 0.0, input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved by lambd towards 0, and 0 where |x| <= lambd."""
    if lambd < 0:
        raise Error(f"softshrink: lambd={lambd} is negative", user_location())
    only_floats("softshrink", input)
    return sub(relu(input - lambd), relu(neg(input) - lambd))


@if_inplace
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it is above `threshold`, `value` elsewhere."""
    only_floats("threshold", input)
    return where(le(input, threshold), float(value), input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second."""
    only_floats("glu", input)
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0 or input.shape[position] % 2:
        raise ShapeError(
            f"glu: dim {dim} of {list(input.shape)} has no two halves", user_location()
        )
    first, second = split(input, input.shape[position] // 2, position)
    return mul(first, sigmoid(second))


def softmin(input: Tensor, dim: int) -> Tensor:
    """softmax(-x) along `dim`."""
    return softmax(neg(input), dim)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """softmax((logits + noise of a Gumbel distribution) / tau): a draw from softmax(logits) that has a gradient (Jang et
    al. 2017). `hard` gives one-hot vectors with the gradient of the soft ones."""
    del eps  # PyTorch's does nothing either
    only_floats("gumbel_softmax", logits)
    # -ln of a number in (0, 1] is exponential, and -ln of that has the distribution; 0 has no logarithm.
    arrivals = clamp(neg(log(sub(1.0, rand(logits.shape)))), min=2.0**-25)
    noise = neg(log(arrivals))
    soft = softmax(div(add(logits, cast(noise, logits.dtype)), tau), dim)
    if not hard:
        return soft
    place = normalize_dim(dim, logits.ndim)
    wide = (1,) * place + (soft.shape[place],) + (1,) * (soft.ndim - 1 - place)
    first = argmax(soft, place, keepdim=True)
    picked = cast(eq(first, reshape(class_numbers(soft.shape[place]), *wide)), soft.dtype)
    return add(sub(picked, soft.detach()), soft)


@if_inplace
def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """x where it is not negative, else slope * x: in training each slope is drawn from [lower, upper), else it is their
    mean."""
    only_floats("rrelu", input)
    if lower > upper:
        raise Error(f"rrelu: lower={lower} is above upper={upper}", user_location())
    slope: Tensor | float = (lower + upper) / 2
    if training:
        slope = cast(add(mul(rand(input.shape), upper - lower), lower), input.dtype)
    return where(lt(input, 0.0), mul(input, slope), input)
