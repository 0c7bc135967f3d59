"""Decisions: what the compiler chose for a step, kept as a small text and given back as `parallel=`.

With the same decisions a step does its sums in the same order, whatever the links are and however many processes
share the devices: the same bits (docs/sharding.md).
"""

from __future__ import annotations

import os

from . import _core
from .errors import Error, PlanError
from .location import user_location


class Decisions:
    """Layouts of states and nodes, stages, micro-batches and moves of one graph, as text."""

    def __init__(self, text: str) -> None:
        try:
            _core.check_decisions(text)
        except PlanError as error:
            raise PlanError(error.message, user_location()) from None
        self.text = text

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Decisions:
        """Reads what `save` or `plan.save_decisions` wrote. PlanError names the line that is wrong."""
        try:
            with open(path, "rb") as file:
                text = file.read().decode()
            return cls(text)
        except OSError as error:
            raise Error(f"{os.fspath(path)}: {error.strerror}", user_location()) from None
        except UnicodeDecodeError:
            raise PlanError(f"{os.fspath(path)} is no text of decisions", user_location()) from None
        except PlanError as error:
            raise PlanError(f"{os.fspath(path)}: {error.message}", user_location()) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the text."""
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decisions) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"<Decisions: {self.text.count(chr(10) + 'node ')} nodes, {self.text.count(chr(10) + 'state ')} states>"
