"""Terms that updates share, in ops of the step's graph."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import float32
from ..functions import add, cast, div, exp, mul, neg, sqrt, square, sub, tanh
from ..functions import sum as _sum
from ..tensor import Tensor


def count_of(step: Tensor) -> Tensor:
    """The number of the update, counted from 1, f32[]."""
    return cast(step, float32) + 1.0


def power(base: float, exponent: Tensor) -> Tensor:
    """base ** exponent for 0 <= base."""
    if base == 0:
        return exponent * 0.0
    return exp(exponent * math.log(base))


def one_minus_power(beta: float, count: Tensor) -> Tensor:
    """1 - beta ** count without cancellation: 1 - exp(-x) = 2 t / (1 + t) with t = tanh(x / 2)."""
    if beta == 0:
        return count * 0.0 + 1.0
    t = tanh(count * (-0.5 * math.log(beta)))
    return div(t * 2.0, t + 1.0)


def toward(average: Tensor, value: Tensor, share: float) -> Tensor:
    """A running average that takes `share` of a new value."""
    return add(average, mul(sub(value, average), share))


def ascended(gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """The gradient of what is minimised."""
    return neg(gradient) if group["maximize"] else gradient


def with_l2(parameter: Tensor, gradient: Tensor, weight_decay: float) -> Tensor:
    """The gradient of the loss and of weight_decay / 2 * |parameter| ** 2."""
    return add(gradient, mul(parameter, weight_decay)) if weight_decay else gradient


def decayed(parameter: Tensor, lr: Tensor, weight_decay: float) -> Tensor:
    """The parameter after decoupled weight decay."""
    return mul(parameter, 1.0 - lr * weight_decay) if weight_decay else parameter


def norm(x: Tensor) -> Tensor:
    """The 2-norm of all elements, f32[]."""
    return sqrt(_sum(square(x)))
