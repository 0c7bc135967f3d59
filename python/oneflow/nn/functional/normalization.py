"""Normalisation of each sample by its own statistics."""

from __future__ import annotations

from collections.abc import Sequence

from ...dispatch import apply
from ...dtypes import float64
from ...errors import Error, ShapeError
from ...functions import add, mean, mul, narrow, reshape, rsqrt, square, sub
from ...functions import pow as _pow
from ...functions.activations import only_floats
from ...location import user_location
from ...tensor import Tensor
from .padding import pad

# The distance from 1 to the next float32: PyTorch's eps of rms_norm.
_FLOAT32_EPS = 1.1920928955078125e-07
_FLOAT64_EPS = 2.0**-52


def standardized(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) over `dims`, with the variance of the elements themselves (no correction)."""
    centered = sub(x, mean(x, dims, keepdim=True))
    return mul(centered, rsqrt(mean(square(centered), dims, keepdim=True) + eps))


def _trailing(name: str, input: Tensor, normalized_shape: Sequence[int] | int) -> tuple[int, ...]:
    """The dims that `normalized_shape` names: the last ones."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"{name}: the input {list(input.shape)} does not end in normalized_shape={list(shape)}",
            user_location(),
        )
    return tuple(range(input.ndim - len(shape), input.ndim))


def _check_affine(name: str, shape: tuple[int, ...], **given: Tensor | None) -> None:
    for key, value in given.items():
        if value is not None and value.shape != shape:
            raise ShapeError(
                f"{name}: {key} has the shape {list(value.shape)}, {list(shape)} is needed",
                user_location(),
            )


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        y = mul(y, weight)
    return y if bias is None else add(y, bias)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int] | int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Zero mean and unit variance over the last dims, which are `normalized_shape`, then weight and bias of it."""
    dims = _trailing("layer_norm", input, normalized_shape)
    _check_affine("layer_norm", input.shape[dims[0] :], weight=weight, bias=bias)
    if weight is None:
        return _affine(apply("layer_norm", input, dims=len(dims), eps=float(eps)), None, bias)
    affine = [weight] if bias is None else [weight, bias]
    return apply("layer_norm", input, *affine, dims=len(dims), eps=float(eps))


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int] | int,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """input / sqrt(mean of its squares + eps) over the last dims; eps is by default float32's
    (1.19e-7), of float64 that type's own."""
    if eps is None:
        eps = _FLOAT64_EPS if input.dtype is float64 else _FLOAT32_EPS
    dims = _trailing("rms_norm", input, normalized_shape)
    _check_affine("rms_norm", input.shape[dims[0] :], weight=weight)
    affine = [] if weight is None else [weight]
    return apply("rms_norm", input, *affine, dims=len(dims), eps=float(eps))


def _per_channel(value: Tensor | None, rank: int) -> Tensor | None:
    """[c] as it stands beside [n, c, ...] with `rank` dims."""
    return None if value is None else reshape(value, value.shape[0], *(1,) * (rank - 2))


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Zero mean and unit variance per sample over each of `num_groups` groups of the channels of [n, c, ...]."""
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm takes [n, c, ...] with channels that {num_groups} groups divide, not {list(input.shape)}",
            user_location(),
        )
    n, channels, *rest = input.shape
    _check_affine("group_norm", (channels,), weight=weight, bias=bias)
    x = reshape(input, n, num_groups, channels // num_groups, *rest)
    y = reshape(standardized(x, tuple(range(2, x.ndim)), eps), *input.shape)
    return _affine(y, _per_channel(weight, input.ndim), _per_channel(bias, input.ndim))


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Zero mean and unit variance per sample and channel of [n, c, ...].

    Running statistics, where given, move towards the means over the batch of the samples' means and unbiased
    variances; with use_input_stats=False they are used instead of the input's.
    """
    if input.ndim < 3:
        raise ShapeError(
            f"instance_norm takes [n, c, ...], not {list(input.shape)}", user_location()
        )
    channels = input.shape[1]
    _check_affine(
        "instance_norm",
        (channels,),
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
    )
    dims = tuple(range(2, input.ndim))
    rank = input.ndim
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise Error(
                "instance_norm: use_input_stats=False needs running_mean and running_var",
                user_location(),
            )
        center, scale = _per_channel(running_mean, rank), _per_channel(running_var, rank)
        assert center is not None and scale is not None
        y = mul(sub(input, center), rsqrt(scale + eps))
        return _affine(y, _per_channel(weight, rank), _per_channel(bias, rank))
    count = 1
    for extent in input.shape[2:]:
        count *= extent
    if count == 1:
        raise ShapeError(
            f"instance_norm: one value per sample and channel ({list(input.shape)}) has no variance",
            user_location(),
        )
    if running_mean is not None and running_var is not None:
        means = mean(input, dims)
        centered = sub(input, mean(input, dims, keepdim=True))
        unbiased = mean(square(centered), dims) * (count / (count - 1))
        for running, statistics in ((running_mean, means), (running_var, unbiased)):
            new = mean(statistics, 0) * momentum + running * (1 - momentum)
            running.copy_(new)
    y = standardized(input, dims, eps)
    return _affine(y, _per_channel(weight, rank), _per_channel(bias, rank))


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """input / (k + alpha * mean of squares over `size` neighbouring channels) ** beta, for [n, c, ...]."""
    only_floats("local_response_norm", input)
    if input.ndim < 3:
        raise ShapeError(
            f"local_response_norm takes [n, c, ...], not {list(input.shape)}", user_location()
        )
    squares = square(input)
    around = [0, 0] * (input.ndim - 2) + [size // 2, (size - 1) // 2]
    padded = pad(squares, around)
    total = narrow(padded, 1, 0, input.shape[1])
    for i in range(1, size):
        total = add(total, narrow(padded, 1, i, input.shape[1]))
    return mul(input, _pow(total * (alpha / size) + k, -float(beta)))
