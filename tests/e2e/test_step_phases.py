"""Programs whose steps are not forward, gradient, update in the plainest way, against one device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest

BATCH = 8


class Net(flow.nn.Module):
    """Two layers on two stages, and a parameter of which the loss has no gradient."""

    def __init__(self, staged: bool = True) -> None:
        super().__init__()
        self.staged = staged
        self.fc1 = flow.nn.Linear(6, 10)
        self.fc2 = flow.nn.Linear(10, 3)
        self.frozen = flow.nn.Parameter(flow.Tensor(np.ones(3, dtype=np.float32)))

    def forward(self, x: Any) -> Any:
        if not self.staged:
            return self.fc2(F.relu(self.fc1(x)))
        with flow.stage(0):
            x = F.relu(self.fc1(x))
        with flow.stage(1):
            return self.fc2(x)


class DecayFirst(flow.optim.Optimizer):
    """An optimizer of a user that decays the weight before it looks at the gradient."""

    slots = ("velocity",)

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr, "decay": 0.1})

    def update(
        self, parameter: Any, gradient: Any, slots: Any, lr: Any, step: Any, group: Any
    ) -> Any:
        kept = parameter * (1 - group["decay"])
        slowed = slots["velocity"] * 0.5
        velocity = slowed + gradient
        return kept - lr * velocity, {"velocity": velocity}


def batch(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "x": random.standard_normal((BATCH, 6)).astype(np.float32),
        "y": random.standard_normal((BATCH, 3)).astype(np.float32),
        "mask": (random.random(BATCH) < 0.6).astype(np.float32),
    }


def train(
    loss: Callable[..., Any],
    accumulate: int,
    axes: dict[str, int],
    optimizer: Callable[..., Any] = flow.optim.SGD,
    steps: int = 3,
) -> dict[str, np.ndarray]:
    """The states after some steps, and the last loss."""
    flow.manual_seed(1)
    model = Net()
    step = flow.train_step(
        lambda x, y, mask: loss(model, x, y, mask),
        model=model,
        optimizer=optimizer(model.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", threads=1, **axes),
        accumulate=accumulate,
    )
    for seed in range(steps):
        metrics = step(**batch(seed))
    return {
        "loss": np.asarray(metrics["loss"]),
        **{name: value.numpy() for name, value in model.state_dict().items()},
    }


def squared_error(model: Net, x: Any, y: Any, mask: Any) -> Any:
    return ((model(x) * model.frozen - y) ** 2).mean()


def without_gradient(model: Net, x: Any, y: Any, mask: Any) -> Any:
    """The loop reads the parameter, its gradient (zero) does not depend on the batch."""
    return ((model(x) - y) ** 2).mean() + (y * 0 + model.frozen).sum() * 0


def masked_mean(model: Net, x: Any, y: Any, mask: Any) -> Any:
    each = ((model(x) - y) ** 2).mean(-1)
    return (each * mask).sum() / mask.sum()


def clamped_masked_mean(model: Net, x: Any, y: Any, mask: Any) -> Any:
    """As models write it that may meet an empty mask, with the count behind a broadcast."""
    each = ((model(x) - y) ** 2).mean(-1)
    return (each * mask / flow.maximum(mask.sum(), flow.Tensor(1.0))).sum()


def agree(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    for name, value in a.items():
        np.testing.assert_allclose(b[name], value, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("axes", [{"dp": 1}, {"dp": 2}, {"pp": 2}])
@pytest.mark.parametrize("accumulate", [2, 4])
def test_a_parameter_without_gradient(accumulate: int, axes: dict[str, int]) -> None:
    agree(train(without_gradient, 1, {"dp": 1}), train(without_gradient, accumulate, axes))


@pytest.mark.parametrize("axes", [{"dp": 1}, {"dp": 2}, {"pp": 2}])
@pytest.mark.parametrize("loss", [masked_mean, clamped_masked_mean])
def test_a_masked_mean_under_accumulation(loss: Any, axes: dict[str, int]) -> None:
    agree(train(loss, 1, {"dp": 1}), train(loss, 2, axes))


def root_mean_square(model: Net, x: Any, y: Any, mask: Any) -> Any:
    return flow.sqrt(((model(x) - y) ** 2).mean())


def squared_and_decayed(model: Net, x: Any, y: Any, mask: Any) -> Any:
    """A factor of one term only; the other reaches the same parameter, not the same sample."""
    error = ((model(x) - y) ** 2).mean()
    return error * error + 0.1 * (model.fc1.weight**2).sum()


def times_a_parameter(model: Net, x: Any, y: Any, mask: Any) -> Any:
    """A factor that the parameters alone make, inside the loop as it stands."""
    return ((model(x) - y) ** 2).mean() * flow.exp(model.frozen.sum()) / model.fc2.bias.shape[0]


def over_a_parameter(model: Net, x: Any, y: Any, mask: Any) -> Any:
    error = ((model(x) - y) ** 2).mean()
    return error / flow.sqrt((model.fc2.weight**2).sum()) + error**2 * model.frozen.sum()


def over_another_call_of_the_model(model: Net, x: Any, y: Any, mask: Any) -> Any:
    return (model(x) ** 2).sum() / flow.abs(model(x)).sum()


FACTORS = [
    root_mean_square,
    squared_and_decayed,
    times_a_parameter,
    over_a_parameter,
    over_another_call_of_the_model,
]


@pytest.mark.parametrize(
    ("accumulate", "axes"), [(2, {"dp": 1}), (4, {"dp": 2}), (2, {"pp": 2}), (2, {"tp": 2})]
)
@pytest.mark.parametrize("loss", FACTORS)
def test_a_factor_of_the_loss_under_accumulation(
    loss: Any, accumulate: int, axes: dict[str, int]
) -> None:
    agree(train(loss, 1, {"dp": 1}), train(loss, accumulate, axes))


def test_a_factor_of_the_loss_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    flow.manual_seed(1)
    model = Net()
    kept = {n: torch.tensor(v.numpy(), dtype=torch.float64) for n, v in model.state_dict().items()}
    weights = {name: value.requires_grad_() for name, value in kept.items()}
    for seed in range(3):
        data = {n: torch.tensor(v, dtype=torch.float64) for n, v in batch(seed).items()}
        hidden = torch.relu(data["x"] @ weights["fc1.weight"].T + weights["fc1.bias"])
        out = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
        loss = torch.sqrt(((out - data["y"]) ** 2).mean())
        used = [n for n in weights if n != "frozen"]
        gradients = torch.autograd.grad(loss, [weights[n] for n in used])
        with torch.no_grad():
            for name, gradient in zip(used, gradients, strict=True):
                weights[name] -= 0.1 * gradient
    expected = {name: value.detach().numpy() for name, value in weights.items()}
    agree({**expected, "loss": loss.detach().numpy()}, train(root_mean_square, 4, {"dp": 2}))


def test_two_factors_of_one_gradient_are_refused() -> None:
    def normalised(model: Net, x: Any, y: Any, mask: Any) -> Any:
        out = model(x)
        return (out * out).sum() / flow.abs(out).sum()

    with pytest.raises(flow.ShardingError, match="whole batch") as error:
        train(normalised, 2, {"dp": 1})
    assert "from its own call of the model" in str(error.value)  # as in FACTORS
    assert "test_step_phases.py" in str(error.value)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_own_optimizer_under_pp(accumulate: int) -> None:
    agree(
        train(squared_error, 1, {"dp": 1}, DecayFirst),
        train(squared_error, accumulate, {"pp": 2}, DecayFirst),
    )


def test_updates_go_with_their_state_when_stages_are_chosen() -> None:
    """What crosses the stages is an activation and its gradient, whatever the update reads first."""

    def crossings(optimizer: Any) -> int:
        model = Net(staged=False)
        step = flow.train_step(
            lambda x, y, mask: squared_error(model, x, y, mask),
            model=model,
            optimizer=optimizer(model.parameters(), lr=0.1),
            mesh=flow.mesh("cpu", threads=1, pp=2),
        )
        text = step.compile(**batch(0)).text
        return sum("op=pack" in line and 'reshard="stage' in line for line in text.splitlines())

    assert crossings(DecayFirst) == crossings(flow.optim.SGD)


def test_the_dump_says_in_which_phase_each_node_is() -> None:
    model = Net()
    step = flow.train_step(
        lambda x, y, mask: squared_error(model, x, y, mask),
        model=model,
        optimizer=DecayFirst(model.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", threads=1, pp=2),
    )
    text = step.graph(**batch(0))
    decays = [line for line in text.splitlines() if "mul_scalar" in line and "value=0.9" in line]
    assert decays and all("phase=update" in line for line in decays)
    assert all("phase=update" in line for line in text.splitlines() if "state_write" in line)
    assert any("phase=backward" in line for line in text.splitlines())
