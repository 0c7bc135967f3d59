"""The layouts of bar 2 and how a model runs under one: gradients, SGD steps, counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F

from tests.reference.models import build, input_shape

SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}

# Column and row parallel layers of the MLP; output channels of the convolutions.
TP_RULES: dict[str, dict[str, dict[str, str]]] = {
    "mlp": {
        "fc1.weight": {"tp": "S(0)"},
        "fc2.weight": {"tp": "S(1)"},
        "fc3.weight": {"tp": "S(0)"},
        "fc4.weight": {"tp": "S(1)"},
    },
    "resnet": {"*conv*.weight": {"tp": "S(0)"}, "fc.weight": {"tp": "S(1)"}},
}


@dataclass(frozen=True)
class Layout:
    """A mesh, micro-batches, and the size of the global batch."""

    name: str
    axes: dict[str, int] = field(hash=False)
    accumulate: int = 1
    batch: int = 16
    kind: str = "cpu"

    def mesh(self) -> flow.Mesh:
        return flow.mesh(self.kind, threads=1, **self.axes)

    def rules(self, model: str) -> Any:
        return TP_RULES[model] if "tp" in self.axes else "auto"


LAYOUTS = [
    Layout("one", {"dp": 1}),
    Layout("dp2", {"dp": 2}),
    Layout("dp3", {"dp": 3}, batch=7),
    Layout("tp2", {"tp": 2}),
    Layout("tp4", {"tp": 4}),
    Layout("dp2_tp2", {"dp": 2, "tp": 2}),
    Layout("pp2", {"pp": 2}),
    Layout("dp2_pp2", {"pp": 2, "dp": 2}),
    Layout("pp2_acc4", {"pp": 2}, accumulate=4),
    Layout("dp2_pp2_acc4", {"pp": 2, "dp": 2}, accumulate=4),
]
BY_NAME = {layout.name: layout for layout in LAYOUTS}


def one_device(layout: Layout) -> Layout:
    """The same batch and the same groups of batch_norm on one device."""
    return Layout(f"one for {layout.name}", {"dp": 1}, batch=layout.batch)


def make_batch(model: str, size: int, seed: int) -> dict[str, np.ndarray]:
    """Standard normal inputs and random labels."""
    random = np.random.default_rng(seed)
    x = random.standard_normal(input_shape(model, size)).astype(np.float32)
    return {"x": x, "y": random.integers(0, 10, size).astype(np.int64)}


def make_weights(model: str) -> dict[str, np.ndarray]:
    """One set of initial states for all runs; the running statistics are not at their defaults."""
    flow.manual_seed(3)
    weights = {k: v.numpy().copy() for k, v in build(model, flow.nn).state_dict().items()}
    random = np.random.default_rng(5)
    for name, value in weights.items():
        if name.endswith("running_mean"):
            weights[name] = random.normal(0, 0.1, value.shape).astype(np.float32)
        elif name.endswith("running_var"):
            weights[name] = random.uniform(0.5, 1.5, value.shape).astype(np.float32)
    return weights


class Run:
    """A model with its weights under one layout."""

    def __init__(
        self, model: str, layout: Layout, *, dropout: float = 0.0, groups: int | None = None
    ):
        self.layout = layout
        groups = layout.accumulate if groups is None else groups

        def norm(channels: int) -> flow.nn.Module:
            return flow.nn.BatchNorm2d(channels, groups=groups)

        self.model = build(model, flow.nn, dropout=dropout, stage=flow.stage, norm=norm)
        self.weights = make_weights(model)
        self.model.load_state_dict(self.weights)
        self.options: dict[str, Any] = {
            "model": self.model,
            "mesh": layout.mesh(),
            "parallel": layout.rules(model),
            "accumulate": layout.accumulate,
            "seed": 11,
        }

    def loss(self, x: Any, y: Any) -> Any:
        # No label is ignored: counting them would be a second small sum beside that of the loss.
        return F.cross_entropy(self.model(x), y, ignore_index=None)

    def gradients(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Gradients of the first step, and the loss under "loss"."""
        loss, grads = flow.value_and_grad(self.loss, **self.options)(**batch)
        return {**{name: grad.numpy() for name, grad in grads.items()}, "loss": loss.numpy()}

    def interpreted_gradients(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same without a plan."""
        loss, grads = flow.value_and_grad(self.loss, **self.options).interpret(**batch)
        return {**{name: grad.numpy() for name, grad in grads.items()}, "loss": loss.numpy()}

    def train_step(self) -> flow.steps.TrainStep:
        optimizer = flow.optim.SGD(self.model.parameters(), **SGD)
        return flow.train_step(self.loss, optimizer=optimizer, **self.options)

    def train(self, batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The states after one SGD step per batch."""
        step = self.train_step()
        metrics = [step(**batch) for batch in batches]
        self.losses = np.array([m["loss"].numpy() for m in metrics])
        self.counters = step.counters()
        state = flow.gather(self.model.state_dict())
        return {name: value.numpy().copy() for name, value in state.items()}
