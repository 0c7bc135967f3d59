"""Several software GPUs (kernels/cuda/soft_gpus_for_test.h) for the sessions made inside."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.e2e.soft_trace import PLUGIN


@contextmanager
def soft_gpus(
    count: int, reach: bool = False, nccl: bool = False
) -> Iterator[Callable[[int], int]]:
    """`reach`: copies between them need not go through the host; `nccl`: NCCL is there. Yields the most bytes that a
    GPU held at once."""
    library = ctypes.CDLL(str(PLUGIN))
    library.oneflow_soft_cuda_peak.restype = ctypes.c_int64
    library.oneflow_soft_cuda_set_gpus(count, int(reach), int(nccl))
    try:
        yield library.oneflow_soft_cuda_peak
    finally:
        library.oneflow_soft_cuda_set_gpus(1, 0, 0)


@contextmanager
def no_growth() -> Iterator[None]:
    """No GPU has memory that grows where it lies."""
    library = ctypes.CDLL(str(PLUGIN))
    library.oneflow_soft_cuda_set_growth(0)
    try:
        yield
    finally:
        library.oneflow_soft_cuda_set_growth(1)


@contextmanager
def soft_memory(
    total: int, reserved: int = 0, later: int = 0, communicator: int = 0, granule: int = 0
) -> Iterator[None]:
    """Each GPU has so many bytes, of which `reserved` are something else's; the others as in CudaMemory
    (kernels/cuda/cuda_api.h)."""
    sizes = ctypes.CDLL(str(PLUGIN)).oneflow_soft_cuda_set_memory
    sizes.argtypes = [ctypes.c_int64] * 5
    sizes(total, reserved, later, communicator, granule)
    try:
        yield
    finally:
        sizes(4 << 30, 0, 0, 0, 0)
