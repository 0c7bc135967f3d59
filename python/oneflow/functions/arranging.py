"""Dims in another order, pieces put side by side and taken apart, matrices turned."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from .. import dtypes
from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .creation import full
from .gathering import flip
from .grids import _grown, diag_embed, meshgrid, vstack
from .reductions import normalize_dim
from .second_names import ravel
from .shapes import (
    _extent,
    cat,
    narrow,
    permute,
    reshape,
    split,
    stack,
    transpose,
)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """As `transpose`."""
    return transpose(input, axis0, axis1)


def adjoint(input: Tensor) -> Tensor:
    """The last two dims swapped: there are no complex numbers here."""
    if input.ndim == 1:
        raise ShapeError("adjoint takes a matrix or a batch of them, not 1 dim", user_location())
    return transpose(input, -2, -1) if input.ndim else input


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Dims `source` at the places `destination`; the others keep their order."""
    sources = [source] if isinstance(source, int) else list(source)
    places = [destination] if isinstance(destination, int) else list(destination)
    moved = [normalize_dim(d, input.ndim) for d in sources]
    wanted = [normalize_dim(d, input.ndim) for d in places]
    if len(moved) != len(wanted) or any(len(set(x)) < len(x) for x in (moved, wanted)):
        raise ShapeError(f"movedim from {source} to {destination}", user_location())
    if input.ndim == 0:
        return input
    rest = iter(d for d in range(input.ndim) if d not in moved)
    at = dict(zip(wanted, moved, strict=True))
    return permute(input, [at[i] if i in at else next(rest) for i in range(input.ndim)])


moveaxis = movedim


row_stack = vstack


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """One behind the other: along dim 2."""
    return cat([_grown(3, x) for x in tensors], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Along dim 1, 1-d tensors as columns."""
    return cat([x if x.ndim > 1 else reshape(x, -1, 1) for x in tensors], 1)


def tensor_split(
    input: Tensor, indices_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Pieces along `dim`: so many, of which the first are one longer, or cut before each of the indices."""
    position, extent = _extent("tensor_split", input, dim)
    if isinstance(indices_or_sections, int):
        if indices_or_sections < 1:
            raise Error(f"tensor_split into {indices_or_sections} pieces", user_location())
        least, more = divmod(extent, indices_or_sections)
        sizes = [least + (i < more) for i in range(indices_or_sections)]
        return split(input, sizes, position)
    ends = [min(max(i + extent if i < 0 else i, 0), extent) for i in indices_or_sections]
    begins = [0, *ends]
    return tuple(
        narrow(input, position, begin, max(end - begin, 0))
        for begin, end in zip(begins, [*ends, extent], strict=True)
    )


def _even_split(
    name: str, input: Tensor, given: int | Sequence[int], dim: int
) -> tuple[Tensor, ...]:
    if isinstance(given, int) and (given < 1 or input.shape[dim] % given):
        raise ShapeError(f"{name}: {input.shape[dim]} elements in {given} pieces", user_location())
    return tensor_split(input, given, dim)


def hsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """tensor_split along dim 1 (of a 1-d tensor dim 0) into equal pieces."""
    if input.ndim == 0:
        raise ShapeError("hsplit of a tensor without dims", user_location())
    return _even_split("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1)


def vsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """tensor_split along dim 0 into equal pieces."""
    if input.ndim < 2:
        raise ShapeError(f"vsplit takes at least 2 dims, not {input.ndim}", user_location())
    return _even_split("vsplit", input, indices_or_sections, 0)


def fliplr(input: Tensor) -> Tensor:
    """Columns in the opposite order."""
    if input.ndim < 2:
        raise ShapeError(f"fliplr takes at least 2 dims, not {input.ndim}", user_location())
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Rows in the opposite order."""
    if input.ndim < 1:
        raise ShapeError("flipud of a tensor without dims", user_location())
    return flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned k times by 90 degrees from the first of two dims to the second."""
    if len(dims) != 2 or input.ndim < 2:
        raise ShapeError(
            f"rot90 of {input.ndim} dims in {tuple(dims)}: two are needed", user_location()
        )
    first, second = (normalize_dim(d, input.ndim) for d in dims)
    if first == second:
        raise ShapeError(f"rot90: dims {tuple(dims)} are one", user_location())
    turned = {
        0: lambda: input.clone(),
        1: lambda: transpose(flip(input, second), first, second),
        2: lambda: flip(input, (first, second)),
        3: lambda: flip(transpose(input, first, second), second),
    }
    return turned[k % 4]()


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements as its diagonal."""
    return diag_embed(ravel(input), offset)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements of 1-d tensors, one a row."""
    if any(x.ndim != 1 for x in tensors):
        raise ShapeError("cartesian_prod takes 1-d tensors", user_location())
    if len(tensors) == 1:
        return tensors[0]
    return stack([ravel(x) for x in meshgrid(*tensors)], 1)


def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the tensors (of at most 2 dims) along its diagonal."""
    if any(x.ndim > 2 for x in tensors):
        raise ShapeError("block_diag takes tensors of at most 2 dims", user_location())
    blocks = [_grown(2, x) for x in tensors]
    dtype = functools.reduce(dtypes.promote, (x.dtype for x in blocks))
    width = sum(x.shape[1] for x in blocks)
    rows, before = [], 0
    for x in blocks:
        height, own = x.shape
        parts = [full((height, before), 0, dtype=dtype), ew.cast(x, dtype)]
        rows.append(cat([*parts, full((height, width - before - own), 0, dtype=dtype)], 1))
        before += own
    return cat(rows, 0)


__all__ = [
    "adjoint",
    "block_diag",
    "cartesian_prod",
    "column_stack",
    "diagflat",
    "dstack",
    "fliplr",
    "flipud",
    "hsplit",
    "moveaxis",
    "movedim",
    "rot90",
    "row_stack",
    "swapaxes",
    "tensor_split",
    "vsplit",
]
