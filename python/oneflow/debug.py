"""Looking into steps: values as metrics (tap), and values printed while steps run (print)."""

from __future__ import annotations

import builtins
import string
from typing import Any, TypeVar

from . import environment
from .errors import Error
from .location import user_location
from .tensor import Tensor
from .tracing import Print, current_trace

T = TypeVar("T", bound=Tensor)


def tap(name: str, x: T) -> T:
    """`x` itself, which a train step also returns as the metric `name`, from anywhere inside it.

    Scalars follow the rule of metrics under accumulation, per-sample values are concatenated. In other steps and
    outside of steps nothing happens.
    """
    trace = current_trace()
    if trace is None:
        return x
    if not isinstance(x, Tensor):
        raise Error(f"flow.tap takes a tensor, not {type(x).__name__}", user_location())
    if not isinstance(name, str) or not name or name in trace.taps:
        why = f"{name!r} is tapped twice" if name in trace.taps else f"{name!r} is no name"
        raise Error(
            f"flow.tap: {why}; give each value of a step a name of its own", user_location()
        )
    trace.taps[name] = x
    return x


def print(text: str, *values: Any, every: int = 1) -> None:
    """Prints `text.format(*values)` whenever a step is run whose number is a multiple of `every`; rank 0 only.

    A step that prints is waited for. Outside of a step it prints at once.
    """
    location = user_location()
    if not isinstance(every, int) or every < 1:
        raise Error(f"every={every!r}: an integer from 1", location)
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise Error(f"flow.debug.print: {text!r} is no format ({error})", location) from None
    if len(fields) > len(values):
        raise Error(
            f"flow.debug.print: {text!r} has {len(fields)} fields for {len(values)} values; write one {{}} for each",
            location,
        )
    trace = current_trace()
    if trace is None or trace.computes:
        show(text, values)
        return
    trace.prints.append(Print(text, values, every))


def show(text: str, values: Any) -> None:
    """Prints on rank 0."""
    if environment.rank() == 0:
        builtins.print(text.format(*values), flush=True)


__all__ = ["print", "tap"]
