"""The methods that write into a tensor: `x += y`, `x.relu_()`, `x.masked_fill_(mask, 0)`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from . import activations, elementwise, gathering, scattering
from .writing import update


def _writing(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method that writes what `function` returns into its first argument."""

    @functools.wraps(function)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return update(self, name, function(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"{function.__name__}, written into the tensor itself."
    return method


OPERATORS = {
    "__iadd__": elementwise.add,
    "__isub__": elementwise.sub,
    "__imul__": elementwise.mul,
    "__itruediv__": elementwise.div,
    "__ifloordiv__": elementwise.floor_divide,
    "__imod__": elementwise.remainder,
    "__ipow__": elementwise.pow,
    "__iand__": elementwise.bitwise_and,
    "__ior__": elementwise.bitwise_or,
    "__ixor__": elementwise.bitwise_xor,
}

_ELEMENTWISE = [
    *("abs", "add", "addcdiv", "addcmul", "ceil", "clamp", "cos", "div", "erf", "exp", "floor"),
    *("floor_divide", "lerp", "log", "log1p", "logical_and", "logical_not", "logical_or", "mul"),
    *("masked_fill", "neg", "pow", "reciprocal", "relu", "remainder", "round", "rsqrt", "sigmoid"),
    *("sign", "sin", "sqrt", "square", "sub", "tan", "tanh", "trunc"),
]


def writing_methods() -> dict[str, Callable[..., Tensor]]:
    """The methods of Tensor that write into it, by name."""
    functions: dict[str, Callable[..., Tensor]] = {
        **{name: getattr(elementwise, name) for name in _ELEMENTWISE},
        **{name: getattr(gathering, name) for name in ("cumsum", "index_add", "tril", "triu")},
        **{
            name: getattr(scattering, name)
            for name in scattering.__all__
            if name not in ("select_scatter", "slice_scatter")  # writing into x[i] is that
        },
        "clip": elementwise.clamp,
        "leaky_relu": activations.leaky_relu,
        "scatter_add": gathering.scatter_add,
    }
    operators = {name: _writing(name, function) for name, function in OPERATORS.items()}
    return {**{f"{name}_": _writing(f"{name}_", f) for name, f in functions.items()}, **operators}
