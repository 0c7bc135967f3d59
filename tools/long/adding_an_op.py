"""docs/adding_an_op.md, followed word by word: a copy of the tree gets the op, is built, and its tests pass.

The page's blocks name a file and a line before or after which their text goes; at most five files may be
touched. The tests are those that the page names, and they must have seen the new op.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
import time
from pathlib import Path

from tools import process, results
from tools.long.mutants import Worktree

COST = "a build of the changed files and what depends on them, with the compiler cache: 2-6 minutes"
PAGE = Path("docs") / "adding_an_op.md"
LOG = results.ROOT / "build" / "test-logs" / "adding-an-op.log"
FENCE = re.compile(r"^```(\w+)[ ]+(\S[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# file=PATH, then at most one of before="..." and after="..."; \" stands for a quote.
PLACE = re.compile(r'^file=(\S+)(?: (before|after)="((?:[^"\\]|\\.)*)")?$')


@dataclasses.dataclass(frozen=True)
class Block:
    """Text that goes into a file: before or after a line, or as a new file (`where` is empty)."""

    file: str
    where: str
    line: str
    text: str


def read_blocks(page: str) -> list[Block]:
    """The changes that the page asks for, in its order."""
    blocks = []
    for _, label, text in FENCE.findall(page):
        if label == "test":
            continue
        place = PLACE.match(label)
        if place is None:
            raise ValueError(f"a block with an unknown label: {label}")
        line = (place[3] or "").replace('\\"', '"')
        blocks.append(Block(place[1], place[2] or "", line, text))
    return blocks


def read_commands(page: str) -> list[str]:
    """The commands of the block labelled `test`."""
    (text,) = [text for _, label, text in FENCE.findall(page) if label == "test"]
    return text.splitlines()


def apply_block(root: Path, block: Block) -> None:
    """Makes one change. The line must stand in the file exactly once; a new file must not exist."""
    path = root / block.file
    if not block.where:
        if path.exists():
            raise ValueError(f"{block.file} exists already")
        path.write_text(block.text)
        return
    lines = path.read_text().splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if line.rstrip("\n") == block.line]
    if len(places) != 1:
        raise ValueError(f"{block.file} has the line {block.line!r} {len(places)} times, not once")
    at = places[0] + (block.where == "after")
    lines.insert(at, block.text)
    path.write_text("".join(lines))


def main(arguments: list[str]) -> int:
    page = (results.ROOT / PAGE).read_text()
    blocks = read_blocks(page)
    files = {block.file for block in blocks}
    assert len(files) <= 5, f"{len(files)} files are touched: {sorted(files)}"
    start = time.monotonic()
    code = 0
    tree = Worktree(0, os.cpu_count() or 1)
    try:
        for block in blocks:
            apply_block(tree.path, block)
        # The copy is built by `tree`, with this tree's environment, instead of `./dev build`.
        tree.build("adding-an-op", ["oneflow_compiler_test", "oneflow_interpreter_test", "_core"])
        env = {"PYTHONPATH": str(tree.path / "python"), "OMP_NUM_THREADS": "1"}
        for command in read_commands(page):
            if command == "./dev build":
                continue
            argv = shlex.split(command)
            if argv[:2] == ["./dev", "python"]:
                argv = [sys.executable, *argv[2:]]
            print(command)
            code = code or process.run(argv, 900, cwd=tree.path, env=env, log=LOG)
        probe = "import oneflow as f; assert 'cube root' in f.ops.cbrt.__doc__; print(f.cbrt(f.tensor([8.0])))"
        code = code or process.run(
            [sys.executable, "-c", probe], 60, cwd=tree.path, env=env, log=LOG
        )
    finally:
        tree.close()
    seconds = round(time.monotonic() - start)
    results.append(
        "adding_an_op", figures={"files": len(files), "seconds": seconds}, exit_code=code
    )
    print("ok" if code == 0 else f"FAILED ({LOG.relative_to(results.ROOT)})", seconds, "s")
    return code
