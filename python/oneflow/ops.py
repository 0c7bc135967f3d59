"""The op table itself: `oneflow.ops.conv2d(x, weight, stride=(1, 1))`, one function per op.

Signatures, docstrings and the stub ops.pyi come from the table. The functions of PyTorch's names stand above these,
in oneflow and oneflow.nn.functional.
"""

from __future__ import annotations

import inspect
from typing import Any

from . import _core
from .dispatch import apply_all
from .errors import Error
from .location import user_location
from .tensor import Tensor


def names() -> list[str]:
    """All ops that can be called, sorted."""
    return [name for name in _core.op_names() if _core.describe_op(name)["callable"]]


def _argument(arg: dict[str, Any]) -> str:
    kind = "one or more, " if arg["variadic"] else "optional, " if arg["optional"] else ""
    return f"    {arg['name']}: {kind}{arg['type'] or '|'.join(arg['dtypes'])}. {arg['doc']}"


def docstring(op: dict[str, Any]) -> str:
    """What help() shows of an op; what is of one type T has one dtype in a call."""
    lines = [op["doc"], "", "Inputs:"]
    lines += [_argument(arg) for arg in op["inputs"]]
    if op["attrs"]:
        lines += ["", "Attributes:"]
        for attr in op["attrs"]:
            kind = "|".join(map(repr, attr["words"])) or attr["kind"]
            default = "" if attr["required"] else f" (default {attr['default']!r})"
            lines.append(f"    {attr['name']}: {kind}{default}. {attr['doc']}")
    lines += ["", "Outputs:"]
    lines += [_argument(arg) for arg in op["outputs"]]
    if op["types"]:
        lines += ["", "Types:"]
        for one in op["types"]:
            source = f", given by {one['source']}" if one["source"] else ""
            lines.append(f"    {one['name']}: {'|'.join(one['dtypes'])}{source}")
    return "\n".join(lines)


def signature(op: dict[str, Any]) -> inspect.Signature:
    """Inputs by position, attributes by keyword."""
    parameters = []
    for arg in op["inputs"]:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        default: Any = inspect.Parameter.empty
        if arg["variadic"]:
            kind = inspect.Parameter.VAR_POSITIONAL
        elif arg["optional"]:
            default = None
        parameters.append(inspect.Parameter(arg["name"], kind, default=default))
    for attr in op["attrs"]:
        default = inspect.Parameter.empty if attr["required"] else attr["default"]
        parameters.append(
            inspect.Parameter(attr["name"], inspect.Parameter.KEYWORD_ONLY, default=default)
        )
    return inspect.Signature(parameters)


def _make(name: str) -> Any:
    op = _core.describe_op(name)
    form = signature(op)
    inputs = op["inputs"]

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = form.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise Error(f"{name}: {error}", user_location()) from None
        tensors: list[Tensor] = []
        for arg in inputs:
            value = bound.pop(arg["name"], None)
            given = value if arg["variadic"] else [] if value is None else [value]
            tensors += [x if isinstance(x, Tensor) else Tensor(x) for x in given]
        results = apply_all(name, tensors, **bound)
        return results[0] if len(op["outputs"]) == 1 else tuple(results)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = docstring(op)
    call.__signature__ = form  # type: ignore[attr-defined]
    return call


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in names():
        raise AttributeError(f"there is no op {name!r}")
    function = _make(name)
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return names()
