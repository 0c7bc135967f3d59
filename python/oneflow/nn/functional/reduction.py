"""How a loss per element becomes a number. Means are over the logical batch, whatever the cut."""

from __future__ import annotations

from ...errors import Error, ShapeError
from ...functions import mean
from ...functions import sum as _sum
from ...location import user_location
from ...tensor import Tensor


def reduction_of(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """PyTorch's older arguments `size_average` and `reduce` win over `reduction` where they are given."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """The loss itself for "none", its sum, or its mean over all elements."""
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return _sum(loss)
    if reduction == "none":
        return loss
    raise Error(f"reduction={reduction!r}: 'mean', 'sum' or 'none'", user_location())


def check_same_shape(name: str, input: Tensor, target: Tensor) -> None:
    """PyTorch broadcasts some of these with a warning, which hides [n] beside [n, 1]; here it is an error."""
    if input.shape != target.shape:
        raise ShapeError(
            f"{name} takes an input and a target of one shape, not {list(input.shape)} and {list(target.shape)}; "
            "reshape or expand one of them",
            user_location(),
        )
