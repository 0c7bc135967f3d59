"""Sums by level of links: decisions say `dp/2`, so that sums go within groups of two devices first. The bits are the same
whatever holds the devices, the values are those of a flat sum, and untrusted groups are refused with their line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest

from tests.e2e.sums_by_level import by_level, train

ROOT = Path(__file__).resolve().parents[2]


def values(found: list[str]) -> np.ndarray:
    losses = [float.fromhex(text) for text in found[:4]]
    rest = [np.frombuffer(bytes.fromhex(text), np.float32) for text in found[4:]]
    return np.concatenate([np.float32(losses), *rest])


@pytest.mark.parametrize(("devices", "group"), [(4, 2), (12, 4), (12, 3)])
def test_processes_give_the_bits_of_one(devices: int, group: int, tmp_path: Path) -> None:
    flat, plan = train(devices, None)
    text = by_level(plan.decisions.text, group)
    assert f" dp/{group} " in text
    decisions = flow.Decisions(text)
    one, plan = train(devices, decisions)
    assert plan.decisions == decisions
    assert one != flat  # in another order: floats tell
    np.testing.assert_allclose(values(one), values(flat), rtol=2e-3, atol=2e-4)
    decisions.save(tmp_path / "decisions")
    for processes in (2, 4):
        program = ["-m", "tests.e2e.sums_by_level", str(devices), str(tmp_path / "decisions")]
        done = subprocess.run(
            [sys.executable, "-m", "oneflow.launch", "--nproc-per-node", str(processes)]
            + [*program, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=200,
            cwd=ROOT,
            check=False,
            env=dict(os.environ),
        )
        assert done.returncode == 0, done.stderr[-3000:]
        for rank in range(processes):
            assert (tmp_path / f"rank{rank}").read_text().split("\n") == one, (processes, rank)


CELLS = [("P", "B"), ("P", "S(0)"), ("P", "S(1)"), ("S(0)", "B"), ("S(1)", "B")]


# Small ones go straight across where they can: (r - 1) of them in 80 KB.
@pytest.mark.parametrize("size", [24, 240])
@pytest.mark.parametrize(("devices", "group"), [(4, 2), (6, 2), (6, 3), (8, 4), (12, 4), (24, 2)])
@pytest.mark.parametrize(("before", "after"), CELLS)
def test_integers_are_exact(before: str, after: str, devices: int, group: int, size: int) -> None:
    random = np.random.default_rng(0)
    a = random.integers(-3, 4, (size, 48)).astype(np.float32)
    b = random.integers(-3, 4, (48, 2 * size)).astype(np.float32)

    def compute(a: flow.Tensor, b: flow.Tensor) -> flow.Tensor:
        if before == "P":
            a, b = flow.shard(a * 2, dp="S(1)"), flow.shard(b + 1, dp="S(0)")
        else:
            a, b = a * 2, b + 1
        return flow.shard(-flow.shard(a @ b, dp=before), dp=after)

    mesh = flow.mesh("cpu", threads=1, dp=devices)
    flat = flow.eval_step(compute, model=flow.nn.Identity(), mesh=mesh)
    text = by_level(flat.compile(a, b).decisions.text, group)
    assert f" dp/{group} " in text
    step = flow.eval_step(
        compute, model=flow.nn.Identity(), mesh=mesh, parallel=flow.Decisions(text)
    )
    for _ in range(2):
        np.testing.assert_array_equal(step(a, b).numpy(), -((2 * a) @ (b + 1)))


@pytest.mark.parametrize("group", ["1", "0", "-2", "x", "", "3", "4", "8", "99999999999999999999"])
def test_a_group_that_is_none_is_refused(group: str) -> None:
    _, plan = train(4, None)
    text = plan.decisions.text.replace("<(P)> dp <(B)>", f"<(P)> dp/{group} <(B)>")
    assert text != plan.decisions.text
    with pytest.raises(flow.PlanError, match=r"line \d+"):
        train(4, flow.Decisions(text))
