"""Bytes that each device receives in a step, counted where they move, equal the formulas of the collectives."""

from __future__ import annotations

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

WIDTH = 192  # a gradient is too large to go straight from each device to all others
BATCH = 24
WEIGHT_BYTES = WIDTH * WIDTH * 4


def bytes_of_a_step(axes: dict[str, int], parallel: object = "auto") -> list[int]:
    flow.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(WIDTH, WIDTH, bias=False), nn.ReLU(), nn.Linear(WIDTH, WIDTH, bias=False)
    )
    step = flow.train_step(
        lambda x, y: F.cross_entropy(net(x), y, ignore_index=None),
        model=net,
        optimizer=flow.optim.SGD(net.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", **axes),
        parallel=parallel,
    )
    random = np.random.default_rng(0)
    x = random.standard_normal((BATCH, WIDTH)).astype(np.float32)
    y = random.integers(0, WIDTH, BATCH)
    counted = []
    for _ in range(2):
        float(step(x, y)["loss"])
        counted.append([c["received_bytes"] for c in step.counters()])
    return [after - before for before, after in zip(*counted, strict=True)]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_data_parallel_is_one_all_reduce_per_gradient(n: int) -> None:
    # A ring moves 2 T (n - 1) / n; the loss, one element, comes straight from the n - 1 others.
    expected = 2 * (2 * WEIGHT_BYTES) * (n - 1) // n + (n - 1) * 4
    assert bytes_of_a_step({"dp": n}) == [expected] * n


def test_column_then_row_parallel_layers_reduce_once_forward() -> None:
    # Megatron's pair: the first layer's output stays cut, the second layer's is summed: T (n - 1) 2 / n.
    # Backward the gradient of the pair's input is not needed: it is the batch.
    rules = {"0.weight": {"tp": "S(0)"}, "2.weight": {"tp": "S(1)"}}
    assert bytes_of_a_step({"tp": 2}, rules) == [BATCH * WIDTH * 4] * 2
