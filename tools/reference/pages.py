"""The reference as Markdown: one page per public module, from signatures and docstrings alone."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from tools.reference.names import MODULES, Entry, Member, documented_classes, entries, members

_CODE = re.compile(r"(`[^`]*`)")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class _Annotation:
    """An annotation that prints as it was written, without quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class _Default(_Annotation):
    """A default that prints the same in every run."""


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return value
    text = getattr(value, "__name__", None) if callable(value) else None
    return _Default(text or _ADDRESS.sub("", repr(value)))


def signature(value: Any, drop_first: bool = False) -> str:
    """`(a: Tensor, b: int = 1) -> Tensor`, annotations as in the source."""
    try:
        form = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"

    def annotation(one: Any) -> Any:
        return _Annotation(one) if isinstance(one, str) else one

    parameters = [
        parameter.replace(
            annotation=annotation(parameter.annotation), default=_default(parameter.default)
        )
        for parameter in form.parameters.values()
    ]
    result = annotation(form.return_annotation)
    if inspect.isclass(value):
        result = inspect.Signature.empty
    form = inspect.Signature(parameters[1:] if drop_first else parameters, return_annotation=result)
    return str(form)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is; code in backticks and indented lines stay."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("    "):
            parts = _CODE.split(line)
            line = "".join(part if part.startswith("`") else _escaped(part) for part in parts)
        lines.append(line.rstrip())
    return "\n".join(lines)


def _escaped(text: str) -> str:
    text = text.replace("](", "]\\(").replace("<", "\\<")
    return re.sub(r"\*(?=\S)|(?<=\S)\*|(?<!\w)_|_(?!\w)", lambda match: "\\" + match[0], text)


def _method(member: Member, is_static: bool) -> str:
    called = "" if member.is_property else signature(member.value, drop_first=not is_static)
    lines = _plain(member.doc).splitlines()
    return "\n".join(
        [f"- `{member.name}{called}`: {lines[0] if lines else ''}"]
        + [f"  {line}".rstrip() for line in lines[1:]]
    )


def _class(entry: Entry, documented: set[type], functions: dict[int, str]) -> list[str]:
    cls = entry.value
    bases = [base for base in cls.__mro__[1:] if base in documented]
    text = []
    if bases and bases[0].__name__ != "Module":
        text.append(f"Base: `{bases[0].__name__}`.")
    between = [base for base in cls.__mro__ if base not in bases]
    forward = next((vars(base)["forward"] for base in between if "forward" in vars(base)), None)
    if inspect.isfunction(forward) and cls.__name__ != "Function":
        text.append(f"`forward{signature(forward, drop_first=True)}`")
    result = [" ".join(text)] if text else []
    result.append(_plain(entry.doc))
    # What a base that has no entry of its own says of all its classes.
    result += [
        _plain(inspect.cleandoc(base.__doc__))
        for base in between[1:]
        if base.__module__.startswith("oneflow") and base.__name__[0] != "_" and base.__doc__
    ]
    own, bound = [], []
    for member in members(cls, documented):
        if id(member.value) in functions:
            bound.append(member.name)
        else:
            own.append(_method(member, isinstance(vars(cls).get(member.name), staticmethod)))
    if own:
        result.append("\n".join(own))
    if bound:
        names = ", ".join(f"`{name}`" for name in bound)
        result.append(
            f"The functions of the same names, this one as their first argument: {names}."
        )
    return result


def _heading(module: str) -> str:
    doc = importlib.import_module(module).__doc__ or ""
    return _plain(inspect.cleandoc(doc).splitlines()[0]) if doc else ""


def page(module: str, seen: dict[int, tuple[str, str]], documented: set[type]) -> str:
    """The page of a module; `seen` says where what stands on earlier pages is, and grows."""
    groups: dict[str, list[Entry]] = {}
    constants, elsewhere = [], []
    functions = {
        id(entry.value): entry.name
        for entry in entries("oneflow")
        if inspect.isfunction(entry.value)
    }
    for entry in entries(module):
        if not entry.is_callable:
            constants.append(entry)
        elif seen.get(id(entry.value), (module, entry.name)) != (module, entry.name):
            elsewhere.append(entry)
        else:
            groups.setdefault(entry.home, []).append(entry)
            seen[id(entry.value)] = (module, entry.name)
    parts = [f"# {module}", _plain(inspect.cleandoc(importlib.import_module(module).__doc__ or ""))]
    for home in sorted(groups):
        if home != module:
            name = home.removeprefix(f"{module}.").removeprefix("oneflow.")
            parts.append(f"## {name}\n{_heading(home)}")
        for entry in groups[home]:
            parts.append(f"### {entry.name}\n`{entry.name}{signature(entry.value)}`")
            parts += _class(entry, documented, functions) if entry.is_class else [_plain(entry.doc)]
    if constants:
        listed = [f"- `{entry.name}`: `{entry.value!r}`" for entry in constants]
        parts.append("## Constants\n" + "\n".join(listed))
    if elsewhere:
        links = []
        for entry in elsewhere:
            where, name = seen[id(entry.value)]
            links.append(f"[{entry.name}]({where}.md#{name.lower()})")
        parts.append("## Other names, and what another page describes\n" + ", ".join(links))
    return "\n\n".join(part for part in parts if part) + "\n"


def pages() -> dict[str, str]:
    """All pages by file name. What `oneflow` takes over from a module below stands on that module's page."""
    seen: dict[int, tuple[str, str]] = {}
    for module in MODULES[1:]:
        for entry in entries(module):
            if entry.is_callable and entry.home.startswith(f"{module}."):
                seen.setdefault(id(entry.value), (module, entry.name))
    documented = documented_classes()
    result = {f"{module}.md": page(module, seen, documented) for module in MODULES}
    lines = [
        "# Reference",
        "Every public name with its signature and docstring. Made from the docstrings by `./dev reference`: to change "
        "a page, change a docstring. The ops themselves: `help(oneflow.ops.conv2d)`.",
        "\n".join(f"- [{module}]({module}.md): {_heading(module)}" for module in MODULES),
    ]
    return {"README.md": "\n\n".join(lines) + "\n", **result}
