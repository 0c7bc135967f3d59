"""Writes oneflow/ops.pyi from the op table and oneflow/_core.pyi from the bindings' signatures.

./dev python python/make_stubs.py           rewrites them
./dev python python/make_stubs.py --check   fails if that would change one
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from oneflow import _core, ops

PACKAGE = Path(__file__).parent / "oneflow"
HEAD = "# Made by python/make_stubs.py: do not edit.\n"

_ATTRIBUTE_TYPES = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "string": "str",
    "dtype": "str",
    "ints": "Sequence[int]",
    "floats": "Sequence[float]",
    "strings": "Sequence[str]",
}


def attribute(attr: dict[str, Any]) -> str:
    """One keyword parameter of an op."""
    if attr["kind"] == "enum":
        kind = f"Literal[{', '.join(json.dumps(word) for word in attr['words'])}]"
    else:
        kind = _ATTRIBUTE_TYPES[attr["kind"]]
    text = f"{attr['name']}: {kind}"
    return text if attr["required"] else f"{text} = ..."


def op_stub(name: str) -> str:
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
        parts += [attribute(attr) for attr in op["attrs"]]
    count = len(op["outputs"])
    result = "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"
    doc = "\n".join(f"    {line}".rstrip() for line in ops.docstring(op).splitlines())
    body = "".join(f"    {part},\n" for part in parts)
    return f'def {name}(\n{body}) -> {result}:\n    """\n{doc}\n    """\n'


def ops_stub() -> str:
    """ops.pyi."""
    stubs = "\n".join(map(op_stub, ops.names()))
    literal = "from typing import Literal\n" if "Literal[" in stubs else ""
    imports = f"from collections.abc import Sequence\n{literal}\nfrom .tensor import Tensor\n\n"
    return HEAD + imports + "def names() -> list[str]: ...\n\n" + stubs


# What pybind11 prints -> what a reader of Python writes.
_REWRITES = [
    (r"(typing_extensions|collections\.abc)\.Buffer", "bytes | memoryview | np.ndarray"),
    (r"oneflow\._core\.", ""),
    (r"oneflow::(\w+)", r"\1"),
    (r"typing\.Supports(Int|Float) \| typing\.SupportsIndex", r"\1"),
    (r"typing\.Supports(Int|Float)", r"\1"),
    (r"\bInt\b", "int"),
    (r"\bFloat\b", "float"),
    (r"collections\.abc\.|typing\.", ""),
    (r"numpy\.ndarray", "np.ndarray"),
    (r"\blist\b(?!\[)", "list[Any]"),
    (r"\bdict\b(?!\[)", "dict[str, Any]"),
    (r"\btuple\b(?!\[)", "tuple[Any, ...]"),
    (r"transport: Transport\b", "transport: Transport | None"),
    (r"-> Transport\b", "-> Transport"),
]


def signature(doc: str) -> str:
    """The first line of a pybind11 docstring as Python types."""
    text = doc.strip().splitlines()[0]
    for pattern, replacement in _REWRITES:
        text = re.sub(pattern, replacement, text)
    return re.sub(r"self: \w+", "self", text)


def function_stub(doc: str, indent: str = "") -> str:
    """A function or method with its docstring."""
    lines = doc.strip().splitlines()
    text = " ".join(line.strip() for line in lines[1:] if line.strip())
    head = f"{indent}def {signature(doc)}:"
    return f'{head}\n{indent}    """{text}"""\n' if text else f"{head} ...\n"


def class_stub(cls: type) -> str:
    """A bound class."""
    text = f"class {cls.__name__}:\n"
    if cls.__doc__:
        text += f'    """{cls.__doc__.strip()}"""\n\n'
    for name, member in sorted(vars(cls).items()):
        if isinstance(member, property):
            result = signature(member.fget.__doc__ or "").split(" -> ")[1]
            text += f"    @property\n    def {name}(self) -> {result}: ...\n"
        elif isinstance(member, staticmethod):
            doc = getattr(cls, name).__doc__ or ""
            text += "    @staticmethod\n" + function_stub(doc, "    ")
        elif f"{name}(self:" in (member.__doc__ or "") and (name == "__init__" or name[0] != "_"):
            text += function_stub(member.__doc__, "    ")
    return text


def core_stub() -> str:
    """_core.pyi."""
    imports = "from collections.abc import Mapping, Sequence\nfrom typing import Any\n\nimport numpy as np\n\n"
    members = {name: getattr(_core, name) for name in dir(_core) if not name.startswith("_")}
    classes = [class_stub(m) for m in members.values() if isinstance(m, type)]
    functions = [function_stub(m.__doc__) for m in members.values() if not isinstance(m, type)]
    return HEAD + imports + "\n".join(classes) + "\n" + "\n".join(functions)


def main() -> int:
    """Returns the exit status."""
    stale = 0
    for name, text in (("ops.pyi", ops_stub()), ("_core.pyi", core_stub())):
        path = PACKAGE / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.name} is not current: run ./dev python python/make_stubs.py")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
