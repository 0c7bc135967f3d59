"""Checkpoints are written while training goes on: what is written is the state of its step, and nothing is lost."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import checkpoint, environment, receipts, snapshot
from oneflow.epochs import Epoch
from oneflow.publication import Claim, partial_of

from tests.api import stored
from tests.api.test_checkpoint import Run

LIMIT = 60.0  # seconds after which a test counts as hanging


def before_writing(monkeypatch: pytest.MonkeyPatch, call: Callable[[Path], None]) -> None:
    """`call` runs on the thread that writes, before the files of each checkpoint."""
    write_files = snapshot.write_files

    def both(partial: Path, files: Any) -> Any:
        call(partial)
        return write_files(partial, files)

    monkeypatch.setattr(snapshot, "write_files", both)


def test_training_goes_on_while_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    passed = []
    before_writing(monkeypatch, lambda _: passed.append(gate.wait(LIMIT)))
    run = Run()
    states = {}
    for metrics in run.step.run(run.loader, 6, checkpoint=flow.Checkpoint(tmp_path, every=4)):
        states[int(metrics["step"]) + 1] = run.state()
        if int(metrics["step"]) == 4:  # the fifth step: the checkpoint of four is on its way
            partial = partial_of(tmp_path / "step-00000004", Epoch(tmp_path, 1))
            assert partial.exists() and not passed
            gate.set()
    assert passed == [True, True]
    for steps in (4, 6):  # what was written is the state of then
        found = checkpoint.find(tmp_path / f"step-0000000{steps}")
        assert found is not None and found.steps == steps
        for name, tensor in found.model.items():
            assert tensor.numpy().tobytes() == states[steps][name]
    assert states[4] != states[6]


def test_a_writer_slower_than_the_interval_holds_training_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_once, most = [0], [0]

    def slow(_: Path) -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        for _ in range(20):
            threading.Event().wait(0.002)
        at_once[0] -= 1

    before_writing(monkeypatch, slow)
    run = Run()
    expected = Run().train(6)
    assert run.train(6, checkpoint=flow.Checkpoint(tmp_path, every=1, keep=9)) == expected
    assert most == [1]
    assert stored.names(tmp_path) == [f"step-{n:08d}" for n in range(1, 7)]
    assert "waits for the checkpoint before it to be written; every=1 is less" in (
        capsys.readouterr().err
    )


def failing(number: int, error: Exception) -> Callable[[Path], None]:
    """Raises at one checkpoint."""
    count = 0

    def call(_: Path) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise error

    return call


def test_what_the_file_system_refuses_is_told_and_the_next_attempt_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    before_writing(monkeypatch, failing(2, error))
    run = Run()
    assert run.train(6, checkpoint=flow.Checkpoint(tmp_path, every=2)) == Run().train(6)
    assert stored.names(tmp_path) == ["step-00000002", "step-00000006"]
    said = capsys.readouterr().err
    assert f"no checkpoint at step 4: {tmp_path}/step-00000004 cannot be written: No space" in said
    assert "MiB are free there; older ones stay" in said
    before_writing(monkeypatch, failing(1, error))
    with pytest.raises(flow.CheckpointError, match="step-00000007 cannot be written"):
        run.train(7, checkpoint=tmp_path)


def test_the_last_one_of_a_run_that_fails_is_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it fails while the run still goes on."""
    before_writing(monkeypatch, failing(2, OSError(errno.EIO, "broken")))
    run = Run()
    losses = []
    with pytest.raises(flow.CheckpointError, match="step-00000004 cannot be written: broken") as e:
        losses += [
            float(m["loss"])
            for m in run.step.run(run.loader, 4, checkpoint=flow.Checkpoint(tmp_path, every=2))
        ]
    assert e.value.location is not None and "test_checkpoint_background" in e.value.location.file
    assert run.train(4, checkpoint=tmp_path) == []  # told once
    assert checkpoint.find(tmp_path) is not None


def test_a_mistake_of_ours_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before_writing(monkeypatch, failing(1, ZeroDivisionError("planted")))
    with pytest.raises(ZeroDivisionError, match="planted"):
        Run().train(4, checkpoint=flow.Checkpoint(tmp_path, every=2))
    assert stored.names(tmp_path) == []


def test_a_file_that_was_not_forced_onto_the_disk_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.write(tmp_path / "step-00000002", 2)
    fsync, left = os.fsync, [0]

    def refuse(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    for number in range(1, 6):
        left[0] = number
        with pytest.raises(flow.CheckpointError, match="Input/output error"):
            stored.write(tmp_path / "step-00000004", 4)
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
        assert stored.steps_found(tmp_path) == 2


def test_what_other_ranks_add_and_take_while_one_is_removed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claim(tmp_path / "step-00000002")
    (claim.partial / "model-00000-of-00002.safetensors").write_bytes(b"x")
    rmdir, unlink = os.rmdir, os.unlink
    added: list[Path] = []

    def rmdir_late(*arguments: Any, **options: Any) -> None:
        if len(added) < 3:
            added.append(claim.partial / f"rank-00001.{len(added)}")
            added[-1].write_bytes(b"x")
        rmdir(*arguments, **options)

    def unlink_late(name: str, **options: Any) -> None:
        if name == "rank-00001.0":
            unlink(added[0])
        unlink(name, **options)

    monkeypatch.setattr(os, "rmdir", rmdir_late)
    monkeypatch.setattr(os, "unlink", unlink_late)
    claim.abandon()
    assert len(added) == 3 and not any(tmp_path.iterdir())


def test_a_rank_without_room_for_its_words_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any, **__: Any) -> bytes:
        (tmp_path / receipts._path(tmp_path, 1).with_suffix(".new").name).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(receipts, "sealed", no_room)
    receipts.withdraw(tmp_path, 1, {}, "No space left on device")
    with pytest.raises(OSError, match="rank 1: No space left on device") as raised:
        receipts.collect(tmp_path, 2, LIMIT)
    assert raised.value.errno == errno.ENOSPC


def test_two_writers_do_not_share_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Claim(tmp_path / "step-00000002")
    run = Run()
    run.train(3, checkpoint=flow.Checkpoint(tmp_path, every=2))
    said = capsys.readouterr().err
    assert "no checkpoint at step 2: " in said and "another program is writing" in said
    assert "give each run a folder of its own" in said
    with pytest.raises(flow.CheckpointError, match="another program is writing"):
        run.step.save(tmp_path / "step-00000002")
    other.abandon()
    run.step.save(tmp_path / "step-00000002")


PROGRAM = """
import sys, threading
from pathlib import Path
from oneflow import snapshot
from tests.api.test_checkpoint import Run
import oneflow as flow

write_files = snapshot.write_files
def slow(*arguments):
    threading.Event().wait(0.5)
    return write_files(*arguments)
snapshot.write_files = slow
run = Run()
steps = run.step.run(run.loader, 9, checkpoint=flow.Checkpoint(sys.argv[1], every=2))
for metrics in steps:
    if int(metrics["step"]) == 1:
        {end}
"""


@pytest.mark.parametrize("end", ["raise SystemExit(3)", "kept = steps; assert False", "break"])
def test_a_program_that_ends_waits_for_the_writer(tmp_path: Path, end: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(end=end))
    ran = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert ran.returncode == {"r": 3, "k": 1, "b": 0}[end[0]], ran.stderr
    assert stored.names(tmp_path / "kept") == ["step-00000002"]
    found = checkpoint.find(tmp_path / "kept")
    assert found is not None and found.steps == 2


def test_values_that_change_on_the_host_do_not_reach_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    before_writing(monkeypatch, lambda _: gate.wait(LIMIT))
    run = Run()
    for metrics in run.step.run(run.loader, 3, checkpoint=flow.Checkpoint(tmp_path, every=2)):
        if int(metrics["step"]) == 1:
            expected = run.net.out.weight.numpy().copy()
            run.net.out.weight.copy_(np.zeros((3, 4), np.float32))
            gate.set()
    found = checkpoint.find(tmp_path / "step-00000002")
    assert found is not None
    assert (found.model["out.weight"].numpy() == expected).all() and expected.any()


def test_receipts_of_another_start_of_the_job_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(epoch: int) -> None:
        launch = dataclasses.replace(environment.launch(), epoch=epoch)
        monkeypatch.setattr(environment, "launch", lambda: launch)

    started(1)
    receipts.leave(tmp_path, 1, {})
    receipts.leave(tmp_path, 2, {}, "No space left on device")
    started(2)
    with pytest.raises(OSError, match="rank 1 has not written its part within 0 s"):
        receipts.collect(tmp_path, 3, 0.0)
    started(1)
    with pytest.raises(OSError, match="rank 2: No space left on device"):
        receipts.collect(tmp_path, 3, 0.0)
    (left,) = tmp_path.iterdir()  # what was taken is gone
    left.write_bytes(left.read_bytes()[:-2])
    receipts.leave(tmp_path, 1, {})
    with pytest.raises(OSError, match="what rank 2 has written: its checksum does not fit"):
        receipts.collect(tmp_path, 3, 0.0)


@pytest.mark.parametrize("kind", [flow.PeerError, flow.DataError])
def test_the_error_of_a_lost_rank_does_not_wait_for_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[flow.Error]
) -> None:
    gate = threading.Event()
    finished = []
    before_writing(
        monkeypatch, lambda _: finished.append(gate.wait(0.2 if kind is flow.DataError else LIMIT))
    )
    run = Run()
    batches = list(run.loader)[:3]

    def loader() -> Any:
        yield from batches
        raise kind("planted")

    class Loader:
        def __iter__(self) -> Any:
            return loader()

    with pytest.raises(kind, match="planted"):
        for _ in run.step.run(Loader(), 9, checkpoint=flow.Checkpoint(tmp_path, every=3)):
            pass
    assert bool(finished) == (kind is flow.DataError)
    gate.set()
    assert run.step._writing.wait() is None
    assert checkpoint.find(tmp_path) is not None


def free(monkeypatch: pytest.MonkeyPatch, count: int | None) -> None:
    monkeypatch.setattr(checkpoint, "free_bytes", lambda _: count)


def test_a_run_without_room_for_its_checkpoints_ends_behind_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    run.train(1)
    size = snapshot.bytes_of_states(*run.step._stored_states())
    kept = flow.Checkpoint(tmp_path, every=2, keep=2)
    free(monkeypatch, 3 * size - 1)  # two, and the one that is written
    with pytest.raises(flow.CheckpointError, match="a run that keeps 2 checkpoints of .* needs"):
        Run().train(100, checkpoint=kept)
    assert stored.names(tmp_path) == []
    free(monkeypatch, 3 * size)
    assert len(Run().train(7, checkpoint=kept)) == 7
    # Those that are there make room for it; and no more is asked than the run will write.
    free(monkeypatch, size)
    assert len(Run().train(20, checkpoint=kept)) == 13
    monkeypatch.undo()
    for room, steps in ((2 * size - 1, 4), (2 * size, 4)):
        free(monkeypatch, room)
        other = flow.Checkpoint(tmp_path / str(room), every=2, keep=5)
        if room < 2 * size:
            with pytest.raises(flow.CheckpointError, match="free some"):
                Run().train(steps, checkpoint=other)
        else:
            Run().train(steps, checkpoint=other)
    free(monkeypatch, None)  # nobody knows
    Run().train(2, checkpoint=tmp_path / "unknown")
