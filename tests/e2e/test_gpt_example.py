"""examples/gpt: trains under layouts, over processes and in bf16 and fp16 to the same curve, and writes letters of the text,
from a folder that is read again too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow.models import GPT2, Llama

EXAMPLE = Path(__file__).parents[2] / "examples" / "gpt" / "train.py"
SMALL = ("--steps", "50", "--batch", "8", "--context", "32", "--width", "32", "--lr", "1e-2")


def train(*options: str, launch: tuple[str, ...] = ()) -> tuple[list[float], str]:
    """The losses that it prints, and what it wrote."""
    done = subprocess.run(
        [sys.executable, *launch, str(EXAMPLE), *SMALL, *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    losses = [float(x) for x in re.findall(r"loss ([0-9.]+)", done.stdout)]
    return losses, done.stdout.split(" s\n")[-1]


def test_learns_and_writes() -> None:
    losses, written = train("--write", "20")
    assert losses[0] > 4.2 and losses[-1] < 3.3
    assert written.startswith("def ") and len(written.rstrip("\n")) >= 20


@pytest.mark.parametrize(
    "options",
    [
        ("--mesh", "dp=2,tp=2"),
        ("--mesh", "pp=2", "--accumulate", "2"),
        ("--mesh", "dp=2", "--precision", "bf16"),
        ("--mesh", "dp=2,tp=2", "--precision", "fp16"),
    ],
    ids=lambda options: "-".join(options[1::2]),
)
def test_has_the_same_curve(options: tuple[str, ...]) -> None:
    losses, _ = train("--write", "0", *options)
    assert losses[0] == pytest.approx(train("--write", "0")[0][0], abs=0.02)
    assert losses[-1] < 3.3


def test_two_processes_write_the_text_of_one(tmp_path: Path) -> None:
    launch = ("-m", "oneflow.launch", "--nproc-per-node=2")
    save = ("--save", str(tmp_path / "gpt"))
    losses, written = train("--mesh", "dp=2", "--write", "40", *save, launch=launch)
    assert losses[-1] < 3.3
    alone = train("--mesh", "dp=2", "--write", "40")[1]
    assert written.removeprefix("[rank0]: ") == alone
    assert alone.startswith("def ") and len(alone) == 45
    assert isinstance(flow.load_pretrained(tmp_path / "gpt"), GPT2)


def test_stages_in_two_processes_save_all_weights(tmp_path: Path) -> None:
    launch = ("-m", "oneflow.launch", "--nproc-per-node=2")
    for name, how in (("two", launch), ("one", ())):
        options = ("--mesh", "pp=2", "--steps", "3", "--write", "0", "--save", str(tmp_path / name))
        train(*options, launch=how)
    two, one = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("two", "one"))
    assert two == one


def test_a_llama_is_saved_and_goes_on_writing(tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    losses, _ = train("--model", "llama", "--write", "0", "--save", str(folder))
    assert losses[-1] < 3.3
    model = flow.load_pretrained(folder)
    assert isinstance(model, Llama)
    tokens = model.generate(np.ones((2, 3), np.int64), 20)
    assert tokens.shape == (2, 23) and tokens.max() < model.config.vocab_size
