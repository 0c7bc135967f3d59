"""Padding along the last dims."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import Error, ShapeError
from ...functions import cat, expand, full, narrow
from ...location import user_location
from ...tensor import Tensor


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Pads the last dim by pad[0] in front and pad[1] behind, the one before it by pad[2:4], and so on.

    Args:
        mode: "constant" (with `value`, 0 by default), "reflect" (without the edge itself, so by less than the
            extent), "replicate" (the edge), or "circular" (the other end, by at most the extent).

    A negative number cuts; only "constant" takes one.
    """
    sizes = [int(size) for size in pad]
    if len(sizes) % 2 or len(sizes) > 2 * input.ndim:
        raise ShapeError(
            f"pad={tuple(sizes)}: two numbers for each of at most {input.ndim} dims are needed",
            user_location(),
        )
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise Error(
            f"mode={mode!r}: 'constant', 'reflect', 'replicate' or 'circular'", user_location()
        )
    if mode != "constant" and value not in (None, 0):
        raise Error(f"value={value} has no meaning with mode={mode!r}", user_location())
    result = input
    for i in range(0, len(sizes), 2):
        dim = input.ndim - 1 - i // 2
        result = _pad_dim(result, dim, sizes[i], sizes[i + 1], mode, 0 if value is None else value)
    return result.clone()


def _pad_dim(x: Tensor, dim: int, before: int, behind: int, mode: str, value: float) -> Tensor:
    extent = x.shape[dim]
    if mode == "constant":
        cut_before, cut_behind = max(-before, 0), max(-behind, 0)
        if cut_before + cut_behind > extent:
            raise ShapeError(
                f"pad: ({before}, {behind}) cuts more than the extent {extent} of dim {dim}",
                user_location(),
            )
        if cut_before or cut_behind:
            x = narrow(x, dim, cut_before, extent - cut_before - cut_behind)
        return _joined(x, dim, _constant(x, dim, before, value), _constant(x, dim, behind, value))
    limit = {"reflect": extent - 1, "replicate": None, "circular": extent}[mode]
    if before < 0 or behind < 0 or (limit is not None and max(before, behind) > limit):
        bound = "" if limit is None else f", at most {limit}"
        raise ShapeError(
            f"pad: ({before}, {behind}) of dim {dim} with extent {extent}: {mode!r} takes numbers of 0 or more{bound}",
            user_location(),
        )
    if extent == 0 and (before or behind):
        raise ShapeError(f"pad: dim {dim} has no elements to repeat", user_location())

    def at(begin: int, length: int = 1) -> Tensor:
        return narrow(x, dim, begin, length)

    if mode == "reflect":
        front = [at(before - i) for i in range(before)]
        back = [at(extent - 2 - i) for i in range(behind)]
    elif mode == "circular":
        front = [at(extent - before, before)] if before else []
        back = [at(0, behind)] if behind else []
    else:
        front = [_repeated(at(0), dim, before)] if before else []
        back = [_repeated(at(extent - 1), dim, behind)] if behind else []
    return _joined(x, dim, front, back)


def _constant(x: Tensor, dim: int, count: int, value: float) -> list[Tensor]:
    if count <= 0:
        return []
    return [full((*x.shape[:dim], count, *x.shape[dim + 1 :]), value, dtype=x.dtype)]


def _repeated(edge: Tensor, dim: int, count: int) -> Tensor:
    return expand(edge, *edge.shape[:dim], count, *edge.shape[dim + 1 :])


def _joined(x: Tensor, dim: int, front: list[Tensor], back: list[Tensor]) -> Tensor:
    return cat([*front, x, *back], dim) if front or back else x
