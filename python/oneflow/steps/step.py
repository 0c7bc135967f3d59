"""Step: what train, eval and gradient steps share: keys, tracing, compiling, the cache of plans."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from .. import _core, environment, tree
from ..debug import show
from ..decisions import Decisions
from ..errors import DataError, Error, ShardingError
from ..grad_mode import enable_grad
from ..location import user_location
from ..mesh import Mesh
from ..mesh import mesh as default_mesh
from ..nn.module import Module
from ..nn.parameter import Parameter
from ..plan import Plan
from ..precision import check_precision
from ..precision import precision as computing_in
from ..random import default_generator
from ..sharding import Parallel, collect_annotations, decisions_of
from ..state import StateCell
from ..store import LoadedPlan, Store, store_of
from ..target import Target, as_target
from ..tensor import Tensor
from ..traced import TracedValue
from ..tracing import Print, Trace
from .batch import Leaf, as_entries, leaves_of
from .finite import HIDDEN, Watched
from .op_by_op import OpByOp


@dataclass
class Program:
    """One traced kind of batch, its plan once it is compiled, its place in the session once it is loaded."""

    trace: Trace
    result: Any  # tree of the traced result: output names and host values
    loss_location: tuple[str, int, str] | None = None
    watched: Watched | None = None  # of check="all"
    prints: Sequence[tuple[Print, Any]] = ()  # with the trees of their values
    output_shapes: tuple[tuple[int, ...], ...] = ()  # of the function's results
    plan: Plan | None = None
    loaded: LoadedPlan | None = None
    input_names: tuple[str, ...] = ()
    fed_rows: Mapping[str, list[tuple[int, int]]] | None = None  # of dim 0, by this rank
    output_names: tuple[str, ...] = ()
    cells: tuple[StateCell, ...] = ()  # states of the step, also those that other ranks hold
    written: tuple[StateCell, ...] = ()


@dataclass(frozen=True)
class OutputName:
    """Stands in a result tree for an output of the plan."""

    name: str


class Step:
    """Base of all steps. Subclasses say what is traced and what a call does with the outputs."""

    _takes_empty = False  # batches without samples

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        model: Module | Mapping[str, Module],
        mesh: Mesh | None,
        parallel: Parallel,
        accumulate: int,
        seed: int | None,
        max_plans: int,
        precision: str = "fp32",
    ) -> None:
        self._location = user_location()
        if not callable(fn):
            raise Error(f"a step is made of a function, not of {type(fn).__name__}", self._location)
        functools.update_wrapper(cast(Callable[..., Any], self), fn)
        self._fn = fn
        self._name = getattr(fn, "__name__", type(fn).__name__)  # of a Module, a partial
        self._signature = inspect.signature(fn)
        self.mesh = mesh if mesh is not None else default_mesh()
        if isinstance(model, Module):
            self._models = {"": model}
        elif (
            isinstance(model, Mapping)
            and model
            and all(isinstance(m, Module) for m in model.values())
        ):
            self._models = dict(model)
        else:
            raise Error("model= takes an nn.Module or a dict of them", self._location)
        if not isinstance(self.mesh, Mesh):
            raise Error(
                f"mesh= takes a flow.mesh(...), not {mesh!r}; flow.mesh('cpu', dp=2) for instance",
                self._location,
            )
        if seed is not None and not isinstance(seed, int):
            raise Error(f"seed={seed!r}: an integer, or None", self._location)
        if not isinstance(max_plans, int) or max_plans < 1:
            raise Error(f"max_plans={max_plans!r}: an integer from 1", self._location)
        if not isinstance(accumulate, int) or isinstance(accumulate, bool) or accumulate < 1:
            raise ShardingError(f"accumulate={accumulate!r}: an integer from 1", self._location)
        self.accumulate = accumulate
        self._parallel = parallel
        self._seed = seed
        self._max_plans = max_plans
        check_precision(precision)
        self.precision = precision
        self._runs = 0
        self._programs: OrderedDict[Any, Program] = OrderedDict()
        self._check_rules()

    def _call(self, arguments: inspect.BoundArguments) -> Any:
        """The function's result, computed in the step's precision; updates are not."""
        with computing_in(self.precision):
            return self._fn(*arguments.args, **arguments.kwargs)

    # What subclasses say.

    def _extra_key(self) -> Any:
        """What beside the batch and the model's flags is part of a plan."""
        return None

    def _trace_body(self, trace: Trace, call: Callable[[], Any]) -> tuple[Any, Tensor | None]:
        """Calls the function and adds what the step does with its result; returns the outputs' tree and the loss."""
        raise NotImplementedError

    def _scalars(self) -> dict[str, np.ndarray]:
        """Values of the scalar inputs that are not in the batch, at the next launch."""
        return {"step": np.asarray(0, dtype=np.int64)}

    @contextlib.contextmanager
    def _mode(self) -> Iterator[None]:
        """The training flags under which the function is traced."""
        yield

    # The model.

    @property
    def store(self) -> Store:
        """The states of the model on this mesh, shared with other steps over them."""
        return store_of(tuple(self._models.values()), self.mesh)

    def _named(self, kind: str) -> dict[str, Any]:
        result = {}
        for key, model in self._models.items():
            for name, member in getattr(model, kind)(prefix=key):
                result[name] = member
        return result

    def named_parameters(self) -> dict[str, Parameter]:
        """All parameters by name; with several models, under their keys."""
        return self._named("named_parameters")

    def _check_rules(self) -> None:
        collect_annotations(self._parallel, self.named_parameters(), self.mesh, self._location)

    # Programs.

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        try:
            return self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise Error(f"{self._name}: {error}", user_location()) from None

    def _key(self, arguments: dict[str, Any], leaves: list[Leaf]) -> Any:
        flags = tuple(m.training for model in self._models.values() for m in model.modules())
        grads = tuple(
            p.requires_grad for model in self._models.values() for p in model.parameters()
        )
        seed = self._seed if self._seed is not None else default_generator.seed
        return (
            tree.structure(arguments),
            tuple(leaf.key() for leaf in leaves),
            flags,
            grads,
            seed,
            self._extra_key(),
        )

    def _program(
        self, bound: inspect.BoundArguments, leaves: list[Leaf], compiled: bool = True
    ) -> Program:
        """The program for this kind of batch, traced and compiled at the first use."""
        key = self._key(bound.arguments, leaves)
        try:
            program = self._programs.get(key)
        except TypeError as error:
            raise Error(
                f"a static part of the batch is not hashable ({error})", user_location()
            ) from None
        if program is None:
            program = self._build(bound, leaves)
            self._programs[key] = program
            while len(self._programs) > self._max_plans:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        if compiled and program.plan is None:
            others = sum(1 for other in self._programs.values() if other.plan is not None)
            if others and environment.rank() == 0:
                kinds = ", ".join(
                    f"{leaf.path}: {leaf.dtype.name}{list(leaf.shape)}"
                    for leaf in leaves
                    if leaf.dtype
                )
                print(
                    f"oneflow: {self._name} compiles plan {others + 1} for ({kinds})",
                    file=sys.stderr,
                )
            self._compile(program)
        return program

    def _check_batch(self, leaves: list[Leaf]) -> None:
        for leaf in leaves:
            if leaf.is_input and leaf.shape[:1] == (0,) and not self._takes_empty:
                raise DataError(
                    f"batch entry {leaf.path!r} has shape {list(leaf.shape)}: an empty batch has no loss",
                    user_location(),
                )
            if leaf.is_input and leaf.shape and leaf.shape[0] % self.accumulate:
                raise ShardingError(
                    f"accumulate={self.accumulate} must divide dim 0 of every batch entry; {leaf.path!r} has shape "
                    f"{list(leaf.shape)}",
                    user_location(),
                )

    def _build(
        self,
        bound: inspect.BoundArguments,
        leaves: list[Leaf],
        feeds: Mapping[str, np.ndarray] | None = None,
    ) -> Program:
        """Traces the function; given `feeds`, with real values."""
        self._check_batch(leaves)
        store = self.store
        seed = self._seed if self._seed is not None else default_generator.seed
        # Weak: traced tensors form cycles with their trace, and the session must not wait for the collector.
        names = weakref.WeakMethod(store.name_of)

        def name_of(cell: StateCell, wish: str) -> str:
            method = names()
            assert method is not None, "a step keeps its store"
            return method(cell, wish)

        form = Trace if feeds is None else functools.partial(OpByOp, feeds=feeds)
        trace = form(
            self._name,
            self.mesh,
            self.accumulate,
            seed,
            name_of,
        )
        parameters = self.named_parameters()
        for kind in (parameters, self._named("named_buffers")):
            for name, member in kind.items():
                trace.names[member.cell] = store.name_of(member.cell, name)
        for key, model in self._models.items():
            for path, module in model.named_modules(prefix=key):
                trace.module_paths.setdefault(id(module), path)
        trace.annotations = collect_annotations(
            self._parallel, parameters, self.mesh, self._location
        )
        trace.shardings = store.shardings
        with trace, self._mode(), enable_grad():
            inputs = {
                leaf.path: trace.input(leaf.path, leaf.dtype, leaf.shape, leaf.kind)
                if leaf.dtype
                else leaf.value
                for leaf in leaves
            }
            arguments = tree.map_leaves(lambda path, _: inputs[path], dict(bound.arguments))
            arguments = {name: as_entries(value) for name, value in arguments.items()}
            call = inspect.BoundArguments(self._signature, OrderedDict(arguments))
            result, loss = self._trace_body(trace, lambda: self._call(call))
            shapes = tuple(trace.output_shapes.values())
            prints = [
                (one, add_outputs(trace, one.values, f"{HIDDEN}print.{i}"))
                for i, one in enumerate(trace.prints)
            ]
            trace.finish_writes()
        source = loss._source if loss is not None else None
        return Program(
            trace,
            result,
            loss_location=source.location if isinstance(source, TracedValue) else None,
            prints=prints,
            watched=trace.watched,
            output_shapes=shapes,
        )

    def _compile(self, program: Program) -> None:
        directory = environment.dump_directory()
        compiled = self.store.compile(
            program.trace.graph,
            self.accumulate,
            dumps=bool(directory),
            decisions=decisions_of(self._parallel, self._location),
        )
        plan = _plan_of(program, compiled, self.store.target)
        for name, sharding in compiled.state_shardings.items():
            self.store.shardings.setdefault(name, sharding)
        program.input_names = tuple(name for name, _, _ in plan.core.inputs)
        program.fed_rows = plan.core.fed_rows()
        program.output_names = tuple(name for name, _, _ in plan.core.outputs)
        cells, used = program.trace.cells, compiled.state_shardings
        program.cells = tuple(cell for cell, name in cells.items() if name in used)
        program.written = tuple(cell for cell in program.trace.writes if cells[cell] in used)
        program.plan = plan
        if directory:
            _dump(directory, plan)

    def compile(self, *args: Any, **kwargs: Any) -> Plan:
        """The plan for this batch, or for `flow.spec(...)` in its place; nothing runs."""
        bound = self._bind(args, kwargs)
        program = self._program(bound, leaves_of(bound.arguments))
        assert program.plan is not None
        return program.plan

    def compile_for(
        self, target: Target | str | os.PathLike[str], /, *args: Any, **kwargs: Any
    ) -> Plan:
        """The plan for this batch of one rank of a machine that need not be here, to be looked at.

        `target` is a `flow.Target` or the path of its file; `Target.load(path).at(rank)` chooses the rank. The mesh
        must have as many devices of that kind: ShardingError if not. Its predictions are of the target's rates."""
        target = as_target(target)
        core = target.core(self.mesh)
        bound = self._bind(args, kwargs)
        program = self._program(bound, leaves_of(bound.arguments), compiled=False)
        compiled = self.store.compile(
            program.trace.graph,
            self.accumulate,
            decisions=decisions_of(self._parallel, self._location),
            seen_from=(core, target.rank, target.num_ranks),
        )
        return _plan_of(program, compiled, core)

    def graph(self, *args: Any, **kwargs: Any) -> str:
        """The traced graph as text."""
        bound = self._bind(args, kwargs)
        return str(self._program(bound, leaves_of(bound.arguments), compiled=False).trace.graph)

    # Running.

    def _check_loader(self, loader: Any) -> None:
        if isinstance(loader, (Mapping, Tensor, np.ndarray, str)) or not hasattr(
            loader, "__iter__"
        ):
            raise DataError(
                f"run takes an iterable of batches, not {type(loader).__name__}: a list of batches, or a "
                "flow.data.DataLoader",
                user_location(),
            )

    def _arguments_of(self, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How a batch of a loader is passed: a function of several parameters gets its parts."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        taken = sum(1 for p in self._signature.parameters.values() if p.kind in kinds)
        if taken > 1 and isinstance(batch, (tuple, list)):
            return tuple(batch), {}
        if taken > 1 and isinstance(batch, dict):
            return (), batch
        return (batch,), {}

    def _feeds(
        self, leaves: list[Leaf], fed_rows: Mapping[str, list[tuple[int, int]]] | None = None
    ) -> dict[str, np.ndarray]:
        feeds = self._scalars()
        for leaf in leaves:
            if leaf.is_input:
                array = leaf.host_array(None if fed_rows is None else fed_rows.get(leaf.path, []))
                if array is None:
                    raise Error(
                        f"batch entry {leaf.path!r} is a flow.spec: give an array to run",
                        user_location(),
                    )
                feeds[leaf.path] = array
        return feeds

    def _launch(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str = "",
        undo: Callable[[], None] = lambda: None,
    ) -> tuple[Program, int]:
        """Starts a step; `undo` as for Store.launch."""
        bound = self._bind(args, kwargs)
        leaves = leaves_of(bound.arguments)
        program = self._program(bound, leaves)
        store = self.store
        assert program.plan is not None
        if program.loaded is None:
            program.loaded = store.load(program.plan.core)
        feeds = self._feeds(leaves, program.fed_rows)
        store.prepare(program.cells)
        invocation = store.launch(
            program.loaded,
            [feeds[entry] for entry in program.input_names],
            program.written,
            name or self._name,
            functools.partial(_undo, program.trace.host_updates, undo),
        )
        for cell, count in program.trace.host_updates.items():
            cell.write(cell.read() + count)
        return program, invocation

    def _values(self, program: Program, arrays: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """The outputs of a run by name; what the step prints is printed."""
        values = {
            name: Tensor(array) for name, array in zip(program.output_names, arrays, strict=True)
        }
        self._runs += 1
        print_values(program, values, self._runs - 1)
        return values

    def _interpret(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Program, dict[str, Tensor]]:
        bound = self._bind(args, kwargs)
        leaves = leaves_of(bound.arguments)
        program = self._program(bound, leaves, compiled=False)
        values = self._run_graph(program, self._feeds(leaves))
        print_values(program, values, 0)
        return program, values

    def _debug(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Program, dict[str, Tensor]]:
        """Runs the function's Python itself, with values, then the rest of its graph."""
        bound = self._bind(args, kwargs)
        leaves = leaves_of(bound.arguments)
        feeds = self._feeds(leaves)
        program = self._build(bound, leaves, feeds)
        return program, self._run_graph(program, feeds)

    def _run_graph(self, program: Program, feeds: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """The outputs, op by op on one device; changes no state."""
        trace = program.trace
        states = {name: cell.read() for cell, name in trace.cells.items()}
        outputs, _ = _core.run_graph(
            trace.graph,
            {name: feeds[name] for name in trace.inputs},
            states,
            threads=self.mesh.threads,
        )
        return {name: Tensor(array) for name, array in outputs.items()}

    def counters(self) -> list[dict[str, Any]]:
        """Per device: flops, received_bytes, state_bytes, arena_bytes, firings, counted where they happen."""
        return self.store.counters()


def print_values(program: Program, values: Mapping[str, Tensor], number: int) -> None:
    """What flow.debug.print asked to see of the run of this number."""
    for one, tree_of_values in program.prints:
        if number % one.every == 0:
            show(one.text, fill_outputs(tree_of_values, values))


def _undo(host_updates: Mapping[StateCell, int], undo: Callable[[], None]) -> None:
    """Takes back what a launch counted on the host."""
    for cell, count in host_updates.items():
        cell.write(cell.read() - count)
    undo()


def add_outputs(trace: Trace, result: Any, prefix: str = "") -> Any:
    """Adds an output per traced leaf; returns the tree with their names, host values as they are."""

    def one(path: str, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        name = path or "result"
        trace.add("output", [trace.id_of(leaf)], {"name": name}, user_location())
        trace.output_shapes[name] = leaf.shape
        return OutputName(name)

    return tree.map_leaves(one, result, prefix)


def fill_outputs(result: Any, values: Mapping[str, Any]) -> Any:
    """The tree with values in place of output names."""
    return tree.map_leaves(
        lambda _, leaf: values[leaf.name] if isinstance(leaf, OutputName) else leaf, result
    )


def _plan_of(program: Program, compiled: _core.Compiled, target: _core.Target) -> Plan:
    return Plan(
        compiled.plan,
        compiled.decisions,
        compiled.dumps,
        str(program.trace.graph),
        Decisions(compiled.held_decisions),
        target,
    )


def _dump(directory: str, plan: Plan) -> None:
    """Writes what ONEFLOW_DUMP asks for."""
    os.makedirs(directory, exist_ok=True)
    base = os.path.join(
        directory, f"{re.sub(r'[^A-Za-z0-9_.-]', '_', plan.core.name)}.rank{plan.core.rank}"
    )
    texts = [
        ("0.traced", plan.graph),
        *((f"{i + 1}.{name}", text) for i, (name, text) in enumerate(plan.dumps)),
    ]
    for name, text in [*texts, ("plan", plan.text)]:
        with open(f"{base}.{name}.txt", "w", encoding="utf-8") as file:
            file.write(text)
