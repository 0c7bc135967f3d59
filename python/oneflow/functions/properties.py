"""The types that arithmetic of two tensors has, and into which results may be stored."""

from __future__ import annotations

from .. import dtypes
from ..dtypes import DType
from ..tensor import Tensor
from .creation import number_dtype
from .elementwise import _pair


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
    "promote_types",
    "result_type",
]
