"""examples/bert: learns under layouts and over processes, and leaves a folder that any program reads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow.models import BertForPreTraining

EXAMPLE = Path(__file__).parents[2] / "examples" / "bert" / "train.py"
SMALL = ("--steps", "50", "--batch", "16", "--context", "16", "--width", "32", "--heads", "2")
SMALL += ("--files", "10", "--vocabulary", "200", "--lr", "5e-2")


def train(*options: str, launch: tuple[str, ...] = ()) -> list[float]:
    """The losses that it prints."""
    done = subprocess.run(
        [sys.executable, *launch, str(EXAMPLE), *SMALL, *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [float(x) for x in re.findall(r"loss ([0-9.]+)", done.stdout)]


def test_learns_and_saves(tmp_path: Path) -> None:
    losses = train("--mesh", "dp=2", "--save", str(tmp_path / "bert"))
    assert losses[0] > 5.6 and losses[-1] < 4.7
    model = flow.load_pretrained(tmp_path / "bert")
    assert isinstance(model, BertForPreTraining)
    scores, _ = model.eval()(flow.Tensor(np.arange(16)[None]))
    assert np.isfinite(scores.numpy()).all()


@pytest.mark.parametrize(
    "options",
    [
        ("--mesh", "dp=2,tp=2", "--precision", "bf16"),
        ("--mesh", "pp=2", "--accumulate", "2"),
    ],
    ids=["dp2-tp2-bf16", "pp2"],
)
def test_layouts(options: tuple[str, ...]) -> None:
    losses = train(*options)
    assert losses[0] > 5.6 and losses[-1] < 4.7


def test_two_processes() -> None:
    losses = train("--mesh", "dp=2", launch=("-m", "oneflow.launch", "--nproc-per-node=2"))
    assert losses[-1] < 4.7
