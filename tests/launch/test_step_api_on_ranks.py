"""What steps offer beside training, in several processes: the same values everywhere, prints once, no hang."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn


class Cube(flow.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, dy):
        return dy * 3 * ctx.saved_tensors[0] ** 2


flow.manual_seed(0)
mesh = flow.mesh("cpu", {axes})
model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
x = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
y = np.arange(8) % 3


@flow.train_step(model=model, optimizer=flow.optim.SGD(model.parameters(), lr=0.1), mesh=mesh,
                 clip_norm=0.5, check="all")
def step(x, y):
    hidden = flow.tap("hidden", Cube.apply(model[1](model[0](x))))
    with flow.no_grad():
        scale = hidden.abs().mean()
    flow.debug.print("printed", every=2)
    return F.cross_entropy(model[2](hidden / scale), y)


for metrics in step.run([(x, y)], steps=3):
    seen = [float(metrics["loss"]), float(metrics["grad_norm"]), float(metrics["hidden"].sum())]
    print("seen", [round(value, 4) for value in seen], flush=True)
predict = flow.eval_step(lambda x: model(x), model=model, mesh=mesh)
mean = flow.eval_step(lambda x: (x - x.mean(0)).sum(1), model=model, mesh=mesh)
for fn in (predict, mean):
    for result in fn.run([x, x[:3]]):
        print("seen", result.shape, round(float(result.abs().sum()), 3), flush=True)
"""


# One rank's share of the gradients overflows in the second step.
OVERFLOW = """
import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn

flow.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
x = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
large = x.copy()
large[-1] *= 300
y = np.arange(8) % 4
step = flow.train_step(lambda x, y: F.cross_entropy(model(x), y), model=model,
                       optimizer=flow.optim.AdamW(model.parameters(), lr=0.01),
                       mesh=flow.mesh("cpu", {axes}), precision="fp16",
                       loss_scale=flow.LossScale(2.0**13))
for batch in (x, large, x):
    metrics = step(batch, y)
    print("seen", float(metrics["loss"]), bool(metrics["skipped"]), float(metrics["loss_scale"]), flush=True)
"""


def run(tmp_path: Path, ranks: int, axes: str, text: str = PROGRAM) -> str:
    program = tmp_path / "program.py"
    program.write_text(text.replace("{axes}", axes))
    ran = subprocess.run(
        [sys.executable, "-m", "oneflow.launch", f"--nproc-per-node={ranks}", str(program)],
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ),
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("axes", ["dp=2", "pp=2", "tp=2"])
def test_ranks_see_what_one_process_sees(tmp_path: Path, axes: str) -> None:
    out, expected = run(tmp_path, 2, axes), run(tmp_path, 1, axes)
    alone = re.findall(r"seen (.*)", expected)
    assert len(alone) == 7
    for rank in (0, 1):
        assert re.findall(rf"rank{rank}\]: seen (.*)", out) == alone
    assert len(re.findall("printed", out)) == 2


def test_an_overflow_on_one_rank_skips_the_step_on_all(tmp_path: Path) -> None:
    out, expected = run(tmp_path, 2, "dp=2", OVERFLOW), run(tmp_path, 1, "dp=2", OVERFLOW)
    alone = re.findall(r"seen (.*)", expected)
    assert [line.split()[1:] for line in alone] == [
        ["False", "8192.0"],
        ["True", "8192.0"],
        ["False", "4096.0"],
    ]
    for rank in (0, 1):
        assert re.findall(rf"rank{rank}\]: seen (.*)", out) == alone
