"""Tensors made from numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import DType, bool_, float32, int64
from ..errors import DTypeError, Error, ShapeError
from ..host_memory import check_allocation, to_shape
from ..location import user_location
from ..tensor import Tensor
from ..tracing import current_trace


def number_dtype(value: float) -> DType:
    """The dtype of a Python number that stands for a tensor."""
    if isinstance(value, bool):
        return bool_
    return int64 if isinstance(value, int) else float32


def exact(value: float) -> float:
    """A number as an attribute of an op, where integers are doubles: those that a double lacks are refused."""
    if isinstance(value, int) and abs(value) > 1 << 53:
        raise DTypeError(
            f"{value} is beyond 2**53 and would lose digits; use flow.tensor({value})",
            user_location(),
        )
    return float(value)


def full(size: Any, fill_value: float, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """`fill_value` everywhere; bool for a bool, int64 for an integer, float32 otherwise."""
    del device
    shape = to_shape((size,))
    if dtype is None:
        dtype = number_dtype(fill_value)
    trace = current_trace()
    if trace is not None:
        location = user_location()
        attrs = {"value": exact(fill_value), "dtype": dtype.name, "shape": list(shape)}
        return trace.wrap(trace.add("constant", [], attrs, location)[0], location)
    check_allocation("full", shape, dtype)
    # Converted as elements are: NumPy refuses a -1 for uint8, PyTorch wraps it.
    return Tensor(np.full(shape, np.asarray(fill_value).astype(dtype.numpy)))


def zeros(*args: Any, size: Any = (), dtype: DType | None = None, device: Any = None) -> Tensor:
    """0 everywhere, in float32 by default."""
    return full(to_shape(args or (size,)), 0, dtype=dtype or float32, device=device)


def ones(*args: Any, size: Any = (), dtype: DType | None = None, device: Any = None) -> Tensor:
    """1 everywhere, in float32 by default."""
    return full(to_shape(args or (size,)), 1, dtype=dtype or float32, device=device)


def empty(*args: Any, size: Any = (), dtype: DType | None = None, device: Any = None) -> Tensor:
    """As zeros: results never depend on what memory held before."""
    return zeros(*args, size=size, dtype=dtype, device=device)


def zeros_like(input: Tensor, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Zeros of the shape of `input`, and of its dtype unless `dtype` says another."""
    return full(input.shape, 0, dtype=dtype or input.dtype)


def ones_like(input: Tensor, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Ones of the shape of `input`, and of its dtype unless `dtype` says another."""
    return full(input.shape, 1, dtype=dtype or input.dtype)


def full_like(
    input: Tensor, fill_value: float, *, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """`fill_value` in the shape of `input`, and in its dtype unless `dtype` says another."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype)


def empty_like(input: Tensor, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """As zeros_like: results never depend on what memory held before."""
    return zeros_like(input, dtype=dtype)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DType | None = None,
    device: Any = None,
) -> Tensor:
    """Numbers from `start` (0 if only one bound is given) up to, without, `end`."""
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) / step < 0:
        raise ShapeError(f"arange from {start} to {end} by {step} never arrives", user_location())
    if dtype is None:
        dtype = int64 if all(isinstance(x, int) for x in (start, end, step)) else float32
    check_allocation("arange", (max(math.ceil((end - start) / step), 0),), dtype)
    return Tensor(np.arange(start, end, step), dtype)


def _steps(name: str, steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise Error(f"{name}: steps={steps!r}: a number of elements is needed", user_location())
    return steps


def linspace(
    start: float, end: float, steps: int, *, dtype: DType = float32, device: Any = None
) -> Tensor:
    """`steps` numbers from start to end, both included."""
    check_allocation("linspace", (_steps("linspace", steps),), dtype)
    return Tensor(np.linspace(start, end, steps), dtype)


def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: DType = float32,
    device: Any = None,
) -> Tensor:
    """base to the powers of linspace."""
    check_allocation("logspace", (_steps("logspace", steps),), dtype)
    return Tensor(np.float64(base) ** np.linspace(start, end, steps), dtype)


def eye(n: int, m: int | None = None, *, dtype: DType = float32, device: Any = None) -> Tensor:
    """The [n, m] matrix with ones on its diagonal, m = n unless given."""
    check_allocation("eye", to_shape((n, n if m is None else m)), dtype)
    return Tensor(np.eye(n, m, dtype=dtype.numpy))


def scalar_tensor(s: float, *, dtype: DType = float32, device: Any = None) -> Tensor:
    """A tensor without dims."""
    return full((), s, dtype=dtype)


def _window(
    name: str, length: int, periodic: bool, dtype: DType, weights: tuple[float, ...]
) -> Tensor:
    """Sums of cosines: the sum over k of (-1)^k weights[k] cos(2 pi k i / n)."""
    if not dtype.is_floating_point:
        raise DTypeError(f"{name} in {dtype!r}: windows are floating point", user_location())
    check_allocation(name, (_steps(name, length),), dtype)
    if length == 1:
        return Tensor(np.ones(1), dtype)
    angle = 2 * np.pi * np.arange(length) / max(length if periodic else length - 1, 1)
    terms = [(-1) ** k * weight * np.cos(k * angle) for k, weight in enumerate(weights)]
    return Tensor(np.asarray(sum(terms)), dtype)


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: DType = float32, device: Any = None
) -> Tensor:
    """(1 - cos(2 pi i / n)) / 2; periodic ones have n = window_length, others end as they begin."""
    return _window("hann_window", window_length, periodic, dtype, (0.5, 0.5))


def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: DType = float32,
    device: Any = None,
) -> Tensor:
    """alpha - beta * cos(2 pi i / n), n as for hann_window."""
    return _window("hamming_window", window_length, periodic, dtype, (alpha, beta))


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: DType = float32, device: Any = None
) -> Tensor:
    """0.42 - 0.5 * cos(2 pi i / n) + 0.08 * cos(4 pi i / n), n as for hann_window."""
    return _window("blackman_window", window_length, periodic, dtype, (0.42, 0.5, 0.08))


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: DType = float32, device: Any = None
) -> Tensor:
    """A triangle: 1 - |2 i / n - 1|, n as for hann_window."""
    if not dtype.is_floating_point:
        raise DTypeError(
            f"bartlett_window in {dtype!r}: windows are floating point", user_location()
        )
    check_allocation("bartlett_window", (_steps("bartlett_window", window_length),), dtype)
    if window_length == 1:
        return Tensor(np.ones(1), dtype)
    n = max(window_length if periodic else window_length - 1, 1)
    return Tensor(1 - np.abs(2 * np.arange(window_length) / n - 1), dtype)


__all__ = [
    "arange",
    "bartlett_window",
    "blackman_window",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "hamming_window",
    "hann_window",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "scalar_tensor",
    "zeros",
    "zeros_like",
]
