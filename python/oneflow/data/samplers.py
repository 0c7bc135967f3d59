"""Samplers: in which order samples are read. Orders are functions of (seed, epoch), the same on every rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from ..errors import Error
from ..location import user_location
from ..random import Generator, default_generator


class Sampler:
    """Base: an iterable of indices. One with `set_epoch(epoch)` is told of every epoch by its DataLoader."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__")


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class _EpochSampler(Sampler):
    """Has a seed and an epoch."""

    def __init__(self, generator: Generator | None, seed: int | None) -> None:
        self.seed = seed if seed is not None else (generator or default_generator).seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next iteration gives the order of this epoch."""
        self.epoch = epoch

    def _random(self) -> np.random.Generator:
        return np.random.default_rng([self.seed & 0xFFFFFFFFFFFFFFFF, self.epoch])


class RandomSampler(_EpochSampler):
    """A permutation per (seed, epoch), or `num_samples` draws `replacement`."""

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(generator, seed)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        if num_samples is not None and num_samples < 1:
            raise Error(f"num_samples={num_samples}: an integer from 1", user_location())

    def __iter__(self) -> Iterator[int]:
        count, random = len(self.data_source), self._random()
        if self.replacement:
            yield from random.integers(0, count, len(self)).tolist()
            return
        left = len(self)
        while left > 0 and count:
            order = random.permutation(count)[:left]
            left -= len(order)
            yield from order.tolist()

    def __len__(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples


class SubsetRandomSampler(_EpochSampler):
    """The given indices in an order per (seed, epoch)."""

    def __init__(
        self,
        indices: Sequence[int],
        generator: Generator | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__(generator, seed)
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in self._random().permutation(len(self.indices)))

    def __len__(self) -> int:
        return len(self.indices)


class BatchSampler(Sampler):
    """Lists of `batch_size` indices of a sampler; a short last list is left out if `drop_last`."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise Error(f"batch_size={batch_size!r}: an integer from 1", user_location())
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        """Told on to the sampler."""
        tell_epoch(self.sampler, epoch)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)


def tell_epoch(target: Any, epoch: int) -> None:
    """Calls `target.set_epoch(epoch)` if it has one: samplers and datasets of others too."""
    if callable(set_epoch := getattr(target, "set_epoch", None)):
        set_epoch(epoch)
