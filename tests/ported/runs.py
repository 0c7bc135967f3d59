"""A model file on PyTorch and, ported, under a layout: losses, gradients, states after a step, counters."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import oneflow as flow
import torch

from tests.ported.porting import load, losses_of, make_batch, original
from tests.reference.compare import Yardstick, norm

torch.set_num_threads(
    1
)  # the models are small, and threads of two libraries would wait for each other

LR = 0.5
BATCH = 8
NOISE = 4e-7  # relative, of the weights: which side of a kink an element lies is left to rounding
NOISY_RUNS = 3
SLACK = 256  # bytes of states: constants of a layout's own, such as the numbers of rows that a device holds

Tensors = dict[str, np.ndarray]

LAYOUTS: dict[str, dict[str, int]] = {
    "one": {"dp": 1},
    "dp2": {"dp": 2},
    "tp2": {"tp": 2},
    "pp2": {"pp": 2},
    "dp2_tp2": {"dp": 2, "tp": 2},
}


def _difference(after: Any, before: Any) -> np.ndarray:
    """In float64; 0 where both are the same infinity, as in masks."""
    a, b = np.asarray(after, np.float64), np.asarray(before, np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, a - b)


# Where the automatic cut leaves a small model's second stage with next to nothing: modules of that stage, in the
# way of a user who knows better.
SECOND_STAGE: dict[str, tuple[str, ...]] = {
    "capsules": ("digit_caps",),
    "dlrm": ("top_l",),
    "inplace": ("coupling.net", "attn", "fc"),
    "multitask": ("body.layers.4", "heads.species", "heads.age", "heads.mood"),
    "nerf": ("pts_linears.2", "alpha_linear", "rgb_linear"),
    "shufflenet": ("stage2", "fc"),
    "triplet": tuple(f"embedding_net.{at}" for at in ("convnet.3", "convnet.5", "pool", "fc")),
    "vae": ("fc3", "fc4"),
    "vqvae": ("_decoder.1", "_decoder.2"),
}


def _on_stage(module: Any, index: int) -> None:
    """The module's ops belong to a stage."""
    forward = module.forward

    def staged(*args: Any, **kwargs: Any) -> Any:
        with flow.stage(index):
            return forward(*args, **kwargs)

    module.forward = staged


# PyTorch.


@cache
def weights(name: str) -> Tensors:
    """The states of a model as PyTorch makes them; running statistics away from their defaults."""
    torch.manual_seed(3)
    state = original(name).make_model().state_dict()
    random = np.random.default_rng(5)
    result = {}
    for key, value in state.items():
        array = value.numpy().copy()
        assert array.dtype != np.float64, key
        if key.endswith("running_mean"):
            array = random.normal(0, 0.1, array.shape).astype(np.float32)
        elif key.endswith("running_var"):
            array = random.uniform(0.5, 1.5, array.shape).astype(np.float32)
        result[key] = array
    return result


def _torch_model(name: str, dtype: Any, noise: int) -> Any:
    model = original(name).make_model()
    random = np.random.default_rng(noise)
    state = {}
    for key, value in weights(name).items():
        if noise and value.dtype.kind == "f":
            value = value * (1 + NOISE * random.standard_normal(value.shape)).astype(np.float32)
        state[key] = torch.from_numpy(np.array(value))
    model.load_state_dict(state)
    return model.to(dtype)


@contextlib.contextmanager
def _everything_double() -> Iterator[None]:
    """New tensors, and what a model converts by `.float()`, are in float64."""
    single = torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.Tensor.float = single  # type: ignore[method-assign]


def _torch_batch(batch: Tensors, dtype: Any) -> dict[str, Any]:
    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
    return {key: x.to(dtype) if x.is_floating_point() else x for key, x in tensors.items()}


def torch_run(
    name: str, loss: str, training: bool, *, double: bool, noise: int = 0, seed: int = 1
) -> tuple[Tensors, Tensors]:
    """Gradients with the loss under "loss"; how far each state moves in one SGD step."""
    weights(name)  # made in single precision
    with _everything_double() if double else contextlib.nullcontext():
        dtype = torch.float64 if double else torch.float32
        return _torch_run(name, loss, training, dtype, noise, seed)


def _torch_run(
    name: str, loss: str, training: bool, dtype: Any, noise: int, seed: int
) -> tuple[Tensors, Tensors]:
    model = _torch_model(name, dtype, noise).train(training)
    before = {key: value.detach().clone() for key, value in model.state_dict().items()}
    value = losses_of(original(name))[loss](
        model, **_torch_batch(make_batch(name, BATCH, seed), dtype)
    )
    value.backward()
    gradients = {
        key: np.zeros(p.shape) if p.grad is None else p.grad.numpy().copy()
        for key, p in model.named_parameters()
        if p.requires_grad
    }
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=LR).step()
    moved = {
        key: _difference(value.detach(), before[key])
        for key, value in model.state_dict().items()
        if value.is_floating_point()
    }
    return {**gradients, "loss": value.detach().numpy()}, {**moved, "loss": value.detach().numpy()}


@cache
def yardsticks(name: str, loss: str, training: bool, seed: int = 1) -> tuple[Yardstick, Yardstick]:
    """Of the gradients and of the moved states."""
    exact = torch_run(name, loss, training, double=True, seed=seed)
    singles = [
        torch_run(name, loss, training, double=False, noise=i, seed=seed)
        for i in range(1 + NOISY_RUNS)
    ]
    result = []
    for kind in (0, 1):
        yardstick = Yardstick.make(exact[kind], singles[0][kind])
        for key, value in yardstick.exact.items():
            errors = [norm(single[kind][key] - value) for single in singles]
            yardstick.error32[key] = max(errors)
        result.append(yardstick)
    return result[0], result[1]


# Ported.


def sharded(name: str) -> list[str]:
    """Parameters whose rows lie on several devices under tp: all with several dims, and an even number of rows."""
    module = load(name, ours=True)
    return [
        key
        for key, p in module.make_model().named_parameters()
        if p.requires_grad and p.ndim > 1 and p.shape[0] % 2 == 0
    ]


@dataclass
class Result:
    """What a run gives."""

    values: Tensors
    counters: list[dict[str, int]]


class Port:
    """A ported model with PyTorch's weights under a layout."""

    def __init__(self, name: str, layout: str, seed: int = 1) -> None:
        self.module = load(name, ours=True)
        self.axes = LAYOUTS[layout]
        self.batch = make_batch(name, BATCH, seed)
        self.model = self.module.make_model()
        self.weights = weights(name)
        if "pp" in self.axes:
            for path in SECOND_STAGE.get(name, ()):
                _on_stage(self.model.get_submodule(path), 1)
        self.model.load_state_dict(self.weights)
        self.options: dict[str, Any] = {
            "model": self.model,
            "mesh": flow.mesh("cpu", threads=1, **self.axes),
            "parallel": {key: {"tp": "S(0)"} for key in sharded(name)}
            if "tp" in self.axes
            else "auto",
        }

    def _loss(self, loss: str) -> Any:
        function = losses_of(self.module)[loss]
        return lambda **batch: function(self.model, **batch)

    def gradients(self, loss: str, training: bool) -> Result:
        """As torch_run."""
        self.model.train(training)
        step = flow.value_and_grad(self._loss(loss), **self.options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value, gradients = step(**self.batch)
        values = {key: gradient.numpy() for key, gradient in gradients.items()}
        return Result({**values, "loss": value.numpy()}, step.counters())

    def moved(self, loss: str, training: bool) -> Result:
        """As torch_run."""
        self.model.train(training)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        step = flow.train_step(
            self._loss(loss), optimizer=flow.optim.SGD(parameters, lr=LR), **self.options
        )
        value = step(**self.batch)["loss"].numpy()
        values = {
            key: _difference(state.numpy(), self.weights[key])
            for key, state in flow.gather(self.model.state_dict()).items()
            if state.dtype.is_floating_point
        }
        return Result({**values, "loss": value}, step.counters())


def idle(name: str, layout: str, found: Result, one: Result) -> list[str]:
    """Devices that do not do their share, by counters outside the compiler; `one` is the run on one device."""
    axes = LAYOUTS[layout]
    flops = [counters["flops"] for counters in found.counters]
    states = [counters["state_bytes"] for counters in found.counters]
    problems = []
    if axes.get("dp", 1) > 1 and max(flops) > 0.55 * one.counters[0]["flops"]:
        problems.append(f"dp: {flops} flops, one device {one.counters[0]['flops']}")
    if axes.get("tp", 1) > 1:
        cut = sum(weights(name)[key].nbytes for key in sharded(name))
        whole = one.counters[0]["state_bytes"]
        if max(states) > 0.55 * cut + (whole - cut) + SLACK:
            problems.append(f"tp: {states} bytes of states, one device {whole}, {cut} to be cut")
    if axes.get("pp", 1) > 1 and min(flops) < 0.25 * sum(flops):
        problems.append(f"pp: {flops} flops")
    return problems
