"""Padding of signals, images and volumes."""

from __future__ import annotations

from collections.abc import Sequence

from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Pad(Module):
    """Pads the last `dims` dims in one of F.pad's modes."""

    dims = 2
    mode = "constant"

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.dims) if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """`value` around [..., l]."""

    dims = 1


class ConstantPad2d(_ConstantPad):
    """`value` around [..., h, w]."""


class ConstantPad3d(_ConstantPad):
    """`value` around [..., d, h, w]."""

    dims = 3


class ZeroPad1d(_Pad):
    """Zeros around [..., l]."""

    dims = 1


class ZeroPad2d(_Pad):
    """Zeros around [..., h, w]."""


class ZeroPad3d(_Pad):
    """Zeros around [..., d, h, w]."""

    dims = 3


class ReflectionPad1d(_Pad):
    """[..., l] mirrored at its edges."""

    dims, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """[..., h, w] mirrored at its edges."""

    mode = "reflect"


class ReflectionPad3d(_Pad):
    """[..., d, h, w] mirrored at its edges."""

    dims, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The edges of [..., l] repeated."""

    dims, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The edges of [..., h, w] repeated."""

    mode = "replicate"


class ReplicationPad3d(_Pad):
    """The edges of [..., d, h, w] repeated."""

    dims, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """The other end of [..., l] in front and behind."""

    dims, mode = 1, "circular"


class CircularPad2d(_Pad):
    """The other end of [..., h, w] in front and behind."""

    mode = "circular"


class CircularPad3d(_Pad):
    """The other end of [..., d, h, w] in front and behind."""

    dims, mode = 3, "circular"
