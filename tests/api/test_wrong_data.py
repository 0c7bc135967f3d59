"""A batch with wrong values is a DataError that changes nothing: the next one trains as if it had never come."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

from tests.e2e.soft_trace import PLUGIN

CLASSES = 3


class Net(nn.Module):
    """Running statistics are written in the forward pass, before the labels are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(4 * 4 * 4, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.out(self.drop(F.relu(self.norm(self.conv(x)))).flatten(1))


class Trainer:
    def __init__(self, axes: dict[str, int], accumulate: int = 1, kind: str = "cpu") -> None:
        flow.manual_seed(0)
        self.net = Net()
        self.optimizer = flow.optim.AdamW(self.net.parameters(), lr=0.01)
        self.step = flow.train_step(
            self.loss,
            model=self.net,
            optimizer=self.optimizer,
            mesh=flow.mesh(kind, **axes),
            accumulate=accumulate,
        )

    def loss(self, x: Any, y: Any) -> Any:
        return F.cross_entropy(self.net(x), y)

    def state(self) -> dict[str, bytes]:
        return {name: t.numpy().tobytes() for name, t in self.net.state_dict().items()}


def batch(i: int, label: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(i)
    x = random.standard_normal((8, 1, 6, 6)).astype(np.float32)
    y = random.integers(0, CLASSES, 8)
    if label is not None:
        y[5] = label
    return x, y


LAYOUTS = [({"dp": 1}, 1), ({"dp": 2}, 1), ({"dp": 2}, 2), ({"pp": 2}, 4), ({"tp": 2}, 1)]


@pytest.fixture(params=["cpu", "async", "cuda", "cuda, no graphs"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Devices that answer later begin works behind each other without the host, but no write of a state; software
    CUDA keeps such writes back by itself, and steps are launched behind a wrong one before the host knows."""
    kind, _, graphs = str(request.param).partition(", ")
    if kind == "cuda":
        monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))
        monkeypatch.setenv("ONEFLOW_CUDA_GRAPHS", "off" if graphs else "on")
    return kind


@pytest.mark.parametrize("axes, accumulate", LAYOUTS)
def test_training_goes_on_as_if_the_batch_had_never_come(
    axes: dict[str, int], accumulate: int, kind: str
) -> None:
    good, bad = Trainer(axes, accumulate, kind), Trainer(axes, accumulate, kind)
    expected = [float(good.step(*batch(i))["loss"]) for i in range(6)]
    losses = []
    for i in range(6):
        if i in (0, 3):
            metrics = bad.step(*batch(100 + i, label=CLASSES if i else -1))
            with pytest.raises(flow.DataError, match=rf"step {i} of loss.*out of range of 3") as e:
                float(metrics["loss"])
            assert e.value.location is not None
            assert e.value.location.file == __file__
            with pytest.raises(flow.DataError):
                metrics.wait()  # it has no values, whenever one asks
        losses.append(float(bad.step(*batch(i))["loss"]))
    assert losses == expected
    assert bad.state() == good.state()
    assert bad.optimizer.steps == good.optimizer.steps == 6


def test_steps_in_flight_behind_it_are_undone_too(kind: str) -> None:
    good, bad = Trainer({"dp": 2}, kind=kind), Trainer({"dp": 2}, kind=kind)
    for i in range(2):
        good.step(*batch(i))
        bad.step(*batch(i))
    first = bad.step(*batch(7, label=99))
    behind = []
    with pytest.raises(flow.DataError, match="step 2 of loss"):
        for i in range(20):
            behind.append(bad.step(*batch(i)))
    assert len(behind) <= 3  # the window of steps in flight
    for metrics in [first, *behind]:
        with pytest.raises(flow.DataError):
            float(metrics["loss"])
    assert bad.optimizer.steps == 2
    assert bad.state() == good.state()
    assert float(bad.step(*batch(2))["loss"]) == float(good.step(*batch(2))["loss"])


def test_reading_the_model_tells_of_it() -> None:
    trainer = Trainer({"dp": 1})
    trainer.step(*batch(0, label=-7))
    with pytest.raises(flow.DataError, match="-7 is out of range of 3"):
        trainer.net.out.weight.numpy()
    assert np.isfinite(trainer.net.out.weight.numpy()).all()
    assert trainer.optimizer.steps == 0


def test_outside_of_training() -> None:
    trainer = Trainer({"dp": 1})
    with pytest.raises(flow.DataError, match="3 is out of range of 3"):
        trainer.step.interpret(*batch(0, label=3))
    with pytest.raises(flow.DataError, match="3 is out of range of 3"):
        F.cross_entropy(flow.zeros(2, 3), flow.tensor(np.array([0, 3])))
    evaluate = flow.eval_step(trainer.loss, model=trainer.net, mesh=flow.mesh("cpu", dp=1))
    with pytest.raises(flow.DataError, match="loss: cross_entropy: index 3"):
        evaluate(*batch(0, label=3))
    assert np.isfinite(float(evaluate(*batch(0)).numpy()))


def test_an_empty_batch_has_no_loss() -> None:
    trainer = Trainer({"dp": 1})
    x, y = batch(0)
    with pytest.raises(flow.DataError, match="empty batch"):
        trainer.step(x[:0], y[:0])
    assert np.isfinite(float(trainer.step(x, y)["loss"]))


PROGRAM = """
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

model = nn.Linear(4, 3)
step = flow.train_step(
    lambda x, y: F.cross_entropy(model(x), y),
    model=model,
    optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
    mesh=flow.mesh("cpu", dp=2),
)
x, y = np.ones((4, 4), np.float32), np.zeros(4, np.int64)
for i in range(5):
    y[1] = 3 if i == 3 else 0  # in the share of rank 0
    float(step(x, y)["loss"])
    print("trained", i, flush=True)
"""


def test_with_several_processes_the_job_ends_with_its_cause(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, "-m", "oneflow.launch", "--nproc-per-node=2", str(program)],
        capture_output=True,
        text=True,
        timeout=100,
        env=dict(os.environ),
    )
    assert ran.returncode != 0
    assert "trained 2" in ran.stdout and "trained 3" not in ran.stdout
    last = ran.stderr.strip().splitlines()[-1]
    assert "DataError" in last and "index 3 is out of range of 3" in last, ran.stderr
    assert "program.py:9" in last
