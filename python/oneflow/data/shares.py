"""Shares: which rows of a global batch this rank's devices need, and batches of which only those were read.

A step takes the global, logical batch on every rank, and feeds copy out what each device needs. A PartialTensor is
a tensor of the global shape whose rows of other ranks are read when somebody looks at them, and never by a step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..dtypes import DType
from ..errors import DataError
from ..location import user_location
from ..mesh import Mesh
from ..tensor import Tensor

Range = tuple[int, int]


def rows_of_rank(size: int, mesh: Mesh, accumulate: int, rank: int, world_size: int) -> list[Range]:
    """The [first, end) ranges of the `size` rows of a batch that devices of `rank` are fed with.

    Micro-batches are outermost; each is dealt out over `dp`, balanced, larger shares first (plan/sharding.h).
    """
    if size % accumulate:
        return [(0, size)]  # the step will refuse it
    parts = mesh.shape.get("dp", 1)
    inner = 1
    for name, extent in reversed(mesh.axes):
        if name == "dp":
            break
        inner *= extent
    shares = {
        device // inner % parts
        for device, owner in enumerate(mesh.device_ranks(world_size))
        if owner == rank
    }
    micro = size // accumulate
    each, more = divmod(micro, parts)
    ranges: list[Range] = []
    for m in range(accumulate):
        for share in sorted(shares):
            first = m * micro + share * each + min(share, more)
            end = first + each + (share < more)
            if ranges and ranges[-1][1] == first:
                ranges[-1] = (ranges[-1][0], end)
            elif end > first:
                ranges.append((first, end))
    return ranges


class WholeBatch:
    """Reads all rows of one batch, once, when the first of its tensors needs them."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read: Callable[[], Any] | None = read
        self._leaves: list[Any] = []
        self._lock = threading.Lock()

    def leaf(self, number: int) -> np.ndarray:
        """The elements of the `number`-th leaf."""
        with self._lock:
            if self._read is not None:
                self._leaves = [leaf for _, leaf in tree.flatten(self._read())]
                self._read = None
        return self._leaves[number].numpy()


class PartialTensor(Tensor):
    """See the module. Anything but a step that reads it makes it whole."""

    def __init__(
        self,
        local: np.ndarray,
        dtype: DType,
        size: int,
        rows: Sequence[Range],
        rest: Callable[[], np.ndarray],
    ) -> None:
        self._local = local
        self._rows = list(rows)
        self._rest = rest
        self._whole: np.ndarray | None = None
        self._shape = (size, *local.shape[1:])
        self._dtype = dtype

    @property
    def _value(self) -> Any:
        if self._whole is None:
            self._whole = self._rest()
        return self._whole

    @_value.setter
    def _value(self, whole: Any) -> None:
        self._whole = whole

    def fed(self) -> np.ndarray:
        """The global shape, with this rank's rows alone; untouched pages cost no memory."""
        if self._whole is not None:
            return self._whole
        array = np.zeros(self._shape, self._local.dtype)
        at = 0
        for first, end in self._rows:
            array[first:end] = self._local[at : at + end - first]
            at += end - first
        return array

    def holds(self, first: int, end: int) -> bool:
        """True if rows [first, end) were read here."""
        return self._whole is not None or any(a <= first and end <= b for a, b in self._rows)


def make_partial(
    batch: Any, size: int, rows: Sequence[Range], read_whole: Callable[[], Any]
) -> Any:
    """A collated share of this rank as the global batch of `size` rows."""
    held = sum(end - first for first, end in rows)
    whole = WholeBatch(read_whole)
    number = iter(range(1 << 30))

    def one(path: str, leaf: Any) -> Any:
        at = next(number)
        if not isinstance(leaf, Tensor):
            if isinstance(leaf, (str, bytes, type(None), bool, int, float)):
                return leaf
            leaf = Tensor(leaf)
        if leaf.shape[:1] != (held,):
            raise DataError(
                f"batch entry {path or '.'!r} has shape {leaf.shape}, and this rank reads {held} of the {size} samples: "
                "collate_fn gives each entry one row per sample; without mesh= the loader reads whole batches",
                user_location(),
            )
        return PartialTensor(leaf.numpy(), leaf.dtype, size, rows, lambda: whole.leaf(at))

    return tree.map_leaves(one, batch)
