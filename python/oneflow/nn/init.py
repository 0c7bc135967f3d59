"""Initialisers with PyTorch's names and distributions; each replaces a parameter's record of its first value.

`generator` takes a flow.Generator in place of the default one.
"""

from __future__ import annotations

import math

from ..errors import Error
from ..initializers import (
    Constant,
    Dirac,
    Eye,
    Initializer,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from ..location import user_location
from ..random import Generator, default_generator, rand, randn
from ..state import StateCell
from ..tensor import Tensor
from ..traced import active_trace


def _set(tensor: Tensor, initializer: Initializer) -> Tensor:
    if isinstance(tensor._source, StateCell):
        tensor._source.initialize(initializer)
        return tensor
    return tensor.copy_(initializer.make(tensor.shape, tensor.dtype))


def _is_drawn_anew(tensor: Tensor, generator: Generator | None) -> bool:
    """True for a tensor made inside a step, of which this is no first value."""
    return (
        generator is None
        and active_trace() is not None
        and not isinstance(tensor._source, StateCell)
    )


def _draw(generator: Generator | None) -> tuple[int, int]:
    source = default_generator if generator is None else generator
    return source.seed, source.next_key()


def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise Error(
            f"fan in and out need at least 2 dims, the tensor has shape {tensor.shape}",
            user_location(),
        )
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise Error(f"mode={mode!r}: 'fan_in' or 'fan_out'", user_location())
    return _fans(tensor)[0 if mode == "fan_in" else 1]


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform on [a, b); of a value of a step other numbers each time it runs."""
    if _is_drawn_anew(tensor, generator):
        return tensor.copy_(rand(tensor.shape, dtype=tensor.dtype) * (b - a) + a)
    return _set(tensor, Uniform(a, b, *_draw(generator)))


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal with a mean and a standard deviation; of a value of a step other numbers each time it runs."""
    if _is_drawn_anew(tensor, generator):
        return tensor.copy_(randn(tensor.shape, dtype=tensor.dtype) * std + mean)
    return _set(tensor, Normal(mean, std, *_draw(generator)))


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal, restricted to [a, b]; the bounds are numbers of the tensor, not of standard deviations."""
    if not a < b or std <= 0:
        raise Error(f"trunc_normal_: no numbers lie in [{a}, {b}] with std={std}", user_location())
    return _set(tensor, TruncatedNormal(mean, std, a, b, *_draw(generator)))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element becomes `val`."""
    return _set(tensor, Constant(val))


def zeros_(tensor: Tensor) -> Tensor:
    """Every element becomes 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element becomes 1."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """1 on the diagonal of a matrix, 0 elsewhere."""
    if tensor.ndim != 2:
        raise Error(f"eye_ takes 2 dims, the tensor has shape {tensor.shape}", user_location())
    return _set(tensor, Eye())


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight of 3 to 5 dims that keeps its channels, in each of `groups` groups."""
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise Error(
            f"dirac_ takes 3, 4 or 5 dims with a first one that {groups} groups divide, the tensor has shape "
            f"{tensor.shape}",
            user_location(),
        )
    return _set(tensor, Dirac(groups))


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """Orthonormal rows or columns, whichever are fewer, times `gain`; dims behind the first count as one."""
    if tensor.ndim < 2:
        raise Error(
            f"orthogonal_ takes 2 dims or more, the tensor has shape {tensor.shape}",
            user_location(),
        )
    if tensor.numel() == 0:
        return tensor
    return _set(tensor, Orthogonal(gain, *_draw(generator)))


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Normal, with the share `sparsity` of each column of a matrix zero."""
    if tensor.ndim != 2:
        raise Error(f"sparse_ takes 2 dims, the tensor has shape {tensor.shape}", user_location())
    zeros = math.ceil(sparsity * tensor.shape[0])
    return _set(tensor, Sparse(zeros, std, *_draw(generator)))


_LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The recommended scale after a nonlinearity; `param` is the slope of leaky_relu."""
    if nonlinearity in _LINEAR:
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise Error(
        f"nonlinearity={nonlinearity!r} has no gain; one of {', '.join(_LINEAR)}, tanh, relu, leaky_relu, selu",
        user_location(),
    )


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform with the variance of He et al. 2015."""
    if tensor.numel() == 0:
        return tensor
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with the variance of He et al. 2015."""
    if tensor.numel() == 0:
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform with the variance of Glorot and Bengio 2010."""
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with the variance of Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))), generator)


def _normal(
    self: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None
) -> Tensor:
    """normal_ as a method: `linear.weight.data.normal_(0, 0.02)`."""
    return normal_(self, mean, std, generator)


def _uniform(
    self: Tensor, a: float = 0, b: float = 1, *, generator: Generator | None = None
) -> Tensor:
    """uniform_ as a method."""
    return uniform_(self, a, b, generator)


Tensor.normal_ = _normal  # type: ignore[attr-defined]
Tensor.uniform_ = _uniform  # type: ignore[attr-defined]
