"""Training on a GPU through the whole framework: the CPU's losses, layouts on logical devices, time of a step.

    python3 benchmarks/cuda_training.py [small]

One JSON object per line (tools/gpu_check.sh; benchmarks/cuda_torch.py has PyTorch's times of the same steps).
`small`: models and counts that software CUDA can do in seconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

SMALL = sys.argv[1:] == ["small"]
WARM_UPS, TIMED, STEPS = (1, 1, 3) if SMALL else (5, 21, 10)
INNER = 1 if SMALL else 10  # steps between two looks at the clock
LEARNS = (20, 24, 24, 10) if SMALL else (784, 512, 512, 10)
TIMES = (
    ((16, (20, 24, 10)),)
    if SMALL
    else ((256, (784, 1024, 1024, 10)), (8192, (1024, 4096, 4096, 1024)))
)


def mlp(sizes: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers.append(nn.Linear(fan_in, fan_out))
        if i + 2 < len(sizes):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def make_step(sizes: tuple[int, ...], kind: str, accumulate: int = 1, **axes: int) -> Any:
    flow.manual_seed(0)
    model = mlp(sizes)
    return flow.train_step(
        lambda x, y: F.cross_entropy(model(x), y),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.01, momentum=0.9),
        mesh=flow.mesh(kind, **axes),
        accumulate=accumulate,
    )


def batch_of(sizes: tuple[int, ...], batch: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, sizes[0])).astype(np.float32)
    return x, random.integers(0, sizes[-1], batch)


def losses(sizes: tuple[int, ...], batch: int, kind: str, **options: int) -> np.ndarray:
    step, data = make_step(sizes, kind, **options), batch_of(sizes, batch)
    return np.array([float(step(*data)["loss"]) for _ in range(STEPS)])


def report(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


def compare() -> bool:
    sizes, batch, good = LEARNS, 64, True
    expected = losses(sizes, batch, "cpu", dp=1)
    for options in (
        {"dp": 1},
        {"dp": 2},
        {"tp": 2},
        {"pp": 2},
        {"dp": 2, "tp": 2},
        {"pp": 2, "dp": 2, "accumulate": 4},
    ):
        actual = losses(sizes, batch, "cuda", **options)
        worst = float(np.max(np.abs(actual - expected) / np.abs(expected)))
        good &= worst <= 1e-5
        report(
            {
                "name": f"losses of {STEPS} steps, cuda {options}, beside one CPU device",
                "largest_relative_difference": worst,
                "first": float(actual[0]),
                "last": float(actual[-1]),
                "bound": 1e-5,
            }
        )
    return good


def timing() -> None:
    for batch, sizes in TIMES:
        step, data = make_step(sizes, "cuda", dp=1), batch_of(sizes, batch)
        times = []
        for i in range(WARM_UPS + TIMED):
            begin = time.perf_counter()
            for _ in range(INNER):
                metrics = step(*data)
            float(metrics["loss"])
            if i >= WARM_UPS:
                times.append((time.perf_counter() - begin) / INNER * 1e3)
        report(
            {
                "name": f"training, MLP {list(sizes)}, batch {batch}",
                "median_ms": round(statistics.median(times), 4),
                "least_ms": round(min(times), 4),
                "most_ms": round(max(times), 4),
            }
        )


if __name__ == "__main__":
    agreed = compare()
    timing()
    sys.exit(0 if agreed else 1)
