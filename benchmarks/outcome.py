"""What a benchmark returns to the runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """Figures by name (units in the name, as in `step_ms`), and whether the bar held. A list of dicts is a table."""

    figures: dict[str, Any]
    held: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)


def table(rows: list[dict[str, Any]]) -> str:
    """Columns under their names."""
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
