"""More products of vectors, matrices and tensors, composed of matmul and multiplication."""

from __future__ import annotations

from .. import dtypes
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .contractions import dot, outer, scaled_sum
from .creation import full
from .gathering import _numbers, roll
from .grids import tensordot
from .products import matmul
from .reductions import normalize_dim
from .shapes import broadcast_to, cat, reshape, unsqueeze


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """dot: there are no complex numbers here."""
    return dot(input, other)


def ger(input: Tensor, vec2: Tensor) -> Tensor:
    """outer."""
    return outer(input, vec2)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dims of both; of a 0-d tensor the product."""
    if input.ndim == 0 or other.ndim == 0:
        return ew.mul(input, other)
    return tensordot(input, other, ((-1,), (-1,)))


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    if mat.ndim != 2 or vec.ndim != 1:
        raise ShapeError(
            f"addmv takes a matrix and a vector, not {mat.ndim} and {vec.ndim} dims",
            user_location(),
        )
    return scaled_sum("addmv", input, matmul(mat, vec), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    if vec1.ndim != 1 or vec2.ndim != 1:
        raise ShapeError(
            f"addr takes two vectors, not {vec1.ndim} and {vec2.ndim} dims", user_location()
        )
    input, vec1, vec2 = ew.promoted(input, vec1, vec2)
    if isinstance(beta, float) and not input.dtype.is_floating_point:
        raise DTypeError(
            f"addr: beta={beta} of {input.dtype!r}; convert with .float()", user_location()
        )
    return scaled_sum("addr", input, outer(vec1, vec2), beta, alpha)


def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * the sum over the batch of batch1 @ batch2."""
    if batch1.ndim != 3 or batch2.ndim != 3 or batch1.shape[0] != batch2.shape[0]:
        raise ShapeError(
            f"addbmm takes batches [b, n, k] and [b, k, m], not {list(batch1.shape)} and {list(batch2.shape)}",
            user_location(),
        )
    return scaled_sum("addbmm", input, tensordot(batch1, batch2, ((0, 2), (0, 1))), beta, alpha)


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: blocks of `other` times each element of `input`."""
    rank = max(input.ndim, other.ndim)
    a = [1] * (rank - input.ndim) + list(input.shape)
    b = [1] * (rank - other.ndim) + list(other.shape)
    apart_a = [extent for pair in zip(a, [1] * rank, strict=True) for extent in pair]
    apart_b = [extent for pair in zip([1] * rank, b, strict=True) for extent in pair]
    product = ew.mul(reshape(input, apart_a), reshape(other, apart_b))
    return reshape(product, [x * y for x, y in zip(a, b, strict=True)])


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product along `dim` of extent 3, by default the first such."""
    a, b = input, other
    if a.dtype is not b.dtype:
        raise DTypeError(f"cross of {a.dtype!r} and {b.dtype!r}; convert one", user_location())
    if a.dtype is dtypes.bool_:
        raise DTypeError("cross of bools; convert with .int()", user_location())
    if a.ndim != b.ndim:
        raise ShapeError(f"cross of {a.ndim} and {b.ndim} dims", user_location())
    if dim is None:
        if 3 not in a.shape:
            raise ShapeError(f"cross: no dim of {list(a.shape)} has extent 3", user_location())
        dim = a.shape.index(3)
    position = normalize_dim(dim, a.ndim)
    if a.ndim == 0 or a.shape[position] != 3 or b.shape[position] != 3:
        raise ShapeError(f"cross: dim {dim} of {list(a.shape)} has no 3 elements", user_location())

    def turned(x: Tensor, by: int) -> Tensor:
        return roll(x, -by, position)

    return ew.sub(ew.mul(turned(a, 1), turned(b, 2)), ew.mul(turned(a, 2), turned(b, 1)))


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices, from the left."""
    if not matrices or any(x.ndim != 2 for x in matrices):
        raise ShapeError("chain_matmul takes matrices", user_location())
    result = matrices[0]
    for x in matrices[1:]:
        result = matmul(result, x)
    return result


def matrix_power(input: Tensor, n: int) -> Tensor:
    """A square matrix (or a batch of them) to the power n from 0, by squaring."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise ShapeError(
            f"matrix_power takes square matrices, not {list(input.shape)}", user_location()
        )
    if n < 0:
        raise Error(
            f"matrix_power: n={n} needs an inverse, which has no kernel here", user_location()
        )
    if not input.dtype.is_floating_point:
        raise DTypeError(f"matrix_power of {input.dtype!r}; convert with .float()", user_location())
    if n == 0:
        numbers = _numbers(input.shape[-1])
        one = ew.cast(ew.eq(unsqueeze(numbers, 1), numbers), input.dtype)
        return broadcast_to(one, input.shape).clone()
    if n == 1:
        return input.clone()
    result: Tensor | None = None
    while n:
        if n & 1:
            result = input if result is None else matmul(result, input)
        n >>= 1
        input = matmul(input, input) if n else input
    assert result is not None
    return result


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803 (PyTorch's)
    """Columns of powers of a 1-d tensor, from the highest (from 0 if `increasing`); N of them."""
    if x.ndim != 1:
        raise ShapeError(f"vander takes a 1-d tensor, not {x.ndim} dims", user_location())
    count = x.shape[0] if N is None else N
    if count < 0:
        raise Error(f"vander: N={N} is negative", user_location())
    base = x if x.dtype.is_floating_point else ew.cast(x, dtypes.int64)
    if count == 0:
        return full((x.shape[0], 0), 0, dtype=base.dtype)
    columns = [full(base.shape, 1, dtype=base.dtype)]
    for _ in range(count - 1):
        columns.append(ew.mul(columns[-1], base))
    ordered = columns if increasing else columns[::-1]
    return cat([unsqueeze(column, 1) for column in ordered], 1)


__all__ = [
    "addbmm",
    "addmv",
    "addr",
    "chain_matmul",
    "cross",
    "ger",
    "inner",
    "kron",
    "matrix_power",
    "vander",
    "vdot",
]
