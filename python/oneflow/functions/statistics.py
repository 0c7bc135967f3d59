"""Running extremes, order statistics and moments along dims, composed of reductions, sorts and scans."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from .. import dtypes
from ..dtypes import DType
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .composed import logaddexp
from .contractions import norm
from .creation import full
from .gathering import cumsum, sort, take_along
from .products import matmul
from .reductions import (
    Dims,
    ValuesAndIndices,
    amax,
    amin,
    mean,
    normalize_dim,
    std,
    var,
)
from .reductions import sum as _sum
from .running import diff
from .shapes import broadcast_to, cat, narrow, reshape, squeeze, transpose, unsqueeze


def _only_floats(name: str, input: Tensor) -> None:
    if not input.dtype.is_floating_point:
        raise DTypeError(f"{name} of {input.dtype!r}; convert with .float()", user_location())


def _summed_in(input: Tensor, dtype: DType | None) -> Tensor:
    """In the dtype in which elements are summed and multiplied: int64 for integers and bools."""
    if dtype is None and not input.dtype.is_floating_point:
        dtype = dtypes.int64
    return input if dtype is None else ew.cast(input, dtype)


class MinAndMax(NamedTuple):
    """What aminmax returns."""

    min: Tensor
    max: Tensor


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinAndMax:
    """The least and the greatest element, along `dim` or of all."""
    return MinAndMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


def nansum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """sum in which a nan counts as 0."""
    x = input if dtype is None else ew.cast(input, dtype)
    if x.dtype.is_floating_point:
        x = ew.where(ew.isnan(x), 0.0, x)
    return _sum(x, dim, keepdim)


def nanmean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The mean of the elements that are no nan."""
    _only_floats("nanmean", input)
    x = input if dtype is None else ew.cast(input, dtype)
    count = _sum(ew.eq(x, x), dim, keepdim)
    return ew.div(nansum(x, dim, keepdim), ew.cast(count, x.dtype))


def var_mean(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(var, mean) over `dim`, with the arguments of var."""
    over = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


def std_mean(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(std, mean) over `dim`, with the arguments of var."""
    over = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    return norm(ew.sub(*ew.promoted(input, other)), p)


Combine = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], tuple[Tensor, ...]]


def _scan(tensors: tuple[Tensor, ...], dim: int, combine: Combine) -> tuple[Tensor, ...]:
    """Running combinations along `dim` of an associative function, in log2(extent) rounds (Hillis and Steele 1986)."""
    extent = tensors[0].shape[dim]
    step = 1
    while step < extent:
        before = tuple(narrow(x, dim, 0, extent - step) for x in tensors)
        here = tuple(narrow(x, dim, step, extent - step) for x in tensors)
        combined = combine(before, here)
        first = [narrow(x, dim, 0, step) for x in tensors]
        tensors = tuple(cat([f, c], dim) for f, c in zip(first, combined, strict=True))
        step *= 2
    return tensors


def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """ln of running sums of e^input along `dim`, without overflow."""
    _only_floats("logcumsumexp", input)
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return input.clone()
    return _scan((input,), position, lambda a, b: (logaddexp(a[0], b[0]),))[0]


def _running(input: Tensor, dim: int, wins: Callable[[Tensor, Tensor], Tensor]) -> ValuesAndIndices:
    """The element so far that none later beats, and where it stands; a nan beats all."""
    position = normalize_dim(dim, input.ndim)
    if input.ndim == 0:
        return ValuesAndIndices(input, full((), 0, dtype=dtypes.int64))
    shape = [1] * input.ndim
    shape[position] = input.shape[position]
    counted = ew.sub(cumsum(full(shape, 1, dtype=dtypes.int64), position), 1)

    def later(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        is_later = ew.logical_or(wins(b[0], a[0]), ew.isnan(b[0]))
        is_later = ew.logical_and(is_later, ew.logical_or(ew.eq(a[0], a[0]), ew.isnan(b[0])))
        return ew.where(is_later, b[0], a[0]), ew.where(is_later, b[1], a[1])

    return ValuesAndIndices(*_scan((input, broadcast_to(counted, input.shape)), position, later))


def cummax(input: Tensor, dim: int) -> ValuesAndIndices:
    """Running maxima along `dim`, and where each stands: the last of equals."""
    return _running(input, dim, ew.ge)


def cummin(input: Tensor, dim: int) -> ValuesAndIndices:
    """Running minima along `dim`, and where each stands: the last of equals."""
    return _running(input, dim, ew.le)


def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dim."""
    return sort(input, 0).values


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The k-th least element along `dim` (from 1), and where it stands."""
    if input.dtype is dtypes.bool_:
        raise DTypeError("kthvalue of bools; convert with .int()", user_location())
    position = normalize_dim(dim, input.ndim)
    extent = input.shape[position] if input.ndim else 1
    if not 1 <= k <= extent:
        raise ShapeError(f"kthvalue: k={k} of {extent} elements", user_location())
    values, indices = sort(input, dim)
    if input.ndim == 0:
        return ValuesAndIndices(values, indices)
    found = [narrow(x, position, k - 1, 1) for x in (values, indices)]
    return ValuesAndIndices(*(x if keepdim else squeeze(x, position) for x in found))


def median(
    input: Tensor, dim: int | None = None, keepdim: bool = False
) -> Tensor | ValuesAndIndices:
    """The middle element (of two, the lesser), nan if there is one; with `dim`, along it and where it stands."""
    if dim is None:
        if input.numel() == 0:
            return full((), math.nan, dtype=input.dtype)
        found = median(reshape(input, -1), 0)
        assert isinstance(found, ValuesAndIndices)
        return found.values
    extent = input.shape[normalize_dim(dim, input.ndim)] if input.ndim else 1
    values, indices = kthvalue(input, (extent + 1) // 2, dim, keepdim)
    if not input.dtype.is_floating_point or input.ndim == 0:
        return ValuesAndIndices(values, indices)
    # Sorted, a nan stands last.
    last = kthvalue(input, extent, dim, keepdim).values
    first_nan = _sum(ew.eq(input, input), dim, keepdim)
    ordered = sort(input, dim).indices
    position = normalize_dim(dim, input.ndim)
    kept = first_nan if keepdim else unsqueeze(first_nan, position)
    where_nan = take_along(ordered, position, ew.clamp(kept, max=extent - 1))
    where_nan = where_nan if keepdim else squeeze(where_nan, position)
    is_nan = ew.isnan(last)
    return ValuesAndIndices(ew.where(is_nan, last, values), ew.where(is_nan, where_nan, indices))


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def quantile(
    input: Tensor,
    q: float,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """The number below which the share `q` of the elements lies, along `dim` or of all; nan if there is one.

    `q` is a number; several need several calls.
    """
    _only_floats("quantile", input)
    if isinstance(q, Tensor) or not isinstance(q, (int, float)) or not 0 <= q <= 1:
        raise Error(
            f"quantile: q={q!r}: a number in [0, 1]; call it once for each of several",
            user_location(),
        )
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(f"quantile of {input.dtype!r}; convert with .float()", user_location())
    if interpolation not in _INTERPOLATIONS:
        raise Error(f"interpolation={interpolation!r}: one of {_INTERPOLATIONS}", user_location())
    if dim is None:
        flat = quantile(reshape(input, -1), q, 0, interpolation=interpolation)
        return reshape(flat, [1] * input.ndim) if keepdim else flat
    position = normalize_dim(dim, input.ndim)
    extent = input.shape[position] if input.ndim else 1
    if input.numel() == 0:
        raise ShapeError("quantile of no elements", user_location())
    if input.ndim == 0:
        return input.clone()
    at = q * (extent - 1)
    low, high = math.floor(at), math.ceil(at)
    share = {
        "linear": at - low,
        "lower": 0.0,
        "higher": 1.0,
        "midpoint": 0.5 if high > low else 0.0,
        "nearest": float(round(at) - low),
    }[interpolation]
    values = sort(input, position).values
    a, b, last = (narrow(values, position, i, 1) for i in (low, high, extent - 1))
    found = a if share == 0 else ew.lerp(a, b, share)
    found = ew.where(ew.isnan(last), last, found)
    return found if keepdim else squeeze(found, position)


def _panels(y: Tensor, x: Tensor | None, dx: float, dim: int) -> tuple[Tensor, int]:
    """Areas between neighbours along `dim`, by the trapezoidal rule."""
    if y.dtype is dtypes.bool_:
        raise DTypeError("trapezoid of bools; convert with .float()", user_location())
    if y.ndim == 0:
        raise ShapeError("trapezoid of a tensor without dims", user_location())
    position = normalize_dim(dim, y.ndim)
    rest = max(y.shape[position] - 1, 0)
    if y.shape[position] == 0:
        return narrow(y, position, 0, 0), position
    pairs = ew.add(narrow(y, position, 1, rest), narrow(y, position, 0, rest))
    if x is None:
        return ew.mul(pairs, dx / 2), position
    steps = diff(x, dim=-1 if x.ndim == 1 else dim)
    if x.ndim == 1:
        steps = reshape(steps, [-1 if d == position else 1 for d in range(y.ndim)])
    return ew.div(ew.mul(pairs, steps), 2.0), position


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The integral of samples `y` along `dim` by the trapezoidal rule: at the places `x`, or `dx` apart."""
    panels, position = _panels(y, x, dx, dim)
    return _sum(panels, position)


trapz = trapezoid


def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1
) -> Tensor:
    """The running integrals of trapezoid: one fewer than samples."""
    panels, position = _panels(y, x, dx, dim)
    return cumsum(panels, position)


def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Each slice along `dim` scaled so that its p-norm is at most `maxnorm`."""
    _only_floats("renorm", input)
    if input.ndim < 2:
        raise ShapeError(f"renorm takes at least 2 dims, not {input.ndim}", user_location())
    position = normalize_dim(dim, input.ndim)
    others = [d for d in range(input.ndim) if d != position]
    size = norm(input, p, others, True)
    factor = ew.where(ew.gt(size, maxnorm), ew.div(maxnorm, ew.add(size, 1e-7)), 1.0)
    return ew.mul(input, factor)


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of `bins` equal parts of [min, max]; of the elements' range if both are equal."""
    if input.dtype not in (dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16):
        raise DTypeError(f"histc of {input.dtype!r}; convert with .float()", user_location())
    if bins < 1 or min > max:
        raise Error(f"histc: bins={bins} from {min} to {max}", user_location())
    flat = unsqueeze(reshape(input, -1), 1)
    counted = ew.sub(cumsum(full((bins,), 1, dtype=dtypes.int64), 0), 1)
    low: ew.Operand = min
    high: ew.Operand = max
    if min == max and input.numel():
        low, high = amin(input), amax(input)
        even = ew.eq(low, high)
        low, high = ew.where(even, ew.sub(low, 1), low), ew.where(even, ew.add(high, 1), high)
    elif min == max:
        return full((bins,), 0, dtype=input.dtype)
    at = ew.floor(ew.div(ew.mul(ew.sub(flat, low), bins), ew.sub(high, low)))
    at = ew.where(ew.eq(flat, high), float(bins - 1), at)
    inside = ew.logical_and(ew.ge(flat, low), ew.le(flat, high))
    hits = ew.logical_and(inside, ew.eq(at, ew.cast(counted, at.dtype)))
    return ew.cast(_sum(hits, 0), input.dtype)


def cov(input: Tensor, *, correction: int = 1) -> Tensor:
    """Covariances of the rows (variables) over the columns (observations): [n, k] to [n, n], [k] and [1, k] to []."""
    if input.ndim > 2:
        raise ShapeError(f"cov takes at most 2 dims, not {input.ndim}", user_location())
    if input.dtype is dtypes.bool_:
        raise DTypeError("cov of bools; convert with .float()", user_location())
    x = ew.cast_to_float(input)
    rows = reshape(x, [1, -1]) if x.ndim < 2 else x
    centered = ew.sub(rows, mean(rows, 1, True))
    count = rows.shape[1] - correction
    total = matmul(centered, transpose(centered, 0, 1))
    result = ew.mul(total, 1.0 / count if count > 0 else math.inf)
    return reshape(result, []) if rows.shape[0] == 1 else result


def corrcoef(input: Tensor) -> Tensor:
    """Correlations of the rows over the columns, limited to [-1, 1]."""
    covariance = cov(input)
    if covariance.ndim == 0:
        return ew.div(covariance, covariance)
    count = covariance.shape[0]
    diagonal = ew.eq(
        unsqueeze(cumsum(full((count,), 1, dtype=dtypes.int64), 0), 1),
        cumsum(full((count,), 1, dtype=dtypes.int64), 0),
    )
    deviations = ew.sqrt(_sum(ew.where(diagonal, covariance, 0.0), 1))
    scaled = ew.div(ew.div(covariance, unsqueeze(deviations, 1)), deviations)
    return ew.clamp(scaled, -1.0, 1.0)


__all__ = [
    "aminmax",
    "corrcoef",
    "cov",
    "cummax",
    "cummin",
    "cumulative_trapezoid",
    "dist",
    "histc",
    "kthvalue",
    "logcumsumexp",
    "median",
    "msort",
    "nanmean",
    "nansum",
    "quantile",
    "renorm",
    "std_mean",
    "trapezoid",
    "trapz",
    "var_mean",
]
