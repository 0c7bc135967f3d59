"""Batches and results as trees: dicts, lists, tuples and named tuples of leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def flatten(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Leaves with their paths ("x", "0.image"), in a fixed order."""
    if isinstance(tree, dict):
        items: list[tuple[str, Any]] = [(str(key), tree[key]) for key in tree]
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        items = list(zip(tree._fields, tree, strict=True))
    elif isinstance(tree, (list, tuple)):
        items = [(str(i), item) for i, item in enumerate(tree)]
    else:
        return [(prefix, tree)]
    leaves = []
    for name, item in items:
        leaves += flatten(item, f"{prefix}.{name}" if prefix else name)
    return leaves


def structure(tree: Any) -> Any:
    """A hashable description of everything but the leaves."""
    if isinstance(tree, dict):
        return ("dict", tuple((key, structure(item)) for key, item in tree.items()))
    if isinstance(tree, (list, tuple)):
        return (type(tree).__qualname__, tuple(structure(item) for item in tree))
    return None


def map_leaves(fn: Callable[[str, Any], Any], tree: Any, prefix: str = "") -> Any:
    """The same tree with fn(path, leaf) for each leaf."""

    def under(name: str) -> str:
        return f"{prefix}.{name}" if prefix else name

    if isinstance(tree, dict):
        return {key: map_leaves(fn, item, under(str(key))) for key, item in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(
            *(map_leaves(fn, x, under(n)) for n, x in zip(tree._fields, tree, strict=True))
        )
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_leaves(fn, item, under(str(i))) for i, item in enumerate(tree))
    return fn(prefix, tree)
