"""What functions of images share: sizes of height and width, and channels-last layout.

Image ops are defined on channels-last tensors: an [n, c, h, w] tensor is permuted before and after, and the
compiler cancels what meets.
"""

from __future__ import annotations

from ...errors import ShapeError
from ...functions import permute
from ...location import user_location
from ...tensor import Tensor


def pair(value: int | tuple[int, ...] | list[int]) -> tuple[int, int]:
    """A size of height and width from one number or two."""
    if isinstance(value, int):
        return (value, value)
    height, width = value
    return (int(height), int(width))


def to_channels_last(input: Tensor, op: str) -> Tensor:
    if input.ndim != 4:
        raise ShapeError(f"{op} takes [n, c, h, w], not {list(input.shape)}", user_location())
    return permute(input, 0, 2, 3, 1)


def to_channels_first(input: Tensor) -> Tensor:
    return permute(input, 0, 3, 1, 2)
