"""Binds the functions as methods and operators of Tensor."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..errors import Error
from ..location import user_location
from ..tensor import Tensor
from . import (
    algebra,
    aliases,
    arranging,
    composed,
    contractions,
    creation,
    elementwise,
    gathering,
    indexing,
    products,
    properties,
    reductions,
    scattering,
    shapes,
    statistics,
)

_METHODS = {
    elementwise: [
        *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "cos", "cosh", "erf"),
        *("exp2", "expm1", "floor", "floor_divide", "fmod", "isfinite", "isinf", "isnan", "lerp"),
        *("log10", "log1p", "log2", "logical_not", "logical_or", "logical_xor", "reciprocal"),
        *("addcdiv", "addcmul", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor"),
        *("remainder", "round", "sign", "sin", "sinh", "tan", "trunc"),
        "abs",
        "add",
        "clamp",
        "div",
        "eq",
        "exp",
        "ge",
        "gt",
        "le",
        "log",
        "logical_and",
        "lt",
        "masked_fill",
        "maximum",
        "minimum",
        "mul",
        "ne",
        "neg",
        "pow",
        "relu",
        "rsqrt",
        "sigmoid",
        "sqrt",
        "square",
        "sub",
        "tanh",
    ],
    reductions: [
        "amax",
        "amin",
        "argmax",
        "argmin",
        "log_softmax",
        "max",
        "mean",
        "min",
        "softmax",
        "std",
        "sum",
        "var",
    ],
    shapes: [
        "broadcast_to",
        "chunk",
        "expand",
        "flatten",
        "narrow",
        "permute",
        "reshape",
        "split",
        "squeeze",
        "t",
        "transpose",
        "unsqueeze",
    ],
    products: ["bmm", "matmul", "mm"],
    contractions: [name for name in contractions.__all__ if name != "einsum"],
    gathering: [*gathering.__all__, "repeat"],
    # PyTorch has these as functions alone.
    algebra: [
        name for name in algebra.__all__ if name not in ("chain_matmul", "tensordot", "vander")
    ],
    aliases: aliases.__all__,
    arranging: [
        *("adjoint", "diag", "diag_embed", "diagflat", "diagonal", "fliplr", "flipud", "hsplit"),
        *("moveaxis", "movedim", "ravel", "rot90", "select", "swapaxes", "swapdims"),
        *("tensor_split", "trace", "unflatten", "unfold", "vsplit"),
    ],
    composed: [name for name in composed.__all__ if name != "rsub"],
    scattering: [
        name for name in scattering.__all__ if name not in ("bucketize", "isin", "searchsorted")
    ],
    statistics: [
        name
        for name in statistics.__all__
        if name not in ("cumulative_trapezoid", "std_mean", "trapezoid", "trapz", "var_mean")
    ],
}


def _to(self: Tensor, *args: Any, dtype: dtypes.DType | None = None, **ignored: Any) -> Tensor:
    """Converts the elements; devices are accepted and are the mesh's business."""
    for arg in args:
        if isinstance(arg, dtypes.DType):
            dtype = arg
        elif isinstance(arg, Tensor):
            dtype = arg.dtype
    return self if dtype is None else elementwise.cast(self, dtype)


def _new(make: Any) -> Any:
    """`x.new_zeros(2, 3)`: of x's dtype."""

    def method(
        self: Tensor, *sizes: Any, size: Any = None, dtype: dtypes.DType | None = None
    ) -> Tensor:
        return make(*(sizes if size is None else (size,)), dtype=dtype or self.dtype)

    return method


def _new_full(
    self: Tensor, size: Any, fill_value: float, *, dtype: dtypes.DType | None = None
) -> Tensor:
    """full of this tensor's dtype."""
    return creation.full(size, fill_value, dtype=dtype or self.dtype)


def _new_tensor(self: Tensor, data: Any, *, dtype: dtypes.DType | None = None) -> Tensor:
    """flow.tensor of this tensor's dtype."""
    return Tensor(dtypes.to_array(data, dtype or self.dtype).copy())


def _type(self: Tensor, dtype: dtypes.DType) -> Tensor:
    """The elements converted."""
    if not isinstance(dtype, dtypes.DType):
        raise Error(f"type({dtype!r}): a dtype such as flow.float32 is needed", user_location())
    return elementwise.cast(self, dtype)


def bind_methods() -> None:
    """Called once, when the package is imported."""
    for module, names in _METHODS.items():
        for name in names:
            setattr(Tensor, name, getattr(module, name))
    operators = {
        "__add__": elementwise.add,
        "__radd__": lambda self, other: elementwise.add(other, self),
        "__sub__": elementwise.sub,
        "__rsub__": lambda self, other: elementwise.sub(other, self),
        "__mul__": elementwise.mul,
        "__rmul__": lambda self, other: elementwise.mul(other, self),
        "__truediv__": elementwise.div,
        "__rtruediv__": lambda self, other: elementwise.div(other, self),
        "__pow__": elementwise.pow,
        "__rpow__": lambda self, other: elementwise.pow(other, self),
        "__matmul__": products.matmul,
        "__rmatmul__": lambda self, other: products.matmul(other, self),
        "__neg__": elementwise.neg,
        "__abs__": elementwise.abs,
        "__eq__": elementwise.eq,
        "__ne__": elementwise.ne,
        "__lt__": elementwise.lt,
        "__le__": elementwise.le,
        "__gt__": elementwise.gt,
        "__ge__": elementwise.ge,
        "__and__": elementwise.bitwise_and,
        "__rand__": lambda self, other: elementwise.bitwise_and(other, self),
        "__or__": elementwise.bitwise_or,
        "__ror__": lambda self, other: elementwise.bitwise_or(other, self),
        "__xor__": elementwise.bitwise_xor,
        "__rxor__": lambda self, other: elementwise.bitwise_xor(other, self),
        "__invert__": elementwise.bitwise_not,
        "__floordiv__": elementwise.floor_divide,
        "__rfloordiv__": lambda self, other: elementwise.floor_divide(other, self),
        "__mod__": elementwise.remainder,
        "__rmod__": lambda self, other: elementwise.remainder(other, self),
        "__getitem__": indexing.getitem,
    }
    for name, function in operators.items():
        setattr(Tensor, name, function)
    conversions = {
        "float": dtypes.float32,
        "double": dtypes.float64,
        "half": dtypes.float16,
        "short": dtypes.int16,
        "bfloat16": dtypes.bfloat16,
        "long": dtypes.int64,
        "int": dtypes.int32,
        "char": dtypes.int8,
        "byte": dtypes.uint8,
        "bool": dtypes.bool_,
    }
    for name, dtype in conversions.items():
        setattr(Tensor, name, lambda self, dtype=dtype: elementwise.cast(self, dtype))
    for name in ("contiguous", "cpu", "cuda"):
        setattr(Tensor, name, lambda self, *args, **kwargs: self)
    Tensor.gather = gathering.take_along  # type: ignore[attr-defined]
    Tensor.where = lambda self, condition, other: elementwise.where(condition, self, other)  # type: ignore[attr-defined]
    Tensor.to = _to  # type: ignore[attr-defined]
    Tensor.view = shapes.reshape  # type: ignore[attr-defined]
    Tensor.T = property(shapes.t)  # type: ignore[attr-defined]
    Tensor.mT = property(lambda self: shapes.transpose(self, -2, -1) if self.ndim else self)  # type: ignore[attr-defined]
    Tensor.reshape_as = lambda self, other: shapes.reshape(self, *other.shape)  # type: ignore[attr-defined]
    Tensor.expand_as = lambda self, other: shapes.expand(self, *other.shape)  # type: ignore[attr-defined]
    Tensor.new_zeros = _new(creation.zeros)  # type: ignore[attr-defined]
    Tensor.new_ones = _new(creation.ones)  # type: ignore[attr-defined]
    Tensor.new_empty = _new(creation.empty)  # type: ignore[attr-defined]
    Tensor.new_full = _new_full  # type: ignore[attr-defined]
    Tensor.new_tensor = _new_tensor  # type: ignore[attr-defined]
    Tensor.is_floating_point = properties.is_floating_point  # type: ignore[attr-defined]
    Tensor.nelement = Tensor.numel  # type: ignore[attr-defined]
    Tensor.ndimension = Tensor.dim  # type: ignore[attr-defined]
    Tensor.element_size = lambda self: self.dtype.itemsize  # type: ignore[attr-defined]
    Tensor.is_contiguous = lambda self: True  # type: ignore[attr-defined]
    Tensor.type = _type  # type: ignore[attr-defined]
    Tensor.view_as = lambda self, other: shapes.reshape(self, *other.shape)  # type: ignore[attr-defined]
    Tensor.type_as = lambda self, other: elementwise.cast(self, other.dtype)  # type: ignore[attr-defined]
