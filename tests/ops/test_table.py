"""Ops of the table that no function of test_functions.py reaches alone: values and gradients against PyTorch.

Gradients come from a graph of one op, weighted and summed, differentiated and interpreted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import oneflow as flow
import pytest
from oneflow import _core

torch = pytest.importorskip("torch")

RANDOM = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.5, 2, shape).astype(np.float32)


def value_and_gradients(
    op: str, arrays: Sequence[np.ndarray], attrs: dict[str, Any], weights: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outputs of one op, and the gradients of sum(outputs * weights) for its float inputs."""
    graph = _core.Graph("one op")

    def add(op: str, inputs: list[int], attrs: dict[str, Any] | None = None) -> list[int]:
        return graph.add_node(op, inputs, attrs or {}, None, "", None)

    feeds = {f"x{i}": array for i, array in enumerate(arrays)}
    feeds |= {f"w{i}": weight for i, weight in enumerate(weights)}
    names = {"float32": "f32", "int64": "i64"}
    ids = {
        name: add(
            "input", [], {"name": name, "dtype": names[str(a.dtype)], "shape": list(a.shape)}
        )[0]
        for name, a in feeds.items()
    }
    outputs = add(op, [ids[f"x{i}"] for i in range(len(arrays))], attrs)
    loss = -1
    for i, output in enumerate(outputs):
        add("output", [output], {"name": f"y{i}"})
        weighted = add("mul", [output, ids[f"w{i}"]])[0]
        dims = list(range(len(graph.type_of(output)[1])))
        total = add("sum", [weighted], {"dims": dims})[0]
        loss = total if loss < 0 else add("add", [loss, total])[0]
    wrt = [ids[f"x{i}"] for i, a in enumerate(arrays) if a.dtype == np.float32]
    for i, gradient in enumerate(graph.add_gradients(loss, wrt)):
        add("output", [gradient], {"name": f"g{i}"})
    results, _ = _core.run_graph(graph, feeds, {})
    return (
        [results[f"y{i}"] for i in range(len(outputs))],
        [results[f"g{i}"] for i in range(len(wrt))],
    )


def close(ours: np.ndarray, theirs: Any, relative: float = 1e-5) -> None:
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert ours.shape == theirs.shape
    scale = max(float(np.abs(theirs).max(initial=0)), 1e-3)
    assert np.abs(ours - theirs).max(initial=0) <= relative * scale


def grouped(x: Any, groups: int) -> Any:
    """[n, ..., c] as [groups, elements, c]."""
    return x.reshape(groups, -1, x.shape[-1])


def bn_sum(x: Any, groups: int) -> Any:
    return grouped(x, groups).sum(1)


def bn_sq_sum(x: Any, mean: Any, groups: int) -> Any:
    return ((grouped(x, groups) - mean[:, None]) ** 2).sum(1)


def bn_sample_sums(x: Any) -> Any:
    flat = x.reshape(len(x), -1, x.shape[-1])
    return flat.sum(1), ((flat - flat.mean(1, keepdim=True)) ** 2).sum(1)


def bn_join_squares(sums: Any, squares: Any, mean: Any, groups: int, count: int) -> Any:
    apart = grouped(sums, groups) / count - mean[:, None]
    return (grouped(squares, groups) + count * apart**2).sum(1)


def bn_apply(x: Any, mean: Any, rstd: Any, weight: Any, bias: Any, groups: int) -> Any:
    y = (grouped(x, groups) - mean[:, None]) * rstd[:, None] * weight + bias
    return y.reshape(x.shape)


def cross_entropy(logits: Any, labels: Any, classes: int = 0) -> Any:
    lse = torch.logsumexp(logits[:, : classes or None], 1)
    return lse - logits[torch.arange(len(labels)), labels], lse


def slice_grad(dy: Any, dim: int, start: int, stop: int, step: int, extent: int) -> Any:
    shape = list(dy.shape)
    shape[dim] = extent
    index = [slice(None)] * len(shape)
    index[dim] = slice(start, stop, step)
    dx = torch.zeros(shape, dtype=dy.dtype)
    dx[tuple(index)] = dy
    return dx


LABELS = np.array([2, 0, 4, 4], dtype=np.int64)
SLICE = {"dim": 1, "start": 1, "stop": 6, "step": 2, "extent": 7}
CASES: list[tuple[str, list[np.ndarray], dict[str, Any], Callable[..., Any]]] = [
    ("bn_sum", [normal(6, 2, 3, 4)], {"groups": 1}, bn_sum),
    ("bn_sum", [normal(6, 2, 3, 4)], {"groups": 3}, bn_sum),
    ("bn_sum", [normal(6, 4)], {"groups": 2}, bn_sum),
    ("bn_sq_sum", [normal(6, 2, 3, 4), normal(1, 4)], {"groups": 1}, bn_sq_sum),
    ("bn_sq_sum", [normal(6, 2, 3, 4), normal(2, 4)], {"groups": 2}, bn_sq_sum),
    ("bn_sample_sums", [normal(6, 2, 3, 4)], {}, bn_sample_sums),
    *(
        (
            "bn_join_squares",
            [normal(6, 4), positive(6, 4), normal(g, 4)],
            {"groups": g, "count": 5},
            bn_join_squares,
        )
        for g in (1, 2)
    ),
    *(
        (
            "bn_apply",
            [normal(6, 2, 3, 4), normal(g, 4), positive(g, 4), normal(4), normal(4)],
            {"groups": g},
            bn_apply,
        )
        for g in (1, 2)
    ),
    ("cross_entropy", [normal(4, 5), LABELS], {}, cross_entropy),
    ("cross_entropy", [normal(4, 8), LABELS], {"classes": 5}, cross_entropy),
    ("slice_grad", [normal(2, 3, 4)], SLICE, slice_grad),
    (
        "avg_pool2d_grad",
        [normal(2, 3, 2, 5)],
        {"kernel": [2, 3], "stride": [2, 3], "h": 6, "w": 6},
        lambda dy, kernel, stride, h, w: dy.repeat_interleave(2, 1).repeat_interleave(3, 2) / 6,
    ),
    ("permute", [normal(2, 3, 4)], {"dims": [2, 0, 1]}, lambda x, dims: x.permute(*dims)),
    (
        "matmul",
        [normal(2, 3, 5, 4), normal(3, 6, 5)],
        {"transpose_a": True, "transpose_b": True},
        lambda a, b, transpose_a, transpose_b: a.mT @ b.mT,
    ),
    (
        "matmul",
        [normal(2, 5, 4), normal(5, 6)],
        {"transpose_a": True},
        lambda a, b, transpose_a: a.mT @ b,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_value_and_gradient(
    case: tuple[str, list[np.ndarray], dict[str, Any], Callable[..., Any]],
) -> None:
    op, arrays, attrs, reference = case
    xs = [
        torch.from_numpy(a).double().requires_grad_()
        if a.dtype == np.float32
        else torch.from_numpy(a)
        for a in arrays
    ]
    expected = reference(*xs, **attrs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    weights = [normal(*y.shape) for y in expected]
    outputs, gradients = value_and_gradients(op, arrays, attrs, weights)
    for ours, theirs in zip(outputs, expected, strict=True):
        close(ours, theirs)
    sum((y * torch.from_numpy(w)).sum() for y, w in zip(expected, weights, strict=True)).backward()
    floats = [x for x in xs if x.is_floating_point()]
    for ours, x in zip(gradients, floats, strict=True):
        close(ours, x.grad)


def test_lse_alone_has_the_gradient_of_softmax() -> None:
    model = flow.nn.Linear(3, 5, bias=False)
    start = model.weight.numpy().copy()
    step = flow.train_step(
        lambda x, y: flow.ops.cross_entropy(model(x), y)[1].sum(),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=1.0),
        mesh=flow.mesh("cpu", dp=2),
    )
    x = normal(4, 3)
    step(x, LABELS).wait()
    weight = torch.from_numpy(start).double().requires_grad_()
    torch.logsumexp(torch.from_numpy(x).double() @ weight.T, 1).sum().backward()
    close(model.weight.numpy(), torch.from_numpy(start) - weight.grad)


SGD = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
]


@pytest.mark.parametrize("attrs", SGD, ids=str)
def test_sgd_is_that_of_pytorch(attrs: dict[str, Any]) -> None:
    start = normal(3, 5)
    parameter = torch.nn.Parameter(torch.from_numpy(start).double())
    optimizer = torch.optim.SGD([parameter], lr=0.2, **attrs)
    state = [flow.tensor(start), *([flow.zeros(3, 5)] if attrs.get("momentum") else [])]
    for step in range(4):
        gradient = normal(3, 5)
        parameter.grad = torch.from_numpy(gradient).double()
        optimizer.step()
        lr, count = flow.tensor(0.2), flow.tensor(step)
        result = flow.ops.sgd_update(
            state[0], flow.tensor(gradient), lr, count, *state[1:], **attrs
        )
        state = list(result) if isinstance(result, (tuple, list)) else [result]
        close(state[0].numpy(), parameter)


@pytest.mark.parametrize("attrs", [{}, {"weight_decay": 0.1, "beta1": 0.8, "eps": 1e-3}], ids=str)
def test_adamw_is_that_of_pytorch(attrs: dict[str, Any]) -> None:
    start = normal(3, 5)
    parameter = torch.nn.Parameter(torch.from_numpy(start).double())
    theirs = {k: v for k, v in attrs.items() if k != "beta1"}
    betas = (attrs.get("beta1", 0.9), 0.999)
    optimizer = torch.optim.AdamW([parameter], lr=0.2, betas=betas, **theirs)
    state = [flow.tensor(start), flow.zeros(3, 5), flow.zeros(3, 5)]
    for step in range(4):
        gradient = normal(3, 5)
        parameter.grad = torch.from_numpy(gradient).double()
        optimizer.step()
        p, m, v = state
        lr, count = flow.tensor(0.2), flow.tensor(step)
        state = list(flow.ops.adamw_update(p, flow.tensor(gradient), m, v, lr, count, **attrs))
        close(state[0].numpy(), parameter)


def test_dropout_and_its_gradient_share_the_mask() -> None:
    x = flow.ones(100, 100)
    attrs = {"p": 0.25, "seed": 1, "key": 2}
    y = flow.ops.dropout(x, flow.tensor(0), **attrs).numpy()
    kept = y != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(y[kept], 1 / 0.75, rtol=1e-6)
    dy = normal(100, 100)
    dx = flow.ops.dropout_grad(flow.tensor(dy), flow.tensor(0), **attrs).numpy()
    np.testing.assert_allclose(dx, np.where(kept, dy / np.float32(0.75), 0), rtol=1e-6)
    for other in ({"seed": 2}, {"key": 3}):
        z = flow.ops.dropout(x, flow.tensor(0), **{**attrs, **other}).numpy()
        assert ((z != 0) != kept).mean() > 0.2
    z = flow.ops.dropout(x, flow.tensor(1), **attrs).numpy()
    assert ((z != 0) != kept).mean() > 0.2, "another mask each step"


def test_running_update_folds_in_order() -> None:
    running, statistics = normal(4), normal(3, 4)
    expected = running.astype(np.float64)
    for row in statistics:
        expected = 0.9 * expected + 0.1 * row
    ours = flow.ops.running_update(
        flow.tensor(running), flow.tensor(statistics), momentum=0.1, steps=3
    )
    close(ours.numpy(), expected)
