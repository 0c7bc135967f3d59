"""A network of volumes: PyTorch's loss and gradients in float64 on one device and under layouts, whose devices share
the work."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

torch = pytest.importorskip("torch")

LAYOUTS = {"one": {"dp": 1}, "dp2": {"dp": 2}, "tp2": {"tp": 2}, "dp2_tp2": {"dp": 2, "tp": 2}}


def _network(library: Any) -> Any:
    n = library.nn
    return n.Sequential(
        n.Conv3d(2, 8, 3, padding=1),
        n.BatchNorm3d(8),
        n.ReLU(),
        n.MaxPool3d(2),
        n.Conv3d(8, 8, (3, 1, 3), stride=(1, 2, 1), groups=2),
        n.ConvTranspose3d(8, 4, 2, stride=2),
        n.AvgPool3d((2, 2, 1), stride=2, padding=(1, 0, 0)),
        n.AdaptiveAvgPool3d((2, 2, 1)),
        n.Flatten(),
        n.Linear(16, 3),
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_gradients_are_pytorchs(layout: str) -> None:
    random = np.random.default_rng(0)
    volumes = random.standard_normal((4, 2, 8, 8, 8))
    labels = np.array([0, 2, 1, 2])
    torch.manual_seed(0)
    theirs = _network(torch).double()
    loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(volumes)), torch.tensor(labels))
    loss.backward()
    right = {name: p.grad.numpy() for name, p in theirs.named_parameters()}

    ours = _network(flow)
    ours.load_state_dict({k: v.numpy() for k, v in _network_state(theirs).items()})
    step = flow.value_and_grad(
        lambda x, y: nn.functional.cross_entropy(ours(x), y),
        model=ours,
        mesh=flow.mesh("cpu", threads=1, **LAYOUTS[layout]),
    )
    found, gradients = step(volumes.astype(np.float32), labels)
    assert abs(float(found) - float(loss.detach())) < 5e-6
    largest = max(np.abs(one).max() for one in right.values())
    for name, gradient in gradients.items():
        allowed = 2e-5 * np.abs(right[name]).max() + 1e-5 * largest
        assert np.abs(gradient.numpy() - right[name]).max() < allowed, name
    flops = [one["flops"] for one in step.counters()]
    assert len(flops) == step.mesh.num_devices and min(flops) > 0.25 * max(flops)


def _network_state(network: Any) -> dict[str, Any]:
    """As it was made: the statistics of the pass above are none of it."""
    torch.manual_seed(0)
    return _network(torch).state_dict()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda F, v: F.conv3d(v, flow.zeros(4, 3, 2, 2, 2)), "has 2 channels"),
        (lambda F, v: F.conv3d(v, flow.zeros(4, 2, 9, 1, 1)), "does not fit into the depth 4"),
        (lambda F, v: F.conv3d(v, flow.zeros(4, 2, 3, 3, 3), None, 2, "same"), "needs stride 1"),
        (lambda F, v: F.conv3d(v[0, 0], flow.zeros(4, 2, 1, 1, 1)), r"takes \[n, c, d, h, w\]"),
        (
            lambda F, v: F.conv_transpose3d(v, flow.zeros(2, 3, 2, 2, 2), output_padding=1),
            "output_padding=1 must be smaller",
        ),
        (lambda F, v: F.max_pool3d(v, 2, padding=2), "more than half of the kernel"),
        (lambda F, v: F.max_pool3d(v, 2, dilation=2), "windows without gaps"),
        (lambda F, v: F.max_pool3d(v, 2, return_indices=True), "keeps no indices"),
        (lambda F, v: F.avg_pool3d(v, 2, divisor_override=0), "divides by nothing"),
        (lambda F, v: F.adaptive_avg_pool3d(v, (1, 2)), "three numbers"),
        (lambda F, v: F.adaptive_max_pool3d(v, 0), "no numbers of windows"),
        (lambda F, v: F.grid_sample(v[:, 0], flow.zeros(2, 1, 1, 2), "bicubic"), "mode='bicubic'"),
        (lambda F, v: F.grid_sample(v[:, 0], flow.zeros(3, 1, 1, 2)), r"a grid \[n, p, q, 2\]"),
        (lambda F, v: F.fold(flow.zeros(1, 8, 5), (4, 4), 2), "not"),
        (
            lambda F, v: F.embedding_bag(flow.tensor([0, 1]), flow.zeros(3, 2)),
            "without offsets",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(flow.Error, match=message) as caught:
        call(nn.functional, flow.zeros(2, 2, 4, 5, 6))
    assert caught.value.location is not None and caught.value.location.file == __file__
