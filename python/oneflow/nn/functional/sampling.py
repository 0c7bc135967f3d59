"""Images read at points between their pixels (spatial transformers, Jaderberg et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...dtypes import float32, float64, int64
from ...errors import Error, ShapeError
from ...functions import (
    abs,
    add,
    cast,
    clamp,
    expand,
    floor,
    ge,
    logical_and,
    lt,
    matmul,
    minimum,
    mul,
    permute,
    remainder,
    reshape,
    round,
    sub,
    unbind,
    unsqueeze,
    where,
)
from ...functions.activations import only_floats
from ...functions.gathering import take_along
from ...location import user_location
from ...tensor import Tensor


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The points that grid_sample reads for an image of `size` [n, c, h, w] moved by theta [n, 2, 3]; of [n, c, d, h, w]
    by [n, 3, 4]. Points lie in [-1, 1], x first; with align_corners -1 and 1 are the centres of the outermost pixels,
    else their edges."""
    only_floats("affine_grid", theta)
    extents = tuple(int(extent) for extent in size[2:])
    rank = len(extents)
    if rank not in (2, 3) or theta.shape != (int(size[0]), rank, rank + 1):
        raise ShapeError(
            f"affine_grid takes theta [n, 2, 3] for a size [n, c, h, w], or [n, 3, 4] for [n, c, d, h, w], not "
            f"{list(theta.shape)} for {list(size)}",
            user_location(),
        )
    axes = [_centres(extent, bool(align_corners)) for extent in extents]
    points = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], -1).reshape(-1, rank)
    base = np.concatenate([points, np.ones((len(points), 1))], 1)
    kept = Tensor(base if theta.dtype is float64 else base.astype(np.float32))
    moved = matmul(cast(kept, theta.dtype), permute(theta, 0, 2, 1))
    return reshape(moved, theta.shape[0], *extents, rank)


def _centres(extent: int, align_corners: bool) -> np.ndarray:
    """Where the centres of the pixels lie."""
    if extent == 1:
        return np.zeros(1)
    ends = 1.0 if align_corners else 1 - 1 / extent
    return np.linspace(-ends, ends, extent)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The image [n, c, h, w] at the points of grid [n, p, q, 2], as [n, c, p, q].

    Args:
        grid: x and y in [-1, 1], as affine_grid says.
        mode: "bilinear" or "nearest".
        padding_mode: what lies outside: "zeros", the "border", or the image mirrored ("reflection").
    """
    if input.ndim != 4 or grid.ndim != 4 or grid.shape[0] != input.shape[0] or grid.shape[3] != 2:
        raise ShapeError(
            f"grid_sample takes [n, c, h, w] and a grid [n, p, q, 2], not {list(input.shape)} and {list(grid.shape)}",
            user_location(),
        )
    if mode not in ("bilinear", "nearest"):
        raise Error(f"grid_sample: mode={mode!r}: 'bilinear' or 'nearest'", user_location())
    if padding_mode not in ("zeros", "border", "reflection"):
        raise Error(
            f"grid_sample: padding_mode={padding_mode!r}: 'zeros', 'border' or 'reflection'",
            user_location(),
        )
    only_floats("grid_sample", input)
    if 0 in input.shape[1:]:
        raise ShapeError(f"grid_sample of an image {list(input.shape)}", user_location())
    n, c, height, width = input.shape
    p, q = grid.shape[1:3]
    # Half a pixel of a large image is beyond what narrow numbers tell apart.
    kept = grid if grid.dtype is float64 else cast(grid, float32)
    x, y = (reshape(axis, n, p * q) for axis in unbind(kept, 3))
    x = _pixel(x, width, padding_mode, bool(align_corners))
    y = _pixel(y, height, padding_mode, bool(align_corners))
    pixels = reshape(input, n, c, height * width)

    def at(row: Tensor, column: Tensor) -> Tensor:
        """Pixels [n, c, p * q] at whole numbers, 0 outside."""
        inside = logical_and(_within(row, height), _within(column, width))
        index = add(mul(clamp(row, 0, height - 1), width), clamp(column, 0, width - 1))
        places = expand(unsqueeze(cast(index, int64), 1), n, c, p * q)
        return where(unsqueeze(inside, 1), take_along(pixels, 2, places), 0.0)

    if mode == "nearest":
        return reshape(at(round(y), round(x)), n, c, p, q)
    left, top = floor(x).detach(), floor(y).detach()
    right, below = left + 1, top + 1
    corners = (
        (top, left, mul(sub(below, y), sub(right, x))),
        (top, right, mul(sub(below, y), sub(x, left))),
        (below, left, mul(sub(y, top), sub(right, x))),
        (below, right, mul(sub(y, top), sub(x, left))),
    )
    terms = [mul(at(row, column), unsqueeze(share, 1)) for row, column, share in corners]
    total = add(add(terms[0], terms[1]), add(terms[2], terms[3]))
    return reshape(cast(total, input.dtype), n, c, p, q)


def _within(index: Tensor, extent: int) -> Tensor:
    return logical_and(ge(index, 0), lt(index, extent))


def _pixel(x: Tensor, extent: int, padding_mode: str, align_corners: bool) -> Tensor:
    """A coordinate of [-1, 1] in pixels, brought into the image unless what is outside is zeros."""
    if align_corners:
        place = mul(x + 1, (extent - 1) / 2)
        low, high = 0.0, float(extent - 1)
    else:
        place = mul(x + 1, extent / 2) - 0.5
        low, high = -0.5, extent - 0.5
    if padding_mode == "zeros":
        return place
    if padding_mode == "reflection":
        span = high - low
        if span == 0:
            place = mul(place, 0.0)
        else:  # a triangle of the period 2 * span
            past = remainder(abs(place - low), 2 * span)
            place = minimum(past, 2 * span - past) + low
    return clamp(place, 0, extent - 1)
