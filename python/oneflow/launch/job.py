"""The ranks of one launch: started, read, watched, ended together."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from . import guardian
from .blame import Ending

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
ORPHAN_GRACE_SECONDS = 2.0  # the same when the launcher itself was killed
SETTLE_SECONDS = 3.0  # after the first failure, for the others to say what they saw


@dataclass
class Rank:
    """One process of the job."""

    number: int
    process: subprocess.Popen[bytes]
    readers: list[threading.Thread] = field(default_factory=list)
    exit_code: int | None = None
    ended: float = 0.0  # when that was seen

    @property
    def stopped(self) -> bool:
        return self.exit_code is None and guardian.state_of(self.process.pid)[0] in "Tt"


class Output:
    """Where a stream of the ranks goes. Threads: any. When its reader has gone, `is_gone` is set and what
    follows is dropped, so that no rank waits for a pipe that nobody empties."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.is_gone = threading.Event()

    def write(self, line: bytes) -> None:
        if self.is_gone.is_set():
            return
        try:
            self._out.write(line)
            self._out.flush()
        except OSError:
            self.is_gone.set()
            # What Python still holds for it goes nowhere, without a word at the end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)


def _forward(stream: IO[bytes], rank: int, out: Output, log: int | None) -> None:
    prefix = f"[rank{rank}]: ".encode()
    for line in iter(stream.readline, b""):
        out.write(prefix + line if line.endswith(b"\n") else prefix + line + b"\n")
        if log is not None:
            os.write(log, line)


class Job:
    """The ranks of one launch. Use from one thread, the one that lives longest: ranks die with it."""

    def __init__(
        self, options: argparse.Namespace, folder: Path, listener: socket.socket, launcher: int
    ) -> None:
        self.options = options
        self.folder = folder
        self.listener = listener
        self.ranks: list[Rank] = []
        self.outputs = (Output(sys.stdout.buffer), Output(sys.stderr.buffer))
        self.interrupted: int | None = None
        self.launcher = launcher  # the process that the user started

    def command(self) -> list[str]:
        options = self.options
        if options.no_python:
            start = [options.script]
        elif options.module:
            start = [sys.executable, "-u", "-m", options.script]
        else:
            start = [sys.executable, "-u", options.script]
        return start + list(options.arguments)

    def environment(self, rank: int) -> dict[str, str]:
        world = self.options.nproc_per_node
        threads = max(1, (os.cpu_count() or 1) // world)
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": self.options.master_addr,
            "MASTER_PORT": str(self.listener.getsockname()[1]),
            "ONEFLOW_JOB_DIR": str(self.folder),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        }
        if rank == 0:  # it listens there already: nobody can take the port meanwhile
            environment["ONEFLOW_LISTENER"] = str(self.listener.fileno())
        return environment

    def start(self) -> None:
        own = os.getpid()
        for number in range(self.options.nproc_per_node):
            process = subprocess.Popen(
                self.command(),
                env=self.environment(number),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(self.listener.fileno(),) if number == 0 else (),
                preexec_fn=lambda: guardian.die_with(own, signal.SIGKILL),
            )
            self.ranks.append(Rank(number, process))
        self.listener.close()
        for rank in self.ranks:
            log = self._open_log(rank.number)
            for stream, out in zip(
                (rank.process.stdout, rank.process.stderr), self.outputs, strict=True
            ):
                assert stream is not None
                reader = threading.Thread(
                    target=_forward, args=(stream, rank.number, out, log), daemon=True
                )
                reader.start()
                rank.readers.append(reader)

    def _open_log(self, rank: int) -> int | None:
        logs: Path | None = self.options.log_dir
        if logs is None:
            return None
        logs.mkdir(parents=True, exist_ok=True)
        return os.open(logs / f"rank{rank}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def output_is_gone(self) -> bool:
        return any(output.is_gone.is_set() for output in self.outputs)

    def wait(self) -> list[Ending]:
        """Until all are done, or one failed and the others have said what they saw. Nobody is ended here."""
        while self.running() and self.interrupted is None and not self.output_is_gone():
            self._poll()
            if any(rank.exit_code for rank in self.ranks):
                self._settle()
                break
            time.sleep(0.02)
        return [self._ending(rank) for rank in self.ranks]

    def running(self) -> list[Rank]:
        return [rank for rank in self.ranks if rank.exit_code is None]

    def _poll(self) -> None:
        for rank in self.running():
            if (code := rank.process.poll()) is not None:
                rank.exit_code = code
                rank.ended = time.time()

    def _settle(self) -> None:
        # The others notice by themselves; what they say helps to find who was first.
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and not all(rank.stopped for rank in self.running()):
            self._poll()
            time.sleep(0.02)

    def _ending(self, rank: Rank) -> Ending:
        try:
            report = json.loads((self.folder / f"error.{rank.number}.json").read_text())
        except (OSError, ValueError):
            report = {}
        if not isinstance(report, dict) or not {"type", "message"} <= report.keys():
            report = {}
        when = report.get("time")
        when = float(when) if isinstance(when, (int, float)) else rank.ended
        return Ending(rank.number, rank.exit_code, rank.stopped, when, report)

    def end(self) -> None:
        """SIGTERM, grace, SIGKILL, for every rank's whole process group, then for all that is left."""
        for rank in self.running():
            # What does not run cannot end in order.
            self._signal(rank, signal.SIGKILL if rank.stopped else signal.SIGTERM)
        orphan = os.getppid() != self.launcher
        deadline = time.monotonic() + (ORPHAN_GRACE_SECONDS if orphan else GRACE_SECONDS)
        while self.running() and time.monotonic() < deadline:
            self._poll()
            time.sleep(0.02)
        for rank in self.running():
            self._signal(rank, signal.SIGKILL)
            rank.process.wait()
        self._poll()
        guardian.end_children()
        for rank in self.ranks:
            for reader in rank.readers:
                reader.join(timeout=2)

    def _signal(self, rank: Rank, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(rank.process.pid, number)
