"""Appends one record of a long run or a benchmark to benchmarks/results/NAME.jsonl.

A record says what was measured on what: commit (and whether the tree differed from it), time, CPU,
cores, seeds, counts, figures and exit code. A result older than the code it judges counts as not run.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def cpu_name() -> str:
    """The processor's model, as /proc/cpuinfo has it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> tuple[str, bool]:
    """The checked-out commit, and whether tracked files other than results differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        if (
            shutil.which("git") is None
        ):  # unpacked sources on a machine that has a GPU and little else
            return ""
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    changed = [
        line
        for line in git("status", "--porcelain", "--untracked-files=no").splitlines()
        if "benchmarks/results/" not in line
    ]
    return git("rev-parse", "HEAD").strip() or "unknown", bool(changed)


def append(
    name: str,
    *,
    counts: dict[str, int] | None = None,
    figures: dict[str, Any] | None = None,
    seeds: list[int] | None = None,
    exit_code: int = 0,
) -> dict[str, Any]:
    """Adds a record to benchmarks/results/`name`.jsonl and returns it."""
    head, changed = commit()
    record = {
        "name": name,
        "commit": head,
        "tree_changed": changed,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "seeds": seeds or [],
        "counts": counts or {},
        "figures": figures or {},
        "exit_code": exit_code,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    with open(RESULTS / f"{name}.jsonl", "a") as sink:
        sink.write(json.dumps(record) + "\n")
    return record


def records(name: str) -> list[dict[str, Any]]:
    """The records of benchmarks/results/`name`.jsonl, oldest first; empty if there are none."""
    path = RESULTS / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]
