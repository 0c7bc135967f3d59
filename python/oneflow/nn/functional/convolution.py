"""Convolutions."""

from __future__ import annotations

from typing import Any

from ...dispatch import apply
from ...errors import ShapeError
from ...location import user_location
from ...tensor import Tensor
from .images import pair, to_channels_first, to_channels_last


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [n, c, h, w] with [out, c / groups, kh, kw]; padding may be 'same' or 'valid'."""
    x = to_channels_last(input, "conv2d")
    if input.shape[1] != weight.shape[1] * groups:
        raise ShapeError(
            f"conv2d: the input has {input.shape[1]} channels, the weight {list(weight.shape)} with groups={groups} "
            f"takes {weight.shape[1] * groups}",
            user_location(),
        )
    dilation = pair(dilation)
    if padding == "valid":
        padding = 0
    elif padding == "same":
        reach = [dilation[i] * (weight.shape[2 + i] - 1) for i in (0, 1)]
        if pair(stride) != (1, 1) or reach[0] % 2 or reach[1] % 2:
            raise ShapeError("padding='same' needs stride 1 and odd kernels", user_location())
        padding = (reach[0] // 2, reach[1] // 2)
    y = apply(
        "conv2d",
        x,
        weight,
        stride=pair(stride),
        padding=pair(padding),
        dilation=dilation,
        groups=groups,
    )
    if bias is not None:
        y = apply("add", y, bias)
    return to_channels_first(y)
