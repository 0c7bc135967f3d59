"""Kills at random events, restarts, and one oracle: parameters and the ledger of samples are those of an undisturbed run.

A job of two ranks trains with checkpoints every 2 steps. In each epoch one rank kills itself with SIGKILL at an event
that was drawn from a seed: a sample read, a step finished, a file forced onto the disk, a folder renamed. The launcher
starts the job again until it is done.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from oneflow import manifest

PROGRAM = """
import json, os, signal, sys
from pathlib import Path

folder, steps, kills = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
rank, epoch = int(os.environ["RANK"]), int(os.environ["ONEFLOW_EPOCH"])
who, when = kills[epoch] if epoch < len(kills) else (-1, 0)
events = 0


def event():
    global events
    events += 1
    if rank == who and events == when:
        os.kill(os.getpid(), signal.SIGKILL)


def counted(call):
    def both(*arguments, **options):
        event()
        result = call(*arguments, **options)
        event()
        return result
    return both


os.fsync, os.rename = counted(os.fsync), counted(os.rename)
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

rng = np.random.default_rng(0)
x, y = rng.standard_normal((56, 6)).astype(np.float32), rng.integers(0, 3, 56)


class Samples:
    def __len__(self):
        return len(x)

    def __getitem__(self, i):
        event()
        return x[i], y[i], np.int64(i)


flow.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3))
step = flow.train_step(
    lambda x, y, i: {"loss": F.cross_entropy(model(x), y), "samples": i},
    model=model, optimizer=flow.optim.AdamW(model.parameters(), lr=0.01),
    mesh=flow.mesh("cpu", dp=2), seed=1,
)
loader = flow.data.DataLoader(Samples(), 8, shuffle=True, seed=2)
checkpoint = flow.Checkpoint(folder / "checkpoints", every=2, keep=2)
for metrics in step.run(loader, steps=steps, checkpoint=checkpoint):
    record = [int(metrics["step"]), metrics["samples"].tolist(), float(metrics["loss"]).hex()]
    with open(folder / f"ledger{rank}", "a") as file:
        file.write(json.dumps(record) + "\\n")
    event()
"""
ENTRIES = {"steps", "loader", "seeds", "extra", "files"}
MOST_EVENTS = 60  # of a rank in its first 14 steps; later draws kill nobody, and the job ends


@dataclass
class Result:
    ledger: dict[int, object]  # by step: samples and loss
    files: dict[str, bytes]  # of the last checkpoint, but for the epoch of its run
    restarts: int


def draw(seed: int, kills: int) -> list[tuple[int, int]]:
    """(rank, event) of each epoch."""
    chosen = random.Random(seed)
    return [(chosen.randrange(2), chosen.randrange(1, MOST_EVENTS)) for _ in range(kills)]


def run(folder: Path, steps: int, kills: list[tuple[int, int]]) -> Result:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(len(kills)), str(program), str(folder), str(steps)]
    ran = subprocess.run(
        [*command, json.dumps(kills)],
        capture_output=True,
        text=True,
        timeout=60 + 30 * len(kills),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    ledger: dict[int, object] = {}
    for path in sorted(folder.glob("ledger*")):
        for line in path.read_text().splitlines():
            try:
                step, *rest = json.loads(line)
            except ValueError:
                continue  # written by halves when it was killed
            # A step that was made again, and every rank, consumed the same samples with the same loss.
            assert ledger.setdefault(step, rest) == rest, f"step {step} differs"
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    assert last.name == f"step-{steps:08d}"
    files = {path.name: path.read_bytes() for path in last.iterdir()}
    assert sorted(files) == [
        "manifest.json",
        *(
            f"{kind}-0000{n}-of-00002.safetensors"
            for kind in ("model", "optimizer")
            for n in (1, 2)
        ),
    ]
    body = manifest.unsealed(files["manifest.json"], {"format", "epoch", *ENTRIES})
    assert 1 <= body.pop("epoch") <= 1 + len(kills)
    del body["crc32c"]
    files["manifest.json"] = manifest.sealed(body)
    return Result(ledger, files, ran.stderr.count("oneflow-launch: restart "))


def assert_same(disturbed: Result, undisturbed: Result) -> None:
    assert disturbed.ledger == undisturbed.ledger
    for name in undisturbed.files:
        assert disturbed.files[name] == undisturbed.files[name], f"{name} differs"
