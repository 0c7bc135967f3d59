"""Heads whose number of classes is no multiple of 8, in 16 bits on a GPU: products take padded scores, and losses and
states have the bits of the step without."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn, store

from tests.e2e.soft_trace import PLUGIN
from tests.e2e.test_cuda import KINDS

CLASSES, PADDED = 37, 40
X = np.random.default_rng(0).standard_normal((16, 24)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, CLASSES, 16)


@pytest.fixture(params=KINDS)
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "software":
        monkeypatch.setenv("ONEFLOW_CUDA_LIBRARY", str(PLUGIN))


def make(
    precision: str, bias: bool, shows: bool = False, accumulate: int = 1, **axes: int
) -> tuple[Any, nn.Module]:
    flow.manual_seed(1)
    model = nn.Sequential(nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, CLASSES, bias=bias))

    def loss(x: Any, y: Any) -> Any:
        scores = model(x)
        value = F.cross_entropy(scores, y)
        return {"loss": value, "scores": scores} if shows else value

    step = flow.train_step(
        loss,
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.5),
        mesh=flow.mesh("cuda", threads=1, **(axes or {"dp": 1})),
        accumulate=accumulate,
        precision=precision,
    )
    return step, model


@pytest.mark.parametrize("layout", [{}, {"dp": 2}, {"dp": 2, "accumulate": 2}], ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_losses_and_states_keep_their_bits(
    monkeypatch: pytest.MonkeyPatch, cuda: None, precision: str, bias: bool, layout: dict[str, int]
) -> None:
    runs = {}
    for padded in (True, False):
        monkeypatch.setattr(store, "FUSES", padded)
        step, model = make(precision, bias, **layout)
        losses = [float(step(X, Y)["loss"]) for _ in range(4)]
        assert np.isfinite(losses).all() and losses[-1] < losses[0]
        states = flow.gather(model.state_dict())
        runs[padded] = (losses, {name: value.numpy().copy() for name, value in states.items()})
        text = step.compile(X, Y).text
        assert (f"classes={CLASSES}" in text) == padded
        columns = {int(n) for n in re.findall(r"\b(?:bf16|f16)\[\d+,(\d+)\]", text)}
        assert (PADDED in columns) == padded
        assert (CLASSES in columns) != padded, "scores of the classes alone"
    assert runs[True][0] == runs[False][0]
    for name, value in runs[True][1].items():
        assert np.array_equal(value, runs[False][1][name]), name


def test_not_where_it_is_not_needed_or_the_scores_are_shown(cuda: None) -> None:
    for precision, shows in (("fp32", False), ("bf16", True)):
        step, _ = make(precision, True, shows)
        assert f"classes={CLASSES}" not in step.compile(X, Y).text
    assert step(X, Y)["scores"].shape == (16, CLASSES)


def test_a_label_behind_the_classes_is_wrong_data(cuda: None) -> None:
    step, _ = make("bf16", False)
    step(X, Y).wait()
    labels = Y.copy()
    labels[3] = CLASSES  # there is a column of this number
    with pytest.raises(flow.DataError, match=f"index {CLASSES}"):
        step(X, labels).wait()
