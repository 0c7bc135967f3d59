"""Functions under the other names that PyTorch has for them, and methods as functions."""

from __future__ import annotations

from ..tensor import Tensor
from .elementwise import abs as absolute
from .elementwise import clamp as clip
from .elementwise import div as divide
from .elementwise import div as true_divide
from .elementwise import ge as greater_equal
from .elementwise import gt as greater
from .elementwise import le as less_equal
from .elementwise import lt as less
from .elementwise import mul as multiply
from .elementwise import ne as not_equal
from .elementwise import neg as negative
from .elementwise import sub as subtract
from .reductions import normalize_dim
from .shapes import cat as concat
from .shapes import cat as concatenate
from .shapes import narrow, reshape, squeeze
from .shapes import transpose as swapdims


def clone(input: Tensor) -> Tensor:
    """A tensor with the elements of now."""
    return input.clone()


def detach(input: Tensor) -> Tensor:
    """The same value without a gradient."""
    return input.detach()


def numel(input: Tensor) -> int:
    """How many elements there are."""
    return input.numel()


def ravel(input: Tensor) -> Tensor:
    """All elements in one dim."""
    return reshape(input, -1)


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at `index` along `dim`, without that dim."""
    position = normalize_dim(dim, input.ndim)
    start = index + input.shape[position] if index < 0 else index
    return squeeze(narrow(input, position, start, 1), position)


def is_tensor(obj: object) -> bool:
    """True for a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """True for elements of a floating-point type."""
    return input.dtype.is_floating_point


def clamp_min(input: Tensor, min: float) -> Tensor:
    """Elements below `min` become `min`."""
    return clip(input, min=min)


def clamp_max(input: Tensor, max: float) -> Tensor:
    """Elements above `max` become `max`."""
    return clip(input, max=max)


__all__ = [
    "absolute",
    "clamp_max",
    "clamp_min",
    "clip",
    "clone",
    "concat",
    "concatenate",
    "detach",
    "divide",
    "greater",
    "greater_equal",
    "is_floating_point",
    "is_tensor",
    "less",
    "less_equal",
    "multiply",
    "negative",
    "not_equal",
    "numel",
    "ravel",
    "select",
    "subtract",
    "swapdims",
    "true_divide",
]
