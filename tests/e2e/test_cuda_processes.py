"""A cuda mesh over several processes: communicators by NCCL that ranks join, with the bits of one process; and what
happens when a rank does not come. On software GPUs, whose communicators are shared memory between processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.soft_trace import PLUGIN

ROOT = Path(__file__).parents[2]
SECONDS = 120  # of a job


def launch(
    processes: int, *arguments: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], float]:
    assert PLUGIN.exists(), "./dev build makes it"
    begun = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(processes)]
        + ["-m", "tests.e2e.cuda_rank_program", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=ROOT,
        check=False,
        env={**os.environ, "ONEFLOW_CUDA_LIBRARY": str(PLUGIN), **environment},
    )
    return result, time.monotonic() - begun


def train(
    processes: int, gpus: int, model: str, layout: str, folder: Path, graphs: str = "on"
) -> list[dict[str, np.ndarray]]:
    """What each rank wrote."""
    folder.mkdir()
    arguments = ("train", str(gpus), str(folder), model, layout)
    result, _ = launch(processes, *arguments, ONEFLOW_CUDA_GRAPHS=graphs)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "software NCCL" not in result.stderr  # no call that could not meet
    assert "kernel by kernel" not in result.stderr
    return [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(processes)]


@cache
def in_one_process(model: str, layout: str, gpus: int, folder: Path) -> dict[str, np.ndarray]:
    (one,) = train(1, gpus, model, layout, folder / f"{model} {layout} {gpus}")
    return one


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("one")


def counts_of(rank: dict[str, np.ndarray]) -> Counter[str]:
    pairs = (line.split("=") for line in rank.pop("did").tolist())
    return Counter({name: int(number) for name, number in pairs})


# Model, layout, processes, devices. Sums of "wide" are rings, those of the others are small.
JOBS = [
    ("wide", "dp2", 2, 2),
    ("wide", "dp4", 2, 4),
    ("wide", "dp4", 4, 4),
    ("wide", "dp2_acc2", 2, 2),
    ("wide", "dp2_tp2", 2, 4),
    ("wide", "tp2_dp2", 2, 4),
    ("mlp", "dp3", 3, 3),
    ("mlp", "tp2", 2, 2),
    ("mlp", "pp2_acc4", 2, 2),
    ("resnet", "dp2_tp2", 2, 4),
    ("resnet", "dp2_pp2", 2, 4),
    ("resnet", "dp2_pp2_acc4", 4, 4),
]


@pytest.mark.parametrize(
    ("model", "layout", "processes", "devices"), JOBS, ids=["-".join(map(str, j)) for j in JOBS]
)
def test_several_processes_give_the_bits_of_one(
    model: str, layout: str, processes: int, devices: int, once: Path, tmp_path: Path
) -> None:
    one = dict(in_one_process(model, layout, devices, once))
    alone = counts_of(one)
    assert alone["comms_join"] == 0
    own = devices // processes
    did: Counter[str] = Counter()
    for rank, several in enumerate(train(processes, devices, model, layout, tmp_path / "many")):
        did += counts_of(several)
        for name, value in one.items():
            if name != "placed":
                assert value.tobytes() == several[name].tobytes(), (rank, name)
        placed = several["placed"].tolist()
        assert placed == list(range(rank * own, (rank + 1) * own))
    # Each GPU does what it does in one process, by as many calls; what went from GPU to GPU by copies is sent.
    for gpu in range(devices):
        assert did[f"collective {gpu}"] == alone[f"collective {gpu}"]
        assert abs(did[f"launch {gpu}"] - alone[f"launch {gpu}"]) <= 0.1 * alone[f"launch {gpu}"]
    assert (alone["collective 0"] > 0) == (model == "wide")
    sent, received, calls = (
        sum(did[f"{name} {gpu}"] for gpu in range(devices))
        for name in ("send", "receive", "messages")
    )
    assert sent == received > 0
    # All that a GPU sends and gets for a small sum is one call.
    if layout in ("dp2", "dp3", "dp4"):
        assert sent + received == 2 * (devices - own) * calls
    else:
        assert 0 < calls <= sent + received
    assert did["comms_join"] >= processes


def test_steps_that_are_not_captured_do_too(once: Path, tmp_path: Path) -> None:
    one = in_one_process("wide", "dp2_tp2", 4, once)
    for several in train(2, 4, "wide", "dp2_tp2", tmp_path / "many", graphs="off"):
        counts = counts_of(several)
        assert counts["comms_join"] > 0 and not any(counts[f"collective {gpu}"] for gpu in range(4))
        for name, value in one.items():
            if name not in ("placed", "did"):
                assert value.tobytes() == several[name].tobytes(), name


def assert_gone(folder: Path) -> None:
    """Nothing of the job runs any more."""
    for file in folder.glob("pid*"):
        try:
            state = Path(f"/proc/{file.read_text()}/stat").read_text().split(")")[-1].split()[0]
        except OSError:
            continue
        assert state in "ZX", f"{file.name} still runs"


def test_a_rank_that_is_killed_in_a_step_ends_the_others(tmp_path: Path) -> None:
    result, seconds = launch(2, "kill", "2", str(tmp_path))
    assert result.returncode == 128 + 9, result.stderr[-3000:]
    # The other ends by itself, and its session too.
    assert (tmp_path / "ended0").exists()
    assert re.search(r"\[rank0\]: .*PeerError.*rank 1", result.stderr), result.stderr[-3000:]
    assert "rank 1" in result.stderr.splitlines()[-1] and "SIGKILL" in result.stderr
    assert "goes on" not in result.stdout
    assert "software NCCL" not in result.stderr
    assert seconds < 60
    assert_gone(tmp_path)


def test_a_rank_that_ends_too_early_is_named(tmp_path: Path) -> None:
    result, _ = launch(2, "leave", "2", str(tmp_path))
    assert result.returncode != 0
    assert re.search(r"rank 1 ended and .*every rank must run the same steps", result.stderr), (
        result.stderr[-3000:]
    )
    assert_gone(tmp_path)


def test_wrong_data_of_one_rank_ends_all(tmp_path: Path) -> None:
    result, _ = launch(2, "label", "2", str(tmp_path))
    assert result.returncode == 1
    assert re.search(r"rank 1 found: .*index 3 is out of range of 3", result.stderr)
    assert "root cause: rank 1: DataError" in result.stderr.splitlines()[-1], result.stderr[-3000:]
    assert "goes on" not in result.stdout
    assert_gone(tmp_path)


def test_a_communicator_that_never_comes_about_is_an_error(tmp_path: Path) -> None:
    result, _ = launch(2, "deaf", "2", str(tmp_path), ONEFLOW_PEER_SECONDS="3")
    assert result.returncode != 0
    assert re.search(
        r"a communicator of devices 0,1: .*did not all come within 3\.0 s .ONEFLOW_PEER_SECONDS",
        result.stderr,
    ), result.stderr[-3000:]
    assert_gone(tmp_path)


def test_ranks_that_share_a_gpu_are_refused(tmp_path: Path) -> None:
    result, _ = launch(2, "train", "1", str(tmp_path), "wide", "dp2")
    assert result.returncode != 0
    assert re.search(r"device 0 of rank 0 and device 1 of rank 1 lie on one GPU", result.stderr), (
        result.stderr[-3000:]
    )
    assert "test_cuda_nccl.py:" in result.stderr  # the user's line


def test_ranks_without_nccl_are_refused(tmp_path: Path) -> None:
    result, _ = launch(2, "train", "2", str(tmp_path), "wide", "dp2", TEST_NCCL="off")
    assert result.returncode != 0
    assert re.search(
        r"needs NCCL on every rank, and rank 0 has none: .*pip install nvidia-nccl-cu13",
        result.stderr,
    ), result.stderr[-3000:]
    assert "test_cuda_nccl.py:" in result.stderr
