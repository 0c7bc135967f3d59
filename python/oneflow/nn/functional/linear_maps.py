"""Linear and bilinear maps."""

from __future__ import annotations

from ...dispatch import apply
from ...errors import ShapeError
from ...functions import add, cast, matmul, mul, permute, reshape, unsqueeze
from ...functions import sum as _sum
from ...location import user_location
from ...tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: [..., k], [m, k] and [m] -> [..., m]."""
    if weight.ndim != 2:
        raise ShapeError(
            f"linear takes a weight [out, in], not {list(weight.shape)}", user_location()
        )
    if input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: the input {list(input.shape)} has {input.shape[-1] if input.ndim else 'no'} features, "
            f"the weight {list(weight.shape)} takes {weight.shape[1]}",
            user_location(),
        )
    flat = input if input.ndim == 2 else reshape(input, -1, input.shape[-1])
    result = apply("matmul", flat, weight, transpose_a=False, transpose_b=True)
    if bias is not None:
        result = apply("add", result, cast(bias, result.dtype))
    return result if input.ndim == 2 else reshape(result, *input.shape[:-1], weight.shape[0])


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 @ weight[o] @ input2 + bias[o] for each o: [..., a], [..., b], [o, a, b] -> [..., o]."""
    if (
        weight.ndim != 3
        or input1.shape[:-1] != input2.shape[:-1]
        or (input1.shape[-1:], input2.shape[-1:]) != (weight.shape[1:2], weight.shape[2:])
    ):
        raise ShapeError(
            f"bilinear takes [..., a], [..., b] and [o, a, b], not {list(input1.shape)}, {list(input2.shape)} and "
            f"{list(weight.shape)}",
            user_location(),
        )
    out, a, b = weight.shape
    columns = reshape(permute(weight, 1, 0, 2), a, out * b)
    rows = reshape(matmul(input1, columns), *input1.shape[:-1], out, b)
    result = _sum(mul(rows, unsqueeze(input2, -2)), -1)
    return result if bias is None else add(result, bias)
