"""autograd: gradients as values of a step, ops with gradients of their own, and whether gradients are taken."""

from __future__ import annotations

from collections.abc import Sequence

from .custom_gradients import Context, Function
from .errors import Error, ShapeError
from .functions import add, mul
from .functions import sum as sum_
from .grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .location import user_location
from .tensor import Tensor
from .tracing import current_trace


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of the sum of `outputs` with respect to `inputs` as values of the step, for gradient penalties.

    `inputs` are tensors of the step: parameters, inputs or what was computed; the result has one tensor of the same
    shape and dtype for each. Source: torch.autograd.grad.

    Args:
        grad_outputs: factors of the shapes of `outputs`; may be left out for single numbers.
        create_graph: the loss may depend on the result and trains through it: a second derivative. Else the result
            is held fixed.
        allow_unused: None in place of an error for an input on which no output depends.
        materialize_grads: zeros in that case.
        retain_graph, only_inputs: accepted for porting; a step keeps what it needs.

    Raises Error outside of a step, for is_grads_batched=True, for an input on which nothing depends, and where the
    loss then asks for the derivative of a gradient op that has none, with the op's name; ShapeError for outputs that are no
    single numbers and have no factor.
    """
    location = user_location()
    trace = current_trace()
    if trace is None:
        raise Error(
            "autograd.grad works inside a step, where gradients are values; outside use flow.value_and_grad",
            location,
        )
    if is_grads_batched:
        raise Error("is_grads_batched=True is not supported: call grad once per row", location)
    if trace.functions:
        name = trace.functions[0].function.__name__
        raise Error(
            f"autograd.grad in a step that uses {name}, a Function of your own, would miss its gradient; "
            "call grad before it, or write it with built-in functions",
            location,
        )
    total = _weighted_sum(outputs, grad_outputs)
    wrt = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    ids = trace.add_gradients(trace.id_of(total), [trace.id_of(x) for x in wrt], forward=True)
    gradients: list[Tensor | None] = []
    for position, (x, id) in enumerate(zip(wrt, ids, strict=True)):
        if trace.graph.is_zeros(id) and not materialize_grads:
            if not allow_unused:
                raise Error(
                    f"the outputs do not depend on input {position}, a tensor of shape {x.shape}; allow_unused=True gives "
                    "None for it",
                    location,
                )
            gradients.append(None)
            continue
        gradient = trace.wrap(id, location)
        gradients.append(gradient if create_graph else trace.detach(gradient))
    return tuple(gradients)


def _weighted_sum(
    outputs: Tensor | Sequence[Tensor], grad_outputs: Tensor | Sequence[Tensor | None] | None
) -> Tensor:
    values = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    factors: Sequence[Tensor | None]
    if grad_outputs is None:
        factors = [None] * len(values)
    else:
        factors = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    if len(factors) != len(values):
        raise ShapeError(
            f"grad_outputs has {len(factors)} factors for {len(values)} outputs", user_location()
        )
    total: Tensor | None = None
    for value, factor in zip(values, factors, strict=True):
        if factor is None and value.numel() != 1:
            raise ShapeError(
                f"an output of shape {value.shape} needs a factor in grad_outputs, such as flow.ones_like(output), or "
                "a .sum() before",
                user_location(),
            )
        if factor is not None and factor.shape != value.shape:
            raise ShapeError(
                f"a factor of shape {factor.shape} for an output of shape {value.shape}",
                user_location(),
            )
        part = sum_(value if factor is None else mul(value, factor))
        total = part if total is None else add(total, part)
    if total is None:
        raise Error("autograd.grad needs an output", user_location())
    return total


__all__ = [
    "Context",
    "Function",
    "enable_grad",
    "grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]
