"""Dims by other names, pieces put side by side, diagonals and triangles: composed of the functions of shapes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from .. import dtypes
from ..dispatch import apply
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .creation import full
from .gathering import _numbers, flip
from .reductions import normalize_dim
from .reductions import sum as _sum
from .shapes import (
    _extent,
    broadcast_to,
    cat,
    narrow,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    transpose,
    unsqueeze,
)


def ravel(input: Tensor) -> Tensor:
    """All elements in one dim."""
    return reshape(input, -1) if input.numel() else reshape(input, 0)


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dim `dim` as several of extents `sizes`, of which one may be -1."""
    position, extent = _extent("unflatten", input, dim)
    extents = [int(size) for size in sizes]
    if not extents:
        raise ShapeError("unflatten: sizes must not be empty", user_location())
    known = functools.reduce(lambda a, b: a * b, (e for e in extents if e != -1), 1)
    if extents.count(-1) == 1 and known and extent % known == 0:
        extents[extents.index(-1)] = extent // known
    elif -1 in extents or known != extent:
        raise ShapeError(f"unflatten: {extent} elements as {list(sizes)}", user_location())
    return reshape(input, [*input.shape[:position], *extents, *input.shape[position + 1 :]])


def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """transpose."""
    return transpose(input, dim0, dim1)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """transpose."""
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


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at `index` of `dim`, without the dim."""
    position, extent = _extent("select", input, dim)
    if not -extent <= index < extent:
        raise ShapeError(f"select: index {index} of {extent}", user_location())
    return squeeze(narrow(input, position, index % extent, 1), position)


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
        return reshape(x, 1)
    if rank == 2:
        return reshape(x, 1, *(x.shape or (1,)))
    return reshape(x, 1, *(x.shape or (1,)), 1) if x.ndim < 2 else unsqueeze(x, 2)


def atleast_1d(*tensors: Any) -> Any:
    """0-d tensors as [1]."""
    return _at_least(1, tensors, functools.partial(_grown, 1))


def atleast_2d(*tensors: Any) -> Any:
    """[n] as [1, n], [] as [1, 1]."""
    return _at_least(2, tensors, functools.partial(_grown, 2))


def atleast_3d(*tensors: Any) -> Any:
    """[n, m] as [n, m, 1], [n] as [1, n, 1], [] as [1, 1, 1]."""
    return _at_least(3, tensors, functools.partial(_grown, 3))


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """cat."""
    return cat(tensors, dim)


concatenate = concat


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side: along dim 1, of 1-d tensors along dim 0."""
    grown = [_grown(1, x) for x in tensors]
    return cat(grown, 0 if grown and grown[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """One below the other: along dim 0, 1-d tensors as rows."""
    return cat([_grown(2, x) for x in tensors], 0)


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
        0: lambda: input,
        1: lambda: transpose(flip(input, second), first, second),
        2: lambda: flip(input, (first, second)),
        3: lambda: flip(transpose(input, first, second), second),
    }
    return turned[k % 4]()


def _pair_of_dims(name: str, rank: int, dim1: int, dim2: int) -> tuple[int, int]:
    first, second = normalize_dim(dim1, rank), normalize_dim(dim2, rank)
    if rank < 2 or first == second:
        raise ShapeError(f"{name}: dims {dim1} and {dim2} of {rank} are no two", user_location())
    return first, second


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Elements [i, i + offset] of two dims, as the last dim."""
    first, second = _pair_of_dims("diagonal", input.ndim, dim1, dim2)
    others = [d for d in range(input.ndim) if d not in (first, second)]
    x = permute(input, [*others, first, second])
    rows, columns = x.shape[-2:]
    skipped_rows, skipped_columns = max(-offset, 0), max(offset, 0)
    count = max(min(rows - skipped_rows, columns - skipped_columns), 0)
    if count == 0:
        return full((*x.shape[:-2], 0), 0, dtype=x.dtype)
    x = narrow(narrow(x, -2, skipped_rows, count), -1, skipped_columns, count)
    if count == 1:
        return squeeze(x, -1)
    flat = reshape(x, [*x.shape[:-2], count * count])
    return apply("slice", flat, dim=flat.ndim - 1, start=0, stop=count * count, step=count + 1)


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


_diagonal = diagonal


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements as its diagonal."""
    return diag_embed(ravel(input), offset)


def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise ShapeError(f"trace takes a matrix, not {input.ndim} dims", user_location())
    if input.dtype is dtypes.bool_:
        raise DTypeError("trace of bools; convert with .int()", user_location())
    return _sum(diagonal(input))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to the shape that they broadcast to."""
    shape = broadcast_shapes(*(x.shape for x in tensors))
    return tuple(broadcast_to(x, shape) for x in tensors)


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
    vectors = [reshape(x, -1) if x.numel() else reshape(x, 0) for x in given]
    shape = [x.shape[0] for x in vectors]
    swapped = indexing == "xy" and len(vectors) > 1
    if swapped:
        shape[0], shape[1] = shape[1], shape[0]
    grids = []
    for i, x in enumerate(vectors):
        place = 1 - i if swapped and i < 2 else i
        own = [1] * len(shape)
        own[place] = x.shape[0]
        grids.append(broadcast_to(reshape(x, own), shape))
    return tuple(grids)


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


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """`Tensor.unfold`: windows of `size` along a dim, `step` apart, each as a new last dim."""
    position, extent = (0, 1) if input.ndim == 0 else _extent("unfold", input, dimension)
    if input.ndim == 0:
        normalize_dim(dimension, 0)
    if not 0 <= size <= extent or step < 1:
        raise ShapeError(
            f"unfold: windows of {size} by {step} in {extent} elements", user_location()
        )
    x = reshape(input, 1) if input.ndim == 0 else input
    count = (extent - size) // step + 1
    if size == 0:
        shape = [*x.shape, 0]
        shape[position] = count
        return full(shape, 0, dtype=x.dtype)
    windows = [
        apply("slice", x, dim=position, start=i, stop=i + (count - 1) * step + 1, step=step)
        for i in range(size)
    ]
    result = stack(windows, x.ndim)
    return reshape(result, size) if input.ndim == 0 else result


__all__ = [
    "adjoint",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "broadcast_shapes",
    "broadcast_tensors",
    "cartesian_prod",
    "column_stack",
    "concat",
    "concatenate",
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "dstack",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "meshgrid",
    "moveaxis",
    "movedim",
    "ravel",
    "rot90",
    "row_stack",
    "select",
    "swapaxes",
    "swapdims",
    "tensor_split",
    "trace",
    "unflatten",
    "vsplit",
    "vstack",
]
