"""Datasets: what a DataLoader reads samples from. Any sequence and any iterable will do; these are PyTorch's."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import Error, ShapeError
from ..location import user_location
from ..random import Generator, default_generator
from ..tensor import Tensor


class Dataset:
    """Base of datasets that are read by index: write `__getitem__` and `__len__`."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Base of datasets that are read in their own order: write `__iter__`.

    With `num_workers > 0` each worker iterates over a copy of its own: `flow.data.get_worker_info()` says which
    part is its. Every rank reads all samples.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__")

    def __add__(self, other: Dataset) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Sample i is the tuple of the i-th rows of arrays or tensors with the same dim 0."""

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(np.asarray(tensor) for tensor in tensors)
        sizes = {array.shape[:1] for array in self.tensors}
        if len(sizes) != 1 or () in sizes:
            shapes = ", ".join(str(array.shape) for array in self.tensors)
            raise ShapeError(
                f"TensorDataset takes tensors with the same dim 0, not shapes {shapes or 'of none'}",
                user_location(),
            )

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset):
    """The samples of `dataset` at `indices`."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset):
    """The samples of several datasets, one dataset after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise Error("ConcatDataset got no datasets", user_location())
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range of {len(self)} samples")
        index %= len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class ChainDataset(IterableDataset):
    """The samples of several iterable datasets, one dataset after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.datasets)


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Generator | None = None
) -> list[Subset]:
    """Parts of the given lengths without common samples; fractions that sum to 1 are lengths too.

    The same seed (of `generator`, else of `flow.manual_seed`) gives the same parts on every rank.
    """
    count = len(dataset)
    if all(isinstance(x, float) for x in lengths) and math.isclose(sum(lengths), 1.0):
        counts = [math.floor(count * x) for x in lengths]
        for i in range(count - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [int(x) for x in lengths]
    if sum(counts) != count:
        raise Error(
            f"random_split into {list(lengths)} does not give the {count} samples of the dataset; lengths sum to "
            "its length, or fractions to 1.0",
            user_location(),
        )
    seed = (generator or default_generator).seed
    order = np.random.default_rng([seed, 0]).permutation(count).tolist()
    ends = list(itertools.accumulate(counts))
    return [
        Subset(dataset, order[end - size : end]) for size, end in zip(counts, ends, strict=True)
    ]


def is_map_style(dataset: Any) -> bool:
    """True if samples are read by index."""
    if isinstance(dataset, IterableDataset) or isinstance(dataset, Tensor) and not dataset.shape:
        return False
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
