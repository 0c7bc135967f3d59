"""Activations with ops of their own, under the names of torch.nn.functional, which oneflow.nn.functional takes over."""

from __future__ import annotations

from .. import dtypes
from ..dispatch import apply
from ..errors import DTypeError, Error
from ..location import user_location
from ..tensor import Tensor
from . import elementwise as ew
from .writing import if_inplace


def only_floats(name: str, input: Tensor) -> Tensor:
    """The input; DTypeError for integers and bools, whose activation PyTorch refuses as well."""
    x = input if isinstance(input, Tensor) else Tensor(input)
    if not x.dtype.is_floating_point:
        raise DTypeError(f"{name} of {x.dtype!r}; convert with .float()", user_location())
    return x


@if_inplace
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """input where it is positive, else 0."""
    return ew.relu(input)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """input times the normal distribution function of it; approximate="tanh" as GPT-2 has it."""
    if approximate not in ("none", "tanh"):
        raise Error(f"gelu: approximate={approximate!r}: 'none' or 'tanh'", user_location())
    return apply("gelu_tanh" if approximate == "tanh" else "gelu", only_floats("gelu", input))


@if_inplace
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input)."""
    return apply("silu", only_floats("silu", input))


@if_inplace
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input))."""
    return apply("mish", only_floats("mish", input))


def logsigmoid(input: Tensor) -> Tensor:
    """ln(sigmoid(input))."""
    return apply("logsigmoid", only_floats("logsigmoid", input))


@if_inplace
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """clamp(input / 6 + 1/2, 0, 1)."""
    return apply("hardsigmoid", only_floats("hardsigmoid", input))


@if_inplace
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * hardsigmoid(input)."""
    return apply("hardswish", only_floats("hardswish", input))


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + e^(beta * input)) / beta, and input itself where beta * input > threshold."""
    x = only_floats("softplus", input)
    scaled = x if beta == 1 else ew.mul(x, beta)
    soft = apply("softplus", scaled)
    soft = soft if beta == 1 else ew.mul(soft, 1.0 / beta)
    # Beyond 20 a float32 makes no difference.
    if threshold >= 20 and x.dtype is not dtypes.float64:
        return soft
    return ew.where(ew.gt(scaled, threshold), x, soft)


@if_inplace
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (e^input - 1)."""
    return apply("elu", only_floats("elu", input), value=float(alpha))


@if_inplace
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (e^(input / alpha) - 1)."""
    if alpha == 0:
        raise Error("celu: alpha is 0, which it divides by", user_location())
    return ew.mul(apply("elu", ew.mul(only_floats("celu", input), 1.0 / alpha), value=1.0), alpha)


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@if_inplace
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the alpha and scale that keep mean 0 and variance 1."""
    return ew.mul(elu(input, _SELU_ALPHA), _SELU_SCALE)


@if_inplace
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where it is positive, else negative_slope * input."""
    return apply("leaky_relu", only_floats("leaky_relu", input), value=float(negative_slope))


@if_inplace
def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """input limited to [min_val, max_val]."""
    only_floats("hardtanh", input)
    inside = ew.bitwise_and(ew.gt(input, min_val), ew.lt(input, max_val))
    return ew.where(inside, input, ew.clamp(input, min_val, max_val).detach())


@if_inplace
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """input limited to [0, 6]."""
    return hardtanh(input, 0.0, 6.0)


__all__ = [
    "celu",
    "elu",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "relu",
    "relu6",
    "selu",
    "silu",
    "softplus",
]
