"""Convolution of signals [n, channels, length], images [n, channels, height, width] and volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import Error, ShapeError
from ..location import user_location
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

Size = int | Sequence[int]
_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def _sizes(value: Size, count: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * count
    if len(value) != count:
        raise ShapeError(f"{tuple(value)}: {count} numbers are needed", user_location())
    return tuple(int(extent) for extent in value)


class _Convolution(Module):
    """What all convolutions keep; `dims` is the number of spatial dims."""

    dims = 2
    transposed = False

    def _setup(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size | str,
        dilation: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        output_padding: Size = 0,
    ) -> None:
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}",
                user_location(),
            )
        if padding_mode not in _PADDING_MODES:
            raise Error(
                f"padding_mode={padding_mode!r}: one of {', '.join(_PADDING_MODES)}",
                user_location(),
            )
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise Error(f"padding={padding!r}: 'same', 'valid' or numbers", user_location())
        count = self.dims
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = _sizes(kernel_size, count), _sizes(stride, count)
        self.padding = padding if isinstance(padding, str) else _sizes(padding, count)
        self.dilation, self.padding_mode = _sizes(dilation, count), padding_mode
        self.output_padding = _sizes(output_padding, count)
        rows, columns = (
            (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        )
        self.weight = Parameter(shape=(rows, columns // groups, *self.kernel_size))
        self.register_parameter("bias", Parameter(shape=(out_channels,)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = self.weight.numel() // max(self.weight.shape[0], 1)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def _around(self) -> list[int]:
        """The padding as F.pad takes it: two numbers per dim, the last dim first."""
        if isinstance(self.padding, str):
            if self.padding == "valid":
                return [0, 0] * self.dims
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(total // 2, total - total // 2) for total in totals]
        else:
            sides = [(p, p) for p in self.padding]
        return [side for pair in reversed(sides) for side in pair]

    def _padded(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input and what is left to pad with zeros."""
        if self.padding_mode == "zeros":
            return input, self.padding
        if self.padding == "same" and self.stride != (1,) * self.dims:
            raise ShapeError("padding='same' needs stride 1", user_location())
        return F.pad(input, self._around(), mode=self.padding_mode), (0,) * self.dims

    def extra_repr(self) -> str:
        ones, zeros = (1,) * self.dims, (0,) * self.dims
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _ForwardConvolution(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._setup(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
        )
        self.to(dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        x, padding = self._padded(input)
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.dims - 1]
        return convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_ForwardConvolution):
    """Cross-correlation of [n, c, l]; weight is [out_channels, in_channels / groups, kernel]."""

    dims = 1


class Conv2d(_ForwardConvolution):
    """Cross-correlation of [n, c, h, w]; weight is [out_channels, in_channels / groups, kernel, kernel]."""


class Conv3d(_ForwardConvolution):
    """Cross-correlation of [n, c, d, h, w]; weight is [out_channels, in_channels / groups, kernel, kernel, kernel]."""

    dims = 3


class _TransposedConvolution(_Convolution):
    """Weight is [in_channels, out_channels / groups, kernel...]."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if padding_mode != "zeros":
            raise Error('only padding_mode="zeros" exists for transposes', user_location())
        self._setup(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            output_padding,
        )
        self.to(dtype=dtype)

    def _more(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """output_padding, or what `output_size` asks of it."""
        if output_size is None:
            return self.output_padding
        extents = input.shape[-self.dims :]
        wanted = tuple(output_size)[-self.dims :]
        more = []
        for i, (extent, target) in enumerate(zip(extents, wanted, strict=True)):
            reach = self.dilation[i] * (self.kernel_size[i] - 1)
            least = (extent - 1) * self.stride[i] - 2 * int(self.padding[i]) + reach + 1
            if not least <= target < least + self.stride[i]:
                raise ShapeError(
                    f"output_size={tuple(output_size)}: extent {target} does not lie in "
                    f"[{least}, {least + self.stride[i]})",
                    user_location(),
                )
            more.append(target - least)
        return tuple(more)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.dims - 1]
        return transpose(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._more(input, output_size),
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_TransposedConvolution):
    """The transpose of Conv1d, from [n, c, l]; weight is [in_channels, out_channels / groups, kernel]."""

    dims = 1


class ConvTranspose2d(_TransposedConvolution):
    """The transpose of Conv2d, from [n, c, h, w]; weight is [in_channels, out_channels / groups, kernel, kernel].

    Height and width are as `F.conv_transpose2d` says; `output_size` chooses among those that a stride leaves open.
    """


class ConvTranspose3d(_TransposedConvolution):
    """The transpose of Conv3d, from [n, c, d, h, w]; weight is [in_channels, out_channels / groups, kernel, kernel,
    kernel]."""

    dims = 3
