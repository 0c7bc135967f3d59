"""Runs a command so that it cannot hang: in a process group of its own, under a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

OUT_OF_TIME = 124


def run(
    command: list[str],
    limit: float,
    *,
    cwd: Path,
    env: dict[str, str] | None = None,
    log: Path | None = None,
) -> int:
    """Runs `command` for at most `limit` seconds and returns its exit code (124: out of time).

    Output goes to `log`, or to ours if there is none. Whatever the command started and left behind
    is killed with its process group, after a clean end too. `env` is added to the environment.
    """
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **(env or {})}
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as files:
        sink = files.enter_context(open(log, "wb")) if log else None
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT if sink else None,
            env=environment,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            return OUT_OF_TIME
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
