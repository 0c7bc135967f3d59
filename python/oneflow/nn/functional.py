"""Functions of neural networks: PyTorch's names and argument order over the op table.

Image ops are defined on channels-last tensors: an [n, c, h, w] tensor is permuted before and after, and the
compiler cancels what meets.
"""

from __future__ import annotations

from typing import Any

from ..dispatch import apply, apply_all
from ..dtypes import int64
from ..errors import DTypeError, Error, ShapeError
from ..functions import (  # noqa: F401
    flatten,
    log_softmax,
    mean,
    mul,
    permute,
    relu,
    reshape,
    rsqrt,
    sigmoid,
    softmax,
    square,
    sub,
    tanh,
)
from ..functions import sum as _sum
from ..functions.creation import ones, zeros
from ..functions.elementwise import cast
from ..location import user_location
from ..random import default_generator, stable_key
from ..state import StateCell
from ..tensor import Tensor
from ..tracing import current_trace


def pair(value: int | tuple[int, ...] | list[int]) -> tuple[int, int]:
    """A size of height and width from one number or two."""
    if isinstance(value, int):
        return (value, value)
    height, width = value
    return (int(height), int(width))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias."""
    if input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: the input {list(input.shape)} has {input.shape[-1] if input.ndim else 'no'} features, "
            f"the weight {list(weight.shape)} takes {weight.shape[1]}",
            user_location(),
        )
    flat = input if input.ndim == 2 else reshape(input, -1, input.shape[-1])
    result = apply("matmul", flat, weight, transpose_a=False, transpose_b=True)
    if bias is not None:
        result = apply("add", result, bias)
    return result if input.ndim == 2 else reshape(result, *input.shape[:-1], weight.shape[0])


def _to_channels_last(input: Tensor, op: str) -> Tensor:
    if input.ndim != 4:
        raise ShapeError(f"{op} takes [n, c, h, w], not {list(input.shape)}", user_location())
    return permute(input, 0, 2, 3, 1)


def _to_channels_first(input: Tensor) -> Tensor:
    return permute(input, 0, 3, 1, 2)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [n, c, h, w] with [out, c / groups, kh, kw]; padding may be 'same' or 'valid'."""
    x = _to_channels_last(input, "conv2d")
    if input.shape[1] != weight.shape[1] * groups:
        raise ShapeError(
            f"conv2d: the input has {input.shape[1]} channels, the weight {list(weight.shape)} with groups={groups} "
            f"takes {weight.shape[1] * groups}",
            user_location(),
        )
    dilation = pair(dilation)
    if padding == "valid":
        padding = 0
    elif padding == "same":
        reach = [dilation[i] * (weight.shape[2 + i] - 1) for i in (0, 1)]
        if pair(stride) != (1, 1) or reach[0] % 2 or reach[1] % 2:
            raise ShapeError("padding='same' needs stride 1 and odd kernels", user_location())
        padding = (reach[0] // 2, reach[1] // 2)
    y = apply(
        "conv2d",
        x,
        weight,
        stride=pair(stride),
        padding=pair(padding),
        dilation=dilation,
        groups=groups,
    )
    if bias is not None:
        y = apply("add", y, bias)
    return _to_channels_first(y)


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The largest element of each window."""
    x = _to_channels_last(input, "max_pool2d")
    stride = kernel_size if stride is None else stride
    y = apply("max_pool2d", x, kernel=pair(kernel_size), stride=pair(stride), padding=pair(padding))
    return _to_channels_first(y)


def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean of each window, padding counted as zeros."""
    x = _to_channels_last(input, "avg_pool2d")
    stride = kernel_size if stride is None else stride
    y = apply("avg_pool2d", x, kernel=pair(kernel_size), stride=pair(stride), padding=pair(padding))
    return _to_channels_first(y)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means over equal windows that give `output_size`, which must divide height and width."""
    height, width = pair(output_size)
    if input.ndim != 4 or input.shape[2] % height or input.shape[3] % width:
        raise ShapeError(
            f"adaptive_avg_pool2d: {(height, width)} must divide the height and width of {list(input.shape)}",
            user_location(),
        )
    if (height, width) == (1, 1):
        return mean(input, (2, 3), keepdim=True)
    window = (input.shape[2] // height, input.shape[3] // width)
    return avg_pool2d(input, window, window)


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


def _groups_of(groups: int | None) -> int:
    trace = current_trace()
    if groups is not None:
        return groups
    return trace.accumulate if trace is not None else 1


def count_batches(counter: Tensor, groups: int | None) -> None:
    """Adds the batches of this call to num_batches_tracked, on the host."""
    trace = current_trace()
    cell = counter._source
    assert isinstance(cell, StateCell)
    if trace is None:
        counter.copy_(counter.numpy() + _groups_of(groups))
    else:
        trace.host_updates[cell] = trace.host_updates.get(cell, 0) + _groups_of(groups)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    groups: int | None = None,
) -> Tensor:
    """Batch normalisation of [n, c] or [n, c, ...]; see nn.BatchNorm2d for `groups`."""
    if input.ndim < 2:
        raise ShapeError(
            f"batch_norm takes [n, c] or [n, c, ...], not {list(input.shape)}", user_location()
        )
    channels = input.shape[1]
    for name, value in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        if value is not None and value.shape != (channels,):
            raise ShapeError(
                f"batch_norm: the input {list(input.shape)} has {channels} channels, {name} has the shape "
                f"{list(value.shape)}",
                user_location(),
            )
    # The op's channels stand last: [n, c, ...] -> [n, ..., c] and back.
    rank = input.ndim
    x = permute(input, 0, *range(2, rank), 1)
    scale = weight if weight is not None else ones(channels)
    shift = bias if bias is not None else zeros(channels)
    if not training:
        if running_mean is None or running_var is None:
            raise Error(
                "batch_norm: training=False needs running_mean and running_var", user_location()
            )
        factor = mul(scale, rsqrt(running_var + eps))
        y = apply("add", apply("mul", x, factor), sub(shift, mul(running_mean, factor)))
    else:
        y = _normalised(x, running_mean, running_var, scale, shift, momentum, eps, groups)
    return permute(y, 0, rank - 1, *range(1, rank - 1))


def _normalised(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    momentum: float,
    eps: float,
    groups: int | None,
) -> Tensor:
    """batch_norm of [n, ..., c] by the statistics of each group of samples, which the running ones follow."""
    count_groups = _groups_of(groups)
    if x.shape[0] % count_groups:
        raise ShapeError(
            f"batch_norm: {count_groups} groups must divide {x.shape[0]} samples",
            user_location(),
        )
    count = x.numel() // max(x.shape[-1], 1) // count_groups
    if count == 1:
        raise ShapeError(
            f"batch_norm: one value per channel and group ({x.shape[0]} samples, {count_groups} groups) has no "
            "variance; use a larger batch, or eval()",
            user_location(),
        )
    batch_mean = mul(apply("bn_sum", x, groups=count_groups), 1.0 / max(count, 1))
    squares = apply("bn_sq_sum", x, batch_mean, groups=count_groups)
    rstd = rsqrt(mul(squares, 1.0 / max(count, 1)) + eps)
    y = apply("bn_apply", x, batch_mean, rstd, scale, shift, groups=count_groups, count=count)
    if running_mean is not None and running_var is not None:
        unbiased = mul(squares, 1.0 / max(count - 1, 1))
        for running, statistics in ((running_mean, batch_mean), (running_var, unbiased)):
            running.copy_(
                apply("running_update", running, statistics, momentum=momentum, steps=count_groups)
            )
    return y


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return _sum(loss)
    if reduction == "none":
        return loss
    raise ShapeError(f"reduction={reduction!r}: 'mean', 'sum' or 'none'", user_location())


def cross_entropy(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """-log softmax(input)[target] for logits [n, c] and class indices [n]."""
    if input.ndim != 2 or target.ndim != 1 or input.shape[0] != target.shape[0]:
        raise ShapeError(
            f"cross_entropy takes logits [n, c] and class indices [n], not {list(input.shape)} and "
            f"{list(target.shape)}",
            user_location(),
        )
    if target.dtype.is_floating_point:
        raise DTypeError(
            f"cross_entropy takes integer class indices, not {target.dtype!r}", user_location()
        )
    return _reduce(apply_all("cross_entropy", [input, cast(target, int64)])[0], reduction)


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """Mean of the squared difference."""
    return _reduce(square(sub(input, target)), reduction)
