"""Matrix products."""

from __future__ import annotations

from ..dispatch import apply
from ..errors import ShapeError
from ..location import user_location
from ..tensor import Tensor
from .elementwise import cast, promote
from .shapes import reshape


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product over the last two dims, [..., n, k] @ [..., k, m] -> [..., n, m], leading dims broadcast.

    A vector in front stands as [1, k], one behind as [k, 1]; their dims of extent 1 go again. ShapeError where k
    differs.
    """
    dtype = promote(input.dtype, other.dtype)
    a, b = cast(input, dtype), cast(other, dtype)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError("matmul of a 0-d tensor; use *", user_location())
    left_vector, right_vector = a.ndim == 1, b.ndim == 1
    if left_vector:
        a = reshape(a, 1, a.shape[0])
    if right_vector:
        b = reshape(b, b.shape[0], 1)
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul of {list(input.shape)} and {list(other.shape)}: {a.shape[-1]} columns meet {b.shape[-2]} rows",
            user_location(),
        )
    if a.ndim > 2 and b.ndim == 2:  # one large product in place of a batch of small ones
        flat = apply("matmul", reshape(a, -1, a.shape[-1]), b, transpose_a=False, transpose_b=False)
        result = reshape(flat, *a.shape[:-1], b.shape[-1])
    else:
        result = apply("matmul", a, b, transpose_a=False, transpose_b=False)
    shape = list(result.shape)
    if right_vector:
        del shape[-1]
    if left_vector:
        del shape[-1 if right_vector else -2]
    return reshape(result, shape)


def check_ranks(name: str, *operands: tuple[Tensor, int]) -> None:
    if any(x.ndim != rank for x, rank in operands):
        raise ShapeError(
            f"{name} takes tensors of {' and '.join(str(rank) for _, rank in operands)} dims, not "
            f"{' and '.join(str(list(x.shape)) for x, _ in operands)}; matmul takes more",
            user_location(),
        )


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, [n, k] @ [k, m] -> [n, m]."""
    check_ranks("mm", (input, 2), (mat2, 2))
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """A product for each of b pairs of matrices, [b, n, k] @ [b, k, m] -> [b, n, m]."""
    check_ranks("bmm", (input, 3), (mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(
            f"bmm of batches of {input.shape[0]} and {mat2.shape[0]}; matmul broadcasts",
            user_location(),
        )
    return matmul(input, mat2)


__all__ = ["bmm", "matmul", "mm"]
