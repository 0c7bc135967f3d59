"""python -m oneflow.launch.agent: the launcher of one host, at the other end of an ssh. Nobody types this.

It speaks through stdin and stdout (`link.py`); what it prints for people goes to stderr.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import guardian
from .counting import processes
from .link import Link, Message
from .member import Member, take_signals, write_secret
from .program import Program
from .ssh import GREETING


def _reached_at() -> str:
    """The address of this host by which ssh came in; empty without ssh."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else ""


def main() -> int:
    """Serves one job; returns its exit code."""
    # The pipes of the link are nobody else's: what a rank or a library prints must not get between messages.
    source, sink = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    launcher = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix="oneflow-job-"))

    def work() -> int:
        member = Member(folder, launcher, _nobody)
        take_signals(member.interrupt, launcher)
        out = os.fdopen(sink, "wb")
        out.write(GREETING)
        out.flush()
        link = Link(os.fdopen(source, "rb"), out, member.receive)
        member.link = link

        def emit(rank: int, stream: int, line: bytes) -> None:
            text = line.decode("utf-8", "surrogateescape")
            link.send(said="line", rank=rank, stream=stream, text=text)

        member.emit = emit

        def prepare(job: Message) -> dict[str, Any]:
            member.folder = folder / str(job["id"])
            write_secret(member.folder, bytes.fromhex(job["secret"]))
            member.program = Program.from_json(job["program"])
            wanted = member.program.folder
            if wanted and not os.path.isdir(wanted):
                why = f"there is no folder {wanted}; share it between the hosts, or start in one that all have"
                return {"said": "unable", "why": why}
            try:
                count = processes(str(job["processes"]))
            except argparse.ArgumentTypeError as error:
                return {"said": "unable", "why": str(error)}
            return {"said": "ready", "count": count, "address": _reached_at()}

        link.begin()
        return member.serve(prepare)

    def let_go() -> None:
        os.close(source)
        os.close(sink)

    try:
        return guardian.run_guarded(work, folder, let_go)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nobody(_rank: int, _stream: int, _line: bytes) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
