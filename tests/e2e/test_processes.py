"""Bar 2: a layout over several processes gives, on every rank, the bits of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run(
    processes: int,
    model: str,
    layout: str,
    folder: Path,
    decisions: Path | None = None,
    path: str = "auto",
) -> list[dict[str, np.ndarray]]:
    """What each rank wrote."""
    folder.mkdir()
    program = ["-m", "tests.e2e.rank_program", model, layout, str(folder)]
    if decisions is not None:
        program.append(str(decisions))
    result = subprocess.run(
        [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(processes), *program],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        check=False,
        env={**os.environ, "ONEFLOW_TRANSPORT": path},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(processes)]


@pytest.mark.parametrize("layout", ["dp2", "pp2", "dp2_pp2"])
@pytest.mark.parametrize("model", ["mlp", "resnet"])
@pytest.mark.parametrize("path", ["shm", "tcp"])
def test_two_processes_give_the_bits_of_one(
    model: str, layout: str, path: str, tmp_path: Path
) -> None:
    (one,) = run(1, model, layout, tmp_path / "one")
    assert one.pop("messages").size == 0
    for rank, two in enumerate(run(2, model, layout, tmp_path / "two", path=path)):
        messages = two.pop("messages").tolist()
        assert bool(messages) == ("pp2" in layout), messages
        assert all("flow.gather" in message for message in messages)
        assert sorted(one) == sorted(two)
        for key, value in one.items():
            assert value.tobytes() == two[key].tobytes(), (rank, key)


# (layout, processes). Without decisions these differ: the search sees other links and decides otherwise.
HELD = [("tp2", 2), ("tp4", 4), ("dp2_tp2", 2), ("dp2_tp2", 4), ("dp2_pp2_acc4", 4)]


@pytest.mark.parametrize(("layout", "processes"), HELD)
@pytest.mark.parametrize("model", ["mlp", "resnet"])
def test_with_the_same_decisions_any_number_of_processes_gives_the_bits_of_one(
    model: str, layout: str, processes: int, tmp_path: Path
) -> None:
    decisions = tmp_path / "decisions"
    (one,) = run(1, model, layout, tmp_path / "one", decisions)
    one.pop("messages")
    for rank, several in enumerate(run(processes, model, layout, tmp_path / "many", decisions)):
        several.pop("messages")
        assert sorted(one) == sorted(several)
        for key, value in one.items():
            assert value.tobytes() == several[key].tobytes(), (rank, key)
