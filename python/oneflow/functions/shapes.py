"""Functions that move or rename dims."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from ..dispatch import apply, apply_all
from ..dtypes import promote
from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from ..views import uncertain
from .creation import full
from .elementwise import cast
from .reductions import normalize_dim


def _ints(values: tuple[Any, ...]) -> list[int]:
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        values = tuple(values[0])
    return [int(value) for value in values]


def _by_name(name: str, values: tuple[Any, ...], named: Any) -> tuple[Any, ...]:
    """Sizes by position (`f(2, 3)`, `f((2, 3))`) or by their name."""
    if named is None:
        return values
    if values:
        raise Error(f"{name} is given by position and by keyword", user_location())
    return (named,)


def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The same elements in row-major order in another shape; one extent may be -1."""
    result = view(input, *_by_name("shape", sizes, shape))
    if input._is_dense or result is input:
        return result
    return uncertain(result, input, "reshape of a tensor that is not contiguous may copy")


def view(input: Tensor, *size: Any) -> Tensor:
    """As reshape, and never a copy: writes into one are seen in the other."""
    target = _ints(size)
    unknown = [i for i, extent in enumerate(target) if extent == -1]
    known = 1
    for extent in target:
        known *= extent if extent != -1 else 1
    count = input.numel()
    if (
        len(unknown) > 1
        or (unknown and (known == 0 or count % known))
        or (not unknown and known != count)
    ):
        raise ShapeError(
            f"{list(input.shape)} ({count} elements) cannot be reshaped to {target}",
            user_location(),
        )
    if unknown:
        target[unknown[0]] = count // known
    return input if tuple(target) == input.shape else apply("reshape", input, shape=target)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dims start_dim..end_dim become one."""
    if input.ndim == 0:
        normalize_dim(start_dim, 0)
        normalize_dim(end_dim, 0)
        return reshape(input, 1)
    start, end = normalize_dim(start_dim, input.ndim), normalize_dim(end_dim, input.ndim)
    merged = 1
    for extent in input.shape[start : end + 1]:
        merged *= extent
    return reshape(input, *input.shape[:start], merged, *input.shape[end + 1 :])


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dim `dim` as several, one of whose sizes may be -1."""
    position, extent = _extent("unflatten", input, dim)
    extents = [int(size) for size in sizes]
    if not extents:
        raise ShapeError("unflatten: sizes must not be empty", user_location())
    known = math.prod(e for e in extents if e != -1)
    if extents.count(-1) == 1 and known and extent % known == 0:
        extents[extents.index(-1)] = extent // known
    elif -1 in extents or known != extent:
        raise ShapeError(f"unflatten: {extent} elements as {list(sizes)}", user_location())
    return view(input, [*input.shape[:position], *extents, *input.shape[position + 1 :]])


def permute(input: Tensor, *order_of_dims: Any, dims: Any = None) -> Tensor:
    """Dim i of the result is dim dims[i] of the input."""
    given = _ints(_by_name("dims", order_of_dims, dims))
    order = [normalize_dim(dim, input.ndim) for dim in given]
    if sorted(order) != list(range(input.ndim)):
        raise ShapeError(f"permute of a tensor with {input.ndim} dims by {order}", user_location())
    return input if order == sorted(order) else apply("permute", input, dims=order)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Dims `dim0` and `dim1` swapped; negative ones count from the end."""
    order = list(range(input.ndim))
    a, b = normalize_dim(dim0, input.ndim), normalize_dim(dim1, input.ndim)
    if not order:
        return input
    order[a], order[b] = order[b], order[a]
    return permute(input, order)


def t(input: Tensor) -> Tensor:
    """[n, m] -> [m, n]; tensors of fewer dims stay as they are, more are a ShapeError."""
    if input.ndim > 2:
        raise ShapeError(
            f"t() takes at most 2 dims, not {input.ndim}; use transpose or permute", user_location()
        )
    return input if input.ndim < 2 else transpose(input, 0, 1)


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dim of extent 1 before `dim`."""
    position = normalize_dim(dim, input.ndim + 1)
    return view(input, *input.shape[:position], 1, *input.shape[position:])


def squeeze(input: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Without its dims of extent 1, or without `dim` (one or several) where it has extent 1."""
    if isinstance(dim, tuple):
        gone = {normalize_dim(d, input.ndim) for d in dim}
        return view(input, [e for i, e in enumerate(input.shape) if e != 1 or i not in gone])
    if dim is None:
        return view(input, [extent for extent in input.shape if extent != 1])
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0 or input.shape[position] != 1:
        return input
    return view(input, [*input.shape[:position], *input.shape[position + 1 :]])


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """Dims of extent 1 repeated to `sizes`; -1 keeps an extent."""
    target = _ints(sizes)
    offset = len(target) - input.ndim
    if offset < 0:
        raise ShapeError(f"expand of {list(input.shape)} to fewer dims {target}", user_location())
    target = [
        input.shape[i - offset] if extent == -1 and i >= offset else extent
        for i, extent in enumerate(target)
    ]
    return input if tuple(target) == input.shape else apply("broadcast_to", input, shape=target)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """`input` repeated along dims of extent 1, and along new ones in front, to `size`; ShapeError if that does
    not fit."""
    return expand(input, *size)


def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself, or a copy where PyTorch would move its elements."""
    del memory_format
    if input._is_dense:
        return input
    return uncertain(input, input, "contiguous() copies a tensor that is not contiguous")


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` elements along a dim, every `step` of them, in a new last dim."""
    if input.ndim == 0:
        normalize_dim(dimension, 0)
        windows_of_one = unfold(view(input, 1), 0, size, step)
        return view(windows_of_one, size)
    position, extent = _extent("unfold", input, dimension)
    if not 0 <= size <= extent or step < 1:
        raise ShapeError(
            f"unfold: windows of {size} every {step} in {extent} elements", user_location()
        )
    count = (extent - size) // step + 1
    if size == 0:
        shape = [*input.shape[:position], count, *input.shape[position + 1 :], 0]
        return full(shape, 0, dtype=input.dtype)
    if size == step:  # windows that meet, as of patches: a view
        whole = narrow(input, position, 0, count * size)
        shape = [*input.shape[:position], count, size, *input.shape[position + 1 :]]
        order = [d for d in range(input.ndim + 1) if d != position + 1]
        return permute(view(whole, shape), [*order, position + 1])
    windows = [narrow(input, position, i * step, size) for i in range(count)]
    moved = [d for d in range(input.ndim) if d != position]
    result = stack([permute(window, [*moved, position]) for window in windows], position)
    return uncertain(result, input, "unfold() of windows that overlap is a copy here")


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after the other along `dim`; ShapeError where they differ in another dim."""
    tensors = list(tensors)
    if not tensors:
        raise ShapeError("cat of no tensors", user_location())
    if any(tensor.ndim == 0 for tensor in tensors):
        raise ShapeError("cat of a tensor without dims; use stack", user_location())
    # Tensors of shape [0] count as nothing, and the elements get one type, as in PyTorch.
    tensors = [tensor for tensor in tensors if tensor.shape != (0,)] or tensors[:1]
    dtype = functools.reduce(promote, (tensor.dtype for tensor in tensors))
    tensors = [cast(tensor, dtype) for tensor in tensors]
    return apply_all("cat", tensors, dim=normalize_dim(dim, tensors[0].ndim))[0]


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new dim before `dim`."""
    return cat([unsqueeze(tensor, dim) for tensor in tensors], dim)


def _extent(name: str, input: Tensor, dim: int) -> tuple[int, int]:
    """`dim` counted from the front, and its extent."""
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        raise ShapeError(f"{name} of a tensor without dims", user_location())
    return position, input.shape[position]


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` elements of `dim` from `start`."""
    position, extent = _extent("narrow", input, dim)
    if not -extent <= start <= extent or length < 0:
        raise ShapeError(f"narrow: {length} elements from {start} of {extent}", user_location())
    start = start + extent if start < 0 else start
    return apply("slice", input, dim=position, start=start, stop=start + length, step=1)


def split(
    tensor: Tensor,
    split_size_or_sections: int | Sequence[int] | None = None,
    dim: int = 0,
    *,
    split_size: int | Sequence[int] | None = None,
) -> tuple[Tensor, ...]:
    """Pieces of `split_size` along `dim` (the last may be smaller), or of the sizes given."""
    if split_size is None:
        split_size = split_size_or_sections
    if split_size is None:
        raise Error("split needs the size of its pieces", user_location())
    position, extent = _extent("split", tensor, dim)
    if isinstance(split_size, int) and (split_size < 0 or (split_size == 0 and extent)):
        raise ShapeError(f"split of {extent} elements by {split_size}", user_location())
    if isinstance(split_size, int):
        sizes = [min(split_size, extent - begin) for begin in range(0, extent, split_size)] or [0]
    else:
        sizes = list(split_size)
        if sum(sizes) != extent:
            raise ShapeError(f"split sizes {sizes} do not add up to {extent}", user_location())
    pieces, begin = [], 0
    for size in sizes:
        pieces.append(narrow(tensor, position, begin, size))
        begin += size
    return tuple(pieces)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` equal pieces along `dim`."""
    _, extent = _extent("chunk", input, dim)
    if chunks < 1:
        raise ShapeError(f"chunk into {chunks} pieces", user_location())
    if extent == 0:
        return split(input, [0] * chunks, dim)
    return split(input, -(-extent // chunks), dim)


__all__ = [
    "broadcast_to",
    "cat",
    "chunk",
    "expand",
    "flatten",
    "narrow",
    "permute",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "unflatten",
    "unsqueeze",
]
