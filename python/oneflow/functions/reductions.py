"""Reductions. A mean is a sum times one over the logical count, so that it is right under every cut."""

from __future__ import annotations

from typing import NamedTuple

from .. import dtypes
from ..dispatch import apply
from ..dtypes import DType
from ..errors import DTypeError, ShapeError
from ..location import user_location
from ..tensor import Tensor
from .elementwise import cast, cast_to_float, mul, neg, sqrt, square, sub

Dims = int | tuple[int, ...] | list[int] | None


def normalize_dim(dim: int, rank: int) -> int:
    """`dim` counted from the front; ShapeError outside [-rank, rank)."""
    if not -rank <= dim < rank:
        raise ShapeError(f"dim {dim} does not exist: the tensor has {rank} dims", user_location())
    return dim % rank


def _dims(dim: Dims, rank: int) -> list[int]:
    if dim is None:
        return list(range(rank))
    dims = [dim] if isinstance(dim, int) else list(dim)
    return sorted({normalize_dim(d, rank) for d in dims})


def _count(input: Tensor, dims: list[int]) -> int:
    count = 1
    for d in dims:
        count *= input.shape[d]
    return count


def sum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Sum over `dim` (all dims by default); integers and bools add up in int64."""
    if dtype is None and not input.dtype.is_floating_point:
        dtype = dtypes.int64
    x = input if dtype is None else cast(input, dtype)
    return apply("sum", x, dims=_dims(dim, x.ndim), keepdim=keepdim)


def mean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Mean over `dim` (all dims by default)."""
    x = input if dtype is None else cast(input, dtype)
    if not x.dtype.is_floating_point:
        raise DTypeError(
            f"mean of {x.dtype!r} elements; convert with .float() first", user_location()
        )
    dims = _dims(dim, x.ndim)
    return mul(apply("sum", x, dims=dims, keepdim=keepdim), 1.0 / max_(_count(x, dims), 1))


def max_(a: int, b: int) -> int:
    return a if a > b else b


def var(input: Tensor, dim: Dims = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Variance over `dim`, divided by count - correction."""
    x = cast_to_float(input)
    dims = _dims(dim, x.ndim)
    centered = sub(x, mean(x, tuple(dims), keepdim=True))
    total = apply("sum", square(centered), dims=dims, keepdim=keepdim)
    return mul(total, 1.0 / max_(_count(x, dims) - correction, 1))


def std(input: Tensor, dim: Dims = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Standard deviation over `dim`."""
    return sqrt(var(input, dim, correction=correction, keepdim=keepdim))


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest element over `dim`."""
    return apply("amax", input, dims=_dims(dim, input.ndim), keepdim=keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest element over `dim`."""
    return neg(amax(neg(input), dim, keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first largest element along `dim`, of the flattened tensor without one."""
    if dim is None:
        return apply("argmax", apply("reshape", input, shape=[input.numel()]), dim=0, keepdim=False)
    return apply("argmax", input, dim=normalize_dim(dim, input.ndim), keepdim=keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return argmax(neg(input), dim, keepdim)


class ValuesAndIndices(NamedTuple):
    """What max and min along a dim return."""

    values: Tensor
    indices: Tensor


def max(
    input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False
) -> Tensor | ValuesAndIndices:
    """The largest element; with `dim`, the largest along it and where it stands; with a tensor, maximum."""
    if isinstance(dim, Tensor):
        from .elementwise import maximum

        return maximum(input, dim)
    if dim is None:
        return amax(input)
    return ValuesAndIndices(amax(input, dim, keepdim), argmax(input, dim, keepdim))


def min(
    input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False
) -> Tensor | ValuesAndIndices:
    """As max, for the smallest."""
    if isinstance(dim, Tensor):
        from .elementwise import minimum

        return minimum(input, dim)
    if dim is None:
        return amin(input)
    return ValuesAndIndices(amin(input, dim, keepdim), argmin(input, dim, keepdim))


def softmax(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    x = input if dtype is None else cast(input, dtype)
    return apply("softmax", x, dim=normalize_dim(dim, x.ndim))


def log_softmax(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along `dim`."""
    x = input if dtype is None else cast(input, dtype)
    return apply("log_softmax", x, dim=normalize_dim(dim, x.ndim))


__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "log_softmax",
    "max",
    "mean",
    "min",
    "softmax",
    "std",
    "sum",
    "var",
]
