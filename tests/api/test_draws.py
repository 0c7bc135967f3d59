"""Numbers drawn inside a step: others each time it runs, the same under every layout, with the shares asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

LAYOUTS: dict[str, tuple[dict[str, int], int]] = {
    "dp2": ({"dp": 2}, 1),
    "dp2_accumulate2": ({"dp": 2}, 2),
    "tp2": ({"tp": 2}, 1),
    "pp2": ({"pp": 2}, 2),
}


class Noisy(nn.Module):
    """A variational autoencoder's core with stochastic depth."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Any) -> Any:
        mean, spread = self.mean(x), F.softplus(self.spread(x))
        z = mean + flow.randn_like(spread) * spread
        kept = flow.bernoulli(flow.full((x.shape[0], 1), 0.75))
        return x + self.out(z) * kept / 0.75 + flow.rand(x.shape[0], 1)


X = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)


def _train(axes: dict[str, int], accumulate: int, steps: int = 3) -> list[float]:
    flow.manual_seed(3)
    model = Noisy()
    step = flow.train_step(
        lambda x: (model(x) - x).square().mean(),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", threads=1, **axes),
        accumulate=accumulate,
        seed=11,
    )
    return [float(step(X)["loss"]) for _ in range(steps)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_draw_the_same(layout: str) -> None:
    right = _train({"dp": 1}, 1)
    assert len(set(right)) == 3
    assert _train(*LAYOUTS[layout]) == pytest.approx(right, rel=1e-5)


def _drawn(function: Any, runs: int = 2) -> list[np.ndarray]:
    """What a step without parameters draws in successive runs."""
    model = nn.Linear(1, 1)
    step = flow.train_step(
        lambda x: {"loss": (model(x[:1, :1]) * 0).sum(), "drawn": function()},
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.0),
        mesh=flow.mesh("cpu", dp=1),
        seed=5,
    )
    return [step(X)["drawn"].numpy() for _ in range(runs)]


def test_every_run_and_every_call_draws_anew() -> None:
    def pair() -> Any:
        return flow.stack([flow.randn(100), flow.randn(100)])

    first, second = _drawn(pair)
    numbers = [*first, *second]
    assert len({one.tobytes() for one in numbers}) == 4
    assert np.abs(np.corrcoef(numbers) - np.eye(4)).max() < 0.35
    again, _ = _drawn(pair)
    assert np.array_equal(again, first)


def test_distributions() -> None:
    uniform, _ = _drawn(lambda: flow.rand(100_000))
    normal, _ = _drawn(lambda: flow.normal(1.0, 2.0, (100_000,)))
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.005 and abs(uniform.var() - 1 / 12) < 0.002
    assert abs(normal.mean() - 1) < 0.02 and abs(normal.var() - 4) < 0.08
    assert abs((((normal - 1) / 2) ** 4).mean() - 3) < 0.15
    whole, other = _drawn(lambda: flow.randint(-2, 3, (20_000,)))
    assert whole.dtype == np.int64 and not np.array_equal(whole, other)
    assert np.abs(np.bincount(whole + 2, minlength=5) / 20_000 - 0.2).max() < 0.015
    order, _ = _drawn(lambda: flow.randperm(50))
    assert sorted(order) == list(range(50)) and list(order) != list(range(50))
    assert _drawn(lambda: flow.rand(7, dtype=flow.bfloat16))[0].shape == (7,)


def test_draws_by_weights() -> None:
    weights = np.array([[1.0, 0.0, 3.0], [2.0, 2.0, 4.0]], np.float32)
    shares = weights / weights.sum(1, keepdims=True)
    found, other = _drawn(lambda: flow.multinomial(flow.tensor(weights), 20_000, replacement=True))
    assert not np.array_equal(found, other)
    counts = np.stack([np.bincount(row, minlength=3) for row in found]) / 20_000
    assert np.abs(counts - shares).max() < 0.015
    pairs, _ = _drawn(lambda: flow.multinomial(flow.tensor(weights[1:]).expand(20_000, 3), 2))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert np.abs(np.bincount(pairs[:, 0]) / 20_000 - shares[1]).max() < 0.015
    coins, _ = _drawn(lambda: flow.bernoulli(flow.full((20_000,), 0.2)))
    assert set(np.unique(coins)) == {0, 1} and abs(coins.mean() - 0.2) < 0.015


@pytest.mark.parametrize("inside", [False, True])
def test_gumbel_softmax_draws_from_the_softmax(inside: bool) -> None:
    logits = np.log(np.array([0.5, 0.2, 0.3], np.float32))

    def draw() -> Any:
        return F.gumbel_softmax(flow.tensor(logits).expand(20_000, 3), tau=0.5, hard=True)

    flow.manual_seed(0)
    hard = _drawn(draw)[0] if inside else draw().numpy()
    assert np.abs(np.sort(hard, 1) - [0, 0, 1]).max() < 1e-6
    assert np.abs(hard.mean(0) - [0.5, 0.2, 0.3]).max() < 0.015


def test_gumbel_softmax_has_the_gradient_of_the_soft_one() -> None:
    def outcome(x: Any) -> Any:
        hard = F.gumbel_softmax(x, hard=True)
        weights = flow.tensor(np.arange(6, dtype=np.float32))
        (gradient,) = flow.autograd.grad((hard * weights).sum(), [x])
        return gradient

    gradient = flow.eval_step(outcome, model=nn.Identity(), mesh=flow.mesh("cpu", dp=1))(X).numpy()
    assert np.abs(gradient.sum(1)).max() < 1e-5 < np.abs(gradient).max()


def test_slopes_of_rrelu() -> None:
    flow.manual_seed(0)
    x = flow.full((50_000,), -1.0)
    slopes = -F.rrelu(x, training=True).numpy()
    assert slopes.min() >= 1 / 8 and slopes.max() < 1 / 3
    assert abs(slopes.mean() - 11 / 48) < 2e-3
    assert F.rrelu(flow.tensor([-1.0, 2.0])).tolist() == pytest.approx([-11 / 48, 2])


def test_noise_has_no_gradient_and_what_it_scales_has_its() -> None:
    def outcome(x: Any) -> Any:
        noise = flow.randn_like(x)
        (gradient,) = flow.autograd.grad((x * noise).sum(), [x])
        return gradient - noise

    found = flow.eval_step(outcome, model=nn.Identity(), mesh=flow.mesh("cpu", dp=1))(X)
    assert not found.numpy().any()


def test_more_numbers_than_bits() -> None:
    with pytest.raises(flow.Error, match="24 bits"):
        _drawn(lambda: flow.randint(0, 1 << 30, (4,)))


def test_tensors_are_filled_anew() -> None:
    """As stochastic depth and noise layers are written."""
    for fill in (
        lambda: flow.empty(500).normal_(1, 2),
        lambda: flow.empty(500).uniform_(0, 4),
        lambda: flow.ones(2, 500).new_empty(500, 1).bernoulli_(0.5).squeeze(1),
        lambda: flow.full((500,), 0.5).bernoulli(),
        lambda: flow.ones(500, 4).multinomial(1).squeeze(1),
    ):
        first, second = _drawn(fill)
        assert first.shape == (500,) and not np.array_equal(first, second)
        assert 0.3 < first.mean() < 2.3


def test_evaluations_draw_anew_as_their_interpreter_says() -> None:
    predict = flow.eval_step(
        lambda x: x + flow.randn_like(x), model=nn.Identity(), mesh=flow.mesh("cpu", dp=2), seed=1
    )
    wanted = predict.interpret(X).numpy()
    first, second = predict(X).numpy(), predict(X).numpy()
    assert np.array_equal(first, wanted) and not np.array_equal(first, second)
    again = flow.eval_step(
        lambda x: x + flow.randn_like(x), model=nn.Identity(), mesh=flow.mesh("cpu", dp=1), seed=1
    )
    assert np.array_equal(again(X).numpy(), first)
