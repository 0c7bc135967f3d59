"""Tensors made from numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import DType, float32, int64
from ..location import user_location
from ..tensor import Tensor
from ..tracing import current_trace


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        return tuple(int(extent) for extent in size[0])
    return tuple(int(extent) for extent in size)


def full(size: Any, fill_value: float, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """`fill_value` everywhere; int64 for an integer, float32 otherwise."""
    del device
    shape = _shape((size,))
    if dtype is None:
        dtype = (
            int64 if isinstance(fill_value, int) and not isinstance(fill_value, bool) else float32
        )
    trace = current_trace()
    if trace is not None:
        location = user_location()
        attrs = {"value": float(fill_value), "dtype": dtype.name, "shape": list(shape)}
        return trace.wrap(trace.add("constant", [], attrs, location)[0], location)
    return Tensor(np.full(shape, fill_value, dtype=dtype.numpy))


def zeros(*size: Any, dtype: DType = float32, device: Any = None) -> Tensor:
    return full(_shape(size), 0, dtype=dtype, device=device)


def ones(*size: Any, dtype: DType = float32, device: Any = None) -> Tensor:
    return full(_shape(size), 1, dtype=dtype, device=device)


def empty(*size: Any, dtype: DType = float32, device: Any = None) -> Tensor:
    """As zeros: results never depend on what memory held before."""
    return zeros(*size, dtype=dtype, device=device)


def zeros_like(input: Tensor, *, dtype: DType | None = None) -> Tensor:
    return full(input.shape, 0, dtype=dtype or input.dtype)


def ones_like(input: Tensor, *, dtype: DType | None = None) -> Tensor:
    return full(input.shape, 1, dtype=dtype or input.dtype)


def full_like(input: Tensor, fill_value: float, *, dtype: DType | None = None) -> Tensor:
    return full(input.shape, fill_value, dtype=dtype or input.dtype)


def arange(
    start: float, end: float | None = None, step: float = 1, *, dtype: DType | None = None
) -> Tensor:
    """Numbers from `start` (0 if only one bound is given) up to, without, `end`."""
    if end is None:
        start, end = 0, start
    return Tensor(np.arange(start, end, step), dtype)


def eye(n: int, m: int | None = None, *, dtype: DType = float32) -> Tensor:
    return Tensor(np.eye(n, m, dtype=dtype.numpy))


__all__ = [
    "arange",
    "empty",
    "eye",
    "full",
    "full_like",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]
