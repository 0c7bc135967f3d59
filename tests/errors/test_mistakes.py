"""Each mistake of the table: its class, its message, its line, and that following the advice cures it."""

from __future__ import annotations

import traceback
from pathlib import Path

import oneflow as flow
import pytest

from tests.errors.mistake import PREAMBLE, Mistake
from tests.errors.mistakes import ALL

MARK = "#!"


def run(program: str, path: Path) -> None:
    """Runs a program as if it were a file of the user."""
    path.write_text(program)
    exec(compile(program, str(path), "exec"), {"__name__": "program"})


def test_the_table_is_sound() -> None:
    names = [mistake.name for mistake in ALL]
    assert len(names) == len(set(names)) and len(names) >= 60
    for mistake in ALL:
        assert mistake.program.count(MARK) == 1, mistake.name
        assert mistake.cure, mistake.name


@pytest.mark.parametrize("mistake", ALL, ids=lambda mistake: mistake.name)
def test_a_mistake(mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "program.py"
    program = PREAMBLE + mistake.program
    (expected,) = [
        number for number, line in enumerate(program.splitlines(), 1) if line.endswith(MARK)
    ]
    with pytest.raises(mistake.kind, match=f"(?s){mistake.message}") as caught:
        run(program, path)
    error = caught.value
    if isinstance(error, flow.Error):
        place = error.location
        assert place is not None and place.file == str(path), place
        assert place.line == expected, error
        assert f"line {expected}" in str(error)
    else:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        assert lines[-1] == expected
    cured = program
    for old, new in mistake.cure:
        assert cured.count(old) >= 1, old
        cured = cured.replace(old, new)
    run(cured, path)
