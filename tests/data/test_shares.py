"""Several ranks: each reads the rows of its devices, and a batch is still the global one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn
from oneflow.data.shares import make_partial, rows_of_rank


@pytest.mark.parametrize(
    "axes, accumulate, size, world, expected",
    [
        ({"dp": 2}, 1, 8, 2, [[(0, 4)], [(4, 8)]]),
        ({"dp": 3}, 1, 8, 3, [[(0, 3)], [(3, 6)], [(6, 8)]]),
        ({"dp": 4}, 1, 8, 2, [[(0, 4)], [(4, 8)]]),
        ({"dp": 2}, 2, 8, 2, [[(0, 2), (4, 6)], [(2, 4), (6, 8)]]),
        ({"dp": 2, "tp": 2}, 1, 4, 2, [[(0, 2)], [(2, 4)]]),
        ({"tp": 2, "dp": 2}, 1, 4, 2, [[(0, 4)], [(0, 4)]]),
        ({"tp": 2}, 1, 4, 2, [[(0, 4)], [(0, 4)]]),
        ({"dp": 4}, 1, 2, 4, [[(0, 1)], [(1, 2)], [], []]),
    ],
)
def test_rows_of_a_rank(
    axes: dict[str, int], accumulate: int, size: int, world: int, expected: Any
) -> None:
    mesh = flow.mesh("cpu", **axes)
    assert [rows_of_rank(size, mesh, accumulate, r, world) for r in range(world)] == expected


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("axes", [{"dp": 2}, {"dp": 3}, {"pp": 2}, {"tp": 2, "dp": 2}])
def test_the_rows_are_those_that_feeds_copy(axes: dict[str, int], accumulate: int) -> None:
    mesh = flow.mesh("cpu", **axes)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    step = flow.eval_step(lambda x: model(x), model=model, mesh=mesh, accumulate=accumulate)
    fed = step.compile(flow.spec((8, 4))).core.fed_rows()["x"]
    (whole,) = rows_of_rank(8, mesh, accumulate, 0, 1)
    assert whole == (0, 8) and min(fed)[0] == 0 and max(fed)[1] == 8
    shares = axes.get("dp", 1) * accumulate
    assert len(set(fed)) == shares and sum(end - first for first, end in set(fed)) == 8


def test_a_partial_tensor_is_whole_for_whoever_looks() -> None:
    whole = np.arange(8, dtype=np.float32).reshape(4, 2)
    reads = []

    def read() -> Any:
        reads.append(1)
        return {"x": flow.tensor(whole), "y": flow.tensor(whole[:, 0])}

    share = {"x": flow.tensor(whole[1:3]), "y": flow.tensor(whole[1:3, 0])}
    batch = make_partial(share, 4, [(1, 3)], read)
    x = batch["x"]
    assert x.shape == (4, 2) and x.holds(1, 3) and not x.holds(0, 2)
    assert x.fed().tolist() == [[0, 0], [2, 3], [4, 5], [0, 0]] and not reads
    assert (x * 2).tolist() == (whole * 2).tolist() and x.numpy().tolist() == whole.tolist()
    assert batch["y"].sum().item() == 12 and reads == [1]
    with pytest.raises(flow.DataError, match="one row per sample"):
        make_partial({"x": flow.zeros(5)}, 4, [(1, 3)], read)


def test_a_step_that_needs_other_rows_reads_them() -> None:
    whole = np.arange(8, dtype=np.float32).reshape(4, 2)
    batch = make_partial(flow.tensor(whole[:2]), 4, [(0, 2)], lambda: flow.tensor(whole))
    step = flow.eval_step(lambda x: x * 2, model=nn.Linear(1, 1), mesh=flow.mesh("cpu", dp=2))
    assert step(batch).tolist() == (whole * 2).tolist()
    batch = make_partial(flow.tensor(whole[:2]), 4, [(0, 2)], lambda: flow.tensor(whole))
    assert step.interpret(batch).tolist() == (whole * 2).tolist()


PROGRAM = """
import oneflow as flow
from oneflow import nn
from tests.data.samples import Ragged, Squares

if __name__ == "__main__":
    flow.manual_seed(0)
    mesh = flow.mesh("cpu", dp=2)
    model = nn.Linear(2, 1)
    accumulate = {accumulate}
    step = flow.train_step(
        lambda x, y: ((model(x) - y.float().unsqueeze(1)) ** 2).mean(),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=1e-5),
        mesh=mesh,
        accumulate=accumulate,
    )
    dataset = Squares(16)
    loader = flow.data.DataLoader(
        dataset, 4, shuffle=True, seed=0, mesh={mesh}, accumulate=accumulate, num_workers={workers}, prefetch=0
    )
    losses = [round(float(m["loss"]), 3) for m in step.run(loader, steps=6)]
    print("losses", losses, "read", len(dataset.read), flush=True)
    ragged = Ragged(4)
    for batch in flow.data.DataLoader(ragged, 4, mesh=mesh, collate_fn=flow.data.pad_collate):
        print("padded", batch["ids"].shape, "of", len(ragged.read), flush=True)
"""


def launched(tmp_path: Path, ranks: int, **options: Any) -> list[tuple[str, str, str]]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(**{"accumulate": 1, "mesh": "mesh", "workers": 0, **options}))
    ran = subprocess.run(
        [sys.executable, "-m", "oneflow.launch", f"--nproc-per-node={ranks}", str(program)],
        capture_output=True,
        text=True,
        timeout=200,
        env=dict(os.environ),
    )
    assert ran.returncode == 0, ran.stderr
    padded = re.findall(r"padded \(4, 4\) of 4", ran.stdout)
    assert len(padded) == ranks, ran.stdout
    return re.findall(r"losses (\[.*\]) read (\d+)", ran.stdout)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_rank_reads_only_its_rows(tmp_path: Path, accumulate: int) -> None:
    ((losses, read),) = launched(tmp_path, 1, accumulate=accumulate)
    assert read == "24"
    assert launched(tmp_path, 2, accumulate=accumulate) == [(losses, "12")] * 2
    assert launched(tmp_path, 2, accumulate=accumulate, mesh="None") == [(losses, "24")] * 2


def test_each_ranks_workers_read_only_its_rows(tmp_path: Path) -> None:
    ((losses, _),) = launched(tmp_path, 1)
    assert launched(tmp_path, 2, workers=1) == [(losses, "0")] * 2
