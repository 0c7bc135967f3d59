"""Every name in every form: the cells of the table that `./dev long conformance` prints."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from tests.conformance.differences import LEFT_OUT, RAISING, WIDER
from tests.conformance.entry import FORMS
from tests.conformance.names import ENTRIES
from tests.conformance.runner import has_in_torch, run_cell


@pytest.mark.parametrize("name", ENTRIES)
def test_like_torch_in_every_form(name: str) -> None:
    cells = {form: run_cell(ENTRIES[name], form) for form in FORMS}
    wrong = {form: cell.why for form, cell in cells.items() if cell.state == "wrong"}
    assert not wrong
    assert all(cell.state == "ok" or cell.why for cell in cells.values())
    assert any(cell.state != "n/a" for cell in cells.values()), "no form applies"


def test_the_list_names_what_torch_has() -> None:
    missing = [name for name in ENTRIES if not has_in_torch(name.partition(":")[0])]
    assert not missing and len(ENTRIES) >= 300


def test_differences_are_of_names_in_the_list() -> None:
    named = {name for name, _ in [*RAISING, *WIDER, *LEFT_OUT]}
    assert named <= set(ENTRIES)
