"""Writes docs/reference/ from the docstrings; exit code 1 if a public name has none. ./dev reference"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.reference.names import without_docstring
from tools.reference.pages import pages

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"


def stale(folder: Path = FOLDER) -> list[str]:
    """The pages in `folder` that are not what the docstrings say, sorted by name."""
    made = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def main() -> int:
    if missing := without_docstring():
        print("without docstring: " + ", ".join(missing), file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for path in FOLDER.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
