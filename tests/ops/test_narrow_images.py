"""Batch norm and windows over bfloat16, float16 and float64: values and gradients against PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import pytest

torch = pytest.importorskip("torch")

# Half a unit in the last place, relative.
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float64": 2.0**-53}


def normalised(lib: Any, x: Any, w: Any, b: Any) -> Any:
    return lib.nn.functional.batch_norm(x, None, None, w, b, training=True)


def by_given_statistics(lib: Any, x: Any, w: Any, b: Any) -> Any:
    zeros = x.detach().reshape(-1)[:5] * 0
    return lib.nn.functional.batch_norm(x, zeros + 0.5, zeros + 2.0, w, b, training=False)


def largest(lib: Any, x: Any, w: Any, b: Any) -> Any:
    return lib.nn.functional.max_pool2d(x, 3, 2, 1)


def averaged(lib: Any, x: Any, w: Any, b: Any) -> Any:
    return lib.nn.functional.avg_pool2d(x, 3, 1, 1)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("function", [normalised, by_given_statistics, largest, averaged])
def test_values_and_gradients(function: Callable[..., Any], dtype: str) -> None:
    """One rounding apart: what is added, is added in float32."""
    random = np.random.default_rng(3)
    images, slopes = random.standard_normal((2, 6, 5, 8, 7))
    weight, bias = random.standard_normal((2, 5))

    def judged(name: str) -> Any:
        return torch.tensor(images).to(getattr(torch, name)).double()

    x = judged(dtype).requires_grad_()
    w, b = (torch.tensor(array).float().double() for array in (weight, bias))
    expected = function(torch, x, w, b)
    dy = torch.tensor(slopes)[tuple(slice(0, n) for n in expected.shape)]
    dy = dy.to(getattr(torch, dtype)).double()
    expected.backward(dy)

    model = flow.nn.Module()
    kept = "float64" if dtype == "float64" else "float32"
    for name, array, own in (("x", x, dtype), ("w", w, kept), ("b", b, kept)):
        tensor = flow.tensor(array.detach().numpy()).to(getattr(flow, own))
        setattr(model, name, flow.nn.Parameter(tensor))

    def loss(slopes: Any) -> Any:
        y = function(flow, model.x, model.w, model.b)
        return (y.double() * slopes).sum()

    _, gradients = flow.value_and_grad(loss, model=model, mesh=flow.mesh("cpu", dp=1))(dy.numpy())
    y = function(flow, *(getattr(model, name).detach() for name in "xwb"))
    assert y.dtype is gradients["x"].dtype is getattr(flow, dtype)
    rounding, sums = 1.1 * ROUNDING[dtype], 1e-13 if dtype == "float64" else 1e-5
    for ours, theirs in ((y, expected.detach()), (gradients["x"], x.grad)):
        error = np.abs(ours.double().numpy() - theirs.numpy())
        assert (error <= rounding * np.abs(theirs.numpy()) + sums).all()
    if w.grad is not None:
        for name, theirs in (("w", w.grad), ("b", b.grad)):
            assert gradients[name].dtype is getattr(flow, kept)
            np.testing.assert_allclose(gradients[name].numpy(), theirs.numpy(), atol=20 * sums)
