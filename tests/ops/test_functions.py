"""Every function of the first slice: value and gradient against PyTorch in float64.

The list is written by hand from the specification (issue: ops for an MLP and a ResNet), not read from the op table.
Functions run through a step's graph on one device, and once more eagerly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest

torch = pytest.importorskip("torch")
TF = torch.nn.functional


@dataclass(frozen=True)
class Case:
    """A function in both libraries, and the shapes of its float inputs."""

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    positive: bool = False  # inputs in [0.5, 2) instead of standard normal


def same(
    name: str, fn: Callable[..., Any], *shapes: tuple[int, ...], positive: bool = False
) -> Case:
    """A function whose text is the same in both libraries."""
    return Case(name, fn, fn, shapes, positive)


X = (3, 4)
IMAGE = (2, 4, 6, 7)

CASES = [
    same("add", lambda a, b: a + b, X, X),
    same("add_broadcast", lambda a, b: a + b, X, (4,)),
    same("add_number", lambda a: 2 + a, X),
    same("sub", lambda a, b: a - b, X, (3, 1)),
    same("sub_number", lambda a: 1 - a, X),
    same("mul", lambda a, b: a * b, X, (1, 4)),
    same("mul_number", lambda a: a * 0.3, X),
    same("div", lambda a, b: a / b, X, X, positive=True),
    same("div_by_number", lambda a: a / 7, X),
    same("number_by_tensor", lambda a: 2 / a, X, positive=True),
    same("neg", lambda a: -a, X),
    same("abs", lambda a: a.abs(), X),
    same("pow", lambda a: a**3, X),
    same("pow_fraction", lambda a: a**1.7, X, positive=True),
    same("exp", lambda a: a.exp(), X),
    same("log", lambda a: a.log(), X, positive=True),
    same("sqrt", lambda a: a.sqrt(), X, positive=True),
    same("rsqrt", lambda a: a.rsqrt(), X, positive=True),
    same("tanh", lambda a: a.tanh(), X),
    same("sigmoid", lambda a: a.sigmoid(), X),
    same("relu", lambda a: a.relu(), X),
    same("square", lambda a: a.square(), X),
    same("clamp", lambda a: a.clamp(-0.5, 0.7), X),
    Case("maximum", flow.maximum, torch.maximum, (X, X)),
    Case("minimum", flow.minimum, torch.minimum, (X, X)),
    Case(
        "where",
        lambda a, b: flow.where(a > b, a * 2, b),
        lambda a, b: torch.where(a > b, a * 2, b),
        (X, X),
    ),
    same("masked_fill", lambda a: a.masked_fill(a > 0, 3.0), X),
    same("sum", lambda a: a.sum(), X),
    same("sum_dim", lambda a: a.sum(1), X),
    same("sum_keepdim", lambda a: a.sum((0, 2), keepdim=True), (2, 3, 4)),
    same("mean", lambda a: a.mean(), X),
    same("mean_dim", lambda a: a.mean(-1), X),
    same("var", lambda a: a.var(1), X),
    same("std", lambda a: a.std(), X),
    same("amax", lambda a: a.amax(1), X),
    same("amin", lambda a: a.amin((0, 1)), X),
    same("max_values", lambda a: a.max(0).values, X),
    same("softmax", lambda a: a.softmax(1), X),
    same("softmax_first_dim", lambda a: a.softmax(0), X),
    same("log_softmax", lambda a: a.log_softmax(-1), X),
    same("reshape", lambda a: a.reshape(2, -1), X),
    same("flatten", lambda a: a.flatten(1), (2, 3, 4)),
    same("permute", lambda a: a.permute(2, 0, 1), (2, 3, 4)),
    same("transpose", lambda a: a.transpose(0, 1), X),
    same("t", lambda a: a.T, X),
    same("unsqueeze", lambda a: a.unsqueeze(1), X),
    same("squeeze", lambda a: a.squeeze(1), (3, 1, 4)),
    same("expand", lambda a: a.expand(3, -1, 5), (4, 1)),
    Case("cat", lambda a, b: flow.cat([a, b], 1), lambda a, b: torch.cat([a, b], 1), (X, (3, 2))),
    Case("stack", lambda a, b: flow.stack([a, b], 1), lambda a, b: torch.stack([a, b], 1), (X, X)),
    same("split", lambda a: a.split(3, 1)[1], (2, 7)),
    same("chunk", lambda a: a.chunk(2, 1)[0], (2, 7)),
    same("slice", lambda a: a[1:, ::2], (4, 5)),
    same("index", lambda a: a[2], (4, 5)),
    same("index_mixed", lambda a: a[..., -1, None], (4, 5)),
    same("matmul", lambda a, b: a @ b, (3, 4), (4, 5)),
    same("matmul_vector", lambda a, b: a @ b, (3, 4), (4,)),
    same("matmul_batched", lambda a, b: a @ b, (2, 3, 4), (2, 4, 5)),
    same("matmul_batch_by_matrix", lambda a, b: a @ b, (2, 3, 4), (4, 5)),
    same("matmul_broadcast", lambda a, b: a @ b, (2, 1, 3, 4), (3, 4, 5)),
    Case("linear", F.linear, TF.linear, ((3, 4), (5, 4), (5,))),
    Case("linear_of_3_dims", F.linear, TF.linear, ((2, 3, 4), (5, 4))),
    Case(
        "conv2d", lambda x, w: F.conv2d(x, w), lambda x, w: TF.conv2d(x, w), (IMAGE, (5, 4, 3, 3))
    ),
    Case(
        "conv2d_all",
        lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=2, groups=2),
        lambda x, w, b: TF.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=2, groups=2),
        (IMAGE, (6, 2, 2, 3), (6,)),
    ),
    Case(
        "conv2d_depthwise",
        lambda x, w: F.conv2d(x, w, padding="same", groups=4),
        lambda x, w: TF.conv2d(x, w, padding="same", groups=4),
        (IMAGE, (4, 1, 3, 3)),
    ),
    Case("max_pool2d", lambda x: F.max_pool2d(x, 2), lambda x: TF.max_pool2d(x, 2), (IMAGE,)),
    Case(
        "max_pool2d_padded",
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: TF.max_pool2d(x, 3, 2, 1),
        (IMAGE,),
    ),
    Case("avg_pool2d", lambda x: F.avg_pool2d(x, 2), lambda x: TF.avg_pool2d(x, 2), (IMAGE,)),
    Case(
        "avg_pool2d_padded",
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: TF.avg_pool2d(x, 3, 2, 1),
        (IMAGE,),
    ),
    Case(
        "adaptive_avg_pool2d",
        lambda x: F.adaptive_avg_pool2d(x, (3, 1)),
        lambda x: TF.adaptive_avg_pool2d(x, (3, 1)),
        (IMAGE,),
    ),
    Case(
        "batch_norm_training",
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: TF.batch_norm(x, None, None, w, b, training=True),
        (IMAGE, (4,), (4,)),
    ),
    Case(
        "batch_norm_groups",
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, groups=2),
        lambda x, w, b: torch.cat(
            [TF.batch_norm(part, None, None, w, b, training=True) for part in x.chunk(2)]
        ),
        ((4, 3, 2, 2), (3,), (3,)),
    ),
    Case(
        "cross_entropy",
        lambda x: F.cross_entropy(x, flow.tensor([1, 0, 3])),
        lambda x: TF.cross_entropy(x, torch.tensor([1, 0, 3])),
        (X,),
    ),
    Case(
        "cross_entropy_none",
        lambda x: F.cross_entropy(x, flow.tensor([1, 0, 3]), reduction="none"),
        lambda x: TF.cross_entropy(x, torch.tensor([1, 0, 3]), reduction="none"),
        (X,),
    ),
    Case("mse_loss", F.mse_loss, TF.mse_loss, (X, X)),
    same("branches_that_meet", lambda a: a * a.sum() + a.exp() * a, X),
]


def inputs_of(case: Case) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    if case.positive:
        return [random.uniform(0.5, 2, shape).astype(np.float32) for shape in case.shapes]
    return [random.standard_normal(shape).astype(np.float32) for shape in case.shapes]


class Inputs(flow.nn.Module):
    """Parameters with given values, so that a step has gradients for them."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        super().__init__()
        for i, array in enumerate(arrays):
            setattr(self, f"x{i}", flow.nn.Parameter(array))


def expected(
    case: Case, arrays: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Value, gradients of sum(value * weights), and those weights, in float64."""
    xs = [torch.from_numpy(a).double().requires_grad_() for a in arrays]
    value = case.theirs(*xs)
    weights = torch.from_numpy(np.random.default_rng(8).standard_normal(tuple(value.shape)))
    (value * weights).sum().backward()
    return value.detach().numpy(), [x.grad.numpy() for x in xs], weights.numpy()


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal up to float32's rounding, relative to the largest element."""
    assert ours.shape == theirs.shape
    scale = max(float(np.abs(theirs).max(initial=0)), 1e-3)
    assert np.abs(ours - theirs).max(initial=0) <= 1e-5 * scale


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_value_and_gradient_in_a_step(case: Case) -> None:
    arrays = inputs_of(case)
    value, gradients, weights = expected(case, arrays)
    model = Inputs(arrays)
    names = [f"x{i}" for i in range(len(arrays))]

    def loss(weights: flow.Tensor) -> flow.Tensor:
        return (case.ours(*(getattr(model, name) for name in names)) * weights).sum()

    step = flow.value_and_grad(loss, model=model, mesh=flow.mesh("cpu", dp=1))
    total, ours = step.interpret(weights.astype(np.float32))
    close(total.numpy(), np.asarray((value * weights).sum()))
    for name, gradient in zip(names, gradients, strict=True):
        close(ours[name].numpy(), gradient)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_value_at_once(case: Case) -> None:
    arrays = inputs_of(case)
    close(case.ours(*(flow.tensor(a) for a in arrays)).numpy(), expected(case, arrays)[0])


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
@pytest.mark.parametrize("other", ["tensor", "number"])
def test_comparisons(name: str, other: str) -> None:
    a = np.array([[1, 2, 3], [3, 2, 1]], dtype=np.float32)
    b: Any = np.array([2, 2, 2], dtype=np.float32) if other == "tensor" else 2
    ours = getattr(flow, name)(flow.tensor(a), flow.tensor(b) if other == "tensor" else b)
    theirs = getattr(torch, name)(torch.tensor(a), torch.tensor(b))
    assert ours.dtype is flow.bool
    assert ours.numpy().tolist() == theirs.numpy().tolist()


def test_argmax_takes_the_first_of_equals() -> None:
    x = flow.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]])
    assert x.argmax(1).tolist() == [1, 0]
    assert x.argmax().item() == 1
    assert x.argmin(1).tolist() == [0, 2]


PAIRS = [
    ("float32", "int64"),
    ("int64", "int32"),
    ("bool", "int32"),
    ("float32", "bool"),
    ("int8", "uint8"),
    ("int16", "int32"),
    ("float64", "float32"),
    ("bfloat16", "float32"),
    ("bfloat16", "float16"),
    ("float16", "int64"),
]


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_promotion_of_two_tensors(a: str, b: str) -> None:
    ours = flow.ones(2, dtype=getattr(flow, a)) + flow.ones(2, dtype=getattr(flow, b))
    theirs = torch.ones(2, dtype=getattr(torch, a)) + torch.ones(2, dtype=getattr(torch, b))
    assert str(theirs.dtype).split(".")[1] == ours.dtype.title
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("dtype", ["float32", "int64", "int32"])
@pytest.mark.parametrize("number", [2, 2.5])
@pytest.mark.parametrize("op", ["add", "mul", "div", "sub"])
def test_promotion_with_a_number(dtype: str, number: float, op: str) -> None:
    ours = getattr(flow, op)(flow.tensor([1, 2, 3], dtype=getattr(flow, dtype)), number)
    theirs = getattr(torch, op)(torch.tensor([1, 2, 3], dtype=getattr(torch, dtype)), number)
    assert str(theirs.dtype).split(".")[1] == ours.dtype.title
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
