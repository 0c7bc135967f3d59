"""gather: whole states on every rank. A snapshot is a plan like any other: states are read and returned."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from . import _core, environment
from .state import StateCell
from .store import Store
from .tensor import Tensor


def gather(state_dict: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The tensors of a state dict, whole, on every rank. All ranks call it with the same names.

    Afterwards the entries can be read anywhere until a step changes them.
    """
    if environment.world_size() > 1:
        by_store: dict[Store, list[StateCell]] = {}
        for tensor in state_dict.values():
            cell = tensor._source
            if isinstance(cell, StateCell) and cell.home is not None and not cell.is_on_host:
                cells = by_store.setdefault(cell.home, [])
                if cell not in cells:
                    cells.append(cell)
        for store, cells in by_store.items():
            _gather_from(store, cells)
    return OrderedDict((name, Tensor(tensor.numpy())) for name, tensor in state_dict.items())


def _gather_from(store: Store, cells: list[StateCell]) -> None:
    """Runs a plan that returns the cells, and leaves their values on the host."""
    graph = _core.Graph("gather")
    for cell in cells:
        name = store.name_of(cell, "")
        sharding = store.shardings.get(name, "")
        shape, axes = list(cell.shape), store.mesh.layout_axes
        graph.add_state(name, cell.dtype.name, shape, {}, sharding, axes)
        value = graph.add_node("state_read", [], {"name": name}, None, "", None)
        graph.add_node("output", value, {"name": name}, None, "", None)
    compiled = store.compile(graph, micro_batches=1)
    plan = store.load(compiled.plan)
    arrays = store.session.fetch(store.launch(plan, [], []))
    values = {
        name: array for (name, _, _), array in zip(compiled.plan.outputs, arrays, strict=True)
    }
    for cell in cells:
        cell.cache(values[store.name_of(cell, "")])
