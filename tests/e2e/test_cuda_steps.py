"""A step on a GPU as a whole: streams by role, no wait of the host inside, one launch once it is captured, with the
bits of a step that is not; wrong data found without a wait. On software CUDA, whose calls are written down; numbers on
a GPU too where one is at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow.models import tensor_parallel

from tests.api.test_wrong_data import Trainer, batch
from tests.e2e.layouts import LAYOUTS, Layout, Run, make_batch
from tests.e2e.soft_gpus import soft_gpus
from tests.e2e.soft_trace import PLUGIN, WAITS, steps_of, traced
from tests.e2e.test_cuda import KINDS, bert, gpt2, resnet

MODELS = {"bert": bert, "gpt2": gpt2, "resnet": resnet}
MESHES = {
    "dp2": ({"dp": 2}, 1),
    "tp2": ({"tp": 2}, 1),
    "pp2": ({"pp": 2}, 2),
    "dp2_pp2": ({"dp": 2, "pp": 2}, 1),
}
# Of a step that is launched again: its graph, which brings the inputs and takes the results, and the event behind it.
REPLAYED = ["graph_launch", "event_record"]
IN_FLIGHT = 4  # steps, each of which has a graph of its own


WHERE = pytest.mark.parametrize("where", KINDS)


@pytest.fixture(autouse=True)
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "where" in request.fixturenames and request.getfixturevalue("where") == "gpu":
        return
    assert PLUGIN.exists(), "./dev build makes it"
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


class Training:
    """A small model of the real architecture, with dropout where it has some and a learning rate that changes."""

    def __init__(self, name: str, mesh: str) -> None:
        flow.manual_seed(5)
        axes, accumulate = MESHES[mesh]
        model, loss, self.batch = MODELS[name](np.random.default_rng(3))
        self.model = model
        optimizer = flow.optim.AdamW(model.parameters(), lr=1e-2)
        self.schedule = flow.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        rules = {"*conv*.weight": {"tp": "S(0)"}} if name == "resnet" else tensor_parallel(model)
        self.step = flow.train_step(
            loss,
            model=model,
            optimizer=optimizer,
            mesh=flow.mesh("cuda", threads=1, **axes),
            accumulate=accumulate,
            parallel=rules if "tp" in axes else "auto",
        )

    def run(self) -> Any:
        loss = self.step(*self.batch)["loss"]
        self.schedule.step()
        return loss

    def states(self) -> dict[str, np.ndarray]:
        states = flow.gather(self.model.state_dict())
        return {key: value.numpy().copy() for key, value in states.items()}


@pytest.mark.parametrize("mesh", ["dp2", "tp2", "pp2"])
@pytest.mark.parametrize("name", MODELS)
def test_a_captured_step_is_three_calls_and_no_wait(name: str, mesh: str) -> None:
    training = Training(name, mesh)
    float(training.run())
    with traced() as calls:
        losses = [training.run() for _ in range(2 * IN_FLIGHT)]
        assert np.isfinite([float(loss) for loss in losses]).all()
    steps = steps_of(calls)
    assert len(steps.launches) == 2 * IN_FLIGHT
    # The first of each place capture, and wait for nothing either.
    for step in steps.launches[:IN_FLIGHT]:
        capture = [call.name for call in step]
        assert not WAITS.intersection(capture)
        assert [n for n in capture if n.startswith(("capture", "graph"))] == [
            "capture_begin",
            "capture_end",
            "graph_instantiate",
            "graph_launch",
        ]
        assert capture.count("launch") > 20
    for step in steps.launches[IN_FLIGHT:]:
        assert [call.name for call in step] == REPLAYED
    # Another thread waits for the ends of steps, and for nothing else: with it a step has three calls.
    assert {call.name for call in steps.waits} == {"event_synchronize"}
    assert [call.thing for call in steps.waits] == steps.ends
    assert len(set(steps.ends)) == IN_FLIGHT


@pytest.mark.parametrize("gpus", [1, 2])
def test_large_inputs_come_ahead_by_two_calls_more(gpus: int) -> None:
    """Their copy (to several GPUs a graph of copies) goes into the stream that the step before does not use, and the
    losses are the CPU's."""
    random = np.random.default_rng(4)
    batches = [random.standard_normal((512, 1024)).astype(np.float32) for _ in range(2 * IN_FLIGHT)]
    labels = random.integers(0, 9, 512)

    def step_on(kind: str) -> Any:
        flow.manual_seed(1)
        model = flow.nn.Linear(1024, 9)
        return flow.train_step(
            lambda x, y: F.cross_entropy(model(x), y),
            model=model,
            optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
            mesh=flow.mesh(kind, threads=1, dp=2),
        )

    def losses(cut: int) -> tuple[list[float], list[Any]]:
        step = step_on("cuda")
        float(step(batches[0][:cut], labels[:cut])["loss"])
        with traced() as calls:
            given = [step(x[:cut], labels[:cut])["loss"] for x in (*batches, *batches)]
            found = [float(loss) for loss in given]
        return found, steps_of(calls).launches[IN_FLIGHT:]

    with soft_gpus(gpus):
        ahead, launches = losses(512)  # 2 MiB, 1 MiB and labels on each of two GPUs
        _, small = losses(64)
    for step in launches:
        # The copies, the wait for the step before, the step, its end; the other thread's wait is the fifth.
        assert [call.name for call in step] == [
            "copy" if gpus == 1 else "graph_launch",
            "stream_wait",
            "graph_launch",
            "event_record",
        ]
        assert step[0].stream == step[2].stream
    streams = [step[0].stream for step in launches]
    assert streams[::2] == [streams[0]] * len(streams[::2])
    assert streams[1::2] == [streams[1]] * len(streams[1::2])
    assert streams[0] != streams[1]
    assert all([call.name for call in step] == REPLAYED for step in small)
    on_cpu = step_on("cpu")
    expected = [float(on_cpu(x, labels)["loss"]) for x in (batches[0], *batches, *batches)]
    np.testing.assert_allclose(ahead, expected[1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mesh", ["dp2", "tp2", "pp2"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_that_is_not_captured_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, mesh: str
) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_GRAPHS", "off")
    training = Training(name, mesh)
    float(training.run())
    with traced() as calls:
        float(training.run())
    steps = steps_of(calls)
    assert len(steps.launches) == 1
    step = steps.launches[0]
    assert not WAITS.intersection(call.name for call in step)
    assert not any("graph" in call.name or call.captured for call in step)
    # Each device has its streams, and only edges between streams have events.
    streams = {call.stream for call in step if call.name in ("launch", "copy")}
    assert len(streams) >= 4
    kernels = sum(call.name in ("launch", "copy") for call in step)
    waited = [call for call in step if call.name == "stream_wait"]
    recorded = {call.thing for call in step if call.name == "event_record"}
    assert {call.thing for call in waited} <= recorded
    assert 0 < len(waited) < kernels
    assert [call.thing for call in steps.waits] == steps.ends


@WHERE
@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("name", MODELS)
def test_a_captured_step_has_the_bits_of_one_that_is_not(
    monkeypatch: pytest.MonkeyPatch, where: str, name: str, mesh: str
) -> None:
    """Learning rate, step number and dropout masks change from step to step, in a graph too. Each that may be in flight
    has one: the last two are launched again."""

    def trained(graphs: str) -> tuple[list[float], dict[str, np.ndarray]]:
        monkeypatch.setenv("ONEFLOW_CUDA_GRAPHS", graphs)
        training = Training(name, mesh)
        return [float(training.run()) for _ in range(7)], training.states()

    (losses, states), (expected, others) = trained("on"), trained("off")
    assert losses == expected
    assert len(set(losses)) == 7
    for key, value in states.items():
        assert np.array_equal(value, others[key]), key


@WHERE
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("graphs", ["on", "off"])
def test_layouts_train_as_the_cpu_does(
    monkeypatch: pytest.MonkeyPatch, where: str, layout: Layout, graphs: str
) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_GRAPHS", graphs)
    batches = [make_batch("mlp", layout.batch, i) for i in range(4)]
    cpu = Run("mlp", layout, dropout=0.3)
    gpu = Run("mlp", replace(layout, kind="cuda"), dropout=0.3)
    expected, actual = cpu.train(batches), gpu.train(batches)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=2e-6, err_msg=name)


@WHERE
def test_steps_are_captured_again_when_memory_has_moved(where: str) -> None:
    mesh = flow.mesh("cuda", dp=2)

    def trained(disturbed: bool) -> dict[str, np.ndarray]:
        flow.manual_seed(0)
        model = flow.nn.Sequential(flow.nn.Linear(8, 8), flow.nn.Tanh(), flow.nn.Linear(8, 3))
        step = flow.train_step(
            lambda x, y: F.cross_entropy(model(x), y),
            model=model,
            optimizer=flow.optim.AdamW(model.parameters(), lr=0.01),
            mesh=mesh,
        )
        # A plan that needs far more memory: the arena moves, and what was captured has the old addresses.
        larger = flow.eval_step(lambda x: model(x).square().sum(), model=model, mesh=mesh)
        random = np.random.default_rng(0)
        for i in range(6):
            x, y = random.standard_normal((8, 8)).astype(np.float32), random.integers(0, 3, 8)
            step(x, y)
            if disturbed and i == 3:
                assert float(larger(np.ones((40_000, 8), np.float32))) > 0
        return {key: value.numpy().copy() for key, value in model.state_dict().items()}

    expected, actual = trained(disturbed=False), trained(disturbed=True)
    for name, value in expected.items():
        assert np.array_equal(actual[name], value), name


def test_wrong_data_costs_no_wait() -> None:
    """A step with an embedding and labels that may be wrong is launched like any other."""
    trainer = Trainer({"dp": 2}, kind="cuda")
    for i in range(1 + IN_FLIGHT):
        float(trainer.step(*batch(i))["loss"])
    with traced() as calls:
        metrics = trainer.step(*batch(3, label=3))
        with pytest.raises(flow.DataError, match="index 3 is out of range of 3"):
            float(metrics["loss"])
    steps = steps_of(calls)
    assert [[call.name for call in step] for step in steps.launches] == [REPLAYED]
    assert [call.name for call in steps.rest] == ["zero"]  # seen, and forgotten


@pytest.mark.parametrize("value", ["yes", "0"])
def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_GRAPHS", value)
    model = flow.nn.Linear(2, 2)
    step = flow.eval_step(lambda x: model(x), model=model, mesh=flow.mesh("cuda", dp=1))
    with pytest.raises(flow.Error, match="ONEFLOW_CUDA_GRAPHS is .* it may be on or off"):
        step(np.ones((1, 2), np.float32))
