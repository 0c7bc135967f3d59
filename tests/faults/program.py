"""What every rank runs: a small training with checkpoints that stops at one event for a fault to strike.

Arguments: a folder, and a JSON object: `stage` and `victim` say where (docs of tests/faults/job.py), `count` at which
of the events of that stage, `epoch` in which start of the job; `odd` makes the victim's program another one. The
victim writes `event` into the folder and waits for `struck`. Losses go to `ledger<rank>`, by step.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import _core, nn, publication
from oneflow.snapshot import Snapshot
from oneflow.steps import train

RANKS, STEPS, EVERY, KEEP = 3, 24, 6, 2
FOLDER = Path(sys.argv[1])
PLAN = json.loads(sys.argv[2])
RANK, EPOCH = int(os.environ.get("RANK", "0")), int(os.environ.get("ONEFLOW_EPOCH", "0"))
IS_VICTIM = PLAN["victim"] == RANK and PLAN["epoch"] == EPOCH
_seen = 0


def strike(name: str) -> None:
    """Lets whoever watches strike, and goes on."""
    (FOLDER / f"{name}.new").write_text(str(os.getpid()))
    (FOLDER / f"{name}.new").rename(FOLDER / name)
    deadline = time.monotonic() + 60
    while not (FOLDER / f"{name}.struck").exists():
        assert time.monotonic() < deadline, "nothing struck"
        time.sleep(0.002)


def event(stage: str) -> None:
    global _seen
    if not IS_VICTIM or PLAN["stage"] != stage:
        return
    _seen += 1
    if _seen == PLAN["count"]:
        strike("event")


def connect(**options: Any) -> Any:
    event("rendezvous")
    if RANK == RANKS - 1:
        time.sleep(0.15)  # so that there is a time when some have met and one has not
    if not IS_VICTIM or PLAN["stage"] != "handshake":
        return real_connect(**options)
    timer = threading.Timer(PLAN["delay"], event, ["handshake"])
    timer.start()
    connected = real_connect(**options)
    timer.join()  # what strikes has its time, though the others have met by then
    return connected


def watched(call: Any) -> Any:
    """Waits, when it fails, until whoever made it fail has seen that."""

    def both(*arguments: Any) -> Any:
        event("checkpoint")
        try:
            return call(*arguments)
        except flow.CheckpointError as error:
            if RANK == 0 and not isinstance(error, flow.StaleRunError):  # that one ends the job
                strike("failed")
            raise

    return both


def counted(call: Any) -> Any:
    def both(*arguments: Any, **options: Any) -> Any:
        event("checkpoint")
        return call(*arguments, **options)

    return both


real_connect, _core.connect = _core.connect, connect
train.take = watched(train.take)
Snapshot.write = watched(Snapshot.write)  # type: ignore[method-assign]
os.fsync, os.rename = counted(os.fsync), counted(os.rename)
publication._write = counted(publication._write)

random = np.random.default_rng(0)
x = random.standard_normal((60, 128)).astype(np.float32)
y = random.integers(0, 8, 60)
flow.manual_seed(0)
odd = PLAN.get("odd", "") if PLAN["victim"] == RANK else ""
width = 136 if odd == "width" else 128
model = nn.Sequential(nn.Linear(128, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 8))


def loss_of(images: Any, labels: Any) -> Any:
    event("compile")
    if odd == "op":
        images = images * 2.0
    return F.cross_entropy(model(images), labels)


step = flow.train_step(
    loss_of,
    model=model,
    optimizer=flow.optim.AdamW(model.parameters(), lr=0.01),
    mesh=flow.mesh("cpu", threads=1, dp=RANKS),
    seed=1,
)
loader = flow.data.DataLoader(
    flow.data.TensorDataset(x, y), 9 if odd == "batch" else 12, shuffle=True, seed=2
)
kept = flow.Checkpoint(FOLDER / "checkpoints", every=EVERY, keep=KEEP)
for metrics in step.run(loader, steps=STEPS, checkpoint=kept):
    number = int(metrics["step"])
    event("first step" if number == 0 else "mid step")
    if PLAN.get("crash") == RANK and EPOCH == 0 and number == 2:
        os.kill(os.getpid(), 9)
    with open(FOLDER / f"ledger{RANK}", "a") as file:
        file.write(json.dumps([number, float(metrics["loss"]).hex()]) + "\n")
event("end")
print("done", RANK, flush=True)
