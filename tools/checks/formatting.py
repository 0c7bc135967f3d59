"""Formatting: clang-format 16 and ruff agree with every file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.checks.tree import files

DOC = __doc__


def check(root: Path) -> list[str]:
    problems = []
    sources = [str(path) for path in files(root, ".h", ".cc", ".cu", ".cuh")]
    if sources:
        result = subprocess.run(
            ["clang-format-16", "--dry-run", "--Werror", "-style=file", *sources],
            capture_output=True, text=True, timeout=300, cwd=root,
        )  # fmt: skip
        lines = [line for line in result.stderr.splitlines() if ": error:" in line]
        places = sorted({line.split(":")[0] for line in lines})
        problems += [
            f"{Path(p).relative_to(root).as_posix()}: not as clang-format-16 would have it (./dev fmt)"
            for p in places
        ]
        if result.returncode and not lines:
            problems.append(f"clang-format-16: {result.stderr.strip()}")
    ruff = [sys.executable, "-m", "ruff"]
    for arguments in (
        ["format", "--check", "--quiet", "--diff"],
        ["check", "--quiet", "--output-format=concise"],
    ):
        result = subprocess.run(
            [*ruff, *arguments, "--no-cache", "."],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=root,
        )
        if result.returncode == 0:
            continue
        if "--diff" in arguments:
            changed = [line[4:] for line in result.stdout.splitlines() if line.startswith("+++ ")]
            problems += [f"{name}: not as ruff would format it (./dev fmt)" for name in changed]
        else:
            problems += result.stdout.splitlines()
        if result.returncode > 1:
            problems.append(f"ruff {arguments[0]}: {result.stderr.strip()}")
    return problems
