"""BERT: the names of the published weights, PyTorch's loss and gradients, under every kind of layout."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow.models import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
    pretraining_loss,
)

from tests.models.judged import LAYOUTS, Judge, bf16_loss, check, judge, spread

torch = pytest.importorskip("torch")

SMALL = BertConfig(
    vocab_size=38,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=40,
    max_position_embeddings=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    pad_token_id=None,
)


def model() -> BertForPreTraining:
    flow.manual_seed(5)
    network = BertForPreTraining(SMALL)
    spread(network)
    return network


@functools.cache
def batch() -> tuple[np.ndarray, ...]:
    """Tokens, mask, types, labels, whether the sentences follow."""
    random = np.random.default_rng(3)
    tokens = random.integers(0, SMALL.vocab_size, (4, 12))
    mask = np.ones((4, 12), np.int64)
    mask[1, 8:] = mask[3, 11:] = 0
    types = np.repeat([[0] * 5 + [1] * 7], 4, 0)
    labels = np.where(random.random((4, 12)) < 0.3, tokens, -100) * mask - 100 * (1 - mask)
    return tokens, mask, types, labels, np.array([0, 1, 1, 0])


def loss_of(network: BertForPreTraining) -> Any:
    def loss(tokens: Any, mask: Any, types: Any, labels: Any, follows: Any) -> Any:
        return pretraining_loss(*network(tokens, mask, types), labels, follows)

    return loss


@functools.cache
def right() -> Judge:
    from tests.models import torch_bert

    tensors = [torch.tensor(one) for one in batch()]
    return judge(model(), lambda state: torch_bert.pretraining_loss(state, *tensors, 2, 4))


def test_the_names_are_those_of_the_published_weights() -> None:
    e = "bert.embeddings"
    modules = [f"{e}.LayerNorm", "bert.pooler.dense", "cls.seq_relationship"]
    for i in range(2):
        layer = f"bert.encoder.layer.{i}"
        modules += [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        for out in (f"{layer}.attention.output", f"{layer}.output"):
            modules += [f"{out}.dense", f"{out}.LayerNorm"]
        modules.append(f"{layer}.intermediate.dense")
    head = "cls.predictions"
    modules += [f"{head}.transform.dense", f"{head}.transform.LayerNorm", f"{head}.decoder"]
    names = {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
    names |= {f"{e}.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")}
    assert set(model().state_dict()) == names | {f"{head}.bias"}
    bases = {name.removeprefix("bert.") for name in names if name.startswith("bert.")}
    assert set(BertModel(SMALL).state_dict()) == bases
    classes = set(BertForSequenceClassification(SMALL).state_dict())
    assert {"classifier.weight", "classifier.bias"} < classes
    masked = set(BertForMaskedLM(SMALL).state_dict())
    assert not any("pooler" in name or "seq_relationship" in name for name in masked)


def test_sizes() -> None:
    def count(network: flow.nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert count(BertForPreTraining(BertConfig.base())) == 110_106_428
    assert count(BertModel(BertConfig.large())) == 335_141_888


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_gradients_are_pytorchs(layout: str) -> None:
    network = model()
    counters = check(right(), network, loss_of(network), batch(), LAYOUTS[layout])
    if "tp" in layout:  # heads, the MLP's width and the vocabulary are cut
        whole = sum(p.numel() for p in network.parameters()) * 4
        assert all(one["state_bytes"] < 0.7 * whole for one in counters)


def test_the_loss_in_bf16() -> None:
    network = model()
    loss = bf16_loss(network, loss_of(network), batch())
    assert abs(loss - right().loss) > 1e-6  # something was computed otherwise
    assert loss == pytest.approx(right().loss, rel=1e-2)


def test_the_padding_token_has_no_gradient_of_its_own() -> None:
    """Not by where it is read; as a row of the decoder it has one."""
    config = BertConfig(**{**vars(SMALL), "pad_token_id": 0})
    network = BertModel(config)
    tokens = np.array([[0, 1, 2, 0], [3, 0, 1, 1]])
    _, gradients = flow.value_and_grad(
        lambda t: network(t)[1].square().sum(), model=network, mesh=flow.mesh("cpu", dp=1)
    )(tokens)
    rows = np.abs(gradients["embeddings.word_embeddings.weight"].numpy()).sum(1)
    assert rows[0] == 0 and (rows[1:4] > 0).all()


def test_masks_and_types_belong_to_tokens() -> None:
    tokens, mask, *_ = batch()
    with pytest.raises(flow.ShapeError, match="attention_mask has the shape"):
        model()(flow.Tensor(tokens), flow.Tensor(mask[:, None] * mask[:, :, None]))
    with pytest.raises(flow.ShapeError, match="token_type_ids has the shape"):
        model()(flow.Tensor(tokens), None, flow.Tensor(mask[:1]))
    with pytest.raises(flow.ShapeError, match="20 tokens, but the model has 16 positions"):
        model()(flow.zeros(1, 20, dtype=flow.int64))
