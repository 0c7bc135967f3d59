"""value_and_grad: the loss and every parameter's gradient, for tests, debugging and analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import Error
from ..functions.creation import zeros_like
from ..location import user_location
from ..mesh import Mesh
from ..nn.module import Module
from ..sharding import Parallel
from ..tensor import Tensor
from ..tracing import Trace
from .step import Step, add_outputs
from .train import split_loss


class ValueAndGrad(Step):
    """Made by `flow.value_and_grad`. Returns (loss, {parameter name: gradient}) and changes no state."""

    def _trace_body(self, trace: Trace, call: Callable[[], Any]) -> tuple[Any, Tensor | None]:
        loss, _ = split_loss(call())
        trace.writes.clear()
        trace.host_updates.clear()
        parameters = {
            name: parameter
            for name, parameter in self.named_parameters().items()
            if parameter.requires_grad and parameter.cell in trace.reads
        }
        if not parameters:
            raise Error("the loss depends on no parameter with requires_grad", user_location())
        values = [trace.reads[parameter.cell] for parameter in parameters.values()]
        gradients = [
            zeros_like(value) if gradient is None else gradient
            for value, gradient in zip(values, trace.gradients(loss, values), strict=True)
        ]
        tensors = {
            f"grad.{name}": gradient for name, gradient in zip(parameters, gradients, strict=True)
        }
        return add_outputs(trace, {"loss": loss, **tensors}), loss

    def _result(self, values: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        gradients = {
            name[len("grad.") :]: value
            for name, value in values.items()
            if name.startswith("grad.")
        }
        order = [name for name in self.named_parameters() if name in gradients]
        return values["loss"], {name: gradients[name] for name in order}

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        program, invocation = self._launch(args, kwargs)
        return self._result(self._values(program, self.store.fetch(invocation)))

    def interpret(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The same computed op by op on one device, no plan."""
        return self._result(self._interpret(args, kwargs)[1])

    def debug(self, *args: Any, **kwargs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The same, running the function's Python with real values: `print` and `pdb` work in it."""
        return self._result(self._debug(args, kwargs)[1])


def value_and_grad(
    fn: Callable[..., Any],
    *,
    model: Module | Mapping[str, Module],
    mesh: Mesh | None = None,
    parallel: Parallel = "auto",
    accumulate: int = 1,
    seed: int | None = None,
    precision: str = "fp32",
    max_plans: int = 8,
) -> ValueAndGrad:
    """`loss, grads = flow.value_and_grad(fn, model=model, mesh=mesh)(batch)`; buffers stay as they are.

    Not in precision="fp16": gradients below 3e-8 would round to zero without the loss scale that a train step has."""
    if precision == "fp16":
        raise Error(
            "value_and_grad has no loss scale, without which float16 rounds small gradients to zero; use 'bf16' or "
            "'fp32', or a train step",
            user_location(),
        )
    return ValueAndGrad(
        fn,
        model=model,
        mesh=mesh,
        parallel=parallel,
        accumulate=accumulate,
        seed=seed,
        precision=precision,
        max_plans=max_plans,
    )
