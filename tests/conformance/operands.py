"""Operands of a form: arrays from fixed seeds, away from the kinks of the functions."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from tests.conformance.entry import D, T

SIZES = {"b": 2, "n": 3, "k": 4, "m": 5, "c": 4, "h": 6, "w": 7, "l": 9, "s": 4}
ODD = {"b": 3, "n": 5, "k": 17, "m": 7, "c": 4, "h": 9, "w": 11, "l": 13, "s": 4}
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-30, -20.0, 0.1)
BROADCAST = ((3, 4), (4,), (3, 1), (1, 4))


def extents(spec: T, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(sizes[part] if part in sizes else int(part) for part in spec.shape.split())


def generator(*key: Any) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def whole_numbers(random: np.random.Generator, spec: T, shape: Any, dtype: str) -> np.ndarray:
    """Small integers inside the domain."""
    low, high = {
        "positive": (1, 5),
        "above": (1, 5),
        "unit": (-1, 2),
        "share": (0, 2),
        "count": (0, 4),
    }.get(spec.domain, (-4, 5))
    if dtype in ("uint8", "bool"):
        low = max(low, 0)
    if dtype == "bool":
        high = 2
    if spec.domain in ("distinct", "sorted") and dtype != "bool":
        count = int(np.prod(shape))
        values = np.arange(count) if spec.domain == "sorted" else random.permutation(count)
        return (values - (0 if low == 0 else count // 2)).reshape(shape)
    if spec.domain == "sign":
        return random.choice([1] if low == 0 else [-1, 1], shape)
    return random.integers(low, high, shape)


def real_numbers(random: np.random.Generator, spec: T, shape: Any) -> np.ndarray:
    if spec.domain == "positive":
        return random.uniform(0.5, 2, shape)
    if spec.domain == "unit":
        return random.uniform(-0.9, 0.9, shape)
    if spec.domain == "share":
        return random.uniform(0.1, 0.9, shape)
    if spec.domain == "above":
        return random.uniform(1.1, 3, shape)
    if spec.domain == "sign":
        return random.choice([-1.0, 1.0], shape)
    if spec.domain == "count":
        return random.integers(0, 4, shape).astype(np.float64)
    values = random.standard_normal(shape)
    if spec.domain == "sorted":
        return np.sort(values, axis=-1) if values.ndim else values
    if spec.domain == "distinct":  # no two nearer than a bfloat16 can tell
        count = int(np.prod(shape))
        values = (random.permutation(count) - count / 2.0).reshape(shape) / 4
    return values


def array_of(spec: T, shape: tuple[int, ...], dtype: str, sizes: dict[str, int], key: Any) -> Any:
    """The operand in float64 or in integers, exactly as the dtype will hold it but for the rounding of narrow floats."""
    random = generator(key, spec, shape, dtype)
    if spec.domain == "index":
        below = sizes.get(spec.below, spec.below)  # type: ignore[arg-type,call-overload]
        return random.integers(0, max(int(below), 1), shape)
    if spec.domain == "places":  # each at most once
        below = sizes.get(spec.below, spec.below)  # type: ignore[arg-type,call-overload]
        return np.resize(random.permutation(int(below)), shape)
    if spec.domain == "mask":
        return random.random(shape) < 0.5
    if dtype in ("float32", "float64", "float16", "bfloat16"):
        return real_numbers(random, spec, shape)
    return whole_numbers(random, spec, shape, dtype)


def dims_of(dim: D, form: str, rank: int) -> Any:
    """The dims that a form passes for `dim`, of an operand of `rank` dims."""
    rank += dim.new
    several = isinstance(dim.dims, tuple)
    dims = list(dim.dims) if isinstance(dim.dims, tuple) else [dim.dims]
    if form == "0-d":
        dims = [0]
    elif form == "negative":
        dims = [d - rank for d in dims]
    elif form == "beyond":
        dims[0] = rank
    return tuple(dims) if several else dims[0]
