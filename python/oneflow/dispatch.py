"""One op call: a node of the graph inside a step, the interpreter outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core, views
from .errors import DTypeError
from .location import user_location
from .precision import is_mixed, operand_dtype
from .state import StateCell
from .tensor import Tensor
from .traced import TracedValue, active_trace, used_after_trace
from .tracing import Trace

_tensor_of = Tensor._of_elements


def apply(op: str, *inputs: Tensor, **attrs: Any) -> Tensor:
    """The first output of `op`."""
    return _results(op, inputs, attrs)[0]


def apply_all(op: str, inputs: Sequence[Tensor], **attrs: Any) -> list[Tensor]:
    """All outputs of `op`."""
    return _results(op, inputs, attrs)


def _results(op: str, inputs: Sequence[Tensor], attrs: dict[str, Any]) -> list[Tensor]:
    trace = active_trace()
    if trace is None and not is_mixed():
        results = _at_once(op, inputs, attrs)
        if op in views.VIEWS:
            views.attach(results[0], inputs[0], op, attrs, apply)
        return results
    for x in inputs:
        if not isinstance(x, Tensor):
            raise _no_tensor(op, x)
    given, inputs = inputs, [_in_precision(op, x) for x in inputs]
    if trace is None or not any(isinstance(x._source, (TracedValue, StateCell)) for x in inputs):
        results = _at_once(op, inputs, attrs)
    else:
        assert isinstance(trace, Trace)
        location = user_location()
        ids = trace.add(op, [trace.id_of(x) for x in inputs], attrs, location)
        results = [trace.wrap(id, location) for id in ids]
        if not all(x._is_dense for x in inputs):
            _not_dense(results)
    if op in views.VIEWS and inputs[0] is given[0]:  # what a cast has made is shown by nobody
        views.attach(results[0], inputs[0], op, attrs, apply)
    return results


def _at_once(op: str, inputs: Sequence[Tensor], attrs: dict[str, Any]) -> list[Tensor]:
    """The results of `op`, computed now."""
    elements, is_dense = [], True
    for x in inputs:
        if not isinstance(x, Tensor):
            raise _no_tensor(op, x)
        source = x._value if x._view is None else x._source
        if type(source) is not np.ndarray:
            if isinstance(source, TracedValue):
                raise used_after_trace(source)
            source = x.numpy()
        elements.append(source)
        is_dense = is_dense and x._is_dense
    # Only an error needs the user's line: it asks for it.
    arrays = _core.run_op(op, elements, attrs, user_location)
    results = [_tensor_of(arrays[0])] if len(arrays) == 1 else [_tensor_of(x) for x in arrays]
    if not is_dense:
        _not_dense(results)
    return results


def _not_dense(results: list[Tensor]) -> None:
    """Elementwise results have the strides of their operands."""
    for result in results:
        result._is_dense = False


def _no_tensor(op: str, x: object) -> DTypeError:
    return DTypeError(
        f"{op} takes tensors, not {type(x).__name__}; make one with flow.tensor(...)",
        user_location(),
    )


def _in_precision(op: str, x: Tensor) -> Tensor:
    """`x` in the dtype that the current precision gives to an operand of `op`."""
    dtype = operand_dtype(op, x.dtype)
    return x if dtype is x.dtype else apply("cast", x, dtype=dtype.name)
