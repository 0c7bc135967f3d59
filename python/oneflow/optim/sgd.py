"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from ..dispatch import apply_all
from ..errors import Error
from ..location import user_location
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_numbers, check_ways_to_run
from .terms import ascended


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
        *,
        maximize: bool = False,
        **ways_to_run: Any,
    ) -> None:
        check_numbers(lr=lr, momentum=momentum, weight_decay=weight_decay)
        check_ways_to_run(ways_to_run)
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
                "maximize": maximize,
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
            [parameter, ascended(gradient, group), lr, step, *slots.values()],
            **{name: group[name] for name in ("momentum", "dampening", "weight_decay", "nesterov")},
        )
        return results[0], dict(zip(slots, results[1:], strict=True))
