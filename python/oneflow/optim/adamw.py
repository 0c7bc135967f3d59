"""Adam (Kingma and Ba 2015), and with decoupled weight decay AdamW (Loshchilov and Hutter 2019)."""

from __future__ import annotations

from typing import Any

from ..dispatch import apply_all
from ..functions import add, div, maximum, mul, sqrt, square, sub
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_betas, check_numbers, check_ways_to_run
from .terms import ascended, count_of, decayed, one_minus_power, toward, with_l2


class Adam(Optimizer):
    """Adam as in PyTorch: weight decay is part of the gradient unless decoupled_weight_decay=True (Kingma and
    Ba 2015)."""

    slots = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **ways_to_run: Any,
    ) -> None:
        check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(*betas)
        check_ways_to_run(ways_to_run)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def slots_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        return (*self.slots, "max_exp_avg_sq") if group["amsgrad"] else self.slots

    def update(
        self,
        parameter: Tensor,
        gradient: Tensor,
        slots: dict[str, Tensor],
        lr: Tensor,
        step: Tensor,
        group: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        gradient = ascended(gradient, group)
        decay = group["weight_decay"]
        if not group["decoupled_weight_decay"]:
            gradient, decay = with_l2(parameter, gradient, decay), 0.0
        if group["amsgrad"]:
            return self._with_maximum(parameter, gradient, slots, lr, step, group, decay)
        results = apply_all(
            "adamw_update",
            [parameter, gradient, slots["exp_avg"], slots["exp_avg_sq"], lr, step],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            eps=group["eps"],
            weight_decay=decay,
        )
        return results[0], {"exp_avg": results[1], "exp_avg_sq": results[2]}

    def _with_maximum(
        self,
        parameter: Tensor,
        gradient: Tensor,
        slots: dict[str, Tensor],
        lr: Tensor,
        step: Tensor,
        group: dict[str, Any],
        decay: float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """AMSGrad (Reddi et al. 2018): the second moment never falls."""
        beta1, beta2 = group["betas"]
        count = count_of(step)
        average = toward(slots["exp_avg"], gradient, 1 - beta1)
        squares = add(mul(slots["exp_avg_sq"], beta2), mul(square(gradient), 1 - beta2))
        largest = maximum(slots["max_exp_avg_sq"], squares)
        root = mul(sqrt(largest), div(1.0, sqrt(one_minus_power(beta2, count))))
        change = mul(div(average, root + group["eps"]), div(lr, one_minus_power(beta1, count)))
        new = sub(decayed(parameter, lr, decay), change)
        return new, {"exp_avg": average, "exp_avg_sq": squares, "max_exp_avg_sq": largest}


class AdamW(Adam):
    """AdamW as in PyTorch: the parameter shrinks by lr * weight_decay before the update (Loshchilov and
    Hutter 2019)."""

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **ways_to_run: Any,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
            **ways_to_run,
        )
