"""What code of a dataset can ask while a sample is read: the sample's own randomness, and the worker's number."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class WorkerInfo:
    """Of the worker process that asks."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class _Place(threading.local):
    key: tuple[int, int, int] = (0, 0, 0)


_place = _Place()
_worker: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """The worker that runs this code; None in the main process."""
    return _worker


def set_worker_info(info: WorkerInfo) -> None:
    """Called once in a worker."""
    global _worker
    _worker = info


def enter_sample(seed: int, epoch: int, index: int) -> None:
    """The sample of this index is read next on this thread."""
    _place.key = (seed & 0xFFFFFFFFFFFFFFFF, epoch, index)


def sample_generator() -> np.random.Generator:
    """A NumPy generator seeded by (seed, epoch, index) of the sample that is being read.

    For augmentation in `__getitem__` or `collate_fn`: the same numbers whatever num_workers, the number of ranks
    and the place where a run was resumed. In a batch's collate_fn it is that of the batch's first sample.
    """
    return np.random.default_rng(_place.key)
