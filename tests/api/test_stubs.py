"""ops.pyi is what the op table says, and the raw ops can be called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import oneflow as flow
import pytest

ROOT = Path(__file__).parents[2]


def test_the_stub_is_current() -> None:
    command = [sys.executable, str(ROOT / "python" / "make_stubs.py"), "--check"]
    subprocess.run(command, check=True, timeout=60)


def test_every_op_has_a_docstring() -> None:
    for name in dir(flow.ops):
        assert len(getattr(flow.ops, name).__doc__) > 20, name


def test_raw_ops() -> None:
    x = flow.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert flow.ops.sum(x, dims=[0]).tolist() == [4, 6]
    assert flow.ops.cat(x, x, dim=1).shape == (2, 4)
    with pytest.raises(flow.Error, match="missing a required"):
        flow.ops.sum(x)
