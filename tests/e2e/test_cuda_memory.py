"""The memory of GPUs: what a plan takes is known to the byte before it runs, and what does not fit is refused before
anything is allocated, with what takes it and what to do. On software CUDA, which counts what it allocates."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest

from tests.api.test_wrong_data import Trainer, batch
from tests.e2e.layouts import LAYOUTS, Layout, Run, make_batch
from tests.e2e.soft_gpus import no_growth, soft_gpus, soft_memory
from tests.e2e.soft_trace import PLUGIN, traced
from tests.e2e.test_cuda_steps import MODELS, Training

H100 = Path(__file__).parents[2] / "examples/targets/h100.json"
MIB = 1 << 20


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PLUGIN.exists(), "./dev build makes it"
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


def assert_allocated(
    gpus: int, plan: Callable[[], flow.Plan], run: Callable[[], None], nccl: bool = False
) -> list[dict[str, Any]]:
    """What each GPU holds at most, from the first step to the last, is what the plan says; returns that."""
    gc.collect()
    with soft_gpus(gpus, nccl=nccl) as peak_of:
        before = [peak_of(gpu) for gpu in range(gpus)]
        said = plan().gpu_memory()
        assert [peak_of(gpu) for gpu in range(gpus)] == before, "compiling allocates nothing"
        run()
        taken = {gpu: peak_of(gpu) - before[gpu] for gpu in range(gpus)}
    assert {one["gpu"]: one["bytes"] for one in said} == {g: b for g, b in taken.items() if b}
    return said


def step_of(mesh: flow.Mesh, width: int = 256, hidden: int = 0, **options: Any) -> Any:
    flow.manual_seed(0)
    hidden = hidden or 4 * width
    model = flow.nn.Sequential(
        flow.nn.Linear(width, hidden), flow.nn.GELU(), flow.nn.Linear(hidden, width)
    )

    def train(x: flow.Tensor, y: flow.Tensor) -> flow.Tensor:
        hidden = model(x)
        return F.cross_entropy(hidden, y)

    return flow.train_step(
        train,
        model=model,
        optimizer=flow.optim.AdamW(model.parameters()),
        mesh=mesh,
        **options,
    )


def batch_of(rows: int = 64, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.standard_normal((rows, width)).astype(np.float32), random.integers(0, 9, rows)


@pytest.mark.parametrize("gpus", [1, 2, 4])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_plan_takes_what_it_says_in_every_layout(layout: Layout, gpus: int) -> None:
    run = Run("mlp", replace(layout, kind="cuda"), dropout=0.3)
    step = run.train_step()
    batches = [make_batch("mlp", layout.batch, i) for i in range(3)]
    said = assert_allocated(
        gpus,
        lambda: step.compile(**batches[0]),
        lambda: [float(step(**one)["loss"]) for one in batches] and None,
    )
    assert sum(len(one["devices"]) for one in said) == step.mesh.num_devices
    # Rings and messages between GPUs have blocks of their own, and no others do.
    assert (sum(one["messages"] for one in said) > 0) == (gpus > 1 and step.mesh.num_devices > 1)


@pytest.mark.parametrize("gpus", [1, 2])
@pytest.mark.parametrize("mesh", ["dp2", "tp2", "pp2", "dp2_pp2"])
@pytest.mark.parametrize("name", MODELS)
def test_a_plan_of_a_model_takes_what_it_says(name: str, mesh: str, gpus: int) -> None:
    training = Training(name, mesh)
    said = assert_allocated(
        gpus,
        lambda: training.step.compile(*training.batch),
        lambda: [float(training.run()) for _ in range(3)] and None,
    )
    memory = training.step.compile(*training.batch).memory()
    # Convolutions and products have workspaces of libraries, inside the arena.
    assert max(one["workspace_bytes"] for one in memory) > 16 * MIB
    assert sum(one["arenas"] for one in said) == sum(one["arena_bytes"] for one in memory)


@pytest.mark.parametrize("gpus", [1, 2])
def test_large_inputs_have_room_for_two_steps(gpus: int) -> None:
    for rows in (256, 2100):  # of 1 KiB and a label
        step = step_of(flow.mesh("cuda", threads=1, dp=2), hidden=8)
        batch = batch_of(rows)
        said = assert_allocated(
            gpus,
            lambda: step.compile(*batch),  # noqa: B023
            lambda: [float(step(*batch)["loss"]) for _ in range(3)] and None,  # noqa: B023
        )
        for one in said:
            of_a_step = sum(array.nbytes for array in batch) / gpus
            places = 2 if of_a_step > MIB else 1
            assert places * of_a_step <= one["inputs"] <= places * of_a_step + 4096


def test_states_that_keep_no_gate_have_room_beside_them() -> None:
    """A step that may find wrong data writes running statistics on a detour."""
    training = Training("resnet", "dp2")
    trainer = Trainer({"dp": 2}, kind="cuda")
    assert_allocated(
        2,
        lambda: trainer.step.compile(*batch(0)),
        lambda: [float(trainer.step(*batch(i))["loss"]) for i in range(3)] and None,
    )
    (one,) = training.step.compile(*training.batch).gpu_memory()
    assert one["detours"] > 0


def test_calls_of_nccl_need_no_blocks_for_messages() -> None:
    def said(nccl: bool) -> list[dict[str, Any]]:
        step = step_of(flow.mesh("cuda", dp=4), width=512)
        x, y = batch_of(8, 512)
        with soft_memory(1 << 30, communicator=MIB):
            return assert_allocated(
                4,
                lambda: step.compile(x, y),
                lambda: [float(step(x, y)["loss"]) for _ in range(2)] and None,
                nccl=nccl,
            )

    alone, together = said(nccl=False), said(nccl=True)
    for one, other in zip(alone, together, strict=True):
        assert one["nccl"] == 0 and other["nccl"] == MIB
        assert other["messages"] < one["messages"]
        assert other["needed_bytes"] - other["bytes"] == MIB


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_plan_that_does_not_fit_is_refused_before_anything_is_allocated(gpus: int) -> None:
    step = step_of(flow.mesh("cuda", dp=2), width=512)
    x, y = batch_of(4096, 512)
    with soft_gpus(gpus) as peak_of, soft_memory(24 * MIB, reserved=8 * MIB), traced() as calls:
        before = [peak_of(gpu) for gpu in range(gpus)]
        with pytest.raises(flow.OutOfMemoryError) as caught:
            step(x, y)
        assert [peak_of(gpu) for gpu in range(gpus)] == before
    assert not [call for call in calls if call.name == "allocate"]
    text = str(caught.value)
    devices = "cuda:0, cuda:1" if gpus == 1 else "cuda:0"
    assert f"GPU 0 ({devices}) needs " in text and f" but has {24 * MIB} (24.0 MiB)" in text
    assert re.search(r"8\.0 MiB +not the plan's: CUDA context", text)
    assert "parameters and optimizer" in text and "of them workspaces" in text
    # The largest tensors with the user's lines, which the error has too.
    assert f"  {4096 * 2048 * 4 // 2} bytes  " in text and f"{Path(__file__).name}:" in text
    assert "Largest states there:" in text and "0.weight" in text
    assert "accumulate=" in text and "smaller batch" in text and '{"dp": "S(0)"}' in text
    assert caught.value.location is not None and caught.value.location.file == __file__


def needed(**options: Any) -> int:
    """The most that a GPU must have for the step above."""
    rows = options.pop("rows", 4096)
    mesh = options.pop("mesh", None) or flow.mesh("cuda", dp=2)
    plan = step_of(mesh, width=512, **options).compile(*batch_of(rows, 512))
    return max(one["needed_bytes"] for one in plan.gpu_memory())


WAYS_OUT: dict[str, dict[str, Any]] = {
    "a smaller batch": {"rows": 128},
    "micro-batches": {"accumulate": 16},
    "a larger mesh": {"mesh": {"dp": 8}},
    "parameters and optimizer in shards": {"parallel": {"*": {"dp": "S(0)"}}, "rows": 512},
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_each_way_out_is_one(way: str) -> None:
    options = dict(WAYS_OUT[way])
    if "mesh" in options:
        options["mesh"] = flow.mesh("cuda", **options["mesh"])
    with soft_gpus(8):
        plain = {"rows": options["rows"]} if "parallel" in options else {}
        before, after = needed(**plain), needed(**options)
        assert after < (0.9 if way == "parameters and optimizer in shards" else 0.75) * before
        with soft_memory(before - 1):
            with pytest.raises(flow.OutOfMemoryError):
                needed(**plain)
            assert needed(**options) == after
            if way == "a smaller batch":  # the quickest to run
                step = step_of(flow.mesh("cuda", dp=2), width=512)
                assert np.isfinite(float(step(*batch_of(options["rows"], 512))["loss"]))


def test_what_fits_to_the_byte_runs() -> None:
    gc.collect()
    x, y = batch_of(64)
    with soft_gpus(1) as peak_of:
        held = peak_of(0)
        (said,) = step_of(flow.mesh("cuda", dp=2)).compile(x, y).gpu_memory()
        size = held + said["bytes"]
        with soft_memory(size - 1), pytest.raises(flow.OutOfMemoryError):
            step_of(flow.mesh("cuda", dp=2)).compile(x, y)
        with soft_memory(size):
            assert np.isfinite(float(step_of(flow.mesh("cuda", dp=2))(x, y)["loss"]))
            assert peak_of(0) == size


def test_memory_that_went_since_is_told_when_the_plan_is_loaded() -> None:
    """Between the compilation and the first step another model took it."""
    gc.collect()
    x, y = batch_of(64)
    with soft_gpus(1) as peak_of:
        late = step_of(flow.mesh("cuda", dp=2))
        (said,) = late.compile(x, y).gpu_memory()
        other = step_of(flow.mesh("cuda", dp=2))
        size = peak_of(0) + 2 * said["bytes"] - 1
        with soft_memory(size):
            late = step_of(flow.mesh("cuda", dp=2))
            late.compile(x, y)
            assert np.isfinite(float(other(x, y)["loss"]))
            with traced() as calls, pytest.raises(flow.OutOfMemoryError) as caught:
                late(x, y)
            text = str(caught.value)
            assert "GPU 0 (cuda:0, cuda:1) needs " in text and f"has {size} " in text
            assert "to load plan train" in text and "in use already" in text
            assert "Largest of what is alive" in text and Path(__file__).name in text
            # Of the GPU's memory nothing was taken for it, and what runs goes on.
            assert peak_of(0) <= size - said["bytes"] + 1
            assert [call for call in calls if call.name == "device_memory"]
            assert np.isfinite(float(other(x, y)["loss"]))
            del other
            gc.collect()
            assert np.isfinite(float(late(x, y)["loss"]))


def test_plans_of_one_session_share_what_they_have() -> None:
    """A second plan needs only what is not there yet: states are, and the arena is the larger one."""
    gc.collect()
    flow.manual_seed(0)
    model = flow.nn.Linear(512, 512)
    mesh = flow.mesh("cuda", dp=1)
    x, y = batch_of(64, 512)
    train = flow.train_step(
        lambda x, y: F.cross_entropy(model(x), y),
        model=model,
        optimizer=flow.optim.AdamW(model.parameters()),
        mesh=mesh,
    )
    test = flow.eval_step(lambda x: model(x).sum(), model=model, mesh=mesh)
    with soft_gpus(1) as peak_of:
        (first,), (second,) = train.compile(x, y).gpu_memory(), test.compile(x).gpu_memory()
        more = second["inputs"] + second["outputs"]
        if second["arenas"] > first["arenas"]:
            more += second["arenas"]
        with soft_memory(peak_of(0) + first["bytes"] + more):
            float(train(x, y)["loss"])
            float(test(x))
            float(train(x, y)["loss"])


@pytest.mark.parametrize("grows", [True, False])
def test_an_arena_that_grows_is_there_once(grows: bool) -> None:
    """A larger plan comes to a session. Where memory grows where it lies only what is more is taken, and graphs that
    were captured stay; elsewhere the arena is there twice for a moment, and graphs are made anew."""
    gc.collect()
    with no_growth() if not grows else nullcontext(), soft_gpus(1) as peak_of:
        flow.manual_seed(0)
        model = flow.nn.Linear(64, 64)
        step = flow.eval_step(
            lambda x: (model(x) * 3).sum(), model=model, mesh=flow.mesh("cuda", dp=2)
        )
        small, large = (np.ones((rows, 64), np.float32) for rows in (64, 1024))
        first = [float(step(small)) for _ in range(8)]
        before = peak_of(0)
        (a,), (b,) = step.compile(small).gpu_memory(), step.compile(large).gpu_memory()
        assert b["arenas"] > a["arenas"] > 0
        more = b["arenas"] - (a["arenas"] if grows else 0) + b["inputs"] + b["outputs"]
        # What is free is what it needs by that reckoning, to the byte.
        with soft_memory(before + more - 1), pytest.raises(flow.OutOfMemoryError):
            step(large)
        with soft_memory(before + more), traced() as calls:
            assert float(step(large)) == pytest.approx(16 * first[0], rel=1e-5)
            assert [float(step(small)) for _ in range(8)] == first
        assert peak_of(0) <= before + more
        captures = [call for call in calls if call.name == "capture_begin"]
        assert bool(captures) == (not grows)
        assert bool([call for call in calls if call.name == "growing_grow"]) == grows


def test_the_user_gives_less_than_there_is() -> None:
    x, y = batch_of(64)
    (said,) = step_of(flow.mesh("cuda", dp=2)).compile(x, y).gpu_memory()
    for limit in (said["bytes"] - 1, said["bytes"]):
        step = step_of(flow.mesh("cuda", dp=2, gpu_memory_gib=limit / (1 << 30)))
        if limit < said["bytes"]:
            with pytest.raises(flow.OutOfMemoryError, match=f"but has {limit} "):
                step.compile(x, y)
        else:
            assert np.isfinite(float(step(x, y)["loss"]))


def test_what_is_predicted_can_be_overruled() -> None:
    """A figure for libraries that is too large refuses a plan that fits; the user knows better."""
    x, y = batch_of(64)
    with soft_gpus(1), soft_memory(1 << 30, later=1 << 30, granule=2 * MIB):
        with pytest.raises(flow.OutOfMemoryError, match="gpu_memory_gib= of the mesh says"):
            step_of(flow.mesh("cuda", dp=2)).compile(x, y)
        step = step_of(flow.mesh("cuda", dp=2, gpu_memory_gib=0.5))
        (said,) = step.compile(x, y).gpu_memory()
        assert said["needed_bytes"] == said["bytes"] and said["memory_bytes"] == 1 << 29
        assert np.isfinite(float(step(x, y)["loss"]))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kind": "cpu", "gpu_memory_gib": 1}, "a cpu mesh has no GPUs; leave out gpu_memory_gib"),
        ({"kind": "cuda", "gpu_memory_gib": -1}, "gpu_memory_gib must be from 0"),
        ({"kind": "cuda", "gpu_memory_gib": "8"}, "gpu_memory_gib='8': a number of GiB"),
    ],
)
def test_what_is_no_size_is_refused(options: dict[str, Any], error: str) -> None:
    with pytest.raises(flow.ShardingError, match=error):
        flow.mesh(**options)


def test_without_a_gpu_plans_compile_and_the_users_limit_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", "/nonexistent/liboneflow_cuda.so")
    plan = step_of(flow.mesh("cuda", dp=2)).compile(*batch_of(64))
    (said,) = plan.gpu_memory()
    assert said["memory_bytes"] == 0 and said["bytes"] > 0
    assert "its memory is not known" in plan.summary()
    with pytest.raises(flow.OutOfMemoryError, match="GPU 0"):
        step_of(flow.mesh("cuda", dp=2, gpu_memory_gib=0.001)).compile(*batch_of(64))


def test_the_summary_says_it_by_pool() -> None:
    training = Training("bert", "dp2")
    with soft_gpus(2), soft_memory(1 << 30, reserved=MIB, later=MIB, granule=2 * MIB):
        plan = training.step.compile(*training.batch)
        text, said = plan.summary(), plan.gpu_memory()
    for one in said:
        assert f"GPU {one['gpu']} (cuda:{one['gpu']}): {one['needed_bytes']} bytes" in text
        assert one["reserved"] == 2 * MIB
        assert one["rounding"] > 0 and (one["bytes"] + one["rounding"]) % (2 * MIB) == 0
        assert one["needed_bytes"] == one["bytes"] + one["rounding"] + one["reserved"]
    for pool in (
        "parameters and optimizer",
        "activations, gradients and workspaces, at the peak ",
        "inputs of a step",
        "messages to and from other GPUs",
        r"rounding of blocks by the driver \(predicted\)",
        r"2\.0 MiB +not the plan's",
    ):
        assert re.search(pool, text), pool
    # Of another kind nothing of it is said.
    cpu = flow.eval_step(lambda x: x, model=flow.nn.Linear(1, 1), mesh=flow.mesh("cpu", dp=1))
    assert "GPU" not in cpu.compile(np.ones(1, np.float32)).summary()


def test_a_machine_that_is_not_here_has_its_files_memory(tmp_path: Path) -> None:
    step = step_of(flow.mesh("cuda", dp=8))
    x, y = batch_of(64)
    plan = step.compile_for(H100, x, y)
    (said,) = plan.gpu_memory()
    assert (said["gpu"], said["memory_bytes"], said["reserved"]) == (0, 80 << 30, 1 << 30)
    assert [one["gpu"] for one in step.compile_for(flow.Target.load(H100).at(3), x, y).gpu_memory()]
    entries = json.loads(H100.read_text())
    small = tmp_path / "small.json"
    small.write_text(json.dumps(entries | {"memory_gib": 1.0}))
    with pytest.raises(flow.OutOfMemoryError, match="not the plan's: CUDA context"):
        step.compile_for(small, x, y)
    small.write_text(json.dumps(entries | {"memory_gib": 1.0, "reserved_gib": 0.25}))
    step.compile_for(small, x, y)
    small.write_text(json.dumps(entries | {"reserved_gib": -1}))
    with pytest.raises(flow.Error, match="reserved_gib must be from 0"):
        step.compile_for(small, x, y)
