"""Losses over classes: cross entropy and negative log likelihood."""

from __future__ import annotations

from ...dispatch import apply_all
from ...dtypes import DType
from ...errors import DTypeError, Error, ShapeError
from ...functions import (
    cast,
    div,
    log,
    log_softmax,
    logical_and,
    mul,
    ne,
    neg,
    permute,
    reshape,
    where,
)
from ...functions import sum as _sum
from ...location import user_location
from ...precision import is_mixed
from ...tensor import Tensor
from .classes import check_indices, is_class, within
from .reduction import reduce_loss, reduction_of


def _classes_last(name: str, input: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """[c] or [n, c, d1, ...] as [rows, c], and the shape of a loss per element: [] or [n, d1, ...]."""
    if input.ndim == 0:
        raise ShapeError(
            f"{name} takes [c] or [n, c, ...], not a tensor without dims", user_location()
        )
    if input.ndim == 1:
        return reshape(input, 1, input.shape[0]), ()
    if input.ndim == 2:
        return input, (input.shape[0],)
    last = permute(input, 0, *range(2, input.ndim), 1)
    return reshape(last, -1, input.shape[1]), last.shape[:-1]


def _check_target(name: str, input: Tensor, target: Tensor, shape: tuple[int, ...]) -> None:
    if target.shape != shape:
        raise ShapeError(
            f"{name} of {list(input.shape)} takes class indices {list(shape)}, not {list(target.shape)}",
            user_location(),
        )


def _check_weight(name: str, weight: Tensor | None, classes: int) -> None:
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(
            f"{name}: the weight has the shape {list(weight.shape)}, there are {classes} classes",
            user_location(),
        )


def _weighted_mean(
    loss: Tensor, keep: Tensor | None, weight: Tensor | None, hits: Tensor | None, dtype: DType
) -> Tensor:
    """sum(loss) over the weights of the elements that count.

    The denominator is a sum over classes of (elements of the class) * weight: the counts depend on the batch
    alone, so under accumulate=k they are known before the loop over micro-batches.
    """
    if weight is not None:
        assert hits is not None
        counts = _sum(cast(hits, dtype), 0)
        return div(_sum(loss), _sum(mul(counts, weight)))
    assert keep is not None
    return div(_sum(loss), _sum(cast(keep, dtype)))


def _of_indices(
    name: str,
    rows: Tensor,
    target: Tensor,
    per_row: Tensor,
    weight: Tensor | None,
    ignore_index: int | None,
    reduction: str,
    shape: tuple[int, ...],
    label_smoothing: float = 0.0,
    lse: Tensor | None = None,
) -> Tensor:
    """The loss from `per_row` = -log_probs[target] of the labels that count; anything of the others. Smoothing needs
    `lse`, what log_probs is less than `rows`."""
    classes = rows.shape[1]
    keep = None if ignore_index is None else ne(target, ignore_index)
    hits = None
    loss = per_row
    if weight is not None:
        hits = is_class(target, classes)
        if keep is not None:
            hits = logical_and(hits, reshape(keep, -1, 1))
        loss = mul(loss, _sum(where(hits, weight, 0.0), 1))
    if label_smoothing:
        assert lse is not None
        wide = cast(rows, lse.dtype)
        if weight is None:
            spread = mul(lse, classes) - _sum(wide, 1)
        else:
            factors = cast(weight, lse.dtype)
            spread = mul(lse, _sum(factors)) - _sum(mul(wide, factors), 1)
        loss = loss * (1 - label_smoothing) + spread * (label_smoothing / classes)
    if keep is not None:
        loss = where(keep, loss, 0.0)
    if reduction == "mean" and (keep is not None or weight is not None):
        return _weighted_mean(loss, keep, weight, hits, loss.dtype)
    return reduce_loss(reshape(loss, *shape) if reduction == "none" else loss, reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int | None = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of logits [c] or [n, c, d1, ...].

    Args:
        target: class indices [] or [n, d1, ...], or probabilities of the logits' shape.
        weight: [c], a factor per class; the mean over indices is divided by the sum of the targets' factors.
        ignore_index: elements with this label have neither loss nor gradient and do not count in the mean, which
            is nan if none counts. None ignores no label and saves counting them, a sum over all devices.
        label_smoothing: in [0, 1], the share of the target that is spread evenly over the classes.

    Over class indices logits of bfloat16 and float16 are read as they are and summed in float32. The loss has their
    dtype, in mixed precision float32.

    Raises ShapeError where shapes do not fit, DataError in a step for a label outside [0, c).
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise Error(f"label_smoothing={label_smoothing} does not lie in [0, 1]", user_location())
    rows, shape = _classes_last("cross_entropy", input)
    classes = rows.shape[1]
    _check_weight("cross_entropy", weight, classes)
    if target.shape == input.shape and target.dtype.is_floating_point:
        if ignore_index is not None and ignore_index >= 0:
            raise Error(
                "ignore_index has no meaning for probabilities as the target", user_location()
            )
        return _of_probabilities(rows, target, weight, label_smoothing, reduction, shape)
    if target.dtype.is_floating_point:
        raise DTypeError(
            f"cross_entropy takes integer class indices, or probabilities of the logits' shape {list(input.shape)}, "
            f"not {target.dtype!r} {list(target.shape)}",
            user_location(),
        )
    _check_target("cross_entropy", input, target, shape)
    labels = reshape(check_indices("cross_entropy", target), -1)
    legal = labels if ignore_index is None else where(ne(labels, ignore_index), labels, 0)
    per_row, lse = apply_all("cross_entropy", [rows, legal])
    loss = _of_indices(
        "cross_entropy",
        rows,
        labels,
        per_row,
        weight,
        ignore_index,
        reduction,
        shape,
        label_smoothing,
        lse,
    )
    return loss if is_mixed() else cast(loss, rows.dtype)


def _of_probabilities(
    rows: Tensor,
    target: Tensor,
    weight: Tensor | None,
    label_smoothing: float,
    reduction: str,
    shape: tuple[int, ...],
) -> Tensor:
    probabilities, _ = _classes_last("cross_entropy", target)
    if label_smoothing:
        probabilities = probabilities * (1 - label_smoothing) + label_smoothing / rows.shape[1]
    terms = mul(log_softmax(rows, 1), probabilities)
    loss = neg(_sum(terms if weight is None else mul(terms, weight), 1))
    # The mean is over the elements, also with weights.
    return reduce_loss(reshape(loss, *shape) if reduction == "none" else loss, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int | None = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-input[target] for log probabilities [c] or [n, c, d1, ...] and class indices [] or [n, d1, ...].

    `weight` and `ignore_index` as in cross_entropy. A label outside [0, c) makes the loss nan, which the step
    reports as a NumericsError.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    rows, shape = _classes_last("nll_loss", input)
    classes = rows.shape[1]
    _check_weight("nll_loss", weight, classes)
    labels = reshape(check_indices("nll_loss", target), -1)
    _check_target("nll_loss", input, target, shape)
    taken = neg(_sum(where(is_class(labels, classes), rows, 0.0), 1))
    # log(1) = 0 where the label is a class, log(-1) = nan where it is none.
    per_row = taken + cast(log(where(within(labels, classes), 1.0, -1.0)), taken.dtype)
    return _of_indices("nll_loss", rows, labels, per_row, weight, ignore_index, reduction, shape)
