"""Modules: PyTorch's names, keys, text, hooks and initial distributions; lazy parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from tests.reference.models import build


def make(torch_or_flow_nn: Any) -> list[Any]:
    n = torch_or_flow_nn
    return [
        n.Linear(3, 4),
        n.Linear(3, 4, bias=False),
        n.Conv2d(4, 6, (3, 5), stride=2, padding=(1, 2), dilation=2, groups=2, bias=False),
        n.Conv2d(1, 2, 3, padding="same"),
        n.BatchNorm2d(4, eps=1e-3, momentum=0.2),
        n.BatchNorm2d(4, affine=False),
        n.Sequential(n.ReLU(), n.Flatten(), n.Dropout(0.3), n.Softmax(dim=1), n.Identity()),
        n.MaxPool2d(3, 2, 1),
        n.AvgPool2d(2),
        n.AdaptiveAvgPool2d(1),
        n.ModuleList([n.Tanh(), n.Sigmoid()]),
        n.CrossEntropyLoss(),
        n.MSELoss(),
    ]


def test_text_and_keys_as_in_torch() -> None:
    torch = pytest.importorskip("torch")
    for ours, theirs in zip(make(nn), make(torch.nn), strict=True):
        assert repr(ours) == repr(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for key, value in theirs.state_dict().items():
            assert ours.state_dict()[key].shape == tuple(value.shape), key


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_a_torch_state_dict_loads(name: str) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = build(name, torch.nn), build(name, nn)
    result = ours.load_state_dict(theirs.state_dict())
    assert result.missing_keys == [] and result.unexpected_keys == []
    for key, value in theirs.state_dict().items():
        assert np.array_equal(ours.state_dict()[key].numpy(), value.numpy()), key


def test_initial_distributions_as_in_torch() -> None:
    torch = pytest.importorskip("torch")
    flow.manual_seed(0)
    torch.manual_seed(0)
    for ours, theirs in [
        (nn.Linear(300, 200), torch.nn.Linear(300, 200)),
        (nn.Conv2d(32, 64, 5, groups=2), torch.nn.Conv2d(32, 64, 5, groups=2)),
    ]:
        for name, expected in theirs.named_parameters():
            value, expected = dict(ours.named_parameters())[name].numpy(), expected.detach().numpy()
            assert abs(value.mean()) < 4 * expected.std() / np.sqrt(value.size)
            # The sampling error of a standard deviation is below 1 / sqrt(2 n).
            rtol = 4 / np.sqrt(2 * value.size)
            np.testing.assert_allclose(value.std(), expected.std(), rtol=rtol)
            np.testing.assert_allclose(np.abs(value).max(), np.abs(expected).max(), rtol=0.1)


def test_initialisers_as_in_torch() -> None:
    torch = pytest.importorskip("torch")
    flow.manual_seed(0)
    torch.manual_seed(0)
    for name in ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"):
        ours, theirs = nn.Parameter(shape=(64, 32, 3, 3)), torch.empty(64, 32, 3, 3)
        getattr(nn.init, name)(ours)
        getattr(torch.nn.init, name)(theirs)
        np.testing.assert_allclose(ours.numpy().std(), theirs.numpy().std(), rtol=0.03)


def test_construction_allocates_nothing() -> None:
    layer = nn.Linear(1_000_000, 1_000_000)  # 4 TB
    assert layer.weight.shape == (1_000_000, 1_000_000)


def test_the_same_seed_gives_the_same_parameters() -> None:
    flow.manual_seed(4)
    first = build("mlp", nn).state_dict()
    flow.manual_seed(4)
    second = build("mlp", nn).state_dict()
    flow.manual_seed(5)
    third = build("mlp", nn).state_dict()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert not any(np.array_equal(first[key], third[key]) for key in first)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.b(self.a(x))


def test_a_parameter_under_two_names_is_one_state() -> None:
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["a.weight"]
    assert list(model.state_dict()) == ["a.weight", "b.weight"]
    model.a.weight.copy_(np.ones((3, 3), np.float32))
    assert model.b.weight.numpy().sum() == 9


def test_load_state_dict_is_all_or_nothing() -> None:
    model = nn.Linear(2, 2)
    before = model.weight.numpy().copy()
    with pytest.raises(flow.CheckpointError, match=r"missing \['bias'\]") as caught:
        model.load_state_dict({"weight": np.zeros((2, 2))})
    assert caught.value.location is not None and caught.value.location.file == __file__
    with pytest.raises(flow.CheckpointError, match=r"weight has shape \(3, 2\)"):
        model.load_state_dict({"weight": np.zeros((3, 2)), "bias": np.zeros(2)})
    assert np.array_equal(model.weight.numpy(), before)
    keys = model.load_state_dict({"weight": np.zeros((2, 2)), "more": np.zeros(1)}, strict=False)
    assert keys == (["bias"], ["more"])
    assert not model.weight.numpy().any()


def test_hooks() -> None:
    model = nn.Linear(2, 2)
    seen = []
    handle = model.register_forward_hook(lambda module, args, result: seen.append(result.shape))
    model.register_forward_pre_hook(lambda module, args: (args[0] * 0,))
    result = model(flow.ones(1, 2))
    assert seen == [(1, 2)]
    np.testing.assert_allclose(result.numpy()[0], model.bias.numpy())
    handle.remove()
    model(flow.ones(1, 2))
    assert len(seen) == 1


def test_training_flags_and_children() -> None:
    model = build("resnet", nn)
    assert all(module.training for module in model.modules())
    model.eval()
    assert not any(module.training for module in model.modules())
    assert [name for name, _ in model.named_children()][:2] == ["conv1", "bn1"]
    model.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_eager_batch_norm_updates_running_statistics_as_torch() -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(1, 2, (4, 3, 5, 5)).astype(np.float32)
        np.testing.assert_allclose(
            ours(flow.tensor(x)).numpy(), theirs(torch.tensor(x)).detach().numpy(), atol=2e-6
        )
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-5)


def test_attributes_before_init_are_refused() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match="super"):
        Wrong()
