"""Store: the states of a model on one mesh, in one session shared by all steps over them.

Cells know their version and where the newest value lives; before a launch the store writes what it lacks into the
session, after it the cells that the plan writes are at home here.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _core, environment
from .decisions import Decisions
from .errors import DataError, Error
from .location import user_location
from .mesh import Mesh
from .state import StateCell

# Ops are joined: chains of elementwise ops to one task each, casts of gradients to updates, casts there and back to
# none; tests compare with the ops one by one.
FUSES = True


class LoadedPlan:
    """A plan in the session of a store. When nobody holds it any more, the store's next load ends it.

    Not at once: ending a plan waits for its steps, and the last holder may go anywhere, on any thread.
    """

    __slots__ = ("number", "_retired")

    def __init__(self, number: int, retired: list[int]) -> None:
        self.number = number
        self._retired = retired

    def __del__(self) -> None:
        self._retired.append(self.number)


@dataclass(frozen=True)
class Launched:
    """An invocation that may still turn out to have wrong data, and how to undo it on the host."""

    invocation: int
    name: str  # for the message
    undo: Callable[[], None]


@dataclass(frozen=True)
class Gather:
    """The plan that returns some states. It keeps their cells: all ranks forget it at the same call."""

    loaded: LoadedPlan
    outputs: tuple[str, ...]  # names, in the order of the plan
    cells: tuple[StateCell, ...]


class Store:
    """See the module. The session is made by the first plan that is loaded."""

    # Gathers of different states whose plans are kept.
    MAX_GATHERS = 8
    # At least as many as can be in flight (Invocation::kWindow).
    MAX_LAUNCHED = 8

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.shardings: dict[str, str] = {}  # of states, as decided by the first plan that has them
        self._session: _core.Session | None = None
        # Weak: a constant that a plan captured goes with its plan.
        self._names: weakref.WeakKeyDictionary[StateCell, str] = weakref.WeakKeyDictionary()
        self._wishes: dict[str, int] = {}  # how many cells were given a name from this wish
        self._synced: dict[str, int] = {}
        self._whole: dict[str, bool] = {}  # states by whether this rank holds all of them
        self._retired: list[int] = []  # numbers of plans that nobody holds
        self._gathers: OrderedDict[tuple[str, ...], Gather] = OrderedDict()
        self._launched: deque[Launched] = deque(maxlen=self.MAX_LAUNCHED)

    @functools.cached_property
    def target(self) -> _core.Target:
        """The machine, with the memory that its GPUs have free before this store takes any."""
        return self.mesh.target(environment.world_size())

    @property
    def session(self) -> _core.Session:
        if self._session is None:
            options: dict[str, Any] = {}
            if self.mesh.kind == "cuda":
                options = {**environment.cuda_files(), **environment.cuda_algorithms()}
            self._session = _core.Session(
                transport=environment.transport(),
                watchdog_seconds=environment.watchdog_seconds(),
                peer_seconds=environment.peer_seconds(),
                trace_path=environment.trace_path(),
                cuda_library=environment.cuda_library() if self.mesh.kind == "cuda" else "",
                cuda_graphs=environment.cuda_graphs(),
                cuda_placement=list(self.mesh.gpus),
                **options,
            )
        return self._session

    def name_of(self, cell: StateCell, wish: str) -> str:
        """The cell's name in the session: `wish`, numbered if another cell has it or has had it.

        A name is never given twice: which cells are gone may differ between ranks, names may not.
        """
        name = self._names.get(cell)
        if name is None:
            count = self._wishes[wish] = self._wishes.get(wish, 0) + 1
            escaped = wish.replace("#", "##")
            name = self._names[cell] = escaped if count == 1 else f"{escaped}#{count}"
        return name

    def compile(
        self,
        graph: _core.Graph,
        micro_batches: int,
        dumps: bool = False,
        decisions: Sequence[Decisions] = (),
        seen_from: tuple[_core.Target, int, int] | None = None,
    ) -> _core.Compiled:
        """A rank's plan of a graph; of `decisions` those that were made for it are followed. `seen_from`: another
        machine, the rank and the number of ranks there; by default this machine and rank."""
        mesh = self.mesh
        target, rank, ranks = seen_from or (
            self.target,
            environment.rank(),
            environment.world_size(),
        )
        return _core.compile(
            graph,
            target,
            list(mesh.axes),
            list(range(mesh.num_devices)),
            micro_batches,
            rank,
            ranks,
            keep_dumps=dumps,
            decisions=[one.text for one in decisions],
            fuse=FUSES,
        )

    def load(self, plan: _core.Plan) -> LoadedPlan:
        """Brings a plan into the session, and ends what nobody holds any more. All ranks load alike."""
        with self._undoing():
            while self._retired:
                self.session.unload(self._retired[-1])
                self._retired.pop()
            self._drop_states()
            return LoadedPlan(self.session.load(plan), self._retired)

    def _drop_states(self) -> None:
        """Frees the states whose cells are gone."""
        alive = set(self._names.values())
        for name in [name for name in self.shardings if name not in alive]:
            del self.shardings[name]
            self._synced.pop(name, None)
            self._whole.pop(name, None)
            if self.session.has_state(name):
                self.session.drop_state(name)

    def gather(self, cells: list[StateCell]) -> None:
        """Runs a plan that returns the cells whole, and leaves their values on the host."""
        names = tuple(self._names[cell] for cell in cells)
        if names not in self._gathers:
            graph = _core.Graph("gather")
            for cell, name in zip(cells, names, strict=True):
                shape, axes = list(cell.shape), self.mesh.layout_axes
                sharding = self.shardings.get(name, "")
                graph.add_state(name, cell.dtype.name, shape, {}, sharding, axes)
                value = graph.add_node("state_read", [], {"name": name}, None, "", None)
                graph.add_node("output", value, {"name": name}, None, "", None)
            compiled = self.compile(graph, micro_batches=1)
            while len(self._gathers) >= self.MAX_GATHERS:
                self._gathers.popitem(last=False)
            self._gathers[names] = Gather(
                self.load(compiled.plan), tuple(o[0] for o in compiled.plan.outputs), tuple(cells)
            )
        self._gathers.move_to_end(names)
        plan = self._gathers[names]
        arrays = self.fetch(self.launch(plan.loaded, [], [], "gather", lambda: None))
        for name, array in zip(plan.outputs, arrays, strict=True):
            plan.cells[names.index(name)].cache(array)

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
                with self._undoing():
                    self.session.write_state(name, cell.take())
            self._synced[name] = cell.version

    def launch(
        self,
        plan: LoadedPlan,
        inputs: list[np.ndarray],
        written: Iterable[StateCell],
        name: str,
        undo: Callable[[], None],
    ) -> int:
        """Starts one invocation; the cells that it writes live here from now on. `undo` takes back what the
        caller counts, and must keep neither step nor model."""
        with self._undoing():
            invocation = self.session.launch(plan.number, inputs)
        self._launched.append(Launched(invocation, name, undo))
        for cell in written:
            cell.written_by(self)
            self._synced[self._names[cell]] = cell.version
        return invocation

    def fetch(self, invocation: int) -> list[np.ndarray]:
        """The outputs of an invocation, once."""
        with self._undoing():
            return self.session.fetch(invocation)

    def read(self, cell: StateCell) -> np.ndarray:
        """The newest value, whole."""
        name = self._names[cell]
        if not self.session.has_state(name):
            raise Error(
                f"{name} lies on other ranks; call flow.gather(model.state_dict()) on all ranks first",
                user_location(),
            )
        with self._undoing():
            return self.session.read_state(name)

    def holds(self, cell: StateCell) -> bool:
        """Whether `read` needs no other rank. The first time it is tried: where states lie never changes."""
        name = self._names[cell]
        if name not in self._whole:
            self._whole[name] = environment.world_size() == 1
            if not self._whole[name] and self.session.has_state(name):
                try:
                    self.read(cell)
                    self._whole[name] = True
                except Error as error:
                    if type(error) is not Error:  # a lost rank, wrong data: no answer
                        raise
        return self._whole[name]

    def counters(self) -> list[dict[str, Any]]:
        """What each device did and holds after all steps so far, counted where it happens."""
        with self._undoing():
            self.session.wait()
        return self.session.counters()

    @contextlib.contextmanager
    def _undoing(self) -> Iterator[None]:
        """A DataError from a step in flight undoes that step and those behind it on the host, as the session
        has done with states."""
        try:
            yield
        except DataError as error:
            first = self.session.take_undone_from()
            undone = [launched for launched in self._launched if 0 <= first <= launched.invocation]
            if not undone:
                raise
            for launched in reversed(undone):
                launched.undo()
                self._launched.remove(launched)
            behind = f", nor have the {len(undone) - 1} launched behind it" if undone[1:] else ""
            raise DataError(
                f"{undone[0].name}: {error.message}; it has changed nothing{behind}", error.location
            ) from None


def store_of(modules: tuple[object, ...], mesh: Mesh) -> Store:
    """The store of these modules on this mesh, made at the first use; the first module keeps it alive."""
    stores = modules[0].__dict__.setdefault("_stores", {})
    key = (mesh, tuple(id(module) for module in modules))
    if key not in stores:
        stores[key] = Store(mesh)
    return stores[key]
