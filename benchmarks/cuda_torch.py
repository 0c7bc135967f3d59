"""PyTorch's figures on a GPU, in the form of ours: one JSON object per line (tools/gpu_check.sh).

    python3 benchmarks/cuda_torch.py kernels|layers|training|models [small]

Names are those of kernels/cuda/*_benchmark.cc, cuda_training.py and cuda_models.py, so that tools/gpu_report.py can put both side by
side; a kernel for which PyTorch has no single call is not among them. `small`: on the CPU at the sizes of their
`small`, so that a machine without a GPU runs this file too; those times say nothing.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

SMALL = sys.argv[2:] == ["small"]
DEVICE = "cpu" if SMALL else "cuda"
WARM_UPS, TIMED = (1, 1) if SMALL else (5, 21)
INNER = 1 if SMALL else 10  # steps of training, convolutions, between two looks at the clock
ATEN = torch.ops.aten


class Clock:
    """Milliseconds on the device, or on the CPU's clock where that is the device."""

    def __init__(self) -> None:
        self._events: list[Any] = []
        self._began = 0.0
        if not SMALL:
            self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def start(self) -> None:
        if self._events:
            self._events[0].record()
        self._began = time.perf_counter()

    def stop(self) -> float:
        if not self._events:
            return (time.perf_counter() - self._began) * 1e3
        self._events[1].record()
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1]))


def measure(name: str, inner: int, amount: float, unit: str, work: Callable[[], object]) -> None:
    """Medians between events, as kernels/cuda/cuda_benchmark.cc takes them."""
    for _ in range(WARM_UPS):
        work()
    times = []
    for _ in range(TIMED):
        clock = Clock()
        clock.start()
        for _ in range(inner):
            work()
        times.append(clock.stop() / inner)
    median = statistics.median(times)
    row = {"name": name, "median_ms": round(median, 5), "least_ms": round(min(times), 5)}
    row |= {"most_ms": round(max(times), 5), "rate": round(amount / median / 1e9, 2), "unit": unit}
    print(json.dumps(row), flush=True)


def uniform(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.rand(*shape, device=DEVICE) * 2 - 1).to(dtype)


def kernels() -> None:
    n = 1 << (14 if SMALL else 28)
    size = 4.0 * n
    x, y = (uniform(n) for _ in range(2))
    z, w = torch.empty_like(x), torch.rand_like(x)
    rows = x.view(-1, 4096)
    count = rows.shape[0]
    bias = torch.rand(4096, device=DEVICE)
    out = z.view(-1, 4096)
    transposed = z.view(4096, -1)
    step = torch.tensor(3.0, device=DEVICE)
    works: list[tuple[str, float, Callable[[], object]]] = [
        ("copy", 2, lambda: z.copy_(x)),
        ("relu", 2, lambda: torch.clamp_min(x, 0, out=z)),
        ("exp", 2, lambda: torch.exp(x, out=z)),
        ("tanh", 2, lambda: torch.tanh(x, out=z)),
        ("add", 3, lambda: torch.add(x, y, out=z)),
        ("relu_grad", 3, lambda: ATEN.threshold_backward(y, x, 0)),
        ("add a bias of 4096", 2, lambda: torch.add(rows, bias, out=out)),
        ("sum over rows of 4096", 1, lambda: rows.sum(1)),
        (f"sum over columns (bias gradient, {count} x 4096)", 1, lambda: rows.sum(0)),
        ("softmax of 4096", 2, lambda: torch.softmax(rows, 1)),
        (f"permute [{count},4096] to [4096,{count}]", 2, lambda: transposed.copy_(rows.t())),
        ("dropout", 2, lambda: F.dropout(x, 0.125, True)),
        ("sgd with momentum", 5, lambda: fused_sgd(x, y, z)),
        ("adamw", 7, lambda: fused_adamw(x, y, z, w, step)),
    ]
    for name, arrays, work in works:
        measure(name, 3, arrays * size, "TB/s", work)
    for side in (32,) if SMALL else (1024, 4096, 8192):
        product("f32", side, torch.float32, False)
        product("tf32", side, torch.float32, True)
        product("bf16", side, torch.bfloat16, False)
        linear(side)
        linear_gelu(side)
        matmul_gelu_grad(side)
        matmul_sums(side)


def fused_sgd(p: torch.Tensor, g: torch.Tensor, m: torch.Tensor) -> None:
    kind = {"weight_decay": 0.01, "momentum": 0.9, "lr": 0.0, "dampening": 0.0}
    flags = {"nesterov": False, "maximize": False, "is_first_step": False}
    torch._fused_sgd_([p], [g], [m], **kind, **flags)


def fused_adamw(
    p: torch.Tensor, g: torch.Tensor, m: torch.Tensor, v: torch.Tensor, step: torch.Tensor
) -> None:
    kind = {"lr": 0.0, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.01, "eps": 1e-8}
    torch._fused_adamw_([p], [g], [m], [v], [], [step], amsgrad=False, maximize=False, **kind)


def measure_product(name: str, side: int, work: Callable[[], object]) -> None:
    rounds = 3 if side > 4000 else 20
    measure(f"{name} {side}x{side}x{side}", rounds, 2.0 * side**3, "TFLOP/s", work)


def product(name: str, side: int, dtype: torch.dtype, tf32: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = tf32
    a, b = (uniform(side, side, dtype=dtype) for _ in range(2))
    d = torch.empty_like(a)
    measure_product(f"matmul {name}", side, lambda: torch.matmul(a, b, out=d))


def linear(side: int) -> None:
    a, b = (uniform(side, side, dtype=torch.bfloat16) for _ in range(2))
    bias = uniform(side, dtype=torch.bfloat16)
    measure_product("linear bf16", side, lambda: torch.addmm(bias, a, b))


def linear_gelu(side: int) -> None:
    """A product with its bias and the activation of it, which PyTorch makes by two kernels; both are kept."""
    a, b = (uniform(side, side, dtype=torch.bfloat16) for _ in range(2))
    bias = uniform(side, dtype=torch.bfloat16)
    measure_product(
        "linear_gelu bf16", side, lambda: F.gelu(torch.addmm(bias, a, b), approximate="tanh")
    )


def matmul_gelu_grad(side: int) -> None:
    """A gradient that a product makes and an activation passes on: two kernels of PyTorch's."""
    a, b, x = (uniform(side, side, dtype=torch.bfloat16) for _ in range(3))
    measure_product(
        "matmul_gelu_grad bf16",
        side,
        lambda: ATEN.gelu_backward(torch.matmul(a, b), x, approximate="tanh"),
    )


def matmul_sums(side: int) -> None:
    """A layer's gradients of weight and bias, which PyTorch makes by two kernels."""
    a, b = (uniform(side, side, dtype=torch.bfloat16) for _ in range(2))
    measure_product("matmul_sums bf16", side, lambda: (torch.matmul(a.t(), b), b.sum(0)))


def layers() -> None:
    """The calls of kernels/cuda/cuda_layers_benchmark.cc, at its sizes."""
    torch.backends.cudnn.allow_tf32 = False  # f32 is f32 on both sides
    for dtype, name in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
        norms(dtype, name)
        if name == "bf16":
            losses(dtype, name)
        images(dtype, name)
        for tokens in (128,) if SMALL else (128, 512):
            attention(dtype, name, tokens)
        embedding(dtype, name)
    convolutions(torch.float16, "f16")
    convolutions(torch.bfloat16, "bf16")
    side = 70 if SMALL else 4096
    lines = uniform(side, side)
    size = 4.0 * side * side
    measure(f"cumsum f32 {side}x{side}", 1, 2 * size, "TB/s", lambda: lines.cumsum(1))
    measure(f"sort f32 {side}x{side}", 1, 4 * size, "TB/s", lambda: lines.sort(1))


def norms(dtype: torch.dtype, name: str) -> None:
    rows, width = (128, 64) if SMALL else (32768, 1024)
    x, dy = (uniform(rows, width, dtype=dtype) for _ in range(2))
    weight, bias = (uniform(width, dtype=dtype) for _ in range(2))
    _, mean, rstd = torch.native_layer_norm(x, [width], weight, bias, 1e-5)
    size = float(x.numel() * x.element_size())
    for part, arrays, mask in (
        ("", 2, None),
        ("_grad", 3, [True, False, False]),
        ("_weight_grad", 2, [False, True, True]),
        ("_grads", 3, [True, True, True]),
    ):

        def work(mask: list[bool] | None = mask) -> object:
            if mask is None:
                return torch.native_layer_norm(x, [width], weight, bias, 1e-5)
            return ATEN.native_layer_norm_backward(dy, x, [width], mean, rstd, weight, bias, mask)

        measure(f"layer_norm{part} {name} {rows}x{width}", 1, arrays * size, "TB/s", work)


def losses(dtype: torch.dtype, name: str) -> None:
    """As autocast computes it: in float32."""
    sizes = ((32, 90), (64, 50)) if SMALL else ((8192, 30522), (16384, 50257))
    for rows, classes in sizes:
        scores = uniform(rows, classes, dtype=dtype).requires_grad_()
        labels = torch.randint(0, classes, (rows,), device=DEVICE)
        slope = torch.ones(rows, device=DEVICE)
        size = float(scores.numel() * scores.element_size())

        def work(scores: torch.Tensor = scores, labels: torch.Tensor = labels) -> torch.Tensor:
            return F.cross_entropy(scores.float(), labels, reduction="none")

        loss = work()

        def slopes(
            scores: torch.Tensor = scores, loss: torch.Tensor = loss, slope: torch.Tensor = slope
        ) -> object:
            return torch.autograd.grad(loss, scores, slope, retain_graph=True)

        name_of = f"{name} {rows}x{classes}"
        with torch.no_grad():
            measure(f"cross_entropy {name_of}", 1, size, "TB/s", work)
        measure(f"cross_entropy_grad {name_of}", 1, 2 * size, "TB/s", slopes)


def images(dtype: torch.dtype, name: str) -> None:
    n, side, c = (1, 6, 16) if SMALL else (64, 28, 128)
    size = f"{name} {n}x{side}x{side}x{c}"
    last = torch.channels_last
    x, dy = (uniform(n, c, side, side, dtype=dtype).to(memory_format=last) for _ in range(2))
    w = uniform(c, c, 3, 3, dtype=dtype).to(memory_format=last)
    flops = 2.0 * n * side * side * c * c * 9
    stored = float(x.numel() * x.element_size())

    def backward(mask: list[bool]) -> object:
        ones = [1, 1]
        return ATEN.convolution_backward(
            dy, x, w, None, ones, ones, ones, False, [0, 0], 1, [*mask, False]
        )

    measure(f"conv2d 3x3 {size}", INNER, flops, "TFLOP/s", lambda: F.conv2d(x, w, padding=1))
    for part, mask in (("input", [True, False]), ("weight", [False, True])):
        measure(
            f"conv2d_grad_{part} 3x3 {size}", INNER, flops, "TFLOP/s", lambda m=mask: backward(m)
        )
    mean, weight, bias = (uniform(c) for _ in range(3))
    variance = torch.rand(c, device=DEVICE) + 0.5
    measure(f"bn_sum {size}", 1, stored, "TB/s", lambda: x.sum((0, 2, 3), dtype=torch.float32))
    measure(
        f"bn_apply {size}",
        1,
        2 * stored,
        "TB/s",
        lambda: F.batch_norm(x, mean, variance, weight, bias),
    )
    skip = torch.empty_like(x).uniform_(-1, 1)
    measure(
        f"fused bn_apply add relu {size}",
        1,
        3 * stored,
        "TB/s",
        lambda: F.relu_(F.batch_norm(x, mean, variance, weight, bias).add_(skip)),
    )
    pooled, places = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    measure(f"max_pool2d {size}", 1, 1.25 * stored, "TB/s", lambda: F.max_pool2d(x, 3, 2, 1))
    measure(
        f"max_pool2d_grad {size}",
        1,
        2.5 * stored,
        "TB/s",
        lambda: ATEN.max_pool2d_with_indices_backward(
            pooled, x, [3, 3], [2, 2], [1, 1], [1, 1], False, places
        ),
    )


# Convolutions of ResNet-50: image side, channels, filters, window, stride.
WINDOWS = (
    (224, 3, 64, 7, 2),
    (56, 64, 256, 1, 1),
    (56, 256, 64, 1, 1),
    (56, 128, 128, 3, 2),
    (14, 1024, 2048, 1, 2),
    (7, 512, 512, 3, 1),
)


def convolutions(dtype: torch.dtype, name: str) -> None:
    n, most, thinner = (1, 8, 32) if SMALL else (64, 1 << 20, 1)
    last = torch.channels_last
    for full_side, full_c, full_k, r, stride in WINDOWS:
        side, k, padding = min(full_side, most), full_k // thinner, r // 2
        c = full_c // thinner if full_c > 3 else full_c
        out = (side + 2 * padding - r) // stride + 1
        size = f"{r}x{r} stride {stride} {c}-{k} {name} {n}x{side}x{side}"
        x = uniform(n, c, side, side, dtype=dtype).to(memory_format=last)
        w = uniform(k, c, r, r, dtype=dtype).to(memory_format=last)
        dy = uniform(n, k, out, out, dtype=dtype).to(memory_format=last)
        flops = 2.0 * n * out * out * c * k * r * r

        def forward(t: Any = (x, w, stride, padding)) -> object:
            return F.conv2d(t[0], t[1], stride=t[2], padding=t[3])

        def backward(mask: list[bool], t: Any = (dy, x, w, stride, padding)) -> object:
            two = [[v, v] for v in t[3:]]
            return ATEN.convolution_backward(
                *t[:3], None, *two, [1, 1], False, [0, 0], 1, [*mask, False]
            )

        measure(f"conv2d {size}", INNER, flops, "TFLOP/s", forward)
        for part, mask in (("input", [True, False]), ("weight", [False, True])):
            if part == "weight" or full_c > 3:  # an image has no gradient
                call = f"conv2d_grad_{part} {size}"
                measure(call, INNER, flops, "TFLOP/s", lambda m=mask, b=backward: b(m))


def attention(dtype: torch.dtype, name: str, tokens: int) -> None:
    every, width, head = (128, 64, 64) if SMALL else (32768, 1024, 64)
    batch, heads = max(1, every // 2 // tokens), width // head
    for kind, p, causal in (("", 0.0, False), (" dropout", 0.1, False), (" causal", 0.0, True)):
        q, k, v = (
            uniform(batch, heads, tokens, head, dtype=dtype).requires_grad_() for _ in range(3)
        )

        def work(
            parts: tuple[torch.Tensor, ...] = (q, k, v), p: float = p, causal: bool = causal
        ) -> torch.Tensor:
            return F.scaled_dot_product_attention(*parts, dropout_p=p, is_causal=causal)

        out = work()
        slope = torch.randn_like(out)

        def slopes(
            parts: tuple[torch.Tensor, ...] = (q, k, v),
            out: torch.Tensor = out,
            slope: torch.Tensor = slope,
        ) -> object:
            return torch.autograd.grad(out, parts, slope, retain_graph=True)

        pairs = float(batch * heads * tokens * tokens) * (0.5 if causal else 1.0)
        with torch.no_grad():
            measure(f"attention {name} s{tokens}{kind}", 1, pairs * 4 * head, "TFLOP/s", work)
        measure(f"attention_grad {name} s{tokens}{kind}", 1, pairs * 10 * head, "TFLOP/s", slopes)


def embedding(dtype: torch.dtype, name: str) -> None:
    tokens, words, width = (128, 96, 64) if SMALL else (32768, 30528, 1024)
    table = uniform(words, width, dtype=dtype)
    index = torch.randint(0, words, (tokens,), device=DEVICE)
    rows = uniform(tokens, width, dtype=dtype)
    row = float(width * table.element_size())
    size = f"{name} {tokens} of {words}x{width}"
    measure(f"embedding {size}", 1, 2 * row * tokens, "TB/s", lambda: F.embedding(index, table))
    measure(
        f"embedding_grad {size}",
        1,
        row * (tokens + words),
        "TB/s",
        lambda: ATEN.embedding_dense_backward(rows, index, words, -1, False),
    )


def make_step(sizes: tuple[int, ...], batch: int) -> Callable[[], torch.Tensor]:
    layers: list[torch.nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers.append(torch.nn.Linear(fan_in, fan_out))
        if i + 2 < len(sizes):
            layers.append(torch.nn.ReLU())
    net = torch.nn.Sequential(*layers).to(DEVICE)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    x = torch.rand(batch, sizes[0])
    labels = torch.randint(0, sizes[-1], (batch,))

    def step() -> torch.Tensor:
        # From host memory every step, as ours is fed.
        inputs, targets = x.to(DEVICE), labels.to(DEVICE)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


def training() -> None:
    """The steps of benchmarks/cuda_training.py, eager."""
    torch.backends.cuda.matmul.allow_tf32 = False
    sizes_of = ((256, (784, 1024, 1024, 10)), (8192, (1024, 4096, 4096, 1024)))
    for batch, sizes in ((16, (20, 24, 10)),) if SMALL else sizes_of:
        step = make_step(sizes, batch)
        times = []
        for i in range(WARM_UPS + TIMED):
            begin = time.perf_counter()
            for _ in range(INNER):
                loss = step()
            loss.item()
            if i >= WARM_UPS:
                times.append((time.perf_counter() - begin) / INNER * 1e3)
        row: dict[str, Any] = {"name": f"training, MLP {list(sizes)}, batch {batch}"}
        row |= {"median_ms": round(statistics.median(times), 4)}
        row |= {"least_ms": round(min(times), 4), "most_ms": round(max(times), 4)}
        print(json.dumps(row), flush=True)


def models() -> None:
    """The steps of benchmarks/cuda_models.py: eager and fused where PyTorch is faster so; inputs from pinned memory."""
    from benchmarks import cuda_models, peer_models

    torch.backends.cudnn.benchmark = True

    def make(case: tuple[str, int, int]) -> cuda_models.Step:
        model, samples, extent = case
        net = peer_models.build(model, torch, torch.nn, F).to(DEVICE)
        optimizer = torch.optim.AdamW(net.parameters(), lr=cuda_models.LEARNING_RATE, fused=True)
        arrays = peer_models.batch_of(model, (samples, extent))
        x, y = (torch.from_numpy(array) for array in arrays)
        if x.dim() == 4:
            net = net.to(memory_format=torch.channels_last)
            x = x.contiguous(memory_format=torch.channels_last)
        if not SMALL:
            x, y = x.pin_memory(), y.pin_memory()

        def step() -> torch.Tensor:
            inputs, labels = (t.to(DEVICE, non_blocking=True) for t in (x, y))
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE, dtype=torch.bfloat16):
                loss: torch.Tensor = peer_models.loss_of(F, net(inputs), labels)
            loss.backward()
            optimizer.step()
            return loss

        return step

    for case in cuda_models.SMALL_CASES if SMALL else cuda_models.CASES:
        with torch.device(DEVICE):  # tensors that the models make
            run = make(case)
            cuda_models.report(case, run, SMALL)
        del run
        if not SMALL:
            torch.cuda.empty_cache()


if __name__ == "__main__":
    on = "the CPU" if SMALL else torch.cuda.get_device_name()
    print(json.dumps({"torch": torch.__version__, "device": on}))
    torch.manual_seed(7)
    parts = {"kernels": kernels, "layers": layers, "training": training, "models": models}
    parts[sys.argv[1]]()
