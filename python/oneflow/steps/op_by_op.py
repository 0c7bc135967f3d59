"""OpByOp: a trace that also computes every value at once, so that the user's Python sees numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core, dtypes
from ..state import StateCell
from ..traced import TracedValue
from ..tracing import Trace


class OpByOp(Trace):
    """The trace of `step.debug`: values are kept as long as it lives; nothing is written."""

    computes = True

    def __init__(self, *args: Any, feeds: Mapping[str, np.ndarray], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._feeds = feeds
        self._values: dict[int, np.ndarray] = {}

    def _add(
        self,
        op: str,
        inputs: list[int],
        attrs: dict[str, Any],
        location: tuple[str, int, str] | None,
    ) -> list[int]:
        ids = super()._add(op, inputs, attrs, location)
        if op == "input":
            self._values[ids[0]] = self._feeds[attrs["name"]]
        elif op == "state_read":
            cells = {name: cell for cell, name in self.cells.items()}
            self._values[ids[0]] = cells[attrs["name"]].read()
        elif op == "constant":
            dtype = dtypes.by_name(attrs["dtype"])
            number = np.asarray(attrs["value"]).astype(dtype.numpy)
            self._values[ids[0]] = np.full(attrs["shape"], number)
        elif op not in ("output", "state_write"):
            given = [self._values[id] for id in inputs]
            results = _core.run_op(op, given, attrs, location)
            self._values.update(zip(ids, results, strict=True))
        return ids

    def add_gradients(self, loss: int, wrt: list[int], forward: bool = False) -> list[int]:
        gradients = super().add_gradients(loss, wrt, forward)
        graph = self.graph.copy()
        names = {id: f"gradient.{id}" for id in gradients}
        for id, name in names.items():
            graph.add_node("output", [id], {"name": name}, None, "", None)
        states = {name: cell.read() for cell, name in self.cells.items()}
        feeds = {name: self._feeds[name] for name in self.inputs}
        values, _ = _core.run_graph(graph, feeds, states, threads=self.mesh.threads)
        self._values.update((id, values[name]) for id, name in names.items())
        return gradients

    def value_of(self, source: TracedValue | StateCell) -> np.ndarray | None:
        if isinstance(source, StateCell):
            traced = self.read(source)._source
            assert isinstance(traced, TracedValue)
            source = traced
        return self._values.get(source.id) if source.is_of(self) else None
