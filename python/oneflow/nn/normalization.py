"""Batch normalisation."""

from __future__ import annotations

from typing import Any

from ..dtypes import int64
from ..errors import ShapeError
from ..initializers import Constant
from ..location import user_location
from ..tensor import Tensor
from . import functional as F
from .module import Module
from .parameter import Buffer, Parameter


class BatchNorm2d(Module):
    """Normalises each channel of [n, c, h, w] by statistics over groups of samples.

    `groups` cuts the samples of a batch into that many groups of neighbours, each with statistics of its own; by
    default one per micro-batch, so that one device and every layout give the same numbers. Running statistics are
    PyTorch's: updated once per group, with the unbiased variance.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        groups: int | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats, self.groups = affine, track_running_stats, groups
        self.register_parameter("weight", self._parameter(1.0) if affine else None)
        self.register_parameter("bias", self._parameter(0.0) if affine else None)
        track = track_running_stats
        self.register_buffer("running_mean", self._buffer(0.0) if track else None)
        self.register_buffer("running_var", self._buffer(1.0) if track else None)
        self.register_buffer(
            "num_batches_tracked", Buffer(shape=(), dtype=int64) if track else None
        )

    def _parameter(self, value: float) -> Parameter:
        return Parameter(shape=(self.num_features,), initializer=Constant(value))

    def _buffer(self, value: float) -> Buffer:
        return Buffer(shape=(self.num_features,), initializer=Constant(value))

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 4:
            raise ShapeError(
                f"BatchNorm2d takes [n, c, h, w], not {list(input.shape)}", user_location()
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
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, bias={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )
        return text if self.groups is None else f"{text}, groups={self.groups}"
