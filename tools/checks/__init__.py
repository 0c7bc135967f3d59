"""Checks of the source tree: each module has `check(root) -> list of violations` and a DOC line."""
