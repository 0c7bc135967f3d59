"""Datasets that workers can import."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from oneflow import data


class Squares(data.Dataset):
    """Sample i is {"x": [i, i * i], "y": i}; what is read is counted."""

    def __init__(self, count: int = 10) -> None:
        self.count = count
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read.append(index)
        return {"x": np.array([index, index * index], np.float32), "y": index}


class Noise(Squares):
    """Samples of random numbers of three kinds."""

    def __getitem__(self, index: int) -> Any:
        own = data.sample_generator().integers(0, 1 << 30)
        return {"own": own, "index": index, "global": random.random() + np.random.random()}


class FailsAt(Squares):
    """Sample 5 cannot be read."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def __getitem__(self, index: int) -> Any:
        if index == 5:
            if self.how == "raises":
                raise ValueError("no such picture")
            if self.how == "odd error":
                raise NeedsTwo("a", "b")
            if self.how == "exits":
                os._exit(3)
            if self.how == "hangs":
                time.sleep(1000)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class NeedsTwo(Exception):
    """Cannot be made again from its text."""

    def __init__(self, a: str, b: str) -> None:
        super().__init__(f"{a} and {b}")


class Stream(data.IterableDataset):
    """0, 1, ... dealt out to the workers."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        info = data.get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.count, step))


class Ragged(Squares):
    """Sample i has i + 1 elements."""

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        return {"ids": list(range(index + 1)), "n": index + 1}


def fails_in_init(number: int) -> None:
    raise RuntimeError(f"no licence for worker {number}")
