"""Variants of Adam: Adamax (Kingma and Ba 2015), NAdam (Dozat 2016), RAdam (Liu et al. 2020)."""

from __future__ import annotations

import math
from typing import Any

from ..functions import abs, add, div, gt, lt, maximum, mul, sqrt, square, sub, where
from ..nn.parameter import Parameter
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_betas, check_numbers, check_ways_to_run
from .terms import ascended, count_of, decayed, one_minus_power, power, toward, with_l2


class Adamax(Optimizer):
    """Adamax as in PyTorch: Adam with the largest gradient in place of the second moment (Kingma and Ba 2015)."""

    slots = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Params,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
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
        gradient = with_l2(parameter, ascended(gradient, group), group["weight_decay"])
        average = toward(slots["exp_avg"], gradient, 1 - beta1)
        largest = maximum(mul(slots["exp_inf"], beta2), abs(gradient) + group["eps"])
        rate = div(lr, one_minus_power(beta1, count_of(step)))
        change = mul(div(average, largest), rate)
        return sub(parameter, change), {"exp_avg": average, "exp_inf": largest}


class NAdam(Optimizer):
    """NAdam as in PyTorch: Adam with Nesterov's momentum, whose factors grow over the steps (Dozat 2016)."""

    slots = ("mu_product", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **ways_to_run: Any,
    ) -> None:
        check_numbers(lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        check_betas(*betas)
        check_ways_to_run(ways_to_run)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def slot_shape(self, slot: str, parameter: Parameter) -> tuple[int, ...]:
        return () if slot == "mu_product" else parameter.shape

    def slot_value(self, slot: str, group: dict[str, Any]) -> float:
        return 1.0 if slot == "mu_product" else 0.0

    def update(
        self,
        parameter: Tensor,
        gradient: Tensor,
        slots: dict[str, Tensor],
        lr: Tensor,
        step: Tensor,
        group: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        (beta1, beta2), decay = group["betas"], group["momentum_decay"]
        gradient = ascended(gradient, group)
        if group["decoupled_weight_decay"]:
            parameter = decayed(parameter, lr, group["weight_decay"])
        else:
            gradient = with_l2(parameter, gradient, group["weight_decay"])
        count = count_of(step)

        def momentum_at(at: Tensor) -> Tensor:
            return (1.0 - power(0.96, at * decay) * 0.5) * beta1

        mu, following = momentum_at(count), momentum_at(count + 1.0)
        product = mul(slots["mu_product"], mu)
        average = toward(slots["exp_avg"], gradient, 1 - beta1)
        squares = add(mul(slots["exp_avg_sq"], beta2), mul(square(gradient), 1 - beta2))
        root = mul(sqrt(squares), div(1.0, sqrt(one_minus_power(beta2, count)))) + group["eps"]
        now = mul(lr, div(1.0 - mu, 1.0 - product))
        then = mul(lr, div(following, 1.0 - mul(product, following)))
        change = div(add(mul(gradient, now), mul(average, then)), root)
        new = {"mu_product": product, "exp_avg": average, "exp_avg_sq": squares}
        return sub(parameter, change), new


class RAdam(Optimizer):
    """RAdam as in PyTorch: momentum alone until the variance of the second moment can be rectified (Liu et al.
    2020)."""

    slots = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
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
                "decoupled_weight_decay": decoupled_weight_decay,
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
        if group["decoupled_weight_decay"]:
            parameter = decayed(parameter, lr, group["weight_decay"])
        else:
            gradient = with_l2(parameter, gradient, group["weight_decay"])
        count = count_of(step)
        average = toward(slots["exp_avg"], gradient, 1 - beta1)
        squares = add(mul(slots["exp_avg_sq"], beta2), mul(square(gradient), 1 - beta2))
        corrected = div(average, one_minus_power(beta1, count))
        adaptive = div(sqrt(one_minus_power(beta2, count)), sqrt(squares) + group["eps"])
        length = _length(beta2, count)
        factor = where(gt(length, 5.0), mul(_rectification(beta2, length), adaptive), 1.0)
        new = sub(parameter, mul(mul(corrected, lr), factor))
        return new, {"exp_avg": average, "exp_avg_sq": squares}


def _longest(beta2: float) -> float:
    return 2 / (1 - beta2) - 1


def _length(beta2: float, count: Tensor) -> Tensor:
    """rho_t = rho - 2 t beta2^t / (1 - beta2^t), the length of the average's memory after t updates.

    Both terms are near 2 / (1 - beta2) at first, so for x = -t log(beta2) < 1 it is summed up as a series of
    x / (exp(x) - 1) = 1 - x / 2 + x^2 / 12 - x^4 / 720 + ..., whose large terms cancel exactly.
    """
    rate = -math.log(beta2) if beta2 > 0 else math.inf
    if not math.isfinite(rate):
        return count * 0.0 + _longest(beta2)
    x = count * rate
    squared = square(x)
    tail = mul(squared, 1 / 12 - mul(squared, 1 / 720 - squared * (1 / 30240)))
    tail = sub(tail, mul(square(square(squared)), 1 / 1209600))
    near = (_longest(beta2) - 2 / rate) + count - tail * (2 / rate)
    grown = one_minus_power(beta2, count)
    far = _longest(beta2) - div(mul(count * 2.0, 1.0 - grown), grown)
    return where(lt(x, 1.0), near, far)


def _rectification(beta2: float, length: Tensor) -> Tensor:
    longest = _longest(beta2)
    # The root of the side that is not taken: at most 5 there.
    bounded = maximum(length, 5.0)
    upper = mul(mul(bounded - 4.0, bounded - 2.0), longest)
    return sqrt(div(upper, bounded * ((longest - 4) * (longest - 2))))
