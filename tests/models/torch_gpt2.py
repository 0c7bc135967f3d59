"""GPT-2 written in PyTorch from the paper and the checkpoint's names alone: the judge of oneflow.models.gpt2."""

from __future__ import annotations

import math

import torch

State = dict[str, torch.Tensor]


def norm(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[
        f"{name}.bias"
    ]


def logits(state: State, tokens: torch.Tensor, layers: int, heads: int) -> torch.Tensor:
    """Without dropout."""
    n, length = tokens.shape
    x = state["transformer.wte.weight"][tokens] + state["transformer.wpe.weight"][:length]
    future = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
    for layer in range(layers):
        prefix = f"transformer.h.{layer}"
        y = norm(x, state, f"{prefix}.ln_1")
        y = y @ state[f"{prefix}.attn.c_attn.weight"] + state[f"{prefix}.attn.c_attn.bias"]
        query, key, value = (
            part.reshape(n, length, heads, -1).permute(0, 2, 1, 3) for part in y.chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        weights = torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
        y = (weights @ value).permute(0, 2, 1, 3).reshape(n, length, -1)
        x = x + y @ state[f"{prefix}.attn.c_proj.weight"] + state[f"{prefix}.attn.c_proj.bias"]
        y = norm(x, state, f"{prefix}.ln_2")
        y = y @ state[f"{prefix}.mlp.c_fc.weight"] + state[f"{prefix}.mlp.c_fc.bias"]
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        x = x + y @ state[f"{prefix}.mlp.c_proj.weight"] + state[f"{prefix}.mlp.c_proj.bias"]
    x = norm(x, state, "transformer.ln_f")
    return x @ state["transformer.wte.weight"].T
