"""Llama: the names of the published weights, PyTorch's loss and gradients, under every kind of layout."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow.models import Llama, LlamaConfig
from oneflow.models.rotary import frequencies

from tests.models.judged import LAYOUTS, Judge, bf16_loss, check, judge, spread

torch = pytest.importorskip("torch")

SMALL = LlamaConfig(
    vocab_size=38,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=16,
    rope_theta=500.0,
)


def model() -> Llama:
    flow.manual_seed(5)
    network = Llama(SMALL)
    spread(network)
    return network


@functools.cache
def tokens() -> np.ndarray:
    return np.random.default_rng(3).integers(0, SMALL.vocab_size, (4, 13))


def loss_of(network: Llama) -> Any:
    def loss(batch: Any) -> Any:
        return F.cross_entropy(network(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    return loss


@functools.cache
def right() -> Judge:
    from tests.models import torch_llama

    def loss(state: dict[str, Any]) -> Any:
        batch = torch.tensor(tokens())
        scores = torch_llama.logits(state, batch[:, :-1], 2, 4, 2, 500.0)
        return torch.nn.functional.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten())

    return judge(model(), loss)


def test_the_names_are_those_of_the_published_weights() -> None:
    layer = {
        f"model.layers.{i}.{part}.weight"
        for i in range(2)
        for part in (
            *(f"self_attn.{one}_proj" for one in "qkvo"),
            *(f"mlp.{one}_proj" for one in ("gate", "up", "down")),
            *("input_layernorm", "post_attention_layernorm"),
        )
    }
    around = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert set(model().state_dict()) == layer | around
    assert sum(p.numel() for p in Llama(LlamaConfig()).parameters()) == 6_738_415_616


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_gradients_are_pytorchs(layout: str) -> None:
    network = model()
    counters = check(right(), network, loss_of(network), (tokens(),), LAYOUTS[layout])
    if "tp" in layout:  # heads, the MLP's width and the vocabulary are cut: all but the norms
        whole = sum(p.numel() for p in network.parameters()) * 4
        assert all(one["state_bytes"] < 0.53 * whole for one in counters)


def test_the_loss_in_bf16() -> None:
    network = model()
    loss = bf16_loss(network, loss_of(network), (tokens(),))
    assert abs(loss - right().loss) > 1e-6  # something was computed otherwise
    assert loss == pytest.approx(right().loss, rel=1e-2)


def test_long_contexts_stretch_the_slow_pairs() -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    plain, stretched = frequencies(128, 500000.0), frequencies(128, 500000.0, scaling)
    turns = 8192 * plain / (2 * np.pi)
    assert (stretched[turns > 4] == plain[turns > 4]).all() and (turns > 4).any()
    np.testing.assert_allclose(stretched[turns < 1], plain[turns < 1] / 8, rtol=1e-12)
    between = (turns > 1) & (turns < 4)
    assert between.any()
    assert ((stretched < plain) & (stretched > plain / 8))[between].all()
    linear = frequencies(128, 500000.0, {"type": "linear", "factor": 4})
    np.testing.assert_allclose(linear, plain / 4, rtol=1e-12)


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"rope_type": "yarn", "factor": 2.0}, "'yarn' is not known"),
        ({"rope_type": "linear"}, "'factor'"),
        ({"rope_type": "linear", "factor": -1.0}, "'factor'"),
        ({"rope_type": "linear", "factor": float("nan")}, "'factor'"),
    ],
)
def test_unknown_positions_are_refused(scaling: dict[str, Any], message: str) -> None:
    with pytest.raises(flow.Error, match=message):
        Llama(LlamaConfig(rope_scaling=scaling))
