"""The table of attacks: what is done, and what must come of it.

Each attack is a function of a Job (tests/attacks/job.py) that asserts the end of every rank, what the last
line says, and that all were gone in time. `fast` ones run in the fast suite; `racy` ones 50 times in the long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.attacks.job import Job, Process

# Classes of time, from the blow to the end. Coarse: what hangs takes 120 s or for ever.
AT_ONCE = 20.0
AFTER_SILENCE = 40.0


@dataclass(frozen=True)
class Attack:
    """A row of the table."""

    name: str
    run: Callable[[Job], None]
    fast: bool
    racy: bool
    secret: bytes | None = None  # of the job; None: a good one
    path: str = "auto"  # ONEFLOW_TRANSPORT of its ranks


ATTACKS: dict[str, Attack] = {}


def attack(
    *,
    fast: bool = False,
    racy: bool = False,
    secret: bytes | None = None,
    paths: tuple[str, ...] = ("auto",),
) -> Callable[[Callable[[Job], None]], Callable[[Job], None]]:
    """Adds a row for each path between the ranks; its name is the function's, and the path's behind the first."""

    def add(run: Callable[[Job], None]) -> Callable[[Job], None]:
        for path in paths:
            name = run.__name__.replace("_", "-") + ("" if path == paths[0] else f"-by-{path}")
            ATTACKS[name] = Attack(name, run, fast, racy, secret, path)
        return run

    return add


def last_error(process: Process) -> str:
    """The last line of the traceback, without what follows it in the message."""
    errors = [line for line in process.err if line.startswith("oneflow.errors.")]
    assert errors, process.text()
    return errors[-1]


def assert_fails(process: Process, words: str, since: float, limit: float = AT_ONCE) -> None:
    code = process.end()
    assert code == 1, f"exit code {code}: {process.text()}"
    assert words in last_error(process), process.text()
    assert time.monotonic() - since < limit, f"it took {time.monotonic() - since:.1f} s"
