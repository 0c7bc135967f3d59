"""Two ranks train; one raises, dies, or runs another program: all end soon, the root cause stands last, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

model = nn.Linear(8, 4)
optimizer = flow.optim.SGD(model.parameters(), lr=0.1)

@flow.train_step(model=model, optimizer=optimizer, mesh=flow.mesh("cpu", dp=2))
def step(x, y):
    {forward}
    return F.cross_entropy(logits, y)

x, y = np.ones((4, 8), np.float32), np.arange(4)
for i in range(1000):
    if i == 3 and flow.rank() == 1:
        {fault}
    print(float(step(x, y)["loss"]))
"""


def last_words(
    folder: Path, *, forward: str = "logits = model(x)", fault: str = "pass"
) -> list[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM.format(forward=forward, fault=fault))
    command = [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", "2", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert result.stderr.count("root cause") == 1
    return result.stderr.strip().splitlines()


def test_an_exception_on_one_rank_reaches_the_others_with_its_line(tmp_path: Path) -> None:
    lines = last_words(tmp_path, fault="flow.zeros(3) @ flow.zeros(4)")
    assert "root cause: rank 1: ShapeError at program.py:19: matmul" in lines[-1]
    assert any(line.startswith("[rank0]") and "because rank 1 failed" in line for line in lines)


def test_an_exception_of_the_users_own_has_its_line_too(tmp_path: Path) -> None:
    lines = last_words(tmp_path, fault="int('bad luck')")
    assert "root cause: rank 1: ValueError at program.py:19: invalid literal" in lines[-1]


def test_a_killed_rank_is_the_root_cause_not_those_that_lost_it(tmp_path: Path) -> None:
    lines = last_words(tmp_path, fault="os.kill(os.getpid(), 9)")
    assert "root cause: rank 1: killed by signal 9 (SIGKILL)" in lines[-1]
    assert any("rank 0 lost rank 1" in line for line in lines)


def test_ranks_that_run_different_programs_name_the_first_line(tmp_path: Path) -> None:
    lines = last_words(tmp_path, forward="logits = model(x).relu() if flow.rank() else model(x)")
    assert "run different programs" in lines[-1]
    assert "program.py:14" in lines[-1] or "program.py:15" in lines[-1]
