"""Models against Hugging Face's own, by `./dev long transformers-parity`: folders in both directions, outputs, gradients,
tokens. tests/models/test_pretrained.py and the others judge the same without it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

GPT2 = {"vocab_size": 61, "n_positions": 48, "n_embd": 32, "n_layer": 2, "n_head": 4}
LLAMA = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 48,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
BERT = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 24,
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "gpt2_base": ("GPT2Model", "GPT2Config", GPT2),
    "gpt2_untied": ("GPT2LMHeadModel", "GPT2Config", {**GPT2, "tie_word_embeddings": False}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "llama_base": ("LlamaModel", "LlamaConfig", LLAMA),
    "llama_tied": ("LlamaForCausalLM", "LlamaConfig", {**LLAMA, "tie_word_embeddings": True}),
    "llama_3": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {**LLAMA, "rope_parameters": {"rope_theta": 500000.0, **LLAMA3}, "head_dim": 12},
    ),
    "llama_biased": (
        "LlamaForCausalLM",
        "LlamaConfig",
        {**LLAMA, "attention_bias": True, "mlp_bias": True, "pad_token_id": 0},
    ),
    "bert": ("BertModel", "BertConfig", BERT),
    "bert_pretraining": ("BertForPreTraining", "BertConfig", BERT),
    "bert_masked": ("BertForMaskedLM", "BertConfig", BERT),
    "bert_classes": ("BertForSequenceClassification", "BertConfig", {**BERT, "num_labels": 3}),
}


@functools.cache
def theirs(case: str) -> Any:
    """Weights large enough that each matters, none at a first value that hides it."""
    kind, config, sizes = CASES[case]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def batch() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    mask = np.ones((3, 16), np.int64)
    mask[1, 11:] = 0
    return {
        "tokens": random.integers(1, 61, (3, 16)),
        "mask": mask,
        "types": random.integers(0, 2, (3, 16)),
    }


def their_outputs(case: str) -> list[Any]:
    model, data = theirs(case), {name: torch.tensor(x) for name, x in batch().items()}
    if "bert" in case:
        result = model(data["tokens"], data["mask"], data["types"])
    else:
        result = model(data["tokens"])
    return [one for one in result.to_tuple() if torch.is_tensor(one)]


def our_outputs(case: str, model: Any) -> Any:
    def outputs(data: Any) -> Any:
        if "bert" in case:
            return model(data["tokens"], data["mask"], data["types"])
        return model(data["tokens"])

    return outputs


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.mark.parametrize("case", CASES)
def test_folders_outputs_and_gradients(case: str, folder: Path) -> None:
    model = theirs(case)
    model.save_pretrained(folder)
    ours = flow.load_pretrained(folder)
    state = model.state_dict()
    assert set(ours.state_dict()) == set(state)
    for name, value in ours.state_dict().items():
        assert value.numpy().tobytes() == state[name].numpy().tobytes(), name

    outputs = our_outputs(case, ours)
    predict = flow.eval_step(outputs, model=ours, mesh=flow.mesh("cpu", dp=1))
    for right, found in zip(their_outputs(case), as_list(predict(batch())), strict=True):
        scale = float(right.detach().abs().max())
        assert np.abs(found.numpy() - right.detach().numpy()).max() < 5e-6 * scale

    random = np.random.default_rng(1)
    weights = [random.standard_normal(one.shape).astype(np.float32) for one in their_outputs(case)]
    model.zero_grad()
    sum(
        (one * torch.tensor(w)).sum() for one, w in zip(their_outputs(case), weights, strict=True)
    ).backward()

    def total(data: Any, weights: Any) -> Any:
        found = as_list(outputs(data))
        return sum((one * w).sum() for one, w in zip(found, weights, strict=True))

    ours.eval()
    _, gradients = flow.value_and_grad(total, model=ours, mesh=flow.mesh("cpu", dp=1))(
        batch(), tuple(weights)
    )
    right = {name: p.grad for name, p in model.named_parameters()}
    assert set(gradients) == set(right)
    largest = max(float(g.abs().max()) for g in right.values() if g is not None)
    for name, gradient in gradients.items():
        expected = 0 * gradient.numpy() if right[name] is None else right[name].numpy()
        allowed = 1e-5 * np.abs(expected).max() + 1e-6 * largest
        assert np.abs(gradient.numpy() - expected).max() <= allowed, name

    again = folder.with_name("again")
    flow.save_pretrained(ours, again)
    back = type(model).from_pretrained(again)
    assert set(back.state_dict()) == set(state)
    for name, value in back.state_dict().items():
        assert torch.equal(value, state[name]), name
    with torch.no_grad():
        result = back.eval()
        data = {name: torch.tensor(x) for name, x in batch().items()}
        given = (
            (data["tokens"], data["mask"], data["types"]) if "bert" in case else (data["tokens"],)
        )
        first = [one for one in result(*given).to_tuple() if torch.is_tensor(one)]
    for one, right_one in zip(first, their_outputs(case), strict=True):
        assert torch.equal(one, right_one)


@pytest.mark.parametrize("case", ["gpt2", "llama", "llama_3", "bert_pretraining"])
def test_sharded_bfloat16_folders(case: str, folder: Path) -> None:
    model = theirs(case)
    narrow = type(model)(model.config)
    narrow.load_state_dict(model.state_dict())
    narrow = narrow.to(torch.bfloat16)
    narrow.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    ours = flow.load_pretrained(folder)
    again = folder.with_name("again")
    flow.save_pretrained(ours, again, dtype=flow.bfloat16, max_shard_bytes=20_000)
    assert len(list(again.glob("model-*.safetensors"))) > 1
    back = type(model).from_pretrained(again)
    assert back.dtype == torch.bfloat16
    state = narrow.state_dict()
    for name, value in back.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("case", ["gpt2", "llama", "llama_3"])
def test_the_same_tokens(case: str, folder: Path) -> None:
    theirs(case).save_pretrained(folder)
    ours = flow.load_pretrained(folder)
    prompts = batch()["tokens"][:, :5]
    right = theirs(case).generate(
        torch.tensor(prompts),
        attention_mask=torch.ones(3, 5, dtype=torch.long),
        max_new_tokens=20,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert np.array_equal(ours.generate(prompts, 20, mesh=flow.mesh("cpu", dp=1)), right.numpy())
