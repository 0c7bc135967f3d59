"""Losses between an input and a target of one shape."""

from __future__ import annotations

import math

from ...errors import Error, ShapeError
from ...functions import (
    abs,
    clamp,
    div,
    eq,
    exp,
    gt,
    le,
    log,
    log_softmax,
    lt,
    maximum,
    mul,
    ne,
    neg,
    relu,
    square,
    stack,
    sub,
    where,
    zeros_like,
)
from ...functions import sum as _sum
from ...functions.activations import only_floats
from ...location import user_location
from ...tensor import Tensor
from .reduction import check_same_shape, reduce_loss, reduction_of

# The smallest normal float32: below it a logarithm is cut.
_TINY = 1.1754943508222875e-38


def log_sigmoids(input: Tensor) -> tuple[Tensor, Tensor]:
    """log(sigmoid(x)) and log(sigmoid(-x)), finite and with exact gradients for every x: a softmax of x and 0."""
    pair = log_softmax(stack([input, zeros_like(input)], input.ndim), -1)
    return pair[..., 0], pair[..., 1]


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target) ** 2. With `weight`, a factor per element, the mean is over the sum of the factors."""
    check_same_shape("mse_loss", input, target)
    return _weighted(
        "mse_loss",
        square(sub(input, target)),
        weight,
        reduction_of(reduction, size_average, reduce),
    )


def _weighted(name: str, loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is None:
        return reduce_loss(loss, reduction)
    if weight.shape != loss.shape:
        raise ShapeError(
            f"{name}: the weight has the shape {list(weight.shape)}, the input {list(loss.shape)}",
            user_location(),
        )
    weighted = mul(loss, weight)
    if reduction == "mean":
        return div(_sum(weighted), _sum(weight))
    return reduce_loss(weighted, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|. With `weight`, a factor per element, the mean is over the sum of the factors."""
    check_same_shape("l1_loss", input, target)
    return _weighted(
        "l1_loss", abs(sub(input, target)), weight, reduction_of(reduction, size_average, reduce)
    )


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d ** 2 / (2 beta) for d = |input - target| < beta, else d - beta / 2."""
    if beta < 0:
        raise Error(f"smooth_l1_loss: beta={beta} is negative", user_location())
    if beta == 0:
        return l1_loss(input, target, size_average, reduce, reduction)
    check_same_shape("smooth_l1_loss", input, target)
    distance = abs(sub(input, target))
    loss = where(lt(distance, beta), square(distance) * (0.5 / beta), distance - 0.5 * beta)
    return reduce_loss(loss, reduction_of(reduction, size_average, reduce))


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """d ** 2 / 2 for d = |input - target| <= delta, else delta * (d - delta / 2)."""
    if delta <= 0:
        raise Error(f"huber_loss: delta={delta} is not positive", user_location())
    check_same_shape("huber_loss", input, target)
    distance = abs(sub(input, target))
    loss = where(le(distance, delta), square(distance) * 0.5, (distance - 0.5 * delta) * delta)
    return _weighted("huber_loss", loss, weight, reduction)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)) for probabilities p; each logarithm is at least -100.

    At p = 0 and p = 1 the logarithm that is cut has no gradient (PyTorch's is up to 1e12): logits and
    binary_cross_entropy_with_logits are the way to train. p outside [0, 1] gives nan.
    """
    check_same_shape("binary_cross_entropy", input, target)

    def bounded_log(p: Tensor) -> Tensor:
        return where(eq(p, 0.0), -100.0, maximum(log(where(eq(p, 0.0), 1.0, p)), -100.0))

    loss = neg(target * bounded_log(input) + (1 - target) * bounded_log(1 - input))
    if weight is not None:
        loss = mul(loss, weight)
    return reduce_loss(loss, reduction_of(reduction, size_average, reduce))


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(input); `pos_weight` multiplies the term of target 1 and broadcasts."""
    check_same_shape("binary_cross_entropy_with_logits", input, target)
    positive, negative = log_sigmoids(input)
    hits = target if pos_weight is None else mul(target, pos_weight)
    loss = neg(hits * positive + (1 - target) * negative)
    if weight is not None:
        loss = mul(loss, weight)
    return reduce_loss(loss, reduction_of(reduction, size_average, reduce))


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log target - input) for log probabilities `input`; `target` holds logarithms if log_target.

    "batchmean" divides the sum by the extent of dim 0 and is the divergence; "mean" divides by all elements.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if log_target:
        loss = exp(target) * (target - input)
    else:
        some = gt(target, 0.0)
        # 0 log 0 = 0, and no infinity on the side that is not taken.
        entropy = where(some, target * log(where(some, target, 1.0)), 0.0)
        loss = entropy - target * input
    if reduction == "batchmean":
        return (
            _sum(loss) * (1.0 / loss.shape[0] if loss.shape[0] else math.inf) if loss.ndim else loss
        )
    return reduce_loss(loss, reduction)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)) for targets of 1 and -1."""
    check_same_shape("soft_margin_loss", input, target)
    loss = neg(log_sigmoids(mul(input, target))[0])
    return reduce_loss(loss, reduction_of(reduction, size_average, reduce))


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The input where the target is 1, max(0, margin - input) where it is -1."""
    only_floats("hinge_embedding_loss", input)
    check_same_shape("hinge_embedding_loss", input, target)
    far = where(ne(target, 1), relu(margin - input), 0.0)
    near = where(ne(target, -1), input, 0.0)
    return reduce_loss(far + near, reduction_of(reduction, size_average, reduce))


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of counts under a Poisson distribution with the rate exp(input), or `input`.

    `full` adds Stirling's approximation of log(target!) for targets above 1.
    """
    check_same_shape("poisson_nll_loss", input, target)
    if log_input:
        loss = exp(input) - target * input
    else:
        loss = input - target * log(input + eps)
    if full:
        many = gt(target, 1.0)
        count = where(many, target, 1.0)
        stirling = count * log(count) - count + log(count * (2 * math.pi)) * 0.5
        loss = loss + where(many, stirling, 0.0)
    return reduce_loss(loss, reduction_of(reduction, size_average, reduce))


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of the target under normal distributions with means `input` and variances `var`.

    Args:
        var: a number, the input's shape, that shape with a last dim of 1, or without its last dim. Variances below
            `eps` count as `eps` and, other than in PyTorch, have no gradient there.
        full: adds log(2 pi) / 2.
    """
    if not isinstance(var, Tensor):
        if var < 0:
            raise Error(f"gaussian_nll_loss: var={var} is negative", user_location())
        var = zeros_like(input) + var
    if var.shape != input.shape:
        if var.shape == input.shape[:-1]:
            var = var[..., None]
        elif var.shape != (*input.shape[:-1], 1):
            raise ShapeError(
                f"gaussian_nll_loss: var has the shape {list(var.shape)}, the input {list(input.shape)}",
                user_location(),
            )
    if eps <= 0:
        raise Error(f"gaussian_nll_loss: eps={eps} is not positive", user_location())
    bounded = clamp(var, min=eps)
    loss = (log(bounded) + square(sub(input, target)) / bounded) * 0.5
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(loss, reduction)
