"""What PyTorch keeps in nn.utils: parameters as one vector, and gradient clipping, which is part of a step here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import Error, ShapeError
from ..functions import cat, reshape
from ..location import user_location
from ..tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of the parameters one after the other, as a vector."""
    return cat([reshape(parameter, -1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes a vector into the parameters, in the order of parameters_to_vector."""
    members = list(parameters)
    count = sum(parameter.numel() for parameter in members)
    if vec.shape != (count,):
        raise ShapeError(
            f"the vector has the shape {list(vec.shape)}, the parameters have {count} elements",
            user_location(),
        )
    begin = 0
    for parameter in members:
        end = begin + parameter.numel()
        parameter.copy_(reshape(vec[begin:end], *parameter.shape))
        begin = end


def clip_grad_norm_(*args: Any, **kwargs: Any) -> Tensor:
    """Refused: gradients exist inside a train step only."""
    raise Error(
        "clip_grad_norm_: parameters hold no gradients here; clip_norm= of @flow.train_step scales those of a step "
        "before the update",
        user_location(),
    )


def clip_grad_value_(*args: Any, **kwargs: Any) -> None:
    """Refused: gradients exist inside a train step only."""
    raise Error(
        "clip_grad_value_: parameters hold no gradients here; write an optimizer whose update() clamps the gradient",
        user_location(),
    )


__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]
