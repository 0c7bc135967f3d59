"""precision="bf16" and "fp16": which ops compute in which type, that parameters stay float32, and mistakes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn
from oneflow.precision import FULL, NARROWED

X = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
Y = np.arange(8) % 4


def make(precision: str, body: Any = None, **axes: int) -> tuple[Any, nn.Linear]:
    flow.manual_seed(1)
    model = nn.Linear(16, 4)

    @flow.train_step(
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", **(axes or {"dp": 1})),
        precision=precision,
    )
    def step(x: Any, y: Any) -> Any:
        return body(model, x, y) if body else F.cross_entropy(model(x), y)

    return step, model


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_products_are_narrow_and_the_rest_is_not(precision: str) -> None:
    seen: dict[str, Any] = {}

    def body(model: nn.Linear, x: Any, y: Any) -> Any:
        scores = model(x)
        seen["scores"] = scores.dtype
        seen["softmax"] = scores.softmax(-1).dtype
        seen["relu"] = scores.relu().dtype
        seen["sum"] = scores.sum().dtype
        seen["mixed"] = (scores + x[:, :4]).dtype
        seen["float"] = (scores.float() @ scores.float().t()).dtype
        with flow.precision("fp32"):
            seen["fp32"] = model(x).dtype
        loss = F.cross_entropy(scores, y)
        seen["loss"] = loss.dtype
        return loss

    step, model = make(precision, body)
    step(X, Y).wait()
    narrow, full = {"bf16": flow.bfloat16, "fp16": flow.float16}[precision], flow.float32
    assert seen == {
        "scores": narrow,
        "softmax": full,
        "relu": narrow,
        "sum": full,
        "mixed": full,
        "float": narrow,  # a product again
        "fp32": full,
        "loss": full,
    }
    assert model.weight.dtype is full and model.weight.numpy().dtype == np.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_loss_reads_narrow_scores_as_they_are(precision: str, smoothing: float) -> None:
    """With the bits that it has of scores in float32, and without a copy of these, but for the sum that smoothing
    needs."""
    runs = {}
    for widened in (True, False):

        def body(model: nn.Linear, x: Any, y: Any, widened: bool = widened) -> Any:
            scores = model(x)
            assert scores.dtype is not flow.float32
            scores = scores.float() if widened else scores
            return F.cross_entropy(scores, y, label_smoothing=smoothing)

        step, model = make(precision, body)
        losses = [float(step(X, Y)["loss"]) for _ in range(4)]
        runs[widened] = losses, model.weight.numpy().copy()
        assert ("f32[8,4]" in step.graph(X, Y)) == (widened or smoothing > 0)
    assert runs[True][0][0] == runs[False][0][0]
    # With smoothing scores have two gradients, and each is rounded before they are added, not their sum.
    tolerance = 0 if smoothing == 0 else 2**-7
    for ours, theirs in zip(runs[True], runs[False], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_losses_are_those_of_fp32_rounded_and_equal_under_layouts() -> None:
    def losses(precision: str, **axes: int) -> list[float]:
        step, _ = make(precision, **axes)
        return [float(step(X, Y)["loss"]) for _ in range(6)]

    full, narrow = losses("fp32"), losses("bf16")
    assert narrow != full and full[-1] < full[0]
    np.testing.assert_allclose(narrow, full, rtol=1e-2)
    np.testing.assert_allclose(losses("bf16", dp=2), narrow, rtol=1e-2)
    np.testing.assert_allclose(losses("bf16", tp=2), narrow, rtol=1e-2)


def test_the_rounding_is_pytorchs_autocast() -> None:
    torch = pytest.importorskip("torch")
    flow.manual_seed(1)
    model = nn.Linear(16, 4)
    predict = flow.eval_step(
        lambda x: model(x), model=model, mesh=flow.mesh("cpu", dp=1), precision="bf16"
    )
    ours = predict(X)
    judge = torch.nn.Linear(16, 4)
    judge.load_state_dict(
        {name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()}
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = judge(torch.tensor(X))
    assert ours.dtype is flow.bfloat16
    np.testing.assert_allclose(
        ours.numpy().astype(np.float32), theirs.float().detach().numpy(), rtol=2**-7, atol=1e-3
    )


def test_the_page_lists_the_ops() -> None:
    rows = (Path(__file__).parents[2] / "docs" / "precision.md").read_text().splitlines()

    def listed(end: str) -> set[str]:
        (row,) = [row for row in rows if row.startswith("| `") and end in row]
        return set(re.findall(r"`(\w+)`", row.split("|")[1]))

    assert listed("float32 operands are rounded") == NARROWED
    assert listed("narrow operands are widened") == FULL


@pytest.mark.parametrize("name", ["float16", "bfloat16", 16])
def test_what_there_is_not(name: Any) -> None:
    with pytest.raises(flow.Error, match="'fp32', 'bf16' or 'fp16'"):
        make(name)


def test_bfloat16_is_held_on_the_host() -> None:
    x = flow.tensor([1.0, 2.5, -3.0]).bfloat16()
    assert x.dtype is flow.bfloat16
    assert (x + x).tolist() == [2.0, 5.0, -6.0]
    assert x.float().tolist() == [1.0, 2.5, -3.0]
    assert flow.from_numpy(x.numpy()).dtype is flow.bfloat16


def test_float64_is_float64() -> None:
    x = flow.tensor(np.array([1.0, 2.0]))
    assert x.dtype is flow.float64
    third = (x / 3).numpy()
    assert third.dtype == np.float64 and third[0] == 1 * (1 / 3)
    assert (x @ x.reshape(2, 1)).dtype is flow.float64
    assert flow.tensor([1.0]).dtype is flow.float32


class SmallResNet(nn.Module):
    """A stem, a residual block with a strided shortcut, a depthwise convolution, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.narrow = nn.Conv2d(32, 16, 1)
        self.middle = nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=2)
        self.wide = nn.Conv2d(16, 64, 1)
        self.shortcut = nn.Conv2d(32, 64, 1, stride=2)
        self.depthwise = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Any) -> Any:
        x = self.norm(self.stem(x)).relu()
        y = self.wide(self.middle(self.narrow(x).relu()).relu())
        x = (y + self.shortcut(x)).relu()
        x = self.depthwise(x).relu()
        return self.head(x.mean((2, 3)))


IMAGES = np.random.default_rng(1).standard_normal((8, 3, 12, 12)).astype(np.float32)


def small_resnet(precision: str, lr: float, **axes: int) -> tuple[Any, SmallResNet, dict[str, Any]]:
    flow.manual_seed(1)
    model = SmallResNet()
    seen: dict[str, Any] = {}

    @flow.train_step(
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=lr),
        mesh=flow.mesh("cpu", **(axes or {"dp": 1})),
        precision=precision,
    )
    def step(x: Any, y: Any) -> Any:
        stem = model.stem(x)
        seen.update(stem=stem.dtype, shortcut=model.shortcut(stem).dtype)
        seen.update(norm=model.norm(stem).dtype, pool=F.max_pool2d(stem, 2).dtype)
        return F.cross_entropy(model(x), y)

    return step, model, seen


def test_convolutions_are_narrow_and_train_as_in_fp32() -> None:
    def losses(precision: str, **axes: int) -> list[float]:
        step, model, seen = small_resnet(precision, 2.0, **axes)
        values = [float(step(IMAGES, Y)["loss"]) for _ in range(10)]
        dtype = flow.bfloat16 if precision == "bf16" else flow.float32
        assert seen == dict.fromkeys(("stem", "shortcut", "norm", "pool"), dtype)
        kept = (model.stem.weight, model.norm.weight, model.norm.running_var)
        assert all(tensor.dtype is flow.float32 for tensor in kept)
        return values

    full, narrow = losses("fp32"), losses("bf16")
    assert full[-1] < full[0] - 0.1
    assert narrow != full
    np.testing.assert_allclose(narrow, full, rtol=2e-2)
    np.testing.assert_allclose(losses("bf16", dp=2), narrow, rtol=2e-2)
    np.testing.assert_allclose(losses("bf16", tp=2), narrow, rtol=2e-2)


@pytest.mark.parametrize("axes", [{"dp": 1}, {"dp": 2}, {"tp": 2}])
def test_statistics_of_narrow_images_are_those_of_all_devices_in_float32(
    axes: dict[str, int],
) -> None:
    """A mean beside which the spread is below bfloat16's rounding: sums in bfloat16 would lose it."""
    flow.manual_seed(0)
    norm = nn.BatchNorm2d(4, momentum=1.0)
    images = np.random.default_rng(2).standard_normal((8, 4, 16, 16)).astype(np.float32)
    images[4:] += 8

    @flow.train_step(
        model=norm,
        optimizer=flow.optim.SGD(norm.parameters(), lr=0.0),
        mesh=flow.mesh("cpu", **axes),
        precision="bf16",
    )
    def step(x: Any) -> Any:
        y = norm(x.bfloat16())
        assert y.dtype is flow.bfloat16
        return (y * y).mean()

    loss = float(step(images)["loss"])
    rounded = flow.tensor(images).bfloat16().double().numpy()
    mean, spread = rounded.mean((0, 2, 3)), rounded.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), spread, rtol=1e-5)
    assert loss == pytest.approx(1.0, rel=2**-8)


def test_gradients_of_convolutions_are_near_those_of_fp32() -> None:
    def moves(precision: str) -> dict[str, Any]:
        step, model, _ = small_resnet(precision, 1.0)
        before = {name: value.numpy().copy() for name, value in model.named_parameters()}
        step(IMAGES, Y).wait()
        return {name: value.numpy() - before[name] for name, value in model.named_parameters()}

    full, narrow = moves("fp32"), moves("bf16")
    for name, gradient in full.items():
        if gradient.ndim == 4:
            apart = np.linalg.norm(narrow[name] - gradient) / np.linalg.norm(gradient)
            assert 0 < apart < 0.12, (name, apart)


def test_a_predicting_resnet_takes_bfloat16_into_its_norms() -> None:
    def scores(precision: str) -> Any:
        flow.manual_seed(1)
        model = SmallResNet().eval()
        predict = flow.eval_step(
            lambda x: model(x), model=model, mesh=flow.mesh("cpu", dp=1), precision=precision
        )
        return predict(IMAGES).float().numpy()

    full, narrow = scores("fp32"), scores("bf16")
    assert 0 < np.abs(narrow - full).max() < 0.03 * np.abs(full).max()
