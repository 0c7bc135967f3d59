"""Batch normalisation by statistics of groups of samples."""

from __future__ import annotations

from ...dispatch import apply, apply_all
from ...dtypes import float32, float64
from ...errors import DTypeError, Error, ShapeError
from ...functions import add, cast, mul, permute, rsqrt, sub
from ...functions.creation import ones, zeros
from ...location import user_location
from ...state import StateCell
from ...tensor import Tensor
from ...tracing import current_trace

# Elements of a channel in a sample from which x is read once for both statistics: two numbers for each sample move
# less than x does.
_ONE_PASS = 16


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
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    groups: int | None = None,
) -> Tensor:
    """Batch normalisation of [n, c] or [n, c, ...]; see nn.BatchNorm2d for `groups`."""
    if input.ndim < 2:
        raise ShapeError(
            f"batch_norm takes [n, c] or [n, c, ...], not {list(input.shape)}", user_location()
        )
    if not input.dtype.is_floating_point:
        raise DTypeError(f"batch_norm of {input.dtype!r}; convert with .float()", user_location())
    if momentum is None:
        raise Error(
            "batch_norm: momentum=None (a cumulative average) is not supported: the factor would change every step; "
            "give a number",
            user_location(),
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
    # Beside narrow numbers statistics, weight and bias are float32.
    kept = float64 if input.dtype is float64 else float32
    scale = cast(weight if weight is not None else ones(channels), kept)
    shift = cast(bias if bias is not None else zeros(channels), kept)
    if not training:
        if running_mean is None or running_var is None:
            raise Error(
                "batch_norm: training=False needs running_mean and running_var", user_location()
            )
        # Not bn_apply: its rule ties samples to groups, and the search would rather have devices repeat
        # a small layer than cut its samples.
        factor = mul(scale, rsqrt(cast(running_var, kept) + eps))
        offset = sub(shift, mul(cast(running_mean, kept), factor))
        y = cast(add(mul(cast(x, kept), factor), offset), x.dtype)
    else:
        y = _normalised(x, running_mean, running_var, scale, shift, momentum, eps, groups)
    return permute(y, 0, rank - 1, *range(1, rank - 1))


def _statistics(x: Tensor, count: int, groups: int) -> tuple[Tensor, Tensor]:
    """Of each group and channel of x [n, ..., c]: the mean, and the sum of the squares about it."""
    per_count = 1.0 / max(count, 1)
    of_sample = count * groups // max(x.shape[0], 1)
    if of_sample < _ONE_PASS:
        mean = mul(apply("bn_sum", x, groups=groups), per_count)
        return mean, apply("bn_sq_sum", x, mean, groups=groups)
    sums, squares = apply_all("bn_sample_sums", [x])
    mean = mul(apply("bn_sum", sums, groups=groups), per_count)
    return mean, apply("bn_join_squares", sums, squares, mean, groups=groups, count=of_sample)


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
    batch_mean, squares = _statistics(x, count, count_groups)
    rstd = rsqrt(mul(squares, 1.0 / max(count, 1)) + eps)
    y = apply("bn_apply", x, batch_mean, rstd, scale, shift, groups=count_groups, count=count)
    if running_mean is not None and running_var is not None:
        unbiased = mul(squares, 1.0 / max(count - 1, 1))
        for running, statistics in ((running_mean, batch_mean), (running_var, unbiased)):
            updated = apply(
                "running_update",
                cast(running, statistics.dtype),
                statistics,
                momentum=momentum,
                steps=count_groups,
            )
            running.copy_(cast(updated, running.dtype))
    return y
