"""Optimizers: 20 steps against torch.optim in float64, or the paper's formulas, under several layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

torch = pytest.importorskip("torch")

STEPS = 20


def build(n: Any, activation: Any) -> Any:
    return n.Sequential(n.Linear(6, 8), activation, n.Linear(8, 8, bias=False), n.Linear(8, 3))


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    return [
        (
            random.standard_normal((8, 6)).astype(np.float32),
            random.standard_normal((8, 3)).astype(np.float32),
        )
        for _ in range(STEPS)
    ]


def groups(model: Any) -> list[dict[str, Any]]:
    """Two groups, the second with a rate and a decay of its own."""
    parameters = list(model.parameters())
    return [
        {"params": parameters[:2]},
        {"params": parameters[2:], "lr": 0.003, "weight_decay": 0.05},
    ]


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.05}),
    "sgd_momentum": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    "sgd_nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "sgd_maximize": ("SGD", {"lr": 0.01, "momentum": 0.5, "maximize": True, "weight_decay": 0.1}),
    "adam": ("Adam", {"lr": 0.01}),
    "adam_all": ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    "adam_amsgrad": ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    "adam_decoupled": (
        "Adam",
        {"lr": 0.01, "decoupled_weight_decay": True, "weight_decay": 0.2},
    ),
    "adamw": ("AdamW", {"lr": 0.01, "weight_decay": 0.3}),
    "adamw_amsgrad": ("AdamW", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.3}),
    "rmsprop": ("RMSprop", {"lr": 0.01}),
    "rmsprop_all": (
        "RMSprop",
        {"lr": 0.003, "alpha": 0.9, "momentum": 0.5, "centered": True, "weight_decay": 0.1},
    ),
    "adagrad": ("Adagrad", {"lr": 0.05}),
    "adagrad_all": (
        "Adagrad",
        {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5},
    ),
    "adadelta": ("Adadelta", {}),
    "adadelta_all": ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
    "adamax": ("Adamax", {"lr": 0.01, "weight_decay": 0.1}),
    "nadam": ("NAdam", {"lr": 0.01}),
    "nadam_all": (
        "NAdam",
        {"momentum_decay": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.1},
    ),
    "radam": ("RAdam", {"lr": 0.01}),
    "radam_all": (
        "RAdam",
        {"betas": (0.8, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "adafactor": ("Adafactor", {"lr": 0.05}),
    "adafactor_all": (
        "Adafactor",
        {"lr": 0.3, "beta2_decay": -0.5, "eps": (1e-4, 0.1), "d": 1.5, "weight_decay": 0.1},
    ),
}


def expected(
    name: str, start: dict[str, np.ndarray], dtype: Any, grouped: bool
) -> dict[str, np.ndarray]:
    """How far PyTorch's parameters move."""
    kind, options = CASES[name]
    model = build(torch.nn, torch.nn.Tanh()).to(dtype)
    model.load_state_dict({key: torch.tensor(value) for key, value in start.items()})
    optimizer = getattr(torch.optim, kind)(
        groups(model) if grouped else model.parameters(), **options
    )
    for x, y in batches():
        optimizer.zero_grad()
        (model(torch.tensor(x).to(dtype)) - torch.tensor(y).to(dtype)).square().mean().backward()
        optimizer.step()
    return {
        key: value.detach().double().numpy() - start[key] for key, value in model.named_parameters()
    }


def moved(
    model: nn.Module,
    optimizer: flow.optim.Optimizer,
    start: dict[str, np.ndarray],
    axes: dict[str, int],
    accumulate: int = 1,
    parallel: Any = "auto",
) -> dict[str, np.ndarray]:
    model.load_state_dict(start)
    step = flow.train_step(
        lambda x, y: (model(x) - y).square().mean(),
        model=model,
        optimizer=optimizer,
        mesh=flow.mesh("cpu", threads=1, **axes),
        accumulate=accumulate,
        parallel=parallel,
    )
    for x, y in batches():
        step(x, y)
    state = flow.gather(model.state_dict())
    return {key: value.numpy().astype(np.float64) - start[key] for key, value in state.items()}


def starting_values() -> dict[str, np.ndarray]:
    flow.manual_seed(3)
    state = build(nn, nn.Tanh()).state_dict()
    return {key: value.numpy().copy() for key, value in state.items()}


def check(
    ours: dict[str, np.ndarray],
    exact: dict[str, np.ndarray],
    single: dict[str, np.ndarray] | None = None,
) -> None:
    """As far as three times PyTorch float32's own distance, or what rounding of 20 steps may add."""
    norm = np.linalg.norm
    for key, value in exact.items():
        own = norm(single[key] - value) if single is not None else 0.0
        allowed = 3 * own + 2e-5 * norm(value) + 1e-6
        assert norm(ours[key] - value) <= allowed, (key, norm(ours[key] - value), allowed)
        assert norm(value) > 1e-4, key


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("grouped", [False, True], ids=["one", "groups"])
def test_as_torch(name: str, grouped: bool) -> None:
    kind, options = CASES[name]
    start = starting_values()
    model = build(nn, nn.Tanh())
    optimizer = getattr(flow.optim, kind)(
        groups(model) if grouped else model.parameters(), **options
    )
    ours = moved(model, optimizer, start, {"dp": 1})
    exact = expected(name, start, torch.float64, grouped)
    check(ours, exact, expected(name, start, torch.float32, grouped))


LAYOUTS: list[tuple[dict[str, int], int, Any]] = [
    ({"dp": 2}, 1, "auto"),
    ({"pp": 2}, 2, "auto"),
    ({"tp": 2}, 1, {"0.weight": {"tp": "S(0)"}, "2.weight": {"tp": "S(1)"}}),
]
EACH = ["sgd_momentum", "adam_amsgrad", "rmsprop_all", "adagrad_all", "adadelta", "adamax"]
EACH += ["nadam", "radam", "adafactor"]


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout[0]))
def test_layouts(name: str, layout: tuple[dict[str, int], int, Any]) -> None:
    kind, options = CASES[name]
    start = starting_values()
    model = build(nn, nn.Tanh())
    ours = moved(model, getattr(flow.optim, kind)(model.parameters(), **options), start, *layout)
    exact = expected(name, start, torch.float64, False)
    check(ours, exact, expected(name, start, torch.float32, False))


Update = Callable[[np.ndarray, np.ndarray, dict[str, Any], int], np.ndarray]


def lamb(p: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int) -> np.ndarray:
    """You et al. 2020, algorithm 2."""
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    r = s["m"] / (1 - 0.9**t) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-6) + 0.1 * p
    return p - 0.02 * np.linalg.norm(p) / np.linalg.norm(r) * r


def lars(p: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int) -> np.ndarray:
    """You et al. 2017, algorithm 1."""
    norm = np.linalg.norm
    rate = 0.02 * norm(p) / (norm(g) + 0.1 * norm(p) + 1e-8)
    s["m"] = 0.9 * s.get("m", 0) + rate * (g + 0.1 * p)
    return p - 0.3 * s["m"]


def lion(p: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int) -> np.ndarray:
    """Chen et al. 2023, algorithm 2."""
    m = s.get("m", np.zeros_like(p))
    s["m"] = 0.99 * m + 0.01 * g
    return p - 0.003 * (np.sign(0.9 * m + 0.1 * g) + 0.1 * p)


PAPERS: dict[str, tuple[Update, Callable[[Any], flow.optim.Optimizer]]] = {
    "lamb": (lamb, lambda ps: flow.optim.LAMB(ps, lr=0.02, weight_decay=0.1)),
    "lars": (
        lars,
        lambda ps: flow.optim.LARS(ps, lr=0.3, weight_decay=0.1, trust_coefficient=0.02),
    ),
    "lion": (lion, lambda ps: flow.optim.Lion(ps, lr=0.003, weight_decay=0.1)),
}


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize(
    "layout", [({"dp": 1}, 1, "auto"), *LAYOUTS], ids=lambda layout: str(layout[0])
)
def test_as_the_paper(name: str, layout: tuple[dict[str, int], int, Any]) -> None:
    update, make = PAPERS[name]
    start = starting_values()
    reference = build(torch.nn, torch.nn.Tanh()).double()
    reference.load_state_dict({key: torch.tensor(value) for key, value in start.items()})
    states: dict[str, dict[str, Any]] = {key: {} for key in start}
    for t, (x, y) in enumerate(batches(), 1):
        reference.zero_grad()
        (reference(torch.tensor(x).double()) - torch.tensor(y)).square().mean().backward()
        with torch.no_grad():
            for key, p in reference.named_parameters():
                p.copy_(torch.tensor(update(p.numpy(), p.grad.numpy(), states[key], t)))
    exact = {k: p.detach().numpy() - start[k] for k, p in reference.named_parameters()}
    model = build(nn, nn.Tanh())
    check(moved(model, make(model.parameters()), start, *layout), exact)


@pytest.mark.parametrize("name", ["LAMB", "LARS"])
def test_parameters_of_zeros_move(name: str) -> None:
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.weight)
    step = flow.train_step(
        lambda x: (model(x) - 1).square().mean(),
        model=model,
        optimizer=getattr(flow.optim, name)(model.parameters(), lr=0.1),
    )
    step(np.ones((4, 3), np.float32))
    value = model.weight.numpy()
    assert np.isfinite(value).all() and value.all()


def test_state_dict_goes_to_torch_and_back() -> None:
    start = starting_values()
    first, second = build(nn, nn.Tanh()), build(nn, nn.Tanh())
    reference = build(torch.nn, torch.nn.Tanh())
    reference.load_state_dict({key: torch.tensor(value) for key, value in start.items()})
    theirs = torch.optim.NAdam(reference.parameters(), lr=0.02, weight_decay=0.1)
    ours = flow.optim.NAdam(first.parameters(), lr=0.01)
    for x, y in batches()[:3]:
        theirs.zero_grad()
        (reference(torch.tensor(x)) - torch.tensor(y)).square().mean().backward()
        theirs.step()
    first.load_state_dict({key: value.numpy() for key, value in reference.state_dict().items()})
    ours.load_state_dict(theirs.state_dict())
    assert ours.steps == 3 and ours.param_groups[0]["lr"] == 0.02

    def train(model: nn.Module, optimizer: flow.optim.Optimizer) -> np.ndarray:
        step = flow.train_step(
            lambda x, y: (model(x) - y).square().mean(), model=model, optimizer=optimizer
        )
        for x, y in batches()[3:6]:
            step(x, y)
        return model[0].weight.numpy().copy()

    second.load_state_dict({key: value.numpy() for key, value in first.state_dict().items()})
    copy = flow.optim.NAdam(second.parameters())
    copy.load_state_dict(ours.state_dict())
    mine = train(first, ours)
    assert (train(second, copy) == mine).all()
    for x, y in batches()[3:6]:
        theirs.zero_grad()
        (reference(torch.tensor(x)) - torch.tensor(y)).square().mean().backward()
        theirs.step()
    np.testing.assert_allclose(mine, reference[0].weight.detach().numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(flow.CheckpointError, match="groups"):
        flow.optim.NAdam([first[0].weight]).load_state_dict(ours.state_dict())
    with pytest.raises(flow.CheckpointError, match="exp_inf"):
        flow.optim.Adamax(first.parameters()).load_state_dict(ours.state_dict())


def test_named_parameters_and_text() -> None:
    model = nn.Linear(2, 2)
    optimizer = flow.optim.Adam(model.named_parameters(), lr=0.1, fused=True, foreach=None)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert "lr: 0.1" in repr(optimizer) and "param_names" not in repr(optimizer)


REFUSED: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda p: flow.optim.Adam(p, lr=-1), flow.Error, "lr=-1"),
    (lambda p: flow.optim.Adam(p, betas=(0.9, 1.0)), flow.Error, "beta 1.0"),
    (lambda p: flow.optim.Adam(p, differentiable=True), flow.Error, "differentiable"),
    (lambda p: flow.optim.Adam(p, learning_rate=1), TypeError, "learning_rate"),
    (lambda p: flow.optim.SGD(p, nesterov=True), flow.Error, "Nesterov"),
    (lambda p: flow.optim.Adafactor(p, d=0.5), flow.Error, "below 1"),
    (lambda p: flow.optim.Adam(p[0]), flow.Error, "list"),
    (lambda p: flow.optim.Adam([{"params": p}, {"params": p}]), flow.Error, "two groups"),
]


@pytest.mark.parametrize(("make", "error", "text"), REFUSED, ids=[text for *_, text in REFUSED])
def test_refused(make: Callable[[Any], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make([nn.Parameter(shape=(2,))])


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.9999])
def test_terms_of_the_count_do_not_cancel(beta: float) -> None:
    from oneflow.optim import adam_variants, terms

    steps = np.unique(np.geomspace(1, 1e6, 60).astype(np.int64))
    count = terms.count_of(flow.tensor(steps - 1))
    t = steps.astype(np.float64)
    exact = -np.expm1(t * np.log(beta)) if beta else np.ones_like(t)
    np.testing.assert_allclose(terms.one_minus_power(beta, count).numpy(), exact, rtol=1e-6)
    np.testing.assert_allclose(terms.power(beta, count).numpy(), beta**t, rtol=1e-5, atol=1e-6)
    longest = 2 / (1 - beta) - 1
    length = longest - 2 * t * beta**t / exact
    ours = adam_variants._length(beta, count).numpy()
    # In float64 the formula itself loses 16 - log10(longest) digits.
    np.testing.assert_allclose(ours, length, rtol=2e-5, atol=1e-11 * longest**2)
