"""Dropout: masks are functions of a seed, the place in the program, the step and the logical index."""

from __future__ import annotations

from ...dispatch import apply
from ...dtypes import int64
from ...errors import ShapeError
from ...functions.creation import zeros
from ...location import user_location
from ...random import default_generator, stable_key
from ...tensor import Tensor
from ...tracing import current_trace


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zeroes elements with probability p; the mask depends on (seed, place, step, logical index) alone."""
    if not 0 <= p <= 1:
        raise ShapeError(f"dropout probability {p} does not lie in [0, 1]", user_location())
    if not training or p == 0:
        return input
    trace = current_trace()
    if trace is not None:
        key = stable_key(trace.occurrence_key("dropout"))
        return apply("dropout", input, trace.step(), p=p, seed=trace.seed, key=key)
    seed, key = default_generator.seed, default_generator.next_key()
    return apply("dropout", input, zeros((), dtype=int64), p=p, seed=seed, key=key)
