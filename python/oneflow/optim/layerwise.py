"""Rates per layer from norms: LAMB (You et al. 2020) and LARS (You et al. 2017)."""

from __future__ import annotations

from typing import Any

from ..errors import Error
from ..functions import add, div, gt, logical_and, lt, mul, sqrt, square, sub, where
from ..location import user_location
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_betas, check_numbers
from .terms import ascended, count_of, norm, one_minus_power, toward


def _ratio(numerator: Tensor, denominator: Tensor, parameter: Tensor, change: Tensor) -> Tensor:
    """numerator / denominator; 1 where the parameter or its change is zero."""
    usable = logical_and(gt(parameter, 0.0), gt(change, 0.0))
    return where(usable, div(numerator, where(usable, denominator, 1.0)), 1.0)


class LAMB(Optimizer):
    """LAMB: Adam's step r = m / (sqrt(v) + eps) + weight_decay * p, scaled by |p| / |r| per parameter.

    Moments are bias-corrected, norms are not clipped (phi is the identity); weight decay is decoupled.
    """

    slots = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(*betas)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
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
        beta1, beta2 = group["betas"]
        gradient, count = ascended(gradient, group), count_of(step)
        average = toward(slots["exp_avg"], gradient, 1 - beta1)
        squares = add(mul(slots["exp_avg_sq"], beta2), mul(square(gradient), 1 - beta2))
        root = mul(sqrt(squares), div(1.0, sqrt(one_minus_power(beta2, count))))
        change = mul(div(average, root + group["eps"]), div(1.0, one_minus_power(beta1, count)))
        if group["weight_decay"]:
            change = add(change, mul(parameter, group["weight_decay"]))
        size, length = norm(parameter), norm(change)
        trust = _ratio(size, length, size, length)
        new = sub(parameter, mul(change, mul(lr, trust)))
        return new, {"exp_avg": average, "exp_avg_sq": squares}


class LARS(Optimizer):
    """LARS: SGD whose gradient g + weight_decay * p is scaled per parameter by
    trust_coefficient * |p| / (|g| + weight_decay * |p| + eps).
    """

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        trust_coefficient: float = 1e-3,
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check_numbers(lr=lr, momentum=momentum, weight_decay=weight_decay, eps=eps)
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
                "trust_coefficient": trust_coefficient,
                "eps": eps,
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
        decay, momentum = group["weight_decay"], group["momentum"]
        gradient = ascended(gradient, group)
        size, slope = norm(parameter), norm(gradient)
        trust = _ratio(
            size * group["trust_coefficient"], slope + size * decay + group["eps"], size, slope
        )
        scaled = mul(add(gradient, mul(parameter, decay)) if decay else gradient, trust)
        if not momentum:
            return sub(parameter, mul(scaled, lr)), {}
        # As in SGD the first buffer is the gradient itself, whatever the dampening.
        first = lt(count_of(step), 1.5)
        share = where(first, 1.0, 1.0 - group["dampening"])
        buffer = add(mul(slots["momentum_buffer"], momentum), mul(scaled, share))
        change = add(scaled, mul(buffer, momentum)) if group["nesterov"] else buffer
        return sub(parameter, mul(change, lr)), {"momentum_buffer": buffer}
