"""What tensors are: their number of elements, kinds of types, and the type that arithmetic of two has."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..dtypes import DType
from ..errors import Error
from ..location import user_location
from ..tensor import Tensor
from .creation import number_dtype
from .elementwise import _pair


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the elements are floating-point numbers."""
    if not isinstance(input, Tensor):
        raise Error(f"is_floating_point of a {type(input).__name__}", user_location())
    return input.dtype.is_floating_point


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def clone(input: Tensor) -> Tensor:
    """A tensor with the elements of now."""
    return input.clone()


def detach(input: Tensor) -> Tensor:
    """The same value without a gradient."""
    return input.detach()


def promote_types(type1: DType, type2: DType) -> DType:
    """The dtype that arithmetic of two tensors of these has."""
    return dtypes.promote(type1, type2)


def result_type(tensor1: Tensor | float, tensor2: Tensor | float) -> DType:
    """The dtype that arithmetic of the two has."""
    if isinstance(tensor1, Tensor) or isinstance(tensor2, Tensor):
        return _pair(tensor1, tensor2)[0].dtype
    return dtypes.promote(number_dtype(tensor1), number_dtype(tensor2))


def can_cast(from_: DType, to: DType) -> bool:
    """Whether results of `from_` may be stored as `to`: not floats as integers, nor anything but bools as bools."""
    return from_.category <= to.category


__all__ = [
    "can_cast",
    "clone",
    "detach",
    "is_floating_point",
    "is_tensor",
    "numel",
    "promote_types",
    "result_type",
]
