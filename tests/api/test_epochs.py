"""Epochs of runs: the newest start of a run has its folder to itself, and what it finds there."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import oneflow as flow
import pytest
from oneflow import checkpoint, epochs, manifest
from oneflow.epochs import Epoch, claim
from oneflow.launch import guardian

from tests.api import stored
from tests.api.test_checkpoint import Run

LIMIT = 60.0  # seconds after which a test counts as hanging


def claims(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.claim"))


def test_each_start_claims_the_next_epoch_and_the_newest_claim_stays(tmp_path: Path) -> None:
    kept = flow.Checkpoint(tmp_path / "run", every=2)
    for number in (1, 2, 3):
        run = Run()
        run.train(2 * number, checkpoint=kept)
        assert claims(tmp_path / "run") == [f"epoch-00000{number}.claim"]
        assert manifest.read_manifest(kept.path(2 * number), None).epoch == number
        run.step.save(tmp_path / "best")
        assert manifest.read_manifest(tmp_path / "best", None).epoch == number
    said = json.loads((tmp_path / "run" / "epoch-000003.claim").read_text())
    assert said["pid"] == os.getpid() and {"job", "host", "time"} < said.keys()
    # What only reads claims nothing, nor does a run that must go on where there is nothing.
    flow.load(tmp_path / "run")
    Run().step.restore(tmp_path / "run")
    with pytest.raises(flow.CheckpointError, match="there is no checkpoint in"):
        Run().train(1, checkpoint=tmp_path / "none", resume="must")
    assert not (tmp_path / "none").exists()
    assert claims(tmp_path / "run") == ["epoch-000003.claim"]
    other = Run()
    other.train(1)
    other.step.save(tmp_path / "other")
    assert manifest.read_manifest(tmp_path / "other", None).epoch == 0


def test_numbers_go_on_where_claims_were_lost(tmp_path: Path) -> None:
    stored.write(tmp_path / "step-00000002", 2, fence=Epoch(tmp_path, 41))
    assert checkpoint.begin(tmp_path, must_resume=True) == Epoch(tmp_path, 42)
    (tmp_path / "epoch-000050.claim").mkdir()  # no file, and a claim all the same
    assert claim(tmp_path) == Epoch(tmp_path, 51)


def test_a_start_that_was_slow_takes_no_number_of_a_run_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look and its claim others have claimed, and removed, the number that it is about to take."""
    make = epochs._make

    def slow(path: Path, launch: str) -> None:
        monkeypatch.setattr(epochs, "_make", make)
        for _ in range(3):
            claim(tmp_path)
        make(path, launch)

    monkeypatch.setattr(epochs, "_make", slow)
    assert claim(tmp_path).number == 4
    assert claims(tmp_path) == ["epoch-000004.claim"]


def test_an_older_run_goes_on_from_what_was_there_and_the_longer_one_counts(tmp_path: Path) -> None:
    """Readers order by steps: what an older run had written before the claim is what the newer one takes."""
    older, newer = claim(tmp_path), None
    for steps in (2, 6):
        stored.write(tmp_path / f"step-{steps:08d}", steps, fence=older)
    newer = claim(tmp_path)
    stored.write(tmp_path / "step-00000004", 4, fence=newer)
    assert stored.steps_found(tmp_path) == 6
    with pytest.raises(flow.StaleRunError):
        stored.write(tmp_path / "step-00000008", 8, fence=older)
    assert stored.steps_found(tmp_path) == 6
    assert stored.names(tmp_path) == [f"step-0000000{n}" for n in (2, 4, 6)]


def test_a_manifest_of_before_there_were_epochs_is_read(tmp_path: Path) -> None:
    stored.write(tmp_path, 3)
    path = tmp_path / "manifest.json"
    body = json.loads(path.read_text())
    del body["crc32c"], body["epoch"]
    path.write_bytes(manifest.sealed(body))
    assert stored.steps_found(tmp_path) == 3
    assert manifest.read_manifest(tmp_path, None).epoch == 0


@pytest.mark.parametrize("epoch", [-1, 1 << 62, 10**30, "7", 1.0, None, True, [1], {}])
def test_an_epoch_that_is_none_is_refused(tmp_path: Path, epoch: Any) -> None:
    stored.write(tmp_path, 3)
    path = tmp_path / "manifest.json"
    body = json.loads(path.read_text())
    del body["crc32c"]
    path.write_bytes(manifest.sealed({**body, "epoch": epoch}))
    with pytest.raises(flow.CheckpointError, match=r"manifest.json: epoch: .* is no count"):
        checkpoint.find(tmp_path)


def test_the_last_number_is_no_reason_to_begin_again(tmp_path: Path) -> None:
    (tmp_path / f"epoch-{manifest.MOST}.claim").touch()
    with pytest.raises(flow.CheckpointError, match=f"epoch {manifest.MOST} is there, which no run"):
        Run().train(1, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "its checksum does not fit its 0 bytes"),
        (b"\xff" * 300, "its checksum does not fit"),
        (manifest.sealed({"pid": 1}), "it must have the entries"),
        (
            manifest.sealed({"pid": "1", "job": "a", "host": "b", "time": "c"}),
            "its entries are none of a claim",
        ),
        (None, "it is no regular file"),
    ],
    ids=["empty", "bytes", "entries", "types", "folder"],
)
def test_a_damaged_claim_fences_and_hinders_nobody(
    tmp_path: Path, text: bytes | None, why: str
) -> None:
    older = claim(tmp_path)
    path = tmp_path / "epoch-000002.claim"
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text)
    with pytest.raises(flow.StaleRunError) as raised:
        stored.write(tmp_path / "step-00000002", 2, fence=older)
    assert f"epoch 2 was claimed by somebody ({path} does not say who: {why}" in str(raised.value)
    assert claim(tmp_path).number == 3


def test_who_claims_is_told_without_what_a_terminal_would_obey(tmp_path: Path) -> None:
    older = claim(tmp_path)
    said = {"pid": 7, "job": "j", "host": "\x1b[2Jh" * 99, "time": "now"}
    (tmp_path / "epoch-000002.claim").write_bytes(manifest.sealed(said))
    with pytest.raises(flow.StaleRunError) as raised:
        older.check()
    assert "process 7 on host '\\x1b[2Jh" in raised.value.message
    assert "\x1b" not in raised.value.message and len(raised.value.message) < 900


def test_a_folder_that_cannot_be_claimed_is_an_error_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(flow.CheckpointError, match="file/run cannot be claimed.*: Not a directory"):
        Run().train(1, checkpoint=tmp_path / "file" / "run")
    real = os.open

    def read_only(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and str(path).endswith(".claim"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", read_only)
    run = Run()
    with pytest.raises(flow.CheckpointError, match="cannot be claimed.*: Read-only file") as raised:
        run.train(1, checkpoint=tmp_path)
    assert raised.value.location is not None and run.optimizer.steps == 0


def test_a_claim_that_is_not_on_the_disk_is_none_unless_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(code: int) -> None:
        def fsync(_: int) -> None:
            raise OSError(code, os.strerror(code))

        def write(*_: Any) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(
            os, "fsync" if code == errno.EIO else "write", fsync if code == errno.EIO else write
        )

    fails(errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        claim(tmp_path)
    monkeypatch.undo()
    assert claims(tmp_path) == []
    fails(errno.ENOSPC)
    assert claim(tmp_path).number == 1  # the name counts
    monkeypatch.undo()
    assert claims(tmp_path) == ["epoch-000001.claim"]


def test_a_stale_run_ends_at_its_next_checkpoint_or_soon_behind_it(tmp_path: Path) -> None:
    older, newer = Run(), Run()
    kept = flow.Checkpoint(tmp_path, every=2, keep=2)
    steps = older.step.run(older.loader, 100, checkpoint=kept)
    for _ in range(5):
        next(steps)
    older.step._writing.wait()
    newer.train(7, checkpoint=kept)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(flow.StaleRunError, match="this run has epoch 1 of .* epoch 2 was claimed"):
        for _ in steps:
            pass
    assert older.optimizer.steps == 6
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    older.step.save(tmp_path / "mine")  # elsewhere it may


PROGRAM = """
import sys, time
from tests.api.test_checkpoint import Run
import oneflow as flow

run = Run()
kept = flow.Checkpoint(sys.argv[1], every=2, keep=3)
for metrics in run.step.run(run.loader, int(sys.argv[2]), checkpoint=kept):
    print("step", int(metrics["step"]), flush=True)
    time.sleep(0.01)
"""


def state_of(*processes: subprocess.Popen[str]) -> str:
    return "; ".join(f"{p.pid}: {guardian.state_of(p.pid)[0]}, code {p.poll()}" for p in processes)


@pytest.mark.parametrize("number", range(4))
def test_a_run_that_was_stopped_and_goes_on_behind_a_newer_one(tmp_path: Path, number: int) -> None:
    """Stopped at some moment (while it writes, or not), under a launcher that would start it again."""
    program, folder = tmp_path / "program.py", tmp_path / "run"
    program.write_text(PROGRAM)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    launcher = [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", "1"]
    command = [*launcher, "--max-restarts", "2", str(program), str(folder), "100000"]
    with open(tmp_path / "older", "w") as out:
        older = subprocess.Popen(command, stdout=out, stderr=out, env=env, text=True)
    rank = 0
    try:
        deadline = time.monotonic() + LIMIT
        while not (folder / "step-00000006").exists():
            assert time.monotonic() < deadline and older.poll() is None, state_of(older)
            time.sleep(0.005)
        rank = int(json.loads((folder / "epoch-000001.claim").read_text())["pid"])
        time.sleep(0.007 * number)
        os.kill(rank, signal.SIGSTOP)
        while guardian.state_of(rank)[0] not in "Tt":
            assert time.monotonic() < deadline, state_of(older)
            time.sleep(0.002)
        newer = subprocess.run(
            [sys.executable, str(program), str(folder), "60"],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env=env,
        )
        assert newer.returncode == 0, newer.stderr
        assert claims(folder) == ["epoch-000002.claim"]
        before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        os.kill(rank, signal.SIGCONT)
        try:
            code = older.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it hangs: {state_of(older)}") from None
    finally:
        if older.poll() is None:
            older.kill()
            if rank:
                os.kill(rank, signal.SIGKILL)
        older.wait()
    said = (tmp_path / "older").read_text()
    assert code == 1, said
    lines = said.strip().splitlines()
    assert lines[-1].startswith("oneflow-launch: root cause: rank 0: StaleRunError"), said
    assert "epoch 1 of " in lines[-1] and "epoch 2 was claimed by process" in lines[-1], said
    assert f"process {rank} on host" in lines[-1], said
    assert "oneflow-launch: restart " not in said, said
    assert {
        path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    } == before
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch-000002.claim",
        "step-00000056",
        "step-00000058",
        "step-00000060",
    ]


def test_a_job_that_is_started_again_behind_a_newer_one_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its launcher was stopped too, and starts its ranks again: it is no newer run by that."""
    job = tmp_path / "job"
    job.mkdir()
    here = epochs.environment.launch()

    class Launch:
        job, job_dir = "one", str(tmp_path / "job")

    monkeypatch.setattr(epochs.environment, "launch", lambda: Launch)
    folder = tmp_path / "run"
    assert claim(folder).number == 1
    assert claim(folder).number == 2  # started again
    monkeypatch.setattr(epochs.environment, "launch", lambda: here)
    assert claim(folder).number == 3  # another job
    monkeypatch.setattr(epochs.environment, "launch", lambda: Launch)
    with pytest.raises(flow.StaleRunError, match="has epoch 2 of .*, and epoch 3 was claimed by"):
        claim(folder)
    assert claims(folder) == ["epoch-000003.claim"]
    assert claim(tmp_path / "elsewhere").number == 1


class Killed(BaseException):
    """What stands for SIGKILL."""


@pytest.mark.parametrize("newer", [False, True])
def test_a_start_that_was_killed_behind_its_claim_is_no_other_run(
    newer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not remembered its claim, and the same job is started again."""
    job = tmp_path / "job"
    job.mkdir()
    remember = epochs._remember

    class Launch:
        job, job_dir = "one", str(tmp_path / "job")

    def killed(directory: Path, number: int, launch: str) -> None:
        if number == 2:
            raise Killed
        remember(directory, number, launch)

    monkeypatch.setattr(epochs.environment, "launch", lambda: Launch)
    folder = tmp_path / "run"
    assert claim(folder).number == 1
    monkeypatch.setattr(epochs, "_remember", killed)
    with pytest.raises(Killed):
        claim(folder)
    monkeypatch.setattr(epochs, "_remember", remember)
    assert claims(folder) == ["epoch-000002.claim"]
    if newer:  # of another job with the same name
        monkeypatch.setattr(Launch, "job_dir", str(tmp_path))
        assert claim(folder).number == 3
        monkeypatch.setattr(Launch, "job_dir", str(tmp_path / "job"))
        with pytest.raises(flow.StaleRunError, match="epoch 3 was claimed by"):
            claim(folder)
    else:
        assert claim(folder).number == 3
        assert claims(folder) == ["epoch-000003.claim"]
