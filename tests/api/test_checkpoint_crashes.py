"""A writer that dies between any two calls of the system, and power cuts there: the newest committed one is found."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import oneflow as flow
import pytest
from oneflow import publication
from oneflow.publication import Claim, drop_old

from tests.api import stored
from tests.api.file_system import Calls, Dead, Disk, materialize


def in_a_run(root: Path) -> None:
    for steps in (2, 4):
        stored.write(root / "run" / f"step-{steps:08d}", steps)


def with_leftovers(root: Path) -> None:
    in_a_run(root)
    (root / "run" / "step-00000003.partial").mkdir()
    (root / "run" / "step-00000006.partial").mkdir()
    (root / "run" / "step-00000006.partial" / "model.safetensors").write_bytes(b"half")


def next_of_run(root: Path) -> None:
    path = root / "run" / "step-00000006"
    stored.write(path, 6)


def replaced(root: Path) -> None:
    stored.write(root / "run", 4)


def put_aside(root: Path) -> None:
    """As a crash between two renames leaves it."""
    stored.write(root / "run", 4)
    os.rename(root / "run", root / "run.replaced")


def replace(root: Path) -> None:
    stored.write(root / "run", 6)


def nothing(root: Path) -> None:
    pass


CASES: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "next": (in_a_run, next_of_run),
    "leftovers": (with_leftovers, next_of_run),
    "replace": (replaced, replace),
    "aside": (put_aside, replace),
    "first": (nothing, next_of_run),
}


def drop(root: Path) -> None:
    kept = flow.Checkpoint(root / "run", keep=2)
    if (root / "run" / "step-00000006").exists():
        drop_old(kept.too_old(6))


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, root: Path, stop_at: int | None) -> Iterator[Calls]:
    """What is written inside goes through Calls, which forces nothing onto a real disk."""
    calls = Calls(root, stop_at)
    with monkeypatch.context() as patch:
        patch.setattr(publication, "os", calls)
        patch.setattr(publication, "shutil", calls)
        with contextlib.suppress(Dead):
            yield calls
    calls.end()


def perform(
    root: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, stop_at: int | None
) -> Calls:
    """Writes as a run does; the calls until it was over or dead."""
    commit = Claim.commit
    with counted(monkeypatch, root, stop_at) as calls, monkeypatch.context() as patch:

        def told(claim: Claim, text: bytes) -> None:
            commit(claim, text)
            calls.acknowledged()

        patch.setattr(Claim, "commit", told)
        write(root)
        drop(root)
    return calls


@pytest.mark.parametrize("case", CASES)
def test_a_writer_that_dies_at_any_call_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    before, write = CASES[case]
    number, is_over = 0, False
    while not is_over:
        root = tmp_path / str(number)
        root.mkdir()
        with counted(monkeypatch, root, None):
            before(root)
        calls = perform(root, write, monkeypatch, number)
        is_over = len(calls.log) < number
        if ("acknowledged",) in calls.log:
            assert stored.steps_found(root / "run") == 6
        elif case == "first":
            # The folder may have its name before that is forced onto the disk.
            done = (root / "run" / "step-00000006").exists()
            assert not done or stored.steps_found(root / "run") == 6
        else:
            assert stored.steps_found(root / "run") in (4, 6), calls.log[-1]
        with counted(monkeypatch, root, None):
            write(root)  # the next attempt begins where that one has ended
            drop(root)
        assert stored.steps_found(root / "run") == 6
        left = sorted(path.name for path in (root / "run").iterdir())
        expected = ["step-00000004", "step-00000006"]
        if case in ("replace", "aside"):
            expected = ["manifest.json", "model.safetensors", "optimizer.safetensors"]
        assert left == (expected[1:] if case == "first" else expected)
        assert sorted(path.name for path in root.iterdir()) == ["run"]
        shutil.rmtree(root)
        number += 1
    assert number > 15


@pytest.mark.parametrize("case", CASES)
def test_a_power_cut_at_any_call_loses_nothing_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    before, write = CASES[case]
    root = tmp_path / "disk"
    root.mkdir()
    before(root)
    disk = Disk(root)
    calls = perform(root, write, monkeypatch, None)
    assert stored.steps_found(root / "run") == 6
    states = 0
    for number, call in enumerate([("begin",), *calls.log]):
        if call != ("begin",):
            disk.apply(call)
        for state in disk.after_power_cut(range(number, number + 6)):
            left = tmp_path / "left"
            materialize(state, left)
            allowed = {6} if disk.is_acknowledged else {4, 6}
            if case != "first" or disk.is_acknowledged:
                assert stored.steps_found(left / "run") in allowed, (number, call)
            shutil.rmtree(left)
            states += 1
    assert states > 100
