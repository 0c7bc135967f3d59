"""What limits every kernel of BERT-Large and ResNet-50 on an H100, and what a step would take: predicted, no GPU.

    ./dev bench roofline [--json] [--resources] [--only bert-large-s128|bert-large-s512|resnet50]

The plans are what `step.compile_for` gives for one GPU of examples/targets/h100.json, with the batches of the goals.
Flops and bytes are the plan's: one definition per op, each input read once and each output written once. Two times of
each kernel, both predicted:

- limit: the longer of its flops at the device's rate and its bytes at the rate of a copy (benchmarks/roofline_rates.py);
- built: with the shares of those rates that our kernels reach, as measured for some of them and as the headers of
  kernels/cuda/*.cu predict for the others, and the target's cost of a task.

--resources adds registers, shared memory and spills of every kernel of kernels/cuda, from nvcc (minutes the first time).
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from benchmarks.outcome import Outcome
from benchmarks.roofline_rates import COPY, GOALS, built_ns, limit_ns

ROOT = Path(__file__).resolve().parent.parent
H100 = ROOT / "examples" / "targets" / "h100.json"


@dataclasses.dataclass(frozen=True)
class Case:
    """A step whose goal is known: samples of a batch, and of BERT words of a sequence and those that are masked."""

    model: str
    batch: int
    words: int = 0
    masked: int = 0


CASES = (
    Case("bert-large-s128", 256, 128, 20),
    Case("bert-large-s512", 64, 512, 80),
    Case("resnet50", 256),
)


def step_of(case: Case) -> tuple[Any, dict[str, Any]]:
    """The step in bf16 on one GPU, and the form of its batch."""
    import oneflow as flow
    import oneflow.nn.functional as F
    from oneflow import models

    mesh = flow.mesh("cuda", dp=1)
    if case.model == "resnet50":
        from benchmarks.scaling_cases import Layout, resnet_step

        batch = {
            "images": flow.spec((case.batch, 3, 224, 224)),
            "labels": flow.spec((case.batch,), flow.int64),
        }
        return resnet_step(models.resnet50(), mesh, Layout("one", ()), "bf16", None), batch

    # The vocabulary is padded, and only the masked places have scores: as the goals were reckoned.
    config = dataclasses.replace(models.BertConfig.large(), vocab_size=30528)
    bert = models.BertForPreTraining(config)

    @flow.train_step(
        model=bert,
        optimizer=flow.optim.AdamW(bert.parameters(), lr=1e-4),
        mesh=mesh,
        precision="bf16",
    )
    def step(tokens: Any, types: Any, places: Any, labels: Any, follows: Any) -> Any:
        features, pooled = bert.bert(tokens, None, types)
        masked = F.embedding(places, features.flatten(0, 1))
        scores = bert.cls.predictions(masked)
        return F.cross_entropy(scores, labels) + F.cross_entropy(
            bert.cls.seq_relationship(pooled), follows
        )

    words = flow.spec((case.batch, case.words), flow.int64)
    places = flow.spec((case.batch * case.masked,), flow.int64)
    follows = flow.spec((case.batch,), flow.int64)
    batch = {"tokens": words, "types": words, "places": places, "labels": places}
    return step, {**batch, "follows": follows}


def operands(kernel: dict[str, Any]) -> str:
    """The types of a kernel, as `bf16[4,8] bf16[8,2] -> bf16[4,2]`."""

    def texts(types: list[tuple[str, tuple[int, ...]]]) -> str:
        return " ".join(f"{dtype}[{','.join(map(str, shape))}]" for dtype, shape in types)

    return f"{texts(kernel['inputs'])} -> {texts(kernel['outputs'])}"


def sheet(
    kernels: list[dict[str, Any]], overhead_ns: float
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A row for all kernels of an op on the same types, and the sums over all rows."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for kernel in kernels:
        # A move's bytes are read and written.
        size = kernel["bytes"] * (2 if kernel["moves"] else 1)
        limit, binds = limit_ns(kernel["op"], kernel["inputs"], kernel["flops"], size)
        built = built_ns(kernel["op"], kernel["inputs"], kernel["flops"], size)
        row = groups.setdefault(
            (kernel["op"], operands(kernel)),
            {"count": 0, "bytes": size, "flops": kernel["flops"], "limit": limit}
            | {"binds": binds, "built": built + overhead_ns},
        )
        row["count"] += kernel["firings"]
    sums = {
        key: float(sum(row[key] * row["count"] for row in groups.values()))
        for key in ("bytes", "flops", "limit", "built")
    }
    rows = [
        {
            "op": op,
            "operands": types,
            "count": row["count"],
            "MB": round(row["bytes"] / 1e6, 3),
            "Gflop": round(row["flops"] / 1e9, 4),
            "limit_us": round(row["limit"] / 1e3, 2),
            "binds": row["binds"],
            "share": round(row["limit"] * row["count"] / sums["limit"], 4),
            "built_us": round(row["built"] / 1e3, 2),
            "built_share": round(row["built"] * row["count"] / sums["built"], 4),
        }
        for (op, types), row in groups.items()
    ]
    rows.sort(key=lambda row: (-row["share"], row["op"], row["operands"]))
    sums["kernels"] = float(sum(row["count"] for row in rows))
    return rows, sums


def by_op(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of each op together."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row["op"], {"op": row["op"], "count": 0, "GB": 0.0, "Tflop": 0.0})
        one["count"] += row["count"]
        one["GB"] += row["MB"] * row["count"] / 1e3
        one["Tflop"] += row["Gflop"] * row["count"] / 1e3
        for key in ("limit", "built"):
            one[f"{key}_ms"] = one.get(f"{key}_ms", 0.0) + row[f"{key}_us"] * row["count"] / 1e3
        for key in ("share", "built_share"):
            one[key] = one.get(key, 0.0) + row[key]
    rounded = [
        {key: round(value, 3) if isinstance(value, float) else value for key, value in one.items()}
        for one in found.values()
    ]
    return sorted(rounded, key=lambda one: (-one["limit_ms"], one["op"]))


def one_gpu() -> Any:
    """The target: one GPU of the described machine."""
    import oneflow as flow

    return dataclasses.replace(flow.Target.load(H100), devices_per_host=1)


def resources() -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each kernel template of kernels/cuda, its instances together; and those that spill."""
    from tools import cuda_resources

    if why := cuda_resources.missing():
        raise RuntimeError(why)
    found: dict[tuple[str, str], list[cuda_resources.Resources]] = {}
    every = []
    for file in cuda_resources.files():
        for one in cuda_resources.compile_file(file, "90"):
            found.setdefault((file, one.kernel.split("<")[0]), []).append(one)
            every.append(one)
    rows = [
        {
            "file": f"{file}.cu",
            "kernel": kernel,
            "instances": len(of),
            "least_registers": min(one.registers for one in of),
            "most_registers": max(one.registers for one in of),
            "most_shared_bytes": max(one.shared_bytes for one in of),
            "most_stack_bytes": max(one.stack_bytes for one in of),
            "most_spilled_bytes": max(one.spilled_bytes for one in of),
        }
        for (file, kernel), of in sorted(found.items())
    ]
    return rows, cuda_resources.spills(every)


def main(arguments: list[str]) -> Outcome:
    parser = argparse.ArgumentParser(prog="./dev bench roofline")
    parser.add_argument("--resources", action="store_true", help="registers and spills, from nvcc")
    parser.add_argument("--only", choices=[case.model for case in CASES], default="")
    options = parser.parse_args(arguments)
    target = one_gpu()
    steps: list[dict[str, Any]] = []
    figures: dict[str, Any] = {
        "predicted": "all times: from plans, and rates of which some were measured"
    }
    for case in CASES:
        if options.only not in ("", case.model):
            continue
        step, batch = step_of(case)
        plan = step.compile_for(target, **batch)
        rows, sums = sheet(plan.kernels(), target.task_overhead_us * 1e3)
        figures[f"{case.model}_by_op"] = by_op(rows)
        figures[f"{case.model}_kernels"] = rows
        memory = plan.memory()[0]
        steps.append(
            {
                "model": case.model,
                "batch": case.batch,
                "kernels": int(sums["kernels"]),
                "Tflop": round(sums["flops"] / 1e12, 2),
                "GB": round(sums["bytes"] / 1e9, 1),
                "memory_GiB": round((memory["arena_bytes"] + memory["state_bytes"]) / 2**30, 1),
                "limit_ms": round(sums["limit"] / 1e6, 1),
                "limit_per_s": round(case.batch / sums["limit"] * 1e9),
                "built_ms": round(sums["built"] / 1e6, 1),
                "built_per_s": round(case.batch / sums["built"] * 1e9),
                **GOALS[case.model],
            }
        )
    figures["predicted_steps"] = steps
    spilling: list[str] = []
    if options.resources:
        figures["resources_sm_90"], spilling = resources()
        figures["spilling"] = spilling
    figures["copy_tb_per_s"] = COPY / 1e12
    return Outcome(figures, held=not spilling, counts={"models": len(steps)})
