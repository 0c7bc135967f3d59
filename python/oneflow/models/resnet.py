"""Residual networks (He et al. 2016) for images [n, 3, h, w].

State dicts have the names and layouts of torchvision's models of the same names. As there, a bottleneck of a stage
that halves the image does so in its 3x3 convolution.
"""

from __future__ import annotations

from .. import nn
from ..tensor import Tensor


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1, of which the second widens, around a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = _conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = _downsample(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """The shortcut where input and output differ in shape."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(_conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class ResNet(nn.Module):
    """Images [n, in_channels, h, w] to logits [n, num_classes].

    `width`: channels of the first stage, 64 in the published ones. `stem`: "imagenet" begins with a 7x7 convolution
    and a pooling that quarter the image, "small" with a 3x3 convolution that leaves images such as 32x32 whole.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, int, int, int],
        num_classes: int = 1000,
        width: int = 64,
        in_channels: int = 3,
        stem: str = "imagenet",
    ) -> None:
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise ValueError(f"stem={stem!r}: 'imagenet' or 'small'")
        large = stem == "imagenet"
        self.conv1 = _conv(in_channels, width, 7 if large else 3, 2 if large else 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        channels = width
        stages = []
        for i, count in enumerate(layers):
            blocks = []
            for j in range(count):
                blocks.append(block(channels, width << i, 2 if i and not j else 1))
                channels = (width << i) * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(**options: object) -> ResNet:
    """11.7 million parameters; options as for ResNet."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)  # type: ignore[arg-type]


def resnet34(**options: object) -> ResNet:
    """21.8 million parameters; options as for ResNet."""
    return ResNet(BasicBlock, (3, 4, 6, 3), **options)  # type: ignore[arg-type]


def resnet50(**options: object) -> ResNet:
    """25.6 million parameters; options as for ResNet."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)  # type: ignore[arg-type]


def resnet101(**options: object) -> ResNet:
    """44.5 million parameters; options as for ResNet."""
    return ResNet(Bottleneck, (3, 4, 23, 3), **options)  # type: ignore[arg-type]


def resnet152(**options: object) -> ResNet:
    """60.2 million parameters; options as for ResNet."""
    return ResNet(Bottleneck, (3, 8, 36, 3), **options)  # type: ignore[arg-type]
