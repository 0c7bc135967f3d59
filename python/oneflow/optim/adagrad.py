"""Adagrad (Duchi et al. 2011) and Adadelta (Zeiler 2012)."""

from __future__ import annotations

from typing import Any

from ..functions import add, div, mul, sqrt, square, sub
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_betas, check_numbers, check_ways_to_run
from .terms import ascended, count_of, with_l2


class Adagrad(Optimizer):
    """Adagrad as in PyTorch: gradients divided by the root of the sum of all their squares (Duchi et al. 2011)."""

    slots = ("sum",)

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        **ways_to_run: Any,
    ) -> None:
        check_numbers(
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )
        check_ways_to_run(ways_to_run)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def slot_value(self, slot: str, group: dict[str, Any]) -> float:
        return group["initial_accumulator_value"]

    def update(
        self,
        parameter: Tensor,
        gradient: Tensor,
        slots: dict[str, Tensor],
        lr: Tensor,
        step: Tensor,
        group: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        gradient = with_l2(parameter, ascended(gradient, group), group["weight_decay"])
        rate = lr
        if group["lr_decay"]:
            rate = div(lr, (count_of(step) - 1.0) * group["lr_decay"] + 1.0)
        total = add(slots["sum"], square(gradient))
        change = div(gradient, sqrt(total) + group["eps"])
        return sub(parameter, mul(change, rate)), {"sum": total}


class Adadelta(Optimizer):
    """Adadelta as in PyTorch: steps of the size of a running mean of earlier steps (Zeiler 2012)."""

    slots = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Params,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        **ways_to_run: Any,
    ) -> None:
        check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(rho)
        check_ways_to_run(ways_to_run)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )

    def update(
        self,
        parameter: Tensor,
        gradient: Tensor,
        slots: dict[str, Tensor],
        lr: Tensor,
        step: Tensor,
        group: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rho, eps = group["rho"], group["eps"]
        gradient = with_l2(parameter, ascended(gradient, group), group["weight_decay"])
        squares = add(mul(slots["square_avg"], rho), mul(square(gradient), 1 - rho))
        scale = div(sqrt(slots["acc_delta"] + eps), sqrt(squares + eps))
        change = mul(gradient, scale)
        changes = add(mul(slots["acc_delta"], rho), mul(square(change), 1 - rho))
        return sub(parameter, mul(change, lr)), {"square_avg": squares, "acc_delta": changes}
