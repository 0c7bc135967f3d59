"""Words: no Util, Helper or Manager, nothing left unfinished, exceptions only in python/bindings, fixed order."""

from __future__ import annotations

import re
from pathlib import Path

from tools.checks.tree import files, without_comments

DOC = __doc__

VAGUE = re.compile(r"\b(?:class|struct|enum class)\s+(\w*(?:Util|Helper|Manager|Base2)\w*)")
VAGUE_FILE = re.compile(r"(^|[_/])(utils?|helpers?|managers?)(_|\.|/)")
UNFINISHED = re.compile(
    r"\b(TODO|FIXME|XXX|HACK)\b|\b(for now|not implemented|placeholder|stubbed)\b", re.IGNORECASE
)
THROW = re.compile(r"\bthrow\b")
MACHINE_PATH = re.compile(r"""(?:^|[\s"'=(])/(?:work|root|home|tmp)/\w""")
# Iterating a hash table has no fixed order: where the compiler holds one, its line says why that is harmless.
UNORDERED = re.compile(r"\b(?:unordered_(?:map|set)|flat_hash_(?:map|set)|node_hash_(?:map|set))\b")
LOOKED_UP = "only looked up"
ORDERED_PLACES = ("compiler/", "plan/")
# This check names the words that it forbids.
EXEMPT = ("tools/checks/", "tests/checks/")


def check(root: Path) -> list[str]:
    problems = []
    for path in files(root, ".h", ".cc", ".cu", ".cuh", ".py", ".sh", ".cmake", ".proto"):
        name = path.relative_to(root).as_posix()
        if name.startswith(EXEMPT):
            continue
        is_test = name.startswith("tests/") or name.endswith("_test.cc")
        text = path.read_text(errors="replace")
        if VAGUE_FILE.search(name):
            problems.append(f"{name}: a file is named after its concept")
        for number, line in enumerate(text.splitlines(), 1):
            if match := VAGUE.search(line):
                problems.append(f"{name}:{number}: {match[1]} says nothing of what it is")
            if match := UNFINISHED.search(line):
                problems.append(f"{name}:{number}: unfinished? '{match[0]}'")
            if MACHINE_PATH.search(line) and not is_test:
                problems.append(f"{name}:{number}: a path of one machine")
        if path.suffix not in (".h", ".cc", ".cu", ".cuh"):
            continue
        lines = text.splitlines()
        for number, line in enumerate(without_comments(text).splitlines(), 1):
            if THROW.search(line) and not name.startswith("python/bindings/") and not is_test:
                problems.append(
                    f"{name}:{number}: only python/bindings throws; return absl::Status"
                )
            hashed = UNORDERED.search(line) and not line.lstrip().startswith("#include")
            if hashed and name.startswith(ORDERED_PLACES) and LOOKED_UP not in lines[number - 1]:
                problems.append(
                    f"{name}:{number}: a hash table has no fixed order; use std::map or a vector,"
                    f" or say '{LOOKED_UP}'"
                )
    return problems
