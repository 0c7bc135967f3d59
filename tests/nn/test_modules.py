"""Modules as objects: hooks, copies, pickles, dtypes, names; containers; state dicts."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from tests.nn.test_layers import LAYERS, Layer
from tests.ops.test_functions import close


class Block(nn.Module):
    """Something of everything: a shared layer, a parameter and a buffer of its own, containers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.scale = nn.Parameter(np.full(3, 2.0, np.float32))
        self.register_buffer("shift", flow.ones(3))
        self.register_buffer("hidden", flow.zeros(1), persistent=False)
        self.norm = nn.BatchNorm1d(3)
        self.parts = nn.ModuleDict({"drop": nn.Dropout(0.0), "out": nn.Linear(3, 2)})

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.norm(self.again(self.first(x))) * self.scale + self.shift
        return self.parts["out"](self.parts["drop"](x))


def values(model: nn.Module) -> dict[str, np.ndarray]:
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}


def same_values(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all((a[key] == b[key]).all() for key in a)


X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("state", ["fresh", "read", "trained"])
def test_a_copy_has_the_values_of_now_and_its_own_life(how: str, state: str) -> None:
    flow.manual_seed(0)
    model = Block()
    step = flow.train_step(
        lambda x: model(x).square().mean(),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", dp=1),
    )
    if state == "read":
        values(model)
    if state == "trained":
        step(X)
    other = COPIES[how](model)
    assert repr(other) == repr(model) and other.again is other.first
    before = values(model)
    assert same_values(values(other), before)
    step(X)
    assert same_values(values(other), before)
    assert not same_values(values(model), before)
    own = flow.train_step(
        lambda x: other(x).square().mean(),
        model=other,
        optimizer=flow.optim.SGD(other.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", dp=1),
    )
    own(X)
    assert same_values(values(other), values(model))


def test_a_copy_of_a_fresh_model_makes_nothing() -> None:
    huge = nn.Linear(1_000_000, 1_000_000)  # 4 TB
    assert copy.deepcopy(huge).weight.shape == huge.weight.shape
    assert len(pickle.dumps(huge)) < 10_000


def test_copies_keep_flags() -> None:
    model = Block()
    model.first.weight.requires_grad = False
    model.eval()
    for make in COPIES.values():
        other = make(model)
        assert not other.first.weight.requires_grad and other.scale.requires_grad
        assert not other.norm.training
        assert "hidden" in dict(other.named_buffers()) and "hidden" not in other.state_dict()


def test_hooks() -> None:
    seen: list[Any] = []
    model = nn.Linear(3, 2)
    handles = [
        model.register_forward_hook(lambda m, args, y: seen.append("first")),
        model.register_forward_hook(lambda m, args, y: y * 2, prepend=True),
        model.register_forward_pre_hook(
            lambda m, args, kwargs: (args, {"input": kwargs["input"] + 1}), with_kwargs=True
        ),
        model.register_forward_hook(
            lambda m, args, kwargs, y: seen.append(sorted(kwargs)), with_kwargs=True
        ),
    ]
    doubled = model(input=flow.tensor(X)).numpy()
    assert seen == ["first", ["input"]]
    for handle in handles:
        handle.remove()
    close(doubled, 2 * model(flow.tensor(X + 1)).numpy())
    with model.register_forward_hook(lambda m, args, y: seen.append("with")):
        model(flow.tensor(X))
    model(flow.tensor(X))
    assert seen[2:] == ["with"]
    with pytest.raises(flow.Error, match="value_and_grad"):
        model.register_full_backward_hook(print)


def test_hooks_are_traced_into_steps() -> None:
    model = nn.Linear(3, 2)
    predict = flow.eval_step(lambda x: model(x), model=model, mesh=flow.mesh("cpu", dp=1))
    plain = model(flow.tensor(X)).numpy()
    model.register_forward_hook(lambda m, args, y: y * 3)
    close(predict(X).numpy(), 3 * plain)


def test_dtypes() -> None:
    model = Block()
    before = values(model)
    assert model.half() is model
    assert model.scale.dtype is flow.float16 and model.norm.running_mean.dtype is flow.float16
    assert model.norm.num_batches_tracked.dtype is flow.int64
    assert model.again.weight is model.first.weight
    for key, value in values(model).items():
        assert (value == before[key].astype(value.dtype)).all()
    assert model.float().scale.dtype is flow.float32
    assert model.to(flow.ones(1, dtype=flow.float16)).shift.dtype is flow.float16
    assert model.to("cuda").cpu().cuda(0).to(device="cpu") is model
    assert nn.Linear(2, 2, dtype=flow.float16).weight.dtype is flow.float16
    assert nn.LSTM(2, 2, dtype=flow.float16).weight_hh_l0.dtype is flow.float16
    with pytest.raises(flow.DTypeError, match="floating-point types only"):
        model.to(flow.int64)


def test_a_lazy_parameter_is_converted_lazily() -> None:
    huge = nn.Linear(1_000_000, 1_000_000).half()
    assert huge.weight.dtype is flow.float16
    flow.manual_seed(5)
    single = nn.Linear(3, 2).weight.numpy()
    flow.manual_seed(5)
    assert (nn.Linear(3, 2).half().weight.numpy() == single.astype(np.float16)).all()


def test_names_and_paths() -> None:
    torch = pytest.importorskip("torch")
    ours = Block()
    theirs = torch.nn.Module()
    theirs.first = torch.nn.Linear(3, 3)
    theirs.again = theirs.first
    theirs.scale = torch.nn.Parameter(torch.ones(3))
    theirs.register_buffer("shift", torch.ones(3))
    theirs.register_buffer("hidden", torch.zeros(1), persistent=False)
    theirs.norm = torch.nn.BatchNorm1d(3)
    theirs.parts = torch.nn.ModuleDict(
        {"drop": torch.nn.Dropout(0.0), "out": torch.nn.Linear(3, 2)}
    )
    for name in ("named_parameters", "named_buffers", "named_modules"):
        for options in ({}, {"remove_duplicate": False}, {"prefix": "model"}):
            mine = [key for key, _ in getattr(ours, name)(**options)]
            assert mine == [key for key, _ in getattr(theirs, name)(**options)], (name, options)
    mine = [key for key, _ in ours.named_children()]
    assert mine == [key for key, _ in theirs.named_children()]
    assert list(ours.state_dict(prefix="x.")) == list(theirs.state_dict(prefix="x."))
    assert ours.get_submodule("parts.out") is ours.parts["out"]
    assert ours.get_parameter("parts.out.weight") is ours.parts["out"].weight
    assert ours.get_buffer("norm.running_mean") is ours.norm.running_mean
    assert ours.state_dict(keep_vars=True)["scale"] is ours.scale
    ours.set_submodule("parts.out", nn.Identity())
    assert isinstance(ours.parts["out"], nn.Identity)
    for wrong in ("scales", "first.bias.x", "parts.in"):
        with pytest.raises(AttributeError):
            ours.get_parameter(wrong)
    visited: list[str] = []
    assert ours.apply(lambda m: visited.append(type(m).__name__)) is ours
    reference: list[str] = []
    theirs.apply(lambda m: reference.append(type(m).__name__))
    assert visited[:-1] == [
        name if name != "Linear" or i < 1 else "Identity" for i, name in enumerate(reference[:-1])
    ]
    assert ours.zero_grad() is None


def test_names_that_cannot_be_registered() -> None:
    model = nn.Module()
    model.known = 1
    for call in (
        lambda: model.register_parameter("a.b", None),
        lambda: model.register_buffer("", flow.ones(1)),
        lambda: model.register_module("known", nn.Identity()),
        lambda: model.register_module("new", 3),  # type: ignore[arg-type]
        lambda: model.register_parameter("forward", None),
    ):
        with pytest.raises(flow.Error):
            call()


def test_loading() -> None:
    model = Block()
    state = values(model)
    result = model.load_state_dict(state)
    assert str(result) == "<All keys matched successfully>"
    del state["scale"]
    state["more"] = np.zeros(1)
    result = model.load_state_dict(state, strict=False)
    assert result.missing_keys == ["scale"] and result.unexpected_keys == ["more"]
    assert "scale" in str(result)
    halves = {key: v.astype(np.float16) for key, v in values(nn.Linear(3, 2)).items()}
    layer = nn.Linear(3, 2)
    layer.load_state_dict(halves)
    assert layer.weight.dtype is flow.float32
    weight = layer.weight
    layer.load_state_dict(halves, assign=True)
    assert layer.weight is weight and weight.dtype is flow.float16
    assert (weight.numpy() == halves["weight"]).all()


def test_parameter_vectors() -> None:
    from oneflow.nn.utils import parameters_to_vector, vector_to_parameters

    torch = pytest.importorskip("torch")
    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    ours.load_state_dict(theirs.state_dict())
    vector = parameters_to_vector(ours.parameters())
    expected = torch.nn.utils.parameters_to_vector(theirs.parameters()).detach().numpy()
    assert (vector.numpy() == expected).all()
    vector_to_parameters(vector * 2, ours.parameters())
    assert (ours.weight.numpy() == 2 * theirs.weight.detach().numpy()).all()
    with pytest.raises(flow.ShapeError, match="8 elements"):
        vector_to_parameters(flow.ones(7), ours.parameters())
    with pytest.raises(flow.Error, match="clip_norm="):
        nn.utils.clip_grad_norm_(ours.parameters(), 1.0)
    with pytest.raises(flow.Error, match=r"update\(\)"):
        nn.utils.clip_grad_value_(ours.parameters(), 1.0)


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "Sequential": lambda n: n.Sequential(n.Linear(2, 2), n.Tanh()).append(n.ReLU()),
    "Sequential of names": lambda n: n.Sequential(
        OrderedDict([("a", n.Linear(2, 3)), ("b", n.Tanh())])
    ),
    "slice": lambda n: n.Sequential(n.Linear(2, 2), n.Tanh(), n.ReLU())[1:],
    "sum": lambda n: n.Sequential(n.Linear(2, 2)) + n.Sequential(n.Tanh()),
    "insert": lambda n: n.Sequential(n.Linear(2, 2), n.Tanh()).insert(1, n.ReLU()),
    "ModuleList": lambda n: n.ModuleList([n.Linear(2, 2) for _ in range(3)]).append(n.Tanh()),
    "ModuleList slice": lambda n: n.ModuleList([n.Linear(2, 2), n.Tanh(), n.ReLU()])[::2],
    "ModuleDict": lambda n: n.ModuleDict([["a", n.Linear(2, 2)], ["b", n.Tanh()]]),
    "nested": lambda n: n.ModuleList([n.ModuleDict({"x": n.ModuleList([n.Tanh()])})]),
    "empty": lambda n: n.ModuleList(),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_as_in_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = CONTAINERS[name](nn), CONTAINERS[name](torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(ours) == len(theirs)


def test_changing_containers() -> None:
    layers = nn.ModuleList([nn.Tanh(), nn.ReLU(), nn.Sigmoid()])
    del layers[0]
    assert [name for name, _ in layers.named_children()] == ["0", "1"]
    layers[-1] = nn.Identity()
    assert isinstance(layers.pop(1), nn.Identity) and len(layers) == 1
    with pytest.raises(IndexError):
        layers[1]
    table = nn.ModuleDict({"a": nn.Tanh()})
    table.update({"b": nn.ReLU()})
    assert list(table) == ["a", "b"] and "a" in table and len(list(table.values())) == 2
    table.pop("a")
    assert list(table.keys()) == ["b"]
    for key in ("x.y", "", "forward"):
        with pytest.raises(flow.Error):
            table[key] = nn.Tanh()


def test_parameter_containers() -> None:
    items = nn.ParameterList([nn.Parameter(np.ones(2, np.float32)), flow.zeros(3)])
    table = nn.ParameterDict({"w": flow.ones(2), "b": nn.Parameter(np.ones(1, np.float32))})
    model = nn.Module()
    model.items, model.table = items, table
    assert list(model.state_dict()) == ["items.0", "items.1", "table.w", "table.b"]
    assert all(isinstance(p, nn.Parameter) for p in [*items, *table.values()])
    items.append(flow.ones(1))
    assert len(items) == 3 and items[-1].shape == (1,) and len(items[1:]) == 2
    assert table.get("nothing") is None and "w" in table and len(table) == 2
    assert "(w): Parameter containing: [oneflow.float32 of size 2]" in repr(table)


@pytest.mark.parametrize("layer", LAYERS[::4], ids=str)
def test_layers_can_be_copied_and_pickled(layer: Layer) -> None:
    model = layer.make(nn).eval()
    xs = [flow.tensor(np.random.default_rng(1).random(s).astype(np.float32)) for s in layer.shapes]
    expected = model(*xs)
    for make in COPIES.values():
        result = make(model)(*xs)
        first, second = (r[0] if isinstance(r, tuple) else r for r in (result, expected))
        assert (first.numpy() == second.numpy()).all()
