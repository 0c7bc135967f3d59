"""The ranks of one host: started, read, watched, ended together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .. import environment
from . import guardian, pinning
from .blame import Ending
from .output import Emit, open_log, read_lines
from .program import Program, Share

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
# For ranks to write a checkpoint when a launcher is ended by SIGTERM; Kubernetes and Slurm kill after 30 s.
STOP_SECONDS = 20.0
ORPHAN_GRACE_SECONDS = 2.0  # the same when the launcher itself was killed
# A rank that was stopped for so long has failed. Ranks that need it lose it earlier, by its heartbeat; this is for
# when none is connected to it yet, or needs it any more.
STOPPED_SECONDS = 5.0
_LOOK_SECONDS = 0.5  # between two looks at whether ranks run


@dataclass
class Rank:
    """One process of the job."""

    number: int
    process: subprocess.Popen[bytes]
    readers: list[threading.Thread] = field(default_factory=list)
    exit_code: int | None = None
    ended: float = 0.0  # when that was seen
    stopped_since: float | None = None  # as far as `Job.poll` has looked
    given_up: bool = False  # killed because it was stopped for too long

    @property
    def stopped(self) -> bool:
        if self.exit_code is not None:
            return self.given_up
        return guardian.state_of(self.process.pid)[0] in "Tt"


class Job:
    """The ranks of one host in one epoch. Use from one thread, the one that lives longest: ranks die with it."""

    def __init__(
        self,
        program: Program,
        share: Share,
        folder: Path,
        listener: socket.socket | None,
        launcher: int,
        emit: Emit,
    ) -> None:
        self.program = program
        self.share = share
        self.folder = folder  # with the secret; ranks leave their errors there
        self.listener = listener  # the host of rank 0 has it
        self.launcher = launcher  # the process that the user, or ssh, started
        self.emit = emit
        self.ranks: list[Rank] = []
        self._cores = pinning.shares(share.count)
        self._next_look = 0.0

    def environment(self, local_rank: int) -> dict[str, str]:
        share = self.share
        rank = share.first + local_rank
        threads = max(1, environment.core_count() // share.count)
        own = {
            name: value
            for name, value in os.environ.items()
            # What this process set for itself; the secret is in a file.
            if name not in environment.own_defaults and name != "ONEFLOW_SECRET"
        }
        if self.program.pin:
            threads = len(self._cores[local_rank])
        own = {
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            **own,
            **self.program.environment,
            "RANK": str(rank),
            "LOCAL_RANK": str(local_rank),
            "WORLD_SIZE": str(share.world),
            "LOCAL_WORLD_SIZE": str(share.count),
            "GROUP_RANK": str(share.host),
            "MASTER_ADDR": share.address,
            "MASTER_PORT": str(share.port),
            "ONEFLOW_JOB_DIR": str(self.folder),
            "ONEFLOW_EPOCH": str(share.epoch),
        }
        if rank == 0 and self.listener is not None:
            # It listens there already: nobody can take the port meanwhile.
            own["ONEFLOW_LISTENER"] = str(self.listener.fileno())
        return own

    def start(self) -> None:
        """OSError if the program cannot be started; `end` is due then as well."""
        own = os.getpid()
        for path in self.folder.glob("error.*.json"):  # of an epoch before
            path.unlink()
        for local_rank in range(self.share.count):
            cores = self._cores[local_rank] if self.program.pin else set()

            def prepare(cores: set[int] = cores) -> None:
                guardian.die_with(own, signal.SIGKILL)
                if cores:
                    os.sched_setaffinity(0, cores)

            number = self.share.first + local_rank
            listener = self.listener if number == 0 else None
            process = subprocess.Popen(
                self.program.command(),
                env=self.environment(local_rank),
                cwd=self.program.folder or None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(listener.fileno(),) if listener is not None else (),
                preexec_fn=prepare,
            )
            self.ranks.append(Rank(number, process))
        if self.listener is not None:
            self.listener.close()
        for local_rank, rank in enumerate(self.ranks):
            log = open_log(self.program.log_of(rank.number))
            shown = self.program.streams_of(local_rank)
            for number, stream in enumerate((rank.process.stdout, rank.process.stderr), start=1):
                assert stream is not None
                emit = self.emit if shown & number else None
                reader = threading.Thread(
                    target=read_lines, args=(stream, rank.number, number, emit, log), daemon=True
                )
                reader.start()
                rank.readers.append(reader)

    def running(self) -> list[Rank]:
        return [rank for rank in self.ranks if rank.exit_code is None]

    def poll(self) -> None:
        """Sees who has ended."""
        for rank in self.running():
            if (code := rank.process.poll()) is not None:
                rank.exit_code = code
                rank.ended = time.time()
        now = time.monotonic()
        if self.share.world > 1 and now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._give_up_stopped(now)

    def _give_up_stopped(self, now: float) -> None:
        for rank in self.running():
            if not rank.stopped:
                rank.stopped_since = None
            elif rank.stopped_since is None:
                rank.stopped_since = now
            elif now - rank.stopped_since > STOPPED_SECONDS:
                rank.given_up = True
                self._signal(rank, signal.SIGKILL)

    def endings(self) -> list[Ending]:
        return [self.ending(rank) for rank in self.ranks]

    def ending(self, rank: Rank) -> Ending:
        try:
            report = json.loads((self.folder / f"error.{rank.number}.json").read_text())
        except (OSError, ValueError):
            report = {}
        if not isinstance(report, dict) or not {"type", "message"} <= report.keys():
            report = {}
        when = report.get("time")
        when = float(when) if isinstance(when, (int, float)) else rank.ended
        return Ending(rank.number, rank.exit_code, rank.stopped, when, report)

    def stop(self) -> None:
        """Tells the ranks that the job is to end in order; they take the time that they need for it."""
        for rank in self.running():
            # Not their process groups: workers of loaders are needed until the end.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(rank.process.pid, signal.SIGTERM)

    def end(self) -> None:
        """SIGTERM, grace, SIGKILL, for every rank's whole process group, then for all that is left."""
        if self.listener is not None:
            self.listener.close()
        for rank in self.running():
            # What does not run cannot end in order.
            self._signal(rank, signal.SIGKILL if rank.stopped else signal.SIGTERM)
        orphan = os.getppid() != self.launcher
        deadline = time.monotonic() + (ORPHAN_GRACE_SECONDS if orphan else GRACE_SECONDS)
        while self.running() and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.02)
        for rank in self.running():
            self._signal(rank, signal.SIGKILL)
            rank.process.wait()
        self.poll()
        guardian.end_children()
        for rank in self.ranks:
            for reader in rank.readers:
                reader.join(timeout=2)

    def _signal(self, rank: Rank, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(rank.process.pid, number)
