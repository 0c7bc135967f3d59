"""The pages are true: their Python examples run, the files and folders that they name exist.

All ```python blocks of a page run in one process, in their order, in an empty folder. A block that
shows a fragment is marked ```py and is not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.examples_of_pages import program_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
    if not path.relative_to(ROOT).as_posix().startswith(("build/", "."))
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FOLDERS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "build")
NAMED = re.compile(r"`((?:" + "|".join(map(re.escape, FOLDERS)) + r")/[\w./-]*)`")


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [p for p in PAGES if program_of(p)], ids=ids)
def test_examples_run(page: Path, tmp_path: Path) -> None:
    program = tmp_path / "example.py"
    program.write_text(program_of(page))
    result = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_named_files_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text())  # a lambda in C++ looks like a link
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    # A name in capitals stands for any; a header may be named without its suffix.
    names = [name for name in NAMED.findall(text) if not re.search(r"\b[A-Z]{3,}\b", name)]
    missing += [n for n in names if not (ROOT / n).exists() and not (ROOT / f"{n}.h").exists()]
    assert missing == []
