"""Trace: the graph of a step while the user's function runs.

One per traced step, active on the thread that traces. It reads each state once, keeps the value last written to
it, and gives every node the user's line, the module path and the stage. A value of a trace is useless outside it:
using one is an error with both lines.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from . import _core, dtypes
from .errors import Error
from .initializers import Value
from .location import user_location
from .mesh import Mesh
from .state import StateCell
from .tensor import Tensor
from .traced import TracedValue, active_trace, set_active_trace, used_after_trace

# A captured constant larger than this gets a warning: it is copied to every device that reads it.
_LARGE_CONSTANT = 1 << 20


def current_trace() -> Trace | None:
    """The trace of this thread, None outside a step."""
    trace = active_trace()
    assert trace is None or isinstance(trace, Trace)
    return trace


class Trace:
    """See the module."""

    def __init__(
        self,
        name: str,
        mesh: Mesh,
        accumulate: int,
        seed: int,
        name_of: Callable[[StateCell, str], str],
    ) -> None:
        self.graph = _core.Graph(name)
        self.mesh = mesh
        self.accumulate = accumulate
        self.seed = seed
        self.stage: int | None = None
        self.cells: dict[StateCell, str] = {}
        self.reads: dict[StateCell, Tensor] = {}
        self.writes: dict[StateCell, Tensor] = {}
        self.host_updates: dict[StateCell, int] = {}
        self.annotations: dict[StateCell, dict[str, str]] = {}
        self.shardings: dict[str, str] = {}
        self.names: dict[StateCell, str] = {}
        self._name_of = name_of  # names a cell that nobody named, from a wish
        self.module_paths: dict[int, str] = {}
        self.inputs: list[str] = []
        self._scopes: list[str] = [""]
        self._occurrences: dict[str, int] = {}
        self._captured: dict[int, Tensor] = {}
        self._captured_arrays: list[Any] = []
        self._step: Tensor | None = None
        # Handles that an assignment replaced: (the module's buffers, name, handle, its state).
        self._replaced: list[tuple[dict[str, Any], str, Tensor, StateCell]] = []

    # Entering and leaving.

    def __enter__(self) -> Trace:
        if current_trace() is not None:
            raise Error("a step cannot be called while another one is traced", user_location())
        set_active_trace(self)
        return self

    def __exit__(self, *exc: object) -> None:
        set_active_trace(None)
        for buffers, name, handle, cell in reversed(self._replaced):
            handle._source = cell
            buffers[name] = handle
        self._replaced.clear()

    @contextlib.contextmanager
    def module(self, module: object) -> Iterator[None]:
        """Nodes made inside carry the module's path."""
        path = self.module_paths.get(id(module))
        self._scopes.append(self._scopes[-1] if path is None else path)
        try:
            yield
        finally:
            self._scopes.pop()

    @property
    def scope(self) -> str:
        return self._scopes[-1]

    def occurrence_key(self, kind: str) -> str:
        """Names the n-th use of `kind` in the current module path."""
        base = f"{self.scope}/{kind}"
        count = self._occurrences.get(base, 0)
        self._occurrences[base] = count + 1
        return f"{base}/{count}"

    # Nodes.

    def add(
        self,
        op: str,
        inputs: list[int],
        attrs: dict[str, Any],
        location: tuple[str, int, str] | None,
    ) -> list[int]:
        return self.graph.add_node(op, inputs, attrs, location, self.scope, self.stage)

    def wrap(self, id: int, location: tuple[str, int, str] | None) -> Tensor:
        name, shape = self.graph.type_of(id)
        return Tensor._traced(TracedValue(self, id, location), shape, dtypes.by_name(name))

    def input(self, name: str, dtype: dtypes.DType, shape: tuple[int, ...], kind: str) -> Tensor:
        """An input of the step, in the order in which they are declared."""
        location = user_location()
        attrs = {"name": name, "dtype": dtype.name, "shape": list(shape), "kind": kind}
        self.inputs.append(name)
        return self.wrap(self.add("input", [], attrs, location)[0], location)

    def step(self) -> Tensor:
        """The number of the step, i64[]: an input that exists where it is read."""
        if self._step is None:
            stage, self.stage = self.stage, None
            self._step = self.input("step", dtypes.int64, (), "scalar")
            self.stage = stage
        return self._step

    # States.

    def _declare(self, cell: StateCell) -> str:
        name = self.cells.get(cell)
        if name is None:
            name = self.names.get(cell) or self._name_of(cell, "constant")
            annotation = self.annotations.get(cell, {})
            sharding = self.shardings.get(name, "")
            self.graph.add_state(
                name, cell.dtype.name, list(cell.shape), annotation, sharding, self.mesh.layout_axes
            )
            self.cells[cell] = name
        return name

    def read(self, cell: StateCell) -> Tensor:
        """The value of a state at this point of the program."""
        if cell in self.writes:
            return self.writes[cell]
        if cell not in self.reads:
            location = user_location()
            name = self._declare(cell)
            self.reads[cell] = self.wrap(
                self.add("state_read", [], {"name": name}, location)[0], location
            )
        return self.reads[cell]

    def write(self, cell: StateCell, value: Tensor) -> None:
        """The state has this value from here on; the node is added once, at the end of the trace."""
        self._declare(cell)
        self.writes[cell] = value

    def assign(self, buffers: dict[str, Any], name: str, value: Tensor) -> None:
        """`module.name = value`: the name means the new value from here on, handles taken before keep the old
        one, as with any name in Python; so two buffers can be swapped in one statement."""
        old = buffers[name]
        cell = old._source
        assert isinstance(cell, StateCell)
        before = self.read(cell)
        new = copy.copy(old)
        new.copy_(value)
        old._source = before._source
        buffers[name] = new
        self._replaced.append((buffers, name, old, cell))

    def finish_writes(self) -> None:
        """Adds one state_write per state that was written."""
        for cell, value in self.writes.items():
            source = value._source
            assert isinstance(source, TracedValue)
            self.graph.add_node(
                "state_write", [source.id], {"name": self.cells[cell]}, source.location, "", None
            )

    def capture(self, tensor: Tensor) -> Tensor:
        """A tensor of the host becomes a constant of the step."""
        key = id(tensor._source)
        if key not in self._captured:
            array = tensor.numpy()
            if array.nbytes > _LARGE_CONSTANT:
                warnings.warn(
                    f"a tensor of {array.nbytes / 2**20:.1f} MiB from outside the step becomes a constant; pass "
                    "it as an argument or register it as a buffer",
                    stacklevel=2,
                )
            self._captured_arrays.append(tensor._source)  # keeps the id from being used again
            self._captured[key] = self.read(StateCell(tensor.shape, tensor.dtype, Value(array)))
        return self._captured[key]

    def id_of(self, tensor: Tensor) -> int:
        """The value id of any tensor that an op call in this trace is given."""
        source = tensor._source
        if isinstance(source, StateCell):
            source = self.read(source)._source
        elif not isinstance(source, TracedValue):
            source = self.capture(tensor)._source
        assert isinstance(source, TracedValue)
        if not source.is_of(self):
            raise used_after_trace(source)
        return source.id
