"""Dropout: masks are functions of a seed, the place in the program, the step and the logical index."""

from __future__ import annotations

from typing import Any

from ...dispatch import apply
from ...dtypes import int64
from ...errors import ShapeError
from ...functions import add, mul, sub
from ...functions.activations import only_floats
from ...functions.creation import ones, zeros
from ...functions.writing import if_inplace
from ...location import user_location
from ...random import default_generator, stable_key
from ...tensor import Tensor
from ...tracing import current_trace


@if_inplace
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes elements with probability p; the mask depends on (seed, place, step, logical index) alone."""
    if not 0 <= p <= 1:
        raise ShapeError(f"dropout probability {p} does not lie in [0, 1]", user_location())
    if not training or p == 0:
        return input
    step, attrs = dropout_source(p)
    return apply("dropout", input, step, **attrs)


def dropout_source(p: float) -> tuple[Tensor, dict[str, Any]]:
    """The step and the attributes of an op that drops here with probability p."""
    trace = current_trace()
    if trace is not None:
        key = stable_key(trace.occurrence_key("dropout"))
        return trace.step(), {"p": p, "seed": trace.seed, "key": key}
    seed, key = default_generator.seed, default_generator.next_key()
    return zeros((), dtype=int64), {"p": p, "seed": seed, "key": key}


def _of_channels(
    name: str, input: Tensor, p: float, training: bool, ranks: tuple[int, int]
) -> Tensor:
    """Whole channels are zeroed: the mask has an extent of 1 in space. The smaller rank is one sample."""
    if input.ndim not in ranks:
        raise ShapeError(
            f"{name} takes {ranks[1]} dims, or {ranks[0]} of one sample, not {list(input.shape)}",
            user_location(),
        )
    if not training or p == 0:
        return input
    channels = 1 if input.ndim == ranks[0] else 2
    shape = (*input.shape[:channels], *(1,) * (input.ndim - channels))
    return mul(input, dropout(ones(shape, dtype=input.dtype), p, training))


@if_inplace
def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of [n, c, l] or [c, l]."""
    return _of_channels("dropout1d", input, p, training, (2, 3))


@if_inplace
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of [n, c, h, w] or [c, h, w]."""
    return _of_channels("dropout2d", input, p, training, (3, 4))


@if_inplace
def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zeroes whole channels of [n, c, d, h, w] or [c, d, h, w]."""
    return _of_channels("dropout3d", input, p, training, (4, 5))


def _with_moments_kept(input: Tensor, mask: Tensor, p: float) -> Tensor:
    """Dropped elements take SELU's lowest value, and an affine map restores mean 0 and variance 1 (Klambauer et al.
    2017). `mask` is 1 / (1 - p) where an element is kept."""
    lowest = -1.7580993408473766
    kept = mul(mask, 1 - p)
    factor = ((1 - p) * (1 + p * lowest * lowest)) ** -0.5
    offset = -factor * lowest * p
    return add(mul(add(mul(input, kept), mul(sub(1, kept), lowest)), factor), offset)


@if_inplace
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for networks of SELU."""
    if not 0 <= p <= 1:
        raise ShapeError(f"dropout probability {p} does not lie in [0, 1]", user_location())
    if not training or p == 0:
        return input
    only_floats("alpha_dropout", input)
    if p == 1:
        return mul(input, 0.0)
    return _with_moments_kept(input, dropout(ones(input.shape, dtype=input.dtype), p, True), p)


@if_inplace
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """alpha_dropout of whole channels of [n, c, ...]."""
    if not 0 <= p <= 1:
        raise ShapeError(f"dropout probability {p} does not lie in [0, 1]", user_location())
    if training and input.ndim < 2:
        raise ShapeError(
            f"feature_alpha_dropout takes [n, c, ...], not {list(input.shape)}", user_location()
        )
    if not training or p == 0:
        return input
    only_floats("alpha_dropout", input)
    if p == 1:
        return mul(input, 0.0)
    shape = (*input.shape[:2], *(1,) * (input.ndim - 2))
    return _with_moments_kept(input, dropout(ones(shape, dtype=input.dtype), p, True), p)
