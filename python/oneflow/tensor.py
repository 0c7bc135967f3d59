"""Tensor: a logical tensor, one class for all places.

Inside a step it stands for a value of the graph; outside it holds its elements (a NumPy array) or names a state
(a parameter or buffer, whose elements may live in a session). Methods that are ops stand in oneflow.functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import dtypes
from .dtypes import DType
from .errors import Error, ShapeError
from .location import user_location
from .state import StateCell
from .traced import TracedValue, active_trace, known_value, not_a_number, used_after_trace

Source = np.ndarray | StateCell | TracedValue

# Numbers tensors of the host in the order in which they are made, so that a trace knows which are older.
serials = itertools.count()


class Tensor:
    """A logical tensor: of a step's graph, of elements on the host, or a handle on a state. Make one with
    `flow.tensor`, `flow.from_numpy`, `flow.zeros`, ..."""

    __array_priority__ = 100  # NumPy leaves `array + tensor` to us
    requires_grad = False
    _is_detached = False  # a handle on a state through which no gradient goes
    _view: Any = None  # what a tensor shows that does not own its elements (oneflow.views)
    _is_dense = True  # in PyTorch certainly contiguous
    _version = 0  # counts the writes into the elements that it owns
    _serial = -1

    def __init__(self, data: Any, dtype: DType | None = None) -> None:
        if isinstance(data, Tensor):
            data = data.numpy()
        array = dtypes.to_array(data, dtype)
        self._value: Source = array
        self._serial = next(serials)
        self._shape = array.shape
        self._dtype = dtypes.of_array(array)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles of a view own their elements: those of the whole would travel with each row."""
        state = dict(self.__dict__)
        if state.pop("_view", None) is not None:
            state["_value"] = self._source
        return state

    @classmethod
    def _traced(cls, value: TracedValue, shape: tuple[int, ...], dtype: DType) -> Tensor:
        tensor = Tensor.__new__(Tensor)
        tensor._source = value
        tensor._shape = tuple(shape)
        tensor._dtype = dtype
        return tensor

    @classmethod
    def _of_elements(cls, array: np.ndarray) -> Tensor:
        """Of an array that has one of our element types and is dense, as ops return it: nothing is looked at."""
        tensor = Tensor.__new__(Tensor)
        tensor._value = array
        tensor._serial = next(serials)
        tensor._shape = array.shape
        tensor._dtype = dtypes.of_array(array)
        return tensor

    @classmethod
    def _of_cell(cls, cell: StateCell) -> Tensor:
        tensor = Tensor.__new__(Tensor)
        tensor._source = cell
        tensor._shape = cell.shape
        tensor._dtype = cell.dtype
        return tensor

    @property
    def _source(self) -> Source:
        return self._value if self._view is None else self._view.source(self)

    @_source.setter
    def _source(self, source: Source) -> None:
        self._value = source

    # Type.

    if TYPE_CHECKING:  # oneflow.functions.binding attaches them

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the logical tensor, whatever its layout."""
        return self._shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self._dtype

    @property
    def ndim(self) -> int:
        """How many dims there are."""
        return len(self._shape)

    def dim(self) -> int:
        """How many dims there are."""
        return len(self._shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the extent of one dim."""
        if dim is None:
            return self._shape
        if not -len(self._shape) <= dim < len(self._shape):
            raise ShapeError(
                f"dim {dim} does not exist: the tensor has {len(self._shape)} dims", user_location()
            )
        return self._shape[dim]

    def numel(self) -> int:
        """How many elements there are."""
        count = 1
        for extent in self._shape:
            count *= extent
        return count

    @property
    def is_traced(self) -> bool:
        """True for a value of a step that is being traced."""
        return isinstance(self._source, TracedValue)

    @property
    def device(self) -> str:
        """Where things live is the mesh's business; outside a step it is the host."""
        return "cpu"

    # Elements.

    def numpy(self) -> np.ndarray:
        """The elements on the host. For a parameter, after all steps called so far."""
        source = self._source
        if isinstance(source, np.ndarray):
            return source
        if isinstance(source, TracedValue):
            if not source.is_of(active_trace()):
                raise used_after_trace(source)
            if (known := known_value(source)) is not None:
                return known
            raise not_a_number(self, "reading the elements")
        if active_trace() is not None:
            if (known := known_value(source)) is not None:
                return known
            raise not_a_number(self, "reading the elements of a state")
        array = source.read().view()
        array.flags.writeable = False  # write with copy_()
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __dlpack__(self, **options: Any) -> Any:
        array = self.numpy()
        if self._dtype is dtypes.bfloat16:
            raise Error(
                "__dlpack__ of oneflow.bfloat16, which NumPy cannot hand on; convert with .float()",
                user_location(),
            )
        # What may not be written is given away as a copy.
        return (array if array.flags.writeable else array.copy()).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU's memory."""
        return (1, 0)

    def item(self) -> Any:
        """The only element as a Python number. ShapeError if there are several."""
        if self.numel() != 1:
            raise ShapeError(
                f"item() needs one element, the tensor has shape {self._shape}", user_location()
            )
        return self.numpy().reshape(()).item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self.numpy().tolist()

    def _branch(self) -> Any:
        source = self._source
        if (
            isinstance(source, TracedValue)
            and source.is_of(active_trace())
            and known_value(source) is None
        ):
            raise Error(
                f"a branch on {self!r}: its value is not known while the step is traced; use flow.where(condition, "
                "a, b) to choose element by element",
                user_location(),
            )
        return self.item()

    def __bool__(self) -> bool:
        return bool(self._branch())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        if self._dtype.is_floating_point:
            raise TypeError("only integer tensors can be used as an index")
        return int(self.item())

    def __len__(self) -> int:
        if not self._shape:
            raise TypeError("len() of a 0-d tensor")
        return self._shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __format__(self, spec: str) -> str:
        unknown = isinstance(self._source, TracedValue) and known_value(self._source) is None
        if not spec or unknown:
            return repr(self) if self._shape or unknown else str(self.item())
        return format(self.item(), spec)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        source = self._source
        known = known_value(source) if not isinstance(source, np.ndarray) else None
        if isinstance(source, TracedValue) and known is None:
            shape = ",".join(str(extent) for extent in self._shape)
            place = f", at {source.location[0]}:{source.location[1]}" if source.location else ""
            return f"Tensor({self._dtype.name}[{shape}], traced{place})"
        if isinstance(source, StateCell) and active_trace() is not None and known is None:
            return f"Tensor({self._dtype.name}{list(self._shape)}, state)"
        text = np.array2string(self.numpy(), separator=", ", prefix="tensor(", precision=4)
        suffix = (
            ""
            if self._dtype in (dtypes.float32, dtypes.int64, dtypes.bool_)
            else f", dtype={self._dtype!r}"
        )
        return f"tensor({text}{suffix})"

    # States.

    def detach(self) -> Tensor:
        """The same value without a gradient; of a parameter, a handle on its state."""
        if isinstance(self._source, StateCell):
            handle = Tensor._of_cell(self._source)
            handle._is_detached = True
            return handle
        trace = active_trace()
        if trace is not None and isinstance(self._source, TracedValue):
            return trace.detach(self)
        return self

    def clone(self) -> Tensor:
        """A tensor with the elements of now: later writes to either do not reach the other."""
        trace = active_trace()
        source = self._source
        if isinstance(source, StateCell) and trace is not None:
            source = trace.read(source)._source
        if isinstance(source, TracedValue):
            copy = Tensor._traced(source, self._shape, self._dtype)
        else:
            copy = Tensor(self.numpy().copy())
        copy._is_dense = self._is_dense  # PyTorch keeps the strides
        return copy

    @property
    def data(self) -> Tensor:
        """As `detach()`."""
        return self.detach()

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets `requires_grad` and returns itself."""
        self.requires_grad = requires_grad
        return self

    def copy_(self, value: Any) -> Tensor:
        """Writes all elements: of a state, at the next step; inside a step, a state update."""
        source = self._value if self._view is None else None
        trace = active_trace()
        if isinstance(source, StateCell):
            if trace is not None:
                new = value if isinstance(value, Tensor) else Tensor(value)
                if new.shape != self._shape or new.dtype is not self._dtype:
                    raise ShapeError(
                        f"{new!r} cannot be assigned to a state of type {self._dtype.name}{list(self._shape)}",
                        user_location(),
                    )
                if source in trace.aliases:  # a name that means another tensor, which is written
                    trace.aliases[source].copy_(new)
                else:  # a tensor of its own: later writes into `value` are not the state's
                    trace.write(source, trace.wrap(trace.id_of(new), user_location()))
            else:
                array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
                source.write(np.broadcast_to(array, self._shape) if array.ndim == 0 else array)
        else:
            self._write(value)  # oneflow.functions.inplace attaches it
        return self

    def fill_(self, value: float) -> Tensor:
        """Every element becomes `value`; of a parameter or buffer at the next step."""
        return self.copy_(np.full(self._shape, value, dtype=self._dtype.numpy))

    def zero_(self) -> Tensor:
        """Every element becomes 0."""
        return self.fill_(0)

    def backward(self, *args: Any, **kwargs: Any) -> None:
        """Always an Error: gradients are part of a step. `flow.value_and_grad` returns them."""
        raise Error(
            "there is no backward() on a tensor: gradients are part of a step; use @flow.train_step, or "
            "flow.value_and_grad(fn, model=model)(batch) to look at them",
            user_location(),
        )

    @property
    def grad(self) -> None:
        """Always an Error: tensors hold no gradients. `flow.value_and_grad` returns them."""
        raise Error(
            "tensors hold no gradients; flow.value_and_grad(fn, model=model)(batch) returns them by parameter name",
            user_location(),
        )


def tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """A tensor of its own of the elements of `data` (numbers, lists, arrays); Python's floats become float32."""
    source = data.numpy() if isinstance(data, Tensor) else data
    return Tensor(dtypes.to_array(source, dtype).copy())


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory where its dtype and strides allow."""
    return Tensor(array)


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor of another library that has `__dlpack__`, in the CPU's memory, which it shares; bfloat16 is copied in
    float32's room by `x.float()` first."""
    try:
        return Tensor(np.from_dlpack(ext_tensor))
    except (AttributeError, TypeError, RuntimeError, BufferError, ValueError) as error:
        raise Error(
            f"from_dlpack of a {type(ext_tensor).__name__}: {error}; an object with __dlpack__ is needed, whose "
            "elements lie in the CPU's memory and have a type of NumPy's (of bfloat16 take .float())",
            user_location(),
        ) from None


def as_tensor(data: Any, dtype: DType | None = None) -> Tensor:
    """`data` itself if it is a tensor, else a new one."""
    return data if isinstance(data, Tensor) and dtype in (None, data.dtype) else Tensor(data, dtype)
