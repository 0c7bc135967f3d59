"""Optimizer: parameter groups, hyperparameters, and the states it keeps per parameter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..dtypes import float32
from ..errors import Error
from ..initializers import Constant
from ..location import user_location
from ..nn.parameter import Parameter
from ..state import StateCell
from ..tensor import Tensor

Params = Iterable[Parameter] | Iterable[dict[str, Any]]


class Optimizer:
    """Base: subclasses say which slots a parameter has and write the update in ops.

    `param_groups[i]["lr"]` may be changed between steps, or be a function of the step; it is an input of the plan.
    The other hyperparameters are part of the plan: changing one compiles another.
    """

    # Names of the states per parameter, each of the parameter's shape and zero at first.
    slots: tuple[str, ...] = ()

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.steps = 0
        self._cells: dict[StateCell, dict[str, StateCell]] = {}
        items: list[Any] = list(params)
        if not items:
            raise Error("the optimizer got no parameters", user_location())
        groups = items if isinstance(items[0], dict) else [{"params": items}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """One more group; what it does not say comes from the defaults."""
        group = {**self.defaults, **group}
        group["params"] = (
            [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        )
        seen = {id(p.cell) for other in self.param_groups for p in other["params"]}
        for parameter in group["params"]:
            if not isinstance(parameter, Parameter):
                raise Error(
                    f"an optimizer takes nn.Parameter, not {type(parameter).__name__}",
                    user_location(),
                )
            if id(parameter.cell) in seen:
                raise Error("a parameter stands in two groups of one optimizer", user_location())
            seen.add(id(parameter.cell))
        self.param_groups.append(group)

    def slots_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The slots that a parameter of this group has."""
        return self.slots

    def state_cells(self, parameter: Parameter, group: dict[str, Any]) -> dict[str, StateCell]:
        """The states of a parameter, made at the first use."""
        cells = self._cells.setdefault(parameter.cell, {})
        for slot in self.slots_of(group):
            if slot not in cells:
                cells[slot] = StateCell(parameter.shape, float32, Constant(0.0))
        return cells

    @property
    def state(self) -> dict[Parameter, dict[str, Tensor]]:
        """Handles on the slots by parameter."""
        result = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                cells = self._cells.get(parameter.cell, {})
                result[parameter] = {slot: Tensor._of_cell(cell) for slot, cell in cells.items()}
        return result

    def learning_rates(self) -> list[float]:
        """The rate of each group at the next step."""
        return [
            float(g["lr"](self.steps)) if callable(g["lr"]) else float(g["lr"])
            for g in self.param_groups
        ]

    def key(self) -> tuple[Any, ...]:
        """What of the hyperparameters is part of a plan."""
        return tuple(
            tuple(
                (name, value)
                for name, value in sorted(group.items())
                if name not in ("params", "lr")
            )
            + (tuple(id(p.cell) for p in group["params"]),)
            for group in self.param_groups
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
        """The new parameter and slots."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        raise Error(
            "there is nothing to zero: a train step computes its gradients anew", user_location()
        )

    def step(self) -> None:
        raise Error(
            "optimizer.step() is part of a @flow.train_step, which calls the update itself",
            user_location(),
        )

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])
