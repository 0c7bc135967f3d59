"""Images of another size: interpolation, and pixels moved between channels and space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...dtypes import float64
from ...errors import Error, ShapeError
from ...functions import (
    cast,
    cat,
    expand,
    full,
    matmul,
    narrow,
    permute,
    reshape,
    scatter_add,
    stack,
    transpose,
)
from ...functions.activations import only_floats
from ...location import user_location
from ...tensor import Tensor
from .images import pair
from .padding import pad
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d

_RANK = {"linear": 3, "bilinear": 4, "trilinear": 5, "bicubic": 4}
_MODES = ("nearest", "nearest-exact", "area", *_RANK)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """[n, c, d1, ...] at another spatial size, given as `size` or `scale_factor`, one number or one per dim.

    Args:
        mode: "nearest", "nearest-exact", "area" (1 and 2 spatial dims), "linear" (1), "bilinear" and "bicubic" (2),
            "trilinear" (3).
        align_corners: the corner pixels of input and output stand on each other; for the (bi, tri)linear and cubic
            modes only.
        recompute_scale_factor: True takes the scale from the two sizes instead of `scale_factor`.

    antialias=True is refused.
    """
    if mode not in _MODES:
        raise Error(f"mode={mode!r}: one of {', '.join(_MODES)}", user_location())
    if antialias:
        raise Error(
            "antialias=True is not supported; average with avg_pool2d before", user_location()
        )
    if align_corners is not None and mode not in _RANK:
        raise Error(f"align_corners has no meaning with mode={mode!r}", user_location())
    if input.ndim < 3 or input.ndim != _RANK.get(mode, input.ndim):
        raise ShapeError(
            f"interpolate with mode={mode!r} does not take {list(input.shape)}", user_location()
        )
    sizes, scales = _sizes(input, size, scale_factor, bool(recompute_scale_factor))
    if mode == "area":
        if input.ndim == 5:
            raise ShapeError("mode='area' takes 1 or 2 spatial dims", user_location())
        pool = adaptive_avg_pool1d if input.ndim == 3 else adaptive_avg_pool2d
        return pool(input, tuple(sizes))
    if not mode.startswith("nearest"):
        only_floats("interpolate", input)
    result = input
    for i, (extent, scale) in enumerate(zip(sizes, scales, strict=True)):
        if mode.startswith("nearest"):
            result = _nearest(result, 2 + i, extent, scale, mode == "nearest-exact")
        else:
            result = _weighted(result, 2 + i, extent, scale, bool(align_corners), mode == "bicubic")
    return result.clone()


def _sizes(
    input: Tensor, size: Any, scale_factor: Any, recompute: bool
) -> tuple[list[int], list[float | None]]:
    """The extents, and the scales that pixels' places are computed from where they are not the extents' ratios."""
    extents = input.shape[2:]
    if (size is None) == (scale_factor is None):
        raise Error("interpolate takes either size= or scale_factor=", user_location())
    given = size if size is not None else scale_factor
    values = list(given) if isinstance(given, (tuple, list)) else [given] * len(extents)
    if len(values) != len(extents):
        raise ShapeError(
            f"interpolate: {len(values)} numbers for {len(extents)} spatial dims", user_location()
        )
    scales: list[float | None]
    if size is not None:
        if recompute:
            raise Error("recompute_scale_factor has no meaning with size=", user_location())
        sizes, scales = [int(value) for value in values], [None] * len(values)
    else:
        sizes = [math.floor(e * float(v)) for e, v in zip(extents, values, strict=True)]
        scales = [None if recompute else float(value) for value in values]
    if min(sizes) < 1:
        raise ShapeError(f"interpolate: the size {sizes} has no pixels", user_location())
    return sizes, scales


def _step(extent: int, target: int, scale: float | None) -> float:
    return 1 / scale if scale is not None and scale > 0 else extent / target


def _nearest(x: Tensor, dim: int, target: int, scale: float | None, exact: bool) -> Tensor:
    extent = x.shape[dim]
    step = np.float32(_step(extent, target, scale))
    places = np.arange(target, dtype=np.float32)
    sources = np.floor((places + np.float32(0.5)) * step if exact else places * step)
    index = np.minimum(sources.astype(np.int64), extent - 1).tolist()
    if index == list(range(extent)):
        return x
    before, behind = x.shape[:dim], x.shape[dim + 1 :]
    if target % extent == 0 and index == [i // (target // extent) for i in range(target)]:
        column = reshape(x, *before, extent, 1, *behind)
        repeated = expand(column, *before, extent, target // extent, *behind)
        return reshape(repeated, *before, target, *behind)
    return cat([narrow(x, dim, i, 1) for i in index], dim)


def _weighted(
    x: Tensor, dim: int, target: int, scale: float | None, align_corners: bool, cubic: bool
) -> Tensor:
    """Along one dim the result is a product with the weights of its neighbours."""
    extent = x.shape[dim]
    if align_corners:
        places = np.arange(target) * ((extent - 1) / (target - 1) if target > 1 else 0.0)
    else:
        places = (np.arange(target) + 0.5) * _step(extent, target, scale) - 0.5
        if not cubic:
            places = np.maximum(places, 0)
    weights = np.zeros((target, extent))
    below = np.floor(places).astype(np.int64)
    if not cubic:
        below = np.minimum(below, extent - 1)
    for offset, weight in _neighbours(places - below, cubic):
        index = np.clip(below + offset, 0, extent - 1)
        np.add.at(weights, (np.arange(target), index), weight)
    matrix = weights.astype(np.float64 if x.dtype is float64 else np.float32)
    moved = transpose(x, dim, -1)
    sums = cast(matmul(moved, Tensor(np.ascontiguousarray(matrix.T))), x.dtype)
    return transpose(sums, dim, -1)


def _neighbours(t: np.ndarray, cubic: bool) -> list[tuple[int, np.ndarray]]:
    """Offsets of pixels and their weights at a distance t behind the pixel below (cubic: Keys 1981, a = -0.75)."""
    if not cubic:
        return [(0, 1 - t), (1, t)]
    a = -0.75

    def near(d: np.ndarray) -> np.ndarray:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: np.ndarray) -> np.ndarray:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [(-1, far(t + 1)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))]


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[..., c * r * r, h, w] -> [..., c, h * r, w * r] (Shi et al. 2016)."""
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle by {r} takes [..., c * {r * r}, h, w], not {list(input.shape)}",
            user_location(),
        )
    *leading, channels, h, w = input.shape
    n = len(leading)
    x = reshape(input, *leading, channels // (r * r), r, r, h, w)
    x = permute(x, *range(n + 1), n + 3, n + 1, n + 4, n + 2)
    return reshape(x, *leading, channels // (r * r), h * r, w * r).clone()


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[..., c, h * r, w * r] -> [..., c * r * r, h, w]: the inverse of pixel_shuffle."""
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-2] % r or input.shape[-1] % r:
        raise ShapeError(
            f"pixel_unshuffle by {r} takes [..., c, h * {r}, w * {r}], not {list(input.shape)}",
            user_location(),
        )
    *leading, channels, h, w = input.shape
    n = len(leading)
    x = reshape(input, *leading, channels, h // r, r, w // r, r)
    x = permute(x, *range(n + 1), n + 2, n + 4, n + 1, n + 3)
    return reshape(x, *leading, channels * r * r, h // r, w // r).clone()


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """[n, g * c, ...] with channel i of each group after the other (Zhang et al. 2018)."""
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle: {groups} groups do not divide the channels of {list(input.shape)}",
            user_location(),
        )
    n, channels, *rest = input.shape
    x = reshape(input, n, groups, channels // groups, *rest)
    return reshape(transpose(x, 1, 2), n, channels, *rest).clone()


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of [n, c, h, w] or [c, h, w] as columns: [n, c * kh * kw, windows], row by row."""
    if input.ndim == 3:
        return unfold(input[None], kernel_size, dilation, padding, stride)[0]
    if input.ndim != 4:
        raise ShapeError(
            f"unfold takes [n, c, h, w] or [c, h, w], not {list(input.shape)}", user_location()
        )
    kernel, spread, margin, step = (pair(v) for v in (kernel_size, dilation, padding, stride))
    x = pad(input, (margin[1], margin[1], margin[0], margin[0]))
    counts = [(x.shape[2 + i] - spread[i] * (kernel[i] - 1) - 1) // step[i] + 1 for i in (0, 1)]
    if min(counts) < 1:
        raise ShapeError(
            f"unfold: no window {kernel} fits into {list(input.shape)} with padding {margin}",
            user_location(),
        )

    def at(offset: int, axis: int) -> slice:
        begin = offset * spread[axis]
        return slice(begin, begin + step[axis] * (counts[axis] - 1) + 1, step[axis])

    windows = [x[:, :, at(i, 0), at(j, 1)] for i in range(kernel[0]) for j in range(kernel[1])]
    n, channels = input.shape[:2]
    columns = stack(windows, 2)
    return reshape(columns, n, channels * kernel[0] * kernel[1], counts[0] * counts[1])


def fold(
    input: Tensor,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """The images [n, c, h, w] whose pixels are the sums of what `unfold`'s columns [n, c * kh * kw, windows] hold of
    them; [c * kh * kw, windows] is one image."""
    if input.ndim == 2:
        return fold(input[None], output_size, kernel_size, dilation, padding, stride)[0]
    size, kernel, spread, margin, step = (
        pair(value if isinstance(value, int) else tuple(value))
        for value in (output_size, kernel_size, dilation, padding, stride)
    )
    counts = [
        (size[i] + 2 * margin[i] - spread[i] * (kernel[i] - 1) - 1) // step[i] + 1 for i in (0, 1)
    ]
    area = kernel[0] * kernel[1]
    if input.ndim != 3 or min(counts) < 1 or input.shape[2] != counts[0] * counts[1]:
        raise ShapeError(
            f"fold to {size} by windows {kernel} takes [n, c * {area}, {max(counts[0], 0) * max(counts[1], 0)}], not "
            f"{list(input.shape)}",
            user_location(),
        )
    if input.shape[1] % area:
        raise ShapeError(
            f"fold: {input.shape[1]} rows are no multiple of the window's {area} pixels",
            user_location(),
        )
    n, channels = input.shape[0], input.shape[1] // area
    padded = [size[i] + 2 * margin[i] for i in (0, 1)]
    rows, columns = (
        np.arange(kernel[i])[:, None] * spread[i] + np.arange(counts[i])[None] * step[i]
        for i in (0, 1)
    )
    # [kh, kw, rows, columns]: the pixel that each element is a part of.
    pixel = rows[:, None, :, None] * padded[1] + columns[None, :, None, :]
    parts = reshape(input, n, channels, area * counts[0] * counts[1])
    index = expand(Tensor(pixel.reshape(1, 1, -1)), *parts.shape)
    empty = full((n, channels, padded[0] * padded[1]), 0, dtype=input.dtype)
    images = reshape(scatter_add(empty, 2, index, parts), n, channels, *padded)
    return images[
        :, :, margin[0] : margin[0] + size[0], margin[1] : margin[1] + size[1]
    ].contiguous()


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` under its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="nearest", under its older name."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="bilinear" and align_corners=True, under its older name."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
