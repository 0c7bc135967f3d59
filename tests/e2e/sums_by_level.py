"""Decisions whose sums go by level, and one rank that follows them; started by test_sums_by_level.py and by hand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

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


def train(devices: int, decisions: flow.Decisions | None) -> tuple[list[str], flow.Plan]:
    """Losses of four steps of a perceptron and its parameters, as hex; and the plan."""
    flow.manual_seed(3)
    random = np.random.default_rng(1)
    model = nn.Sequential(nn.Linear(96, 240), nn.GELU(), nn.Linear(240, 48))
    step = flow.train_step(
        model=model,
        optimizer=flow.optim.AdamW(model.parameters(), lr=1e-2),
        mesh=flow.mesh("cpu", threads=1, dp=devices),
        **({"parallel": decisions} if decisions else {}),
    )(lambda x, y: {"loss": F.cross_entropy(model(x), y)})
    found = []
    for _ in range(4):
        x = random.standard_normal((48, 96)).astype(np.float32)
        y = random.integers(0, 48, 48)
        found.append(float(step(x, y)["loss"]).hex())
    plan = step.compile(x, y)
    for value in flow.gather(model.state_dict()).values():
        found.append(value.numpy().tobytes().hex())
    return found, plan


def main(devices: str, decisions: str, out: str) -> int:
    found, _ = train(int(devices), flow.Decisions.load(decisions))
    Path(out, f"rank{flow.rank()}").write_text("\n".join(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
