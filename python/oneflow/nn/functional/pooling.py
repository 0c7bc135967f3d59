"""Pooling over windows of signals and images."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dispatch import apply
from ...dtypes import float64
from ...errors import Error, ShapeError
from ...functions import amax, cast, cat, eq, matmul, mean, mul, narrow, relu, where
from ...functions import pow as _pow
from ...functions.activations import only_floats
from ...location import user_location
from ...tensor import Tensor
from .images import (
    check_no_indices,
    on_images,
    on_signals,
    pair,
    single,
    to_channels_first,
    to_channels_last,
)
from .padding import pad

# The lowest float32: it loses against every pixel.
_LOWEST = -3.4028234663852886e38

Size = tuple[int, int]


def _windows(extent: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """How many windows there are; with ceil_mode also one that begins inside and ends beyond the padding."""
    span = extent + 2 * padding - kernel
    count = (-(-span // stride) if ceil_mode else span // stride) + 1
    if ceil_mode and (count - 1) * stride >= extent + padding:
        count -= 1
    return count


def check_margin(op: str, kernel: tuple[int, ...], padding: tuple[int, ...]) -> None:
    """ShapeError for windows that would lie in the padding alone."""
    if any(2 * margin > extent for margin, extent in zip(padding, kernel, strict=True)):
        raise ShapeError(
            f"{op}: padding {padding} is more than half of the kernel {kernel}", user_location()
        )


def _check(op: str, input: Tensor, kernel: Size, padding: Size) -> None:
    if input.ndim != 4:
        raise ShapeError(
            f"{op} takes [n, c, h, w] or [c, h, w], not {list(input.shape)}", user_location()
        )
    check_margin(op, kernel, padding)


def _beyond(
    extents: tuple[int, ...], kernel: Size, stride: Size, padding: Size, ceil_mode: bool
) -> Size:
    """Pixels that windows of ceil_mode need behind the padding, per axis."""
    more = []
    for axis in (0, 1):
        extent = extents[axis]
        count = _windows(extent, kernel[axis], stride[axis], padding[axis], ceil_mode)
        more.append(max((count - 1) * stride[axis] + kernel[axis] - extent - 2 * padding[axis], 0))
    return more[0], more[1]


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest element of each window of [n, c, l] or [c, l]."""
    check_no_indices("max_pool1d", return_indices)
    step = single(kernel_size if stride is None or stride == [] else stride)
    return on_signals(
        "max_pool1d",
        input,
        lambda x: max_pool2d(
            x,
            (1, single(kernel_size)),
            (1, step),
            (0, single(padding)),
            (1, single(dilation)),
            ceil_mode,
        ),
    )


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest element of each window of [n, c, h, w] or [c, h, w].

    With ceil_mode the last window may reach beyond the padding. Dilations other than 1 and indices are refused.
    """
    check_no_indices("max_pool2d", return_indices)
    kernel, margin = pair(kernel_size), pair(padding)
    step = kernel if stride is None or stride == [] else pair(stride)
    if pair(dilation) != (1, 1):
        raise Error(
            f"max_pool2d: dilation={dilation} is not supported; windows without gaps are",
            user_location(),
        )

    def pooled(x: Tensor) -> Tensor:
        _check("max_pool2d", x, kernel, margin)
        last = to_channels_last(x, "max_pool2d")
        return to_channels_first(max_of_windows(last, kernel, step, margin, ceil_mode))

    return on_images(input, pooled)


def max_of_windows(x: Tensor, kernel: Size, stride: Size, padding: Size, ceil_mode: bool) -> Tensor:
    """max_pool2d of images [n, h, w, c]."""
    more = _beyond(x.shape[1:3], kernel, stride, padding, ceil_mode)
    if more != (0, 0):
        x, padding = _with_margin(x, padding, more, _LOWEST), (0, 0)
    return apply("max_pool2d", x, kernel=kernel, stride=stride, padding=padding)


def _with_margin(x: Tensor, padding: Size, more: Size, value: float) -> Tensor:
    """`padding` around images [n, h, w, c], and `more` behind."""
    top, left = padding
    return pad(x, (0, 0, left, left + more[1], top, top + more[0]), value=value)


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of [n, c, l] or [c, l]."""
    step = single(kernel_size if stride is None or stride == [] else stride)
    return on_signals(
        "avg_pool1d",
        input,
        lambda x: avg_pool2d(
            x,
            (1, single(kernel_size)),
            (1, step),
            (0, single(padding)),
            ceil_mode,
            count_include_pad,
        ),
    )


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of [n, c, h, w] or [c, h, w].

    Padding counts as zeros unless count_include_pad=False; what ceil_mode adds behind the padding never counts.
    """
    kernel, margin = pair(kernel_size), pair(padding)
    step = kernel if stride is None or stride == [] else pair(stride)
    if divisor_override == 0:
        raise Error("avg_pool2d: divisor_override=0 divides by nothing", user_location())

    def pooled(x: Tensor) -> Tensor:
        _check("avg_pool2d", x, kernel, margin)
        last = to_channels_last(x, "avg_pool2d")
        y = mean_of_windows(
            last, kernel, step, margin, ceil_mode, count_include_pad, divisor_override
        )
        return to_channels_first(y)

    return on_images(input, pooled)


def mean_of_windows(
    x: Tensor,
    kernel: Size,
    stride: Size,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Tensor:
    """avg_pool2d of images [n, h, w, c]."""
    extents = x.shape[1:3]
    more = _beyond(extents, kernel, stride, padding, ceil_mode)
    factor = _correction(extents, kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    if more != (0, 0):
        x, padding = _with_margin(x, padding, more, 0), (0, 0)
    y = apply("avg_pool2d", x, kernel=kernel, stride=stride, padding=padding)
    return y if factor is None else cast(mul(y, factor), y.dtype)


def _correction(
    extents: tuple[int, ...],
    kernel: Size,
    stride: Size,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> float | Tensor | None:
    """The kernel's size over the number of elements that count in each window; None where it is 1."""
    area = kernel[0] * kernel[1]
    if divisor is not None:
        return None if divisor == area else area / divisor
    counts = []
    for axis in (0, 1):
        extent, margin = extents[axis], padding[axis]
        windows = _windows(extent, kernel[axis], stride[axis], margin, ceil_mode)
        begin = np.arange(windows) * stride[axis] - margin
        end = begin + kernel[axis]
        low, high = (-margin, extent + margin) if count_include_pad else (0, extent)
        counts.append(np.minimum(end, high) - np.maximum(begin, low))
    factor = area / np.outer(*counts)[:, :, None]
    return None if (factor == 1).all() else Tensor(factor.astype(np.float32))


def _adaptive_edges(extent: int, windows: int) -> list[tuple[int, int]]:
    return [(i * extent // windows, -(-(i + 1) * extent // windows)) for i in range(windows)]


def means(input: Tensor, dim: int, windows: int) -> Tensor:
    """Means over windows of nearly equal size along one of the last two dims, as a product with their weights."""
    extent = input.shape[dim]
    if windows == extent:
        return input
    only_floats("adaptive_avg_pool", input)
    weights = np.zeros((windows, extent), np.float64 if input.dtype is float64 else np.float32)
    for row, (begin, end) in zip(weights, _adaptive_edges(extent, windows), strict=True):
        row[begin:end] = 1 / (end - begin)
    if dim == input.ndim - 1:
        return cast(matmul(input, Tensor(weights.T)), input.dtype)
    return cast(matmul(Tensor(weights), input), input.dtype)


def maxima(input: Tensor, dim: int, windows: int) -> Tensor:
    """Maxima over windows of nearly equal size along a dim."""
    only_floats("adaptive_max_pool", input)
    edges = _adaptive_edges(input.shape[dim], windows)
    return cat([amax(narrow(input, dim, i, j - i), dim, True) for i, j in edges], dim)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means over windows of [n, c, l] or [c, l] that give `output_size` elements."""
    return on_signals(
        "adaptive_avg_pool1d", input, lambda x: adaptive_avg_pool2d(x, (1, single(output_size)))
    )


def _output_size(input: Tensor, output_size: Any) -> Size:
    """None keeps an extent."""
    given = (output_size, output_size) if output_size is None else output_size
    height, width = pair(given) if isinstance(given, int) else given
    return (
        input.shape[-2] if height is None else int(height),
        input.shape[-1] if width is None else int(width),
    )


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over windows of [n, c, h, w] or [c, h, w] that give `output_size`; None keeps an extent."""

    def pooled(x: Tensor) -> Tensor:
        _check("adaptive_avg_pool2d", x, (1, 1), (0, 0))
        height, width = _output_size(x, output_size)
        if height < 1 or width < 1:
            raise ShapeError(
                f"adaptive_avg_pool2d: {(height, width)} are no numbers of windows", user_location()
            )
        if (height, width) == (1, 1):
            return mean(x, (2, 3), keepdim=True)
        if x.shape[2] % height or x.shape[3] % width:
            return means(means(x, 2, height), 3, width)
        window = (x.shape[2] // height, x.shape[3] // width)
        return avg_pool2d(x, window, window)

    return on_images(input, pooled)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maxima over windows of [n, c, h, w] or [c, h, w] that give `output_size`; None keeps an extent."""
    check_no_indices("adaptive_max_pool2d", return_indices)

    def pooled(x: Tensor) -> Tensor:
        _check("adaptive_max_pool2d", x, (1, 1), (0, 0))
        height, width = _output_size(x, output_size)
        if height < 1 or width < 1:
            raise ShapeError(
                f"adaptive_max_pool2d: {(height, width)} are no numbers of windows", user_location()
            )
        if x.shape[2] % height or x.shape[3] % width:
            return maxima(maxima(x, 2, height), 3, width)
        window = (x.shape[2] // height, x.shape[3] // width)
        return max_pool2d(x, window, window)

    return on_images(input, pooled)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maxima over equal windows of [n, c, l] or [c, l]."""
    check_no_indices("adaptive_max_pool1d", return_indices)
    return on_signals(
        "adaptive_max_pool1d", input, lambda x: adaptive_max_pool2d(x, (1, single(output_size)))
    )


def _norm_of_means(means: Tensor, area: int, norm_type: float) -> Tensor:
    """(area * means) ^ (1 / norm_type), 0 for sums that are not positive."""
    sums = mul(relu(means), area)
    nothing = eq(sums, 0.0)  # where a root has no slope
    return where(nothing, 0.0, _pow(where(nothing, 1.0, sums), 1.0 / norm_type))


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(sum of input ^ norm_type) ^ (1 / norm_type) over each window of [n, c, l] or [c, l]."""
    powers = avg_pool1d(_pow(input, float(norm_type)), kernel_size, stride, 0, ceil_mode)
    return _norm_of_means(powers, single(kernel_size), norm_type)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
) -> Tensor:
    """(sum of input ^ norm_type) ^ (1 / norm_type) over each window of [n, c, h, w] or [c, h, w]."""
    height, width = pair(kernel_size)
    powers = avg_pool2d(_pow(input, float(norm_type)), kernel_size, stride, 0, ceil_mode)
    return _norm_of_means(powers, height * width, norm_type)
