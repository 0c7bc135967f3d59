"""Values that go round a ring in pieces, between devices of one process and of several: NumPy's numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def plans(processes: int, devices: int, count: int, folder: Path, path: str = "auto") -> list[str]:
    """The text of each rank's plan; its program has compared what came out with NumPy's."""
    program = ["-m", "tests.e2e.ring_program", str(devices), str(count), str(folder / "plan")]
    command = [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*command, *program],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        env={**os.environ, "ONEFLOW_TRANSPORT": path},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [(folder / f"plan.rank{rank}").read_text() for rank in range(processes)]


def tasks(plan: str, kind: str) -> list[str]:
    """The tasks of this name on the chunk loop, each with its attributes."""
    return re.findall(rf"^task .* op={kind} .*chunks=.*\n(?:  .*\n)*", plan, re.MULTILINE)


# 12 MiB: shares of 6 MiB in six equal pieces, of 4 MiB in four. 2,000,003 floats are no multiple of anything.
@pytest.mark.parametrize(
    ("processes", "devices", "path"), [(1, 2, "auto"), (2, 2, "shm"), (2, 2, "tcp"), (3, 3, "shm")]
)
def test_equal_pieces_are_sent_from_where_they_lie(
    processes: int, devices: int, path: str, tmp_path: Path
) -> None:
    pieces = {2: 6, 3: 4}[devices]
    for plan in plans(processes, devices, 3 << 20, tmp_path, path):
        reduces = tasks(plan, "ring_reduce")
        sends = tasks(plan, "send")
        assert reduces
        assert all(f"pieces={pieces}" in task for task in reduces)
        # Between ranks there is nothing but the messages, of one piece each.
        assert bool(sends) == (processes > 1)
        assert bool(tasks(plan, "ring_send")) == (processes == 1)
        assert all(f"pieces={pieces}" in task for task in sends)
        assert all(f"bytes={(12 << 20) // devices // pieces} " in task for task in sends)


@pytest.mark.parametrize("processes", [1, 2])
def test_unequal_pieces_are_packed(processes: int, tmp_path: Path) -> None:
    for plan in plans(processes, 2, 2_000_003, tmp_path):
        reduces = tasks(plan, "ring_reduce")
        assert reduces
        assert all("pieces=3" in task for task in reduces)
        assert tasks(plan, "ring_send")
        assert not any("attrs" in task for task in tasks(plan, "send"))
