"""The command line: what to start, and what its end means."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
import tempfile
from pathlib import Path
from types import FrameType

from . import guardian
from .blame import Ending, root_cause
from .job import Job

# Of a program whose output is cut off, as in `oneflow-launch ... | head`.
_OUTPUT_GONE = 128 + signal.SIGPIPE


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
    flag("log-dir", type=Path, help="also write what each rank prints to DIR/rank<N>.log")
    flag("dry-run", action="store_true", help="print what would be started")
    parser.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module name")
    flag("no-python", action="store_true", help="SCRIPT is a program")
    parser.add_argument("script", help="the program of every rank")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def _listen(port: int) -> socket.socket:
    """The socket at which rank 0 will listen; the port is ours from here on."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def _say(text: str) -> None:
    try:
        print(f"oneflow-launch: {text}", file=sys.stderr, flush=True)
    except OSError:
        return  # nobody listens any more


def _report(endings: list[Ending]) -> int:
    """Prints the root cause last, once; returns the exit code."""
    first = root_cause(endings)
    others = len(endings) - 1
    if others:
        _say(f"{others} rank(s) stopped because rank {first.rank} failed.")
    _say(f"root cause: rank {first.rank}: {first.text()}")
    code = first.exit_code or next(e.exit_code for e in endings if e.exit_code)
    return code if code > 0 else 128 - code


def _run(job: Job) -> int:
    """Starts the ranks and waits for their end; returns the exit code of the job."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        job.interrupted = number

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    guardian.die_with(job.launcher, signal.SIGTERM)
    try:
        job.start()
    except OSError as error:
        job.end()
        _say(f"cannot start `{job.options.script}`: {error}")
        return 127
    endings = job.wait()
    job.end()
    if any(ending.failed for ending in endings):
        return _report(endings)
    if job.interrupted is not None:
        _say(f"interrupted by {signal.Signals(job.interrupted).name}; all ranks ended")
        return 128 + job.interrupted
    if job.output_is_gone():
        _say("its output was closed; all ranks ended")
        return _OUTPUT_GONE
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs the launcher; returns the exit code of the job."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.nnodes != 1 or options.node_rank != 0:
        parser.error("this release runs the ranks of one host; use --nnodes 1 --node-rank 0")
    if options.master_addr not in ("127.0.0.1", "localhost"):
        parser.error(
            f"ranks of one host meet at 127.0.0.1, not at `{options.master_addr}`; leave --master-addr away"
        )
    try:
        listener = _listen(options.master_port)
    except (OSError, OverflowError) as error:
        parser.error(
            f"cannot listen on 127.0.0.1:{options.master_port} ({error}); choose another --master-port, or none"
        )
    folder = Path(tempfile.mkdtemp(prefix="oneflow-job-"))  # mode 0700
    job = Job(options, folder, listener, os.getpid())

    def work() -> int:
        if options.dry_run:
            for number in range(options.nproc_per_node):
                print(f"[rank{number}]: {' '.join(job.command())}")
            return 0
        secret = os.open(folder / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(secret, "wb") as file:
            file.write(secrets.token_bytes(32))
        return _run(job)

    return guardian.run_guarded(work, folder, listener.close)
