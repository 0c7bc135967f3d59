"""What functions of images share: sizes of height and width, and channels-last layout.

Image ops are defined on channels-last tensors: an [n, c, h, w] tensor is permuted before and after, and the
compiler cancels what meets. Functions of one dim ([n, c, l]) are those of images with a height of 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ShapeError
from ...functions import permute, reshape
from ...location import user_location
from ...tensor import Tensor
from ...views import fresh


def pair(value: int | tuple[int, ...] | list[int]) -> tuple[int, int]:
    """A size of height and width from one number or two."""
    if isinstance(value, int):
        return (value, value)
    height, width = value
    return (int(height), int(width))


def single(value: int | tuple[int, ...] | list[int]) -> int:
    """A size from a number or a sequence of one."""
    if isinstance(value, int):
        return value
    (length,) = value
    return int(length)


def to_channels_last(input: Tensor, op: str) -> Tensor:
    """[n, c, h, w] -> [n, h, w, c]; ShapeError, in the name of `op`, for what has not four dims."""
    if input.ndim != 4:
        raise ShapeError(f"{op} takes [n, c, h, w], not {list(input.shape)}", user_location())
    return permute(input, 0, 2, 3, 1)


def to_channels_first(input: Tensor) -> Tensor:
    """[n, h, w, c], which was made for this alone, as [n, c, h, w]."""
    return fresh(permute(input, 0, 3, 1, 2))


def on_images(input: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of [n, c, h, w]; one image [c, h, w] is a batch of one."""
    if input.ndim != 3:
        return function(input)
    result = function(reshape(input, 1, *input.shape))
    return reshape(result, *result.shape[1:])


def on_signals(op: str, input: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of images with a height of 1 for [n, c, l], or one signal [c, l]."""
    if input.ndim not in (2, 3):
        raise ShapeError(
            f"{op} takes [n, c, l] or [c, l], not {list(input.shape)}", user_location()
        )
    batch = input if input.ndim == 3 else reshape(input, 1, *input.shape)
    n, c, length = batch.shape
    result = function(reshape(batch, n, c, 1, length))
    shape = (result.shape[0], result.shape[1], result.shape[3])
    return reshape(result, *(shape if input.ndim == 3 else shape[1:]))


def check_no_indices(op: str, return_indices: Any) -> None:
    """There are no indices of maxima."""
    if return_indices:
        raise ShapeError(
            f"{op}: return_indices=True is not supported: the op keeps no indices; where they are needed, compare "
            "the input with the upsampled maxima",
            user_location(),
        )
