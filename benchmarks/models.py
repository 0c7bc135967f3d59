"""Training steps of whole models beside PyTorch eager in the same run: time, memory, first step.

    ./dev bench models [--rounds 5] [--models bert-base,gpt2-small,resnet-50,mobilenet-v2] [--precisions f32,bf16]
                       [--torch-flushes]

One device with 2 threads, AdamW, batches of the bar: BERT-base B8 s128, GPT-2 small B4 s256, ResNet-50 and
MobileNetV2 B16 of 224 x 224. Two worker processes, ours and PyTorch's (bf16: torch.autocast), hold the same
model and take turns; each step is waited for as a whole (a parameter is read). The figure is the median of the rounds'
ratios (PyTorch's time / ours: above 1 we are faster). The rate of a product of the same type, PyTorch's and ours, is measured
between the rounds: the limit. Where our step's time goes is printed by family of ops. PyTorch keeps denormals by
default, which costs it much in f32 (docs/decisions/0010-denormals.md): --torch-flushes asks it not to.
`touch_s` is what the machine asks for as many bytes in huge pages: a virtual machine takes freed memory back within
seconds (free page reporting), huge pages first, so a first step pays its host again, PyTorch's small pages less.
The bars: >= 1.0 everywhere, >= 1.1 (f32) and >= 1.2 (bf16) on the transformers, peak memory <= 0.8 of PyTorch's, first
step <= 3 s.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2
MODELS = ("bert-base", "gpt2-small", "resnet-50", "mobilenet-v2")
PRECISIONS = ("f32", "bf16")
LEARNING_RATE = 1e-4
PRODUCT = 1536  # m, n and k of the product whose rate is the limit
FIRST_STEP_S, MEMORY = 3.0, 0.8
TOUCHED_GIB = 6  # more than either side's peak
FLUSHES = "BENCH_TORCH_FLUSHES"  # for the worker

Step = Callable[[], None]


def least_ratio(model: str, precision: str) -> float:
    if model not in ("bert-base", "gpt2-small"):
        return 1.0
    return 1.1 if precision == "f32" else 1.2


def our_step(model: str, precision: str) -> Step:
    import oneflow as flow
    import oneflow.nn.functional as F
    from oneflow import nn

    from benchmarks import peer_models

    flow.manual_seed(0)
    net = peer_models.build(model, flow, nn, F)
    optimizer = flow.optim.AdamW(net.parameters(), lr=LEARNING_RATE)
    x, y = peer_models.batch_of(model)
    least = min(net.parameters(), key=lambda p: p.numel())

    def loss(inputs, labels):
        return peer_models.loss_of(F, net(inputs), labels)

    narrow: dict[str, Any] = {"precision": "bf16"} if precision == "bf16" else {}
    step = flow.train_step(
        loss, model=net, optimizer=optimizer, mesh=flow.mesh("cpu", dp=1), **narrow
    )

    def run() -> None:
        step(x, y)
        least.numpy()  # the loss is there before the last gradient

    return run


def torch_step(model: str, precision: str) -> Step:
    import torch
    import torch.nn.functional as F
    from torch import nn

    from benchmarks import peer_models

    torch.set_num_threads(THREADS)
    if os.environ.get(FLUSHES):
        torch.set_flush_denormal(True)
    torch.manual_seed(0)
    net = peer_models.build(model, torch, nn, F)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE)
    x, y = (torch.from_numpy(array) for array in peer_models.batch_of(model))
    if x.dim() == 4:  # the layout in which PyTorch is fastest on CPUs
        net = net.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = peer_models.loss_of(F, net(x), y)
        loss.backward()
        optimizer.step()
        float(loss.detach())

    return run


def our_product(precision: str) -> Step:
    import numpy as np
    import oneflow as flow

    ones = np.ones((PRODUCT, PRODUCT), np.float32)
    dtype = flow.bfloat16 if precision == "bf16" else flow.float32
    a, b = flow.tensor(ones).to(dtype), flow.tensor(ones).to(dtype)
    product = flow.eval_step(
        lambda x, y: flow.matmul(x, y).sum(), model=flow.nn.Identity(), mesh=flow.mesh("cpu", dp=1)
    )
    return lambda: float(product(a, b))  # type: ignore[arg-type, return-value]


def torch_product(precision: str) -> Step:
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.ones(PRODUCT, PRODUCT, dtype=dtype)
    return lambda: torch.matmul(a, a)  # type: ignore[return-value]


def peak_bytes() -> int:
    """The largest resident memory of this process."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:", 1)[1].split()[0]) * 1024


def worker(side: str, model: str, precision: str) -> int:
    """Answers each line: `step` and `product` with seconds, `peak` with bytes."""
    make, product = (our_step, our_product) if side == "ours" else (torch_step, torch_product)
    run = make(model, precision)

    def seconds(call: Step) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    print(json.dumps(seconds(run)), flush=True)  # the first step: traced, compiled, loaded
    multiply: Step | None = None
    for line in sys.stdin:
        if line.strip() == "peak":
            print(json.dumps(peak_bytes()), flush=True)
        elif line.strip() == "product":
            if multiply is None:
                multiply = product(precision)
                multiply()
            print(json.dumps(min(seconds(multiply) for _ in range(5))), flush=True)
        else:
            print(json.dumps(seconds(run)), flush=True)
    return 0


class Worker:
    """A process that holds one side's model."""

    def __init__(self, side: str, model: str, precision: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.models", "--worker", side, model, precision],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(THREADS), **environment},
        )

    def hear(self) -> float:
        assert self.process.stdout is not None
        return float(json.loads(self.process.stdout.readline()))

    def ask(self, what: str) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """Lets it end by itself, which writes its trace."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=120)


def touch_memory() -> None:
    """A virtual machine pays its host for the first touch of memory, a second or two for each GB; whoever comes
    behind does not. So a process touches as much as either side needs before each of them begins."""
    subprocess.run([sys.executable, "-c", f"b'x' * ({TOUCHED_GIB} << 30)"], check=True)


# Prints the seconds that a process takes to write once to each page of so many bytes, in huge pages.
TOUCH = """
import mmap, sys, time
import numpy as np
memory = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
pages = np.frombuffer(memory, np.uint8)[::4096]
start = time.perf_counter()
pages[:] = 1
print(time.perf_counter() - start)
"""


def touch_seconds(size: int) -> float:
    """What the machine asks for memory as a first step finds it: its part of a first step is not ours."""
    touch_memory()
    done = subprocess.run(
        [sys.executable, "-c", TOUCH, str(size)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def compare(
    model: str, precision: str, rounds: int, trace: Path, torch_flushes: bool
) -> dict[str, Any]:
    times: dict[str, list[float]] = {"ours": [], "torch": []}
    rates: dict[str, list[float]] = {"ours": [], "torch": []}
    first, peak = {}, {}
    # One after the other up to here: a first step beside another process is no first step.
    sides = {}
    flushes = {FLUSHES: "1"} if torch_flushes else {}
    for side, environment in {"ours": {"OMP_WAIT_POLICY": "PASSIVE"}, "torch": flushes}.items():
        touch_memory()
        sides[side] = Worker(side, model, precision, **environment)
        first[side] = sides[side].hear()
    try:
        for side, process in sides.items():
            process.ask("step")
            peak[side] = process.ask("peak")
        for _ in range(rounds):
            for side, process in sides.items():
                times[side].append(process.ask("step"))
                rates[side].append(2e-9 * PRODUCT**3 / process.ask("product"))
    finally:
        for process in sides.values():
            process.end()
    traced = Worker("ours", model, precision, ONEFLOW_TRACE=str(trace), OMP_WAIT_POLICY="PASSIVE")
    traced.hear()
    traced.ask("step")
    traced.ask("step")
    traced.end()
    touch = touch_seconds(int(peak["ours"]))
    ratios = [t / o for o, t in zip(times["ours"], times["torch"], strict=True)]
    name = f"{model}_{precision}"
    return {
        f"{name}_ours_s": round(statistics.median(times["ours"]), 3),
        f"{name}_torch_s": round(statistics.median(times["torch"]), 3),
        f"{name}_ratio": round(statistics.median(ratios), 2),
        f"{name}_ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
        f"{name}_ours_first_step_s": round(first["ours"], 2),
        f"{name}_torch_first_step_s": round(first["torch"], 2),
        f"{name}_touch_s": round(touch, 2),
        f"{name}_memory_of_torch": round(peak["ours"] / peak["torch"], 2),
        f"{name}_peak_mb": round(peak["ours"] / 1e6),
        f"{name}_ours_product_gflops": round(statistics.median(rates["ours"])),
        f"{name}_torch_product_gflops": round(statistics.median(rates["torch"])),
        f"{name}_ms_by_op": milliseconds_by_op(trace),
    }


def milliseconds_by_op(trace: Path, most: int = 12) -> dict[str, float]:
    """Of the last step: time in kernels by op, the largest first."""
    from tools.trace_slices import slices

    found = [s for s in slices(trace) if "compute" in s.track]
    last = max(s.step for s in found)
    totals: dict[str, float] = {}
    for one in found:
        if one.step == last:
            op = one.name.split(".", 1)[0]
            totals[op] = totals.get(op, 0.0) + one.duration_ns / 1e6
    largest = sorted(totals.items(), key=lambda item: -item[1])
    return {op: round(ms, 1) for op, ms in largest[:most]} | {
        "total": round(sum(totals.values()), 1)
    }


def main(arguments: list[str]) -> Outcome:
    parser = argparse.ArgumentParser(prog="./dev bench models")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--torch-flushes",
        action="store_true",
        help="torch.set_flush_denormal(True): PyTorch too flushes denormals, as our kernels do",
    )
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = {}
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models.split(","):
            for precision in options.precisions.split(","):
                name = f"{model}_{precision}"
                figures |= compare(
                    model, precision, options.rounds, Path(folder) / name, options.torch_flushes
                )
                if figures[f"{name}_ratio"] < least_ratio(model, precision):
                    missed.append(f"{name} ratio")
                if figures[f"{name}_memory_of_torch"] > MEMORY:
                    missed.append(f"{name} memory")
                if figures[f"{name}_ours_first_step_s"] > FIRST_STEP_S:
                    missed.append(f"{name} first step")
    figures["torch_flushes"] = options.torch_flushes
    figures["missed"] = missed
    return Outcome(figures, held=not missed, counts={"rounds": options.rounds})


if __name__ == "__main__" and sys.argv[1:2] == ["--worker"]:
    sys.exit(worker(*sys.argv[2:]))
