"""Rows of a table by index."""

from __future__ import annotations

from ...dispatch import apply
from ...dtypes import bool_, int32, int64
from ...errors import DTypeError, Error, ShapeError
from ...functions import cast
from ...location import user_location
from ...tensor import Tensor


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
