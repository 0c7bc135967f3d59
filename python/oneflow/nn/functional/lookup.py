"""Rows of a table by index."""

from __future__ import annotations

import math

from ...dispatch import apply
from ...dtypes import bool_, int32, int64
from ...errors import DTypeError, Error, ShapeError
from ...functions import (
    amax,
    cast,
    cat,
    clamp,
    div,
    full,
    ge,
    logical_and,
    lt,
    matmul,
    mul,
    ne,
    ones,
    unsqueeze,
    where,
)
from ...functions import any as _any
from ...functions import sum as _sum
from ...location import user_location
from ...tensor import Tensor
from .classes import class_numbers


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """weight[input]: rows of [rows, width] for integer indices [...], as [..., width].

    Args:
        padding_idx: elements with this index (negative: counted from the end) give the row a gradient of zero.

    An index outside [0, rows) is a DataError in a step. max_norm (it would write the weight while it is read),
    scale_grad_by_freq and sparse are refused.
    """
    del norm_type
    for name, value in (
        ("max_norm", max_norm),
        ("scale_grad_by_freq", scale_grad_by_freq),
        ("sparse", sparse),
    ):
        if value:
            raise Error(
                f"embedding: {name}={value} is not supported; gradients of rows are dense and unscaled",
                user_location(),
            )
    if input.dtype.is_floating_point or input.dtype is bool_:
        raise DTypeError(f"embedding takes integer indices, not {input.dtype!r}", user_location())
    if input.dtype not in (int32, int64):
        input = cast(input, int64)
    if weight.ndim != 2:
        raise ShapeError(
            f"embedding takes a weight [rows, width], not {list(weight.shape)}", user_location()
        )
    size = weight.shape[0]
    if padding_idx is None:
        return apply("embedding", weight, input)
    if not -size <= padding_idx < size:
        raise ShapeError(f"padding_idx={padding_idx} is no row of {size}", user_location())
    return apply("embedding", weight, input, padding_idx=padding_idx % size)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima (`mode`) of the rows of each bag: [bags, width] from indices [bags, n], or from indices [m]
    where bag b begins at offsets[b].

    Args:
        per_sample_weights: a factor of each row, for mode="sum".
        include_last_offset: the last offset is the end of the last bag.
        padding_idx: indices that are not in any bag; the row has no gradient.

    A bag without rows gives zeros. max_norm, scale_grad_by_freq and sparse are refused, as by embedding.
    """
    if mode not in ("sum", "mean", "max"):
        raise Error(f"embedding_bag: mode={mode!r}: 'sum', 'mean' or 'max'", user_location())
    if per_sample_weights is not None and (
        mode != "sum" or per_sample_weights.shape != input.shape
    ):
        raise Error(
            f"embedding_bag: per_sample_weights are for mode='sum' and have the shape {list(input.shape)} of the "
            f"indices, not {list(per_sample_weights.shape)} with mode={mode!r}",
            user_location(),
        )
    if (input.ndim == 2) != (offsets is None) or input.ndim not in (1, 2):
        raise ShapeError(
            f"embedding_bag takes indices [bags, n], or [m] and offsets=, not {list(input.shape)} "
            f"{'without' if offsets is None else 'with'} offsets",
            user_location(),
        )
    rows = embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    counts = ones(input.shape, dtype=bool_)
    if padding_idx is not None:
        counts = ne(input, padding_idx % weight.shape[0])
    if offsets is None:
        shares = cast(counts, rows.dtype)
        if per_sample_weights is not None:
            shares = mul(shares, per_sample_weights)
        if mode == "max":
            return _largest(rows, counts)
        total = _sum(mul(rows, unsqueeze(shares, 2)), 1)
    else:
        if offsets.ndim != 1:
            raise ShapeError(
                f"embedding_bag: offsets has the shape {list(offsets.shape)}, not [bags]",
                user_location(),
            )
        begins = offsets[:-1] if include_last_offset else offsets
        last = full((1,), input.shape[0], dtype=offsets.dtype)
        ends = offsets[1:] if include_last_offset else cat([offsets[1:], last])
        place = cast(class_numbers(input.shape[0]), offsets.dtype)
        inside = logical_and(ge(place, unsqueeze(begins, 1)), lt(place, unsqueeze(ends, 1)))
        counts = logical_and(inside, counts)  # [bags, m]
        if mode == "max":
            return _largest(unsqueeze(rows, 0), counts)
        shares = cast(counts, rows.dtype)
        if per_sample_weights is not None:
            shares = mul(shares, per_sample_weights)
        total = matmul(shares, rows)
    if mode == "sum":
        return total
    number = _sum(cast(counts, rows.dtype), 1, keepdim=True)
    return div(total, clamp(number, min=1.0))


def _largest(rows: Tensor, counts: Tensor) -> Tensor:
    """Maxima over dim 1 of rows [bags or 1, n, width] that count, 0 where none does."""
    kept = where(unsqueeze(counts, 2), rows, -math.inf)
    found = amax(kept, 1)
    return where(unsqueeze(_any(counts, 1), 1), found, 0.0)
