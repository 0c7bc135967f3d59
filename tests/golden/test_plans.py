"""The plans of a small network, as text: a change of the compiler shows here, and its commit says why.

The devices are null devices: no kernel of theirs depends on the instruction set, so the plan is the same
on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

LAYOUTS: dict[str, tuple[dict[str, int], int]] = {
    "dp2": ({"dp": 2}, 1),
    "tp2": ({"tp": 2}, 1),
    "pp2_acc2": ({"pp": 2}, 2),
}


class Mlp(nn.Module):
    """Two layers, the second on the last stage."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(16, 32)
        self.fc2 = nn.Linear(32, 4)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        with flow.stage(0):
            hidden = F.relu(self.fc1(x))
        with flow.stage(1):
            return self.fc2(hidden)


@pytest.mark.parametrize("name", LAYOUTS)
def test_plan(name: str, golden: Callable[[str, str], None]) -> None:
    axes, accumulate = LAYOUTS[name]
    model = Mlp()
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1)
    mesh = flow.mesh("null", threads=1, **axes)
    rules = {"fc1.weight": {"tp": "S(0)"}, "fc2.weight": {"tp": "S(1)"}} if "tp" in axes else "auto"

    @flow.train_step(
        model=model, optimizer=optimizer, mesh=mesh, accumulate=accumulate, parallel=rules, seed=0
    )
    def step(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        return F.cross_entropy(model(x), y)

    x, y = np.zeros((8, 16), np.float32), np.zeros(8, np.int64)
    text = step.compile(x, y).text.replace(f"{Path(__file__).parent}/", "")
    golden(f"mlp_{name}.plan", text)
