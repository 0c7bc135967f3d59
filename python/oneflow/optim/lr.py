"""Learning rates as functions of the step: give one as `lr`."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def warmup(steps: int, then: float | Schedule) -> Schedule:
    """Rises linearly over `steps` steps to `then`, which sees the steps counted from the start."""

    def at(step: int) -> float:
        peak = then(step) if callable(then) else then
        return peak * min(1.0, (step + 1) / max(steps, 1))

    return at


def linear(base: float, steps: int, end: float = 0.0) -> Schedule:
    """Falls linearly from `base` to `end` over `steps` steps."""
    return poly(base, steps, end, power=1.0)


def poly(base: float, steps: int, end: float = 0.0, power: float = 1.0) -> Schedule:
    """Falls from `base` to `end` over `steps` steps as (1 - t) ** power."""
    return lambda step: end + (base - end) * (1 - min(step, steps) / steps) ** power


def cosine(base: float, steps: int, end: float = 0.0) -> Schedule:
    """Falls from `base` to `end` over `steps` steps along half a cosine."""
    return lambda step: (
        end + (base - end) * 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
    )


__all__ = ["cosine", "linear", "poly", "warmup"]
