"""detach, no_grad and custom gradients: what PyTorch computes, under layouts too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
LAYOUTS = [({"dp": 1}, 1), ({"dp": 2}, 1), ({"tp": 2}, 1), ({"dp": 2}, 2), ({"pp": 2}, 4)]


def make_model() -> nn.Module:
    flow.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))


def gradients(
    fn: Callable[[nn.Module, Any], Any], axes: dict[str, int] | None = None, accumulate: int = 1
) -> dict[str, np.ndarray]:
    model = make_model()
    grad = flow.value_and_grad(
        lambda x: fn(model, x),
        model=model,
        mesh=flow.mesh("cpu", **(axes or {"dp": 1})),
        accumulate=accumulate,
    )
    return {name: value.numpy() for name, value in grad(X)[1].items()}


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("stop", ["detach", "no_grad", "data"])
def test_no_gradient_goes_through(stop: str) -> None:
    def loss(model: nn.Module, x: Any) -> Any:
        hidden = model[1](model[0](x))
        if stop == "detach":
            return model[2](hidden.detach()).square().mean()
        if stop == "data":
            return model[2](hidden.data).square().mean()
        with flow.no_grad():
            hidden = model[1](model[0](x))
        return model[2](hidden).square().mean()

    found = gradients(loss)
    assert (found["2.weight"] != 0).any()
    # The layers before have no path to the loss: zeros, as of a parameter that the loss does not reach.
    for name in ("0.weight", "0.bias"):
        assert not found.get(name, np.zeros(1)).any(), name


@pytest.mark.parametrize("axes, accumulate", LAYOUTS)
def test_detach_is_torchs(axes: dict[str, int], accumulate: int) -> None:
    torch = pytest.importorskip("torch")

    def loss(model: Any, x: Any) -> Any:
        hidden = model[1](model[0](x))
        return (model[2](hidden) * model[2](hidden.detach()) ** 2).mean()

    theirs = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    theirs.load_state_dict(
        {name: torch.tensor(value.numpy()) for name, value in make_model().state_dict().items()}
    )
    loss(theirs, torch.tensor(X)).backward()
    expected = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert_same(gradients(loss, axes, accumulate), expected)


def test_a_parameter_can_be_detached() -> None:
    found = gradients(lambda model, x: (model[0](x) * model[0].weight.detach().sum()).mean())
    total = float(make_model()[0].weight.sum())
    assert_same(found, gradients(lambda model, x: model[0](x).mean() * total))


def test_modes_nest_and_decorate() -> None:
    assert flow.is_grad_enabled()
    with flow.no_grad():
        assert not flow.is_grad_enabled()
        with flow.enable_grad():
            assert flow.is_grad_enabled()
        with flow.set_grad_enabled(True):
            assert flow.is_grad_enabled()
        assert not flow.is_grad_enabled()

    @flow.no_grad()
    def a() -> bool:
        return flow.is_grad_enabled()

    @flow.no_grad
    def b() -> bool:
        return flow.is_grad_enabled()

    @flow.set_grad_enabled(False)
    def c() -> bool:
        return flow.is_grad_enabled()

    @flow.inference_mode()
    def d() -> bool:
        return flow.is_grad_enabled()

    @flow.no_grad()
    class Made:
        def __init__(self) -> None:
            self.mode = flow.is_grad_enabled()

        @flow.no_grad()
        def method(self) -> bool:
            return flow.is_grad_enabled()

    @flow.no_grad()
    def items() -> Any:
        yield flow.is_grad_enabled()
        yield flow.is_grad_enabled()

    assert [a(), b(), c(), d(), Made().mode, Made().method()] == [False] * 6
    assert [(mode, flow.is_grad_enabled()) for mode in items()] == [(False, True)] * 2
    with pytest.raises(ZeroDivisionError), flow.no_grad():
        _ = 1 / 0
    assert flow.is_grad_enabled()
    mode = flow.set_grad_enabled(False)
    assert not flow.is_grad_enabled()
    with mode:
        pass
    assert flow.is_grad_enabled()


def test_gradients_come_back_behind_no_grad() -> None:
    def loss(model: nn.Module, x: Any) -> Any:
        with flow.no_grad():
            scale = model[2](model[1](model[0](x))).abs().amax()
            with flow.enable_grad():
                hidden = model[0](x)
        return (hidden / scale).square().mean()

    found = gradients(loss)
    assert found["0.weight"].any() and not found["2.weight"].any()


class Cube(flow.autograd.Function):
    """x ** 3, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        (x,) = ctx.saved_tensors
        return dy * 3 * x * x


class Reversed(flow.autograd.Function):
    """x, with the gradient negated and scaled: no formula of x has it."""

    @staticmethod
    def forward(ctx: Any, x: Any, scale: float) -> Any:
        ctx.scale = scale
        return x

    @staticmethod
    def backward(ctx: Any, dy: Any) -> Any:
        return -ctx.scale * dy, None


class Both(flow.autograd.Function):
    """(x * y, x + y)."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.save_for_backward(x, y)
        return x * y, x + y

    @staticmethod
    def backward(ctx: Any, product: Any, total: Any) -> Any:
        x, y = ctx.saved_tensors
        return product * y + total, product * x + total


@pytest.mark.parametrize("axes, accumulate", LAYOUTS)
def test_a_function_of_ones_own(axes: dict[str, int], accumulate: int) -> None:
    def own(model: nn.Module, x: Any) -> Any:
        a, b = Both.apply(Cube.apply(model[0](x)), model[0](x))
        return model[2](Cube.apply(a) + b).square().mean()

    def built_in(model: nn.Module, x: Any) -> Any:
        h = model[0](x)
        cube = h * h * h
        a = cube * h
        return model[2](a * a * a + (cube + h)).square().mean()

    assert_same(gradients(own, axes, accumulate), gradients(built_in))


@pytest.mark.parametrize("axes, accumulate", LAYOUTS)
def test_a_gradient_that_no_formula_has(axes: dict[str, int], accumulate: int) -> None:
    plain = gradients(lambda m, x: m[2](m[1](m[0](x))).square().mean())
    found = gradients(
        lambda m, x: m[2](Reversed.apply(m[1](m[0](x)), 2.0)).square().mean(), axes, accumulate
    )
    for name in plain:
        factor = -2 if name.startswith("0") else 1
        np.testing.assert_allclose(found[name], factor * plain[name], rtol=1e-4, atol=1e-6)


def test_a_function_trains_evaluates_and_runs_outside() -> None:
    assert Cube.apply(flow.tensor([2.0])).tolist() == [8.0]
    model = make_model()
    predict = flow.eval_step(lambda x: Cube.apply(model(x)), model=model, mesh=flow.mesh("cpu"))
    np.testing.assert_allclose(predict(X).numpy(), model(flow.tensor(X)).numpy() ** 3, rtol=1e-4)
    step = flow.train_step(
        lambda x: Cube.apply(model(x)).square().mean(),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.05),
        mesh=flow.mesh("cpu", dp=2),
    )
    losses = [float(step(X)["loss"]) for _ in range(20)]
    assert losses[-1] < losses[0] / 2
    assert float(step.interpret(X)["loss"]) == pytest.approx(float(step.debug(X)["loss"]), rel=1e-6)


def test_what_a_function_may_not_return() -> None:
    class Short(Cube):
        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return dy.sum()

    class Many(Cube):
        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            return dy, dy

    with pytest.raises(flow.ShapeError, match="Short.backward returned .* gradient of argument 0"):
        gradients(lambda m, x: Short.apply(m[0](x)).mean())
    with pytest.raises(flow.Error, match="Many.backward returned 2 gradients for 1"):
        gradients(lambda m, x: Many.apply(m[0](x)).mean())
    with pytest.raises(flow.Error, match="static method backward"):
        gradients(
            lambda m, x: (
                type(
                    "Own",
                    (flow.autograd.Function,),
                    {"forward": staticmethod(lambda ctx, x: x * 2)},
                )
                .apply(m[0](x))
                .mean()
            )
        )


def test_straight_through() -> None:
    """Rounding with the gradient of the identity, by detach alone."""

    def loss(model: nn.Module, x: Any) -> Any:
        h = model[0](x)
        rounded = (h > 0).float()
        return model[2](h + (rounded - h).detach()).square().mean()

    assert gradients(loss)["0.weight"].any()


def test_dropout_masks_do_not_depend_on_no_grad() -> None:
    model = make_model()
    found = []
    for stop in (False, True):
        with flow.set_grad_enabled(not stop):
            step = flow.value_and_grad(
                lambda x: F.dropout(model(x), 0.5).mean(),
                model=model,
                mesh=flow.mesh("cpu"),
                seed=1,
            )
            found.append(float(step(X)[0]))
    assert found[0] == found[1]


def test_detach_stops_gradients_that_an_evaluation_takes() -> None:
    def outcome(x: Any) -> Any:
        y = x.square()
        (gradient,) = flow.autograd.grad((y - y.detach() * x).sum(), [x])
        return gradient

    found = flow.eval_step(outcome, model=nn.Identity(), mesh=flow.mesh("cpu", dp=1))(X).numpy()
    np.testing.assert_allclose(found, 2 * X - X**2, rtol=1e-5, atol=1e-6)


def test_an_evaluation_does_not_pass_over_a_gradient_of_ones_own() -> None:
    class Doubled(flow.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 1

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * 2

    def outcome(x: Any) -> Any:
        return flow.autograd.grad(Doubled.apply(x).sum(), [x])[0]

    with pytest.raises(flow.Error, match="Doubled"):
        flow.eval_step(outcome, model=nn.Identity(), mesh=flow.mesh("cpu", dp=1))(X)
    values = flow.eval_step(Doubled.apply, model=nn.Identity(), mesh=flow.mesh("cpu", dp=1))(X)
    assert np.array_equal(values.numpy(), X)
