"""Elements looked up among others and counted; and PyTorch's functions whose shapes depend on values, which raise."""

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
from .gathering import scatter_add, take_along
from .reductions import sum as _sum
from .shapes import reshape, unsqueeze


def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of the flattened tensor, in the shape of `index`; negative ones count from the end."""
    if index.dtype is not dtypes.int64:
        raise DTypeError(f"take takes an int64 index, not {index.dtype!r}", user_location())
    flat = reshape(input, input.numel())
    at = reshape(index, index.numel())
    at = ew.where(ew.lt(at, 0), ew.add(at, input.numel()), at)
    return reshape(take_along(flat, 0, at), index.shape)


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
    "isin",
    "masked_scatter",
    "masked_select",
    "nonzero",
    "searchsorted",
    "take",
    "unique",
]
