"""Sums by level of links: decisions say `dp/2`, so that sums go within groups of two devices first. The bits are the same
whatever holds the devices, the values are those of a flat sum, and untrusted groups are refused with their line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow.target import Link

from tests.e2e.soft_gpus import soft_gpus
from tests.e2e.soft_trace import PLUGIN, traced
from tests.e2e.sums_by_level import by_level, step_of, train

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


# So wide that nothing of the sum is small for a GPU.
@pytest.mark.parametrize("gpus", [1, 4])
def test_gpus_give_the_values_of_cpus(
    gpus: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert PLUGIN.exists(), "./dev build makes it"
    expected, plan = train(4, None, width=8000)
    decisions = flow.Decisions(by_level(plan.decisions.text, 2))
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))
    with soft_gpus(gpus, nccl=True), traced() as calls:
        found, plan = train(4, decisions, "cuda", width=8000)
    assert " dp/2 " in plan.decisions.text
    np.testing.assert_allclose(values(found), values(expected), rtol=5e-3, atol=5e-4)
    # Scattered, summed and gathered: calls of the two communicators that a GPU is in.
    captured = Counter(call.gpu for call in calls if call.captured and call.name == "collective")
    assert set(captured) == set(range(4) if gpus == 4 else ())
    assert all(count % 3 == 0 and count == captured[0] for count in captured.values())
    assert sum(call.name == "comms_create" for call in calls) == (4 if gpus == 4 else 0)
    assert "software NCCL" not in capfd.readouterr().err  # no call that could not meet


def without_comments(decisions: flow.Decisions) -> str:
    return re.sub(r"  # .*", "", decisions.text)


def test_a_target_with_hosts_decides_it_and_the_job_follows() -> None:
    hosts = flow.Target(
        name="hosts",
        kind="cpu",
        hosts=2,
        devices_per_host=2,
        tflops=0.05,
        memory_gb_per_s=10,
        links=(Link("host", 5, 10, devices=2), Link("network", 40, 0.2)),
    )
    _, flat = train(4, None)
    step, batch, _ = step_of(4, None)
    plan = step.compile_for(hosts, *batch)
    assert "<(P)> dp/2 <(B)>" in plan.decisions.text
    assert " dp/" not in flat.decisions.text
    found, followed = train(4, plan.decisions)
    assert without_comments(followed.decisions) == without_comments(plan.decisions)
    assert found == train(4, flow.Decisions(by_level(flat.decisions.text, 2)))[0]
