"""Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

from __future__ import annotations

from typing import Any

from ..dispatch import apply_all
from ..tensor import Tensor
from .optimizer import Optimizer, Params


class AdamW(Optimizer):
    """AdamW as in PyTorch."""

    slots = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
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
        results = apply_all(
            "adamw_update",
            [parameter, gradient, slots["exp_avg"], slots["exp_avg_sq"], lr, step],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )
        return results[0], {"exp_avg": results[1], "exp_avg_sq": results[2]}
