"""What a GPU's products do beside, in the plans of whole models: biases, the sums of a bias's gradient, activations.
That they train to the CPU's losses is tested in test_cuda.py; here it is shown that plans have them, and that nothing
is left beside."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow.models import GPT2, GPT2Config

from tests.e2e.soft_trace import PLUGIN
from tests.e2e.test_cuda import mixed_step

LAYOUTS: dict[str, dict[str, int]] = {"one": {}, "dp2": {"dp": 2}, "tp2": {"tp": 2}}
BIASED = {"bert": 10, "gpt2": 4}  # layers with a bias


@pytest.fixture(autouse=True)
def soft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


def ops_of(name: str, layout: str, precision: str, kind: str = "cuda") -> Counter[str]:
    """How often each op runs in a step, on all devices."""
    _, step, batch = mixed_step(name, LAYOUTS[layout], kind, precision)
    return Counter(kernel["op"] for kernel in step.compile(*batch).kernels())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", BIASED)
def test_products_add_biases_and_sum_their_gradients(
    name: str, layout: str, precision: str
) -> None:
    ops = ops_of(name, layout, precision)
    layers = BIASED[name] * (1 if layout == "one" else 2)
    # Partial products add no bias, and whole sums are none of a product that is cut.
    least = 1 if layout == "tp2" else layers
    assert least <= ops["linear"] + ops["linear_gelu"] <= layers
    if precision == "bf16":
        assert least <= ops["matmul_sums"] <= layers
    else:
        assert ops["matmul_sums"] == 0


def test_a_cpu_has_its_own_ops() -> None:
    ops = ops_of("gpt2", "one", "bf16", "cpu")
    assert ops["linear"] == ops["matmul_sums"] == 0
    assert ops["linear_gelu"] == ops["matmul_gelu_grad"] == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_products_do_activations_in_16_bits(layout: str, precision: str) -> None:
    ops = ops_of("gpt2", layout, precision)
    devices = 1 if layout == "one" else 2
    joined = 0 if precision == "fp32" else devices
    assert ops["linear_gelu"] == ops["matmul_gelu_grad"] == joined
    assert ops["gelu_tanh"] == ops["gelu_tanh_grad"] == devices - joined


@pytest.mark.parametrize(
    ("axes", "accumulate"), [({"dp": 2, "tp": 2}, 1), ({"pp": 2}, 2)], ids=["dp2_tp2", "pp2"]
)
def test_every_layout_trains_with_them(axes: dict[str, int], accumulate: int) -> None:
    losses = {}
    for kind in ("cpu", "cuda"):
        _, step, batch = mixed_step("gpt2", axes, kind, "bf16", accumulate)
        losses[kind] = [float(step(*batch)["loss"]) for _ in range(3)]
    ops = Counter(kernel["op"] for kernel in step.compile(*batch).kernels())
    assert ops["linear_gelu"] == ops["matmul_gelu_grad"] > 0
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=1e-3)


def small_gpt2(layers: int) -> tuple[GPT2, np.ndarray]:
    flow.manual_seed(7)
    sizes = {"vocab_size": 37, "n_positions": 12, "n_embd": 16, "n_head": 2}
    return GPT2(GPT2Config(**sizes, n_layer=layers)), np.random.default_rng(3).integers(
        0, 37, (4, 11)
    )


def training_of(model: GPT2, precision: str = "bf16") -> Any:
    return flow.train_step(
        lambda batch: F.cross_entropy(
            model(batch[:, :-1]).reshape(-1, 37), batch[:, 1:].reshape(-1)
        ),
        model=model,
        optimizer=flow.optim.AdamW(model.parameters(), lr=1e-3),
        mesh=flow.mesh("cuda", threads=1, dp=1),
        precision=precision,
    )


def test_each_of_gpt2s_layers_has_one_of_both() -> None:
    model, batch = small_gpt2(12)
    kernels = training_of(model).compile(batch).kernels()
    ops = Counter(kernel["op"] for kernel in kernels)
    assert ops["linear_gelu"] == ops["matmul_gelu_grad"] == 12
    assert ops["gelu_tanh"] == ops["gelu_tanh_grad"] == 0
    for kernel in kernels:
        if kernel["op"] == "linear_gelu":
            assert kernel["outputs"] == [("bf16", (40, 64))] * 2


def test_without_a_gradient_what_the_activation_is_of_is_no_result() -> None:
    model, batch = small_gpt2(2)
    step = flow.eval_step(
        lambda tokens: model(tokens), model=model, mesh=flow.mesh("cuda", dp=1), precision="bf16"
    )
    kernels = [k for k in step.compile(batch).kernels() if k["op"] == "linear_gelu"]
    assert [kernel["outputs"] for kernel in kernels] == [[("bf16", (44, 64))]] * 2


def test_the_bits_are_those_of_the_ops() -> None:
    """Where no library does it, as here: x is rounded, then the activation is made of it. Beside a factor of one an
    activation is a chain's, forward and backward."""

    def trained(apart: bool) -> tuple[Counter[str], list[float], dict[str, np.ndarray]]:
        model, batch = small_gpt2(2)
        if apart:
            for block in model.transformer.h:
                block.mlp.act = lambda x: F.gelu(x * 1.0, approximate="tanh") * 1.0
        step = training_of(model)
        ops = Counter(kernel["op"] for kernel in step.compile(batch).kernels())
        losses = [float(step(batch)["loss"]) for _ in range(4)]
        states = flow.gather(model.state_dict())
        return ops, losses, {name: value.numpy().copy() for name, value in states.items()}

    (ops, losses, states), (others, expected, wanted) = trained(False), trained(True)
    assert ops["linear_gelu"] == ops["matmul_gelu_grad"] == 2
    assert others["linear_gelu"] == others["matmul_gelu_grad"] == 0
    assert losses == expected
    assert losses[-1] < losses[0]
    for name, value in wanted.items():
        assert np.array_equal(states[name], value), name
