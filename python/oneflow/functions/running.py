"""Products along dims, and differences of neighbours: composed, with a number of ops that grows with the logarithm."""

from __future__ import annotations

from .. import dtypes
from ..dtypes import DType
from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .creation import full
from .reductions import normalize_dim
from .shapes import cat, narrow, view


def _operand(input: Tensor, dtype: DType | None) -> Tensor:
    """In `dtype`; without one integers and bools multiply in int64."""
    if dtype is None:
        dtype = input.dtype if input.dtype.is_floating_point else dtypes.int64
    return ew.cast(input, dtype)


def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The product over `dim`, or of all elements; right at zeros, gradients too."""
    x = _operand(input, dtype)
    if dim is None:
        x, dim, keepdim = view(x, x.numel()), 0, False
    position = normalize_dim(dim, x.ndim)
    if x.ndim == 0:
        return x.clone()
    rest = [*x.shape[:position], *([1] if keepdim else []), *x.shape[position + 1 :]]
    while (extent := x.shape[position]) > 1:
        half = extent // 2
        halves = ew.mul(narrow(x, position, 0, half), narrow(x, position, half, half))
        odd = [narrow(x, position, extent - 1, 1)] if extent % 2 else []
        x = cat([halves, *odd], position) if odd else halves
    if x.shape[position] == 0:
        return full(rest, 1, dtype=x.dtype)
    return view(x, rest).clone()


def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Running products along `dim`."""
    x = _operand(input, dtype)
    position = normalize_dim(dim, x.ndim)
    if x.ndim == 0:
        return x.clone()
    extent, step = x.shape[position], 1
    while step < extent:
        earlier = narrow(x, position, 0, extent - step)
        later = ew.mul(narrow(x, position, step, extent - step), earlier)
        x = cat([narrow(x, position, 0, step), later], position)
        step *= 2
    return x.clone()


def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Each element minus the one before it along `dim`, n times; of bools whether they differ."""
    if input.ndim == 0:
        raise ShapeError("diff of a tensor without dims", user_location())
    if n < 0:
        raise Error(f"diff: n={n} is negative", user_location())
    position = normalize_dim(dim, input.ndim)
    parts = [x for x in (prepend, input, append) if x is not None]
    x = cat(parts, position) if len(parts) > 1 else input
    times = min(n, x.shape[position])
    if times == 0:
        return x.clone()
    for _ in range(times):
        rest = x.shape[position] - 1
        after, before = narrow(x, position, 1, rest), narrow(x, position, 0, rest)
        x = ew.logical_xor(after, before) if x.dtype is dtypes.bool_ else ew.sub(after, before)
    return x


__all__ = ["cumprod", "diff", "prod"]
