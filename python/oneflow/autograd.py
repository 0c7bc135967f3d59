"""autograd.grad: gradients as values of a step. autograd.Function: an op with a gradient of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .errors import Error, ShapeError
from .functions import add, mul
from .functions import sum as sum_
from .grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .location import user_location
from .tensor import Tensor
from .tracing import Trace, current_trace


class Context:
    """Carries values from `forward` to `backward`; further attributes may be assigned."""

    def __init__(self) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """`backward` finds them in `saved_tensors`."""
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Accepted for porting: integer and bool results have no gradient anyway."""


class Function:
    """Subclass it, write the static methods `forward(ctx, *args)` and `backward(ctx, *gradients)`, call `apply`.

    `backward` gets one gradient per floating result of `forward`, zeros where the loss does not depend on it, and
    returns one gradient, or None, per argument. Both are traced once, so they are as fast as built-in ops.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        raise Error("a Function needs a static method forward(ctx, *args)", user_location())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise Error("a Function needs a static method backward(ctx, *gradients)", user_location())

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """forward, with the gradient of `backward`."""
        context = Context()
        context.needs_input_grad = tuple(
            isinstance(x, Tensor) and x.dtype.is_floating_point for x in args
        )
        trace = current_trace()
        if trace is None or not trace.has_gradients or not is_grad_enabled():
            return cls.forward(context, *args)
        with no_grad():
            result = cls.forward(context, *args)
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        cut = [trace.cut(x) if isinstance(x, Tensor) else x for x in outputs]
        ids = [trace.id_of(x) for x in cut if isinstance(x, Tensor) and x.dtype.is_floating_point]
        inputs = [
            (trace.id_of(x), x) if needed else None
            for x, needed in zip(args, context.needs_input_grad, strict=True)
        ]
        if ids:
            trace.functions.append(
                Application(cls, context, inputs, ids, trace.stage, trace.scope, user_location())
            )
        return type(result)(cut) if isinstance(result, (tuple, list)) else cut[0]


@dataclass
class Application:
    """One call of a Function in a trace."""

    function: type[Function]
    context: Context
    inputs: Sequence[tuple[int, Tensor] | None]
    outputs: list[int]  # floating ones
    stage: int | None
    scope: str
    location: tuple[str, int, str] | None

    def add_contributions(self, trace: Trace, loss: int) -> int:
        """The loss plus, per input x with gradient dx, sum(dx * x) with dx held fixed.

        Its gradient behind x is what backpropagation through this call adds; its value is never computed.
        """
        gradients = trace.add_gradients(loss, self.outputs)
        with trace.gradient_of(self.outputs[0], self.stage, self.scope):
            with no_grad():
                wrapped = [trace.wrap(gradient, self.location) for gradient in gradients]
                result = self.function.backward(self.context, *wrapped)
            results = list(result) if isinstance(result, (tuple, list)) else [result]
            name = self.function.__name__
            if len(results) != len(self.inputs):
                raise Error(
                    f"{name}.backward returned {len(results)} gradients for {len(self.inputs)} arguments of forward; "
                    "return None for an argument without one",
                    self.location,
                )
            for i, (held, gradient) in enumerate(zip(self.inputs, results, strict=True)):
                if held is None or gradient is None:
                    continue
                id, x = held
                if not isinstance(gradient, Tensor) or gradient.shape != x.shape:
                    raise ShapeError(
                        f"{name}.backward returned {gradient!r} as the gradient of argument {i}, which has shape "
                        f"{x.shape}",
                        self.location,
                    )
                loss = trace.add_product(loss, gradient, id, x)
        return loss


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
