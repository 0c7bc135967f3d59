"""The rule of testing.md: errors are judged by PyTorch float32's own error against float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Tensors = Mapping[str, np.ndarray]

FACTOR = 3.0
FLOOR = 1e-6  # of the norm of all tensors: what is zero in theory


def norm(x: np.ndarray) -> float:
    """2-norm in float64."""
    return float(np.linalg.norm(np.asarray(x, dtype=np.float64).ravel()))


@dataclass
class Yardstick:
    """float64 values and how far PyTorch float32 is from them, per tensor."""

    exact: dict[str, np.ndarray]
    error32: dict[str, float]
    q: float
    total: float

    @staticmethod
    def make(exact: Tensors, single: Tensors) -> Yardstick:
        """`exact` from PyTorch float64, `single` from PyTorch float32."""
        exact64 = {name: np.asarray(value, dtype=np.float64) for name, value in exact.items()}
        error32 = {name: norm(single[name] - exact64[name]) for name in exact64}
        relative = [
            error32[name] / norm(value) for name, value in exact64.items() if norm(value) > 0
        ]
        q = float(np.percentile(relative, 90)) if relative else 0.0
        total = norm(np.array([norm(value) for value in exact64.values()]))
        return Yardstick(exact64, error32, q, total)

    def allowed(self, name: str) -> float:
        """Largest distance that the rule accepts for a tensor."""
        own = self.error32[name] + self.q * norm(self.exact[name])
        return FACTOR * (own + FLOOR * self.total)

    def violations(self, ours: Tensors, against: Tensors | None = None) -> list[str]:
        """Tensors of `ours` farther from `against` (by default the float64 values) than is allowed."""
        reference = self.exact if against is None else against
        assert sorted(ours) == sorted(self.exact), (sorted(ours), sorted(self.exact))
        problems = []
        for name, value in ours.items():
            distance = norm(np.asarray(value, dtype=np.float64) - reference[name])
            if not distance <= self.allowed(name):  # nan is a violation
                problems.append(
                    f"{name}: distance {distance:.3g}, allowed {self.allowed(name):.3g}"
                )
        return problems
