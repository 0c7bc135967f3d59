"""Checkpoints: a run that was broken off and goes on has the bits of one that was not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

from tests.api import stored

X = np.random.default_rng(0).standard_normal((22, 4)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 22)


class Net(nn.Module):
    """Dropout, tied weights, and a buffer that every step counts up."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.out = nn.Linear(4, 3)
        self.register_buffer("seen", flow.zeros(()))

    def forward(self, x: Any) -> Any:
        self.seen = self.seen + 1
        return self.out(F.dropout(F.relu(self.b(F.relu(self.a(x)))), 0.3))


class Run:
    def __init__(self, **options: Any) -> None:
        flow.manual_seed(0)
        self.net = Net()
        self.optimizer = flow.optim.AdamW(self.net.parameters(), lr=lambda step: 0.01 / (1 + step))
        options.setdefault("mesh", flow.mesh("cpu", dp=2))
        self.step = flow.train_step(
            lambda x, y: F.cross_entropy(self.net(x), y),
            model=self.net,
            optimizer=self.optimizer,
            seed=1,
            **options,
        )
        self.loader = flow.data.DataLoader(
            flow.data.TensorDataset(X, Y), 4, shuffle=True, drop_last=True, seed=5
        )

    def train(self, steps: int, **options: Any) -> list[float]:
        return [float(m["loss"]) for m in self.step.run(self.loader, steps, **options)]

    def state(self) -> dict[str, bytes]:
        slots = {
            f"{i}.{slot}": t.numpy().tobytes()
            for i, held in enumerate(self.optimizer.state.values())
            for slot, t in held.items()
        }
        return {**{n: t.numpy().tobytes() for n, t in self.net.state_dict().items()}, **slots}


@pytest.mark.parametrize("broken_at", [1, 4, 5, 7])
def test_a_resumed_run_has_the_same_bits(tmp_path: Path, broken_at: int) -> None:
    whole = Run()
    expected = whole.train(12)
    first = Run()
    losses = first.train(broken_at, checkpoint=tmp_path)
    second = Run()
    losses += second.train(12, checkpoint=tmp_path)
    assert losses == expected
    assert second.state() == whole.state() and second.optimizer.steps == 12
    assert second.net.seen.item() == 12


def test_checkpoints_come_every_so_many_steps_and_the_newest_stay(tmp_path: Path) -> None:
    run = Run()
    run.train(10, checkpoint=flow.Checkpoint(tmp_path, every=2, keep=2))
    assert stored.names(tmp_path) == ["step-00000008", "step-00000010"]
    files = sorted(path.name for path in (tmp_path / "step-00000010").iterdir())
    assert files == ["manifest.json", "model.safetensors", "optimizer.safetensors"]
    again = Run()
    assert again.train(10, checkpoint=str(tmp_path)) == []  # nothing left to do
    assert again.state() == run.state()
    assert len(again.train(11, checkpoint=str(tmp_path))) == 1


def test_what_resume_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(flow.CheckpointError, match="resume='must'.*no checkpoint"):
        Run().train(1, checkpoint=tmp_path, resume="must")
    with pytest.raises(flow.Error, match="resume='maybe'"):
        Run().train(1, checkpoint=tmp_path, resume="maybe")
    run = Run()
    first = run.train(3, checkpoint=tmp_path)
    assert "starts anew" in capsys.readouterr().err
    run.train(4, checkpoint=tmp_path)  # the same run goes on from where it is
    assert "goes on at step 3" in capsys.readouterr().err
    assert len(Run().train(5, checkpoint=tmp_path, resume="must")) == 1
    assert f"resumes at step 4 from {tmp_path}/step-00000004" in capsys.readouterr().err
    assert Run().train(3, checkpoint=tmp_path, resume="never") == first


def test_save_and_restore_under_another_layout(tmp_path: Path) -> None:
    run = Run()
    run.train(3)
    run.step.save(tmp_path / "c", extra={"best": 0.5, "names": ["a"]})
    run.step.save(tmp_path / "c", extra={"best": 0.25})  # replaces it
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    other = Run(mesh=flow.mesh("cpu", tp=2))
    assert other.step.restore(tmp_path / "c") == {"best": 0.25}  # before the first compile
    assert other.state() == run.state() and other.optimizer.steps == 3
    assert float(other.step(X[:4], Y[:4])["loss"]) == pytest.approx(
        float(run.step(X[:4], Y[:4])["loss"]), rel=1e-5
    )
    stored = flow.load(tmp_path / "c" / "model.safetensors")
    assert set(stored) == set(run.net.state_dict())
    names = set(flow.load(tmp_path / "c" / "optimizer.safetensors"))
    assert "out.weight.exp_avg" in names or any(name.startswith("out.weight.") for name in names)


def test_restoring_replaces_what_is_there(tmp_path: Path) -> None:
    fresh = Run()
    fresh.step.save(tmp_path / "start")
    run = Run()
    first = run.train(4)
    run.step.restore(tmp_path / "start")
    run.loader.set_epoch(0)
    assert run.train(4) == first


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    run = Run()
    run.train(2)
    run.step.save(tmp_path / "c")
    model = nn.Linear(4, 3)
    step = flow.train_step(
        lambda x, y: F.cross_entropy(model(x), y),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
    )
    before = model.weight.numpy().copy()
    with pytest.raises(flow.CheckpointError, match="does not fit the model: missing .'weight'"):
        step.restore(tmp_path / "c")
    assert (model.weight.numpy() == before).all()
    other = Run()
    other.optimizer = flow.optim.SGD(other.net.parameters(), lr=0.1)
    plain = flow.train_step(
        lambda x, y: F.cross_entropy(other.net(x), y), model=other.net, optimizer=other.optimizer
    )
    with pytest.raises(flow.CheckpointError, match="does not fit the optimizer"):
        plain.restore(tmp_path / "c")
    with pytest.raises(flow.CheckpointError, match="no checkpoint in"):
        run.step.restore(tmp_path / "none")
    with pytest.raises(flow.CheckpointError, match="must be JSON"):
        run.step.save(tmp_path / "d", extra=object())
    assert not (tmp_path / "d").exists()
    with pytest.raises(flow.CheckpointError, match="must be JSON"):
        run.step.save(tmp_path / "d", extra={1: 0, "1": 0})  # the same name in JSON
    for wrong in ({"every": -1}, {"keep": 0}):
        with pytest.raises(flow.Error, match="an integer from"):
            flow.Checkpoint(tmp_path, **wrong)


def test_half_a_checkpoint_is_none(tmp_path: Path) -> None:
    run = Run()
    run.train(4, checkpoint=flow.Checkpoint(tmp_path, every=2))
    (tmp_path / "step-00000004" / "manifest.json").unlink()  # written last
    (tmp_path / "step-00000006.partial").mkdir()
    other = Run()
    losses = other.train(4, checkpoint=tmp_path)
    assert len(losses) == 2 and other.state() == run.state()


def test_the_earlier_form_is_read_and_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run()
    run.train(3)
    run.step.save(tmp_path / "c")
    (tmp_path / "c" / "manifest.json").unlink()
    progress = {"format": 1, "steps": 3, "loader": None, "extra": {"loss": float("inf")}}
    (tmp_path / "c" / "progress.json").write_text(json.dumps(progress))
    other = Run()
    assert other.step.restore(tmp_path / "c") == {"loss": float("inf")}
    assert other.state() == run.state() and other.optimizer.steps == 3
    assert "of the earlier form, without checksums" in capsys.readouterr().err
    for text, why in [
        ("{}", "entries are missing"),
        (json.dumps({**progress, "format": 2}), "format 2"),
    ]:
        (tmp_path / "c" / "progress.json").write_text(text)
        with pytest.raises(flow.CheckpointError, match=why):
            other.step.restore(tmp_path / "c")


def test_random_tensors_go_on(tmp_path: Path) -> None:
    run = Run()
    run.train(2, checkpoint=tmp_path)
    expected = flow.randn(3).numpy()
    again = Run()
    again.train(2, checkpoint=tmp_path)
    assert (flow.randn(3).numpy() == expected).all()


def test_another_seed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run().train(2, checkpoint=tmp_path)
    other = Run()
    other.step._seed = 2
    other.train(3, checkpoint=tmp_path)
    assert "has seed=2, and the checkpoint is of a run with seed=1" in capsys.readouterr().err


def test_a_run_that_starts_anew_keeps_what_it_writes(tmp_path: Path) -> None:
    """Older checkpoints are those of fewer steps: what a longer run has left is not counted."""
    Run().train(8, checkpoint=flow.Checkpoint(tmp_path, every=2, keep=3))
    Run().train(3, checkpoint=flow.Checkpoint(tmp_path, every=1, keep=1), resume="never")
    assert stored.names(tmp_path) == [f"step-{n:08d}" for n in (3, 4, 6, 8)]


def test_a_loss_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    run = Run()
    run.loader = flow.data.DataLoader(
        flow.data.TensorDataset(np.where(np.arange(22)[:, None] == 9, np.nan, X), Y),
        4,
        drop_last=True,
    )
    with pytest.raises(flow.NumericsError):
        for _ in run.step.run(run.loader, 5, checkpoint=flow.Checkpoint(tmp_path, every=1)):
            pass
    assert stored.names(tmp_path) == ["step-00000001", "step-00000002"]


PROGRAM = """
import sys
from tests.api.test_checkpoint import Run
import oneflow as flow

run = Run()
for metrics in run.step.run(run.loader, {steps}, checkpoint=flow.Checkpoint({directory!r}, every={every})):
    print("loss", repr(float(metrics["loss"])), flush=True)
print("ended", run.optimizer.steps, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_is_ended_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    program, directory = tmp_path / "program.py", tmp_path / "kept"
    every = 1000 if number == signal.SIGTERM else 3
    program.write_text(PROGRAM.format(steps=100000, directory=str(directory), every=every))
    run = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for _ in range(20):
        run.stdout.readline()
    run.send_signal(number)
    run.stdout.read()
    assert run.wait(timeout=60) == (143 if number == signal.SIGTERM else -9)
    steps = max(int(path.name[5:]) for path in directory.iterdir() if "." not in path.name)
    assert steps >= 15  # that of step 18 may have been on its way
    again = Run()
    losses = again.train(steps + 3, checkpoint=directory)
    whole = Run()
    expected = whole.train(steps + 3)
    assert losses == expected[steps:] and again.state() == whole.state()


def test_two_processes_write_what_one_reads(tmp_path: Path) -> None:
    program, directory = tmp_path / "program.py", tmp_path / "kept"
    program.write_text(PROGRAM.format(steps=7, directory=str(directory), every=5))
    ran = subprocess.run(
        [sys.executable, "-m", "oneflow.launch", "--nproc-per-node=2", str(program)],
        capture_output=True,
        text=True,
        timeout=200,
        env=dict(os.environ),
    )
    assert ran.returncode == 0, ran.stderr
    first = [float(x) for x in re.findall(r"rank0\]: loss (\S+)", ran.stdout)]
    whole = Run()
    expected = whole.train(9)
    assert first == expected[:7]
    assert json.loads((directory / "step-00000007" / "manifest.json").read_text())["steps"] == 7
    again = Run()
    assert again.train(9, checkpoint=directory) == expected[7:]
    assert again.state() == whole.state()


def test_a_folder_is_loaded_as_its_model(tmp_path: Path) -> None:
    run = Run()
    run.train(4, checkpoint=flow.Checkpoint(tmp_path, every=2))
    expected = {name: tensor.numpy().tobytes() for name, tensor in run.net.state_dict().items()}
    for path in (tmp_path, tmp_path / "step-00000004"):
        loaded = flow.load(path)
        assert {name: tensor.numpy().tobytes() for name, tensor in loaded.items()} == expected
    other = Run()
    other.net.load_state_dict(flow.load(tmp_path))
    assert other.net.state_dict()["out.bias"].numpy().tobytes() == expected["out.bias"]
    damaged = tmp_path / "step-00000004" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(flow.CheckpointError, match="is intact.*tensor "):
        flow.load(tmp_path / "step-00000004")
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(flow.CheckpointError, match="there is no checkpoint in"):
        flow.load(empty)


def test_a_run_keeps_its_checkpoints_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run()
    run.train(2, checkpoint=".")
    assert len(Run().train(3, checkpoint=".")) == 1
    with pytest.raises(
        flow.CheckpointError, match=r"\. cannot be written: .*a folder that has one"
    ):
        run.step.save(".")


def test_what_is_no_checkpoint_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    run = Run()
    run.train(2)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table.csv").write_text("mine")
    with pytest.raises(flow.CheckpointError, match="results holds table.csv, which is no part"):
        run.step.save(tmp_path / "results")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(flow.CheckpointError, match="file is no folder"):
        run.step.save(tmp_path / "file")
    run.step.save(tmp_path / "best")
    (tmp_path / "link").symlink_to("best")
    with pytest.raises(flow.CheckpointError, match="link is no folder"):
        run.step.save(tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "best").rename(tmp_path / "best.old")  # the user's own copy
    run.step.save(tmp_path / "best")
    run.step.save(tmp_path / "best")
    (tmp_path / "best" / "notes.txt").write_text("mine")
    with pytest.raises(flow.CheckpointError, match="best holds notes.txt"):
        run.step.save(tmp_path / "best")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best",
        "best.old",
        "file",
        "results",
    ]
    assert run.step.restore(tmp_path / "best.old") is None
    (tmp_path / "empty").mkdir()
    run.step.save(tmp_path / "empty")

    def notes(path: Path) -> None:
        (path / "notes.txt").write_text("mine")

    kept = flow.Checkpoint(tmp_path / "run", every=1, keep=1)
    again = Run()
    for metrics in again.step.run(again.loader, 4, checkpoint=kept):
        if int(metrics["step"]) == 2:
            again.step.save(tmp_path / "other")  # waits for what is being written
            notes(kept.path(3))
    names = stored.names(tmp_path / "run")
    assert names == ["step-00000003", "step-00000004"]
