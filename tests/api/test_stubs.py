"""ops.pyi is what the op table says, and the raw ops can be called."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import oneflow as flow
import pytest
from oneflow import _core

ROOT = Path(__file__).parents[2]


def test_the_stub_is_current() -> None:
    command = [sys.executable, str(ROOT / "python" / "make_stubs.py"), "--check"]
    subprocess.run(command, check=True, timeout=60)


def test_every_op_has_a_docstring() -> None:
    for name in dir(flow.ops):
        assert len(getattr(flow.ops, name).__doc__) > 20, name


def test_docstrings_say_which_tensors_share_a_dtype() -> None:
    text = flow.ops.layer_norm.__doc__
    assert "    x: T. " in text and "    weight: optional, T. " in text and "    mean: S. " in text
    assert "Types:\n    T: f32|f64|bf16|f16\n    S: f32|f64, given by T" in text
    assert "    y: bool. " in flow.ops.eq.__doc__ and "    y: dtype. " in flow.ops.cast.__doc__


def test_docstrings_and_stubs_list_the_words_of_an_enum() -> None:
    op = _core.describe_op("input")
    assert "    kind: 'batch'|'whole'|'scalar' (default 'batch'). " in flow.ops.docstring(op)
    kind = next(attr for attr in op["attrs"] if attr["name"] == "kind")
    path = ROOT / "python" / "make_stubs.py"
    attribute = runpy.run_path(str(path))["attribute"]
    assert attribute(kind) == 'kind: Literal["batch", "whole", "scalar"] = ...'


def test_tensors_of_one_type_have_one_dtype() -> None:
    x = flow.tensor([1.0, 2.0])
    with pytest.raises(
        flow.DTypeError, match=r"a is f32\[2\] and b is i64\[2\].*b\.to\(a\.dtype\)"
    ) as caught:
        flow.ops.add(x, flow.tensor([1, 2]))
    assert caught.value.location is not None
    assert Path(caught.value.location.file).name == "test_stubs.py"
    assert flow.ops.add(x, flow.tensor([1, 2]).to(x.dtype)).tolist() == [2, 4]


def test_raw_ops() -> None:
    x = flow.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert flow.ops.sum(x, dims=[0]).tolist() == [4, 6]
    assert flow.ops.cat(x, x, dim=1).shape == (2, 4)
    with pytest.raises(flow.Error, match="missing a required"):
        flow.ops.sum(x)
