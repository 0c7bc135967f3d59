"""Modules made of modules, and of parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import Error
from ..location import user_location
from ..tensor import Tensor
from .module import Module
from .parameter import Parameter


class _Numbered(Module):
    """Modules under the names "0", "1", ..."""

    def _renumber(self, modules: list[Module]) -> None:
        self._modules.clear()
        for i, module in enumerate(modules):
            self.register_module(str(i), module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def _name(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} modules")
        return list(self._modules)[index]

    def __setitem__(self, index: int, module: Module) -> None:
        self._modules[self._name(index)] = module

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        for name in names[index] if isinstance(index, slice) else [self._name(index)]:
            del self._modules[name]
        self._renumber(list(self._modules.values()))

    def insert(self, index: int, module: Module) -> Any:
        """One more module at a place; those behind it move up. Returns itself."""
        modules = list(self._modules.values())
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def append(self, module: Module) -> Any:
        """One more module at the end. Returns itself."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """More modules at the end. Returns itself."""
        for module in list(modules):
            self.append(module)
        return self

    def pop(self, index: int) -> Module:
        """Removes the module at a place and returns it; those behind it move down."""
        module = self._modules[self._name(index)]
        assert module is not None
        del self[index]
        return module


class Sequential(_Numbered):
    """Calls its modules one after the other."""

    def __init__(self, *modules: Module | OrderedDict[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], dict):
            for name, module in modules[0].items():
                self.register_module(name, module)
        else:
            for i, entry in enumerate(modules):
                assert isinstance(entry, Module)
                self.register_module(str(i), entry)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return self._modules[self._name(index)]

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *other)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)
        return input


class ModuleList(_Numbered):
    """A list whose modules are registered."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self._modules.values())[index])
        return self._modules[self._name(index)]

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        """Equal neighbours are printed once, as in PyTorch."""
        blocks: list[tuple[int, int, str]] = []
        for i, module in enumerate(self._modules.values()):
            text = repr(module)
            if blocks and blocks[-1][2] == text:
                blocks[-1] = (blocks[-1][0], i, text)
            else:
                blocks.append((i, i, text))
        if not blocks:
            return f"{type(self).__name__}()"
        lines = []
        for first, last, text in blocks:
            label = f"({first}): " if first == last else f"({first}-{last}): {last - first + 1} x "
            lines.append(f"  {label}" + text.replace("\n", "\n  "))
        return f"{type(self).__name__}(\n" + "\n".join(lines) + "\n)"


class ModuleDict(Module):
    """A dict whose modules are registered."""

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        _check_key(self, key)
        self.register_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Removes all modules."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Removes a module and returns it."""
        module = self[key]
        del self[key]
        return module

    def keys(self) -> Any:
        """The names, in order of insertion."""
        return self._modules.keys()

    def items(self) -> Any:
        """Names with modules, in order of insertion."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules, in order of insertion."""
        return self._modules.values()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Takes over names and modules; a name that is there gets the new one."""
        for key, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[key] = module


def _check_key(container: Module, key: str) -> None:
    if not isinstance(key, str) or not key or "." in key or hasattr(type(container), key):
        raise Error(
            f"{key!r} cannot be a key of {type(container).__name__}: a name without dots is needed that is none of "
            "its methods",
            user_location(),
        )


def _as_parameter(value: Any) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value)


def _parameter_text(container: Module, items: Iterable[tuple[str, Parameter | None]]) -> str:
    lines = [
        f"  ({name}): Parameter containing: [{p.dtype!r} of size {'x'.join(map(str, p.shape))}]"
        for name, p in items
        if p is not None
    ]
    if not lines:
        return f"{type(container).__name__}()"
    return f"{type(container).__name__}(\n" + "\n".join(lines) + "\n)"


class ParameterList(Module):
    """A list of parameters; tensors become parameters."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(values or ())

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parameters.values())

    def _name(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} parameters")
        return str(index % len(self))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self._parameters.values())[index])
        return self._parameters[self._name(index)]

    def __setitem__(self, index: int, value: Tensor) -> None:
        self._parameters[self._name(index)] = _as_parameter(value)

    def append(self, value: Any) -> ParameterList:
        """One more parameter at the end; a tensor becomes one."""
        self.register_parameter(str(len(self)), _as_parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """More parameters at the end."""
        for value in list(values):
            self.append(value)
        return self

    def __repr__(self) -> str:
        return _parameter_text(self, self._parameters.items())


class ParameterDict(Module):
    """A dict of parameters; tensors become parameters."""

    def __init__(
        self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None
    ) -> None:
        super().__init__()
        self.update(parameters or {})

    def __getitem__(self, key: str) -> Any:
        return self._parameters[key]

    def __setitem__(self, key: str, value: Any) -> None:
        _check_key(self, key)
        self.register_parameter(key, _as_parameter(value))

    def __delitem__(self, key: str) -> None:
        del self._parameters[key]

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __contains__(self, key: object) -> bool:
        return key in self._parameters

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, or `default`."""
        return self._parameters.get(key, default)

    def pop(self, key: str) -> Any:
        """Removes a parameter and returns it."""
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """Removes all parameters."""
        self._parameters.clear()

    def keys(self) -> Any:
        """The names, in order of insertion."""
        return self._parameters.keys()

    def items(self) -> Any:
        """Names with parameters, in order of insertion."""
        return self._parameters.items()

    def values(self) -> Any:
        """The parameters, in order of insertion."""
        return self._parameters.values()

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Takes over names and parameters; a name that is there gets the new one."""
        for key, value in parameters.items() if isinstance(parameters, Mapping) else parameters:
            self[key] = value

    def __repr__(self) -> str:
        return _parameter_text(self, self._parameters.items())
