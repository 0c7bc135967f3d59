"""x[...] by ints, slices, None, `...` and one integer tensor."""

from __future__ import annotations

from typing import Any

from ..dispatch import apply
from ..dtypes import bool_
from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from .elementwise import add, lt, where
from .gathering import index_select
from .shapes import reshape


def getitem(input: Tensor, index: Any) -> Tensor:
    """Basic indexing, as in NumPy and PyTorch."""
    items = list(index) if isinstance(index, tuple) else [index]
    named = [i for i, item in enumerate(items) if isinstance(item, Tensor) and item.ndim > 0]
    if len(named) == 1 and not items[named[0]].dtype.is_floating_point:
        return _by_tensor(input, items, named[0])
    consumed = sum(1 for item in items if item is not None and item is not Ellipsis)
    if consumed > input.ndim:
        raise ShapeError(f"{consumed} indices for a tensor with {input.ndim} dims", user_location())
    if Ellipsis in [item for item in items if item is Ellipsis]:
        position = next(i for i, item in enumerate(items) if item is Ellipsis)
        items[position : position + 1] = [slice(None)] * (input.ndim - consumed)
    else:
        items += [slice(None)] * (input.ndim - consumed)
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
                f"a tensor is indexed by {type(item).__name__}; ints, slices, None and ... can be used (the shape of "
                "a selection by a mask would depend on its values: use flow.where)",
                user_location(),
            )
        dim += 1
    return reshape(result, shape) if tuple(shape) != result.shape else result


def _by_tensor(input: Tensor, items: list[Any], position: int) -> Tensor:
    """One integer tensor among ints, slices, None and `...`: rows of its dim, in the shape of the index."""
    index = items[position]
    if index.dtype is bool_:
        raise Error(
            "a tensor is indexed by bools: the shape would depend on their values; use flow.where",
            user_location(),
        )
    if any(isinstance(item, int) for item in items):
        raise Error(
            "an integer tensor beside an int as index; write the int as a slice, or index twice",
            user_location(),
        )
    # The other items first, the tensor's dim whole; then its place among the dims that are left.
    others = [slice(None) if i == position else item for i, item in enumerate(items)]
    x = getitem(input, tuple(others))
    after = [item for item in items[position + 1 :] if item is not Ellipsis]
    if Ellipsis in [item for item in items[position + 1 :] if item is Ellipsis]:
        dim = position
    elif any(item is Ellipsis for item in items[:position]):
        dim = x.ndim - 1 - len(after)
    else:
        dim = position
    extent = x.shape[dim]
    wrapped = where(lt(index, 0), add(index, extent), index)
    rows = index_select(x, dim, reshape(wrapped, -1))
    return reshape(rows, [*x.shape[:dim], *index.shape, *x.shape[dim + 1 :]])


__all__ = ["getitem"]
