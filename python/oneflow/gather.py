"""gather: whole states on every rank. A snapshot is a plan like any other: states are read and returned."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from . import environment
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
            if not isinstance(cell, StateCell) or cell.is_on_host:
                continue
            if isinstance(store := cell.home, Store):
                cells = by_store.setdefault(store, [])
                if cell not in cells:
                    cells.append(cell)
        for store, cells in by_store.items():
            store.gather(cells)
    return OrderedDict((name, Tensor(tensor.numpy())) for name, tensor in state_dict.items())
