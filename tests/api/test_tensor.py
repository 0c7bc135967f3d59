"""Tensors outside steps: types, elements, indexing, what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import oneflow as flow
import pytest


def test_dtype_of_data() -> None:
    assert flow.tensor([1, 2]).dtype is flow.int64
    assert flow.tensor([1.5, 2]).dtype is flow.float32
    assert flow.tensor(True).dtype is flow.bool
    assert flow.tensor(np.zeros(2)).dtype is flow.float64  # as PyTorch
    assert flow.tensor(np.zeros(2, np.int32)).dtype is flow.int32
    assert flow.tensor([1, 2], dtype=flow.float32).dtype is flow.float32


def test_types_that_do_not_exist_are_refused() -> None:
    with pytest.raises(flow.DTypeError, match="complex"):
        flow.tensor(np.zeros(2, np.complex64))
    with pytest.raises(TypeError):
        flow.tensor(["a"])


def test_shape_queries() -> None:
    x = flow.zeros(2, 3, 4)
    assert x.shape == (2, 3, 4) and x.size() == (2, 3, 4) and x.size(-1) == 4
    assert x.dim() == x.ndim == 3 and x.numel() == 24 and len(x) == 2


def test_elements() -> None:
    x = flow.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.tolist() == [[1, 2], [3, 4]]
    assert x[1, 0].item() == 3 and float(x[0, 1]) == 2 and int(x[0, 0]) == 1
    assert np.asarray(x).dtype == np.float32
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    with pytest.raises(flow.ShapeError, match="one element"):
        x.item()


def test_from_numpy_shares_memory() -> None:
    array = np.zeros(3, np.float32)
    x = flow.from_numpy(array)
    array[1] = 5
    assert x.tolist() == [0, 5, 0]


def test_tensor_copies() -> None:
    array = np.zeros(3, np.float32)
    x = flow.tensor(array)
    array[1] = 5
    assert x.tolist() == [0, 0, 0]


def test_format_of_a_scalar() -> None:
    assert f"{flow.tensor(1.23456):.2f}" == "1.23"


def test_numpy_on_the_left() -> None:
    result = np.ones(2, np.float32) + flow.ones(2)
    assert isinstance(result, flow.Tensor) and result.tolist() == [2, 2]


def test_devices_are_accepted() -> None:
    x = flow.ones(2)
    assert x.cuda().cpu().to("cuda:0").contiguous() is x
    assert x.to(flow.int64).dtype is flow.int64
    assert x.long().dtype is flow.int64 and x.bool().tolist() == [True, True]


def test_random_values_follow_the_seed() -> None:
    flow.manual_seed(1)
    a, b = flow.randn(100), flow.randn(100)
    flow.manual_seed(1)
    assert flow.randn(100).tolist() == a.tolist()
    assert a.tolist() != b.tolist()
    assert set(flow.randint(0, 3, (200,)).tolist()) == {0, 1, 2}


def test_random_distributions() -> None:
    flow.manual_seed(0)
    uniform, normal = flow.rand(100_000).numpy(), flow.randn(100_000).numpy()
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.005 and abs(uniform.var() - 1 / 12) < 0.002
    assert abs(normal.mean()) < 0.01 and abs(normal.var() - 1) < 0.02
    assert abs((normal**4).mean() - 3) < 0.15


def test_dropout_at_once() -> None:
    flow.manual_seed(0)
    x = flow.nn.functional.dropout(flow.ones(10_000), 0.25).numpy()
    assert set(np.unique(x)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((x == 0).mean() - 0.25) < 0.02


def test_backward_is_refused_with_advice() -> None:
    with pytest.raises(flow.Error, match="value_and_grad"):
        flow.ones(1).backward()
    with pytest.raises(flow.Error, match="value_and_grad"):
        _ = flow.ones(1).grad


def test_import_needs_no_torch() -> None:
    program = "import sys, oneflow; assert 'torch' not in sys.modules and 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_thread_defaults_are_set_before_the_core_loads() -> None:
    program = (
        "import os; os.environ.pop('OMP_NUM_THREADS', None); os.environ.pop('OMP_WAIT_POLICY', None)\n"
        "import oneflow; assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE', os.environ\n"
        "assert int(os.environ['OMP_NUM_THREADS']) >= 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_draws_by_weights_have_their_shares() -> None:
    flow.manual_seed(0)
    weights = flow.tensor([[1.0, 0.0, 3.0], [2.0, 2.0, 4.0]])
    drawn = flow.multinomial(weights, 20_000, replacement=True).numpy()
    shares = np.stack([np.bincount(row, minlength=3) for row in drawn]) / 20_000
    assert np.abs(shares - [[0.25, 0, 0.75], [0.25, 0.25, 0.5]]).max() < 0.015
    # Without replacement the first one has the share of its weight, and none comes twice.
    first = flow.multinomial(flow.tensor([[1.0, 3.0, 4.0]] * 20_000), 2).numpy()
    assert np.abs(np.bincount(first[:, 0]) / 20_000 - [1 / 8, 3 / 8, 4 / 8]).max() < 0.015
    assert (first[:, 0] != first[:, 1]).all()
    coins = flow.bernoulli(flow.tensor([0.0, 0.2, 1.0]).expand(20_000, 3)).numpy()
    assert np.abs(coins.mean(0) - [0, 0.2, 1]).max() < 0.015
    assert flow.multinomial(flow.tensor([0.0, 1.0]), 1).tolist() == [1]
    with pytest.raises(flow.Error, match="classes of a positive weight"):
        flow.multinomial(flow.tensor([0.0, 1.0]), 2)
    with pytest.raises(flow.Error, match="negative"):
        flow.multinomial(flow.tensor([-1.0, 1.0]), 1)
    with pytest.raises(flow.Error, match="above 1"):
        flow.bernoulli(flow.tensor([1.5]))


def test_memory_goes_both_ways_by_dlpack() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    shared = flow.from_dlpack(array)
    shared[0] = 7
    assert array[0].tolist() == [7, 7, 7]
    back = np.from_dlpack(flow.tensor([[1, 2], [3, 4]]))
    assert back.dtype == np.int64 and back.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(flow.Error, match="__dlpack__"):
        flow.from_dlpack([1, 2])
    with pytest.raises(flow.Error, match=r"\.float\(\)"):
        np.from_dlpack(flow.ones(2).to(flow.bfloat16))
