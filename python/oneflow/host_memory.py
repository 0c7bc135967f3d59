"""Shapes that users give, and whether a tensor of that shape can be held by this host."""

from __future__ import annotations

import math
import operator
import os
from typing import Any

from .dtypes import DType
from .errors import Error, OutOfMemoryError, ShapeError
from .location import user_location


def to_shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """The extents of `f(2, 3)` and `f((2, 3))`: integers from 0."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    try:
        shape = tuple(operator.index(extent) for extent in size)
    except TypeError:
        raise Error(f"a shape is made of integers, not {size!r}", user_location()) from None
    if any(extent < 0 for extent in shape):
        raise ShapeError(f"the shape {list(shape)} has a negative extent", user_location())
    return shape


def check_allocation(what: str, shape: tuple[int, ...], dtype: DType) -> None:
    """OutOfMemoryError, before any byte is asked for, if the elements exceed the memory of this host.

    The kernel would grant most such wishes and end the process when the pages are touched.
    """
    count = math.prod(shape)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if count * dtype.itemsize > there:
        raise OutOfMemoryError(
            f"{what}: {dtype.title}{list(shape)} has {count} elements and needs {_text(count * dtype.itemsize)}, "
            f"this host has {_text(there)}; use a smaller shape, or make it inside a step, where a mesh shards it",
            user_location(),
        )


def _text(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
