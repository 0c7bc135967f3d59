"""PyTorch's figures on a GPU, in the form of ours: one JSON object per line (tools/gpu_check.sh).

python3 benchmarks/cuda_torch.py kernels | training
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

WARM_UPS, TIMED = 5, 21


def measure(name: str, inner: int, amount: float, unit: str, work: Callable[[], object]) -> None:
    """Medians between events, as kernels/cuda/cuda_benchmark.cc takes them."""
    for _ in range(WARM_UPS):
        work()
    times = []
    for _ in range(TIMED):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(inner):
            work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / inner)
    median = statistics.median(times)
    row = {"name": name, "median_ms": round(median, 5), "least_ms": round(min(times), 5)}
    row |= {"most_ms": round(max(times), 5), "rate": round(amount / median / 1e9, 2), "unit": unit}
    print(json.dumps(row), flush=True)


def kernels() -> None:
    n = 1 << 28
    size = 4.0 * n
    x, y = (torch.rand(n, device="cuda") * 2 - 1 for _ in range(2))
    z = torch.empty_like(x)
    measure("copy", 3, 2 * size, "TB/s", lambda: z.copy_(x))
    measure("relu", 3, 2 * size, "TB/s", lambda: torch.clamp_min(x, 0, out=z))
    measure("exp", 3, 2 * size, "TB/s", lambda: torch.exp(x, out=z))
    measure("tanh", 3, 2 * size, "TB/s", lambda: torch.tanh(x, out=z))
    measure("add", 3, 3 * size, "TB/s", lambda: torch.add(x, y, out=z))
    rows = x.view(-1, 4096)
    bias = torch.rand(4096, device="cuda")
    out = z.view(-1, 4096)
    measure("add a bias of 4096", 3, 2 * size, "TB/s", lambda: torch.add(rows, bias, out=out))
    measure("sum over rows of 4096", 3, size, "TB/s", lambda: rows.sum(1))
    measure("sum over columns (bias gradient, 65536 x 4096)", 3, size, "TB/s", lambda: rows.sum(0))
    measure("softmax of 4096", 3, 2 * size, "TB/s", lambda: torch.softmax(rows, 1))
    transposed = z.view(4096, -1)
    measure(
        "permute [65536,4096] to [4096,65536]",
        3,
        2 * size,
        "TB/s",
        lambda: transposed.copy_(rows.t()),
    )
    measure("dropout", 3, 2 * size, "TB/s", lambda: torch.nn.functional.dropout(x, 0.125, True))
    for side in (1024, 4096, 8192):
        product("f32", side, torch.float32, False)
        product("tf32", side, torch.float32, True)
        product("bf16", side, torch.bfloat16, False)


def product(name: str, side: int, dtype: torch.dtype, tf32: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = ((torch.rand(side, side, device="cuda") * 2 - 1).to(dtype) for _ in range(2))
    d = torch.empty_like(a)
    measure(
        f"matmul {name} {side}x{side}x{side}",
        3 if side > 4000 else 20,
        2.0 * side**3,
        "TFLOP/s",
        lambda: torch.matmul(a, b, out=d),
    )


def make_step(sizes: tuple[int, ...], batch: int) -> Callable[[], torch.Tensor]:
    layers: list[torch.nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers.append(torch.nn.Linear(fan_in, fan_out))
        if i + 2 < len(sizes):
            layers.append(torch.nn.ReLU())
    net = torch.nn.Sequential(*layers).cuda()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x = torch.rand(batch, sizes[0])
    labels = torch.randint(0, sizes[-1], (batch,))

    def step() -> torch.Tensor:
        # From host memory every step, as ours is fed.
        inputs, targets = x.cuda(), labels.cuda()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


def training() -> None:
    """The steps of benchmarks/cuda_training.py, eager."""
    torch.backends.cuda.matmul.allow_tf32 = False
    for batch, sizes in (
        (256, (784, 1024, 1024, 10)),
        (8192, (1024, 4096, 4096, 1024)),
    ):
        step = make_step(sizes, batch)
        times = []
        for i in range(WARM_UPS + TIMED):
            begin = time.perf_counter()
            for _ in range(10):
                loss = step()
            loss.item()
            if i >= WARM_UPS:
                times.append((time.perf_counter() - begin) / 10 * 1e3)
        row = {"name": f"PyTorch eager, MLP {list(sizes)}, batch {batch}"}
        row |= {"median_ms": round(statistics.median(times), 4)}
        row |= {"least_ms": round(min(times), 4), "most_ms": round(max(times), 4)}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name()}))
    {"kernels": kernels, "training": training}[sys.argv[1]]()
