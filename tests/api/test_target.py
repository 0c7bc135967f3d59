"""A machine described by a file: plans of its ranks, without it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import _core, environment, nn
from oneflow.steps.batch import leaves_of

ROOT = Path(__file__).resolve().parents[2]
H100 = ROOT / "examples" / "targets" / "h100.json"

# The description of the machine that flow.mesh("cpu") reckons with (python/bindings/compile.cc), two ranks a host.
CPU: dict[str, Any] = {
    "kind": "cpu",
    "hosts": 2,
    "devices_per_host": 2,
    "ranks_per_host": 1,
    "tflops": 0.032,
    "memory_gb_per_s": 10.0,
    "copy_gb_per_s": 10.0,
    "task_overhead_us": 2,
    "links": [
        {"name": "process", "devices": 2, "latency_us": 5, "gb_per_s": 10},
        {"name": "network", "latency_us": 40, "gb_per_s": 2},
    ],
}


def make_step(mesh: flow.Mesh, parallel: Any = "auto", width: int = 64) -> Any:
    flow.manual_seed(3)
    model = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1)

    @flow.train_step(model=model, optimizer=optimizer, mesh=mesh, parallel=parallel)
    def step(x: flow.Tensor, target: flow.Tensor) -> flow.Tensor:
        return F.cross_entropy(model(x), target)

    return step


def batch(width: int = 64, rows: int = 32) -> tuple[Any, Any]:
    return flow.spec((rows, width)), flow.spec((rows,), flow.int64)


def written(tmp_path: Path, **entries: Any) -> Path:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps({**CPU, **entries}))
    return path


def test_a_machine_described_as_this_one_gives_this_ones_plan(tmp_path: Path) -> None:
    mesh = flow.mesh("cpu", dp=2, tp=2, threads=1)
    here = make_step(mesh).compile(*batch())
    described = make_step(mesh).compile_for(
        written(
            tmp_path,
            hosts=1,
            devices_per_host=4,
            cores=environment.core_count(),
            links=[{**CPU["links"][0], "devices": 4}, CPU["links"][1]],
        ),
        *batch(),
    )
    # The first line names the machine; the two calls stand in different lines of this file.
    first, second = (
        re.sub(r'(test_target\.py(:|" line=))\d+', r"\1", plan.text).splitlines()
        for plan in (described, here)
    )
    assert first[1:] == second[1:]


def test_the_ranks_of_a_machine_that_is_not_here_run_together(tmp_path: Path) -> None:
    """In virtual time, kernels included: the bits of one process that follows the same decisions."""
    mesh = flow.mesh("cpu", dp=2, tp=2, threads=1)
    target = flow.Target.load(written(tmp_path))
    step = make_step(mesh)
    plans = [step.compile_for(target.at(rank), *batch()) for rank in range(2)]
    assert [plan.core.rank for plan in plans] == [0, 1]
    assert all("network  4        2" in plan.summary() for plan in plans)
    assert plans[0].decisions == plans[1].decisions

    x = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)
    y = np.arange(32)
    bound = step._bind((x, y), {})
    leaves = leaves_of(bound.arguments)
    program = step._program(bound, leaves, compiled=False)
    known = {name for plan in plans for name, _, _ in plan.core.states}
    states = {
        name: np.asarray(cell.read()) for cell, name in program.trace.cells.items() if name in known
    }
    feeds = step._feeds(leaves)
    inputs = [feeds[name] for name, _, _ in plans[0].core.inputs]
    together = _core.VirtualRuntime([plan.core for plan in plans]).run(states, [inputs] * 3, seed=5)

    one = make_step(mesh, parallel=plans[0].decisions)
    losses = [float(one(x, y)["loss"]) for _ in range(3)]
    assert [float(outputs["loss"]) for outputs in together["outputs"]] == losses
    assert losses[2] < losses[0]


def test_what_is_slower_takes_longer_and_what_is_predicted_follows_the_file(
    tmp_path: Path,
) -> None:
    mesh = flow.mesh("cpu", dp=4, threads=1)
    near = make_step(mesh).compile_for(written(tmp_path), *batch()).figures()
    far_links = [CPU["links"][0], {"name": "network", "latency_us": 40, "gb_per_s": 0.2}]
    far = make_step(mesh).compile_for(written(tmp_path, links=far_links), *batch()).figures()
    assert far["moved_bytes_per_step"] == near["moved_bytes_per_step"] > 0
    assert far["step_ns"] > near["step_ns"]
    fast = make_step(mesh).compile_for(written(tmp_path, tflops=3.2), *batch()).figures()
    assert fast["step_ns"] < near["step_ns"]


def test_the_file_of_h100s() -> None:
    mesh = flow.mesh("cuda", dp=16)
    target = flow.Target.load(H100, hosts=2)
    plan = make_step(mesh).compile_for(target.at(9), *batch())
    assert plan.core.rank == 9
    assert "cuda:9" in plan.summary() and "nvlink" in plan.summary()
    with pytest.raises(flow.OutOfMemoryError):
        make_step(mesh).compile_for(flow.Target.load(H100, hosts=2, memory_gib=1e-4), *batch())


def test_the_mesh_must_be_the_machines() -> None:
    step = make_step(flow.mesh("cuda", dp=4))
    with pytest.raises(
        flow.ShardingError, match=r"has 4 cuda devices and target 'h100' has 8"
    ) as info:
        step.compile_for(H100, *batch())
    assert "dp=8" in str(info.value)


WRONG = [
    ({"hosts": 0}, "hosts must be from 1"),
    ({"hosts": "2"}, "'hosts' of a target must be of type int"),
    ({"hosts": True}, "'hosts' of a target must be of type int"),
    ({"devices_per_host": 65_536}, "131072 devices are more than"),
    ({"ranks_per_host": 3}, "must divide devices_per_host=2"),
    ({"cores": -1}, "cores must be from 1"),
    ({"rank": 2}, "rank must be from 0 to 1"),
    ({"tflops": 0}, "tflops must be above 0"),
    ({"tflops": float("nan")}, "tflops must be above 0"),
    ({"memory_gb_per_s": float("inf")}, "memory_gb_per_s must be above 0"),
    ({"memory_gib": -1}, "memory_gib must be from 0"),
    ({"isa": "../sm"}, "isa must be the name"),
    ({"kind": "tpu"}, 'kind must be "cuda" or "cpu"'),
    ({"gpus": 8}, "has no entry 'gpus'; it has name, kind"),
    ({"links": []}, "the last link joins all"),
    ({"links": {}}, "links must be a list"),
    ({"links": [{"latency_us": 1}]}, "link 1 lacks the entry 'gb_per_s'"),
    ({"links": [{"latency_us": 1, "gb_per_s": 1, "devices": 2}]}, "the last link joins all"),
    (
        {
            "links": [
                {"devices": 1, "latency_us": 1, "gb_per_s": 1},
                {"latency_us": 1, "gb_per_s": 1},
            ]
        },
        "must join a multiple of the 1 devices",
    ),
    ({"links": [{"latency_us": -1, "gb_per_s": 1}]}, "latency_us of link 'level1'"),
]


@pytest.mark.parametrize(("entries", "message"), WRONG, ids=[str(list(e)[0]) for e, _ in WRONG])
def test_what_a_file_may_not_say(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    path = written(tmp_path, **entries)
    with pytest.raises(flow.Error) as info:
        flow.Target.load(path)
    assert message in str(info.value)
    assert str(path) in str(info.value) and Path(__file__).name in str(info.value)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(flow.Error, match="No such file"):
        flow.Target.load(tmp_path / "none.json")
    for text in (b"{", b"\xff", b"[1]", b"[" * 100_000):
        (tmp_path / "m.json").write_bytes(text)
        with pytest.raises(flow.Error, match=r"m\.json"):
            flow.Target.load(tmp_path / "m.json")
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(flow.Error, match="lacks the entry 'kind'"):
        flow.Target.load(tmp_path / "m.json")
