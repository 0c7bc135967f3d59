"""autograd.grad inside a step: gradients as values, and the loss differentiated through them, as PyTorch does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import pytest

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 2, 6, 6)).astype(np.float32)
ROWS = RNG.standard_normal((8, 5)).astype(np.float32)


def mlp(nn: Any, activation: str) -> Any:
    act = getattr(nn, activation)
    return nn.Sequential(nn.Linear(5, 16), act(), nn.Linear(16, 16), act(), nn.Linear(16, 1))


def critic(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 1),
    )


def penalty(at: Any, net: Any, x: Any) -> Any:
    """The gradient penalty of WGAN-GP, as people write it."""
    x = x.requires_grad_(True)
    scores = net(x)
    (slope,) = at.autograd.grad(
        outputs=scores,
        inputs=x,
        grad_outputs=at.ones_like(scores),
        create_graph=True,
        retain_graph=True,
    )
    lengths = slope.reshape(slope.shape[0], -1).norm(2, dim=1)
    return scores.mean() + 10 * ((lengths - 1) ** 2).mean()


def compare(make: Callable[[Any], Any], x: np.ndarray, mesh: Any) -> None:
    ours, theirs = make(flow.nn), make(torch.nn).double()
    state = {k: np.asarray(v.detach().float()) for k, v in theirs.state_dict().items()}
    ours.load_state_dict({k: flow.tensor(v) for k, v in state.items()})
    theirs.load_state_dict({k: torch.from_numpy(v).double() for k, v in state.items()})
    loss, gradients = flow.value_and_grad(lambda x: penalty(flow, ours, x), model=ours, mesh=mesh)(
        x
    )
    expected = penalty(torch, theirs, torch.from_numpy(x).double())
    expected.backward()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for name, parameter in theirs.named_parameters():
        # PyTorch has None where nothing depends on a parameter's gradient: the last bias is in the mean alone.
        np.testing.assert_allclose(
            gradients[name].numpy(), parameter.grad.numpy(), rtol=2e-4, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize(
    "activation", ["Tanh", "Sigmoid", "LeakyReLU", "ReLU", "GELU", "SiLU", "Softplus", "LogSigmoid"]
)
def test_gradient_penalty(activation: str) -> None:
    compare(lambda nn: mlp(nn, activation), ROWS, flow.mesh("cpu", dp=1))


@pytest.mark.parametrize("axes", [{"dp": 1}, {"dp": 2}, {"tp": 2}, {"dp": 2, "tp": 2}, {"pp": 2}])
def test_gradient_penalty_of_convolutions_under_layouts(axes: dict[str, int]) -> None:
    compare(critic, X, flow.mesh("cpu", **axes))


def test_a_gradient_that_is_not_created_as_a_graph_is_held_fixed() -> None:
    net = flow.nn.Linear(5, 1, bias=False)

    def loss(x):
        (slope,) = flow.autograd.grad(net(x).sum(), net.weight)
        assert slope.shape == net.weight.shape
        return (slope * net.weight).sum()

    _, gradients = flow.value_and_grad(loss, model=net, mesh=flow.mesh("cpu", dp=1))(ROWS)
    np.testing.assert_allclose(gradients["weight"].numpy(), ROWS.sum(0)[None], rtol=1e-5)


def test_sharpness_aware_minimisation_takes_gradients_twice() -> None:
    net = flow.nn.Linear(5, 3)

    def loss(x):
        first = (net(x) ** 2).mean()
        slopes = flow.autograd.grad(first, list(net.parameters()))
        far = x @ (net.weight + 0.1 * slopes[0]).T + net.bias + 0.1 * slopes[1]
        return (far**2).mean()

    theirs = torch.nn.Linear(5, 3)
    net.load_state_dict(
        {k: flow.tensor(v.detach().numpy()) for k, v in theirs.state_dict().items()}
    )
    value, gradients = flow.value_and_grad(loss, model=net, mesh=flow.mesh("cpu", dp=2))(ROWS)
    x = torch.from_numpy(ROWS)
    slopes = torch.autograd.grad((theirs(x) ** 2).mean(), list(theirs.parameters()))
    far = x @ (theirs.weight + 0.1 * slopes[0]).T + theirs.bias + 0.1 * slopes[1]
    expected = (far**2).mean()
    expected.backward()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(
        gradients["weight"].numpy(), theirs.weight.grad.numpy(), rtol=1e-4, atol=1e-6
    )


def _refused(loss: Callable[[Any, Any], Any], message: str) -> None:
    net = flow.nn.Linear(5, 2)
    step = flow.value_and_grad(lambda x: loss(net, x), model=net, mesh=flow.mesh("cpu", dp=1))
    with pytest.raises(flow.Error, match=message) as caught:
        step(ROWS)
    assert __file__ in str(caught.value)


def test_mistakes_are_named_by_line() -> None:
    grad = flow.autograd.grad
    with pytest.raises(flow.Error, match="works inside a step"):
        grad(flow.ones(1), flow.ones(1))
    _refused(lambda net, x: grad(net(x), x, create_graph=True)[0].sum(), "needs a factor")
    _refused(
        lambda net, x: grad(net(x), x, flow.ones(3), create_graph=True)[0].sum(),
        r"a factor of shape \(3,\)",
    )
    _refused(
        lambda net, x: grad(x.sum(), net.weight, create_graph=True)[0].sum(), "do not depend on"
    )
    _refused(
        lambda net, x: (
            grad(flow.nn.functional.mish(net(x)).sum(), x, create_graph=True)[0] ** 2
        ).sum(),
        "mish_grad, which has no gradient: .*no second derivative",
    )


def test_an_input_on_which_nothing_depends() -> None:
    net = flow.nn.Linear(5, 1)

    def loss(x):
        grad = flow.autograd.grad
        assert grad(x.sum(), net.weight, allow_unused=True) == (None,)
        (zeros,) = grad(x.sum(), net.weight, materialize_grads=True)
        return net(x).sum() + zeros.sum()

    value, _ = flow.value_and_grad(loss, model=net, mesh=flow.mesh("cpu", dp=1))(ROWS)
    assert np.isfinite(float(value))
