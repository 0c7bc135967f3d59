"""Bar 4: real plans of all ranks in virtual time: whatever the order of events, the same bits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from oneflow import _core
from oneflow.steps.batch import leaves_of

from tests.e2e.layouts import BY_NAME, Run, make_batch

# (model, layout, ranks): rings, uneven shares, 1F1B over devices and over ranks.
PLANS = [
    ("mlp", "dp3", 1),
    ("mlp", "dp2_tp2", 2),
    ("mlp", "pp2_acc4", 1),
    ("mlp", "dp2_pp2_acc4", 2),
    ("resnet", "dp2", 2),
    ("resnet", "pp2_acc4", 2),
]
STEPS = 2


@dataclass
class Case:
    """The plans of a training step with what it is given."""

    plans: list[_core.Plan]
    states: dict[str, np.ndarray]
    inputs: list[list[np.ndarray]]

    def load(self, verify: bool = True) -> _core.VirtualRuntime:
        return _core.VirtualRuntime(self.plans, with_kernels=True, verify=verify)

    def run(self, runtime: _core.VirtualRuntime, seed: int) -> dict[str, Any]:
        return runtime.run(self.states, self.inputs, seed)


def make_case(model: str, layout_name: str, ranks: int, kind: str = "cpu") -> Case:
    """An SGD step with dropout, compiled for every rank, for devices of that kind."""
    layout = BY_NAME[layout_name]
    run = Run(model, layout, dropout=0.1)
    step = run.train_step()
    bound = step._bind((), make_batch(model, layout.batch, 1))
    leaves = leaves_of(bound.arguments)
    program = step._program(bound, leaves, compiled=False)
    mesh = layout.mesh()
    count = mesh.num_devices
    rank_of = [device * ranks // count for device in range(count)]
    target = _core.Target.cpu(ranks=rank_of, threads=1, cores=2, kind=kind)
    plans = [
        _core.compile(
            program.trace.graph,
            target,
            list(mesh.axes),
            list(range(count)),
            layout.accumulate,
            rank,
            ranks,
        ).plan
        for rank in range(ranks)
    ]
    known = {name for plan in plans for name, _, _ in plan.states}
    states = {
        name: np.asarray(cell.read()) for cell, name in program.trace.cells.items() if name in known
    }
    feeds = step._feeds(leaves)
    inputs = [[feeds[name] for name, _, _ in plans[0].inputs]] * STEPS
    return Case(plans, states, inputs)


def bits(result: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Everything that a run computed."""
    outputs = [
        (f"{step}.{name}", value.tobytes())
        for step, values in enumerate(result["outputs"])
        for name, value in sorted(values.items())
    ]
    return outputs + [(name, value.tobytes()) for name, value in sorted(result["states"].items())]


REGISTER = re.compile(
    r"^register r(?P<id>\d+) .* device=(?P<device>\w+) .*slots=(?P<slots>\d+) bytes=(?P<bytes>\d+) "
    r"at=0x(?P<at>[0-9a-f]+) stride=(?P<stride>\d+) t\d+ -> t",
    re.MULTILINE,
)


def with_a_credit_too_many(plan: _core.Plan) -> Iterator[tuple[str, _core.Plan]]:
    """Copies of a plan, each with one more slot for one register and no bytes for it: the slot lies on
    whatever follows in the arena."""
    text = plan.text()
    in_place = set(re.findall(r"in_place_of=r(\d+)", text))
    end: dict[str, int] = {}
    for register in REGISTER.finditer(text):
        last = (
            int(register["at"], 16)
            + (int(register["slots"]) - 1) * int(register["stride"])
            + int(register["bytes"])
        )
        end[register["device"]] = max(end.get(register["device"], 0), last)
    for register in REGISTER.finditer(text):
        slots = int(register["slots"])
        last = int(register["at"], 16) + slots * int(register["stride"]) + int(register["bytes"])
        if "in_place_of" in register[0] or register["id"] in in_place:
            continue
        if last > end[register["device"]]:
            continue
        line = register[0].replace(f" slots={slots} ", f" slots={slots + 1} ")
        changed = text[: register.start()] + line + text[register.end() :]
        yield f"r{register['id']}", _core.Plan.parse_text(changed)
