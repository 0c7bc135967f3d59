"""A job of three hosts, one rank on each, that a fault strikes at one of its events.

Stages: `rendezvous` (before the rank looks for the others), `handshake` (while it does), `compile` (while the step is
traced), `first step` and `mid step` (a step is on its way), `checkpoint` (before, between and after the writes of
one), `end` (after the last step, before the program ends). Hosts are network namespaces on one machine, which see the
same files and processes, so the one who strikes needs no agent there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import oneflow as flow

from tests.launch.cluster import LAUNCH, ROOT, Cluster, environment, output_of

STAGES = ("rendezvous", "handshake", "compile", "first step", "mid step", "checkpoint", "end")
RANKS, STEPS = 3, 24
PROGRAM = ROOT / "tests" / "faults" / "program.py"
SECRET = "5a" * 32
LIMIT = 100.0  # seconds until a job that was struck counts as hanging
# How many events of a stage a rank has, to draw from.
EVENTS = {"mid step": STEPS - 1, "checkpoint": 28}
EVENTS_OF_WRITER = {"mid step": STEPS - 1, "checkpoint": 44}


@dataclass
class Trial:
    """One job and one fault. `seed` gives all that is drawn: victim and event, and what the fault draws."""

    cluster: Cluster
    folder: Path
    stage: str
    seed: int
    victims: tuple[int, ...] = (0, 1, 2)
    # The event of a checkpoint is one of these many first ones; less than 4: the job is to go on behind it.
    first_checkpoints: int = 4
    options: dict[str, Any] = field(default_factory=dict)  # of the program
    flags: list[str] = field(default_factory=list)  # of the launchers
    heal: list[tuple[int, str]] = field(default_factory=list)  # scripts to run at the end
    others: list[subprocess.Popen[str]] = field(default_factory=list)  # started by the fault
    launchers: list[subprocess.Popen[str]] = field(default_factory=list)
    struck: float = 0.0
    figures: dict[str, int] = field(default_factory=dict)  # what the fault has counted

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.stage} {self.seed}")
        self.victim = self.random.choice(self.victims)
        events = (EVENTS_OF_WRITER if self.victim == 0 else EVENTS).get(self.stage, 1)
        if self.stage == "checkpoint":
            events = events * self.first_checkpoints // 4
        elif self.stage == "mid step" and self.first_checkpoints < 4:
            events -= 1  # at the last one the others may have ended
        self.count = self.random.randint(1, events)
        self.delay = self.random.uniform(0.0, 0.15)
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "tmp").mkdir(parents=True)

    @property
    def host(self) -> int:
        """Of the victim, from 1."""
        return self.victim + 1

    def start(self, **of_host: list[str]) -> None:
        """The three launchers; h1=[...] are flags of that host alone."""
        plan = {
            "stage": self.stage,
            "victim": self.victim,
            "count": self.count,
            "delay": self.delay,
            "epoch": 0,
            **self.options,
        }
        for number in range(1, RANKS + 1):
            flags = ["--nnodes", str(RANKS), "--node-rank", str(number - 1), "--master-addr", "h1"]
            flags += [*self.flags, *of_host.get(f"h{number}", [])]
            self.launchers.append(
                self.cluster.start(
                    number,
                    [*LAUNCH, *flags, str(PROGRAM), str(self.folder), json.dumps(plan)],
                    ONEFLOW_SECRET=SECRET,
                    TMPDIR=str(self.folder / "tmp"),
                    ONEFLOW_TRANSPORT="tcp",  # namespaces of one machine could share memory
                )
            )

    def wait_for(self, name: str) -> int | None:
        """The process that came to this event; None if the job has ended without it."""
        path = self.folder / name
        deadline = time.monotonic() + LIMIT
        while not path.exists():
            if all(launcher.poll() is not None for launcher in self.launchers):
                return None
            assert time.monotonic() < deadline, f"`{name}` never came\n{self.text()}"
            time.sleep(0.003)
        return int(path.read_text())

    @contextlib.contextmanager
    def at_event(self) -> Iterator[int]:
        """Starts the job; inside, the victim (whose process it gives) stands at its event, and the fault strikes."""
        self.start()
        pid = self.wait_for("event")
        assert pid is not None, f"it ended first\n{self.text()}"
        yield pid
        self.release("event")

    def release(self, name: str) -> None:
        """The fault has struck: the rank goes on, if it still can."""
        self.struck = time.monotonic()
        (self.folder / f"{name}.struck").touch()

    def end(self) -> list[int]:
        """Exit codes of the launchers. A job that hangs, and an orphan, are failures."""
        deadline = time.monotonic() + LIMIT
        codes = []
        for launcher in self.launchers:
            try:
                codes.append(launcher.wait(timeout=max(0.1, deadline - time.monotonic())))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"it hangs\n{self.text()}") from None
        return codes

    def assert_all_gone(self, seconds: float) -> None:
        """No process on any host, and no temporary file."""
        deadline = time.monotonic() + seconds
        for number in range(1, RANKS + 1):
            while left := self.cluster.processes(number):
                assert time.monotonic() < deadline, f"left on h{number}: {left}\n{self.text()}"
                time.sleep(0.02)
        left_files = sorted(path.name for path in (self.folder / "tmp").iterdir())
        assert not left_files, f"left: {left_files}\n{self.text()}"

    def lines(self, host: int) -> list[str]:
        return output_of(self.launchers[host - 1]).strip().splitlines()

    def text(self) -> str:
        parts = [
            f"--- {where}\n{output_of(process)[-6000:]}"
            for where, process in [
                *((f"h{number}", each) for number, each in enumerate(self.launchers, 1)),
                *((f"other {number}", each) for number, each in enumerate(self.others)),
            ]
        ]
        return f"{self.stage}, seed {self.seed}, victim {self.victim}\n" + "\n".join(parts)

    def environment_of(self, pid: int) -> dict[str, str]:
        """Of a rank, to start another process as it."""
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        pairs = (entry.decode().partition("=") for entry in entries if entry)
        wanted = ("RANK", "WORLD_", "LOCAL_", "GROUP_", "MASTER_", "ONEFLOW_", "TMPDIR")
        return {name: value for name, _, value in pairs if name.startswith(wanted)}

    def run_as(self, pid: int, program: str, **changed: str) -> subprocess.Popen[str]:
        """A process on the victim's host with the environment of its rank."""
        env = {**self.environment_of(pid), **changed}
        env.pop("ONEFLOW_LISTENER", None)
        other = self.cluster.start(self.host, [sys.executable, "-c", program], **env)
        self.others.append(other)
        return other

    def close(self) -> None:
        """Heals the network, and ends what is left."""
        for process in [*self.launchers, *self.others]:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
        for number, script in self.heal:
            if number:
                self.cluster.check(number, script)
            else:
                for host in range(1, RANKS + 1):
                    self.cluster.plug(host, "up")
        for number in range(1, RANKS + 1):
            for pid in self.cluster.processes(number):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in [*self.launchers, *self.others]:
            process.wait()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def digest(folder: Path, rank: int = 0) -> str:
    """Of the losses of all steps and the parameters at the end."""
    ledger: dict[int, str] = {}
    for line in (folder / f"ledger{rank}").read_text().splitlines():
        number, loss = json.loads(line)
        assert ledger.setdefault(number, loss) == loss, f"step {number} differs"
    assert sorted(ledger) == list(range(STEPS)), sorted(ledger)
    last = folder / "checkpoints" / f"step-{STEPS:08d}"
    said = hashlib.sha256(json.dumps(sorted(ledger.items())).encode())
    for kind in ("model", "optimizer"):  # of one rank a file each, of several a part of each
        parts = [flow.load(path) for path in sorted(last.glob(f"{kind}*.safetensors"))]
        for name, tensor in sorted(item for part in parts for item in part.items()):
            said.update(f"{name}{tensor.shape}{tensor.dtype}".encode() + tensor.numpy().tobytes())
    return said.hexdigest()


def undisturbed(folder: Path) -> str:
    """The digest of the same training in one process, without a fault."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plan = json.dumps({"stage": "none", "victim": 0, "count": 0, "epoch": 0})
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), plan],
        capture_output=True,
        text=True,
        timeout=120,
        env={**environment(), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return digest(folder)
