"""Learning rate schedulers with PyTorch's names: `scheduler.step()` writes `param_groups[i]["lr"]` between steps.

The rate is an input of the plan, so no scheduler ever compiles another. As in PyTorch most of them multiply the rate
of now, so that several on one optimizer act together; `optim.lr` has rates as plain functions of the step.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import Error
from ..location import user_location
from .optimizer import Optimizer

Factor = Callable[[int], float]


class LRScheduler:
    """Base: subclasses say how the rate of a group moves to `self.last_epoch`."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise Error(
                f"a scheduler takes a flow.optim.Optimizer, not {type(optimizer).__name__}",
                user_location(),
            )
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            if callable(group["lr"]):
                raise Error(
                    "the optimizer's lr is a function of the step already; give it a number",
                    user_location(),
                )
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise Error(
                    f"last_epoch={last_epoch} needs 'initial_lr' in every group: load the optimizer's state first",
                    user_location(),
                )
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._begin()

    def _begin(self) -> None:
        """The first value: at epoch 0, or where a scheduler is resumed."""
        self._is_first = True
        self.step()
        self._is_first = False

    def rate(self, lr: float, index: int) -> float:
        """The rate of group `index` at `self.last_epoch`, from `lr`, that of the epoch before."""
        raise NotImplementedError

    def rate_at_start(self, lr: float, index: int) -> float:
        """The rate at epoch 0 where a SequentialLR comes to this scheduler."""
        return self.rate(self.base_lrs[index], index)

    def _write(self, rates: Iterable[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]

    def _rates(self, function: Callable[[float, int], float]) -> list[float]:
        return [
            function(float(group["lr"]), i) for i, group in enumerate(self.optimizer.param_groups)
        ]

    def step(self) -> None:
        """Moves on to the next epoch; call it behind the train step."""
        self.last_epoch += 1
        self._write(self._rates(self.rate))

    def restart(self) -> None:
        """Epoch 0 again."""
        self.last_epoch = 0
        self._write(self._rates(self.rate_at_start))

    def get_last_lr(self) -> list[float]:
        """The rates that were set last, one per group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name != "optimizer" and not callable(value)
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict()` gave."""
        self.__dict__.update(state_dict)


def _functions(optimizer: Optimizer, given: Factor | Sequence[Factor]) -> list[Factor]:
    """One function per group."""
    count = len(optimizer.param_groups)
    functions = [given] * count if callable(given) else list(given)
    if len(functions) != count:
        raise Error(f"{len(functions)} functions for {count} groups", user_location())
    return functions


class LambdaLR(LRScheduler):
    """initial_lr * lr_lambda(epoch)."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1
    ) -> None:
        self._functions = _functions(optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, index: int) -> float:
        return self.base_lrs[index] * self._functions[index](self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        return {k: v for k, v in super().state_dict().items() if k != "_functions"}


class MultiplicativeLR(LambdaLR):
    """lr * lr_lambda(epoch)."""

    def rate(self, lr: float, index: int) -> float:
        return lr if self._is_first else lr * self._functions[index](self.last_epoch)

    def rate_at_start(self, lr: float, index: int) -> float:
        return lr * self._functions[index](0)


class StepLR(LRScheduler):
    """lr * gamma every `step_size` epochs."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, index: int) -> float:
        at_step = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return lr * self.gamma if at_step else lr


class MultiStepLR(LRScheduler):
    """lr * gamma at each of `milestones`."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, index: int) -> float:
        return lr * self.gamma ** self.milestones[self.last_epoch]


class ConstantLR(LRScheduler):
    """lr * factor for the first `total_iters` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= factor <= 1:
            raise Error(f"factor={factor} does not lie in [0, 1]", user_location())
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, index: int) -> float:
        if self.last_epoch == 0:
            return lr * self.factor
        return lr / self.factor if self.last_epoch == self.total_iters else lr


class LinearLR(LRScheduler):
    """lr times a factor that goes from start_factor to end_factor in `total_iters` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise Error(
                f"start_factor={start_factor} must lie in (0, 1] and end_factor={end_factor} in [0, 1]",
                user_location(),
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        span = self.end_factor - self.start_factor
        return self.start_factor + span * epoch / self.total_iters

    def rate(self, lr: float, index: int) -> float:
        if self.last_epoch == 0:
            return lr * self.start_factor
        if self._is_first or self.last_epoch > self.total_iters:
            return lr
        return lr * self._factor(self.last_epoch) / self._factor(self.last_epoch - 1)


class ExponentialLR(LRScheduler):
    """lr * gamma every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, index: int) -> float:
        return lr if self._is_first or self.last_epoch == 0 else lr * self.gamma


class PolynomialLR(LRScheduler):
    """lr falls to 0 as (1 - epoch / total_iters) ** power."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, index: int) -> float:
        if self._is_first or self.last_epoch == 0 or self.last_epoch > self.total_iters:
            return lr
        left, before = self.total_iters - self.last_epoch, self.total_iters - self.last_epoch + 1
        return lr * (left / before) ** self.power


class CosineAnnealingLR(LRScheduler):
    """lr follows half a cosine to eta_min in T_max epochs, and back up (Loshchilov and Hutter 2017)."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _height(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * epoch / self.T_max)) / 2

    def rate(self, lr: float, index: int) -> float:
        if self._is_first or self.last_epoch == 0:
            return lr
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            # From the bottom, where a ratio of heights would be 0 / 0.
            return lr + (self.base_lrs[index] - self.eta_min) * self._height(self.last_epoch)
        ratio = self._height(self.last_epoch) / self._height(self.last_epoch - 1)
        return self.eta_min + (lr - self.eta_min) * ratio


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines to eta_min, each T_mult times as long as the one before, the first T_0 epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(T_0, int) or not isinstance(T_mult, int) or T_0 <= 0 or T_mult < 1:
            raise Error(f"T_0={T_0} and T_mult={T_mult} must be positive integers", user_location())
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self.T_i, self.T_cur = T_0, float(last_epoch)
        super().__init__(optimizer, last_epoch)

    def _locate(self, epoch: float) -> None:
        """In which cosine an epoch lies, and where in it."""
        length, begin = self.T_0, 0
        while epoch - begin >= length:
            begin += length
            length *= self.T_mult
        self.T_i, self.T_cur = length, epoch - begin

    def rate(self, lr: float, index: int) -> float:
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return self.eta_min + (self.base_lrs[index] - self.eta_min) * height

    def step(self, epoch: float | None = None) -> None:
        """Moves on to the next epoch, or to any one, also between two."""
        if epoch is None:
            epoch = self.last_epoch + 1 if self.last_epoch >= 0 else 0
        if epoch < 0:
            raise Error(f"epoch={epoch} is negative", user_location())
        self.last_epoch = math.floor(epoch)
        self._locate(epoch)
        self._write(self._rates(self.rate))

    def restart(self) -> None:
        """Back to the first rate of the first period."""
        self.step(0)


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr, then down to that / final_div_factor (Smith and Topin 2018).

    cycle_momentum must be False: a momentum is part of the plan, and one of its own for every step would compile
    a plan for every step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if cycle_momentum:
            raise Error(
                "OneCycleLR: cycle_momentum=True would compile a plan for every step, since a momentum is part of the "
                "plan; pass cycle_momentum=False",
                user_location(),
            )
        if anneal_strategy not in ("cos", "linear"):
            raise Error(f"anneal_strategy={anneal_strategy!r}: 'cos' or 'linear'", user_location())
        if not 0 <= pct_start <= 1:
            raise Error(f"pct_start={pct_start} does not lie in [0, 1]", user_location())
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise Error(
                    "OneCycleLR needs total_steps, or epochs and steps_per_epoch", user_location()
                )
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0:
            raise Error(f"total_steps={total_steps} is not positive", user_location())
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        peaks = list(max_lr) if isinstance(max_lr, (tuple, list)) else None
        groups = optimizer.param_groups
        if peaks is not None and len(peaks) != len(groups):
            raise Error(f"{len(peaks)} values of max_lr for {len(groups)} groups", user_location())
        if last_epoch == -1:
            for i, group in enumerate(groups):
                group["max_lr"] = peaks[i] if peaks is not None else max_lr
                group["initial_lr"] = group["max_lr"] / div_factor
                group["min_lr"] = group["initial_lr"] / final_div_factor
        top = pct_start * total_steps - 1
        # (where a phase ends, the rates at its begin and end)
        self._phases = [(top, "initial_lr", "max_lr")]
        if three_phase:
            self._phases.append((2 * pct_start * total_steps - 2, "max_lr", "initial_lr"))
        self._phases.append((total_steps - 1, self._phases[-1][2], "min_lr"))
        super().__init__(optimizer, last_epoch)

    def rate(self, lr: float, index: int) -> float:
        """The rate of group `index` in the phase of now; Error behind the last step."""
        if self.last_epoch > self.total_steps:
            raise Error(
                f"OneCycleLR: step {self.last_epoch} of a schedule of {self.total_steps} steps",
                user_location(),
            )
        group, begin, place = self.optimizer.param_groups[index], 0.0, 0
        while self.last_epoch > self._phases[place][0] and place + 1 < len(self._phases):
            begin = self._phases[place][0]
            place += 1
        end, first, last = self._phases[place]
        share = (self.last_epoch - begin) / (end - begin)
        start, target = group[first], group[last]
        if self.anneal_strategy == "linear":
            return start + (target - start) * share
        return target + (start - target) * (1 + math.cos(math.pi * share)) / 2


def _check_members(name: str, optimizer: Optimizer, schedulers: Sequence[Any]) -> None:
    if not schedulers:
        raise Error(f"{name} needs a scheduler", user_location())
    for scheduler in schedulers:
        if isinstance(scheduler, ReduceLROnPlateau):
            raise Error(
                f"{name} cannot hold a ReduceLROnPlateau, whose step takes a metric",
                user_location(),
            )
        if scheduler.optimizer is not optimizer:
            raise Error(f"{name}: the schedulers have different optimizers", user_location())


class _Composite(LRScheduler):
    """Holds schedulers, whose states its own contains."""

    _schedulers: list[LRScheduler]

    def state_dict(self) -> dict[str, Any]:
        states = [scheduler.state_dict() for scheduler in self._schedulers]
        return {**super().state_dict(), "_schedulers": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = {name: value for name, value in state_dict.items() if name != "_schedulers"}
        self.__dict__.update(own)
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


def _undo(scheduler: LRScheduler) -> None:
    """As if a scheduler had not begun."""
    if isinstance(scheduler, _Composite):
        for member in scheduler._schedulers:
            _undo(member)
    else:
        scheduler.last_epoch -= 1


class SequentialLR(_Composite):
    """One scheduler after the other: the next one begins at each of `milestones`."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        _check_members("SequentialLR", optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise Error(
                f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} milestones, not "
                f"{len(milestones)}",
                user_location(),
            )
        self.optimizer, self._schedulers = optimizer, list(schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # Each scheduler has set the rate of its own epoch 0 when it was made.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        _undo(self)
        first = self._schedulers[bisect.bisect_right(self._milestones, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """One step of the schedule that is due; at a milestone the next one starts."""
        self.last_epoch += 1
        index = bisect.bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            scheduler.restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Composite):
    """Several schedulers that act together, one `step()` for all."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if not schedulers:
            raise Error("ChainedScheduler needs a scheduler", user_location())
        self.optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        _check_members("ChainedScheduler", self.optimizer, schedulers)
        self._schedulers = list(schedulers)
        self.last_epoch = self._schedulers[0].last_epoch
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]

    def _begin(self) -> None:
        for scheduler in self._schedulers:
            scheduler._begin()
        self._last_lr = self._schedulers[-1].get_last_lr()

    def step(self) -> None:
        """One step of each schedule, in their order."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._schedulers[-1].get_last_lr()

    def restart(self) -> None:
        """All schedules start again."""
        for scheduler in self._schedulers:
            scheduler.restart()
        self._last_lr = self._schedulers[-1].get_last_lr()


class ReduceLROnPlateau(LRScheduler):
    """lr * factor when a metric has not improved for `patience` epochs: `scheduler.step(metric)`."""

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1:
            raise Error(f"factor={factor} must be below 1", user_location())
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise Error(
                f"mode={mode!r}: 'min' or 'max'; threshold_mode={threshold_mode!r}: 'rel' or 'abs'",
                user_location(),
            )
        count = len(optimizer.param_groups)
        self.min_lrs = [float(min_lr)] * count if isinstance(min_lr, (int, float)) else list(min_lr)
        if len(self.min_lrs) != count:
            raise Error(f"{len(self.min_lrs)} values of min_lr for {count} groups", user_location())
        if any(callable(group["lr"]) for group in optimizer.param_groups):
            raise Error(
                "the optimizer's lr is a function of the step already; give it a number",
                user_location(),
            )
        self.optimizer, self.mode, self.factor = optimizer, mode, factor
        self.patience, self.threshold, self.threshold_mode = patience, threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.last_epoch = self.cooldown_counter = self.num_bad_epochs = 0
        self.best = math.inf if mode == "min" else -math.inf
        self._last_lr = [float(group["lr"]) for group in optimizer.param_groups]

    def _is_better(self, metric: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "abs":
            return sign * metric > sign * self.best + self.threshold
        bound = self.best * (1 + sign * self.threshold)
        return metric > bound if sign > 0 else metric < bound

    def step(self, metrics: Any = None) -> None:
        """Takes a metric: a number or a tensor of one element."""
        if metrics is None:
            raise Error("ReduceLROnPlateau.step needs the metric", user_location())
        metric = float(metrics)
        self.last_epoch += 1
        if self._is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        if self.num_bad_epochs > self.patience:
            lower = [
                max(r * self.factor, least) for r, least in zip(rates, self.min_lrs, strict=True)
            ]
            rates = [
                new if old - new > self.eps else old for old, new in zip(rates, lower, strict=True)
            ]
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._write(rates)


__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
