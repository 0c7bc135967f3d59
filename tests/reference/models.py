"""The models of bar 2, written once: `build(name, nn, ...)` with nn from oneflow or from torch."""

from __future__ import annotations

import contextlib
from typing import Any


def grouped_batch_norm(torch: Any, groups: int) -> Any:
    """A PyTorch BatchNorm2d with statistics per group of neighbouring samples."""

    class GroupedBatchNorm2d(torch.nn.BatchNorm2d):
        def forward(self, x: Any) -> Any:
            if not self.training:
                return super().forward(x)
            parts = x.reshape(groups, -1, *x.shape[1:])
            return torch.cat([super(GroupedBatchNorm2d, self).forward(part) for part in parts])

    return GroupedBatchNorm2d


def mlp(nn: Any, dropout: float, stage: Any) -> Any:
    """20 -> 48 -> 48 -> 32 -> 10, cut in the middle."""

    class MLP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(20, 48)
            self.fc2 = nn.Linear(48, 48)
            self.fc3 = nn.Linear(48, 32)
            self.fc4 = nn.Linear(32, 10)
            self.relu = nn.ReLU()
            self.drop = nn.Dropout(dropout)

        def forward(self, x: Any) -> Any:
            with stage(0):
                x = self.drop(self.relu(self.fc1(x)))
                x = self.relu(self.fc2(x))
            with stage(1):
                x = self.drop(self.relu(self.fc3(x)))
                return self.fc4(x)

    return MLP()


def resnet(nn: Any, dropout: float, stage: Any, norm: Any) -> Any:
    """A residual network for [n, 3, 8, 8]: a plain block, a strided grouped one, pooling."""

    class Block(nn.Module):
        def __init__(self, cin: int, cout: int, stride: int, groups: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(cin, cout, 3, stride=stride, padding=1, bias=False)
            self.bn1 = norm(cout)
            self.conv2 = nn.Conv2d(cout, cout, 3, padding=1, groups=groups, bias=False)
            self.bn2 = norm(cout)
            self.relu = nn.ReLU()
            self.shortcut = nn.Sequential()
            if stride != 1 or cin != cout:
                self.shortcut = nn.Sequential(nn.Conv2d(cin, cout, 1, stride=stride), norm(cout))

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.bn1 = norm(8)
            self.relu = nn.ReLU()
            self.pool = nn.MaxPool2d(3, stride=2, padding=1)
            self.layer1 = Block(8, 8, 1, 1)
            self.layer2 = Block(8, 16, 2, 2)
            self.average = nn.AdaptiveAvgPool2d(1)
            self.drop = nn.Dropout(dropout)
            self.fc = nn.Linear(16, 10)

        def forward(self, x: Any) -> Any:
            with stage(0):
                x = self.relu(self.bn1(self.conv1(x)))
                x = self.layer1(self.pool(x))
            with stage(1):
                x = self.layer2(x)
                return self.fc(self.drop(self.average(x).flatten(1)))

    return ResNet()


def no_stage(index: int) -> Any:
    """For one device and PyTorch."""
    del index
    return contextlib.nullcontext()


def build(
    name: str, nn: Any, *, dropout: float = 0.0, stage: Any = no_stage, norm: Any = None
) -> Any:
    """The model called `name`: mlp or resnet."""
    if name == "mlp":
        return mlp(nn, dropout, stage)
    return resnet(nn, dropout, stage, norm or nn.BatchNorm2d)


def input_shape(name: str, batch: int) -> tuple[int, ...]:
    """Of one batch."""
    return (batch, 20) if name == "mlp" else (batch, 3, 8, 8)
