"""Which way the ranks of a host reach each other: found out, forced, printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Arguments: ONEFLOW_TRANSPORT of rank 0 and of rank 1.
PROGRAM = """
import os, sys

os.environ["ONEFLOW_TRANSPORT"] = sys.argv[1 + int(os.environ["RANK"])]
import numpy as np
import oneflow as flow
from oneflow import nn

mesh = flow.mesh("cpu", dp=2)
assert "reaches" not in mesh.summary()
step = flow.eval_step(lambda x: x.sum(0), model=nn.Linear(1, 1), mesh=mesh)
print("sum", np.asarray(step(np.arange(8, dtype=np.float32).reshape(4, 2))).tolist())
print(mesh.summary())
"""


def run(tmp_path: Path, *choices: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", "2", str(program), *choices],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("choices", "of_0", "of_1"),
    [
        (("auto", "auto"), "shared memory", "shared memory"),
        (("shm", "auto"), "shared memory", "shared memory"),
        (
            ("auto", "tcp"),
            "tcp (ONEFLOW_TRANSPORT=tcp on rank 1)",
            "tcp (ONEFLOW_TRANSPORT=tcp)",
        ),
    ],
)
def test_each_rank_says_how_it_reaches_the_other(
    tmp_path: Path, choices: tuple[str, str], of_0: str, of_1: str
) -> None:
    result = run(tmp_path, *choices)
    assert result.returncode == 0, result.stderr
    assert f"[rank0]: rank 0 reaches rank 1 by {of_0}\n" in result.stdout
    assert f"[rank1]: rank 1 reaches rank 0 by {of_1}\n" in result.stdout
    assert result.stdout.count("sum [12.0, 16.0]") == 2


def test_a_rank_that_insists_on_shared_memory_gets_it_or_a_reason(tmp_path: Path) -> None:
    result = run(tmp_path, "shm", "tcp")
    assert result.returncode == 1
    assert "ONEFLOW_TRANSPORT=shm on rank 0, but ranks 0 and 1 share no memory" in result.stderr
    assert "unset it, and such ranks use TCP" in result.stderr


def test_a_choice_that_there_is_not_is_refused(tmp_path: Path) -> None:
    for choice in ("ib", "rdma:", "shm:mlx5_0"):
        result = run(tmp_path, choice, "auto")
        assert f"ONEFLOW_TRANSPORT is {choice!r}; it may be auto, tcp, shm or rdma" in result.stderr


# Whatever adapters this machine has, it has none of that name.
def test_a_rank_that_insists_on_rdma_gets_it_or_a_reason(tmp_path: Path) -> None:
    result = run(tmp_path, "rdma:no-such-adapter", "auto")
    assert result.returncode == 1
    assert (
        "ONEFLOW_TRANSPORT=rdma on rank 0, but ranks 0 and 1 do not reach each other by RDMA ("
        in result.stderr
    )
    assert "no RDMA adapter" in result.stderr
    assert "unset it, and such ranks use TCP" in result.stderr
