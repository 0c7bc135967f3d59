"""What tensors know of tracing: a value of a graph, and the trace that is active on this thread.

Below `tensor`; the trace itself, which makes tensors, is above it (`tracing`).
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

from .errors import Error
from .location import user_location
from .state import StateCell

Place = tuple[str, int, str] | None


class ActiveTrace(Protocol):
    """A trace as tensors use it; tracing.Trace is one."""

    aliases: dict[StateCell, Any]

    def wrap(self, id: int, location: Place) -> Any: ...

    def id_of(self, tensor: Any) -> int: ...

    def read(self, cell: StateCell) -> Any: ...

    def write(self, cell: StateCell, value: Any) -> None: ...

    def detach(self, tensor: Any) -> Any: ...

    def value_of(self, source: Any) -> Any: ...

    def draw(self, kind: str, shape: tuple[int, ...], dtype: str) -> Any: ...


class _Active(threading.local):
    """The trace of each thread."""

    trace: ActiveTrace | None = None


_active = _Active()


def active_trace() -> ActiveTrace | None:
    """The trace of this thread, None outside a step."""
    return _active.trace


def set_active_trace(trace: ActiveTrace | None) -> None:
    """A step begins or ends on this thread."""
    _active.trace = trace


def known_value(source: TracedValue | StateCell) -> Any:
    """The elements of a traced value or a state inside a step that runs op by op (step.debug); None elsewhere."""
    trace = active_trace()
    return trace.value_of(source) if trace is not None else None


class TracedValue:
    """A value of a graph. Weak: a trace keeps its tensors, and must go with its step at once."""

    __slots__ = ("_trace", "id", "location")

    def __init__(self, trace: ActiveTrace, id: int, location: Place) -> None:
        self._trace = weakref.ref(trace)
        self.id = id
        self.location = location

    def is_of(self, trace: ActiveTrace | None) -> bool:
        """True if `trace` made it."""
        return trace is not None and self._trace() is trace


def used_after_trace(value: TracedValue) -> Error:
    """The error for a traced value that outlived its trace."""
    place = value.location
    made = f" (made at {place[0]}:{place[1]})" if place is not None else ""
    return Error(
        f"a value of a traced step{made} is used after the trace: a step's function runs once, to build the plan; "
        "return the value as a metric or assign it to a buffer",
        user_location(),
    )


def not_a_number(tensor: object, what: str) -> Error:
    """The error for reading a traced value on the host."""
    return Error(
        f"{what} needs the value of {tensor!r}, which is not known while the step is traced; return it as a metric, "
        "or look at it with step.debug(batch), which runs the function with numbers",
        user_location(),
    )
