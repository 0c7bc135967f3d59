"""Elements written where integers say.

Where several are written to one place PyTorch leaves open which one stays; here it is their mean, so that equal ones
may meet.
"""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .creation import full
from .gathering import _indices, index_add, scatter_add
from .reductions import normalize_dim
from .shapes import broadcast_to, narrow, view


def _written(input: Tensor, total: Tensor, count: Tensor) -> Tensor:
    """`input` where count is 0, elsewhere what was written: `total` over `count`."""
    divisor = ew.cast(ew.maximum(count, 1), total.dtype)
    mean = ew.div if total.dtype.is_floating_point else ew.floor_divide
    return ew.where(ew.gt(count, 0), ew.cast(mean(total, divisor), input.dtype), input)


def _summed_in(dtype: dtypes.DType) -> dtypes.DType:
    """In which elements of a type are added: bools have no sum, those of small integers overflow."""
    return dtype if dtype.is_floating_point else dtypes.int64


def _same_dtype(name: str, input: Tensor, other: Tensor) -> None:
    if input.dtype is not other.dtype:
        raise DTypeError(
            f"{name} takes two tensors of one dtype, not {input.dtype!r} and {other.dtype!r}",
            user_location(),
        )


def _fitted(name: str, src: Tensor, index: Tensor) -> Tensor:
    """The part of src that index has elements for."""
    if src.ndim != index.ndim or any(a < b for a, b in zip(src.shape, index.shape, strict=True)):
        raise ShapeError(
            f"{name}: index {list(index.shape)} is longer than src {list(src.shape)}",
            user_location(),
        )
    for d, extent in enumerate(index.shape):
        src = narrow(src, d, 0, extent) if src.shape[d] > extent else src
    return src


def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Tensor:
    """input with src[i][j] (or a number) at [i][index[i][j]] for dim 1; an index out of range is a DataError."""
    if (src is None) == (value is None):
        raise Error("scatter takes one of src and value", user_location())
    src = value if src is None else src
    if reduce not in (None, "add"):
        raise Error(f"scatter: reduce={reduce!r}: None or 'add'", user_location())
    position = normalize_dim(dim, input.ndim)
    index = _indices("scatter", index)
    if input.ndim == 0:
        whole = view(src, src.numel()) if isinstance(src, Tensor) else src
        one = scatter(view(input, 1), 0, view(index, index.numel()), whole, reduce=reduce)
        return view(one, ())
    single = src if isinstance(src, Tensor) else full((), src, dtype=input.dtype)
    if single.ndim:
        _same_dtype("scatter", input, single)
        single = _fitted("scatter", single, index)
    if reduce == "add":
        return scatter_add(
            input, position, index, broadcast_to(ew.cast(single, input.dtype), index.shape)
        )
    ones = full(index.shape, 1, dtype=dtypes.float32)
    count = scatter_add(full(input.shape, 0, dtype=dtypes.float32), position, index, ones)
    if not single.ndim:
        return ew.where(ew.gt(count, 0), ew.cast(single, input.dtype), input)
    dtype = _summed_in(input.dtype)
    zeros = full(input.shape, 0, dtype=dtype)
    return _written(input, scatter_add(zeros, position, index, ew.cast(single, dtype)), count)


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """scatter_add for reduce="sum"; other reductions have no kernel here and raise."""
    if reduce != "sum" or not include_self:
        raise Error(
            f"scatter_reduce: reduce={reduce!r}, include_self={include_self}: only 'sum' with the elements of "
            "input; use amax or prod over a dim of its own",
            user_location(),
        )
    return scatter_add(input, dim, index, src)


def _copied(input: Tensor, position: int, index: Tensor, source: Any) -> Tensor:
    """input with the slices of `source`, which broadcasts, where the 1-d `index` says along a dim."""
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
    dtype = _summed_in(input.dtype)
    zeros, wide = full(input.shape, 0, dtype=dtype), broadcast_to(ew.cast(source, dtype), shape)
    return _written(input, index_add(zeros, position, index, wide), count)


def _flat(name: str, index: Tensor) -> Tensor:
    """The index, 1-d."""
    if index.ndim > 1:
        raise ShapeError(f"{name} takes a 1-d index, not {list(index.shape)}", user_location())
    return _indices(name, view(index, index.numel()))


def index_copy(input: Tensor, dim: int, index: Tensor, source: Any) -> Tensor:
    """input with the slices of `source` (or a number) where the 1-d `index` says along `dim`."""
    position, flat = normalize_dim(dim, input.ndim), _flat("index_copy", index)
    if isinstance(source, Tensor):
        _same_dtype("index_copy", input, source)
    if input.ndim == 0:
        one = view(source, source.numel()) if isinstance(source, Tensor) else source
        return view(index_copy(view(input, 1), 0, flat, one), ())
    shape = list(input.shape)
    shape[position] = flat.shape[0]
    if isinstance(source, Tensor) and source.ndim and list(source.shape) != shape:
        raise ShapeError(
            f"index_copy: {flat.shape[0]} slices of {list(input.shape)} along dim {dim} have the shape {shape}, not "
            f"{list(source.shape)}",
            user_location(),
        )
    return _copied(input, position, flat, source)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """input with a number in the slices that the 1-d `index` names along `dim`."""
    position, flat = normalize_dim(dim, input.ndim), _flat("index_fill", index)
    if input.ndim == 0:
        return view(_copied(view(input, 1), 0, flat, value), ())
    return _copied(input, position, flat, value)


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
    return view(_copied(rows, 0, index, values), *input.shape)


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


def _placed(name: str, input: Tensor, src: Tensor, index: Any) -> Tensor:
    """A copy of `input` with `src` at `index`."""
    src = ew.cast(src, input.dtype)
    result = input.clone()
    if src.shape != result[index].shape:
        raise ShapeError(
            f"{name}: src has the shape {list(src.shape)}, its place {list(result[index].shape)}",
            user_location(),
        )
    result[index] = src
    return result


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """`input` with `src` as its slice `index` along `dim`."""
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0 or not -input.shape[position] <= index < input.shape[position]:
        raise ShapeError(
            f"select_scatter: index {index} of dim {dim} of {list(input.shape)}", user_location()
        )
    return _placed("select_scatter", input, src, (*(slice(None),) * position, index))


def slice_scatter(
    input: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """`input` with `src` in the place of [start:end:step] along `dim`."""
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        raise ShapeError("slice_scatter of a tensor without dims", user_location())
    return _placed(
        "slice_scatter", input, src, (*(slice(None),) * position, slice(start, end, step))
    )


__all__ = [
    "index_copy",
    "index_fill",
    "index_put",
    "scatter",
    "scatter_reduce",
    "select_scatter",
    "slice_scatter",
]
