"""Checkpoints of several ranks: each writes its part, any layout and number of processes reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oneflow import checkpoint
from oneflow.snapshot import writers

from tests.api import stored
from tests.launch.checkpoint_program import Run

ROOT = Path(__file__).parents[2]


def run(
    processes: int,
    axes: dict[str, int],
    folder: Path,
    before: Path | str = "",
    kept: Path | None = None,
    steps: int = 4,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    program = ["-m", "tests.launch.checkpoint_program", json.dumps(axes), str(folder), str(before)]
    program += [str(kept or folder / "run"), str(steps)]
    return subprocess.run(
        [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(processes), *program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
    )


def contents(folder: Path) -> dict[str, Any]:
    found = checkpoint.find(folder)
    assert found is not None
    tensors = [("model", found.model), ("optimizer", found.optimizer)]
    return {
        "steps": found.steps,
        **{f"{kind} {n}": t.numpy().tobytes() for kind, held in tensors for n, t in held.items()},
    }


def state_of(run: Run) -> dict[str, Any]:
    model, slots = run.step._stored_states()
    tensors = [("model", model), ("optimizer", slots)]
    return {
        "steps": run.step.optimizer.steps,
        **{f"{kind} {n}": t.numpy().tobytes() for kind, held in tensors for n, t in held.items()},
    }


CHAIN: list[tuple[int, dict[str, int]]] = [
    (2, {"dp": 2}),
    (2, {"tp": 2}),
    (1, {"dp": 2, "tp": 2}),
    (4, {"dp": 2, "tp": 2}),
    (2, {"pp": 2}),
    (4, {"dp": 2, "pp": 2}),
    (1, {}),
]


def test_every_layout_reads_what_every_other_has_written(tmp_path: Path) -> None:
    """A chain of jobs, each of which goes on from the one before; and each is read by all layouts of one process."""
    before: Path | str = ""
    losses = []
    for number, (processes, axes) in enumerate(CHAIN):
        folder = tmp_path / str(number)
        ran = run(processes, axes, folder, before, tmp_path / "run", 4 * (number + 1))
        assert ran.returncode == 0, ran.stderr[-3000:]
        losses += sorted({line.split("loss ")[1] for line in ran.stdout.splitlines()})
        if before:
            assert contents(folder / "again") == contents(Path(before))
        written = contents(folder / "end")
        assert written == contents(tmp_path / "run")
        assert written["steps"] == 4 * (number + 1)
        parts = sorted(path.name for path in (folder / "end").glob("*.safetensors"))
        assert len(parts) == 2 * processes
        for _, other in CHAIN:
            reader = Run(other)
            assert reader.step.restore(folder / "end") == {"steps": written["steps"]}
            assert state_of(reader) == written
        before = folder / "end"
    alone = Run({})
    expected = [float(m["loss"]) for m in alone.step.run(alone.loader, 4 * len(CHAIN))]
    found = {int(n): float.fromhex(text) for n, text in (line.split() for line in losses)}
    assert sorted(found) == list(range(4 * len(CHAIN)))
    np.testing.assert_allclose([found[n] for n in sorted(found)], expected, rtol=1e-4)


def test_ranks_write_about_as_many_bytes_each(tmp_path: Path) -> None:
    ran = run(4, {"dp": 4}, tmp_path)
    assert ran.returncode == 0, ran.stderr[-3000:]
    folder = tmp_path / "end"
    sizes = [
        sum(path.stat().st_size for path in folder.glob(f"*-0000{rank}-of-00004.safetensors"))
        for rank in range(1, 5)
    ]
    assert max(sizes) < 2 * min(sizes), sizes
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".safetensors") == [
        "manifest.json"
    ]


def test_the_reference_library_reads_every_part(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    assert run(2, {"dp": 2}, tmp_path).returncode == 0
    found = checkpoint.find(tmp_path / "end")
    assert found is not None
    seen = {}
    for path in (tmp_path / "end").glob("model*.safetensors"):
        seen |= safetensors.load_file(path)
    assert sorted(seen) == sorted(name for name in found.model if name != "3.weight")  # tied
    for name, array in seen.items():
        assert array.tobytes() == found.model[name].numpy().tobytes()


def test_each_tensor_has_a_writer_that_holds_it() -> None:
    tensors = [(100, "a"), (60, "b"), (50, "c"), (10, "d"), (10, "e"), (0, "f")]
    holders = [[0, 1], [0, 1], [2], [], [0], [1]]
    assert writers(tensors, holders, 3) == [0, 1, 2, 2, 0, 1]
    assert writers(tensors, [[]] * 6, 3) == [0, 1, 2, 2, 1, 2]
    assert writers([], [], 2) == []


def test_a_rank_whose_disk_is_full_is_named_and_the_next_one_is_whole(tmp_path: Path) -> None:
    ran = run(2, {"dp": 2}, tmp_path, PLANT="full")
    assert ran.returncode == 0, ran.stderr[-3000:]
    (told,) = [line for line in ran.stderr.splitlines() if "no checkpoint at step" in line]
    assert "at step 2: " in told and "rank 1: No space left on device: it needs" in told
    assert stored.names(tmp_path / "run") == ["step-00000004"]
    assert contents(tmp_path / "run") == contents(tmp_path / "end")


@pytest.mark.parametrize(
    ("plant", "why"),
    [
        ("silent", "rank 1 has not written its part within 3 s"),
        ("lies", "of rank 1 has 5 bytes here, and"),
    ],
)
def test_what_a_rank_has_not_written_is_no_checkpoint(tmp_path: Path, plant: str, why: str) -> None:
    ran = run(2, {"dp": 2}, tmp_path, steps=2, PLANT=plant, ONEFLOW_PEER_SECONDS="6")
    assert ran.returncode != 0
    assert "no checkpoint at step 2: " in ran.stderr and why in ran.stderr
    assert "CheckpointError" in ran.stderr.splitlines()[-1]
    assert stored.names(tmp_path / "run") == []


def test_rank_0_is_named_for_a_folder_that_it_cannot_write_whoever_says_so_first(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").write_text("no folder")
    ran = run(2, {"dp": 2}, tmp_path, PLANT="late")
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("oneflow-launch: root cause: rank 0: CheckpointError at "), ran.stderr
    assert f"{tmp_path}/run cannot be claimed" in last, last


def test_all_ranks_fall_back_together(tmp_path: Path) -> None:
    assert run(2, {"dp": 2}, tmp_path).returncode == 0
    ran = run(2, {"dp": 2}, tmp_path, PLANT="damage")
    assert ran.returncode == 0, ran.stderr[-3000:]
    refused = f"{tmp_path}/run/step-00000004 is refused: "
    assert refused in ran.stderr and "planted (seen by rank 1)" in ran.stderr
    assert f"resumes at step 2 from {tmp_path}/run/step-00000002" in ran.stderr
    assert ran.stdout.count("loss") == 2 * 2  # of both ranks, the two steps that were left
