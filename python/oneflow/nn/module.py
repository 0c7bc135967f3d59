"""Module: a tree of parameters, buffers and child modules, as in PyTorch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..dtypes import DType
from ..errors import CheckpointError, DTypeError, Error
from ..location import user_location
from ..state import StateCell
from ..tensor import Tensor
from ..tracing import current_trace
from .parameter import Buffer, Parameter


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) did not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Handle:
    """Removes a hook: by remove(), or at the end of a `with` block."""

    def __init__(self, hooks: OrderedDict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """The hook is not called any more; removing twice is legal."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class _Hook(NamedTuple):
    """A function that a module calls around its forward, and whether it takes the keyword arguments."""

    function: Callable[..., Any]
    with_kwargs: bool


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

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the sessions behind in which the states of this module live."""
        return {name: value for name, value in self.__dict__.items() if name != "_stores"}

    # Attributes.

    def __setattr__(self, name: str, value: Any) -> None:
        members = self.__dict__
        if "_parameters" not in members:
            if not isinstance(value, (Parameter, Buffer, Module)):
                object.__setattr__(self, name, value)  # PyTorch takes plain values that early
                return
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

    def _check_name(self, name: str, kind: dict[str, Any]) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise Error(f"{name!r} is no name: a text without dots is needed", user_location())
        if name not in kind and hasattr(self, name):
            raise Error(f"{type(self).__name__} has an attribute {name!r} already", user_location())

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """`self.name` becomes this parameter; None keeps the name for one that is left out, as a bias."""
        self._check_name(name, self._parameters)
        self._forget(name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """A state of the model that no optimizer updates; the state dict holds it if it is persistent."""
        self._check_name(name, self._buffers)
        if tensor is not None and not isinstance(tensor, Buffer):
            tensor = Buffer(tensor, persistent)
        self._forget(name)
        self._buffers[name] = tensor

    def register_module(self, name: str, module: Module | None) -> None:
        """`self.name` becomes this module; Error if it is none."""
        if module is not None and not isinstance(module, Module):
            raise Error(f"{name}: {type(module).__name__} is no module", user_location())
        self._check_name(name, self._modules)
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
            if hook.with_kwargs:
                changed = hook.function(self, args, kwargs)
                if changed is not None:
                    args, kwargs = changed
                continue
            changed = hook.function(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks.values()):
            given = (args, kwargs) if hook.with_kwargs else (args,)
            changed = hook.function(self, *given, result)
            if changed is not None:
                result = changed
        return result

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """hook(module, args, output) -> new output or None; with_kwargs: hook(module, args, kwargs, output)."""
        return self._add_hook(self._forward_hooks, _Hook(hook, with_kwargs), prepend)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """hook(module, args) -> new args or None; with_kwargs: hook(module, args, kwargs) -> both or None."""
        return self._add_hook(self._forward_pre_hooks, _Hook(hook, with_kwargs), prepend)

    def _add_hook(self, hooks: OrderedDict[int, _Hook], hook: _Hook, prepend: bool) -> Handle:
        key = max(hooks, default=-1) + 1
        hooks[key] = hook
        if prepend:
            hooks.move_to_end(key, last=False)
        return Handle(hooks, key)

    def register_full_backward_hook(self, *args: Any, **kwargs: Any) -> Handle:
        """Always an Error: gradients are part of a step. `flow.value_and_grad` returns them."""
        raise Error(
            "there are no backward hooks: gradients are part of a step; flow.value_and_grad(fn, model=model)(batch) "
            "returns them by parameter name",
            user_location(),
        )

    register_full_backward_pre_hook = register_full_backward_hook
    register_backward_hook = register_full_backward_hook

    # The tree.

    def named_modules(
        self,
        memo: set[int] | None = None,
        prefix: str = "",
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Module]]:
        """Every module once, parents first; with remove_duplicate=False under each of its names."""
        memo = set() if memo is None else memo
        if remove_duplicate and id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Every child once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules that stand directly in this one."""
        return (module for _, module in self.named_children())

    def get_submodule(self, target: str) -> Module:
        """The module under a path like "encoder.0"; AttributeError if there is none."""
        module: Any = self
        for part in target.split(".") if target else []:
            module = getattr(module, part)
            if not isinstance(module, Module):
                raise AttributeError(f"{part!r} of {target!r} is no module")
        return module

    def set_submodule(self, target: str, module: Module) -> None:
        """Puts a module under a path whose last name may be new."""
        parent, _, name = target.rpartition(".")
        self.get_submodule(parent).register_module(name, module)

    def _get_member(self, target: str, kind: str) -> Any:
        parent, _, name = target.rpartition(".")
        members = getattr(self.get_submodule(parent), kind)
        if members.get(name) is None:
            raise AttributeError(f"{type(self).__name__} has no {kind[1:-1]} {target!r}")
        return members[name]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter under a path like "encoder.0.weight"; AttributeError if there is none."""
        return self._get_member(target, "_parameters")

    def get_buffer(self, target: str) -> Buffer:
        """The buffer under a path; AttributeError if there is none."""
        return self._get_member(target, "_buffers")

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
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, under its first name; with remove_duplicate=False under each."""
        return self._named_members("_parameters", prefix, recurse, not remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with `recurse`, of all below it, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        """Names and buffers, in order of registration; one of two names comes once unless `remove_duplicate`
        is False."""
        return self._named_members("_buffers", prefix, recurse, not remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """The buffers of this module and, with `recurse`, of all below it, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """fn on every module, children first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Sets `training` here and in all modules below; the next step is traced with it."""
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self) -> Module:
        """As `train(False)`. Eval steps do it themselves while they are traced."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Sets `requires_grad` of all parameters: without it they get no gradient and no optimizer memory."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Does nothing: gradients live in a step, which computes them anew; none is left over."""

    # Element types. Where parameters live is the mesh's business: devices are accepted for porting.

    def to(
        self,
        *args: Any,
        dtype: DType | None = None,
        device: Any = None,
        non_blocking: bool = False,
        memory_format: Any = None,
    ) -> Module:
        """Converts floating-point parameters and buffers to a dtype, given by itself or as that of a tensor.

        Optimizers know parameters by their states: convert before making one, as in PyTorch.
        """
        for arg in args:
            if isinstance(arg, DType):
                dtype = arg
            elif isinstance(arg, Tensor):
                dtype = arg.dtype
        if dtype is None:
            return self
        if not dtype.is_floating_point:
            raise DTypeError(
                f"a module is converted to floating-point types only, not {dtype!r}",
                user_location(),
            )
        if not np.issubdtype(dtype.numpy, np.floating) and dtype.numpy.name != dtype.title:
            raise DTypeError(
                f"{dtype!r} elements cannot be held on the host: parameters stay in float32 or float16",
                user_location(),
            )
        cells: dict[StateCell, StateCell] = {}
        for module in self.modules():
            for member in [*module._parameters.values(), *module._buffers.values()]:
                if member is not None and member.dtype.is_floating_point:
                    member._convert(dtype, cells)
        return self

    def type(self, dst_type: DType) -> Module:
        """As `to(dst_type)`."""
        return self.to(dst_type)

    def _to_named(self, name: str) -> Module:
        dtype = next((known for known in dtypes.ALL if known.title == name), None)
        if dtype is None:
            raise DTypeError(f"there are no {name} elements; use float()", user_location())
        return self.to(dtype)

    def float(self) -> Module:
        """Floating parameters and buffers become float32."""
        return self._to_named("float32")

    def double(self) -> Module:
        """Floating parameters and buffers become float64."""
        return self._to_named("float64")

    def half(self) -> Module:
        """Floating parameters and buffers become float16. To compute in it, give a step a `precision`."""
        return self._to_named("float16")

    def bfloat16(self) -> Module:
        """Floating parameters and buffers become bfloat16. To compute in it, give a step a `precision`."""
        return self._to_named("bfloat16")

    def cuda(self, device: Any = None) -> Module:
        """The module itself: where things live is the mesh's business."""
        return self

    def cpu(self) -> Module:
        """The module itself: where things live is the mesh's business."""
        return self

    # State.

    def state_dict(
        self,
        *,
        destination: OrderedDict[str, Tensor] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> OrderedDict[str, Tensor]:
        """Handles on all parameters and persistent buffers in PyTorch's layout; nothing is read yet.

        keep_vars gives the parameters and buffers themselves.
        """
        result = OrderedDict() if destination is None else destination
        self._collect_state(prefix, result, keep_vars)
        return result

    def _collect_state(
        self, prefix: str, result: OrderedDict[str, Tensor], keep_vars: bool
    ) -> None:
        for name, parameter in self._parameters.items():
            if parameter is not None:
                result[prefix + name] = parameter if keep_vars else parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.persistent:
                result[prefix + name] = buffer if keep_vars else buffer.detach()
        for name, module in self._modules.items():
            if module is not None:
                module._collect_state(f"{prefix}{name}.", result, keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Writes arrays or tensors by name; takes effect at the next step. Nothing is written if anything fails.

        Values are converted to the model's dtypes; with assign=True the model takes over theirs.
        """
        own = self.state_dict(keep_vars=True)
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
                values[name] = dtypes.to_array(value) if assign else value
        cells: dict[StateCell, StateCell] = {}
        for name, value in values.items():
            target = own[name]
            if assign and target.dtype.numpy != value.dtype:
                assert isinstance(target, (Parameter, Buffer))
                target._convert(dtypes.of_array(value), cells)
            target.copy_(value.astype(target.dtype.numpy, copy=False))
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
