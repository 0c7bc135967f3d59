"""The CUDA device under every layout, with the CPU's numbers: on software CUDA (the kernels compiled for the host,
streams that are threads), so that it runs where there is no GPU. tools/gpu_check.sh runs the same on one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow.models import (
    GPT2,
    BertConfig,
    BertForPreTraining,
    GPT2Config,
    Llama,
    LlamaConfig,
    pretraining_loss,
    tensor_parallel,
)

from tests.e2e.layouts import LAYOUTS, Layout, Run, make_batch
from tests.e2e.soft_trace import PLUGIN
from tests.reference.models import build, input_shape

STEPS = 3


# The GPU too where one is at hand (tools/gpu_check.sh).
KINDS = ["software"] + ["gpu"] * ("ONEFLOW_CUDA_LIBRARY" in os.environ)


@pytest.fixture(params=KINDS)
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "software":
        assert PLUGIN.exists(), "./dev build makes it"
        monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize(
    ("model", "dropout"),
    [("mlp", 0.0), ("mlp", 0.4), ("resnet", 0.0)],
    ids=["plain", "dropout", "resnet"],
)
def test_trains_as_the_cpu_does(cuda: None, layout: Layout, model: str, dropout: float) -> None:
    batches = [make_batch(model, layout.batch, i) for i in range(STEPS)]
    cpu = Run(model, layout, dropout=dropout)
    gpu = Run(model, replace(layout, kind="cuda"), dropout=dropout)
    expected, actual = cpu.train(batches), gpu.train(batches)
    np.testing.assert_allclose(gpu.losses, cpu.losses, rtol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=2e-6, err_msg=name)
    # The work was done on all its devices.
    assert [c["flops"] > 0 for c in gpu.counters] == [True] * layout.mesh().num_devices


# Transformers, with everything that draws or hides: dropout, padding, a causal mask, grouped heads.


def bert(random: np.random.Generator) -> tuple[flow.nn.Module, Any, list[np.ndarray]]:
    sizes = {"vocab_size": 38, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForPreTraining(
        BertConfig(**sizes, intermediate_size=24, max_position_embeddings=12)
    )

    def loss(tokens: Any, mask: Any, types: Any, labels: Any, follows: Any) -> Any:
        return pretraining_loss(*model(tokens, mask, types), labels, follows)

    tokens = random.integers(0, 38, (4, 10))
    mask = np.ones((4, 10), np.int64)
    mask[1, 7:] = 0
    labels = np.where(random.random((4, 10)) < 0.4, tokens, -100)
    return (
        model,
        loss,
        [tokens, mask, np.repeat([[0] * 4 + [1] * 6], 4, 0), labels, tokens[:, 0] % 2],
    )


def next_token(model: flow.nn.Module, random: np.random.Generator) -> tuple[Any, list[np.ndarray]]:
    def loss(batch: Any) -> Any:
        return F.cross_entropy(model(batch[:, :-1]).reshape(-1, 37), batch[:, 1:].reshape(-1))

    return loss, [random.integers(0, 37, (4, 11))]


def gpt2(random: np.random.Generator) -> tuple[flow.nn.Module, Any, list[np.ndarray]]:
    model = GPT2(GPT2Config(vocab_size=37, n_positions=12, n_embd=16, n_layer=1, n_head=2))
    return (model, *next_token(model, random))


def llama(random: np.random.Generator) -> tuple[flow.nn.Module, Any, list[np.ndarray]]:
    sizes = {"vocab_size": 37, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = Llama(LlamaConfig(**sizes, num_key_value_heads=2, intermediate_size=24))
    return (model, *next_token(model, random))


def resnet(random: np.random.Generator) -> tuple[flow.nn.Module, Any, list[np.ndarray]]:
    model = build("resnet", flow.nn)

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x), y)

    images = random.standard_normal(input_shape("resnet", 4)).astype(np.float32)
    return model, loss, [images, random.integers(0, 10, 4)]


MODELS = {"bert": bert, "gpt2": gpt2, "llama": llama}
MIXED = {**MODELS, "resnet": resnet}
MODEL_LAYOUTS = {"one": ({"dp": 1}, 1), "dp2_tp2": ({"dp": 2, "tp": 2}, 1), "pp2": ({"pp": 2}, 2)}


def mixed_step(
    name: str, axes: dict[str, int], kind: str, precision: str, accumulate: int = 1
) -> tuple[Any, Any, Any]:
    """A model of MIXED, a step that trains it, and a batch."""
    flow.manual_seed(5)
    model, loss, batch = MIXED[name](np.random.default_rng(3))
    step = flow.train_step(
        loss,
        model=model,
        optimizer=flow.optim.AdamW(model.parameters(), lr=1e-3),
        mesh=flow.mesh(kind, threads=1, **axes),
        accumulate=accumulate,
        parallel=tensor_parallel(model) if "tp" in axes else "auto",
        precision=precision,
    )
    return model, step, batch


def train(
    name: str, layout: str, kind: str, precision: str = "fp32"
) -> tuple[list[float], dict[str, np.ndarray]]:
    axes, accumulate = MODEL_LAYOUTS[layout]
    model, step, batch = mixed_step(name, axes, kind, precision, accumulate)
    losses = [float(step(*batch)["loss"]) for _ in range(STEPS)]
    states = flow.gather(model.state_dict())
    return losses, {key: value.numpy().copy() for key, value in states.items()}


@pytest.mark.parametrize("layout", MODEL_LAYOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_models_train_as_on_the_cpu(cuda: None, name: str, layout: str) -> None:
    expected, _ = train(name, layout, "cpu")
    actual, states = train(name, layout, "cuda")
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert actual[-1] < actual[0]
    if layout == "one":
        again, same = train(name, layout, "cuda")
        assert again == actual
        for key, value in states.items():
            assert np.array_equal(value, same[key]), key


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", MIXED)
def test_mixed_precision_trains_as_on_the_cpu(cuda: None, name: str, precision: str) -> None:
    expected, _ = train(name, "one", "cpu", precision)
    actual, _ = train(name, "one", "cuda", precision)
    plain, _ = train(name, "one", "cpu")
    np.testing.assert_allclose(actual, expected, rtol=1e-3)
    assert actual != plain  # something was computed otherwise


def test_wrong_data_changes_nothing(cuda: None) -> None:
    """A label and a word that are out of range: told once, and the next batch trains as if they had never come."""

    class Words(flow.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = flow.nn.Embedding(9, 6)
            self.norm = flow.nn.BatchNorm1d(6)
            self.out = flow.nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.out(self.norm(self.words(x)))

    def states(wrong: bool) -> dict[str, np.ndarray]:
        flow.manual_seed(0)
        model = Words()
        step = flow.train_step(
            lambda x, y: F.cross_entropy(model(x), y),
            model=model,
            optimizer=flow.optim.AdamW(model.parameters(), lr=0.01),
            mesh=flow.mesh("cuda", dp=2),
        )
        # Enough rows that the rest of a step is enqueued before the kernel that looks at them is over.
        words, labels = np.arange(512) % 9, np.arange(512) % 3
        for _ in range(STEPS):
            step(words, labels)
            if not wrong:
                continue
            with pytest.raises(flow.DataError, match="index 9 is out of range of 9") as caught:
                float(step(np.where(np.arange(512) == 6, 9, words), labels)["loss"])
            assert "test_cuda.py" in str(caught.value)
            with pytest.raises(flow.DataError, match="index 3 is out of range of 3"):
                float(step(words, np.where(np.arange(512) == 1, 3, labels))["loss"])
        return {k: v.numpy().copy() for k, v in model.state_dict().items()}

    expected, actual = states(wrong=False), states(wrong=True)
    for name, value in expected.items():
        assert np.array_equal(actual[name], value), name


def test_adamw_and_every_bit_twice(cuda: None) -> None:
    def states(kind: str) -> dict[str, np.ndarray]:
        flow.manual_seed(0)
        model = flow.nn.Sequential(flow.nn.Linear(6, 8), flow.nn.Tanh(), flow.nn.Linear(8, 3))
        step = flow.train_step(
            lambda x, y: flow.nn.functional.cross_entropy(model(x), y),
            model=model,
            optimizer=flow.optim.AdamW(model.parameters(), lr=0.01),
            mesh=flow.mesh(kind, dp=2),
        )
        random = np.random.default_rng(0)
        for _ in range(STEPS):
            step(random.standard_normal((8, 6)).astype(np.float32), random.integers(0, 3, 8))
        return {k: v.numpy().copy() for k, v in model.state_dict().items()}

    expected, actual, again = states("cpu"), states("cuda"), states("cuda")
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
        assert np.array_equal(actual[name], again[name]), name


def test_a_missing_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(tmp_path / "none.so"))
    model = flow.nn.Linear(2, 2)
    step = flow.eval_step(lambda x: model(x), model=model, mesh=flow.mesh("cuda", dp=1))
    with pytest.raises(flow.Error, match=r"\./dev cuda builds it"):
        step(np.ones((1, 2), np.float32))


def test_float64_as_on_the_cpu(cuda: None) -> None:
    def gradients(kind: str) -> list[np.ndarray]:
        def loss(q: Any, k: Any) -> Any:
            heads = F.scaled_dot_product_attention(q, k, k, is_causal=True)
            return F.softmax(F.layer_norm(heads.tanh(), (6,)), -1).square().sum()

        step = flow.eval_step(
            lambda q, k: flow.autograd.grad(loss(q, k), [q, k]),
            model=flow.nn.Linear(1, 1),
            mesh=flow.mesh(kind, threads=1, dp=2),
        )
        random = np.random.default_rng(1)
        return [g.numpy() for g in step(*random.standard_normal((2, 4, 2, 5, 6)))]

    for actual, expected in zip(gradients("cuda"), gradients("cpu"), strict=True):
        assert actual.dtype == np.float64
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)
