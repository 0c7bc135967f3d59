"""Initialisers with PyTorch's names and distributions; each replaces a parameter's record of its first value."""

from __future__ import annotations

import math

from ..errors import Error
from ..initializers import Constant, Initializer, Normal, Uniform
from ..location import user_location
from ..random import default_generator
from ..state import StateCell
from ..tensor import Tensor


def _set(tensor: Tensor, initializer: Initializer) -> Tensor:
    if isinstance(tensor._source, StateCell):
        tensor._source.initialize(initializer)
        return tensor
    return tensor.copy_(initializer.make(tensor.shape, tensor.dtype))


def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise Error(
            f"fan in and out need at least 2 dims, the tensor has shape {tensor.shape}",
            user_location(),
        )
    receptive = 1
    for extent in tensor.shape[2:]:
        receptive *= extent
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform on [a, b)."""
    return _set(tensor, Uniform(a, b, default_generator.seed, default_generator.next_key()))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return _set(tensor, Normal(mean, std, default_generator.seed, default_generator.next_key()))


def constant_(tensor: Tensor, val: float) -> Tensor:
    return _set(tensor, Constant(val))


def zeros_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    return constant_(tensor, 1.0)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The recommended scale after a nonlinearity."""
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    return 5.0 / 3 if nonlinearity == "tanh" else 1.0


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform with the variance of He et al. 2015."""
    fan_in, fan_out = _fans(tensor)
    bound = calculate_gain(nonlinearity, a) * math.sqrt(
        3.0 / (fan_in if mode == "fan_in" else fan_out)
    )
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal with the variance of He et al. 2015."""
    fan_in, fan_out = _fans(tensor)
    return normal_(
        tensor,
        0.0,
        calculate_gain(nonlinearity, a) / math.sqrt(fan_in if mode == "fan_in" else fan_out),
    )


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with the variance of Glorot and Bengio 2010."""
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with the variance of Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))))
