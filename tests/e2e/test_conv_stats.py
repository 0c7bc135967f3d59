"""Batch norm's statistics beside the convolution before it, in whole steps on software CUDA: which plans have them, that
nothing is left to join where a device has a group, and that steps train as without them and as on a CPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest

from tests.e2e.soft_trace import PLUGIN
from tests.e2e.test_cuda import mixed_step


@pytest.fixture(autouse=True)
def soft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


def ops_of(step: Any, batch: Any) -> Counter[str]:
    """How often each op runs in a step, on all devices."""
    ops: Counter[str] = Counter()
    for kernel in step.compile(*batch).kernels():
        ops[kernel["op"]] += kernel["firings"]
    return ops


def resnet(
    axes: dict[str, int], kind: str, precision: str, accumulate: int = 1
) -> tuple[list[float], Counter[str]]:
    _, step, batch = mixed_step("resnet", axes, kind, precision, accumulate)
    return [float(step(*batch)["loss"]) for _ in range(4)], ops_of(step, batch)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_every_batch_norm_of_a_residual_network_has_them(precision: str) -> None:
    losses, ops = resnet({"dp": 1}, "cuda", precision)
    expected, others = resnet({"dp": 1}, "cpu", precision)
    # Three: images of 2 x 2 have their statistics in two passes, and one convolution has a bias.
    norms = others["bn_sample_sums"]
    assert norms == 3 and others["conv2d_sums"] == 0
    assert ops["conv2d_sums"] == norms and ops["conv2d"] == others["conv2d"] - norms
    assert ops["bn_sample_sums"] == ops["bn_join_squares"] == 0
    assert ops["bn_sum"] == others["bn_sum"] - norms
    np.testing.assert_allclose(losses, expected, rtol=2e-2)
    assert losses[-1] < losses[0]


def test_floats_keep_their_own_sums() -> None:
    _, ops = resnet({"dp": 1}, "cuda", "fp32")
    assert ops["conv2d_sums"] == 0 and ops["bn_sample_sums"] == 3


@pytest.mark.parametrize(
    ("axes", "accumulate"), [({"dp": 2}, 1), ({"dp": 2}, 2), ({"pp": 2}, 2)], ids=str
)
def test_devices_and_micro_batches_have_parts(axes: dict[str, int], accumulate: int) -> None:
    """What devices have of a group is joined as before, and equals a CPU's."""
    losses, ops = resnet(axes, "cuda", "bf16", accumulate)
    expected, others = resnet(axes, "cpu", "bf16", accumulate)
    assert ops["conv2d_sums"] == others["bn_sample_sums"] > 0
    assert ops["bn_sample_sums"] == 0
    joins = others["bn_join_squares"] if "dp" in axes else 0
    assert ops["bn_join_squares"] == joins
    np.testing.assert_allclose(losses, expected, rtol=2e-2)


class Layer(flow.nn.Module):
    """A convolution and a batch norm, with an op between them that keeps them apart, or without."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.conv = flow.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = flow.nn.BatchNorm2d(8)
        self.apart = apart

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        y = self.conv(x)
        return self.norm(y.relu() if self.apart else y)


@pytest.mark.parametrize("devices", [1, 2])
def test_statistics_are_those_of_numpy(devices: int) -> None:
    """The running ones, which are made of them; the devices' parts of the batch have means of their own."""
    flow.manual_seed(2)
    model = Layer(apart=False)
    with flow.no_grad():
        model.conv.weight.add_(0.3)  # a mean that is not small
    weight = model.conv.weight.numpy().astype(np.float64)
    images = np.random.default_rng(1).standard_normal((6, 3, 9, 9)).astype(np.float32) + 2
    images[3:] += 3
    step = flow.train_step(
        lambda x: model(x).square().mean(),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.0),
        mesh=flow.mesh("cuda", threads=1, dp=devices),
        precision="bf16",
    )
    assert ops_of(step, [images])["conv2d_sums"] == devices
    step(images)["loss"].numpy()
    padded = np.pad(images.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = sum(
        np.einsum("nchw,kc->nkhw", padded[:, :, i : i + 9, j : j + 9], weight[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )
    mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(model.norm.running_mean.numpy(), 0.1 * mean, rtol=1e-2, atol=2e-3)
    np.testing.assert_allclose(model.norm.running_var.numpy(), 0.9 + 0.1 * var, rtol=1e-2)


def test_what_is_between_keeps_them_apart() -> None:
    for apart in (False, True):
        flow.manual_seed(2)
        model = Layer(apart)
        step = flow.train_step(
            lambda x, model=model: F.relu(model(x)).mean(),
            model=model,
            optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
            mesh=flow.mesh("cuda", threads=1, dp=1),
            precision="bf16",
        )
        ops = ops_of(step, [np.ones((2, 3, 9, 9), np.float32)])
        assert ops["conv2d_sums"] == (0 if apart else 1)
        assert ops["bn_sample_sums"] == (1 if apart else 0)
