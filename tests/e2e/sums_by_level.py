"""Decisions whose sums go by level, and one rank that follows them; started by test_sums_by_level.py and by hand."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

STEP = re.compile(r"<([^>]*)> dp <([^>]*)>")


def by_level(text: str, group: int) -> str:
    """The same decisions, with every sum, scattered sum and gathering on a mesh of `dp` alone in groups of so many."""

    def one(match: re.Match[str]) -> str:
        before, after = match.groups()
        split = "S(" in after
        if "micro" in before or before == "(B)" or (split and "S(" in before):
            return match.group()
        return f"<{before}> dp/{group} <{after}>"

    return "".join(
        STEP.sub(one, line) if line.startswith("move ") else line
        for line in text.splitlines(keepends=True)
    )


def step_of(
    devices: int, decisions: flow.Decisions | None, kind: str = "cpu", width: int = 240
) -> tuple[Any, Any, nn.Module]:
    """A train step of a perceptron, a batch, and the perceptron."""
    flow.manual_seed(3)
    model = nn.Sequential(nn.Linear(96, width), nn.GELU(), nn.Linear(width, 48))
    threads = {"threads": 1} if kind == "cpu" else {}
    step = flow.train_step(
        lambda x, y: {"loss": F.cross_entropy(model(x), y)},
        model=model,
        optimizer=flow.optim.AdamW(model.parameters(), lr=1e-2),
        mesh=flow.mesh(kind, dp=devices, **threads),
        parallel=decisions or "auto",
    )
    random = np.random.default_rng(1)
    batch = (random.standard_normal((48, 96)).astype(np.float32), random.integers(0, 48, 48))
    return step, batch, model


def train(
    devices: int, decisions: flow.Decisions | None, kind: str = "cpu", width: int = 240
) -> tuple[list[str], flow.Plan]:
    """Losses of four steps and the parameters behind them, as hex; and the plan."""
    step, batch, model = step_of(devices, decisions, kind, width)
    found = [float(step(*batch)["loss"]).hex() for _ in range(4)]
    plan = step.compile(*batch)
    for value in flow.gather(model.state_dict()).values():
        found.append(value.numpy().tobytes().hex())
    return found, plan


def main(devices: str, decisions: str, out: str) -> int:
    found, _ = train(int(devices), flow.Decisions.load(decisions))
    Path(out, f"rank{flow.rank()}").write_text("\n".join(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
