"""no_grad and its relatives: inside a step, values made under no_grad carry no gradient; outside nothing has one."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any


class _Mode(threading.local):
    enabled: bool = True


_mode = _Mode()


def is_grad_enabled() -> bool:
    """False inside `no_grad`, True again inside `enable_grad`."""
    return _mode.enabled


class set_grad_enabled:  # noqa: N801
    """`with flow.set_grad_enabled(mode):`, as a decorator of functions and classes, or as a plain call."""

    def __init__(self, mode: bool) -> None:
        self._mode = bool(mode)
        self._outer = [_mode.enabled]
        _mode.enabled = self._mode

    def __enter__(self) -> None:
        _mode.enabled = self._mode

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _mode.enabled = self._outer[-1]

    def __call__(self, function: Any) -> Any:
        _mode.enabled = self._outer[-1]
        mode = self._mode
        return _decorated(function, lambda: set_grad_enabled(mode))


class _Context:
    """no_grad and enable_grad: contexts, and decorators with or without parentheses."""

    _enables: bool

    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        return made if function is None else made(function)

    def __init__(self) -> None:
        self._outer: list[bool] = []

    def __enter__(self) -> None:
        self._outer.append(_mode.enabled)
        _mode.enabled = self._enables

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _mode.enabled = self._outer.pop()

    def __call__(self, function: Any) -> Any:
        return _decorated(function, type(self))


class no_grad(_Context):  # noqa: N801
    """No gradient goes through what is computed inside: `with flow.no_grad():`, `@flow.no_grad()`, `@flow.no_grad`.

    A class that is decorated is made under it (its `__init__`), as in PyTorch.
    """

    _enables = False


class enable_grad(_Context):  # noqa: N801
    """Gradients again, inside no_grad."""

    _enables = True


class inference_mode(no_grad):  # noqa: N801
    """As `no_grad`; mode=False is `enable_grad`."""

    def __new__(cls, mode: Any = True) -> Any:
        if isinstance(mode, bool):
            return super().__new__(cls) if mode else enable_grad()
        return super().__new__(cls, mode)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()


def _decorated(function: Any, context: Callable[[], Any]) -> Any:
    if inspect.isclass(function):
        made: Any = function
        made.__init__ = _decorated(made.__init__, context)
        return function
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            # The mode is that of the generator's own code, not of whoever takes its items.
            running = function(*args, **kwargs)
            sent = None
            while True:
                try:
                    with context():
                        item = running.send(sent)
                except StopIteration as end:
                    return end.value
                sent = yield item

        return generator

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with context():
            return function(*args, **kwargs)

    return call


__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]
