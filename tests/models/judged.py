"""How a model's loss and gradients under a layout are compared with PyTorch's in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import oneflow as flow
from oneflow.models import tensor_parallel


@dataclass(frozen=True)
class Layout:
    """A mesh and micro-batches."""

    axes: Mapping[str, int]
    accumulate: int = 1


LAYOUTS = {
    "one": Layout({"dp": 1}),
    "dp2": Layout({"dp": 2}),
    "tp2": Layout({"tp": 2}),
    "pp2": Layout({"pp": 2}, accumulate=2),
    "dp2_tp2": Layout({"dp": 2, "tp": 2}),
}


@dataclass(frozen=True)
class Judge:
    """A loss and its gradients by parameter name."""

    loss: float
    gradients: Mapping[str, np.ndarray]


def spread(model: flow.nn.Module, seed: int = 7) -> None:
    """Gives every floating-point state a value that matters, none one that hides a mistake."""
    random = np.random.default_rng(seed)
    states = {tensor._source: tensor for tensor in model.state_dict().values()}
    for tensor in states.values():
        if tensor.dtype.is_floating_point:
            value = tensor.numpy() + 0.2 * random.standard_normal(tensor.shape)
            tensor.copy_(np.abs(value).astype(np.float32) if tensor.ndim == 1 else value)


def torch_state(model: flow.nn.Module) -> dict[str, Any]:
    """Float64 tensors by name, parameters with gradients; tied ones are the same tensor."""
    import torch

    parameters = {p.cell for p in model.parameters()}
    made: dict[Any, Any] = {}
    for tensor in model.state_dict().values():
        if tensor._source not in made:
            value = torch.tensor(np.asarray(tensor.numpy(), np.float64))
            made[tensor._source] = value.requires_grad_(tensor._source in parameters)
    return {name: made[tensor._source] for name, tensor in model.state_dict().items()}


def judge(model: flow.nn.Module, loss_of: Callable[[dict[str, Any]], Any]) -> Judge:
    """What loss_of(state) gives in float64."""
    state = torch_state(model)
    loss = loss_of(state)
    loss.backward()
    names = [name for name, _ in model.named_parameters()]
    return Judge(float(loss.detach()), {name: state[name].grad.numpy() for name in names})


def check(
    right: Judge, model: flow.nn.Module, loss_of: Callable[..., Any], batch: Any, layout: Layout
) -> list[dict[str, Any]]:
    """The loss and every gradient of one step; returns what the devices counted."""
    step = flow.value_and_grad(
        loss_of,
        model=model,
        mesh=flow.mesh("cpu", threads=1, **layout.axes),
        accumulate=layout.accumulate,
        parallel=tensor_parallel(model) if "tp" in layout.axes else "auto",
    )
    loss, gradients = step(*batch)
    assert abs(float(loss) - right.loss) < 3e-6 * abs(right.loss)
    assert set(gradients) == set(right.gradients)
    largest = max(np.abs(gradient).max() for gradient in right.gradients.values())
    for name, gradient in gradients.items():
        expected = right.gradients[name]
        allowed = 1e-5 * np.abs(expected).max() + 1e-6 * largest
        assert np.abs(gradient.numpy() - expected).max() < allowed, name
    counters = step.counters()
    assert len(counters) == step.mesh.num_devices and all(one["flops"] > 0 for one in counters)
    return counters


def bf16_loss(model: flow.nn.Module, loss_of: Callable[..., Any], batch: Any) -> float:
    """The loss in mixed precision on two devices."""
    step = flow.eval_step(
        loss_of, model=model, mesh=flow.mesh("cpu", threads=1, dp=2), precision="bf16"
    )
    return float(step(*batch))
