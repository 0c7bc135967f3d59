"""Binds the functions as methods and operators of Tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dtypes
from ..errors import Error
from ..location import user_location
from ..tensor import Tensor
from ..traced import TracedValue, active_trace
from ..views import uncertain
from . import (
    algebra,
    arranging,
    composed,
    contractions,
    creation,
    elementwise,
    gathering,
    grids,
    indexing,
    inplace,
    products,
    reductions,
    running,
    scattering,
    searching,
    second_names,
    shapes,
    statistics,
    writing,
)

_METHODS = {
    elementwise: [
        *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "cos", "cosh", "erf"),
        *("digamma", "erfc", "erfinv", "lgamma"),
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
        "contiguous",
        "expand",
        "flatten",
        "narrow",
        "permute",
        "reshape",
        "split",
        "squeeze",
        "t",
        "transpose",
        "unflatten",
        "unfold",
        "unsqueeze",
        "view",
    ],
    products: ["bmm", "matmul", "mm"],
    contractions: [name for name in contractions.__all__ if name != "einsum"],
    gathering: [*gathering.__all__, "repeat"],
    # Some PyTorch has as functions alone.
    algebra: [name for name in algebra.__all__ if name not in ("chain_matmul", "vander")],
    arranging: [
        *("adjoint", "diagflat", "fliplr", "flipud", "hsplit", "moveaxis", "movedim", "rot90"),
        *("swapaxes", "tensor_split", "vsplit"),
    ],
    composed: [name for name in composed.__all__ if name != "rsub"],
    grids: ["diag", "diag_embed", "diagonal", "trace"],
    running: running.__all__,
    scattering: scattering.__all__,
    searching: [
        name for name in searching.__all__ if name not in ("bucketize", "isin", "searchsorted")
    ],
    second_names: [
        name
        for name in second_names.__all__
        if name not in ("clone", "concat", "concatenate", "detach", "is_tensor", "numel")
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


def _new(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method that makes a tensor of the same element type, where no other is named."""

    def method(
        self: Tensor, *args: Any, dtype: dtypes.DType | None = None, **kwargs: Any
    ) -> Tensor:
        return make(*args, dtype=dtype or self.dtype, **kwargs)

    method.__doc__ = f"As flow.{make.__name__}, in this tensor's dtype unless `dtype` says another."
    return method


def _new_tensor(self: Tensor, data: Any, *, dtype: dtypes.DType | None = None) -> Tensor:
    """flow.tensor of this tensor's dtype, unless `dtype` says another."""
    return Tensor(dtypes.to_array(data, dtype or self.dtype).copy())


def _type(self: Tensor, dtype: dtypes.DType) -> Tensor:
    """The elements converted."""
    if not isinstance(dtype, dtypes.DType):
        raise Error(f"type({dtype!r}): a dtype such as flow.float32 is needed", user_location())
    return elementwise.cast(self, dtype)


def _element_size(self: Tensor) -> int:
    """Bytes of one element."""
    return self.dtype.itemsize


def _is_contiguous(self: Tensor) -> bool:
    """True: there are no strides."""
    return True


_plain_detach = Tensor.detach


def _detach(self: Tensor) -> Tensor:
    """The same value without a gradient; of a parameter, a handle on its state."""
    result = _plain_detach(self)
    if result is self or active_trace() is None or not isinstance(result._source, TracedValue):
        return result
    return uncertain(result, self, "detach() gives the same elements without their gradient")


def _conversion(dtype: dtypes.DType) -> Callable[[Tensor], Tensor]:
    def convert(self: Tensor) -> Tensor:
        return elementwise.cast(self, dtype)

    convert.__doc__ = f"The elements as {dtype.title}; itself if they are."
    return convert


def _itself(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor itself: strides and devices are the mesh's business."""
    return self


def _where(self: Tensor, condition: Tensor, other: elementwise.Operand) -> Tensor:
    """The elements where `condition` is True, those of `other` elsewhere; broadcast."""
    return elementwise.where(condition, self, other)


def _transposed(self: Tensor) -> Tensor:
    """The last two dims swapped."""
    return shapes.transpose(self, -2, -1) if self.ndim else self


def _view_as(self: Tensor, other: Tensor) -> Tensor:
    """The elements in the shape of `other`, of which there must be as many."""
    return shapes.view(self, *other.shape)


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """The elements in the shape of `other`, of which there must be as many."""
    return shapes.reshape(self, *other.shape)


def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor broadcast to the shape of `other`."""
    return shapes.expand(self, *other.shape)


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """The elements in the dtype of `other`."""
    return elementwise.cast(self, other.dtype)


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
        "__setitem__": indexing.setitem,
        "_write": writing.write,
        "detach": _detach,
        **inplace.writing_methods(),
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
        setattr(Tensor, name, _conversion(dtype))
    for name in ("cpu", "cuda"):
        setattr(Tensor, name, _itself)
    for made in ("empty", "full", "ones", "zeros"):
        setattr(Tensor, f"new_{made}", _new(getattr(creation, made)))
    Tensor.ndimension = Tensor.dim  # type: ignore[attr-defined]
    Tensor.nelement = Tensor.numel  # type: ignore[attr-defined]
    Tensor.gather = gathering.take_along  # type: ignore[attr-defined]
    Tensor.where = _where  # type: ignore[attr-defined]
    Tensor.to = _to  # type: ignore[attr-defined]
    Tensor.T = property(shapes.t)  # type: ignore[attr-defined]
    Tensor.mT = property(_transposed)  # type: ignore[attr-defined]
    Tensor.view_as = _view_as  # type: ignore[attr-defined]
    Tensor.reshape_as = _reshape_as  # type: ignore[attr-defined]
    Tensor.expand_as = _expand_as  # type: ignore[attr-defined]
    Tensor.type_as = _type_as  # type: ignore[attr-defined]
    Tensor.new_tensor = _new_tensor  # type: ignore[attr-defined]
    Tensor.element_size = _element_size  # type: ignore[attr-defined]
    Tensor.is_contiguous = _is_contiguous  # type: ignore[attr-defined]
    Tensor.type = _type  # type: ignore[attr-defined]
