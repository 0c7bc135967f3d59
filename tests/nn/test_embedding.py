"""Embedding: rows by index, and the row without a gradient, against PyTorch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn
from oneflow.nn.functional import lookup

from tests.ops.test_functions import close

torch = pytest.importorskip("torch")
INDEX = np.array([[1, 0, 3], [3, 4, 1], [3, 3, 0], [2, 1, 1]])


@pytest.fixture(autouse=True)
def look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the op table has no `embedding`, rows are looked up by a product with a one-hot matrix."""
    if "embedding" in flow.ops.names():
        return

    def apply(op: str, *inputs: Any, **attrs: Any) -> Any:
        if op != "embedding":
            return flow.dispatch.apply(op, *inputs, **attrs)
        weight, index = inputs
        return F.one_hot(index, weight.shape[0]).float() @ weight

    monkeypatch.setattr(lookup, "apply", apply)


def modules(padding_idx: int | None) -> tuple[nn.Embedding, Any]:
    weight = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    ours = nn.Embedding(5, 4, padding_idx)
    theirs = torch.nn.Embedding(5, 4, padding_idx, dtype=torch.float64)
    # The padding row is not zeros here: it is a value like any other, without a gradient.
    ours.load_state_dict({"weight": weight})
    theirs.load_state_dict({"weight": torch.tensor(weight)})
    return ours, theirs


@pytest.mark.parametrize("padding_idx", [None, 3, -1])
@pytest.mark.parametrize(("dp", "accumulate"), [(1, 1), (2, 1), (2, 2)])
def test_value_and_gradient(padding_idx: int | None, dp: int, accumulate: int) -> None:
    ours, theirs = modules(padding_idx)
    value = theirs(torch.tensor(INDEX))
    close(ours(flow.tensor(INDEX)).numpy(), value.detach().numpy())
    value.square().mean().backward()
    step = flow.value_and_grad(
        lambda index: ours(index).square().mean(),
        model=ours,
        mesh=flow.mesh("cpu", threads=1, dp=dp),
        accumulate=accumulate,
    )
    loss, grads = step(INDEX)
    close(loss.numpy(), value.square().mean().detach().numpy())
    close(grads["weight"].numpy(), theirs.weight.grad.numpy())


def test_training_leaves_the_padding_row() -> None:
    ours, _ = modules(3)
    before = ours.weight.numpy().copy()
    step = flow.train_step(
        lambda index: ours(index).square().mean(),
        model=ours,
        optimizer=flow.optim.SGD(ours.parameters(), lr=0.5),
        mesh=flow.mesh("cpu", dp=1),
    )
    for _ in range(2):
        step(INDEX)
    after = ours.weight.numpy()
    assert (after[3] == before[3]).all() and (after[1] != before[1]).all()


def test_refused() -> None:
    weight = flow.ones(5, 4)
    with pytest.raises(flow.DTypeError, match="integer indices"):
        F.embedding(flow.ones(2), weight)
    with pytest.raises(flow.ShapeError, match="no row"):
        F.embedding(flow.tensor([1]), weight, padding_idx=5)
    with pytest.raises(flow.Error, match="max_norm"):
        F.embedding(flow.tensor([1]), weight, max_norm=1.0)
    model = nn.Embedding(5, 4)
    with pytest.raises(flow.Error, match="flow.where"):
        flow.eval_step(lambda i: F.embedding(i, model.weight * 2, 1), model=model)(INDEX)
