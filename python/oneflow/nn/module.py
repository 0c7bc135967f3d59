"""Module: a tree of parameters, buffers and child modules, as in PyTorch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import CheckpointError
from ..location import user_location
from ..tensor import Tensor
from ..tracing import current_trace
from .parameter import Buffer, Parameter


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) did not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Handle:
    """Removes a hook."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        self._hooks.pop(self._key, None)


class Module:
    """Base of all modules: assign parameters, buffers and modules as attributes, write `forward`."""

    training: bool

    def __init__(self) -> None:
        object.__setattr__(self, "training", True)
        object.__setattr__(self, "_parameters", OrderedDict())
        object.__setattr__(self, "_buffers", OrderedDict())
        object.__setattr__(self, "_modules", OrderedDict())
        object.__setattr__(self, "_forward_hooks", OrderedDict())
        object.__setattr__(self, "_forward_pre_hooks", OrderedDict())

    # Attributes.

    def __setattr__(self, name: str, value: Any) -> None:
        members = self.__dict__
        if "_parameters" not in members:
            raise AttributeError(
                f"call super().__init__() in {type(self).__name__} before assigning {name}"
            )
        if isinstance(value, Parameter):
            self._forget(name)
            members["_parameters"][name] = value
        elif isinstance(value, Module):
            self._forget(name)
            members["_modules"][name] = value
        elif (
            isinstance(value, Tensor)
            and isinstance(members["_buffers"].get(name), Buffer)
            and (trace := current_trace()) is not None
        ):
            trace.assign(members["_buffers"], name, value)  # a state update
        elif isinstance(value, Buffer):
            self._forget(name)
            members["_buffers"][name] = value
        elif members["_buffers"].get(name) is not None and isinstance(value, Tensor):
            members["_buffers"][name].copy_(value)
        elif name in members["_parameters"]:
            if value is not None:
                raise TypeError(
                    f"{name} is a parameter: assign an nn.Parameter, or write into it with copy_()"
                )
            members["_parameters"][name] = None
        elif name in members["_buffers"] or name in members["_modules"]:
            members["_buffers" if name in members["_buffers"] else "_modules"][name] = value
        else:
            object.__setattr__(self, name, value)

    def _forget(self, name: str) -> None:
        for members in (self.__dict__, self._parameters, self._buffers, self._modules):
            members.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        for kind in ("_parameters", "_buffers", "_modules"):
            members = self.__dict__.get(kind)
            if members is not None and name in members:
                return members[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for kind in (self._parameters, self._buffers, self._modules):
            if name in kind:
                del kind[name]
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        self._forget(name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A state of the model that no optimizer updates."""
        if tensor is not None and not isinstance(tensor, Buffer):
            tensor = Buffer(tensor, persistent)
        self._forget(name)
        self._buffers[name] = tensor

    def register_module(self, name: str, module: Module | None) -> None:
        self._forget(name)
        self._modules[name] = module

    add_module = register_module

    # Calling.

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        if trace is None:
            return self._run(args, kwargs)
        with trace.module(self):
            return self._run(args, kwargs)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in list(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, args, result)
            if changed is not None:
                result = changed
        return result

    def register_forward_hook(self, hook: Callable[..., Any]) -> Handle:
        """hook(module, args, output) -> new output or None."""
        return self._add_hook(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """hook(module, args) -> new args or None."""
        return self._add_hook(self._forward_pre_hooks, hook)

    def _add_hook(self, hooks: dict[int, Any], hook: Callable[..., Any]) -> Handle:
        key = max(hooks, default=-1) + 1
        hooks[key] = hook
        return Handle(hooks, key)

    # The tree.

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = ""
    ) -> Iterator[tuple[str, Module]]:
        """Every module once, parents first."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def get_submodule(self, target: str) -> Module:
        module: Any = self
        for part in target.split(".") if target else []:
            module = getattr(module, part)
        return module

    def _named_members(
        self, kind: str, prefix: str, recurse: bool, every_name: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        stack = self._paths(prefix) if recurse else iter([(prefix, self)])
        for path, module in stack:
            for name, member in getattr(module, kind).items():
                if member is None or (not every_name and id(member.cell) in seen):
                    continue
                seen.add(id(member.cell))
                yield f"{path}.{name}" if path else name, member

    def _paths(self, prefix: str) -> Iterator[tuple[str, Module]]:
        """Every path to a module: a shared module has several."""
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module._paths(f"{prefix}.{name}" if prefix else name)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, under its first name."""
        return self._named_members("_parameters", prefix, recurse, every_name=False)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Buffer]]:
        return self._named_members("_buffers", prefix, recurse, every_name=False)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """fn on every module, children first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self) -> Module:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def to(self, *args: Any, **kwargs: Any) -> Module:
        """Accepted for porting: where parameters live is the mesh's business."""
        return self

    def cuda(self, *args: Any) -> Module:
        return self

    def cpu(self) -> Module:
        return self

    # State.

    def state_dict(self, prefix: str = "") -> OrderedDict[str, Tensor]:
        """Handles on all parameters and persistent buffers in PyTorch's layout; nothing is read yet."""
        result: OrderedDict[str, Tensor] = OrderedDict()
        self._collect_state(prefix, result)
        return result

    def _collect_state(self, prefix: str, result: OrderedDict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            if parameter is not None:
                result[prefix + name] = parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.persistent:
                result[prefix + name] = buffer.detach()
        for name, module in self._modules.items():
            if module is not None:
                module._collect_state(f"{prefix}{name}.", result)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Writes arrays or tensors by name; takes effect at the next step. Nothing is written if anything fails."""
        own = self.state_dict()
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        if strict and (missing or unexpected):
            raise CheckpointError(
                f"the state dict does not fit {type(self).__name__}: missing {missing}, unexpected {unexpected}; "
                "strict=False loads what matches",
                user_location(),
            )
        values: dict[str, np.ndarray] = {}
        for name, target in own.items():
            if name in state_dict:
                value = np.asarray(state_dict[name])
                if tuple(value.shape) != target.shape:
                    raise CheckpointError(
                        f"{name} has shape {tuple(value.shape)} in the state dict and {target.shape} in the model",
                        user_location(),
                    )
                values[name] = value
        for name, value in values.items():
            own[name].copy_(value.astype(own[name].dtype.numpy, copy=False))
        return IncompatibleKeys(missing, unexpected)

    # Text.

    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = []
        for name, module in self._modules.items():
            lines = repr(module).split("\n")
            children.append(
                f"({name}): " + "\n".join([lines[0], *("  " + line for line in lines[1:])])
            )
        if not children:
            return f"{type(self).__name__}({extra})"
        body = ([extra] if extra else []) + children
        return f"{type(self).__name__}(\n" + "".join(f"  {line}\n" for line in body) + ")"
