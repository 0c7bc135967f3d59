"""Losses that want the scores of right classes above all others by a margin, and those of several labels."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Error, ShapeError
from ...functions import (
    add,
    cast,
    clamp,
    cumsum,
    eq,
    logical_and,
    logical_not,
    lt,
    mean,
    minimum,
    mul,
    neg,
    relu,
    reshape,
    square,
    sub,
    unsqueeze,
    where,
)
from ...functions import any as _any
from ...functions import sum as _sum
from ...functions.activations import logsigmoid, only_floats
from ...functions.gathering import take_along
from ...location import user_location
from ...tensor import Tensor
from .classes import check_indices, class_numbers, is_class
from .distances import pairwise_distance
from .reduction import check_same_shape, reduce_loss, reduction_of


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the other classes i of max(0, margin - input[target] + input[i])^p: scores [n, c] or [c], class
    indices [n] or []; `weight` [c] is a factor of each target."""
    only_floats("multi_margin_loss", input)
    if p not in (1, 2):
        raise Error(f"multi_margin_loss: p={p}: 1 or 2", user_location())
    if input.ndim not in (1, 2) or target.shape != input.shape[:-1]:
        raise ShapeError(
            f"multi_margin_loss takes scores [n, c] and classes [n], or [c] and [], not {list(input.shape)} and "
            f"{list(target.shape)}",
            user_location(),
        )
    classes = input.shape[-1]
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(
            f"multi_margin_loss: the weight has the shape {list(weight.shape)}, there are {classes} classes",
            user_location(),
        )
    rows = reshape(input, -1, classes)
    hits = is_class(reshape(check_indices("multi_margin_loss", target), -1), classes)
    right = _sum(where(hits, rows, 0.0), 1, keepdim=True)
    beyond = relu(add(sub(rows, right), margin))
    terms = where(hits, 0.0, square(beyond) if p == 2 else beyond)
    loss = mul(_sum(terms, 1), 1 / classes)
    if weight is not None:
        loss = mul(loss, _sum(where(hits, weight, 0.0), 1))
    return reduce_loss(reshape(loss, *target.shape), reduction_of(reduction, size_average, reduce))


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, 1 - (input[y] - input[i])) over the labels y and all other classes i, divided by their number c: scores and
    labels [n, c] or [c], where the labels of a row end at the first -1."""
    only_floats("multilabel_margin_loss", input)
    check_same_shape("multilabel_margin_loss", input, target)
    if input.ndim > 2:
        raise ShapeError(
            f"multilabel_margin_loss takes [n, c] or [c], not {list(input.shape)}", user_location()
        )
    classes = input.shape[-1] if input.ndim else 1
    rows = reshape(input, -1, classes)
    labels = reshape(check_indices("multilabel_margin_loss", target), -1, classes)
    counts = eq(cumsum(cast(lt(labels, 0), labels.dtype), 1), 0)  # those before the first -1
    legal = clamp(labels, 0)
    named = logical_and(eq(unsqueeze(legal, 2), class_numbers(classes)), unsqueeze(counts, 2))
    is_label = _any(named, 1)
    right = take_along(rows, 1, legal)
    beyond = relu(add(sub(unsqueeze(rows, 1), unsqueeze(right, 2)), 1.0))
    taken = logical_and(unsqueeze(counts, 2), logical_not(unsqueeze(is_label, 1)))
    loss = mul(_sum(where(taken, beyond, 0.0), (1, 2)), 1 / classes)
    return reduce_loss(
        reshape(loss, *input.shape[:-1]), reduction_of(reduction, size_average, reduce)
    )


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the classes of the binary cross entropy of logits [n, c] or [c] with labels 0 or 1; `weight` [c] is
    a factor of each class."""
    only_floats("multilabel_soft_margin_loss", input)
    check_same_shape("multilabel_soft_margin_loss", input, target)
    terms = neg(add(mul(target, logsigmoid(input)), mul(sub(1, target), logsigmoid(neg(input)))))
    if weight is not None:
        terms = mul(terms, weight)
    return reduce_loss(mean(terms, -1), reduction_of(reduction, size_average, reduce))


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) of any distance, by default pairwise_distance.

    `swap` takes d(positive, negative) for the second one where it is smaller.
    """
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduce_loss(relu(add(sub(near, far), margin)), reduction)
