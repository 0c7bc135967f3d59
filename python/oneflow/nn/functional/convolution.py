"""Convolutions of signals and images, and their transposes."""

from __future__ import annotations

from typing import Any

from ...dispatch import apply
from ...dtypes import float64
from ...errors import ShapeError
from ...functions import cast, cat, full, matmul, narrow, permute, reshape, stack
from ...location import user_location
from ...tensor import Tensor
from .images import on_images, on_signals, pair, single, to_channels_first, to_channels_last
from .padding import pad


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [n, c, l] or [c, l] with [out, c / groups, k]; padding may be 'same' or 'valid'."""
    if weight.ndim != 3:
        raise ShapeError(
            f"conv1d takes a weight [out, c / groups, k], not {list(weight.shape)}", user_location()
        )
    kernel = reshape(weight, weight.shape[0], weight.shape[1], 1, weight.shape[2])
    margin = padding if isinstance(padding, str) else (0, single(padding))
    return on_signals(
        "conv1d",
        input,
        lambda x: conv2d(
            x, kernel, bias, (1, single(stride)), margin, (1, single(dilation)), groups
        ),
    )


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [n, c, h, w] or [c, h, w] with [out, c / groups, kh, kw].

    padding='same' keeps height and width (stride 1 only; of an odd number of zeros one more stands behind),
    'valid' pads nothing.
    """
    return on_images(
        input, lambda x: _conv2d(x, weight, bias, pair(stride), padding, pair(dilation), groups)
    )


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: Any,
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    if input.ndim != 4 or weight.ndim != 4 or input.shape[1] != weight.shape[1] * groups:
        takes = weight.shape[1] * groups if weight.ndim == 4 else "?"
        raise ShapeError(
            f"conv2d takes [n, c, h, w] and a weight [out, c / groups, kh, kw]: the input {list(input.shape)} has "
            f"{input.shape[1] if input.ndim == 4 else '?'} channels, the weight {list(weight.shape)} with "
            f"groups={groups} takes {takes}",
            user_location(),
        )
    if padding == "valid":
        padding = 0
    elif padding == "same":
        if stride != (1, 1):
            raise ShapeError("padding='same' needs stride 1", user_location())
        total = [dilation[i] * (weight.shape[2 + i] - 1) for i in (0, 1)]
        padding = (total[0] // 2, total[1] // 2)
        if total[0] % 2 or total[1] % 2:
            input = pad(input, (0, total[1] % 2, 0, total[0] % 2))
    x = to_channels_last(input, "conv2d")
    return to_channels_first(
        on_channels_last(x, weight, bias, stride, pair(padding), dilation, groups)
    )


def on_channels_last(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """conv2d of images [n, h, w, c] with a weight [out, c / groups, kh, kw], as [n, p, q, out]."""
    if x.dtype is float64 and weight.dtype is float64:
        y = _as_product(x, weight, stride, padding, dilation, groups)
    else:
        y = apply(
            "conv2d",
            x,
            weight,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
    if isinstance(bias, Tensor):
        bias = cast(bias, y.dtype)
    return y if bias is None else apply("add", y, bias)


def _as_product(
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """The same as one product of all windows with the weight, for float64: exact gradients are asked of it, not speed."""
    out, per_group, *kernel = weight.shape
    if x.shape[3] != groups * per_group or out % groups:
        raise ShapeError(
            f"conv2d: the image has {x.shape[3]} channels, the weight {list(weight.shape)} with groups={groups} takes "
            f"{groups * per_group}",
            user_location(),
        )
    top, left = padding
    x = pad(x, (0, 0, left, left, top, top))
    n = x.shape[0]
    counts = [(x.shape[1 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    if min(counts) < 1:
        raise ShapeError(
            f"conv2d: the kernel {kernel} with dilation {dilation} does not fit into the padded image "
            f"{list(x.shape[1:3])}",
            user_location(),
        )

    def at(offset: int, axis: int) -> slice:
        begin = offset * dilation[axis]
        return slice(begin, begin + stride[axis] * (counts[axis] - 1) + 1, stride[axis])

    windows = [x[:, at(i, 0), at(j, 1)] for i in range(kernel[0]) for j in range(kernel[1])]
    taps = len(windows)
    rows = reshape(stack(windows, 3), n * counts[0] * counts[1], taps, groups, per_group)
    rows = reshape(permute(rows, 2, 0, 1, 3), groups, -1, taps * per_group)
    columns = reshape(weight, groups, out // groups, per_group, taps)
    columns = reshape(permute(columns, 0, 3, 2, 1), groups, taps * per_group, out // groups)
    return reshape(permute(matmul(rows, columns), 1, 0, 2), n, *counts, out)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of conv1d: [n, c, l] or [c, l] with a weight [c, out / groups, k]."""
    if weight.ndim != 3:
        raise ShapeError(
            f"conv_transpose1d takes a weight [c, out / groups, k], not {list(weight.shape)}",
            user_location(),
        )
    kernel = reshape(weight, weight.shape[0], weight.shape[1], 1, weight.shape[2])
    return on_signals(
        "conv_transpose1d",
        input,
        lambda x: conv_transpose2d(
            x,
            kernel,
            bias,
            (1, single(stride)),
            (0, single(padding)),
            (0, single(output_padding)),
            groups,
            (1, single(dilation)),
        ),
    )


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of conv2d: [n, c, h, w] or [c, h, w] with a weight [c, out / groups, kh, kw].

    The extent is (in - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1. It is computed as
    a convolution of the input, with stride - 1 zeros between its pixels, by the flipped kernel.
    """

    def transposed(x: Tensor) -> Tensor:
        return _conv_transpose2d(
            x,
            weight,
            bias,
            pair(stride),
            pair(padding),
            pair(output_padding),
            groups,
            pair(dilation),
        )

    return on_images(input, transposed)


def _conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
    groups: int,
    dilation: tuple[int, int],
) -> Tensor:
    if input.ndim != 4 or weight.ndim != 4 or input.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"conv_transpose2d takes [n, c, h, w] and a weight [c, out / groups, kh, kw], not {list(input.shape)} and "
            f"{list(weight.shape)}",
            user_location(),
        )
    if weight.shape[0] % groups:
        raise ShapeError(f"groups={groups} must divide {weight.shape[0]} channels", user_location())
    x = input
    margins: list[int] = []
    for axis in (0, 1):
        more, step, spread = output_padding[axis], stride[axis], dilation[axis]
        if more >= max(step, spread):
            raise ShapeError(
                f"output_padding={more} must be smaller than the stride {step} or the dilation {spread}",
                user_location(),
            )
        x = with_zeros_between(x, 2 + axis, step)
        reach = spread * (weight.shape[2 + axis] - 1)
        margins = [reach - padding[axis], reach - padding[axis] + more, *margins]
    # Negative margins cut: padding of the transpose takes pixels away.
    x = pad(x, margins)
    kernel = flipped(flipped(weight, 2), 3)
    channels, out, kh, kw = kernel.shape
    kernel = reshape(kernel, groups, channels // groups, out, kh, kw)
    kernel = reshape(permute(kernel, 0, 2, 1, 3, 4), groups * out, channels // groups, kh, kw)
    return _conv2d(x, kernel, bias, (1, 1), 0, dilation, groups)


def with_zeros_between(x: Tensor, dim: int, step: int) -> Tensor:
    """step - 1 zeros between neighbours along `dim`."""
    if step == 1:
        return x
    before, extent, behind = x.shape[:dim], x.shape[dim], x.shape[dim + 1 :]
    column = reshape(x, *before, extent, 1, *behind)
    spread = cat([column, full((*before, extent, step - 1, *behind), 0, dtype=x.dtype)], dim + 1)
    return narrow(reshape(spread, *before, extent * step, *behind), dim, 0, (extent - 1) * step + 1)


def flipped(x: Tensor, dim: int) -> Tensor:
    """The other way round along `dim`."""
    extent = x.shape[dim]
    if extent == 1:
        return x
    return cat([narrow(x, dim, extent - 1 - i, 1) for i in range(extent)], dim)
