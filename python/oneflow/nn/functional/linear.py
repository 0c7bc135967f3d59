"""Linear maps and look-ups."""

from __future__ import annotations

from ...dispatch import apply
from ...errors import ShapeError
from ...functions import reshape
from ...location import user_location
from ...tensor import Tensor


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
