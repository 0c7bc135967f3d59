"""What a checkpoint costs a training: its stall, how fast it is written, beside a plain write and torch.save.

    ./dev bench checkpoints [--mib 256] [--rounds 5]

A multilayer perceptron with AdamW whose states have about so many MiB trains on one device. In each of ROUNDS some
steps run without a checkpoint, then one is due: its stall is what that step took longer than the median step, and
training goes on until it is on the disk. Then the same bytes are written as one plain file with fsync, and, where
PyTorch is found, by torch.save (training would stand still) with fsync behind it. All on one disk, taking turns; other
load shows in the spread. The bar: no stall is longer than 0.5 s or one step, whichever is more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import checkpoint, nn
from oneflow.snapshot import Snapshot

from benchmarks.outcome import Outcome

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 1024
STEPS = 8  # without a checkpoint, in each round
LIMIT_S = 0.5


class Training:
    """Steps one by one, and how long each took."""

    def __init__(self, mib: int) -> None:
        layers = max(1, round(mib * 2**20 / (3 * 4 * WIDTH * WIDTH)))
        flow.manual_seed(0)
        self.model = nn.Sequential(
            *(layer for _ in range(layers) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU()))
        )
        self.step = flow.train_step(
            lambda x, y: F.cross_entropy(self.model(x), y),
            model=self.model,
            optimizer=flow.optim.AdamW(self.model.parameters(), lr=1e-3),
            mesh=flow.mesh("cpu"),
        )
        rng = np.random.default_rng(0)
        self.batch = (
            rng.standard_normal((64, WIDTH)).astype(np.float32),
            rng.integers(0, WIDTH, 64),
        )
        self.seconds: list[float] = []

    def steps(self, folder: Path, every: int, until: Callable[[], bool]) -> None:
        """Runs until `until`, which is asked after each step."""
        self.seconds = []
        kept = flow.Checkpoint(folder, every=every)
        begin = time.perf_counter()
        for metrics in self.step.run([self.batch] * 1000, None, kept, resume="never"):
            float(metrics["loss"])  # without it the loop would run ahead of the device
            self.seconds.append(time.perf_counter() - begin)
            if until():
                break
            begin = time.perf_counter()


def timed(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def plain_write(path: Path, data: list[np.ndarray]) -> None:
    with open(path, "wb", buffering=0) as file:
        for array in data:
            file.write(array)
        os.fsync(file.fileno())


def torch_save(path: Path, tensors: dict[str, Any], torch: Any) -> None:
    torch.save(tensors, path)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def main(arguments: list[str]) -> Outcome:
    parser = argparse.ArgumentParser(prog="./dev bench checkpoints")
    parser.add_argument("--mib", type=int, default=256, help="of states, about")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    try:
        import torch
    except ImportError:
        torch = None
    training = Training(options.mib)
    written: list[float] = []
    write = Snapshot.write

    def watched(snapshot: Snapshot) -> None:
        written.append(timed(lambda: write(snapshot)))

    rows = []
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        folder = Path(name)
        training.steps(folder / "none", 0, lambda: len(training.seconds) == 2)  # compiles
        shutil.rmtree(folder / "none", ignore_errors=True)
        Snapshot.write = watched  # type: ignore[method-assign]
        for number in range(options.rounds):
            rows.append(_round(training, folder / str(number), written, torch))
            shutil.rmtree(folder / str(number))
        Snapshot.write = write  # type: ignore[method-assign]
    limit = max(LIMIT_S, statistics.median(row["step_s"] for row in rows))
    worst = max(row["stall_s"] for row in rows)
    figures = {
        "rounds": rows,
        **{
            f"median_{key}": round(statistics.median(row[key] for row in rows), 3)
            for key in rows[0]
        },
        "worst_stall_s": worst,
        "limit_s": round(limit, 3),
    }
    return Outcome(figures, worst <= limit, counts={"rounds": options.rounds})


def _round(training: Training, folder: Path, written: list[float], torch: Any) -> dict[str, Any]:
    done = len(written)
    due = training.step.optimizer.steps + STEPS
    training.steps(folder / "run", due, lambda: len(written) > done)
    usual = statistics.median(training.seconds[: STEPS - 1])
    during = training.seconds[STEPS:]
    found = checkpoint.find(folder / "run")
    assert found is not None and found.steps % due == 0  # on a busy disk another one was due
    tensors = {**found.model, **found.optimizer}
    data = [np.array(tensor.numpy()).reshape(-1) for tensor in tensors.values()]
    count = sum(array.nbytes for array in data)
    plain = timed(lambda: plain_write(folder / "plain", data))
    row = {
        "mib": round(count / 2**20, 1),
        "step_s": round(usual, 3),
        "stall_s": round(training.seconds[STEPS - 1] - usual, 3),
        "written_s": round(written[done], 3),
        "steps_meanwhile": len(during),
        "mib_per_s": round(count / 2**20 / written[done], 1),
        "plain_mib_per_s": round(count / 2**20 / plain, 1),
        "verified_and_read_s": round(timed(lambda: checkpoint.find(folder / "run")), 3),
    }
    if torch is not None:
        held = {name: torch.from_numpy(array) for name, array in zip(tensors, data, strict=True)}
        row["torch_save_s"] = round(timed(lambda: torch_save(folder / "saved", held, torch)), 3)
    return row
