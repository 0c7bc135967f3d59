"""Training throughput of one device with 2 threads beside PyTorch eager in the same run; memory of a step.

    ./dev bench training-cost [--rounds 15] [--models mlp,resnet]

Two worker processes, ours and PyTorch's, hold the same model and batch and take turns: a round times a
block of steps in each, and the figure is the median of the rounds' ratios (PyTorch's time / ours, so above 1
we are faster) with the spread. A third worker runs under an allocator that counts calls from outside, and
reports resident memory against the plan's. The bar: both ratios >= 1.0, no call to the allocator in a steady
step, resident memory growth <= arenas + states + 64 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
SLACK_BYTES = 64 << 20
# Model -> batch shape, classes, steps of a block.
MODELS: dict[str, tuple[tuple[int, ...], int, int]] = {
    "mlp": ((256, 1024), 1024, 20),
    "resnet": ((64, 1, 8, 8), 10, 40),
}


def build(model: str, nn: Any, flatten: Any) -> Any:
    """The model, written once for both frameworks: only the import differs."""
    if model == "mlp":
        layers: list[Any] = []
        for i in range(4):
            layers += [nn.Linear(1024, 1024)] + ([nn.ReLU()] if i < 3 else [])
        return nn.Sequential(*layers)

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU()
            self.short = (
                nn.Identity()
                if stride == 1 and inputs == outputs
                else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            )

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + self.short(x))

    class ResNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 32, 3, padding=1, bias=False)
            self.bn = nn.BatchNorm2d(32)
            self.relu = nn.ReLU()
            self.blocks = nn.Sequential(Block(32, 32, 1), Block(32, 64, 2), Block(64, 128, 2))
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            y = self.pool(self.blocks(self.relu(self.bn(self.stem(x)))))
            return self.fc(flatten(y, 1))

    return ResNet()


def batch_of(model: str) -> tuple[Any, Any]:
    import numpy as np

    shape, classes, _ = MODELS[model]
    random = np.random.default_rng(0)
    x = random.standard_normal(shape).astype(np.float32)
    return x, random.integers(0, classes, shape[0]).astype(np.int64)


def our_step(model: str) -> Any:
    import oneflow as flow
    import oneflow.nn.functional as F
    from oneflow import nn

    flow.manual_seed(0)
    net = build(model, nn, flow.flatten)
    optimizer = flow.optim.SGD(net.parameters(), lr=0.01)
    x, y = batch_of(model)
    mesh = flow.mesh("cpu", dp=1)

    @flow.train_step(model=net, optimizer=optimizer, mesh=mesh)
    def step(inputs, labels):
        return F.cross_entropy(net(inputs), labels)

    def run(steps: int) -> None:
        for _ in range(steps):
            step(x, y)
        # The loss is there before the last backward pass: a parameter is not until the step has ended.
        min(net.parameters(), key=lambda p: p.numel()).numpy()

    run.step, run.net = step, net  # type: ignore[attr-defined]
    return run


def torch_step(model: str) -> Any:
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    net = build(model, nn, torch.flatten)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    arrays = batch_of(model)
    x, y = torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
        float(loss.detach())

    return run


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def worker(side: str, model: str) -> int:
    """Reads {"steps": n}, runs them, answers {"seconds": t}."""
    run = our_step(model) if side == "ours" else torch_step(model)
    run(3)
    for line in sys.stdin:
        steps = json.loads(line)["steps"]
        start = time.perf_counter()
        run(steps)
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    return 0


def memory_worker(model: str) -> int:
    """Counts allocations of 100 steady steps from outside, and measures resident memory."""
    import ctypes

    import oneflow  # noqa: F401  (its libraries are part of the constant, not of the step)

    before = resident_bytes()
    run = our_step(model)
    run(20)
    counter = ctypes.CDLL(None)
    counter.allocation_counter_start()
    run(100)
    calls = counter.allocation_counter_stop()
    counters = run.step.counters()
    planned = sum(c["arena_bytes"] + c["state_bytes"] for c in counters)
    grown = resident_bytes() - before
    print(json.dumps({"calls": calls, "planned_bytes": planned, "grown_bytes": grown}))
    return 0


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.training_cost", "--worker", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS), **environment},
    )


def ask(process: subprocess.Popen[str], steps: int) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps({"steps": steps}) + "\n")
    process.stdin.flush()
    return float(json.loads(process.stdout.readline())["seconds"])


def compare(model: str, rounds: int) -> dict[str, Any]:
    block = MODELS[model][2]
    # Each side with its own defaults: PyTorch's threads may spin, ours park.
    sides = {
        "ours": start(["ours", model], OMP_WAIT_POLICY="PASSIVE"),
        "torch": start(["torch", model]),
    }
    times: dict[str, list[float]] = {"ours": [], "torch": []}
    try:
        for _ in range(rounds):
            for side, process in sides.items():
                times[side].append(ask(process, block) / block)
    finally:
        for process in sides.values():
            process.kill()
            process.wait()
    ratios = [t / o for o, t in zip(times["ours"], times["torch"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        f"{model}_ours_ms": round(1e3 * statistics.median(times["ours"]), 3),
        f"{model}_torch_ms": round(1e3 * statistics.median(times["torch"]), 3),
        f"{model}_ratio": round(statistics.median(ratios), 3),
        f"{model}_ratio_quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
    }


def memory(model: str, folder: Path) -> dict[str, Any]:
    library = folder / "allocation_counter.so"
    source = ROOT / "tools" / "native" / "allocation_counter.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    process = start(["memory", model], LD_PRELOAD=str(library), OMP_WAIT_POLICY="PASSIVE")
    out, _ = process.communicate(timeout=600)
    found = json.loads(out.strip().splitlines()[-1])
    return {
        f"{model}_allocations_per_100_steps": found["calls"],
        f"{model}_planned_bytes": found["planned_bytes"],
        f"{model}_resident_growth_bytes": found["grown_bytes"],
    }


def main(arguments: list[str]) -> Outcome:
    parser = argparse.ArgumentParser(prog="./dev bench training-cost")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", default="mlp,resnet")
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = {}
    held = True
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models.split(","):
            figures |= compare(model, options.rounds) | memory(model, Path(folder))
            held &= figures[f"{model}_ratio"] >= 1.0
            held &= figures[f"{model}_allocations_per_100_steps"] == 0
            limit = figures[f"{model}_planned_bytes"] + SLACK_BYTES
            held &= figures[f"{model}_resident_growth_bytes"] <= limit
    return Outcome(figures, held=held, counts={"rounds": options.rounds})


if __name__ == "__main__" and sys.argv[1:2] == ["--worker"]:
    _, kind, name = sys.argv[1:]
    sys.exit(memory_worker(name) if kind == "memory" else worker(kind, name))
