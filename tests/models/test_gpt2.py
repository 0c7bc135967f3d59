"""GPT-2: the names of the published weights, PyTorch's loss and gradients, under every kind of layout."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow.models import GPT2, GPT2Config

torch = pytest.importorskip("torch")

SMALL = GPT2Config(
    vocab_size=37,
    n_positions=16,
    n_embd=24,
    n_layer=2,
    n_head=4,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attn_pdrop=0.0,
)
LAYOUTS: dict[str, tuple[dict[str, int], int]] = {
    "one": ({"dp": 1}, 1),
    "dp2": ({"dp": 2}, 1),
    "tp2": ({"tp": 2}, 1),
    "pp2": ({"pp": 2}, 2),
    "dp2_tp2": ({"dp": 2, "tp": 2}, 1),
}


@functools.cache
def tokens() -> np.ndarray:
    return np.random.default_rng(3).integers(0, SMALL.vocab_size, (4, 13))


def model() -> GPT2:
    flow.manual_seed(5)
    return GPT2(SMALL)


def next_token_loss(network: GPT2, batch: Any) -> Any:
    scores = network(batch[:, :-1])
    return F.cross_entropy(scores.reshape(-1, SMALL.vocab_size), batch[:, 1:].reshape(-1))


@functools.cache
def expected() -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients in float64."""
    from tests.models import torch_gpt2

    state = {
        name: torch.tensor(np.asarray(value.numpy(), np.float64), requires_grad=True)
        for name, value in model().state_dict().items()
        if name != "lm_head.weight"
    }
    batch = torch.tensor(tokens())
    scores = torch_gpt2.logits(state, batch[:, :-1], SMALL.n_layer, SMALL.n_head)
    loss = torch.nn.functional.cross_entropy(
        scores.reshape(-1, SMALL.vocab_size), batch[:, 1:].reshape(-1)
    )
    loss.backward()
    return float(loss.detach()), {name: value.grad.numpy() for name, value in state.items()}


def test_the_names_are_those_of_the_published_weights() -> None:
    names = set(GPT2(SMALL).state_dict())
    block = {
        f"transformer.h.{i}.{part}.{kind}"
        for i in range(2)
        for part in ("ln_1", "ln_2", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        for kind in ("weight", "bias")
    }
    around = {"wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"}
    assert names == block | {f"transformer.{name}" for name in around} | {"lm_head.weight"}
    assert sum(p.numel() for p in GPT2(GPT2Config()).parameters()) == 124_439_808


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_gradients_are_pytorchs(layout: str) -> None:
    axes, accumulate = LAYOUTS[layout]
    network = model()
    step = flow.value_and_grad(
        lambda batch: next_token_loss(network, batch),
        model=network,
        mesh=flow.mesh("cpu", **axes),
        accumulate=accumulate,
    )
    loss, gradients = step(tokens())
    right_loss, right = expected()
    assert float(loss) == pytest.approx(right_loss, rel=2e-6)
    assert set(gradients) == set(right)
    for name, gradient in gradients.items():
        scale = np.abs(right[name]).max()
        assert np.abs(gradient.numpy() - right[name]).max() < 3e-6 * scale + 1e-9, name


def test_trains_in_bf16_as_in_fp32() -> None:
    def losses(precision: str) -> list[float]:
        network = model()

        @flow.train_step(
            model=network,
            optimizer=flow.optim.AdamW(network.parameters(), lr=3e-3),
            mesh=flow.mesh("cpu", dp=2),
            precision=precision,
        )
        def step(batch: Any) -> Any:
            return next_token_loss(network, batch)

        return [float(step(tokens())["loss"]) for _ in range(12)]

    full, narrow = losses("fp32"), losses("bf16")
    assert full[-1] < 0.8 * full[0]
    assert narrow != full  # something was computed otherwise
    np.testing.assert_allclose(narrow, full, rtol=2e-2)


def test_no_weight_is_copied_to_be_turned() -> None:
    """Products take weights and keys as they lie; only heads change places."""
    network = model()
    step = flow.eval_step(lambda t: network(t), model=network, mesh=flow.mesh("cpu", dp=1))
    moved = re.findall(r"permute\(.*dims=\[([\d,]+)\]", step.graph(tokens()))
    assert set(moved) == {"0,2,1,3"}  # the passes cancel those around attention
