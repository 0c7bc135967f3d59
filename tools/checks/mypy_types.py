"""Types: mypy accepts the Python package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DOC = __doc__


def check(root: Path) -> list[str]:
    if not (root / "python" / "oneflow").exists():
        return []
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", os.devnull],
        capture_output=True, text=True, timeout=600, cwd=root,
    )  # fmt: skip
    if result.returncode == 0:
        return []
    return [line for line in result.stdout.splitlines() if ": error:" in line] or [
        result.stderr.strip()
    ]
