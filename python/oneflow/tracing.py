"""Trace: the graph of a step while the user's function runs.

One per traced step, active on the thread that traces. It reads each state once, keeps the value last written to
it, and gives every node the user's line, the module path and the stage. A value of a trace is useless outside it:
using one is an error with both lines.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import random as python_random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _core, dtypes
from .errors import Error
from .grad_mode import is_grad_enabled
from .initializers import Value
from .location import user_location
from .mesh import Mesh
from .random import default_generator, stable_key
from .state import StateCell
from .tensor import Tensor, serials
from .traced import TracedValue, active_trace, set_active_trace, used_after_trace

# A captured constant larger than this gets a warning: it is copied to every device that reads it.
_LARGE_CONSTANT = 1 << 20

# What stands in a graph without being computed.
_NOT_COMPUTED = ("input", "state_read", "state_write", "output", "constant")


def current_trace() -> Trace | None:
    """The trace of this thread, None outside a step."""
    trace = active_trace()
    assert trace is None or isinstance(trace, Trace)
    return trace


def _generators() -> tuple[Any, ...]:
    """Where the global generators of Python and NumPy and ours stand, in microseconds."""
    _, words, gauss = python_random.getstate()
    bits = np.random.get_bit_generator()  # type: ignore[attr-defined]
    position: Any = None
    if isinstance(bits, np.random.MT19937):  # its state as a dict would be a copy of 624 words
        state = ctypes.cast(bits.ctypes.state_address, ctypes.POINTER(ctypes.c_uint32))
        position = (state[0], state[624])
    return (words[0], words[-1], gauss, position, default_generator.made)


@dataclass(frozen=True)
class Print:
    """A flow.debug.print: text with values in it, shown every so many steps."""

    text: str
    values: tuple[Any, ...]
    every: int


class Trace:
    """See the module."""

    computes = False  # whether values are known while the function runs

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
        self.taps: dict[str, Tensor] = {}  # of flow.tap: further metrics
        self.output_shapes: dict[str, tuple[int, ...]] = {}
        self.watched: Any = None  # what check="all" looks at
        self.prints: list[Print] = []  # of flow.debug.print
        self.functions: list[Any] = []  # applications of flow.autograd.Function, in order
        self.forward_node = -1  # nodes made now are the gradient of this one
        self._stopped: dict[int, int] = {}  # values by what they are without a gradient
        self._drawn = _generators()
        self.first_serial = next(serials)  # of tensors of the host that are made while it runs
        self._scopes: list[str] = [""]
        self._occurrences: dict[str, int] = {}
        self._captured: dict[int, Tensor] = {}
        self._captured_arrays: list[Any] = []
        self._step: Tensor | None = None
        self.aliases: dict[
            StateCell, Tensor
        ] = {}  # what buffers were last assigned: the same tensor
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
        self._check_randomness(location)
        stops = not is_grad_enabled() and op not in _NOT_COMPUTED
        if stops:
            inputs = [self.stop_gradient(id) for id in inputs]
        outputs = self._add(op, inputs, attrs, location)
        if stops:
            self._stopped.update((id, id) for id in outputs)
        return outputs

    def _add(
        self,
        op: str,
        inputs: list[int],
        attrs: dict[str, Any],
        location: tuple[str, int, str] | None,
    ) -> list[int]:
        return self.graph.add_node(
            op, inputs, attrs, location, self.scope, self.stage, self.forward_node
        )

    def stop_gradient(self, id: int) -> int:
        """The same value, through which no gradient goes."""
        if not dtypes.by_name(self.graph.type_of(id)[0]).is_floating_point:
            return id
        if id not in self._stopped:
            stopped = self._add("stop_gradient", [id], {}, user_location())[0]
            self._stopped[id] = self._stopped[stopped] = stopped
        return self._stopped[id]

    def is_stopped(self, id: int) -> bool:
        """True for a value through which no gradient goes."""
        return self._stopped.get(id) == id

    def detach(self, tensor: Tensor) -> Tensor:
        """The value of a tensor without its gradient."""
        return self.wrap(self.stop_gradient(self.id_of(tensor)), user_location())

    def cut(self, tensor: Tensor) -> Tensor:
        """The value of a tensor as a new value of its own, through which no gradient goes."""
        location = user_location()
        return self.wrap(
            self._add("stop_gradient", [self.id_of(tensor)], {}, location)[0], location
        )

    # Gradients.

    def gradients(self, loss: Tensor, wrt: list[Tensor]) -> list[Tensor | None]:
        """The gradients of `loss`, those of the user's Functions among them; None where no differentiable op leads
        to the loss."""
        total = self.id_of(loss)
        for application in reversed(self.functions):
            total = application.add_contributions(self, total)
        location = user_location()
        gradients = self.add_gradients(total, [self.id_of(x) for x in wrt])
        if all(self.graph.is_zeros(id) for id in gradients):
            source = loss._source
            raise Error(
                "the loss has no gradient: no differentiable op leads from a parameter to it (argmax, comparisons and "
                "integers have none; detach() and no_grad stop it)",
                source.location if isinstance(source, TracedValue) else location,
            )
        return [None if self.graph.is_zeros(id) else self.wrap(id, location) for id in gradients]

    def add_gradients(self, loss: int, wrt: list[int], forward: bool = False) -> list[int]:
        """As Graph.add_gradients."""
        return self.graph.add_gradients(loss, wrt, forward)

    @contextlib.contextmanager
    def gradient_of(self, value: int, stage: int | None, scope: str) -> Iterator[None]:
        """Nodes made inside belong to the gradient of the node that makes `value`."""
        before = self.forward_node, self.stage
        self.forward_node, self.stage = self.graph.producer_of(value), stage
        self._scopes.append(scope)
        try:
            yield
        finally:
            self.forward_node, self.stage = before
            self._scopes.pop()

    def add_product(self, loss: int, fixed: Tensor, id: int, x: Tensor) -> int:
        """loss + sum(fixed * x), where x is the value `id` and `fixed` is held fixed."""
        location = user_location()
        factor = self.id_of(fixed)
        if fixed.dtype is not x.dtype:
            factor = self._add("cast", [factor], {"dtype": x.dtype.name}, location)[0]
        product = self._add("mul", [self.stop_gradient(factor), id], {}, location)[0]
        if x.ndim:
            attrs = {"dims": list(range(x.ndim)), "keepdim": False}
            product = self._add("sum", [product], attrs, location)[0]
        dtype = self.graph.type_of(loss)[0]
        if x.dtype.name != dtype:
            product = self._add("cast", [product], {"dtype": dtype}, location)[0]
        return self._add("add", [loss, product], {}, location)[0]

    def _check_randomness(self, location: tuple[str, int, str] | None) -> None:
        """Warns at the first op behind a number that a generator of Python or NumPy has given."""
        drawn = _generators()
        if drawn != self._drawn:
            self._drawn = drawn
            place = f" before {location[0]}:{location[1]}" if location else ""
            message = (
                f"random numbers were drawn{place} while the step is traced: the function runs once, so every step "
                "uses the same ones; draw them with flow.rand or flow.randn, or pass them in the batch"
            )
            file, line = (location[0], location[1]) if location else ("<unknown>", 0)
            warnings.warn_explicit(message, UserWarning, file, line)

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

    def draw(self, kind: str, shape: tuple[int, ...], dtype: str) -> Tensor:
        """Numbers of the op `kind`, "uniform" or "normal", which are others each step."""
        location = user_location()
        attrs = {"value": 0.0, "dtype": dtype, "shape": list(shape)}
        like = self.add("constant", [], attrs, location)[0]
        key = stable_key(self.occurrence_key(kind))
        ids = self.add(
            kind, [like, self.id_of(self.step())], {"seed": self.seed, "key": key}, location
        )
        return self.wrap(ids[0], location)

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
        return self.writes[cell] if cell in self.writes else self.found(cell)

    def found(self, cell: StateCell) -> Tensor:
        """The value of a state as the step found it."""
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
        one, as with any name in Python; so two buffers can be swapped in one statement. Until the step ends the
        buffer and `value` are one tensor: what is written into either is seen in both (oneflow.views)."""
        old = buffers[name]
        if value is old:  # the end of `module.name += x`
            return
        cell = old._source
        assert isinstance(cell, StateCell)
        before = self.read(cell)
        self.aliases.pop(cell, None)  # what it was before keeps its elements
        new = copy.copy(old)
        new.copy_(value)
        old._source = before._source
        buffers[name] = new
        self._replaced.append((buffers, name, old, cell))
        if not isinstance(value._source, StateCell):  # of another state it is a copy
            self.aliases[cell] = value

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
        return self.stop_gradient(source.id) if tensor._is_detached else source.id

    def value_of(self, source: TracedValue | StateCell) -> np.ndarray | None:
        """The elements of a traced value, None while they are not known."""
        return None
