"""Writes oneflow/ops.pyi from the op table, and checks that the one in the tree is current.

./dev python python/make_stubs.py           rewrites it
./dev python python/make_stubs.py --check   fails if it would change
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import oneflow
from oneflow import _core, ops

STUB = Path(__file__).parent / "oneflow" / "ops.pyi"

_TYPES = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "string": "str",
    "dtype": "str",
    "ints": "Sequence[int]",
    "floats": "Sequence[float]",
    "strings": "Sequence[str]",
}


def parameter(attr: dict[str, Any]) -> str:
    """One keyword parameter."""
    text = f"{attr['name']}: {_TYPES[attr['kind']]}"
    return text if attr["required"] else f"{text} = ..."


def function(name: str) -> str:
    """The stub of one op."""
    op = _core.describe_op(name)
    parts = []
    for arg in op["inputs"]:
        if arg["variadic"]:
            parts.append(f"*{arg['name']}: Tensor")
        else:
            parts.append(f"{arg['name']}: Tensor" + (" | None = ..." if arg["optional"] else ""))
    if op["attrs"]:
        if not any(arg["variadic"] for arg in op["inputs"]):
            parts.append("*")
        parts += [parameter(attr) for attr in op["attrs"]]
    count = len(op["outputs"])
    result = "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"
    doc = "\n".join(f"    {line}".rstrip() for line in ops.docstring(op).splitlines())
    body = "".join(f"    {part},\n" for part in parts)
    return f'def {name}(\n{body}) -> {result}:\n    """\n{doc}\n    """\n'


def stub() -> str:
    """The whole stub."""
    head = (
        "# Made by python/make_stubs.py from the op table: do not edit.\n"
        "from collections.abc import Sequence\n\n"
        "from .tensor import Tensor\n\n"
        "def names() -> list[str]: ...\n"
    )
    return head + "\n" + "\n".join(function(name) for name in ops.names())


def main() -> int:
    """Returns the exit status."""
    text = stub()
    if "--check" in sys.argv[1:]:
        if not STUB.exists() or STUB.read_text() != text:
            print(
                f"{STUB} is not current: run python/make_stubs.py with oneflow {oneflow.__version__}"
            )
            return 1
        return 0
    STUB.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
