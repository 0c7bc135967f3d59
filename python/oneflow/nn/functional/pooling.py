"""Pooling over windows."""

from __future__ import annotations

from typing import Any

from ...dispatch import apply
from ...errors import ShapeError
from ...functions import mean
from ...location import user_location
from ...tensor import Tensor
from .images import pair, to_channels_first, to_channels_last


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The largest element of each window."""
    x = to_channels_last(input, "max_pool2d")
    stride = kernel_size if stride is None else stride
    y = apply("max_pool2d", x, kernel=pair(kernel_size), stride=pair(stride), padding=pair(padding))
    return to_channels_first(y)


def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean of each window, padding counted as zeros."""
    x = to_channels_last(input, "avg_pool2d")
    stride = kernel_size if stride is None else stride
    y = apply("avg_pool2d", x, kernel=pair(kernel_size), stride=pair(stride), padding=pair(padding))
    return to_channels_first(y)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over equal windows that give `output_size`, which must divide height and width."""
    height, width = pair(output_size)
    if input.ndim != 4 or input.shape[2] % height or input.shape[3] % width:
        raise ShapeError(
            f"adaptive_avg_pool2d: {(height, width)} must divide the height and width of {list(input.shape)}",
            user_location(),
        )
    if (height, width) == (1, 1):
        return mean(input, (2, 3), keepdim=True)
    window = (input.shape[2] // height, input.shape[3] // width)
    return avg_pool2d(input, window, window)
