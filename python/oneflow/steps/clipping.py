"""Clipping by the norm of all gradients together."""

from __future__ import annotations

from ..dtypes import float32
from ..functions.elementwise import cast, maximum, sqrt, square
from ..functions.reductions import sum as sum_of
from ..tensor import Tensor


def clip_by_norm(gradients: list[Tensor], clip_norm: float) -> tuple[list[Tensor], Tensor]:
    """(gradients scaled so that their norm is at most `clip_norm`, the norm before), as
    torch.nn.utils.clip_grad_norm_: the factor is clip_norm / (norm + 1e-6), at most 1."""
    total = sum_of(square(cast(gradients[0], float32)))
    for gradient in gradients[1:]:
        total = total + sum_of(square(cast(gradient, float32)))
    norm = sqrt(total)
    # clip_norm / max(norm + 1e-6, clip_norm): no branch, and 1 at most.
    factor = clip_norm / maximum(norm + 1e-6, clip_norm)
    return [cast(gradient * factor, gradient.dtype) for gradient in gradients], norm
