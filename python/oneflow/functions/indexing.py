"""x[...] and x[...] = v by ints, slices, None, `...`, integer tensors; bools where their shape tells that of the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes, views
from ..dispatch import apply
from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .gathering import index_select, take_along
from .scattering import index_copy, linear
from .shapes import broadcast_to, view
from .writing import write


def _whole(item: Any) -> bool:
    return isinstance(item, slice) and item == slice(None)


def _dims_of(item: Any) -> int:
    """How many dims of the tensor an item of the index is about."""
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, Tensor) and item.dtype is dtypes.bool_ else 1


def _items(input: Tensor, index: Any) -> list[Any]:
    """One item per dim, `...` written out, lists and arrays as tensors, integers that are known as ints."""
    items = list(index) if isinstance(index, tuple) else [index]
    for i, item in enumerate(items):
        if isinstance(item, (list, np.ndarray, np.integer)):
            items[i] = item = Tensor(item)
        if (
            isinstance(item, Tensor)
            and not item.ndim
            and isinstance(item._source, np.ndarray)
            and item.dtype is not dtypes.bool_
        ):
            items[i] = int(item)
    consumed = sum(_dims_of(item) for item in items)
    if consumed > input.ndim:
        raise ShapeError(f"{consumed} indices for a tensor with {input.ndim} dims", user_location())
    position = next((i for i, item in enumerate(items) if item is Ellipsis), None)
    rest: list[Any] = [slice(None)] * (input.ndim - consumed)
    if position is None:
        return items + rest
    items[position : position + 1] = rest
    if any(item is Ellipsis for item in items):
        raise ShapeError("`...` stands twice in an index", user_location())
    return items


def getitem(input: Tensor, index: Any) -> Tensor:
    """Indexing as in NumPy and PyTorch; ints and slices alone give a view."""
    items = _items(input, index)
    named = [i for i, item in enumerate(items) if isinstance(item, Tensor)]
    return _by_tensors(input, items, named) if named else _basic(input, items)


def _basic(input: Tensor, items: list[Any]) -> Tensor:
    result, shape, dim = input, [], 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        extent = input.shape[dim]
        if isinstance(item, slice):
            start, stop, step = item.indices(extent)
            if step <= 0:
                raise ShapeError("a slice needs a positive step; use flip", user_location())
            stop = max(start, stop)
            taken = len(range(start, stop, step))
            if taken <= 1:  # a step that leads beyond the end is none
                stop, step = start + taken, 1
            if taken != extent:
                result = apply("slice", result, dim=dim, start=start, stop=stop, step=step)
            shape.append(taken)
        elif isinstance(item, int) and not isinstance(item, bool):
            if not -extent <= item < extent:
                raise ShapeError(
                    f"index {item} is out of range for dim {dim} of extent {extent}",
                    user_location(),
                )
            start = item % extent
            if extent != 1:
                result = apply("slice", result, dim=dim, start=start, stop=start + 1, step=1)
        else:
            raise Error(
                f"a tensor is indexed by {type(item).__name__}; ints, slices, None, ... and integer tensors can be "
                "used",
                user_location(),
            )
        dim += 1
    return view(result, shape) if tuple(shape) != result.shape else result


def _refuse_bools(items: list[Any]) -> None:
    if any(isinstance(item, Tensor) and item.dtype is dtypes.bool_ for item in items):
        raise Error(
            "a tensor is indexed by bools: the shape would depend on their values; use flow.where",
            user_location(),
        )


def _split(input: Tensor, items: list[Any], named: list[int]) -> tuple[Tensor, int, list[Tensor]]:
    """The view of `input` by all items but the tensors, the dim in it of the first tensor, the tensors."""
    _refuse_bools(items)
    fixed = [i for i, item in enumerate(items) if isinstance(item, int) or i in named]
    if fixed != list(range(fixed[0], fixed[-1] + 1)):
        raise Error(
            "integer tensors with a slice or None between them or between them and an int as index: PyTorch moves "
            "their dims to the front; index twice, or permute before",
            user_location(),
        )
    others = [slice(None) if i in named else item for i, item in enumerate(items)]
    # Ints beside the tensors vanish, slices and None before them stay.
    return _basic(input, others), fixed[0], [items[i] for i in named]


def _by_tensors(input: Tensor, items: list[Any], named: list[int]) -> Tensor:
    x, dim, indices = _split(input, items, named)
    count = len(indices)
    before, extents, behind = x.shape[:dim], x.shape[dim : dim + count], x.shape[dim + count :]
    if count == 2 and _counts_up(indices[0], extents[0]) and indices[1].shape == indices[0].shape:
        # x[arange(n), index]: one element of each row, and rows may lie on several devices.
        index = ew.where(ew.lt(indices[1], 0), ew.add(indices[1], extents[1]), indices[1])
        index = view(index, [1] * dim + [extents[0], 1] + [1] * len(behind))
        rows = take_along(x, dim + 1, broadcast_to(index, [*before, extents[0], 1, *behind]))
        return view(rows, [*before, extents[0], *behind])
    index, shape = linear(tuple(indices), extents)
    if count > 1:
        x = view(x, [*before, -1, *behind])
    return view(index_select(x, dim, index), [*before, *shape, *behind])


def _counts_up(index: Tensor, extent: int) -> bool:
    """True for 0, 1, .., extent - 1, where that is known while tracing."""
    source = index._source
    return isinstance(source, np.ndarray) and np.array_equal(source, np.arange(extent))


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """x[index] = value, with what `getitem` takes, and one bool tensor; seen by all views of the tensor."""
    items = _items(input, index)
    named = [i for i, item in enumerate(items) if isinstance(item, Tensor)]
    if not named:
        target = _basic(input, items)
        # `x[i] += 1` writes into x[i] and then asks for x[i] = x[i].
        if not (isinstance(value, Tensor) and views.same(target, value)):
            write(target, value)
        return
    if len(named) == 1 and items[named[0]].dtype is dtypes.bool_:
        _write_where(input, items, named[0], value)
        return
    x, dim, indices = _split(input, items, named)
    count = len(indices)
    before, extents, behind = x.shape[:dim], x.shape[dim : dim + count], x.shape[dim + count :]
    flat, shape = linear(tuple(indices), extents)
    rows = view(x, [*before, -1, *behind]) if count > 1 else x
    if isinstance(value, np.ndarray):
        value = Tensor(value)
    if isinstance(value, Tensor) and value.ndim:
        value = view(
            broadcast_to(value, [*before, *shape, *behind]), [*before, flat.shape[0], *behind]
        )
    write(rows, index_copy(rows, dim, flat, value))


def _write_where(input: Tensor, items: list[Any], position: int, value: Any) -> None:
    """x[mask] = value: which elements are written depends on values, how the result looks does not."""
    mask = items[position]
    others = [item for i, item in enumerate(items) if i != position]
    if not all(_whole(item) for item in others):
        raise Error(
            "a bool tensor beside ints, slices or None as index; index twice: `x[:, 0][mask] = v`",
            user_location(),
        )
    if mask.shape != input.shape[position : position + mask.ndim]:
        raise ShapeError(
            f"a mask of shape {list(mask.shape)} for a tensor of shape {list(input.shape)}",
            user_location(),
        )
    behind = input.ndim - position - mask.ndim
    if isinstance(value, Tensor) and (value.ndim > behind or (position and value.ndim)):
        raise Error(
            "a value with an element for each True of a mask: how many there are is not known; use flow.where with a "
            "value of the tensor's shape",
            user_location(),
        )
    mask = view(mask, [*mask.shape, *[1] * behind])
    if not isinstance(value, Tensor):
        write(input, ew.masked_fill(input, mask, value))
        return
    write(input, ew.where(mask, ew.cast(value, input.dtype), input))


__all__ = ["getitem", "setitem"]
