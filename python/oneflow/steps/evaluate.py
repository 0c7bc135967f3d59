"""eval_step: a function of a batch under model.eval(), without gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..mesh import Mesh
from ..nn.module import Module
from ..sharding import Parallel
from ..tensor import Tensor
from ..tracing import Trace
from .step import Step, add_outputs, fill_outputs


class EvalStep(Step):
    """Made by `flow.eval_step`. Returns what the function returns, with tensors on the host."""

    _takes_empty = True

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
        return add_outputs(trace, call()), None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        program, invocation = self._launch(args, kwargs)
        arrays = self.store.fetch(invocation)
        values = {
            name: Tensor(array) for name, array in zip(program.output_names, arrays, strict=True)
        }
        return fill_outputs(program.result, values)

    def interpret(self, *args: Any, **kwargs: Any) -> Any:
        """The same computed op by op on one device, no plan."""
        program, values = self._interpret(args, kwargs)
        return fill_outputs(program.result, values)


def eval_step(
    fn: Callable[..., Any] | None = None,
    *,
    model: Module | Mapping[str, Module],
    mesh: Mesh | None = None,
    parallel: Parallel = "auto",
    accumulate: int = 1,
    seed: int | None = None,
    max_plans: int = 8,
) -> Any:
    """Makes a function of a batch into an eval step, as a decorator or a call; it shares the model's states with
    train steps on the same mesh and is traced under model.eval()."""

    def make(function: Callable[..., Any]) -> EvalStep:
        return EvalStep(
            function,
            model=model,
            mesh=mesh,
            parallel=parallel,
            accumulate=accumulate,
            seed=seed,
            max_plans=max_plans,
        )

    return make if fn is None else make(fn)
