"""Adafactor (Shazeer and Stern 2018)."""

from __future__ import annotations

from typing import Any

from ..errors import Error
from ..functions import add, div, maximum, mean, minimum, mul, rsqrt, square, sub
from ..location import user_location
from ..nn.parameter import Parameter
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_numbers, check_ways_to_run
from .terms import ascended, count_of, decayed, norm

# The distance from 1 to the next float32: PyTorch's eps[0].
_FLOAT32_EPS = 1.1920928955078125e-07


class Adafactor(Optimizer):
    """Adafactor as in PyTorch: the second moment of the last two dims is kept as a row and a column.

    eps = (least second moment's root, least scale of a parameter); d clips an update's root mean square.
    """

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_numbers(lr=lr, weight_decay=weight_decay, eps=eps[1])
        check_ways_to_run({"foreach": foreach})
        if beta2_decay > 0:
            raise Error(f"beta2_decay={beta2_decay} is positive", user_location())
        if d < 1:
            raise Error(f"d={d} is below 1", user_location())
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": tuple(eps),
                "d": d,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def slots_for(self, parameter: Parameter, group: dict[str, Any]) -> tuple[str, ...]:
        return ("row_var", "col_var") if parameter.ndim > 1 else ("variance",)

    def slot_shape(self, slot: str, parameter: Parameter) -> tuple[int, ...]:
        shape = parameter.shape
        if slot == "row_var":
            return (*shape[:-1], 1)
        if slot == "col_var":
            return (*shape[:-2], 1, *shape[-1:])
        return shape

    def update(
        self,
        parameter: Tensor,
        gradient: Tensor,
        slots: dict[str, Tensor],
        lr: Tensor,
        step: Tensor,
        group: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        least = _FLOAT32_EPS if group["eps"][0] is None else group["eps"][0]
        gradient, count = ascended(gradient, group), count_of(step)
        share = count ** float(group["beta2_decay"]) if group["beta2_decay"] else 1.0
        root = parameter.numel() ** 0.5
        scale = maximum(norm(parameter) * (1 / root), group["eps"][1])
        rate = mul(scale, minimum(lr, rsqrt(count)))
        squares = square(gradient)

        def moved(slot: str, value: Tensor) -> Tensor:
            return add(slots[slot], mul(sub(value, slots[slot]), share))

        if parameter.ndim > 1:
            rows = moved("row_var", mean(squares, -1, keepdim=True))
            columns = moved("col_var", mean(squares, -2, keepdim=True))
            new = {"row_var": rows, "col_var": columns}
            typical = maximum(mean(rows, -2, keepdim=True), least)
            variance = div(mul(rows, columns), typical)
        else:
            variance = moved("variance", squares)
            new = {"variance": variance}
        change = mul(rsqrt(maximum(variance, least * least)), gradient)
        clipped = maximum(norm(change) * (1 / (root * group["d"])), 1.0)
        kept = decayed(parameter, lr, group["weight_decay"])
        return sub(kept, mul(change, div(rate, clipped))), new
