"""docs/reference/ is what the docstrings say, and every public name has one."""

from __future__ import annotations

from pathlib import Path

import oneflow as flow
import pytest
from oneflow import nn

from tools.reference import names, pages, write

LONGEST = 74_000  # bytes of a page: it is still read


def test_every_public_name_has_a_docstring() -> None:
    assert names.without_docstring() == []


def test_a_name_without_docstring_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow.add, "__doc__", None)
    monkeypatch.setattr(nn.Module.parameters, "__doc__", "")
    assert names.without_docstring() == [
        "oneflow.functions.elementwise.add",
        "oneflow.nn.module.Module.parameters",
        "oneflow.tensor.Tensor.add",
    ]


def test_the_pages_are_current() -> None:
    assert write.stale() == [], "run ./dev reference and commit docs/reference/"


def test_a_stale_page_is_found(tmp_path: Path) -> None:
    for name, text in pages.pages().items():
        (tmp_path / name).write_text(text)
    assert write.stale(tmp_path) == []
    (tmp_path / "oneflow.nn.md").write_text("# oneflow.nn\n")
    (tmp_path / "oneflow.gone.md").write_text("# gone\n")
    (tmp_path / "oneflow.optim.md").unlink()
    assert write.stale(tmp_path) == ["oneflow.gone.md", "oneflow.nn.md", "oneflow.optim.md"]


def test_a_page_says_what_help_says() -> None:
    page = pages.pages()["oneflow.nn.md"]
    entry = page.split("### Linear\n")[1].split("\n### ")[0]
    assert entry.startswith(
        "`Linear(in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None)`\n"
    )
    assert "`forward(input: Tensor) -> Tensor`" in entry and "weight is [out" in entry


def test_pages_are_short_enough_and_name_no_address() -> None:
    for name, text in pages.pages().items():
        assert len(text.encode()) < LONGEST, name
        assert " at 0x" not in text, name
