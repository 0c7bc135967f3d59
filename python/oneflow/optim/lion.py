"""Lion (Chen et al. 2023)."""

from __future__ import annotations

from typing import Any

from ..functions import gt, lt, mul, sub, where
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_betas, check_numbers
from .terms import ascended, decayed, toward


class Lion(Optimizer):
    """Lion: the parameter moves by lr against the sign of an interpolation of momentum and gradient, after
    decoupled weight decay.
    """

    slots = ("exp_avg",)

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        check_numbers(lr=lr, weight_decay=weight_decay)
        check_betas(*betas)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
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
        beta1, beta2 = group["betas"]
        gradient = ascended(gradient, group)
        blend = toward(slots["exp_avg"], gradient, 1 - beta1)
        sign = where(gt(blend, 0.0), 1.0, where(lt(blend, 0.0), -1.0, 0.0))
        new = sub(decayed(parameter, lr, group["weight_decay"]), mul(sign, lr))
        return new, {"exp_avg": toward(slots["exp_avg"], gradient, 1 - beta2)}
