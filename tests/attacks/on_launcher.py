"""Attacks on a job that the launcher has started: ranks and the launcher die, stop, or leave too early.

The last line names the rank that was struck; nothing is left of the job.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.attacks.job import PROGRAM, Job, Process
from tests.attacks.table import AFTER_SILENCE, AT_ONCE, attack

BOTH = ("shm", "tcp")  # a rank that is gone is seen by its connection, whatever way its messages go
ROOT = "oneflow-launch: root cause: "


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ranks_of(job: Process, count: int = 2) -> dict[int, int]:
    """Process id by rank, once all train."""
    lines = job.wait_for("running", count)
    return {int(line.split()[-2]): int(line.split()[-1]) for line in lines}


def assert_ends(job: Process, pids: dict[int, int], words: str, limit: float = AT_ONCE) -> int:
    since = time.monotonic()
    code = job.end()
    assert code != 0
    # A message may have several lines; the one that says who it was is the last of ours.
    last = [line for line in job.err if line.startswith("oneflow-launch: ")][-1]
    assert words in last, job.text()
    assert sum(ROOT in line for line in job.err) == 1, job.text()
    assert time.monotonic() - since < limit
    assert not any(alive(pid) for pid in pids.values())
    return code


@attack(fast=True, racy=True, paths=BOTH)
def a_killed_rank(job: Job) -> None:
    launcher = job.launched("1000000", "pass", ranks=2)
    pids = ranks_of(launcher)
    os.kill(pids[1], signal.SIGKILL)
    words = ROOT + "rank 1: killed by signal 9 (SIGKILL)"
    assert assert_ends(launcher, pids, words) == 128 + signal.SIGKILL


@attack(racy=True, paths=BOTH)
def rank_0_is_killed(job: Job) -> None:
    launcher = job.launched("1000000", "pass")
    pids = ranks_of(launcher)
    os.kill(pids[0], signal.SIGKILL)
    assert_ends(launcher, pids, ROOT + "rank 0: killed by signal 9 (SIGKILL)")


@attack(fast=True, racy=True, paths=BOTH)
def exit_0_too_early(job: Job) -> None:
    launcher = job.launched("1000000", "os._exit(0)")
    pids = ranks_of(launcher)
    assert_ends(launcher, pids, ROOT + "rank 1: ended with exit code 0 while other ranks")


@attack(paths=BOTH)
def an_orderly_exit_too_early(job: Job) -> None:
    launcher = job.launched("1000000", "sys.exit(0)")
    pids = ranks_of(launcher)
    assert_ends(launcher, pids, ROOT + "rank 1: ended with exit code 0 while other ranks")


@attack(racy=True, paths=BOTH)
def an_exit_in_a_thread(job: Job) -> None:
    fault = "threading.Thread(target=lambda: os._exit(3)).start()"
    launcher = job.launched("1000000", fault)
    pids = ranks_of(launcher)
    assert assert_ends(launcher, pids, ROOT + "rank 1: exit code 3") == 3


@attack(paths=BOTH)
def an_exception(job: Job) -> None:
    launcher = job.launched("1000000", "flow.zeros(3) @ flow.zeros(4)")
    pids = ranks_of(launcher)
    assert_ends(launcher, pids, ROOT + "rank 1: ShapeError")


@attack(fast=True, paths=BOTH)
def a_stopped_rank(job: Job) -> None:
    """For ever: lost after 5 s, and it is the one that is named."""
    launcher = job.launched("1000000", "pass", ranks=2)
    pids = ranks_of(launcher)
    os.kill(pids[1], signal.SIGSTOP)
    assert_ends(launcher, pids, ROOT + "rank 1: stopped (SIGSTOP", AFTER_SILENCE)
    assert any("rank 0 has not heard from rank 1 for 2 s" in line for line in launcher.err)


@attack(paths=BOTH)
def a_rank_stopped_for_4_s(job: Job) -> None:
    launcher = job.launched("4000", "pass")
    pids = ranks_of(launcher)
    os.kill(pids[1], signal.SIGSTOP)
    time.sleep(4)
    os.kill(pids[1], signal.SIGCONT)
    assert launcher.end() == 0, launcher.text()
    assert len({line.split()[-1] for line in launcher.wait_for("loss", 2)}) == 1


@attack(racy=True, paths=BOTH)
def a_killed_launcher(job: Job) -> None:
    launcher = job.launched("1000000", "pass")
    pids = ranks_of(launcher)
    environment = Path(f"/proc/{pids[0]}/environ").read_bytes().split(b"\0")
    folder = next(v for v in environment if v.startswith(b"ONEFLOW_JOB_DIR=")).split(b"=", 1)[1]
    os.kill(launcher.process.pid, signal.SIGKILL)
    launcher.end()
    deadline = time.monotonic() + AT_ONCE
    while any(alive(pid) for pid in pids.values()) or Path(folder.decode()).exists():
        assert time.monotonic() < deadline, "something is left of the job"
        time.sleep(0.02)


@attack(paths=BOTH)
def an_interrupted_launcher(job: Job) -> None:
    launcher = job.launched("1000000", "pass")
    pids = ranks_of(launcher)
    os.kill(launcher.process.pid, signal.SIGINT)
    assert launcher.end() == 128 + signal.SIGINT, launcher.text()
    assert launcher.err[-1] == "oneflow-launch: interrupted by SIGINT; all ranks ended"
    assert not any(alive(pid) for pid in pids.values())


@attack(paths=BOTH)
def four_ranks_and_one_is_killed(job: Job) -> None:
    launcher = job.launched("1000000", "pass", ranks=4, program=PROGRAM.replace("dp=2", "dp=4"))
    pids = ranks_of(launcher, 4)
    os.kill(pids[2], signal.SIGKILL)
    assert_ends(launcher, pids, ROOT + "rank 2: killed by signal 9 (SIGKILL)")
