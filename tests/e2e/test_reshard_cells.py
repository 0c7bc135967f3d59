"""Reshard, cell by cell: a value of each layout turned into each other one, on CPU devices, on one GPU and on several
(software CUDA). All numbers are small integers, so that every order of sums gives NumPy's bits. Values as small as these
are summed directly; rings have their tests in test_cuda_nccl.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import numpy as np
import oneflow as flow
import pytest

from tests.e2e.soft_gpus import soft_gpus
from tests.e2e.soft_trace import PLUGIN

LAYOUTS = ("B", "S(0)", "S(1)", "P")
GPUS = {"cpu": 0, "one_gpu": 1, "two_gpus": 2, "four_gpus": 4}


@pytest.fixture(params=GPUS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    count = GPUS[request.param]
    if count == 0:
        yield "cpu"
        return
    assert PLUGIN.exists(), "./dev build makes it"
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))
    with soft_gpus(count):
        yield "cuda"


def turned(
    kind: str, mesh: dict[str, int], before: dict[str, str], after: dict[str, str]
) -> flow.Plan:
    """Computes -(a @ b), the product in one layout and its negative in another, and compares it with NumPy. Extents
    are divided by no number of devices. Partial sums are those of a product that is split where it is summed."""
    random = np.random.default_rng(0)
    a = random.integers(-3, 4, (7, 11)).astype(np.float32)
    b = random.integers(-3, 4, (11, 5)).astype(np.float32)
    partial = [axis for axis, layout in before.items() if layout == "P"]

    def compute(a: flow.Tensor, b: flow.Tensor) -> flow.Tensor:
        left = flow.shard(a * 2, **dict.fromkeys(partial, "S(1)"))
        right = flow.shard(b + 1, **dict.fromkeys(partial, "S(0)"))
        return flow.shard(-flow.shard(left @ right, **before), **after)

    devices = flow.mesh(kind, threads=1, **mesh)
    step = flow.eval_step(compute, model=flow.nn.Identity(), mesh=devices)
    for _ in range(2):  # the second time by what was captured
        np.testing.assert_array_equal(step(a, b).numpy(), -((2 * a) @ (b + 1)))
    return step.compile(a, b)


def made(plan: flow.Plan) -> set[str]:
    """The layouts that values of the plan have, as "S(0),B"."""
    outputs = re.findall(r"-> \((\S+)\)(?=\s|$)", plan.explain("test_reshard_cells.py"))
    return {re.sub(r"/\d+u", "", output) for output in outputs}


def test_every_layout_becomes_every_other(kind: str) -> None:
    for before, after in product(LAYOUTS, LAYOUTS):
        for n in (2, 3):
            plan = turned(kind, {"tp": n}, {"tp": before}, {"tp": after})
            assert {before, after} <= made(plan), (before, after, n)
            assert before == after or plan.explain("reshard"), (before, after, n)
            assert all(device["flops"] > 0 for device in plan.work()), (before, after, n)


def test_on_two_axes(kind: str) -> None:
    pairs = list(product(LAYOUTS, LAYOUTS))
    # All 256 on the CPU; on GPUs, where a cell takes 0.1 s, 24 of them, in which each pair is on either side.
    for before, after in list(product(pairs, pairs))[:: 1 if kind == "cpu" else 11]:
        plan = turned(
            kind,
            {"dp": 2, "tp": 2},
            dict(zip(("dp", "tp"), before, strict=True)),
            dict(zip(("dp", "tp"), after, strict=True)),
        )
        assert {",".join(before), ",".join(after)} <= made(plan), (before, after)
