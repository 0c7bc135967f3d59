"""Bar 2: every layout gives the numbers of one device, which are PyTorch's, and every device does its share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.e2e.layouts import (
    BY_NAME,
    LAYOUTS,
    SGD,
    Layout,
    Run,
    make_batch,
    make_weights,
    one_device,
)
from tests.reference import torch_runs
from tests.reference.compare import Yardstick

MODELS = ["mlp", "resnet"]
STEPS = 5

names = [layout.name for layout in LAYOUTS]


@cache
def torch() -> Any:
    return pytest.importorskip("torch")


@cache
def gradient_yardstick(
    model: str, batch_size: int, groups: int, training: bool = True
) -> Yardstick:
    batch, weights = make_batch(model, batch_size, 1), make_weights(model)
    exact, single = (
        torch_runs.gradients(
            torch(), model, weights, batch, groups=groups, training=training, double=double
        )
        for double in (True, False)
    )
    return Yardstick.make(exact, single)


@cache
def training_yardstick(model: str, batch_size: int, groups: int) -> Yardstick:
    batches, weights = [make_batch(model, batch_size, i) for i in range(STEPS)], make_weights(model)
    exact, single = (
        torch_runs.train(torch(), model, weights, batches, groups=groups, double=double, sgd=SGD)
        for double in (True, False)
    )
    return Yardstick.make(exact, single)


@cache
def one_device_run(model: str, batch_size: int, groups: int, dropout: float) -> dict[str, Any]:
    """Gradients and trained states of one device with the same groups."""
    layout = Layout("one", {"dp": 1}, batch=batch_size)
    run = Run(model, layout, dropout=dropout, groups=groups)
    gradients = run.gradients(make_batch(model, batch_size, 1))
    interpreted = run.interpreted_gradients(make_batch(model, batch_size, 1))
    states = run.train([make_batch(model, batch_size, i) for i in range(STEPS)])
    return {
        "gradients": gradients,
        "interpreted": interpreted,
        "moved": torch_runs.moved(states, run.weights),
    }


def groups_of(layout: Layout) -> int:
    return layout.accumulate


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_one_device_has_the_gradients_of_torch(model: str, training: bool) -> None:
    run = Run(model, BY_NAME["one"])
    run.model.train(training)
    yardstick = gradient_yardstick(model, 16, 1, training)
    assert not yardstick.violations(run.gradients(make_batch(model, 16, 1)))


@pytest.mark.parametrize("model", MODELS)
def test_one_device_trains_as_torch(model: str) -> None:
    ours = one_device_run(model, 16, 1, 0.0)["moved"]
    assert not training_yardstick(model, 16, 1).violations(ours)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", names)
@pytest.mark.parametrize("dropout", [0.0, 0.4], ids=["plain", "dropout"])
def test_gradients_under_a_layout(model: str, name: str, dropout: float) -> None:
    layout = BY_NAME[name]
    yardstick = gradient_yardstick(model, layout.batch, groups_of(layout))
    ours = Run(model, layout, dropout=dropout).gradients(make_batch(model, layout.batch, 1))
    one = one_device_run(model, layout.batch, groups_of(layout), dropout)["gradients"]
    assert not yardstick.violations(ours, against=one)
    if dropout == 0:
        assert not yardstick.violations(ours)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", names)
@pytest.mark.parametrize("dropout", [0.0, 0.4], ids=["plain", "dropout"])
def test_five_steps_under_a_layout(model: str, name: str, dropout: float) -> None:
    layout = BY_NAME[name]
    yardstick = training_yardstick(model, layout.batch, groups_of(layout))
    run = Run(model, layout, dropout=dropout)
    states = run.train([make_batch(model, layout.batch, i) for i in range(STEPS)])
    moved = torch_runs.moved(states, run.weights)
    one = one_device_run(model, layout.batch, groups_of(layout), dropout)["moved"]
    assert not yardstick.violations(moved, against=one)
    if dropout == 0:
        assert not yardstick.violations(moved)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", names)
def test_the_same_layout_twice_gives_the_same_bits(model: str, name: str) -> None:
    layout = BY_NAME[name]
    batches = [make_batch(model, layout.batch, i) for i in range(STEPS)]
    first, second = (Run(model, layout, dropout=0.4).train(batches) for _ in range(2))
    for key, value in first.items():
        assert value.tobytes() == second[key].tobytes(), key


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dropout", [0.0, 0.4], ids=["plain", "dropout"])
def test_interpret_equals_one_device(model: str, dropout: float) -> None:
    run = one_device_run(model, 16, 1, dropout)
    yardstick = gradient_yardstick(model, 16, 1)
    assert not yardstick.violations(run["gradients"], against=run["interpreted"])
    if model == "mlp":  # no pass changes the order of its sums
        for name, gradient in run["gradients"].items():
            assert np.array_equal(gradient, run["interpreted"][name]), name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", [name for name in names if name != "one"])
def test_every_device_does_its_share(model: str, name: str) -> None:
    # A larger batch, so that the update of whole parameters is a small part of the work.
    layout = replace(BY_NAME[name], batch=8 * BY_NAME[name].batch)
    run = Run(model, layout)
    run.train([make_batch(model, layout.batch, i) for i in range(2)])
    flops = [counters["flops"] for counters in run.counters]
    states = [counters["state_bytes"] for counters in run.counters]
    assert len(flops) == layout.mesh().num_devices
    assert all(count > 0 for count in flops)
    single = Run(model, one_device(layout), groups=groups_of(layout))
    single.train([make_batch(model, layout.batch, i) for i in range(2)])
    whole, whole_bytes = single.counters[0]["flops"], single.counters[0]["state_bytes"]
    dp, tp, pp = (layout.axes.get(axis, 1) for axis in ("dp", "tp", "pp"))
    share = -(-layout.batch // dp) / layout.batch
    if dp > 1:
        assert max(flops) <= 1.1 * share * whole
    if tp > 1:
        # Sharded weights hold nearly all bytes of these models; the rest is whole on each device.
        sharded = sum(run.weights[key].nbytes for key in tp_sharded(run, layout))
        replicated = sum(
            w.nbytes for k, w in run.weights.items() if k not in tp_sharded(run, layout)
        )
        assert max(states) <= 2 * (1.1 / tp * sharded + replicated) + 4096
        assert max(states) < whole_bytes
    if pp > 1:
        stages = stage_flops(layout, flops)
        assert min(stages) >= 0.5 * sum(stages) / pp


def tp_sharded(run: Run, layout: Layout) -> set[str]:
    """Parameters that a rule splits over tp."""
    import fnmatch

    rules = run.options["parallel"]
    return {k for k in run.weights if any(fnmatch.fnmatchcase(k, rule) for rule in rules)}


def stage_flops(layout: Layout, flops: list[int]) -> list[int]:
    """Flops of each stage; pp is the first axis of these meshes."""
    per_stage = len(flops) // layout.axes["pp"]
    return [sum(flops[i : i + per_stage]) for i in range(0, len(flops), per_stage)]
