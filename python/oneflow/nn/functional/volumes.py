"""Convolution and pooling of volumes [n, c, d, h, w], by those of their slices, images.

Volumes are channels-last inside, as images are, so that the permutes between functions cancel. A convolution lays the
`kd` slices that a slice of the result reads beside each other as channels: one conv2d of kd * c channels, whose sums
over depth are never stored. A window of pooling is one of height and width, then one of depth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import Error, ShapeError
from ...functions import cat, mean, mul, permute, reshape
from ...location import user_location
from ...tensor import Tensor
from ...views import fresh
from .convolution import flipped, on_channels_last, with_zeros_between
from .images import check_no_indices
from .padding import pad
from .pooling import check_margin, max_of_windows, maxima, mean_of_windows, means

Sizes = tuple[int, int, int]


def triple(value: int | tuple[int, ...] | list[int]) -> Sizes:
    """A size of depth, height and width from one number or three."""
    if isinstance(value, int):
        return (value, value, value)
    depth, height, width = value
    return (int(depth), int(height), int(width))


def _on_volumes(op: str, input: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of [n, c, d, h, w]; one volume [c, d, h, w] is a batch of one."""
    if input.ndim not in (4, 5):
        raise ShapeError(
            f"{op} takes [n, c, d, h, w] or [c, d, h, w], not {list(input.shape)}", user_location()
        )
    if input.ndim == 5:
        return function(input)
    result = function(reshape(input, 1, *input.shape))
    return reshape(result, *result.shape[1:])


def _to_channels_last(x: Tensor) -> Tensor:
    return permute(x, 0, 2, 3, 4, 1)


def _to_channels_first(x: Tensor) -> Tensor:
    return fresh(permute(x, 0, 4, 1, 2, 3))


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [n, c, d, h, w] or [c, d, h, w] with [out, c / groups, kd, kh, kw]; padding may be 'same'
    (stride 1 only) or 'valid'."""

    def convolved(x: Tensor) -> Tensor:
        return _conv3d(x, weight, bias, triple(stride), padding, triple(dilation), groups)

    return _on_volumes("conv3d", input, convolved)


def _conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Any,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    if weight.ndim != 5 or input.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        takes = weight.shape[1] * groups if weight.ndim == 5 else "?"
        raise ShapeError(
            f"conv3d takes [n, c, d, h, w] and a weight [out, c / groups, kd, kh, kw]: the input {list(input.shape)} has "
            f"{input.shape[1]} channels, the weight {list(weight.shape)} with groups={groups} takes {takes}",
            user_location(),
        )
    out, per_group, *kernel = weight.shape
    x = input
    if padding == "same":
        if stride != (1, 1, 1):
            raise ShapeError("padding='same' needs stride 1", user_location())
        total = [dilation[i] * (kernel[i] - 1) for i in range(3)]
        padding = tuple(extent // 2 for extent in total)
        if any(extent % 2 for extent in total):
            x = pad(x, [side for extent in reversed(total) for side in (0, extent % 2)])
    depth, *margin = (0, 0, 0) if padding == "valid" else triple(padding)
    x = _to_channels_last(x)
    if depth:
        x = pad(x, (0, 0, 0, 0, 0, 0, depth, depth))
    slices = (x.shape[1] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    if slices < 1:
        raise ShapeError(
            f"conv3d: the kernel {kernel} with dilation {dilation} does not fit into the depth {x.shape[1]} with padding",
            user_location(),
        )
    n, _, height, width, channels = x.shape
    taps = []
    for i in range(kernel[0]):
        begin = i * dilation[0]
        tap = x[:, begin : begin + stride[0] * (slices - 1) + 1 : stride[0]]
        taps.append(reshape(tap, n * slices, height, width, groups, per_group))
    images = reshape(cat(taps, 4), n * slices, height, width, kernel[0] * channels)
    flat = reshape(permute(weight, 0, 2, 1, 3, 4), out, kernel[0] * per_group, *kernel[1:])
    y = on_channels_last(
        images, flat, bias, stride[1:], (margin[0], margin[1]), dilation[1:], groups
    )
    return _to_channels_first(reshape(y, n, slices, *y.shape[1:]))


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of conv3d: [n, c, d, h, w] or [c, d, h, w] with a weight [c, out / groups, kd, kh, kw], as
    conv_transpose2d."""

    def transposed(x: Tensor) -> Tensor:
        return _conv_transpose3d(
            x,
            weight,
            bias,
            triple(stride),
            triple(padding),
            triple(output_padding),
            groups,
            triple(dilation),
        )

    return _on_volumes("conv_transpose3d", input, transposed)


def _conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    if weight.ndim != 5 or input.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ShapeError(
            f"conv_transpose3d takes [n, c, d, h, w] and a weight [c, out / groups, kd, kh, kw] with c a multiple of "
            f"groups={groups}, not {list(input.shape)} and {list(weight.shape)}",
            user_location(),
        )
    x, kernel = input, weight
    margins: list[int] = []
    for axis in range(3):
        more, step, spread = output_padding[axis], stride[axis], dilation[axis]
        if more >= max(step, spread):
            raise ShapeError(
                f"output_padding={more} must be smaller than the stride {step} or the dilation {spread}",
                user_location(),
            )
        x = with_zeros_between(x, 2 + axis, step)
        kernel = flipped(kernel, 2 + axis)
        reach = spread * (weight.shape[2 + axis] - 1)
        margins = [reach - padding[axis], reach - padding[axis] + more, *margins]
    # Negative margins cut: padding of the transpose takes pixels away.
    x = pad(x, margins)
    channels, out, *extents = kernel.shape
    kernel = reshape(kernel, groups, channels // groups, out, *extents)
    kernel = reshape(permute(kernel, 0, 2, 1, 3, 4, 5), groups * out, channels // groups, *extents)
    return _conv3d(x, kernel, bias, (1, 1, 1), 0, dilation, groups)


def _pooled(x: Tensor, of_images: Callable[[Tensor], Tensor], of_depth: Any) -> Tensor:
    """[n, c, d, h, w] through a function of [n * d, h, w, c], then one of [n, d, h * w, c]."""
    n, _, depth = x.shape[:3]
    x = _to_channels_last(x)
    y = of_images(reshape(x, n * depth, *x.shape[2:]))
    height, width, channels = y.shape[1:]
    z = of_depth(reshape(y, n, depth, height * width, channels))
    return _to_channels_first(reshape(z, n, z.shape[1], height, width, channels))


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """The largest element of each window of [n, c, d, h, w] or [c, d, h, w], as max_pool2d."""
    check_no_indices("max_pool3d", return_indices)
    kernel, margin = triple(kernel_size), triple(padding)
    step = kernel if stride is None or stride == [] else triple(stride)
    if triple(dilation) != (1, 1, 1):
        raise Error(
            f"max_pool3d: dilation={dilation} is not supported; windows without gaps are",
            user_location(),
        )
    check_margin("max_pool3d", kernel, margin)

    def of_images(x: Tensor) -> Tensor:
        return max_of_windows(x, kernel[1:], step[1:], margin[1:], ceil_mode)

    def of_depth(x: Tensor) -> Tensor:
        return max_of_windows(x, (kernel[0], 1), (step[0], 1), (margin[0], 0), ceil_mode)

    return _on_volumes("max_pool3d", input, lambda x: _pooled(x, of_images, of_depth))


def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of [n, c, d, h, w] or [c, d, h, w], as avg_pool2d."""
    kernel, margin = triple(kernel_size), triple(padding)
    step = kernel if stride is None or stride == [] else triple(stride)
    if divisor_override == 0:
        raise Error("avg_pool3d: divisor_override=0 divides by nothing", user_location())
    check_margin("avg_pool3d", kernel, margin)
    # Another divisor is applied at the end, to the sum over the whole kernel.
    area = None if divisor_override is None else kernel[1] * kernel[2]
    depth = None if divisor_override is None else kernel[0]

    def of_images(x: Tensor) -> Tensor:
        return mean_of_windows(
            x, kernel[1:], step[1:], margin[1:], ceil_mode, count_include_pad, area
        )

    def of_depth(x: Tensor) -> Tensor:
        window = ((kernel[0], 1), (step[0], 1), (margin[0], 0))
        y = mean_of_windows(x, *window, ceil_mode, count_include_pad, depth)
        if divisor_override is None:
            return y
        return mul(y, kernel[0] * kernel[1] * kernel[2] / divisor_override)

    return _on_volumes("avg_pool3d", input, lambda x: _pooled(x, of_images, of_depth))


def _output_size(op: str, x: Tensor, output_size: Any) -> Sizes:
    """None keeps an extent."""
    given = (
        (output_size,) * 3 if output_size is None or isinstance(output_size, int) else output_size
    )
    if len(given) != 3:
        raise ShapeError(f"{op}: {tuple(given)}: three numbers are needed", user_location())
    sizes = triple([x.shape[2 + i] if size is None else size for i, size in enumerate(given)])
    if min(sizes) < 1:
        raise ShapeError(f"{op}: {sizes} are no numbers of windows", user_location())
    return sizes


def _adaptive(
    op: str,
    input: Tensor,
    output_size: Any,
    equal: Callable[[Tensor, Sizes], Tensor],
    unequal: Callable[[Tensor, int, int], Tensor],
) -> Tensor:
    """`equal` windows where the sizes divide the extents, else one dim after the other."""

    def pooled(x: Tensor) -> Tensor:
        sizes = _output_size(op, x, output_size)
        extents = x.shape[2:]
        if all(extent % size == 0 for extent, size in zip(extents, sizes, strict=True)):
            window = triple([extent // size for extent, size in zip(extents, sizes, strict=True)])
            return equal(x, window)
        n, c, depth = x.shape[:3]
        y = unequal(unequal(x, 3, sizes[1]), 4, sizes[2])
        y = unequal(reshape(y, n, c, depth, sizes[1] * sizes[2]), 2, sizes[0])
        return reshape(y, n, c, *sizes)

    return _on_volumes(op, input, pooled)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means over windows of [n, c, d, h, w] or [c, d, h, w] that give `output_size`; None keeps an extent."""

    def equal(x: Tensor, window: Sizes) -> Tensor:
        if window == x.shape[2:]:
            return mean(x, (2, 3, 4), keepdim=True)
        return avg_pool3d(x, window, window)

    return _adaptive("adaptive_avg_pool3d", input, output_size, equal, means)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maxima over windows of [n, c, d, h, w] or [c, d, h, w] that give `output_size`; None keeps an extent."""
    check_no_indices("adaptive_max_pool3d", return_indices)
    return _adaptive(
        "adaptive_max_pool3d",
        input,
        output_size,
        lambda x, window: max_pool3d(x, window, window),
        maxima,
    )
