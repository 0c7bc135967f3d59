"""A captured step of ResNet-50, BERT-Large and GPT-2 small on software GPUs is one launch, and the host waits in none.

All layers, one device, dp=2, tp=2 and pp=2, on one GPU and on two; batches, images and texts as small as they go, and
transformers 64 and 96 wide: what the host asks for depends on the ops of a step, not on how large they are. Arguments: names of
models and layouts, and `wide` for the transformers' own widths (minutes a step, 12 GB).

Judged by the trace of software CUDA, call by call: no call of a step may wait for the GPU, neither in the step that is
captured nor behind it; from then on a step has five calls at most, with the wait of the other thread, on however many
GPUs (docs/cuda.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import process, results

COST = "21 cases in processes of their own: a quarter of an hour, 4 GB"
LIMIT = 3600.0  # seconds of a case
IN_FLIGHT = 4  # steps, each of which has a graph of its own
STEPS = IN_FLIGHT + 2

MODELS = ("resnet-50", "bert-large", "gpt2-small")
LAYOUTS: dict[str, tuple[dict[str, int], int]] = {
    "one": ({"dp": 1}, 1),
    "dp2": ({"dp": 2}, 1),
    "tp2": ({"tp": 2}, 1),
    "pp2": ({"pp": 2}, 2),
}
NARROW = 64


@dataclass(frozen=True)
class Case:
    model: str
    layout: str
    gpus: int
    wide: bool

    @property
    def name(self) -> str:
        return f"{self.model} {self.layout} on {self.gpus} GPU{'s' if self.gpus > 1 else ''}"


def build(case: Case) -> tuple[Any, Any, list[Any]]:
    """Model, loss and batch: two samples, and as many in each of two micro-batches."""
    import numpy as np
    import oneflow.nn.functional as F
    from oneflow import models

    random = np.random.default_rng(0)
    rows = 2 * LAYOUTS[case.layout][1]
    if case.model == "resnet-50":
        net = models.resnet50()
        images = random.standard_normal((rows, 3, 32, 32)).astype(np.float32)
        return (
            net,
            lambda x, y: F.cross_entropy(net(x), y),
            [images, random.integers(0, 1000, rows)],
        )
    words = 8
    if case.model == "gpt2-small":
        sizes = {} if case.wide else {"n_embd": 12 * NARROW // 8, "vocab_size": 512}
        config = models.GPT2Config(n_positions=words, **sizes)
        net = models.GPT2(config)
        tokens = random.integers(0, config.vocab_size, (rows, words + 1))

        def next_word(batch: Any) -> Any:
            scores = net(batch[:, :-1])
            return F.cross_entropy(scores.reshape(-1, config.vocab_size), batch[:, 1:].reshape(-1))

        return net, next_word, [tokens]
    width = 1024 if case.wide else NARROW
    bert = models.BertConfig(
        vocab_size=30522 if case.wide else 512,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=24,
        num_attention_heads=16,
        max_position_embeddings=words,
    )
    net = models.BertForPreTraining(bert)
    tokens = random.integers(0, bert.vocab_size, (rows, words))
    mask = np.ones((rows, words), np.int64)
    mask[1, words // 2 :] = 0
    labels = np.where(random.random((rows, words)) < 0.4, tokens, -100)

    def pretraining(tokens: Any, mask: Any, types: Any, labels: Any, follows: Any) -> Any:
        return models.pretraining_loss(*net(tokens, mask, types), labels, follows)

    return net, pretraining, [tokens, mask, np.zeros_like(tokens), labels, np.arange(rows) % 2]


def run(case: Case) -> dict[str, Any]:
    """Trains, and reads the trace: figures, and under `wrong` what should not be there."""
    import numpy as np
    import oneflow as flow
    from oneflow.models import tensor_parallel

    from tests.e2e.soft_gpus import soft_gpus, soft_memory
    from tests.e2e.soft_trace import PLUGIN, WAITS, steps_of, traced

    os.environ["ONEFLOW_CUDA_LIBRARY"] = str(PLUGIN)
    axes, accumulate = LAYOUTS[case.layout]
    flow.manual_seed(0)
    net, loss, batch = build(case)
    parallel: Any = "auto"
    if case.layout == "tp2":
        parallel = (
            {"*conv*.weight": {"tp": "S(0)"}} if case.model == "resnet-50" else tensor_parallel(net)
        )
    with soft_gpus(case.gpus), soft_memory(64 << 30):
        step = flow.train_step(
            loss,
            model=net,
            optimizer=flow.optim.AdamW(net.parameters(), lr=1e-3),
            mesh=flow.mesh("cuda", threads=1, **axes),
            accumulate=accumulate,
            parallel=parallel,
        )
        losses = [float(step(*batch)["loss"])]
        with traced() as calls:
            losses += [float(step(*batch)["loss"]) for _ in range(STEPS)]
        plan = step.compile(*batch)
    steps = steps_of(calls)
    capture, replayed = steps.launches[0], steps.launches[IN_FLIGHT:]
    most = 5
    wrong = []
    if len(steps.launches) != STEPS or not np.isfinite(losses).all():
        wrong.append(f"{len(steps.launches)} steps, losses {losses}")
    for number, one in enumerate(steps.launches):
        waits = sorted(WAITS.intersection(call.name for call in one))
        if waits:
            wrong.append(f"step {number + 1} waits: {', '.join(waits)}")
    for number, one in enumerate(replayed):
        launches = sum(call.name == "graph_launch" for call in one)
        kernels = sum(call.name == "launch" for call in one)
        if launches != 1 or kernels or len(one) + 1 > most:
            wrong.append(
                f"step {number + 1 + IN_FLIGHT} has {len(one)} calls, {launches} launches of a graph"
            )
    if [call.thing for call in steps.waits] != steps.ends:
        wrong.append("the other thread waits for more than the ends of steps")
    return {
        "kernels": sum(call.name == "launch" for call in capture),
        "waits_between_streams": sum(call.name == "stream_wait" for call in capture),
        "calls_uncaptured": sum(call.captured for call in capture),
        "calls": max(len(one) for one in replayed) + 1,
        "most": most,
        "tasks": plan.core.num_tasks,
        "parameters": sum(int(np.prod(p.shape)) for p in net.parameters()),
        "wrong": wrong,
    }


def in_a_process(case: Case) -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.long.cuda_steps", json.dumps(vars(case))]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        code = process.run(command, LIMIT, cwd=results.ROOT, env={"OMP_NUM_THREADS": "1"}, log=log)
        lines = log.read_text(errors="replace").splitlines()
    if code != 0 or not lines:
        return {"wrong": [f"exit code {code}: {' | '.join(lines[-3:])}"]}
    return dict(json.loads(lines[-1]))


def main(arguments: list[str]) -> int:
    known = {*MODELS, *LAYOUTS, "wide"}
    if unknown := set(arguments) - known:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        return 2
    subprocess.run(["./dev", "build", "release"], cwd=results.ROOT, check=True)
    wide = "wide" in arguments
    models = [model for model in MODELS if model in arguments] or list(MODELS)
    layouts = [layout for layout in LAYOUTS if layout in arguments] or list(LAYOUTS)
    figures: dict[str, Any] = {"wide": wide}
    failed = 0
    for model in models:
        for layout in layouts:
            for gpus in (1,) if layout == "one" else (1, 2):
                case = Case(model, layout, gpus, wide)
                start = time.monotonic()
                figures[case.name] = found = in_a_process(case)
                failed += bool(found["wrong"])
                text = "; ".join(found["wrong"]) or (
                    f"{found['calls']} calls (at most {found['most']}), {found['kernels']} kernels, "
                    f"{found['waits_between_streams']} waits between streams"
                )
                print(f"{case.name:28} {text} ({time.monotonic() - start:.0f} s)", flush=True)
    cases = len(figures) - 1
    code = 1 if failed else 0
    results.append(
        "cuda-steps", counts={"cases": cases, "failed": failed}, figures=figures, exit_code=code
    )
    print(f"{cases - failed} passed, {failed} failed, 0 skipped")
    return code


if __name__ == "__main__":  # a case
    print(json.dumps(run(Case(**json.loads(sys.argv[1])))))
