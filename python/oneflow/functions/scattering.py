"""Elements written where integers say.

Where several are written to one place PyTorch leaves open which one stays; here it is their mean, so that equal ones
may meet.
"""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .creation import full
from .gathering import index_add, scatter_add
from .reductions import normalize_dim
from .shapes import broadcast_to, narrow, view


def _written(input: Tensor, total: Tensor, count: Tensor) -> Tensor:
    """`input` where count is 0, elsewhere what was written: `total` over `count`."""
    divisor = ew.cast(ew.maximum(count, 1), total.dtype)
    mean = ew.div if total.dtype.is_floating_point else ew.floor_divide
    return ew.where(ew.gt(count, 0), mean(total, divisor), input)


def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: float | None = None,
    reduce: str | None = None,
) -> Tensor:
    """input with src[i][j] (or a number) at [i][index[i][j]] for dim 1; an index out of range is a DataError."""
    src = value if src is None else src
    if reduce not in (None, "add"):
        raise Error(f"scatter: reduce={reduce!r}: None or 'add'", user_location())
    position = normalize_dim(dim, input.ndim)
    is_number = not isinstance(src, Tensor)
    single = full((), src, dtype=input.dtype) if is_number else src
    if single.ndim:
        for d, extent in enumerate(index.shape):  # what stands beyond the index is not written
            single = narrow(single, d, 0, extent) if single.shape[d] != extent else single
    spread = broadcast_to(ew.cast(single, input.dtype), index.shape)
    if reduce == "add":
        return scatter_add(input, position, index, spread)
    ones = full(index.shape, 1, dtype=dtypes.float32)
    count = scatter_add(full(input.shape, 0, dtype=dtypes.float32), position, index, ones)
    if not single.ndim:
        return ew.where(ew.gt(count, 0), ew.cast(single, input.dtype), input)
    total = scatter_add(full(input.shape, 0, dtype=input.dtype), position, index, spread)
    return _written(input, total, count)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Any) -> Tensor:
    """input with the slices of `source` (or a number) where the 1-d `index` says along `dim`."""
    position = normalize_dim(dim, input.ndim)
    extent, behind = input.shape[position], [1] * (input.ndim - position - 1)
    ones = full((index.shape[0],), 1, dtype=dtypes.float32)
    count = index_add(full((extent,), 0, dtype=dtypes.float32), 0, index, ones)
    count = view(count, extent, *behind)
    if not isinstance(source, Tensor):
        source = full((), source, dtype=input.dtype)
    source = ew.cast(source, input.dtype)
    if not source.ndim:
        return ew.where(ew.gt(count, 0), source, input)
    shape = list(input.shape)
    shape[position] = index.shape[0]
    zeros = full(input.shape, 0, dtype=input.dtype)
    return _written(input, index_add(zeros, position, index, broadcast_to(source, shape)), count)


def index_fill(input: Tensor, dim: int, index: Tensor, value: float) -> Tensor:
    """input with a number in the slices that the 1-d `index` names along `dim`."""
    return index_copy(input, dim, index, value)


def index_put(
    input: Tensor, indices: tuple[Tensor, ...], values: Any, accumulate: bool = False
) -> Tensor:
    """input with `values` at the places that integer tensors name, one for each leading dim; or added there."""
    count = len(indices)
    if count > input.ndim:
        raise ShapeError(f"{count} indices for a tensor with {input.ndim} dims", user_location())
    index, shape = linear(indices, input.shape[:count])
    rest = input.shape[count:]
    rows = view(input, -1, *rest)
    if isinstance(values, Tensor) and values.ndim:
        values = view(broadcast_to(values, [*shape, *rest]), -1, *rest)
    if accumulate:
        if not isinstance(values, Tensor) or not values.ndim:
            wide = (index.shape[0], *rest)
            values = (
                broadcast_to(values, wide)
                if isinstance(values, Tensor)
                else full(wide, values, dtype=input.dtype)
            )
        return view(index_add(rows, 0, index, ew.cast(values, input.dtype)), *input.shape)
    return view(index_copy(rows, 0, index, values), *input.shape)


def linear(indices: tuple[Tensor, ...], extents: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """Indices of several dims as one, flat, of the dims put together; and the shape to which they broadcast."""
    total: Tensor | None = None
    for index, extent in zip(indices, extents, strict=True):
        if index.dtype.is_floating_point or index.dtype is dtypes.bool_:
            raise Error(
                f"a tensor is indexed by {index.dtype!r}; integers are needed", user_location()
            )
        index = ew.cast(index, dtypes.int64)
        index = ew.where(ew.lt(index, 0), ew.add(index, extent), index)
        total = index if total is None else ew.add(ew.mul(total, extent), index)
    assert total is not None
    return view(total, -1), total.shape


__all__ = ["index_copy", "index_fill", "index_put", "scatter"]
