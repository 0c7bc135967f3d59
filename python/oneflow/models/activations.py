"""Activations by the names that published configurations use."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ..errors import Error
from ..location import user_location
from ..nn import functional as F
from ..tensor import Tensor

_BY_NAME: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": functools.partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": functools.partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function of this name; an error that lists the known ones."""
    if name not in _BY_NAME:
        raise Error(
            f"activation {name!r} is not known; there are {', '.join(sorted(_BY_NAME))}",
            user_location(),
        )
    return _BY_NAME[name]
