"""A batch as a step sees it: leaves that are fed, and leaves that are part of the plan's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import dtypes, tree
from ..data.shares import PartialTensor
from ..dtypes import DType, float32
from ..errors import DataError, DTypeError
from ..location import user_location
from ..tensor import Tensor


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of an array that is not there yet."""

    shape: tuple[int, ...]
    dtype: DType


def spec(shape: tuple[int, ...], dtype: DType = float32) -> Spec:
    """For step.compile: `flow.spec((64, 128), flow.int64)`."""
    return Spec(tuple(shape), dtype)


@dataclass(frozen=True)
class Static:
    """A value that is part of the plan's key instead of an input."""

    value: Any


def static(value: Any) -> Static:
    """`value` enters the plan's key: another value compiles another plan. It must be hashable."""
    return Static(value)


@dataclass
class Leaf:
    """One leaf of a batch. `array` is None for a Spec; `dtype` is None for a leaf that is part of the key."""

    path: str
    shape: tuple[int, ...] = ()
    dtype: DType | None = None
    array: np.ndarray | None = None
    value: Any = None
    partial: PartialTensor | None = None  # stands for an array of which this rank read its rows

    @property
    def is_input(self) -> bool:
        return self.dtype is not None

    @property
    def kind(self) -> str:
        return "batch" if self.shape else "scalar"

    def host_array(self, fed_rows: list[tuple[int, int]] | None = None) -> np.ndarray | None:
        """The elements; given the row ranges that will be read, the others may be zeros."""
        if self.partial is None:
            return self.array
        if fed_rows is not None and all(self.partial.holds(*rows) for rows in fed_rows):
            return self.partial.fed()
        return self.partial.numpy()

    def key(self) -> Any:
        return (self.shape, self.dtype) if self.is_input else ("static", self.value)


def make_leaf(path: str, value: Any) -> Leaf:
    """Sorts one leaf of a batch into inputs and keys."""
    if value is None or isinstance(value, (bool, str)):
        return Leaf(path, value=value)
    if isinstance(value, Static):
        return Leaf(path, value=value.value)
    if isinstance(value, Spec):
        return Leaf(path, value.shape, value.dtype)
    if isinstance(value, int):
        array = np.asarray(value, dtype=np.int64)
    elif isinstance(value, float):
        array = np.asarray(value, dtype=np.float32)
    elif isinstance(value, PartialTensor):
        return Leaf(path, value.shape, value.dtype, partial=value)
    elif isinstance(value, Tensor):
        array = value.numpy()
    elif hasattr(value, "__array__"):
        try:
            array = dtypes.to_array(value)
        except DTypeError as error:
            raise DataError(f"batch entry {path!r}: {error.message}", user_location()) from None
    else:
        raise DataError(
            f"batch entry {path!r} is a {type(value).__name__}; arrays, numbers, strings, bools, None and "
            "flow.static(x) can be passed to a step",
            user_location(),
        )
    return Leaf(path, tuple(array.shape), dtypes.of_array(array), array)


class MissingEntry(DataError, KeyError):
    """The function asks for an entry that the batch does not have."""


class Entries(dict[Any, Any]):
    """A dict of a batch, as a step's function sees it."""

    def __missing__(self, key: Any) -> Any:
        there = ", ".join(map(repr, self)) or "none"
        raise MissingEntry(
            f"the batch has no entry {key!r}; its entries are {there}", user_location()
        )


def as_entries(batch: Any) -> Any:
    """The same tree, whose dicts say what they lack."""
    if isinstance(batch, dict):
        return Entries((key, as_entries(value)) for key, value in batch.items())
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(as_entries, batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(map(as_entries, batch))
    return batch


def leaves_of(arguments: dict[str, Any]) -> list[Leaf]:
    """All leaves of a call's arguments, in order."""
    leaves = tree.flatten(arguments)
    if any(isinstance(value, (int, float)) and not isinstance(value, bool) for _, value in leaves):
        for name, value in arguments.items():
            _refuse_lists_of_numbers(name, value)
    return [make_leaf(path, value) for path, value in leaves]


def _refuse_lists_of_numbers(path: str, value: Any) -> None:
    """A list of numbers would be one input per number, which nobody means."""
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_lists_of_numbers(f"{path}.{key}", item)
    elif isinstance(value, (tuple, list)):
        if isinstance(value, list) and any(
            isinstance(x, (int, float)) and not isinstance(x, bool) for x in value
        ):
            raise DataError(
                f"batch entry {path!r} is a list of numbers; pass np.asarray(...), or a tuple if each number is an "
                "input of its own",
                user_location(),
            )
        for i, item in enumerate(value):
            _refuse_lists_of_numbers(f"{path}.{i}", item)
