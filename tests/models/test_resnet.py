"""Residual networks: torchvision's names, PyTorch's loss and gradients, under every kind of layout."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow.models import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from oneflow.models.resnet import BasicBlock, Bottleneck

from tests.models.judged import LAYOUTS, Judge, bf16_loss, check, judge, spread

torch = pytest.importorskip("torch")

COUNTS = (2, 1, 1, 1)


def model(bottleneck: bool) -> ResNet:
    flow.manual_seed(5)
    network = ResNet(Bottleneck if bottleneck else BasicBlock, COUNTS, num_classes=7, width=8)
    spread(network)
    return network


@functools.cache
def batch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    images = random.standard_normal((4, 3, 48, 48)).astype(np.float32)
    return images, random.integers(0, 7, 4)


def loss_of(network: ResNet) -> Any:
    return lambda images, labels: F.cross_entropy(network(images) / 4, labels)


@functools.cache
def right(bottleneck: bool, training: bool) -> Judge:
    from tests.models import torch_resnet

    images, labels = (torch.tensor(one) for one in batch())

    def loss(state: dict[str, Any]) -> Any:
        x = torch_resnet.logits(state, images.double(), COUNTS, bottleneck, training)
        return torch.nn.functional.cross_entropy(x / 4, labels)

    return judge(model(bottleneck), loss)


def test_the_names_and_sizes_are_torchvisions() -> None:
    def norm(name: str) -> set[str]:
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return {f"{name}.{kind}" for kind in kinds}

    names = {"conv1.weight", "fc.weight", "fc.bias"} | norm("bn1")
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for i in range(count):
            block = f"layer{stage}.{i}"
            for j in (1, 2, 3):
                names |= {f"{block}.conv{j}.weight"} | norm(f"{block}.bn{j}")
            if i == 0:
                names |= {f"{block}.downsample.0.weight"} | norm(f"{block}.downsample.1")
    assert set(resnet50().state_dict()) == names
    sizes = {
        resnet18: 11_689_512,
        resnet34: 21_797_672,
        resnet50: 25_557_032,
        resnet101: 44_549_160,
        resnet152: 60_192_808,
    }
    for make, size in sizes.items():
        assert sum(p.numel() for p in make().parameters()) == size


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_gradients_are_pytorchs(layout: str) -> None:
    network = model(bottleneck=True)
    network.eval()
    counters = check(right(True, False), network, loss_of(network), batch(), LAYOUTS[layout])
    if "tp" in layout:  # the convolutions are cut
        whole = sum(p.numel() for p in network.parameters()) * 4
        assert all(one["state_bytes"] < 0.6 * whole for one in counters)


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("layout", ["one", "dp2"])
def test_so_they_are_with_the_batchs_own_statistics(layout: str, bottleneck: bool) -> None:
    network = model(bottleneck)
    check(right(bottleneck, True), network, loss_of(network), batch(), LAYOUTS[layout])


def test_the_loss_in_bf16() -> None:
    network = model(bottleneck=True)
    loss = bf16_loss(network, loss_of(network), batch())
    assert loss == pytest.approx(right(True, False).loss, rel=2e-2)


def test_small_images_stay_whole() -> None:
    network = ResNet(BasicBlock, (1, 1, 1, 1), num_classes=5, width=4, in_channels=1, stem="small")
    assert network(flow.zeros(2, 1, 8, 8)).shape == (2, 5)
    with pytest.raises(ValueError, match="'imagenet' or 'small'"):
        resnet18(stem="none")
