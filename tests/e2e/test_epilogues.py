"""What a GPU's products do beside, in the plans of whole models: biases, the sums of a bias's gradient. That they train
to the CPU's losses is tested in test_cuda.py; here it is shown that plans have them, and that nothing is left beside."""

from __future__ import annotations

from collections import Counter

import pytest

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
    assert least <= ops["linear"] <= layers
    if precision == "bf16":
        assert least <= ops["matmul_sums"] <= layers
    else:
        assert ops["matmul_sums"] == 0


def test_a_cpu_has_its_own_ops() -> None:
    ops = ops_of("gpt2", "one", "bf16", "cpu")
    assert ops["linear"] == ops["matmul_sums"] == 0
