"""Views: tensors whose elements are those of another one, so that writing into either is seen in both.

Values never change; what changes is which value a Tensor names. A tensor made by `reshape`, `permute`, `slice` or
`broadcast_to` remembers the tensor that it shows (`Tensor._view`). Writing into it writes the whole into that one and
so on to the root, the tensor that owns the elements; a view that is read after its root was written shows it anew.
So `x[i] = v`, `x += 1` and `x.transpose(0, 1).relu_()` mean what they mean in PyTorch, and gradients follow.

Whether PyTorch copies or not is not always known here: `reshape` of a transposed tensor is a view only where the
strides allow. Writing is legal then; to read the other one afterwards is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .custom_gradients import Function
from .errors import Error
from .grad_mode import enable_grad, is_grad_enabled, set_grad_enabled
from .location import user_location
from .state import StateCell
from .tensor import Tensor
from .traced import TracedValue, used_after_trace
from .tracing import Trace, current_trace

# Ops whose result shows their input.
VIEWS = frozenset({"reshape", "permute", "slice", "broadcast_to"})

Apply = Callable[..., Tensor]


class View:
    """What a tensor shows: `parent` through `op`. `seen` says which elements of the root its value is made of."""

    __slots__ = ("_apply", "_attrs", "_has_gradient", "_op", "parent", "root", "seen")

    def __init__(self, parent: Tensor, op: str, attrs: dict[str, Any], apply: Apply) -> None:
        self.parent = parent
        self.root: Tensor = parent._view.root if isinstance(parent._view, View) else parent
        self._op, self._attrs, self._apply = op, attrs, apply
        self._has_gradient = is_grad_enabled()
        self.seen = _elements(self.root)

    def source(self, tensor: Tensor) -> Any:
        """The current value of `tensor`, which is this view."""
        now = _elements(self.root)
        if now != self.seen:
            # As when it was made, whoever reads it first.
            with set_grad_enabled(self._has_gradient):
                tensor._value = self._apply(self._op, self.parent, **self._attrs)._value
            self.seen = now
        return tensor._value

    def write(self, tensor: Tensor, new: Tensor) -> None:
        """`tensor` has the elements of `new` from here on, and so have all that show them."""
        assign(self.parent, self._whole(new))
        tensor._value, self.seen = new._source, _elements(self.root)
        if not is_grad_enabled():
            self.seen = None  # shown anew when it is read: the gradient goes where it went before

    def _whole(self, new: Tensor) -> Tensor:
        """The parent with `new` where this view stands in it."""
        parent, apply, attrs = self.parent, self._apply, self._attrs
        if self._op == "reshape":
            return apply("reshape", new, shape=list(parent.shape))
        if self._op == "permute":
            dims = attrs["dims"]
            return apply("permute", new, dims=[dims.index(i) for i in range(len(dims))])
        if self._op == "broadcast_to":
            raise Error(
                "an expanded tensor is written in place: several of its elements are one; use .clone() before",
                user_location(),
            )
        return _with_slice(parent, new, apply, **attrs)


class Uncertain(View):
    """A tensor of which only PyTorch knows whether it is a view of `parent` or a copy, and parts without gradient.

    The two are equal until one is written; after that the other cannot be read.
    """

    __slots__ = ("_why",)

    def __init__(self, parent: Tensor, why: str) -> None:
        super().__init__(parent, "", {}, _no_op)
        self._why = why

    def source(self, tensor: Tensor) -> Any:
        if _elements(self.root) != self.seen:
            raise _unknown(self._why, user_location())
        return tensor._value

    def write(self, tensor: Tensor, new: Tensor) -> None:
        root = self.root
        if isinstance(root._value, StateCell):
            raise _unknown(self._why, user_location())
        root._view = Unknown(self._why)
        root._version += 1
        tensor._value, self.seen = new._source, _elements(root)


class Unknown:
    """In the place of a view: a root of which only PyTorch knows what it holds."""

    def __init__(self, why: str) -> None:
        self._why, self._location = why, user_location()

    def source(self, tensor: Tensor) -> Any:
        raise _unknown(self._why, self._location)

    def write(self, tensor: Tensor, new: Tensor) -> None:
        tensor._view = None  # all of it is known again
        assign(tensor, new)


def same(a: Tensor, b: Tensor) -> bool:
    """True if both certainly show the same elements of one tensor in the same way."""
    if a is b:
        return True
    x, y = a._view, b._view
    if type(x) is not View or type(y) is not View:
        return False
    return x._op == y._op and x._attrs == y._attrs and same(x.parent, y.parent)


def _no_op(*args: Any, **kwargs: Any) -> Tensor:
    raise AssertionError("an uncertain view is never made anew")


def _unknown(why: str, location: Any) -> Error:
    return Error(
        f"a tensor is read after another one was written in place that may share its elements: {why}; write `x = x + y` "
        "instead of `x += y`, or make the copy explicit with .clone()",
        location,
    )


def _elements(root: Tensor) -> Any:
    """Differs whenever the elements of the root do."""
    source = root._value
    if not isinstance(source, StateCell):
        return root._version
    trace = current_trace()
    return source.version if trace is None else trace.read(source)._value


def attach(result: Tensor, input: Tensor, op: str, attrs: dict[str, Any], apply: Apply) -> None:
    """`result` shows `input` through `op`."""
    result._view = View(input, op, attrs, apply)
    if op == "slice":
        before = [extent for extent in input.shape[: attrs["dim"]] if extent != 1]
        result._is_dense = input._is_dense and not before and attrs["step"] == 1
    else:
        result._is_dense = input._is_dense and op == "reshape"


def uncertain(result: Tensor, input: Tensor, why: str) -> Tensor:
    """`result`, equal to `input` or made of its elements in order, of which it may be a copy."""
    if result is input:
        result = Tensor.__new__(Tensor)
        result._value, result._shape, result._dtype = input._source, input._shape, input._dtype
    result._view = Uncertain(input, why)
    return result


def fresh(result: Tensor) -> Tensor:
    """`result`, of which the tensor that it shows was made for it alone."""
    result._view = None
    return result


def _with_slice(
    parent: Tensor, new: Tensor, apply: Apply, dim: int, start: int, stop: int, step: int
) -> Tensor:
    extent = parent.shape[dim]

    def part(begin: int, end: int) -> Tensor:
        return apply("slice", parent, dim=dim, start=begin, stop=end, step=1)

    if step == 1:
        parts = [part(0, start)] if start else []
        parts += [new] if stop > start else []
        parts += [part(stop, extent)] if stop < extent else []
        return apply("cat", *parts, dim=dim)
    # The elements between stay: of each group of `step`, the first is new.
    count = new.shape[dim]
    pieces = [part(0, start)] if start else []
    for i in range(count):
        at = start + i * step
        pieces.append(apply("slice", new, dim=dim, start=i, stop=i + 1, step=1))
        end = min(at + step, extent) if i + 1 < count else extent
        if at + 1 < end:
            pieces.append(part(at + 1, end))
    return apply("cat", *pieces, dim=dim)


class _Unnoticed(Function):
    """A write under no_grad: the elements are new, the gradient goes where it went before."""

    @staticmethod
    def forward(ctx: Any, old: Tensor, new: Tensor) -> Tensor:
        return new

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


def assign(tensor: Tensor, new: Tensor) -> None:
    """`tensor` has the elements of `new`, of the same shape and dtype, from here on; so has all that shows them."""
    if tensor._view is not None:
        tensor._view.write(tensor, new)
        return
    source, trace = tensor._value, current_trace()
    if isinstance(source, StateCell):
        _write_state(source, new, trace)
        return
    if trace is None:
        if isinstance(source, TracedValue):
            raise used_after_trace(source)
        elements = new.numpy()
        if source.flags.writeable:
            source[...] = elements
        else:
            tensor._value = elements.copy()
    else:
        if isinstance(source, np.ndarray) and tensor._serial < trace.first_serial:
            raise Error(
                "a tensor made outside the step is written in place inside it: the function runs once, so this would "
                "happen once; make it a buffer of the module (register_buffer), or .clone() it first",
                user_location(),
            )
        tensor._value = _written(tensor, new, trace)
    tensor._version += 1
    if trace is not None:
        _write_buffers_of(tensor, trace)


def _write_buffers_of(root: Tensor, trace: Trace) -> None:
    """After `module.buffer = x` the two are one tensor: what is written into x changes the state."""
    for cell, value in trace.aliases.items():
        if root is (value._view.root if isinstance(value._view, View) else value):
            trace.write(cell, trace.wrap(trace.id_of(value), user_location()))


def _write_state(cell: StateCell, new: Tensor, trace: Trace | None) -> None:
    if trace is None:
        cell.write(new.numpy())
    elif (same := trace.aliases.get(cell)) is not None:
        assign(same, new)
    else:
        trace.write(cell, trace.wrap(trace.id_of(new), user_location()))


def _written(tensor: Tensor, new: Tensor, trace: Trace) -> Any:
    """The value of `new` for the root `tensor` inside a step."""
    old, value = tensor._value, new._source
    if isinstance(value, StateCell):
        value = trace.read(value)._source
    if (
        is_grad_enabled()
        or not isinstance(old, TracedValue)
        or not isinstance(value, TracedValue)
        or not tensor.dtype.is_floating_point
        or trace.is_stopped(old.id)
    ):
        return value
    with enable_grad():
        before = Tensor._traced(old, tensor.shape, tensor.dtype)
        return _Unnoticed.apply(before, new)._source


def is_parameter_of_a_step(tensor: Tensor) -> bool:
    """True where PyTorch refuses to write in place: a leaf, or a view of it, that requires a gradient."""
    root = tensor._view.root if isinstance(tensor._view, View) else tensor
    return (
        current_trace() is not None
        and is_grad_enabled()
        and isinstance(root._value, StateCell)
        and root.requires_grad
        and not root._is_detached
    )
