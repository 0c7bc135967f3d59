"""Rotary positions (Su et al. 2021): queries and keys are turned by angles that grow with the position.

Component i is paired with i + width / 2, as in the published Llama weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import nn
from ..dtypes import float32
from ..errors import Error, ShapeError
from ..functions import cast, cat, cos, sin, unsqueeze
from ..initializers import Value
from ..location import user_location
from ..nn.functional.classes import class_numbers
from ..tensor import Tensor

# What each kind of stretching needs to be told.
_SCALINGS = {
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}


def frequencies(width: int, theta: float, scaling: Mapping[str, Any] | None = None) -> np.ndarray:
    """f64 [width / 2]: angle per position of each pair.

    scaling {"rope_type": "linear", "factor"}: all angles divided by the factor (Chen et al. 2023). "llama3": only the
    pairs that turn slower than low_freq_factor times within original_max_position_embeddings; those that turn faster
    than high_freq_factor times stay, and between the two it blends (Grattafiori et al. 2024).
    """
    own = theta ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    kind = rope_type(scaling)
    if scaling is None or kind == "default":
        return own
    if kind == "linear":
        return own / scaling["factor"]
    turns = scaling["original_max_position_embeddings"] * own / (2 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return own * (kept + (1 - kept) / scaling["factor"])


def rope_type(scaling: Mapping[str, Any] | None) -> str:
    """The kind of a scaling, all of whose numbers are there; an error if it is none of ours."""
    if scaling is None:
        return "default"
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return kind
    if not isinstance(kind, str) or kind not in _SCALINGS:
        raise Error(
            f"rope_scaling of type {kind!r} is not known; there are default, {', '.join(_SCALINGS)}",
            user_location(),
        )
    for name in _SCALINGS[kind]:
        value = scaling.get(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is None or not is_number or not 0 < value <= 1e12:
            raise Error(
                f"rope_scaling of type {kind!r} needs a positive number {name!r}, not {value!r}",
                user_location(),
            )
    if kind == "llama3" and not scaling["high_freq_factor"] > scaling["low_freq_factor"]:
        raise Error("rope_scaling: high_freq_factor must be above low_freq_factor", user_location())
    return kind


class RotaryEmbedding(nn.Module):
    """cos and sin of the angles at positions 0 .. length - 1, f32 [length, width / 2], or at positions [n, l],
    f32 [n, 1, l, width / 2]. Angles are computed in float32 under every precision."""

    def __init__(self, width: int, theta: float, scaling: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if width % 2:
            raise ShapeError(f"heads of width {width}: pairs need an even width", user_location())
        if not theta > 0:
            raise Error(f"rope_theta={theta!r}: a number above 0", user_location())
        values = frequencies(width, theta, scaling).astype(np.float32)
        self.register_buffer(
            "inv_freq",
            nn.Buffer(shape=values.shape, initializer=Value(values), persistent=False),
        )

    def forward(self, positions: Tensor | int) -> tuple[Tensor, Tensor]:
        at = class_numbers(positions) if isinstance(positions, int) else positions[:, None]
        angles = unsqueeze(cast(at, float32), -1) * self.inv_freq
        return cos(angles), sin(angles)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Heads [n, h, l, width] turned; in x's dtype."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    turned = cat([first * cosine - second * sine, second * cosine + first * sine], -1)
    return cast(turned, x.dtype)
