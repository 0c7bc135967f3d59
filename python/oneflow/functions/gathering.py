"""Elements by integer tensors, in order, running sums, and what reads or mirrors parts of a tensor."""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes
from ..dispatch import apply, apply_all
from ..dtypes import DType
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .creation import full
from .reductions import ValuesAndIndices, normalize_dim
from .shapes import broadcast_to, cat, narrow, reshape, squeeze, unsqueeze


def _indices(name: str, index: Tensor) -> Tensor:
    if index.dtype.is_floating_point or index.dtype is dtypes.bool_:
        raise DTypeError(f"{name} takes integer indices, not {index.dtype!r}", user_location())
    return index if index.dtype is dtypes.int32 else ew.cast(index, dtypes.int64)


def take_along(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """`Tensor.gather`: result[i][j] = input[i][index[i][j]] for dim 1; an index out of range is a DataError."""
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return reshape(take_along(reshape(input, 1), 0, _as_vector(index)), index.shape)
    return apply("gather", input, _indices("gather", index), dim=position)


def _as_vector(x: Tensor) -> Tensor:
    """A 0-d tensor as [1], a 1-d one as it is."""
    return reshape(x, x.numel()) if x.ndim < 2 else x


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """gather of the flattened tensor without `dim`; else input and indices broadcast in the other dims."""
    if dim is None:
        return take_along(reshape(input, -1), 0, reshape(indices, -1))
    position = normalize_dim(dim, input.ndim)
    if input.ndim != indices.ndim:
        raise ShapeError(
            f"take_along_dim: input has {input.ndim} dims, indices have {indices.ndim}",
            user_location(),
        )
    if input.ndim == 0:
        return take_along(input, dim, indices)
    shape = [b if a == 1 else a for a, b in zip(input.shape, indices.shape, strict=True)]
    of_input, of_index = list(shape), list(shape)
    of_input[position], of_index[position] = input.shape[position], indices.shape[position]
    return take_along(broadcast_to(input, of_input), position, broadcast_to(indices, of_index))


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """input with src[i][j] added at [i][index[i][j]] for dim 1; an index out of range is a DataError."""
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        vector = scatter_add(reshape(input, 1), 0, _as_vector(index), _as_vector(src))
        return reshape(vector, ())
    if src.ndim == index.ndim and src.shape != index.shape:  # the part that index has elements for
        for d, extent in enumerate(index.shape):
            src = narrow(src, d, 0, extent) if src.shape[d] > extent else src
    if input.dtype is dtypes.bool_ and src.dtype is dtypes.bool_:  # whether one of them is true
        counts = [ew.cast(x, dtypes.int64) for x in (input, src)]
        return ew.gt(scatter_add(counts[0], position, index, counts[1]), 0)
    return apply("scatter_add", input, _indices("scatter_add", index), src, dim=position)


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` that the 1-d `index` names."""
    if index.ndim > 1:
        raise ShapeError(
            f"index_select takes a 1-d index, not {list(index.shape)}", user_location()
        )
    position = normalize_dim(dim, input.ndim)
    index = _indices("index_select", reshape(index, index.numel()))
    if input.ndim == 0:
        found = take_along(reshape(input, 1), 0, index)
        return reshape(found, ()) if index.numel() == 1 else found
    if input.dtype.is_floating_point and position == 0 and input.ndim == 2:
        return apply("embedding", input, index)
    shape = [1] * input.ndim
    shape[position] = index.shape[0]
    wide = list(input.shape)
    wide[position] = index.shape[0]
    return apply("gather", input, broadcast_to(reshape(index, shape), wide), dim=position)


def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1
) -> Tensor:
    """input with the slices of `source` added where the 1-d `index` says along `dim`."""
    position = normalize_dim(dim, input.ndim)
    if index.ndim > 1:
        raise ShapeError(f"index_add takes a 1-d index, not {list(index.shape)}", user_location())
    index = _as_vector(index)
    if input.ndim == 0:
        one = index_add(reshape(input, 1), 0, index, _as_vector(source), alpha=alpha)
        return reshape(one, ())
    if source.ndim != input.ndim:
        raise ShapeError(
            f"index_add: source has {source.ndim} dims, input has {input.ndim}", user_location()
        )
    shape = [1] * input.ndim
    shape[position] = index.shape[0]
    wide = broadcast_to(reshape(_indices("index_add", index), shape), source.shape)
    scaled = source if alpha == 1 else ew.cast(ew.mul(source, alpha), source.dtype)
    return scatter_add(input, position, wide, scaled)


def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Running sums along `dim`; integers and bools add up in int64."""
    if dtype is None and not input.dtype.is_floating_point:
        dtype = dtypes.int64
    x = input if dtype is None else ew.cast(input, dtype)
    if x.ndim == 0:
        normalize_dim(dim, 0)
        return x.clone()
    return apply("cumsum", x, dim=normalize_dim(dim, x.ndim), reverse=False)


def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True
) -> ValuesAndIndices:
    """Elements along `dim` in order, and where each stood; equal ones keep their order, nan is the greatest."""
    del stable
    if input.ndim == 0:
        normalize_dim(dim, 0)
        return ValuesAndIndices(input.clone(), full((), 0, dtype=dtypes.int64))
    if input.dtype is dtypes.bool_:
        values, indices = sort(ew.cast(input, dtypes.uint8), dim, descending)
        return ValuesAndIndices(ew.cast(values, dtypes.bool_), indices)
    return ValuesAndIndices(
        *apply_all("sort", [input], dim=normalize_dim(dim, input.ndim), descending=descending)
    )


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Where the elements of sort stood."""
    return sort(input, dim, descending, stable).indices


def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesAndIndices:
    """The k greatest (or least) elements along `dim`, in order, and where they stand."""
    del sorted
    if input.dtype is dtypes.bool_:
        raise DTypeError("topk of bools; convert with .int()", user_location())
    extent = input.shape[normalize_dim(dim, input.ndim)] if input.ndim else 1
    if not 0 <= k <= extent:
        raise ShapeError(f"topk: k={k} of {extent} elements", user_location())
    values, indices = sort(input, dim, descending=largest)
    if input.ndim == 0:
        return ValuesAndIndices(values, indices)
    return ValuesAndIndices(narrow(values, dim, 0, k), narrow(indices, dim, 0, k))


def _numbers(count: int) -> Tensor:
    """0, 1, .., count - 1: inside a step made by the step, so that it may be cut."""
    if count == 0:
        return full((0,), 0, dtype=dtypes.int64)
    return ew.sub(cumsum(full((count,), 1, dtype=dtypes.int64), 0), 1)


def flip(input: Tensor, dims: int | tuple[int, ...] | list[int], *more: int) -> Tensor:
    """The order of elements reversed along `dims`."""
    named = (dims, *more) if isinstance(dims, int) else tuple(dims)
    places = [normalize_dim(d, input.ndim) for d in named]
    if len(set(places)) < len(places):
        raise ShapeError(f"flip: {named} names a dim twice", user_location())
    if not places or input.ndim == 0:
        return input.clone()
    for dim in places:
        extent = input.shape[dim]
        input = index_select(input, dim, ew.add(ew.neg(_numbers(extent)), extent - 1))
    return input


def roll(
    input: Tensor, shifts: int | tuple[int, ...], dims: int | tuple[int, ...] | None = None
) -> Tensor:
    """Elements moved by `shifts` along `dims`, those pushed out at the end back in front."""
    if dims is None:
        if not isinstance(shifts, int):
            raise Error("roll: several shifts need dims", user_location())
        return reshape(roll(reshape(input, -1), shifts, 0), input.shape)
    counts = [len(x) if isinstance(x, (tuple, list)) else 1 for x in (shifts, dims)]
    if counts[0] != counts[1]:
        raise ShapeError(f"roll: {counts[0]} shifts for {counts[1]} dims", user_location())
    pairs = [(shifts, dims)] if isinstance(shifts, int) else list(zip(shifts, dims, strict=True))  # type: ignore[arg-type]
    if input.ndim == 0:
        raise ShapeError("roll of a tensor without dims along one", user_location())
    for shift, dim in pairs:
        position = normalize_dim(dim, input.ndim)  # type: ignore[arg-type]
        extent = input.shape[position]
        at = -shift % extent if extent else 0
        if at:
            parts = [narrow(input, position, at, extent - at), narrow(input, position, 0, at)]
            input = cat(parts, position)
        else:
            input = input.clone()
    return input


def _distance(input: Tensor) -> Tensor:
    """column - row of each element of the last two dims."""
    if input.ndim < 2:
        raise ShapeError(
            f"tril and triu take matrices or batches of them, not {input.ndim} dims",
            user_location(),
        )
    rows, columns = input.shape[-2:]
    return ew.sub(_numbers(columns), unsqueeze(_numbers(rows), 1))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two dims with zeros above the diagonal."""
    return ew.where(ew.le(_distance(input), diagonal), input, full((), 0, dtype=input.dtype))


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two dims with zeros below the diagonal."""
    return ew.where(ew.ge(_distance(input), diagonal), input, full((), 0, dtype=input.dtype))


def repeat(input: Tensor, *sizes: int | tuple[int, ...] | list[int]) -> Tensor:
    """The tensor laid out sizes[i] times along dim i; more sizes than dims add dims in front."""
    counts: list[int] = list(sizes[0]) if not isinstance(sizes[0], int) else list(sizes)  # type: ignore[arg-type]
    if len(counts) < input.ndim:
        raise ShapeError(
            f"repeat: {len(counts)} sizes for a tensor of {input.ndim} dims", user_location()
        )
    shape = [1] * (len(counts) - input.ndim) + list(input.shape)
    apart = [extent for pair in zip([1] * len(shape), shape, strict=True) for extent in pair]
    wide = [extent for pair in zip(counts, shape, strict=True) for extent in pair]
    repeated = broadcast_to(reshape(input, apart), wide)
    shape = [count * extent for count, extent in zip(counts, shape, strict=True)]
    return reshape(repeated, shape).clone()


def tile(input: Tensor, dims: tuple[int, ...] | list[int]) -> Tensor:
    """repeat, with as many ones in front of `dims` as it is short of."""
    return repeat(input, [1] * (input.ndim - len(dims)) + list(dims))


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Each element (along `dim`; of the flattened tensor without) `repeats` times in a row."""
    if not isinstance(repeats, int):
        raise Error(
            "repeat_interleave: repeats is an integer; by a tensor the shape would depend on values",
            user_location(),
        )
    if dim is None:
        return repeat_interleave(reshape(input, input.numel()), repeats, 0)
    if repeats < 0:
        raise Error(f"repeat_interleave: repeats={repeats} is negative", user_location())
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        raise ShapeError("repeat_interleave of a tensor without dims along one", user_location())
    shape = list(input.shape)
    wide = [*shape[: position + 1], repeats, *shape[position + 1 :]]
    shape[position] *= repeats
    return reshape(broadcast_to(unsqueeze(input, position + 1), wide), shape).clone()


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along `dim`, without it."""
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        raise ShapeError("unbind of a tensor without dims", user_location())
    return tuple(
        squeeze(narrow(input, position, i, 1), position) for i in range(input.shape[position])
    )


def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """nan, inf and -inf replaced, the infinities by the largest and the least number of the dtype."""
    if not input.dtype.is_floating_point:
        return input.clone()
    limit = _largest(input.dtype)
    result = ew.where(ew.isnan(input), nan, input)
    result = ew.where(ew.eq(result, math.inf), limit if posinf is None else posinf, result)
    return ew.where(ew.eq(result, -math.inf), -limit if neginf is None else neginf, result)


def _largest(dtype: DType) -> float:
    if dtype is dtypes.bfloat16:
        return float(np.float32(3.3895313892515355e38))
    return float(np.finfo(dtype.numpy).max)


__all__ = [
    "argsort",
    "cumsum",
    "flip",
    "index_add",
    "index_select",
    "nan_to_num",
    "repeat_interleave",
    "roll",
    "scatter_add",
    "sort",
    "take_along_dim",
    "tile",
    "topk",
    "tril",
    "triu",
    "unbind",
]
