"""Mutants stay usable: each has its header and applies to the tree; only a failed assertion is red."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.long.mutants import MUTANTS, ROOT, is_red, read_mutant

PATCHES = sorted(MUTANTS.glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_mutant_applies(patch: Path) -> None:
    read_mutant(patch)
    result = subprocess.run(
        ["git", "apply", "--check", str(patch)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


def test_header_is_required(tmp_path: Path) -> None:
    patch = tmp_path / "a.patch"
    patch.write_text("Breaks: x\nBar: y\nBuild: _core\n\ndiff --git a/a b/a\n")
    with pytest.raises(ValueError, match="no line 'Test: ...'"):
        read_mutant(patch)


def test_header_is_read(tmp_path: Path) -> None:
    patch = tmp_path / "a.patch"
    patch.write_text(
        "Breaks: x\nBar: y\nBuild: _core b\nTest: {build}/b --c\n\ndiff --git a/a b/a\n"
    )
    mutant = read_mutant(patch)
    assert (mutant.name, mutant.breaks, mutant.bar) == ("a", "x", "y")
    assert (mutant.build, mutant.test) == (["_core", "b"], "{build}/b --c")


@pytest.mark.parametrize(
    ("test", "code", "red"),
    [
        ("{python} -m pytest a", 1, True),
        ("{python} -m pytest a", 0, False),
        ("{python} -m pytest a", 2, False),
        ("{python} -m pytest a", 5, False),
        ("{build}/plan_test", 1, True),
        ("{build}/plan_test", -6, True),
        ("{build}/plan_test", 0, False),
        ("{build}/plan_test", 124, False),
        ("{build}/plan_test", 127, False),
    ],
)
def test_red_means_a_failed_assertion(test: str, code: int, red: bool) -> None:
    assert is_red(test, code) is red
