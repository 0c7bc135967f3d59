"""Metrics: what a step returns, fetched when it is read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import Error, NumericsError
from ..location import user_location
from ..store import Store
from ..tensor import Tensor
from .finite import HIDDEN, Watched


class MissingMetric(Error, KeyError):
    """A name that the step does not return."""


class Metrics(Mapping[str, Any]):
    """loss, lr, step and the user's entries of one step; reading the first one waits for the step."""

    def __init__(
        self,
        store: Store,
        invocation: int,
        names: list[str],
        known: dict[str, Any],
        checked: bool,
        location: tuple[str, int, str] | None,
        show: Callable[[Mapping[str, Any]], None] | None = None,
        watched: Watched | None = None,
    ) -> None:
        self._store = store
        self._invocation: int | None = invocation
        self._outputs = names
        self._names = [name for name in names if not name.startswith(HIDDEN)]
        self._watched = watched
        self._show = show  # what flow.debug.print wants, once the outputs are there
        self._values: dict[str, Any] = dict(known)
        self._checked = checked
        self._location = location
        self._error: Error | None = None  # why there are no values

    def __del__(self) -> None:
        # Outputs that nobody reads would stay in memory.
        invocation = self.__dict__.get("_invocation")
        if invocation is not None:
            self._store.session.discard(invocation)

    def wait(self) -> Metrics:
        """Blocks until the step is done."""
        if self._invocation is not None:
            invocation, self._invocation = self._invocation, None
            try:
                arrays: list[np.ndarray] = self._store.fetch(invocation)
            except Error as error:
                self._error = error
                raise
            outputs = {
                name: Tensor(array) for name, array in zip(self._outputs, arrays, strict=True)
            }
            self._values.update((name, outputs[name]) for name in self._names)
            if self._show is not None:
                self._show(outputs)
            if self._watched is not None:
                self._error = self._watched.error(
                    outputs, f"step {self._values['step']}", float(self._values["loss"])
                )
        if self._error is not None:
            raise self._error
        if self._checked and not math.isfinite(float(self._values["loss"])):
            raise NumericsError(
                f"the loss of step {self._values['step']} is {float(self._values['loss'])}; lower the learning rate "
                "or look for a division or log of zero (check='off' goes on)",
                self._location,
            )
        return self

    def show(self) -> None:
        """If the step prints, waits for it; a loss that is not finite is told when it is read."""
        if self._show is not None:
            with contextlib.suppress(NumericsError):
                self.wait()

    def __getitem__(self, name: str) -> Any:
        if name not in self._names and name not in self._values:
            raise MissingMetric(
                f"the step has no metric {name!r}, it has {', '.join(self)}; return a dict with it, or use flow.tap",
                user_location(),
            )
        if name not in self._values or name == "loss":
            self.wait()
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names or name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._names, *self._values]))

    def __len__(self) -> int:
        return len(set(self._names) | set(self._values))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or (name not in self._names and name not in self._values):
            raise AttributeError(name)
        return self[name]

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name}: {value}" for name, value in self.items()) + "}"
