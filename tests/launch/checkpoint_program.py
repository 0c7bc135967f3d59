"""One rank of a job that restores a checkpoint, writes it again, goes on with a run and writes that; test_checkpoints.py.

Arguments: axes of the mesh as JSON, a folder to write into, a checkpoint to restore or "", the folder of the run, its
steps. In the environment `EVERY` says how often it is saved, and `PLANT` makes one rank misbehave.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import checkpoint, nn, receipts, snapshot
from oneflow.store import Store

X = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 4, 32)
AXES: dict[str, int] = json.loads(sys.argv[1]) if __name__ == "__main__" else {}
PLANT = os.environ.get("PLANT", "")
EVERY = int(os.environ.get("EVERY", "2"))


class Run:
    """A model with tied weights; under tp some parameters are split by rule."""

    def __init__(self, axes: dict[str, int]) -> None:
        flow.manual_seed(3)
        self.model = nn.Sequential(
            nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        )
        self.model[3].weight = self.model[2].weight
        rules = {"0.weight": {"tp": "S(0)"}, "4.weight": {"tp": "S(1)"}} if "tp" in axes else {}
        self.step = flow.train_step(
            lambda x, y: F.cross_entropy(self.model(x), y),
            model=self.model,
            optimizer=flow.optim.AdamW(self.model.parameters(), lr=0.02),
            mesh=flow.mesh("cpu", threads=1, **axes),
            parallel=rules or "auto",
            seed=1,
        )
        self.loader = flow.data.DataLoader(flow.data.TensorDataset(X, Y), 8, shuffle=True, seed=2)


def misbehave() -> None:
    """What `PLANT` says, on rank 1; "late" on rank 0, which takes a while to say of what it dies."""
    if PLANT == "late" and flow.rank() == 0:
        shown = sys.excepthook
        sys.excepthook = lambda *error: (time.sleep(1), shown(*error))[1]
    if flow.rank() != 1:
        return
    if PLANT == "full":
        write_files, calls = snapshot.write_files, [0]

        def full(*arguments: Any) -> Any:
            calls[0] += 1
            if calls[0] == 1:
                raise OSError(28, "No space left on device")
            return write_files(*arguments)

        snapshot.write_files = full
    elif PLANT == "silent":
        receipts.leave = lambda *_: None
    elif PLANT == "lies":
        leave = receipts.leave
        receipts.leave = lambda partial, rank, files, why="": (
            (partial / sorted(files)[0]).write_bytes(b"short"),
            leave(partial, rank, files, why),
        )
    elif PLANT == "damage":
        check_file = checkpoint.check_file

        def damaged(path: Path, *arguments: Any) -> Any:
            if path.parent.name == "step-00000004":
                raise flow.CheckpointError(f"{path}: planted")
            return check_file(path, *arguments)

        checkpoint.check_file = damaged


def main() -> None:
    folder, before, kept, steps = Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
    misbehave()
    if "tp" not in AXES:  # then some rank holds each tensor whole, and nothing moves
        Store.gather = None  # type: ignore[assignment, method-assign]
    if before:
        other = Run(AXES)
        other.step.restore(before)
        other.step.save(folder / "again")
    run = Run(AXES)
    for metrics in run.step.run(run.loader, steps, checkpoint=flow.Checkpoint(kept, every=EVERY)):
        print("loss", int(metrics["step"]), float(metrics["loss"]).hex(), flush=True)
    run.step.save(folder / "end", extra={"steps": run.step.optimizer.steps})


if __name__ == "__main__":
    main()
