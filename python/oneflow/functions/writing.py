"""Writing the elements of tensors. What that means for views stands in oneflow.views."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from .. import views
from ..dispatch import apply
from ..errors import DTypeError, Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import elementwise
from .creation import full
from .shapes import expand

P = ParamSpec("P")


def write(tensor: Tensor, value: Any) -> Tensor:
    """All elements of `tensor` become those of `value`, broadcast and in the dtype of `tensor`."""
    if isinstance(value, (bool, int, float)):
        new = full((), value, dtype=tensor.dtype)
    else:
        new = value if isinstance(value, Tensor) else Tensor(value)
        if new.dtype is not tensor.dtype:
            new = elementwise.cast(new, tensor.dtype)
    extra = new.ndim - tensor.ndim
    if extra > 0 and set(new.shape[:extra]) == {1}:
        new = apply("reshape", new, shape=list(new.shape[extra:]))
    if new.shape != tensor.shape:
        if len(new.shape) > len(tensor.shape) or any(
            a not in (1, b) for a, b in zip(new.shape[::-1], tensor.shape[::-1], strict=False)
        ):
            raise ShapeError(
                f"a value of shape {list(new.shape)} is written into a tensor of shape {list(tensor.shape)}",
                user_location(),
            )
        new = expand(new, *tensor.shape)
    elif isinstance(new._source, np.ndarray):
        new = Tensor(new.numpy().copy())  # elements of its own
    views.assign(tensor, new)
    return tensor


def update(tensor: Tensor, name: str, result: Tensor) -> Tensor:
    """`tensor` gets the elements of `result`, which was computed from it."""
    if views.is_parameter_of_a_step(tensor):
        raise Error(
            f"{name} writes into a parameter that requires a gradient; the optimizer updates parameters: write under "
            "`with flow.no_grad():`, or compute a new value",
            user_location(),
        )
    if result.dtype.category > tensor.dtype.category:
        raise DTypeError(
            f"{name}: a result of type {result.dtype!r} cannot be written into a tensor of type {tensor.dtype!r}",
            user_location(),
        )
    if result.shape != tensor.shape:
        raise ShapeError(
            f"{name}: a result of shape {list(result.shape)} cannot be written into a tensor of shape "
            f"{list(tensor.shape)}",
            user_location(),
        )
    return write(tensor, result)


def if_inplace(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """A function with an argument `inplace` that may ask for the result to be written into the first argument."""
    place = list(inspect.signature(function).parameters).index("inplace")

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        result = function(*args, **kwargs)
        input: Any = args[0] if args else kwargs["input"]
        if result is input or not (
            args[place] if len(args) > place else kwargs.get("inplace", False)
        ):
            return result
        return update(input, f"{function.__name__}(inplace=True)", result)

    return called
