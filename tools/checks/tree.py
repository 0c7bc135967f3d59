"""The files that checks look at, and how they read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

SKIPPED = {"build", "dist", "__pycache__", "results"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def files(root: Path, *suffixes: str) -> Iterator[Path]:
    """All source files below `root` with one of `suffixes`, sorted; generated folders left out."""
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name in SKIPPED:
            continue
        if path.is_dir():
            yield from files(path, *suffixes)
        elif path.suffix in suffixes:
            yield path


def includes(text: str) -> Iterator[tuple[int, bool, str]]:
    """(line, quoted, header) of every include."""
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start(2)) + 1, match[1] == '"', match[2]


def opening_comment(text: str) -> list[str]:
    """The lines of the // comment that a file begins with."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].strip())
    return lines


def without_comments(text: str) -> str:
    """C++ text with comments and string contents blanked; line numbers stay."""

    def blank(match: re.Match[str]) -> str:
        kept = "\n" * match[0].count("\n")
        return kept if match[0].startswith("/") else '""' + kept

    return re.sub(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.DOTALL
    )
