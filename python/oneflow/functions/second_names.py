"""Functions under the other names that PyTorch has for them, and methods as functions."""

from __future__ import annotations

from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from .elementwise import Operand
from .elementwise import abs as absolute
from .elementwise import acos as arccos
from .elementwise import acosh as arccosh
from .elementwise import asin as arcsin
from .elementwise import asinh as arcsinh
from .elementwise import atan as arctan
from .elementwise import atan2 as arctan2
from .elementwise import atanh as arctanh
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
from .elementwise import sign as sgn
from .elementwise import sub as subtract
from .elementwise import trunc as fix
from .shapes import _extent, narrow, reshape, squeeze
from .shapes import cat as concat
from .shapes import cat as concatenate
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
    return reshape(input, input.numel())


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at `index` along `dim`, without that dim."""
    position, extent = _extent("select", input, dim)
    if not -extent <= index < extent:
        raise ShapeError(f"select: index {index} of {extent}", user_location())
    return squeeze(narrow(input, position, index % extent, 1), position)


def is_tensor(obj: object) -> bool:
    """True for a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """True for elements of a floating-point type."""
    if not isinstance(input, Tensor):
        raise Error(f"is_floating_point of a {type(input).__name__}", user_location())
    return input.dtype.is_floating_point


def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """Elements below `min` become `min`."""
    return clip(input, min=min)


def clamp_max(input: Tensor, max: Operand) -> Tensor:
    """Elements above `max` become `max`."""
    return clip(input, max=max)


__all__ = [
    "absolute",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "clamp_max",
    "clamp_min",
    "clip",
    "clone",
    "concat",
    "concatenate",
    "detach",
    "divide",
    "fix",
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
    "sgn",
    "subtract",
    "swapdims",
    "true_divide",
]
