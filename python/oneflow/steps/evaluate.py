"""eval_step: a function of a batch under model.eval(), without gradients."""

from __future__ import annotations

import contextlib
import fnmatch
import inspect
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import tree
from ..errors import Error
from ..location import user_location
from ..mesh import Mesh
from ..nn.module import Module
from ..sharding import Parallel
from ..tensor import Tensor
from ..traced import TracedValue
from ..tracing import Trace
from .batch import leaves_of, make_leaf
from .step import Program, Step, add_outputs, fill_outputs

# In a line of decisions: a value that is partial over micro-batches.
_SUM_OVER_MICRO_BATCHES = re.compile(r"\{micro [^;}]*\bP")
# What Store.name_of puts behind the name of a state that stands where another one stood.
_NUMBER = re.compile(r"(?<!#)#\d+$")


class EvalStep(Step):
    """Made by `flow.eval_step`. Returns what the function returns, with tensors on the host."""

    _takes_empty = True

    def __init__(
        self, fn: Callable[..., Any], *, mutable: Iterable[str] = (), **options: Any
    ) -> None:
        self._mutable = (mutable,) if isinstance(mutable, str) else tuple(mutable)
        self._calls = 0
        super().__init__(fn, **options)
        self._per_sample: dict[Any, bool] = {}

    def _scalars(self) -> dict[str, np.ndarray]:
        """The step of an evaluation is its call: each draws other numbers."""
        return {"step": np.asarray(self._calls, dtype=np.int64)}

    @contextlib.contextmanager
    def _mode(self) -> Iterator[None]:
        modules = [module for model in self._models.values() for module in model.modules()]
        flags = [module.training for module in modules]
        for module in modules:
            object.__setattr__(module, "training", False)
        try:
            yield
        finally:
            for module, flag in zip(modules, flags, strict=True):
                object.__setattr__(module, "training", flag)

    def _trace_body(self, trace: Trace, call: Callable[[], Any]) -> tuple[Any, Tensor | None]:
        result = call()
        for cell, value in trace.writes.items():
            name = _NUMBER.sub("", trace.cells[cell])
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in self._mutable):
                source = value._source
                raise Error(
                    f"an eval step writes {name}: evaluation changes no state unless it is asked to; give "
                    f"flow.eval_step(..., mutable=({name!r},)) the names or patterns of what it may write",
                    source.location if isinstance(source, TracedValue) else user_location(),
                )
        return add_outputs(trace, result), None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        program, invocation = self._launch(args, kwargs)
        self._calls += 1
        return fill_outputs(program.result, self._values(program, self.store.fetch(invocation)))

    def run(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The results for each batch of `loader`. A batch that is shorter than the first one is padded to its size
        and the results are cut, if each row of them depends on one sample alone; else its own shape is compiled.
        """
        self._check_loader(loader)
        size: int | None = None
        for batch in loader:
            args, kwargs = self._arguments_of(batch)
            arguments = self._bind(args, kwargs).arguments
            rows = rows_of(arguments)
            if size is None or rows is None or rows >= size or rows == 0:
                size = size or rows
                yield self(*args, **kwargs)
            elif not self._is_per_sample(arguments, size, rows):
                yield self(*args, **kwargs)
            else:
                args, kwargs = resize_rows((args, kwargs), size)
                yield resize_rows(self(*args, **kwargs), rows)

    def _is_per_sample(self, arguments: dict[str, Any], size: int, rows: int) -> bool:
        """True if each row of all results depends on one sample alone: results have as many rows as there are
        samples, and the function can be computed with every sample in a micro-batch of its own."""
        leaves = leaves_of(arguments)
        key = self._key(arguments, leaves), size
        if key not in self._per_sample:
            self._per_sample[key] = False
            with contextlib.suppress(Error):
                self._per_sample[key] = self._computes_alone(arguments, size, rows)
        return self._per_sample[key]

    def _computes_alone(self, arguments: dict[str, Any], size: int, rows: int) -> bool:
        """As _is_per_sample; an error says no as well."""
        short, long = self._trace_at(arguments, rows, 1), self._trace_at(arguments, size, size)
        if long.trace.writes or not all(
            a[:1] == (rows,) and b[:1] == (size,) and a[1:] == b[1:]
            for a, b in zip(short.output_shapes, long.output_shapes, strict=True)
        ):
            return False
        # As if one rank had all devices: every rank decides alike.
        alone = (self.mesh.target(1), 0, 1)
        compiled = self.store.compile(long.trace.graph, size, seen_from=alone)
        batches = {leaf.path for leaf in leaves_of(arguments) if leaf.shape}
        # Samples meet in a sum over micro-batches, or, where the batch alone decides it, before the first one.
        return not _SUM_OVER_MICRO_BATCHES.search(compiled.held_decisions) and all(
            end - first <= 1
            for name, ranges in compiled.plan.fed_rows().items()
            if name in batches
            for first, end in ranges
        )

    def _trace_at(self, arguments: dict[str, Any], rows: int, accumulate: int) -> Program:
        """Traced for this many samples; not kept."""
        leaves = leaves_of(arguments)
        for leaf in leaves:
            if leaf.shape:
                leaf.shape = (rows, *leaf.shape[1:])
        bound = inspect.BoundArguments(self._signature, OrderedDict(arguments))
        kept, self.accumulate = self.accumulate, accumulate
        try:
            return self._build(bound, leaves)
        finally:
            self.accumulate = kept

    def interpret(self, *args: Any, **kwargs: Any) -> Any:
        """The same computed op by op on one device, no plan."""
        program, values = self._interpret(args, kwargs)
        return fill_outputs(program.result, values)

    def debug(self, *args: Any, **kwargs: Any) -> Any:
        """The same, running the function's Python with real values: `print` and `pdb` work in it."""
        program, values = self._debug(args, kwargs)
        return fill_outputs(program.result, values)


def rows_of(arguments: dict[str, Any]) -> int | None:
    """Dim 0 of all arrays of a batch, None if they differ or there is none."""
    counts = {leaf.shape[0] for leaf in leaves_of(arguments) if leaf.shape}
    return counts.pop() if len(counts) == 1 else None


def resize_rows(values: Any, rows: int) -> Any:
    """A tree whose arrays have `rows` rows: cut, or with the last row repeated; other leaves as they are."""

    def one(path: str, leaf: Any) -> Any:
        made = make_leaf(path, leaf)
        array = made.host_array()
        if not made.is_input or array is None or not array.ndim:
            return leaf
        if len(array) >= rows:
            return Tensor(array[:rows])
        return Tensor(np.concatenate([array, np.repeat(array[-1:], rows - len(array), axis=0)]))

    return tree.map_leaves(one, values)


def eval_step(
    fn: Callable[..., Any] | None = None,
    *,
    model: Module | Mapping[str, Module],
    mesh: Mesh | None = None,
    parallel: Parallel = "auto",
    accumulate: int = 1,
    seed: int | None = None,
    mutable: Iterable[str] = (),
    precision: str = "fp32",
    max_plans: int = 8,
) -> Any:
    """Makes a function of a batch into an eval step, as a decorator or a call; it shares the model's states with
    train steps on the same mesh and is traced under model.eval(). `mutable` names the states that it may write
    ("*.cache")."""

    def make(function: Callable[..., Any]) -> EvalStep:
        return EvalStep(
            function,
            model=model,
            mesh=mesh,
            parallel=parallel,
            accumulate=accumulate,
            seed=seed,
            mutable=mutable,
            precision=precision,
            max_plans=max_plans,
        )

    return make if fn is None else make(fn)
