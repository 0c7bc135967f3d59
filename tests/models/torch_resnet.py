"""Residual networks written in PyTorch from the paper and the checkpoint's names alone: the judge of
oneflow.models.resnet."""

from __future__ import annotations

import torch
from torch.nn import functional as F

State = dict[str, torch.Tensor]


def logits(
    state: State, x: torch.Tensor, counts: tuple[int, ...], bottleneck: bool, training: bool
) -> torch.Tensor:
    def conv(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        scale = state[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
        shift = state[f"{name}.bias"] - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def block(x: torch.Tensor, name: str, stride: int) -> torch.Tensor:
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        y = x
        for i, step in enumerate(strides, 1):
            y = norm(
                conv(y if i == 1 else y.clamp(min=0), f"{name}.conv{i}", step), f"{name}.bn{i}"
            )
        if f"{name}.downsample.0.weight" in state:
            x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return (x + y).clamp(min=0)

    x = norm(conv(x, "conv1", 2), "bn1").clamp(min=0)
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage, count in enumerate(counts, 1):
        for i in range(count):
            x = block(x, f"layer{stage}.{i}", 2 if i == 0 and stage > 1 else 1)
    return x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
