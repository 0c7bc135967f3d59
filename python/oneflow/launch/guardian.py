"""Nothing is left behind: two processes that watch each other, and every process below them.

The launcher's work runs in a child of the process that the user started. If the work dies, the first
process ends what it has started; if the first process dies, the work is told (SIGTERM) and ends in order.
Both adopt processes whose parents are gone, so that children of ranks are found whatever became of these.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def die_with(parent: int, number: signal.Signals) -> None:
    """From now on this process gets that signal when its parent dies; at once if it has died already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Processes below this one become its children when their parents die."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def state_of(pid: int) -> tuple[str, int]:
    """State letter (`T`: stopped, `Z`: dead and not waited for) and parent of a process; `X`: there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X", 0
    state, parent = text.rsplit(")", 1)[1].split()[:2]
    return state, int(parent)


def children() -> list[int]:
    """Processes whose parent this one is, dead ones included."""
    own = os.getpid()
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in pids if state_of(pid)[1] == own]


def end_children() -> None:
    """Kills and reaps all processes below this one; REQUIRES adopt_orphans, and that nobody else waits
    for them."""
    while left := children():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def run_guarded(work: Callable[[], int], folder: Path, let_go: Callable[[], None]) -> int:
    """Runs `work` in a child and returns its exit code; afterwards there is no process below this one, and
    no `folder`. `let_go` is called here once the child has what it needs."""
    worker = 0
    early: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        if worker:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, number)
        else:
            early.append(number)

    adopt_orphans()
    parent = os.getpid()
    for number in _FORWARDED:
        signal.signal(number, forward)
    sys.stdout.flush()
    sys.stderr.flush()
    worker = os.fork()
    if worker == 0:
        _run_and_exit(work, parent, folder)
    let_go()
    for missed in early:
        forward(missed, None)
    _, status = os.waitpid(worker, 0)
    code = os.waitstatus_to_exitcode(status)
    end_children()
    shutil.rmtree(folder, ignore_errors=True)
    if code < 0:
        name = signal.Signals(-code).name
        print(
            f"oneflow-launch: killed by signal {-code} ({name}); all ranks ended", file=sys.stderr
        )
        return 128 - code
    return code


def _run_and_exit(work: Callable[[], int], parent: int, folder: Path) -> None:
    code = 1
    try:
        adopt_orphans()
        code = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        if os.getppid() != parent:  # nobody is left to do it
            end_children()
            shutil.rmtree(folder, ignore_errors=True)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
