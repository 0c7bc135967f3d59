"""A mistake: a small program that is wrong, the line that the error must name, and a change that cures it.

In a program `#!` ends the line that is to blame. A cure is a list of (text, replacement) pairs that follow the
message's advice; the program runs with them.
"""

from __future__ import annotations

from dataclasses import dataclass

PREAMBLE = """\
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

X = np.ones((4, 3), np.float32)
Y = np.array([0, 1, 2, 0])
mesh = flow.mesh("cpu", dp=2)
flow.manual_seed(0)
model = nn.Linear(3, 5)
optimizer = flow.optim.SGD(model.parameters(), lr=0.1)

"""

TRAIN = """\
@flow.train_step(model=model, optimizer=optimizer, mesh=mesh)
def step(x, y):
    return F.cross_entropy(model(x), y)

"""


@dataclass(frozen=True)
class Mistake:
    """One program that is wrong, and how."""

    name: str
    kind: type[Exception]
    message: str  # a regular expression
    program: str
    cure: list[tuple[str, str]]


def step_of(body: str) -> str:
    """A program with an eval step over (x, y) and one call."""
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return (
        "@flow.eval_step(model=model, mesh=mesh)\ndef step(x, y):\n" + indented + "\n\nstep(X, Y)\n"
    )
