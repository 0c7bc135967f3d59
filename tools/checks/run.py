"""Runs the checks of the source tree; exit code 1 and one line per violation if any. ./dev check [NAME...]"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = (
    "layers",
    "imports",
    "headers",
    "sizes",
    "words",
    "environment",
    "formatting",
    "mypy_types",
)


def violations(name: str, root: Path) -> list[str]:
    """What check `name` finds wrong in the tree at `root`."""
    return importlib.import_module(f"tools.checks.{name}").check(root)


def main() -> int:
    chosen = sys.argv[1:] or NAMES
    if unknown := [name for name in chosen if name not in NAMES]:
        print(f"no check named {unknown[0]}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    bad = 0
    for name in chosen:
        found = violations(name, ROOT)
        print(f"{'ok' if not found else 'FAILED':6} {name}" + (f": {len(found)}" if found else ""))
        for problem in found:
            print(f"       {problem}")
        bad += bool(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
