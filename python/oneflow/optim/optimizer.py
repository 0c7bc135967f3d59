"""Optimizer: parameter groups, hyperparameters, and the states it keeps per parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..dtypes import float32
from ..errors import CheckpointError, Error
from ..initializers import Constant
from ..location import user_location
from ..nn.parameter import Parameter
from ..state import StateCell
from ..tensor import Tensor

Params = Iterable[Parameter] | Iterable[tuple[str, Parameter]] | Iterable[dict[str, Any]]

# What schedulers and names put into a group: no part of a plan.
_OUTSIDE_PLANS = ("params", "param_names", "lr", "initial_lr", "max_lr", "min_lr")
# Arguments of PyTorch that say how to run, not what to compute.
_WAYS_TO_RUN = ("foreach", "fused", "capturable")


def check_numbers(**numbers: float) -> None:
    """Learning rates, decays and the like are not negative; a function of the step is looked at when it is called."""
    for name, value in numbers.items():
        if not callable(value) and not float(value) >= 0:
            raise Error(f"{name}={value} is negative", user_location())


def check_betas(*betas: float) -> None:
    """Decay rates of running averages lie in [0, 1)."""
    for beta in betas:
        if not 0 <= beta < 1:
            raise Error(f"beta {beta} does not lie in [0, 1)", user_location())


def check_ways_to_run(options: Mapping[str, Any]) -> None:
    """PyTorch's foreach=, fused= and capturable= are accepted: updates are always compiled into the step."""
    for name, value in options.items():
        if name in _WAYS_TO_RUN or (name == "differentiable" and not value):
            continue
        if name == "differentiable":
            raise Error("differentiable=True: updates have no gradients here", user_location())
        raise TypeError(f"an optimizer has no argument {name!r}")


class Optimizer:
    """Base: subclasses say which slots a parameter has and write the update in ops.

    `param_groups[i]["lr"]` may be changed between steps, or be a function of the step; it is an input of the plan.
    The other hyperparameters are part of the plan: changing one compiles another.
    """

    # Names of the states per parameter.
    slots: tuple[str, ...] = ()

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.steps = 0
        self._cells: dict[StateCell, dict[str, StateCell]] = {}
        if isinstance(params, Tensor):
            raise Error(
                "an optimizer takes parameters or groups of them, not one tensor; put it into a list",
                user_location(),
            )
        items: list[Any] = list(params)
        if not items:
            raise Error("the optimizer got no parameters", user_location())
        groups = items if isinstance(items[0], dict) else [{"params": items}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """One more group; what it does not say comes from the defaults."""
        group = {**self.defaults, **param_group}
        given = group["params"]
        members = [given] if isinstance(given, Tensor) else list(given)
        if members and isinstance(members[0], tuple):  # named_parameters()
            group["param_names"] = [name for name, _ in members]
            members = [parameter for _, parameter in members]
        group["params"] = members
        seen = {id(p.cell) for other in self.param_groups for p in other["params"]}
        for parameter in members:
            if not isinstance(parameter, Parameter):
                raise Error(
                    f"an optimizer takes nn.Parameter, not {type(parameter).__name__}",
                    user_location(),
                )
            if id(parameter.cell) in seen:
                raise Error("a parameter stands in two groups of one optimizer", user_location())
            seen.add(id(parameter.cell))
        self.param_groups.append(group)

    # States.

    def slots_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The slots that a parameter of this group has."""
        return self.slots

    def slots_for(self, parameter: Parameter, group: dict[str, Any]) -> tuple[str, ...]:
        """The slots of one parameter: those of its group, unless its shape matters."""
        return self.slots_of(group)

    def slot_shape(self, slot: str, parameter: Parameter) -> tuple[int, ...]:
        """The shape of a slot: the parameter's, unless a subclass says otherwise."""
        return parameter.shape

    def slot_value(self, slot: str, group: dict[str, Any]) -> float:
        """What every element of a slot is at first."""
        return 0.0

    def state_cells(self, parameter: Parameter, group: dict[str, Any]) -> dict[str, StateCell]:
        """The states of a parameter, made at the first use."""
        cells = self._cells.setdefault(parameter.cell, {})
        for slot in self.slots_for(parameter, group):
            if slot not in cells:
                shape = self.slot_shape(slot, parameter)
                cells[slot] = StateCell(shape, float32, Constant(self.slot_value(slot, group)))
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

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's form: `state` by the number of the parameter, with handles on the slots and the count of steps
        in `step`, and `param_groups`, whose `params` are numbers. A rate that is a function is left out."""
        numbers: dict[StateCell, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers[parameter.cell] = len(numbers)
            kept = {
                name: value
                for name, value in group.items()
                if name != "params" and not callable(value)
            }
            groups.append({**kept, "params": [numbers[p.cell] for p in group["params"]]})
        state = {
            number: {
                "step": self.steps,
                **{slot: Tensor._of_cell(cell) for slot, cell in self._cells[cell_of].items()},
            }
            for cell_of, number in numbers.items()
            if cell_of in self._cells
        }
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over slots, hyperparameters and the count of steps of a `state_dict()`, ours or PyTorch's."""
        groups = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in groups]
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise CheckpointError(
                f"the state dict has groups of {sizes} parameters, the optimizer of {own}",
                user_location(),
            )
        writes: list[tuple[StateCell, np.ndarray]] = []
        steps = self.steps
        for mine, theirs in zip(self.param_groups, groups, strict=True):
            for parameter, number in zip(mine["params"], theirs["params"], strict=True):
                entry = state_dict["state"].get(number)
                if entry is None:
                    continue
                for slot, cell in self.state_cells(parameter, {**mine, **theirs}).items():
                    if entry.get(slot) is None:
                        raise CheckpointError(
                            f"the state of parameter {number} has no {slot!r}", user_location()
                        )
                    value = np.asarray(entry[slot], dtype=cell.dtype.numpy)
                    if value.shape != cell.shape:
                        raise CheckpointError(
                            f"{slot!r} of parameter {number} has the shape {value.shape}, {cell.shape} is needed",
                            user_location(),
                        )
                    writes.append((cell, value))
                steps = int(entry.get("step", steps))
        for cell, value in writes:
            cell.write(value)
        for mine, theirs in zip(self.param_groups, groups, strict=True):
            known = {name: value for name, value in theirs.items() if name in mine}
            mine.update({name: value for name, value in known.items() if name != "params"})
            if "initial_lr" in theirs:
                mine["initial_lr"] = theirs["initial_lr"]
        self.steps = steps

    # The plan.

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
                (name, value) for name, value in sorted(group.items()) if name not in _OUTSIDE_PLANS
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
        """The new parameter and slots. `lr` is f32[], `step` i64[] and counts from 0."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Always an Error: a step computes its gradients anew."""
        raise Error(
            "there is nothing to zero: a train step computes its gradients anew", user_location()
        )

    def step(self) -> None:
        """Always an Error: the update is part of a `flow.train_step`."""
        raise Error(
            "optimizer.step() is part of a @flow.train_step, which calls the update itself",
            user_location(),
        )

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [
                f"    {name}: {group[name]}"
                for name in sorted(group)
                if name not in ("params", "param_names")
            ]
        return "\n".join([*lines, ")"])
