"""Sums over several GPUs by NCCL: rings whose members lie on different GPUs are one call in the captured step. On
software NCCL, which adds in the order of the ranks and tells of calls that cannot meet."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest

from tests.e2e.soft_gpus import soft_gpus
from tests.e2e.soft_trace import PLUGIN, WAITS, Call, steps_of, traced

# Sums of a matrix of so many rows are no small ones, which go straight from each device to all others.
WIDE = 1000


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PLUGIN.exists(), "./dev build makes it"
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


class Training:
    def __init__(self, axes: dict[str, int], accumulate: int = 1, gpus: Any = ()) -> None:
        flow.manual_seed(0)
        self.model = flow.nn.Sequential(
            flow.nn.Linear(8, WIDE),
            flow.nn.Tanh(),
            flow.nn.Linear(WIDE, WIDE),
            flow.nn.Linear(WIDE, 3),
        )
        self.step = flow.train_step(
            lambda x, y: F.cross_entropy(self.model(x), y),
            model=self.model,
            optimizer=flow.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9),
            mesh=flow.mesh("cuda", gpus=gpus, **axes),
            accumulate=accumulate,
            parallel={"2.weight": {"tp": "S(0)"}} if "tp" in axes else "auto",
        )
        self.random = np.random.default_rng(1)

    def run(self, steps: int = 3) -> list[float]:
        batches = [
            (self.random.standard_normal((8, 8)).astype(np.float32), self.random.integers(0, 3, 8))
            for _ in range(steps)
        ]
        return [float(self.step(*batch)["loss"]) for batch in batches]

    def states(self) -> dict[str, np.ndarray]:
        return {k: v.numpy().copy() for k, v in self.model.state_dict().items()}


LAYOUTS: dict[str, tuple[dict[str, int], int]] = {
    "dp2": ({"dp": 2}, 1),
    "dp4": ({"dp": 4}, 1),
    "dp2_acc2": ({"dp": 2}, 2),
    "dp2_tp2": ({"dp": 2, "tp": 2}, 1),
    "tp2_dp2": ({"tp": 2, "dp": 2}, 1),
}


@cache
def on_one_gpu(layout: str) -> tuple[list[float], dict[str, np.ndarray]]:
    training = Training(*LAYOUTS[layout])
    return training.run(), training.states()


def trained(layout: str, gpus: int, nccl: bool = True) -> tuple[list[float], Any, list[Call]]:
    with soft_gpus(gpus, nccl=nccl), traced() as calls:
        training = Training(*LAYOUTS[layout])
        losses, states = training.run(), training.states()
    return losses, states, calls


@pytest.mark.parametrize(
    ("layout", "graphs"), [*((layout, "on") for layout in LAYOUTS), ("dp2_tp2", "off")]
)
def test_sums_by_nccl_train_as_on_one_gpu(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    layout: str,
    graphs: str,
) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_GRAPHS", graphs)
    axes, _ = LAYOUTS[layout]
    devices = int(np.prod(list(axes.values())))
    expected, states = on_one_gpu(layout)
    losses, actual, calls = trained(layout, devices)
    assert any(call.name == "collective" for call in calls)
    if max(axes.values()) == 2:  # a + b is b + a
        assert losses == expected
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    for name, value in states.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
    if layout == "dp4":
        again, same, _ = trained(layout, devices)
        assert again == losses
        for name, value in actual.items():
            assert np.array_equal(value, same[name]), name
    assert "software NCCL" not in capfd.readouterr().err  # no call that could not meet


@pytest.mark.parametrize("gpus", [2, 4])
def test_a_ring_is_one_call_of_each_gpu(gpus: int) -> None:
    _, _, without = trained(f"dp{gpus}", gpus, nccl=False)
    assert not {"collective", "comms_create"}.intersection(call.name for call in without)
    with soft_gpus(gpus, nccl=True), traced() as calls:
        training = Training({"dp": gpus})
        training.run()
    # The communicator is made when the plan is loaded, once for all its sums.
    made = [i for i, call in enumerate(calls) if call.name == "comms_create"]
    launched = next(i for i, call in enumerate(calls) if call.name == "launch")
    assert len(made) == 1 and made[0] < launched
    captured = Counter((call.name, call.gpu) for call in calls if call.captured)
    rings = captured["collective", 0]
    assert rings >= 1
    assert [captured["collective", gpu] for gpu in range(gpus)] == [rings] * gpus
    # No chunk goes round any more: a ring is 2 (gpus - 1) messages of each.
    saved = 2 * (gpus - 1) * rings
    for gpu in range(gpus):
        messages = sum(c.captured and c.name == "copy_peer" and c.gpu == gpu for c in without)
        assert captured["copy_peer", gpu] == messages - saved
    # The calls of a GPU stand in one order on all of them, and a step is still one launch, when all four that may be in
    # flight have their graphs.
    with soft_gpus(gpus, nccl=True):
        training.run(4)
    with soft_gpus(gpus, nccl=True), traced() as calls:
        training.run(2)
    for step in steps_of(calls).launches:
        names = [call.name for call in step]
        assert names.count("graph_launch") == 1 and not WAITS.intersection(names)
        assert "collective" not in names


def test_devices_that_share_a_gpu_go_round_by_copies() -> None:
    """NCCL takes a GPU once: of four devices on two GPUs no ring over all is a call, one over two on two is."""
    expected, states = on_one_gpu("dp4")
    losses, actual, calls = trained("dp4", 2)
    assert not any(call.name == "collective" for call in calls)
    assert losses == expected
    for name, value in states.items():
        assert np.array_equal(actual[name], value), name
    # dp is the outer axis: devices 0 and 2 share a sum.
    for gpus, shares in (([0, 1, 0, 1], True), ([0, 0, 1, 1], False)):
        with soft_gpus(2, nccl=True), traced() as calls:
            assert np.isfinite(Training({"dp": 2, "tp": 2}, gpus=gpus).run()).all()
        assert any(call.name == "collective" for call in calls) != shares


def test_wrong_data_is_told_where_sums_are_calls() -> None:
    """All GPUs come to their calls in a step whose data is wrong, and its states stay."""
    x = np.zeros((8, 8), np.float32)
    with soft_gpus(2, nccl=True):
        training = Training({"dp": 2})
        training.run(2)
        before = training.states()
        for row in (1, 6):
            with pytest.raises(flow.DataError, match="index 3 is out of range of 3"):
                float(training.step(x, np.where(np.arange(8) == row, 3, 0))["loss"])
        for name, value in training.states().items():
            assert np.array_equal(value, before[name]), name
        assert np.isfinite(training.run(2)).all()
