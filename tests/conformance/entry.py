"""What the list of conformance is made of: names, calls, operands, and what is known to differ from PyTorch.

A name (`flow.sum`, `Tensor.sum`, `F.gelu`, `nn.GRU`) has one or more calls; a call is written once and run in every
form of FORMS. Nothing here is read from the code under test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DTYPES = {
    "f64": "float64",
    "bf16": "bfloat16",
    "f16": "float16",
    "i64": "int64",
    "i32": "int32",
    "i16": "int16",
    "i8": "int8",
    "u8": "uint8",
    "bool": "bool",
}
FORMS = {
    "value": "float32, tensors by position and options by keyword",
    "gradient": "of a weighted sum of the results, against float64",
    **{form: f"operands in {title}" for form, title in DTYPES.items()},
    "empty": "the first extent is 0",
    "one": "all extents are 1",
    "0-d": "tensors without dims; dims that are named are dim 0",
    "odd": "extents that fill no vector",
    "broadcast": "operands of different shapes",
    "strided": "operands that are not dense",
    "negative": "dims counted from the end",
    "beyond": "a dim that does not exist",
    "deeper": "one dim more in front of every operand",
    "keyword": "all arguments by keyword",
    "positional": "all arguments by position",
    "mixed": "operands of two dtypes",
    "number": "a Python number for the second operand",
    "special": "nan, infinities, zeros of both signs",
}


@dataclass(frozen=True)
class T:
    """A tensor operand. Letters of `shape` are extents that the form chooses; numbers stay."""

    shape: str = "n k"
    domain: str = "normal"  # normal, positive, unit (-1, 1), share (0, 1), above (1, inf), sign (-1 or 1), index, mask
    dtype: str | None = None  # None: the form's
    below: str | int | None = None  # of an index: the letter or number that it stays below
    constant: bool = False  # no gradient is asked for

    @property
    def is_free(self) -> bool:
        """Its dtype is the form's."""
        return self.dtype is None


@dataclass(frozen=True)
class D:
    """A dim, or several, of the first operand, counted from the front."""

    dims: int | tuple[int, ...]
    new: bool = False  # counts a dim that the result has and the operand does not


@dataclass(frozen=True)
class Several:
    """A sequence of operands, as `cat` takes it."""

    items: tuple[T, ...]


@dataclass(frozen=True)
class Call:
    """One way to call a name. Arguments in PyTorch's order; those of `only` by keyword alone."""

    arguments: Mapping[str, Any]
    only: Mapping[str, Any] = field(default_factory=dict)
    init: tuple[Any, ...] = ()  # of a module: the arguments of its construction
    options: Mapping[str, Any] = field(default_factory=dict)  # of a module: those by keyword
    factor: float = 4.0  # errors allowed, in units of the dtype's last place of the largest result
    broadcast: tuple[tuple[int, ...], ...] | None = (
        None  # shapes of that form, of operands that have letters
    )
    judged: str = "value"  # "torch": by PyTorch in the same dtype; "type": shape and dtype alone
    least: float = 0.0  # results count as at least so large
    number: bool = False  # the second operand may be a Python number
    special: bool = False  # elementwise in floating point: nan and infinities have a defined result
    named: bool = True  # PyTorch takes its arguments by keyword
    extents: Mapping[str, int] = field(default_factory=dict)  # in place of the usual ones


@dataclass(frozen=True)
class Entry:
    """A name with its calls."""

    name: str  # behind a colon: what is special about its calls
    calls: tuple[Call, ...]


def entry(name: str, *calls: Call) -> Entry:
    return Entry(name, calls)


ROLES = {
    "factor",
    "least",
    "broadcast",
    "judged",
    "number",
    "special",
    "named",
    "only",
    "init",
    "options",
    "extents",
}


def call(*operands: Any, **given: Any) -> Call:
    """call(X, dim=D(1), keepdim=True): the first operands are `input` and `other`."""
    roles = {role: given.pop(role) for role in sorted(ROLES & set(given))}
    arguments = dict(zip(("input", "other"), operands, strict=False))
    assert len(operands) <= 2, operands
    return Call({**arguments, **given}, **roles)
