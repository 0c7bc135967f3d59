"""Elements written and looked up by integer tensors, and what PyTorch has whose shapes depend on values."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from ..tracing import current_trace
from . import elementwise as ew
from .contractions import any as _any
from .creation import full
from .gathering import _indices, _numbers, scatter_add, take_along
from .reductions import normalize_dim
from .reductions import sum as _sum
from .shapes import broadcast_to, narrow, reshape, transpose, unsqueeze


def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of the flattened tensor, in the shape of `index`; negative ones count from the end."""
    if index.dtype is not dtypes.int64:
        raise DTypeError(f"take takes an int64 index, not {index.dtype!r}", user_location())
    flat = reshape(input, input.numel())
    at = reshape(index, index.numel())
    at = ew.where(ew.lt(at, 0), ew.add(at, input.numel()), at)
    return reshape(take_along(flat, 0, at), index.shape)


def _hits(input: Tensor, position: int, index: Tensor) -> Tensor:
    """bool of input's shape: where an element of `index` points; one out of range is a DataError."""
    counts = full(input.shape, 0, dtype=dtypes.int64)
    return ew.gt(scatter_add(counts, position, index, full(index.shape, 1, dtype=dtypes.int64)), 0)


def _is_last(index: Tensor, position: int) -> Tensor:
    """bool of index's shape: no later element along the dim points to the same place."""
    along = transpose(index, position, -1) if index.ndim > 1 else index
    order = _numbers(along.shape[-1])
    later = ew.gt(order, unsqueeze(order, 1))
    same = ew.eq(unsqueeze(along, along.ndim), unsqueeze(along, along.ndim - 1))
    last = ew.logical_not(_any(ew.logical_and(same, later), -1))
    return transpose(last, position, -1) if index.ndim > 1 else last


def _write(input: Tensor, position: int, index: Tensor, src: Tensor) -> Tensor:
    """input with src written where `index` points; of several at one place the last stays."""
    is_bool = input.dtype is dtypes.bool_
    if is_bool:
        input, src = ew.cast(input, dtypes.uint8), ew.cast(src, dtypes.uint8)
    zero = full((), 0, dtype=input.dtype)
    kept = ew.where(_hits(input, position, index), zero, input)
    written = ew.where(_is_last(index, position), src, zero)
    result = scatter_add(kept, position, index, written)
    return ew.cast(result, dtypes.bool_) if is_bool else result


def _same_dtype(name: str, input: Tensor, other: Tensor) -> None:
    if input.dtype is not other.dtype:
        raise DTypeError(
            f"{name} takes two tensors of one dtype, not {input.dtype!r} and {other.dtype!r}",
            user_location(),
        )


def scatter(
    input: Tensor, dim: int, index: Tensor, src: Tensor | None = None, *, value: Any = None
) -> Tensor:
    """input with src[i][j] (or the number `value`) written at [i][index[i][j]] for dim 1.

    Of several elements at one place the last along `dim` stays, where PyTorch leaves it open; comparing the indices
    takes memory of index's shape times its extent along `dim`. An index out of range is a DataError.
    """
    position = normalize_dim(dim, input.ndim)
    index = _indices("scatter", index)
    if src is not None and not isinstance(src, Tensor):
        src, value = None, src
    if (src is None) == (value is None):
        raise Error("scatter takes one of src and value", user_location())
    if input.ndim == 0:
        whole = [reshape(x, 1) for x in (input, index, *([] if src is None else [src]))]
        return reshape(scatter(whole[0], 0, whole[1], *whole[2:], value=value), ())
    if src is None:
        number = full((), value, dtype=input.dtype)
        return ew.where(_hits(input, position, index), number, input)
    _same_dtype("scatter", input, src)
    return _write(input, position, index, _fitted("scatter", src, index))


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


def _along(input: Tensor, dim: int, index: Tensor, name: str) -> tuple[int, Tensor]:
    """The dim, and the 1-d index over all of the other dims."""
    position = normalize_dim(dim, input.ndim)
    if index.ndim > 1:
        raise ShapeError(f"{name} takes a 1-d index, not {list(index.shape)}", user_location())
    flat = _indices(name, reshape(index, index.numel()))
    shape = [1] * input.ndim
    shape[position] = flat.shape[0]
    wide = list(input.shape)
    wide[position] = flat.shape[0]
    return position, broadcast_to(reshape(flat, shape), wide)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """input with the slices of `source` where the 1-d `index` says along `dim`; the last of several stays."""
    _same_dtype("index_copy", input, source)
    if input.ndim == 0:
        one = index_copy(reshape(input, 1), dim, reshape(index, -1), reshape(source, -1))
        return reshape(one, ())
    position, wide = _along(input, dim, index, "index_copy")
    if source.shape != wide.shape:
        raise ShapeError(
            f"index_copy: {index.numel()} slices of {list(input.shape)} along dim {dim} have the shape "
            f"{list(wide.shape)}, not {list(source.shape)}",
            user_location(),
        )
    return _write(input, position, wide, source)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """input with the number `value` in the slices that the 1-d `index` names along `dim`."""
    if input.ndim == 0:
        return reshape(index_fill(reshape(input, 1), dim, index, value), ())
    position, wide = _along(input, dim, index, "index_fill")
    number = value if isinstance(value, Tensor) else full((), value, dtype=input.dtype)
    return ew.where(_hits(input, position, wide), ew.cast(number, input.dtype), input)


def searchsorted(
    sorted_sequence: Tensor, input: Any, *, right: bool = False, side: str | None = None
) -> Tensor:
    """How many elements of a sorted sequence [..., n] are less than each of [..., m] (for `right`, not greater).

    By comparing each with each: n * m comparisons. A nan is greater than all.
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise Error(f"searchsorted: side={side!r} with right={right}", user_location())
    is_right = right or side == "right"
    if not isinstance(input, Tensor):
        input = full((), input, dtype=dtypes.float32)
    if sorted_sequence.ndim == 0 or (
        sorted_sequence.ndim > 1 and sorted_sequence.shape[:-1] != input.shape[:-1]
    ):
        raise ShapeError(
            f"searchsorted of {list(input.shape)} in {list(sorted_sequence.shape)}: all dims but the last are equal, "
            "or the sequence has one",
            user_location(),
        )
    if sorted_sequence.dtype is input.dtype is dtypes.bool_:
        raise DTypeError("searchsorted of bools; convert with .int()", user_location())
    if input.dtype is not sorted_sequence.dtype:
        dtype = dtypes.promote(input.dtype, sorted_sequence.dtype)
        input, sorted_sequence = ew.cast(input, dtype), ew.cast(sorted_sequence, dtype)
    values = unsqueeze(input, input.ndim)
    others = sorted_sequence if sorted_sequence.ndim == 1 else unsqueeze(sorted_sequence, -2)
    reached = ew.gt(others, values) if is_right else ew.ge(others, values)
    return _sum(ew.logical_not(reached), -1)


def bucketize(input: Any, boundaries: Tensor, *, right: bool = False) -> Tensor:
    """The bucket of each element between sorted 1-d boundaries: bucket i ends at boundaries[i]."""
    if boundaries.ndim != 1:
        raise ShapeError(
            f"bucketize takes 1-d boundaries, not {list(boundaries.shape)}", user_location()
        )
    if not isinstance(input, Tensor):
        input = full((), input, dtype=dtypes.float32)
    return searchsorted(boundaries, input, right=right)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element is one of `test_elements`, by comparing each with each."""
    del assume_unique
    x = elements if isinstance(elements, Tensor) else Tensor(elements)
    y = test_elements if isinstance(test_elements, Tensor) else Tensor(test_elements)
    if dtypes.bool_ in (x.dtype, y.dtype):
        raise DTypeError("isin of bools; convert with .int()", user_location())
    found = _any(ew.eq(unsqueeze(x, x.ndim), reshape(y, y.numel())), -1)
    return ew.logical_not(found) if invert else found


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, .. occurs in a 1-d integer tensor, or the sums of their weights.

    Outside steps the result is as long as the largest value needs; inside a step `minlength` says how long, and a
    value beyond is a DataError.
    """
    if input.ndim != 1 or input.dtype.is_floating_point or input.dtype is dtypes.bool_:
        raise DTypeError(
            f"bincount takes a 1-d integer tensor, not {input.dtype!r}{list(input.shape)}",
            user_location(),
        )
    if minlength < 0:
        raise Error(f"bincount: minlength={minlength} is negative", user_location())
    length = minlength
    if current_trace() is None:
        values = input.numpy()
        if values.size and values.min() < 0:
            raise Error(f"bincount of the negative number {values.min()}", user_location())
        length = max(minlength, int(values.max()) + 1 if values.size else 0)
    elif minlength == 0:
        raise Error(
            "bincount inside a step needs minlength=: the largest value is not known while it is traced",
            user_location(),
        )
    index = ew.cast(input, dtypes.int64)
    if weights is None:
        weights = full(input.shape, 1, dtype=dtypes.int64)
    elif weights.dtype is not dtypes.float32:
        weights = ew.cast(weights, dtypes.float64)
    return scatter_add(full((length,), 0, dtype=weights.dtype), 0, index, weights)


def _depends_on_values(name: str, instead: str) -> Any:
    """A function whose result's shape depends on values: plans have fixed shapes."""

    def function(*args: Any, **kwargs: Any) -> Tensor:
        raise Error(
            f"{name}: the shape of its result depends on values, which a plan cannot know; {instead}",
            user_location(),
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Refused: its shape depends on values; {instead}."
    return function


_BY_MASK = "choose element by element with flow.where, or take .numpy() outside steps"
_BY_NUMPY = "outside steps take .numpy() and NumPy's function of that name"
argwhere = _depends_on_values("argwhere", _BY_MASK)
masked_scatter = _depends_on_values("masked_scatter", _BY_MASK)
masked_select = _depends_on_values("masked_select", _BY_MASK)
nonzero = _depends_on_values("nonzero", _BY_MASK)
unique = _depends_on_values("unique", _BY_NUMPY)


__all__ = [
    "argwhere",
    "bincount",
    "bucketize",
    "index_copy",
    "index_fill",
    "isin",
    "masked_scatter",
    "masked_select",
    "nonzero",
    "scatter",
    "scatter_reduce",
    "searchsorted",
    "take",
    "unique",
]
