"""Tensors put beside each other, grids of coordinates, diagonals."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..dtypes import DType, bool_, int64, uint8
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from ..views import uncertain
from . import elementwise as ew
from .creation import eye, full
from .gathering import _numbers
from .products import matmul
from .reductions import normalize_dim
from .reductions import sum as _sum
from .shapes import broadcast_to, cat, narrow, permute, reshape, unsqueeze, view


def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that tensors of `shapes` broadcast to."""

    def joined(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
        rank = max(len(a), len(b))
        wide_a, wide_b = ((1,) * (rank - len(s)) + s for s in (a, b))
        for x, y in zip(wide_a, wide_b, strict=True):
            if x != y and 1 not in (x, y):
                raise ShapeError(f"{list(a)} and {list(b)} do not broadcast", user_location())
        return tuple(y if x == 1 else x for x, y in zip(wide_a, wide_b, strict=True))

    given = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    return functools.reduce(joined, given, ())


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to the shape that they broadcast to."""
    shape = broadcast_shapes(*(x.shape for x in tensors))
    return tuple(broadcast_to(x, shape) for x in tensors)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of the grid over 1-d tensors: dim i goes with tensor i; "xy" swaps the first two dims."""
    given = (
        list(tensors[0])
        if len(tensors) == 1 and not isinstance(tensors[0], Tensor)
        else list(tensors)
    )
    if indexing not in ("ij", "xy"):
        raise Error(f"indexing={indexing!r}: 'ij' or 'xy'", user_location())
    if not given or any(x.ndim > 1 for x in given) or len({x.dtype for x in given}) > 1:
        raise ShapeError("meshgrid takes tensors of one dtype with at most 1 dim", user_location())
    vectors = [view(x, x.numel()) for x in given]
    shape = [x.shape[0] for x in vectors]
    swapped = indexing == "xy" and len(vectors) > 1
    if swapped:
        shape[0], shape[1] = shape[1], shape[0]
    grids = []
    for i, x in enumerate(vectors):
        place = 1 - i if swapped and i < 2 else i
        own = [1] * len(shape)
        own[place] = x.shape[0]
        grids.append(broadcast_to(view(x, own), shape))
    return tuple(grids)


def _at_least(rank: int, tensors: tuple[Any, ...], grow: Any) -> Any:
    """Of one tensor one, of several (also in one sequence) a tuple."""
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return grow(tensors[0])
    several = tensors[0] if len(tensors) == 1 else tensors
    return tuple(grow(x) for x in several)


def _grown(rank: int, x: Tensor) -> Tensor:
    if x.ndim >= rank:
        return x
    if rank == 1:
        return view(x, 1)
    if rank == 2:
        return view(x, 1, *(x.shape or (1,)))
    return view(x, 1, *(x.shape or (1,)), 1) if x.ndim < 2 else unsqueeze(x, 2)


def atleast_1d(*tensors: Any) -> Any:
    """0-d tensors as [1]."""
    return _at_least(1, tensors, functools.partial(_grown, 1))


def atleast_2d(*tensors: Any) -> Any:
    """[n] as [1, n], [] as [1, 1]."""
    return _at_least(2, tensors, functools.partial(_grown, 2))


def atleast_3d(*tensors: Any) -> Any:
    """[n, m] as [n, m, 1], [n] as [1, n, 1], [] as [1, 1, 1]."""
    return _at_least(3, tensors, functools.partial(_grown, 3))


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """cat along dim 1; of 1-d tensors along dim 0."""
    grown = [_grown(1, x) for x in tensors]
    return cat(grown, 0 if grown and grown[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """cat along dim 0, where 1-d tensors are rows."""
    return cat([_grown(2, x) for x in tensors], 0)


def _pair_of_dims(name: str, rank: int, dim1: int, dim2: int) -> tuple[int, int]:
    first, second = normalize_dim(dim1, rank), normalize_dim(dim2, rank)
    if rank < 2 or first == second:
        raise ShapeError(f"{name}: dims {dim1} and {dim2} of {rank} are no two", user_location())
    return first, second


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements whose places in dim1 and dim2 differ by `offset`, along a new last dim."""
    first, second = _pair_of_dims("diagonal", input.ndim, dim1, dim2)
    rest = [d for d in range(input.ndim) if d not in (first, second)]
    x = permute(input, [*rest, first, second])
    rows, columns = x.shape[-2:]
    above, left = max(-offset, 0), max(offset, 0)
    count = max(min(rows - above, columns - left), 0)
    if not count:
        return full([*x.shape[:-2], 0], 0, dtype=x.dtype)
    square = narrow(narrow(x, -2, above, count), -1, left, count)
    if square.dtype is bool_:  # which have no sum
        return ew.gt(diagonal(ew.cast(input, uint8), offset, dim1, dim2), 0)
    wanted = ew.cast(eye(count), x.dtype)
    # What stands beside the diagonal, nan too, has no part in the sum.
    picked = ew.where(ew.gt(wanted, 0), square, full((), 0, dtype=x.dtype))
    result = ew.cast(_sum(picked, -1), x.dtype)
    return uncertain(result, input, "diagonal() is a copy here and a view in PyTorch")


_diagonal = diagonal


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dim as the diagonal [i, i + offset] of two dims of the result, zeros elsewhere."""
    if input.ndim == 0:
        raise ShapeError("diag_embed of a tensor without dims", user_location())
    first, second = _pair_of_dims("diag_embed", input.ndim + 1, dim1, dim2)
    count = input.shape[-1]
    size = count + abs(offset)
    before = max(-offset, 0)
    numbers = _numbers(size)
    rows = unsqueeze(numbers, 1)
    on = ew.eq(ew.add(rows, offset), numbers)
    # Row i holds element i - before; rows beyond have no element of the diagonal.
    parts = [
        full((*input.shape[:-1], n), 0, dtype=input.dtype) for n in (before, size - before - count)
    ]
    padded = cat([parts[0], input, parts[1]], input.ndim - 1)
    matrix = ew.where(on, unsqueeze(padded, input.ndim), full((), 0, dtype=input.dtype))
    order = [d for d in range(input.ndim + 1) if d not in (first, second)]
    places = {d: i for i, d in enumerate([*order, first, second])}
    return permute(matrix, [places[d] for d in range(input.ndim + 1)])


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with a vector as its diagonal."""
    if input.ndim not in (1, 2):
        raise ShapeError(f"diag takes a vector or a matrix, not {input.ndim} dims", user_location())
    return diag_embed(input, diagonal) if input.ndim == 1 else _diagonal(input, diagonal)


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise ShapeError(f"trace takes a matrix, not {input.ndim} dims", user_location())
    if input.dtype is dtypes.bool_:
        raise DTypeError("trace of bools; convert with .int()", user_location())
    return _sum(diagonal(input))


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


def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """Sums of products over the last dims of `a` and the first of `b`, or over the dims given for each."""
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot over {dims} dims of {a.ndim} and {b.ndim}", user_location()
            )
        of_a, of_b = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        of_a = [normalize_dim(d, a.ndim) for d in dims[0]]
        of_b = [normalize_dim(d, b.ndim) for d in dims[1]]
    if [a.shape[d] for d in of_a] != [b.shape[d] for d in of_b]:
        raise ShapeError(
            f"tensordot of {list(a.shape)} over {of_a} and {list(b.shape)} over {of_b}",
            user_location(),
        )
    free_a = [d for d in range(a.ndim) if d not in of_a]
    free_b = [d for d in range(b.ndim) if d not in of_b]
    summed = math.prod(a.shape[d] for d in of_a)
    rows, columns = [a.shape[d] for d in free_a], [b.shape[d] for d in free_b]

    left = reshape(permute(a, [*free_a, *of_a]), [math.prod(rows), summed])
    right = reshape(permute(b, [*of_b, *free_b]), [summed, math.prod(columns)])
    return view(matmul(left, right), [*rows, *columns])


__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_shapes",
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
