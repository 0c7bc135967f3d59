"""Rows of a table by index."""

from __future__ import annotations

from ...dispatch import apply
from ...dtypes import bool_, int64
from ...errors import DTypeError, Error, ShapeError
from ...functions import cast, eq, unsqueeze, where
from ...location import user_location
from ...state import StateCell
from ...tensor import Tensor
from ...tracing import current_trace


def _without_gradient(weight: Tensor) -> Tensor:
    """The value of a parameter as a second read of its state: gradients follow the first one alone."""
    trace = current_trace()
    cell = weight._source
    if trace is None or not isinstance(cell, StateCell):
        if trace is not None and weight.is_traced:
            raise Error(
                "padding_idx needs a parameter as the weight: a computed weight has no value without its gradient; "
                "mask the result with flow.where",
                user_location(),
            )
        return weight
    trace.read(cell)
    location = user_location()
    name = {"name": trace.cells[cell]}
    return trace.wrap(trace.add("state_read", [], name, location)[0], location)


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
    if weight.ndim != 2:
        raise ShapeError(
            f"embedding takes a weight [rows, width], not {list(weight.shape)}", user_location()
        )
    index = cast(input, int64)
    rows = apply("embedding", weight, index)
    if padding_idx is None:
        return rows
    size = weight.shape[0]
    if not -size <= padding_idx < size:
        raise ShapeError(f"padding_idx={padding_idx} is no row of {size}", user_location())
    fixed = _without_gradient(weight)[padding_idx % size]
    return where(unsqueeze(eq(index, padding_idx % size), -1), fixed, rows)
