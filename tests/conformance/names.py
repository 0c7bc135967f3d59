"""The list: all names, written by hand from the specification of the API and PyTorch's documentation."""

from __future__ import annotations

from tests.conformance import (
    names_creation,
    names_elementwise,
    names_functional,
    names_indexing,
    names_modules,
    names_operators,
    names_products,
    names_reductions,
    names_shapes,
)
from tests.conformance.entry import Entry

_PARTS = (
    names_creation,
    names_elementwise,
    names_functional,
    names_indexing,
    names_modules,
    names_operators,
    names_products,
    names_reductions,
    names_shapes,
)
ENTRIES: dict[str, Entry] = {one.name: one for part in _PARTS for one in part.NAMES}
assert len(ENTRIES) == sum(len(part.NAMES) for part in _PARTS), "a name is listed twice"
