"""Training steps of whole models on a GPU: BERT-Large, GPT-2 and ResNet-50 as people write them for PyTorch.

    python3 benchmarks/cuda_models.py [small] [--profile FILE]

One JSON object per line (tools/gpu_check.sh; `benchmarks/cuda_torch.py models` has PyTorch's steps of the same names):
AdamW, dropout, bf16 (there: autocast), inputs from the host's memory each step, the loss read once a round. With
--profile a table of the kernels of one step goes to FILE, by PyTorch's profiler, which sees the whole process.
`small`: models and counts that software CUDA can do in seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

LEARNING_RATE = 1e-4
# Model, samples, words or side of an image.
CASES = (
    ("bert-large", 64, 128),
    ("bert-large", 16, 512),
    ("gpt2-small", 16, 1024),
    ("resnet-50", 128, 224),
)
SMALL_CASES = (("tiny", 2, 8),)

Step = Callable[[], Any]


def name_of(case: tuple[str, int, int]) -> str:
    model, samples, extent = case
    return f"training, {model}, {samples} samples of {extent}, bf16"


class Loss:
    """Of a step that may still run."""

    def __init__(self, metrics: Any) -> None:
        self._metrics = metrics

    def __float__(self) -> float:
        return float(self._metrics["loss"])


def our_step(case: tuple[str, int, int]) -> Step:
    """A step; what it returns is the loss, still on its way: float() waits for it."""
    import oneflow as flow
    import oneflow.nn.functional as F
    from oneflow import nn

    from benchmarks import peer_models

    model, samples, extent = case
    flow.manual_seed(0)
    net = peer_models.build(model, flow, nn, F)
    x, y = peer_models.batch_of(model, (samples, extent))
    step = flow.train_step(
        lambda inputs, labels: peer_models.loss_of(F, net(inputs), labels),
        model=net,
        optimizer=flow.optim.AdamW(net.parameters(), lr=LEARNING_RATE),
        mesh=flow.mesh("cuda", dp=1),
        precision="bf16",
    )
    return lambda: Loss(step(x, y))


def report(case: tuple[str, int, int], run: Step, small: bool) -> None:
    """Warm-up, then rounds of steps between two looks at the clock."""
    # Each of the four steps that may be in flight has a graph of its own, captured behind the first step.
    warm_ups, rounds, inner = (1, 1, 1) if small else (5, 5, 4)
    start = time.perf_counter()
    losses = [float(run())]
    first = time.perf_counter() - start
    for _ in range(warm_ups):
        losses.append(float(run()))
    times = []
    calls = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(inner):
            called = time.perf_counter()
            loss = run()
            calls.append((time.perf_counter() - called) * 1e3)
        losses.append(float(loss))
        times.append((time.perf_counter() - start) / inner * 1e3)
    median = statistics.median(times)
    row: dict[str, Any] = {"name": name_of(case), "median_ms": round(median, 3)}
    row |= {"least_ms": round(min(times), 3), "most_ms": round(max(times), 3)}
    row |= {"rate": round(case[1] / median * 1e3, 1), "unit": "samples/s"}
    row |= {
        "call_ms": round(statistics.median(calls), 3)
    }  # of the host: a step is launched, not awaited
    row |= {"first_step_s": round(first, 2), "losses": [round(loss, 4) for loss in losses]}
    print(json.dumps(row), flush=True)


def profile(run: Step, name: str, path: str) -> None:
    """The kernels of a step, longest first."""
    from torch import profiler

    with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as seen:
        float(run())
    with open(path, "a") as file:
        print(name, file=file)
        print(
            seen.key_averages().table("cuda_time_total", row_limit=70, max_name_column_width=110),
            file=file,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("size", nargs="?", choices=("small",))
    parser.add_argument("--profile", default="")
    options = parser.parse_args()
    small = options.size == "small"
    for case in SMALL_CASES if small else CASES:
        run = our_step(case)
        report(case, run, small)
        if options.profile:
            profile(run, name_of(case), options.profile)


if __name__ == "__main__":
    main()
