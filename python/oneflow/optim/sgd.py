"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from ..dispatch import apply_all
from ..errors import Error
from ..location import user_location
from ..tensor import Tensor
from .optimizer import Optimizer, Params


class SGD(Optimizer):
    """SGD with momentum, dampening, weight decay and Nesterov's variant, as in PyTorch."""

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise Error("Nesterov momentum needs a momentum and no dampening", user_location())
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )

    def slots_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

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
            "sgd_update",
            [parameter, gradient, lr, step, *slots.values()],
            **{name: group[name] for name in ("momentum", "dampening", "weight_decay", "nesterov")},
        )
        return results[0], dict(zip(slots, results[1:], strict=True))
