"""The extension module (python/bindings): an interface of the package's own, not for users."""

from typing import Any

def __getattr__(name: str) -> Any: ...
