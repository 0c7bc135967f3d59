"""The loss of sequences whose labels have no places: connectionist temporal classification."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...dispatch import apply_all
from ...dtypes import int64
from ...errors import ShapeError
from ...functions import (
    add,
    cast,
    cat,
    clamp,
    cumsum,
    div,
    eq,
    full,
    index_select,
    reshape,
    sub,
    unsqueeze,
    where,
)
from ...location import user_location
from ...tensor import Tensor
from .classes import check_indices, class_numbers
from .reduction import reduce_loss

_NAME = "ctc_loss"


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int] | int,
    target_lengths: Tensor | Sequence[int] | int,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log probability of each sample's labels, over all ways to write them on its frames (Graves et al.
    2006): each label for one frame or more, blanks anywhere between, and always between two equal labels.

    Args:
        log_probs: [frames, n, classes] or [frames, classes], of log_softmax over the classes, float32 or float64.
            The gradient is that of the loss by the input of that log_softmax, as in PyTorch.
        targets: class indices [n, labels], or those of all samples one behind the other [sum of target_lengths];
            [labels] without samples.
        input_lengths: frames of each sample, [n] integers, a list, or a number without samples.
        target_lengths: labels of each sample, the same.
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its number of labels (at least 1) first.
        zero_infinity: a sample with fewer frames than its labels need has a loss of 0 and no gradient; else inf.

    Raises ShapeError where shapes do not fit, DataError in a step for a label or a length out of range.
    """
    if log_probs.ndim not in (2, 3):
        raise ShapeError(
            f"{_NAME} takes log_probs [frames, n, classes] or [frames, classes], not {list(log_probs.shape)}",
            user_location(),
        )
    batched = log_probs.ndim == 3
    if not batched:
        log_probs = unsqueeze(log_probs, 1)
    samples = log_probs.shape[1]
    frames = _lengths("input_lengths", input_lengths, samples)
    counts = _lengths("target_lengths", target_lengths, samples)
    labels = check_indices(_NAME, targets)
    if not batched and labels.ndim == 1:
        labels = unsqueeze(labels, 0)
    if labels.ndim == 1:
        longest = None
        if not isinstance(target_lengths, Tensor | int):
            longest = int(max(target_lengths, default=0))
        labels = _rows(labels, counts, longest)
    if labels.ndim != 2 or labels.shape[0] != samples:
        raise ShapeError(
            f"{_NAME} takes targets [n, labels], or [sum of target_lengths], for log_probs of {samples} samples, "
            f"not {list(targets.shape)}",
            user_location(),
        )
    loss = apply_all(_NAME, [log_probs, labels, frames, counts], blank=blank)[0]
    if zero_infinity:
        loss = where(eq(loss, math.inf), 0.0, loss)
    if reduction == "mean":
        loss = div(loss, cast(clamp(counts, min=1), loss.dtype))
    loss = reduce_loss(loss, reduction)
    return loss if batched or reduction != "none" else reshape(loss, ())


def _lengths(argument: str, lengths: Tensor | Sequence[int] | int, samples: int) -> Tensor:
    """[n] int64."""
    if isinstance(lengths, Tensor):
        result = reshape(check_indices(_NAME, lengths), -1)
    else:
        numbers = [lengths] if isinstance(lengths, int) else [int(each) for each in lengths]
        if len(set(numbers)) == 1:
            result = full((len(numbers),), numbers[0], dtype=int64)
        else:  # constants of the graph: a captured tensor would be a state
            parts = [full((1,), each, dtype=int64) for each in numbers]
            result = cat(parts) if parts else full((0,), 0, dtype=int64)
    if result.shape != (samples,):
        raise ShapeError(
            f"{_NAME}: {argument} has {result.shape[0]} lengths and log_probs {samples} samples; "
            "each sample needs one",
            user_location(),
        )
    return result


def _rows(labels: Tensor, counts: Tensor, longest: int | None) -> Tensor:
    """Labels that lie one behind the other as [n, longest]; None: lengths are not known before the step."""
    total = labels.shape[0]
    columns = total if longest is None else min(longest, total)
    if columns == 0:
        return full((counts.shape[0], 0), 0, dtype=int64)
    begins = unsqueeze(sub(cumsum(counts, 0), counts), 1)
    places = clamp(add(begins, class_numbers(columns)), min=0, max=total - 1)
    return reshape(index_select(labels, 0, reshape(places, -1)), counts.shape[0], columns)
