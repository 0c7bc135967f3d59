"""PyTorch's `torch.linalg`, as far as it is made of products and sums: norms, products, diagonals.

What needs a factorisation (inverses, determinants, eigenvalues) is not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .dtypes import DType
from .errors import DTypeError, Error, ShapeError
from .functions import (
    abs,
    amax,
    amin,
    cast,
    matmul,
    matrix_power,
    mul,
    reshape,
)
from .functions import cross as _cross
from .functions import diagonal as _diagonal
from .functions import norm as _norm
from .functions import sum as _sum
from .functions.reductions import normalize_dim
from .location import user_location
from .tensor import Tensor

Dims = int | tuple[int, ...] | list[int] | None


def _floating(name: str, x: Tensor, dtype: DType | None) -> Tensor:
    """The elements in `dtype`; DTypeError for integers."""
    found = x if dtype is None else cast(x, dtype)
    if not found.dtype.is_floating_point:
        raise DTypeError(f"{name} of {found.dtype!r}; convert with .float()", user_location())
    return found


def vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """The norm of the order `ord` (a number, inf or -inf) over `dim`, all dims by default."""
    return _norm(_floating("vector_norm", x, dtype), ord, dim, keepdim)


def matrix_norm(
    input: Tensor,
    ord: str | float = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """The norm of matrices over two dims: "fro", or the largest (1, inf) or least (-1, -inf) sum of sizes of a column or a
    row. Those made of singular values ("nuc", 2, -2) are refused."""
    x = _floating("matrix_norm", input, dtype)
    if x.ndim < 2 or len(dim) != 2:
        raise ShapeError(
            f"matrix_norm takes two dims of a tensor that has them, not {tuple(dim)} of {list(x.shape)}",
            user_location(),
        )
    row, column = (normalize_dim(d, x.ndim) for d in dim)
    if row == column:
        raise ShapeError(f"matrix_norm: dim={tuple(dim)} names one dim twice", user_location())
    if ord == "fro":
        return _norm(x, 2, (row, column), keepdim)
    if ord not in (1, -1, math.inf, -math.inf):
        raise Error(
            f"matrix_norm: ord={ord!r}: 'fro', 1, -1, inf or -inf; there are no singular values",
            user_location(),
        )
    summed, kept = (row, column) if ord in (1, -1) else (column, row)
    sums = _sum(abs(x), summed, True)
    largest = amax if ord > 0 else amin
    result = largest(sums, kept, True)
    if keepdim:
        return result
    return reshape(result, [e for d, e in enumerate(x.shape) if d not in (row, column)])


def norm(
    input: Tensor,
    ord: str | float | None = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """vector_norm over one dim, or of all elements where neither `ord` nor `dim` is given; matrix_norm over two."""
    if ord is None:
        return vector_norm(input, 2, dim, keepdim, dtype=dtype)
    if dim is None and input.ndim in (1, 2):
        dim = 0 if input.ndim == 1 else (0, 1)
    dims = (dim,) if isinstance(dim, int) else tuple(dim or ())
    if len(dims) == 2:
        return matrix_norm(input, ord, dims, keepdim, dtype=dtype)
    if len(dims) != 1 or isinstance(ord, str):
        raise ShapeError(
            f"norm: ord={ord!r} is for one dim (a number) or two, not for {list(input.shape)} with dim={dim}",
            user_location(),
        )
    return vector_norm(input, ord, dims[0], keepdim, dtype=dtype)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product along `dim` of extent 3."""
    return _cross(input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The elements whose places in dim1 and dim2 differ by `offset`, along a new last dim."""
    return _diagonal(A, offset, dim1, dim2)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sum of x * y along `dim`."""
    return _sum(mul(x, y), dim)


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of matrices, in the order that costs least; the first and the last may be vectors."""
    chain = list(tensors)
    if len(chain) < 2:
        raise ShapeError("multi_dot takes two tensors or more", user_location())
    first, last = chain[0].ndim == 1, chain[-1].ndim == 1
    if first:
        chain[0] = reshape(chain[0], 1, chain[0].shape[0])
    if last:
        chain[-1] = reshape(chain[-1], chain[-1].shape[0], 1)
    for a, b in zip(chain, chain[1:], strict=False):
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            raise ShapeError(
                f"multi_dot: {list(a.shape)} and {list(b.shape)} have no product", user_location()
            )
    result = _cheapest(chain)
    shape = [*([] if first else [result.shape[0]]), *([] if last else [result.shape[1]])]
    return reshape(result, shape) if first or last else result


def _cheapest(chain: list[Tensor]) -> Tensor:
    """The product of a chain by the parentheses of least cost (dynamic programming over its parts)."""
    count = len(chain)
    extents = [x.shape[0] for x in chain] + [chain[-1].shape[1]]
    cost = [[0] * count for _ in range(count)]
    cut = [[0] * count for _ in range(count)]
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            ways = [
                (cost[i][k] + cost[k + 1][j] + extents[i] * extents[k + 1] * extents[j + 1], k)
                for k in range(i, j)
            ]
            cost[i][j], cut[i][j] = min(ways)

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return chain[i]
        k = cut[i][j]
        return matmul(product(i, k), product(k + 1, j))

    return product(0, count - 1)


__all__ = [
    "cross",
    "diagonal",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "multi_dot",
    "norm",
    "vecdot",
    "vector_norm",
]
