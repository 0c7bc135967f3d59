"""A 64 MiB input costs one copy: a step that reads a corner of it beside one memcpy, interleaved.

The bar: the median of the ratios of CPU time (all threads; wall time is shown too, and moves with other load) is
at most 1.2, and a steady step takes no page faults, for inputs and for outputs that the caller lets go of.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.outcome import Outcome

MIB = 1 << 20


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measured(call: Callable[[], Any]) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and page faults of a call."""
    faults, wall, cpu = page_faults(), time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu, page_faults() - faults


def main(arguments: list[str]) -> Outcome:
    import numpy as np
    import oneflow as flow
    from oneflow import nn

    turns = int(arguments[0]) if arguments else 60
    mesh = flow.mesh("cpu", dp=1)
    model = nn.Linear(2, 2)  # steps belong to a model
    corner = flow.eval_step(lambda x: x[:1, :8].sum(), model=model, mesh=mesh)
    whole = flow.eval_step(lambda x: x * 2.0, model=model, mesh=mesh)
    x = np.ones((64 * MIB // 4096, 1024), np.float32)
    target = np.empty_like(x)
    for _ in range(8):  # buffers and arenas are touched for the first time
        corner(x)
        np.copyto(target, x)
        kept = whole(x)
    copies, steps, outputs = [], [], []
    for _ in range(turns):
        copies.append(measured(lambda: np.copyto(target, x)))
        steps.append(measured(lambda: corner(x)))
    for _ in range(turns // 4):
        faults = page_faults()
        kept = whole(x)  # the one before goes now
        outputs.append(page_faults() - faults)
    assert float(kept.numpy()[0, 0]) == 2.0
    wall = statistics.median(s[0] / c[0] for s, c in zip(steps, copies, strict=True))
    cpu = statistics.median(s[1] / c[1] for s, c in zip(steps, copies, strict=True))
    figures = {
        "memcpy_ms": round(1e3 * statistics.median(c[0] for c in copies), 2),
        "step_ms": round(1e3 * statistics.median(s[0] for s in steps), 2),
        "wall_ratio": round(wall, 3),
        "cpu_ratio": round(cpu, 3),
        "input_faults_per_step": statistics.median(s[2] for s in steps),
        "output_faults_per_step": statistics.median(outputs),
    }
    held = cpu <= 1.2 and statistics.median(s[2] for s in steps) < 16
    return Outcome(figures, held and statistics.median(outputs) < 16, {"turns": turns})
