"""Attention of GPT-2's shapes, forward and backward: the op beside the composed form and PyTorch's.

One thread each, causal, no dropout, [b, tokens, heads, width] as a linear layer's reshape gives it. The three run in
processes of their own, turn by turn, and ratios are of neighbouring turns (their median, and quartiles), so that
other load hits all. The bar: the op is at least as fast as its composed form at every shape.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
# batch, tokens, heads, width
SHAPES = {"s256": (4, 256, 12, 64), "s1024": (4, 1024, 12, 64)}
DTYPES = ("float32", "bfloat16")
SIDES = ("op", "composed", "torch")


def our_step(side: str, shape: tuple[int, ...], dtype: str) -> Any:
    import numpy as np
    import oneflow as flow
    import oneflow.nn.functional as F
    from oneflow import nn
    from oneflow.nn.functional.attention import attention_weights

    random = np.random.default_rng(0)

    def drawn() -> Any:
        values = flow.tensor(random.standard_normal(shape).astype(np.float32))
        return nn.Parameter(values.to(getattr(flow, dtype)))

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = drawn(), drawn(), drawn()

        def forward(self) -> Any:
            q, k, v = (x.transpose(1, 2) for x in (self.q, self.k, self.v))
            if side == "op":
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                y = attention_weights(q, k, None, True, shape[-1] ** -0.5).to(v.dtype) @ v
            return y.transpose(1, 2)

    model = Attention()
    step = flow.value_and_grad(
        lambda weight: (model() * weight).float().sum(),
        model=model,
        mesh=flow.mesh("cpu", threads=1, dp=1),
    )
    weight = flow.tensor(random.standard_normal(shape).astype(np.float32)).to(getattr(flow, dtype))

    def run() -> None:
        _, gradients = step(weight)
        gradients["q"].numpy()

    return run


def torch_step(shape: tuple[int, ...], dtype: str) -> Any:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    q, k, v = (torch.randn(shape).to(kind).requires_grad_() for _ in range(3))
    weight = torch.randn(shape).to(kind)

    def run() -> None:
        y = torch.nn.functional.scaled_dot_product_attention(
            *(x.transpose(1, 2) for x in (q, k, v)), is_causal=True
        )
        q.grad = k.grad = v.grad = None
        (y.transpose(1, 2) * weight).float().sum().backward()

    return run


def worker(side: str, shape: str, dtype: str) -> None:
    """Reads a number of steps a line, runs them, answers the seconds."""
    extents = SHAPES[shape]
    run = torch_step(extents, dtype) if side == "torch" else our_step(side, extents, dtype)
    for _ in range(3):
        run()
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            run()
        print(json.dumps(time.perf_counter() - start), flush=True)


def start(side: str, shape: str, dtype: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.attention", "--worker", side, shape, dtype],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ask(process: subprocess.Popen[str], steps: int) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    return float(json.loads(process.stdout.readline())) / steps


def compare(shape: str, dtype: str, turns: int) -> dict[str, Any]:
    processes = {side: start(side, shape, dtype) for side in SIDES}
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    try:
        for _ in range(turns):
            for side, process in processes.items():
                times[side].append(ask(process, 5 if shape == "s256" else 1))
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    figures: dict[str, Any] = {}
    for side in SIDES:
        figures[f"{shape}_{dtype}_{side}_ms"] = round(1e3 * statistics.median(times[side]), 2)
    for side in SIDES[1:]:
        ratios = [other / ours for ours, other in zip(times["op"], times[side], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        figures[f"{shape}_{dtype}_{side}_by_op"] = [round(x, 2) for x in (middle, low, high)]
    return figures


def main(arguments: list[str]) -> Outcome:
    turns = int(arguments[0]) if arguments else 15
    figures: dict[str, Any] = {}
    for shape in SHAPES:
        for dtype in DTYPES:
            figures |= compare(shape, dtype, turns)
    held = all(
        figures[f"{shape}_{dtype}_composed_by_op"][0] >= 1 for shape in SHAPES for dtype in DTYPES
    )
    return Outcome(figures, held, {"turns": turns})


if __name__ == "__main__" and sys.argv[1:2] == ["--worker"]:
    worker(*sys.argv[2:])
