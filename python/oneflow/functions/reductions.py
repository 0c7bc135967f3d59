"""Reductions. A mean is a sum times one over the logical count, so that it is right under every cut."""

from __future__ import annotations

import builtins
import math
from typing import NamedTuple

import numpy as np

from .. import dtypes
from ..dispatch import apply
from ..dtypes import DType
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from .elementwise import cast, maximum, minimum, mul, neg, sqrt, square, sub

Dims = int | tuple[int, ...] | list[int] | None


def normalize_dim(dim: int, rank: int) -> int:
    """`dim` counted from the front; ShapeError outside [-rank, rank). A 0-d tensor is taken as of one dim."""
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)):
        raise Error(f"dim={dim!r}: an integer is needed", user_location())
    wrapped = builtins.max(rank, 1)
    if not -wrapped <= dim < wrapped:
        raise ShapeError(f"dim {dim} does not exist: the tensor has {rank} dims", user_location())
    return int(dim) % wrapped


def _dims(dim: Dims, rank: int) -> list[int]:
    """The dims that are reduced, ascending; all of them for None and for no dims, none of a 0-d tensor."""
    given = [dim] if isinstance(dim, (int, np.integer)) else list(dim or ())
    dims = [normalize_dim(d, rank) for d in given]
    if len(set(dims)) < len(dims):
        raise ShapeError(f"dim={dim!r} names a dim twice", user_location())
    if rank == 0:
        return []
    return sorted(dims) if dims else list(range(rank))


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
    x = _floating("mean", input if dtype is None else cast(input, dtype))
    dims = _dims(dim, x.ndim)
    return mul(apply("sum", x, dims=dims, keepdim=keepdim), _reciprocal(_count(x, dims)))


def _reciprocal(count: float) -> float:
    """1 / count; infinite for no elements, which makes the 0 that they sum up to a nan, as in PyTorch."""
    return 1.0 / count if count > 0 else math.inf


def _floating(name: str, input: Tensor) -> Tensor:
    if not input.dtype.is_floating_point:
        raise DTypeError(
            f"{name} of {input.dtype!r} elements; convert with .float() first", user_location()
        )
    return input


def var(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance over `dim`, divided by count - correction (1 by default, 0 for unbiased=False).

    PyTorch's positional forms: var(x, unbiased), var(x, dim, unbiased, keepdim).
    """
    if isinstance(dim, bool):
        if unbiased is not None:
            raise Error("var: `unbiased` is given twice", user_location())
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise Error("var: `unbiased` and `correction` exclude each other", user_location())
    if correction is None:
        correction = 0 if unbiased is False else 1
    x = _floating("var", input)
    dims = _dims(dim, x.ndim)
    centered = sub(x, mean(x, tuple(dims), keepdim=True))
    total = apply("sum", square(centered), dims=dims, keepdim=keepdim)
    return mul(total, _reciprocal(_count(x, dims) - correction))


def std(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation over `dim`: the square root of var, with its arguments."""
    return sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest element over `dim`; of bools whether one is true."""
    if input.dtype is dtypes.bool_:
        return cast(amax(cast(input, dtypes.uint8), dim, keepdim), dtypes.bool_)
    return apply("amax", input, dims=_dims(dim, input.ndim), keepdim=keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest element over `dim`."""
    return cast(neg(amax(_negated(input), dim, keepdim)), input.dtype)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first largest element along `dim`, of the flattened tensor without one."""
    if input.dtype is dtypes.bool_:
        raise DTypeError("argmax of bools; convert with .int()", user_location())
    if dim is None:
        return apply("argmax", apply("reshape", input, shape=[input.numel()]), dim=0, keepdim=False)
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:  # its one element, as of one dim
        return argmax(input)
    return apply("argmax", input, dim=position, keepdim=keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first smallest element, as argmax."""
    if input.dtype is dtypes.bool_:
        raise DTypeError("argmin of bools; convert with .int()", user_location())
    return argmax(_negated(input), dim, keepdim)


def _negated(input: Tensor) -> Tensor:
    """-input in a type that has the number: the least one of a narrow integer type has no opposite in it."""
    narrow = not input.dtype.is_floating_point and input.dtype is not dtypes.int64
    return neg(cast(input, dtypes.int64) if narrow else input)


def _numbers_of(input: Tensor) -> Tensor:
    """Bools as numbers."""
    return cast(input, dtypes.uint8) if input.dtype is dtypes.bool_ else input


class ValuesAndIndices(NamedTuple):
    """What max and min along a dim return."""

    values: Tensor
    indices: Tensor


def max(
    input: Tensor,
    dim: int | Tensor | None = None,
    keepdim: bool = False,
    *,
    other: Tensor | None = None,
) -> Tensor | ValuesAndIndices:
    """The largest element; with `dim`, the largest along it and where it stands; with a tensor, maximum."""
    other = dim if isinstance(dim, Tensor) else other
    if other is not None:
        return maximum(input, other)
    assert not isinstance(dim, Tensor)
    if dim is None:
        return amax(input)
    return ValuesAndIndices(amax(input, dim, keepdim), argmax(_numbers_of(input), dim, keepdim))


def min(
    input: Tensor,
    dim: int | Tensor | None = None,
    keepdim: bool = False,
    *,
    other: Tensor | None = None,
) -> Tensor | ValuesAndIndices:
    """As max, for the smallest."""
    other = dim if isinstance(dim, Tensor) else other
    if other is not None:
        return minimum(input, other)
    assert not isinstance(dim, Tensor)
    if dim is None:
        return amin(input)
    return ValuesAndIndices(amin(input, dim, keepdim), argmin(_numbers_of(input), dim, keepdim))


def _along(op: str, input: Tensor, dim: int, dtype: DType | None) -> Tensor:
    """softmax or log_softmax along `dim`; a 0-d tensor is taken as of one dim."""
    x = input if dtype is None else cast(input, dtype)
    position = normalize_dim(dim, x.ndim)
    if x.ndim:
        return apply(op, x, dim=position)
    return apply("reshape", apply(op, apply("reshape", x, shape=[1]), dim=0), shape=[])


def softmax(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    return _along("softmax", input, dim, dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along `dim`."""
    return _along("log_softmax", input, dim, dtype)


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
