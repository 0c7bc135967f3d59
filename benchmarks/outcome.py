"""What a benchmark returns to the runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """Figures by name (units in the name, as in `step_ms`), and whether the bar held."""

    figures: dict[str, Any]
    held: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
