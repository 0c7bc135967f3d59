"""RMSprop (Tieleman and Hinton 2012; centered: Graves 2013)."""

from __future__ import annotations

from typing import Any

from ..functions import add, div, mul, sqrt, square, sub
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_numbers, check_ways_to_run
from .terms import ascended, toward, with_l2


class RMSprop(Optimizer):
    """RMSprop as in PyTorch: gradients divided by the root of a running mean of their squares, that of their variance if
    `centered` (Graves 2013)."""

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_numbers(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        check_ways_to_run({"differentiable": differentiable})
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def slots_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if group["momentum"] else ()
        return ("square_avg", *momentum, *(("grad_avg",) if group["centered"] else ()))

    def update(
        self,
        parameter: Tensor,
        gradient: Tensor,
        slots: dict[str, Tensor],
        lr: Tensor,
        step: Tensor,
        group: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        alpha = group["alpha"]
        gradient = with_l2(parameter, ascended(gradient, group), group["weight_decay"])
        squares = add(mul(slots["square_avg"], alpha), mul(square(gradient), 1 - alpha))
        new = {"square_avg": squares}
        variance = squares
        if group["centered"]:
            new["grad_avg"] = toward(slots["grad_avg"], gradient, 1 - alpha)
            variance = sub(squares, square(new["grad_avg"]))
        change = div(gradient, sqrt(variance) + group["eps"])
        if group["momentum"]:
            change = add(mul(slots["momentum_buffer"], group["momentum"]), change)
            new["momentum_buffer"] = change
        return sub(parameter, mul(change, lr)), new
