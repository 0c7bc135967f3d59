"""Steps: what is shared, what is ordered, what recompiles, what changes no state."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 8).astype(np.int64)


def make_model(seed: int = 0) -> nn.Module:
    flow.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def make_step(model: nn.Module, **options: Any) -> flow.steps.TrainStep:
    optimizer = options.pop("optimizer", None) or flow.optim.SGD(model.parameters(), lr=0.1)
    mesh = options.pop("mesh", None) or flow.mesh("cpu", dp=2)

    @flow.train_step(model=model, optimizer=optimizer, mesh=mesh, **options)
    def step(x: flow.Tensor, y: flow.Tensor) -> dict[str, flow.Tensor]:
        logits = model(x)
        return {"loss": F.cross_entropy(logits, y), "logits": logits}

    return step


def values(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def test_metrics_hold_loss_lr_step_and_more() -> None:
    step = make_step(make_model())
    metrics = [step(X, Y) for _ in range(3)]
    assert [m["step"] for m in metrics] == [0, 1, 2]
    assert all(m["lr"] == 0.1 for m in metrics)
    assert sorted(metrics[0]) == ["logits", "loss", "lr", "step"]
    assert metrics[2]["logits"].shape == (8, 3)  # per-sample outputs are concatenated
    assert float(metrics[2].loss) < float(metrics[0]["loss"])
    assert metrics[0].wait() is metrics[0] and "loss:" in repr(metrics[0])


def test_metrics_may_be_read_late_in_any_order_or_never() -> None:
    step, other = make_step(make_model()), make_step(make_model())
    late = [step(X, Y) for _ in range(40)]
    now = [float(other(X, Y)["loss"]) for _ in range(40)]
    assert [float(m["loss"]) for m in reversed(late)] == list(reversed(now))
    for _ in range(200):
        step(X, Y)
    assert float(step(X, Y)["loss"]) < now[-1]


def test_training_sees_the_batch_as_it_was_at_the_call() -> None:
    step, other = make_step(make_model()), make_step(make_model())
    x = X.copy()
    metrics = []
    for _ in range(5):
        metrics.append(step(x, Y))
        x[:] = 7.0  # the step may not have begun
        x[:] = X
    for m in metrics:
        assert float(m["loss"]) == float(other(X, Y)["loss"])


def test_train_and_eval_share_parameters() -> None:
    model = make_model()
    mesh = flow.mesh("cpu", dp=2)
    step = make_step(model, mesh=mesh)
    predict = flow.eval_step(lambda x: model(x), model=model, mesh=mesh)
    before = predict(X).numpy()
    step(X, Y)
    after = predict(X).numpy()
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(after, model(flow.tensor(X)).numpy(), rtol=1e-5, atol=1e-6)
    assert step.store is predict.store


def test_two_meshes_see_the_same_parameters() -> None:
    model, reference = make_model(), make_model()
    optimizer = flow.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    steps = [
        make_step(model, optimizer=optimizer, mesh=flow.mesh("cpu", dp=2)),
        make_step(model, optimizer=optimizer, mesh=flow.mesh("cpu", tp=1)),
    ]
    expected = make_step(
        reference, optimizer=flow.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    )
    for i in range(6):
        steps[i % 2](X, Y)
        expected(X, Y)
    for name, value in values(reference).items():
        np.testing.assert_allclose(values(model)[name], value, rtol=1e-5, atol=1e-6)


def test_writes_from_the_host_take_effect_at_the_next_step() -> None:
    model = make_model()
    step = make_step(model)
    step(X, Y)
    model[0].weight.copy_(np.zeros((6, 4), np.float32))
    model.load_state_dict({**values(model), "0.bias": np.full(6, -1.0, np.float32)})
    logits = step(X, Y)["logits"].numpy()
    assert (logits == logits[0]).all()  # the first layer forgets its input


def test_hyperparameters_do_not_recompile(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model()
    step = make_step(model)
    step(X, Y)
    before = values(model)
    step.optimizer.param_groups[0]["lr"] = 0.0
    assert step(X, Y)["lr"] == 0
    assert all(np.array_equal(before[name], value) for name, value in values(model).items())
    assert "compiles plan" not in capsys.readouterr().err


def test_a_rate_may_be_a_function_of_the_step() -> None:
    model = make_model()
    rate = flow.optim.lr.warmup(4, flow.optim.lr.cosine(0.4, 8))
    optimizer = flow.optim.SGD(model.parameters(), lr=rate)
    step = make_step(model, optimizer=optimizer)
    rates = [step(X, Y)["lr"] for _ in range(9)]
    assert rates[0] == pytest.approx(0.1) and rates[4] == pytest.approx(0.2) and rates[8] == 0


def test_another_batch_shape_compiles_another_plan_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = make_step(make_model())
    step(X, Y)
    assert "compiles" not in capsys.readouterr().err
    step(X[:6], Y[:6])
    assert "compiles plan 2 for (x: f32[6, 4], y: i64[6])" in capsys.readouterr().err
    step(X, Y)
    assert "compiles" not in capsys.readouterr().err


def test_more_kinds_of_batches_than_plans_are_kept() -> None:
    step, other = make_step(make_model(), max_plans=2), make_step(make_model())
    for size in (8, 6, 4, 8, 6, 4, 2, 8):
        ours, theirs = step(X[:size], Y[:size])["loss"], other(X[:size], Y[:size])["loss"]
        assert float(ours) == float(theirs)


def test_the_training_flag_is_part_of_the_plan() -> None:
    flow.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))
    step = make_step(model, optimizer=flow.optim.SGD(model.parameters(), lr=0.0))
    first, second = step(X, Y)["loss"], step(X, Y)["loss"]
    assert float(first) != float(second)  # another mask each step
    model.eval()
    first, second = step(X, Y)["loss"], step(X, Y)["loss"]
    assert float(first) == float(second)


def test_frozen_parameters_have_no_gradient_and_no_slots() -> None:
    model = make_model()
    model[0].requires_grad_(False)
    optimizer = flow.optim.AdamW(model.parameters(), lr=0.1)
    step = make_step(model, optimizer=optimizer)
    before = values(model)
    step(X, Y)
    after = values(model)
    assert np.array_equal(before["0.weight"], after["0.weight"])
    assert not np.array_equal(before["2.weight"], after["2.weight"])
    assert optimizer.state[model[0].weight] == {}
    assert sorted(optimizer.state[model[2].weight]) == ["exp_avg", "exp_avg_sq"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.01}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("AdamW", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    ],
)
def test_optimizers_as_in_torch(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    ours = make_model()
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    theirs.load_state_dict({k: torch.tensor(v) for k, v in values(ours).items()})
    theirs = theirs.double()

    def groups(model: Any) -> list[dict[str, Any]]:
        return [
            {"params": [model[0].weight, model[0].bias]},
            {"params": model[2].parameters(), "lr": 0.03},
        ]

    step = make_step(ours, optimizer=getattr(flow.optim, name)(groups(ours), **options))
    optimizer = getattr(torch.optim, name)(groups(theirs), **options)
    for _ in range(4):
        step(X, Y)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            theirs(torch.tensor(X).double()), torch.tensor(Y)
        ).backward()
        optimizer.step()
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(values(ours)[key], value.numpy(), rtol=1e-4, atol=1e-5)


def test_what_looks_changes_no_state() -> None:
    flow.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    step = make_step(model)
    x = np.random.default_rng(2).standard_normal((8, 1, 4, 4)).astype(np.float32)
    before = values(model)
    step.compile(x, Y)
    interpreted = step.interpret(x, Y)
    loss, grads = flow.value_and_grad(
        lambda x, y: F.cross_entropy(model(x), y), model=model, mesh=step.mesh
    )(x, Y)
    assert sorted(grads) == sorted(name for name, _ in model.named_parameters())
    assert all(np.array_equal(before[name], value) for name, value in values(model).items())
    metrics = step(x, Y)
    assert metrics["step"] == 0
    np.testing.assert_allclose(float(metrics["loss"]), float(interpreted["loss"]), rtol=1e-6)
    np.testing.assert_allclose(float(metrics["loss"]), float(loss), rtol=1e-6)
    assert model.state_dict()["1.num_batches_tracked"].item() == 1
    assert not np.array_equal(before["1.running_mean"], values(model)["1.running_mean"])


def test_running_statistics_follow_every_micro_batch() -> None:
    torch = pytest.importorskip("torch")
    flow.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 3))
    theirs = torch.nn.BatchNorm2d(1)
    x = np.random.default_rng(2).normal(2, 3, (8, 1, 4, 4)).astype(np.float32)
    make_step(model, accumulate=4)(x, Y)
    for part in torch.tensor(x).chunk(4):
        theirs(part)
    assert model.state_dict()["0.num_batches_tracked"].item() == 4
    for key in ("running_mean", "running_var"):
        np.testing.assert_allclose(
            model.state_dict()[f"0.{key}"].numpy(), theirs.state_dict()[key].numpy(), rtol=1e-5
        )


def test_a_tied_parameter_gets_the_sum_of_its_gradients() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4, bias=False)
            self.b = nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: flow.Tensor) -> flow.Tensor:
            return self.b(self.a(x))

    flow.manual_seed(0)
    model = Tied()
    weight = model.a.weight.numpy().astype(np.float64)
    _, grads = flow.value_and_grad(
        lambda x: model(x).sum(), model=model, mesh=flow.mesh("cpu", dp=2)
    )(X)
    ones, x = np.ones((8, 4)), X.astype(np.float64)
    expected = ones.T @ (x @ weight.T) + (ones @ weight).T @ x
    assert list(grads) == ["a.weight"]
    np.testing.assert_allclose(grads["a.weight"].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_tensor_from_outside_is_a_constant_and_numbers_are_inputs() -> None:
    model = make_model()
    table = flow.tensor(X[0])
    fn = flow.eval_step(
        lambda x, scale, offset, name, flip: (x * scale + offset + table) * (-1 if flip else 1),
        model=model,
        mesh=flow.mesh("cpu", dp=2),
    )
    np.testing.assert_allclose(fn(X, 2.0, 3, "a", False).numpy(), X * 2 + 3 + X[0], rtol=1e-6)
    np.testing.assert_allclose(fn(X, 4.0, 5, "a", True).numpy(), -(X * 4 + 5 + X[0]), rtol=1e-6)
    assert len(fn._programs) == 2  # the flag is part of the key, the numbers are not


def test_batches_and_results_are_trees() -> None:
    model = make_model()
    fn = flow.eval_step(
        lambda batch, *, pair: {"sum": batch["x"] + pair[0], "list": [pair[1] * 2, "text", 3]},
        model=model,
        mesh=flow.mesh("cpu", dp=1),
    )
    result = fn({"x": X}, pair=(X, Y))
    np.testing.assert_allclose(result["sum"].numpy(), 2 * X)
    assert result["list"][0].tolist() == (2 * Y).tolist() and result["list"][1:] == ["text", 3]


def test_run_goes_over_the_loader_again_until_the_steps_are_done() -> None:
    step = make_step(make_model())
    loader = [(X, Y), (X[:, ::-1].copy(), Y)]
    assert [m["step"] for m in step.run(loader, steps=5)] == [0, 1, 2, 3, 4]
    assert [m["step"] for m in step.run(loader, steps=5)] == []  # the total is absolute
    assert [m["step"] for m in step.run(loader)] == [5, 6]
    with pytest.raises(flow.DataError, match="iterated again"):
        list(step.run(iter(loader), steps=20))


def test_a_loss_that_is_not_finite_is_an_error_at_its_line() -> None:
    model = make_model()
    step = make_step(model)
    bad = X.copy()
    bad[0, 0] = np.nan
    with pytest.raises(flow.NumericsError, match="step 0") as caught:
        step(bad, Y)["loss"]
    assert caught.value.location is not None and caught.value.location.function == "step"
    relaxed = make_step(make_model(), check="off")
    assert np.isnan(float(relaxed(bad, Y)["loss"]))


def test_a_plan_can_be_looked_at(tmp_path: Path) -> None:
    model = make_model()
    step = make_step(model)
    plan = step.compile(flow.spec((8, 4)), flow.spec((8,), flow.int64))
    assert plan.text == step.compile(X, Y).text  # the same bytes for data and its spec
    assert "dp:2" in plan.summary() and "matmul" in plan.explain("matmul")
    links = "link     devices  ranks  latency  rate\nmemory   1        1      0 ns     10.0 GB/s\n"
    assert links in plan.summary() and links in flow.mesh("cpu", dp=2).summary()
    assert "network  2        1      40.0 us  2.00 GB/s\n" in plan.summary()
    assert "mesh dp:2  kind cpu  devices 2  ranks 1  " in flow.mesh("cpu", dp=2).summary()
    plan.verify()
    plan.save(tmp_path / "x.plan")
    assert (tmp_path / "x.plan").read_text() == plan.text
    memory = plan.memory()
    assert [device["device"] for device in memory] == [0, 1]
    assert all(device["arena_bytes"] >= device["lower_bound"] > 0 for device in memory)
    other = make_step(make_model(), mesh=flow.mesh("cpu", dp=1)).compile(X, Y)
    assert plan.diff(plan) == "" and "dp:1" in plan.diff(other)


def test_one_spec_is_no_batch_to_run() -> None:
    step = make_step(make_model())
    with pytest.raises(flow.Error, match=r"flow\.spec"):
        step(flow.spec((8, 4)), flow.spec((8,), flow.int64))


def test_sessions_end_with_their_model() -> None:
    model = make_model()
    step = make_step(model)
    step(X, Y)
    store = weakref.ref(step.store)
    gc.disable()
    try:
        del model, step
        assert store() is None, "threads and arenas must not wait for the collector"
    finally:
        gc.enable()


def test_dumps_are_written_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEFLOW_DUMP", str(tmp_path))
    make_step(make_model()).compile(X, Y)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert "step.rank0.plan.txt" in names and "step.rank0.0.traced.txt" in names
    assert any("insert_reshard" in name for name in names)


def test_shard_asks_for_a_layout() -> None:
    model = make_model()
    mesh = flow.mesh("cpu", tp=2)
    step = flow.eval_step(
        lambda x: flow.shard(model[0](x), tp="S(1)").relu(), model=model, mesh=mesh
    )
    expected = model[0](flow.tensor(X)).relu().numpy()
    np.testing.assert_allclose(step(X).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert "S(1)" in step.compile(X).explain("add")


def test_a_parameter_annotation_cuts_its_state() -> None:
    model = make_model()
    flow.shard(model[0].weight, tp=flow.S(0))
    predict = flow.eval_step(lambda x: model(x), model=model, mesh=flow.mesh("cpu", tp=2))
    expected = model(flow.tensor(X)).numpy()
    np.testing.assert_allclose(predict(X).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert predict.store.shardings["0.weight"].startswith("(S(0)")


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_batches_smaller_than_the_mesh_leave_devices_empty(rows: int) -> None:
    total = flow.eval_step(
        lambda x: (x.relu() * 2).sum(), model=make_model(), mesh=flow.mesh("cpu", dp=4)
    )
    assert float(total(np.ones((rows, 4), np.float32)).numpy()) == 8.0 * rows
