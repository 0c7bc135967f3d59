"""Schedulers: PyTorch's rates over 50 steps, between steps of one plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

torch = pytest.importorskip("torch")

STEPS = 50
# Each takes a module of schedulers and an optimizer with two groups.
CASES: dict[str, Callable[[Any, Any], Any]] = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 0.95**epoch),
    "LambdaLR_groups": lambda s, o: s.LambdaLR(o, [lambda e: 1 / (1 + e), lambda e: 0.9**e]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.9 + 0.1 / (1 + epoch)),
    "StepLR": lambda s, o: s.StepLR(o, 7, gamma=0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [3, 17, 17, 30]),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.2, 9),
    "LinearLR": lambda s, o: s.LinearLR(o),
    "LinearLR_down": lambda s, o: s.LinearLR(o, 1.0, 0.1, 30),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.93),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 60, eta_min=0.001),
    "CosineAnnealingLR_back": lambda s, o: s.CosineAnnealingLR(o, 8, eta_min=0.001),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 6, eta_min=0.01),
    "CosineAnnealingWarmRestarts_mult": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=60, cycle_momentum=False),
    "OneCycleLR_three_phases": lambda s, o: s.OneCycleLR(
        o,
        [0.5, 0.2],
        epochs=6,
        steps_per_epoch=9,
        anneal_strategy="linear",
        three_phase=True,
        cycle_momentum=False,
    ),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 40, power=2.0),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 20), s.ExponentialLR(o, 0.9)],
        [5, 30],
    ),
    "SequentialLR_restarts": lambda s, o: s.SequentialLR(
        o,
        [
            s.ConstantLR(o, 0.1, 10),
            s.CosineAnnealingWarmRestarts(o, 7),
            s.StepLR(o, 3),
            s.PolynomialLR(o, 9),
        ],
        [4, 20, 33],
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.95), s.StepLR(o, 11)]
    ),
    "two_at_once": lambda s, o: [s.ExponentialLR(o, 0.95), s.MultiStepLR(o, [10, 20])],
}


def optimizer_of(lib: Any) -> Any:
    first, second = (lib.nn.Parameter(lib.zeros(2)) for _ in range(2))
    return lib.optim.SGD([{"params": [first]}, {"params": [second], "lr": 0.03}], lr=0.1)


def advance(schedulers: Any, optimizer: Any) -> None:
    if isinstance(optimizer, torch.optim.Optimizer):
        optimizer.step()
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        scheduler.step()


def rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("name", CASES)
def test_rates_as_in_torch(name: str) -> None:
    ours, theirs = optimizer_of(flow), optimizer_of(torch)
    mine = CASES[name](flow.optim.lr_scheduler, ours)
    reference = CASES[name](torch.optim.lr_scheduler, theirs)
    seen = set()
    for step in range(STEPS):
        np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12, err_msg=str(step))
        if not isinstance(mine, list):
            np.testing.assert_allclose(mine.get_last_lr(), reference.get_last_lr(), rtol=1e-12)
        seen.add(rates(ours)[0])
        advance(mine, ours)
        advance(reference, theirs)
    assert len(seen) > 1


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2, "factor": 0.5},
        {"mode": "max", "patience": 1, "cooldown": 3, "threshold_mode": "abs", "threshold": 0.05},
        {"patience": 0, "factor": 0.1, "min_lr": [0.01, 0.001], "threshold": 0.1},
    ],
)
def test_plateaus(options: dict[str, Any]) -> None:
    ours, theirs = optimizer_of(flow), optimizer_of(torch)
    mine = flow.optim.lr_scheduler.ReduceLROnPlateau(ours, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    random = np.random.default_rng(1)
    for step in range(STEPS):
        metric = 1 / (1 + 0.2 * step) + 0.2 * random.random()
        mine.step(flow.tensor(metric))
        reference.step(np.float32(metric))
        np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-12, err_msg=str(step))
    assert rates(ours)[0] < 0.1
    with pytest.raises(flow.Error, match="metric"):
        mine.step()


@pytest.mark.parametrize("name", [n for n in CASES if n != "two_at_once"])
def test_a_state_dict_goes_on(name: str) -> None:
    make, module = CASES[name], flow.optim.lr_scheduler
    straight, first, second = (optimizer_of(flow) for _ in range(3))
    whole, before, after = (make(module, o) for o in (straight, first, second))
    for _ in range(13):
        whole.step()
        before.step()
    after.load_state_dict(before.state_dict())
    second.load_state_dict(first.state_dict())
    for _ in range(13):
        whole.step()
        after.step()
        np.testing.assert_allclose(rates(second), rates(straight), rtol=1e-12)


def test_no_rate_compiles_another_plan() -> None:
    model = nn.Linear(3, 1)
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1)
    traced = []

    @flow.train_step(model=model, optimizer=optimizer, mesh=flow.mesh("cpu", dp=1))
    def step(x: flow.Tensor) -> flow.Tensor:
        traced.append(1)
        return model(x).square().mean()

    scheduler = flow.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            flow.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 4),
            flow.optim.lr_scheduler.OneCycleLR(
                optimizer, 0.4, total_steps=20, cycle_momentum=False
            ),
        ],
        [4],
    )
    before = model.weight.numpy().copy()
    for _ in range(10):
        rate = optimizer.param_groups[0]["lr"]
        metrics = step(np.ones((2, 3), np.float32))
        assert math.isclose(metrics["lr"], rate)
        scheduler.step()
    assert len(traced) == 1 and (model.weight.numpy() != before).all()


def make_sgd(lr: Any = 0.1) -> flow.optim.Optimizer:
    return flow.optim.SGD([nn.Parameter(shape=(2,))], lr=lr)


S = flow.optim.lr_scheduler
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: S.StepLR(make_sgd(flow.optim.lr.cosine(0.1, 5)), 1), "function of the step"),
    (lambda: S.StepLR(torch, 1), "takes a flow.optim.Optimizer"),
    (lambda: S.OneCycleLR(make_sgd(), 0.1, 5), "cycle_momentum=False"),
    (lambda: S.OneCycleLR(make_sgd(), 0.1, cycle_momentum=False), "total_steps"),
    (lambda: S.ExponentialLR(make_sgd(), 0.9, last_epoch=3), "initial_lr"),
    (lambda: S.LambdaLR(make_sgd(), [abs, abs]), "2 functions for 1 groups"),
    (lambda: S.SequentialLR(make_sgd(), [], []), "needs a scheduler"),
    (lambda: S.ChainedScheduler([S.ExponentialLR(make_sgd(), 0.9)], make_sgd()), "different"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED, ids=[text for _, text in REFUSED])
def test_refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(flow.Error, match=text):
        call()
