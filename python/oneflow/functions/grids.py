"""Tensors put beside each other, grids of coordinates, diagonals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import DType, int64
from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from ..views import uncertain
from . import elementwise as ew
from .creation import eye, full
from .products import matmul
from .reductions import normalize_dim
from .reductions import sum as _sum
from .shapes import broadcast_to, cat, narrow, permute, reshape, unsqueeze, view


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors expanded to the shape that they have together."""
    try:
        shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
    except ValueError:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
        raise ShapeError(f"{shapes} do not broadcast", user_location()) from None
    return tuple(broadcast_to(tensor, shape) for tensor in tensors)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid with the given 1-d axes; "xy" swaps the first two dims."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise Error(f"meshgrid: indexing={indexing!r}: 'ij' or 'xy'", user_location())
    order = list(range(len(tensors)))
    if indexing == "xy" and len(order) > 1:
        order[0], order[1] = 1, 0
    shape = [tensors[i].numel() for i in order]
    result = []
    for i, tensor in enumerate(tensors):
        own = [1] * len(shape)
        own[order.index(i)] = -1
        result.append(broadcast_to(view(tensor, own), shape))
    return tuple(result)


def atleast_2d(tensor: Tensor) -> Tensor:
    """With dims of extent 1 in front until there are two."""
    return view(tensor, [1] * (2 - tensor.ndim) + list(tensor.shape)) if tensor.ndim < 2 else tensor


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """cat along dim 1; of 1-d tensors along dim 0."""
    wide = [tensor if tensor.ndim else view(tensor, 1) for tensor in tensors]
    return cat(wide, 0 if wide[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """cat along dim 0, where 1-d tensors are rows."""
    return cat([atleast_2d(tensor) for tensor in tensors], 0)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements whose places in dim1 and dim2 differ by `offset`, along a new last dim."""
    first, second = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    if first == second:
        raise ShapeError(f"diagonal of dim {first} and itself", user_location())
    rest = [d for d in range(input.ndim) if d not in (first, second)]
    x = permute(input, [*rest, first, second])
    rows, columns = x.shape[-2:]
    x = narrow(x, -2, min(max(-offset, 0), rows), max(rows - max(-offset, 0), 0))
    x = narrow(x, -1, min(max(offset, 0), columns), max(columns - max(offset, 0), 0))
    count = min(x.shape[-2:])
    if not count:
        return full([*x.shape[:-2], 0], 0, dtype=x.dtype)
    square = narrow(narrow(x, -2, 0, count), -1, 0, count)
    wanted = ew.cast(eye(count), x.dtype)
    # What stands beside the diagonal, nan too, has no part in the sum.
    picked = ew.where(ew.gt(wanted, 0), square, full((), 0, dtype=x.dtype))
    result = ew.cast(_sum(picked, -1), x.dtype)
    return uncertain(result, input, "diagonal() is a copy here and a view in PyTorch")


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    return _sum(diagonal(input))


def diag_embed(input: Tensor) -> Tensor:
    """[..., n] to [..., n, n] with the elements on the diagonal and zeros beside it."""
    wanted = ew.gt(eye(input.shape[-1]), 0)
    return ew.where(wanted, unsqueeze(input, -1), full((), 0, dtype=input.dtype))


def diag(input: Tensor) -> Tensor:
    """The diagonal of a matrix, or the matrix with this diagonal."""
    return diag_embed(input) if input.ndim == 1 else diagonal(input)


def _triangle(rows: int, columns: int, kept: np.ndarray, dtype: DType) -> Tensor:
    return Tensor(np.stack(np.nonzero(kept.reshape(rows, columns))), dtype)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = int64, device: Any = None
) -> Tensor:
    """[2, n]: rows and columns of the elements on and below a diagonal, row by row."""
    return _triangle(row, col, np.tri(row, col, offset, dtype=bool), dtype)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = int64, device: Any = None
) -> Tensor:
    """[2, n]: rows and columns of the elements on and above a diagonal, row by row."""
    return _triangle(row, col, ~np.tri(row, col, offset - 1, dtype=bool), dtype)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over the last dims of `a` and the first of `b`, or over the dims given for each."""
    if isinstance(dims, int):
        dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
    left = [normalize_dim(d, a.ndim) for d in dims[0]]
    right = [normalize_dim(d, b.ndim) for d in dims[1]]
    rows = [d for d in range(a.ndim) if d not in left]
    columns = [d for d in range(b.ndim) if d not in right]
    x, y = permute(a, [*rows, *left]), permute(b, [*right, *columns])
    shape = [*(a.shape[d] for d in rows), *(b.shape[d] for d in columns)]
    summed = math.prod(a.shape[d] for d in left)
    return view(matmul(reshape(x, -1, summed), reshape(y, summed, -1)), shape)


__all__ = [
    "atleast_2d",
    "broadcast_tensors",
    "diag",
    "diag_embed",
    "diagonal",
    "hstack",
    "meshgrid",
    "tensordot",
    "trace",
    "tril_indices",
    "triu_indices",
    "vstack",
]
