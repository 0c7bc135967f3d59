"""Models written for PyTorch run with their imports changed: losses, gradients and steps, under every layout.

`./dev long ported` runs every combination and more batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.ported import porting, runs
from tests.ported.runs import LAYOUTS, Port, yardsticks

if TYPE_CHECKING:
    from tests.ported.runs import Result

CASES = [
    (name, loss) for name in porting.NAMES for loss in porting.losses_of(porting.original(name))
]
MODES = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
pytestmark = pytest.mark.filterwarnings("ignore:Decorating classes:FutureWarning")


def test_there_are_enough_models() -> None:
    assert len(porting.NAMES) >= 25


@pytest.mark.parametrize("name", porting.NAMES)
def test_only_the_imports_change(name: str) -> None:
    before = (porting.MODELS / f"{name}.py").read_text()
    after = porting.ported(before)
    lines = list(zip(before.split("\n"), after.split("\n"), strict=True))
    differing = [(a, b) for a, b in lines if a != b]
    assert differing
    for a, b in differing:
        assert a.lstrip().startswith(("import torch", "from torch")), a
        assert b == a.replace("torch", "oneflow", 1) or b == "import oneflow as torch", b
    assert "oneflow" not in before


@pytest.mark.parametrize(("name", "loss"), CASES)
@MODES
def test_one_device(name: str, loss: str, training: bool) -> None:
    of_gradients, of_moves = yardsticks(name, loss, training)
    assert not of_gradients.violations(Port(name, "one").gradients(loss, training).values)
    assert not of_moves.violations(Port(name, "one").moved(loss, training).values)


@pytest.mark.parametrize(("name", "loss"), CASES)
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "one"])
def test_under_a_layout(name: str, loss: str, layout: str) -> None:
    """Gradients in eval mode and a step in training: running statistics and other buffers move as well."""
    found = Port(name, layout).gradients(loss, training=False)
    assert not yardsticks(name, loss, False)[0].violations(found.values)
    moved = Port(name, layout).moved(loss, training=True)
    assert not yardsticks(name, loss, True)[1].violations(moved.values)
    one = Port(name, "one").gradients(loss, training=False)
    assert not runs.idle(name, layout, found, one)


def _result(flops: list[int], state_bytes: list[int]) -> Result:
    counters = [{"flops": f, "state_bytes": s} for f, s in zip(flops, state_bytes, strict=True)]
    return runs.Result({}, counters)


def test_idle_devices_are_seen() -> None:
    # A plan that computes everything everywhere gives the right numbers.
    whole = sum(runs.weights("vit")[key].nbytes for key in runs.sharded("vit"))
    one = _result([1000], [whole + 500])
    assert runs.idle("vit", "dp2", _result([1000, 1000], [whole + 500] * 2), one)
    assert runs.idle("vit", "tp2", _result([500, 500], [whole + 500] * 2), one)
    assert runs.idle("vit", "pp2", _result([1000, 0], [whole, 500]), one)
    half = [whole // 2 + 500] * 2
    assert not runs.idle("vit", "dp2", _result([500, 520], [whole + 500] * 2), one)
    assert not runs.idle("vit", "tp2", _result([900, 900], half), one)
    assert not runs.idle("vit", "pp2", _result([700, 300], half), one)


def test_the_rule_sees_a_lost_term() -> None:
    """Of the gradient of one parameter, in a model with normalisation."""
    of_gradients, _ = yardsticks("gpt", "loss", True)
    values = dict(Port("gpt", "one").gradients("loss", True).values)
    key = "transformer.h.0.mlp.c_fc.weight"
    values[key] = values[key] * np.float32(1.01)
    assert of_gradients.violations(values)
