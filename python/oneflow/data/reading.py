"""Reading samples by index, in the main process and in workers."""

from __future__ import annotations

import random
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .notes import note
from .sample import enter_sample


class Reader:
    """Reads and collates the samples of one epoch. One thread at a time: datasets need not be thread-safe."""

    def __init__(
        self,
        dataset: Any,
        collate_fn: Callable[[list[Any]], Any],
        seed: int,
        *,
        seeds_globals: bool = False,
        place: str = "",
    ) -> None:
        self._dataset = dataset
        self._collate = collate_fn
        self._seed = seed
        self._seeds_globals = seeds_globals
        self._place = place
        self._lock = threading.Lock()

    def enter(self, epoch: int, index: Any) -> None:
        """Randomness of the sample `index`."""
        key = index if isinstance(index, int) else zlib.crc32(repr(index).encode())
        key &= 0xFFFFFFFFFFFFFFFF
        enter_sample(self._seed, epoch, key)
        if self._seeds_globals:
            seed_globals([self._seed & 0xFFFFFFFFFFFFFFFF, epoch, key])

    def read(self, epoch: int, indices: Sequence[Any]) -> Any:
        """The batch of these samples."""
        with self._lock:
            samples = self._samples(epoch, indices)
            if len(indices):
                self.enter(epoch, indices[0])
            return self.collate(samples, f"samples {list(indices)}")

    def read_one(self, epoch: int, index: Any) -> Any:
        """One item as it is, converted by collate_fn: of a loader without batches."""
        with self._lock:
            return self.collate(self._samples(epoch, [index])[0], f"sample {index!r}")

    def collate(self, samples: Any, what: str) -> Any:
        """collate_fn, with a note on errors."""
        try:
            return self._collate(samples)
        except Exception as error:
            note(error, f"while {what} were collated{self._place}")
            raise

    def _samples(self, epoch: int, indices: Sequence[Any]) -> list[Any]:
        if not self._seeds_globals and hasattr(self._dataset, "__getitems__"):
            self.enter(epoch, indices[0])
            try:
                return list(self._dataset.__getitems__(list(indices)))
            except Exception as error:
                note(error, f"while samples {list(indices)} were read{self._place}")
                raise
        samples = []
        for index in indices:
            self.enter(epoch, index)
            try:
                samples.append(self._dataset[index])
            except Exception as error:
                note(error, f"while sample {index!r} was read{self._place}")
                raise
        return samples


def seed_globals(key: list[int]) -> None:
    """Seeds Python's, NumPy's and, if it is there, PyTorch's generator of this process."""
    words = np.random.SeedSequence(key).generate_state(2, np.uint32)
    random.seed(int(words[0]))
    np.random.seed(int(words[0]))
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(int(words[1]))
