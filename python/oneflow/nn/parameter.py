"""Parameter and Buffer: tensors of a module that outlive steps, made lazily."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..dtypes import DType, float32
from ..initializers import Constant, Initializer, Value
from ..state import StateCell
from ..tensor import Tensor


class _StateTensor(Tensor):
    """A tensor whose elements are a state."""

    def __init__(
        self,
        data: Any = None,
        *,
        shape: tuple[int, ...] | None = None,
        dtype: DType = float32,
        initializer: Initializer | None = None,
    ) -> None:
        if isinstance(data, Tensor) and isinstance(data._source, StateCell):
            cell = data._source
        elif data is not None:
            array = data.numpy() if isinstance(data, Tensor) else dtypes.to_array(data)
            cell = StateCell(array.shape, dtypes.of_array(array), Value(array.copy()))
        else:
            cell = StateCell(shape or (), dtype, initializer or Constant(0.0))
        self._source = cell
        self._shape = cell.shape
        self._dtype = cell.dtype

    @property
    def cell(self) -> StateCell:
        """The state itself."""
        assert isinstance(self._source, StateCell)
        return self._source

    def _convert(self, dtype: DType, cells: dict[StateCell, StateCell]) -> None:
        """Becomes a state of another dtype with the value of now; `cells` keeps shared ones shared."""
        cell = self.cell
        if cell not in cells:
            if cell.dtype is dtype:
                return
            cells[cell] = cell.converted(dtype)
        self._source = cells[cell]
        self._dtype = dtype


class Parameter(_StateTensor):
    """A state that optimizers update. Construction allocates nothing: it records how its first value is made."""

    def __init__(
        self,
        data: Any = None,
        requires_grad: bool = True,
        *,
        shape: tuple[int, ...] | None = None,
        dtype: DType = float32,
        initializer: Initializer | None = None,
    ) -> None:
        super().__init__(data, shape=shape, dtype=dtype, initializer=initializer)
        self.requires_grad = requires_grad
        self.annotation: dict[str, str] = {}


class Buffer(_StateTensor):
    """A state that the model itself updates: running statistics, caches."""

    def __init__(
        self,
        data: Any = None,
        persistent: bool = True,
        *,
        shape: tuple[int, ...] | None = None,
        dtype: DType = float32,
        initializer: Initializer | None = None,
    ) -> None:
        super().__init__(data, shape=shape, dtype=dtype, initializer=initializer)
        self.persistent = persistent
