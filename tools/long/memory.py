"""Resident memory is flat over 10,000 steps of one session and over 100 sessions of one process.

Flat: what grows between the first quarter and the end is at most 1 MiB. In the first quarter the allocator takes
its pools, one per thread that ever ran at the same time. Another count of steps and of sessions may be given.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

from tools import results

COST = "10,000 small steps and 100 sessions: 2 minutes"
LIMIT = 1 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def trainer():
    """A small step with dropout and momentum on two devices, and its batch."""
    import numpy as np
    import oneflow as flow
    import oneflow.nn.functional as F
    from oneflow import nn

    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    optimizer = flow.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    @flow.train_step(model=net, optimizer=optimizer, mesh=flow.mesh("cpu", dp=2))
    def step(x, y):
        return F.cross_entropy(net(x), y)

    random = np.random.default_rng(0)
    return step, random.standard_normal((16, 32)).astype(np.float32), random.integers(0, 10, 16)


def grown_over(turns: int, turn) -> int:
    """Growth of resident memory from the first quarter of the turns to their end."""
    before = 0
    for i in range(turns):
        turn()
        if i == turns // 4:
            gc.collect()
            before = resident_bytes()
    gc.collect()
    return resident_bytes() - before


def main(arguments: list[str]) -> int:
    steps, sessions = (int(a) for a in (arguments + ["10000", "100"][len(arguments) :])[:2])
    step, x, y = trainer()

    def train() -> None:
        float(step(x, y)["loss"])

    def session() -> None:
        own, *batch = trainer()
        float(own(*batch)["loss"])

    by_steps = grown_over(steps, train)
    by_sessions = grown_over(sessions, session)
    held = by_steps <= LIMIT and by_sessions <= LIMIT
    print(f"{steps} steps: {by_steps} bytes more; {sessions} sessions: {by_sessions} bytes more")
    code = 0 if held else 1
    results.append(
        "memory",
        counts={"steps": steps, "sessions": sessions},
        figures={"grown_by_steps": by_steps, "grown_by_sessions": by_sessions},
        exit_code=code,
    )
    return code
