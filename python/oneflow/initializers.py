"""How the first value of a state is made: a record, so that construction allocates nothing.

Random values are Philox4x32-10 keyed by (seed, creation index) and the logical element index: neither the layout
nor the order of materialisation changes them.
"""

from __future__ import annotations

import math
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


# Draws of one initialiser have keys of their own, far above those of creation indices.
_DRAW = 1 << 44


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal with a mean and a standard deviation, restricted to [low, high]: by rejection, from the normal where
    the interval holds much of it, else from the uniform distribution under the peak of the density."""

    mean: float
    std: float
    low: float
    high: float
    seed: int
    key: int
    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        check_allocation("a state", shape, dtype)

        def below(x: float) -> float:
            return (1 + math.erf((x - self.mean) / (self.std * math.sqrt(2)))) / 2

        draw = self._from_normal if below(self.high) - below(self.low) > 0.3 else self._from_uniform
        result, accepted = draw(shape, 0)
        count = 1
        while not accepted.all():
            values, good = draw(shape, count)
            result = np.where(accepted, result, values)
            accepted |= good
            count += 1
        return result.astype(dtype.numpy, copy=False)

    def _from_normal(self, shape: tuple[int, ...], draw: int) -> tuple[np.ndarray, np.ndarray]:
        key = self.key + draw * _DRAW
        values = np.asarray(_core.philox_normal(self.seed, key, shape, self.mean, self.std))
        return values, (values >= self.low) & (values <= self.high)

    def _from_uniform(self, shape: tuple[int, ...], draw: int) -> tuple[np.ndarray, np.ndarray]:
        key = self.key + 2 * draw * _DRAW
        values = np.asarray(_core.philox_uniform(self.seed, key, shape, self.low, self.high))
        peak = ((max(self.low, min(self.mean, self.high)) - self.mean) / self.std) ** 2
        density = np.exp(0.5 * (peak - ((values - self.mean) / self.std) ** 2))
        chance = _core.philox_uniform(self.seed, key + _DRAW, shape, 0.0, 1.0)
        return values, np.asarray(chance) <= density


@dataclass(frozen=True)
class Eye:
    """1 on the diagonal of a matrix."""

    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        check_allocation("a state", shape, dtype)
        return np.eye(*shape, dtype=dtype.numpy)


@dataclass(frozen=True)
class Dirac:
    """A convolution that keeps its channels, in each of `groups` groups."""

    groups: int
    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        check_allocation("a state", shape, dtype)
        array = np.zeros(shape, dtype=dtype.numpy)
        per_group = shape[0] // self.groups
        center = tuple(extent // 2 for extent in shape[2:])
        for group in range(self.groups):
            for d in range(min(per_group, shape[1])):
                place = (group * per_group + d, d, *center)
                array[place] = 1
        return array


@dataclass(frozen=True)
class Orthogonal:
    """Orthonormal rows or columns of the matrix [dim 0, the others], times a gain (Saxe et al. 2013)."""

    gain: float
    seed: int
    key: int
    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        check_allocation("a state", shape, dtype)
        rows = shape[0]
        columns = math.prod(shape[1:])
        flat = np.asarray(_core.philox_normal(self.seed, self.key, (rows, columns), 0.0, 1.0))
        q, r = np.linalg.qr(flat.T if rows < columns else flat)
        q = q * np.sign(np.diag(r))  # uniform over the orthogonal matrices (Mezzadri 2006)
        matrix = (q.T if rows < columns else q) * self.gain
        return np.ascontiguousarray(matrix.reshape(shape).astype(dtype.numpy))


@dataclass(frozen=True)
class Sparse:
    """Normal with a standard deviation; in each column `zeros` elements at random places are 0."""

    zeros: int
    std: float
    seed: int
    key: int
    is_zeros = False

    def make(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        array = Normal(0.0, self.std, self.seed, self.key).make(shape, dtype)
        order = _core.philox_uniform(self.seed, self.key + _DRAW, shape, 0.0, 1.0)
        places = np.argsort(np.asarray(order), axis=0)[: self.zeros]
        np.put_along_axis(array, places, 0, axis=0)
        return array


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
