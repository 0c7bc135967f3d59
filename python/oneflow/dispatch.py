"""One op call: a node of the graph inside a step, the interpreter outside."""

from __future__ import annotations

from typing import Any

from . import _core, views
from .errors import DTypeError
from .location import user_location
from .precision import operand_dtype
from .state import StateCell
from .tensor import Tensor
from .traced import Place, TracedValue, used_after_trace
from .tracing import Trace, current_trace


def apply_all(op: str, inputs: list[Tensor], **attrs: Any) -> list[Tensor]:
    """All outputs of `op`."""
    trace = current_trace()
    location = user_location()
    for x in inputs:
        if not isinstance(x, Tensor):
            raise DTypeError(
                f"{op} takes tensors, not {type(x).__name__}; make one with flow.tensor(...)",
                location,
            )
    given, inputs = inputs, [_in_precision(op, x) for x in inputs]
    results = _results(op, inputs, attrs, trace, location)
    if op in views.VIEWS and inputs[0] is given[0]:
        views.attach(results[0], inputs[0], op, attrs, apply)
    elif not all(
        x._is_dense for x in inputs
    ):  # elementwise results have the strides of their operands
        for result in results:
            result._is_dense = False
    return results


def _results(
    op: str, inputs: list[Tensor], attrs: dict[str, Any], trace: Trace | None, location: Place
) -> list[Tensor]:
    if trace is not None and any(isinstance(x._source, (TracedValue, StateCell)) for x in inputs):
        ids = trace.add(op, [trace.id_of(x) for x in inputs], attrs, location)
        return [trace.wrap(id, location) for id in ids]
    arrays = []
    for x in inputs:
        if isinstance(x._source, TracedValue):
            raise used_after_trace(x._source)
        arrays.append(x.numpy())
    return [Tensor(array) for array in _core.run_op(op, arrays, attrs, location)]


def _in_precision(op: str, x: Tensor) -> Tensor:
    """`x` in the dtype that the current precision gives to an operand of `op`."""
    dtype = operand_dtype(op, x.dtype)
    return x if dtype is x.dtype else apply("cast", x, dtype=dtype.name)


def apply(op: str, *inputs: Tensor, **attrs: Any) -> Tensor:
    """The first output of `op`."""
    return apply_all(op, list(inputs), **attrs)[0]
