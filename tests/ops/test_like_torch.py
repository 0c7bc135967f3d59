"""What a program ported from PyTorch may assume: positional forms, defaults, dtypes of results, tensors without dims.

Each case is one expression, evaluated with `lib` as either library: shape, dtype and elements must be equal, and
where PyTorch raises, ours raises too. A wrong number is worse than an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import oneflow as flow
import pytest

torch = pytest.importorskip("torch")

X = np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)
POSITIONAL: dict[str, Callable[[Any], Any]] = {
    "std unbiased": lambda lib: lib.std(lib.tensor(X), False),
    "std biased method": lambda lib: lib.tensor(X).std(unbiased=False),
    "var unbiased": lambda lib: lib.var(lib.tensor(X), False),
    "var all positional": lambda lib: lib.var(lib.tensor(X), 1, False, True),
    "var dims": lambda lib: lib.var(lib.tensor(X), (0, 1), True),
    "var correction": lambda lib: lib.var(lib.tensor(X), 0, correction=2),
    "var both": lambda lib: lib.var(lib.tensor(X), 0, True, correction=1),
    "var of one": lambda lib: lib.var(lib.tensor(X[:1]), 0),
    "var of too few": lambda lib: lib.var(lib.tensor(X[:2]), 0, correction=2),
    "var of integers": lambda lib: lib.var(lib.arange(3)),
    "mean of nothing": lambda lib: lib.zeros(0, 3).mean(0),
    "sum over no dims": lambda lib: lib.tensor(X).sum(()),
    "sum over a dim twice": lambda lib: lib.tensor(X).sum((0, -2)),
    "squeeze of several": lambda lib: lib.ones(1, 2, 1).squeeze((0, 2)),
    "softmax without dim": lambda lib: lib.nn.Softmax()(lib.ones(2, 3, 4)),
    "log_softmax without dim": lambda lib: lib.nn.LogSoftmax()(lib.ones(2, 3)),
    "clamp by nothing": lambda lib: lib.ones(2).clamp(),
    "a step beyond the end": lambda lib: lib.ones(1, 2)[0:1:2],
    "a step beyond the rest": lambda lib: lib.arange(5)[3:5:4],
    "no element by steps": lambda lib: lib.arange(5)[2:2:3],
    "cat with an empty one": lambda lib: lib.cat([lib.zeros(0), lib.ones(2, 3)], -1),
    "arange backwards": lambda lib: lib.arange(3, 1),
}
DTYPES: dict[str, Callable[[Any], Any]] = {
    "full of a bool": lambda lib: lib.full((2,), True),
    "zeros of no dtype": lambda lib: lib.zeros(2, dtype=None),
    "integer power": lambda lib: lib.arange(4) ** 5,
    "integer power of 0": lambda lib: lib.arange(4) ** 0,
    "integer to a float": lambda lib: lib.arange(4) ** 2.0,
    "integer to 1.0": lambda lib: lib.arange(4) ** 1.0,
    "integer to a negative": lambda lib: lib.arange(4) ** -1,
    "bool power": lambda lib: lib.tensor([True, False]) ** 2,
    "where of bools": lambda lib: lib.where(lib.tensor([True, False]), True, False),
    "where of bool and float": lambda lib: lib.where(lib.tensor([True, False]), True, 2.5),
    "cat of two types": lambda lib: lib.cat([lib.ones(2), lib.arange(2)]),
    "stack of two types": lambda lib: lib.stack([lib.arange(2), lib.ones(2)]),
    "0-d of a wider type": lambda lib: lib.ones(2, dtype=lib.int32) * lib.tensor(2),
    "0-d of a higher category": lambda lib: lib.ones(2, dtype=lib.int32) * lib.tensor(2.5),
    "two of 0-d": lambda lib: lib.tensor(2, dtype=lib.int32) * lib.tensor(2),
    "unsigned beside -1": lambda lib: lib.tensor([255], dtype=lib.uint8) == -1,
    "least unsigned": lambda lib: lib.tensor([3, 0, 1], dtype=lib.uint8).amin(),
    "where the least unsigned is": lambda lib: lib.tensor([3, 0, 1], dtype=lib.uint8).argmin(0),
    "least of int8": lambda lib: lib.tensor([3, -128, 1], dtype=lib.int8).min(),
    "and of bools": lambda lib: lib.tensor([True, False]) & lib.tensor([True, True]),
}
WITHOUT_DIMS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda lib: lib.tensor(3.0).sum(0),
    "sum_keepdim": lambda lib: lib.tensor(3.0).sum(-1, keepdim=True),
    "mean": lambda lib: lib.tensor(3.0).mean(-1),
    "amax": lambda lib: lib.tensor(3.0).amax(0),
    "amin": lambda lib: lib.tensor(3.0).amin(-1),
    "max_values": lambda lib: lib.tensor(3.0).max(0).values,
    "min_indices": lambda lib: lib.tensor(3.0).min(-1).indices,
    "argmax": lambda lib: lib.tensor(3.0).argmax(0),
    "argmax_keepdim": lambda lib: lib.tensor(3.0).argmax(-1, keepdim=True),
    "var": lambda lib: lib.tensor(3.0).var(0, unbiased=False),
    "std": lambda lib: lib.tensor(3.0).std(),
    "softmax": lambda lib: lib.tensor(3.0).softmax(0),
    "log_softmax": lambda lib: lib.tensor(3.0).log_softmax(-1),
    "squeeze": lambda lib: lib.tensor(3.0).squeeze(0),
    "transpose": lambda lib: lib.tensor(3.0).transpose(0, -1),
    "permute": lambda lib: lib.tensor(3.0).permute(()),
    "stack": lambda lib: lib.stack([lib.tensor(3.0), lib.tensor(4.0)]),
    "cat": lambda lib: lib.cat([lib.tensor(3.0)]),
    "split": lambda lib: lib.tensor(3.0).split(1),
    "chunk": lambda lib: lib.tensor(3.0).chunk(1),
    "narrow": lambda lib: lib.tensor(3.0).narrow(0, 0, 1),
    "dim 1": lambda lib: lib.tensor(3.0).sum(1),
    "dim -2": lambda lib: lib.tensor(3.0).softmax(-2),
}
CASES = {**POSITIONAL, **DTYPES, **{f"0-d {name}": fn for name, fn in WITHOUT_DIMS.items()}}


@pytest.mark.parametrize("name", CASES)
def test_as_torch(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = CASES[name](torch)
        except (RuntimeError, IndexError, TypeError, ValueError):
            theirs = None
    if theirs is None:
        with pytest.raises(flow.Error):
            CASES[name](flow)
        return
    ours = CASES[name](flow)
    assert ours.shape == tuple(theirs.shape)
    assert ours.dtype.title == str(theirs.dtype).removeprefix("torch.")
    if ours.dtype.is_floating_point:
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    else:
        assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 2, 2, 2)])
def test_batch_norm_of_any_rank(shape: tuple[int, ...], training: bool) -> None:
    random = np.random.default_rng(5)
    x = random.standard_normal(shape).astype(np.float32)
    numbers = [random.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4)]

    def run(lib: Any) -> list[np.ndarray]:
        mean, var, weight, bias = (lib.from_numpy(array.copy()) for array in numbers)
        y = lib.nn.functional.batch_norm(
            lib.from_numpy(x), mean, var, weight, bias, training=training
        )
        return [np.asarray(value) for value in (y, mean, var)]

    for ours, theirs in zip(run(flow), run(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_batch_norm_refuses_what_has_no_variance() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        torch.nn.functional.batch_norm(torch.ones(1, 3), None, None, training=True)
    with pytest.raises(flow.ShapeError, match="no variance"):
        flow.nn.functional.batch_norm(flow.ones(1, 3), None, None, training=True)
    with pytest.raises(flow.ShapeError, match="3 channels, weight has the shape"):
        flow.nn.functional.batch_norm(flow.ones(4, 3), None, None, flow.ones(1), training=True)


def test_a_clone_is_a_tensor_of_its_own() -> None:
    x = flow.ones(2)
    y = x.clone()
    y.zero_()
    assert x.tolist() == [1, 1]
    parameter = flow.nn.Parameter(np.ones(2, np.float32))
    before = parameter.clone()
    parameter.zero_()
    assert before.tolist() == [1, 1] and parameter.tolist() == [0, 0]


def test_nan_where_torch_has_it_in_a_step() -> None:
    model = flow.nn.Linear(1, 1)
    step = flow.eval_step(lambda x: x.var(0), model=model, mesh=flow.mesh("cpu", dp=1))
    assert np.isnan(step(np.ones((1, 2), np.float32)).numpy()).all()
