"""The models of `./dev bench models` and of a GPU's (cuda_models.py), written once for both frameworks: `at` is `torch` or
`oneflow`, nn and F its own.

Transformers as people write them for PyTorch, with fused attention; ResNet-50 and MobileNetV2 as torchvision has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

VOCABULARY = 30522  # BERT's
GPT_VOCABULARY = 50257
CLASSES = 1000


@dataclass(frozen=True)
class Shape:
    """Of a transformer. BERT: norms behind; GPT-2: causal, norms before."""

    causal: bool
    vocabulary: int
    positions: int
    width: int
    heads: int
    layers: int


TRANSFORMERS = {
    "bert-base": Shape(False, VOCABULARY, 512, 768, 12, 12),
    "bert-large": Shape(False, VOCABULARY, 512, 1024, 16, 24),
    "gpt2-small": Shape(True, GPT_VOCABULARY, 1024, 768, 12, 12),
    "tiny": Shape(True, 64, 32, 32, 2, 2),
}


def transformer(at: Any, nn: Any, F: Any, shape: Shape) -> Any:
    causal, vocabulary, positions = shape.causal, shape.vocabulary, shape.positions
    width, heads, layers = shape.width, shape.heads, shape.layers

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.drop = nn.Dropout(0.1)

        def attend(self, x: Any) -> Any:
            n, s, _ = x.shape
            q, k, v = (
                t.reshape(n, s, heads, width // heads).transpose(1, 2)
                for t in self.qkv(x).chunk(3, dim=-1)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
            return self.drop(self.proj(y.transpose(1, 2).reshape(n, s, width)))

        def feed(self, x: Any) -> Any:
            return self.drop(self.down(F.gelu(self.up(x))))

        def forward(self, x: Any) -> Any:
            if causal:
                x = x + self.attend(self.norm1(x))
                return x + self.feed(self.norm2(x))
            x = self.norm1(x + self.attend(x))
            return self.norm2(x + self.feed(x))

    class Transformer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = (
                nn.Embedding(vocabulary, width),
                nn.Embedding(positions, width),
            )
            self.drop = nn.Dropout(0.1)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.places(at.arange(ids.shape[1]))
            return self.head(self.norm(self.blocks(self.drop(x))))

    return Transformer()


def resnet50(at: Any, nn: Any, F: Any) -> Any:
    class Bottleneck(nn.Module):  # type: ignore[misc]
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            outputs = 4 * width
            self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
            self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
            self.bn1, self.bn2, self.bn3 = (
                nn.BatchNorm2d(width),
                nn.BatchNorm2d(width),
                nn.BatchNorm2d(outputs),
            )
            self.short = (
                nn.Identity()
                if stride == 1 and inputs == outputs
                else nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                    nn.BatchNorm2d(outputs),
                )
            )

        def forward(self, x: Any) -> Any:
            y = F.relu(self.bn1(self.conv1(x)))
            y = F.relu(self.bn2(self.conv2(y)))
            return F.relu(self.bn3(self.conv3(y)) + self.short(x))

    blocks, inputs = [], 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            blocks.append(Bottleneck(inputs, width, stride if i == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(inputs, CLASSES),
    )


def mobilenet_v2(at: Any, nn: Any, F: Any) -> Any:
    def convolution(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> list[Any]:
        return [
            nn.Conv2d(
                inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(outputs),
        ]

    class Inverted(nn.Module):  # type: ignore[misc]
        def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
            super().__init__()
            hidden = inputs * expand
            layers = [*convolution(inputs, hidden, 1, 1, 1), nn.ReLU6()] if expand != 1 else []
            layers += [*convolution(hidden, hidden, 3, stride, hidden), nn.ReLU6()]
            self.layers = nn.Sequential(*layers, *convolution(hidden, outputs, 1, 1, 1))
            self.residual = stride == 1 and inputs == outputs

        def forward(self, x: Any) -> Any:
            return x + self.layers(x) if self.residual else self.layers(x)

    layers, inputs = [*convolution(3, 32, 3, 2, 1), nn.ReLU6()], 32
    for expand, outputs, count, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(count):
            layers.append(Inverted(inputs, outputs, stride if i == 0 else 1, expand))
            inputs = outputs
    layers += [*convolution(inputs, 1280, 1, 1, 1), nn.ReLU6()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, CLASSES)
    )


def build(name: str, at: Any, nn: Any, F: Any) -> Any:
    if name in TRANSFORMERS:
        return transformer(at, nn, F, TRANSFORMERS[name])
    return {"resnet-50": resnet50, "mobilenet-v2": mobilenet_v2}[name](at, nn, F)


# Samples and words of each (of the CPU's bar), or samples and the side of an image.
SIZES = {
    "bert-base": (8, 128),
    "gpt2-small": (4, 256),
    "resnet-50": (16, 224),
    "mobilenet-v2": (16, 224),
}


def batch_of(name: str, size: tuple[int, int] | None = None) -> tuple[Any, Any]:
    """Inputs and labels: words i64[n, s] twice, or images f32[n, 3, side, side] and classes i64[n]."""
    import numpy as np

    random = np.random.default_rng(0)
    n, extent = size or SIZES[name]
    if name not in TRANSFORMERS:
        images = random.standard_normal((n, 3, extent, extent)).astype(np.float32)
        return images, random.integers(0, CLASSES, n)
    words = TRANSFORMERS[name].vocabulary
    return random.integers(0, words, (n, extent)), random.integers(0, words, (n, extent))


def loss_of(F: Any, scores: Any, labels: Any) -> Any:
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), labels.reshape(-1))
