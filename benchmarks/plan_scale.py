"""How time, memory and plan of one rank grow with layers and ranks: compile and verify, nothing runs.

A transformer (attention, two norms, an MLP and residuals per layer; AdamW) of 8, 24 and 96 layers on
8, 16 and 256 ranks, then a plain MLP of 150 and 600 layers on dp=64, each in a process of its own.

Seconds are of the CPU (one thread compiles), the median of three rounds over all cases.
The bars: 24 layers on 16 ranks in 3 s and 300 MB; 96 layers in 4.5 times the time of 24; tasks and
channels of dp=64 those of dp=8 within 10 %; 600 layers on dp=64 in 2 GB and 4.5 times the time of 150.

Arguments: names of cases (`tp-24`, ...), else all. `--instructions` counts instructions of compile and verify under
callgrind instead of seconds, once per case, if valgrind is installed: the same on every run and whatever else the machine does. They say
whether the work is linear; the seconds of 96 layers also have misses of caches that the plan of 24 fits into.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.outcome import Outcome

ROUNDS = 3
SEQUENCE, WIDTH, HEADS, CLASSES = 32, 256, 8, 64
MLP_WIDTH = 256
# Four times the layers each.
GROWTHS = (("dp-24", "dp-96"), ("tp-24", "tp-96"), ("pp-24", "pp-96"), ("mlp-150", "mlp-600"))
WORK = 4.2  # times the instructions


@dataclass(frozen=True)
class Case:
    """A model of `layers` layers on a mesh; rank 0 is compiled, one device per rank."""

    model: str
    layers: int
    axes: tuple[tuple[str, int], ...]
    micro_batches: int = 1

    @property
    def ranks(self) -> int:
        count = 1
        for _, size in self.axes:
            count *= size
        return count

    @property
    def batch(self) -> int:
        return 2 * dict(self.axes)["dp"] * self.micro_batches


MESHES: dict[str, tuple[tuple[tuple[str, int], ...], int]] = {
    "dp": ((("dp", 8),), 1),
    "tp": ((("dp", 8), ("tp", 2)), 1),
    "pp": ((("pp", 4), ("dp", 8), ("tp", 8)), 8),
}
CASES = {
    f"{name}-{layers}": Case("transformer", layers, axes, micro)
    for name, (axes, micro) in MESHES.items()
    for layers in (8, 24, 96)
}
CASES["wide-24"] = Case("transformer", 24, (("dp", 64),))
for _layers in (150, 600):
    CASES[f"mlp-{_layers}"] = Case("mlp", _layers, (("dp", 64),))


def _transformer(flow: Any, layers: int) -> Any:
    """Layers of the ops at hand: norm, attention, residual, norm, MLP, residual."""
    nn, F = flow.nn, flow.nn.functional

    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(flow.ones(WIDTH))
            self.bias = nn.Parameter(flow.zeros(WIDTH))

        def forward(self, x: Any) -> Any:
            centred = x - flow.mean(x, -1, keepdim=True)
            variance = flow.mean(centred * centred, -1, keepdim=True)
            return centred * flow.rsqrt(variance + 1e-5) * self.weight + self.bias

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = Norm(), Norm()
            self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def heads(self, x: Any) -> Any:
            return x.reshape(-1, SEQUENCE, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)

        def forward(self, x: Any) -> Any:
            h = self.norm1(x)
            query, key, value = (self.heads(part(h)) for part in (self.query, self.key, self.value))
            scores = F.softmax(query @ key.permute(0, 1, 3, 2) * (WIDTH // HEADS) ** -0.5, -1)
            mixed = (scores @ value).permute(0, 2, 1, 3).reshape(-1, SEQUENCE, WIDTH)
            x = x + self.out(mixed)
            return x + self.down(F.relu(self.up(self.norm2(x))))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(Layer() for _ in range(layers)))
            self.norm = Norm()
            self.head = nn.Linear(WIDTH, CLASSES)

        def forward(self, x: Any) -> Any:
            return self.head(self.norm(self.layers(x))).reshape(-1, CLASSES)

    return Transformer()


def _mlp(flow: Any, layers: int) -> Any:
    nn = flow.nn
    hidden = [m for _ in range(layers - 1) for m in (nn.Linear(MLP_WIDTH, MLP_WIDTH), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(MLP_WIDTH, CLASSES))


def measure(name: str) -> dict[str, Any]:
    """Seconds, peak memory and counts of one case, in this process."""
    import oneflow as flow
    from oneflow import _core
    from oneflow.steps.batch import leaves_of

    case = CASES[name]
    is_mlp = case.model == "mlp"
    model = (_mlp if is_mlp else _transformer)(flow, case.layers)
    mesh = flow.mesh("cpu", threads=1, **dict(case.axes))
    parallel: Any = "auto"
    if "tp" in dict(case.axes):  # Megatron's: columns, then rows
        columns = {
            f"*.{n}.{p}": {"tp": "S(0)"}
            for n in ("query", "key", "value", "up")
            for p in ("weight", "bias")
        }
        parallel = columns | {f"*.{n}.weight": {"tp": "S(1)"} for n in ("out", "down")}

    def loss(x: Any, y: Any) -> Any:
        return flow.nn.functional.cross_entropy(model(x), y)

    step = flow.train_step(
        loss,
        model=model,
        optimizer=flow.optim.AdamW(model.parameters()),
        mesh=mesh,
        parallel=parallel,
        accumulate=case.micro_batches,
    )
    features = (MLP_WIDTH,) if is_mlp else (SEQUENCE, WIDTH)
    labels = case.batch if is_mlp else case.batch * SEQUENCE
    specs = (flow.spec((case.batch, *features)), flow.spec((labels,), flow.int64))
    bound = step._bind(specs, {})
    program = step._program(bound, leaves_of(bound.arguments), compiled=False)
    graph = program.trace.graph
    target = _core.Target.cpu(ranks=list(range(case.ranks)), threads=1, cores=2)

    begin = time.process_time()
    compiled = _core.compile(
        graph,
        target,
        axes=list(case.axes),
        devices=list(range(case.ranks)),
        micro_batches=case.micro_batches,
        rank=0,
        world_size=case.ranks,
    )
    compiled_at = time.process_time()
    compiled.plan.verify()
    end = time.process_time()
    return {
        "nodes": graph.num_nodes(),
        "compile_s": round(compiled_at - begin, 3),
        "verify_s": round(end - compiled_at, 3),
        "peak_mb": peak_mb(),
        **compiled.plan.counts(),
    }


def peak_mb() -> int:
    """The largest memory of this process, of its own: ru_maxrss begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:", 1)[1].split()[0]) // 1000


def run_once(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan_scale", name]
    child = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if child.returncode == 0:
        return dict(json.loads(child.stdout))
    return {"failed": (child.stderr.strip().splitlines() or ["killed"])[-1]}


# What is counted, with all that they call.
COUNTED = {"compile_mi": "oneflow::CompileComplete(", "verify_mi": "oneflow::VerifyPlan("}
INSTRUCTIONS = re.compile(r"^\s*([\d,]+)")


def count_instructions(name: str) -> dict[str, Any]:
    """Millions of instructions of one case."""
    with tempfile.TemporaryDirectory() as folder:
        counts = f"{folder}/counts"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}"]
        command = [*valgrind, sys.executable, "-m", "benchmarks.plan_scale", name]
        subprocess.run(command, capture_output=True, text=True, timeout=3600, check=True)
        lines = subprocess.run(
            ["callgrind_annotate", "--inclusive=yes", counts],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    row: dict[str, Any] = {}
    for figure, function in COUNTED.items():
        found = next(INSTRUCTIONS.match(line) for line in lines if function in line)
        assert found is not None
        row[figure] = round(int(found[1].replace(",", "")) / 1e6)
    return row


def growth_of_work(names: list[str]) -> Outcome:
    """Instructions of each case, and how many times as many a model of four times the layers takes."""
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        rows[name] = count_instructions(name)
        print(f"{name:10}", *(f"{k} {v}" for k, v in rows[name].items()), file=sys.stderr)
    bars, growths = {}, {}
    for small, large in GROWTHS:
        if small in rows and large in rows:
            growth = sum(rows[large].values()) / sum(rows[small].values())
            growths[f"{large} over {small}"] = round(growth, 3)
            bars[f"bar: {large} in {WORK} times the instructions of {small}"] = growth <= WORK
    return Outcome({**rows, "growth": growths, **bars}, held=all(bars.values()))


def main(arguments: list[str]) -> Outcome:
    counts = "--instructions" in arguments
    names = [name for name in arguments if name != "--instructions"] or list(CASES)
    if counts:
        return growth_of_work([name for name in names if any(name in pair for pair in GROWTHS)])
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            runs[name].append(run_once(name))
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        rows[name] = next((run for run in runs[name] if "failed" in run), runs[name][0])
        if "failed" not in rows[name]:
            for figure in ("compile_s", "verify_s", "peak_mb"):
                rows[name][figure] = statistics.median(run[figure] for run in runs[name])
        print(
            f"{name:10}", *(f"{k} {v}" for k, v in rows[name].items()), file=sys.stderr, flush=True
        )
    bars = judge(rows)
    return Outcome({**rows, **{f"bar: {k}": v for k, v in bars.items()}}, held=all(bars.values()))


def judge(rows: dict[str, dict[str, Any]]) -> dict[str, bool]:
    """The bars of which all cases were measured."""

    def seconds(name: str) -> float:
        return float(rows[name]["compile_s"] + rows[name]["verify_s"])

    bars = {}
    if any("failed" in row for row in rows.values()):
        bars["every case compiles and verifies"] = False
    rows = {name: row for name, row in rows.items() if "failed" not in row}
    if "tp-24" in rows:
        bars["tp-24 in 3 s and 300 MB"] = seconds("tp-24") <= 3 and rows["tp-24"]["peak_mb"] <= 300
    for small, large in GROWTHS:
        if small in rows and large in rows:
            bars[f"{large} in 4.5 times the time of {small}"] = seconds(large) <= 4.5 * seconds(
                small
            )
    if "dp-24" in rows and "wide-24" in rows:
        bars["dp=64 has the tasks and channels of dp=8 within 10 %"] = all(
            rows["wide-24"][count] <= 1.1 * rows["dp-24"][count] for count in ("tasks", "channels")
        )
    if "mlp-600" in rows:
        bars["mlp-600 in 2 GB"] = rows["mlp-600"]["peak_mb"] <= 2000
    return bars


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
