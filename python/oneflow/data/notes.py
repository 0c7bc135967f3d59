"""Notes on errors (PEP 678): what an error is about, added on its way. Python 3.10 keeps but does not print them."""

from __future__ import annotations


def notes_of(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", []))


def note(error: BaseException, text: str) -> None:
    """As error.add_note of Python 3.11."""
    error.__notes__ = [*notes_of(error), text]  # type: ignore[attr-defined]
