"""KeyValueCache: the keys and values of the tokens that a decoder has seen, so that the next one costs one row."""

from __future__ import annotations

from .. import nn
from ..dtypes import int64
from ..errors import Error
from ..functions import add, cast, clamp, eq, expand, ge, logical_and, lt, sub, unsqueeze, where
from ..location import user_location
from ..nn.functional.classes import class_numbers
from ..tensor import Tensor


class KeyValueCache(nn.Module):
    """Buffers `key` and `value` [n, heads, length, width], column p for position p; no part of the state dict.

    A module has it from the start, so that making room changes no plan of other steps. Columns behind a row's last
    position hold anything: `visible` hides them.
    """

    key: Tensor
    value: Tensor
    length = 0

    def allocate(self, n: int, heads: int, length: int, width: int) -> None:
        """Room for `length` positions, in place of what there was."""
        self.length = length
        for name in ("key", "value"):
            if name in self._buffers:
                delattr(self, name)
            self.register_buffer(name, nn.Buffer(shape=(n, heads, length, width), persistent=False))

    def free(self) -> None:
        """Gives the room back."""
        self.length = 0
        for name in list(self._buffers):
            delattr(self, name)

    def store(self, key: Tensor, value: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Writes keys and values [n, heads, l, width] of positions [n, l], which follow each other in each row;
        returns the whole buffers as they are then."""
        if not self.length:
            raise Error(
                "positions were given to a model that has no cache; model.generate(...) makes one, and so does "
                "model.allocate_cache(n, length)",
                user_location(),
            )
        self.key = self._written(self.key, key, positions)
        self.value = self._written(self.value, value, positions)
        return self.key, self.value

    def _written(self, old: Tensor, new: Tensor, positions: Tensor) -> Tensor:
        new = cast(new, old.dtype)
        columns, count = class_numbers(self.length), new.shape[2]
        if count == 1:
            here = eq(columns, positions)  # [n, length]
            return where(here[:, None, :, None], new, old)
        place = sub(
            columns, positions[:, :1]
        )  # [n, length]: which of the new ones stands in a column
        here = logical_and(ge(place, 0), lt(place, count))
        index = clamp(place, 0, count - 1)[:, None, :, None]
        moved = new.gather(2, expand(index, *old.shape))
        return where(here[:, None, :, None], moved, old)

    def visible(self, positions: Tensor) -> Tensor:
        """bool [n, 1, l, length]: the columns that the token at each of positions [n, l] sees."""
        return ge(unsqueeze(positions, -1), class_numbers(self.length))[:, None]


def positions_from(first: Tensor, count: int) -> Tensor:
    """[n, count]: the positions first, first + 1, ... of each row."""
    return add(unsqueeze(cast(first, int64), 1), class_numbers(count))
