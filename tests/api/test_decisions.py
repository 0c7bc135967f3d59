"""Decisions of a plan, saved and given back: what is followed, what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
import pytest
from oneflow import nn

X = np.ones((16, 32), np.float32)
Y = np.zeros(16, np.int64)


def plan_of(*args: Any, **options: Any) -> flow.Plan:
    """Compiled from one line, which stands in the comments of the decisions."""
    return train(*args, **options).compile(X, Y)


def train(parallel: Any = "auto", width: int = 64, **options: Any) -> flow.steps.TrainStep:
    """A step of a small MLP on tp=2."""
    flow.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, width), nn.ReLU(), nn.Linear(width, 10))
    return flow.train_step(
        lambda x, y: F.cross_entropy(model(x), y),
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", threads=1, tp=2),
        parallel=parallel,
        **options,
    )


def test_decisions_are_saved_and_followed(tmp_path: Path) -> None:
    rules = {"0.weight": {"tp": "S(1)"}, "2.weight": {"tp": "S(0)"}}
    plan = plan_of(rules)
    path = tmp_path / "step.decisions"
    plan.save_decisions(path)
    assert 'state "0.weight" f32[64,32] <(S(1))>' in path.read_text()
    held = flow.Decisions.load(path)
    assert held == plan.decisions and "4 states" in repr(held)
    followed = plan_of(held)
    assert followed.decisions == held and followed.fingerprint == plan.fingerprint
    # Without them, and without the rules, the layouts are others.
    assert plan_of().decisions != held


def test_each_plan_takes_its_own(tmp_path: Path) -> None:
    plans = [plan_of(width=width) for width in (64, 32)]
    held = [plan.decisions for plan in plans]
    assert plan_of(held, width=32).decisions == held[1]


def test_decisions_that_do_not_fit(tmp_path: Path) -> None:
    held = plan_of().decisions
    with pytest.raises(flow.PlanError, match=r"line \d+: the graph has changed.*is f32\[8\] now"):
        plan_of(held, width=8)
    with pytest.raises(flow.PlanError, match="made for accumulate=1, this is 2"):
        plan_of(held, accumulate=2)
    with pytest.raises(flow.PlanError, match="none of 2 decisions fits"):
        plan_of([held, held], width=8)
    with pytest.raises(flow.ShardingError, match="Decisions.load"):
        train([])
    with pytest.raises(flow.ShardingError, match="Decisions.load"):
        train("step.decisions")


def test_files_that_are_no_decisions(tmp_path: Path) -> None:
    path = tmp_path / "x.decisions"
    for content, said in [
        (b"nothing", "x.decisions: decisions, line 1: no decisions"),
        (b"\xff\xfe", "x.decisions is no text"),
        (b"oneflow decisions 7\n", "version '7' is not known here"),
    ]:
        path.write_bytes(content)
        with pytest.raises(flow.PlanError, match=said) as caught:
            flow.Decisions.load(path)
        assert caught.value.location is not None and caught.value.location.file == __file__
    with pytest.raises(flow.Error, match="No such file"):
        flow.Decisions.load(tmp_path / "absent")
