"""Values that go round a ring in pieces, between devices of one process and of several: NumPy's numbers."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass
class Ran:
    """What a rank says of itself after its program has compared what came out with NumPy's."""

    plan: str  # as text
    rings_in_place: int  # members of rings that did not go round
    rings_landing: int  # members of others that received what was gathered where it belongs


def run(processes: int, devices: int, count: int, folder: Path, path: str = "auto") -> list[Ran]:
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
    said = [(folder / f"plan.rank{rank}").read_text() for rank in range(processes)]
    return [Ran(**json.loads(text)) for text in said]


def tasks(plan: str, kind: str) -> list[str]:
    """The tasks of this name on the chunk loop, each with its attributes."""
    return re.findall(rf"^task .* op={kind} .*chunks=.*\n(?:  .*\n)*", plan, re.MULTILINE)


# 48 MiB: shares of 24 MiB in six equal pieces, of 16 MiB in four. 8,000,003 floats are no multiple of anything.
@pytest.mark.parametrize(
    ("processes", "devices", "path"),
    [
        (1, 2, "auto"),
        (2, 2, "shm"),
        (2, 2, "tcp"),
        (3, 3, "shm"),
        (3, 3, "tcp"),
        (2, 4, "shm"),
        (2, 4, "tcp"),
        (4, 4, "shm"),
    ],
)
def test_equal_pieces_are_sent_from_where_they_lie(
    processes: int, devices: int, path: str, tmp_path: Path
) -> None:
    pieces = {2: 6, 3: 4, 4: 3}[devices]
    for ran in run(processes, devices, 12 << 20, tmp_path, path):
        plan = ran.plan
        reduces = tasks(plan, "ring_reduce")
        sends = tasks(plan, "send")
        assert reduces
        assert all(f"pieces={pieces}" in task for task in reduces)
        # Where all share memory, the sum and the maximum are made in place; what is only scattered or gathered goes round.
        in_place = 0 if path == "tcp" else 2 * devices // processes
        assert ran.rings_in_place == in_place
        # Else what comes to a rank from another has its place; what passes between devices of a rank is copied there.
        assert ran.rings_landing == (2 if path == "tcp" else 0)
        # Between ranks there is nothing but the messages, of one piece each.
        assert bool(sends) == (processes > 1)
        assert bool(tasks(plan, "ring_send")) == (processes < devices)
        assert all(f"pieces={pieces}" in task for task in sends)
        assert all(f"bytes={(48 << 20) // devices // pieces} " in task for task in sends)


@pytest.mark.parametrize("processes", [1, 2])
def test_unequal_pieces_are_packed(processes: int, tmp_path: Path) -> None:
    for ran in run(processes, 2, 8_000_003, tmp_path):
        plan = ran.plan
        reduces = tasks(plan, "ring_reduce")
        assert reduces
        assert all("pieces=3" in task for task in reduces)
        assert tasks(plan, "ring_send")
        assert not any("attrs" in task for task in tasks(plan, "send"))
