"""SIGTERM in jobs of several ranks: all stop at one step, which is saved, and the next start goes on from there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.launch.test_checkpoints import contents, run

ROOT = Path(__file__).parents[2]
STEPS = 100_000  # more than any test waits for


class Launched:
    """A job that runs until it is told to stop. Its lines are read as they come."""

    def __init__(self, axes: dict[str, int], ranks: int, folder: Path, *flags: str) -> None:
        program = ["-m", "tests.launch.checkpoint_program", json.dumps(axes), str(folder), ""]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(ranks), *flags]
            + [*program, str(folder / "run"), str(STEPS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "EVERY": str(STEPS)},
        )
        self.lines: list[str] = []
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._grown:
                self.lines.append(line.rstrip("\n"))
                self._grown.notify_all()

    def wait_for(self, text: str) -> None:
        with self._grown:
            found = self._grown.wait_for(lambda: any(text in line for line in self.lines), 60)
        assert found, self.lines[-20:]

    def rank_pids(self) -> dict[int, int]:
        """Process ids by rank."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                variables = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            own = dict(v.split(b"=", 1) for v in variables if b"=" in v)
            if b"tests.launch.checkpoint_program" in words and b"RANK" in own:
                parent = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1]
                if int(parent) in self._own_processes():
                    found[int(own[b"RANK"])] = int(entry)
        return found

    def _own_processes(self) -> set[int]:
        own = self.process.pid
        below = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return {own, *map(int, below)}

    def end(self, seconds: float = 60) -> int:
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=10)
        return code

    def losses(self) -> dict[int, dict[int, str]]:
        """By rank and step."""
        found: dict[int, dict[int, str]] = {}
        for line in self.lines:
            if match := re.fullmatch(r"\[rank(\d+)\]: loss (\d+) (\S+)", line):
                found.setdefault(int(match[1]), {})[int(match[2])] = match[3]
        return found


def stopped_at(job: Launched, folder: Path) -> int:
    """The one step that all ranks stopped behind, which is the newest checkpoint."""
    said = [line for line in job.lines if "as SIGTERM asked" in line]
    assert len(said) == 1, job.lines[-20:]
    match = re.search(r"ends at step (\d+), .*/run/step-(\d+) is written", said[0])
    assert match and int(match[1]) == int(match[2]), said
    step = int(match[1])
    # Metrics count steps from 0; those of the last one are handed on too.
    assert {max(losses) for losses in job.losses().values()} == {step - 1}
    assert contents(folder / "run")["steps"] == step
    return step


@pytest.mark.parametrize(
    ("axes", "ranks"),
    [({"dp": 2}, 2), ({"tp": 2}, 2), ({"pp": 2}, 2), ({"dp": 2, "pp": 2}, 4)],
    ids=lambda value: (
        "_".join(f"{n}{k}" for n, k in value.items()) if isinstance(value, dict) else None
    ),
)
def test_sigterm_to_the_launcher_saves_one_step_of_all_ranks(
    axes: dict[str, int], ranks: int, tmp_path: Path
) -> None:
    job = Launched(axes, ranks, tmp_path)
    job.wait_for("loss 7 ")
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 128 + signal.SIGTERM
    assert job.lines[-1] == "oneflow-launch: interrupted by SIGTERM; all ranks ended"
    step = stopped_at(job, tmp_path)
    assert step > 7
    # Going on gives the bits of a run that nobody has stopped.
    on = run(ranks, axes, tmp_path, kept=tmp_path / "run", steps=step + 3, EVERY=str(STEPS))
    assert on.returncode == 0 and f"resumes at step {step}" in on.stderr, on.stderr[-3000:]
    whole = run(ranks, axes, tmp_path / "whole", steps=step + 3, EVERY=str(STEPS))
    assert whole.returncode == 0, whole.stderr[-3000:]
    assert contents(tmp_path / "run") == contents(tmp_path / "whole" / "run")


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_sigterm_to_one_rank_stops_all_at_one_step(rank: int, tmp_path: Path) -> None:
    job = Launched({"dp": 3}, 3, tmp_path)
    job.wait_for("loss 5 ")
    os.kill(job.rank_pids()[rank], signal.SIGTERM)
    assert job.end() == 128 + signal.SIGTERM
    stopped_at(job, tmp_path)
    assert "ended in order after SIGTERM" in job.lines[-1], job.lines[-5:]


def test_a_job_that_was_stopped_by_one_of_its_ranks_is_started_again(tmp_path: Path) -> None:
    job = Launched({"dp": 2}, 2, tmp_path, "--max-restarts", "1")
    job.wait_for("loss 5 ")
    os.kill(job.rank_pids()[1], signal.SIGTERM)
    job.wait_for("resumes at step")
    resumed = next(line for line in job.lines if "resumes at step" in line)
    step = int(re.search(r"step (\d+)", resumed)[1])  # type: ignore[index]
    job.wait_for(f"loss {step + 2} ")
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 128 + signal.SIGTERM
    assert contents(tmp_path / "run")["steps"] > step


class Rank:
    """A launcher with one rank that says `here` and then does, at each SIGTERM, what `stop` has."""

    def __init__(self, folder: Path, stop: str) -> None:
        program = folder / "program.py"
        program.write_text(
            f"import signal, sys, time\ndef stop(*_):\n    {stop}\n"
            "signal.signal(signal.SIGTERM, stop)\nprint('here', flush=True)\nwhile True: time.sleep(0.1)\n"
        )
        self.launcher = subprocess.Popen(
            [sys.executable, "-m", "oneflow.launch", str(program)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.expect("here")

    def expect(self, word: str) -> None:
        assert self.launcher.stdout is not None
        assert self.launcher.stdout.readline() == f"[rank0]: {word}\n"

    def terminate_and_expect(self, word: str) -> None:
        self.launcher.send_signal(signal.SIGTERM)
        self.expect(word)


def test_ranks_that_stop_in_order_get_longer_than_those_of_a_failed_job(tmp_path: Path) -> None:
    rank = Rank(tmp_path, "time.sleep(6); print('saved', flush=True); sys.exit(143)")
    rank.terminate_and_expect("saved")
    assert rank.launcher.wait(timeout=15) == 128 + signal.SIGTERM


def test_a_rank_that_does_not_end_is_not_waited_for_after_a_second_sigterm(tmp_path: Path) -> None:
    rank = Rank(tmp_path, "print('asked', flush=True)")
    rank.terminate_and_expect("asked")
    # The launcher's own end of a rank is another SIGTERM, and SIGKILL behind its grace of 5 s.
    rank.terminate_and_expect("asked")
    assert rank.launcher.wait(timeout=15) == 128 + signal.SIGTERM
