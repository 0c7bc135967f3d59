"""Headers: each opens with what it is, threads, what to read next; its guard is its path; types are documented."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tools.checks.tree import files, opening_comment

DOC = __doc__

DOCUMENTED_SHARE = 0.9
TYPE = re.compile(r"^(?:class|struct|enum class|enum)\s+(?:\[\[\w+\]\]\s+)?(\w+)[^;]*$")
ABSTRACT_PLACES = ("compiler/passes/",)


def check(root: Path) -> list[str]:
    problems: list[str] = []
    documented, bare = 0, []
    for path in files(root, ".h", ".cuh"):
        name = path.relative_to(root).as_posix()
        text = path.read_text(errors="replace")
        comment = opening_comment(text)
        joined = " ".join(comment)
        if len(comment) < 3:
            problems.append(
                f"{name}:1: a header opens with a comment: what it is, owner, threads, invariants, what next"
            )
        else:
            # A pass says where it runs instead: it is a pure function.
            if not re.search(r"[Tt]hread|[Pp]ure", joined) and not name.startswith(ABSTRACT_PLACES):
                problems.append(
                    f"{name}:1: the opening comment does not say which threads may use it"
                )
            if not re.search(r"Read next", joined) and not name.startswith(ABSTRACT_PLACES):
                problems.append(f"{name}:1: the opening comment does not say what to read next")
        guard = "ONEFLOW_" + re.sub(r"[/.]", "_", name).upper() + "_"
        if path.suffix == ".h" and f"#ifndef {guard}\n#define {guard}\n" not in text:
            problems.append(f"{name}: the include guard is not {guard}")
        # The opening comment of x.h is that of its type X when it begins with the type's name.
        subject = re.match(r"(\w+)", joined)
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            match = TYPE.match(line)
            if not match:
                continue
            if subject and subject[1] == match[1]:
                documented += 1
                continue
            before = number - 2
            while before >= 0 and lines[before].startswith(("template", "alignas", "requires")):
                before -= 1
            if before >= 0 and lines[before].startswith("//"):
                documented += 1
            else:
                bare.append(f"{name}:{number}: {line.strip()}")
    package = root / "python" / "oneflow"
    for path in files(package, ".py") if package.exists() else ():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                if ast.get_docstring(node):
                    documented += 1
                else:
                    bare.append(
                        f"{path.relative_to(root).as_posix()}:{node.lineno}: class {node.name}"
                    )
    total = documented + len(bare)
    if total and documented < DOCUMENTED_SHARE * total:
        problems.append(f"only {documented} of {total} public types are documented:")
        problems += [f"{place} has no comment" for place in bare]
    return problems
