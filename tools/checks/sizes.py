"""Sizes: source <= 800 lines, header <= 400, CUDA <= 1,000, an example's main program <= 150."""

from __future__ import annotations

from pathlib import Path

from tools.checks.tree import files

DOC = __doc__

BUDGETS = {
    ".h": 400,
    ".cuh": 400,
    ".cc": 800,
    ".py": 800,
    ".cu": 1000,
    ".cmake": 200,
    ".sh": 300,
}
# Read as one page each.
SMALLER = {"runtime/actor.cc": 300, "runtime/actor/actor.cc": 300}
EXAMPLE = 150


def check(root: Path) -> list[str]:
    problems = []
    for path in files(root, *BUDGETS):
        name = path.relative_to(root).as_posix()
        budget = SMALLER.get(name, BUDGETS[path.suffix])
        if name.startswith("examples/") and path.suffix == ".py":
            budget = EXAMPLE
        lines = len(path.read_text(errors="replace").splitlines())
        if lines > budget:
            problems.append(f"{name}: {lines} lines, the budget is {budget}")
    return problems
