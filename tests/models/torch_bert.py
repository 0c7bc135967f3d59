"""BERT written in PyTorch from the paper and the checkpoint's names alone: the judge of oneflow.models.bert."""

from __future__ import annotations

import math

import torch

State = dict[str, torch.Tensor]


def linear(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(x: torch.Tensor, state: State, name: str) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-12)
    return centred / scale * state[f"{name}.weight"] + state[f"{name}.bias"]


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def features(
    state: State,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    types: torch.Tensor,
    layers: int,
    heads: int,
) -> torch.Tensor:
    """Without dropout; what stands where the mask is 0 is seen by none."""
    n, length = tokens.shape
    e = "bert.embeddings"
    x = state[f"{e}.word_embeddings.weight"][tokens]
    x = x + state[f"{e}.position_embeddings.weight"][:length]
    x = norm(x + state[f"{e}.token_type_embeddings.weight"][types], state, f"{e}.LayerNorm")
    hidden = (mask == 0)[:, None, None, :]
    for layer in range(layers):
        prefix = f"bert.encoder.layer.{layer}"
        query, key, value = (
            linear(x, state, f"{prefix}.attention.self.{part}")
            .reshape(n, length, heads, -1)
            .permute(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        weights = torch.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1)
        y = (weights @ value).permute(0, 2, 1, 3).reshape(n, length, -1)
        out = f"{prefix}.attention.output"
        x = norm(x + linear(y, state, f"{out}.dense"), state, f"{out}.LayerNorm")
        y = linear(
            gelu(linear(x, state, f"{prefix}.intermediate.dense")), state, f"{prefix}.output.dense"
        )
        x = norm(x + y, state, f"{prefix}.output.LayerNorm")
    return x


def pretraining_loss(
    state: State,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    types: torch.Tensor,
    labels: torch.Tensor,
    follows: torch.Tensor,
    layers: int,
    heads: int,
) -> torch.Tensor:
    x = features(state, tokens, mask, types, layers, heads)
    pooled = torch.tanh(linear(x[:, 0], state, "bert.pooler.dense"))
    relationship = torch.log_softmax(linear(pooled, state, "cls.seq_relationship"), -1)
    transform = "cls.predictions.transform"
    y = norm(gelu(linear(x, state, f"{transform}.dense")), state, f"{transform}.LayerNorm")
    scores = y @ state["bert.embeddings.word_embeddings.weight"].T + state["cls.predictions.bias"]
    taken = labels != -100
    log_probs = torch.log_softmax(scores[taken], -1)
    masked = -log_probs.gather(1, labels[taken][:, None]).mean()
    return masked - relationship.gather(1, follows[:, None]).mean()
