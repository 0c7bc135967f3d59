"""oneflow-launch: starts the ranks of a job on this host and ends them together.

    oneflow-launch --nproc-per-node 4 train.py --lr 0.1

Every rank runs the same program with RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT set, and finds the others through one loopback address with a secret that only this job knows
(a file of mode 0600 in the folder ONEFLOW_JOB_DIR, removed at the end). Lines are prefixed with their rank.
When one rank fails all others are ended within seconds; the last lines are the root cause, once, and the
exit code is that rank's. Ranks die with the launcher, whatever kills it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
SETTLE_SECONDS = 3.0  # after the first failure, for the others to say what they saw
_PR_SET_PDEATHSIG = 1


@dataclass
class Rank:
    """One process of the job."""

    number: int
    process: subprocess.Popen[bytes]
    readers: list[threading.Thread] = field(default_factory=list)
    exit_code: int | None = None


@dataclass
class Failure:
    """Why a rank stopped: its exit, and what it wrote into its error file."""

    rank: int
    exit_code: int
    time: float
    report: dict[str, object]

    @property
    def is_echo(self) -> bool:
        """True if the rank stopped only because another one did."""
        return bool(self.report.get("peer"))

    def text(self) -> str:
        if self.report:
            where = f" at {self.report['location']}" if self.report.get("location") else ""
            return f"{self.report['type']}{where}: {self.report['message']}"
        if self.exit_code < 0:
            name = signal.Signals(-self.exit_code).name
            hint = " (out of memory, or killed by hand)" if name == "SIGKILL" else ""
            return f"killed by signal {-self.exit_code} ({name}){hint}"
        return f"exit code {self.exit_code}"


def _processes(text: str) -> int:
    if text in ("auto", "cpu"):
        return os.cpu_count() or 1
    try:
        count = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is neither a number nor `auto`") from None
    if not 1 <= count <= 1024:
        raise argparse.ArgumentTypeError(f"{count} processes; give a number from 1 to 1024")
    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oneflow-launch", description="Starts the ranks of a oneflow job on this host."
    )

    def flag(name: str, **options: object) -> None:
        # As torchrun does, accept --nproc-per-node and --nproc_per_node.
        names = [f"--{name}"] + ([f"--{name.replace('-', '_')}"] if "-" in name else [])
        parser.add_argument(*names, **options)  # type: ignore[arg-type]

    flag("nproc-per-node", type=_processes, default=1, metavar="N", help="processes, or `auto`")
    flag("nnodes", type=int, default=1, help="hosts; this release runs on one")
    flag("node-rank", type=int, default=0, help="number of this host")
    flag("master-addr", default="127.0.0.1", help="where rank 0 listens")
    flag("master-port", type=int, default=0, help="its port; 0 takes a free one")
    flag("standalone", action="store_true", help="accepted; one host needs nothing else")
    flag("log-dir", type=Path, help="also write each rank's output to DIR/rank<N>.log")
    flag("dry-run", action="store_true", help="print what would be started")
    parser.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module name")
    flag("no-python", action="store_true", help="SCRIPT is a program")
    parser.add_argument("script", help="the program of every rank")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with(parent: int) -> None:
    """Runs in the child before exec: no rank outlives the launcher."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _forward(stream: IO[bytes], rank: int, out: IO[bytes], log: IO[bytes] | None) -> None:
    prefix = f"[rank{rank}]: ".encode()
    for line in iter(stream.readline, b""):
        out.write(prefix + line if line.endswith(b"\n") else prefix + line + b"\n")
        out.flush()
        if log is not None:
            log.write(line)
            log.flush()
    if log is not None:
        log.close()


class Job:
    """The ranks of one launch. Use from one thread."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.ranks: list[Rank] = []
        self.interrupted: int | None = None

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
        return {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": self.options.master_addr,
            "MASTER_PORT": str(self.options.master_port),
            "ONEFLOW_JOB_DIR": str(self.folder),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        }

    def start(self) -> None:
        parent = os.getpid()
        logs = self.options.log_dir
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
        for number in range(self.options.nproc_per_node):
            process = subprocess.Popen(
                self.command(),
                env=self.environment(number),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),
            )
            self.ranks.append(Rank(number, process))
        for rank in self.ranks:
            log = (logs / f"rank{rank.number}.log").open("ab") if logs is not None else None
            streams = (
                (rank.process.stdout, sys.stdout.buffer),
                (rank.process.stderr, sys.stderr.buffer),
            )
            for index, (stream, out) in enumerate(streams):
                assert stream is not None
                reader = threading.Thread(
                    target=_forward,
                    args=(stream, rank.number, out, log if index == 0 else None),
                    daemon=True,
                )
                reader.start()
                rank.readers.append(reader)

    def poll(self) -> list[Rank]:
        """Ranks that ended since the last call."""
        ended = []
        for rank in self.ranks:
            if rank.exit_code is None and (code := rank.process.poll()) is not None:
                rank.exit_code = code
                ended.append(rank)
        return ended

    def running(self) -> list[Rank]:
        return [rank for rank in self.ranks if rank.exit_code is None]

    def wait(self) -> list[Failure]:
        """Until all are done or one failed and all were ended; failures in order of time."""
        failures: list[Failure] = []
        while self.running() and not failures and self.interrupted is None:
            for rank in self.poll():
                if rank.exit_code:
                    failures.append(self.failure(rank))
            time.sleep(0.02)
        if failures:
            # The others notice by themselves; what they say helps to find who was first.
            deadline = time.monotonic() + SETTLE_SECONDS
            while self.running() and time.monotonic() < deadline:
                failures += [self.failure(rank) for rank in self.poll() if rank.exit_code]
                time.sleep(0.02)
        self.end()
        return sorted(failures, key=lambda failure: failure.time)

    def failure(self, rank: Rank) -> Failure:
        path = self.folder / f"error.{rank.number}.json"
        try:
            report = json.loads(path.read_text())
        except (OSError, ValueError):
            report = {}
        when = float(report.get("time", time.time()))
        assert rank.exit_code is not None
        return Failure(rank.number, rank.exit_code, when, report)

    def end(self) -> None:
        """SIGTERM, grace, SIGKILL, for every rank's whole process group."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self.running() and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.02)
        self.signal(signal.SIGKILL)
        for rank in self.running():
            rank.process.wait()
        self.poll()
        for rank in self.ranks:
            for reader in rank.readers:
                reader.join(timeout=2)

    def signal(self, number: signal.Signals) -> None:
        for rank in self.ranks:
            if rank.exit_code is None or number == signal.SIGKILL:
                try:
                    os.killpg(rank.process.pid, number)
                except ProcessLookupError:
                    continue


def _report(failures: list[Failure], world: int) -> int:
    """Prints the root cause last, once; returns the exit code."""
    first = next((f for f in failures if not f.is_echo), failures[0])
    others = world - 1
    sys.stdout.flush()
    if others:
        print(
            f"oneflow-launch: {others} rank(s) stopped because rank {first.rank} failed.",
            file=sys.stderr,
        )
    print(
        f"oneflow-launch: root cause: rank {first.rank}: {first.text()}",
        file=sys.stderr,
        flush=True,
    )
    return first.exit_code if first.exit_code > 0 else 128 - first.exit_code


def main(arguments: list[str] | None = None) -> int:
    """Runs the launcher; returns the exit code of the job."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.nnodes != 1 or options.node_rank != 0:
        parser.error("this release runs the ranks of one host; use --nnodes 1 --node-rank 0")
    if options.master_port == 0:
        options.master_port = _free_port()
    folder = Path(tempfile.mkdtemp(prefix="oneflow-job-"))  # mode 0700
    try:
        secret = os.open(folder / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(secret, "wb") as file:
            file.write(secrets.token_bytes(32))
        job = Job(options, folder)
        if options.dry_run:
            for number in range(options.nproc_per_node):
                print(f"[rank{number}]: {' '.join(job.command())}")
            return 0

        def interrupt(number: int, _frame: object) -> None:
            job.interrupted = number

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt)
        try:
            job.start()
        except OSError as error:
            job.end()
            print(f"oneflow-launch: cannot start `{options.script}`: {error}", file=sys.stderr)
            return 127
        failures = job.wait()
        if failures:
            return _report(failures, options.nproc_per_node)
        if job.interrupted is not None:
            name = signal.Signals(job.interrupted).name
            print(f"oneflow-launch: interrupted by {name}; all ranks ended", file=sys.stderr)
            return 128 + job.interrupted
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
