"""Which names of the package are public: what its modules export, grouped by the source file that defines it."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

# One page each. The table of ops is not among them: oneflow/ops.pyi is its reference.
MODULES = (
    "oneflow",
    "oneflow.nn",
    "oneflow.nn.functional",
    "oneflow.nn.init",
    "oneflow.optim",
    "oneflow.optim.lr_scheduler",
    "oneflow.optim.lr",
    "oneflow.data",
    "oneflow.models",
    "oneflow.autograd",
    "oneflow.debug",
    "oneflow.linalg",
    "oneflow.special",
)
# What a module of the user overrides; a layer's own say nothing that its class does not.
OVERRIDDEN = ("forward", "extra_repr", "reset_parameters")


@dataclass(frozen=True)
class Entry:
    """A public name and what it stands for."""

    name: str
    value: Any

    @property
    def is_class(self) -> bool:
        return inspect.isclass(self.value)

    @property
    def is_callable(self) -> bool:
        return callable(self.value)

    @property
    def home(self) -> str:
        """The module that defines it; "" for a constant."""
        return self.value.__module__ if self.is_callable else ""

    @property
    def doc(self) -> str:
        """Its own docstring, not that of a base or the one that a dataclass makes up."""
        text = self.value.__dict__.get("__doc__") if self.is_class else self.value.__doc__
        made_up = self.is_class and str(text).startswith(f"{self.value.__name__}(")
        return "" if text is None or made_up else inspect.cleandoc(text)


def entries(module: str) -> list[Entry]:
    """The public names of a module, sorted; submodules are left out."""
    where = importlib.import_module(module)
    names = getattr(where, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(where).items()
            if getattr(value, "__module__", None) == module and not name.startswith("_")
        ]
    found = (Entry(name, getattr(where, name)) for name in sorted(set(names)))
    return [entry for entry in found if not isinstance(entry.value, ModuleType)]


@dataclass(frozen=True)
class Member:
    """A public method or property of a class."""

    name: str
    value: Any  # the function, of a property its getter
    is_property: bool

    @property
    def doc(self) -> str:
        return inspect.cleandoc(self.value.__doc__ or "")


def members(cls: type, documented: set[type]) -> list[Member]:
    """What a class adds to its bases in `documented`: methods and properties, sorted by name. An override without a
    docstring of its own means what the base says."""
    inherited = [base for base in cls.__mro__[1:] if base in documented]
    found: dict[str, Member] = {}
    for owner in cls.__mro__:
        if not owner.__module__.startswith("oneflow") or owner in inherited:
            continue
        for name, raw in vars(owner).items():
            is_property = isinstance(raw, property)
            value = raw.fget if is_property else getattr(raw, "__func__", raw)
            if name.startswith("_") or name in found or not inspect.isfunction(value):
                continue
            known = name in OVERRIDDEN or any(hasattr(base, name) for base in inherited)
            if known and (name in OVERRIDDEN or not value.__doc__):
                continue
            found[name] = Member(name, value, is_property)
    return [found[name] for name in sorted(found)]


def documented_classes() -> set[type]:
    """All public classes of all pages."""
    return {
        entry.value
        for module in MODULES
        for entry in entries(module)
        if inspect.isclass(entry.value)
    }


def without_docstring() -> list[str]:
    """Public names that say nothing of themselves, with their modules, sorted."""
    documented = documented_classes()
    missing = set()
    for module in MODULES:
        for entry in entries(module):
            if not entry.is_callable:
                continue
            if not entry.doc:
                missing.add(f"{entry.home}.{entry.value.__qualname__}")
            if inspect.isclass(entry.value):
                missing |= {
                    f"{entry.home}.{entry.name}.{member.name}"
                    for member in members(entry.value, documented)
                    if not member.doc
                }
    return sorted(missing)
