"""The program that a page of the documentation shows: its ```python blocks in their order."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def program_of(page: Path) -> str:
    """The blocks as one program; "" if the page has none. A fragment is marked ```py and left out."""
    return "\n\n".join(_BLOCK.findall(page.read_text(encoding="utf-8")))
