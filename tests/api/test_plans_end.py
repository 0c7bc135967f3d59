"""What a session holds goes with its plans: steps that see many shapes, steps that die, gathers, captured constants."""

from __future__ import annotations

import gc
import itertools
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn
from oneflow.store import Store


def make_step(max_plans: int = 8) -> tuple[nn.Module, Any]:
    flow.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    scale = flow.tensor(np.ones(3, np.float32))  # becomes a constant of each plan

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x) * scale, y)

    step = flow.train_step(
        loss,
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        mesh=flow.mesh("cpu", dp=2),
        max_plans=max_plans,
    )
    return model, step


def batch(n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(n)
    return random.standard_normal((n, 6)).astype(np.float32), random.integers(0, 3, n)


@pytest.fixture
def without_collector() -> Any:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_every_new_shape_takes_the_place_of_an_old_one(without_collector: None) -> None:
    model, step = make_step(max_plans=4)
    holdings, objects, unread = [], [], []
    for i in range(60):
        metrics = step(*batch(2 + 2 * i))
        if i % 10 == 0:
            unread.append(metrics)  # outlives its plan
        else:
            float(metrics["loss"])
        if i >= 20:
            holdings.append(step.store.session.holdings())
            objects.append(len(gc.get_objects()))
    assert all(h["plans"] == 4 for h in holdings)
    # The model's 4 parameters and 4 momenta, and a constant of each plan.
    assert {h["states"] for h in holdings} == {12}
    room = [h["message_room"] for h in holdings]
    assert max(room) - min(room) < 0.1 * room[0]
    assert max(objects) - objects[0] < 100  # 2 unread metrics and a list more
    assert len(step.store.shardings) == 12
    assert all(np.isfinite(float(m["loss"])) for m in unread)
    float(step(*batch(2))["loss"])
    assert step.store.session.holdings()["fetch_rings"] == 4  # those of the unread have gone


def test_training_through_evicted_plans_gives_the_same_bits() -> None:
    results = []
    for max_plans in (1, 8):
        model, step = make_step(max_plans)
        losses = [float(step(*batch(2 + 2 * (i % 3)))["loss"]) for i in range(9)]
        results.append((losses, [p.numpy().tobytes() for p in model.parameters()]))
    assert results[0] == results[1]


def test_the_plans_of_a_step_that_is_gone_end(without_collector: None) -> None:
    model, step = make_step()
    float(step(*batch(4))["loss"])
    store: Store = step.store
    for i in range(5):
        evaluate = flow.eval_step(lambda x: model(x), model=model, mesh=step.mesh)
        evaluate(batch(2 + 2 * i)[0])
        del evaluate
    assert store.session.holdings()["plans"] == 2  # ended at the next load


def test_names_of_states_are_never_given_twice() -> None:
    from oneflow.initializers import Value
    from oneflow.state import StateCell

    store = Store(flow.mesh("cpu", dp=1))

    def named(wish: str) -> tuple[str, StateCell]:
        cell = StateCell((), flow.float32, Value(np.zeros((), np.float32)))
        return store.name_of(cell, wish), cell

    first, kept = named("a")
    seen = [first]
    for wish in ("a", "a", "a#2", "a#2", "a##2", "a"):  # their cells die at once
        seen.append(named(wish)[0])
    assert len(set(seen)) == len(seen)
    assert store.name_of(kept, "other") == "a"


def test_gathers_of_the_same_states_share_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    model, step = make_step()
    float(step(*batch(4))["loss"])
    monkeypatch.setattr("oneflow.environment.world_size", lambda: 2)  # gather's way with ranks
    store = step.store
    monkeypatch.setattr(store, "compile", one_rank(store))
    before = None
    for _ in range(300):
        float(step(*batch(4))["loss"])
        gathered = flow.gather(model.state_dict())
        before = before or store.session.holdings()
    assert store.session.holdings() == before
    assert before["plans"] == 2
    for name, tensor in model.state_dict().items():
        assert np.array_equal(gathered[name].numpy(), tensor.numpy())
    # Other states have other plans, but not more than some.
    orders = list(itertools.permutations(model.state_dict(), 3))
    assert len(orders) > 2 * Store.MAX_GATHERS
    for names in orders:
        float(step(*batch(4))["loss"])
        flow.gather({n: model.state_dict()[n] for n in names})
    assert store.session.holdings()["plans"] == 1 + Store.MAX_GATHERS


def one_rank(store: Store) -> Any:
    from oneflow import _core

    def compile(graph: _core.Graph, micro_batches: int, dumps: bool = False) -> _core.Compiled:
        mesh = store.mesh
        devices = list(range(mesh.num_devices))
        return _core.compile(
            graph, store.target, list(mesh.axes), devices, micro_batches, 0, 1, keep_dumps=dumps
        )

    return compile


def test_the_array_may_change_after_the_call() -> None:
    results = []
    for scribble in (False, True):
        model, step = make_step()
        random = np.random.default_rng(0)
        x = np.empty((16384, 6), np.float32)  # large enough to be read in place
        y = np.empty(16384, np.int64)
        losses = []
        for _ in range(6):
            x[:] = random.standard_normal(x.shape)
            y[:] = random.integers(0, 3, y.shape)
            losses.append(step(x, y))
            if scribble:
                x[:] = np.nan
                y[:] = 0
        results.append([float(m["loss"]) for m in losses])
    assert results[0] == results[1]
