"""What can go wrong, and where in the user's program it did.

Every error is a `flow.Error` and has `.location`, the user's line. Messages say what happened, where, why, and
what to do. The interpreter survives all of them.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Location(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    def short(self) -> str:
        """`file.py:line`, without folders."""
        return f"{os.path.basename(self.file)}:{self.line}"


class Error(Exception):
    """Root of all errors of this package."""

    def __init__(self, message: str, location: tuple[str, int, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.location = Location(*location) if location is not None else None

    def __str__(self) -> str:
        if self.location is None:
            return self.message
        place = self.location
        return f'{self.message}\n  at "{place.file}", line {place.line}, in {place.function}'


class ShapeError(Error):
    """Shapes that do not fit the op."""


class DTypeError(Error, TypeError):
    """An element type that the op does not take."""


class ShardingError(Error):
    """A layout that is not possible, or a batch that cannot be cut."""


class PlanError(Error):
    """A plan that its proofs refuse."""


class OutOfMemoryError(Error, MemoryError):
    """A plan that needs more memory than its devices have."""


class DataError(Error):
    """A batch that a step cannot take: its form, or values in it (a label out of range). No state changes."""


class CheckpointError(Error):
    """A file or state dict that does not fit the model, is damaged or cannot be written. `.rank` is the rank that could
    not, where all ranks say what that one has told them; None elsewhere."""

    rank: int | None = None


class StaleRunError(CheckpointError):
    """A newer run keeps its checkpoints in the same folder: this one writes there no more, and is not started again."""


class PeerError(Error):
    """Another rank is lost or does something else than this one. `.rank` is that rank, if it is known."""

    rank: int | None = None


class NumericsError(Error):
    """A value that is not finite, seen when the metrics of its step are read; `check=` of a train step says where it
    looks."""


# By oneflow::ErrorKind (base/status.h).
_BY_KIND = (
    Error,
    ShapeError,
    DTypeError,
    ShardingError,
    PlanError,
    OutOfMemoryError,
    DataError,
    CheckpointError,
    PeerError,
    NumericsError,
)


def make_error(
    kind: int, message: str, location: tuple[str, int, str] | None, rank: int | None
) -> Error:
    """The exception for a failed Status; called by oneflow._core. `rank` is the one that it blames."""
    error = _BY_KIND[kind](message, location)
    if isinstance(error, PeerError):
        error.rank = rank
    return error
