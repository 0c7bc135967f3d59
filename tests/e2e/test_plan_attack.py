"""No plan hurts, small: 500 changes. `./dev long plan-text` makes 100,000 under ASan and UBSan."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow import _core

from tests.e2e.plan_attack import attack, save_jobs


def test_changes_of_a_plans_text_are_refused_by_name_or_hurt_nobody(tmp_path: Path) -> None:
    verdict = attack(save_jobs(tmp_path), seed=1, count=500)
    assert not verdict.crashes, "\n".join(verdict.crashes)
    assert not verdict.wrong, "\n".join(verdict.wrong)
    assert verdict.made == 500
    # Both ends were met: plans that are refused, and plans that run.
    assert verdict.counts["refused_by_parser"] > 20
    assert verdict.counts["refused_by_proof"] > 100
    assert verdict.counts["ran"] > 20
    assert verdict.rss_mib < 1024


class Sliced(flow.nn.Module):
    """A product whose result is cut: matmul (with a workspace), slice and slice_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = flow.nn.Linear(8, 6)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.fc(x)[:, 1:4]


@pytest.fixture(scope="module")
def text() -> str:
    model = Sliced()

    def loss(x: flow.Tensor) -> flow.Tensor:
        return (model(x) * model(x)).mean()

    step = flow.train_step(
        loss,
        model=model,
        optimizer=flow.optim.SGD(model.parameters(), lr=0.1),
        mesh=flow.mesh("cpu", threads=1, dp=1),
    )
    return step.compile(x=np.ones((16, 8), np.float32)).text


def load(text: str) -> None:
    """Loads what verifies: with kernels, in virtual time."""
    plan = _core.Plan.parse_text(text)
    plan.verify()
    _core.VirtualRuntime([plan], with_kernels=True)


def test_the_plan_itself_loads(text: str) -> None:
    load(text)


@pytest.mark.parametrize("op", ["slice", "slice_grad"])
def test_a_slice_that_starts_far_away_is_refused_by_name(text: str, op: str) -> None:
    changed = re.sub(
        rf"(task t\d+ \S+ op={op} .*?\n  attrs {{[^}}]*start=)1",
        r"\g<1>1000000000",
        text,
        count=1,
        flags=re.S,
    )
    assert changed != text
    with pytest.raises(flow.PlanError, match=rf"{op}\S* \(.*\): {op}: .*1000000000") as raised:
        load(changed)
    assert __file__.rsplit("/", 1)[-1] in str(raised.value)


def test_a_workspace_that_is_too_small_on_this_machine_is_refused_by_name(text: str) -> None:
    task = re.search(r"task t\d+ \"?(matmul[^\s\"]*)\"? .*?workspace=r(\d+)", text)
    assert task
    name, register = task.groups()
    changed = re.sub(
        rf"(register r{register} )u8\[\d+\](.* bytes=)\d+", r"\g<1>u8[64]\g<2>64", text, count=1
    )
    assert changed != text
    with pytest.raises(
        flow.PlanError, match=rf"{re.escape(name)}: its workspace has 64 bytes, but"
    ):
        load(changed)


def test_a_plan_for_another_instruction_set_is_refused(text: str) -> None:
    isa = re.search(r" isa=(\w+)", text)
    assert isa
    other = "avx2" if isa.group(1) != "avx2" else "avx512"
    with pytest.raises(
        flow.PlanError,
        match=f"made for the instruction set {other}, this machine has {isa.group(1)}",
    ):
        load(text.replace(isa.group(0), f" isa={other}"))
