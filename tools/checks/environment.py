"""Environment: every variable that is read stands in docs/environment.md, at most 12 of them are our own beside the
launcher's contract."""

from __future__ import annotations

import re
from pathlib import Path

from tools.checks.tree import files

DOC = __doc__

LIMIT = 12
READ = re.compile(
    r"""(?:getenv\(|environ\.get\(|environ\.setdefault\(|environ\.pop\(|environ\[|GetEnv\w*\(|_integer\()\s*["']([A-Z][A-Z0-9_]*)["']"""
)
ROW = re.compile(r"^\|\s*`([A-Z][A-Z0-9_]*)(?:=[^`]*)?`", re.MULTILINE)
PLACES = (
    "base/",
    "plan/",
    "compiler/",
    "kernels/",
    "comm/",
    "interpreter/",
    "runtime/",
    "python/",
    "tools/",
    "benchmarks/",
)


def check(root: Path) -> list[str]:
    document = root / "docs" / "environment.md"
    if not document.exists():
        return ["docs/environment.md is missing"]
    rows = ROW.findall(document.read_text())
    problems = [
        f"docs/environment.md: {name} stands twice"
        for name in sorted({r for r in rows if rows.count(r) > 1})
    ]
    own = [name for name in rows if name.startswith("ONEFLOW_")]
    contract = (
        document.read_text().partition("\n## The launcher's contract\n")[2].partition("\n## ")[0]
    )
    users = set(own) - set(ROW.findall(contract))
    if len(users) > LIMIT:
        problems.append(
            f"docs/environment.md: {len(users)} variables of our own, at most {LIMIT} are allowed"
        )
    read: set[str] = set()
    for path in files(root, ".h", ".cc", ".cu", ".py"):
        name = path.relative_to(root).as_posix()
        if not name.startswith(PLACES) or name.startswith("tools/checks/"):
            continue
        text = path.read_text(errors="replace")
        for match in READ.finditer(text):
            read.add(match[1])
            if match[1] not in rows and not name.endswith("_test.cc"):
                line = text.count("\n", 0, match.start()) + 1
                problems.append(f"{name}:{line}: {match[1]} is not in docs/environment.md")
        # Names may be held in a constant that is read elsewhere.
        read.update(re.findall(r"""["'](ONEFLOW_[A-Z0-9_]+)["']""", text))
    problems += [f"docs/environment.md: nothing reads {name}" for name in own if name not in read]
    return problems
