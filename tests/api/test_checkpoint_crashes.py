"""A writer that dies between any two calls of the system, and power cuts there: the newest committed one is found."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import oneflow as flow
import pytest
from oneflow import epochs, manifest, publication
from oneflow.epochs import Epoch, claim
from oneflow.publication import Claim, drop_old

from tests.api import stored
from tests.api.file_system import Calls, Dead, Disk, materialize


def in_a_run(root: Path) -> None:
    epoch = claim(root / "run")
    for steps in (2, 4):
        stored.write(root / "run" / f"step-{steps:08d}", steps, fence=epoch)


def with_leftovers(root: Path) -> None:
    in_a_run(root)
    (root / "run" / "step-00000003.partial").mkdir()
    (root / "run" / "step-00000006.partial").mkdir()
    (root / "run" / "step-00000006.epoch-000001.partial").mkdir()
    for name in ("step-00000006.partial", "step-00000006.epoch-000001.partial"):
        (root / "run" / name / "model.safetensors").write_bytes(b"half")


def next_of_run(root: Path) -> Epoch:
    """Started again: a run of its own."""
    epoch = claim(root / "run")
    stored.write(root / "run" / "step-00000006", 6, fence=epoch, extra={"by": os.urandom(8).hex()})
    return epoch


def of_another(root: Path) -> None:
    """A run that has made the step before; the next one starts at an older one, or anew."""
    epoch = claim(root / "run")
    for steps in (2, 4, 6):
        stored.write(root / "run" / f"step-{steps:08d}", steps, fence=epoch)


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


CASES: dict[str, tuple[Callable[[Path], None], Callable[[Path], Epoch | None]]] = {
    "next": (in_a_run, next_of_run),
    "leftovers": (with_leftovers, next_of_run),
    "replace": (replaced, replace),
    "aside": (put_aside, replace),
    "first": (nothing, next_of_run),
    "again": (of_another, next_of_run),
}


def drop(root: Path, epoch: Epoch | None) -> None:
    kept = flow.Checkpoint(root / "run", keep=2)
    if (root / "run" / "step-00000006").exists():
        drop_old(kept.too_old(6), epoch)


def manifests(root: Path) -> dict[tuple[int, int], set[bytes]]:
    """All that a reader could take, by epoch and step."""
    found: dict[tuple[int, int], set[bytes]] = {}
    for path in (root / "run").glob("step-????????*/manifest.json"):
        if not path.parent.name.endswith(".partial"):
            text = path.read_bytes()
            read = manifest.parse(text)
            found.setdefault((read.epoch, read.steps), set()).add(text)
    return found


RUNS = [case for case, (_, write) in CASES.items() if write is next_of_run]


@contextlib.contextmanager
def counted(
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    stop_at: int | None,
    meanwhile: Callable[[], None] | None = None,
) -> Iterator[Calls]:
    """What is written inside goes through Calls, which forces nothing onto a real disk."""
    calls = Calls(root, stop_at, meanwhile)
    with monkeypatch.context() as patch:
        patch.setattr(publication, "os", calls)
        patch.setattr(epochs, "os", calls)
        patch.setattr(publication, "shutil", calls)
        with contextlib.suppress(Dead):
            yield calls
    calls.end()


def perform(
    root: Path,
    write: Callable[[Path], Epoch | None],
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int | None,
) -> Calls:
    """Writes as a run does; the calls until it was over or dead."""
    commit = Claim.commit
    with counted(monkeypatch, root, stop_at) as calls, monkeypatch.context() as patch:

        def told(claim: Claim, text: bytes) -> None:
            commit(claim, text)
            calls.acknowledged()

        patch.setattr(Claim, "commit", told)
        drop(root, write(root))
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
        seen = manifests(root)
        with counted(monkeypatch, root, None):
            epoch = write(root)  # the next attempt begins where that one has ended
            drop(root, epoch)
        assert stored.steps_found(root / "run") == 6
        for key, texts in manifests(root).items():
            assert len(texts | seen.get(key, set())) == 1, f"two manifests of {key}"
        expected = ["step-00000004", "step-00000006"]
        if epoch is not None:
            left = stored.names(root / "run")
            assert manifests(root).keys() >= {(epoch.number, 6)}
        else:
            left = sorted(path.name for path in (root / "run").iterdir())
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
    begun = {epoch for epoch, _ in manifests(root)} if case in RUNS else set()
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
            allowed = {6} if disk.is_acknowledged or case == "again" else {4, 6}
            if case != "first" or disk.is_acknowledged:
                assert stored.steps_found(left / "run") in allowed, (number, call)
            if case in RUNS and (left / "run").exists():  # no number comes twice
                used = begun | {epoch for epoch, _ in manifests(left)}
                with counted(monkeypatch, left, None):
                    assert claim(left / "run").number > max(used, default=0), (number, call)
            shutil.rmtree(left)
            states += 1
    assert states > 100


def contents(root: Path) -> dict[str, bytes]:
    """Every byte that a reader could take, by the name that stands for it."""
    found: dict[str, bytes] = {}
    for path in sorted((root / "run").rglob("*")):  # step-N comes before step-N.replaced
        if path.is_file() and "partial" not in str(path):
            name = str(path.relative_to(root)).replace(".replaced", "")
            found.setdefault(name, path.read_bytes())
    return found


@pytest.mark.parametrize("newer_writes", [False, True])
@pytest.mark.parametrize("case", RUNS)
def test_a_run_that_another_overtakes_at_any_call_changes_nothing_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, newer_writes: bool
) -> None:
    """It stands before one call while a newer run claims the folder (and writes and drops there), then goes on."""
    before, _ = CASES[case]
    number, is_over, stale = 0, False, 0
    while not is_over:
        root = tmp_path / str(number)
        root.mkdir()
        with counted(monkeypatch, root, None):
            before(root)
            epoch = claim(root / "run")
        after: dict[str, bytes] = {}

        def newer(root: Path = root, after: dict[str, bytes] = after) -> None:
            newest = claim(root / "run")
            if newer_writes:
                for steps in (4, 6):
                    path = root / "run" / f"step-{steps:08d}"
                    stored.write(path, steps, fence=newest, extra="newer")
                drop_old(flow.Checkpoint(root / "run", keep=1).too_old(6), newest)
            after |= contents(root)

        why = ""
        with counted(monkeypatch, root, number, newer) as calls:
            try:
                stored.write(root / "run" / "step-00000006", 6, fence=epoch, extra="older")
                drop(root, epoch)
            except flow.StaleRunError as error:
                why = error.message
        is_over = len(calls.log) <= number
        if not is_over:
            assert contents(root) == after, (number, calls.log[number:])
            assert not list((root / "run").glob("*.epoch-*.partial"))
            if why:
                stale += 1
                assert f"has epoch {epoch.number} of " in why
                assert f"epoch {epoch.number + 1} was claimed by process {os.getpid()} on" in why
            else:  # nothing but the removal of what it had dropped before was left to do
                assert stored.steps_found(root / "run") == 6
        shutil.rmtree(root)
        number += 1
    assert stale > 12, (stale, number)
