"""Norms, distances and the losses made of them."""

from __future__ import annotations

import math

import numpy as np

from ...dtypes import float32, float64
from ...errors import DTypeError, Error, ShapeError
from ...functions import (
    abs,
    amax,
    broadcast_tensors,
    clamp,
    div,
    eq,
    index_select,
    minimum,
    mul,
    ne,
    relu,
    sqrt,
    square,
    sub,
    unsqueeze,
    where,
)
from ...functions import pow as _pow
from ...functions import sum as _sum
from ...functions.activations import only_floats
from ...functions.elementwise import cast_to_float, promoted
from ...location import user_location
from ...tensor import Tensor
from .reduction import reduce_loss, reduction_of


def vector_norm(input: Tensor, p: float, dim: int, keepdim: bool) -> Tensor:
    """The p-norm along `dim`; its gradient at 0 is 0."""
    only_floats("a norm", input)
    if p == 1:
        return _sum(abs(input), dim, keepdim)
    if p == math.inf:
        return amax(abs(input), dim, keepdim)
    if p == 0:
        return _sum(cast_to_float(ne(input, 0)), dim, keepdim)
    if p < 0:
        raise Error(f"p={p}: norms of a negative order do not exist here", user_location())
    powers = _sum(square(input) if p == 2 else _pow(abs(input), float(p)), dim, keepdim)
    # A root has no slope at 0: the root of 1 stands in for it on the side that is not taken.
    nothing = eq(powers, 0.0)
    inner = where(nothing, 1.0, powers)
    return where(nothing, 0.0, sqrt(inner) if p == 2 else _pow(inner, 1.0 / p))


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """input / max(p-norm along `dim`, eps)."""
    return div(input, clamp(vector_norm(input, p, dim, keepdim=True), min=eps))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`; each norm counts as at least `eps`."""
    x1, x2 = broadcast_tensors(*promoted(x1, x2))
    if not x1.dtype.is_floating_point:
        raise DTypeError(
            f"cosine_similarity of {x1.dtype!r}; convert with .float()", user_location()
        )
    norms = [clamp(vector_norm(x, 2, dim, keepdim=True), min=eps) for x in (x1, x2)]
    return _sum(mul(div(x1, norms[0]), div(x2, norms[1])), dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dim."""
    return vector_norm(cast_to_float(sub(x1, x2)) + eps, p, -1, keepdim)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0) -> Tensor:
    """[.., n, k] and [.., m, k] to the p-norms [.., n, m] of all differences of rows."""
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"cdist takes [.., n, k] and [.., m, k], not {list(x1.shape)} and {list(x2.shape)}",
            user_location(),
        )
    if x1.dtype is not x2.dtype or x1.dtype not in (float32, float64):
        raise DTypeError(
            f"cdist takes two tensors of float32 or float64, not {x1.dtype!r} and {x2.dtype!r}",
            user_location(),
        )
    return vector_norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), p, -1, False)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norms of the differences of all pairs of rows i < j of [n, k], [n * (n - 1) / 2]."""
    if input.ndim != 2:
        raise ShapeError(f"pdist takes [n, k], not {list(input.shape)}", user_location())
    first, second = np.triu_indices(input.shape[0], 1)
    rows = (index_select(input, 0, Tensor(index.astype(np.int64))) for index in (first, second))
    return vector_norm(sub(*rows), p, -1, False)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin): target 1 wants the first one larger, -1 the second."""
    if input1.ndim != input2.ndim or input1.ndim != target.ndim:
        raise ShapeError(
            f"margin_ranking_loss takes three tensors of one shape, not {list(input1.shape)}, {list(input2.shape)} "
            f"and {list(target.shape)}",
            user_location(),
        )
    loss = relu(margin - mul(target, sub(input1, input2)))
    return reduce_loss(loss, reduction_of(reduction, size_average, reduce))


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos for target 1, max(0, cos - margin) for -1; inputs [n, d] with target [n], or [d] with []."""
    if (
        input1.shape != input2.shape
        or target.shape != input1.shape[:-1]
        or input1.ndim not in (1, 2)
    ):
        raise ShapeError(
            f"cosine_embedding_loss takes two inputs [n, d] and a target [n], or [d] and [], not "
            f"{list(input1.shape)}, {list(input2.shape)} and {list(target.shape)}",
            user_location(),
        )
    epsilon = 1e-12
    magnitudes = mul(_sum(square(input1), -1) + epsilon, _sum(square(input2), -1) + epsilon)
    cosine = div(_sum(mul(input1, input2), -1), sqrt(magnitudes))
    loss = where(eq(target, 1), 1 - cosine, 0.0) + where(eq(target, -1), relu(cosine - margin), 0.0)
    return reduce_loss(loss, reduction_of(reduction, size_average, reduce))


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |anchor - positive| - |anchor - negative| + margin) in the p-norm of [..., d].

    `swap` takes |positive - negative| for the second distance where it is smaller.
    """
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduce_loss(relu(near - far + margin), reduction_of(reduction, size_average, reduce))
