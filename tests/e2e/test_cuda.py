"""The CUDA device under every layout, with the CPU's numbers: on software CUDA (the kernels compiled for the host,
streams that are threads), so that it runs where there is no GPU. tools/gpu_check.sh runs the same on one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest

from tests.e2e.layouts import LAYOUTS, Layout, Run, make_batch

PLUGIN = Path(__file__).parents[2] / "build/release/kernels/cuda/liboneflow_soft_cuda.so"
STEPS = 3


# The GPU too where one is at hand (tools/gpu_check.sh).
KINDS = ["software"] + ["gpu"] * ("ONEFLOW_CUDA_LIBRARY" in os.environ)


@pytest.fixture(params=KINDS)
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "software":
        assert PLUGIN.exists(), "./dev build makes it"
        monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("dropout", [0.0, 0.4], ids=["plain", "dropout"])
def test_trains_as_the_cpu_does(cuda: None, layout: Layout, dropout: float) -> None:
    batches = [make_batch("mlp", layout.batch, i) for i in range(STEPS)]
    cpu = Run("mlp", layout, dropout=dropout)
    gpu = Run("mlp", replace(layout, kind="cuda"), dropout=dropout)
    expected, actual = cpu.train(batches), gpu.train(batches)
    np.testing.assert_allclose(gpu.losses, cpu.losses, rtol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    # The work was done on all its devices.
    assert [c["flops"] > 0 for c in gpu.counters] == [True] * layout.mesh().num_devices


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


def test_an_op_without_a_cuda_kernel_names_the_users_line(cuda: None) -> None:
    model = flow.nn.Conv2d(1, 2, 3)
    step = flow.eval_step(lambda x: model(x), model=model, mesh=flow.mesh("cuda", dp=1))
    with pytest.raises(flow.Error, match="no kernel for the op conv2d") as caught:
        step(np.ones((1, 1, 5, 5), np.float32))
    assert "test_cuda.py" in str(caught.value)
