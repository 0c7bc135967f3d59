"""Class indices: one_hot, and what losses over classes share."""

from __future__ import annotations

from ...dtypes import bool_, int64
from ...errors import DTypeError, Error, ShapeError
from ...functions import arange, cast, cat, eq, full, ge, logical_and, lt, narrow, unsqueeze
from ...location import user_location
from ...tensor import Tensor
from ...tracing import current_trace


def class_numbers(count: int) -> Tensor:
    """0, 1, ..., count - 1 in int64.

    Inside a step it is grown from constants of the graph by doubling, so that what is computed from it and the
    batch depends on the batch alone: a captured tensor would be a state, and the number of unmasked labels could
    not be known before the loop over micro-batches.
    """
    if current_trace() is None or count == 0:
        return arange(count)
    numbers = full((1,), 0, dtype=int64)
    while numbers.shape[0] < count:
        numbers = cat([numbers, numbers + numbers.shape[0]])
    return narrow(numbers, 0, 0, count)


def is_class(target: Tensor, count: int) -> Tensor:
    """bool [*, count]: where the class of each element stands; all false for a label outside [0, count)."""
    return eq(unsqueeze(target, target.ndim), class_numbers(count))


def within(target: Tensor, count: int) -> Tensor:
    """bool of the target's shape: 0 <= label < count."""
    return logical_and(ge(target, 0), lt(target, count))


def check_indices(name: str, target: Tensor) -> Tensor:
    """The target in int64."""
    if target.dtype.is_floating_point or target.dtype is bool_:
        raise DTypeError(
            f"{name} takes integer class indices, not {target.dtype!r}", user_location()
        )
    return cast(target, int64)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 [*, num_classes] with 1 at the class of each element of [*].

    Outside a step num_classes=-1 means one more than the largest class, and a class that is no row is an error;
    inside a step values are not known: num_classes must be given, and such a class gives a row of zeros.
    """
    if tensor.dtype is not int64:
        raise DTypeError(
            f"one_hot takes int64 class indices, not {tensor.dtype!r}", user_location()
        )
    if current_trace() is None:
        values = tensor.numpy()
        if num_classes == -1:
            if values.size == 0:
                raise ShapeError("one_hot of no elements needs num_classes=", user_location())
            num_classes = int(values.max()) + 1
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise Error(
                f"one_hot: classes from {values.min()} to {values.max()} do not lie in [0, {num_classes})",
                user_location(),
            )
    if num_classes < 1:
        raise ShapeError(
            "one_hot inside a step needs num_classes=: the largest class is not known while it is traced"
            if num_classes == -1
            else f"one_hot: num_classes={num_classes} is no number of classes",
            user_location(),
        )
    return cast(is_class(tensor, num_classes), int64)
