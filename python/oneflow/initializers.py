"""How the first value of a state is made: a record, so that construction allocates nothing.

Random values are Philox4x32-10 keyed by (seed, creation index) and the logical element index: neither the layout
nor the order of materialisation changes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from . import _core
from .dtypes import DType
from .host_memory import check_allocation


class Initializer(Protocol):
    """Makes the first value."""

    @property
    def is_zeros(self) -> bool: ...

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray: ...


@dataclass(frozen=True)
class Constant:
    """Every element is `value`."""

    value: float = 0.0

    @property
    def is_zeros(self) -> bool:
        return self.value == 0

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        check_allocation("a state", shape, dtype)
        return np.full(shape, self.value, dtype=dtype.numpy)


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high)."""

    low: float
    high: float
    seed: int
    key: int
    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        check_allocation("a state", shape, dtype)
        return _core.philox_uniform(self.seed, self.key, shape, self.low, self.high).astype(
            dtype.numpy, copy=False
        )


@dataclass(frozen=True)
class Normal:
    """Normal with a mean and a standard deviation."""

    mean: float
    std: float
    seed: int
    key: int
    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        check_allocation("a state", shape, dtype)
        return _core.philox_normal(self.seed, self.key, shape, self.mean, self.std).astype(
            dtype.numpy, copy=False
        )


@dataclass(frozen=True)
class ZeroRow:
    """As another initialiser, with zeros in one row of dim 0."""

    inner: Initializer
    row: int
    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        array = self.inner.make(shape, dtype)
        array[self.row] = 0
        return array


@dataclass(frozen=True, eq=False)
class Value:
    """A value that the user gave."""

    array: np.ndarray
    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        return np.array(self.array, dtype=dtype.numpy, order="C").reshape(shape)
