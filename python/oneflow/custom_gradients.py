"""autograd.Function: an op of the user's own, with a gradient of its own, both written in flow ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .errors import Error, ShapeError
from .grad_mode import is_grad_enabled, no_grad
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
        """What the op computes of its arguments. To be written by a subclass."""
        raise Error("a Function needs a static method forward(ctx, *args)", user_location())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradients of the loss by the tensors that `forward` took, in their order, None for what has none;
        `gradients` are those by what it returned, each of its shape. To be written by a subclass."""
        raise Error("a Function needs a static method backward(ctx, *gradients)", user_location())

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """forward, with the gradient of `backward`."""
        context = Context()
        context.needs_input_grad = tuple(
            isinstance(x, Tensor) and x.dtype.is_floating_point for x in args
        )
        trace = current_trace()
        if trace is None or not is_grad_enabled():
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
