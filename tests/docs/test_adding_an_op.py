"""docs/adding_an_op.md still fits the tree. Building what it adds is `./dev long adding-an-op`."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

from tools.long.adding_an_op import PAGE, apply_block, read_blocks, read_commands

ROOT = Path(__file__).resolve().parents[2]


def test_every_block_has_its_place(tmp_path: Path) -> None:
    blocks = read_blocks((ROOT / PAGE).read_text())
    files = sorted({block.file for block in blocks})
    assert 1 < len(files) <= 5
    for file in files:
        if (ROOT / file).exists():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / file)
    for block in blocks:
        apply_block(tmp_path, block)
    for file in files:
        text = (tmp_path / file).read_text()
        assert "cbrt" in text.lower()
        if file.endswith(".py"):
            ast.parse(text)


def test_the_commands_are_those_of_the_page() -> None:
    commands = read_commands((ROOT / PAGE).read_text())
    assert commands[0] == "./dev build"
    assert all(command.startswith(("build/release/", "./dev python")) for command in commands[1:])
