"""Several GPUs in one process: the devices of a mesh dealt to them, with the bits of one GPU. On software CUDA, where a
kernel or a plain copy that is given memory of another GPU is an illegal address (kernels/cuda/soft_memory_for_test.h)."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import oneflow as flow
import pytest

from tests.api.test_wrong_data import Trainer, batch
from tests.e2e.layouts import BY_NAME, LAYOUTS, Run, make_batch
from tests.e2e.soft_gpus import soft_gpus
from tests.e2e.soft_trace import PLUGIN, steps_of, traced
from tests.e2e.test_cuda import MODELS, train

States = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PLUGIN.exists(), "./dev build makes it"
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


def trained(
    model: str, layout: str, gpus: Sequence[int] = ()
) -> tuple[list[float], States, list[Any]]:
    run = Run(model, replace(BY_NAME[layout], kind="cuda"), dropout=0.4 if model == "mlp" else 0)
    run.options["mesh"] = flow.mesh("cuda", threads=1, gpus=gpus, **run.layout.axes)
    states = run.train([make_batch(model, run.layout.batch, i) for i in range(3)])
    return run.losses.tolist(), states, [c["gpu"] for c in run.counters]


@cache
def on_one_gpu(model: str, layout: str) -> tuple[list[float], States]:
    losses, states, gpus = trained(model, layout)
    assert set(gpus) == {0}
    return losses, states


def assert_same(actual: States, expected: States) -> None:
    for name, value in expected.items():
        assert np.array_equal(actual[name], value), name


@pytest.mark.parametrize("gpus", [2, 4])
@pytest.mark.parametrize("layout", [layout.name for layout in LAYOUTS])
def test_every_layout_has_the_bits_of_one_gpu(layout: str, gpus: int) -> None:
    expected, states = on_one_gpu("mlp", layout)
    with soft_gpus(gpus):
        losses, actual, placed = trained("mlp", layout)
    assert losses == expected
    assert_same(actual, states)
    assert placed == [device % gpus for device in range(len(placed))]


@pytest.mark.parametrize("layout", ["dp2", "tp2", "dp2_pp2_acc4"])
def test_steps_that_are_not_captured_do_too(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    expected, states = on_one_gpu("resnet", layout)
    for graphs in ("on", "off"):
        monkeypatch.setenv("ONEFLOW_CUDA_GRAPHS", graphs)
        with soft_gpus(2):
            losses, actual, _ = trained("resnet", layout)
        assert losses == expected, graphs
        assert_same(actual, states)


def test_gpus_that_reach_each_other_do_too() -> None:
    expected, states = on_one_gpu("mlp", "dp2_tp2")
    with soft_gpus(4, reach=True):
        losses, actual, _ = trained("mlp", "dp2_tp2")
    assert losses == expected
    assert_same(actual, states)


@pytest.mark.parametrize("layout", ["dp2_tp2", "pp2"])
@pytest.mark.parametrize("name", MODELS)
def test_models_have_the_bits_of_one_gpu(name: str, layout: str) -> None:
    expected, states = train(name, layout, "cuda")
    with soft_gpus(2):
        losses, actual = train(name, layout, "cuda")
    assert losses == expected
    assert_same(actual, states)


@pytest.mark.parametrize(
    ("listed", "expected"), [([1, 0], [1, 0, 1, 0]), ([2, 2, 0], [2, 2, 0, 2]), ([3], [3] * 4)]
)
def test_the_user_says_where_devices_lie(listed: list[int], expected: list[int]) -> None:
    losses, states = on_one_gpu("mlp", "dp2_tp2")
    with soft_gpus(4) as peak_of:
        before = [peak_of(gpu) for gpu in range(4)]
        actual, same, placed = trained("mlp", "dp2_tp2", listed)
        used = {gpu for gpu in range(4) if peak_of(gpu) > before[gpu]}
    assert placed == expected
    assert used == set(expected)  # nothing is allocated elsewhere
    assert actual == losses
    assert_same(same, states)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    model = flow.nn.Linear(2, 2)
    mesh = flow.mesh("cuda", gpus=[0, 2], dp=2)
    step = flow.eval_step(lambda x: model(x), model=model, mesh=mesh)
    error = "names GPU 2, but 2 are visible .0 to 1.; see nvidia-smi and CUDA_VISIBLE_DEVICES"
    with soft_gpus(2), pytest.raises(flow.Error, match=error):
        step(np.ones((2, 2), np.float32))
    assert "on GPUs 0,2,0" in flow.mesh("cuda", gpus=[0, 2], dp=3).summary()
    assert "device i on GPU i mod the visible ones" in flow.mesh("cuda", dp=3).summary()


@pytest.mark.parametrize(
    ("kind", "listed", "error"),
    [
        ("cuda", [0, -1], r"gpus is \[0, -1\]; it lists GPUs by number, as in"),
        ("cpu", [0], "a cpu mesh has no GPUs; leave out gpus"),
    ],
)
def test_what_is_no_list_of_gpus_is_refused(kind: str, listed: list[int], error: str) -> None:
    with pytest.raises(flow.ShardingError, match=error):
        flow.mesh(kind, gpus=listed, dp=2)


@pytest.mark.parametrize("layout", ["dp2_tp2", "dp2_pp2_acc4"])
@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_each_gpu_does_its_share_in_one_launch(layout: str, gpus: int) -> None:
    batches = [make_batch("mlp", 16, i) for i in range(6)]
    run = Run("mlp", replace(BY_NAME[layout], kind="cuda"))
    with soft_gpus(gpus):
        step = run.train_step()
        for one in batches[:1]:
            float(step(**one)["loss"])
        with traced() as calls:
            assert np.isfinite([float(step(**one)["loss"]) for one in batches]).all()
    steps = steps_of(calls)
    kernels = Counter(call.gpu for call in steps.launches[0] if call.name == "launch")
    assert set(kernels) == set(range(gpus))
    # Two devices of a stage do the same; of two stages none does more than three quarters.
    assert max(kernels.values()) < (0.75 if gpus == 2 else 0.5 if gpus == 4 else 1.1) * sum(
        kernels.values()
    )
    messages = [call for call in steps.launches[0] if call.name == "copy_peer"]
    assert {call.gpu for call in messages} == (set(range(gpus)) if gpus > 1 else set())
    assert all(call.captured for call in messages)
    copies = [call for call in steps.launches[0] if call.name == "copy"]
    assert {call.gpu for call in copies} == set(range(gpus)), "each GPU is brought its inputs"
    assert all(call.captured for call in copies)
    assert len(steps.launches) == 6
    for replayed in steps.launches[
        4:
    ]:  # four may be in flight, and each has its graph: all is one launch
        assert [call.name for call in replayed] == ["graph_launch", "event_record"]


def test_memory_is_shared_out() -> None:
    def peaks(gpus: int) -> list[int]:
        gc.collect()
        with soft_gpus(gpus) as peak_of:
            before = [peak_of(gpu) for gpu in range(gpus)]
            trained("mlp", "dp2_tp2")
            return [peak_of(gpu) - before[gpu] for gpu in range(gpus)]

    (one,), two, four = peaks(1), peaks(2), peaks(4)
    assert sum(two) < 1.05 * one and max(two) < 0.55 * one
    assert sum(four) < 1.05 * one and max(four) < 0.3 * one


@pytest.mark.parametrize("graphs", ["on", "off"])
@pytest.mark.parametrize("row", [1, 6], ids=["on the first GPU", "on the second"])
def test_wrong_data_changes_no_state_on_any_gpu(
    monkeypatch: pytest.MonkeyPatch, row: int, graphs: str
) -> None:
    """What one GPU finds shuts the gates of the other."""
    monkeypatch.setenv("ONEFLOW_CUDA_GRAPHS", graphs)

    def states(wrong: bool) -> dict[str, bytes]:
        trainer = Trainer({"dp": 2}, kind="cuda")
        for i in range(3):
            trainer.step(*batch(i))
            if wrong:
                x, y = batch(9)
                y[row] = 3
                with pytest.raises(flow.DataError, match="index 3 is out of range of 3"):
                    float(trainer.step(x, y)["loss"])
        return trainer.state()

    expected = states(wrong=False)
    with soft_gpus(2):
        assert states(wrong=True) == expected


@pytest.mark.parametrize("split", [0, 1, 2])
def test_outputs_are_put_together(split: int) -> None:
    """Shards that several GPUs hold, cut along any dim, into one logical output."""

    def outputs() -> list[np.ndarray]:
        flow.manual_seed(1)
        model = flow.nn.Linear(6, 8)
        step = flow.eval_step(
            lambda x: (model(x), model(x).sum(-1), model(x).transpose(1, 2) * 2),
            model=model,
            mesh=flow.mesh("cuda", dp=2, tp=2),
            parallel={"weight": {"tp": f"S({split})"}} if split < 2 else "auto",
        )
        x = np.random.default_rng(2).standard_normal((8, 5, 6)).astype(np.float32)
        return [out.numpy().copy() for _ in range(3) for out in step(x)]

    expected = outputs()
    for gpus in (2, 3, 4):
        with soft_gpus(gpus):
            for actual, value in zip(outputs(), expected, strict=True):
                assert np.array_equal(actual, value)
