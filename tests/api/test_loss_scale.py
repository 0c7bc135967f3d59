"""precision="fp16": the loss scale moves as torch.amp.GradScaler's, and a step that overflows changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

X = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
Y = np.arange(8) % 4
# At this scale the gradients of X are far inside float16, those of 300 * X outside, with a loss that is finite.
SCALE = 2.0**13
LAYOUTS = {
    "one": {},
    "dp2": {"dp": 2},
    "tp2": {"tp": 2},
    "pp2": {"pp": 2, "accumulate": 2},
    "accumulate": {"dp": 1, "accumulate": 4},
    "dp2 tp2 accumulate clip": {"dp": 2, "tp": 2, "accumulate": 2, "clip_norm": 0.5},
}


class Net(nn.Module):
    """Two stages, a buffer that every step writes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)
        self.register_buffer("seen", flow.zeros(()))

    def forward(self, x: Any) -> Any:
        with flow.stage(0):
            hidden = self.first(x).relu()
        with flow.stage(1):
            return self.second(hidden)


def make(
    loss_scale: Any = "dynamic",
    precision: str = "fp16",
    accumulate: int = 1,
    lr: float = 0.01,
    **options: Any,
) -> tuple[Any, Net]:
    axes = {name: options.pop(name) for name in ("dp", "tp", "pp") if name in options}
    flow.manual_seed(1)
    model = Net()
    if axes.get("tp"):
        options["parallel"] = {"first.*": {"tp": "S(0)"}, "second.weight": {"tp": "S(1)"}}

    @flow.train_step(
        model=model,
        optimizer=flow.optim.AdamW(model.parameters(), lr=lr),
        mesh=flow.mesh("cpu", **(axes or {"dp": 1})),
        precision=precision,
        accumulate=accumulate,
        loss_scale=loss_scale,
        **options,
    )
    def step(x: Any, y: Any) -> Any:
        loss = F.cross_entropy(model(x), y)
        model.seen = model.seen + 1
        return loss

    return step, model


def states(step: Any, model: nn.Module) -> dict[str, np.ndarray]:
    """Parameters, buffers and the optimizer's slots."""
    found = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    for i, held in enumerate(step.optimizer.state.values()):
        found.update({f"{i}.{slot}": value.numpy().copy() for slot, value in held.items()})
    return found


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    return [name for name in after if before[name].tobytes() != after[name].tobytes()]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_step_that_overflows_changes_nothing_and_halves_the_scale(layout: str) -> None:
    step, model = make(flow.LossScale(SCALE), **LAYOUTS[layout])
    assert not bool(step(X, Y)["skipped"])
    before = states(step, model)
    assert step.loss_scale == SCALE
    large = X.copy()
    large[-1] *= 300  # on one device, in one micro-batch
    metrics = step(large, Y)
    assert bool(metrics["skipped"]) and np.isfinite(float(metrics["loss"]))
    assert float(metrics["loss_scale"]) == SCALE and step.loss_scale == SCALE / 2
    assert changed(before, states(step, model)) == []
    assert not bool(step(X, Y)["skipped"])
    assert sorted(changed(before, states(step, model))) == sorted(before)
    assert step.loss_scale == SCALE / 2


@pytest.mark.parametrize("layout", ["tp2", "pp2"])
def test_one_device_that_overflows_stops_all(layout: str) -> None:
    step, model = make(flow.LossScale(SCALE), **LAYOUTS[layout])
    step(X, Y).wait()
    weight = model.first.weight.numpy().copy()
    weight[-1] = 300  # one column of the second gradient, on the last device
    model.first.weight.copy_(weight)
    before = states(step, model)
    metrics = step(np.abs(X), Y)
    assert bool(metrics["skipped"]) and np.isfinite(float(metrics["loss"]))
    assert changed(before, states(step, model)) == []


def test_running_statistics_stay_in_a_skipped_step() -> None:
    flow.manual_seed(1)
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    options: dict[str, Any] = {
        "model": model,
        "optimizer": flow.optim.SGD(model.parameters(), lr=0.1),
        "mesh": flow.mesh("cpu", dp=2),
        "precision": "fp16",
    }
    for accumulate in (1, 2):
        step = flow.train_step(
            lambda x, y: F.cross_entropy(model(x), y),
            accumulate=accumulate,
            loss_scale=flow.LossScale(2.0**40, growth_interval=9),
            **options,
        )
        before = states(step, model)
        assert bool(step(X, Y)["skipped"])
        moved = changed(before, states(step, model))
        # They fold the micro-batches of a step, which cannot wait for its gradients.
        statistics = [] if accumulate == 1 else ["1.running_mean", "1.running_var"]
        assert moved == [*statistics, "1.num_batches_tracked"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_curve_is_that_of_float32_rounded(layout: str) -> None:
    def losses(precision: str) -> list[float]:
        step, _ = make(precision=precision, **LAYOUTS[layout])
        return [float(step(X, Y)["loss"]) for _ in range(8)]

    full, half = losses("fp32"), losses("fp16")
    assert half != full and full[-1] < 0.7 * full[0]
    np.testing.assert_allclose(half, full, rtol=2e-3)


def test_small_gradients_survive_by_the_scale_alone() -> None:
    def moved(loss_scale: Any) -> bool:
        flow.manual_seed(1)
        model = nn.Linear(16, 1)
        step = flow.train_step(
            lambda x: model(x).mean() * 1e-9,
            model=model,
            optimizer=flow.optim.SGD(model.parameters(), lr=1e9),
            mesh=flow.mesh("cpu", dp=1),
            precision="fp16",
            loss_scale=loss_scale,
        )
        before = model.weight.numpy().copy()
        assert not bool(step(X)["skipped"])
        return not np.array_equal(before, model.weight.numpy())

    assert moved("dynamic") and not moved(1.0)


def test_the_scale_moves_as_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    settings = flow.LossScale(SCALE, growth_factor=4.0, backoff_factor=0.25, growth_interval=3)
    step, _ = make(settings, lr=1e-4)
    scale, tracker = torch.tensor(SCALE), torch.tensor(0, dtype=torch.int32)
    kinds = [False, False, True, False, False, False, False, True, True, *[False] * 5]
    for is_large in kinds:
        metrics = step(X * (10_000 if is_large else 1), Y)
        assert float(metrics["loss_scale"]) == float(scale)
        assert bool(metrics["skipped"]) == is_large
        torch._amp_update_scale_(scale, tracker, torch.tensor(float(is_large)), 4.0, 0.25, 3)
    assert step.loss_scale == float(scale)


def test_the_scale_does_not_grow_beyond_float32() -> None:
    top = 2.0**127
    flow.manual_seed(1)
    model = nn.Linear(16, 1)
    step = flow.train_step(
        lambda x: model(x).mean() * 1e-36,
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", dp=1),
        precision="fp16",
        loss_scale=flow.LossScale(top, growth_interval=1),
    )
    assert not bool(step(X * 1e-2)["skipped"])
    assert step.loss_scale == top


def test_skipped_steps_are_no_updates_for_adam() -> None:
    step, model = make(flow.LossScale(SCALE))
    for _ in range(3):
        assert bool(step(X * 10_000, Y)["skipped"])
    step(X, Y).wait()
    fresh, judge = make(flow.LossScale(SCALE / 8))
    fresh(X, Y).wait()
    assert changed(states(fresh, judge), states(step, model)) == []
    assert step.optimizer.steps == 4


def test_a_number_stays() -> None:
    step, _ = make(SCALE)
    assert bool(step(X * 10_000, Y)["skipped"]) and step.loss_scale == SCALE
    assert not bool(step(X, Y)["skipped"]) and step.loss_scale == SCALE


@pytest.mark.parametrize("layout", ["one", "tp2"])
def test_a_run_goes_on_with_the_same_bits(tmp_path: Path, layout: str) -> None:
    settings = flow.LossScale(2.0**22, growth_interval=3)
    one, _ = make(settings, **LAYOUTS[layout])
    expected = [one(X, Y) for _ in range(16)]
    half, _ = make(settings, **LAYOUTS[layout])
    for _ in range(8):
        half(X, Y).wait()
    half.save(tmp_path / "half")
    other, _ = make(settings, **LAYOUTS[layout])
    other.restore(tmp_path / "half")
    assert other.loss_scale == half.loss_scale != settings.init_scale
    for metrics in expected[8:]:
        again = other(X, Y)
        for name in ("loss", "loss_scale", "skipped"):
            assert np.array_equal(again[name].numpy(), metrics[name].numpy())


def test_checkpoints_of_another_precision(tmp_path: Path) -> None:
    scaled, _ = make(flow.LossScale(SCALE))
    assert bool(scaled(X * 10_000, Y)["skipped"])
    scaled.save(tmp_path / "fp16")
    full, _ = make(precision="fp32")
    full.restore(tmp_path / "fp16")
    assert full.optimizer.steps == 1 and full.loss_scale == 1.0
    full(X, Y).wait()
    full.save(tmp_path / "fp32")
    scaled.restore(tmp_path / "fp32")
    assert scaled.loss_scale == SCALE and scaled.optimizer.steps == 2
    assert not bool(scaled(X, Y)["skipped"])


def test_check_all_passes_over_what_was_dropped() -> None:
    step, _ = make(flow.LossScale(SCALE), check="all")
    assert bool(step(X * 10_000, Y).wait()["skipped"])
    with pytest.raises(flow.NumericsError):
        step(np.full_like(X, np.inf), Y).wait()


def test_interpret_and_eval() -> None:
    step, model = make(flow.LossScale(SCALE))
    metrics = step.interpret(X, Y)
    assert float(metrics["loss_scale"]) == SCALE and not bool(metrics["skipped"])
    assert float(metrics["loss"]) == pytest.approx(float(step(X, Y)["loss"]), rel=1e-3)
    predict = flow.eval_step(lambda x: model(x), model=model, mesh=step.mesh, precision="fp16")
    assert predict(X).dtype is flow.float16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_scale": "static"}, "loss_scale='static': 'dynamic', a number"),
        ({"loss_scale": True}, "loss_scale=True"),
        ({"loss_scale": 0.0}, "init_scale=0.0: a number above 0"),
        ({"loss_scale": 128.0, "precision": "bf16"}, "belongs to precision='fp16'"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(flow.Error, match=message):
        make(**options)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_scale": 1e39},
        {"growth_factor": 0.5},
        {"backoff_factor": 0.0},
        {"growth_interval": 0},
        {"growth_interval": 2.5},
    ],
)
def test_mistakes_in_the_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(flow.Error, match=next(iter(settings))):
        flow.LossScale(**settings)


def test_metrics_of_the_same_name_are_refused() -> None:
    model = nn.Linear(16, 4)
    step = flow.train_step(
        lambda x: {"loss": model(x).mean(), "skipped": model(x).sum()},
        model=model,
        optimizer=flow.optim.SGD(model.parameters()),
        mesh=flow.mesh("cpu", dp=1),
        precision="fp16",
    )
    with pytest.raises(flow.Error, match="metric 'skipped' of its own"):
        step(X)


def test_gradients_alone_have_no_scale() -> None:
    model = nn.Linear(16, 4)
    with pytest.raises(flow.Error, match="no loss scale"):
        flow.value_and_grad(lambda x: model(x).mean(), model=model, precision="fp16")
