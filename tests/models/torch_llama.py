"""Llama written in PyTorch from the papers and the checkpoint's names alone: the judge of oneflow.models.llama.

Rotary positions are complex numbers here: pair i is turned by exp(1j * position * theta ** (-2 i / width)).
"""

from __future__ import annotations

import math

import torch

State = dict[str, torch.Tensor]


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6) * weight


def turned(x: torch.Tensor, theta: float) -> torch.Tensor:
    """Heads [n, h, l, width]; component i and i + width / 2 are one complex number."""
    length, width = x.shape[-2:]
    pairs = torch.complex(x[..., : width // 2], x[..., width // 2 :])
    speed = theta ** (-2 * torch.arange(width // 2, dtype=torch.float64) / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * speed
    result = pairs * torch.polar(torch.ones_like(angles), angles).to(pairs.dtype)
    return torch.cat([result.real, result.imag], -1)


def logits(
    state: State, tokens: torch.Tensor, layers: int, heads: int, groups: int, theta: float
) -> torch.Tensor:
    n, length = tokens.shape
    x = state["model.embed_tokens.weight"][tokens]
    future = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
    for layer in range(layers):
        prefix = f"model.layers.{layer}"

        def projected(x: torch.Tensor, name: str, prefix: str = prefix) -> torch.Tensor:
            return x @ state[f"{prefix}.{name}.weight"].T

        y = norm(x, state[f"{prefix}.input_layernorm.weight"])
        query, key, value = (
            projected(y, f"self_attn.{part}_proj").reshape(n, length, count, -1).permute(0, 2, 1, 3)
            for part, count in (("q", heads), ("k", groups), ("v", groups))
        )
        query, key = turned(query, theta), turned(key, theta)
        outputs = []
        for head in range(heads):
            group = head // (heads // groups)
            scores = query[:, head] @ key[:, group].transpose(1, 2) / math.sqrt(query.shape[-1])
            weights = torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
            outputs.append(weights @ value[:, group])
        x = x + projected(torch.cat(outputs, -1), "self_attn.o_proj")
        y = norm(x, state[f"{prefix}.post_attention_layernorm.weight"])
        gate = projected(y, "mlp.gate_proj")
        x = x + projected(gate * torch.sigmoid(gate) * projected(y, "mlp.up_proj"), "mlp.down_proj")
    return norm(x, state["model.norm.weight"]) @ state["lm_head.weight"].T
