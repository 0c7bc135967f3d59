"""Store: the states of a model on one mesh, in one session shared by all steps over them.

Cells know their version and where the newest value lives; before a launch the store writes what it lacks into the
session, after it the cells that the plan writes are at home here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, environment
from .errors import Error
from .location import user_location
from .mesh import Mesh
from .state import StateCell

if TYPE_CHECKING:
    from .nn.module import Module


class Store:
    """See the module. The session is made by the first plan that is loaded."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.target = mesh.target(environment.world_size())
        self.shardings: dict[str, str] = {}  # of states, as decided by the first plan that has them
        self._session: _core.Session | None = None
        self._names: dict[StateCell, str] = {}
        self._cells: dict[str, StateCell] = {}
        self._synced: dict[str, int] = {}

    @property
    def session(self) -> _core.Session:
        if self._session is None:
            self._session = _core.Session(
                transport=environment.transport(),
                watchdog_seconds=environment.watchdog_seconds(),
                trace_path=environment.trace_path(),
            )
        return self._session

    def name_of(self, cell: StateCell, wish: str) -> str:
        """The cell's name in the session: `wish`, numbered if another cell has it."""
        name = self._names.get(cell)
        if name is None:
            name, count = wish, 1
            while name in self._cells:
                count += 1
                name = f"{wish}#{count}"
            self._names[cell] = name
            self._cells[name] = cell
        return name

    def compile(
        self, graph: _core.Graph, micro_batches: int, dumps: bool = False
    ) -> _core.Compiled:
        """This rank's plan of a graph."""
        mesh = self.mesh
        return _core.compile(
            graph,
            self.target,
            list(mesh.axes),
            list(range(mesh.num_devices)),
            micro_batches,
            environment.rank(),
            environment.world_size(),
            keep_dumps=dumps,
        )

    def load(self, plan: _core.Plan) -> int:
        return self.session.load(plan)

    def prepare(self, cells: Iterable[StateCell]) -> None:
        """Brings every cell's newest value into the session."""
        for cell in cells:
            name = self._names[cell]
            if self._synced.get(name) == cell.version:
                continue
            here = self.session.has_state(name)  # a stage on other ranks has states of its own
            if here and (
                name in self._synced or not cell.is_fresh_zeros
            ):  # new states start as zeros
                self.session.write_state(name, cell.read())
            self._synced[name] = cell.version

    def launch(self, plan_id: int, inputs: list[np.ndarray], written: Iterable[StateCell]) -> int:
        """Starts one invocation; the cells that it writes live here from now on."""
        invocation = self.session.launch(plan_id, inputs)
        for cell in written:
            cell.written_by(self)
            self._synced[self._names[cell]] = cell.version
        return invocation

    def read(self, cell: StateCell) -> np.ndarray:
        """The newest value, whole."""
        name = self._names[cell]
        if not self.session.has_state(name):
            raise Error(
                f"{name} lies on other ranks; call flow.gather(model.state_dict()) on all ranks first",
                user_location(),
            )
        return self.session.read_state(name)

    def counters(self) -> list[dict[str, Any]]:
        """What each device did and holds after all steps so far, counted where it happens."""
        self.session.wait()
        return self.session.counters()


def store_of(modules: tuple[Module, ...], mesh: Mesh) -> Store:
    """The store of these modules on this mesh, made at the first use; the first module keeps it alive."""
    stores = modules[0].__dict__.setdefault("_stores", {})
    key = (mesh, tuple(id(module) for module in modules))
    if key not in stores:
        stores[key] = Store(mesh)
    return stores[key]
