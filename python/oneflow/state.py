"""StateCell: a logical tensor that outlives steps: parameter, buffer, optimizer slot, captured constant.

Construction allocates nothing: a cell records how to make its first value. Its current value lives in one place,
the host array or the store (a session on one mesh) that wrote it last; `version` counts the writes, so that any
store sees whether its copy is current.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import numpy as np

from .dtypes import DType
from .errors import Error, ShapeError
from .initializers import Initializer, Value
from .location import user_location


class Home(Protocol):
    """Where values of states live between steps; store.Store is one."""

    def read(self, cell: StateCell) -> np.ndarray: ...


class StateCell:
    """See the module."""

    __slots__ = (
        "dtype",
        "shape",
        "initializer",
        "version",
        "_home",
        "_array",
        "_array_version",
        "__weakref__",
    )

    def __init__(self, shape: tuple[int, ...], dtype: DType, initializer: Initializer) -> None:
        self.shape = tuple(int(extent) for extent in shape)
        self.dtype = dtype
        self.initializer = initializer
        self.version = 0
        # Weak: a store keeps its cells, and a session (threads, arenas) must go with its model at once.
        self._home: weakref.ref[Home] | None = None
        self._array: np.ndarray | None = None
        self._array_version = -1

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy or a pickle is a state of its own with the value of now: the record of the first value where that
        is what it is, else the elements."""
        return (StateCell, (self.shape, self.dtype, self._value_of_now()))

    def _value_of_now(self) -> Initializer:
        untouched = self._home is None and self._array is None
        return self.initializer if untouched else Value(self.read().copy())

    def converted(self, dtype: DType) -> StateCell:
        """A state of its own with the value of now in another dtype."""
        return StateCell(self.shape, dtype, self._value_of_now())

    def read(self) -> np.ndarray:
        """The current value; waits for steps in flight that write it."""
        if self._array is None or self._array_version != self.version:
            if self._home is not None:
                home = self.home
                if home is None:
                    raise Error(
                        "the value of this parameter lived in the session of a model that was freed; keep the"
                        " model, or read the parameter before",
                        user_location(),
                    )
                self.cache(home.read(self))
            else:
                self.cache(self.initializer.make(self.shape, self.dtype))
        assert self._array is not None
        return self._array

    def take(self) -> np.ndarray:
        """The current value, to be copied at once: a first value is made and not kept."""
        untouched = self._home is None and self._array is None
        return self.initializer.make(self.shape, self.dtype) if untouched else self.read()

    @property
    def home(self) -> Home | None:
        """The store that wrote it last, if that is where its value is."""
        return self._home() if self._home is not None else None

    @property
    def is_on_host(self) -> bool:
        """True if reading it moves no bytes."""
        return self._array is not None and self._array_version == self.version

    def cache(self, array: np.ndarray) -> None:
        """`array` is the current value."""
        self._array = array
        self._array_version = self.version

    def forget(self) -> None:
        """Drops the copy here of a value that lives in a store."""
        if self.home is not None:
            self._array = None

    def write(self, array: np.ndarray) -> None:
        """A new value from the host; takes effect at the next step."""
        if tuple(array.shape) != self.shape:
            raise ShapeError(
                f"a value of shape {tuple(array.shape)} cannot be copied into a state of shape {self.shape}",
                user_location(),
            )
        self._array = np.array(array, dtype=self.dtype.numpy, order="C")
        self.version += 1
        self._array_version = self.version
        self._home = None

    def initialize(self, initializer: Initializer) -> None:
        """Replaces the record of the first value."""
        self.initializer = initializer
        self.version += 1
        self._home = None
        self._array = None

    def written_by(self, store: Home) -> None:
        """A launched step of `store` writes it."""
        self.version += 1
        self._home = weakref.ref(store)
        self._array = None

    @property
    def is_fresh_zeros(self) -> bool:
        """True while nobody wrote it and its first value is zeros: stores start so without a copy."""
        return self._home is None and self._array is None and self.initializer.is_zeros
