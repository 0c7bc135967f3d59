"""Embedding: rows by index, and the row without a gradient, against PyTorch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

from tests.ops.test_functions import close

torch = pytest.importorskip("torch")
INDEX = np.array([[1, 0, 3], [3, 4, 1], [3, 3, 0], [2, 1, 1]])


def modules(padding_idx: int | None) -> tuple[nn.Embedding, Any]:
    weight = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    ours = nn.Embedding(5, 4, padding_idx)
    theirs = torch.nn.Embedding(5, 4, padding_idx, dtype=torch.float64)
    # The padding row is not zeros here: it is a value like any other, without a gradient.
    ours.load_state_dict({"weight": weight})
    theirs.load_state_dict({"weight": torch.tensor(weight)})
    return ours, theirs


@pytest.mark.parametrize("padding_idx", [None, 3, -1])
@pytest.mark.parametrize(
    ("axes", "accumulate"), [({"dp": 1}, 1), ({"dp": 2}, 1), ({"dp": 2}, 2), ({"tp": 2}, 1)]
)
def test_value_and_gradient(padding_idx: int | None, axes: dict[str, int], accumulate: int) -> None:
    ours, theirs = modules(padding_idx)
    value = theirs(torch.tensor(INDEX))
    close(ours(flow.tensor(INDEX)).numpy(), value.detach().numpy())
    value.square().mean().backward()
    step = flow.value_and_grad(
        lambda index: ours(index).square().mean(),
        model=ours,
        mesh=flow.mesh("cpu", threads=1, **axes),
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


@pytest.mark.parametrize("split", ["S(0)", "S(1)"])
def test_a_table_is_cut_over_the_vocabulary_or_the_features(split: str) -> None:
    ours, theirs = modules(None)
    theirs(torch.tensor(INDEX)).square().mean().backward()
    step = flow.value_and_grad(
        lambda index: ours(index).square().mean(),
        model=ours,
        mesh=flow.mesh("cpu", tp=2),
        parallel={"weight": {"tp": split}},
    )
    _, grads = step(INDEX)
    close(grads["weight"].numpy(), theirs.weight.grad.numpy())


@pytest.mark.parametrize("index", [5, -1])
def test_an_index_out_of_range_leaves_the_weight(index: int) -> None:
    ours, _ = modules(None)
    step = flow.train_step(
        lambda index: ours(index).square().mean(),
        model=ours,
        optimizer=flow.optim.SGD(ours.parameters(), lr=0.5),
        mesh=flow.mesh("cpu", dp=1),
    )
    step(INDEX)
    before = ours.weight.numpy().copy()
    with pytest.raises(flow.DataError, match=rf"{index}.*5"):
        step(np.full((4, 3), index)).wait()
    assert (ours.weight.numpy() == before).all()
    with pytest.raises(flow.DataError):
        F.embedding(flow.tensor([index]), flow.ones(5, 4))
