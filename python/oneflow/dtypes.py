"""Element types, named as in PyTorch, and its promotion rules."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from .errors import DTypeError
from .location import user_location


class DType:
    """An element type; `name` is how graphs and plans print it."""

    __slots__ = ("name", "title", "numpy", "rank")

    def __init__(self, name: str, title: str, numpy: Any, rank: int) -> None:
        self.name = name
        self.title = title
        self.numpy = np.dtype(numpy)
        self.rank = rank  # order of promotion inside and across categories

    @property
    def is_floating_point(self) -> bool:
        """True for float16, bfloat16, float32 and float64."""
        return self.rank >= 20

    @property
    def category(self) -> int:
        """Of promotion: bool, integer, floating point."""
        return self.rank // 10

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.numpy.itemsize

    def __repr__(self) -> str:
        return f"oneflow.{self.title}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (by_name, (self.name,))


bool_ = DType("bool", "bool", np.bool_, 0)
uint8 = DType("u8", "uint8", np.uint8, 10)
int8 = DType("i8", "int8", np.int8, 11)
int16 = DType("i16", "int16", np.int16, 12)
int32 = DType("i32", "int32", np.int32, 13)
int64 = DType("i64", "int64", np.int64, 14)
float16 = DType("f16", "float16", np.float16, 20)
bfloat16 = DType("bf16", "bfloat16", ml_dtypes.bfloat16, 20)
float32 = DType("f32", "float32", np.float32, 21)
float64 = DType("f64", "float64", np.float64, 22)

ALL = (float32, float64, bfloat16, float16, int64, int32, int16, int8, uint8, bool_)
_BY_NAME = {dtype.name: dtype for dtype in ALL}
_BY_NUMPY = {dtype.numpy: dtype for dtype in ALL}


def by_name(name: str) -> DType:
    """The dtype of a name of the op table, "f32" for instance."""
    return _BY_NAME[name]


def of_array(array: np.ndarray) -> DType:
    """The dtype of a NumPy array that already has one of our element types."""
    try:
        return _BY_NUMPY[array.dtype]
    except KeyError:
        raise DTypeError(
            f"NumPy dtype {array.dtype} has no counterpart; use .astype(numpy.float32) or numpy.int64",
            user_location(),
        ) from None


# NumPy types without a counterpart that hold every element of theirs.
_WIDENED = {
    np.dtype(np.uint16): np.int32,
    np.dtype(np.uint32): np.int64,
}


def to_array(data: Any, dtype: DType | None = None) -> np.ndarray:
    """`data` as a dense NumPy array of one of our element types.

    Python's floats become float32, as in PyTorch; an array keeps its dtype.
    """
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise DTypeError(
            f"{type(data).__name__} is no array of numbers: {error}", user_location()
        ) from None
    if dtype is not None:
        array = array.astype(dtype.numpy, copy=False)
    elif array.dtype == np.float64 and not hasattr(data, "__array__"):
        array = array.astype(np.float32)
    elif array.dtype in _WIDENED:
        array = array.astype(_WIDENED[array.dtype])
    of_array(array)
    return np.ascontiguousarray(array) if array.ndim else array.reshape(())


class finfo:  # noqa: N801
    """The limits of a floating-point type: `max`, `min`, `eps`, `tiny`, `bits`."""

    def __init__(self, dtype: DType = float32) -> None:
        if not dtype.is_floating_point:
            raise DTypeError(f"finfo of {dtype!r}; use iinfo", user_location())
        limits = ml_dtypes.finfo(dtype.numpy)
        self.dtype, self.bits = dtype.title, int(limits.bits)
        self.max, self.min = float(limits.max), float(limits.min)
        self.eps, self.tiny = float(limits.eps), float(limits.tiny)
        self.smallest_normal = self.tiny


class iinfo:  # noqa: N801
    """The limits of an integer type: `max`, `min`, `bits`."""

    def __init__(self, dtype: DType) -> None:
        if dtype.is_floating_point or dtype is bool_:
            raise DTypeError(f"iinfo of {dtype!r}; use finfo", user_location())
        limits = np.iinfo(dtype.numpy)
        self.dtype, self.bits = dtype.title, int(limits.bits)
        self.max, self.min = int(limits.max), int(limits.min)


def promote(a: DType, b: DType) -> DType:
    """The result type of two tensors: bool < uint8, int8 < int16 < int32 < int64 < floats."""
    if a is b:
        return a
    if {a, b} == {float16, bfloat16}:
        return float32
    if {a, b} == {uint8, int8}:
        return int16
    return a if a.rank > b.rank else b


def promote_scalar(dtype: DType, scalar: bool | int | float) -> DType:
    """The result type of a tensor and a Python number: the number only raises the category."""
    if isinstance(scalar, bool):
        return dtype
    if isinstance(scalar, int):
        return int64 if dtype is bool_ else dtype
    return dtype if dtype.is_floating_point else float32
