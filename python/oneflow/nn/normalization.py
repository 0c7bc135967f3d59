"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtypes import int64
from ..errors import ShapeError
from ..initializers import Constant
from ..location import user_location
from ..tensor import Tensor
from . import functional as F
from .module import Module
from .parameter import Buffer, Parameter


class _Norm(Module):
    """weight and bias per channel, and running statistics where they are tracked."""

    def _setup(self, num_features: int, affine: bool, bias: bool, track: bool) -> None:
        shape = (num_features,)

        def parameter(value: float) -> Parameter:
            return Parameter(shape=shape, initializer=Constant(value))

        def buffer(value: float) -> Buffer | None:
            return Buffer(shape=shape, initializer=Constant(value)) if track else None

        self.register_parameter("weight", parameter(1.0) if affine else None)
        self.register_parameter("bias", parameter(0.0) if affine and bias else None)
        self.register_buffer("running_mean", buffer(0.0))
        self.register_buffer("running_var", buffer(1.0))
        self.register_buffer(
            "num_batches_tracked", Buffer(shape=(), dtype=int64) if track else None
        )

    def reset_running_stats(self) -> None:
        """Running means become 0, variances 1, the count of batches 0."""
        if self.running_mean is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        if self.weight is not None:
            self.weight.fill_(1)
        if self.bias is not None:
            self.bias.zero_()


class _BatchNorm(_Norm):
    """Normalises each channel by statistics over groups of samples.

    `groups` cuts the samples of a batch into that many groups of neighbours, each with statistics of its own; by
    default one per micro-batch, so that one device and every layout give the same numbers. Running statistics are
    PyTorch's: updated once per group, with the unbiased variance.
    """

    dims: tuple[int, ...] = ()
    takes = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        groups: int | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats, self.groups = affine, track_running_stats, groups
        self._setup(num_features, affine, bias, track_running_stats)
        self.to(dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        if self.dims and input.ndim not in self.dims:
            raise ShapeError(
                f"{type(self).__name__} takes {self.takes}, not {list(input.shape)}",
                user_location(),
            )
        training = self.training or self.running_mean is None
        if self.training and self.track_running_stats:
            F.count_batches(self.num_batches_tracked, self.groups)
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training,
            self.momentum,
            self.eps,
            groups=self.groups,
        )

    def extra_repr(self) -> str:
        text = (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )
        return text if self.groups is None else f"{text}, groups={self.groups}"


class BatchNorm1d(_BatchNorm):
    __doc__ = "Of [n, c] or [n, c, l]. " + str(_BatchNorm.__doc__)
    dims, takes = (2, 3), "[n, c] or [n, c, l]"


class BatchNorm2d(_BatchNorm):
    __doc__ = "Of [n, c, h, w]. " + str(_BatchNorm.__doc__)
    dims, takes = (4,), "[n, c, h, w]"


class BatchNorm3d(_BatchNorm):
    __doc__ = "Of [n, c, d, h, w]. " + str(_BatchNorm.__doc__)
    dims, takes = (5,), "[n, c, d, h, w]"


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of [n, c, ...]. Every batch norm here is synchronised: its statistics are those of the
    logical batch (of a micro-batch with accumulate > 1) on any number of devices, so this is another name for it.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        groups: int | None = None,
    ) -> None:
        if process_group is not None:
            raise ShapeError(
                "process_group: the mesh says which devices hold the batch; groups= cuts its samples into groups with "
                "statistics of their own",
                user_location(),
            )
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, bias=bias, groups=groups
        )
        self.to(dtype=dtype)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with every batch norm in it as a SyncBatchNorm of the same parameters and buffers."""
        if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
            new = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
                bias=module.bias is not None,
                groups=module.groups,
            )
            for name, parameter in module._parameters.items():
                new.register_parameter(name, parameter)
            for name, buffer in module._buffers.items():
                new.register_buffer(name, buffer)
            return new.train(module.training)
        for name, child in list(module.named_children()):
            module.register_module(name, cls.convert_sync_batchnorm(child, process_group))
        return module


class _InstanceNorm(_Norm):
    """Normalises each channel of each sample; statistics are not tracked unless asked for."""

    dims: tuple[int, int] = (0, 0)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self._setup(num_features, affine, bias, track_running_stats)
        self.to(dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.dims:
            raise ShapeError(
                f"{type(self).__name__} takes {self.dims[1]} dims, or {self.dims[0]} of one sample, not "
                f"{list(input.shape)}",
                user_location(),
            )
        x = input if input.ndim == self.dims[1] else input[None]
        y = F.instance_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum,
            self.eps,
        )
        return y if input.ndim == self.dims[1] else y[0]

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class InstanceNorm1d(_InstanceNorm):
    """Zero mean and unit variance per sample and channel of [n, c, l] (Ulyanov et al. 2016)."""

    dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Zero mean and unit variance per sample and channel of [n, c, h, w] (Ulyanov et al. 2016)."""

    dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Zero mean and unit variance per sample and channel of [n, c, d, h, w] (Ulyanov et al. 2016)."""

    dims = (4, 5)


class LayerNorm(Module):
    """Zero mean and unit variance over the last dims, which are `normalized_shape` (Ba et al. 2016)."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.eps, self.elementwise_affine = eps, elementwise_affine
        shape = self.normalized_shape
        weight = Parameter(shape=shape, initializer=Constant(1.0)) if elementwise_affine else None
        self.register_parameter("weight", weight)
        shift = Parameter(shape=shape) if elementwise_affine and bias else None
        self.register_parameter("bias", shift)
        self.to(dtype=dtype)

    def reset_parameters(self) -> None:
        if self.weight is not None:
            self.weight.fill_(1)
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Unit mean square over the last dims, which are `normalized_shape` (Zhang and Sennrich 2019)."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.eps, self.elementwise_affine = eps, elementwise_affine
        weight = (
            Parameter(shape=self.normalized_shape, initializer=Constant(1.0))
            if elementwise_affine
            else None
        )
        self.register_parameter("weight", weight)
        self.to(dtype=dtype)

    def reset_parameters(self) -> None:
        if self.weight is not None:
            self.weight.fill_(1)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Zero mean and unit variance per sample over groups of the channels of [n, c, ...] (Wu and He 2018)."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ShapeError(
                f"num_groups={num_groups} must divide num_channels={num_channels}", user_location()
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine = eps, affine
        shape = (num_channels,)
        weight = Parameter(shape=shape, initializer=Constant(1.0)) if affine else None
        self.register_parameter("weight", weight)
        self.register_parameter("bias", Parameter(shape=shape) if affine and bias else None)
        self.to(dtype=dtype)

    def reset_parameters(self) -> None:
        if self.weight is not None:
            self.weight.fill_(1)
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class LocalResponseNorm(Module):
    """Divides by the mean of squares over neighbouring channels (Krizhevsky et al. 2012)."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
