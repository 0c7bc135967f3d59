"""Where lines of ranks go: the console, a file per rank, or the launcher that reads ours."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

# Takes a line of a rank: its number, 1 for stdout or 2 for stderr, and the line with its end.
Emit = Callable[[int, int, bytes], None]

_LONGEST_LINE = 1 << 20  # a longer one comes in pieces


class Output:
    """A stream of this process. Threads: any. When its reader has gone, `is_gone` is set and what follows is
    dropped, so that no rank waits for a pipe that nobody empties."""

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


class Console:
    """stdout and stderr of this process, every line with its rank."""

    def __init__(self) -> None:
        self._outputs = (Output(sys.stdout.buffer), Output(sys.stderr.buffer))

    def emit(self, rank: int, stream: int, line: bytes) -> None:
        end = b"" if line.endswith(b"\n") else b"\n"
        self._outputs[stream - 1].write(f"[rank{rank}]: ".encode() + line + end)

    def is_gone(self) -> bool:
        return any(output.is_gone.is_set() for output in self._outputs)


def say(text: str) -> None:
    """A line of the launcher itself."""
    try:
        print(f"oneflow-launch: {text}", file=sys.stderr, flush=True)
    except OSError:
        return  # nobody listens any more


def open_log(path: Path | None) -> int | None:
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def read_lines(
    stream: IO[bytes], rank: int, number: int, emit: Emit | None, log: int | None
) -> None:
    """Until the stream ends. `emit` is None where the console does not get it."""
    for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
        if emit is not None:
            emit(rank, number, line)
        if log is not None:
            os.write(log, line)
