"""One rank of a job on software GPUs: trains a model under a layout and writes what it got, and what each GPU was
seen doing. Started by test_cuda_processes.py; ACTION says what goes wrong with which rank:

train    nothing
kill     rank 1 ends itself with SIGKILL while the others are in a step
leave    rank 1 ends in peace one step early
label    rank 1's GPU finds a label out of range
deaf     rank 0 makes ids that nobody can join by
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow

from tests.e2e.layouts import BY_NAME, Run, make_batch
from tests.e2e.soft_gpus import soft_gpus
from tests.e2e.soft_trace import PLUGIN, Call, traced
from tests.e2e.test_cuda_nccl import LAYOUTS, Training

Results = dict[str, np.ndarray]


class Attention(flow.nn.Module):
    """A causal layer whose attention an engine of a library may do."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = flow.nn.Linear(16, 48)
        self.out = flow.nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        q, k, v = (
            part.reshape(part.shape[0], 64, 2, 8).transpose(1, 2)
            for part in self.heads(x).chunk(3, -1)
        )
        y = flow.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(y.shape[0], 64, 16).mean(1))


def attention() -> tuple[Results, list[dict[str, Any]]]:
    """Losses and states after three steps in bf16 under dp2."""
    flow.manual_seed(0)
    model, random = Attention(), np.random.default_rng(1)
    step = flow.train_step(
        lambda x, y: flow.nn.functional.cross_entropy(model(x), y),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
        mesh=flow.mesh("cuda", dp=2),
        precision="bf16",
    )
    x, y = random.standard_normal((4, 64, 16)).astype(np.float32), np.arange(4) % 3
    losses = [float(step(x, y)["loss"]) for _ in range(3)]
    states = flow.gather(model.state_dict())
    results = {name: value.numpy().copy() for name, value in states.items()}
    return {"losses": np.array(losses), **results}, step.counters()


def train(model: str, layout: str) -> tuple[Results, list[int]]:
    """Losses and states after three steps, and the GPU of each device of this rank."""
    if model == "attention":
        results, counters = attention()
        losses = results.pop("losses")
    elif model == "wide":
        training = Training(*LAYOUTS[layout])
        losses = np.array(training.run())
        counters = training.step.counters()
        states = flow.gather(training.model.state_dict())
        results = {name: value.numpy().copy() for name, value in states.items()}
    else:
        run = Run(model, replace(BY_NAME[layout], kind="cuda"))
        results = run.train([make_batch(model, run.layout.batch, i) for i in range(3)])
        losses, counters = run.losses, run.counters
    return {"losses": losses, **results}, [c["gpu"] for c in counters]


def what_was_done(calls: list[Call]) -> dict[str, int]:
    """Kernels, calls, ends of messages and the calls that they are ("messages") of the captured step by GPU,
    "launch 0", and communicators."""
    names = ("launch", "collective", "send", "receive", "messages")
    counts = Counter(f"{c.name} {c.gpu}" for c in calls if c.captured and c.name in names)
    return counts + Counter(c.name for c in calls if c.name in ("comms_join", "comms_create"))


def go_wrong(action: str, folder: Path) -> None:
    rank = flow.rank()
    (folder / f"pid{rank}").write_text(str(os.getpid()))
    training = Training(*LAYOUTS["dp2"])
    training.run(2)
    if rank == 1 and action == "kill":
        # Half a second later rank 0 is in its step, and waits there for this one.
        while not (folder / "in step").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    x = np.zeros((8, 8), np.float32)
    y = np.full(8, 3 if action == "label" and rank == 1 else 0)
    if action == "label":
        y[:4] = 0  # device 0 has these
    if rank == 1 and action == "leave":
        return
    if action == "kill":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself, not by the launcher
    (folder / "in step").touch()
    metrics = training.step(x, y)
    if action == "label" and rank == 0:
        time.sleep(1)  # its loss is of wrong data too, and nothing that it should look at
    try:
        float(metrics["loss"])
    except flow.DataError as error:
        print(f"rank {rank} found: {error}", file=sys.stderr)
        training.run(1)  # alone it could
    except flow.PeerError:
        metrics._store.session.close()
        (folder / f"ended{rank}").touch()
        raise
    print(f"rank {rank} goes on", flush=True)


def choose_algorithms() -> None:
    """TEST_ALGORITHMS has a value of ONEFLOW_CUDA_ALGORITHMS for each rank."""
    if values := os.environ.get("TEST_ALGORITHMS"):
        os.environ["ONEFLOW_CUDA_ALGORITHMS"] = values.split(",")[flow.rank()]


def main() -> None:
    choose_algorithms()
    action, gpus, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    with soft_gpus(gpus, nccl=os.environ.get("TEST_NCCL", "on") == "on"):
        if action == "deaf":
            ctypes.CDLL(str(PLUGIN)).oneflow_soft_cuda_set_deaf(int(flow.rank() == 0))
        if action != "train":
            go_wrong(action, folder)
            return
        with traced() as calls:
            results, placed = train(*sys.argv[4:6])
    counts = what_was_done(calls)
    path = f"{folder}/rank{flow.rank()}.npz"
    np.savez(path, placed=placed, did=np.array([f"{k}={v}" for k, v in counts.items()]), **results)


if __name__ == "__main__":
    main()
